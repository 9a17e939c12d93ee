"""Anthropic Messages. https://docs.anthropic.com/en/api/messages-streaming"""

from collections.abc import Iterator

from capture.events import (
    Event,
    Failed,
    MessageStarted,
    ReasoningDelta,
    Stopped,
    TextDelta,
    ToolArgumentsDelta,
    ToolCallEnded,
    ToolCallStarted,
    ToolResult,
    Unknown,
    UsageReported,
)
from capture.providers.base import End, Json, Provider, number, text_of


def recognises(method: str, path: str) -> bool:
    return method == "POST" and path.endswith(
        ("/v1/messages", "/messages:streamRawPredict", ":streamRawPredict", "/invoke-with-response-stream")
    )


def end(event: str, payload: bytes) -> End:
    if event == "message_stop":
        return End.COMPLETE
    return End.FAILED if event == "error" else End.OPEN


def decode(event: str, payload: Json) -> Iterator[Event]:
    match payload:
        case {"type": "message_start", "message": dict(message)}:
            yield MessageStarted(message.get("id"), message.get("model"))
            yield from _usage(message.get("usage"))
        case {
            "type": "content_block_start",
            "index": index,
            "content_block": {"type": "tool_use", "id": call_id, "name": name},
        }:
            yield ToolCallStarted(str(index), call_id, name)
        case {"type": "content_block_start", "content_block": {"type": "text", "text": str(text)}} if text:
            yield TextDelta(text)
        case {"type": "content_block_start", "content_block": {"type": "text" | "thinking"}}:
            pass
        case {"type": "content_block_delta", "delta": {"type": "text_delta", "text": text}}:
            yield TextDelta(text)
        case {"type": "content_block_delta", "delta": {"type": "thinking_delta", "thinking": text}}:
            yield ReasoningDelta(text)
        case {
            "type": "content_block_delta",
            "index": index,
            "delta": {"type": "input_json_delta", "partial_json": text},
        }:
            yield ToolArgumentsDelta(str(index), text)
        case {"type": "content_block_stop", "index": index}:
            yield ToolCallEnded(str(index))
        case {"type": "message_delta", "delta": dict(delta)}:
            yield from _usage(payload.get("usage"))
            if delta.get("stop_reason"):
                yield Stopped(delta["stop_reason"])
        case {"type": "error", "error": {"type": kind, "message": message}}:
            yield Failed(kind, message)
        case {"type": "message", "content": list(blocks)}:
            yield MessageStarted(payload.get("id"), payload.get("model"))
            for index, block in enumerate(blocks):
                yield from _block(str(index), block, "assistant")
            yield from _usage(payload.get("usage"))
            yield Stopped(payload.get("stop_reason") or "")
        case {"type": "message_stop" | "ping"}:
            pass
        case _:
            yield Unknown(event, payload)


def decode_part(event: str, part: Json) -> Iterator[Event]:
    if event in ("request.system", "request.tools") and not isinstance(part, dict):
        if event == "request.system":
            yield TextDelta(text_of(part), "system")
        return
    role = part.get("role", "user")
    content = part.get("content")
    for index, block in enumerate(content if isinstance(content, list) else [{"type": "text", "text": content}]):
        yield from _block(str(index), block, role)


def _block(key: str, block: Json, role: str) -> Iterator[Event]:
    match block:
        case {"type": "text", "text": str(text)}:
            yield TextDelta(text, role)
        case {"type": "thinking", "thinking": str(text)}:
            yield ReasoningDelta(text)
        case {"type": "tool_use", "id": call_id, "name": name, "input": arguments}:
            yield from _whole_call(key, call_id, name, arguments)
        case {"type": "tool_result", "tool_use_id": call_id}:
            yield ToolResult(call_id, text_of(block.get("content")), bool(block.get("is_error")))
        case _:
            yield Unknown("block", block)


def _whole_call(key: str, call_id: str, name: str, arguments: Json) -> Iterator[Event]:
    import orjson

    yield ToolCallStarted(key, call_id, name)
    yield ToolCallEnded(key, orjson.dumps(arguments).decode())


def _usage(usage: Json) -> Iterator[Event]:
    if isinstance(usage, dict):
        yield UsageReported(
            input=number(usage.get("input_tokens")),
            output=number(usage.get("output_tokens")),
            cached=number(usage.get("cache_read_input_tokens")),
        )


PROVIDER = Provider("anthropic", "messages", recognises, end, decode, decode_part)
