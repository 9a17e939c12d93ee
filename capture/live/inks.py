"""What is drawn, as values: what renderers say and terminals do."""

from dataclasses import dataclass
from typing import Literal

type Style = Literal[
    "user", "assistant", "reasoning", "tool", "key", "value", "quiet", "bad", "good", "strong", "plain", "added", "removed"
]


@dataclass(slots=True, frozen=True)
class Put:
    """Text in a style, as it was said: it may hold newlines, escape sequences, anything. The terminal makes it harmless."""

    text: str
    style: Style = "plain"


@dataclass(slots=True, frozen=True)
class Fresh:
    """What follows begins a line: a newline, unless the line is empty."""


@dataclass(slots=True, frozen=True)
class Provisional:
    """One erasable line, cut to the window, in the place of the one before it. Not drawn where nothing can be erased."""

    text: str
    style: Style = "quiet"


@dataclass(slots=True, frozen=True)
class Erase:
    """The provisional line, if there is one, leaves no trace."""


type Ink = Put | Fresh | Provisional | Erase
