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
from capture.providers.base import End, Json, Provider, number, text_of

ENDS = {
    "response.completed": End.COMPLETE,
    "response.incomplete": End.COMPLETE,
    "response.failed": End.FAILED,
    "error": End.FAILED,
}
CALLS = ("function_call", "custom_tool_call")
QUIET = frozenset(  # they say again, or announce, what other events say
    """response.in_progress response.queued response.content_part.added response.content_part.done
    response.output_text.done response.reasoning_summary_part.added response.reasoning_summary_part.done
    response.reasoning_summary_text.done response.reasoning_text.done response.function_call_arguments.done
    response.custom_tool_call_input.done""".split()
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
        case "response.created", {"response": {"id": response_id, "model": model}}:
            yield MessageStarted(response_id, model)
        case "response.output_text.delta" | "response.refusal.delta", {"delta": str(text)}:
            yield TextDelta(text)
        case "response.reasoning_summary_text.delta" | "response.reasoning_text.delta", {"delta": str(text)}:
            yield ReasoningDelta(text)
        case "response.output_item.added", {
            "item": {"type": "function_call" | "custom_tool_call", "id": key, "call_id": call_id, "name": name}
        }:
            yield ToolCallStarted(key, call_id, name)
        case "response.function_call_arguments.delta" | "response.custom_tool_call_input.delta", {
            "item_id": key,
            "delta": str(text),
        }:
            yield ToolArgumentsDelta(key, text)
        case "response.output_item.done", {"item": {"type": "function_call" | "custom_tool_call", "id": key} as item}:
            yield ToolCallEnded(key, item.get("arguments", item.get("input")))
        case "response.output_item.added" | "response.output_item.done", {"item": {"type": "message" | "reasoning"}}:
            pass
        case "response.completed" | "response.incomplete" | "response.failed", {"response": dict(response)}:
            yield from _usage(response.get("usage"))
            if isinstance(response.get("error"), dict):
                yield Failed(str(response["error"].get("code")), str(response["error"].get("message")))
            yield Stopped(response.get("status") or kind.removeprefix("response."))
        case "error", dict():
            error = payload["error"] if isinstance(payload.get("error"), dict) else payload
            yield Failed(str(error.get("code") or error.get("type")), str(error.get("message")))
        case _, {"object": "response", "output": list(items)}:
            yield MessageStarted(payload.get("id"), payload.get("model"))
            for item in items:
                yield from _item(item)
            yield from _usage(payload.get("usage"))
            yield Stopped(payload.get("status") or "")
        case _ if kind in QUIET:
            pass
        case _:
            yield Unknown(kind, payload)


def decode_part(event: str, part: Json) -> Iterator[Event]:
    if event == "request.system" and not isinstance(part, dict):
        yield TextDelta(text_of(part), "system")
    elif isinstance(part, str):
        yield TextDelta(part, "user")
    elif event not in ("request.tools", "request.additional_tools"):
        yield from _item(part)


def _item(item: Json) -> Iterator[Event]:
    match item:
        case {"type": "function_call" | "custom_tool_call", "call_id": call_id, "name": name}:
            yield ToolCallStarted(call_id, call_id, name)
            yield ToolCallEnded(call_id, item.get("arguments", item.get("input")))
        case {
            "type": "function_call_output" | "custom_tool_call_output" | "local_shell_call_output",
            "call_id": call_id,
        }:
            yield ToolResult(call_id, text_of(item.get("output")))
        case {"type": "reasoning"}:
            yield ReasoningDelta(text_of(item.get("summary")))
        case {"role": role, "content": content}:
            yield TextDelta(text_of(content), role)
        case _:
            yield Unknown(item.get("type", "item") if isinstance(item, dict) else "item", item)


def _usage(usage: Json) -> Iterator[Event]:
    if isinstance(usage, dict):
        yield UsageReported(
            input=number(usage.get("input_tokens")),
            output=number(usage.get("output_tokens")),
            cached=number((usage.get("input_tokens_details") or {}).get("cached_tokens")),
            reasoning=number((usage.get("output_tokens_details") or {}).get("reasoning_tokens")),
        )


PROVIDER = Provider("openai", "responses", recognises, end, decode, decode_part, opens)
