"""The log's JSONL schema: the only description of a line. Contract and reasons: docs/log.md.

Writers build plain dictionaries in the models' field order (a model per line would cost more than all other work on it);
readers that want types validate with the models. A test holds the two together. Readers accept unknown fields.
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from capture.jsonl import VERSION, Outcome


class Open(BaseModel):
    """Accepts and keeps fields this version does not know."""

    model_config = ConfigDict(extra="allow", use_attribute_docstrings=True)


class Client(Open):
    """Who called."""

    name: str | None = None
    """what people call it: claude-code, codex, gemini-cli …"""
    version: str | None = None
    """of the client, from its user-agent"""
    user_agent: str | None = None
    """as sent"""
    pid: int | None = None
    """the client's process, when it is one of this machine"""
    cwd: str | None = None
    """the working directory of that process"""
    agent_id: str | None = None
    """a sub-agent's own id"""
    agent_type: str | None = None
    """what kind of sub-agent"""
    parent_id: str | None = None
    """the session or agent that started it"""


class FlowRecord(Open):
    """A stream was recognised, or a call to a model failed before it became one (`sse_flows.jsonl`)."""

    t: str
    """when the response headers came"""
    started: float
    """when the request began, Unix seconds"""
    flow_id: str
    """mitmproxy's id of the flow"""
    sid: str
    """the session"""
    sid_source: str
    """the rule that named it: `header:NAME`, `body:FIELD`, `history`, `fallback`"""
    provider: str
    """whose vocabulary: anthropic, openai, gemini, unknown"""
    api: str
    """which interface of it: messages, responses, chat, generate_content, unknown"""
    transport: str
    """by content type: sse, websocket, ndjson, eventstream, json (any other, also where the body is a stream), none (no answer)"""
    client: Client
    """who called"""
    method: str
    """HTTP method"""
    url: str
    """query parameters sorted, secrets out"""
    request_headers: list[list[str]]
    """[name, value], in their order, secrets out"""
    request: Any = None
    """the body with its parts by reference; the same as a string where its text holds line breaks; null when there is none"""
    request_sha256: str | None = None
    """of the body as it can be rebuilt"""
    status: int | None = None
    """HTTP status; null when no answer came"""
    response_headers: list[list[str]] = []
    """[name, value], in their order, secrets out"""
    proxy: str | None = None
    """the proxy process that wrote this; the next start ends the flows of a dead one"""
    kept: Literal["headers", None] = None
    """`headers` where the proxy was told to record no bodies: the flow has no lines, its `request` is null"""
    v: int = VERSION
    """version of this schema"""


class LineRecord(Open):
    """One frame (`sse_lines.jsonl`). The seven fields keep this order."""

    event: str
    """the SSE `event:` name, else the payload's `type`, else its `object`, else `message`;
    `request.<role or type>` of a request part"""
    t: str
    """when the chunk arrived that completed the frame"""
    line: str
    """`data: ` and the payload exactly as received, minus secrets (several `data:` lines joined by a newline)"""
    metadata: str
    """a JSON object as a string, see below"""
    flow_id: str
    """the flow it belongs to"""
    data_count: int
    """0, 1, 2 … within the flow: a gap proves a loss"""
    sid: str
    """the session, always last"""


class Metadata(Open):
    """What `LineRecord.metadata` holds."""

    ver: str | None = None
    """client name and version, joined by a hyphen"""
    pid: int | None = None
    """the client's process, when it is one of this machine"""
    cwd: str | None = None
    """the working directory of that process"""
    provider: str | None = None
    """as in the flow record"""
    host: str | None = None
    """of the URL"""
    dir: Literal["in", "out", None] = None
    """`in`: from the server, `out`: from the client"""
    us: int | None = None
    """microseconds since the request began, monotonic"""
    id: str | None = None
    """of a request part: its content hash"""
    part: str | None = None
    """of a frame over 16 MiB: `1`, `2` … and for the last `3/3`; joined they are the frame"""
    cut: bool | None = None
    """true when the stream ended inside this frame"""
    binary: bool | None = None
    """true for a binary WebSocket message"""
    bytes: int | None = None
    """of a payload too large for a line: its size; the line has the first 64 KiB"""
    sha256: str | None = None
    """of such a payload: its file in `bodies/`"""
    base64: str | None = None
    """the payload, where it is no UTF-8"""
    error: str | None = None
    """why bytes could not be decoded, of `capture.undecodable`"""


class EndRecord(Open):
    """A flow is over (`sse_flow_ends.jsonl`): one for each flow, whatever happened."""

    t: str
    """when it ended"""
    flow_id: str
    """the flow"""
    sid: str
    """the session"""
    outcome: Outcome
    """see below"""
    terminal_event: str | None = None
    """the provider's last word, where it was seen"""
    lines: int = 0
    """records of the flow in `sse_lines.jsonl`: its `data_count` runs from 0 to lines - 1"""
    frames: int = 0
    """frames on the wire, of both sides"""
    wire_bytes: int = 0
    """of the response body, as transferred"""
    decoded_bytes: int = 0
    """the same, content encoding undone"""
    sha256: str | None = None
    """of the wire bytes"""
    first_byte_ms: float | None = None
    """from the beginning of the request to the first byte of the response body"""
    first_event_ms: float | None = None
    """to the first whole frame"""
    duration_ms: float | None = None
    """to the end"""
    dropped_chunks: int = 0
    """not recorded because the recorder could not keep up"""
    dropped_bytes: int = 0
    """in those chunks"""
    close_code: int | None = None
    """of a WebSocket; 1006 is normal for Codex"""
    error: str | None = None
    """what the proxy said went wrong"""
    capture_error: str | None = None
    """what went wrong in recording: records may be missing, the agent's stream was not touched"""
    v: int = VERSION
    """version of this schema"""


class ErrorRecord(Open):
    """Something failed here (`sse_logger.error`): never a body, never a secret."""

    t: str
    """when"""
    where: str
    """which part of ours"""
    what: str
    """what happened"""
    do: str
    """what to do about it"""
    flow_id: str | None = None
    """for which flow"""
