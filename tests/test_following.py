"""A log is read as it grows: what is told so is what is told at once."""

import gzip
import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capture.channels import directory
from capture.channels.cutting import Cutter
from capture.channels.directory import FileSource, Growing, LogSource, Place
from capture.channels.stdio import StreamSource
from capture.files import ENDS, FLOWS, LINES, Unusable
from capture.jsonl import dumps
from capture.scan.following import Following, following
from capture.turns import Pairing, run
from capture.updates import Answered, CallClosed, TurnIdle, TurnStarted, Update
from tests.talk import Wire, call, result, says, user


def conversation(sid: str = "11111111-2222-4333-8444-555555555555") -> Wire:
    """A prompt, a call, its result, an answer, another prompt."""
    wire = Wire(sid=sid)
    first = [user("list the files")]
    wire.exchange(first, says("I look.", call("toolu_1", command="ls -l")))
    second = [*first, says("I look.", call("toolu_1", command="ls -l")), user(result("toolu_1", "a.txt"))]
    wire.exchange(second, says("There is a.txt."))
    wire.exchange([*second, says("There is a.txt."), user("thanks")], says("You are welcome."))
    return wire


def name_of(record: dict[str, Any]) -> str:
    return LINES if "data_count" in record else ENDS if "outcome" in record else FLOWS


def told(updates: Iterator[Update]) -> list[str]:
    """What was done, as far as it does not depend on how the log was cut."""
    said = []
    for update in updates:
        match update:
            case Answered(exchange):
                said.append(f"{exchange.flow_id} {exchange.outcome} {exchange.answer.text!r} turn {exchange.turn}")
            case CallClosed(each):
                said.append(f"{each.call_id} {each.arguments} {each.result.text if each.result else None}")
            case TurnStarted(turn):
                said.append(f"asked {turn.text}")
            case TurnIdle(turn):
                said.append(f"idle {turn.number}")
    return said


def followed(source: Following, pairing: Pairing) -> Iterator[Update]:
    """What comes until nothing does."""
    while items := source.poll():
        for item in items:
            yield from pairing.feed(item)


def append(path: Path, data: bytes) -> None:
    with open(path, "ab") as file:
        file.write(data)


# -- lines -------------------------------------------------------------------------------------------------------------------


@pytest.mark.row(15)
@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=10))
def test_lines_do_not_depend_on_how_they_are_cut(data: bytes, cuts: list[int]) -> None:
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    cutter = Cutter()
    found = [line for low, high in itertools.pairwise(places) for line in cutter.feed(data[low:high])]
    found += cutter.close()
    assert b"".join(line for _, line in found) == data
    assert all(data[offset:].startswith(line) for offset, line in found)
    assert all(line.endswith(b"\n") and line.count(b"\n") == 1 for _, line in found[:-1])


@pytest.mark.row(15)
def test_a_line_that_grows_is_given_once_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    growing = Growing(path, Place())
    assert growing.read() == []  # not there yet
    append(path, b'{"a":')
    assert growing.read() == []
    append(path, b'1}\n{"b"')
    assert growing.read() == [(0, b'{"a":1}\n')]
    append(path, b":2}\n")
    assert growing.read() == [(8, b'{"b":2}\n')]


@pytest.mark.row(15)
def test_a_huge_line_arrives_whole(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    growing = Growing(path, Place())
    line = b'"' + b"x" * (3 * directory.READ) + b'"\n'
    append(path, line)
    found: list[tuple[int, bytes]] = []
    while not found:
        found = growing.read()
    assert found == [(0, line)]


@pytest.mark.row(17)
def test_a_file_that_is_renamed_away_is_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    append(path, b"1\n")
    growing = Growing(path, Place())
    assert [line for _, line in growing.read()] == [b"1\n"]
    append(path, b"2\n")
    os.rename(path, tmp_path / "x.jsonl.1")
    assert [line for _, line in growing.read()] == [b"2\n"]
    append(path, b"4\n")
    append(tmp_path / "x.jsonl.1", b"3\n")  # by a writer that has not looked yet
    assert sorted(line for _ in range(3) for _, line in growing.read()) == [b"3\n", b"4\n"]


@pytest.mark.row(17)
def test_a_file_that_is_cut_is_read_from_its_beginning(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    append(path, b"111111\n")
    growing = Growing(path, Place())
    growing.read()
    os.truncate(path, 0)
    append(path, b"2\n")
    assert growing.read() == [(0, b"2\n")]


def test_from_now_on_means_from_the_next_whole_line(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    append(path, b"1\n" + b"2" * 200_000)
    source = FileSource(path, "now")
    assert not source.poll()
    append(path, b"2\n3\n")
    batch = source.poll()
    assert batch is not None
    assert [line[-3:] for _, line in batch.lines] == [b"22\n", b"3\n"]


@pytest.mark.parametrize("how", ["same", "other file", "cut"])
def test_reading_goes_on_where_it_stopped(tmp_path: Path, how: str) -> None:
    """A place says which file it is in: in another one reading begins at the beginning."""
    for name in (FLOWS, LINES, ENDS):
        append(tmp_path / name, b'{"n":1}\n')
    first = LogSource(tmp_path, "start")
    first.poll()
    position = first.position
    first.close()
    if how == "other file":
        os.rename(tmp_path / LINES, tmp_path / "old")
        append(tmp_path / LINES, b'{"n":7}\n')
    elif how == "cut":
        os.truncate(tmp_path / LINES, 0)
    append(tmp_path / LINES, b'{"n":2}\n')
    batch = LogSource(tmp_path, position).poll()
    assert batch is not None
    expected = {"same": [2], "other file": [7, 2], "cut": [2]}[how]
    assert [line for _, line in batch.lines] == [b'{"n":%d}\n' % number for number in expected]


# -- records -----------------------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(1, 40), min_size=1, max_size=30), st.booleans())
def test_what_is_followed_is_what_is_read_at_once(tmp_path_factory: pytest.TempPathFactory, rounds: list[int], join: bool) -> None:
    folder = tmp_path_factory.mktemp("log")
    records = conversation().records
    source, pairing = Following(LogSource(folder, "start"), folder, join=join), Pairing(events=True)
    said: list[str] = []
    rest = list(records)
    for count in [*rounds, len(records)]:
        now, rest = rest[:count], rest[count:]
        for name in (FLOWS, LINES, ENDS):  # as a proxy writes a round
            append(folder / name, b"".join(dumps(record) for record in now if name_of(record) == name))
        said += told(followed(source, pairing))
    said += told(pairing.close())
    assert said == told(run(records))


@pytest.mark.row(14)
def test_a_torn_line_is_noted_and_nothing_else_is_lost(tmp_path: Path) -> None:
    records = conversation().records
    for name in (FLOWS, LINES, ENDS):
        append(tmp_path / name, b'{"torn":\n' + b"".join(dumps(record) for record in records if name_of(record) == name))
    source, pairing = Following(LogSource(tmp_path, "start"), tmp_path), Pairing()
    assert told(followed(source, pairing)) + told(pairing.close()) == told(run(records))
    assert source.notes.count == 3


def test_flow_records_are_taken_as_the_lines_need_them(tmp_path: Path) -> None:
    """However much larger than one reading the records are: none comes after its flow's lines, few come long before."""
    wide = "x" * (directory.SOME // 2)
    for number in range(40):
        t = f"2026-11-21T08:00:{number:02d}.000"
        append(tmp_path / FLOWS, dumps({"t": t, "flow_id": f"f{number}", "sid": "s", "url": wide * (3 if number == 1 else 1)}))
        append(tmp_path / LINES, dumps({"event": "x", "t": t, "flow_id": f"f{number}", "line": "y" * (directory.READ // 4)}))
    source, flows, lines = LogSource(tmp_path, "start"), 0, 0
    while batch := source.poll():
        flows, lines = flows + len(batch.flows), lines + len(batch.lines)
        assert lines <= flows <= lines + 4
    assert (flows, lines) == (40, 40)


def test_a_flow_that_began_before_is_known_by_its_record(tmp_path: Path) -> None:
    records = conversation().records
    first = [record for record in records if record["flow_id"] == "flow-0001"]
    half = len(first) // 2
    for record in first[:half]:
        append(tmp_path / name_of(record), dumps(record))
    source, pairing = following(str(tmp_path), "now"), Pairing()
    for record in first[half:]:
        append(tmp_path / name_of(record), dumps(record))
    updates = list(followed(source, pairing))
    exchange = next(update.exchange for update in updates if isinstance(update, Answered))
    assert (exchange.model, exchange.client["name"]) == ("claude-opus-5-5", "claude-code")


def test_from_a_time_on_nothing_after_it_is_missing(tmp_path: Path) -> None:
    records = conversation().records
    for record in records:
        append(tmp_path / name_of(record), dumps(record))
    last = next(record for record in records if record["flow_id"] == "flow-0003")
    pairing = Pairing()
    said = told(followed(following(str(tmp_path), last["t"]), pairing))
    assert "asked thanks" in said


@pytest.mark.parametrize("packed", [True, False])
def test_one_file_of_lines_is_followed_too(tmp_path: Path, packed: bool) -> None:
    data = b"".join(dumps(record) for record in conversation().records if name_of(record) == LINES)
    path = tmp_path / ("log.jsonl.gz" if packed else "log.jsonl")
    path.write_bytes(gzip.compress(data) if packed else data)
    pairing = Pairing()
    said = told(followed(following(str(path), "start"), pairing)) + told(pairing.close())
    assert [line for line in said if line.startswith("asked")] == ["asked list the files", "asked thanks"]


@pytest.mark.row(14)
@pytest.mark.parametrize("damage", ["cut", "overwritten"])
def test_a_damaged_compressed_file_is_read_as_far_as_it_goes(tmp_path: Path, damage: str) -> None:
    data = b"".join(dumps(record) for record in conversation().records * 60 if name_of(record) == LINES)
    packed = bytearray(gzip.compress(data))
    half = len(packed) // 2
    (tmp_path / "x.jsonl.gz").write_bytes(packed[:half] if damage == "cut" else packed[:half] + b"x" * 100 + packed[half + 100 :])
    source, found = following(str(tmp_path / "x.jsonl.gz"), "start"), 0
    while (items := source.poll()) is not None:
        found += len(items)
    assert found
    assert "cannot be read any further" in source.notes.bad[-1].why


def test_what_cannot_be_read_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / LINES).mkdir()
    with pytest.raises(Unusable, match="is a directory"):
        following(str(tmp_path), "start").poll()


def test_a_pipe_is_read_to_its_end() -> None:
    here, there = os.pipe()
    source = StreamSource("pipe", os.fdopen(here, "rb"), live=True)
    assert source.poll() is not None  # nothing yet
    os.write(there, b"1\n2")
    batch = source.poll(1.0)
    assert batch is not None and [line for _, line in batch.lines] == [b"1\n"]
    os.close(there)
    batch = source.poll(1.0)
    assert batch is not None and [line for _, line in batch.lines] == [b"2"]
    assert source.poll(1.0) is None
    source.close()


def test_a_channel_nobody_knows_is_refused_with_the_ones_there_are() -> None:
    with pytest.raises(Unusable, match="is no channel"):
        following("gopher://x", "now")
