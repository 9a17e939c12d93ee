"""The claude log: Anthropic's events in an envelope, and what Claude Code knows of its own session.

A dialect of logs that existed before this one (`~/centralized-logs/claude/sse_lines.jsonl`): `claude.` stands before each event's
name, the payload under `payload`. It has no requests and no tool results.
"""

from collections.abc import Iterator
from dataclasses import replace

from capture.events import Event, PromptGiven, Unknown, WentIdle
from capture.providers.base import End, Holds, Json, Provider, Shape, text_of

PREFIX = "claude."
PROMPT = ("prompt", "text", "message", "content")  # where a prompt's text may stand
OWN = (
    Shape("claude.user_prompt", Holds.REQUEST),
    Shape("claude.stop", Holds.BOUND),
    Shape("claude.session_start", Holds.OTHER),
    Shape("claude.session_end", Holds.OTHER),
)


def speaking(inner: Provider) -> Provider:
    """The dialect, around the vocabulary of the model that is logged in it."""

    def end(event: str, payload: bytes) -> End:
        return inner.end(event.removeprefix(PREFIX), payload)

    def decode(event: str, payload: Json) -> Iterator[Event]:
        said = _inner(payload)
        match event, said:
            case "claude.user_prompt", dict():
                yield PromptGiven(next((text for name in PROMPT if (text := text_of(said.get(name)))), ""))
            case "claude.user_prompt", str():
                yield PromptGiven(said)
            case "claude.stop", _:
                yield WentIdle()
            case "claude.session_start" | "claude.session_end", _:
                yield Unknown(event, payload)
            case _:
                yield from inner.decode(event.removeprefix(PREFIX), said)

    shapes = OWN + tuple(replace(shape, event=PREFIX + shape.event) for shape in inner.shapes)
    return Provider("claude_log", "claude_log", lambda method, path: False, end, decode, inner.decode_part, shapes=shapes)


def _inner(payload: Json) -> Json:
    return payload["payload"] if isinstance(payload, dict) and "payload" in payload else payload
