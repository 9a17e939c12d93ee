"""`capture ship` against a real server that is killed, frozen, filled, emptied: what the stream holds is what the log holds."""

import json
import os
import signal
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capture.channels import directory, resuming, shipping
from capture.channels import redis as redis_channel
from capture.channels.base import Batch
from capture.channels.directory import Place
from capture.channels.entries import Entry, entry_of, record_id
from capture.channels.pieces import pieces
from capture.channels.redis import Client, pauses
from capture.channels.redis_sink import RedisSink
from capture.channels.shipping import Shipper, Status
from capture.channels.where import where_of
from capture.files import ENDS, FILES, FLOWS, LINES, Unusable
from capture.jsonl import Kind, dumps
from tests.redis_server import Server, needed, server

STEPS = (0.01, 0.02)  # seconds between two tries here
STREAM = "s"

pytestmark = needed


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Server]:
    with server(tmp_path / "redis") as ours:
        yield ours


@pytest.fixture
def log(tmp_path: Path) -> Path:
    (tmp_path / "log").mkdir(mode=0o700)
    return tmp_path / "log"


def write(log: Path, flows: int = 2, lines: int = 10, first: int = 0, text: int = 200) -> None:
    """Flows that run at the same time, from their beginning to their end."""
    ids = [f"{number:08x}-0000-4000-8000-000000000000" for number in range(first, first + flows)]
    append(log / FLOWS, [{"t": "2026-11-21T17:07:03.042", "flow_id": each, "sid": "s"} for each in ids])
    records = [
        {
            "event": "e",
            "t": "2026-11-21T17:07:03.042",
            "line": "x" * text,
            "metadata": "{}",
            "flow_id": each,
            "data_count": n,
            "sid": "s",
        }
        for n in range(lines)
        for each in ids
    ]
    append(log / LINES, records)
    append(log / ENDS, [{"t": "2026-11-21T17:07:03.042", "flow_id": each, "sid": "s", "lines": lines} for each in ids])


def append(path: Path, records: list[dict[str, Any]]) -> None:
    with open(path, "ab") as file:
        file.write(b"".join(map(dumps, records)))


def shipper(log: Path, url: str, tick: Callable[[Status], None] = lambda status: None, **options: Any) -> Shipper:
    return Shipper(log, where_of(url, {}), tick=tick, steps=STEPS, **options)


def ship(log: Path, running: Server, tick: Callable[[Status], None] = lambda status: None, **options: Any) -> Shipper:
    """Everything there is now; what the shipper says of it afterwards."""
    with closing(shipper(log, running.stream(STREAM), tick, **options)) as ours:
        ours.run(once=True)
        return ours


def entries(client: Client) -> list[Entry]:
    """All that the stream holds."""
    found: list[Entry] = []
    last = "-"
    while some := cast(list[tuple[bytes, dict[bytes, bytes]]], client.xrange(STREAM, min=last, count=1000)):
        found += [entry for number, fields in some if (entry := entry_of(number, fields))]
        last = f"({some[-1][0].decode()}"
    return found


def stored(running: Server) -> dict[str, bytes]:
    """What the stream holds, as the files that it came from."""
    with running.client() as client:
        every = entries(client)
    return {name: b"".join(each.raw for each in every if each.kind == kind) for kind, name in FILES.items()}


def written(*logs: Path) -> dict[str, bytes]:
    return {name: b"".join((log / name).read_bytes() for log in logs if (log / name).exists()) for name in FILES.values()}


class Once:
    """Does something the first time a shipper's status is so, and something else when it is otherwise later."""

    def __init__(self, *acts: tuple[Callable[[Status], bool], Callable[[], Any]]) -> None:
        self.acts = list(acts)

    def __call__(self, status: Status) -> None:
        if self.acts and self.acts[0][0](status):
            self.acts.pop(0)[1]()


def midway(status: Status) -> bool:
    return status.sent > 0 and status.pending_bytes > 0


def waits(status: Status) -> bool:
    return status.state == "waiting"


# -- the usual -----------------------------------------------------------------------------------------------------------------


def test_the_stream_holds_the_log_byte_for_byte(log: Path, running: Server) -> None:
    write(log, flows=3, lines=1000)
    assert ship(log, running).status.sent == 3 + 3000 + 3
    assert stored(running) == written(log)


def test_an_entry_says_what_kind_it_is_of_whom_and_what_a_repeat_is_known_by(log: Path, running: Server) -> None:
    write(log, flows=1, lines=2)
    append(log / LINES, [{"no": "record"}])
    ours = ship(log, running)
    with running.client() as client:
        found = entries(client)
    flow = "00000000-0000-4000-8000-000000000000"
    odd = dumps({"no": "record"})[:-1]
    expected = ["flow", "0", "1", None, "end"]
    assert [each.id for each in found] == [f"{flow}:{each}" if each else f"sha256:{sha256(odd).hexdigest()}" for each in expected]
    assert [each.kind for each in found] == ["flows", "lines", "lines", "lines", "flow_ends"]
    assert {each.host.rpartition("/")[2] for each in found} == {json.loads(_memory(log))["log"]}
    assert ours.status.pending_bytes == 0


def _memory(log: Path) -> str:
    (path,) = (log / "shipping").glob("*.json")
    return path.read_text()


def test_the_next_run_goes_on_where_the_last_one_was(log: Path, running: Server) -> None:
    write(log)
    ship(log, running)
    ship(log, running)
    write(log, first=2)
    assert ship(log, running).status.sent == 2 * (2 + 20 + 2)
    assert stored(running) == written(log)


def test_from_now_means_what_comes_later_also_after_a_restart(log: Path, running: Server) -> None:
    write(log)
    before = written(log)
    ship(log, running, start="now")
    write(log, first=2)
    ship(log, running, start="now")
    assert stored(running) == {name: data.removeprefix(before[name]) for name, data in written(log).items()}


def test_from_now_is_remembered_while_the_server_was_never_reached(log: Path, running: Server) -> None:
    write(log)
    before = written(log)
    shipper(log, running.stream(STREAM), start="now").close()
    write(log, first=2)
    ship(log, running, start="now")
    assert stored(running) == {name: data.removeprefix(before[name]) for name, data in written(log).items()}


def test_a_torn_line_waits_until_it_is_whole(log: Path, running: Server) -> None:
    for part in (b'{"flow_id":"f","data_', b'count":0,"sid":"s"}\n{"flow', b'_id":"f","data_count":1,"sid":"s"}\n'):
        with open(log / LINES, "ab") as file:
            file.write(part)
        ship(log, running)
    assert stored(running) == written(log)


def test_payloads_of_bodies_come_before_the_line_that_names_them(log: Path, running: Server) -> None:
    data = os.urandom(700_000)
    digest = sha256(data).hexdigest()
    (log / "bodies").mkdir()
    (log / "bodies" / digest).write_bytes(data)
    for number, named in enumerate((digest, digest, "0" * 64)):
        record = {
            "line": "data: " + "x" * 65_536,
            "metadata": json.dumps({"bytes": 700_000, "sha256": named}, separators=(",", ":")),
        }
        append(log / LINES, [{"event": "e", **record, "flow_id": "f", "data_count": number, "sid": "s"}])
    ship(log, running)
    with running.client() as client:
        found = entries(client)
    assert [each.kind for each in found] == ["body"] * 3 + ["lines"] * 3
    assert b"".join(each.data for each in found[:3]) == data
    assert [each.id for each in found[:3]] == [f"{digest}:{at}/700000" for at in (0, 262_144, 524_288)]


@pytest.mark.row(35)
def test_the_stream_is_kept_short(log: Path, running: Server) -> None:
    write(log, flows=1, lines=5000)
    with closing(Shipper(log, where_of(running.stream(STREAM) + "&maxlen=100", {}), steps=STEPS)) as ours:
        ours.run(once=True)
    with running.client() as client:
        assert 100 <= client.xlen(STREAM) < 1000


def new_lines(client: Client) -> list[bytes]:
    """What a group has not read yet."""
    found = cast(Any, client.xreadgroup("collectors", "one", {STREAM: ">"}, noack=True))
    return [fields[b"d"] + b"\n" for _, fields in (found[0][1] if found else []) if fields[b"k"] == b"lines"]


def test_no_entry_is_cut_off_before_all_groups_have_it(log: Path, running: Server) -> None:
    running.needs(7)  # older ones do not say how much a group has to read
    write(log, flows=4, lines=1000)
    said: list[str] = []
    with running.client() as client:
        client.xgroup_create(STREAM, "collectors", id="0", mkstream=True)
        taken: list[bytes] = []

        def collect(status: Status) -> None:
            if waits(status):
                taken.extend(new_lines(client))

        url = running.stream(STREAM) + "&maxlen=2000"
        with closing(shipper(log, url, collect, say=said.append)) as ours:
            ours.run(once=True)
        taken += new_lines(client)
    assert "group collectors has not read" in said[0]
    assert b"".join(taken) == (log / LINES).read_bytes()


# -- the log is renamed --------------------------------------------------------------------------------------------------------


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A renamed file is looked at again for a fifth of a second, not for two."""
    monkeypatch.setattr(resuming, "LINGER", 0.2)
    monkeypatch.setattr(directory, "LINGER", 0.2)


def rotate(log: Path, number: int) -> None:
    """As logrotate: the oldest has the highest number."""
    for name in FILES.values():
        for old in range(number, 1, -1):
            (log / f"{name}.{old - 1}").rename(log / f"{name}.{old}")
        (log / name).rename(log / f"{name}.1")


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("times", [1, 2, 3])
def test_what_is_left_in_renamed_files_comes_first(log: Path, running: Server, times: int) -> None:
    write(log)
    ship(log, running)
    expected = written(log)
    for number in range(1, times + 1):
        write(log, first=10 * number)
        rotate(log, number)
    write(log, first=99)
    for number in range(times, 0, -1):
        for name in FILES.values():
            data = (log / f"{name}.{number}").read_bytes()
            expected[name] += data.removeprefix(expected[name]) if number == times else data
    expected = {name: data + (log / name).read_bytes() for name, data in expected.items()}
    ship(log, running)
    assert stored(running) == expected
    ship(log, running)
    assert stored(running) == expected


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("away", ["from the beginning", "midway"])
def test_files_that_come_and_go_while_the_server_is_away_are_not_overlooked(log: Path, running: Server, away: str) -> None:
    """The log is renamed twice while a batch waits for the server."""
    write(log, flows=8, lines=3000, first=0)
    expected = written(log)

    def twice() -> None:
        for number in (1, 2):
            write(log, first=10 * number)
            for name in FILES.values():
                expected[name] = expected[name] + (log / name).read_bytes().removeprefix(expected[name] if number == 1 else b"")
            rotate(log, number)
        write(log, first=99)
        running.start()

    if away == "midway":
        watch = Once((midway, running.kill), (waits, twice))
    else:
        running.kill()
        watch = Once((waits, twice))
    ship(log, running, watch)
    assert watch.acts == []
    assert stored(running) == {name: data + (log / name).read_bytes() for name, data in expected.items()}


def test_a_file_that_is_gone_is_said(log: Path, running: Server) -> None:
    write(log)
    ship(log, running)
    for name in FILES.values():
        (log / name).rename(log / "hidden")
        (log / "hidden").unlink()
    write(log, first=5)
    said: list[str] = []
    ship(log, running, say=said.append)
    assert [text.partition(":")[0] for text in said] == [FLOWS, LINES, ENDS]
    assert stored(running)[LINES].endswith((log / LINES).read_bytes())


# -- the server fails ----------------------------------------------------------------------------------------------------------


@pytest.mark.row(35)
def test_a_connection_that_is_cut_once_is_nothing_to_tell_of(log: Path, running: Server) -> None:
    write(log, flows=8, lines=3000)
    said: list[str] = []
    with running.client() as client:
        cut = (midway, lambda: client.client_kill_filter(_type="normal", skipme=True))
        ours = ship(log, running, Once(cut), say=said.append)
    assert (said, ours.status.reconnects) == ([], 1)
    assert stored(running) == written(log)


@pytest.mark.row(35)
@pytest.mark.parametrize("after", ["next", "later"])
def test_a_server_killed_and_restarted_midway(log: Path, running: Server, after: str) -> None:
    write(log, flows=8, lines=3000)
    back = (midway, running.restart) if after == "next" else (midway, running.kill)
    acts = [back, (waits, running.start)] if after == "later" else [back]
    watch = Once(*acts)
    said: list[str] = []
    ours = ship(log, running, watch, say=said.append)
    assert watch.acts == []
    assert [text for text in said if "lost" in text] == []
    assert ours.status.reconnects > 0
    assert stored(running) == written(log)


@pytest.mark.row(35)
def test_a_server_that_answers_no_more_for_a_while(log: Path, running: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits in the connections that we gave up is not added when the server goes on: nothing is doubled."""
    monkeypatch.setattr(redis_channel, "SOCKET_TIMEOUT", 0.2)
    write(log, flows=8, lines=3000)
    thaw = threading.Timer(1.0, running.thaw)

    def freeze() -> None:
        running.freeze()
        thaw.start()

    ours = ship(log, running, Once((midway, freeze)))
    thaw.join()
    assert ours.status.reconnects > 0
    assert stored(running) == written(log)


@pytest.mark.row(35)
def test_a_server_without_memory_is_waited_for(log: Path, running: Server) -> None:
    write(log, flows=8, lines=3000)
    said: list[str] = []
    with running.client() as client:
        client.config_set("maxmemory", int(client.info("memory")["used_memory"]) + (2 << 20))
        ship(log, running, Once((waits, lambda: client.config_set("maxmemory", 0))), say=said.append)
    assert "it is out of memory (maxmemory)" in said[0]
    assert said[1:] == ["Redis takes records again"]
    assert stored(running) == written(log)


@pytest.mark.row(35)
def test_a_stream_deleted_midway_is_filled_again(log: Path, running: Server) -> None:
    write(log, flows=8, lines=3000)
    with running.client() as client:
        ship(log, running, Once((midway, lambda: client.delete(STREAM))))
    assert stored(running) == written(log)


def test_a_stream_deleted_while_nobody_ships_is_filled_again(log: Path, running: Server) -> None:
    write(log)
    ship(log, running)
    with running.client() as client:
        client.delete(STREAM)
    ship(log, running)
    assert stored(running) == written(log)


def test_a_stream_deleted_when_all_was_shipped_is_filled_again(log: Path, running: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Although no record comes that would show it."""
    monkeypatch.setattr(shipping, "CHECK", 0.0)
    write(log)

    class Enough(Exception):
        pass

    def stop() -> None:
        raise Enough

    def done(status: Status) -> bool:
        return status.sent == 24 and not status.pending_bytes

    with running.client() as client:
        acts = Once((done, lambda: client.delete(STREAM)), (lambda status: done(status) and client.xlen(STREAM) == 24, stop))
        with closing(shipper(log, running.stream(STREAM), acts)) as ours, pytest.raises(Enough):
            ours.run()
    assert stored(running) == written(log)


def test_a_stream_that_was_emptied_is_not_filled_again(log: Path, running: Server) -> None:
    write(log)
    ship(log, running)
    with running.client() as client:
        client.xtrim(STREAM, maxlen=0, approximate=False)
    write(log, first=5, flows=1)
    ship(log, running)
    assert stored(running)[LINES].count(b"\n") == 10


@pytest.mark.row(35)
def test_a_server_that_forgets_what_it_acknowledged_is_told_again(log: Path, tmp_path: Path) -> None:
    write(log, flows=8, lines=3000)
    with server(tmp_path / "forgetful", durable=False) as forgetful:
        ship(log, forgetful, Once((midway, forgetful.restart)))
        assert stored(forgetful) == written(log)


def test_a_server_that_forgets_a_part_is_told_that_part_again(log: Path, tmp_path: Path) -> None:
    """It comes back as its last snapshot has it: the records, and with them how far they reach."""
    write(log, flows=8, lines=3000)
    said: list[str] = []
    with server(tmp_path / "forgetful", durable=False) as forgetful, forgetful.client() as client:
        later = (lambda status: status.sent > 15_000, forgetful.restart)
        ship(log, forgetful, Once((midway, client.save), later), say=said.append)
        assert stored(forgetful) == written(log)
    assert ["lost what it had acknowledged" in text for text in said] == [True]


def test_what_the_server_says_of_a_log_may_be_no_checkpoint(log: Path, running: Server) -> None:
    write(log)
    ship(log, running)
    with running.client() as client:
        client.hset(f"{STREAM}:shipped", json.loads(_memory(log))["log"], "nonsense")
    with pytest.raises(Unusable, match="to send all again: HDEL s:shipped "):
        ship(log, running)


@pytest.mark.row(35)
def test_what_waits_for_a_server_waits_in_the_log_and_not_in_memory(log: Path, running: Server) -> None:
    write(log, flows=4, lines=10_000, text=1000)
    running.kill()
    tracemalloc.start()
    looks = 0

    def look(status: Status) -> None:
        nonlocal looks
        looks += 1
        if looks == 5:
            assert status.pending_bytes > 40_000_000
            running.start()

    ship(log, running, look)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert looks > 5
    assert peak < 24 << 20  # two looks at the log and two transactions; the log has 47 MiB
    assert stored(running) == written(log)


# -- shippers ------------------------------------------------------------------------------------------------------------------


def capture(*words: str | Path, **environ: str) -> list[str]:
    return [sys.executable, "-m", "capture", *map(str, words)]


@pytest.mark.row(35)
def test_a_shipper_killed_again_and_again_loses_and_doubles_nothing(log: Path, running: Server) -> None:
    write(log, flows=8, lines=6000)
    with running.client() as client:
        for share in (1, 2, 3):
            process = subprocess.Popen(capture("ship", running.stream(STREAM), "--dir", log), stderr=subprocess.DEVNULL)
            while client.xlen(STREAM) < share * 10_000:
                assert process.poll() is None
            process.send_signal(signal.SIGKILL)
            process.wait()
    ship(log, running)
    assert stored(running) == written(log)


def test_a_second_shipper_of_a_log_is_refused_in_one_line(log: Path, running: Server) -> None:
    write(log)
    with closing(shipper(log, running.stream(STREAM))) as ours:
        ours.run(once=True)
        second = subprocess.run(capture("ship", running.stream(STREAM), "--dir", log, "--once"), capture_output=True, text=True)
        other = subprocess.run(capture("ship", running.stream("other"), "--dir", log, "--once"), capture_output=True, text=True)
    assert (second.returncode, second.stdout) == (2, "")
    assert second.stderr.splitlines() == [
        f"capture: this log is shipped to {running.stream(STREAM)} already, by process {os.getpid()}: stop that one first"
    ]
    assert (other.returncode, other.stderr) == (0, "")


def test_two_logs_into_one_stream_each_in_its_order(tmp_path: Path, running: Server) -> None:
    logs = [tmp_path / "a", tmp_path / "b"]
    for number, each in enumerate(logs):
        each.mkdir(mode=0o700)
        write(each, flows=4, lines=3000, first=10 * number)
    others = [subprocess.Popen(capture("ship", running.stream(STREAM), "--dir", each, "--once")) for each in logs]
    assert [each.wait() for each in others] == [0, 0]
    with running.client() as client:
        found = entries(client)
    for each in logs:
        host = json.loads(_memory(each))["log"]
        ours = [entry for entry in found if entry.host.endswith(f"/{host}")]
        assert b"".join(entry.raw for entry in ours if entry.kind == "lines") == (each / LINES).read_bytes()
    assert len(found) == 2 * (4 + 12_000 + 4)


def test_a_stream_deleted_under_two_shippers_is_filled_by_both(tmp_path: Path, running: Server) -> None:
    """The second sees it although the first has made the stream again."""
    logs = [tmp_path / "a", tmp_path / "b"]
    for number, each in enumerate(logs):
        each.mkdir(mode=0o700)
        write(each, flows=4, lines=4000, first=10 * number)

    def delete() -> None:
        with running.client() as client:
            client.delete(STREAM)
        ship(logs[0], running)

    ship(logs[0], running)
    ship(logs[1], running, Once((midway, delete)))
    with running.client() as client:
        found = {each.id for each in entries(client)}
    expected = {
        record_id(kind, raw).decode() for kind, name in FILES.items() for raw in written(*logs)[name].splitlines(keepends=True)
    }
    assert found == expected


def test_the_stream_is_made_by_one_shipper_only(running: Server) -> None:
    """What makes it anew forgets all places, so two that begin at the same time must not both do it."""
    where = where_of(running.stream(STREAM), {})
    one, two = RedisSink(where, "one"), RedisSink(where, "two")
    for sink in (one, two):
        assert sink.start() is None
    for name, sink in (("one", one), ("two", two)):
        sink.add("lines", f"{name}\n".encode())
        sink.begin(name.encode())
        sink.settle()
        sink.drop()
    with running.client() as client:
        assert client.hgetall(where.shipped) == {b"one": b"one", b"two": b"two"}
        assert [each.data for each in entries(client)] == [b"one", b"two"]


def test_what_arrived_before_the_connection_was_lost_is_not_sent_again(running: Server) -> None:
    """The transaction was done, its answer never came."""
    sink = RedisSink(where_of(running.stream(STREAM), {}), "log")
    sink.start()
    sink.add("lines", b"once\n")
    sink.begin(b"place")
    with running.client() as client:
        while not client.exists(STREAM):
            pass
        sink.drop()
        sink.settle()
        assert [each.data for each in entries(client)] == [b"once"]
    sink.drop()


def test_connections_that_we_lost_are_ended_before_we_look_what_arrived(running: Server) -> None:
    where = where_of(running.stream(STREAM), {})
    lost, sink = RedisSink(where, "log"), RedisSink(where, "log")
    lost.start()
    with running.client() as client:
        before = [each["id"] for each in client.client_list() if each["name"] == "capture-ship-log"]
        sink.start()
        after = [each["id"] for each in client.client_list() if each["name"] == "capture-ship-log"]
    assert (len(before), len(after)) == (1, 1)
    assert before != after
    lost.drop()
    sink.drop()


def test_a_copied_log_is_another_log(log: Path, tmp_path: Path, running: Server) -> None:
    write(log)
    ship(log, running)
    subprocess.run(["cp", "-rp", log, tmp_path / "copy"], check=True)
    ship(tmp_path / "copy", running)
    assert json.loads(_memory(log))["log"] != json.loads(_memory(tmp_path / "copy"))["log"]


# -- what people see -----------------------------------------------------------------------------------------------------------


@pytest.mark.row(35)
def test_a_wrong_password_is_one_line_that_says_what_to_do(log: Path, tmp_path: Path) -> None:
    with server(tmp_path / "closed", password="right") as closed:
        for password, words in (("wr0ng", "it refuses the password"), ("", "it wants a password")):
            process = subprocess.run(
                capture("ship", "--dir", log, "--once"),
                env=os.environ | {"REDIS_URL": closed.stream(STREAM), "REDIS_PASSWORD": password},
                capture_output=True,
                text=True,
            )
            assert process.returncode == 2
            assert len(process.stderr.splitlines()) == 1
            assert words in process.stderr
            assert "wr0ng" not in process.stderr


def test_nothing_that_is_written_holds_the_password(log: Path, tmp_path: Path) -> None:
    write(log)
    with server(tmp_path / "closed", password="s3cret") as closed:
        process = subprocess.run(
            capture("ship", "--dir", log, "--once", "--metrics", log / "metrics.json"),
            env=os.environ | {"REDIS_URL": closed.stream(STREAM).replace("://", "://:s3cret@")},
            capture_output=True,
        )
        assert process.returncode == 0
        assert stored(closed) == written(log)
    told = [path.read_bytes() for path in log.rglob("*") if path.is_file()] + [process.stdout, process.stderr]
    assert [data for data in told if b"s3cret" in data] == []


def test_metrics_say_how_it_goes(log: Path, running: Server, tmp_path: Path) -> None:
    write(log)
    words = ("ship", running.stream(STREAM), "--dir", log, "--once", "--metrics", tmp_path / "metrics.json")
    subprocess.run(capture(*words), check=True)
    said = json.loads((tmp_path / "metrics.json").read_text())
    numbers = {name: said[name] for name in ("state", "trouble", "sent", "pending_bytes", "reconnects", "lag_seconds")}
    assert numbers == {"state": "done", "trouble": "", "sent": 24, "pending_bytes": 0, "reconnects": 0, "lag_seconds": 0.0}
    assert said["to"] == running.stream(STREAM)
    assert 0 < said["uptime_seconds"] < 60


def test_sigterm_ends_it_in_order(log: Path, running: Server, tmp_path: Path) -> None:
    write(log)
    metrics = tmp_path / "metrics.json"
    process = subprocess.Popen(capture("ship", running.stream(STREAM), "--dir", log, "--metrics", metrics))
    with running.client() as client:
        while client.xlen(STREAM) < 24:
            assert process.poll() is None
    process.terminate()
    assert process.wait() == 0
    assert json.loads(metrics.read_text())["state"] == "done"


def test_a_user_needs_the_commands_that_the_docs_list_and_no_others(log: Path, running: Server) -> None:
    write(log)
    page = (Path(__file__).parent.parent / "docs" / "channels.md").read_text("utf-8")
    (rules,) = [line for line in page.splitlines() if line.startswith("ACL SETUSER ship ")]
    url = running.stream(STREAM).replace("://", "://ship:PASSWORD@")
    with running.client() as client:
        client.execute_command(*rules.replace("sse-capture", STREAM).split())
        with closing(shipper(log, url)) as ours:
            ours.run(once=True)
        assert stored(running) == written(log)
        client.execute_command("ACL", "SETUSER", "ship", "-xadd")
        write(log, first=5)
        with closing(shipper(log, url)) as ours, pytest.raises(Unusable, match="its user may not do this"):
            ours.run(once=True)


def test_a_key_that_is_no_stream_is_refused(log: Path, running: Server) -> None:
    with running.client() as client:
        client.set(STREAM, "mine")
    with pytest.raises(Unusable, match="holds something else"):
        ship(log, running)


def test_pauses_grow_to_half_a_minute() -> None:
    found = [pause for pause, _ in zip(pauses(), range(20), strict=False)]
    assert all(0.8 * step <= pause <= 1.2 * step for pause, step in zip(found, (1, 2, 4, 8, 16), strict=False))
    assert all(24 <= pause <= 30 for pause in found[5:])


# -- pure --------------------------------------------------------------------------------------------------------------------


TEXT = st.text(st.characters(codec="utf-8"), max_size=8) | st.sampled_from(['"flow_id":"x","data_count":7,"sid":"', "\\\\", '"'])


@given(flow=TEXT, count=st.integers(0, 2**53), sid=TEXT, line=TEXT, kind=st.sampled_from(list(FILES)))
def test_a_record_is_known_by_its_flow_and_its_place_in_it(flow: str, count: int, sid: str, line: str, kind: Kind) -> None:
    raw = dumps({"event": line, "line": line, "metadata": line, "flow_id": flow, "data_count": count, "sid": sid})
    words: dict[Kind, str] = {"flows": "flow", "lines": str(count), "flow_ends": "end"}
    assert record_id(kind, raw) == f"{flow}:{words[kind]}".encode()


RAWS = st.lists(st.integers(0, 600_000).map(lambda size: b"x" * size + b"\n"), max_size=5)


@given(flows=RAWS, lines=RAWS, ends=RAWS, many=st.integers(0, 2500), at=st.integers(0, 100))
def test_pieces_are_the_batch_and_reach_its_places(
    flows: list[bytes], lines: list[bytes], ends: list[bytes], many: int, at: int
) -> None:
    lines = [*lines, *[b"y\n"] * many]
    batch = Batch(flows, [(0, raw) for raw in lines], ends)
    every: dict[Kind, list[bytes]] = {"flows": flows, "lines": lines, "flow_ends": ends}
    before = {name: (Place(at, 7, "first"),) for name in FILES.values()}
    after = {name: (Place(at + sum(map(len, every[kind])), 7, "first"),) for kind, name in FILES.items()}
    found = list(pieces(batch, before, after))
    assert {kind: [raw for piece in found for raw in piece.records.get(kind, [])] for kind in every} == every
    assert all(piece.count <= 500 for piece in found)
    assert all(piece.count == 1 or sum(map(len, *piece.records.values())) <= 1 << 20 for piece in found)
    reached = dict.fromkeys(FILES.values(), at)
    for piece in found:
        for kind, raws in piece.records.items():
            reached[FILES[kind]] += sum(map(len, raws))
        assert {name: places[0].offset for name, places in piece.places.items()} == reached
