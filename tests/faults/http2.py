"""An HTTP/2 origin over TLS, and a client that asks it for many streams on one connection through the proxy; both on `h2`."""

import socket
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import h2.config
import h2.connection
import h2.events
from h2.errors import ErrorCodes
from h2.exceptions import StreamClosedError

from tests.faults.harness import PATIENCE, STOP, Proxy, event, new_case
from tests.redis_server import write_certificate

ROUNDS = 12  # events of each stream


class Origin2:
    """Answers requests that come on one connection round by round: an event for each, so that all streams run at the same time.

    Waits until `count` requests are there, and before round `ROUNDS // 2` for `gate`; then the case named `victim` is reset.
    """

    def __init__(self, folder: Path, count: int) -> None:
        self.count, self.victim, self.gate, self.half = count, "", threading.Event(), threading.Event()
        certificate = write_certificate(folder)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate, folder / "key.pem")
        self._context.set_alpn_protocols(["h2"])
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.connections = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def urls(self) -> list[str]:
        self.gate.clear()
        self.half.clear()
        self.victim = ""
        return [f"https://127.0.0.1:{self.port}/{new_case()}/v1/messages" for _ in range(self.count)]

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            with self._context.wrap_socket(connection, server_side=True) as wire:
                wire.settimeout(PATIENCE)
                self._answer(_Wire(wire, h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))))
        except OSError:
            return

    def _answer(self, wire: "_Wire") -> None:
        """Raises OSError when the peer goes."""
        wire.h2.initiate_connection()
        streams: dict[int, str] = {}  # id → path
        while len(streams) < self.count:
            for found in wire.read():
                if isinstance(found, h2.events.RequestReceived):
                    assert found.headers and found.stream_id
                    streams[found.stream_id] = str(dict(found.headers)[b":path"], "latin-1")
        for stream in streams:
            wire.h2.send_headers(stream, [(":status", "200"), ("content-type", "text/event-stream")])
        for number in range(ROUNDS):
            if number == ROUNDS // 2:
                wire.flush()
                self.half.set()
                self.gate.wait(PATIENCE)
                for stream in [each for each, path in streams.items() if self.victim and f"/{self.victim}/" in path]:
                    wire.h2.reset_stream(stream, ErrorCodes.INTERNAL_ERROR)
                    del streams[stream]
            for stream in streams:
                wire.send(stream, event(number))
        for stream in streams:
            wire.send(stream, STOP, end=True)
        wire.flush()
        while True:  # until the peer goes
            wire.read()


class _Wire:
    """A TLS socket and the HTTP/2 state on it."""

    def __init__(self, wire: ssl.SSLSocket, state: h2.connection.H2Connection) -> None:
        self.wire, self.h2 = wire, state
        self._gone: set[int] = set()  # streams that the peer has reset

    def flush(self) -> None:
        self.wire.sendall(self.h2.data_to_send())

    def read(self) -> list[h2.events.Event]:
        """What has come. Raises ConnectionError when the peer is gone."""
        self.flush()
        if not (data := self.wire.recv(1 << 16)):
            raise ConnectionError("the peer is gone")
        found = self.h2.receive_data(data)
        self._gone |= {each.stream_id for each in found if isinstance(each, h2.events.StreamReset) and each.stream_id}
        return found

    def send(self, stream: int, data: bytes, end: bool = False) -> None:
        try:
            while stream not in self._gone and self.h2.local_flow_control_window(stream) < len(data):
                self.read()
            if stream not in self._gone:
                self.h2.send_data(stream, data, end_stream=end)
        except StreamClosedError:
            self._gone.add(stream)


@dataclass(slots=True)
class Heard:
    """What a client got of one stream."""

    body: bytes = b""
    status: str = ""
    ended: str = ""  # clean, reset, left


def ask_all(
    proxy: Proxy, ca: Path, urls: list[str], asked: bytes, halfway: Callable[[], object], origin: Origin2, leave: int = -1
) -> list[Heard]:
    """What came of these URLs, asked at once on one connection; `halfway` is called when all have half of their events.

    `leave`: the index of one that the client cancels then.
    """
    heard = [Heard() for _ in urls]
    with socket.create_connection(("127.0.0.1", proxy.port), PATIENCE) as connection:
        address = urls[0].split("/")[2]
        connection.sendall(f"CONNECT {address} HTTP/1.1\r\nhost: {address}\r\n\r\n".encode())
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += connection.recv(1)
        context = ssl.create_default_context(cafile=str(ca))
        context.set_alpn_protocols(["h2"])
        with context.wrap_socket(connection, server_hostname="127.0.0.1") as tls:
            assert tls.selected_alpn_protocol() == "h2"
            wire = _Wire(tls, h2.connection.H2Connection())
            _talk(wire, urls, asked, heard, halfway, origin, leave)
    return heard


def _talk(
    wire: _Wire, urls: list[str], asked: bytes, heard: list[Heard], halfway: Callable[[], object], origin: Origin2, leave: int
) -> None:
    wire.h2.initiate_connection()
    streams = {}
    for number, url in enumerate(urls):
        stream = wire.h2.get_next_available_stream_id()
        streams[stream] = heard[number]
        _, _, address, path = url.split("/", 3)
        wire.h2.send_headers(
            stream,
            [(":method", "POST"), (":scheme", "https"), (":authority", address), (":path", f"/{path}"), ("x-api-key", "k")],
        )
        wire.h2.send_data(stream, asked, end_stream=True)
    deadline = time.monotonic() + PATIENCE
    while not all(each.ended for each in heard):
        assert time.monotonic() < deadline, [(each.status, len(each.body)) for each in heard if not each.ended]
        for each in wire.read():
            _take(wire, each, streams)
        if not origin.gate.is_set() and origin.half.is_set() and all(_events(each) >= ROUNDS // 2 for each in heard):
            if leave >= 0:
                stream = list(streams)[leave]
                wire.h2.reset_stream(stream, ErrorCodes.CANCEL)
                wire.flush()
                streams.pop(stream).ended = "left"
            halfway()
            origin.gate.set()


def _events(heard: Heard) -> int:
    return heard.body.count(b"\n\n")


def _take(wire: _Wire, found: h2.events.Event, streams: dict[int, Heard]) -> None:
    stream = streams.get(getattr(found, "stream_id", None) or 0)
    match found:
        case h2.events.ResponseReceived() if stream:
            stream.status = str(dict(found.headers or [])[b":status"], "ascii")
        case h2.events.DataReceived():
            wire.h2.acknowledge_received_data(found.flow_controlled_length or 0, found.stream_id or 0)
            if stream:
                stream.body += found.data or b""
        case h2.events.StreamEnded() if stream:
            stream.ended = stream.ended or "clean"
        case h2.events.StreamReset() if stream:
            stream.ended = "reset"
        case _:
            pass
