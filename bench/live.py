"""What watching costs: `capture live` and `capture top` in a real pseudo-terminal that is drained as fast as they write.

    .venv/bin/python -m bench.live [--quick] [--json] [--only flat,paced,latency,top,memory]

What the figures mean: bench/README.md.
"""

import argparse
import fcntl
import json
import os
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import IO, Any

import psutil

from capture.files import ENDS, FLOWS, LINES
from capture.jsonl import Kind, Record, dumps
from capture.processes import Process
from capture.recorder import Closed, FlowRecorder, Memory, Opened, Stamp
from capture.redact import Redactor

ROOT = Path(__file__).resolve().parent.parent
CAPTURE = (sys.executable, "-m", "capture")
PACE = 500  # events a second
AGENTS = 10
NAMES: dict[Kind, str] = {"flows": FLOWS, "lines": LINES, "flow_ends": ENDS}
DELTAS = 200  # of an answer
MARK = re.compile(rb"<(\d{7})>")  # in a delta: its number, so that it can be recognised on the screen
ROWS, COLUMNS = 50, 120


# -- a terminal --------------------------------------------------------------------------------------------------------------


@dataclass
class Screen:
    """A command in a pseudo-terminal; `seen` is told every piece of its output and when it came."""

    words: tuple[str, ...]
    seen: Callable[[bytes, float], None] = lambda data, now: None
    drawn: int = 0  # bytes
    last: float = 0.0  # when something was drawn last
    process: subprocess.Popen[bytes] = field(init=False)

    def __enter__(self) -> "Screen":
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        environ = {**os.environ, "TERM": "xterm-256color"}
        self.process = subprocess.Popen(
            (*CAPTURE, *self.words), stdin=theirs, stdout=theirs, stderr=theirs, cwd=ROOT, env=environ, start_new_session=True
        )
        os.close(theirs)
        self._ours = ours
        self._drain = threading.Thread(target=self._read, daemon=True)
        self._drain.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._drain.join(5)
        os.close(self._ours)

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self._ours, 1 << 16)
            except OSError:  # the other end is closed
                return
            if not data:
                return
            self.last = time.monotonic()
            self.drawn += len(data)
            self.seen(data, self.last)

    @property
    def cpu(self) -> float:
        """Seconds of processor time so far."""
        times = psutil.Process(self.process.pid).cpu_times()
        return times.user + times.system

    def finished(self) -> "Usage":
        """What it took from start to end. (Its `ru_maxrss` is no less than what we had when we started it.)"""
        watched, peak = psutil.Process(self.process.pid), 0
        while not (ended := os.wait4(self.process.pid, os.WNOHANG))[0]:
            peak = max(peak, watched.memory_info().rss)
            time.sleep(0.02)
        self.process.returncode = 0
        return Usage(ended[2].ru_utime + ended[2].ru_stime, peak / 2**20)


@dataclass(frozen=True)
class Usage:
    cpu: float  # seconds
    memory: float  # MiB, peak


# -- agents that talk --------------------------------------------------------------------------------------------------------


class Talker:
    """An agent that is answered without end, as the recorder writes it."""

    def __init__(self, number: int) -> None:
        self.sid = f"{number:08d}-1111-4222-8333-444444444444"
        self.answers = 0
        self._memory = Memory()
        self._frames = self._talk()

    def next(self, number: int) -> list[Record]:
        """The records that one event more makes; `number` is in its text."""
        self._number = number
        return next(self._frames)

    def _talk(self) -> Iterator[list[Record]]:
        while True:
            self.answers += 1
            messages = [
                {"role": "user", "content": f"question {each} of {self.sid}"} for each in range(self.answers, self.answers + 1)
            ]
            body = {"model": "claude-opus-5-5", "stream": True, "tools": [{"name": "Bash"}], "messages": messages}
            opened = Opened(
                flow_id=f"{self.answers:08d}-{self.sid}",
                started=_stamp(),
                method="POST",
                url="https://api.anthropic.com/v1/messages",
                request_headers=(("user-agent", "claude-cli/2.1.329 (external, cli)"), ("x-claude-code-session-id", self.sid)),
                request_body=json.dumps(body).encode(),
                client_ip="127.0.0.1",
                status=200,
                response_headers=(("content-type", "text/event-stream"),),
                websocket=False,
                proxy="bench",
            )
            recorder = FlowRecorder(opened, Process(7, "/home/user/shop"), Redactor(b"salt"), self._memory)
            first = [each for each in recorder.open(_stamp()) if isinstance(each, Record)]
            usage = {"input_tokens": 10, "output_tokens": 1}
            start: dict[str, Any] = {"type": "message_start", "message": {"id": "m", "model": "claude-opus-5-5", "usage": usage}}
            yield first + _said(recorder, start)
            block = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
            yield _said(recorder, block)
            for each in range(DELTAS):
                text = f"<{self._number:07d}> some words" + ("\n" if each % 8 == 7 else " ")
                yield _said(recorder, {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}})
            yield _said(recorder, {"type": "content_block_stop", "index": 0})
            yield _said(recorder, {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 20}})
            last = _said(recorder, {"type": "message_stop"})
            yield last + [each for each in recorder.close(Closed.CLEANLY, _stamp(), None, None) if isinstance(each, Record)]


def _said(recorder: FlowRecorder, frame: dict[str, Any]) -> list[Record]:
    data = f"event: {frame['type']}\ndata: {json.dumps(frame)}\n\n".encode()
    return [each for each in recorder.feed(data, _stamp()) if isinstance(each, Record)]


def _stamp() -> Stamp:
    return Stamp(time.time(), time.monotonic())


class Writer(threading.Thread):
    """Appends so many events a second to a log, each with a write of its own; `written` knows when each was."""

    def __init__(self, directory: Path, agents: int) -> None:
        super().__init__(daemon=True)
        self._talkers = [Talker(number) for number in range(agents)]
        self._files: dict[Kind, IO[bytes]] = {}
        for kind, name in NAMES.items():
            self._files[kind] = open(directory / name, "ab", 0)  # noqa: SIM115 (closed in `stop`)
        self._stop = threading.Event()
        self.written: list[float] = []

    def run(self) -> None:
        began = time.monotonic()
        while not self._stop.is_set():
            due = int((time.monotonic() - began) * PACE)
            while len(self.written) < due:
                self._event()
            time.sleep(0.001)

    def stop(self) -> None:
        self._stop.set()
        self.join()
        for file in self._files.values():
            file.close()

    def _event(self) -> None:
        number = len(self.written)
        records = self._talkers[number % len(self._talkers)].next(number)
        self.written.append(time.monotonic())
        for kind in NAMES:
            if data := b"".join(dumps(record.fields) for record in records if record.kind == kind):
                self._files[kind].write(data)


# -- what is measured --------------------------------------------------------------------------------------------------------


def flat_out(directory: Path, events: int, rounds: int) -> dict[str, Any]:
    """CPU for each event of a log that is drawn from its beginning to its end, start-up taken off; a plain loop beside it."""
    empty = directory / "empty"
    empty.mkdir()
    (empty / LINES).touch()
    log = _log(directory / "log", events)
    with open(log / LINES, "rb") as lines:
        counted = sum(1 for _ in lines)  # line by line: what memory we take, `memory` counts as the command's
    found: dict[str, list[float]] = {"capture": [], "loop": []}
    drawn = 0
    for _ in range(rounds):
        start_up = _run(empty)[0].cpu
        usage, drawn = _run(log)
        found["capture"].append((usage.cpu - start_up) / counted * 1e6)
        found["loop"].append(_loop(log / LINES) / counted * 1e6)
    each = {name: median(values) for name, values in found.items()}
    return {"events": counted, "us_per_event": each["capture"], "loop_us": each["loop"], "bytes_drawn": drawn, "goal_us": 5}


def memory(directory: Path, events: int) -> dict[str, Any]:
    """Peak memory for a log, and for one four times as long."""
    small, large = _log(directory / "small", events // 4), _log(directory / "large", events)
    return {"events": events, "small_mib": _run(small)[0].memory, "large_mib": _run(large)[0].memory}


def paced(directory: Path, seconds: float, words: tuple[str, ...], goal: float) -> dict[str, Any]:
    """Share of a core at PACE events a second from AGENTS agents."""
    directory.mkdir()
    writer = Writer(directory, AGENTS)
    with Screen((*words, str(directory))) as screen:
        _settled(screen)
        writer.start()
        time.sleep(3)
        before, began, drawn = screen.cpu, time.monotonic(), screen.drawn
        time.sleep(seconds)
        share = (screen.cpu - before) / (time.monotonic() - began)
        drawn = screen.drawn - drawn
    writer.stop()
    return {"percent_of_a_core": share * 100, "goal_percent": goal, "bytes_drawn": drawn, "events": len(writer.written)}


def latency(directory: Path, seconds: float) -> dict[str, Any]:
    """Milliseconds from the write of an event to its text on the screen, one agent, PACE events a second."""
    directory.mkdir()
    writer = Writer(directory, 1)
    came: dict[int, float] = {}
    rest = b""

    def seen(data: bytes, now: float) -> None:
        nonlocal rest
        rest = (rest + data)[-(1 << 17) :]
        for mark in MARK.finditer(rest):
            came.setdefault(int(mark[1]), now)

    with Screen(("live", str(directory)), seen) as screen:
        _settled(screen)
        writer.start()
        time.sleep(seconds)
        writer.stop()
        time.sleep(1)
    waits = sorted((came[number] - at) * 1000 for number, at in enumerate(writer.written) if number in came)
    texts = sum(1 for number in range(len(writer.written)) if number in came)
    return {
        "events": len(writer.written),
        "seen": texts,
        "p50_ms": waits[len(waits) // 2],
        "p99_ms": waits[int(len(waits) * 0.99)],
        "max_ms": waits[-1],
        "goal_p99_ms": 100,
    }


def _log(directory: Path, events: int) -> Path:
    if not directory.exists():  # by another process: what starts in ours would count its memory as its own
        words = (sys.executable, "-m", "bench.generate", "--out", str(directory), "--lines", str(events))
        subprocess.run(words, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
    return directory


def _run(log: Path) -> tuple[Usage, int]:
    with Screen(("live", str(log), "--from", "start", "--no-follow")) as screen:
        usage = screen.finished()
    return usage, screen.drawn


def _loop(path: Path) -> float:
    """CPU seconds that a plain loop takes to parse every line and what it carries: what nobody can do without."""
    code = (
        "import sys,orjson\n"
        "for line in open(sys.argv[1],'rb'):\n"
        "    text = orjson.loads(line)['line'][6:]\n"
        "    if text[:1] == '{': orjson.loads(text)\n"
    )
    before = os.times()
    subprocess.run((sys.executable, "-c", code, str(path)), check=True)
    after = os.times()
    return after.children_user - before.children_user + after.children_system - before.children_system


def _settled(screen: Screen) -> None:
    """Waits until a command has drawn its first words, and a second more."""
    until = time.monotonic() + 20
    while not screen.drawn and time.monotonic() < until:
        select.select([], [], [], 0.05)
    time.sleep(1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer events, shorter rounds")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.add_argument("--only", default="flat,paced,latency,top,memory")
    options = parser.parse_args()
    events, seconds = (60_000, 8.0) if options.quick else (600_000, 30.0)
    place = Path(tempfile.mkdtemp(prefix="sse-capture-bench-"))
    try:
        questions: dict[str, Callable[[], dict[str, Any]]] = {
            "flat": lambda: flat_out(place, events, 3),
            "paced": lambda: paced(place / "paced", seconds, ("live",), 3),
            "latency": lambda: latency(place / "latency", seconds),
            "top": lambda: paced(place / "top", seconds, ("top",), 10),
            "memory": lambda: memory(place, events),
        }
        for name in options.only.split(","):
            found = questions[name]()
            if options.json:
                print(json.dumps({"name": name, **found}), flush=True)
            else:
                print(
                    f"{name:<8}",
                    *(f"{key} {value:,.2f}" if isinstance(value, float) else f"{key} {value:,}" for key, value in found.items()),
                    flush=True,
                )
    finally:
        shutil.rmtree(place, ignore_errors=True)


if __name__ == "__main__":
    main()
