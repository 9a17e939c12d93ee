"""What pairing remembers of sessions, their conversations and open flows; and what in a request is new to them."""

import re
from collections import Counter, OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from capture.events import ImageSeen, TextDelta, ToolResult, UsageReported
from capture.jsonl import loads
from capture.messages import SUMMARY, Assembler, typed
from capture.providers import Provider
from capture.requests import SAID_BEFORE, Request
from capture.updates import Call, Exchange, Part, Turn

ZONE = 900  # seconds: all time zones are whole quarters of an hour from Greenwich
NO_REQUEST = Request({})
INSTRUCTIONS = ("request.system", "request.developer")
KEPT = 200  # characters of a result that are remembered
RANDOM = re.compile(  # ids of calls that do not come again
    r"(?:toolu|srvtoolu|tooluse|call|fc|ctc|chatcmpl-tool)[_-][A-Za-z0-9_-]{16,}|[0-9a-f]{8}-[0-9a-f-]{27}"
)


@dataclass(slots=True, eq=False)
class History:
    """One conversation: the ids of what was said in it so far."""

    ids: tuple[str, ...]
    agent: str | None = None  # the sub-agent whose conversation it is
    answered: bool = False  # its last request has its answer: the same request once more is no retry


@dataclass(slots=True)
class Flow:
    """A flow while it is open."""

    id: str
    sid: str
    record: dict[str, Any] | None  # its flow record, where there is one
    provider: Provider
    client: dict[str, Any]
    agent: str | None = None
    waits: Request | None = None  # an HTTP request whose parts are still being told
    told: list[Part] = field(default_factory=list)  # parts told since the last request
    history: History | None = None  # its conversation
    asked: Request | None = None  # its last request
    failed: bool = False  # that one got no answer
    exchange: Exchange | None = None  # the one being answered
    assembler: Assembler | None = None
    calls: dict[str, Call] = field(default_factory=dict)  # of that answer, by key
    count: int = 0  # exchanges so far

    @property
    def status(self) -> int | None:
        return self.record.get("status") if self.record else None

    @property
    def is_socket(self) -> bool:
        """Whether several answers may come."""
        return self.record is None or self.record.get("transport") == "websocket"

    @property
    def ends_by_record(self) -> bool:
        """Whether its answer ends with the end record: Gemini has no last word, and may count tokens after its reason to stop."""
        return self.record is not None and self.provider.last_word == "finishReason"


@dataclass(slots=True)
class Session:
    """What is remembered of a session and of the sub-agents that work for it."""

    sid: str
    parts: dict[str, Part] = field(default_factory=dict)
    histories: list[History] = field(default_factory=list)
    calls: OrderedDict[str, list[Call]] = field(default_factory=OrderedDict)  # by call id; without ids of its own (Gemini) by name
    answered: set[str] = field(default_factory=set)  # call ids that have their result
    turn: Turn | None = None
    turns: int = 0
    firsthand: bool = False  # answers were heard first-hand: retellings of them say nothing new
    retold: list[Exchange] = field(default_factory=list)  # retellings, until it is known that they are all there is
    given: tuple[int, str] | None = None  # the last prompt a client told of: (which telling, text)
    running: UsageReported | None = None  # the sum over the session that a client last told of
    counted: UsageReported = field(default_factory=UsageReported)  # what of it is in answers already


def continued(session: Session, ids: tuple[str, ...]) -> History | None:
    """The conversation that a request goes on with: the one it has most of in common, more than instructions."""
    best, most = None, 0
    for history in session.histories:
        length = len(history.ids) if ids[: len(history.ids)] == history.ids else _common(history.ids, ids)
        if length > most and any(part.event not in INSTRUCTIONS for part in map(session.parts.get, ids[:length]) if part):
            best, most = history, length
    return best


def new_in(session: Session, request: Request, before: History | None) -> list[Part]:
    """The parts of a request that its conversation did not have yet, in order."""
    ids = request.said
    if request.previous is not None or before is None:
        return known(session, ids)
    same = len(before.ids) if ids[: len(before.ids)] == before.ids else _common(before.ids, ids)
    if before.answered and ids == before.ids:
        return after_the_answer(known(session, ids))  # asked, answered, and asked again
    rest = Counter(before.ids[same:])
    fresh = []
    for part_id in ids[same:]:
        if rest[part_id]:
            rest[part_id] -= 1
        else:
            fresh.append(part_id)
    return known(session, fresh)


def known(session: Session, ids: Iterable[str]) -> list[Part]:
    return [session.parts[part_id] for part_id in ids if part_id in session.parts]


def _common(one: tuple[str, ...], other: tuple[str, ...]) -> int:
    """How many ids two conversations begin with in common."""
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def after_the_answer(parts: list[Part]) -> list[Part]:
    """What a request says after the last thing that the model had said."""
    last = max((i for i, part in enumerate(parts) if part.said_before), default=-1)
    return parts[last + 1 :]


def read_part(provider: Provider, part_id: str, event: str, t: str, flow: Flow, value: Any) -> Part:
    """A part, with what a human wrote in it and the results it holds."""
    human: list[str] = []
    results: list[ToolResult] = []
    images = summary = False
    for said in () if event in SAID_BEFORE or event == "request.tools" else provider.decode_part(event, value):
        match said:
            case TextDelta(text, "user"):
                summary = summary or text.startswith(SUMMARY)
                if (text := typed(text)).strip():
                    human.append(text)
            case ToolResult():
                results.append(said)
            case ImageSeen(role="user"):
                images = True
    if images and not human and not results:
        human.append("[image]")
    return Part(part_id, event, t, flow.sid, flow.id, value, "\n".join(human) or None, tuple(results), summary)


def remembered(result: ToolResult) -> ToolResult:
    """A result as it is kept once it was told: of a long one the beginning.

    Where ids of calls come again, as of local servers (`call_0`), all of it: it may be told once more without being said.
    """
    if len(result.text) <= KEPT or not RANDOM.fullmatch(result.call_id):
        return result
    return replace(result, text=result.text[:KEPT])


def given_by_a_call(session: Session, parts: list[Part]) -> str | None:
    """The call that gave a sub-agent its task, word for word: some clients tell their sub-agents by nothing else."""
    texts = {part.human.strip() for part in after_the_answer(parts) if part.human}
    if not texts:
        return None
    beginnings = _as_json(texts)
    made = [call for calls in session.calls.values() for call in calls]
    if session.turn:
        made += session.turn.calls  # a task in the background is answered at once
    for call in made:
        if any(text in call.arguments for text in beginnings) and _says_exactly(call.arguments, texts):
            return call.call_id
    return None


def _as_json(texts: Iterable[str]) -> list[str]:
    """How the texts begin inside a JSON string, near enough to tell that they cannot stand there."""
    return [text[:20].split("\n")[0].split('"')[0].split("\\")[0] for text in texts]


def _says_exactly(arguments: str, texts: set[str]) -> bool:
    try:
        value = loads(arguments)
    except ValueError:
        return False
    return isinstance(value, dict) and any(isinstance(each, str) and each.strip() in texts for each in value.values())


def asks_again(one: Request, other: Request) -> bool:
    """Whether a socket asks the same again."""
    return one.previous is not None and (one.previous, one.said) == (other.previous, other.said)


def as_told(told: list[Part]) -> Request:
    """A request whose references are not in what is read, as the parts that were told just before it: what is new in it."""
    return replace(
        NO_REQUEST, said=tuple(part.id for part in told if part.event not in ("request.system", "request.tools")), previous=""
    )


def asked_at(record: dict[str, Any]) -> str:
    """When the request of a flow began, in the time of the machine that recorded it (its `t` is that of the answer's headers)."""
    t, started = str(record.get("t")), record.get("started")
    try:
        local = datetime.fromisoformat(t).replace(tzinfo=UTC).timestamp()
        zone = (local - float(started or local) + 1) // ZONE * ZONE
        return datetime.fromtimestamp(float(started or local) + zone, UTC).isoformat(timespec="milliseconds")[:-6]
    except (ValueError, TypeError, OverflowError):
        return t
