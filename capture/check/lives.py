"""The life of a tool call, as a table: declared → arguments → complete → answered, and all that may go wrong on the way.

            DECLARED         ARGUMENTS         COMPLETED         RESULT
    none ─────────────▶ declared ─────▶ argued ─────────▶ complete ─────▶ answered
                            └───────── COMPLETED ────────────▲

A call that gets no result ends with `PASSED` (its conversation went on) or `LEFT` (its conversation ends there). A result may
also come for a call of which only the client's own history tells: `earlier`, made before the recording began.
"""

from collections.abc import Iterable, Iterator
from enum import Enum, auto
from typing import Any

from capture import providers
from capture.check.findings import Finding, Report
from capture.events import ToolArgumentsDelta, ToolCallEnded, ToolCallStarted, ToolResult
from capture.jsonl import loads
from capture.providers.base import member
from capture.requests import SAID_BEFORE
from capture.updates import Answered, Asked, Call, CallClosed, CallMade, Exchange, Part, PartTold, Said, StrayResult, Update

FREE_TEXT = frozenset(("apply_patch", "exec"))  # tools whose arguments are no JSON (codex 0.169.0); others say so when declared
CUSTOM = ("response.output_item", "turn.raw_response_item")  # how frames begin that may declare such a tool's call

OK = "ok"  # verdict on a life as it should be

type Record = dict[str, Any]
type Place = tuple[int | None, int | None]  # data_count and byte offset of a line


class State(Enum):
    """How far a call is."""

    NONE = auto()
    EARLIER = auto()
    DECLARED = auto()
    ARGUED = auto()
    COMPLETE = auto()
    ANSWERED = auto()
    OVER = auto()  # without a result


class Signal(Enum):
    """What happens to a call."""

    DECLARED = auto()
    RENAMED = auto()  # declared again, with another tool
    ARGUMENTS = auto()
    COMPLETED = auto()
    RESULT = auto()
    PASSED = auto()
    LEFT = auto()


S, X = State, Signal
NEXT = {  # what is right
    (S.NONE, X.DECLARED): S.DECLARED,
    (S.DECLARED, X.ARGUMENTS): S.ARGUED,
    (S.DECLARED, X.COMPLETED): S.COMPLETE,  # a tool that takes no arguments
    (S.ARGUED, X.COMPLETED): S.COMPLETE,
    (S.COMPLETE, X.RESULT): S.ANSWERED,
}
ODD = {  # what is not, by its name in `findings.KINDS`, and how it goes on
    (S.NONE, X.RESULT): ("stray_result", S.NONE),
    (S.EARLIER, X.RESULT): ("earlier_call", S.ANSWERED),
    (S.DECLARED, X.RESULT): ("early_result", S.ANSWERED),
    (S.ARGUED, X.RESULT): ("early_result", S.ANSWERED),
    (S.ANSWERED, X.RESULT): ("second_result", S.ANSWERED),
    (S.DECLARED, X.RENAMED): ("renamed", S.DECLARED),
    (S.ARGUED, X.RENAMED): ("renamed", S.ARGUED),
    (S.COMPLETE, X.RENAMED): ("renamed", S.COMPLETE),
    (S.COMPLETE, X.ARGUMENTS): ("late_arguments", S.COMPLETE),
    (S.DECLARED, X.PASSED): ("call_cut", S.OVER),
    (S.ARGUED, X.PASSED): ("call_cut", S.OVER),
    (S.COMPLETE, X.PASSED): ("orphan", S.OVER),
    (S.DECLARED, X.LEFT): ("call_cut", S.OVER),
    (S.ARGUED, X.LEFT): ("call_cut", S.OVER),
    (S.COMPLETE, X.LEFT): ("unanswered", S.OVER),
    (S.OVER, X.RESULT): ("stray_result", S.OVER),  # its session was too long silent to be remembered
}


def step(state: State, signal: Signal) -> tuple[State, str | None]:
    """(the state after a signal, what was odd about it)."""
    if (state, signal) in NEXT:
        return NEXT[state, signal], None
    kind, after = ODD[state, signal]
    return after, kind


def life(signals: Iterable[Signal]) -> tuple[State, list[str]]:
    """(the state at the end of a life, what was odd in it)."""
    state, odd = State.NONE, []
    for signal in signals:
        state, kind = step(state, signal)
        if kind:
            odd.append(kind)
    return state, odd


def signals(call: Call, went_on: bool) -> Iterator[Signal]:
    """What happened to a call that is closed. Of a tool that the provider runs no result is owed."""
    yield Signal.DECLARED
    if call.made.pieces:
        yield Signal.ARGUMENTS
    if call.completed_t is not None:
        yield Signal.COMPLETED
    if call.result is not None:
        yield Signal.RESULT
    elif call.completed_t is None or not call.server:
        yield Signal.PASSED if went_on else Signal.LEFT


class Lives:
    """Feeds on line records and on updates; says what was odd in the lives of the calls."""

    def __init__(self, report: Report, rows: bool = False) -> None:
        """`rows`: keeps the state table of all calls."""
        self.rows: list[Record] | None = [] if rows else None
        self.resultless: set[str] = set()  # sessions of the claude log, which tells no results
        self._report = report
        self._row_of: dict[tuple[str, str], Record] = {}  # by session and call id: the last one
        self._odd_before: dict[tuple[str, str], list[str]] = {}  # the same: what was odd before there was a row
        self._states: dict[int, State] = {}  # by session and call id: how far the last call of that id is
        self._declared: dict[str, dict[str, tuple[str, str, State]]] = {}  # by flow being answered and key: call id, tool
        self._places: dict[int, Place] = {}  # of calls that wait for their result: where they were completed
        self._asked: dict[tuple[str, str | None], str] = {}  # by session and sub-agent: when it last asked
        self._given: set[int] = set()  # request parts whose results were given: a request may be sent twice
        self._free = set(FREE_TEXT)

    def line(self, record: Record) -> None:
        """Learns which tools take free text, and which sessions tell no results."""
        event, payload = record["event"], record["payload"]
        if event.startswith("claude."):
            self.resultless.add(record["sid"])
        elif event in ("request.tools", "request.additional_tools"):
            self._free |= set(custom(payload))
        elif event.startswith(CUSTOM):
            item = member(payload, "item") or member(payload, "payload")
            if member(item, "type") == "custom_tool_call":
                self._free.add(str(member(item, "name")))

    def heard(self, update: Update, record: Record) -> None:
        """What an update says of a call; `record`: the line that it was told by, if by a line."""
        match update:
            case Said(exchange, ToolCallStarted(key, call_id, name)):
                self._named(exchange, key, call_id, name, record)
            case Said(exchange, ToolArgumentsDelta(key, text)) if text:
                self._argued(exchange, key, record)
            case Said(exchange, ToolCallEnded(key)):
                self._completed(exchange, key)
            case Answered(exchange):
                self._declared.pop(exchange.flow_id, None)
            case CallMade(call):
                self._places[hash((call.sid, call.call_id))] = _place(record)
            case CallClosed(call):
                self._closed(call)
            case StrayResult(result, exchange, _):
                self._stray(result, exchange, record)
            case Asked(exchange):
                self._given |= {hash((exchange.sid, part.id)) for part in exchange.new if part.results}
                if not exchange.background:
                    self._asked[exchange.sid, exchange.agent] = exchange.t
            case PartTold(part, flow) if part.event in SAID_BEFORE:
                self._told_before(part, flow)
            case _:
                pass

    def _named(self, exchange: Exchange, key: str, call_id: str, name: str, record: Record) -> None:
        """A call is declared; under the key of one that is open still it is that one, told again."""
        calls = self._declared.setdefault(exchange.flow_id, {})
        before, tool, state = calls.get(key, ("", "", State.NONE))
        if call_id != before:
            calls[key] = (call_id, name, step(State.NONE, Signal.DECLARED)[0])
            known = hash((exchange.sid, call_id))
            if call_id != name and self._states.get(known, State.EARLIER) is State.EARLIER:  # Gemini's calls may have no id
                self._states[known] = State.DECLARED
        elif name != tool:
            state, odd = step(state, Signal.RENAMED)
            calls[key] = (call_id, name, state)
            self._odd(odd, call_id, exchange.sid, exchange.flow_id, exchange.t, f"{tool}, then {name}", _place(record))

    def _argued(self, exchange: Exchange, key: str, record: Record) -> None:
        call_id, tool, state = self._declared.get(exchange.flow_id, {}).get(key, ("", "", State.NONE))
        if state is State.COMPLETE:
            _, odd = step(state, Signal.ARGUMENTS)
            self._odd(odd, call_id, exchange.sid, exchange.flow_id, exchange.t, tool, _place(record))

    def _completed(self, exchange: Exchange, key: str) -> None:
        calls = self._declared.get(exchange.flow_id, {})
        if key in calls:
            calls[key] = (*calls[key][:2], State.COMPLETE)

    def _told_before(self, part: Part, flow: Record) -> None:
        """A client sends back what the model said: calls that were never seen are from before the recording."""
        provider = providers.called(str(flow.get("provider")), str(flow.get("api")))
        for event in provider.decode_part(part.event, part.value):
            if isinstance(event, ToolCallStarted):
                self._states.setdefault(hash((part.sid, event.call_id)), State.EARLIER)

    def _stray(self, result: ToolResult, exchange: Exchange, record: Record) -> None:
        part = next((part for part in exchange.new if any(each is result for each in part.results)), None)
        if part and hash((exchange.sid, part.id)) in self._given:
            return
        key = hash((exchange.sid, result.call_id))
        before = self._states.get(key, State.NONE)
        state, odd = step(before, Signal.RESULT)
        if before is not State.NONE:
            self._states[key] = state
        self._odd(odd, result.call_id, exchange.sid, exchange.flow_id, exchange.t, result.call_id, _place(record))

    def _closed(self, call: Call) -> None:
        key = hash((call.sid, call.call_id))
        went_on = self._asked.get((call.sid, call.agent), "") > (call.completed_t or call.t)
        state, odd = life(signals(call, went_on))
        if call.call_id != call.name:
            self._states[key] = state
        if call.sid in self.resultless:
            odd = [kind for kind in odd if kind not in ("orphan", "unanswered")]
        is_json = call.name in self._free or _is_json(call.arguments)
        if call.completed_t is not None and not is_json:
            odd.append("bad_arguments")
        if self._report.within(call.t):
            self._report.calls += 1
            if self.rows is not None:
                self._row(call, state, is_json)
        place = self._places.pop(key, (None, None))
        for kind in odd:
            self._odd(kind, call.call_id, call.sid, call.flow_id, call.t, call.name, place)

    def _odd(self, kind: str | None, call_id: str, sid: str, flow_id: str, t: str, what: str, place: Place) -> None:
        if kind is None:
            return
        self._report.add(Finding(kind, what, flow_id, sid, t, *place, call_id=call_id))
        if self.rows is None:
            return
        if row := self._row_of.get((sid, call_id)):
            row["verdict"] = kind if row["verdict"] == OK else f"{row['verdict']}, {kind}"
        else:
            self._odd_before.setdefault((sid, call_id), []).append(kind)

    def _row(self, call: Call, state: State, is_json: bool) -> None:
        """A line of the state table. An id that comes again has a line for each call."""
        assert self.rows is not None
        before = self._odd_before.pop((call.sid, call.call_id), ())
        row = self._row_of[call.sid, call.call_id] = _row(call, state, is_json) | {"verdict": ", ".join(before) or OK}
        self.rows.append(row)


def custom(tools: Any) -> Iterator[str]:
    """Names of the tools that take free text, of a request's definitions."""
    stack = [tools]
    while stack:
        value = stack.pop()
        if isinstance(value, list):
            stack += value
        elif isinstance(value, dict):
            if value.get("type") == "custom" and isinstance(value.get("name"), str) and "input_schema" not in value:
                yield value["name"]
            stack += [each for each in value.values() if isinstance(each, list)]


def _place(record: Record) -> Place:
    return record.get("data_count"), record.get("offset")


def _row(call: Call, state: State, is_json: bool) -> Record:
    """A line of the state table."""
    return {
        "call_id": call.call_id,
        "tool": call.name,
        "declared": call.t,
        "arguments": len(call.arguments),
        "json": is_json,
        "complete": call.completed_t,
        "result": call.result_t,
        "failed": bool(call.result and call.result.is_error),
        "duration_ms": call.duration_ms,
        "state": state.name.lower(),
        "verdict": OK,
        "flow_id": call.flow_id,
        "sid": call.sid,
    }


def _is_json(text: str) -> bool:
    try:
        loads(text or "{}")
    except ValueError:
        return False
    return True
