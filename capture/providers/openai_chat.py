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
from capture.providers.base import ERROR, End, Json, Provider, items, member, number, text_of, word


def recognises(method: str, path: str) -> bool:
    return method == "POST" and path.endswith("/chat/completions")


def end(event: str, payload: bytes) -> End:
    if payload == b"[DONE]":
        return End.COMPLETE
    return End.FAILED if event == "error" or ERROR.match(payload) else End.OPEN


def decode(event: str, payload: Json) -> Iterator[Event]:
    match payload:
        case {"error": dict(error)}:
            yield Failed(str(error.get("code") or error.get("type")), str(error.get("message")))
        case {"choices": list()}:
            choices = items(payload["choices"])
            if any(_delta(choice).get("role") for choice in choices):
                yield MessageStarted(word(payload.get("id")), word(payload.get("model")))
            for choice in choices:
                yield from _said(_delta(choice), "assistant")
                if reason := word(choice.get("finish_reason")):
                    yield Stopped(reason)
            yield from _usage(payload.get("usage"))
        case "[DONE]":
            pass
        case _:
            yield Unknown(event, payload)


def decode_part(event: str, part: Json) -> Iterator[Event]:
    match part:
        case _ if event == "request.tools":
            pass
        case {"role": "tool"}:
            yield ToolResult(word(part.get("tool_call_id")) or "", text_of(part.get("content")))
        case {"role": str(role)}:
            yield from _said(part, role)
        case _:
            yield Unknown(event, part)


def _delta(choice: dict[str, Json]) -> dict[str, Json]:
    """What a choice adds to its message, or in a plain answer the message itself."""
    found = choice.get("delta") or choice.get("message")
    return found if isinstance(found, dict) else {}


def _said(message: dict[str, Json], role: str) -> Iterator[Event]:
    if reasoning := word(message.get("reasoning_content")) or word(message.get("reasoning")):
        yield ReasoningDelta(reasoning)
    if text := text_of(message.get("content")):
        yield TextDelta(text, role)
    for position, call in enumerate(items(message.get("tool_calls"))):
        key = str(call.get("index", position))
        function = call["function"] if isinstance(call.get("function"), dict) else {}
        if call_id := word(call.get("id")):
            yield ToolCallStarted(key, call_id, word(function.get("name")) or "")
        if arguments := word(function.get("arguments")):
            yield ToolArgumentsDelta(key, arguments)
        if "index" not in call:
            yield ToolCallEnded(key)


def _usage(usage: Json) -> Iterator[Event]:
    if isinstance(usage, dict):
        yield UsageReported(
            fresh=number(usage.get("prompt_tokens")),
            output=number(usage.get("completion_tokens")),
            cached=number(member(usage, "prompt_tokens_details", "cached_tokens")),
            reasoning=number(member(usage, "completion_tokens_details", "reasoning_tokens")),
        )


PROVIDER = Provider("openai", "chat", recognises, end, decode, decode_part, last_word="[DONE]")
