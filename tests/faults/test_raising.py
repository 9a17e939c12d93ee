"""Rows 1 and 2: whatever raises in the addon, and wherever, the client does not notice and the log says so."""

import itertools
import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.faults.harness import (
    CHUNKED,
    END_OF_CHUNKS,
    STOP,
    Act,
    Client,
    Origin,
    Proxy,
    Said,
    captures,
    chunk,
    event,
    free_of_listeners,
    head,
    until,
    whatwg,
)
from tests.faults.sockets import SocketOrigin, connected

ASKED = b'{"messages":[{"role":"user","content":"hello"}]}'
FIRST, SECOND = event(0), event(1)
WORDS = [*(said.data for said in whatwg(FIRST + SECOND + STOP)), b"one", b"two", b"{}", b'{"type":"response.create"}']
HALF = len(SECOND) // 2  # the second event comes in two chunks
PATIENCE = 3.0  # seconds without a byte: the client hangs
INJECTOR = Path(__file__).with_name("injector.py")
MOST = 400  # points of one scenario: more means that it never ends


class Control:
    """The injector in the proxy."""

    def __init__(self, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(path)
        self._file = self._socket.makefile("rb")

    def say(self, words: str) -> dict[str, Any]:
        self._socket.sendall(words.encode() + b"\n")
        answer: dict[str, Any] = json.loads(self._file.readline())
        return answer


@pytest.fixture(scope="module")
def rigged(tmp_path_factory: pytest.TempPathFactory, confdir: Path) -> Iterator[tuple[Proxy, Control]]:
    """A proxy with the injector in it."""
    base = tmp_path_factory.mktemp("rigged")
    proxy = Proxy(base, confdir, ("-s", str(INJECTOR), "--set", f"inject_socket={base}/inject"))
    until((base / "inject").exists, "the injector to listen")
    yield proxy, Control(f"{base}/inject")
    proxy.end()
    assert "has crashed" not in proxy.output()
    assert "Addon error" not in proxy.output()
    proxy.log.audit()


@pytest.fixture(scope="module")
def sockets() -> Iterator[SocketOrigin]:
    origin = SocketOrigin()
    yield origin
    origin.close()


class Done(NamedTuple):
    """A scenario that was played: its URL, and how many frames from the server are on record when none is missing."""

    url: str
    frames: int


def true(said: Said) -> bool:
    """Whether this was said, whole or, marked so, up to a cut: no event is invented, no two are glued together."""
    return said.data in WORDS or (said.cut and any(word.startswith(said.data) for word in WORDS))


# -- what a client does; each asserts that it gets what it would get without us ----------------------------------------------


def heard(client: Client, url: str, opened: threading.Event, first: bytes) -> tuple[bytes, str]:
    """(body, how it ended): the origin goes on only when the client has the first piece, so a held-back chunk is a hang."""
    got = b""
    stream = client.open(url, ASKED)
    for data in stream:
        got += data
        if got == first:
            opened.set()
    return got, stream.ended


def a_whole_stream(proxy: Proxy, origin: Origin, sockets: SocketOrigin) -> Done:
    gate = threading.Event()
    url = origin.serve([head(CHUNKED), chunk(FIRST), gate, chunk(SECOND[:HALF]), chunk(SECOND[HALF:]), chunk(STOP), END_OF_CHUNKS])
    with Client(proxy.port, PATIENCE) as client:
        assert heard(client, url, gate, FIRST) == (FIRST + SECOND + STOP, "clean")
    return Done(url, 3)


def a_stream_of_no_model(proxy: Proxy, origin: Origin, sockets: SocketOrigin) -> Done:
    gate = threading.Event()
    url = origin.serve([head(CHUNKED), chunk(FIRST), gate, chunk(SECOND), END_OF_CHUNKS], "/feed")
    with Client(proxy.port, PATIENCE) as client:
        assert heard(client, url, gate, FIRST) == (FIRST + SECOND, "clean")
    return Done(url, 2)


def a_stream_cut_by_the_server(proxy: Proxy, origin: Origin, sockets: SocketOrigin) -> Done:
    gate = threading.Event()
    url = origin.serve([head(CHUNKED), chunk(FIRST), gate, chunk(SECOND), Act.CLOSE])
    with Client(proxy.port, PATIENCE) as client:
        assert heard(client, url, gate, FIRST) == (FIRST + SECOND, "truncated")
    return Done(url, 2)


def a_stream_left_by_the_client(proxy: Proxy, origin: Origin, sockets: SocketOrigin) -> Done:
    url = origin.serve([head(CHUNKED), chunk(FIRST), Act.HOLD])
    with Client(proxy.port, PATIENCE) as client:
        assert next(iter(client.open(url, ASKED))) == FIRST
    return Done(url, 1)


def an_error_answer(proxy: Proxy, origin: Origin, sockets: SocketOrigin) -> Done:
    url = origin.serve([head(b"content-length: 2", status=b"429 Slow", content_type=b"application/json") + b"{}"])
    with Client(proxy.port, PATIENCE) as client:
        answer = client.ask(url, ASKED)
    assert (answer.status, answer.body, answer.ended) == (429, b"{}", "clean")
    return Done(url, 1)


def a_dead_upstream(proxy: Proxy, origin: Origin, sockets: SocketOrigin) -> Done:
    url = origin.serve([]).replace(str(origin.port), str(free_of_listeners()))
    with Client(proxy.port, PATIENCE) as client:
        assert client.ask(url, ASKED).status == 502
    return Done(url, 0)


def a_page(proxy: Proxy, origin: Origin, sockets: SocketOrigin) -> Done:
    url = origin.serve([head(b"content-length: 5", content_type=b"text/html") + b"hello"], "/index.html")
    with Client(proxy.port, PATIENCE) as client:
        assert client.ask(url, method="GET").body == b"hello"
    return Done(url, 0)


def a_socket(proxy: Proxy, origin: Origin, sockets: SocketOrigin) -> Done:
    url = sockets.serve(["one", b"two"], echo=True)
    with connected(proxy, url) as socket:
        assert [socket.recv(PATIENCE), socket.recv(PATIENCE)] == ["one", b"two"]
        socket.send('{"type":"response.create"}')
        assert socket.recv(PATIENCE) == '{"type":"response.create"}'
    return Done(url, 3)


type Scenario = Callable[[Proxy, Origin, SocketOrigin], Done]
SCENARIOS: list[Scenario] = [
    a_whole_stream,
    a_stream_of_no_model,
    a_stream_cut_by_the_server,
    a_stream_left_by_the_client,
    an_error_answer,
    a_dead_upstream,
    a_page,
    a_socket,
]


@pytest.mark.row(1)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_fault_at_any_line_is_not_noticed_by_the_client_and_said_in_the_log(
    rigged: tuple[Proxy, Control],
    origin: Origin,
    sockets: SocketOrigin,
    scenario: Scenario,
    times: Callable[[int, int], int],
    record_property: Callable[[str, object], None],
) -> None:
    """In the suite at every third of the lines, with --long at all of them."""
    proxy, control = rigged
    points: list[str] = []
    unrecorded = set()
    complaints = [error["what"] for error in proxy.log.errors()]
    for number in itertools.count(1, times(3, 1)):  # a point takes some 0.1 s, of waiting for quiet
        control.say(f"arm {number}")
        url, frames = scenario(proxy, origin, sockets)
        until(lambda: control.say("state")["idle"], "all hooks to have run and all to be written")
        point = control.say("disarm")["fired"]
        if point is None:
            break
        points.append(point)
        assert len(points) < MOST
        complaints.append(f"Injected: {point}")
        assert [error["what"] for error in proxy.log.errors()] == complaints
        if proxy.log.of(url):
            flow = proxy.log.ended(url)
            said = [each for each in flow.heard() if each.event != "capture.gap"]
            assert flow.end["capture_error"] == f"Injected: {point}" or len(said) == frames, point
            assert [each for each in said if not true(each)] == [], point
        else:
            unrecorded.add(point)
    record_property("runs", len(points))
    record_property("points", len(points))
    record_property("points at which the flow is not on record", len(unrecorded))
    record_property("events lost to the client", 0)
    assert len(points) > 3
    assert not unrecorded or scenario in (a_page, a_dead_upstream)  # no call to a model; one whose only hook failed
    captures(proxy, origin)


@pytest.mark.row(2)
def test_a_fault_in_the_call_that_ends_a_stream_leaves_a_whole_flow_on_record(
    rigged: tuple[Proxy, Control], origin: Origin, sockets: SocketOrigin, record_property: Callable[[str, object], None]
) -> None:
    proxy, control = rigged
    control.say("arm end")
    url, frames = a_whole_stream(proxy, origin, sockets)
    until(lambda: control.say("state")["idle"], "all hooks to have run and all to be written")
    assert control.say("disarm")["fired"].endswith("at the end")
    flow = proxy.log.ended(url)
    assert flow.end["outcome"] == "complete"
    assert "at the end" in flow.end["capture_error"]
    assert len(flow.heard()) == frames
    record_property("hangs", 0)
