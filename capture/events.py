"""What a frame means, in words common to all providers: a closed union that loses nothing a provider says.

Every `match` over `Event` ends in `assert_never`, so the type checker lists all places where a new one must be thought of.

`key` names a block within one answer (a text, a stretch of reasoning, a call): pieces with the same key belong together.
What is told in pieces may be told again as a whole (`TextWhole`, `ReasoningWhole`, `ToolCallEnded.arguments`): the whole
replaces its pieces, it does not come after them. `again` counts retellings of one thing by one client (the codex log has each
answer up to four times): 0 is first-hand, and of what was told several ways a reader takes the lowest.
"""

from dataclasses import dataclass, field
from typing import Any, NamedTuple


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
    key: str = ""
    again: int = 0


@dataclass(frozen=True, slots=True)
class TextWhole:
    """A text told again as a whole after its pieces, or instead of them."""

    text: str
    key: str = ""
    again: int = 0


@dataclass(frozen=True, slots=True)
class ReasoningDelta:
    """What the model thinks aloud, or a summary of it."""

    text: str
    key: str = ""
    summary: bool = False
    again: int = 0


@dataclass(frozen=True, slots=True)
class ReasoningWhole:
    """Reasoning told again as a whole."""

    text: str
    key: str = ""
    summary: bool = False
    again: int = 0


@dataclass(frozen=True, slots=True)
class Sealed:
    """What only the provider can read, and a client must send back: a signature, encrypted or redacted reasoning."""

    kind: str  # signature, encrypted, redacted
    data: str
    key: str = ""


@dataclass(frozen=True, slots=True)
class ToolCallStarted:
    """A tool call is declared. `key` is what its argument pieces refer to, `call_id` what its result refers to."""

    key: str
    call_id: str
    name: str
    server: bool = False  # the provider runs it (web search, code execution): no result comes from the client


@dataclass(frozen=True, slots=True)
class ToolArgumentsDelta:
    """A piece of a call's arguments: JSON text, or free text for custom tools."""

    key: str
    text: str


@dataclass(frozen=True, slots=True)
class ToolCallEnded:
    """The call is complete. `arguments`: the whole text where the provider repeats it, else None.

    May come for a key that is no call.
    """

    key: str
    arguments: str | None = None


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What a tool said: in the next request, or in the answer itself for a tool of the provider."""

    call_id: str
    text: str
    is_error: bool = False
    name: str | None = None  # of the tool, where the result says it
    exit_code: int | None = None  # of a command, where the client says it
    seconds: float | None = None  # how long it ran, where the client says it
    again: int = 0


@dataclass(frozen=True, slots=True)
class Cited:
    """A source the model names for what it says, in the provider's form."""

    payload: Any


@dataclass(frozen=True, slots=True)
class ImageSeen:
    """An image, a document or a sound that was sent or made: what it is, not its bytes."""

    media_type: str
    source: str  # a URL, a file id, or `base64, N characters`
    role: str = "assistant"


class UsageReported(NamedTuple):
    """Tokens so far, each number on its own: a later report replaces the numbers it gives (None: not said).

    The same for all providers: `fresh` + `cached` + `written` is all that the model read, `output` all that it wrote.
    A tuple: `capture stats` makes one for each answer of a log, and a frozen dataclass takes five times as long to make.
    """

    fresh: int | None = None  # input that came from no cache and went into none
    cached: int | None = None  # input read from the provider's cache
    written: int | None = None  # input written to the provider's cache
    output: int | None = None  # everything the model wrote, reasoning too
    reasoning: int | None = None  # of the output
    running: bool = False  # the sum over the session so far, not of one answer
    again: int = 0

    @property
    def input(self) -> int:
        """All that the model read."""
        return (self.fresh or 0) + (self.cached or 0) + (self.written or 0)

    def newer(self, later: "UsageReported") -> "UsageReported":
        """This report with the numbers that a later one gives."""
        return UsageReported(
            self.fresh if later.fresh is None else later.fresh,
            self.cached if later.cached is None else later.cached,
            self.written if later.written is None else later.written,
            self.output if later.output is None else later.output,
            self.reasoning if later.reasoning is None else later.reasoning,
            later.running,
            later.again,
        )


@dataclass(frozen=True, slots=True)
class RateLimited:
    """What the provider says about its limits: how much is used, when it is reset, in the provider's form."""

    payload: Any


@dataclass(frozen=True, slots=True)
class IdGiven:
    """An id of the provider that later requests may refer to (response id, request id, container)."""

    kind: str
    id: str


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
class PromptGiven:
    """A user prompt that the client itself tells of (existing log dialects), not one found in a request."""

    text: str
    again: int = 0


@dataclass(frozen=True, slots=True)
class WentIdle:
    """The agent waits for its user: the client itself says so (existing log dialects)."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """Something said in no word known here: kept as it is."""

    kind: str
    payload: Any = field(default=None)


type Event = (
    MessageStarted
    | TextDelta
    | TextWhole
    | ReasoningDelta
    | ReasoningWhole
    | Sealed
    | ToolCallStarted
    | ToolArgumentsDelta
    | ToolCallEnded
    | ToolResult
    | Cited
    | ImageSeen
    | UsageReported
    | RateLimited
    | IdGiven
    | Stopped
    | Failed
    | PromptGiven
    | WentIdle
    | Unknown
)
