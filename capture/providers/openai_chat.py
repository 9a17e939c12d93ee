"""OpenAI Chat Completions and its many imitators. https://platform.openai.com/docs/api-reference/chat-streaming"""

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
    return method == "POST" and path.endswith("/chat/completions")


def end(event: str, payload: bytes) -> End:
    if payload == b"[DONE]":
        return End.COMPLETE
    return End.FAILED if event == "error" or payload.startswith(b'{"error"') else End.OPEN


def decode(event: str, payload: Json) -> Iterator[Event]:
    match payload:
        case {"error": dict(error)}:
            yield Failed(str(error.get("code") or error.get("type")), str(error.get("message")))
        case {"choices": list(choices)}:
            if not choices or _delta(choices[0]).get("role"):
                yield MessageStarted(payload.get("id"), payload.get("model"))
            for choice in choices:
                yield from _choice(choice)
            yield from _usage(payload.get("usage"))
        case "[DONE]":
            pass
        case _:
            yield Unknown(event, payload)


def decode_part(event: str, part: Json) -> Iterator[Event]:
    if event == "request.tools" or not isinstance(part, dict):
        return
    if part.get("role") == "tool":
        yield ToolResult(part.get("tool_call_id") or "", text_of(part.get("content")))
        return
    yield from _said(part, part.get("role", "user"))


def _delta(choice: Json) -> dict[str, Json]:
    found = choice.get("delta") or choice.get("message") or {}
    return found if isinstance(found, dict) else {}


def _choice(choice: Json) -> Iterator[Event]:
    yield from _said(_delta(choice), "assistant")
    if choice.get("finish_reason"):
        yield Stopped(choice["finish_reason"])


def _said(message: dict[str, Json], role: str) -> Iterator[Event]:
    reasoning = message.get("reasoning_content") or message.get("reasoning")
    if isinstance(reasoning, str):
        yield ReasoningDelta(reasoning)
    if text := text_of(message.get("content")):
        yield TextDelta(text, role)
    for position, call in enumerate(message.get("tool_calls") or []):
        key, function = str(call.get("index", position)), call.get("function") or {}
        if call.get("id"):
            yield ToolCallStarted(key, call["id"], function.get("name") or "")
        if function.get("arguments"):
            yield ToolArgumentsDelta(key, function["arguments"])
        if "index" not in call:
            yield ToolCallEnded(key)


def _usage(usage: Json) -> Iterator[Event]:
    if isinstance(usage, dict):
        yield UsageReported(
            input=number(usage.get("prompt_tokens")),
            output=number(usage.get("completion_tokens")),
            cached=number((usage.get("prompt_tokens_details") or {}).get("cached_tokens")),
            reasoning=number((usage.get("completion_tokens_details") or {}).get("reasoning_tokens")),
        )


PROVIDER = Provider("openai", "chat", recognises, end, decode, decode_part)
