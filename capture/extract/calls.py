"""What is said of each tool call: what was asked, what came of it, where it went wrong."""

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from typing import Any, TypedDict

from capture.events import ToolResult
from capture.extract.base import MADE, CallHead, CallRead, Head, Kind, call_head
from capture.toolcalls import file_edits as edits_of
from capture.toolcalls import shell_command, sort_of
from capture.updates import Answered, Asked, Call, CallClosed, StrayResult

MAX_FLOWS = 20_000  # flows whose exchanges are remembered


class ToolCallRow(CallHead):
    arguments: Any
    """the JSON value; the text where it is none (custom tools, calls that were cut)"""
    status: str
    """ok, error (its result says so), unanswered (no result in the log), cut (its arguments are not complete)"""
    server: bool
    """whether the provider runs the tool"""
    completed_t: str | None
    """when its arguments were complete"""
    result_t: str | None
    """when its result was sent to the model"""
    duration_ms: float | None
    """from complete to answered: as the client says, else as seen on the wire (with what the user was asked)"""


def tool_calls(read: CallRead) -> Iterator[ToolCallRow]:
    call = read.call
    yield {
        **call_head(call),
        "arguments": read.arguments,
        "status": _status(call),
        "server": call.server,
        "completed_t": call.completed_t,
        "result_t": call.result_t,
        "duration_ms": call.duration_ms,
    }


class ToolResultRow(Head):
    call_id: str
    """the call that it answers"""
    name: str | None
    """of that call's tool; null for a result without a call"""
    agent: str | None
    """the sub-agent that made the call"""
    text: str
    """what the tool said; of images nothing"""
    bytes: int
    """of that text in UTF-8"""
    is_error: bool
    """whether the result says that it failed"""
    exit_code: int | None
    """of a command, where the client says it"""
    seconds: float | None
    """how long it ran, where the client says it"""
    made_flow: str | None
    """the flow that made the call"""


def tool_results(update: CallClosed | StrayResult) -> Iterator[ToolResultRow]:
    if isinstance(update, StrayResult):
        exchange, call = update.exchange, update.call
        yield _result(update.result, exchange.t, exchange.sid, exchange.flow_id, call)
    elif (result := update.call.result) is not None:
        call = update.call
        yield _result(result, call.result_t or call.t, call.sid, call.result_flow or call.flow_id, call)


def _result(result: ToolResult, t: str, sid: str, flow_id: str, call: Call | None) -> ToolResultRow:
    return {
        "t": t,
        "sid": sid,
        "flow_id": flow_id,
        "call_id": result.call_id,
        "name": call.name if call else result.name,
        "agent": call.agent if call else None,
        "text": result.text,
        "bytes": len(result.text) if result.text.isascii() else len(result.text.encode("utf-8", "surrogatepass")),
        "is_error": result.is_error,
        "exit_code": result.exit_code,
        "seconds": result.seconds,
        "made_flow": call.flow_id if call else None,
    }


class ShellCommandRow(CallHead):
    command: str
    """as one would type it; of `bash -lc LINE` the line"""
    status: str
    """as in `tool_calls`"""
    exit_code: int | None
    """where the client says it"""
    duration_ms: float | None
    """as in `tool_calls`"""
    output_chars: int | None
    """of what it printed; null without a result"""


def shell_commands(read: CallRead) -> Iterator[ShellCommandRow]:
    call = read.call
    if (command := shell_command(call.name, read.arguments)) is not None:
        result = call.result
        yield {
            **call_head(call),
            "command": command,
            "status": _status(call),
            "exit_code": result.exit_code if result else None,
            "duration_ms": call.duration_ms,
            "output_chars": len(result.text) if result else None,
        }


class FileEditRow(CallHead):
    path: str
    """as the model named it"""
    action: str
    """add, write (the whole file), edit, delete, move"""
    added: int
    """lines that come"""
    removed: int
    """lines that go, where the call says them"""
    status: str
    """as in `tool_calls`"""


def file_edits(read: CallRead) -> Iterator[FileEditRow]:
    call = read.call
    for edit in edits_of(call.name, read.arguments):
        yield {
            **call_head(call),
            "path": edit.path,
            "action": edit.action,
            "added": edit.added,
            "removed": edit.removed,
            "status": _status(call),
        }


class CallErrorRow(CallHead):
    problem: str
    """error (the result says so), no_json (arguments), cut (arguments), unanswered, stray_result (no call, or answered already)"""
    text: str
    """the result, or the arguments"""


def function_call_errors(seen: CallRead | StrayResult) -> Iterator[CallErrorRow]:
    if isinstance(seen, StrayResult):
        yield _stray(seen)
        return
    call, head = seen.call, call_head(seen.call)
    if isinstance(seen.arguments, str) and seen.text.lstrip()[:1] in ("{", "["):  # a custom tool's free text is no fault
        yield {**head, "problem": "no_json" if call.completed_t else "cut", "text": seen.text}
    elif call.completed_t is None:
        yield {**head, "problem": "cut", "text": seen.text}
    if call.result and call.result.is_error:
        yield {**head, "problem": "error", "text": call.result.text}
    elif call.result is None and call.completed_t is not None and not call.server:
        yield {**head, "problem": "unanswered", "text": seen.text}


def _stray(update: StrayResult) -> CallErrorRow:
    exchange, call, result = update.exchange, update.call, update.result
    return {
        "t": exchange.t,
        "sid": exchange.sid,
        "flow_id": exchange.flow_id,
        "agent": exchange.agent,
        "call_id": result.call_id,
        "name": (call.name if call else result.name) or "",
        "problem": "stray_result",
        "text": result.text,
    }


def _status(call: Call) -> str:
    if call.result:
        return "error" if call.result.is_error else "ok"
    return "unanswered" if call.completed_t else "cut"


# -- over the run ------------------------------------------------------------------------------------------------------------


class CallLinkageRow(CallHead):
    number: int | None
    """of the exchange that made it, in its flow; null where that is not in the log"""
    turn: int | None
    """of the session"""
    result_flow: str | None
    """the flow whose request carried the result"""
    result_number: int | None
    """of that exchange, in its flow"""
    result_t: str | None
    """when that was"""
    results: int
    """results told: 1 is right; a second one is in `function_call_errors`"""


class Linkage:
    """Calls with the exchange that made them and the one that carried their result, which is known a little later."""

    def __init__(self) -> None:
        self._told: OrderedDict[str, list[tuple[str, int, int | None]]] = OrderedDict()  # by flow: (asked, number, turn)
        self._carried: dict[str, list[CallLinkageRow]] = {}  # by flow: rows whose result's exchange is about to be told

    def feed(self, update: Asked | Answered | CallClosed) -> Iterable[CallLinkageRow]:
        if isinstance(update, CallClosed):
            row = self._row(update.call)
            if row["result_flow"] is None or update.call.server:
                yield row
            else:
                self._carried.setdefault(row["result_flow"], []).append(row)
            return
        exchange = update.exchange
        told = self._told.setdefault(exchange.flow_id, [])
        if not told or told[-1][1] != exchange.number:
            told.append((exchange.t, exchange.number, exchange.turn))
        if len(self._told) > MAX_FLOWS:
            self._told.popitem(last=False)
        for row in self._carried.pop(exchange.flow_id, ()):
            row["result_number"] = exchange.number
            yield row

    def close(self) -> Iterable[CallLinkageRow]:
        for rows in self._carried.values():
            yield from rows

    def _row(self, call: Call) -> CallLinkageRow:
        told = self._told.get(call.flow_id, ())
        _, number, turn = next((each for each in reversed(told) if each[0] <= call.t), (None, None, None))
        return {
            **call_head(call),
            "number": number,
            "turn": turn,
            "result_flow": call.result_flow,
            "result_number": number if call.server and call.result else None,
            "result_t": call.result_t,
            "results": call.results,
        }


class ToolUsageRow(TypedDict):
    t: str
    """of the first call; local time"""
    sid: str
    """the session"""
    name: str
    """of the tool"""
    sort: str | None
    """what the tool is for: shell, edit, read, search, web, agent, plan; null where that is not known"""
    last_t: str
    """of the last call"""
    calls: int
    """calls that were made"""
    answered: int
    """that have a result"""
    errors: int
    """whose result says that they failed"""
    unanswered: int
    """that have none: the log ends before, or the call was cut"""
    duration_ms: float
    """of all that have one, together"""
    mean_ms: float | None
    """of those"""
    max_ms: float | None
    """the longest"""
    arguments_chars: int
    """of all arguments"""
    result_chars: int
    """of all results"""


class ToolUsage:
    """Calls counted by session and tool."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, str], ToolUsageRow] = {}
        self._timed: dict[tuple[str, str], int] = {}  # calls with a duration

    def feed(self, read: CallRead) -> Iterable[ToolUsageRow]:
        call = read.call
        key = (call.sid, call.name)
        row = self._rows.get(key) or self._rows.setdefault(key, _nothing(call))
        row["t"], row["last_t"] = min(row["t"], call.t), max(row["last_t"], call.t)
        row["calls"] += 1
        row["arguments_chars"] += len(read.text)
        if call.result:
            row["answered"] += 1
            row["errors"] += call.result.is_error
            row["result_chars"] += len(call.result.text)
        else:
            row["unanswered"] += 1
        if (duration := call.duration_ms) is not None:
            self._timed[key] = self._timed.get(key, 0) + 1
            row["duration_ms"] = round(row["duration_ms"] + duration, 3)
            row["max_ms"] = max(row["max_ms"] or 0, duration)
        return ()

    def close(self) -> Iterable[ToolUsageRow]:
        for key, row in self._rows.items():
            if timed := self._timed.get(key):
                row["mean_ms"] = round(row["duration_ms"] / timed, 3)
            yield row


def _nothing(call: Call) -> ToolUsageRow:
    return {
        "t": call.t,
        "sid": call.sid,
        "name": call.name,
        "sort": sort_of(call.name),
        "last_t": call.t,
        "calls": 0,
        "answered": 0,
        "errors": 0,
        "unanswered": 0,
        "duration_ms": 0.0,
        "mean_ms": None,
        "max_ms": None,
        "arguments_chars": 0,
        "result_chars": 0,
    }


READ = (CallRead,)
KINDS = (
    Kind("tool_calls", "Tool calls with their arguments, times and status.", ToolCallRow, READ, tool_calls, holds=MADE),
    Kind("tool_results", "What tools said.", ToolResultRow, (CallClosed, StrayResult), tool_results, holds=MADE),
    Kind(
        "call_linkage",
        "Which exchange made a call, and which carried its result.",
        CallLinkageRow,
        (Asked, Answered, CallClosed),
        start=Linkage,
        holds=MADE,
    ),
    Kind(
        "function_call_errors",
        "Calls that failed, were cut or not answered; arguments that are no JSON; results without a call.",
        CallErrorRow,
        (CallRead, StrayResult),
        function_call_errors,
        holds=MADE,
    ),
    Kind("tool_usage_stats", "Calls counted by session and tool.", ToolUsageRow, READ, start=ToolUsage, holds=MADE),
    Kind("shell_commands", "Commands that agents ran.", ShellCommandRow, READ, shell_commands, holds=MADE),
    Kind("file_edits", "Files that agents changed.", FileEditRow, READ, file_edits, holds=MADE),
)
