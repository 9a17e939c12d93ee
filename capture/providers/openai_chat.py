"""OpenAI Chat Completions and its many imitators. https://platform.openai.com/docs/api-reference/chat-streaming"""

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
    ToolArgumentsDelta,
    ToolCallEnded,
    ToolCallStarted,
    ToolResult,
    Unknown,
    UsageReported,
)
from capture.providers.base import (
    ERROR,
    End,
    Holds,
    Json,
    Provider,
    Shape,
    image,
    image_url,
    items,
    less,
    member,
    positive,
    text_of,
    word,
)

REASONING = ("reasoning_content", "reasoning", "thinking")  # DeepSeek, Kimi and Qwen; OpenRouter; some gateways
LAST = Holds.TEXT | Holds.REASONING | Holds.ARGUMENTS | Holds.CALL | Holds.USAGE | Holds.BOUND | Holds.OTHER
SHAPES = (  # a chunk may say several things: what ends an answer or counts tokens is looked for first
    Shape("chat.completion.chunk", LAST, '"finish_reason":"'),
    Shape("chat.completion.chunk", LAST, '"usage":{'),
    Shape("chat.completion.chunk", LAST, '"error":{'),
    Shape("chat.completion.chunk", LAST, '"role":"'),
    Shape("chat.completion.chunk", LAST, '"function_call":{'),
    Shape("chat.completion.chunk", Holds.TEXT | Holds.REASONING | Holds.ARGUMENTS | Holds.CALL, '"tool_calls":['),
    Shape("chat.completion.chunk", Holds.TEXT | Holds.REASONING | Holds.OTHER, '"reasoning'),
    Shape("chat.completion.chunk", Holds.TEXT | Holds.REASONING | Holds.OTHER, '"delta":{"content":"'),
    Shape("chat.completion", LAST),
)


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
                yield from _said(_delta(choice), "assistant", _key(choice))
                if reason := word(choice.get("finish_reason")):
                    yield Stopped(reason)
                yield from _usage(choice.get("usage"))  # Kimi
            for citation in _list(payload.get("citations")):  # Perplexity and its like
                yield Cited(citation)
            yield from _usage(payload.get("usage"))
        case "[DONE]":
            pass
        case _:
            yield Unknown(event, payload)


def decode_part(event: str, part: Json) -> Iterator[Event]:
    match part:
        case _ if event == "request.tools":
            pass
        case {"role": "tool" | "function"}:
            call_id = word(part.get("tool_call_id")) or word(part.get("name")) or ""
            yield ToolResult(call_id, text_of(part.get("content")), name=word(part.get("name")))
            yield from _images(part.get("content"), "user")
        case {"role": str(role)}:
            yield from _said(part, role)
        case _:
            yield Unknown(event, part)


def _delta(choice: dict[str, Json]) -> dict[str, Json]:
    """What a choice adds to its message, or in a plain answer the message itself."""
    found = choice.get("delta") or choice.get("message")
    return found if isinstance(found, dict) else {}


def _key(choice: dict[str, Json]) -> str:
    """The block of a choice: only an answer with several has more than one."""
    index = choice.get("index")
    return str(index) if index else ""


def _said(message: dict[str, Json], role: str, key: str = "") -> Iterator[Event]:
    if text := text_of(message.get("content")):
        yield TextDelta(text, role, key)
    if reasoning := next(filter(None, (word(message.get(name)) for name in REASONING)), None):
        yield ReasoningDelta(reasoning, key)
    for detail in items(message.get("reasoning_details")):  # OpenRouter: the same as `reasoning`, or what only the provider reads
        if data := word(detail.get("data")) or word(detail.get("signature")):
            yield Sealed("encrypted" if detail.get("data") else "signature", data, key)
        elif not reasoning and (thought := word(detail.get("text")) or word(detail.get("summary"))):
            yield ReasoningDelta(thought, key, summary="summary" in detail)
    if refusal := word(message.get("refusal")):
        yield TextDelta(refusal, role, key)
    if message.get("tool_calls") or message.get("function_call"):
        yield from _calls(message, key)
    for citation in items(message.get("annotations")):
        yield Cited(citation)
    if not isinstance(message.get("content"), str):
        yield from _images(message.get("content"), role)
    for each in items(message.get("images")):
        yield image_url(member(each, "image_url", "url"), role)


def _calls(message: dict[str, Json], choice: str) -> Iterator[Event]:
    for position, call in enumerate(items(message.get("tool_calls"))):
        key = f"{choice}{'.' if choice else ''}{call.get('index', position)}"
        function: Json = next((call[name] for name in ("function", "custom") if isinstance(call.get(name), dict)), {})
        if call_id := word(call.get("id")):
            yield ToolCallStarted(key, call_id, word(function.get("name")) or "")
        if arguments := word(function.get("arguments")) or word(function.get("input")):
            yield ToolArgumentsDelta(key, arguments)
        if "index" not in call:
            yield ToolCallEnded(key)
    legacy = message.get("function_call")  # before there were tools: one call, known by its name
    if isinstance(legacy, dict):
        if name := word(legacy.get("name")):
            yield ToolCallStarted("function", name, name)
        if arguments := word(legacy.get("arguments")):
            yield ToolArgumentsDelta("function", arguments)


def _images(content: Json, role: str) -> Iterator[Event]:
    for each in items(content):
        match each.get("type"):
            case "image_url":
                yield image_url(member(each, "image_url", "url") or each.get("image_url"), role)
            case "input_audio":
                yield image("audio", None, role, member(each, "input_audio", "data"))
            case "file":
                yield image("file", member(each, "file", "file_id"), role, member(each, "file", "file_data"))


def _list(value: Json) -> list[Json]:
    return value if isinstance(value, list) else []


def _usage(usage: Json) -> Iterator[Event]:
    if isinstance(usage, dict):
        told = (
            member(usage, "prompt_tokens_details", "cached_tokens"),
            usage.get("cached_tokens"),
            usage.get("prompt_cache_hit_tokens"),
        )
        cached = next((count for each in told if (count := positive(each)) is not None), None)
        yield UsageReported(
            fresh=less(usage.get("prompt_tokens"), cached),
            cached=cached,
            output=positive(usage.get("completion_tokens")),
            reasoning=positive(member(usage, "completion_tokens_details", "reasoning_tokens")),
        )


PROVIDER = Provider("openai", "chat", recognises, end, decode, decode_part, last_word="[DONE]", shapes=SHAPES)
