"""Which sessions there are and how each is doing: one row for a session, its sub-agents' work included.

Pure: times are those of the log (local, `YYYY-MM-DDTHH:MM:SS.mmm`), also the `now` that a state depends on.
"""

from dataclasses import dataclass, field
from enum import Enum
from itertools import count
from typing import assert_never

from capture.costs import Price
from capture.events import Event, Failed, ReasoningDelta, ReasoningWhole, TextDelta, TextWhole
from capture.toolcalls import about
from capture.turns import BROKEN
from capture.updates import (
    Answered,
    Asked,
    Call,
    CallClosed,
    CallMade,
    Exchange,
    FlowEnded,
    FlowOpened,
    PartTold,
    Said,
    StrayResult,
    TurnClosed,
    TurnIdle,
    TurnStarted,
    Update,
    between,
)

MAX_SESSIONS = 200  # rows; the one longest silent goes first
MAX_OPEN = 64  # calls and answers of one session that are remembered as open
WORDS = 400  # characters of the last words that are kept: more than a row can show
SILENT = 60  # seconds without a word after which an answer that is still open is called quiet
ABANDONED = 3600  # seconds after which nobody waits for a tool any more
NEAR = 15  # seconds: who spoke so recently speaks now, so rows of working agents keep their places


class State(Enum):
    """How a session is doing."""

    WORKING = "working"
    WAITING = "waiting for a tool"
    FAILED = "failed"
    IDLE = "idle"
    QUIET = "quiet"  # it should be working, but nothing is heard


@dataclass(slots=True)
class Session:
    """What is known of one session."""

    sid: str
    number: int  # in order of appearance, from 1
    client: str | None = None
    version: str | None = None
    cwd: str | None = None
    model: str | None = None  # of the agent itself, not of its sub-agents
    input: int = 0  # tokens, of all requests
    output: int = 0
    cost: float = 0.0  # dollars, of what has a price
    unpriced: int = 0  # answers without one
    context: int | None = None  # tokens of the agent's conversation after its last answer
    turns: int = 0
    answering: dict[tuple[str, int], str | None] = field(default_factory=dict)  # (flow, number) of an open answer → sub-agent
    calls: list[Call] = field(default_factory=list)  # that wait for their tool
    words: str = ""  # the last that was said or done
    voice: str = ""  # who said it: user, assistant, reasoning, tool, bad
    failed: str | None = None  # why the last answer was none
    idle: bool = False
    first_t: str = ""
    last_t: str = ""
    _block: tuple[str, ...] = ()  # the block that `words` are of

    @property
    def agents(self) -> int:
        """How many sub-agents are answering."""
        return len({agent for agent in self.answering.values() if agent})

    def silent(self, now: str) -> float:
        """Seconds since it was last heard of."""
        return max((between(self.last_t, now) or 0.0) / 1000, 0.0)

    def state(self, now: str) -> State:
        if self.failed is not None:
            return State.FAILED
        if self.answering:
            return State.WORKING if self.silent(now) < SILENT else State.QUIET
        if self.calls:
            return State.WAITING if self.silent(now) < ABANDONED else State.QUIET
        return State.IDLE if self.idle else State.QUIET

    def say(self, voice: str, text: str, block: tuple[str, ...] = ()) -> None:
        """New last words; those of one block go on."""
        if block and (voice, *block) == self._block:
            self.words = (self.words + text)[-WORDS:]
        elif text.strip():
            self.voice, self.words, self._block = voice, text[-WORDS:] if block else text[:WORDS], (voice, *block)


class Board:
    """The sessions, from what pairing tells (`Pairing(events=True)`)."""

    def __init__(self, price: Price) -> None:
        self._price = price
        self._sessions: dict[str, Session] = {}
        self._homes: dict[str, str] = {}  # session of a sub-agent → session it works for
        self._numbers = count(1)

    def feed(self, update: Update) -> None:
        match update:
            case Said(exchange, event, t):
                self._said(self._of(exchange), exchange, event, t)
            case Asked(exchange):
                self._asked(self._of(exchange), exchange)
            case Answered(exchange):
                self._answered(self._of(exchange), exchange)
            case CallMade(call):
                self._made(self._session(call.sid, call.completed_t or call.t), call)
            case CallClosed(call):
                session = self._session(call.sid, call.result_t or "")
                session.calls = [each for each in session.calls if each is not call]
            case TurnStarted(turn):
                session = self._session(turn.sid, turn.t)
                session.turns = turn.number
                session.calls.clear()  # what was open then is not waited for any more
                session.idle, session.failed = False, None
                session.say("user", turn.text)
            case TurnIdle(turn, t):
                session = self._session(turn.sid, t)
                session.idle = True
                session.calls.clear()
                session.answering = {key: agent for key, agent in session.answering.items() if agent}
            case TurnClosed(turn):
                self._session(turn.sid, turn.last_t)
            case FlowOpened(flow):
                self._opened(flow)
            case FlowEnded(end):
                self._session(str(end.get("sid")), str(end.get("t")))
            case PartTold() | StrayResult():
                pass
            case _:
                assert_never(update)

    def home(self, sid: str) -> str:
        """The session whose row shows what is said in a session."""
        return self._homes.get(sid, sid)

    def session(self, sid: str) -> Session | None:
        return self._sessions.get(self.home(sid))

    def sessions(self, now: str) -> list[Session]:
        """All sessions, the one last heard of first; those that speak right now in order of appearance, the newest first."""

        def order(session: Session) -> tuple[bool, str, int]:
            speaks = session.silent(now) < NEAR
            return speaks, "" if speaks else session.last_t, session.number

        return sorted(self._sessions.values(), key=order, reverse=True)

    # -- updates -----------------------------------------------------------------------------------------------------------------

    def _opened(self, flow: dict[str, object]) -> None:
        sid, client = str(flow.get("sid")), flow.get("client")
        parent = client.get("parent_id") if isinstance(client, dict) else None
        if isinstance(parent, str) and parent != sid and self.home(parent) in self._sessions and sid not in self._sessions:
            self._homes[sid] = self.home(parent)
        self._session(sid, str(flow.get("t")))

    def _asked(self, session: Session, exchange: Exchange) -> None:
        if exchange.background:
            return
        _know(session, exchange)
        session.answering[exchange.flow_id, exchange.number] = exchange.agent
        if len(session.answering) > MAX_OPEN:
            del session.answering[next(iter(session.answering))]
        session.idle = False
        if not exchange.agent:
            session.failed = None

    def _said(self, session: Session, exchange: Exchange, event: Event, t: str) -> None:
        session.last_t = max(session.last_t, t)
        if exchange.background or getattr(event, "again", 0) != 0:
            return
        if (exchange.flow_id, exchange.number) not in session.answering:
            self._asked(session, exchange)  # its request was not seen
        block = (exchange.flow_id, str(exchange.number), getattr(event, "key", ""))
        match event:
            case TextDelta(text, "assistant"):
                session.say("assistant", text, block)
            case ReasoningDelta(text):
                session.say("reasoning", text, block)
            case TextWhole(text) if session._block != ("assistant", *block):
                session.say("assistant", text, block)
            case ReasoningWhole(text) if session._block != ("reasoning", *block):
                session.say("reasoning", text, block)
            case Failed(kind, message):
                session.say("bad", f"{kind}: {message}")

    def _answered(self, session: Session, exchange: Exchange) -> None:
        session.answering.pop((exchange.flow_id, exchange.number), None)
        if usage := exchange.answer.usage:
            cost = self._price(exchange.provider, exchange.model, usage, exchange.t)
            session.input += usage.input
            session.output += usage.output or 0
            session.cost += cost or 0.0
            session.unpriced += cost is None
        if exchange.background:
            return
        _know(session, exchange)
        if exchange.agent:
            return
        if usage:
            session.context = usage.input + (usage.output or 0)
        session.failed = why_failed(exchange)
        if session.failed:
            session.say("bad", session.failed)
        session.idle = exchange.outcome == "client_closed"  # the user stopped it; TurnIdle says when it has finished

    def _made(self, session: Session, call: Call) -> None:
        if not call.server and not any(each is call for each in session.calls):
            session.calls = [*session.calls, call][-MAX_OPEN:]
        session.say("tool", f"{call.name} {about(call.name, call.arguments)}".rstrip())

    # -- sessions ----------------------------------------------------------------------------------------------------------------

    def _of(self, exchange: Exchange) -> Session:
        return self._session(exchange.sid, exchange.ended_t or exchange.t)

    def _session(self, sid: str, t: str) -> Session:
        sid = self.home(sid)
        session = self._sessions.get(sid)
        if session is None:
            session = self._sessions[sid] = Session(sid, next(self._numbers), first_t=t)
            self._forget(sid)
        session.last_t = max(session.last_t, t)
        return session

    def _forget(self, newest: str) -> None:
        if len(self._sessions) > MAX_SESSIONS:
            oldest = min((sid for sid in self._sessions if sid != newest), key=lambda sid: self._sessions[sid].last_t)
            del self._sessions[oldest]
            self._homes = {sid: home for sid, home in self._homes.items() if home != oldest}


def _know(session: Session, exchange: Exchange) -> None:
    """Takes what an exchange says about its client and its model."""
    client = exchange.client
    session.client = session.client or client.get("name")
    session.version = session.version or client.get("version")
    session.cwd = session.cwd or client.get("cwd")
    if exchange.model and (not exchange.agent or not session.model):
        session.model = exchange.model


def why_failed(exchange: Exchange) -> str | None:
    """Why an exchange gave no answer; None when it did, or when its user stopped it."""
    if exchange.answer.failed:
        return exchange.answer.failed
    if exchange.status is not None and exchange.status >= 400:
        return f"HTTP {exchange.status}"
    return exchange.outcome.replace("_", " ") if exchange.outcome in BROKEN else None
