"""One flow → records: what was said, with the secrets out, in the order in which it was said.

    Opened ──▶ FlowRecorder.open ──▶ request parts new to the session, the flow record
    chunk ───▶ feed ─────────────▶ one line record for each frame it completed
    message ─▶ message ──────────▶ the same for WebSocket; a client message that is a request is taken apart like a body
    end ─────▶ close ────────────▶ what was still pending, the end record

No file, clock, thread or global is touched: time comes in as a Stamp, records go out as values.
"""

import base64
import hashlib
import re
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, NamedTuple

import orjson

from capture import parts as parts_of
from capture import providers, session, wire
from capture.holding import Holding
from capture.jsonl import VERSION, Blob, Entry, Outcome, Record, loads, local_time, printable
from capture.processes import Process
from capture.providers import End, Provider
from capture.records import Client
from capture.redact import Redactor

INLINE_LIMIT = (
    1 << 20
)  # bytes of one payload in a line; a longer one goes to bodies/ (an agent that reads its own log multiplies it otherwise)
INLINE_HEAD = 64 << 10  # bytes of it that stay in the line
QUOTED = b'\\"data_count\\'  # stands in a payload that quotes records of a log, once or many times over
QUOTED_LIMIT = 4 << 10  # bytes of such a payload in a line: told in full each time, it makes the log four times as large each time
MAX_SESSIONS = 512  # sessions whose written parts are remembered; the parts of a forgotten one are written again
MAX_PARTS = 20_000  # ids remembered of one session: about 2 MB (an id takes some 100 bytes)
MAX_IDS = 200_000  # ids remembered of all sessions together: about 20 MB
NAMED_UP_TO = 4 << 20  # bytes: a payload without an event name is parsed for its `type` up to this size (3 ms per MB)
LAST = ("stop", "done", "completed")  # how events are called after which a text does not go on
TYPE_FIRST = re.compile(rb'\s*\{\s*"type"\s*:\s*"([A-Za-z0-9_.-]{1,100})"')  # of a larger one `type` is seen when it comes first


class Stamp(NamedTuple):
    """A moment: wall clock (Unix seconds) and monotonic clock (seconds)."""

    wall: float
    mono: float


class _Heard(NamedTuple):
    """A frame from the server that may have to wait before it is written."""

    frame: wire.Frame
    name: str
    stamp: Stamp


class Closed(Enum):
    """How a flow ended, as the proxy saw it."""

    CLEANLY = "cleanly"
    BY_CLIENT = "by client"
    BY_SERVER = "by server"
    WITH_ERROR = "with error"
    BY_STOP = "by stop"


@dataclass(frozen=True, slots=True)
class Opened:
    """The facts of a flow when its response begins (or fails to). Bodies are as on the wire, headers in their order."""

    flow_id: str
    started: Stamp  # when the request began
    method: str
    url: str
    request_headers: tuple[tuple[str, str], ...]
    request_body: bytes
    client_ip: str
    status: int | None = None
    response_headers: tuple[tuple[str, str], ...] = ()
    websocket: bool = False
    proxy: str | None = None


@dataclass(slots=True)
class Memory:
    """What flows share: the histories of sessions, and which parts each session has on record already."""

    conversations: session.Conversations = field(default_factory=session.Conversations)
    written: OrderedDict[str, set[str]] = field(default_factory=OrderedDict)
    ids: int = 0  # in all sets of `written`

    def is_new(self, sid: str, part_id: str) -> bool:
        """Whether this is the session's first time with this part; from now on it is not."""
        seen = self.written.setdefault(sid, set())
        self.written.move_to_end(sid)
        if part_id in seen:
            return False
        if len(seen) >= MAX_PARTS:
            self.ids -= len(seen)
            seen.clear()
        seen.add(part_id)
        self.ids += 1
        while len(self.written) > MAX_SESSIONS or (self.ids > MAX_IDS and len(self.written) > 1):
            _, forgotten = self.written.popitem(last=False)
            self.ids -= len(forgotten)
        return True

    def forget(self, sid: str) -> None:
        """The session's parts did not come on record: its next request says them again."""
        self.ids -= len(self.written.pop(sid, ()))


class FlowRecorder:
    """The records of one flow. Odd input never raises: it becomes data."""

    def __init__(
        self, opened: Opened, caller: Process, redactor: Redactor, memory: Memory, inline_limit: int = INLINE_LIMIT
    ) -> None:
        self._opened = opened
        self._caller = caller
        self._redactor = redactor
        self._memory = memory
        self._inline_limit = inline_limit
        path = _path(opened.url)
        self.provider: Provider = providers.recognise(opened.method, path) or providers.UNKNOWN
        self._response = {name.lower(): value for name, value in opened.response_headers}
        self._content_type = self._response.get("content-type", "")
        self._encoding = self._response.get("content-encoding", "").strip().lower().removeprefix("identity")
        self._inflater: wire.Inflater | None = None
        self._decoder: wire.Decoder | None = None
        self._streams = wire.media_type(self._content_type) in wire.STREAMS  # a plain answer has no terminal event
        self._encoded = wire.Beginning()  # of an encoded body: a wrong label shows in it
        self._beginning = wire.Beginning()  # of a body that must be sniffed
        self._undecodable: str | None = None  # why the bytes that come now cannot be decoded
        self._lost_bytes = 0  # of these: how many, and their SHA-256
        self._lost_sha256 = hashlib.sha256()
        self._held = b""  # the end of the part of a frame before: a secret may begin in it
        self._holding: Holding[_Heard] = Holding(redactor, lambda payload: providers.pieces_of(self.provider, payload))
        self._binary = False  # the WebSocket message at hand is not text
        self.session = session.Session("", "")
        self.client = Client()
        self._ver: str | None = None
        self._metadata = "{"  # JSON: how the metadata of all lines of the flow begins
        self._data_count = 0
        self._flow_written = False
        self._clean_names: set[str] = set()
        self._end = End.OPEN
        self._terminal_event: str | None = None
        self._asked = False  # WebSocket: a request was made and its answer has not ended
        self._frames = self._wire_bytes = self._decoded_bytes = 0
        self._sha256 = hashlib.sha256()
        self._first_byte: float | None = None
        self._first_event: float | None = None
        self._gaps = [0, 0]  # chunks, bytes that were dropped before they reached us
        self._capture_error: str | None = None
        self._outcome_said = ""

    # -- in ---------------------------------------------------------------------------------------------------------------

    def open(self, stamp: Stamp) -> list[Entry]:
        """The request's new parts and the flow record. A socket whose upgrade names no session waits for its first message."""
        self._redactor.learn((*self._opened.request_headers, *self._opened.response_headers))
        request = self._request_body()
        self._identify(request)
        if self._opened.websocket and self.session.source in ("fallback", "history"):
            return []
        return self._open(request, stamp)

    def feed(self, chunk: bytes, stamp: Stamp) -> list[Entry]:
        """The line records of the frames that `chunk` completed."""
        if self._decoder is None or self._encoding or self._undecodable is not None:
            return [entry for entries in self.hear(chunk, stamp) for entry in entries]
        self._count(chunk, stamp)  # nearly all chunks
        self._decoded_bytes += len(chunk)
        return self._lines(self._decoder.feed(chunk), stamp)

    def hear(self, chunk: bytes, stamp: Stamp) -> Iterator[list[Entry]]:
        """The same in steps: what a chunk inflates to, and its records, need never be in memory at once."""
        if not chunk:
            return
        self._count(chunk, stamp)
        for frames in self._decode(chunk):
            yield self._lines(frames, stamp)

    @property
    def inflates(self) -> bool:
        """Whether a chunk may become very much."""
        return bool(self._encoding)

    def _count(self, chunk: bytes, stamp: Stamp) -> None:
        self._wire_bytes += len(chunk)
        self._sha256.update(chunk)
        if self._first_byte is None:
            self._first_byte = stamp.mono

    def message(self, content: bytes, from_client: bool, stamp: Stamp, text: bool = True) -> list[Entry]:
        """The line record of a WebSocket message; of a request its new parts first."""
        self._binary = not text
        if from_client:
            return self._client_message(content, stamp)
        self._wire_bytes += len(content)
        self._decoded_bytes += len(content)
        self._sha256.update(content)
        if self._first_byte is None:
            self._first_byte = stamp.mono
        return [*self._late_open(stamp), *self._lines([wire.Frame(content)], stamp)]

    @property
    def holds(self) -> bool:
        """Whether a frame waits, because it could hold the beginning of a secret."""
        return self._holding.waiting

    def due(self, mono: float) -> list[Entry]:
        """The line records of frames that have waited long enough. `mono`: monotonic seconds."""
        return self._released(self._holding.due(mono))

    def gap(self, chunks: int, size: int, stamp: Stamp) -> list[Entry]:
        """Says in its place that `chunks` (`size` bytes) were not recorded. What follows starts afresh at the next frame."""
        entries = self._rest(stamp)
        self._gaps[0] += chunks
        self._gaps[1] += size
        if self._encoding and not self._undecodable:
            self._undecodable = "content-encoding: bytes before these are missing"
        payload = orjson.dumps({"type": "capture.gap", "chunks": chunks, "bytes": size}).decode()
        return [*entries, self._line("capture.gap", payload, {}, "in", stamp)]

    def failed(self, error: str) -> None:
        """Recording itself went wrong for this flow: said in its end record."""
        self._capture_error = self._capture_error or self._redactor.string(error)

    def close(self, how: Closed, stamp: Stamp, error: str | None = None, close_code: int | None = None) -> list[Entry]:
        """What was still pending, and the end record."""
        entries = self._rest(stamp)
        return [*entries, self._end_record(how, stamp, error, close_code)]

    def broken(self, error: str, stamp: Stamp) -> list[Entry]:
        """The end record of a flow that cannot be closed: `error` is what its recorder raised."""
        self.failed(error)
        return [self._end_record(Closed.WITH_ERROR, stamp, None, None)]

    def summary(self) -> str:
        """The flow in one line for a user interface: session, client, what became of it."""
        state = [self._outcome_said] if self._outcome_said else []
        return " · ".join([f"session {self.session.sid}", self._ver or "unknown client", self.provider.api, *state])

    # -- the request ------------------------------------------------------------------------------------------------------

    def _request_body(self) -> parts_of.Request:
        """The request body, its content encoding undone, secrets out, taken apart."""
        body = self._opened.request_body
        if not body:
            return parts_of.split("")
        encoding = _header(self._opened.request_headers, "content-encoding")
        try:
            body = wire.inflater(encoding).feed(body) if encoding and not wire.looks_plain(body) else body
        except wire.EncodingError as problem:
            return parts_of.split(
                _undecodable(self._redactor.string(f"content-encoding: {problem}"), len(body), hashlib.sha256(body))
            )
        clean = self._redactor.text(body)
        try:
            return parts_of.split(clean.decode())
        except UnicodeDecodeError:
            return parts_of.split(orjson.dumps({"capture.base64": base64.b64encode(clean).decode()}).decode())

    def _identify(self, request: parts_of.Request) -> None:
        opened = self._opened
        headers = {name.lower().replace("_", "-"): value for name, value in reversed(opened.request_headers)}
        asked = session.Asked(
            headers={name: self._redactor.header(name, value) for name, value in headers.items()},
            body=request.body,
            body_length=len(opened.request_body),
            url=opened.url,
            client_ip=opened.client_ip,
            history=session.history((part.event, part.id) for part in request.parts),
        )
        found = session.identify(asked, self._memory.conversations)
        if self.session.sid and found.source in ("fallback", "history"):
            return
        self.session = session.Session(self._redactor.string(found.sid), found.source)
        self.client = session.client(asked, *self._caller)
        self._ver = "-".join(filter(None, (self.client.name, self.client.version))) or None
        shared = {
            "ver": self._ver,
            "pid": self._caller.pid,
            "cwd": self.client.cwd,
            "provider": self.provider.name,
            "host": printable(_host(opened.url)),
        }
        self._metadata = orjson.dumps(shared).decode()[:-1]

    def _open(self, request: parts_of.Request, stamp: Stamp) -> list[Entry]:
        self._flow_written = True
        entries = self._parts(request, stamp)
        opened = self._opened
        template: Any = request.template or None
        if template and "\n" not in template and "\r" not in template:
            template = orjson.Fragment(template)
        fields = {
            "t": local_time(stamp.wall),
            "started": opened.started.wall,
            "flow_id": opened.flow_id,
            "sid": self.session.sid,
            "sid_source": self.session.source,
            "provider": self.provider.name,
            "api": self.provider.api,
            "transport": self._transport(),
            "client": self.client.model_dump(),
            "method": opened.method,
            "url": self._redactor.url(opened.url),
            "request_headers": self._redactor.headers(opened.request_headers),
            "request": template,
            "request_sha256": request.sha256,
            "status": opened.status,
            "response_headers": self._redactor.headers(opened.response_headers),
            "proxy": opened.proxy,
            "v": VERSION,
        }
        return [*entries, Record("flows", self.session.sid, opened.flow_id, fields)]

    def _late_open(self, stamp: Stamp) -> list[Entry]:
        """The flow record of a socket that was waiting for a message to name its session."""
        return [] if self._flow_written else self._open(parts_of.split(""), stamp)

    def _client_message(self, content: bytes, stamp: Stamp) -> list[Entry]:
        clean = self._redactor.text(content)
        try:
            request = parts_of.split(clean.decode())
        except UnicodeDecodeError:
            request = parts_of.split("")
        if request.body is None or not self.provider.opens(request.body):
            self._frames += 1
            heard = _Heard(wire.Frame(content), _payload_name(clean, wire.Frame(content)), stamp)
            return [*self._late_open(stamp), *self._settled(), *self._line_of(heard, clean, "out")]
        if not self._flow_written:  # a flow has one session: readers look for its lines, parts and bodies there
            self._identify(request)
        entries = [*self._late_open(stamp), *self._settled()]
        self._frames += 1
        self._asked, self._end, self._terminal_event = True, End.OPEN, None
        entries += self._parts(request, stamp)
        payload, extra, blobs = self._payload(request.template.encode())
        return [*entries, *blobs, self._line(str(request.body.get("type")), payload, extra, "out", stamp)]

    def _parts(self, request: parts_of.Request, stamp: Stamp) -> list[Entry]:
        """Line records of the parts that the session does not have on record."""
        entries: list[Entry] = []
        for part in request.parts:
            if self._memory.is_new(self.session.sid, part.id):
                payload, extra, blobs = self._payload(part.text.encode())
                entries += [*blobs, self._line(self._name(part.event), payload, {"id": part.id, **extra}, "out", stamp)]
        return entries

    # -- the response -----------------------------------------------------------------------------------------------------

    def _decode(self, chunk: bytes, last: bool = False) -> Iterator[list[wire.Frame]]:
        """The frames that `chunk` completed, step by step. `last`: no more bytes will tell what these are."""
        if self._undecodable is not None:
            self._lose(chunk)
            return
        try:
            if self._inflater is None:
                if not self._encoded.add(chunk) and self._encoding and not last:
                    return
                chunk = self._encoded.take()
                if wire.looks_plain(chunk):
                    self._encoding = ""  # the label is wrong: nothing is encoded
                self._inflater = wire.inflater(self._encoding)
            for data in self._inflater.steps(chunk):
                self._decoded_bytes += len(data)
                yield self._begin(data, last) if self._decoder is None else self._decoder.feed(data)
        except wire.EncodingError as problem:
            yield self._cannot_decode(self._redactor.string(f"content-encoding: {problem}"), chunk)
        if last and self._decoder is None and self._undecodable is None:
            yield self._begin(b"", last)

    def _begin(self, data: bytes, last: bool) -> list[wire.Frame]:
        """The frames of a body's first bytes, when these tell what it is."""
        known = self._beginning.add(data) or last or wire.media_type(self._content_type) in wire.STREAMS
        if not known or not self._beginning:
            return []
        data = self._beginning.take()
        self._decoder = wire.decoder_for(self._content_type, data)
        self._streams = not isinstance(self._decoder, wire.BodyDecoder)
        return self._decoder.feed(data)

    def _cannot_decode(self, reason: str, chunk: bytes) -> list[wire.Frame]:
        """The frames that were pending; from now on bytes are counted and hashed, not kept: a secret in them cannot be seen."""
        frames = [*self._begin(b"", last=True), *self._closed()] if self._decoder is None else self._closed()
        self._undecodable = reason
        if self._decoded_bytes:
            self._lose(chunk)
        else:  # not a byte could be decoded: none of what came
            self._lost_bytes, self._lost_sha256 = self._wire_bytes, self._sha256.copy()
        return frames

    def _lose(self, chunk: bytes) -> None:
        self._lost_bytes += len(chunk)
        self._lost_sha256.update(chunk)

    def _pending(self) -> list[wire.Frame]:
        """What no end was seen of; afterwards nothing is held."""
        steps = list(self._decode(b"", last=True)) if self._encoded or self._beginning else []
        return [*(frame for frames in steps for frame in frames), *self._closed()]

    def _closed(self) -> list[wire.Frame]:
        decoder, self._decoder = self._decoder, None
        return decoder.close() if decoder is not None else []

    def _rest(self, stamp: Stamp) -> list[Entry]:
        """What was still pending, and what could not be decoded: in one line, for the digest of a few bytes gives them away."""
        entries = [*self._late_open(stamp), *self._lines(self._pending(), stamp), *self._released(self._holding.rest())]
        if self._undecodable is not None and self._lost_bytes:
            payload = _undecodable(self._undecodable, self._lost_bytes, self._lost_sha256)
            entries.append(self._line("capture.undecodable", payload, {"error": self._undecodable}, "in", stamp))
            self._lost_bytes, self._lost_sha256 = 0, hashlib.sha256()
        return entries

    def _lines(self, frames: list[wire.Frame], stamp: Stamp) -> list[Entry]:
        """The line records of frames from the server, as far as none must wait; what waited before them first."""
        entries: list[Entry] = []
        for frame in frames:
            self._frames += 1
            if frame.part or self._binary:
                entries += self._settled()
                clean = self._part(frame) if frame.part else self._redactor.text(frame.data)
                name = frame.event or _payload_name(clean, frame)
                entries += self._line_of(_Heard(frame, name, stamp), clean)
                self._notice_end(name, clean, stamp)
                continue
            name = frame.event or _payload_name(frame.data, frame)
            for clean, heard in self._holding.feed(frame.data, _Heard(frame, name, stamp), stamp.mono):
                entries += self._line_of(heard, clean)
            if self._notice_end(name, frame.data, stamp) or name.endswith(LAST):
                entries += self._released(self._holding.rest())
        return entries

    def _released(self, frames: list[tuple[bytes, _Heard]]) -> list[Entry]:
        """The line records of frames that need not wait; their payloads are clean."""
        return [entry for clean, heard in frames for entry in self._line_of(heard, clean)]

    def _settled(self) -> list[Entry]:
        """The line records of all frames that wait: something is to stand behind them, and their texts may go on behind it."""
        return self._released(self._holding.rest()) if self._holding.waiting else []

    def _line_of(self, heard: _Heard, clean: bytes, direction: str = "in") -> list[Entry]:
        frame = heard.frame
        payload, extra, blobs = self._payload(clean)
        if frame.part:
            extra["part"] = f"{frame.part}/{frame.part}" if frame.last else str(frame.part)
        if frame.cut:
            extra["cut"] = True
        if self._binary:
            extra["binary"] = True
        return [*blobs, self._line(self._name(heard.name), payload, extra, direction, heard.stamp)]

    def _part(self, frame: wire.Frame) -> bytes:
        """What one part of a frame says, secrets out: its end is kept for the next part, lest a secret lie across the two."""
        data, self._held = self._held + frame.data, b""
        if not frame.last:
            seam = self._redactor.seam(data)
            data, self._held = data[:seam], data[seam:]
        return self._redactor.text(data)

    def _notice_end(self, name: str, payload: bytes, stamp: Stamp) -> bool:
        """Whether the provider's last word was said."""
        if self._first_event is None:
            self._first_event = stamp.mono
        end = self.provider.end(name, payload)
        if end is End.FAILED or (end is End.COMPLETE and self._end is not End.FAILED):
            self._end, self._asked = end, False
            self._terminal_event = self.provider.last_word if end is End.COMPLETE and self.provider.last_word else self._name(name)
        return end is not End.OPEN

    # -- records ----------------------------------------------------------------------------------------------------------

    def _payload(self, clean: bytes) -> tuple[str, dict[str, Any], list[Entry]]:
        """(text for the line, metadata it needs, blobs): `clean` has passed the redactor."""
        extra: dict[str, Any] = {}
        blobs: list[Entry] = []
        limit = self._inline_limit
        if len(clean) > QUOTED_LIMIT and QUOTED in clean:
            limit = min(limit, QUOTED_LIMIT)
        if len(clean) > limit:
            digest = hashlib.sha256(clean).hexdigest()
            extra = {"bytes": len(clean), "sha256": digest}
            blobs = [Blob(digest, clean)]
            clean = clean[: min(INLINE_HEAD, limit)]
            return clean.decode("utf-8", "replace"), extra, blobs
        try:
            return clean.decode(), extra, blobs
        except UnicodeDecodeError:
            extra["base64"] = base64.b64encode(clean).decode()
            return clean.decode("utf-8", "replace"), extra, blobs

    def _line(self, event: str, payload: str, extra: dict[str, Any], direction: str, stamp: Stamp) -> Record:
        microseconds = round((stamp.mono - self._opened.started.mono) * 1e6)
        more = "," + orjson.dumps(extra).decode()[1:-1] if extra else ""
        metadata = f'{self._metadata},"dir":"{direction}","us":{microseconds}{more}}}'
        flow_id, sid = self._opened.flow_id, self.session.sid
        fields = {
            "event": event,
            "t": local_time(stamp.wall),
            "line": "data: " + payload,
            "metadata": metadata,
            "flow_id": flow_id,
            "data_count": self._data_count,
            "sid": sid,
        }
        self._data_count += 1
        return Record("lines", sid, flow_id, fields)

    def _name(self, event: str) -> str:
        """An event name that holds no secret."""
        if event in self._clean_names:
            return event
        clean = self._redactor.string(event)[:256]
        if clean == event and len(self._clean_names) < 1000:
            self._clean_names.add(event)
        return clean

    def _end_record(self, how: Closed, stamp: Stamp, error: str | None, close_code: int | None) -> Record:
        self._outcome_said = self._outcome(how)
        fields = {
            "t": local_time(stamp.wall),
            "flow_id": self._opened.flow_id,
            "sid": self.session.sid,
            "outcome": self._outcome_said,
            "terminal_event": self._terminal_event,
            "lines": self._data_count,
            "frames": self._frames,
            "wire_bytes": self._wire_bytes,
            "decoded_bytes": self._decoded_bytes,
            "sha256": self._sha256.hexdigest(),
            "first_byte_ms": self._since_start(self._first_byte),
            "first_event_ms": self._since_start(self._first_event),
            "duration_ms": self._since_start(stamp.mono),
            "dropped_chunks": self._gaps[0],
            "dropped_bytes": self._gaps[1],
            "close_code": close_code,
            "error": self._redactor.string(error) if error else None,
            "capture_error": self._capture_error,
            "v": VERSION,
        }
        return Record("flow_ends", self.session.sid, self._opened.flow_id, fields)

    def _outcome(self, how: Closed) -> Outcome:
        """Success is that the provider's last word was seen, whoever hung up afterwards."""
        if self._end is End.FAILED:
            return "error"
        if self._end is End.COMPLETE and not self._asked:
            return "complete"
        match how:
            case Closed.BY_STOP:
                return "stopped"
            case Closed.BY_CLIENT if self._opened.websocket and not self._asked:
                return "complete"
            case Closed.BY_CLIENT:
                return "client_closed"
            case Closed.BY_SERVER if self._opened.websocket and not self._asked:
                return "complete"
            case Closed.BY_SERVER:
                return "server_closed"
            case Closed.WITH_ERROR:
                return "error"
        if not 200 <= (self._opened.status or 0) < 400:  # mitmproxy 12.2.3 takes a 103 for the answer and drops what follows
            return "error"
        has_body = self._opened.method != "HEAD" and self._opened.status not in (204, 304)
        cut = has_body and self.provider is not providers.UNKNOWN and self._streams
        return "server_closed" if cut else "complete"

    def _transport(self) -> str:
        if self._opened.websocket:
            return "websocket"
        if self._opened.status is None:
            return "none"
        return {"text/event-stream": "sse", "application/vnd.amazon.eventstream": "eventstream"}.get(
            wire.media_type(self._content_type),
            "ndjson" if wire.media_type(self._content_type) in wire.STREAMS else "json",
        )

    def _since_start(self, mono: float | None) -> float | None:
        return None if mono is None else round((mono - self._opened.started.mono) * 1000, 3)


JSON_BEGINS = frozenset((b"{", b"[", b" ", b"\n", b"\t", b"\r"))
NO_JSON = object()  # a payload that is no JSON, or too large to be looked into


def _value(payload: bytes) -> Any:
    """The JSON value of a payload that may be a piece of something; else NO_JSON."""
    if payload[:1] not in JSON_BEGINS or len(payload) > NAMED_UP_TO:
        return NO_JSON
    try:
        return loads(payload)
    except ValueError:
        return NO_JSON


def _payload_name(payload: bytes, frame: wire.Frame) -> str:
    """The payload's own `type`, else its `object`, else `message`."""
    if frame.part > 1 or not payload[:64].lstrip().startswith(b"{"):
        return "message"
    if frame.part or len(payload) > NAMED_UP_TO:
        found = TYPE_FIRST.match(payload)
        return found[1].decode() if found else "message"
    value = _value(payload)
    if isinstance(value, dict):
        for key in ("type", "object"):
            if isinstance(name := value.get(key), str) and name:
                return name
    return "message"


def _undecodable(reason: str, size: int, digest: "hashlib._Hash") -> str:
    """The payload that stands for bytes whose encoding could not be undone."""
    said = {"type": "capture.undecodable", "reason": reason, "bytes": size, "sha256": digest.hexdigest()}
    return orjson.dumps(said).decode()


def _header(headers: tuple[tuple[str, str], ...], name: str) -> str:
    return next((value for key, value in headers if key.lower() == name), "")


def _path(url: str) -> str:
    rest = url.partition("://")[2] or url
    return "/" + rest.partition("/")[2].partition("?")[0].partition("#")[0]


def _host(url: str) -> str:
    return (url.partition("://")[2] or url).partition("/")[0].rpartition("@")[2]
