"""What is drawn, as values: what renderers say and terminals do.

They are not frozen: there are many, and a frozen one takes twice as long to make.
"""

from dataclasses import dataclass
from typing import Literal

type Style = Literal[
    "user", "assistant", "reasoning", "tool", "key", "value", "quiet", "bad", "good", "strong", "plain", "added", "removed"
]

SGR: dict[Style, str] = {  # this project's scheme; people learn it once. Numbers: ECMA-48 §8.3.117, 90 and more are aixterm's
    "user": "33",
    "assistant": "35",
    "reasoning": "36",
    "tool": "93",
    "key": "36",
    "value": "32",
    "quiet": "90",
    "bad": "31",
    "good": "32",
    "strong": "1",
    "plain": "",
    "added": "32",
    "removed": "31",
}


@dataclass(slots=True)
class Put:
    """Text in a style, as it was said: it may hold newlines, escape sequences, anything. The terminal makes it harmless."""

    text: str
    style: Style = "plain"


@dataclass(slots=True)
class Fresh:
    """What follows begins a line: a newline, unless the line is empty."""


@dataclass(slots=True)
class Provisional:
    """One erasable line, cut to the window, in the place of the one before it. Not drawn where nothing can be erased."""

    text: str
    style: Style = "quiet"


@dataclass(slots=True)
class Erase:
    """The provisional line, if there is one, leaves no trace."""


type Ink = Put | Fresh | Provisional | Erase
