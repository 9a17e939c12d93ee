"""What a frame means, in words common to all providers: a closed union.

Every `match` over `Event` ends in `assert_never`, so the type checker lists all places where a new one must be thought of.
"""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class MessageStarted:
    """The model begins an answer."""

    message_id: str | None
    model: str | None


@dataclass(frozen=True, slots=True)
class TextDelta:
    """Text of an answer (from the model) or of a prompt (in a request part)."""

    text: str
    role: str = "assistant"  # who says it: assistant, user, system, developer


@dataclass(frozen=True, slots=True)
class ReasoningDelta:
    """What the model thinks aloud, or a summary of it."""

    text: str


@dataclass(frozen=True, slots=True)
class ToolCallStarted:
    """A tool call is declared. `key` is what its argument pieces refer to within the flow; `call_id` what its result refers to."""

    key: str
    call_id: str
    name: str


@dataclass(frozen=True, slots=True)
class ToolArgumentsDelta:
    """A piece of a call's arguments: JSON text, or free text for custom tools."""

    key: str
    text: str


@dataclass(frozen=True, slots=True)
class ToolCallEnded:
    """The call is complete. `arguments`: the whole text where the provider repeats it, else None."""

    key: str
    arguments: str | None = None


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What a tool said, as the next request carries it."""

    call_id: str
    text: str
    is_error: bool = False


@dataclass(frozen=True, slots=True)
class UsageReported:
    """Tokens so far; a later report replaces the numbers an earlier one gave."""

    input: int | None = None
    output: int | None = None
    cached: int | None = None
    reasoning: int | None = None


@dataclass(frozen=True, slots=True)
class Stopped:
    """Why the model stopped, in the provider's word (`end_turn`, `tool_calls`, `completed`, `STOP` …)."""

    reason: str


@dataclass(frozen=True, slots=True)
class Failed:
    """The provider says that something went wrong."""

    kind: str
    message: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """Something said in no word known here: kept as it is."""

    kind: str
    payload: Any = field(default=None)


type Event = (
    MessageStarted
    | TextDelta
    | ReasoningDelta
    | ToolCallStarted
    | ToolArgumentsDelta
    | ToolCallEnded
    | ToolResult
    | UsageReported
    | Stopped
    | Failed
    | Unknown
)
