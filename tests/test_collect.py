"""`capture collect` against a real server: whatever dies, the collected log is the source log, each record once, flows in order."""

import fcntl
import json
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from bench.generate import Wanted, generate
from bench.story import Scale
from capture.appending import Appender
from capture.channels import collected, flow_files, turn
from capture.channels import redis as redis_channel
from capture.channels.collected import CollectedLog
from capture.channels.collecting import Collector, Status, default_consumer
from capture.channels.flow_files import END, FLOW, named
from capture.channels.payloads import Payloads
from capture.channels.shipping import Shipper
from capture.channels.streams import entries
from capture.channels.turn import Turns
from capture.channels.where import where_of
from capture.cli import cli
from capture.files import ENDS, FILES, FLOWS, LINES, safe_name
from capture.jsonl import Kind, dumps
from tests.redis_server import Server, needed, server

STEPS = (0.01, 0.02)  # seconds between two tries here
STREAM = "s"

pytestmark = needed


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Server]:
    with server(tmp_path / "redis") as ours:
        yield ours


@pytest.fixture(scope="session")
def sources(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two complete logs of a few agents."""
    logs = [tmp_path_factory.mktemp("sources") / str(seed) for seed in (1, 2)]
    for seed, log in enumerate(logs, 1):
        generate(Wanted(out=log, sessions=4, seed=seed, scale=Scale(turns=2, exchanges=4, deltas=40, result=200)))
    return logs[0], logs[1]


@pytest.fixture
def source(sources: tuple[Path, Path]) -> Path:
    return sources[0]


def ship(log: Path, running: Server, maxlen: int = 0) -> None:
    with closing(Shipper(log, where_of(f"{running.stream(STREAM)}&maxlen={maxlen}", {}), steps=STEPS)) as ours:
        ours.run(once=True)


def collector(running: Server, to: Path, consumer: str = "", **options: Any) -> Collector:
    return Collector(where_of(running.stream(STREAM), {}), to, consumer=consumer, steps=STEPS, **options)


def collect(running: Server, to: Path, consumer: str = "", **options: Any) -> Status:
    """All that there is; what the collector says of it afterwards."""
    with closing(collector(running, to, consumer, **options)) as ours:
        ours.run(once=True)
        return ours.status


def lines_of(log: Path, name: str) -> list[bytes]:
    return (log / name).read_bytes().splitlines(keepends=True) if (log / name).exists() else []


def by_flow(*logs: Path) -> dict[tuple[str, Any], list[bytes]]:
    """The raw records of each flow in each file, in their order."""
    found: dict[tuple[str, Any], list[bytes]] = {}
    for log in logs:
        for name in FILES.values():
            for raw in lines_of(log, name):
                which = named(raw)
                found.setdefault((name, which and which[:2]), []).append(raw)
    return found


def same(to: Path, *logs: Path) -> bool:
    """Whether a log has each record of the others once, byte for byte, in the order of its flow; nothing else; and is complete."""
    expected = by_flow(*logs)
    assert by_flow(to) == expected
    result = CliRunner().invoke(cli, ["check", "--dir", str(to), "--json"])
    assert json.loads(result.stdout.splitlines()[-1])["verdict"] == "complete"
    keys = {key for _, key in expected}
    assert own_files(to) == {key: [raw for name in (FLOWS, LINES, ENDS) for raw in expected.get((name, key), [])] for key in keys}
    return True


def own_files(log: Path) -> dict[Any, list[bytes]]:
    """What the flows' own files hold: the flow's record, its lines, its end."""
    found = {}
    for path in (log / "sse_logs").glob("*/*.jsonl"):
        raws = path.read_bytes().splitlines(keepends=True)
        which = named(raws[0])
        assert which and path == log / "sse_logs" / safe_name(which.sid.decode()) / f"{safe_name(which.flow.decode())}.jsonl"
        found[which[:2]] = sorted(raws, key=_rank)
    return found


def _rank(raw: bytes) -> int:
    which = named(raw)
    assert which
    return {FLOW: 0, END: 2}.get(which.what, 1)


def everything(log: Path) -> list[tuple[Kind, bytes]]:
    return [(kind, raw) for kind, name in FILES.items() for raw in lines_of(log, name)]


def put(log: CollectedLog, records: list[tuple[Kind, bytes]]) -> None:
    with log.turn():
        for kind, raw in records:
            log.add(kind, raw)
        log.flush()


# -- the usual -----------------------------------------------------------------------------------------------------------------


def test_the_collected_log_is_the_source_log_byte_for_byte(source: Path, running: Server, tmp_path: Path) -> None:
    ship(source, running)
    status = collect(running, tmp_path / "to")
    assert status.records == len(everything(source)) and not status.repeats
    assert all((tmp_path / "to" / name).read_bytes() == (source / name).read_bytes() for name in FILES.values())
    assert same(tmp_path / "to", source)


def test_nothing_of_it_is_for_others(source: Path, running: Server, tmp_path: Path) -> None:
    ship(source, running)
    before = os.umask(0)
    try:
        collect(running, tmp_path / "deep" / "to")
    finally:
        os.umask(before)
    for path in (tmp_path / "deep", *(tmp_path / "deep").rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_the_next_run_goes_on_where_the_last_one_was(sources: tuple[Path, Path], running: Server, tmp_path: Path) -> None:
    ship(sources[0], running)
    collect(running, tmp_path / "to")
    ship(sources[1], running)
    status = collect(running, tmp_path / "to")
    assert (status.records, status.repeats) == (len(everything(sources[1])), 0)
    assert same(tmp_path / "to", *sources)


def test_records_are_acknowledged_when_they_are_in_the_log(source: Path, running: Server, tmp_path: Path) -> None:
    ship(source, running)
    collect(running, tmp_path / "to")
    with running.client() as client:
        assert client.xpending(STREAM, "collect")["pending"] == 0


def test_from_now_means_what_comes_later(sources: tuple[Path, Path], running: Server, tmp_path: Path) -> None:
    ship(sources[0], running)
    with closing(collector(running, tmp_path / "to", start="now")) as ours:
        ours.step(0.0)
        ship(sources[1], running)
        ours.run(once=True)
    assert same(tmp_path / "to", sources[1])


def test_a_stream_that_is_not_there_is_waited_for_and_not_made(source: Path, running: Server, tmp_path: Path) -> None:
    said: list[str] = []
    with closing(collector(running, tmp_path / "to", start="now", say=said.append)) as ours:
        assert ours.step(0.0) and ours.step(0.0)
        assert said == [f"{ours.group.where.name}: there is no such stream yet"]
        with running.client() as client:
            assert not client.exists(STREAM)
        ship(source, running)
        ours.run(once=True)
    assert same(tmp_path / "to", source)


def test_a_group_of_its_own_gets_everything_again_and_repeats_are_known(source: Path, running: Server, tmp_path: Path) -> None:
    ship(source, running)
    collect(running, tmp_path / "to")
    status = collect(running, tmp_path / "to", group="another")
    assert (status.records, status.repeats) == (0, len(everything(source)))
    assert same(tmp_path / "to", source)


def test_entries_of_others_are_counted_and_acknowledged(running: Server, tmp_path: Path) -> None:
    odd = dumps({"no": "record"})
    with running.client() as client:
        client.xadd(STREAM, {"some": "thing"})
        client.xadd(STREAM, {"k": "lines", "d": b"two\nlines", "id": "", "h": ""})
        client.xadd(STREAM, {"k": "body", "d": b"x", "id": "../../etc/passwd:0/1", "h": ""})
        client.xadd(STREAM, {"d": odd[:-1], "k": "lines"})
        client.xadd(STREAM, {"k": "lines", "d": odd[:-1], "id": "", "h": ""})
        status = collect(running, tmp_path / "to")
        assert client.xpending(STREAM, "collect")["pending"] == 0
    assert (status.records, status.repeats, status.foreign) == (1, 1, 3)
    assert lines_of(tmp_path / "to", LINES) == [odd]


def test_a_session_or_a_flow_may_be_called_anything(running: Server, tmp_path: Path) -> None:
    """No id leads out of the directory."""
    names = ["../../up", "/abs", "a/b", 'quo"te', "back\\slash", "ü", "", ".", "x" * 300]
    records = [dumps({"event": "e", "line": "data: 1", "metadata": "{}", "flow_id": n, "data_count": 0, "sid": n}) for n in names]
    with running.client() as client:
        for raw in records * 2:
            client.xadd(STREAM, {"k": "lines", "d": raw[:-1], "id": "", "h": ""})
    status = collect(running, tmp_path / "a" / "to")
    assert (status.records, status.repeats) == (len(names), len(names))
    assert lines_of(tmp_path / "a" / "to", LINES) == records
    assert {path.name for path in (tmp_path / "a").iterdir()} == {"to"}


# -- repeats -------------------------------------------------------------------------------------------------------------------


def test_a_line_is_known_by_what_it_says(source: Path) -> None:
    for kind, raw in everything(source):
        record = json.loads(raw)
        what = record["data_count"] if kind == "lines" else FLOW if kind == "flows" else END
        assert named(raw) == (record["sid"].encode(), record["flow_id"].encode(), what)


@given(data=st.data())
def test_each_record_lands_once_whatever_is_repeated_and_whenever_it_is_restarted(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    records: list[tuple[Kind, bytes]] = []
    for flow in "ab":
        records.append(("flows", dumps({"t": "", "flow_id": flow, "sid": "s"})))
        records += [("lines", dumps({"event": "e", "flow_id": flow, "data_count": n, "sid": "s"})) for n in range(4)]
        records.append(("flow_ends", dumps({"t": "", "flow_id": flow, "sid": "s", "outcome": "complete"})))
    records.append(("lines", b"no record\n"))
    order = data.draw(st.lists(st.sampled_from(records), max_size=40))
    to = tmp_path_factory.mktemp("to")
    logs = [CollectedLog(to, durable=False)]
    at = 0
    while at < len(order):
        step = data.draw(st.integers(1, 8))
        match data.draw(st.sampled_from(("same", "another", "restart"))):
            case "another":
                logs.append(CollectedLog(to, durable=False))
            case "restart":
                logs.pop().close()
                logs.append(CollectedLog(to, durable=False))
            case "same":
                pass
        put(data.draw(st.sampled_from(logs)), order[at : at + step])
        at += step
    for log in logs:
        log.close()
    expected = list(dict.fromkeys(order))
    assert {kind: lines_of(to, name) for kind, name in FILES.items()} == {
        kind: [raw for each, raw in expected if each == kind] for kind in FILES
    }


def test_more_flows_than_are_kept_in_mind_are_known(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow_files, "MAX_KNOWN", 3)
    monkeypatch.setattr(flow_files, "MAX_OPEN", 2)
    records = everything(source)
    with closing(CollectedLog(tmp_path)) as log:
        for at in range(0, len(records), 500):
            put(log, records[at : at + 500])
            put(log, records[max(0, at - 700) : at + 300])
        assert len(log._flows._known) <= 3 and len(log._flows._open) <= 2
    assert same(tmp_path, source)


def test_a_flow_whose_own_file_was_deleted_is_still_known_while_it_is_in_mind(tmp_path: Path) -> None:
    raw = [dumps({"event": "e", "flow_id": "f", "data_count": n, "sid": "s"}) for n in range(3)]
    with closing(CollectedLog(tmp_path)) as log, closing(CollectedLog(tmp_path)) as other:
        put(log, [("lines", raw[0])])
        (tmp_path / "sse_logs" / "s" / "f.jsonl").unlink()
        put(other, [("flows", dumps({"flow_id": "other", "sid": "s"}))])
        put(log, [("lines", raw[0]), ("lines", raw[1])])
    assert lines_of(tmp_path, LINES) == raw[:2]
    assert (tmp_path / "sse_logs" / "s" / "f.jsonl").read_bytes() == raw[1]


def test_what_was_taken_outside_a_turn_is_written_with_the_next_flush(source: Path, tmp_path: Path) -> None:
    log = CollectedLog(tmp_path)
    for kind, raw in everything(source):
        log.add(kind, raw)
    log.close()
    assert same(tmp_path, source)


def test_a_log_that_is_renamed_away_is_begun_anew(source: Path, tmp_path: Path) -> None:
    records = everything(source)
    with closing(CollectedLog(tmp_path)) as log:
        put(log, records[:1000])
        (tmp_path / LINES).rename(tmp_path / f"{LINES}.1")
        put(log, records[500:])
    assert lines_of(tmp_path, f"{LINES}.1") + lines_of(tmp_path, LINES) == lines_of(source, LINES)


# -- kills between two writes --------------------------------------------------------------------------------------------------


class Killed(BaseException):
    """As far as a process of a test can be killed."""


def die(*_: Any, **__: Any) -> None:
    raise Killed


def leave(log: CollectedLog) -> None:
    """The directory as a kill leaves it: no orderly end of the turn, the lock gone."""
    log.turns.close()
    for file in log._files.values():
        file.close()


def test_a_kill_between_the_log_and_the_own_files_doubles_nothing(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = everything(source)
    log = CollectedLog(tmp_path)
    put(log, records[:1000])
    monkeypatch.setattr(log._flows, "write", die)
    monkeypatch.setattr(log.turns, "end", lambda clean: None)
    with pytest.raises(Killed):
        put(log, records[1000:2000])
    leave(log)
    with closing(CollectedLog(tmp_path)) as again:
        put(again, records[1000:])
        assert again.repeats == len(records[1000:2000])
    assert same(tmp_path, source)


@pytest.mark.parametrize("part", [0.0, 0.3, 1.0])
def test_a_kill_within_a_write_leaves_nothing_torn(
    part: float, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = everything(source)
    log = CollectedLog(tmp_path)
    put(log, records[:1000])
    whole = Appender._append

    def some(file: Appender, data: bytes) -> int:
        whole(file, data[: int(len(data) * part)])
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Appender, "_append", some)
        patch.setattr(log.turns, "end", lambda clean: None)
        put(log, records[1000:2000])
    leave(log)
    with closing(CollectedLog(tmp_path)) as again:
        put(again, records[1000:])
    assert same(tmp_path, source)
    assert (tmp_path / f"{LINES}.bad").exists() == (part == 0.3)


def test_a_torn_own_file_is_cut_and_filled(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records = everything(source)
    log = CollectedLog(tmp_path)

    def some() -> None:
        key, file = next(reversed(log._flows._touched.items()))
        path = tmp_path / "sse_logs" / safe_name(key[0].decode()) / f"{safe_name(key[1].decode())}.jsonl"
        path.parent.mkdir(mode=0o700, exist_ok=True)
        path.write_bytes(b"".join(file.waiting)[:-7])
        path.chmod(0o600)
        raise Killed

    monkeypatch.setattr(log._flows, "write", some)
    monkeypatch.setattr(log.turns, "end", lambda clean: None)
    with pytest.raises(Killed):
        put(log, records[:2000])
    leave(log)
    with closing(CollectedLog(tmp_path)) as again:
        put(again, records)
    assert same(tmp_path, source)


def test_after_a_power_cut_what_may_not_be_on_the_disk_is_looked_through(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An orderly end is none: the flows' own files are put on the disk only now and then."""
    records = everything(source)
    with closing(CollectedLog(tmp_path)) as log:
        put(log, records[:1500])
    for path in (tmp_path / "sse_logs").glob("*/*.jsonl"):
        os.truncate(path, path.stat().st_size // 2)
    boot = tmp_path / "boot"
    boot.write_text("another")
    monkeypatch.setattr(turn, "BOOT", boot)
    with closing(CollectedLog(tmp_path)) as log:
        put(log, records[500:])
        assert log.repeats == 1000
    assert same(tmp_path, source)


def test_what_is_on_the_disk_for_good_is_not_looked_through_again(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collected, "SYNC_EVERY", 1)
    with closing(CollectedLog(tmp_path)) as log:
        put(log, everything(source))
    boot = tmp_path / "boot"
    boot.write_text("another")
    monkeypatch.setattr(turn, "BOOT", boot)
    looked: list[int] = []

    def look(path: Path, offset: int) -> list[bytes]:
        looked.append(path.stat().st_size - offset)
        return []

    monkeypatch.setattr(collected, "lines_from", look)
    with closing(CollectedLog(tmp_path)) as log, log.turn():
        pass
    assert looked == [0, 0, 0]


def test_of_a_damaged_state_nothing_is_believed_also_not_after_another_kill(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = everything(source)
    with closing(CollectedLog(tmp_path)) as log:
        put(log, records[:2000])
    for path in (tmp_path / "sse_logs").glob("*/*.jsonl"):
        path.unlink()
    (tmp_path / "collecting" / "turn").write_bytes(b'{"cle')
    with monkeypatch.context() as patch, pytest.raises(Killed), closing(CollectedLog(tmp_path)) as log:
        patch.setattr(log, "_complete", die)
        patch.setattr(log.turns, "end", lambda clean: None)
        put(log, [])
    with closing(CollectedLog(tmp_path)) as log:
        put(log, records)
    assert same(tmp_path, source)


def test_a_disk_that_takes_nothing_is_waited_for(
    source: Path, running: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ship(source, running)
    whole, times, said = Appender.flush, iter(range(100)), list[str]()

    def full(file: Appender) -> None:
        if 2 <= next(times) < 5:
            raise OSError(28, "No space left on device")
        whole(file)

    monkeypatch.setattr(Appender, "flush", full)
    collect(running, tmp_path / "to", say=said.append)
    assert said == [f"cannot write to {tmp_path / 'to'} (No space left on device); the records wait in Redis", "it goes on"]
    assert same(tmp_path / "to", source)


# -- the server goes away ------------------------------------------------------------------------------------------------------


class Once:
    """Does something when so many records are there, once."""

    def __init__(self, records: int, act: Callable[[], Any]) -> None:
        self.records, self.act = records, act

    def __call__(self, status: Status) -> None:
        if self.records and status.records >= self.records:
            self.records = 0
            self.act()


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few entries at once, so that something can happen between."""
    monkeypatch.setattr("capture.channels.groups.BATCH", 1 << 16)
    monkeypatch.setattr("capture.channels.groups.MOST", 256)
    monkeypatch.setattr("capture.channels.collecting.TURN", 0.0)


@pytest.mark.row(35)
def test_a_server_that_is_killed_and_restarted_loses_and_doubles_nothing(
    source: Path, running: Server, tmp_path: Path, small: None
) -> None:
    ship(source, running)
    status = collect(running, tmp_path / "to", tick=Once(1000, running.restart))
    assert status.reconnects >= 1
    assert same(tmp_path / "to", source)


@pytest.mark.row(35)
def test_a_server_that_is_frozen_is_waited_for(
    source: Path, running: Server, tmp_path: Path, small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_channel, "SOCKET_TIMEOUT", 0.2)
    monkeypatch.setattr(redis_channel, "CONNECT_TIMEOUT", 0.2)
    ship(source, running)
    said: list[str] = []
    with closing(collector(running, tmp_path / "to", tick=Once(1000, running.freeze), say=said.append)) as ours:
        threading.Timer(0.8, running.thaw).start()
        ours.run(once=True)
    assert said == [f"{where_of(running.stream(STREAM), {}).name}: it does not answer; it is tried again and again", "it goes on"]
    assert same(tmp_path / "to", source)


def test_a_stream_that_is_deleted_under_us_is_collected_anew_and_nothing_is_doubled(
    sources: tuple[Path, Path], running: Server, tmp_path: Path, small: None
) -> None:
    """Shippers send it again; what was collected already is known."""
    ship(sources[0], running)

    def gone() -> None:
        with running.client() as client:
            client.delete(STREAM)

    said: list[str] = []
    with closing(collector(running, tmp_path / "to", tick=Once(1000, gone), say=said.append)) as ours:
        ours.run(once=True)
        assert ours.status.records < len(everything(sources[0]))
        ship(sources[0], running)
        ship(sources[1], running)
        ours.run(once=True)
        assert ours.status.repeats >= 1000
    assert [each for each in said if "was deleted" in each]
    assert same(tmp_path / "to", *sources)


@pytest.mark.row(35)
def test_a_server_without_memory_gives_what_it_has(source: Path, running: Server, tmp_path: Path) -> None:
    ship(source, running)
    collect(running, tmp_path / "first")
    with running.client() as client:
        client.xgroup_create(STREAM, "g", "0")
        client.config_set("maxmemory", "1mb")
    collect(running, tmp_path / "to", group="g")
    assert same(tmp_path / "to", source)


@pytest.mark.row(35)
def test_a_wrong_password_is_one_line_and_exit_2(tmp_path: Path) -> None:
    with server(tmp_path / "redis", password="right") as running:
        url = running.stream(STREAM).replace("127.0.0.1", ":wr0ng@127.0.0.1")
        done = subprocess.run(
            [sys.executable, "-m", "capture", "collect", url, "--dir", str(tmp_path / "to")], capture_output=True, text=True
        )
    assert done.returncode == 2 and "refuses the password" in done.stderr.splitlines()[0]
    assert "wr0ng" not in done.stderr and "Traceback" not in done.stderr and len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("how", [{"unix": True}, {"tls": True}, {"password": "päss"}])
def test_it_collects_through_sockets_tls_and_passwords(
    how: dict[str, Any], source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_PASSWORD", str(how.get("password", "")))
    with server(tmp_path / "redis", **how) as running:
        with closing(Shipper(source, where_of(running.stream(STREAM)), steps=STEPS)) as shipper:
            shipper.run(once=True)
        with closing(Collector(where_of(running.stream(STREAM)), tmp_path / "to", consumer="a b\n", steps=STEPS)) as ours:
            ours.run(once=True)
    assert same(tmp_path / "to", source)


def test_a_key_that_is_no_stream_is_one_line_and_exit_2(running: Server, tmp_path: Path) -> None:
    with running.client() as client:
        client.set(STREAM, "text")
    result = CliRunner().invoke(cli, ["collect", running.stream(STREAM), "--dir", str(tmp_path / "to"), "--once"])
    assert "holds something else" in str(result.exception)


@pytest.mark.parametrize("seconds", ["nan", "inf", "0", "soon"])
def test_what_is_no_time_to_be_idle_is_refused(seconds: str) -> None:
    result = CliRunner().invoke(cli, ["collect", "redis://127.0.0.1/0", "--idle", seconds])
    assert isinstance(result.exception, click.UsageError) or result.exit_code == 2


# -- several collectors --------------------------------------------------------------------------------------------------------

DYING = """
import os, signal, sys
from pathlib import Path
from capture.channels import collecting, groups
from capture.channels.where import where_of
url, to, consumer, when, after = sys.argv[1:]
groups.BATCH, groups.MOST = 1 << 16, 256
collecting.TURN = 0.0 if when == "acknowledge" else 10.0
place = groups.Group if when in ("ask", "answer", "acknowledge") else collecting.CollectedLog
whole, left = getattr(place, when), int(after)
def dying(*words):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return whole(*words)
setattr(place, when, dying)
collecting.Collector(where_of(url, {}), Path(to), consumer=consumer).run(once=True)
"""


@pytest.mark.row(35)
@pytest.mark.parametrize("consumer", ["", "another"])
@pytest.mark.parametrize("when", ["add_entries", "flush", "ask", "answer", "acknowledge"])
def test_a_collector_killed_between_reading_and_acknowledging_loses_and_doubles_nothing(
    when: str, consumer: str, source: Path, running: Server, tmp_path: Path, small: None
) -> None:
    """The next one in the directory, of whatever name, goes on at once, and in order."""
    ship(source, running)
    dead = subprocess.run([sys.executable, "-c", DYING, running.stream(STREAM), str(tmp_path / "to"), "first", when, "4"])
    assert dead.returncode == -signal.SIGKILL
    status = collect(running, tmp_path / "to", consumer or "first")
    assert bool(status.repeats) == (when in ("ask", "answer", "acknowledge"))
    assert same(tmp_path / "to", source)


def test_entries_that_the_server_gave_to_a_dead_connection_are_written_in_their_place(
    source: Path, running: Server, tmp_path: Path, small: None
) -> None:
    """A request of a killed collector may be answered after another has looked for what is pending."""
    ship(source, running)
    with (
        closing(collector(running, tmp_path / "to", "first")) as first,
        closing(collector(running, tmp_path / "to", "second")) as ours,
    ):
        first.step(0.0)
        first.step(0.0)
        ours.step(0.0)
        ours.step(0.0)
        with running.client() as client:
            client.xreadgroup("collect", "first", {STREAM: ">"}, count=100)
            client.xreadgroup("collect", "second", {STREAM: ">"}, count=100)
        ours.run(once=True)
        assert not ours.status.repeats
    assert same(tmp_path / "to", source)


@pytest.mark.row(35)
def test_two_shippers_and_three_collectors_of_which_one_is_killed(
    sources: tuple[Path, Path], running: Server, tmp_path: Path
) -> None:
    shippers = [
        subprocess.Popen([sys.executable, "-m", "capture", "ship", running.stream(STREAM), "--dir", str(log), "--once"])
        for log in sources
    ]
    words = [sys.executable, "-c", DYING, running.stream(STREAM), str(tmp_path / "to")]
    collectors = [subprocess.Popen([*words, name, "acknowledge", n]) for name, n in (("a", "3"), ("b", "5"), ("c", "7"))]
    assert [each.wait() for each in shippers] == [0, 0]
    for each in collectors:
        each.wait()
    collect(running, tmp_path / "to", "d")
    assert same(tmp_path / "to", *sources)


def test_collectors_of_one_directory_take_turns(source: Path, running: Server, tmp_path: Path, small: None) -> None:
    ship(source, running)
    ours = [collector(running, tmp_path / "to", name) for name in "abc"]
    for each in ours:
        each.step(0.0)  # connects
    done: list[int] = []

    def work(each: Collector) -> None:
        each.run(once=True)
        done.append(each.status.records)

    threads = [threading.Thread(target=work, args=(each,)) for each in ours]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(done) == len(everything(source)) and sum(map(bool, done)) > 1  # one that comes late may find nothing left
    assert same(tmp_path / "to", source)
    for each in ours:
        each.close()


def test_collectors_of_several_directories_share_the_records_and_are_told_so(
    sources: tuple[Path, Path], running: Server, tmp_path: Path, small: None
) -> None:
    """Each record is in one of them; within each, flows are in order."""
    for log in sources:
        ship(log, running)
    said: list[str] = []
    places = [tmp_path / name for name in "abc"]
    ours = [collector(running, to, to.name, say=said.append) for to in places]
    done = [False]
    while not all(done):
        done = [each.step(0.0) for each in ours]
    assert sum(each.status.records for each in ours) == sum(len(everything(log)) for log in sources)
    whole = by_flow(*sources)
    for to in places:
        assert lines_of(to, LINES)
        for key, raws in by_flow(to).items():
            assert raws == [raw for raw in whole[key] if raw in set(raws)]
    assert sorted(raw for to in places for _, raw in everything(to)) == sorted(raw for log in sources for _, raw in everything(log))
    assert len(said) == 2 and "(a, b)" in said[1]
    for each in ours:
        each.close()


def test_what_another_directory_does_not_acknowledge_is_taken_over_in_time(source: Path, running: Server, tmp_path: Path) -> None:
    ship(source, running)
    with running.client() as client:
        client.xgroup_create(STREAM, "collect", "0")
        client.xreadgroup("collect", "elsewhere", {STREAM: ">"}, count=100)
        with closing(collector(running, tmp_path / "to", idle=0.05)) as ours:
            ours.run(once=True)
            until = time.monotonic() + 10
            while ours.status.records < len(everything(source)) and time.monotonic() < until:
                ours.step(0.01)
        assert client.xpending(STREAM, "collect")["pending"] == 0
    assert sorted(everything(tmp_path / "to")) == sorted(everything(source))


def test_entries_that_were_deleted_before_they_were_collected_are_counted(source: Path, running: Server, tmp_path: Path) -> None:
    ship(source, running)
    with running.client() as client:
        client.xgroup_create(STREAM, "collect", "0")
        ((_, given_),) = client.xreadgroup("collect", default_consumer(tmp_path / "to"), {STREAM: ">"}, count=10)
        client.xdel(STREAM, *(entry for entry, _ in given_))
        status = collect(running, tmp_path / "to")
        assert client.xpending(STREAM, "collect")["pending"] == 0
    assert (status.deleted, status.records) == (10, len(everything(source)) - 10)


def test_who_waits_for_long_is_told_for_whom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turn, "PATIENCE", 0.0)
    one, two = Turns(tmp_path / "turns"), Turns(tmp_path / "turns")
    one.begin(dict, lambda process: None)
    waited: list[str] = []

    def told(process: str) -> None:
        waited.append(process)
        one.end(clean=True)

    assert not two.begin(dict, told).ours
    assert waited == [str(os.getpid())]
    two.close()
    one.close()


def test_a_turn_ends_with_its_process(tmp_path: Path) -> None:
    code = "import sys, pathlib; from capture.channels.turn import Turns; t = Turns(pathlib.Path(sys.argv[1])); "
    code += "t.begin(lambda: {'x': 1}, print); t.whole({'x': 5}); import os; os.kill(os.getpid(), 9)"
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "turns")])
    with open(tmp_path / "turns" / "turn") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with closing(Turns(tmp_path / "turns")) as ours:
        assert ours.begin(lambda: {"x": 9}, print).since == {"x": 5}
        ours.end(clean=True)
        assert ours.begin(lambda: {"x": 9}, print) == turn.Last(True, None)
        ours.end(clean=True)


# -- payloads ------------------------------------------------------------------------------------------------------------------


def test_a_payload_that_lies_in_bodies_arrives_whole(running: Server, tmp_path: Path, source: Path) -> None:
    log = tmp_path / "log"
    log.mkdir(mode=0o700)
    payload = bytes(range(256)) * 20_000
    digest = sha256(payload).hexdigest()
    (log / "bodies").mkdir(mode=0o700)
    (log / "bodies" / digest).write_bytes(payload)
    metadata = dumps({"bytes": len(payload), "sha256": digest}).decode()[:-1]
    line = {"event": "e", "line": "x" * (64 << 10), "metadata": metadata, "flow_id": "f", "data_count": 0, "sid": "s"}
    (log / LINES).write_bytes(dumps(line))
    ship(log, running)
    collect(running, tmp_path / "to")
    assert (tmp_path / "to" / "bodies" / digest).read_bytes() == payload
    assert stat.S_IMODE((tmp_path / "to" / "bodies" / digest).stat().st_mode) == 0o600
    assert lines_of(tmp_path / "to", LINES) == [dumps(line)]


@given(data=st.data())
def test_a_payload_is_whole_in_whatever_order_and_however_often_its_pieces_come(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    payload = data.draw(st.binary(min_size=1, max_size=60))
    digest = sha256(payload).hexdigest()
    size = data.draw(st.integers(1, 20))
    pieces = [(at, payload[at : at + size]) for at in range(0, len(payload), size)]
    order = data.draw(st.permutations(pieces))
    folder = tmp_path_factory.mktemp("bodies")
    for at, piece in order:
        payloads = Payloads(folder)
        assert payloads.add(f"{digest}:{at}/{len(payload)}", piece)
        if data.draw(st.booleans()):
            assert payloads.add(f"{digest}:{at}/{len(payload)}", piece)
        payloads.write(sync=False)
        assert not (folder / digest).exists() or (folder / digest).read_bytes() == payload  # of zeros before all are there
    assert (folder / digest).read_bytes() == payload
    assert [path.name for path in folder.iterdir()] == [digest]


# -- the command ---------------------------------------------------------------------------------------------------------------


def test_the_command_collects_and_says_how_much(source: Path, running: Server, tmp_path: Path) -> None:
    ship(source, running)
    result = CliRunner().invoke(cli, ["collect", running.stream(STREAM), "--dir", str(tmp_path / "to"), "--once"])
    assert result.exit_code == 0 and result.stderr == f"capture: {len(everything(source)):,} records collected\n"
    assert same(tmp_path / "to", source)


def test_the_command_adds_to_a_dataset(sources: tuple[Path, Path], running: Server, tmp_path: Path) -> None:
    for log in sources:
        ship(log, running)
        words = ["collect", running.stream(STREAM), "--dir", str(tmp_path / "to"), "--once", "--parquet", str(tmp_path / "set")]
        assert CliRunner().invoke(cli, words).exit_code == 0
    import duckdb

    count = duckdb.connect().execute(f"SELECT count(*) FROM '{tmp_path}/set/lines/*/*.parquet'").fetchone()
    assert count == (sum(len(lines_of(log, LINES)) for log in sources),)


def test_sigterm_is_an_orderly_end(source: Path, running: Server, tmp_path: Path) -> None:
    ship(source, running)
    words = [sys.executable, "-m", "capture", "collect", running.stream(STREAM), "--dir", str(tmp_path / "to")]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 20
    with running.client() as client:
        while not lines_of(tmp_path / "to", ENDS) and time.monotonic() < until:
            time.sleep(0.01)
        process.terminate()
        _, said = process.communicate()
        assert client.xlen(STREAM) == len(everything(source))
    assert process.returncode == 0 and "records collected" in said
    collect(running, tmp_path / "to")
    assert same(tmp_path / "to", source)


def test_a_question_can_be_asked_of_a_stream(source: Path, running: Server, tmp_path: Path) -> None:
    ship(source, running)
    asked = [
        CliRunner().invoke(cli, ["prompts", *of, "--json"]) for of in (["--from", running.stream(STREAM)], ["--dir", str(source)])
    ]
    assert asked[0].exit_code == 0 and asked[0].stdout == asked[1].stdout != ""
    with running.client() as client:
        assert sum(map(len, entries(client, STREAM))) == len(everything(source)) and not client.xinfo_groups(STREAM)
