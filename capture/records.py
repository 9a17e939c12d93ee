"""The log's JSONL schema: the only description of a line. Contract and reasons: docs/log.md.

Writers build plain dictionaries in the models' field order (a model per line would cost more than all other work on it);
readers that want types validate with the models. A test holds the two together. Readers accept unknown fields.
"""

import time
from functools import lru_cache
from typing import Any, Literal, NamedTuple

import orjson
from pydantic import BaseModel, ConfigDict

VERSION = 1  # of this schema; readers accept every older one
HASH_DIGITS = 16  # hex digits of a part's id

Kind = Literal["flows", "lines", "flow_ends"]
Outcome = Literal["complete", "client_closed", "server_closed", "error", "stopped", "killed"]


class Open(BaseModel):
    """Accepts and keeps fields this version does not know."""

    model_config = ConfigDict(extra="allow")


class Client(Open):
    """Who called. `pid` and `cwd` are known when the client is a process of this machine."""

    name: str | None = None
    version: str | None = None
    user_agent: str | None = None
    pid: int | None = None
    cwd: str | None = None
    agent_id: str | None = None  # a sub-agent's own id
    agent_type: str | None = None
    parent_id: str | None = None  # the session or agent that started it


class FlowRecord(Open):
    """A stream was recognised, or a call to a model failed before it became one (`sse_flows.jsonl`)."""

    t: str  # when the response headers came, local time, milliseconds
    started: float  # when the request began, Unix seconds
    flow_id: str
    sid: str
    sid_source: str  # the rule that answered: header:NAME, body:FIELD, history, fallback
    provider: str
    api: str
    transport: str  # sse, websocket, ndjson, eventstream, json (a plain answer), none (no answer)
    client: Client
    method: str
    url: str  # query parameters sorted, secrets out
    request_headers: list[list[str]]
    request: Any = None  # the body with its parts by reference; the same as a string where it holds line breaks
    request_sha256: str | None = None  # of the rebuilt body: proves a rebuild
    status: int | None = None
    response_headers: list[list[str]] = []
    proxy: str | None = None  # the proxy process that wrote it; a start of the next one ends its orphans
    v: int = VERSION


class LineRecord(Open):
    """One frame (`sse_lines.jsonl`). The seven fields keep this order."""

    event: str
    t: str
    line: str
    metadata: str  # a JSON object as a string: see Metadata
    flow_id: str
    data_count: int
    sid: str


class Metadata(Open):
    """What `LineRecord.metadata` holds."""

    ver: str | None = None
    pid: int | None = None
    cwd: str | None = None
    provider: str | None = None
    host: str | None = None
    dir: Literal["in", "out"] | None = None
    us: int | None = None  # microseconds since the flow started, monotonic
    id: str | None = None  # content hash of a request part
    part: str | None = None  # "2": second piece of a frame over 16 MiB; "3/3": its last
    cut: bool | None = None  # the stream ended inside this frame
    bytes: int | None = None  # size of a payload that stands in bodies/ whole, and here with its first 64 KiB
    sha256: str | None = None  # its name there
    base64: str | None = None  # the payload, where it is no UTF-8
    error: str | None = None  # why the payload is not as it was received


class EndRecord(Open):
    """A flow is over (`sse_flow_ends.jsonl`): one for each flow, whatever happened."""

    t: str
    flow_id: str
    sid: str
    outcome: Outcome
    terminal_event: str | None = None  # the provider's last word that was seen
    lines: int = 0  # records of the flow in sse_lines.jsonl: its data_count runs from 0 to lines - 1
    frames: int = 0  # frames seen on the wire, both directions
    wire_bytes: int = 0  # response body, as transferred
    decoded_bytes: int = 0  # the same, content encoding undone
    sha256: str | None = None  # of the wire bytes
    first_byte_ms: float | None = None  # all since the request began
    first_event_ms: float | None = None
    duration_ms: float | None = None
    dropped_chunks: int = 0  # not recorded because the recorder could not keep up
    dropped_bytes: int = 0
    close_code: int | None = None  # WebSocket; 1006 is normal for Codex
    error: str | None = None  # what the proxy said went wrong
    capture_error: str | None = (
        None  # what went wrong in recording: the record may be incomplete, the client's stream was not touched
    )
    v: int = VERSION


class ErrorRecord(Open):
    """Something failed here (`sse_logger.error`): never a body, never a secret."""

    t: str
    where: str
    what: str
    do: str
    flow_id: str | None = None


class Record(NamedTuple):
    """One line for the log, and which file it belongs to."""

    kind: Kind
    sid: str
    flow_id: str
    fields: dict[str, Any]


class Blob(NamedTuple):
    """A payload too large for a line; stands once in bodies/<sha256>."""

    sha256: str
    data: bytes


type Entry = Record | Blob


def dumps(fields: dict[str, Any]) -> bytes:
    """One line of the log, newline and all. A text that is no Unicode (lone surrogates) is written with replacement characters."""
    try:
        return orjson.dumps(fields, option=orjson.OPT_APPEND_NEWLINE)
    except orjson.JSONEncodeError:
        return orjson.dumps(_printable(fields), option=orjson.OPT_APPEND_NEWLINE)


def _printable(value: Any) -> Any:
    match value:
        case str():
            return value.encode("utf-8", "surrogatepass").decode("utf-8", "replace")
        case dict():
            return {_printable(key): _printable(item) for key, item in value.items()}
        case list() | tuple():
            return [_printable(item) for item in value]
        case _:
            return value


def local_time(seconds: float) -> str:
    """`2026-11-21T17:07:03.042` of Unix seconds, local time."""
    whole, milliseconds = divmod(int(seconds * 1000), 1000)
    return f"{_second(whole)}.{milliseconds:03d}"


@lru_cache(maxsize=8)
def _second(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(seconds))
