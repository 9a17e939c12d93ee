"""What `capture purge` takes out of a log, and what it leaves."""

import gzip
import hashlib
import json
import os
import stat
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from pathlib import Path

import pytest
import zstandard
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from capture import purges, purging
from capture.channels.directory import LogSource
from capture.cli import cli
from capture.files import ENDS, ERRORS, FLOWS, LINES, Unusable, safe_name
from capture.jsonl import Blob, Record
from capture.rotated import lines_of
from capture.store import LogWriter

FILES = (FLOWS, LINES, ENDS)


def record(kind: str, sid: str, flow_id: str, number: int = 0, text: str = "word", sha256: str = "") -> Record:
    t = "2026-11-21T10:00:00.000"
    if kind == "flows":
        return Record("flows", sid, flow_id, {"t": t, "started": 1.0, "flow_id": flow_id, "sid": sid, "client": {}, "v": 1})
    if kind == "flow_ends":
        return Record("flow_ends", sid, flow_id, {"t": t, "flow_id": flow_id, "sid": sid, "outcome": "complete", "lines": number})
    metadata = json.dumps({"sha256": sha256}, separators=(",", ":")) if sha256 else "{}"
    fields = {
        "event": "e",
        "t": t,
        "line": f"data: {text}",
        "metadata": metadata,
        "flow_id": flow_id,
        "data_count": number,
        "sid": sid,
    }
    return Record("lines", sid, flow_id, fields)


def say(writer: LogWriter, sid: str, flow_id: str, lines: int = 3, text: str = "word") -> None:
    """A whole flow."""
    writer.write(record("flows", sid, flow_id))
    for number in range(lines):
        writer.write(record("lines", sid, flow_id, number, text))
    writer.write(record("flow_ends", sid, flow_id, lines))
    writer.flush()


def everything(directory: Path) -> bytes:
    return b"".join(os.fsencode(path) + (path.read_bytes() if path.is_file() else b"") for path in sorted(directory.rglob("*")))


def run(directory: Path, *words: str) -> Result:
    return CliRunner().invoke(cli, ["purge", "--dir", str(directory), *words], prog_name="capture")


@pytest.fixture
def writer(tmp_path: Path) -> LogWriter:
    """A writer that goes on, with two sessions of one flow on record."""
    writer = LogWriter(tmp_path / "log", {})
    say(writer, "first-session", "flow-a", text="apple")
    say(writer, "second-session", "flow-b", text="pear")
    return writer


def test_without_yes_nothing_changes_and_what_would_go_is_said(writer: LogWriter) -> None:
    before = everything(writer.directory)
    result = run(writer.directory, "--session", "first", "--json")
    *rows, last = [json.loads(line) for line in result.stdout.splitlines()]
    assert [row["session"] for row in rows] == ["first-session"]
    assert (last["total"]["flows"], last["total"]["records"], last["purged"]) == (1, 5, False)
    assert everything(writer.directory) == before


def test_a_purged_session_is_nowhere_and_the_others_are_the_same_to_the_byte(writer: LogWriter) -> None:
    blob = hashlib.sha256(b"apple body").hexdigest()
    kept = {name: [line for line in (writer.directory / name).read_bytes().splitlines() if b"second" in line] for name in FILES}
    (writer.directory / "bodies" / blob).write_bytes(b"apple body")
    os.utime(writer.directory / "bodies" / blob, (1, 1))
    writer.error("x", "y", "z", "flow-a")
    (writer.directory / (LINES + ".bad")).write_bytes(b'{"offset":1}\n{"event":"e","line":"data: apple\n')
    (writer.directory / (LINES + ".index")).mkdir()
    (writer.directory / (LINES + ".index") / "facts").write_bytes(b"first-session")
    assert run(writer.directory, "--session", "first", "--yes").exit_code == 0
    rest = everything(writer.directory)
    assert all(word not in rest for word in (b"apple", b"first-session", b"flow-a", blob.encode()))
    assert {name: (writer.directory / name).read_bytes().splitlines() for name in FILES} == kept
    assert (writer.directory / "sse_logs" / "second-session" / "flow-b.jsonl").exists()


def test_all_leaves_nothing_of_any_session_and_the_writer_goes_on(writer: LogWriter) -> None:
    assert run(writer.directory, "--all", "--yes").exit_code == 0
    rest = everything(writer.directory)
    assert all(word not in rest for word in (b"apple", b"pear", b'session"', b"flow-"))
    say(writer, "third-session", "flow-c")
    assert [len((writer.directory / name).read_bytes().splitlines()) for name in FILES] == [1, 3, 1]
    assert not (writer.directory / ERRORS).read_bytes()


def test_a_flow_that_is_open_is_not_recorded_further_and_the_next_one_is(writer: LogWriter) -> None:
    """Also what waited to be written when its session was purged, its bodies and its end."""
    writer.write(record("flows", "first-session", "flow-c"))
    writer.write(record("lines", "first-session", "flow-c", 0, "apple"))
    writer.flush()
    writer.write(record("lines", "first-session", "flow-c", 1, "apple"))
    assert run(writer.directory, "--session", "first-session", "--yes").exit_code == 0
    writer.write(Blob("ab" * 32, b"apple"))
    writer.write(record("lines", "first-session", "flow-c", 2, "apple"))
    writer.flush()
    writer.write(Blob("ab" * 32, b"apple"))
    writer.write(record("lines", "first-session", "flow-c", 3, "apple"))
    writer.write(record("flow_ends", "first-session", "flow-c", 4))
    writer.flush()
    rest = everything(writer.directory)
    assert b"apple" not in rest and b"flow-c" not in rest
    assert b"1 open flow of purged sessions" in (writer.directory / ERRORS).read_bytes()
    say(writer, "first-session", "flow-d", text="fresh")
    assert everything(writer.directory).count(b"fresh") == 6


def test_the_recorder_hears_which_sessions_must_be_said_anew(writer: LogWriter) -> None:
    run(writer.directory, "--session", "first-session", "--yes")
    writer.heed()
    (notice,) = writer.forgotten
    assert notice.covers("first-session") and not notice.covers("second-session")


def test_who_follows_reads_on_where_it_was_nothing_twice(writer: LogWriter) -> None:
    source = LogSource(writer.directory, "start")
    heard = [raw for _ in range(3) if (batch := source.poll()) for _, raw in batch.lines]
    assert run(writer.directory, "--session", "first", "--yes").exit_code == 0
    say(writer, "third-session", "flow-c", text="plum")
    later = [raw for _ in range(5) if (batch := source.poll()) for _, raw in batch.lines]
    source.close()
    assert len(heard) == 6
    assert [b"plum" in raw for raw in later] == [True] * 3


def test_older_than_takes_whole_sessions_by_their_last_record(writer: LogWriter) -> None:
    assert run(writer.directory, "--older-than", "2026-11-21T09:00").stdout == ""
    rows = [json.loads(line) for line in run(writer.directory, "--older-than", "2026-11-21T11:00", "--json").stdout.splitlines()]
    assert len(rows) == 3


@pytest.mark.parametrize("words", [(), ("--all", "--session", "x"), ("--older-than", "soon"), ("--session", "none-such")])
def test_wrong_use_is_one_line_and_exit_2(writer: LogWriter, words: tuple[str, ...]) -> None:
    result = run(writer.directory, *words)
    assert result.exit_code != 0
    assert result.stdout == ""


@given(st.text(max_size=40), st.text(max_size=200))
def test_the_session_of_a_line_is_that_of_the_record(sid: str, payload: str) -> None:
    line = json.dumps({"line": payload, "sid": sid}, ensure_ascii=False, separators=(",", ":"))
    assert purging.sid_of(line.encode("utf-8", "surrogatepass")) == sid or "\\ud" in ascii(sid + payload)


@pytest.mark.parametrize("step", range(60))
def test_a_purge_killed_at_any_step_is_finished_by_the_next(writer: LogWriter, step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the system call it was killed before; the log is read in between, and written."""

    class Killed(BaseException):
        pass

    count = 0

    def counting[**P, R](call: Callable[P, R]) -> Callable[P, R]:
        def counted(*arguments: P.args, **named: P.kwargs) -> R:
            nonlocal count
            count += 1
            if count > step:
                raise Killed
            return call(*arguments, **named)

        return counted

    second = {name: [line for line in (writer.directory / name).read_bytes().splitlines() if b"second" in line] for name in FILES}
    with monkeypatch.context() as patched:
        for name in ("write", "rename", "fsync", "open", "unlink", "ftruncate", "rmdir", "mkdir"):
            patched.setattr(os, name, counting(getattr(os, name)))
        with suppress(Killed):
            purging.purge(writer.directory, frozenset({"first-session"}), frozenset({"flow-a"}))
    for name in FILES:  # each file is as before, or as after
        lines = (writer.directory / name).read_bytes().splitlines()
        assert [line for line in lines if b"second" in line] == second[name]
    say(writer, "third-session", "flow-c", text="plum")
    purging.finish(writer.directory)
    purging.purge(writer.directory, frozenset({"first-session"}), frozenset({"flow-a"}))
    rest = everything(writer.directory)
    assert b"apple" not in rest and not (writer.directory / purging.WORK).exists()
    for name in FILES:
        lines = (writer.directory / name).read_bytes().splitlines()
        assert [line for line in lines if b"second" in line] == second[name]
        assert sum(b"third" in line for line in lines) == (3 if name == LINES else 1)


def test_four_writers_lose_and_double_nothing_while_sessions_are_purged(tmp_path: Path) -> None:
    """Each writes its own session and one that is purged again and again; one reader follows."""
    directory = tmp_path / "log"
    writers = [LogWriter(directory, {}) for _ in range(4)]
    done = threading.Event()
    wrote: dict[str, int] = {}
    heard: list[bytes] = []

    def write(writer: LogWriter, name: str) -> None:
        writer.write(record("flows", name, f"flow-{name}"))
        number = 0
        while not done.is_set() or number < 100:
            writer.write(record("lines", name, f"flow-{name}", number))
            if number % 50 == 0:
                say(writer, "doomed", f"doomed-{name}-{number}", 2)
            if number % 3 == 0:
                writer.flush()
                done.wait(0.002)  # as recorders do: they gather what comes within a moment
            number += 1
        writer.write(record("flow_ends", name, f"flow-{name}", number))
        writer.flush()
        wrote[name] = number

    def follow(source: LogSource) -> None:
        while any(thread.is_alive() for thread in threads):
            if batch := source.poll(0.01):
                heard.extend(raw for _, raw in batch.lines)
        for _ in range(5):
            if batch := source.poll():
                heard.extend(raw for _, raw in batch.lines)

    threads = [threading.Thread(target=write, args=(writer, f"kept-{index}")) for index, writer in enumerate(writers)]
    reader = threading.Thread(target=follow, args=(LogSource(directory, "start"),))
    for thread in (*threads, reader):
        thread.start()
    for _ in range(5):
        purging.purge(directory, frozenset({"doomed"}), frozenset())
    done.set()
    for thread in (*threads, reader):
        thread.join()
    purging.purge(directory, frozenset({"doomed"}), frozenset())
    own = [json.loads(line) for line in (directory / LINES).read_bytes().splitlines()]
    followed = [json.loads(raw) for raw in heard]
    for name, count in wrote.items():
        assert [each["data_count"] for each in own if each["sid"] == name] == list(range(count))
        assert [each["data_count"] for each in followed if each["sid"] == name] == list(range(count))
        path = directory / "sse_logs" / safe_name(name) / f"flow-{name}.jsonl"
        assert len(path.read_bytes().splitlines()) == count + 2
    assert b"doomed" not in everything(directory)


def test_a_number_of_a_file_that_comes_again_is_not_taken_for_the_file_that_had_it(tmp_path: Path) -> None:
    """Inode numbers are given anew at once: of a reader's file only what came of it since counts."""
    (tmp_path / "proxies").mkdir()
    with open(tmp_path / purges.NOTICES, "wb") as board:
        for old, new, size, offset in ((1, 2, 100, 10), (2, 1, 90, 20), (1, 2, 80, 30), (2, 3, 70, 40)):
            purges.post(board.fileno(), purges.Notice(0.0, {LINES: purges.Moved(old, size, new, offset)}, None))
    path = tmp_path / LINES
    assert purges.continues(path, 1, 80, 2) == 30
    assert purges.continues(path, 1, 95, 3) is None  # 30 + what came since is not known to be read
    assert purges.continues(path, 2, 70, 3) == 40
    assert purges.continues(path, 2, 69, 3) is None
    assert purges.continues(path, 9, 100, 3) is None


def test_a_file_that_was_renamed_a_moment_ago_gets_its_last_lines_while_it_is_purged(
    writer: LogWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy looks once a second whether its files still are where they were."""
    rotated = writer.directory / (LINES + ".1")
    (writer.directory / LINES).rename(rotated)
    at_once = purging.shut

    def late(directory: Path) -> AbstractContextManager[int]:
        say(writer, "second-session", "flow-late", text="plum")
        return at_once(directory)

    monkeypatch.setattr(purging, "shut", late)
    purging.purge(writer.directory, frozenset({"first-session"}), frozenset({"flow-a"}))
    say(writer, "second-session", "flow-later", text="plum")
    old, new = rotated.read_bytes().splitlines(), (writer.directory / LINES).read_bytes().splitlines()
    assert (len(old), len(new)) == (6, 3)  # of flow-b and flow-late, of flow-later
    assert b"apple" not in everything(writer.directory)


PACKINGS: dict[str, Callable[[bytes], bytes]] = {"": bytes, ".gz": gzip.compress, ".zst": zstandard.compress}


def put_aside(directory: Path, suffix: str) -> dict[str, Path]:
    """The central files renamed away and compressed, as logrotate does it."""
    found = {}
    for name in FILES:
        found[name] = directory / f"{name}-20261121{suffix}"
        found[name].write_bytes(PACKINGS[suffix]((directory / name).read_bytes()))
        (directory / name).unlink()
    return found


@pytest.mark.parametrize("suffix", PACKINGS)
def test_what_was_rotated_away_is_purged_as_well_compressed_or_not(writer: LogWriter, suffix: str) -> None:
    """Bodies that only old parts refer to are no more nobody's than others."""
    name = hashlib.sha256(b"pear body").hexdigest()
    body = writer.directory / "bodies" / name
    body.write_bytes(b"pear body")
    os.utime(body, (1, 1))
    writer.write(record("lines", "second-session", "flow-b", 9, "pear", sha256=name))
    writer.flush()
    kept = {file: [line for line in (writer.directory / file).read_bytes().splitlines() if b"second" in line] for file in FILES}
    parts = put_aside(writer.directory, suffix)
    assert [json.loads(line)["session"] for line in run(writer.directory, "--all", "--json").stdout.splitlines()[:-1]] == [
        "first-session",
        "second-session",
    ]
    assert run(writer.directory, "--session", "first", "--yes").exit_code == 0
    assert {file: list(lines_of(part)) for file, part in parts.items()} == kept
    assert body.exists()
    assert all(stat.S_IMODE(part.stat().st_mode) == 0o600 for part in parts.values())
    assert run(writer.directory, "--all", "--yes").exit_code == 0
    assert not any(list(lines_of(part)) for part in parts.values()) and not body.exists()


def test_a_part_that_is_damaged_is_said_and_nothing_is_changed(writer: LogWriter) -> None:
    """Nobody can say what stands there."""
    part = put_aside(writer.directory, ".gz")[LINES]
    part.write_bytes(part.read_bytes()[:-20])
    say(writer, "third-session", "flow-c")
    before = everything(writer.directory)
    result = run(writer.directory, "--all", "--yes")
    assert isinstance(result.exception, Unusable) and f"{part} cannot be read" in str(result.exception)
    assert everything(writer.directory) == before


def test_a_part_that_is_compressed_while_it_is_purged_is_not_brought_back(
    writer: LogWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = put_aside(writer.directory, "")[LINES]
    at_once = purging.shut

    def late(directory: Path) -> AbstractContextManager[int]:
        Path(f"{part}.gz").write_bytes(gzip.compress(part.read_bytes()))
        part.unlink()
        return at_once(directory)

    monkeypatch.setattr(purging, "shut", late)
    with pytest.raises(Unusable, match="try again"):
        purging.purge(writer.directory, frozenset({"first-session"}), frozenset({"flow-a"}))
    monkeypatch.undo()
    assert run(writer.directory, "--session", "first", "--yes").exit_code == 0
    assert not part.exists()
    assert all(b"first" not in line for line in lines_of(Path(f"{part}.gz")))


@pytest.mark.parametrize("begun", [b"", b"\x1f\x8b\x08 the beginning"])
def test_a_part_that_is_being_compressed_is_waited_for(writer: LogWriter, begun: bytes) -> None:
    """What `gzip` has opened it goes on with, and takes the name away that we would have given to another file."""
    part = put_aside(writer.directory, "")[LINES]
    Path(f"{part}.gz").write_bytes(begun)
    before = everything(writer.directory)
    result = run(writer.directory, "--session", "first", "--yes")
    assert isinstance(result.exception, Unusable) and f"{part.name} is being compressed" in str(result.exception)
    assert everything(writer.directory) == before


@pytest.mark.parametrize("late", ["compressed", "rotated"])
def test_what_happens_to_the_parts_while_they_are_purged_is_noticed(
    writer: LogWriter, monkeypatch: pytest.MonkeyPatch, late: str
) -> None:
    part = put_aside(writer.directory, "")[LINES]
    (writer.directory / LINES).write_bytes(part.read_bytes())
    at_once = purging.shut

    def meanwhile(directory: Path) -> AbstractContextManager[int]:
        if late == "compressed":
            Path(f"{part}.gz").write_bytes(b"\x1f\x8b\x08 the beginning")
        else:
            (directory / LINES).rename(directory / f"{LINES}-20261121-124000")
        return at_once(directory)

    with monkeypatch.context() as patch:
        patch.setattr(purging, "shut", meanwhile)
        with pytest.raises(Unusable, match="meanwhile: try again"):
            purging.purge(writer.directory, frozenset({"first-session"}), frozenset({"flow-a"}))
    assert not (writer.directory / purging.WORK).exists()
    Path(f"{part}.gz").unlink(missing_ok=True)
    assert run(writer.directory, "--session", "first", "--yes").exit_code == 0
    assert b"apple" not in everything(writer.directory)


def test_a_record_that_lacks_its_newline_stays_in_an_old_part_as_well(writer: LogWriter) -> None:
    part = put_aside(writer.directory, "")[LINES]
    part.write_bytes(part.read_bytes()[:-1])
    last = part.read_bytes().splitlines()[-1]
    assert run(writer.directory, "--session", "first", "--yes").exit_code == 0
    assert list(lines_of(part))[-1] == last and b"second" in last


def test_a_part_in_which_nothing_goes_stays_as_it_was_made(writer: LogWriter) -> None:
    part = put_aside(writer.directory, ".gz")[LINES]
    before = part.stat()
    assert run(writer.directory, "--older-than", "2026-11-20", "--yes").exit_code == 0
    purging.purge(writer.directory, frozenset({"third-session"}), frozenset())
    assert part.stat() == before


def test_what_nobody_here_can_read_is_said_and_bodies_it_may_refer_to_stay(writer: LogWriter) -> None:
    strange = writer.directory / f"{LINES}.1.xz"
    strange.write_bytes(b"\xfd7zXZ")
    body = writer.directory / "bodies" / ("a" * 64)
    body.write_bytes(b"of whom?")
    os.utime(body, (1, 1))
    result = run(writer.directory, "--session", "first", "--yes")
    assert f"not looked into: {strange.name}" in result.stderr
    assert body.exists()


def test_drafts_of_a_redaction_that_was_killed_go(writer: LogWriter) -> None:
    draft = writer.directory / f".{LINES}.1-31950"
    draft.write_bytes(b"apple")
    assert run(writer.directory, "--session", "first", "--yes").exit_code == 0
    assert not draft.exists()
