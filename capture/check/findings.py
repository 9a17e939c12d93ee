"""What `capture check` can find: every kind with how bad it is, what it means and what to do."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

MAX_KEPT = 10_000  # findings of one kind that are kept one by one; all are counted


class Severity(StrEnum):
    """How bad it is, the worst first."""

    ERROR = "error"  # something is missing or contradicts itself: the capture is not complete
    WARNING = "warning"  # a loss that was counted when it happened, or something odd that was said
    NOTE = "note"  # good to know


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of finding."""

    id: str
    severity: Severity
    says: str
    do: str


E, W, N = Severity
KINDS = {
    kind.id: kind
    for kind in (
        Kind("bad_line", E, "a line is no record", "`tail -c +OFFSET FILE` begins with it; what it said is lost"),
        Kind(
            "flow_missing",
            E,
            "lines of a flow stand in the log, its flow record does not",
            "was sse_flows.jsonl moved away or cut?",
        ),
        Kind(
            "end_without_flow",
            E,
            "a flow's end stands in the log, its flow record does not",
            "was sse_flows.jsonl moved away or cut?",
        ),
        Kind("flow_twice", E, "a flow has two flow records", "was a file copied into the log twice?"),
        Kind("odd_record", E, "a record lacks a field, or holds something else there", "was the file edited, or its disk damaged?"),
        Kind("other_session", E, "a record names another session than its flow", "was the file edited, or its disk damaged?"),
        Kind(
            "no_end", E, "a flow has no end, and the proxy that wrote it is gone", "start a proxy on this log: it ends the orphans"
        ),
        Kind("end_twice", E, "a flow has two ends", "was a file copied into the log twice?"),
        Kind("gap", E, "lines are missing within a flow", "see sse_logger.error; the flow's own file in sse_logs/ may have them"),
        Kind("line_twice", E, "a line of a flow stands twice", "was a file copied into the log twice?"),
        Kind("lines_differ", E, "a flow has another number of lines than its end says", "its own file in sse_logs/ may have them"),
        Kind("capture_error", E, "recording failed: records may be missing", "see sse_logger.error"),
        Kind("last_word_missing", E, "the last word that a stream's end tells of is not among its lines", "a line was changed"),
        Kind("part_differs", E, "a request part is not what its id says", "was the file edited, or its disk damaged?"),
        Kind("part_missing", E, "a request refers to a part that its session never told", "was sse_lines.jsonl moved away or cut?"),
        Kind("body_missing", E, "a payload too large for its line is not in bodies/", "was bodies/ moved away?"),
        Kind("body_differs", E, "a payload in bodies/ is not what was recorded (--deep)", "restore the file from a copy"),
        Kind("request_differs", E, "a request as rebuilt is not the one that was sent (--deep)", "one of its parts was changed"),
        Kind(
            "counted_gap",
            W,
            "chunks were not recorded: the recorder could not keep up",
            "give the machine air; see sse_logger.error",
        ),
        Kind("undecodable", W, "bytes could not be decoded, so they were not recorded", "the finding says which encoding failed"),
        Kind(
            "not_complete", W, "a stream ended before its last word", "client_closed: the user stopped it; else see the end record"
        ),
        Kind("orphan", W, "a tool call never got its result, though its conversation went on", "`capture show` the session"),
        Kind("second_result", W, "a tool call got a second result", "clients replace old results to save tokens; else their bug"),
        Kind(
            "stray_result", W, "a result belongs to no call that was ever seen", "was the call made on another way, past the proxy?"
        ),
        Kind(
            "early_result",
            W,
            "a result came for a call that was never complete",
            "its stream was cut; the client went on all the same",
        ),
        Kind("renamed", W, "a call was declared twice with different tools", "the provider contradicts itself"),
        Kind("bad_arguments", W, "the arguments of a complete call are no JSON", "the model's mistake, or a piece is missing"),
        Kind("late_arguments", W, "a piece of arguments came after its call was complete", "the provider contradicts itself"),
        Kind(
            "usage_shrinks", W, "a later token count of an answer is lower than an earlier one", "the provider contradicts itself"
        ),
        Kind("disordered", W, "lines of a flow stand in another order than they came in", "was the file sorted, or put together?"),
        Kind("clock_back", W, "within a flow time runs back by more than a second", "was the clock set? lines may be misplaced"),
        Kind("open_flow", N, "a flow has no end yet: its proxy lives and still writes", "check again later"),
        Kind("torn_tail", N, "the last line is being written", "check again later"),
        Kind("stray_line", N, "a line is no record: it may belong to another session, or time", "check the whole log"),
        Kind("http_error", N, "a call to a model was answered with an error", "the flow's lines hold the answer"),
        Kind(
            "unanswered", N, "a tool call has no result: its conversation ends here", "the user stopped, or the agent still works"
        ),
        Kind("call_cut", N, "a tool call was begun and never completed", "its stream was cut"),
        Kind(
            "earlier_call",
            N,
            "a result belongs to a call from before this log began",
            "nothing: the session is older than the recording",
        ),
        Kind(
            "headers_only", N, "of a flow only headers and counts are on record", "nothing: its proxy was told so (--headers-only)"
        ),
        Kind(
            "fallback_session", N, "a flow's session is a guess: nothing in it named one", "nothing: this client names no session"
        ),
    )
}
ORDER = {name: place for place, name in enumerate(KINDS)}


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that was found, and where."""

    kind: str
    what: str  # in figures
    flow_id: str | None = None
    sid: str | None = None
    t: str | None = None  # the flow's or the call's
    data_count: int | None = None
    offset: int | None = None  # byte offset of that line, or of a bad one
    file: str | None = None  # of a bad line
    call_id: str | None = None

    @property
    def severity(self) -> Severity:
        return KINDS[self.kind].severity

    @property
    def row(self) -> dict[str, Any]:
        """As one JSON object."""
        return {
            "finding": self.kind,
            "severity": self.severity.value,
            "what": self.what,
            "file": self.file,
            "flow_id": self.flow_id,
            "data_count": self.data_count,
            "offset": self.offset,
            "call_id": self.call_id,
            "t": self.t,
            "sid": self.sid,
        }


def place(finding: Finding) -> tuple[Any, ...]:
    """What findings are sorted by: the worst kinds first, then as they stand in the log."""
    at = -1 if finding.offset is None else finding.offset
    count = -1 if finding.data_count is None else finding.data_count
    return (ORDER[finding.kind], finding.file or "", at, finding.flow_id or "", count, finding.call_id or "", finding.what)


@dataclass(slots=True)
class Report:
    """All that was found, and how much was looked at."""

    within: Callable[[str], bool] = lambda t: True  # is a time of the log asked for?
    flows: int = 0
    lines: int = 0
    calls: int = 0
    unchecked: list[str] = field(default_factory=list)  # what could not be looked at, in words
    counts: Counter[str] = field(default_factory=Counter)  # by kind
    kept: list[Finding] = field(default_factory=list)

    def add(self, finding: Finding) -> None:
        if finding.t is None or self.within(finding.t):
            self.counts[finding.kind] += 1
            if self.counts[finding.kind] <= MAX_KEPT:
                self.kept.append(finding)

    @property
    def findings(self) -> list[Finding]:
        return sorted(self.kept, key=place)

    def number(self, severity: Severity) -> int:
        return sum(count for kind, count in self.counts.items() if KINDS[kind].severity is severity)

    @property
    def complete(self) -> bool:
        """Whether nothing is missing that is not accounted for."""
        return not self.number(Severity.ERROR)

    @property
    def row(self) -> dict[str, Any]:
        """The verdict as one JSON object."""
        return {
            "verdict": "complete" if self.complete else "not complete",
            **{f"{severity.value}s": self.number(severity) for severity in Severity},
            "flows": self.flows,
            "lines": self.lines,
            "calls": self.calls,
            "counts": {kind: self.counts[kind] for kind in KINDS if self.counts[kind]},
            "unchecked": self.unchecked,
        }

    @property
    def sentence(self) -> str:
        """The verdict as people read it."""
        looked = ", ".join(counted(n, what) for n, what in ((self.flows, "flow"), (self.lines, "line"), (self.calls, "call")))
        errors, warnings = (self.number(severity) for severity in (Severity.ERROR, Severity.WARNING))
        if errors:
            return f"NOT complete: {counted(errors, 'error')}, {counted(warnings, 'warning')} in {looked}"
        return f"complete: {looked}" + (f"; {counted(warnings, 'warning')}" if warnings else ": nothing is missing")


def counted(number: int, what: str) -> str:
    """`1 flow`, `3,402 lines`."""
    return f"{number:,} {what}" + ("" if number == 1 else "s")
