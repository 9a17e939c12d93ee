"""Tool calls kept beside the index are those that one reading of the log finds, however it came to be."""

import json
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from bench.generate import FILES as DIALECTS
from bench.generate import Wanted, generate
from bench.story import Scale
from capture.cli import cli
from capture.extract import KINDS, json_line, keeping
from capture.extract.sharing import placed
from capture.files import ENDS, FLOWS, LINES
from capture.jsonl import dumps
from capture.scan import Notes, Source, read
from capture.scan.index import place_of
from tests.talk import Wire, call, result, says, user

(KIND,) = (kind for kind in KINDS if kind.name == keeping.KEPT)


@pytest.fixture(scope="module", params=tuple(DIALECTS))
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log with all that can stand in one: overlapping flows, sub-agents, bad lines, a torn tail."""
    out = tmp_path_factory.mktemp(request.param)
    sessions = {"ours": 9, "claude_log": 3, "codex_log": 3}[request.param]
    generate(Wanted(out, request.param, sessions=sessions, nasty=True, scale=Scale(exchanges=2, deltas=4, result=60)))
    return out


def source(folder: Path) -> Source:
    return Source(folder) if (folder / FLOWS).exists() else Source(None, str(folder / LINES))


def untouched(items: Iterable[object], notes: Notes) -> Iterator[object]:
    return iter(items)


def kept(folder: Path) -> tuple[list[bytes], Notes]:
    notes = Notes()
    return list(keeping.rows(source(folder), KIND, notes, untouched)), notes  # type: ignore[arg-type]


def plainly(folder: Path) -> tuple[list[bytes], Notes]:
    """The same by one reading of all lines."""
    notes = Notes()
    items = read(source(folder), KIND.holds, engine="python", notes=notes)
    return [json_line(row) for _, _, row in placed(items, (KIND,), None)], notes


def agree(folder: Path) -> None:
    (found, noted), (expected, notes) = kept(folder), plainly(folder)
    assert Counter(found) == Counter(expected)
    assert noted.count == notes.count
    assert {(bad.file, bad.offset) for bad in noted.bad} == {(bad.file, bad.offset) for bad in notes.bad}


def cut(whole: Path, folder: Path, parts: tuple[float, float, float]) -> None:
    """The log as it stood when its files had been written so far."""
    for name, part in zip((LINES, FLOWS, ENDS), parts, strict=True):
        if (whole / name).exists():
            lines = (whole / name).read_bytes().splitlines(keepends=True)
            grown = b"".join(lines[: round(len(lines) * part)])
            with open(folder / name, "ab") as file:  # the same file, which has grown
                file.write(grown[file.tell() :])


def heads(folder: Path) -> Path:
    return place_of(source(folder)) / keeping.HEAD


def sound(whole: Path, folder: Path) -> Path:
    """A log without a torn tail."""
    cut(whole, folder, (1, 1, 1))
    with open(folder / LINES, "r+b") as file:
        data = file.read()
        file.truncate(data.rindex(b"\n") + 1)
    return folder


@pytest.mark.parametrize("torn", [False, True])
def test_a_log_asked_again_says_the_same_in_the_same_order(whole: Path, tmp_path: Path, torn: bool) -> None:
    cut(whole, tmp_path, (1, 1, 1)) if torn else sound(whole, tmp_path)
    expected, _ = plainly(tmp_path)
    assert expected
    for _ in range(2):
        found, _ = kept(tmp_path)
        assert found == expected
        agree(tmp_path)
    assert heads(tmp_path).exists() != torn


@settings(max_examples=8, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=4))
def test_a_log_that_grows_says_each_time_what_one_reading_of_it_says(
    whole: Path, tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[float, float, float]]
) -> None:
    folder = tmp_path_factory.mktemp("grown")
    for parts in zip(*map(sorted, zip(*steps, strict=True)), strict=True):
        cut(whole, folder, parts)
        if any((folder / name).exists() for name in (FLOWS, ENDS)) or (folder / LINES).stat().st_size:
            agree(folder)
    shutil.rmtree(folder)


def test_only_sessions_that_went_on_are_read_anew(whole: Path, tmp_path: Path) -> None:
    sound(whole, tmp_path)
    kept(tmp_path)
    last = (tmp_path / LINES).read_bytes().splitlines(keepends=True)[-1]
    with open(tmp_path / LINES, "ab") as file:
        file.write(last.replace(b'"data_count":', b'"data_count":9'))
    asked: list[str] = []

    def watched(items: Iterable[object], notes: Notes) -> Iterator[object]:
        for item in items:
            if isinstance(item, dict):
                asked.append(item["sid"])
            yield item

    list(keeping.rows(source(tmp_path), KIND, Notes(), watched))  # type: ignore[arg-type]
    assert json.loads(last)["sid"] in asked
    every = {str(item["sid"]) for item in read(source(tmp_path), join=False) if isinstance(item, dict)}
    assert 0 < len(set(asked)) < len(every)
    agree(tmp_path)


def test_flow_records_that_come_after_their_lines_count(whole: Path, tmp_path: Path) -> None:
    for parts in ((1, 0, 0), (1, 1, 0), (1, 1, 1)):
        cut(whole, tmp_path, parts)
        with open(tmp_path / LINES, "r+b") as file:
            file.truncate(file.read().rindex(b"\n") + 1)
        agree(tmp_path)
        assert heads(tmp_path).exists()


def test_a_sub_agent_that_goes_on_is_still_its_parents(tmp_path: Path) -> None:
    """It has a session of its own: what is said there is known to be its parent's only with the parent's session."""
    wire, child = Wire(), "child"
    wire.exchange([user("Find it")], says(call("t1", "Task", prompt="Look")))
    said = [user("Look")]
    for number in range(3):
        wire.exchange(said, answer := says(call(f"c{number}", command="ls")), sid=child)
        said += [answer, user(result(f"c{number}"))]
    for records in flows_of(wire):
        for record in records:
            if record.get("sid") == child and "client" in record:
                record["client"] = {**record["client"], "parent_id": wire.sid}
            name = LINES if "data_count" in record else ENDS if "outcome" in record else FLOWS
            with open(tmp_path / name, "ab") as file:
                file.write(dumps(record))
        agree(tmp_path)
        assert heads(tmp_path).exists()
    assert child in {json.loads(line)["agent"] for line in kept(tmp_path)[0]}


def flows_of(wire: Wire) -> Iterator[list[dict[str, Any]]]:
    """The records flow by flow."""
    for flow_id in dict.fromkeys(record["flow_id"] for record in wire.records):
        yield [record for record in wire.records if record["flow_id"] == flow_id]


@pytest.mark.parametrize("name", [keeping.ROWS, keeping.TABLE, keeping.HEAD])
@pytest.mark.parametrize("damage", [b"", b"garbage", None])
def test_what_is_damaged_counts_for_nothing(whole: Path, tmp_path: Path, name: str, damage: bytes | None) -> None:
    sound(whole, tmp_path)
    kept(tmp_path)
    path = place_of(source(tmp_path)) / name
    data = path.read_bytes()
    path.write_bytes(damage if damage is not None else data[:-9] + bytes([data[-9] ^ 1]) + data[-8:])
    agree(tmp_path)
    assert path.read_bytes() == data, "it was made anew"


def test_another_log_in_its_place_and_another_program_start_anew(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sound(whole, tmp_path)
    kept(tmp_path)
    lines = (tmp_path / LINES).read_bytes().splitlines(keepends=True)
    (tmp_path / LINES).write_bytes(b"".join(lines[: len(lines) // 2]))
    agree(tmp_path)
    (tmp_path / LINES).write_bytes(b"".join(lines[len(lines) // 2 :]))
    agree(tmp_path)
    monkeypatch.setattr(keeping, "_version", lambda: [keeping.FORMAT, 0])
    head = heads(tmp_path).read_bytes()
    agree(tmp_path)
    assert heads(tmp_path).read_bytes() != head


def test_who_may_not_write_beside_the_log_gets_the_same(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sound(whole, tmp_path)

    def refuse(path: Path) -> int:
        raise PermissionError(path)

    monkeypatch.setattr(keeping, "open_private", refuse)
    agree(tmp_path)
    assert not heads(tmp_path).exists()


def test_more_sessions_than_pairing_remembers_are_read_as_ever(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sound(whole, tmp_path)
    monkeypatch.setattr(keeping, "MAX_SESSIONS", 1)
    agree(tmp_path)
    assert not heads(tmp_path).exists()


def test_the_files_are_private_and_a_reading_that_was_left_leaves_nothing(whole: Path, tmp_path: Path) -> None:
    sound(whole, tmp_path)
    reading = keeping.rows(source(tmp_path), KIND, Notes(), untouched)  # type: ignore[arg-type]
    next(reading)
    reading.close()
    place = place_of(source(tmp_path))
    assert not list(place.glob("calls*.new"))
    assert not heads(tmp_path).exists()
    kept(tmp_path)
    for name in (keeping.ROWS, keeping.TABLE, keeping.HEAD):
        assert (place / name).stat().st_mode & 0o777 == 0o600


def test_the_command_says_the_same_with_every_engine_and_each_time(whole: Path, tmp_path: Path) -> None:
    sound(whole, tmp_path)
    where = ["--dir", str(tmp_path)] if source(tmp_path).directory else ["--file", str(tmp_path / LINES)]
    said = []
    for engine in ("python", "index", "index"):
        told = CliRunner().invoke(cli, ["extract", "--kinds", "tool_calls", "--engine", engine, *where, "-"])
        assert told.exit_code == 0, told.output
        said.append((told.stdout, told.stderr))
        out = tmp_path / "out"
        again = CliRunner().invoke(cli, ["extract", "--kinds", "tool_calls", "--engine", engine, *where, "-o", str(out)])
        assert again.exit_code == 0
        rows = [json.loads(line) for line in (out / "tool_calls.jsonl").read_text("utf-8").splitlines()]
        assert [{"kind": "tool_calls", **row} for row in rows] == [json.loads(line) for line in told.stdout.splitlines()]
    assert said[0] == said[1] == said[2]
    assert heads(tmp_path).exists()
