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

import errno
import fcntl
import os
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any

from capture.files import (
    CHOOSE,
    ERRORS,
    FILES,
    LINES,
    Unusable,
    inside,
    moved_away,
    open_private,
    parse,
    prepare,
    safe_name,
    size_of,
)
from capture.jsonl import VERSION, Blob, Entry, Record, dumps, local_time
from capture.presence import Presence

MAX_OPEN = 128  # flow files kept open; the least recently written is closed first
MAX_WAITING = (
    64 << 20
)  # bytes a disk that takes none may leave in memory (20 minutes of one busy agent); above it the log is `full`
MAX_ERRORS_WAITING = 1 << 20  # bytes of error lines the disk has not taken; later ones are left out
WRITE = 1 << 20  # bytes of lines joined for one write, and tried again where the disk took none
LOOK = 1.0  # seconds between two looks whether our files still are where they were, and between two tries of a payload
MAX_ERRORS = 100  # error lines a minute; what is over is counted


class Appender:
    """One file of whole lines, open from its first `flush` to `close`; what could not be written waits, also while it is closed.

    `shared`: other processes may append to it as well.
    """

    def __init__(self, path: Path, shared: bool = True) -> None:
        self.path = path
        self.waiting = 0  # bytes
        self.lines: deque[bytes] = deque()  # that wait
        self._shared = shared
        self._descriptor = -1  # closed
        self._size = -1  # of the file after our last write: when it still is, its tail is ours and whole

    def open(self) -> None:
        """Raises OSError, Unusable."""
        if self._descriptor < 0:
            self._descriptor, self._size = open_private(inside(self.path.parent) / self.path.name), -1

    def add(self, line: bytes) -> None:
        self.lines.append(line)
        self.waiting += len(line)

    def flush(self) -> None:
        """Writes what was added, up to WRITE bytes of whole lines in one `write`. Raises OSError; what was not written waits."""
        while self.lines:
            self.open()
            count = len(self.lines) if self.waiting <= WRITE else self._first()
            data = b"".join(islice(self.lines, count))
            written = self._append(data)
            if written < len(data):  # a full disk shows so, before it shows as an error
                self._size = -1
                self._written(written)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self._written(written)

    def moved(self) -> bool:
        """Whether the file is open, and was deleted or renamed away."""
        return self._descriptor >= 0 and moved_away(self.path, self._descriptor)

    def forget(self) -> None:
        """What waits is not written."""
        self.lines.clear()
        self.waiting = 0

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _first(self) -> int:
        """How many lines make a write: at least one."""
        size = 0
        for count, line in enumerate(self.lines, 1):
            size += len(line)
            if size >= WRITE:
                return count
        return len(self.lines)

    def _append(self, data: bytes) -> int:
        """How many bytes of `data` reached the file."""
        if not self._shared and self._size >= 0:
            return os.write(self._descriptor, data)
        end = b""
        fcntl.flock(self._descriptor, fcntl.LOCK_SH)
        try:
            if self._torn():
                # It may be a write of another process that is not over: the exclusive lock waits for it.
                fcntl.flock(self._descriptor, fcntl.LOCK_EX)
                if self._torn() and not data.startswith(b"\n"):
                    end = b"\n"
            written = os.write(self._descriptor, end + data)
            self._size = os.fstat(self._descriptor).st_size
        finally:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)
        return max(0, written - len(end))

    def _written(self, size: int) -> None:
        """The first `size` bytes wait no longer; a line that was not written whole waits whole, or its newline alone."""
        if size == self.waiting:
            self.lines.clear()
            self.waiting = 0
        while self.lines and size >= len(self.lines[0]):
            length = len(self.lines.popleft())
            size -= length
            self.waiting -= length
        if self.lines and size == len(self.lines[0]) - 1:
            self.lines[0] = b"\n"
            self.waiting -= size

    def _torn(self) -> bool:
        size = os.fstat(self._descriptor).st_size
        return size not in (0, self._size) and os.pread(self._descriptor, 1, size - 1) != b"\n"


def _flush(file: Appender) -> OSError | None:
    """What went wrong, so that one file's failure does not keep the others back."""
    try:
        file.flush()
    except (OSError, Unusable) as problem:
        return _as_error(problem)
    return None


def _as_error(problem: OSError | Unusable) -> OSError:
    return problem if isinstance(problem, OSError) else OSError(errno.EIO, str(problem))


class LogWriter:
    """Appends records to the central files and to the file of their flow. Lines reach the disk with `flush`.

    What the disk does not take waits in memory: `full` says that no more than flow and end records should come to it.
    """

    def __init__(self, directory: Path, proxy: dict[str, Any], now: Callable[[], float] = time.time) -> None:
        """`proxy`: what the presence file says of the writing process. Raises Unusable."""
        self.directory = prepare(directory)
        self.waiting = 0  # bytes not yet in the files
        self._now = now
        self._looked = self._tried = now()
        self._errors_at, self._errors = 0, 0
        self._blobs: deque[Blob] = deque()  # to be written before the lines that refer to them
        self._blob_trouble: OSError | None = None
        self._flows: dict[str, Appender] = {}  # the file of each flow that has not ended
        self._open: OrderedDict[str, Appender] = OrderedDict()  # of these the open ones, the least recently written first
        self._touched: dict[str, Appender] = {}  # flow files with lines that wait
        try:
            for name in ("sse_logs", "bodies", "proxies"):
                inside(self.directory / name)
            self._error_file = Appender(self.directory / ERRORS)
            self._error_file.open()
            self.presence = Presence(self.directory, proxy)
            if self.presence.alone:
                for name in (*FILES.values(), ERRORS):
                    self._repair(self.directory / name)
                for draft in (self.directory / "bodies").glob(".*-*"):  # of a kill between its writing and its naming
                    draft.unlink(missing_ok=True)
            self._central = {kind: Appender(self.directory / name) for kind, name in FILES.items()}
            for file in self._central.values():
                file.open()
            for orphan, since in self.presence.orphans():
                self._end_orphan(orphan, since)
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
            self._blobs.append(entry)
            self.waiting += len(entry.data)
            return
        line = dumps(entry.fields)
        self._central[entry.kind].add(line)
        file = self._touched[entry.flow_id] = self._flow_file(entry.sid, entry.flow_id)
        file.add(line)
        self.waiting += 2 * len(line)
        if entry.kind == "flow_ends":
            del self._flows[entry.flow_id]

    def flush(self) -> None:
        """Everything written so far is in the files (the system's cache: a killed process loses nothing of it). Raises OSError.

        The flows' own files wait for the central log: where it cannot be written they are not tried.
        """
        failed = self._look() or self._flush_blobs() or _flush(self._error_file)
        trouble = None
        for file in self._central.values():
            trouble = _flush(file) or trouble
        failed = trouble or self._flush_flows() or failed
        self.waiting = sum(file.waiting for file in (*self._central.values(), *self._touched.values()))
        self.waiting += sum(len(blob.data) for blob in self._blobs)
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
        self._error_file.flush()

    def close(self) -> None:
        """Flushes, and says that this proxy has ended its flows. Raises OSError; the next start ends the flows then."""
        try:
            self._blob_trouble = None
            self.flush()
        finally:
            for file in (*self._central.values(), *self._open.values(), self._error_file):
                file.close()
            self.presence.close(ended=not self.unwritten)

    def _flow_file(self, sid: str, flow_id: str) -> Appender:
        """The file of a flow; of one that has ended as well, as long as its lines wait."""
        file = self._flows.get(flow_id) or self._touched.get(flow_id)
        if file is None:
            path = self.directory / "sse_logs" / safe_name(sid) / (safe_name(flow_id) + ".jsonl")
            file = Appender(path, shared=False)
        self._flows[flow_id] = file
        return file

    def _flush_flows(self) -> OSError | None:
        failed = None
        for flow_id, file in list(self._touched.items()):
            trouble = _flush(file)
            failed = trouble or failed
            if not trouble:
                del self._touched[flow_id]
            if flow_id not in self._flows:
                self._open.pop(flow_id, None)
                file.close()
                continue
            self._open[flow_id] = file
            self._open.move_to_end(flow_id)
            if len(self._open) > MAX_OPEN:
                self._open.popitem(last=False)[1].close()
        if sum(file.waiting for file in self._touched.values()) > MAX_WAITING // 2:
            self._let_go()
        return failed

    def _let_go(self) -> None:
        """Copies that only their own files would not take are no reason to lose what the central log still takes."""
        records = sum(len(file.lines) for file in self._touched.values())
        for file in self._touched.values():
            file.forget()
        self._touched = {}
        self._complain("disk", f"{records} records could not be written to sse_logs/", "the central log has them")

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
            if kinds or self.presence.moved():
                self.presence.say_again(kinds)
        except (OSError, Unusable) as problem:
            return _as_error(problem)
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
                self._write_blob(self._blobs[0])
                self._blobs.popleft()
        except (OSError, Unusable) as problem:
            self._blob_trouble = _as_error(problem)
        return self._blob_trouble

    def _write_blob(self, blob: Blob) -> None:
        path = inside(self.directory / "bodies") / blob.sha256
        if path.exists():
            return
        draft = path.with_name(f".{blob.sha256}-{os.getpid()}")
        try:
            with open(open_private(draft, os.O_TRUNC), "wb") as file:
                file.write(blob.data)
            draft.rename(path)
        except OSError:
            draft.unlink(missing_ok=True)
            raise

    def _repair(self, path: Path) -> None:
        """Moves a torn tail out of a file that nobody else is writing."""
        if not path.exists():
            return
        descriptor = open_private(path)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)  # who has started since we looked may be writing this very tail
            size = os.fstat(descriptor).st_size
            whole = _last_newline(descriptor, size)
            if whole == size:
                return
            fragment = os.pread(descriptor, size - whole, whole)
            with open(open_private(path.with_name(path.name + ".bad")), "ab") as bad:
                bad.write(dumps({"t": local_time(self._now()), "offset": whole, "bytes": len(fragment)}) + fragment + b"\n")
            os.ftruncate(descriptor, whole)
        finally:
            os.close(descriptor)
        self.error(
            "start",
            f"{path.name} ended in a torn line of {size - whole} bytes",
            f"moved to {path.name}.bad; nothing else was touched",
        )

    def _end_orphan(self, flow: dict[str, Any], since: int) -> None:
        flow_id, sid = flow["flow_id"], flow["sid"]
        lines = self._complete(flow, since)
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

    def _complete(self, flow: dict[str, Any], since: int) -> int:
        """How many lines an orphan has; those that the kill kept from its own file (it is written last) are appended there."""
        flow_id, own = flow["flow_id"], self._flow_file(flow["sid"], flow["flow_id"])
        self._repair(own.path)
        if not size_of(own.path):
            own.add(dumps(flow))
        there, lines = last_count(own.path, flow_id) + 1, last_count(self.directory / LINES, flow_id, since) + 1
        missing = islice(_backwards(self.directory / LINES, flow_id, since), max(0, lines - there))
        for _, line in reversed(list(missing)):
            own.add(line)
        self._touched[flow_id] = own
        return lines


def _last_newline(descriptor: int, size: int) -> int:
    """The offset behind the last newline; 0 when there is none."""
    end = size
    while end > 0:
        start = max(0, end - (1 << 20))
        found = os.pread(descriptor, end - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0


def last_count(path: Path, flow_id: str, since: int = 0) -> int:
    """The highest data_count of a flow in a file of lines, from a byte offset on; -1 when it has none."""
    return next((count for count, _ in _backwards(path, flow_id, since)), -1)


def _backwards(path: Path, flow_id: str, since: int) -> Iterator[tuple[int, bytes]]:
    """(data_count, line) of a flow's line records in a file, the last first, back to a byte offset."""
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
