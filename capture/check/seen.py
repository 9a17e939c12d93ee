"""What is known of one flow until it is settled: its lines counted, its times, its end."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from capture.scan.beside import later

SECOND = timedelta(seconds=1)
BACK = 1_000_000  # microseconds: chunks of two sides of a socket may be written in another order than they came


@dataclass(slots=True)
class Seen:
    """What is known of a flow until it is settled."""

    flow_id: str
    sid: str
    t: str
    record: bool = False
    opened_t: str | None = None  # of the flow record
    first_t: str | None = None  # of the first line
    proxy: str | None = None
    status: int | None = None
    outlined: bool = False  # nothing of what was said was to be recorded
    lines: int = 0
    next: int = 0  # the data_count that is expected
    missing: list[tuple[int, int]] = field(default_factory=list)  # first and last of each gap
    count: int | None = None  # of the last line
    offset: int | None = None
    us: int = 0
    back: int = 0  # the most that time ran back
    twice: int = 0
    late: int = 0  # lines that stand behind one that came after them
    elsewhere: set[str] = field(default_factory=set)  # other sessions that its records name
    said: set[str] = field(default_factory=set)  # names of its frames, where they may be a last word
    wants: list[str] = field(default_factory=list)  # parts that its request refers to, not told so far
    gaps: int = 0  # chunks that its lines say are missing
    ends: int = 0
    end: dict[str, Any] = field(default_factory=dict)

    def line(self, count: int, offset: int, us: int) -> None:
        """One more line."""
        self.lines, self.count, self.offset = self.lines + 1, count, offset
        if us < self.us:
            self.back = max(self.back, self.us - us)
        else:
            self.us = us
        if count == self.next:
            self.next += 1
        elif count > self.next:
            self.missing.append((self.next, count - 1))
            self.next = count + 1
        else:
            self._late(count)

    def _late(self, count: int) -> None:
        gap = next(((first, last) for first, last in self.missing if first <= count <= last), None)
        if gap is None:
            self.twice += 1
            return
        self.late += 1
        self.missing.remove(gap)
        self.missing += [(first, last) for first, last in ((gap[0], count - 1), (count + 1, gap[1])) if first <= last]

    @property
    def sound(self) -> bool:
        """Whether nothing that may still come could be needed."""
        whole = self.record and self.ends == 1 and self.end.get("lines") == self.lines
        return whole and not (self.missing or self.twice or self.wants)


def of_lines(seen: Seen) -> Iterator[tuple[str, str]]:
    """What the numbers and times of its lines say against a flow."""
    if seen.twice:
        yield "line_twice", f"{seen.twice} of {seen.lines} lines"
    for first, last in seen.missing:
        yield "gap", f"data_count {first}" + (f" to {last}" if last > first else "")
    if seen.late:
        yield "disordered", f"{seen.late} of {seen.lines} lines"
    if seen.back > BACK:
        yield "clock_back", f"by {seen.back / 1e6:.1f} s"
    if seen.first_t and seen.opened_t and later(seen.first_t, SECOND) < seen.opened_t:
        yield "clock_back", f"its first line is of {seen.first_t}, its flow record of {seen.opened_t}"
    for sid in sorted(seen.elsewhere):
        yield "other_session", sid


def of_end(seen: Seen) -> Iterator[tuple[str, str]]:
    """What its end says of a flow."""
    outcome, dropped = seen.end.get("outcome", "complete"), seen.end.get("dropped_chunks") or 0
    last_word = seen.end.get("terminal_event")
    if seen.outlined:
        yield "headers_only", f"{seen.end.get('frames')} frames"
    elif last_word and last_word not in seen.said and seen.lines == seen.end.get("lines"):
        yield "last_word_missing", last_word
    if seen.end.get("capture_error"):
        yield "capture_error", str(seen.end["capture_error"])
    if dropped > seen.gaps:
        yield "counted_gap", f"{dropped} chunks, {seen.end.get('dropped_bytes')} bytes"
    if seen.status and seen.status >= 400:
        yield "http_error", f"status {seen.status}"
    elif outcome != "complete":
        yield "not_complete", outcome + (f": {seen.end['error']}" if seen.end.get("error") else "")
