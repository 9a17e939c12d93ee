"""What stands around the exchanges: headers, sizes, limits, what failed."""

from collections.abc import Iterable, Iterator
from typing import Any

from capture.extract.base import Head, Kind, flow_head, number, pairs, word
from capture.providers.base import Holds
from capture.updates import Answered, FlowEnded, FlowOpened

LIMITS = (
    "anthropic-ratelimit-",
    "anthropic-priority-",
    "x-ratelimit-",
    "ratelimit",
    "x-codex-",
    "retry-after",
)  # how headers begin
MAX_FAILED = 10_000  # flows whose failure waits for their end
AROUND = Holds.REQUEST  # flow and end records stand in files of their own: nearly nothing of the lines is needed


class HeadersRow(Head):
    method: str | None
    """HTTP method"""
    url: str | None
    """query parameters sorted, secrets out"""
    request: list[list[str]]
    """[name, value] of the request's headers, in their order, secrets out"""
    status: int | None
    """HTTP status; null when no answer came"""
    response: list[list[str]]
    """[name, value] of the response's headers"""


def headers(update: FlowOpened) -> Iterator[HeadersRow]:
    flow = update.flow
    yield {
        **flow_head(flow),
        "method": word(flow.get("method")),
        "url": word(flow.get("url")),
        "request": pairs(flow.get("request_headers")),
        "status": number(flow.get("status")),
        "response": pairs(flow.get("response_headers")),
    }


class EnvelopeRow(Head):
    ended_t: str
    """when the flow ended"""
    transport: str | None
    """sse, websocket, ndjson, eventstream, json, none; null, here and below, where the flow's record is not in the log"""
    provider: str | None
    """whose vocabulary"""
    api: str | None
    """which interface of it"""
    url: str | None
    """query parameters sorted, secrets out"""
    status: int | None
    """HTTP status"""
    sid_source: str | None
    """the rule that named the session"""
    client: str | None
    """the agent's program"""
    client_version: str | None
    """its version"""
    pid: int | None
    """its process"""
    outcome: str
    """complete, client_closed, server_closed, error, stopped, killed"""
    terminal_event: str | None
    """the provider's last word, where it was seen"""
    lines: int | None
    """records of the flow in the log"""
    frames: int | None
    """frames on the wire, of both sides"""
    wire_bytes: int | None
    """of the response body, as transferred"""
    decoded_bytes: int | None
    """the same, content encoding undone"""
    first_byte_ms: float | None
    """from the beginning of the request to the first byte of the answer"""
    first_event_ms: float | None
    """to the first whole frame"""
    duration_ms: float | None
    """to the end"""
    dropped_chunks: int | None
    """not recorded because the recorder could not keep up"""
    close_code: int | None
    """of a WebSocket; 1006 is normal for Codex"""
    error: str | None
    """what the proxy said went wrong"""
    capture_error: str | None
    """what went wrong in recording"""


def envelope(update: FlowEnded) -> Iterator[EnvelopeRow]:
    end, flow = update.end, update.flow or {}
    client = _object(flow.get("client"))
    yield {
        **flow_head(flow or end),
        "ended_t": str(end.get("t", "")),
        "transport": word(flow.get("transport")),
        "provider": word(flow.get("provider")),
        "api": word(flow.get("api")),
        "url": word(flow.get("url")),
        "status": number(flow.get("status")),
        "sid_source": word(flow.get("sid_source")),
        "client": word(client.get("name")),
        "client_version": word(client.get("version")),
        "pid": number(client.get("pid")),
        "outcome": str(end.get("outcome")),
        "terminal_event": word(end.get("terminal_event")),
        "lines": number(end.get("lines")),
        "frames": number(end.get("frames")),
        "wire_bytes": number(end.get("wire_bytes")),
        "decoded_bytes": number(end.get("decoded_bytes")),
        "first_byte_ms": _milliseconds(end.get("first_byte_ms")),
        "first_event_ms": _milliseconds(end.get("first_event_ms")),
        "duration_ms": _milliseconds(end.get("duration_ms")),
        "dropped_chunks": number(end.get("dropped_chunks")),
        "close_code": number(end.get("close_code")),
        "error": word(end.get("error")),
        "capture_error": word(end.get("capture_error")),
    }


class RateLimitRow(Head):
    source: str
    """`headers` of the response, or an `event` of the answer"""
    limits: Any
    """what the provider says, in its own form: what is used, what is left, when it is reset"""


def rate_limits(update: FlowOpened | Answered) -> Iterator[RateLimitRow]:
    if isinstance(update, FlowOpened):
        found = {name.lower(): value for name, value in pairs(update.flow.get("response_headers"))}
        said = {name: value for name, value in found.items() if name.startswith(LIMITS)}
        if said:
            yield {**flow_head(update.flow), "source": "headers", "limits": said}
        return
    exchange = update.exchange
    for limits in exchange.answer.limits:
        yield {"t": exchange.t, "sid": exchange.sid, "flow_id": exchange.flow_id, "source": "event", "limits": limits}


class HttpErrorRow(Head):
    status: int | None
    """HTTP status; null when no answer came"""
    provider: str | None
    """whose vocabulary"""
    url: str | None
    """query parameters sorted, secrets out"""
    client: str | None
    """the agent's program"""
    said: str | None
    """the provider's own words about it"""
    error: str | None
    """what the proxy said went wrong"""
    outcome: str
    """how the flow ended"""
    duration_ms: float | None
    """how long it took"""
    retry_after: str | None
    """when the provider wants to be asked again, as it says that"""


class HttpErrors:
    """Flows that failed. What the provider says of it comes before the flow's end, and waits for that."""

    def __init__(self) -> None:
        self._said: dict[str, str] = {}  # by flow

    def feed(self, update: Answered | FlowEnded) -> Iterable[HttpErrorRow]:
        if isinstance(update, Answered):
            if update.exchange.answer.failed and len(self._said) < MAX_FAILED:
                self._said[update.exchange.flow_id] = update.exchange.answer.failed
            return
        end, flow = update.end, update.flow
        said = self._said.pop(str(end.get("flow_id")), None)
        status = number(flow.get("status")) if flow else None
        if flow is not None and (status is None or status >= 400):
            yield _http_error(end, flow, status, said)

    def close(self) -> Iterable[HttpErrorRow]:
        return ()


def _http_error(end: dict[str, Any], flow: dict[str, Any], status: int | None, said: str | None) -> HttpErrorRow:
    after = next((value for name, value in pairs(flow.get("response_headers")) if name.lower() == "retry-after"), None)
    return {
        **flow_head(flow),
        "status": status,
        "provider": word(flow.get("provider")),
        "url": word(flow.get("url")),
        "client": word(_object(flow.get("client")).get("name")),
        "said": said,
        "error": word(end.get("error")),
        "outcome": str(end.get("outcome")),
        "duration_ms": _milliseconds(end.get("duration_ms")),
        "retry_after": after,
    }


def _milliseconds(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) else None


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


KINDS = (
    Kind("headers", "Request and response headers of each flow.", HeadersRow, (FlowOpened,), headers, holds=AROUND),
    Kind(
        "envelope",
        "What stands around each flow that is over: transport, sizes, times.",
        EnvelopeRow,
        (FlowEnded,),
        envelope,
        holds=AROUND,
    ),
    Kind("rate_limits", "What providers say about their limits.", RateLimitRow, (FlowOpened, Answered), rate_limits),
    Kind("http_errors", "Flows with an HTTP error, or without an answer.", HttpErrorRow, (Answered, FlowEnded), start=HttpErrors),
)
