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
    Said,
    Shape,
    any_pieces,
    image,
    image_url,
    items,
    less,
    member,
    positive,
    text_of,
    word,
)

SIMPLE = frozenset(("role", "content", "reasoning_content", "reasoning", "tool_calls", "refusal", "function_call"))
REASONING = ("reasoning_content", "reasoning", "thinking")  # DeepSeek, Kimi and Qwen; OpenRouter; some gateways
PLAIN = frozenset(  # what a chunk says that is the same for all of an answer, or nothing
    """id object created model choices usage system_fingerprint service_tier provider obfuscation""".split()
)
CHOICE = frozenset(("index", "delta", "finish_reason", "logprobs"))  # the same of a choice
MEANT = frozenset(  # what is understood of a message, or says nothing; anything else in it is kept as it is
    """role content reasoning_content reasoning thinking reasoning_details thinking_blocks refusal tool_calls function_call
    annotations images audio name tool_call_id cache_control partial prefix""".split()
)
LAST = Holds.TEXT | Holds.REASONING | Holds.ARGUMENTS | Holds.CALL | Holds.USAGE | Holds.BOUND | Holds.OTHER
SHAPES = (  # a chunk may say several things: what ends an answer or counts tokens is looked for first
    Shape("chat.completion.chunk", LAST, '"finish_reason":"'),
    Shape("chat.completion.chunk", LAST, '"usage":{'),
    Shape("chat.completion.chunk", LAST, '"error":{'),
    Shape("chat.completion.chunk", LAST, '"error":"'),
    Shape("chat.completion.chunk", LAST, '"role":"'),
    Shape("chat.completion.chunk", LAST, '"function_call":{'),
    Shape("chat.completion.chunk", LAST & ~Holds.USAGE & ~Holds.BOUND, '"tool_calls":['),
    Shape("chat.completion.chunk", Holds.TEXT | Holds.REASONING | Holds.OTHER, '"delta":{"reasoning'),
    Shape("chat.completion.chunk", Holds.TEXT | Holds.REASONING | Holds.OTHER, '"delta":{"content":"'),
    Shape("chat.completion.chunk", Holds.TEXT | Holds.REASONING | Holds.OTHER, '"delta":{"content":null,"reasoning'),
    Shape("chat.completion", LAST),
    Shape("message", LAST),  # of imitators that leave `object` out, and `[DONE]`
)


def recognises(method: str, path: str) -> bool:
    return method == "POST" and path.endswith("/chat/completions")


def end(event: str, payload: bytes) -> End:
    if payload == b"[DONE]":
        return End.COMPLETE
    return End.FAILED if event == "error" or ERROR.match(payload) else End.OPEN


def decode(event: str, payload: Json) -> Iterator[Event]:
    """Pieces of text first: nearly all frames are pieces, and a generator costs as much as the rest of it."""
    if isinstance(payload, dict):
        piece = _piece(payload)
        return iter((piece,)) if piece else _frame(event, payload)
    return iter(() if payload == "[DONE]" else (Unknown(event, payload),))


def _piece(payload: dict[str, Json]) -> Event | None:
    """The text of a chunk that says nothing else; None when it may say more."""
    choices = payload.get("choices")
    if not isinstance(choices, list) or len(choices) != 1 or payload.get("usage") or not PLAIN.issuperset(payload):
        return None
    choice = choices[0]
    if not isinstance(choice, dict) or choice.get("finish_reason") or not CHOICE.issuperset(choice):
        return None
    delta = choice.get("delta")
    if not isinstance(delta, dict) or len(delta) != 1:
        return None
    ((name, said),) = delta.items()
    if name == "tool_calls":
        return _arguments(said, _key(choice))
    if not said or not isinstance(said, str):
        return None
    if name == "content":
        return TextDelta(said, "assistant", _key(choice))
    return ReasoningDelta(said, _key(choice)) if name in REASONING else None


def _arguments(calls: Json, choice: str) -> Event | None:
    """A piece of one call's arguments; None when there is more."""
    call = calls[0] if isinstance(calls, list) and len(calls) == 1 else None
    if not isinstance(call, dict) or call.get("id") or "index" not in call:
        return None
    function = call.get("function")
    if not isinstance(function, dict) or function.get("name"):
        return None
    text = function.get("arguments")
    return ToolArgumentsDelta(_call_key(choice, call, 0), text) if text and isinstance(text, str) else None


def _frame(event: str, payload: dict[str, Json]) -> Iterator[Event]:
    choices, error = payload.get("choices"), payload.get("error")
    if error:
        yield _failed(error)
    if isinstance(choices, list):
        yield from _chunk(payload, items(choices))
    elif isinstance(payload.get("usage"), dict):
        yield from _usage(payload["usage"])
    elif not error:
        yield Unknown(event, payload)


def _chunk(payload: dict[str, Json], choices: list[dict[str, Json]]) -> Iterator[Event]:
    said = [event for choice in choices for event in _choice(choice)]
    usage = payload.get("usage") or member(payload, "x_groq", "usage")
    if any(_delta(choice).get("role") for choice in choices) and not _counts_only(said, usage):
        yield MessageStarted(word(payload.get("id")), word(payload.get("model")))
    yield from said
    citations = payload.get("citations")
    for citation in citations if isinstance(citations, list) else ():  # Perplexity and its like
        yield Cited(citation)
    yield from _usage(usage)


def _counts_only(said: list[Event], usage: Json) -> bool:
    """Whether a chunk comes after an answer's end to say what it took: OpenRouter's has an empty choice with a role."""
    return not said and bool(member(usage, "completion_tokens"))


def _choice(choice: dict[str, Json]) -> Iterator[Event]:
    yield from _said(_delta(choice), "assistant", _key(choice))
    if error := choice.get("error"):  # OpenRouter: the provider behind it failed
        yield _failed(error)
    if reason := word(choice.get("finish_reason")):
        yield Stopped(reason)
    yield from _usage(choice.get("usage"))  # Kimi


def _failed(error: Json) -> Failed | Unknown:
    if isinstance(error, dict):
        return Failed(str(error.get("code") or error.get("type")), str(error.get("message")))
    return Failed("error", error) if isinstance(error, str) else Unknown("error", error)


def pieces(payload: Json) -> list[Said]:
    choices = payload.get("choices") if isinstance(payload, dict) else None
    if isinstance(choices, list) and len(choices) == 1 and isinstance(choices[0], dict):
        delta = choices[0].get("delta")
        if isinstance(delta, dict) and len(delta) == 1 and isinstance(text := delta.get("content"), str):
            return [((str(choices[0].get("index")), "delta", "content"), "content", text)]
    return [piece for choice in items(choices) for piece in _choice_pieces(choice)] if choices else any_pieces(payload)


def _choice_pieces(choice: dict[str, Json]) -> list[Said]:
    delta, index = choice.get("delta"), choice.get("index")
    calls = items(member(delta, "tool_calls"))
    own = any_pieces({key: value for key, value in choice.items() if key != "delta"}, (str(index),))
    if isinstance(delta, dict):
        own += any_pieces({key: value for key, value in delta.items() if key != "tool_calls"}, (str(index), "delta"))
    return own + [piece for call in calls for piece in any_pieces(call, (str(index), str(call.get("index"))))]


def decode_part(event: str, part: Json) -> Iterator[Event]:
    match part:
        case _ if event == "request.tools":
            pass
        case {"role": "tool" | "function"}:
            call_id = word(part.get("tool_call_id")) or word(part.get("name")) or ""
            yield ToolResult(call_id, text_of(part.get("content")), name=word(part.get("name")))
            yield from _seen(part.get("content"), "user")
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
    content = message.get("content")
    if text := text_of(content):
        yield TextDelta(text, role, key)
    yield from _reasoning(message, key)
    if refusal := word(message.get("refusal")):
        yield TextDelta(refusal, role, key)
    if message.get("tool_calls") or message.get("function_call"):
        yield from _calls(message, key)
    if not isinstance(content, str):
        yield from _seen(content, role, key)
    if not SIMPLE.issuperset(message):
        yield from _aside(message, role, key)


def _aside(message: dict[str, Json], role: str, key: str) -> Iterator[Event]:
    """What few messages say."""
    for citation in items(message.get("annotations")):
        yield Cited(citation)
    for each in items(message.get("images")):
        yield image_url(member(each, "image_url", "url"), role)
    if isinstance(sound := message.get("audio"), dict):
        if transcript := word(sound.get("transcript")):
            yield TextDelta(transcript, role, key)
        if sound.get("data"):
            yield image("audio", sound.get("id"), role, sound["data"])
    for name, said in message.items():
        if said and name not in MEANT:
            yield Unknown(name, said)


def _reasoning(message: dict[str, Json], key: str) -> Iterator[Event]:
    thought = next(filter(None, (word(message.get(name)) for name in REASONING)), None)
    if thought:
        yield ReasoningDelta(thought, key)
    if not message.get("reasoning_details") and not message.get("thinking_blocks"):
        return
    # OpenRouter, LiteLLM: the same once more in blocks, and what only the provider reads
    for block in (*items(message.get("reasoning_details")), *items(message.get("thinking_blocks"))):
        text = next(filter(None, (word(block.get(name)) for name in ("text", "summary", "thinking"))), None)
        if text and not thought:
            yield ReasoningDelta(text, key, summary="summary" in block)
        if data := word(block.get("data")):
            yield Sealed("encrypted", data, key)
        if signature := word(block.get("signature")):
            yield Sealed("signature", signature, key)


def _calls(message: dict[str, Json], choice: str) -> Iterator[Event]:
    for position, call in enumerate(items(message.get("tool_calls"))):
        key = _call_key(choice, call, position)
        function: Json = next((call[name] for name in ("function", "custom") if isinstance(call.get(name), dict)), {})
        name = word(function.get("name"))
        if call_id := word(call.get("id")) or name:  # where there are no ids, the name stands for one
            yield ToolCallStarted(key, call_id, name or "")
        if arguments := word(function.get("arguments")) or word(function.get("input")):
            yield ToolArgumentsDelta(key, arguments)
        if "index" not in call:
            yield ToolCallEnded(key)
    legacy = message.get("function_call")  # before there were tools: one call, known by its name
    if isinstance(legacy, dict):
        key = f"{choice}function"
        if name := word(legacy.get("name")):
            yield ToolCallStarted(key, name, name)
        if arguments := word(legacy.get("arguments")):
            yield ToolArgumentsDelta(key, arguments)


def _call_key(choice: str, call: dict[str, Json], position: int) -> str:
    index = call.get("index", position)
    return f"{choice}.{index}" if choice else str(index)


def _seen(content: Json, role: str, key: str = "") -> Iterator[Event]:
    """What else than text stands in a content."""
    for each in items(content):
        match each.get("type"):
            case "image_url":
                yield image_url(member(each, "image_url", "url") or each.get("image_url"), role)
            case "input_audio":
                yield image("audio", None, role, member(each, "input_audio", "data"))
            case "file":
                yield image("file", member(each, "file", "file_id"), role, member(each, "file", "file_data"))
            case "thinking":  # Mistral
                yield ReasoningDelta(text_of(each.get("thinking")), key)
            case _ if not text_of(each) and "text" not in each:
                yield Unknown("content", each)


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


PROVIDER = Provider("openai", "chat", recognises, end, decode, decode_part, last_word="[DONE]", shapes=SHAPES, pieces=pieces)
