"""The other two files of a log directory, merged in: a flow's record before its first line, its end after its last.

Writers write the flow records of a round, then its lines, then its ends; several may write. Lines are nearly in order of
time, so flow records are given when a line names them or when time has passed them, ends a second after their time.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

from capture.files import ENDS, FLOWS, parse, size_of
from capture.packed import BUFFER
from capture.scan.base import Notes

NEVER = "\uffff"
LINGER = timedelta(seconds=1)  # a flow's last lines may be written after its end's time
AHEAD = timedelta(seconds=10)  # so far a flow's record may stand behind the time of its first line
BLOCK = 1 << 18  # bytes looked at once when reading backwards


class Nothing:
    """Beside one file of lines there is nothing."""

    due = NEVER  # when a line's time is later than this, `passed` has something to give
    known: set[str] = set()  # flows of which `before` has nothing more to give  # noqa: RUF012
    tells_ends = False  # there are end records
    lags = False  # machines were collected of which one lags behind the others: times do not tell what comes first

    def before(self, flow_id: str, t: str) -> Iterator[dict[str, Any]]:
        """What must be given before the first line of a flow is."""
        return iter(())

    def passed(self, t: str) -> Iterator[dict[str, Any]]:
        """What is over when a line is so late."""
        return iter(())

    def rest(self) -> Iterator[dict[str, Any]]:
        """What is left when there are no more lines."""
        return iter(())


class Log(Nothing):
    """A log directory's flow and end records from a time on; older flow records when a line names them. `sids`: only theirs."""

    tells_ends = True

    def __init__(self, directory: Path, notes: Notes, since: str = "", sids: frozenset[str] | None = None) -> None:
        self._directory = directory
        self._start = start_of(directory / FLOWS, later(since, -AHEAD)) if since else 0
        ends = start_of(directory / ENDS, later(since, -AHEAD)) if since else 0
        self._flows = records(directory / FLOWS, self._start, notes, sids)
        self._ends = records(directory / ENDS, ends, notes, sids)
        self._begin()

    def _begin(self) -> None:
        self.known: set[str] = set()  # flows given, or missing, and not ended
        self._older: Older | None = None
        self._flow: dict[str, Any] | None = None  # the next ones
        self._end: dict[str, Any] | None = None
        # the latest time so far in each file: the files grew together, also where machines were collected of which one lags
        self._now = self._flow_t = self._end_t = ""
        self._fill()
        self._set_due()

    def _fill(self) -> None:
        """The next flow and end, where there are none at hand."""
        if self._flow is None and (flow := next(self._flows, None)):
            self._flow, self._flow_t = flow, max(self._flow_t, flow["t"])
        if self._end is None and (end := next(self._ends, None)):
            self._end, self._end_t = end, max(self._end_t, end["t"])

    def before(self, flow_id: str, t: str) -> Iterator[dict[str, Any]]:
        self._now = max(self._now, t)
        limit = later(max(self._now, self._flow_t) if self.lags else self._now, AHEAD)
        while self._flow is not None and flow_id not in self.known and self._flow_t <= limit:
            yield self._next_flow()
        if flow_id not in self.known:
            self.known.add(flow_id)
            if found := self._old(flow_id):
                yield found
        self._set_due()

    def passed(self, t: str) -> Iterator[dict[str, Any]]:
        self._now = max(self._now, t)
        while self._flow is not None and self._flow_t < self._now:
            yield self._next_flow()
        while self._end is not None and later(self._end_t, self._linger) < self._now:
            yield self._next_end()
        self._set_due()

    def rest(self) -> Iterator[dict[str, Any]]:
        while self._flow is not None:
            yield self._next_flow()
        while self._end is not None:
            yield self._next_end()

    def _next_flow(self) -> dict[str, Any]:
        assert self._flow is not None
        found, self._flow = self._flow, None
        self._fill()
        self.known.add(found["flow_id"])
        return found

    def _next_end(self) -> dict[str, Any]:
        assert self._end is not None
        found, self._end = self._end, None
        self._fill()
        self.known.discard(found["flow_id"])
        return found

    def _set_due(self) -> None:
        flow = self._flow_t if self._flow else NEVER
        self.due = min(flow, later(self._end_t, self._linger)) if self._end else flow

    @property
    def _linger(self) -> timedelta:
        """Of machines that lag no end is too early: who reads keeps it until its flow's last line is there."""
        return -AHEAD if self.lags else LINGER

    def _old(self, flow_id: str) -> dict[str, Any] | None:
        """A flow's record from before the time this reading began at."""
        if not self._start:
            return None
        self._older = self._older or Older(self._directory / FLOWS, self._start)
        return self._older.find(flow_id)


class Older:
    """Flow records at the beginning of a file, found by id from its end."""

    def __init__(self, path: Path, stop: int) -> None:
        self._path = path
        self._floor = stop  # how far back has been looked
        self._places: dict[str, tuple[int, int]] = {}  # (offset, size) of the records after it

    def find(self, flow_id: str) -> dict[str, Any] | None:
        with open(self._path, "rb") as file:
            while flow_id not in self._places and self._floor > 0:
                self._back(file)
            offset, size = self._places.get(flow_id, (0, 0))
            file.seek(offset)
            return parse(file.read(size))

    def _back(self, file: IO[bytes]) -> None:
        """Notes where the records of one block more stand."""
        low = max(0, self._floor - 4 * BLOCK)
        file.seek(low)
        if low:
            low += len(file.readline())
        if low >= self._floor:  # one record over a whole block
            low = 0
            file.seek(0)
        place = low
        for raw in file.read(self._floor - low).splitlines(keepends=True):
            at = raw.find(b'"flow_id":"')
            if at > 0:
                self._places.setdefault(raw[at + 11 : raw.find(b'"', at + 11)].decode("utf-8", "replace"), (place, len(raw)))
            place += len(raw)
        self._floor = low


def records(path: Path, start: int, notes: Notes, sids: frozenset[str] | None = None) -> Iterator[dict[str, Any]]:
    """The records of a file of flows or ends, of these sessions or all; what is none is noted."""
    try:
        file = open(path, "rb", buffering=BUFFER)  # noqa: SIM115 (closed by the `with` below)
    except FileNotFoundError:
        return
    with file:
        file.seek(start)
        offset = start
        for raw in file:
            record = parse(raw)
            if record is not None and isinstance(record.get("flow_id"), str) and isinstance(record.get("t"), str):
                if sids is None or record.get("sid") in sids:
                    yield record
            elif raw.strip():
                notes.add(str(path), offset, "a torn line" if raw[-1:] != b"\n" else "no record")
            offset += len(raw)


def start_of(path: Path, t: str) -> int:
    """The offset of a line before which no record is later than `t`, found from the end of the file."""
    place = size_of(path)
    if not place:
        return 0
    with open(path, "rb") as file:
        while place > 0:
            place = max(0, place - BLOCK)
            file.seek(place)
            if place:
                file.readline()
            begins = file.tell()
            first = parse(file.readline())
            if first is not None and str(first.get("t", "")) < t:
                return begins
    return 0


@lru_cache(maxsize=64)
def later(t: str, by: timedelta) -> str:
    """A time of the log so much later; itself when it is no time."""
    try:
        return (datetime.fromisoformat(t) + by).isoformat(timespec="milliseconds")
    except ValueError:
        return t
