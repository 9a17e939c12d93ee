"""Logs of any size with the right answers beside them, in the three dialects that readers accept.

    .venv/bin/python -m bench.generate --out DIR [--dialect ours|claude_log|codex_log] [--lines N | --size BYTES | --sessions N]
                                       [--seed N] [--nasty] [--huge] [--turns N] [--exchanges N] [--deltas N]

The answers (`DIR/truth/<question>.jsonl`) come from the made-up story (bench/story.py), never from the records.
"""

import argparse
import heapq
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from bench.older import ClaudeLog, CodexLog
from bench.ours import Teller
from bench.story import CLAUDE, CLIENTS, CODEX_SSE, Author, Client, Scale
from bench.telling import ENDS, FLOWS, LINES, Line, Truth

USUAL = Scale()
LANES = 4  # sessions at the same time
TELLERS: dict[str, type[Teller] | type[ClaudeLog] | type[CodexLog]] = {
    "ours": Teller,
    "claude_log": ClaudeLog,
    "codex_log": CodexLog,
}
SPEAKERS: dict[str, tuple[Client, ...]] = {"ours": CLIENTS, "claude_log": (CLAUDE,), "codex_log": (CODEX_SSE,)}
FILES = {"ours": (LINES, FLOWS, ENDS), "claude_log": (LINES,), "codex_log": (LINES,)}
JUNK = (  # lines that are no records: each is skipped, counted, and reported with its offset
    ("nul bytes", b"\0" * 512),
    (
        "nul bytes before a record",
        b"\0\0\0\0" + b'{"event":"ping","t":"x","line":"data: {}","metadata":"{}","flow_id":"f","data_count":0,"sid":"s"}',
    ),
    ("no JSON", b"Segmentation fault (core dumped)"),
    ("no object", b"42"),
    ("torn by a kill", b'{"event":"content_block_delta","t":"2026-11-17T08:00:00.000","line":"data: {\\"type\\":\\"content_bl'),
    ("no UTF-8", b'{"event":"ping","t":"\xff\xfe","line":"data: {}"}'),
)
TORN = b'{"event":"content_block_delta","t":"2026-11-17T08:00:00.000","line":"data: {\\"type\\":\\"content_block_delta\\",\\"ind'


@dataclass(slots=True)
class Wanted:
    """What is to be generated."""

    out: Path
    dialect: str = "ours"
    lines: int | None = None
    size: int | None = None  # bytes of sse_lines.jsonl
    sessions: int | None = None
    seed: int = 1
    nasty: bool = False
    huge: bool = False
    scale: Scale = field(default_factory=Scale)


class Output:
    """The files of a log while they are written. Knows at which offset it is."""

    def __init__(self, out: Path, names: tuple[str, ...]) -> None:
        out.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._out = out
        self._files: dict[str, IO[bytes]] = {name: open(out / name, "wb", 1 << 20) for name in names}  # noqa: SIM115 (closed in `close`)
        self.offsets = dict.fromkeys(names, 0)
        self.lines = 0

    def write(self, file: str, line: bytes) -> None:
        self._files[file].write(line)
        self._files[file].write(b"\n")
        self.offsets[file] += len(line) + 1
        self.lines += file == LINES

    def bodies(self, found: dict[str, bytes]) -> None:
        for digest, data in found.items():
            (self._out / "bodies").mkdir(exist_ok=True)
            (self._out / "bodies" / digest).write_bytes(data)

    def close(self, tail: bytes = b"") -> None:
        self._files[LINES].write(tail)
        for file in self._files.values():
            file.close()


class Generator:
    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        self.truth = Truth(exit_codes=wanted.dialect == "codex_log")
        self.output = Output(wanted.out, FILES[wanted.dialect])
        self._author = Author(wanted.seed, wanted.scale, wanted.nasty)
        self._begun = 0  # sessions

    def run(self) -> None:
        lanes = [self._lane(number) for number in range(LANES)]
        for line in heapq.merge(*lanes):
            if self._wanted.nasty and self.output.lines and self.output.lines % 97 == 0:
                self._junk()
            self.output.write(line.file, line.text.encode())
        if self._wanted.nasty:
            self.truth.add("bad", file=LINES, offset=self.output.offsets[LINES], kind="torn tail")
        self.output.close(TORN if self._wanted.nasty else b"")
        self._write_truth()

    def _lane(self, lane: int) -> Iterator[Line]:
        at = 137 * lane
        while self._more():
            number, self._begun = self._begun, self._begun + 1
            defective = self._wanted.nasty and number == 2
            clients = SPEAKERS[self._wanted.dialect]
            session = self._author.session(number, clients[number % len(clients)])
            huge = self._wanted.huge and number == 0
            teller = TELLERS[self._wanted.dialect](session, at, self.truth, self._wanted.nasty, huge, defective)
            yield from teller.tell()
            self.output.bodies(teller.journal.bodies)
            at = teller.at + 60_000

    def _more(self) -> bool:
        wanted = self._wanted
        if wanted.sessions is not None:
            return self._begun < wanted.sessions
        if wanted.lines is not None:
            return self.output.lines < wanted.lines
        return self.output.offsets[LINES] < (wanted.size or 1 << 20)

    def _junk(self) -> None:
        number = self.output.lines // 97
        kind, line = JUNK[number % len(JUNK)]
        for file in FILES[self._wanted.dialect][: 1 + (number % 9 == 0)]:
            self.truth.add("bad", file=file, offset=self.output.offsets[file], kind=kind)
            self.output.write(file, line)

    def _write_truth(self) -> None:
        for rows in self.truth.rows.values():
            if rows and "t" in rows[0]:
                rows.sort(key=lambda row: (row["t"], row["sid"]))
        self.truth.add(
            "log", dialect=self._wanted.dialect, lines=self.output.lines, bytes=self.output.offsets, seed=self._wanted.seed
        )
        self.truth.write(self._wanted.out / "truth")


def generate(wanted: Wanted) -> Truth:
    """Writes a log and the truth about it."""
    generator = Generator(wanted)
    generator.run()
    return generator.truth


def _bytes(text: str) -> int:
    """`1GiB`, `300M`, `5000`."""
    number = text.rstrip("KMGiBb")
    return int(float(number) * {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}[text[len(number) : len(number) + 1].strip("Bb")])


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.generate", description="Writes a made-up log and the right answers about it."
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for the log and its truth/")
    parser.add_argument("--dialect", choices=tuple(TELLERS), default="ours")
    parser.add_argument("--lines", type=int, help="about so many lines in sse_lines.jsonl")
    parser.add_argument("--size", type=_bytes, help="or: about so many bytes in it (1GiB, 300M; default 1M)")
    parser.add_argument("--sessions", type=int, help="or: so many sessions")
    parser.add_argument("--seed", type=int, default=1, help="the same seed, the same log (default 1)")
    parser.add_argument(
        "--nasty", action="store_true", help="with all that goes wrong: bad lines, cut and retried streams, decoys, defects"
    )
    parser.add_argument("--huge", action="store_true", help="with a line of 20 MB")
    parser.add_argument(
        "--turns", type=int, default=USUAL.turns, help="of a session (default %(default)s; a nasty one has its own)"
    )
    parser.add_argument("--exchanges", type=int, default=USUAL.exchanges, help="of a turn, on the average (default %(default)s)")
    parser.add_argument("--deltas", type=int, default=USUAL.deltas, help="of an exchange, on the average (default %(default)s)")
    parser.add_argument("--result", type=int, default=USUAL.result, help="characters of a tool result (default %(default)s)")
    asked = parser.parse_args()
    scale = Scale(asked.turns, asked.exchanges, asked.deltas, asked.result)
    wanted = Wanted(asked.out, asked.dialect, asked.lines, asked.size, asked.sessions, asked.seed, asked.nasty, asked.huge, scale)
    truth = generate(wanted)
    print(", ".join(f"{len(rows)} {question}" for question, rows in truth.rows.items()), file=sys.stderr)


if __name__ == "__main__":
    main()
