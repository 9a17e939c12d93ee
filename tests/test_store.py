"""The log directory: whole lines, whatever happens to the disk, the process or the names."""

import contextlib
import errno
import fcntl
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from capture import appending, files, proxy, store
from capture.appending import Appender
from capture.files import Unusable, follow, parse, safe_name, whole_lines
from capture.jsonl import Blob, Record
from capture.presence import living
from capture.reader import LogReader
from capture.records import EndRecord
from capture.rotating import rotate
from capture.store import LogWriter

ROOT = Path(__file__).parent.parent


def flow_record(flow_id: str = "flow-1", sid: str = "session-1", proxy: str | None = None) -> Record:
    return Record("flows", sid, flow_id, {"t": "now", "flow_id": flow_id, "sid": sid, "proxy": proxy, "v": 1})


def line_record(number: int, flow_id: str = "flow-1", sid: str = "session-1", text: str = "x") -> Record:
    fields = {
        "event": "e",
        "t": "now",
        "line": f"data: {text}",
        "metadata": "{}",
        "flow_id": flow_id,
        "data_count": number,
        "sid": sid,
    }
    return Record("lines", sid, flow_id, fields)


def end_record(flow_id: str = "flow-1", sid: str = "session-1") -> Record:
    return Record("flow_ends", sid, flow_id, {"t": "now", "flow_id": flow_id, "sid": sid, "outcome": "complete", "v": 1})


def write(directory: Path, *entries: Record | Blob) -> None:
    writer = LogWriter(directory, {})
    for entry in entries:
        writer.write(entry)
    writer.close()


def open_files(directory: Path) -> list[str]:
    """The files under a directory that this process has open."""
    links = [f"/proc/self/fd/{number}" for number in os.listdir("/proc/self/fd")] if Path("/proc").exists() else []
    return [name for link in links if os.path.lexists(link) and (name := os.readlink(link)).startswith(f"{directory}/")]


def errors(directory: Path) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in whole_lines(directory / files.ERRORS)]


# -- what is written is what is read -----------------------------------------------------------------------------------------


def test_records_stand_in_the_central_log_and_in_the_file_of_their_flow(tmp_path: Path) -> None:
    entries = [
        flow_record(),
        line_record(0),
        line_record(1, text="é\u2028\x85\n"),
        end_record(),
        flow_record("flow-2"),
        line_record(0, "flow-2"),
    ]
    write(tmp_path, *entries)
    log = LogReader(tmp_path)
    assert list(log.flows()) == [entry.fields for entry in entries if entry.kind == "flows"]
    assert list(log.lines()) == [entry.fields for entry in entries if entry.kind == "lines"]
    assert list(log.ends()) == [entry.fields for entry in entries if entry.kind == "flow_ends"]
    assert list(log.flow_lines("session-1", "flow-1")) == [entries[1].fields, entries[2].fields]
    own = [orjson.loads(line) for line in whole_lines(tmp_path / "sse_logs" / "session-1" / "flow-1.jsonl")]
    assert own == [entry.fields for entry in entries[:4]]
    assert log.raw_flow("flow-2") == orjson.dumps(entries[4].fields)
    assert log.raw_flow("flow-3") is None


def test_a_large_payload_is_read_whole_from_its_body_and_its_head_when_the_body_is_gone(tmp_path: Path) -> None:
    record = line_record(0, text="head")
    record.fields["metadata"] = '{"sha256":"abc"}'
    write(tmp_path, Blob("abc", b"head and all the rest"), Blob("abc", b"head and all the rest"), record)
    log = LogReader(tmp_path)
    assert log.payload(record.fields) == "head and all the rest"
    assert [path.name for path in (tmp_path / "bodies").iterdir()] == ["abc"]
    (tmp_path / "bodies" / "abc").unlink()
    assert log.payload(record.fields) == "head"


def test_a_body_name_that_leads_out_of_the_directory_leads_nowhere(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("not for you")
    record = line_record(0)
    record.fields["metadata"] = '{"sha256":"../../secret"}'
    (tmp_path / "log").mkdir()
    assert LogReader(tmp_path / "log").payload(record.fields) == "x"


def test_more_flows_than_open_files_lose_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "MAX_OPEN", 3)
    writer = LogWriter(tmp_path, {})
    for number in range(4):
        for flow in range(8):
            writer.write(line_record(number, f"flow-{flow}"))
        writer.flush()
        assert len(open_files(tmp_path / "sse_logs")) <= 3
    writer.close()
    for flow in range(8):
        assert [line["data_count"] for line in LogReader(tmp_path).flow_lines("session-1", f"flow-{flow}")] == [0, 1, 2, 3]


def test_a_flow_that_ended_keeps_no_file_open(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path, {})
    before = len(os.listdir("/proc/self/fd")) if Path("/proc").exists() else 0
    for flow in range(50):
        writer.write(flow_record(f"flow-{flow}"))
        writer.write(end_record(f"flow-{flow}"))
        writer.flush()
    assert open_files(tmp_path / "sse_logs") == []
    assert before == (len(os.listdir("/proc/self/fd")) if Path("/proc").exists() else 0)
    writer.close()


# -- cut at any byte ---------------------------------------------------------------------------------------------------------


@pytest.mark.row(11, 14)
def test_a_log_cut_at_any_byte_loses_at_most_its_last_line_and_is_repaired(tmp_path: Path) -> None:
    records = [line_record(number, text="é" * number) for number in range(4)]
    write(tmp_path / "whole", *records)
    content = (tmp_path / "whole" / files.LINES).read_bytes()
    for end in range(len(content) + 1):
        directory = tmp_path / str(end)
        directory.mkdir()
        (directory / files.LINES).write_bytes(content[:end])
        assert list(whole_lines(directory / files.LINES)) == content[:end].split(b"\n")[:-1]
        before = list(LogReader(directory).lines())
        kept = content[:end].count(b"\n")
        assert before == [record.fields for record in records[:kept]]
        write(directory, line_record(99))
        assert list(LogReader(directory).lines()) == [*before, line_record(99).fields]
        assert all(parse(line) for line in whole_lines(directory / files.LINES))
        fragment = content[:end].rpartition(b"\n")[2]
        assert len(errors(directory)) == bool(fragment)
        if fragment:
            [facts, moved] = (directory / (files.LINES + ".bad")).read_bytes().splitlines()
            assert moved == fragment
            assert orjson.loads(facts)["offset"] == end - len(fragment)


@pytest.mark.row(14)
@given(
    st.lists(
        st.sampled_from([b'{"a":1}', b"{", b"\0\0\0", b"", b"[1]", b'"x"', b"\xff\xfe", b'{"flow_id":"flow-1"}', b"null"]),
        max_size=8,
    )
)
def test_lines_that_are_no_records_are_passed_over(lines: list[bytes]) -> None:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / files.LINES
        path.write_bytes(b"".join(line + b"\n" for line in lines) + b'{"half":')
        found = list(LogReader(Path(name)).lines())
        assert found == [orjson.loads(line) for line in lines if line.startswith(b"{") and line != b"{"]
        assert store.last_count([(path, 0)], "flow-1") == -1


@pytest.mark.parametrize("size", [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 3 << 20])
def test_the_last_newline_is_found_however_long_the_torn_line_is(tmp_path: Path, size: int) -> None:
    path = tmp_path / "file"
    for beginning in (b"", b"whole\n"):
        path.write_bytes(beginning + b"x" * size)
        with open(path, "rb") as file:
            assert appending._last_newline(file.fileno(), len(beginning) + size) == len(beginning)


def test_while_another_proxy_writes_nobody_cuts_its_tail_off(tmp_path: Path) -> None:
    first = LogWriter(tmp_path, {})
    (tmp_path / files.LINES).write_bytes(b'{"half a line of the other"')
    second = LogWriter(tmp_path, {})
    second.write(line_record(0))
    second.flush()
    assert (tmp_path / files.LINES).read_bytes().startswith(b'{"half a line of the other"\n')
    assert [line["data_count"] for line in LogReader(tmp_path).lines()] == [0]
    first.close()
    second.close()


# -- several writers ---------------------------------------------------------------------------------------------------------

WRITER = """
import sys
from pathlib import Path
from capture.store import LogWriter
from tests.test_store import line_record
name, lines = sys.argv[2], int(sys.argv[3])
writer = LogWriter(Path(sys.argv[1]), {})
print("ready", flush=True)
sys.stdin.readline()
for number in range(lines):
    size = 6_000_000 if number % 50 == 7 else 70_000 if number % 3 else 100
    writer.write(line_record(number, name, "shared", name * (size // len(name))))
    writer.flush()
writer.close()
"""


def python(script: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script, *arguments], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


@pytest.mark.row(16)
def test_two_processes_that_write_large_lines_at_once_break_none(tmp_path: Path) -> None:
    writers = [python(WRITER, str(tmp_path), name, "100") for name in ("one", "two")]
    for writer in writers:
        assert writer.stdout and writer.stdout.readline() == "ready\n"
    for writer in writers:
        assert writer.stdin
        writer.stdin.write("go\n")
        writer.stdin.flush()
    for writer in writers:
        writer.communicate(timeout=60)
        assert writer.returncode == 0
    assert [line[:40] for line in whole_lines(tmp_path / files.LINES) if not parse(line)] == []
    records = [parse(line) for line in whole_lines(tmp_path / files.LINES)]
    found = [record for record in records if record]
    for name in ("one", "two"):
        own = [record for record in found if record["flow_id"] == name]
        assert [record["data_count"] for record in own] == list(range(100))
        assert all(set(record["line"].removeprefix("data: ")) == set(name) for record in own)
    assert (tmp_path / files.LINES).read_bytes().endswith(b"\n")


# -- proxies that were killed ------------------------------------------------------------------------------------------------

KILLED = """
import os, signal, sys
from pathlib import Path
from capture.store import LogWriter
from tests.test_store import end_record, flow_record, line_record
writer = LogWriter(Path(sys.argv[1]), {})
for flow in ("cut", "ended", "silent"):
    writer.write(flow_record(flow, proxy=writer.presence.id))
    for number in range(0 if flow == "silent" else 3):
        writer.write(line_record(number, flow))
writer.write(end_record("ended"))
writer.flush()
writer.write(line_record(3, "cut", text="never flushed"))
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.row(11)
def test_the_flows_of_a_killed_proxy_are_ended_by_the_next_start_once(tmp_path: Path) -> None:
    write(tmp_path, flow_record("imported"), line_record(0, "imported"))  # without a proxy: nobody's orphan
    process = python(KILLED, str(tmp_path))
    assert process.wait(60) == -9
    assert living(tmp_path) == []
    write(tmp_path)
    write(tmp_path)
    ends = {end["flow_id"]: end for end in LogReader(tmp_path).ends()}
    assert len(list(LogReader(tmp_path).ends())) == 3
    assert {flow: (end["outcome"], end.get("lines")) for flow, end in ends.items()} == {
        "ended": ("complete", None),
        "cut": ("killed", 3),
        "silent": ("killed", 0),
    }
    EndRecord.model_validate(ends["cut"])
    assert sorted(error["flow_id"] for error in errors(tmp_path)) == ["cut", "silent"]
    own = [orjson.loads(line) for line in whole_lines(tmp_path / "sse_logs" / "session-1" / "cut.jsonl")]
    assert [record.get("data_count", record.get("outcome")) for record in own] == [None, 0, 1, 2, "killed"]


@pytest.mark.parametrize("facts", ["", "{", "[]", "null"])
def test_a_presence_file_that_a_kill_left_torn_still_says_whose_the_orphans_are(tmp_path: Path, facts: str) -> None:
    process = python(KILLED, str(tmp_path))
    assert process.wait(60) == -9
    [path] = (tmp_path / "proxies").glob("*.json")
    path.write_text(facts)
    write(tmp_path, flow_record("imported"))
    assert sorted(end["flow_id"] for end in LogReader(tmp_path).ends() if end["outcome"] == "killed") == ["cut", "silent"]


def test_a_living_proxy_is_seen_and_its_flows_are_left_alone(tmp_path: Path) -> None:
    first = LogWriter(tmp_path, {"port": 9110})
    first.write(flow_record(proxy=first.presence.id))
    first.flush()
    second = LogWriter(tmp_path, {"port": 9111})
    assert [facts["port"] for facts in living(tmp_path)] == [9110, 9111]
    assert not second.presence.alone
    second.close()
    assert [facts["port"] for facts in living(tmp_path)] == [9110]
    assert list(LogReader(tmp_path).ends()) == []
    first.presence.say({"port": 1234})
    assert [facts["port"] for facts in living(tmp_path)] == [1234]
    first.close()
    assert living(tmp_path) == []


# -- names -------------------------------------------------------------------------------------------------------------------

NAMES = [
    *(
        "../../etc/passwd",
        "..",
        ".",
        "",
        "/",
        "a/b",
        "a\\b",
        "a\0b",
        "x" * 300,
        "é" * 100,
        "😀" * 300,
        "-rf",
        "--",
        ".hidden",
        " ",
        "a b",
        "a\n",
    ),
    *(
        "CON",
        "con",
        "nul.txt",
        "COM1",
        "lpt9.jsonl",
        "aux",
        "prn.",
        "name.",
        "C:",
        "C:\\x",
        "~",
        "$HOME",
        "*",
        "\ud800",
        "caf\udce9",
        "\u202egpj.exe",
    ),
    *("flow-1", "11111111-2222-4333-8444-555555555555", "x" * 94, "hash:0123456789abcdef", "a.b_c-d", "0"),
]


@pytest.mark.row(44)
def test_names_of_any_kind_are_unique_short_and_safe() -> None:
    safe = [safe_name(name) for name in NAMES]
    assert len(set(safe)) == len(NAMES)
    for name in safe:
        assert_safe(name)


def assert_safe(name: str) -> None:
    assert 1 <= len((name + ".jsonl").encode()) <= 100
    assert Path("/base", name).resolve().parent == Path("/base")
    assert name[0].isalnum() and name.isprintable() and not set(name) & set('\\/:*?"<>| ')
    assert name.split(".")[0].lower() not in ("con", "prn", "aux", "nul", "com1", "lpt9")


@pytest.mark.row(44)
@given(st.text(st.characters(), max_size=400), st.text(st.characters(), max_size=400))
@example("a", "a\n")
def test_any_two_ids_have_two_safe_names(one: str, other: str) -> None:
    assert_safe(safe_name(one))
    assert (safe_name(one) == safe_name(other)) == (one == other)


@pytest.mark.parametrize("name", ["11111111-2222-4333-8444-555555555555", "session_1.x", "x" * 94])
def test_an_id_that_is_safe_is_its_own_name(name: str) -> None:
    assert safe_name(name) == name


@pytest.mark.row(44)
def test_records_with_odd_names_stay_inside_the_directory_and_are_found_again(tmp_path: Path) -> None:
    directory = tmp_path / "inner" / "log"
    write(directory, *[line_record(0, flow_id=name, sid=name) for name in NAMES])
    assert {path.name for path in tmp_path.iterdir()} == {"inner"} and {path.name for path in (tmp_path / "inner").iterdir()} == {
        "log"
    }
    assert len(list((directory / "sse_logs").glob("*/*.jsonl"))) == len(NAMES)
    for name in NAMES:
        assert len(list(LogReader(directory).flow_lines(name, name))) == 1


# -- rights ------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def umask() -> Iterator[Callable[[int], int]]:
    before = os.umask(0o22)
    os.umask(before)
    yield os.umask
    os.umask(before)


@pytest.mark.row(46)
@pytest.mark.parametrize("mask", [0, 0o22, 0o777])
def test_files_are_0600_and_directories_0700_whatever_the_umask_and_whatever_was_there(
    tmp_path: Path, umask: Callable[[int], int], mask: int
) -> None:
    directory = tmp_path / "new" / "log"
    directory.mkdir(parents=True)
    for path in (directory, directory / "sse_logs", directory / "bodies"):
        path.mkdir(exist_ok=True)
        path.chmod(0o777)
    (directory / files.LINES).write_bytes(b'{"torn')
    (directory / files.LINES).chmod(0o666)
    umask(mask)
    write(directory, flow_record(), line_record(0), Blob("abc", b"large"), end_record())
    write(tmp_path / "a" / "b" / "c", line_record(0))
    for path in (directory, *directory.rglob("*"), *(tmp_path / "a").rglob("*"), tmp_path / "a"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def unusable(tmp_path: Path) -> dict[str, Path]:
    file = tmp_path / "file"
    file.write_text("x")
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "nowhere")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "sse_logs").write_text("a file where a directory should be")
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / files.LINES).symlink_to(file)
    return {
        "a file": file,
        "inside a file": file / "log",
        "a dangling link": link,
        "nothing can be made there": Path("/proc/sse-capture"),
        "a file inside": tmp_path / "sub",
        "a link inside": tmp_path / "linked",
    }


@pytest.mark.row(45)
@pytest.mark.parametrize(
    "case", ["a file", "inside a file", "a dangling link", "nothing can be made there", "a file inside", "a link inside"]
)
def test_a_directory_that_cannot_be_used_is_refused_in_one_line_that_says_what_to_do(tmp_path: Path, case: str) -> None:
    with pytest.raises(Unusable) as refused:
        LogWriter(unusable(tmp_path)[case], {})
    assert "\n" not in str(refused.value)
    assert "SSE_LOG_DIR" in str(refused.value)
    assert (tmp_path / "file").read_text() == "x"


@pytest.mark.row(45)
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_a_directory_of_somebody_else_is_refused(tmp_path: Path) -> None:
    os.chown(tmp_path, 12345, -1)
    with pytest.raises(Unusable, match="another user"):
        LogWriter(tmp_path, {})


@pytest.mark.row(9)
@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_directory_without_the_right_to_write_is_made_writable_when_it_is_ours(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    write(tmp_path, line_record(0))
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700


# -- a disk that is full -----------------------------------------------------------------------------------------------------


class Disk:
    """`os.write` on a disk with so much room at each call: writes short, or raises when there is none."""

    def __init__(self, rooms: list[int]) -> None:
        self.rooms = list(reversed(rooms))
        self.short = 0
        self._write = os.write

    def write(self, descriptor: int, data: bytes) -> int:
        room = self.rooms.pop() if self.rooms else len(data)
        if room < len(data):
            self.short += 1
            if not room:
                raise OSError(errno.ENOSPC, "No space left on device")
        return self._write(descriptor, data[:room])


@pytest.mark.row(6, 8)
@given(st.lists(st.integers(0, 60), max_size=12), st.lists(st.integers(1, 3), min_size=1, max_size=6))
@example([1, 1, 0, 5], [2])
def test_a_short_write_glues_no_lines_and_nothing_is_lost_when_there_is_room_again(rooms: list[int], batches: list[int]) -> None:
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        disk, file = Disk(rooms), Appender(Path(name) / "file")
        patch.setattr(os, "write", disk.write)
        number, expected = 0, []
        for batch in batches:
            for _ in range(batch):
                expected.append(number)
                file.add(b'{"n":%d}\n' % number)
                number += 1
            try_flush(file.flush)
        while not try_flush(file.flush):
            pass
        file.close()
        lines = list(whole_lines(Path(name) / "file"))
        assert [record["n"] for line in lines if (record := parse(line)) and set(record) == {"n"}] == expected
        assert sum(not parse(line) for line in lines) <= disk.short
        assert (Path(name) / "file").read_bytes().endswith(b"\n")


def try_flush(flush: Callable[[], None]) -> bool:
    try:
        flush()
    except OSError:
        return False
    return True


@pytest.mark.row(8)
def test_a_failing_file_keeps_no_other_file_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer, real = LogWriter(tmp_path, {}), Appender.flush

    def failing(file: Appender) -> None:
        if file.path.name == files.FLOWS and file.lines:
            raise OSError(errno.EIO, "broken")
        real(file)

    writer.write(flow_record())
    writer.write(line_record(0))
    with monkeypatch.context() as patch:
        patch.setattr(Appender, "flush", failing)
        with pytest.raises(OSError, match="broken"):
            writer.flush()
    assert len(list(LogReader(tmp_path).lines())) == 1
    writer.close()
    assert len(list(LogReader(tmp_path).flows())) == 1 and len(list(LogReader(tmp_path).flow_lines("session-1", "flow-1"))) == 1


def test_the_file_of_an_open_flow_is_written_once_a_second_and_when_the_flow_ends(tmp_path: Path) -> None:
    clock = [1000.0]
    writer = LogWriter(tmp_path, {}, now=lambda: clock[0])

    def written() -> list[int]:
        return [line["data_count"] for line in LogReader(tmp_path).flow_lines("session-1", "flow-1")]

    writer.write(line_record(0))
    writer.flush()
    assert [line["data_count"] for line in LogReader(tmp_path).lines()] == [0] and written() == []
    later(clock, store.OWN)
    writer.flush()
    assert written() == [0]
    writer.write(line_record(1))
    writer.flush()
    assert written() == [0]
    writer.write(end_record())
    writer.flush()
    assert written() == [0, 1]
    writer.write(line_record(0, "flow-2", text="x" * (store.MAX_WAITING // 64)))
    writer.flush()
    assert len(list(LogReader(tmp_path).flow_lines("session-1", "flow-2"))) == 1  # it is much
    writer.close()


@pytest.mark.row(7)
def test_a_session_folder_that_cannot_be_made_keeps_the_central_log_going(tmp_path: Path) -> None:
    """That it is so is said with each flush, until it is better."""
    clock = [1000.0]
    writer = LogWriter(tmp_path, {}, now=lambda: clock[0])
    (tmp_path / "sse_logs" / "session-1").write_text("in the way")
    for number in range(3):
        writer.write(line_record(number))
    later(clock)
    for _ in range(3):
        with pytest.raises(OSError):
            writer.flush()
    assert [line["data_count"] for line in LogReader(tmp_path).lines()] == [0, 1, 2]
    (tmp_path / "sse_logs" / "session-1").unlink()
    writer.write(line_record(3))
    writer.close()
    assert [line["data_count"] for line in LogReader(tmp_path).flow_lines("session-1", "flow-1")] == [0, 1, 2, 3]


def test_a_body_that_finds_no_room_is_written_later_and_keeps_no_line_back(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path, {})
    (tmp_path / "bodies").rmdir()
    (tmp_path / "bodies").write_text("in the way")
    writer.write(Blob("abc", b"large"))
    writer.write(line_record(0))
    with pytest.raises(OSError):
        writer.flush()
    assert len(list(LogReader(tmp_path).lines())) == 1
    (tmp_path / "bodies").unlink()
    writer.close()
    assert (tmp_path / "bodies" / "abc").read_bytes() == b"large"


def test_flow_files_that_find_no_room_wait_and_lose_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "MAX_OPEN", 2)
    writer = LogWriter(tmp_path, {})
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", Disk([0] * 1000).write)
        for flow in range(6):
            writer.write(line_record(0, f"flow-{flow}"))
        assert not try_flush(writer.flush)
    writer.close()
    assert [line["flow_id"] for line in LogReader(tmp_path).lines()] == [f"flow-{flow}" for flow in range(6)]
    for flow in range(6):
        assert len(list(LogReader(tmp_path).flow_lines("session-1", f"flow-{flow}"))) == 1


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 1 MB; the test is skipped where none can be mounted."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(tmp_path)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("cannot mount a small disk")
    yield tmp_path
    subprocess.run(["umount", "-l", str(tmp_path)], check=True)


@pytest.mark.row(6)
def test_on_a_disk_that_is_really_full_nothing_is_glued_and_nothing_lost_afterwards(small_disk: Path) -> None:
    (small_disk / "ballast").write_bytes(b"x" * 500_000)
    clock = [1000.0]
    writer = LogWriter(small_disk / "log", {}, now=lambda: clock[0])
    failed = 0
    for number in range(40):
        writer.write(line_record(number, text="y" * 10_000))
        later(clock)
        failed += not try_flush(writer.flush)
    assert failed
    (small_disk / "ballast").unlink()
    writer.write(line_record(40))
    writer.close()
    for path in (small_disk / "log" / files.LINES, small_disk / "log" / "sse_logs" / "session-1" / "flow-1.jsonl"):
        records = [parse(line) for line in whole_lines(path)]
        assert [record["data_count"] for record in records if record] == list(range(41))
        assert records.count(None) <= failed


@pytest.mark.row(6)
def test_a_start_on_a_full_disk_is_refused_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "write", Disk([0] * 100).write)
    with pytest.raises(Unusable, match="No space left"):
        LogWriter(tmp_path, {})


# -- the error file ----------------------------------------------------------------------------------------------------------


def test_errors_are_limited_to_a_number_a_minute_and_the_last_line_says_so(tmp_path: Path) -> None:
    clock = [60.0 * 1000]
    writer = LogWriter(tmp_path, {}, now=lambda: clock[0])
    for _ in range(3 * store.MAX_ERRORS):
        writer.error("here", "what", "do this", "flow-1")
    assert len(errors(tmp_path)) == store.MAX_ERRORS
    assert list(errors(tmp_path)[0]) == ["t", "where", "what", "do", "flow_id"]
    assert errors(tmp_path)[-1]["what"] == f"{store.MAX_ERRORS} errors within a minute"
    clock[0] += 60
    writer.error("here", "what", "do this")
    assert len(errors(tmp_path)) == store.MAX_ERRORS + 1
    writer.close()


# -- following ---------------------------------------------------------------------------------------------------------------


class Script:
    """What happens to a file while it is followed: one step each time the follower would sleep; then it is told to stop."""

    def __init__(self, path: Path, steps: list[bytes]) -> None:
        self.path, self.steps = path, steps

    def sleep(self, seconds: float) -> None:
        with open(self.path, "ab") as file:
            file.write(self.steps.pop(0))

    def stop(self) -> bool:
        return not self.steps


@given(
    st.lists(st.sampled_from([b"", b"a", b"\n", b"b\nc", b"long " * 10 + b"\n", b"\r", "\u2028".encode()]), max_size=12),
    st.integers(1, 9),
)
def test_followed_lines_are_the_whole_lines_however_they_were_written(steps: list[bytes], read: int) -> None:
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        script = Script(Path(name) / "file", list(steps))
        patch.setattr(time, "sleep", script.sleep)
        patch.setattr(files, "READ", read)
        *whole, _ = b"".join(steps).split(b"\n")
        assert list(follow(script.path, 0, script.stop)) == whole


def test_following_begins_at_the_offset_it_is_given(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"one\ntwo\nthree\n")
    assert list(follow(path, 4, lambda: True)) == [b"two", b"three"]
    assert list(whole_lines(path, 8)) == [b"three"]
    assert list(whole_lines(tmp_path / "missing")) == []
    assert list(follow(tmp_path / "missing", 0, lambda: True)) == []


def test_the_directory_is_that_of_the_environment_or_the_one_in_the_home() -> None:
    assert files.default_directory({"SSE_LOG_DIR": "/x/y"}) == Path("/x/y")
    assert files.default_directory({"SSE_LOG_DIR": ""}) == Path.home() / "centralized-logs" / "all-mitm-sse"


# -- somebody else's directory -----------------------------------------------------------------------------------------------


def test_a_directory_that_is_used_for_other_things_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    tmp_path.chmod(0o1777)
    (tmp_path / "somebody's").write_text("x")
    with pytest.raises(Unusable, match="is used for other things: name a directory of its own with SSE_LOG_DIR or --dir"):
        LogWriter(tmp_path, {})
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o1777
    assert [path.name for path in tmp_path.iterdir()] == ["somebody's"]


@pytest.mark.parametrize("mark", ["proxies", files.FLOWS, files.LINES, ""])
def test_a_log_that_others_can_look_into_and_an_empty_directory_are_closed_to_them(tmp_path: Path, mark: str) -> None:
    if mark:
        (tmp_path / mark).mkdir() if mark == "proxies" else (tmp_path / mark).touch()
    tmp_path.chmod(0o777)
    write(tmp_path, line_record(0))
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700


@pytest.mark.parametrize(("name", "mode"), [("somebody's", 0o755), ("mitmproxy-ca.pem", 0o700)])
def test_a_folder_for_the_ca_is_closed_to_others_only_when_it_is_mitmproxys(tmp_path: Path, name: str, mode: int) -> None:
    (tmp_path / name).touch()
    tmp_path.chmod(0o755)
    with contextlib.suppress(Unusable):
        proxy.prepare_confdir(tmp_path)
    assert stat.S_IMODE(tmp_path.stat().st_mode) == mode


# -- at the same time as another process -------------------------------------------------------------------------------------


class Meanwhile:
    """`fcntl.flock` before which, the first time it is asked for such a lock on a file, another process does something."""

    def __init__(self, path: Path, kind: int, happens: Callable[[], Any]) -> None:
        self._path, self._kind, self._happens, self._flock = path, kind, happens, fcntl.flock
        self.happened = False

    def flock(self, descriptor: int, operation: int) -> None:
        there = self._path.exists() and os.path.samestat(self._path.stat(), os.fstat(descriptor))
        if there and not self.happened and operation & self._kind:
            self.happened = True
            self._happens()
        self._flock(descriptor, operation)


def append(path: Path, data: bytes) -> None:
    with open(path, "ab") as file:
        file.write(data)


def test_a_start_does_not_cut_off_the_line_that_another_proxy_is_just_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / files.LINES
    line = orjson.dumps(line_record(0).fields) + b"\n"
    path.write_bytes(line[:20])
    other = Meanwhile(path, fcntl.LOCK_EX, lambda: append(path, line[20:]))
    monkeypatch.setattr(fcntl, "flock", other.flock)
    write(tmp_path)
    assert path.read_bytes() == line
    assert errors(tmp_path) == []


def test_a_line_is_not_glued_to_what_another_proxy_that_is_killed_leaves_just_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer, path = LogWriter(tmp_path, {}), tmp_path / files.LINES
    other = Meanwhile(path, fcntl.LOCK_SH, lambda: append(path, b'{"torn'))
    monkeypatch.setattr(fcntl, "flock", other.flock)
    writer.write(line_record(0))
    writer.close()
    assert other.happened
    assert path.read_bytes() == b'{"torn\n' + orjson.dumps(line_record(0).fields) + b"\n"


# -- files that are moved away -----------------------------------------------------------------------------------------------


def later(clock: list[float], seconds: float = 2.0) -> None:
    clock[0] += seconds


@pytest.mark.row(9, 17)
def test_a_log_that_is_renamed_away_is_begun_anew_and_this_is_said(tmp_path: Path) -> None:
    clock = [1000.0]
    writer = LogWriter(tmp_path, {}, now=lambda: clock[0])
    writer.write(line_record(0))
    writer.flush()
    (tmp_path / files.LINES).rename(tmp_path / "sse_lines.1")
    later(clock)
    writer.write(line_record(1))
    writer.close()
    assert [parse(line) for line in whole_lines(tmp_path / "sse_lines.1")] == [line_record(0).fields]
    assert list(LogReader(tmp_path).lines()) == [line_record(1).fields]
    assert stat.S_IMODE((tmp_path / files.LINES).stat().st_mode) == 0o600
    assert [error["what"] for error in errors(tmp_path)] == ["sse_lines.jsonl: deleted or renamed while written to"]


@pytest.mark.row(9, 17)
def test_a_directory_that_is_deleted_is_made_anew_and_its_proxy_is_found_again(tmp_path: Path) -> None:
    clock, directory = [1000.0], tmp_path / "log"
    writer = LogWriter(directory, {"port": 9110}, now=lambda: clock[0])
    writer.write(line_record(0))
    later(clock)
    writer.flush()
    shutil.rmtree(directory)
    assert living(directory) == []
    later(clock)
    writer.write(Blob("abc", b"large"))
    writer.write(line_record(1))
    writer.flush()
    assert [facts["port"] for facts in living(directory)] == [9110]
    writer.close()
    assert [line["data_count"] for line in LogReader(directory).lines()] == [1]
    assert [line["data_count"] for line in LogReader(directory).flow_lines("session-1", "flow-1")] == [1]
    assert (directory / "bodies" / "abc").read_bytes() == b"large"
    assert len(errors(directory)) == 1
    for path in (directory, *directory.rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_the_orphans_of_a_log_that_was_begun_anew_are_found_from_its_beginning(tmp_path: Path) -> None:
    clock = [1000.0]
    write(tmp_path, *[line_record(number, text="x" * 1000) for number in range(9)])
    writer = LogWriter(tmp_path, {}, now=lambda: clock[0])
    for name in (files.FLOWS, files.LINES):
        (tmp_path / name).rename(tmp_path / (name + ".1"))
    later(clock)
    writer.write(flow_record("cut", proxy=writer.presence.id))
    for number in range(20):
        writer.write(line_record(number, "cut", text="x" * 1000))
    writer.flush()
    killed(writer)
    write(tmp_path)
    assert [(end["outcome"], end["lines"]) for end in LogReader(tmp_path).ends()] == [("killed", 20)]


@pytest.mark.row(11, 17)
@pytest.mark.parametrize("moved", ["files", "directory"])
def test_a_flow_whose_record_was_renamed_away_has_an_end_when_its_proxy_is_killed(tmp_path: Path, moved: str) -> None:
    """One that ended after the renaming has its own; `data_count` goes on where the old file left it."""
    clock, log = [1000.0], tmp_path / "log"
    writer = LogWriter(log, {}, now=lambda: clock[0])
    for flow in ("cut", "silent", "ended"):
        writer.write(flow_record(flow, proxy=writer.presence.id))
        writer.write(line_record(0, flow))
        writer.write(line_record(1, flow))
    later(clock)
    writer.flush()
    if moved == "directory":
        log.rename(tmp_path / "old")
    else:
        for name in (files.FLOWS, files.LINES, files.ENDS):
            (log / name).rename(log / (name + ".1"))
    later(clock)
    writer.write(line_record(2, "cut"))
    writer.write(end_record("ended"))
    writer.flush()
    killed(writer)
    write(log)
    write(log)
    ends = sorted((end["flow_id"], end["outcome"], end.get("lines")) for end in LogReader(log).ends())
    said = 0 if moved == "directory" else 2  # a flow that said nothing since has its lines in the old directory only
    assert ends == [("cut", "killed", 3), ("ended", "complete", None), ("silent", "killed", said)]


@pytest.mark.row(11, 17)
@pytest.mark.parametrize("before", ["a renaming that was seen", "our own rotation", "nothing"])
def test_flows_have_one_end_though_the_proxy_is_killed_before_it_sees_that_its_files_were_renamed(
    tmp_path: Path, before: str
) -> None:
    """It looks once a second: the old files have what it wrote until then."""
    clock, renamings = [1000.0], iter(range(1, 9))

    def rename() -> None:
        number = next(renamings)
        for name in files.FILES.values():
            (tmp_path / name).rename(tmp_path / f"{name}.{number}")

    writer = LogWriter(tmp_path, {}, now=lambda: clock[0])
    for flow in ("long", "ended", "of old"):
        writer.write(flow_record(flow, proxy=writer.presence.id))
        writer.write(line_record(0, flow))
    writer.flush()
    if before == "a renaming that was seen":
        rename()
        later(clock)
    elif before == "our own rotation":
        assert len(rotate(tmp_path, over=0, now=1000.0)) == 3
    writer.flush()
    writer.write(line_record(1, "long"))
    writer.write(end_record("of old"))
    writer.write(flow_record("young", proxy=writer.presence.id))
    writer.write(line_record(0, "young"))
    writer.flush()
    rename()
    writer.write(line_record(1, "young"))
    writer.write(end_record("ended"))
    writer.flush()
    assert not (tmp_path / files.FLOWS).exists()  # it has not looked
    killed(writer)
    own = tmp_path / "sse_logs" / "session-1" / "young.jsonl"
    assert not own.exists()  # it is written last
    write(tmp_path)
    write(tmp_path)
    assert [orjson.loads(line).get("data_count") for line in whole_lines(own)] == [None, 0, 1, None]
    ends = [end for path in sorted(tmp_path.glob(files.ENDS + "*")) for end in map(orjson.loads, whole_lines(path))]
    assert sorted((end["flow_id"], end["outcome"], end.get("lines")) for end in ends) == [
        ("ended", "complete", None),
        ("long", "killed", 2),
        ("of old", "complete", None),
        ("young", "killed", 2),
    ]


def killed(writer: LogWriter) -> None:
    """As a kill leaves it: the lock is gone, the file is not."""
    os.close(writer.presence._descriptor)


@pytest.mark.row(11, 17)
def test_the_file_of_a_flow_is_whole_though_the_log_was_rotated_a_moment_before_the_kill(tmp_path: Path) -> None:
    """What waited for it stands in a part that the next start does not look into."""
    writer = LogWriter(tmp_path, {}, now=lambda: 1000.0)
    writer.write(flow_record("open", proxy=writer.presence.id))
    for number in range(3):
        writer.write(line_record(number, "open"))
    writer.flush()
    rotate(tmp_path, over=0, now=1000.0)
    writer.write(line_record(3, "open"))
    writer.flush()
    killed(writer)
    write(tmp_path)
    own = [orjson.loads(line) for line in whole_lines(tmp_path / "sse_logs" / "session-1" / "open.jsonl")]
    assert [record.get("data_count", record.get("outcome")) for record in own] == [None, 0, 1, 2, 3, "killed"]
    assert own[-1]["lines"] == 4


@pytest.mark.row(11, 17)
def test_a_flow_has_one_end_though_only_the_file_of_ends_was_renamed(tmp_path: Path) -> None:
    """As `logrotate` by size does it, which looks at each file for itself."""
    clock = [1000.0]
    writer = LogWriter(tmp_path, {}, now=lambda: clock[0])
    writer.write(flow_record("ended", proxy=writer.presence.id))
    writer.write(end_record("ended"))
    writer.write(flow_record("open", proxy=writer.presence.id))
    writer.flush()
    (tmp_path / files.ENDS).rename(tmp_path / f"{files.ENDS}.1")
    later(clock)
    writer.write(flow_record("late", proxy=writer.presence.id))
    writer.flush()
    killed(writer)
    write(tmp_path)
    assert sorted(end["flow_id"] for end in LogReader(tmp_path).ends()) == ["late", "open"]


@pytest.mark.row(11)
def test_flows_of_a_proxy_that_began_with_a_torn_tail_have_their_end(tmp_path: Path) -> None:
    """The file is shorter when that is moved away: its records begin before where the file ended."""
    write(tmp_path)
    with open(tmp_path / files.FLOWS, "ab") as flows:
        flows.write(b'{"t":"now","flow_id":"torn"')
    writer = LogWriter(tmp_path, {})
    writer.write(flow_record("first", proxy=writer.presence.id))
    writer.flush()
    killed(writer)
    write(tmp_path)
    assert [end["flow_id"] for end in LogReader(tmp_path).ends()] == ["first"]


# -- a disk that stays full --------------------------------------------------------------------------------------------------


def test_on_a_full_disk_no_more_files_stay_open_than_on_any_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "MAX_OPEN", 3)
    writer = LogWriter(tmp_path, {})
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", Disk([0] * 10_000).write)
        for flow in range(50):
            writer.write(line_record(0, f"flow-{flow}"))
            assert not try_flush(writer.flush)
        assert len(open_files(tmp_path / "sse_logs")) <= 3
    writer.close()
    assert len(list(LogReader(tmp_path).lines())) == 50
    assert all(len(list(LogReader(tmp_path).flow_lines("session-1", f"flow-{flow}"))) == 1 for flow in range(50))


@pytest.mark.row(6)
def test_a_disk_that_takes_nothing_is_tried_with_few_bytes_however_many_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer, tried = LogWriter(tmp_path, {}), []

    def full(descriptor: int, data: bytes) -> int:
        tried.append(len(data))
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        for number in range(400):
            writer.write(line_record(number, text="x" * 10_000))
        assert not try_flush(writer.flush) and not try_flush(writer.flush)
    assert 0 < max(tried) <= appending.WRITE + 11_000
    assert writer.unwritten == 400 and writer.waiting > 2 * 400 * 10_000
    writer.close()
    assert [line["data_count"] for line in LogReader(tmp_path).lines()] == list(range(400))
    assert writer.unwritten == writer.waiting == 0


@pytest.mark.row(7)
def test_copies_that_only_their_own_file_does_not_take_are_let_go_before_the_log_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "MAX_WAITING", 10_000)
    writer = LogWriter(tmp_path, {})
    (tmp_path / "sse_logs" / "session-1").write_text("in the way")
    for number in range(100):
        writer.write(line_record(number, text="x" * 1000))
        try_flush(writer.flush)
        assert not writer.full
    (tmp_path / "sse_logs" / "session-1").unlink()
    writer.close()
    assert [line["data_count"] for line in LogReader(tmp_path).lines()] == list(range(100))
    assert "the central log has them" in [error["do"] for error in errors(tmp_path)]


def test_flows_whose_end_found_no_room_at_the_stop_are_ended_by_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = LogWriter(tmp_path, {})
    writer.write(flow_record(proxy=writer.presence.id))
    writer.flush()
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", Disk([0] * 1000).write)
        writer.write(end_record())
        with pytest.raises(OSError):
            writer.close()
    assert writer.unwritten == 1 and open_files(tmp_path) == []
    write(tmp_path)
    assert [end["outcome"] for end in LogReader(tmp_path).ends()] == ["killed"]


def test_what_a_kill_left_of_a_body_is_swept_away_by_a_start_that_is_alone(tmp_path: Path) -> None:
    write(tmp_path, Blob("abc", b"large"))
    draft = tmp_path / "bodies" / ".abd-4711"
    draft.write_bytes(b"lar")
    first = LogWriter(tmp_path, {})
    assert [path.name for path in (tmp_path / "bodies").iterdir()] == ["abc"]
    draft.write_bytes(b"lar")
    LogWriter(tmp_path, {}).close()
    assert draft.exists()
    first.close()


@pytest.mark.parametrize("when", ["before the write", "just after the write"])
def test_a_file_that_somebody_cuts_is_noticed_whenever_it_is(tmp_path: Path, when: str, monkeypatch: pytest.MonkeyPatch) -> None:
    appender = Appender(tmp_path / "log" / "f")
    for number in range(3):
        appender.add(b"line %d\n" % number)
        appender.flush()
    assert not appender.was_cut
    write = os.write

    def then_cut(descriptor: int, data: bytes) -> int:
        written = write(descriptor, data)
        os.truncate(appender.path, 0)
        return written

    if when == "before the write":
        os.truncate(appender.path, 0)
    else:
        monkeypatch.setattr(os, "write", then_cut)
    appender.add(b"line 3\n")
    appender.flush()
    appender.close()
    assert appender.was_cut
