"""An origin scripted to the byte, a real proxy with the addon, a raw client, and the log's auditor.

    Client ──▶ Proxy (mitmdump + addon/sse_logger.py, its own process) ──▶ Origin
                  │
                  ▼
                 Log: nothing invented, nothing lost, one end for each flow

Each case has its own path (`/c17/v1/messages`): that is how a flow in the log is told to belong to it.
"""

import base64
import binascii
import itertools
import json
import os
import re
import signal
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple

import h11
import orjson

from capture import proxy as proxies
from capture.files import ENDS, ERRORS, FLOWS, LINES, safe_name
from capture.presence import living

PATIENCE = 20.0  # seconds until a wait is given up: none of them is a second long when nothing is wrong
CASES = itertools.count()
MAX_HEAD = 8 << 20  # bytes of a response head the client accepts

type Headers = tuple[tuple[str, str], ...]


def until[T](found: Callable[[], T | None], what: str, patience: float = PATIENCE) -> T:
    """What `found` gives as soon as it gives something true. Raises AssertionError when it never does."""
    deadline = time.monotonic() + patience
    while not (value := found()):
        assert time.monotonic() < deadline, f"waited {patience:.0f} s for {what}"
        time.sleep(0.005)
    return value


# -- what is said on the wire ------------------------------------------------------------------------------------------------


def event(number: int, filling: int = 0) -> bytes:
    """A numbered text delta in Anthropic's words, with the moment it was made."""
    text = b'{"type":"content_block_delta","index":0,"n":%d,"at":%.6f,"delta":{"type":"text_delta","text":"%s"}}'
    return b"event: content_block_delta\ndata: " + text % (number, time.time(), b"x" * filling) + b"\n\n"


STOP = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'


def head(*more: bytes, status: bytes = b"200 OK", content_type: bytes | None = b"text/event-stream") -> bytes:
    lines = [b"HTTP/1.1 " + status, *([b"content-type: " + content_type] if content_type is not None else []), *more]
    return b"\r\n".join(lines) + b"\r\n\r\n"


CHUNKED = b"transfer-encoding: chunked"
END_OF_CHUNKS = b"0\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def chunked(pieces: Iterable[bytes], *more: bytes, content_type: bytes | None = b"text/event-stream") -> list["Step"]:
    """A whole response, one HTTP chunk for each piece."""
    return [head(CHUNKED, *more, content_type=content_type), *(chunk(piece) for piece in pieces if piece), END_OF_CHUNKS]


class Said(NamedTuple):
    """One server-sent event: its name ("" when it has none), its data, and whether the stream ended inside it."""

    event: str
    data: bytes
    cut: bool = False


def whatwg(stream: bytes) -> list[Said]:
    """The events of a whole stream, by the letter of the standard; an event the stream ends in is the last, `cut`.

    (A browser drops that one. Of a line without its end only data counts: half a name may be another name.)
    https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
    """
    found: list[Said] = []
    name, data = "", list[bytes]()
    *lines, rest = re.split(rb"\r\n|\n|\r", stream.removeprefix(b"\xef\xbb\xbf"))
    for line in [*lines, *([rest] if rest.startswith(b"data:") else [])]:
        if not line:
            if data:
                found.append(Said(name, b"\n".join(data)))
            name, data = "", []
            continue
        key, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if key == b"event":
            name = value.decode("utf-8", "replace")
        elif key == b"data":
            data.append(value)
    return [*found, Said(name, b"\n".join(data), True)] if data else found


# -- origin ------------------------------------------------------------------------------------------------------------------


class Act(Enum):
    """What an origin can do besides sending."""

    CLOSE = "close"  # the connection, in good order
    RESET = "reset"  # the connection, so that the peer sees ECONNRESET
    HOLD = "hold"  # wait until the peer goes


type Step = bytes | float | threading.Event | Act  # to send, to pause (seconds), to wait for, to do
type Script = Callable[[], Iterable[Step]]


class Origin:
    """An HTTP/1.1 server on the loopback interface; each case has its script, repeated for each request of it."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self._context = context
        self._scripts: dict[str, Script] = {}
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.port: int = self._listener.getsockname()[1]
        self.requests: dict[str, bytes] = {}  # case → the last request, as received
        self.gone: dict[str, float] = {}  # case → when the peer was found to have closed (monotonic)
        threading.Thread(target=self._accept, daemon=True).start()

    def serve(self, script: Iterable[Step] | Script, path: str = "/v1/messages") -> str:
        """The URL of a new case."""
        case = new_case()
        if callable(script):
            self._scripts[case] = script
        else:
            steps = list(script)
            self._scripts[case] = lambda: steps
        return f"{'https' if self._context else 'http'}://127.0.0.1:{self.port}/{case}{path}"

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._context:
                connection = self._context.wrap_socket(connection, server_side=True)
            with connection:
                while request := _request(connection):
                    case = case_of(request.split(b" ", 2)[1].decode("latin-1"))
                    self.requests[case] = request
                    if not self._play(connection, case):
                        return
        except OSError:
            return

    def _play(self, connection: socket.socket, case: str) -> bool:
        """Whether the connection may serve another request."""
        try:
            for step in self._scripts[case]():
                match step:
                    case bytes():
                        connection.sendall(step)
                    case float():
                        time.sleep(step)
                    case threading.Event():
                        step.wait(PATIENCE)
                    case Act.HOLD:
                        while connection.recv(65536):
                            pass
                        self.gone[case] = time.monotonic()
                        return False
                    case Act.CLOSE:
                        return False
                    case Act.RESET:
                        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                        return False
        except OSError:
            self.gone[case] = time.monotonic()
            return False
        return True


def new_case() -> str:
    """`c17`: of all origins together, each has its own."""
    return f"c{next(CASES)}"


def case_of(url: str) -> str:
    """`c17` of a URL or path."""
    found = re.search(r"/(c\d+)(?:/|$|\?)", url)
    return found[1] if found else ""


def _request(connection: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        received = connection.recv(65536)
        if not received:
            return b""
        data += received
    start = data.index(b"\r\n\r\n") + 4
    length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", data[:start])
    pieces, missing = [data], int(length[1]) - (len(data) - start) if length else 0
    while missing > 0 and (received := connection.recv(1 << 20)):
        pieces.append(received)
        missing -= len(received)
    return b"".join(pieces)


def free_of_listeners() -> int:
    """A port nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


# -- proxy -------------------------------------------------------------------------------------------------------------------


class Proxy:
    """A mitmdump (or mitmweb) with the addon, as `capture up` starts it, in its own process; the log directory outlives it."""

    def __init__(
        self, base: Path, confdir: Path, extra: tuple[str, ...] = (), output: Path | None = None, web: bool = False
    ) -> None:
        """`output`: where its own words go, when not beside the log: mitmproxy ends itself when it cannot print."""
        self.directory = base / "log"
        self.log = Log(self.directory)
        self._base, self._confdir, self._extra = base, confdir, extra
        self._output = output or base / "proxy.out"
        self._web = web
        self._starts = 0
        self.start()

    def start(self) -> None:
        """Starts it (again), and waits until it listens and has ended what an earlier one left open."""
        self._base.mkdir(parents=True, exist_ok=True)
        self._starts += 1
        lifeline, self._lifeline = os.pipe()  # however the tests end, the proxy ends with them
        command = [
            sys.executable,
            "-c",
            "from mitmproxy.tools import main; " + ("main.mitmweb()" if self._web else "main.mitmdump()"),
            *proxies.arguments(
                self.directory,
                0,
                free_of_listeners() if self._web else None,
                self._confdir,
                ("--set", "ssl_insecure=true", "--set", f"sse_lifeline={lifeline}", *self._extra),
            ),
        ]
        environment = proxies.proxy_environment() | {"XDG_STATE_HOME": str(self._base / "state"), "HOME": str(self._base)}
        with open(self._output, "ab") as output:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=(lifeline,),
                start_new_session=True,
                env=environment,
            )
        os.close(lifeline)
        until(self._ready, "the proxy to listen")
        (facts,) = [facts for facts in living(self.directory) if facts["pid"] == self.process.pid]
        self.port = int(facts["port"])

    def _ready(self) -> bool:
        assert self.process.poll() is None, self.output()
        return self.output().count("sse-capture: recording to") >= self._starts

    def output(self) -> str:
        return self._output.read_text("utf-8", "replace")

    def end(self, how: signal.Signals = signal.SIGTERM) -> float:
        """Seconds the process took to end."""
        started = time.monotonic()
        if self.process.poll() is None:
            self.process.send_signal(how)
        try:
            self.process.wait(PATIENCE)
        finally:
            if self.process.poll() is None:
                self.process.kill()
            os.close(self._lifeline)
        return time.monotonic() - started

    def memory(self) -> tuple[int, int]:
        """(now, peak) resident bytes."""
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        now, peak = (int(re.search(rf"{name}:\s+(\d+)", text)[1]) << 10 for name in ("VmRSS", "VmHWM"))  # type: ignore[index]
        return now, peak


# -- client ------------------------------------------------------------------------------------------------------------------


class Stream:
    """A response that is arriving: iterate to get its body as it comes. `ended` says how it ended, "" until then."""

    def __init__(self, connection: socket.socket, parser: h11.Connection) -> None:
        self._socket, self._parser = connection, parser
        self.ended = ""  # clean, truncated, reset, silent
        self.informational: list[int] = []
        while isinstance(response := self._event(), h11.InformationalResponse):
            self.informational.append(response.status_code)
        self.status = response.status_code if isinstance(response, h11.Response) else 0
        self.headers: list[tuple[bytes, bytes]] = response.headers.raw_items() if isinstance(response, h11.Response) else []

    def __iter__(self) -> Iterator[bytes]:
        while not self.ended:
            found = self._event()
            if isinstance(found, h11.Data):
                yield bytes(found.data)
            elif isinstance(found, h11.EndOfMessage):
                self.ended = "clean"

    def read(self) -> bytes:
        return b"".join(self)

    def header(self, name: bytes) -> list[bytes]:
        return [value for key, value in self.headers if key.lower() == name]

    def _event(self) -> Any:
        """The next event, or None when there will be none: `ended` says why."""
        while True:
            try:
                found = self._parser.next_event()
                if found is not h11.NEED_DATA:
                    return None if isinstance(found, h11.ConnectionClosed) and self._over("truncated") else found
                self._parser.receive_data(self._socket.recv(1 << 20))
            except h11.RemoteProtocolError:
                return self._over("truncated")
            except TimeoutError:
                return self._over("silent")
            except OSError:
                return self._over("reset")

    def _over(self, how: str) -> Any:
        self.ended = self.ended or how
        return None


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes
    ended: str


class Client:
    """One connection to the proxy, kept open from request to request."""

    def __init__(self, port: int, patience: float = PATIENCE) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), patience)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._parser = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD)

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def tunnel(self, url: str, ca: Path | None = None) -> None:
        """Asks the proxy to connect through to the URL's host; inside TLS from then on when the URL is https."""
        scheme, _, rest = url.partition("://")
        address = rest.partition("/")[0]
        self._socket.sendall(f"CONNECT {address} HTTP/1.1\r\nhost: {address}\r\n\r\n".encode())
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += self._socket.recv(1)
        assert b" 200 " in answer.partition(b"\r\n")[0], answer
        if scheme == "https":
            context = ssl.create_default_context(cafile=str(ca))
            self._socket = context.wrap_socket(self._socket, server_hostname=address.partition(":")[0])

    def certificate(self) -> bytes:
        """What the peer showed inside a tunnel, DER."""
        assert isinstance(self._socket, ssl.SSLSocket)
        return self._socket.getpeercert(True) or b""

    def open(
        self, url: str, body: bytes = b"", method: str = "POST", headers: Headers = (), raw: bytes = b"", target: str = ""
    ) -> Stream:
        """Sends a request; `raw` are further header lines, as they are; `target` stands in the request line instead of the URL."""
        if self._parser.states == {h11.CLIENT: h11.DONE, h11.SERVER: h11.DONE}:
            self._parser.start_next_cycle()
        host = url.partition("://")[2].partition("/")[0]
        fields = [("host", host), ("content-type", "application/json"), ("content-length", str(len(body))), *headers]
        said = self._parser.send(h11.Request(method=method, target=target or url, headers=fields))
        self._parser.send(h11.Data(data=body))
        self._parser.send(h11.EndOfMessage())
        self._socket.sendall((said or b"").removesuffix(b"\r\n") + raw + b"\r\n" + body)
        return Stream(self._socket, self._parser)

    def ask(
        self, url: str, body: bytes = b"", method: str = "POST", headers: Headers = (), raw: bytes = b"", target: str = ""
    ) -> Answer:
        stream = self.open(url, body, method, headers, raw, target)
        content = stream.read()
        return Answer(stream.status, stream.headers, content, stream.ended)

    def close(self, reset: bool = False) -> None:
        if reset:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()


def ask(proxy: Proxy, url: str, body: bytes = b"", method: str = "POST", headers: Headers = (), raw: bytes = b"") -> Answer:
    """The answer to one request on a connection of its own."""
    with Client(proxy.port) as client:
        return client.ask(url, body, method, headers, raw)


# -- log ---------------------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Flow:
    """What the log says of one flow."""

    record: dict[str, Any]
    directory: Path
    lines: list[dict[str, Any]] = field(default_factory=list)
    ends: list[dict[str, Any]] = field(default_factory=list)

    @property
    def end(self) -> dict[str, Any]:
        assert len(self.ends) == 1, self.ends
        return self.ends[0]

    def heard(self, direction: str = "in") -> list[Said]:
        """The frames from the server (`out`: from the client, request parts not counted)."""
        return [
            Said(line["event"], self.payload(line), bool(metadata.get("cut")))
            for line in self.lines
            if (metadata := orjson.loads(line["metadata"]))["dir"] == direction and "id" not in metadata
        ]

    @property
    def payloads(self) -> list[bytes]:
        return [said.data for said in self.heard()]

    def metadata(self, key: str) -> list[Any]:
        """One value of the metadata of each frame from the server."""
        all_of_them = [orjson.loads(line["metadata"]) for line in self.lines]
        return [metadata.get(key) for metadata in all_of_them if metadata["dir"] == "in"]

    def files(self) -> list[Path]:
        """The flow's own file, once it is there."""
        return list(self.directory.glob(f"sse_logs/{safe_name(self.record['sid'])}/{safe_name(self.record['flow_id'])}.jsonl"))

    def payload(self, line: dict[str, Any]) -> bytes:
        metadata = orjson.loads(line["metadata"])
        if digest := metadata.get("sha256"):
            return (self.directory / "bodies" / str(digest)).read_bytes()
        if encoded := metadata.get("base64"):
            return base64.b64decode(encoded)
        return str(line["line"]).removeprefix("data: ").encode("utf-8", "surrogatepass")


class Log:
    """A log directory, read as it grows; any whole line that is no record is an error at once."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.flows: dict[str, Flow] = {}
        self._cases: dict[str, list[str]] = {}
        self._read: dict[str, int] = {}
        self._late: list[tuple[str, dict[str, Any]]] = []  # lines and ends whose flow record has not been read yet

    def look(self) -> None:
        """Reads what has come since the last look."""
        ends, lines, flows = self._new(ENDS), self._new(LINES), self._new(FLOWS)  # so that what is referred to comes after
        for record in flows:
            assert record["flow_id"] not in self.flows, "a flow has two records"
            self.flows[record["flow_id"]] = Flow(record, self.directory)
            self._cases.setdefault(case_of(record["url"]), []).append(record["flow_id"])
        self._late += [*(("lines", line) for line in lines), *(("ends", end) for end in ends)]
        waiting, self._late = self._late, []
        for kind, record in waiting:
            if flow := self.flows.get(record["flow_id"]):
                getattr(flow, kind).append(record)
            else:
                self._late.append((kind, record))

    def _new(self, name: str) -> list[dict[str, Any]]:
        path = self.directory / name
        if not path.exists():
            return []
        with open(path, "rb") as file:
            file.seek(self._read.get(name, 0))
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._read[name] = self._read.get(name, 0) + len(whole)
        return [orjson.loads(line) for line in whole.split(b"\n") if line]

    def of(self, url: str) -> list[Flow]:
        """The flows of a case so far."""
        self.look()
        return [self.flows[flow_id] for flow_id in self._cases.get(case_of(url), [])]

    def ended(self, url: str, count: int = 1) -> Flow:
        """The last flow of a case, as soon as `count` of them have ended and their lines are here."""

        def whole() -> Flow | None:
            flows = self.of(url)
            done = [flow for flow in flows if flow.ends and len(flow.lines) >= flow.ends[-1]["lines"]]
            return done[-1] if len(done) >= count else None

        flow = until(whole, f"the end of {case_of(url)} in the log")
        audit_flow(flow)
        return flow

    def errors(self) -> list[dict[str, Any]]:
        path = self.directory / ERRORS
        return [orjson.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []

    def audit(self) -> int:
        """How many flows there are: each with one end, its lines counted without a gap, its own file saying the same."""
        until(self._all_ended, "all flows to end")
        for flow in self.flows.values():
            audit_flow(flow)
        assert not self._late, "records of flows that are not on record"
        return len(self.flows)

    def _all_ended(self) -> bool:
        self.look()
        return all(flow.ends and len(flow.lines) >= flow.ends[-1]["lines"] for flow in self.flows.values())

    def everything(self) -> bytes:
        """Every byte of the directory, names of files included."""
        paths = sorted(path for path in self.directory.rglob("*"))
        return b"\n".join(os.fsencode(path) + b"\n" + (path.read_bytes() if path.is_file() else b"") for path in paths)


def audit_flow(flow: Flow) -> None:
    """One end; `data_count` is 0, 1, 2 …; the flow's own file holds the same records."""
    assert len(flow.ends) == 1
    assert [line["data_count"] for line in flow.lines] == list(range(flow.end["lines"]))
    sid, flow_id = flow.record["sid"], flow.record["flow_id"]
    path = flow.directory / "sse_logs" / safe_name(sid) / (safe_name(flow_id) + ".jsonl")
    own = until(lambda: _whole(path), f"{path.name} to hold the flow's end")
    assert [record for record in own if "data_count" in record] == flow.lines
    assert [record for record in own if "request_headers" in record] == [flow.record]
    assert [record for record in own if "outcome" in record] == flow.ends


def _whole(path: Path) -> list[dict[str, Any]] | None:
    """The records of a flow's own file when its end is among them (files are written one after the other)."""
    if not path.exists() or not (data := path.read_bytes()).endswith(b"\n"):
        return None
    records = [orjson.loads(line) for line in data.splitlines() if line]
    return records if any("outcome" in record for record in records) else None


def captures(proxy: Proxy, origin: Origin, count: int = 3) -> Flow:
    """The flow of a fresh stream that was captured whole: the proxy is alive and well."""
    pieces = [*(event(number) for number in range(count)), STOP]
    url = origin.serve(chunked(pieces))
    answer = ask(proxy, url, b'{"model":"m","messages":[{"role":"user","content":"fresh"}]}')
    assert (answer.status, answer.body, answer.ended) == (200, b"".join(pieces), "clean")
    flow = proxy.log.ended(url)
    assert flow.heard() == named(whatwg(answer.body))
    assert flow.end["outcome"] == "complete"
    assert flow.end["capture_error"] is None
    return flow


def named(said: list[Said]) -> list[Said]:
    """The same events with the name the log must give them: the payload's `type` or `object` where the wire gave none."""
    return [each._replace(event=each.event or _own_name(each.data)) for each in said]


def _own_name(data: bytes) -> str:
    try:
        value = json.loads(data.decode()) if data.startswith(b"{") else None
    except ValueError:
        return "message"
    if not isinstance(value, dict):
        return "message"
    name = next((value[key] for key in ("type", "object") if isinstance(value.get(key), str) and value[key]), "message")
    return name.encode("utf-8", "surrogatepass").decode("utf-8", "replace")  # what is no Unicode cannot be written as JSON


def amazon(payload: bytes, event_type: str = "chunk") -> bytes:
    """One message of an `application/vnd.amazon.eventstream`."""
    name, value = b":event-type", event_type.encode()
    headers = struct.pack(">B", len(name)) + name + b"\x07" + struct.pack(">H", len(value)) + value
    prelude = struct.pack(">II", 16 + len(headers) + len(payload), len(headers))
    message = prelude + struct.pack(">I", binascii.crc32(prelude)) + headers + payload
    return message + struct.pack(">I", binascii.crc32(message))
