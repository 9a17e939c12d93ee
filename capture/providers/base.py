"""The contract of a vocabulary: what one provider's requests look like and what its frames mean."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any

from capture.events import Event

type Json = Any  # a decoded JSON value


class End(Enum):
    """What a frame says about the stream it stands in."""

    OPEN = "open"  # more is to come
    COMPLETE = "complete"  # the provider's last word: nothing is missing
    FAILED = "failed"  # the provider's last word is an error


@dataclass(frozen=True, slots=True)
class Provider:
    """One vocabulary. All fields are pure functions or constants."""

    name: str  # whose vocabulary: anthropic, openai, gemini
    api: str  # which of its interfaces: messages, responses, chat, generate_content
    recognises: Callable[[str, str], bool]  # (method, path without query): is this a call to a model?
    end: Callable[[str, bytes], End]  # (event name, payload): does the stream end here? Runs on every frame: no parsing
    decode: Callable[[str, Json], Iterator[Event]]  # (event name, payload): the events of a frame from the server
    decode_part: Callable[[str, Json], Iterator[Event]]  # (event name `request.…`, part): the events of a request part
    opens: Callable[[Json], bool] = lambda body: False  # is this WebSocket message of the client a request?


def text_of(content: Json) -> str:
    """The text in a content value: a string, or a list of blocks that have a `text`."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "\n".join(filter(None, (text_of(block) for block in content)))
    if isinstance(content, dict):
        return text_of(content.get("text") or content.get("content") or content.get("output") or "")
    return ""


def number(value: Json) -> int | None:
    return value if isinstance(value, int) else None
