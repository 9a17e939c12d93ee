"""The log directory: written by any number of proxies at once, read while it is written.

    sse_flows.jsonl sse_lines.jsonl sse_flow_ends.jsonl     the central log, append only
    sse_logger.error                                        what failed here
    sse_logs/<sid>/<flow_id>.jsonl                          the records of one flow once more, to hand to somebody
    bodies/<sha256>                                         payloads too large for a line
    proxies/<id>.json                                       one for each proxy that writes here; locked while it lives

Why the lines stay whole: one `write` of whole lines on an O_APPEND descriptor is atomic between processes; a torn tail
(a kill during a write, a full disk) is never appended to: the next write begins with a newline then, and when nobody else
writes, the next start moves the fragment to `<file>.bad`. Readers never look past the last newline.
"""

import os
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from itertools import islice
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any

from capture.appending import Appender, as_error, flushed, without_torn_tail
from capture.files import (
    CHOOSE,
    ERRORS,
    FILES,
    Unusable,
    inside,
    is_ordinary,
    open_private,
    parse,
    prepare,
    safe_name,
    size_of,
)
from capture.jsonl import VERSION, Blob, Entry, Kind, Record, dumps, local_time
from capture.presence import Presence
from capture.purges import Gate, Notice
from capture.rotated import Places
from capture.syncing import Syncer

MAX_OPEN = 128  # flow files kept open; the least recently written is closed first
MAX_WAITING = (
    64 << 20
)  # bytes a disk that takes none may leave in memory (20 minutes of one busy agent); above it the log is `full`
MAX_ERRORS_WAITING = 1 << 20  # bytes of error lines the disk has not taken; later ones are left out
LOOK = 1.0  # seconds between two looks whether our files still are where they were, and between two tries of a payload
OWN = 1.0  # seconds between two writes to the file of an open flow: the start after a kill adds what the kill kept from it
MAX_ERRORS = 100  # error lines a minute; what is over is counted


class LogWriter:
    """Appends records to the central files and to the file of their flow. Lines reach the former with `flush`, the latter soon.

    What the disk does not take waits in memory: `full` says that no more than flow and end records should come to it.
    """

    def __init__(self, directory: Path, proxy: dict[str, Any], now: Callable[[], float] = time.time) -> None:
        """`proxy`: what the presence file says of the writing process. Raises Unusable."""
        self.directory = prepare(directory)
        self.waiting = 0  # bytes not yet in the files
        self._now = now
        self._looked = self._tried = self._owned = now()
        self._errors_at, self._errors = 0, 0
        self._blobs: deque[tuple[Blob, str]] = deque()  # with their session; to be written before the lines that refer to them
        self._new_blobs: list[Blob] = []  # whose line comes next
        self._gone: set[str] = set()  # open flows whose session was purged: what they say further is not written
        self.forgotten: list[Notice] = []  # purges that the recorder must hear of: what it takes for written is not there
        self._blob_trouble: OSError | None = None
        self._own_trouble: OSError | None = None  # of the flows' own files, when they were written last
        self.unsynced = False  # there are records in the central files that a power failure would take
        self._syncer = Syncer(now)
        self._flows: dict[str, Appender] = {}  # the file of each flow that has not ended
        self._open: OrderedDict[str, Appender] = OrderedDict()  # of these the open ones, the least recently written first
        self._touched: dict[str, Appender] = {}  # flow files with lines that wait
        self._sids: dict[str, str] = {}  # the session of each flow in one of these
        try:
            for name in ("sse_logs", "bodies", "proxies"):
                inside(self.directory / name)
            self._gate = Gate(self.directory)
            self._error_file = Appender(self.directory / ERRORS)
            self._error_file.open()
            self._central = {kind: Appender(self.directory / name) for kind, name in FILES.items()}
            for file in self._central.values():
                file.open()
            self.presence = Presence(self.directory, proxy)
            if self.presence.alone:
                for name in (*FILES.values(), ERRORS):
                    self._repair(self.directory / name)
                for draft in (self.directory / "bodies").glob(".*-*"):  # of a kill between its writing and its naming
                    draft.unlink(missing_ok=True)
                self.presence.say_again((), {})  # the files are shorter now
            for orphan, places in self.presence.orphans():
                self._end_orphan(orphan, places)
            self.flush()
            self.presence.forget()
        except OSError as error:
            raise Unusable(f"cannot write to {directory} ({error.strerror}): {CHOOSE}") from None

    @property
    def full(self) -> bool:
        return self.waiting >= MAX_WAITING

    @property
    def unwritten(self) -> int:
        """How many records wait for the central log."""
        return sum(len(file.lines) for file in self._central.values())

    def write(self, entry: Entry) -> None:
        """Takes an entry; nothing raises before `flush`, so that one file's trouble keeps no other entry back."""
        if isinstance(entry, Blob):
            self._new_blobs.append(entry)
            return
        if entry.flow_id not in self._flows and self._was_purged(entry):
            return
        if self._new_blobs:
            self._take_blobs(entry.sid)
        line = dumps(entry.fields)
        self._central[entry.kind].add(line)
        file = self._touched[entry.flow_id] = self._flow_file(entry.sid, entry.flow_id)
        file.add(line)
        self.waiting += 2 * len(line)
        if entry.kind == "flow_ends":
            del self._flows[entry.flow_id]

    def _was_purged(self, entry: Record) -> bool:
        """Whether a record is of a flow whose session was purged while it was open; what begins after a purge is not."""
        if entry.flow_id not in self._gone:
            self.heed()
            return False
        self._new_blobs.clear()
        if entry.kind == "flow_ends":
            self._gone.discard(entry.flow_id)
        return True

    def flush(self) -> None:
        """Everything written so far is in the central files (the system's cache: a killed process loses nothing of it).

        The flows' own files come after them, and not each time. Raises OSError.
        """
        self._take_blobs("")
        with self._gate.held():
            self._heed()
            self._flush()

    def _take_blobs(self, sid: str) -> None:
        for blob in self._new_blobs:
            self._blobs.append((blob, sid))
            self.waiting += len(blob.data)
        self._new_blobs.clear()

    def heed(self) -> None:
        """Looks whether something was purged: to be asked before a flow begins that may refer to what a session has said."""
        with self._gate.held():
            self._heed()

    def _heed(self) -> None:
        for notice in self._gate.news():
            self._forget(notice)

    def _forget(self, notice: Notice) -> None:
        """Nothing that waits comes back of what was purged; its flows that are still open are not recorded further."""
        self.forgotten.append(notice)
        for file in (*self._central.values(), self._error_file):
            file.close()
        gone = {flow_id for flow_id, sid in self._sids.items() if notice.covers(sid)}
        open_ones = {flow_id for flow_id in gone if flow_id in self._flows}
        for flow_id in gone:
            for own in filter(None, (self._flows.pop(flow_id, None), self._touched.pop(flow_id, None))):
                own.forget()
                own.close()
            self._open.pop(flow_id, None)
            del self._sids[flow_id]
        for file in self._central.values():
            file.leave_out(lambda record: notice.covers(str(record.get("sid"))))
        self._error_file.leave_out(lambda record: record.get("flow_id") in gone)
        self._blobs = deque((blob, sid) for blob, sid in self._blobs if not notice.covers(sid))
        self._gone |= open_ones
        with suppress(OSError, Unusable):
            self._begin_anew(self._central)
        if open_ones:
            count = f"{len(open_ones)} open flow" + ("" if len(open_ones) == 1 else "s")
            self._complain("purge", f"{count} of purged sessions: not recorded further", "their next request is recorded again")

    def _flush(self) -> None:
        failed = self._look() or self._flush_blobs() or flushed(self._error_file)
        trouble = None
        self.unsynced = self.unsynced or any(file.lines for file in self._central.values())
        for file in self._central.values():
            trouble = flushed(file) or trouble
        failed = trouble or self._flush_flows() or failed
        self.waiting = sum(file.waiting for file in (*self._central.values(), *self._touched.values()))
        self.waiting += sum(len(blob.data) for blob, _ in self._blobs)
        self._sync()
        if failed:
            raise failed

    def error(self, where: str, what: str, do: str, flow_id: str | None = None) -> None:
        """One line in sse_logger.error, at most MAX_ERRORS a minute. `what` has passed the redactor. Raises OSError."""
        minute = int(self._now() // 60)
        if minute != self._errors_at:
            self._errors_at, self._errors = minute, 0
        self._errors += 1
        if self._errors > MAX_ERRORS or self._error_file.waiting > MAX_ERRORS_WAITING:
            return
        if self._errors == MAX_ERRORS:
            where, what, do, flow_id = (
                "errors",
                f"{MAX_ERRORS} errors within a minute",
                "the rest of this minute is left out",
                None,
            )
        self._error_file.add(dumps({"t": local_time(self._now()), "where": where, "what": what, "do": do, "flow_id": flow_id}))
        with self._gate.held():
            self._heed()
            self._error_file.flush()

    def close(self) -> None:
        """Flushes, and says that this proxy has ended its flows. Raises OSError; the next start ends the flows then."""
        try:
            self._blob_trouble, self._owned = None, float("-inf")
            self.flush()
        finally:
            for file in (*self._central.values(), *self._open.values(), self._error_file):
                file.close()
            self._gate.close()
            self.presence.close(ended=not self.unwritten)

    def _sync(self) -> None:
        """Once a second what is new goes on from the system's memory to the disk, in the background."""
        if problem := self._syncer.failed():
            for file in self._central.values():  # what the disk did not take once is not believed to be there: begin with a look
                file.close()
            do = "check the disk: if the power fails, the seconds before this are missing"
            self._complain("disk", f"{problem.strerror}: records may not be on the disk", do)
        elif self.unsynced and self._syncer.due:
            with suppress(OSError, RuntimeError):  # no descriptor or thread is free: the next flush tries again
                self._syncer.sync(file.descriptor for file in self._central.values() if file.descriptor >= 0)
                self.unsynced = False

    def _flow_file(self, sid: str, flow_id: str) -> Appender:
        """The file of a flow; of one that has ended as well, as long as its lines wait."""
        file = self._flows.get(flow_id) or self._touched.get(flow_id)
        if file is None:
            path = self.directory / "sse_logs" / safe_name(sid) / (safe_name(flow_id) + ".jsonl")
            file = Appender(path, shared=False)
        self._flows[flow_id] = file
        self._sids[flow_id] = sid
        return file

    def _flush_flows(self) -> OSError | None:
        """The files of flows that have ended; of all, once every OWN seconds, or when much waits for them."""
        now, waiting = self._now(), sum(file.waiting for file in self._touched.values())
        everything = abs(now - self._owned) >= OWN or waiting > MAX_WAITING // 64
        if everything:
            self._owned, self._own_trouble = now, None
        for flow_id, file in list(self._touched.items()):
            if flow_id in self._flows and not everything:
                continue
            trouble = flushed(file)
            self._own_trouble = trouble or self._own_trouble
            if not trouble:
                del self._touched[flow_id]
            if flow_id not in self._flows:
                self._open.pop(flow_id, None)
                if not trouble:
                    self._sids.pop(flow_id, None)
                file.close()
                continue
            self._open[flow_id] = file
            self._open.move_to_end(flow_id)
            if len(self._open) > MAX_OPEN:
                self._open.popitem(last=False)[1].close()
        if sum(file.waiting for file in self._touched.values()) > MAX_WAITING // 2:
            self._let_go()
        return self._own_trouble

    def _let_go(self) -> None:
        """Copies that only their own files would not take are no reason to lose what the central log still takes."""
        records = sum(len(file.lines) for file in self._touched.values())
        for file in self._touched.values():
            file.forget()
        self._touched = {}
        self._sids = {flow_id: sid for flow_id, sid in self._sids.items() if flow_id in self._flows}
        self._complain("disk", f"{records} records could not be written to sse_logs/", "the central log has them")

    def _begin_anew(self, kinds: Collection[Kind]) -> None:
        """Opens these central files, and says that they are new. Raises OSError, Unusable.

        The next start looks into these only, so the flows' own files are not to lack what stands in the old ones.
        """
        self._owned = float("-inf")
        self._flush_flows()
        with suppress(OSError, Unusable):  # the flush that follows tries again, and says so
            for kind in kinds:
                self._central[kind].open()
        self.presence.say_again(kinds, {flow_id: self._sids[flow_id] for flow_id in self._flows})

    def _look(self) -> OSError | None:
        """Begins files anew that were deleted or renamed away; our presence as well."""
        now = self._now()
        if abs(now - self._looked) < LOOK:
            return None
        self._looked = now
        moved = [file for file in (*self._central.values(), self._error_file, *self._open.values()) if file.moved()]
        for file in moved:
            file.close()
        kinds = [kind for kind, file in self._central.items() if file in moved]
        try:
            self._gate.look()
            if kinds or self.presence.moved():
                self._begin_anew(kinds)
        except (OSError, Unusable) as problem:
            return as_error(problem)
        for file in [file for file in (*self._central.values(), self._error_file) if file.was_cut]:
            file.was_cut = False
            what = f"{file.path.name}: cut short while written to: what came between the copy and the cut is lost"
            self._complain("log", what, "rotate by renaming (logrotate: not copytruncate): nothing is lost then")
        if moved:
            names = ", ".join(file.path.name for file in moved[:5]) + (f" and {len(moved) - 5} more" if len(moved) > 5 else "")
            self._complain("log", f"{names}: deleted or renamed while written to", "begun anew; name another log with SSE_LOG_DIR")
        return None

    def _complain(self, where: str, what: str, do: str) -> None:
        with suppress(OSError, Unusable):  # it waits, and is tried with the next flush
            self.error(where, what, do)

    def _flush_blobs(self) -> OSError | None:
        """A payload is large: where the disk did not take one, it is not tried at every flush."""
        now = self._now()
        if self._blob_trouble and abs(now - self._tried) < LOOK:
            return self._blob_trouble
        self._tried, self._blob_trouble = now, None
        try:
            while self._blobs:
                self._write_blob(self._blobs[0][0])
                self._blobs.popleft()
        except (OSError, Unusable) as problem:
            self._blob_trouble = as_error(problem)
        return self._blob_trouble

    def _write_blob(self, blob: Blob) -> None:
        path = inside(self.directory / "bodies") / blob.sha256
        if is_ordinary(path):  # anything else that stands there is replaced by the name of the draft, not written to
            return
        draft = path.with_name(f".{blob.sha256}-{os.getpid()}")
        try:
            _write_whole(draft, blob.data)
            draft.rename(path)
        except OSError:
            draft.unlink(missing_ok=True)
            raise

    def _repair(self, path: Path) -> None:
        """Moves a torn tail out of a file that nobody else is writing."""
        if torn := without_torn_tail(path, local_time(self._now())):
            what = f"{path.name} ended in a torn line of {torn} bytes"
            self.error("start", what, f"moved to {path.name}.bad; nothing else was touched")

    def _end_orphan(self, flow: dict[str, Any], places: Places) -> None:
        """`places`: where its lines stand."""
        flow_id, sid = flow["flow_id"], flow["sid"]
        lines = self._complete(flow, places)
        fields = {
            "t": local_time(self._now()),
            "flow_id": flow_id,
            "sid": sid,
            "outcome": "killed",
            "terminal_event": None,
            "lines": lines,
        }
        self.write(Record("flow_ends", sid, flow_id, {**fields, "error": "the proxy was killed", "v": VERSION}))
        self.error("start", "a flow had no end: its proxy was killed", "its end record says killed", flow_id)

    def _complete(self, flow: dict[str, Any], places: Places) -> int:
        """How many lines an orphan has; those that the kill kept from its own file (it is written last) are appended there."""
        flow_id, own = flow["flow_id"], self._flow_file(flow["sid"], flow["flow_id"])
        self._repair(own.path)
        if not size_of(own.path) and "t" in flow:
            own.add(dumps(flow))
        there, lines = last_count([(own.path, 0)], flow_id) + 1, last_count(places, flow_id) + 1
        missing = islice(_backwards(places, flow_id), max(0, lines - there))
        for _, line in reversed(list(missing)):
            own.add(line)
        self._touched[flow_id] = own
        return max(there, lines)


def _write_whole(path: Path, data: bytes) -> None:
    """A file of ours that holds these bytes. Raises OSError."""
    descriptor = open_private(path, os.O_TRUNC)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
    finally:
        os.close(descriptor)


def last_count(places: Places, flow_id: str) -> int:
    """The highest data_count of a flow in files of lines, the oldest first; -1 when it has none."""
    return next((count for count, _ in _backwards(places, flow_id)), -1)


def _backwards(places: Places, flow_id: str) -> Iterator[tuple[int, bytes]]:
    """(data_count, line) of a flow's line records in files, the last first."""
    return (found for path, since in reversed(places) for found in _backwards_in(path, flow_id, since))


def _backwards_in(path: Path, flow_id: str, since: int) -> Iterator[tuple[int, bytes]]:
    """The same in one file, back to a byte offset."""
    size = size_of(path)
    if not size:
        return
    since = since if since <= size else 0  # the file is another one by now
    with open(path, "rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as data:
        needle = b'"flow_id":"%s"' % flow_id.encode()
        at = data.rfind(needle, since)
        while at >= 0:
            start, end = data.rfind(b"\n", 0, at) + 1, data.find(b"\n", at)
            record = parse(data[start:end]) or {}
            if record.get("flow_id") == flow_id and "data_count" in record:
                yield int(record["data_count"]), data[start : end + 1]
            at = data.rfind(needle, since, start)
