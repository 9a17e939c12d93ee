"""What pairing says, as values: parts, prompts, calls, exchanges, turns, and the updates that tell of them.

Objects in updates are the live ones: they grow until they are closed, and are not changed after it.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from capture.events import Event, ToolResult, UsageReported
from capture.messages import Message, ToolCall
from capture.requests import SAID_BEFORE, Request


def between(earlier: str | None, later: str | None) -> float | None:
    """Milliseconds from one time of the log to another; None when one is missing or no time."""
    try:
        return round((datetime.fromisoformat(later or "") - datetime.fromisoformat(earlier or "")).total_seconds() * 1000, 3)
    except (ValueError, TypeError):
        return None


def total(usages: Iterable[UsageReported]) -> UsageReported:
    """The sum of reports about different answers; a number that none of them says stays None."""
    whole = UsageReported()
    for usage in usages:
        whole = UsageReported(
            _plus(whole.fresh, usage.fresh),
            _plus(whole.cached, usage.cached),
            _plus(whole.written, usage.written),
            _plus(whole.output, usage.output),
            _plus(whole.reasoning, usage.reasoning),
        )
    return whole


def _plus(one: int | None, other: int | None) -> int | None:
    return one if other is None else (one or 0) + other


@dataclass(slots=True)
class Deltas:
    """Consecutive pieces of one block, read together: what `Pairing.feed` takes instead of so many records."""

    flow_id: str
    sid: str
    t: str  # of the first
    last_t: str
    count: int
    event: Event  # one delta with all their text


@dataclass(slots=True)
class Part:
    """One part of a request, as it was first told in its session."""

    id: str
    event: str  # request.user, request.system, request.tools …
    t: str
    sid: str
    flow_id: str
    value: Any  # its JSON value; None once it was handed on
    human: str | None = None  # what a human wrote in it
    results: tuple[ToolResult, ...] = ()
    asks_summary: bool = False  # the client wants the conversation in short, to go on with less of it

    @property
    def said_before(self) -> bool:
        """Whether the client sends back here what the model has said."""
        return self.event in SAID_BEFORE


@dataclass(slots=True)
class Prompt:
    """What a user asked."""

    t: str
    sid: str
    flow_id: str  # of the exchange that carried it
    text: str
    sure: bool = True  # False: its text was not found, or it may be an earlier prompt sent again (reading began too late to know)


@dataclass(slots=True)
class Call:
    """A tool call through its life: declared, arguments, complete, answered."""

    call_id: str
    name: str
    sid: str
    flow_id: str
    t: str  # declared
    made: ToolCall  # as the model made it; holds the arguments
    agent: str | None = None
    server: bool = False
    completed_t: str | None = None
    result: ToolResult | None = None
    result_t: str | None = None
    result_flow: str | None = None  # the flow whose request carried the result
    results: int = 0  # results told: 1 is right

    @property
    def arguments(self) -> str:
        return self.made.arguments

    @property
    def duration_ms(self) -> float | None:
        """From the complete call to its result: as the client says, else as seen on the wire (with what the user was asked)."""
        if self.result and self.result.seconds is not None:
            return round(self.result.seconds * 1000, 3)
        return between(self.completed_t, self.result_t)


@dataclass(slots=True)
class Exchange:
    """One request to a model and its answer: an HTTP flow has one, a WebSocket many."""

    flow_id: str
    sid: str
    number: int  # within the flow, from 0
    provider: str
    api: str
    t: str  # asked
    request: Request
    client: dict[str, Any]
    agent: str | None = None  # the sub-agent that asks; None: the agent itself
    parent: str | None = None  # what started that sub-agent
    new: list[Part] = field(default_factory=list)  # parts of the conversation that its history did not have, in order
    answer: Message = field(default_factory=lambda: Message("assistant"))
    calls: list[Call] = field(default_factory=list)
    prompts: list[Prompt] = field(default_factory=list)
    first_t: str | None = None  # first frame of the answer
    ended_t: str | None = None
    status: int | None = None
    outcome: str = "open"  # as in the end record; `complete` as soon as the provider has said its last word
    turn: int | None = None  # number of its turn in the session; None for what belongs to none
    after: int = 0  # how many exchanges of its turn had ended when it was asked
    retold: bool = False  # only tells again what other exchanges of its turn tell (codex log)

    @property
    def background(self) -> str | None:
        return self.request.background

    @property
    def model(self) -> str | None:
        """The model that answered, else the one that was asked."""
        return self.answer.model or self.request.model

    @property
    def duration_ms(self) -> float | None:
        return between(self.t, self.ended_t)


@dataclass(slots=True)
class Turn:
    """What a user asked and all that was done until the agent was idle again."""

    sid: str
    number: int  # in the session, from 1
    t: str
    prompts: list[Prompt] = field(default_factory=list)
    client: dict[str, Any] = field(default_factory=dict)
    exchanges: int = 0
    flows: dict[str, None] = field(default_factory=dict)  # ids, in order
    agents: dict[str, None] = field(default_factory=dict)  # ids of its sub-agents
    models: dict[str, None] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)
    answer: str = ""  # the last thing the model said to the user
    answer_model: str | None = None
    answer_t: str = ""  # when that was asked for
    answer_place: int = 0  # which exchange of the turn that was: the n-th that ended
    usages: dict[tuple[str, str], UsageReported] = field(default_factory=dict)  # by provider and model
    last_t: str = ""
    idle_t: str | None = None
    failed: str | None = None  # why the last exchange of the agent gave no answer
    outcome: str = "open"  # idle, interrupted (the next prompt came first), failed, open (the log ends here)

    @property
    def text(self) -> str:
        return "\n".join(prompt.text for prompt in self.prompts)

    @property
    def duration_ms(self) -> float | None:
        return between(self.t, self.idle_t)

    @property
    def usage(self) -> UsageReported:
        return total(self.usages.values())

    @property
    def sure(self) -> bool:
        return all(prompt.sure for prompt in self.prompts)


# -- updates -----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FlowOpened:
    """A flow record."""

    flow: dict[str, Any]


@dataclass(frozen=True, slots=True)
class FlowEnded:
    """An end record, with the flow's record where that is known."""

    end: dict[str, Any]
    flow: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class PartTold:
    """A request part that the session had not told before."""

    part: Part
    flow: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Asked:
    """A request is complete: what is new in it is known, its prompts are."""

    exchange: Exchange


@dataclass(slots=True)  # not frozen: there is one for each event, and a frozen one takes twice as long to make
class Said:
    """An event of an answer. Only where `Pairing(events=True)`."""

    exchange: Exchange
    event: Event
    t: str
    deltas: int = 1  # pieces that were read together as this one


@dataclass(frozen=True, slots=True)
class Answered:
    """An exchange is over, however it ended."""

    exchange: Exchange


@dataclass(frozen=True, slots=True)
class CallMade:
    """A call's arguments are complete."""

    call: Call


@dataclass(frozen=True, slots=True)
class CallClosed:
    """A call has its result, or never gets one (the session or the log is over)."""

    call: Call


@dataclass(frozen=True, slots=True)
class StrayResult:
    """A result without a call, or a second one for a call that has one."""

    result: ToolResult
    exchange: Exchange
    call: Call | None  # the one of that id, while it waits
    second: bool = False  # a call of that id has its result already


@dataclass(frozen=True, slots=True)
class TurnStarted:
    """A user asked."""

    turn: Turn


@dataclass(frozen=True, slots=True)
class TurnIdle:
    """The agent waits for its user. May come again for one turn: an agent may go on by itself."""

    turn: Turn
    t: str
    flow_id: str


@dataclass(frozen=True, slots=True)
class TurnClosed:
    """A turn is over: the next one has begun, or the log ends."""

    turn: Turn


type Update = (
    FlowOpened
    | FlowEnded
    | PartTold
    | Asked
    | Said
    | Answered
    | CallMade
    | CallClosed
    | StrayResult
    | TurnStarted
    | TurnIdle
    | TurnClosed
)
