"""Gemini generateContent, with an API key and (wrapped in `request` and `response`) with a Google login.

https://ai.google.dev/api/generate-content#method:-models.streamgeneratecontent
"""

import re
from collections.abc import Iterator

from capture.events import (
    Cited,
    Event,
    Failed,
    MessageStarted,
    ReasoningDelta,
    Sealed,
    Stopped,
    TextDelta,
    ToolCallEnded,
    ToolCallStarted,
    ToolResult,
    Unknown,
    UsageReported,
)
from capture.jsonl import loads
from capture.providers.base import ERROR, End, Json, Provider, image, items, json_text, member, positive, text_of, word

FINISHED = re.compile(rb'"finishReason"\s*:\s*"[^"]')  # in the last part of a frame too large to be parsed


def recognises(method: str, path: str) -> bool:
    return method == "POST" and path.endswith((":streamGenerateContent", ":generateContent"))


def end(event: str, payload: bytes) -> End:
    if b'"finishReason"' in payload and _finished(payload):
        return End.COMPLETE
    return End.FAILED if event == "error" or ERROR.match(payload) else End.OPEN


def _finished(payload: bytes) -> bool:
    """Whether a candidate has ended. The word alone says nothing: some send it as null, and a tool's arguments may have it."""
    try:
        value = loads(payload)
    except ValueError:
        return not payload.lstrip().startswith((b"{", b"[")) and bool(FINISHED.search(payload))
    return any(word(candidate.get("finishReason")) for each in _elements(value) for candidate in items(member(each, "candidates")))


def _elements(value: Json) -> list[Json]:
    """The answers in a payload: one, or an array of them; out of the `response` of a Google login."""
    return [member(each, "response") or each for each in (value if isinstance(value, list) else [value])]


def decode(event: str, payload: Json) -> Iterator[Event]:
    inner = payload.get("response", payload) if isinstance(payload, dict) else payload
    match inner:
        case {"error": dict(error)}:
            yield Failed(str(error.get("status") or error.get("code")), str(error.get("message")))
        case {"candidates": _} | {"usageMetadata": _} | {"promptFeedback": _}:
            candidates = items(inner.get("candidates"))
            if candidates:  # what comes after the last one only counts tokens
                yield MessageStarted(word(inner.get("responseId")), word(inner.get("modelVersion")))
            for candidate in candidates:
                yield from _content(candidate.get("content"), "assistant")
                for name in ("citationMetadata", "groundingMetadata", "urlContextMetadata"):
                    if candidate.get(name):
                        yield Cited(candidate[name])
            yield from _usage(inner.get("usageMetadata"))
            for said in (*candidates, inner.get("promptFeedback")):
                if reason := _reason(said):
                    yield Stopped(reason)
        case _:
            yield Unknown(event, payload)


def decode_part(event: str, part: Json) -> Iterator[Event]:
    match part:
        case _ if event == "request.tools":
            pass
        case dict():
            role = "system" if event == "request.system" else "assistant" if part.get("role") == "model" else "user"
            yield from _content(part, role)
        case _:
            yield Unknown(event, part)


def _reason(said: Json) -> str | None:
    """Why a candidate ended (`finishReason`) or a prompt was refused (`blockReason`); None when neither."""
    return word(said.get("finishReason") or said.get("blockReason")) if isinstance(said, dict) else None


def _content(content: Json, role: str) -> Iterator[Event]:
    parts = content.get("parts") if isinstance(content, dict) else None
    for index, part in enumerate(parts if isinstance(parts, list) else []):
        yield from _part(part, role, index)
        if signature := word(member(part, "thoughtSignature")):
            yield Sealed("signature", signature)


def _part(part: Json, role: str, index: int) -> Iterator[Event]:
    match part:
        case {"text": ""}:
            pass
        case {"thought": True, "text": str(text)}:
            yield ReasoningDelta(text)
        case {"text": str(text)}:
            yield TextDelta(text, role)
        case {"functionCall": {"name": str(name)} as call}:
            key = str(call.get("id") or f"{name}-{index}")
            yield ToolCallStarted(key, str(call.get("id") or name), name)
            yield ToolCallEnded(key, json_text(call.get("args") or {}))
        case {"functionResponse": {"name": str(name)} as result}:
            yield _result(name, result)
        case {"executableCode": dict(code)}:
            key = str(code.get("id") or f"code-{index}")
            yield ToolCallStarted(key, "code_execution", "code_execution", server=True)
            yield ToolCallEnded(key, json_text(code))
        case {"codeExecutionResult": dict(result)}:
            failed = result.get("outcome") not in (None, "OUTCOME_OK")
            yield ToolResult("code_execution", text_of(result.get("output")), failed, "code_execution")
        case {"inlineData": dict(data)}:
            yield image(data.get("mimeType"), None, role, data.get("data"))
        case {"fileData": dict(data)}:
            yield image(data.get("mimeType"), data.get("fileUri"), role)
        case {"thoughtSignature": _, **rest} if not rest:
            pass
        case _:
            yield Unknown("part", part)


def _result(name: str, result: dict[str, Json]) -> ToolResult:
    """What a tool said: a text, or an object of its own; one with an `error` failed."""
    response = result.get("response")
    error = text_of(member(response, "error"))
    text = text_of(response) or error or (json_text(response) if response else "")
    return ToolResult(str(result.get("id") or name), text, bool(error), name)


def _usage(usage: Json) -> Iterator[Event]:
    if isinstance(usage, dict):
        cached = positive(usage.get("cachedContentTokenCount"))
        read = _sum(usage.get("promptTokenCount"), usage.get("toolUsePromptTokenCount"))
        yield UsageReported(
            fresh=None if read is None else max(read - (cached or 0), 0),
            cached=cached,
            output=_sum(usage.get("candidatesTokenCount"), usage.get("thoughtsTokenCount")),
            reasoning=positive(usage.get("thoughtsTokenCount")),
        )


def _sum(*counts: Json) -> int | None:
    """All tokens of some counts; None where none is given."""
    given = [count for each in counts if (count := positive(each)) is not None]
    return sum(given) if given else None


PROVIDER = Provider("gemini", "generate_content", recognises, end, decode, decode_part, last_word="finishReason")
