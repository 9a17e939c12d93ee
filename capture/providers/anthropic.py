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
from capture.providers.base import End, Json, Provider, json_text, number, text_of, word


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
            yield MessageStarted(word(message.get("id")), word(message.get("model")))
            yield from _usage(message.get("usage"))
        case {
            "type": "content_block_start",
            "index": index,
            "content_block": {"type": "tool_use" | "server_tool_use" | "mcp_tool_use", "id": str(call_id), "name": str(name)},
        }:
            yield ToolCallStarted(str(index), call_id, name)
        case {"type": "content_block_start", "index": index, "content_block": block}:
            yield from _block(str(index), block, "assistant")
        case {"type": "content_block_delta", "delta": {"type": "text_delta", "text": str(text)}}:
            yield TextDelta(text)
        case {"type": "content_block_delta", "delta": {"type": "thinking_delta", "thinking": str(text)}}:
            yield ReasoningDelta(text)
        case {
            "type": "content_block_delta",
            "index": index,
            "delta": {"type": "input_json_delta", "partial_json": str(text)},
        }:
            yield ToolArgumentsDelta(str(index), text)
        case {"type": "content_block_delta", "delta": {"type": "signature_delta" | "citations_delta"}}:
            pass
        case {"type": "content_block_stop", "index": index}:
            yield ToolCallEnded(str(index))  # of any block: the frame does not say which kind it ends
        case {"type": "message_delta", "delta": dict(delta)}:
            yield from _usage(payload.get("usage"))
            if reason := word(delta.get("stop_reason")):
                yield Stopped(reason)
        case {"type": "error", "error": dict(error)}:
            yield Failed(str(error.get("type")), str(error.get("message")))
        case {"type": "message", "content": list(blocks)}:
            yield MessageStarted(word(payload.get("id")), word(payload.get("model")))
            for index, block in enumerate(blocks):
                yield from _block(str(index), block, "assistant")
            yield from _usage(payload.get("usage"))
            yield Stopped(word(payload.get("stop_reason")) or "")
        case {"type": "message_stop" | "ping"}:
            pass
        case _:
            yield Unknown(event, payload)


def decode_part(event: str, part: Json) -> Iterator[Event]:
    match part:
        case _ if event == "request.tools":
            pass
        case {"role": str(role), "content": list(blocks)}:
            for index, block in enumerate(blocks):
                yield from _block(str(index), block, role)
        case {"role": str(role), "content": str(text)}:
            yield TextDelta(text, role)
        case str() | list() if event == "request.system":
            yield TextDelta(text_of(part), "system")
        case _:
            yield Unknown(event, part)


def _block(key: str, block: Json, role: str) -> Iterator[Event]:
    match block:
        case {"type": "text", "text": ""} | {"type": "thinking", "thinking": ""} | {"type": "redacted_thinking"}:
            pass
        case {"type": "text", "text": str(text)}:
            yield TextDelta(text, role)
        case {"type": "thinking", "thinking": str(text)}:
            yield ReasoningDelta(text)
        case {"type": "tool_use" | "server_tool_use" | "mcp_tool_use", "id": str(call_id), "name": str(name)}:
            yield ToolCallStarted(key, call_id, name)
            yield ToolCallEnded(key, json_text(block.get("input")))
        case {"type": str(kind), "tool_use_id": str(call_id)} if kind.endswith("tool_result"):
            yield ToolResult(call_id, text_of(block.get("content")), bool(block.get("is_error")))
        case _:
            yield Unknown("block", block)


def _usage(usage: Json) -> Iterator[Event]:
    if isinstance(usage, dict):
        yield UsageReported(
            fresh=number(usage.get("input_tokens")),
            output=number(usage.get("output_tokens")),
            cached=number(usage.get("cache_read_input_tokens")),
            written=number(usage.get("cache_creation_input_tokens")),
        )


PROVIDER = Provider("anthropic", "messages", recognises, end, decode, decode_part)
