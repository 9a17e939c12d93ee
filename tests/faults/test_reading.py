"""Rows 14, 15, 16: what stands in a damaged log, in one that is being written, and in one that four proxies write."""

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import CliRunner, Result

from bench.generate import Wanted, generate
from capture.channels.directory import LogSource
from capture.cli import cli
from capture.files import ENDS, FLOWS, LINES, follow, size_of, whole_lines
from capture.reader import LogReader
from capture.scan import Notes, Source, read
from capture.store import LogWriter
from tests.faults.harness import PATIENCE, STOP, Client, Origin, Proxy, chunked, event
from tests.test_store import ROOT
from tests.test_truth import SMALL

MIB = 1 << 20

# -- row 14 ------------------------------------------------------------------------------------------------------------------


def damage(length: int) -> dict[str, bytes]:
    """Lines that are no records; `length`: bytes of the longest."""
    return {
        "NUL": b"\0" * 65536,
        "binary": bytes(byte for byte in range(256) if byte != 10) * 100,
        "torn": b'{"event":"content_block_delta","t":"2026-11-17T08:00:00.000","line":"data: {\\"type\\":\\"content_bl',
        "the end of a record": b'text\\":\\"x\\"}}","metadata":"{}","flow_id":"f","data_count":7,"sid":"s"}',
        "no JSON": b"Segmentation fault (core dumped)",
        "no record": b"[1,2,3]",
        "nested": b"[" * 100_000,
        "very long": b'{"event":"x","line":"' + b"x" * length,
    }


QUESTIONS = {
    # name: (words, whether all of the lines file is read)
    "sessions": (["sessions", "--json"], False),
    "prompts": (["prompts", "-n", "100000", "--json"], True),
    "turns": (["turns", "-n", "100000", "--json"], True),
    "stats": (["stats", "--json"], True),
    "query": (["query", "SELECT count(*) AS n, sum(length(line)) AS size FROM lines"], False),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log in which nothing went wrong, with everything in it that occurs."""
    out = tmp_path_factory.mktemp("whole")
    generate(Wanted(out, sessions=9, scale=SMALL))
    return out


@pytest.fixture(scope="module")
def damaged(whole: Path, tmp_path_factory: pytest.TempPathFactory, times: Callable[[int, int], int]) -> tuple[Path, int]:
    """(the same log with lines between its own that are none, how many there are in the lines file); its tail is torn."""
    out = tmp_path_factory.mktemp("damaged")
    bad = list(damage(times(8, 300) * MIB).values())
    for name in (FLOWS, LINES, ENDS):
        records = (whole / name).read_bytes().splitlines(keepends=True)
        few = bad if name == LINES else bad[:-1]
        with open(out / name, "wb") as file:
            for number, record in enumerate(records):
                file.write(record)
                if number % (len(records) // len(few)) == 1 and number // (len(records) // len(few)) < len(few):
                    file.write(few[number // (len(records) // len(few))] + b"\n")
            file.write(records[0][:50])
    return out, len(bad) + 1


def capture(log: Path, *words: str) -> Result:
    return CliRunner().invoke(cli, [*words, "--dir", str(log)], prog_name="capture")


@pytest.mark.row(14)
@pytest.mark.parametrize("name", QUESTIONS)
def test_what_is_asked_of_a_damaged_log_is_answered_as_of_the_whole_one(
    whole: Path, damaged: tuple[Path, int], name: str, record_property: Callable[[str, object], None]
) -> None:
    words, all_lines = QUESTIONS[name]
    expected, actual = capture(whole, *words), capture(damaged[0], *words)
    assert (expected.exit_code, actual.exit_code) == (0, 0), actual.output[-500:]
    assert expected.stdout and actual.stdout == expected.stdout
    assert "Traceback" not in actual.output
    if all_lines:
        assert "skipped" in actual.stderr and str(damaged[0] / LINES) in actual.stderr
    record_property("questions answered alike", 1)


@pytest.mark.row(14)
@pytest.mark.parametrize("engine", ["python", "rg", "duckdb", "index", "auto"])
def test_every_engine_recovers_every_record_and_counts_every_line_that_is_none(
    whole: Path, damaged: tuple[Path, int], engine: str, record_property: Callable[[str, object], None]
) -> None:
    notes = Notes()
    items = [_record(item) for item in read(Source(damaged[0], None), engine=engine, notes=notes, join=False)]
    assert items == [_record(item) for item in read(Source(whole, None), engine="python", join=False)]
    assert len([bad for bad in notes.bad if Path(bad.file).name == LINES]) == damaged[1]
    recovered = sum("data_count" in item for item in items)
    record_property("lines", recovered + damaged[1])
    record_property("lines recovered", recovered)
    record_property("lines passed over", damaged[1])


def _record(item: object) -> dict[str, Any]:
    """A record without its place in the file."""
    assert isinstance(item, dict)
    return {name: value for name, value in item.items() if name != "offset"}


@pytest.mark.row(14)
def test_the_check_finds_every_line_that_is_none_and_exits_1(damaged: tuple[Path, int]) -> None:
    result = capture(damaged[0], "check", "--json")
    assert result.exit_code == 1
    summary = json.loads(result.stdout.splitlines()[-1])
    assert summary["counts"]["bad_line"] == damaged[1] + 2 * (damaged[1] - 1)  # in the other two files there is one less


@pytest.mark.row(14)
def test_readers_of_records_pass_over_what_is_none(whole: Path, damaged: tuple[Path, int]) -> None:
    """The reader, one that follows, and one that reads as records come (what ships and watches)."""
    for ask in (LogReader.flows, LogReader.lines, LogReader.ends):
        found = [record for record in ask(LogReader(damaged[0])) if record.get("flow_id") not in (None, "f")]
        assert found == list(ask(LogReader(whole)))
    source, there = LogSource(damaged[0], "start"), set[bytes]()
    while source.position[LINES].offset < size_of(damaged[0] / LINES) - 50:  # without its torn tail
        batch = source.poll()
        there |= {raw for _, raw in batch.lines} if batch else set()
    source.close()
    assert there >= set((whole / LINES).read_bytes().splitlines(keepends=True))
    assert all(raw.endswith(b"\n") for raw in there)


@pytest.mark.row(14)
def test_the_next_start_moves_torn_tails_aside_and_leaves_the_rest(whole: Path, tmp_path: Path) -> None:
    """What stands in the middle stays where it is: only a tail can be taken out without moving records."""
    middle = damage(1000)
    for name in (FLOWS, LINES, ENDS):
        own = (whole / name).read_bytes()
        (tmp_path / name).write_bytes(b"\n".join(middle.values()) + b"\n" + own + b'{"torn":"')
    before = {name: (tmp_path / name).read_bytes() for name in (FLOWS, LINES, ENDS)}
    LogWriter(tmp_path, {}).close()
    for name in (FLOWS, LINES, ENDS):
        assert (tmp_path / name).read_bytes() == before[name].removesuffix(b'{"torn":"')
        facts, moved = (tmp_path / f"{name}.bad").read_bytes().splitlines()
        assert (orjson.loads(facts)["offset"], moved) == (len(before[name]) - 9, b'{"torn":"')


# -- row 15 ------------------------------------------------------------------------------------------------------------------

LONG = 20_000_000  # characters of one line
WRITER = """
import sys
from pathlib import Path
from capture.store import LogWriter
from tests.test_store import line_record
writer = LogWriter(Path(sys.argv[1]), {})
for number in range(int(sys.argv[2])):
    writer.write(line_record(number, text="x" * int(sys.argv[3])))
    writer.write(line_record(1000 + number, "small", text="y"))
    writer.flush()
writer.close()
"""


@pytest.mark.row(15)
def test_a_reader_never_parses_half_of_a_line_that_is_being_written(
    tmp_path: Path, times: Callable[[int, int], int], record_property: Callable[[str, object], None]
) -> None:
    """One that follows, one that reads as records come, and one that reads the whole file again and again."""
    count, size = times(4, 30), times(5_000_000, LONG)
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), str(count), str(size)], cwd=ROOT)
    lines: dict[str, int] = {"followed": 0, "source": 0}
    errors, looks = [], [0]

    def parsed(raw: bytes, who: str) -> None:
        try:
            orjson.loads(raw)
        except orjson.JSONDecodeError as problem:
            errors.append(f"{who}: {problem}")
        else:
            lines[who] = lines.get(who, 0) + 1

    def followed() -> None:
        for raw in follow(tmp_path / LINES, 0, lambda: writer.poll() is not None):
            parsed(raw, "followed")

    thread = threading.Thread(target=followed)
    thread.start()
    source = LogSource(tmp_path, "start")
    while writer.poll() is None or lines["source"] < 2 * count:
        batch = source.poll()
        for _, raw in batch.lines if batch else []:
            parsed(raw, "source")
        for raw in whole_lines(tmp_path / LINES, max(0, size_of(tmp_path / LINES) - 2 * size)):
            looks[0] += raw.startswith(b"{") and raw.endswith(b"}")
    source.close()
    thread.join(PATIENCE)
    assert writer.returncode == 0
    record_property("lines of 20 MB" if size == LONG else f"lines of {size // 1_000_000} MB", count)
    record_property("lines parsed", sum(lines.values()))
    record_property("parse errors", len(errors))
    assert errors == []
    assert lines == {"followed": 2 * count, "source": 2 * count}


# -- row 16 ------------------------------------------------------------------------------------------------------------------

PROXIES = 4
PROMPT = 16 * MIB  # bytes of one message of a request: one line, where the limit allows it


@pytest.fixture
def four(tmp_path: Path, confdir: Path) -> Iterator[list[Proxy]]:
    options = ("--set", f"sse_inline_limit={64 * MIB}")
    proxies = [Proxy(tmp_path, confdir, options, tmp_path / f"out-{number}") for number in range(PROXIES)]
    yield proxies
    for proxy in proxies:
        if proxy.process.poll() is None:
            proxy.end()


@pytest.mark.row(16)
def test_the_long_lines_of_four_proxies_stand_whole_beside_each_other(
    four: list[Proxy], origin: Origin, times: Callable[[int, int], int], record_property: Callable[[str, object], None]
) -> None:
    rounds, size = times(1, 8), times(4 * MIB, PROMPT)
    urls: list[str] = []

    def talk(number: int) -> None:
        for each in range(rounds):
            letter = b"%x" % number
            body = b'{"messages":[{"role":"user","content":"%d %s"}]}' % (each, letter * size)
            url = origin.serve(chunked([event(0), event(1, 100_000), STOP]))
            with Client(four[number].port) as client:
                assert client.ask(url, body, headers=(("session-id", f"s{number}"),)).ended == "clean"
            urls.append(url)

    threads = [threading.Thread(target=talk, args=(number,)) for number in range(PROXIES)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(urls) == rounds * PROXIES
    log = four[0].log
    flows = [log.ended(url) for url in urls]
    for proxy in four:
        proxy.end()
    raw = list(whole_lines(four[0].directory / LINES))
    bad = [line[:80] for line in raw if not line.startswith(b"{") or not line.endswith(b"}")]
    large = [line for line in raw if len(line) > size]
    record_property("lines", len(raw))
    record_property(f"of {size // MIB} MiB", len(large))
    record_property("bad", len(bad))
    assert bad == []
    assert len(large) == rounds * PROXIES
    assert {flow.end["outcome"] for flow in flows} == {"complete"}
    assert log.audit() == rounds * PROXIES
