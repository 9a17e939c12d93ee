"""The contract of a kind: what it takes of what pairing tells, and the rows it makes of that.

A kind is a pure function from one value to rows; what it needs decoded is decoded once for all kinds (`PartRead`, `CallRead`).
The few that count over the whole run have an object with `feed` and `close`. A row is a plain dictionary; its `TypedDict` names
its fields in their order, with a docstring each, and costs nothing until somebody asks for the model (`model_of`).
"""

import ast
import inspect
import json
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from types import UnionType, get_original_bases
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypedDict, get_args, get_origin, get_type_hints, is_typeddict

import orjson

from capture import providers
from capture.events import TextDelta
from capture.providers.base import Holds
from capture.toolcalls import parsed
from capture.updates import (
    Answered,
    Asked,
    Call,
    CallClosed,
    CallMade,
    Exchange,
    FlowEnded,
    FlowOpened,
    Part,
    PartTold,
    StrayResult,
    TurnClosed,
    TurnIdle,
    TurnStarted,
    Update,
)

if TYPE_CHECKING:
    from pydantic import BaseModel

type Row = Mapping[str, object]

TOOLS = ("request.tools", "request.additional_tools")
MADE = Holds.REQUEST | Holds.BOUND | Holds.CALL | Holds.ARGUMENTS  # what is needed to know requests, prompts and calls


class Text(NamedTuple):
    """A text of a request part."""

    role: str
    text: str


@dataclass(frozen=True, slots=True)
class PartRead:
    """A `PartTold` with its texts decoded; those of tool results have the role `tool`. What the model had said is left out."""

    part: Part
    flow: dict[str, Any]
    texts: tuple[Text, ...]


@dataclass(frozen=True, slots=True)
class CallRead:
    """A `CallClosed` with its arguments decoded: their JSON value, or their text where they are none."""

    call: Call
    text: str
    arguments: Any


type Seen = Update | PartRead | CallRead


class Counting(Protocol):
    """A kind over a whole run."""

    def feed(self, seen: Any) -> Iterable[Row]: ...

    def close(self) -> Iterable[Row]: ...


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of facts. Either `rows` or `start` is given."""

    name: str
    help: str
    row: type  # the TypedDict of its rows
    takes: tuple[type, ...]
    rows: Callable[[Any], Iterable[Row]] | None = None  # pure
    start: Callable[[], Counting] | None = None  # for what can only be said of the whole run
    holds: Holds = Holds.ALL  # what of the log it needs


# -- one pass ----------------------------------------------------------------------------------------------------------------


class Pass:
    """All kinds in one pass: each update goes to those that take it. `within`: whether a time of the log is asked for."""

    def __init__(self, kinds: Iterable[Kind], within: Callable[[str], bool] | None = None) -> None:
        self._within = within
        self._takers: dict[type, list[tuple[str, Callable[[Any], Iterable[Row]]]]] = {}
        self._counting: list[tuple[str, Counting]] = []
        for kind in kinds:
            take = kind.rows
            if kind.start:
                self._counting.append((kind.name, counting := kind.start()))
                take = counting.feed
            for taken in kind.takes if take else ():
                self._takers.setdefault(taken, []).append((kind.name, take))  # type: ignore[arg-type]

    def feed(self, update: Update) -> Iterator[tuple[str, Row]]:
        """(kind, row) of all that an update says."""
        if self._within and not self._within(_time(update)):
            return
        for name, rows in self._takers.get(type(update), ()):
            for row in rows(update):
                yield name, row
        if isinstance(update, PartTold) and (takers := self._takers.get(PartRead)):
            part = read_part(update)
            for name, rows in takers if part.texts else ():
                for row in rows(part):
                    yield name, row
        elif isinstance(update, CallClosed) and (takers := self._takers.get(CallRead)):
            call = read_call(update.call)
            for name, rows in takers:
                for row in rows(call):
                    yield name, row

    def close(self) -> Iterator[tuple[str, Row]]:
        """What could only be said at the end."""
        for name, counting in self._counting:
            for row in counting.close():
                yield name, row


def _time(update: Update) -> str:
    """When what an update speaks of began: an exchange when it was asked, a call when it was declared."""
    match update:
        case Asked(exchange) | Answered(exchange) | StrayResult(_, exchange, _):
            return exchange.t
        case CallMade(call) | CallClosed(call):
            return call.t
        case PartTold(part):
            return part.t
        case FlowOpened(flow):
            return str(flow.get("t", ""))
        case FlowEnded(end, flow):
            return str((flow or end).get("t", ""))
        case TurnStarted(turn) | TurnIdle(turn) | TurnClosed(turn):
            return turn.t
        case _:
            return ""


def read_part(told: PartTold) -> PartRead:
    """The texts of a part, but for tools and for what the model had said: nobody asks for those."""
    part, flow = told.part, told.flow
    if part.event in TOOLS or part.said_before:
        return PartRead(part, flow, ())
    provider = _provider(part.value, flow)
    told_texts = [Text(e.role, e.text) for e in provider.decode_part(part.event, part.value) if isinstance(e, TextDelta)]
    return PartRead(part, flow, (*told_texts, *(Text("tool", result.text) for result in part.results if result.text)))


def _provider(value: Any, flow: dict[str, Any]) -> providers.Provider:
    """Whose words a part is in: its flow's, else, in a file of lines alone, whose form it has."""
    provider = providers.called(str(flow.get("provider")), str(flow.get("api")))
    if provider is not providers.UNKNOWN:
        return provider
    if isinstance(value, dict) and "parts" in value:
        return providers.called("gemini", "generate_content")
    if isinstance(value, dict) and "type" in value:
        return providers.called("openai", "responses")
    return providers.called("anthropic", "messages")


def read_call(call: Call) -> CallRead:
    text = call.arguments
    return CallRead(call, text, parsed(text))


# -- what rows begin with ------------------------------------------------------------------------------------------------------


class Head(TypedDict):
    t: str
    """when: of an exchange when it was asked, of a call when the model declared it, of a part when it was first sent; local time"""
    sid: str
    """the session"""
    flow_id: str
    """the flow it was said in"""


class PartHead(Head):
    part: str
    """the request part: `request.system`, `request.user` …"""
    part_id: str
    """its content hash: the same text again, in the same session, is no new row"""


class ExchangeHead(Head):
    number: int
    """of the exchange in its flow, from 0: an HTTP flow has one, a WebSocket many"""
    turn: int | None
    """of the session, from 1; null for what belongs to none"""
    agent: str | None
    """the sub-agent that asked; null: the agent itself"""
    background: str | None
    """why no user waited for it: title, quota, prewarm …; null: somebody did"""
    model: str | None
    """the model that answered, else the one that was asked"""


class CallHead(Head):
    agent: str | None
    """the sub-agent that made the call; null: the agent itself"""
    call_id: str
    """what a result refers to; the tool's name where a provider gives no ids"""
    name: str
    """of the tool"""


def part_head(part: Part) -> PartHead:
    return {"t": part.t, "sid": part.sid, "flow_id": part.flow_id, "part": part.event, "part_id": part.id}


def exchange_head(exchange: Exchange) -> ExchangeHead:
    return {
        "t": exchange.t,
        "sid": exchange.sid,
        "flow_id": exchange.flow_id,
        "number": exchange.number,
        "turn": exchange.turn,
        "agent": exchange.agent,
        "background": exchange.request.background,
        "model": exchange.model,
    }


def call_head(call: Call) -> CallHead:
    return {
        "t": call.t,
        "sid": call.sid,
        "flow_id": call.flow_id,
        "agent": call.agent,
        "call_id": call.call_id,
        "name": call.name,
    }


def flow_head(flow: Mapping[str, Any]) -> Head:
    return {"t": str(flow.get("t", "")), "sid": str(flow.get("sid", "")), "flow_id": str(flow.get("flow_id", ""))}


def word(value: object) -> str | None:
    return value if isinstance(value, str) else None


def number(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def pairs(value: object) -> list[list[str]]:
    """Headers of a record, [name, value]; what is none is left out."""
    found = value if isinstance(value, list) else []
    return [pair for pair in found if isinstance(pair, list) and len(pair) == 2 and all(isinstance(each, str) for each in pair)]


def json_line(value: object) -> bytes:
    """A value as a line of JSON; also what orjson refuses, lone surrogates and long integers, which a log may hold."""
    try:
        return orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE)
    except orjson.JSONEncodeError:
        return json.dumps(value, separators=(",", ":"), default=str).encode() + b"\n"


def digest(text: str) -> str:
    """SHA-256 of a text, hex."""
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


# -- models ------------------------------------------------------------------------------------------------------------------


class Field(NamedTuple):
    name: str
    annotation: Any
    says: str


def fields_of(kind: Kind) -> list[Field]:
    """The fields of a kind's rows, in their order."""
    says = _docs(kind.row)
    return [Field(name, annotation, says.get(name, "")) for name, annotation in get_type_hints(kind.row).items()]


def model_of(kind: Kind) -> "type[BaseModel]":
    """The pydantic model of a kind's rows. It costs 50 ms to import: only for who asks."""
    from pydantic import ConfigDict, Field, create_model

    fields: dict[str, Any] = {name: (hint, Field(description=says)) for name, hint, says in fields_of(kind)}
    return create_model(kind.name, __config__=ConfigDict(extra="forbid"), __doc__=kind.help, **fields)


def type_name(annotation: Any) -> str:
    """A type in JSON's words."""
    names = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null", Any: "any"}
    if annotation in names:
        return names[annotation]
    if isinstance(annotation, UnionType):
        return " or ".join(type_name(option) for option in get_args(annotation))
    return "array" if get_origin(annotation) is list else "object"


def _docs(row: type) -> dict[str, str]:
    """The docstring of each field: the text that stands below it."""
    found: dict[str, str] = {}
    for base in get_original_bases(row):
        if is_typeddict(base):
            found |= _docs(base)
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(row))).body
    assert isinstance(tree, ast.ClassDef)
    for field, below in zip(tree.body, tree.body[1:], strict=False):
        match field, below:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                found[name] = inspect.cleandoc(text)
    return found
