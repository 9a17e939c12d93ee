"""OpenAI Responses, over SSE and over WebSocket: the same events. https://platform.openai.com/docs/api-reference/responses-streaming"""

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
from capture.providers.base import End, Json, Provider, member, number, text_of, word

ENDS = {
    "response.completed": End.COMPLETE,
    "response.incomplete": End.COMPLETE,
    "response.failed": End.FAILED,
    "error": End.FAILED,
}
QUIET = frozenset(  # they say again, or announce, what other events say
    """response.in_progress response.queued response.content_part.added response.content_part.done
    response.output_text.done response.reasoning_summary_part.added response.reasoning_summary_part.done
    response.reasoning_summary_text.done response.reasoning_text.done response.function_call_arguments.done
    response.custom_tool_call_input.done response.refusal.done response.output_text.annotation.added keepalive""".split()
)


def recognises(method: str, path: str) -> bool:
    return method in ("POST", "GET") and path.endswith("/responses")


def opens(body: Json) -> bool:
    return isinstance(body, dict) and body.get("type") == "response.create"


def end(event: str, payload: bytes) -> End:
    return ENDS.get(event, End.OPEN)


def decode(event: str, payload: Json) -> Iterator[Event]:
    kind = str(payload.get("type", event)) if isinstance(payload, dict) else event
    match kind, payload:
        case "response.created", {"response": dict(response)}:
            yield MessageStarted(word(response.get("id")), word(response.get("model")))
        case "response.output_text.delta" | "response.refusal.delta", {"delta": str(text)}:
            yield TextDelta(text)
        case "response.reasoning_summary_text.delta" | "response.reasoning_text.delta", {"delta": str(text)}:
            yield ReasoningDelta(text)
        case "response.output_item.added", {
            "item": {"type": "function_call" | "custom_tool_call", "id": str(key), "call_id": str(call_id), "name": str(name)}
        }:
            yield ToolCallStarted(key, call_id, name)
        case "response.function_call_arguments.delta" | "response.custom_tool_call_input.delta", {
            "item_id": str(key),
            "delta": str(text),
        }:
            yield ToolArgumentsDelta(key, text)
        case "response.output_item.done", {"item": {"type": "function_call" | "custom_tool_call", "id": str(key)} as item}:
            yield ToolCallEnded(key, word(item.get("arguments", item.get("input"))))
        case "response.output_item.added" | "response.output_item.done", {"item": {"type": "message" | "reasoning"}}:
            pass
        case "response.completed" | "response.incomplete" | "response.failed", {"response": dict(response)}:
            yield from _usage(response.get("usage"))
            if isinstance(error := response.get("error"), dict):
                yield Failed(str(error.get("code")), str(error.get("message")))
            yield Stopped(word(response.get("status")) or kind.removeprefix("response."))
        case "error", dict():
            error = payload["error"] if isinstance(payload.get("error"), dict) else payload
            yield Failed(str(error.get("code") or error.get("type")), str(error.get("message")))
        case _, {"object": "response", "output": list(output)}:
            yield MessageStarted(word(payload.get("id")), word(payload.get("model")))
            for item in output:
                yield from _item(item)
            yield from _usage(payload.get("usage"))
            yield Stopped(word(payload.get("status")) or "")
        case _, dict() if kind in QUIET:
            pass
        case _:
            yield Unknown(kind, payload)


def decode_part(event: str, part: Json) -> Iterator[Event]:
    match part:
        case _ if event in ("request.tools", "request.additional_tools"):
            pass
        case str() | list() if event == "request.system":
            yield TextDelta(text_of(part), "system")
        case str():
            yield TextDelta(part, "user")
        case _:
            yield from _item(part)


def _item(item: Json) -> Iterator[Event]:
    match item:
        case {"type": "function_call" | "custom_tool_call", "call_id": str(call_id), "name": str(name)}:
            yield ToolCallStarted(call_id, call_id, name)
            yield ToolCallEnded(call_id, word(item.get("arguments", item.get("input"))))
        case {
            "type": "function_call_output" | "custom_tool_call_output" | "local_shell_call_output",
            "call_id": str(call_id),
        }:
            yield ToolResult(call_id, text_of(item.get("output")))
        case {"type": "reasoning"}:
            if text := text_of(item.get("summary")):
                yield ReasoningDelta(text)
        case {"role": str(role), "content": content}:
            yield TextDelta(text_of(content), role)
        case _:
            yield Unknown(str(member(item, "type") or "item"), item)


def _usage(usage: Json) -> Iterator[Event]:
    if isinstance(usage, dict):
        yield UsageReported(
            fresh=number(usage.get("input_tokens")),
            output=number(usage.get("output_tokens")),
            cached=number(member(usage, "input_tokens_details", "cached_tokens")),
            reasoning=number(member(usage, "output_tokens_details", "reasoning_tokens")),
        )


PROVIDER = Provider("openai", "responses", recognises, end, decode, decode_part, opens=opens)
