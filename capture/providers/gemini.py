"""Gemini generateContent, with an API key and (wrapped in `request` and `response`) with a Google login.

https://ai.google.dev/api/generate-content#method:-models.streamgeneratecontent
"""

from collections.abc import Iterator

import orjson

from capture.events import (
    Event,
    Failed,
    MessageStarted,
    ReasoningDelta,
    Stopped,
    TextDelta,
    ToolCallEnded,
    ToolCallStarted,
    ToolResult,
    Unknown,
    UsageReported,
)
from capture.providers.base import End, Json, Provider, number, text_of


def recognises(method: str, path: str) -> bool:
    return method == "POST" and path.endswith((":streamGenerateContent", ":generateContent"))


def end(event: str, payload: bytes) -> End:
    if b'"finishReason"' in payload:
        return End.COMPLETE
    return End.FAILED if payload.lstrip()[:9] == b'{"error":' or event == "error" else End.OPEN


def decode(event: str, payload: Json) -> Iterator[Event]:
    inner = payload.get("response", payload) if isinstance(payload, dict) else payload
    match inner:
        case {"error": dict(error)}:
            yield Failed(str(error.get("status") or error.get("code")), str(error.get("message")))
        case {"candidates": list(candidates)}:
            yield MessageStarted(inner.get("responseId"), inner.get("modelVersion"))
            for candidate in candidates:
                yield from _content(candidate.get("content") or {}, "assistant")
            yield from _usage(inner.get("usageMetadata"))
            for candidate in candidates:
                if candidate.get("finishReason"):
                    yield Stopped(candidate["finishReason"])
        case _:
            yield Unknown(event, payload)


def decode_part(event: str, part: Json) -> Iterator[Event]:
    if event == "request.tools" or not isinstance(part, dict):
        return
    role = "system" if event == "request.system" else {"model": "assistant"}.get(part.get("role", ""), "user")
    yield from _content(part, role)


def _content(content: Json, role: str) -> Iterator[Event]:
    for index, part in enumerate(content.get("parts") or []):
        match part:
            case {"thought": True, "text": str(text)}:
                yield ReasoningDelta(text)
            case {"text": str(text)}:
                yield TextDelta(text, role)
            case {"functionCall": {"name": name} as call}:
                key = str(call.get("id") or f"{name}-{index}")
                yield ToolCallStarted(key, str(call.get("id") or name), name)
                yield ToolCallEnded(key, orjson.dumps(call.get("args")).decode())
            case {"functionResponse": {"name": name} as result}:
                yield ToolResult(str(result.get("id") or name), text_of(result.get("response")))
            case _:
                yield Unknown("part", part)


def _usage(usage: Json) -> Iterator[Event]:
    if isinstance(usage, dict):
        yield UsageReported(
            input=number(usage.get("promptTokenCount")),
            output=number(usage.get("candidatesTokenCount")),
            cached=number(usage.get("cachedContentTokenCount")),
            reasoning=number(usage.get("thoughtsTokenCount")),
        )


PROVIDER = Provider("gemini", "generate_content", recognises, end, decode, decode_part)
