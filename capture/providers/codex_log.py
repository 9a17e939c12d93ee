"""The codex log: the events of Responses as on the wire, and the same things again as Codex tells them of its turns.

A dialect of logs that existed before this one (`~/centralized-logs/codex/sse_lines.jsonl`). Answers are told up to four times:
`response.*` is first-hand, `turn.agent_message.*`, `turn.response.delta` and `turn.raw_response_item` are retellings of it.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace

from capture.events import (
    Event,
    PromptGiven,
    RateLimited,
    ReasoningDelta,
    ReasoningWhole,
    TextDelta,
    TextWhole,
    ToolCallEnded,
    ToolCallStarted,
    ToolResult,
    Unknown,
    UsageReported,
    WentIdle,
)
from capture.providers.base import End, Holds, Json, Provider, Shape, less, member, number, positive, text_of, word

MESSAGE, RESPONSE, ITEM = 1, 2, 3  # which retelling: of an agent's message, of the response's deltas, of its items
PIECES = {"turn.agent_message.delta": MESSAGE, "turn.response.delta": RESPONSE}
REASONING = ("turn.agent_reasoning", "turn.reasoning")  # how the events begin that tell of it
OWN = (
    Shape("codex.user_prompt", Holds.REQUEST),
    Shape("turn.user_message", Holds.REQUEST),
    Shape("codex.idle", Holds.BOUND),
    Shape("turn.response.delta", Holds.TEXT),
    Shape("turn.agent_message.delta", Holds.TEXT),
    Shape("turn.agent_message", Holds.TEXT),
    Shape("turn.agent_reasoning*", Holds.REASONING),
    Shape("turn.raw_response_item", Holds.TEXT | Holds.REASONING | Holds.CALL | Holds.OTHER),
    Shape("turn.exec.*", Holds.CALL | Holds.OTHER),
    Shape("turn.token_count", Holds.USAGE | Holds.OTHER),
    Shape("codex.token_count", Holds.USAGE | Holds.OTHER),
    Shape("turn.shutdown_complete", Holds.OTHER),
)


def speaking(inner: Provider) -> Provider:
    """The dialect, around the vocabulary of the model that is logged in it."""

    def end(event: str, payload: bytes) -> End:
        return inner.end(event, payload)

    def decode(event: str, payload: Json) -> Iterator[Event]:
        said = payload["payload"] if isinstance(payload, dict) and isinstance(payload.get("payload"), dict) else payload
        if not event.startswith(("turn.", "codex.")) or event == "codex.rate_limits":
            return inner.decode(event, said)
        if (again := PIECES.get(event)) and isinstance(text := member(said, "delta"), str):
            return iter((TextDelta(text, key=_item_id(said), again=again),))
        return _item(said, inner.decode_part) if event == "turn.raw_response_item" else _told(event, said, payload)

    return Provider("codex_log", "codex_log", lambda method, path: False, end, decode, inner.decode_part, shapes=OWN + inner.shapes)


def _told(event: str, said: Json, payload: Json) -> Iterator[Event]:
    match event, said:
        case "turn.agent_message", {"message": str(text)}:
            yield TextWhole(text, _item_id(said), again=MESSAGE)
        case _, {"delta": str(text)} if event.startswith(REASONING):
            yield ReasoningDelta(text, _item_id(said), again=MESSAGE)
        case _, {"text": str(text)} if event.startswith(REASONING):
            yield ReasoningWhole(text, _item_id(said), again=MESSAGE)
        case "codex.user_prompt", {"text": str(text)}:
            yield PromptGiven(text)
        case "turn.user_message", dict():
            yield PromptGiven(text_of(said.get("message") or said.get("text") or said.get("content")), again=1)
        case "codex.idle", _:
            yield WentIdle()
        case "turn.exec.end", {"call_id": str(call_id)}:
            yield _executed(call_id, said)
        case "turn.token_count" | "codex.token_count", {"info": _} | {"total_token_usage": _} | {"rate_limits": _}:
            yield from _tokens(said, again=1 if event.startswith("turn.") else 2)
        case _:
            yield Unknown(event, payload)


def _item(item: Json, decode_part: Callable[[str, Json], Iterator[Event]]) -> Iterator[Event]:
    """An item of an answer, or a tool's result, told again after the wire told it."""
    for event in decode_part("request.item", item):
        match event:
            case TextDelta(text, "assistant"):
                yield TextWhole(text, _name(item), ITEM)
            case TextDelta():
                yield Unknown("turn.raw_response_item", item)  # what the user said: the prompt has its own event
            case TextWhole() | ReasoningWhole():
                yield replace(event, again=ITEM, key=f"{_name(item)}{event.key}")
            case ToolCallStarted() | ToolCallEnded():
                yield replace(event, key=word(member(item, "call_id")) or event.key)
            case _:
                yield event


def _name(item: Json) -> str:
    """What tells one item from the next where they have no ids: how it begins."""
    said = text_of(member(item, "content")) or text_of(member(item, "summary"))
    return word(member(item, "id")) or said[:200]


def _item_id(said: Json) -> str:
    """The block a piece or a whole belongs to: Codex seldom says."""
    return word(member(said, "item_id")) or ""


def _executed(call_id: str, said: dict[str, Json]) -> ToolResult:
    """A command's end, as the one who ran it saw it."""
    texts = (word(said.get("aggregated_output")), word(said.get("formatted_output")))
    text = next(filter(None, texts), None) or f"{said.get('stdout') or ''}{said.get('stderr') or ''}"
    code = number(said.get("exit_code"))
    whole, nanos = (member(said, "duration", name) for name in ("secs", "nanos"))
    seconds = whole + nanos / 1e9 if isinstance(whole, int) and isinstance(nanos, int) else None
    return ToolResult(call_id, text, bool(code), exit_code=code, seconds=seconds, again=1)


def _tokens(said: dict[str, Json], again: int) -> Iterator[Event]:
    total = member(said, "info", "total_token_usage") or said.get("total_token_usage")
    if isinstance(total, dict):
        cached = positive(total.get("cached_input_tokens"))
        yield UsageReported(
            fresh=less(total.get("input_tokens"), cached),
            cached=cached,
            output=positive(total.get("output_tokens")),
            reasoning=positive(total.get("reasoning_output_tokens")),
            running=True,
            again=again,
        )
    if isinstance(limits := said.get("rate_limits"), (dict, list)):
        yield RateLimited(limits)
