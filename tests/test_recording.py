"""The queue and its thread: nothing waits without bound, nothing is lost without a word, nothing kills the thread.

Each test holds the thread (or its disk) where it wants it, and waits for what it expects; none waits for time to pass.
"""

import errno
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from mitmproxy import ctx, http, websocket
from mitmproxy import flow as flows
from mitmproxy.test import taddons, tflow
from wsproto.frame_protocol import Opcode

from addon import recording as module
from addon import webview
from addon.recording import Recording
from capture import files, holding, store
from capture.files import whole_lines
from capture.reader import LogReader
from capture.recorder import Closed, FlowRecorder, Opened, Stamp
from capture.redact import Redactor
from capture.store import LogWriter

PATIENCE = 20.0  # seconds until a wait is given up
BEGAN = Stamp(1_763_000_000.25, 100.0)
TEXT = b'{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"%s"}}'
STOP = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'


def event(text: bytes) -> bytes:
    return b"data: " + TEXT % text + b"\n\n"


def opened(flow_id: str) -> Opened:
    return Opened(
        flow_id=flow_id,
        started=BEGAN,
        method="POST",
        url="https://h.example/v1/messages",
        request_headers=(("session_id", "session-1"),),
        request_body=b'{"messages":[{"role":"user","content":"hello"}]}',
        client_ip="127.0.0.1",
        status=200,
        response_headers=(("content-type", "text/event-stream"),),
    )


class Disk:
    """`os.write` on a disk that takes nothing while it is full."""

    def __init__(self) -> None:
        self.full = False
        self.tried = 0
        self._write = os.write

    def write(self, descriptor: int, data: bytes) -> int:
        if self.full:
            self.tried += 1
            raise OSError(errno.ENOSPC, "No space left on device")
        return self._write(descriptor, data)


class Bench:
    """A recording into a directory, and what is said of it."""

    def __init__(self, directory: Path) -> None:
        self.writer = LogWriter(directory, {})
        self.recording = Recording(self.writer, Redactor(b"the salt of one machine"), 1 << 20, lambda flow_id, text: None)
        self.log = LogReader(directory)
        self.directory = directory
        self.go = threading.Event()  # lets a thread go on that stands still

    def open(self, flow_id: str = "flow-1") -> None:
        self.recording.opened(flow_id, lambda: opened(flow_id), "connection", BEGAN)

    def say(self, *data: bytes, flow_id: str = "flow-1") -> None:
        for chunk in data:
            self.recording.chunk(flow_id, chunk, BEGAN)

    def close(self, flow_id: str = "flow-1") -> None:
        self.recording.closed(flow_id, Closed.CLEANLY, BEGAN)

    def done(self) -> None:
        """Waits until all that was put is in the files, or cannot be."""
        round_over = threading.Event()
        self.recording._put(round_over.set)
        assert round_over.wait(PATIENCE)
        until(lambda: not self.recording._jobs and (self.recording._asleep or self.recording._failing))

    def stop(self) -> None:
        self.recording.stop(BEGAN)
        assert not self.recording._thread.is_alive()

    def end(self, flow_id: str = "flow-1") -> dict[str, Any]:
        (end,) = [end for end in self.log.ends() if end["flow_id"] == flow_id]
        return end

    def events(self, flow_id: str = "flow-1") -> list[str]:
        """Of the answer; the request's parts left out."""
        found = [line["event"] for line in self.log.lines() if line["flow_id"] == flow_id]
        return [name for name in found if not name.startswith("request.")]

    def errors(self) -> list[dict[str, Any]]:
        return [orjson.loads(line) for line in whole_lines(self.directory / files.ERRORS)]


def until(found: Callable[[], Any]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not found():
        assert time.monotonic() < deadline
        time.sleep(0.002)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    if bench.recording._thread.is_alive():
        bench.recording.stop(BEGAN)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    disk = Disk()
    monkeypatch.setattr(os, "write", disk.write)
    return disk


def test_the_file_of_a_flow_that_falls_silent_is_written_all_the_same(bench: Bench) -> None:
    """It is not written with each look, and nothing more comes that would have the thread look."""
    bench.open()
    bench.say(event(b"one"))
    bench.done()
    assert bench.events() == ["content_block_delta"]
    until(lambda: [line["event"] for line in bench.log.flow_lines("session-1", "flow-1")][-1:] == ["content_block_delta"])


# -- frames that wait ------------------------------------------------------------------------------------------------------


def test_a_frame_that_could_begin_a_secret_is_written_though_nothing_comes_behind_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(holding, "HOLD", 0.02)
    bench.open()
    now = Stamp(time.time(), time.monotonic())
    payload = b'{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"it is sk-"}}'
    bench.recording.chunk("flow-1", b"event: content_block_delta\ndata: " + payload + b"\n\n", now)
    until(lambda: bench.events() == ["content_block_delta"])
    assert bench.recording._holding == set()


# -- a full disk -------------------------------------------------------------------------------------------------------------


@pytest.mark.row(5, 6)
def test_a_full_disk_leaves_no_more_in_memory_than_its_bound_and_what_is_missing_is_said_in_its_place(
    bench: Bench, disk: Disk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(store, "MAX_WAITING", 100_000)
    bench.open()
    bench.say(event(b"before"))
    bench.done()
    disk.full = True
    for _ in range(1000):
        bench.say(event(b"x" * 1000))
    bench.done()
    assert bench.writer.full and bench.writer.waiting < 110_000
    waiting = bench.writer.unwritten
    disk.full = False
    until(lambda: not bench.recording._failing)
    bench.say(event(b"after"), STOP)
    bench.close()
    bench.stop()
    dropped = 1000 - waiting
    assert 0 < dropped < 1000
    assert bench.events() == ["content_block_delta"] * (1 + waiting) + ["capture.gap", "content_block_delta", "message_stop"]
    end = bench.end()
    assert (end["outcome"], end["dropped_chunks"], end["dropped_bytes"]) == (
        "complete",
        dropped,
        dropped * len(event(b"x" * 1000)),
    )
    counts = [line["data_count"] for line in bench.log.lines()]
    assert counts == list(range(end["lines"]))
    assert [line["data_count"] for line in bench.log.flow_lines("session-1", "flow-1")] == counts
    said = [(record.levelno, record.message) for record in caplog.records if "sse-capture" in record.message]
    assert [level for level, _ in said] == [logging.ERROR, logging.WARNING]
    assert "No space left on device" in said[0][1]
    assert [error["where"] for error in bench.errors()] == ["disk"]


@pytest.mark.row(6)
def test_flows_that_begin_and_end_on_a_full_disk_are_on_record_and_their_parts_are_said_again_later(
    bench: Bench, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "MAX_WAITING", 20_000)
    bench.open("first")
    disk.full = True
    bench.say(event(b"x" * 30_000), flow_id="first")
    bench.done()
    bench.open("second")
    bench.say(event(b"unheard"), flow_id="second")
    bench.close("second")
    bench.done()
    disk.full = False
    until(lambda: not bench.recording._failing)
    bench.recording._memory.written.clear()
    bench.open("third")
    bench.close("third")
    bench.stop()
    assert [flow["flow_id"] for flow in bench.log.flows()] == ["first", "second", "third"]
    assert bench.events("second") == []
    assert bench.end("second")["dropped_chunks"] == 1
    assert bench.end("second")["capture_error"] == module.NO_ROOM
    assert next(line["event"] for line in bench.log.lines() if line["flow_id"] == "third") == "request.user"


def test_a_session_whose_parts_found_no_room_says_them_again(bench: Bench, disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "MAX_WAITING", 1)
    disk.full = True
    bench.recording.chunk("nobody", b"", BEGAN)
    bench.open("first")  # is taken: there was room
    bench.done()
    bench.recording._memory.written.clear()
    bench.open("second")  # has no room for its parts
    bench.done()
    disk.full = False
    until(lambda: not bench.recording._failing)
    bench.open("third")
    bench.stop()
    said = [line["flow_id"] for line in bench.log.lines() if line["event"] == "request.user"]
    assert said == ["first", "third"]


@pytest.mark.row(6)
def test_a_stop_on_a_full_disk_says_how_many_records_are_missing(
    bench: Bench, disk: Disk, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    raised: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", raised.append)
    bench.open()
    bench.done()
    disk.full = True
    bench.say(event(b"x"), STOP)
    bench.close()
    bench.stop()
    assert "3 records are missing" in caplog.messages[-1] and "No space left on device" in caplog.messages[-1]
    assert raised == []


def test_a_stop_that_waits_in_vain_says_so(bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(module, "SLOW", 0.01)
    hung, go = threading.Event(), threading.Event()

    def hang() -> None:
        hung.set()
        go.wait(PATIENCE)

    monkeypatch.setattr(bench.writer, "flush", hang)
    bench.open()
    assert hung.wait(PATIENCE)
    bench.recording.stop(BEGAN)
    go.set()
    bench.recording._thread.join(PATIENCE)
    assert "the disk is too slow: 1 events" in caplog.messages[-1]


def test_a_log_of_mitmproxy_that_cannot_print_does_not_end_the_recording(
    bench: Bench, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: Any) -> None:
        raise SystemExit(1)  # what mitmproxy's TermLog does where its output is on the same full disk

    monkeypatch.setattr(logging, "log", broken)
    disk.full = True
    bench.open()
    bench.done()
    disk.full = False
    bench.close()
    bench.stop()
    assert bench.end()


# -- faults of ours ----------------------------------------------------------------------------------------------------------


@pytest.mark.row(4)
@pytest.mark.parametrize("where", ["flush", "error"])
def test_the_thread_outlives_what_it_raises(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, where: str
) -> None:
    def broken(*arguments: Any) -> None:
        raise KeyError("the text of a payload")

    with monkeypatch.context() as patch:
        patch.setattr(bench.writer, where, broken)
        bench.open()
        for _ in range(3):
            bench.recording.failed("tap", ValueError("x"), "flow-1")
            until(lambda: not bench.recording._jobs)
        until(lambda: any("KeyError" in message for message in caplog.messages))
    bench.say(STOP)
    bench.close()
    bench.stop()
    assert bench.end()["outcome"] == "complete"
    [said] = [message for message in caplog.messages if "KeyError" in message]
    assert "test_recording.py" in said and "payload" not in said


class Deadly(BaseException):
    """What `except Exception` does not catch, as SystemExit."""


@pytest.mark.row(4)
@pytest.mark.parametrize("where", ["write", "flush", "feed"])
def test_what_would_end_the_thread_costs_one_chunk_that_is_counted(
    bench: Bench,
    monkeypatch: pytest.MonkeyPatch,
    where: str,
    times: Callable[[int, int], int],
    record_property: Callable[[str, object], None],
) -> None:
    """Each time it raises once, and what is said next is on record at once."""
    slowest, deaths = 0.0, times(5, 100)
    bench.open()
    bench.done()
    place: Any = FlowRecorder if where == "feed" else LogWriter
    name = where
    real = getattr(place, name)

    def deadly(*arguments: Any) -> Any:
        monkeypatch.setattr(place, name, real)
        raise Deadly("the thread is dead")

    for number in range(deaths):
        monkeypatch.setattr(place, name, deadly)
        bench.say(event(b"the end of number %d, as a sentence. " % number))
        until(lambda: getattr(place, name) is real)
        began = time.perf_counter()
        bench.say(event(b"And the next one. "))
        expected = (number + 1) * (2 if where == "flush" else 1)
        until(partial(lambda count: bench.events().count("content_block_delta") == count, expected))
        slowest = max(slowest, time.perf_counter() - began)
    bench.close()
    bench.stop()
    end, events = bench.end(), bench.events()
    lost = 2 * deaths - events.count("content_block_delta")
    assert (lost, end["dropped_chunks"]) == ((0, 0) if where == "flush" else (deaths, deaths))
    assert events.count("capture.gap") == (0 if where == "flush" else deaths)
    assert end["outcome"] == "server_closed"
    record_property(f"times that {where} raised", deaths)
    record_property("chunks lost", lost)
    record_property("of these counted", end["dropped_chunks"])
    record_property("slowest to record again", f"{slowest * 1e3:.0f} ms")


@pytest.mark.parametrize("where", ["close", "gap"])
def test_a_flow_whose_recorder_raises_at_its_end_has_an_end_all_the_same(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    def broken(*arguments: Any) -> None:
        raise KeyError("broken")

    for flow_id in ("flow-1", "flow-2"):
        bench.open(flow_id)
        bench.say(event(b"x"), flow_id=flow_id)
    bench.done()
    bench.recording._gaps = {"flow-1": [1, 10], "flow-2": [1, 10]}
    monkeypatch.setattr(FlowRecorder, where, broken)
    bench.close()
    bench.done()
    bench.stop()  # ends the other one
    for flow_id in ("flow-1", "flow-2"):
        end = bench.end(flow_id)
        assert end["outcome"] == "error"
        assert end["lines"] == sum(line["flow_id"] == flow_id for line in bench.log.lines())
        assert "KeyError" in end["capture_error"]
    assert [error["flow_id"] for error in bench.errors()] == ["flow-1", "flow-2"]


# -- the queue ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def held(bench: Bench) -> Iterator[Bench]:
    """A recording whose thread stands still until it is stopped."""
    inside, go = threading.Event(), threading.Event()

    def hang() -> None:
        inside.set()
        go.wait(PATIENCE)

    bench.recording._put(hang)
    assert inside.wait(PATIENCE)
    bench.go = go
    yield bench
    go.set()


@pytest.mark.row(5)
def test_a_queue_that_is_full_blocks_nobody_and_what_is_dropped_is_counted_flow_by_flow(
    held: Bench, monkeypatch: pytest.MonkeyPatch, record_property: Callable[[str, object], None]
) -> None:
    """Ten times of what there is room for while the thread hangs; half of the flows begin when there is none left."""
    monkeypatch.setattr(module, "MAX_QUEUED", 1_000_000)
    flows = [f"flow-{number}" for number in range(20)]
    piece, sent, slowest, most = event(b"x" * 500), dict.fromkeys(flows, 0), 0.0, 0
    for flow_id in flows[:10]:
        held.open(flow_id)
    for _ in range(1000):
        for flow_id in flows[:10]:
            began = time.perf_counter()
            held.say(piece, flow_id=flow_id)
            slowest = max(slowest, time.perf_counter() - began)
            sent[flow_id] += 1
            most = max(most, held.recording._put_bytes - held.recording._taken_bytes)
    for flow_id in flows[10:]:
        held.open(flow_id)
        held.say(piece, flow_id=flow_id)
        sent[flow_id] += 1
    held.go.set()
    held.done()
    for flow_id in flows[:15]:  # in five flows nothing comes after what was dropped
        held.say(piece, flow_id=flow_id)
        sent[flow_id] += 1
    for flow_id in flows:
        held.close(flow_id)
    held.stop()
    dropped = 0
    for flow_id in flows:
        events, end = held.events(flow_id), held.end(flow_id)
        assert end["dropped_chunks"] == sent[flow_id] - events.count("content_block_delta")
        assert end["dropped_bytes"] == end["dropped_chunks"] * len(piece)
        assert events.count("capture.gap") == 1
        assert (events[-1] == "capture.gap") == (flow_id in flows[15:])
        assert events[0] == "content_block_delta" or flow_id in flows[10:]
        assert [line["data_count"] for line in held.log.lines() if line["flow_id"] == flow_id] == list(range(end["lines"]))
        dropped += end["dropped_chunks"]
    assert dropped > 7000
    assert most <= 1_000_000 + 20 * module.ITEM
    record_property("chunks sent", sum(sent.values()))
    record_property("chunks dropped", dropped)
    record_property("of these counted", dropped)
    record_property("most bytes queued, of 1,000,000", most)
    record_property("slowest call of the loop", f"{slowest * 1e3:.2f} ms")
    assert slowest < 0.1


def test_a_message_larger_than_the_queue_is_taken_when_little_waits(held: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_QUEUED", 100_000)
    held.open()
    held.say(event(b"x" * 200_000), event(b"y"))
    held.go.set()
    held.close()
    held.stop()
    assert held.events() == ["content_block_delta", "capture.gap"]
    assert held.end()["dropped_chunks"] == 1


@pytest.mark.row(5)
def test_small_chunks_count_with_what_they_take_in_memory(held: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_QUEUED", 100_000)
    held.open()
    for _ in range(10_000):
        held.say(b"x")
    assert 200 <= len(held.recording._jobs) <= 251
    assert held.recording._gaps["flow-1"][0] == 10_000 - (len(held.recording._jobs) - 1)


@pytest.mark.row(5)
def test_the_bodies_of_requests_count_and_no_more_flows_begin_than_there_is_room_for(
    held: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_QUEUED", 100_000)
    monkeypatch.setattr(module, "MAX_OPENED", 200_000)
    held.recording.opened("flow-1", lambda: opened("flow-1"), "connection", BEGAN, 100_000)
    held.say(b"x")
    assert held.recording._gaps == {}  # mitmproxy holds requests in memory anyhow: they take no room from what is answered
    for number in range(2, 100):
        held.recording.opened(f"flow-{number}", lambda: opened("flow-2"), "connection", BEGAN, 50_000)
    assert held.recording._unrecorded == 98 - 1


def test_an_emptied_queue_counts_nothing(bench: Bench) -> None:
    bench.recording.opened("flow-1", lambda: opened("flow-1"), "connection", BEGAN, 1000)
    bench.say(event(b"x"), STOP)
    bench.recording.message("nobody", b"x", True, True, BEGAN)
    bench.close()
    bench.stop()
    assert bench.recording._put_bytes == bench.recording._taken_bytes > 0


# -- mitmweb -----------------------------------------------------------------------------------------------------------------


class View:
    """mitmproxy's list of flows."""

    def __init__(self) -> None:
        self.flows: dict[str, Any] = {}

    def get_by_id(self, flow_id: str) -> Any:
        return self.flows.get(flow_id)

    def remove(self, flows: list[flows.Flow]) -> None:
        for flow in flows:
            del self.flows[flow.id]

    def resolve(self, _: str) -> list[Any]:
        return list(self.flows.values())


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[webview.WebView, View]]:
    view = View()
    monkeypatch.setattr(webview.WebView, "view", view)
    with taddons.context():  # type: ignore[no-untyped-call]
        yield webview.WebView(), view


def socket(view: View, *sizes: int) -> http.HTTPFlow:
    flow = tflow.twebsocketflow()
    assert flow.websocket
    flow.websocket.messages.clear()
    for size in sizes:
        say(flow, size)
    view.flows[flow.id] = flow
    flow.live = False
    return flow


def say(flow: http.HTTPFlow, size: int) -> None:
    assert flow.websocket
    flow.websocket.messages.append(websocket.WebSocketMessage(Opcode.TEXT, True, b"x" * size))


def test_the_oldest_flows_go_and_those_that_are_marked_or_live_stay(
    web: tuple[webview.WebView, View], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webview, "KEEP_FLOWS", 5)
    looker, view = web
    all_flows = [socket(view) for _ in range(20)]
    all_flows[0].marked = ":star:"
    all_flows[1].live = True
    for flow in all_flows:
        looker.ended(flow)
    assert list(view.flows) == [flow.id for flow in (*all_flows[:2], *all_flows[-3:])]


def test_what_an_end_costs_does_not_grow_with_the_messages_in_view(
    web: tuple[webview.WebView, View], monkeypatch: pytest.MonkeyPatch
) -> None:
    looker, view = web
    monkeypatch.setattr(webview, "KEEP_BYTES", 250_000)

    class Messages(list[Any]):
        """Messages nobody may walk through."""

        def __iter__(self) -> Iterator[Any]:
            raise AssertionError("walked through")

    for _ in range(10):
        flow = socket(view)
        assert flow.websocket
        flow.websocket.messages = Messages()
        for _ in range(100):
            say(flow, 1000)
            looker.message(flow)
        looker.ended(flow)
    assert len(view.flows) == 2


def test_a_socket_that_mitmproxy_saves_to_a_file_stays_whole(
    web: tuple[webview.WebView, View], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webview, "KEEP_BODY", 10)
    looker, view = web
    flow = socket(view)
    assert flow.websocket
    for kept in (view, None):
        for saved, messages in (("flows", 3), (None, 1)):
            monkeypatch.setattr(webview.WebView, "view", kept)
            monkeypatch.setattr(ctx, "options", SimpleNamespace(save_stream_file=saved))
            flow.websocket.messages.clear()
            for _ in range(3):
                say(flow, 8)
                looker.message(flow)
            assert len(flow.websocket.messages) == messages, (kept, saved)
            looker.ended(flow)
