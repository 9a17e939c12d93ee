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
EVENTS = ("claude.user_prompt", "claude.stop", "claude.session_start", "claude.session_end")
OWN = (
    Shape("claude.user_prompt", Holds.REQUEST | Holds.OTHER),
    Shape("claude.stop", Holds.BOUND),
    Shape("claude.session_start", Holds.OTHER),
    Shape("claude.session_end", Holds.OTHER),
)


def speaking(inner: Provider) -> Provider:
    """The dialect, around the vocabulary of the model that is logged in it."""

    def end(event: str, payload: bytes) -> End:
        return inner.end(event.removeprefix(PREFIX), payload)

    def decode(event: str, payload: Json) -> Iterator[Event]:
        if event in EVENTS:
            return _told(event, payload)
        return inner.decode(event.removeprefix(PREFIX), _inner(payload))

    shapes = OWN + tuple(replace(shape, event=PREFIX + shape.event) for shape in inner.shapes)
    return Provider("claude_log", "claude_log", lambda method, path: False, end, decode, inner.decode_part, shapes=shapes)


def _told(event: str, payload: Json) -> Iterator[Event]:
    if event == "claude.stop":
        yield WentIdle()
    elif event == "claude.user_prompt" and (text := _prompt(_inner(payload))):
        yield PromptGiven(text)
    else:
        yield Unknown(event, payload)


def _prompt(said: Json) -> str:
    """A prompt's text; "" where none is found."""
    if isinstance(said, dict):
        return next((text for name in PROMPT if (text := text_of(said.get(name)))), "")
    return text_of(said)


def _inner(payload: Json) -> Json:
    return payload["payload"] if isinstance(payload, dict) and "payload" in payload else payload
