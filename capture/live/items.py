"""What a card shows, as values: a closed union that the views draw, whatever the provider.

A *card* is all that one flow tells, or the prompts of one session; an *item* is a piece of it, in the order in which it was said.
Text is as it was said; only the terminal makes it harmless.
"""

from dataclasses import dataclass
from typing import Literal

type Voice = Literal["assistant", "reasoning"]


@dataclass(slots=True)
class Prompted:
    """A user asked."""

    text: str


@dataclass(slots=True)
class Spoken:
    """A piece of what the model says or thinks; pieces of one `key` belong together. What is told again as a whole comes once."""

    voice: Voice
    text: str
    key: str = ""
    deltas: int = 1  # pieces it was put together from


@dataclass(slots=True)
class CallBegun:
    """A tool call is declared. `key` names it within its card."""

    key: str
    name: str
    server: bool = False  # the provider runs it


@dataclass(slots=True)
class ArgumentsPiece:
    """A piece of a call's arguments: JSON text, or free text for custom tools."""

    key: str
    text: str
    deltas: int = 1  # pieces it was put together from


@dataclass(slots=True)
class CallComplete:
    """A call's arguments are all there; they were told piece by piece before."""

    key: str


@dataclass(slots=True)
class Resulted:
    """What a tool said, under the call it belongs to."""

    name: str
    about: str  # what the call was about, on one line: a command, a path; "" where it is not known
    text: str
    is_error: bool = False
    exit_code: int | None = None
    ms: float | None = None  # how long it took


@dataclass(slots=True)
class Remark:
    """One line of ours about a flow: an error, a cut stream, a rate limit, a retry, an image, a citation."""

    text: str
    bad: bool = False


@dataclass(slots=True)
class TurnOver:
    """The agent is idle: what the turn took."""

    ms: float | None
    input: int | None  # tokens
    output: int | None
    cost: float | None  # dollars; None where a price is not known
    calls: int
    outcome: str  # idle, interrupted, failed


type Item = Prompted | Spoken | CallBegun | ArgumentsPiece | CallComplete | Resulted | Remark | TurnOver
