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
from capture.providers.base import (
    ERROR,
    End,
    Holds,
    Json,
    Provider,
    Said,
    Shape,
    any_pieces,
    image,
    items,
    json_text,
    member,
    positive,
    text_of,
    word,
)

CITED = ("citationMetadata", "groundingMetadata", "urlContextMetadata")
SHAPES = (Shape("message", Holds.ALL & ~Holds.REQUEST & ~Holds.ARGUMENTS),)  # its events have no names

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
    if isinstance(inner, list):  # asked for without `alt=sse`: an error comes so
        for each in inner:
            yield from _answer(event, member(each, "response") or each)
    else:
        yield from _answer(event, inner)


def _answer(event: str, said: Json) -> Iterator[Event]:
    if not isinstance(said, dict):
        yield Unknown(event, said)
    elif isinstance(error := said.get("error"), dict):
        yield Failed(str(error.get("status") or error.get("code")), str(error.get("message")))
    elif "candidates" in said or "usageMetadata" in said or "promptFeedback" in said:
        candidates = items(said.get("candidates"))
        if candidates:  # what comes after the last one only counts tokens
            yield MessageStarted(word(said.get("responseId")), word(said.get("modelVersion")))
        for candidate in candidates:
            yield from _content(candidate.get("content"), "assistant")
            yield from _beside(candidate)
        yield from _usage(said.get("usageMetadata"))
        if feedback := said.get("promptFeedback"):
            yield from _refused(feedback)
        for candidate in candidates:
            if reason := word(candidate.get("finishReason")):
                yield Stopped(reason)
    else:
        yield Unknown(event, said)


def _beside(candidate: dict[str, Json]) -> Iterator[Event]:
    """What stands beside a candidate's content: sources, why it ended in words, what was held back."""
    for name in CITED:
        if cited := candidate.get(name):
            yield Cited(cited)
    if message := candidate.get("finishMessage"):
        yield Unknown("finishMessage", message)
    if blocked := [rating for rating in items(candidate.get("safetyRatings")) if rating.get("blocked")]:
        yield Unknown("safetyRatings", blocked)


def _refused(feedback: Json) -> Iterator[Event]:
    """What is said of the prompt: refused, or only rated."""
    reason = word(member(feedback, "blockReason"))
    if reason:
        yield Unknown("promptFeedback", feedback)
        yield Stopped(reason)


def pieces(payload: Json) -> list[Said]:
    """By candidate and kind: which place a part has says nothing about the next frame."""
    found: list[Said] = []
    for each in _elements(payload):
        for index, candidate in enumerate(items(member(each, "candidates"))):
            for part in items(member(candidate, "content", "parts")):
                found += _part_pieces(str(candidate.get("index", index)), part)
    return found or any_pieces(payload)


def _part_pieces(candidate: str, part: dict[str, Json]) -> list[Said]:
    if isinstance(text := part.get("text"), str):
        return [((candidate, bool(part.get("thought"))), "text", text)]
    arguments = items(member(part, "functionCall", "partialArgs"))
    pieces = [(each.get("jsonPath"), each.get("stringValue")) for each in arguments]
    said: list[Said] = [((candidate, str(path)), "stringValue", text) for path, text in pieces if isinstance(text, str)]
    return said or any_pieces(part, (candidate,))


def decode_part(event: str, part: Json) -> Iterator[Event]:
    match part:
        case _ if event == "request.tools":
            pass
        case dict():
            role = "system" if event == "request.system" else "assistant" if part.get("role") == "model" else "user"
            yield from _content(part, role)
        case _:
            yield Unknown(event, part)


def _content(content: Json, role: str) -> Iterator[Event]:
    parts = content.get("parts") if isinstance(content, dict) else None
    for index, part in enumerate(parts if isinstance(parts, list) else []):
        text = part.get("text") if isinstance(part, dict) and len(part) == 1 else None
        if isinstance(text, str) and text:  # nothing else: most parts
            yield TextDelta(text, role)
            continue
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
            arguments = json_text(call.get("args") or {})
            key = str(call.get("id") or f"{name}-{index}-{arguments}")  # each frame may have one more call of the same tool
            yield ToolCallStarted(key, str(call.get("id") or name), name)
            yield ToolCallEnded(key, arguments)
            if call.get("partialArgs"):  # Vertex: arguments in pieces
                yield Unknown("partialArgs", call)
        case {"functionResponse": {"name": str(name)} as result}:
            yield _result(name, result)
            for each in items(result.get("parts")):
                yield from _part(each, role, index)
        case {"executableCode": dict(code)}:
            asked = json_text(code)
            yield ToolCallStarted(str(code.get("id") or asked), "code_execution", "code_execution", server=True)
            yield ToolCallEnded(str(code.get("id") or asked), asked)
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


PROVIDER = Provider(
    "gemini", "generate_content", recognises, end, decode, decode_part, last_word="finishReason", shapes=SHAPES, pieces=pieces
)
