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
import json
import os
import re
import stat
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from itertools import islice
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import IO, Any

import orjson

from capture.records import VERSION, Blob, Entry, Kind, Record, dumps, loads, local_time

FLOWS, LINES, ENDS = "sse_flows.jsonl", "sse_lines.jsonl", "sse_flow_ends.jsonl"
FILES: dict[Kind, str] = {"flows": FLOWS, "lines": LINES, "flow_ends": ENDS}
ERRORS = "sse_logger.error"
MAX_OPEN = 128  # flow files kept open; the least recently written is closed first
MAX_WAITING = (
    64 << 20
)  # bytes a disk that takes none may leave in memory (20 minutes of one busy agent); above it the log is `full`
MAX_ERRORS_WAITING = 1 << 20  # bytes of error lines the disk has not taken; later ones are left out
WRITE = 1 << 20  # bytes of lines joined for one write, and tried again where the disk took none
LOOK = 1.0  # seconds between two looks whether our files still are where they were, and between two tries of a payload
MAX_ERRORS = 100  # error lines a minute; what is over is counted
SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,93}")  # with its suffix a file name has at most 100 bytes
RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)  # names Windows keeps for devices
POLL = 0.05  # seconds between two looks at a followed file
READ = 4 << 20  # bytes of a followed file read at once


class Unusable(Exception):
    """The log directory cannot be used; the message says what to do."""


def default_directory(environ: dict[str, str]) -> Path:
    """$SSE_LOG_DIR, else ~/centralized-logs/all-mitm-sse."""
    return Path(environ.get("SSE_LOG_DIR") or "~/centralized-logs/all-mitm-sse").expanduser()


def safe_name(name: str) -> str:
    """A file name of at most 100 bytes for any session or flow id: the id where that is safe, else a part of it and its hash."""
    if SAFE_NAME.fullmatch(name) and not RESERVED.fullmatch(name) and not name.endswith("."):
        return name
    digest = sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return (re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-")[:60] + "-" + digest).strip("-")


# -- writing -----------------------------------------------------------------------------------------------------------------


CHOOSE = "choose another with SSE_LOG_DIR or --dir"
A_LOG = ("proxies", *FILES.values())  # a directory with one of these is a log
ANYTHING = ("*",)


def prepare(directory: Path) -> Path:
    """The log directory, existing, ours, private, writable. Raises Unusable."""
    try:
        private_directory(directory, A_LOG, "name a directory of its own with SSE_LOG_DIR or --dir")
        probe = directory / f".probe-{os.getpid()}"
        os.close(_private(probe))
        probe.unlink()
    except OSError as error:
        raise Unusable(f"cannot write to {directory} ({error.strerror}): {CHOOSE}") from None
    return directory


def private_directory(path: Path, marks: tuple[str, ...], choose: str = CHOOSE) -> Path:
    """A directory of ours, 0700 whatever the umask; parents that are missing are made the same way. Raises OSError, Unusable.

    One that others can look into is closed to them when it is empty or holds one of `marks` (glob patterns); else it is left
    alone: to close /tmp or a home to all others breaks more than it protects.
    """
    for missing in reversed([parent for parent in (path, *path.parents) if not parent.exists()]):
        missing.mkdir(0o700, exist_ok=True)
        missing.chmod(0o700)
    status = path.stat()
    if not stat.S_ISDIR(status.st_mode):
        raise Unusable(f"{path} is not a directory: {choose}")
    if status.st_uid != os.geteuid():
        raise Unusable(f"{path} belongs to another user: {choose}")
    if stat.S_IMODE(status.st_mode) != 0o700:
        if not any(path.iterdir()) or any(found for mark in marks for found in path.glob(mark)):
            path.chmod(0o700)
        elif status.st_mode & 0o077:
            raise Unusable(f"{path} is used for other things: {choose}")
    return path


def _inside(path: Path) -> Path:
    """A directory inside the log: whatever it holds is ours."""
    return private_directory(path, ANYTHING)


def _private(path: Path, flags: int = 0) -> int:
    """A descriptor to append to a file of ours, 0600, that is no link."""
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | flags, 0o600)
    if stat.S_IMODE(os.fstat(descriptor).st_mode) != 0o600:
        os.fchmod(descriptor, 0o600)
    return descriptor


def _moved(path: Path, descriptor: int) -> bool:
    """Whether an open file does not stand at its path any more: deleted, or renamed away."""
    try:
        return not os.path.samestat(os.lstat(path), os.fstat(descriptor))
    except (FileNotFoundError, NotADirectoryError):
        return True


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
            self._descriptor, self._size = _private(_inside(self.path.parent) / self.path.name), -1

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
        return self._descriptor >= 0 and _moved(self.path, self._descriptor)

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
                _inside(self.directory / name)
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
        path = _inside(self.directory / "bodies") / blob.sha256
        if path.exists():
            return
        draft = path.with_name(f".{blob.sha256}-{os.getpid()}")
        try:
            with open(_private(draft, os.O_TRUNC), "wb") as file:
                file.write(blob.data)
            draft.rename(path)
        except OSError:
            draft.unlink(missing_ok=True)
            raise

    def _repair(self, path: Path) -> None:
        """Moves a torn tail out of a file that nobody else is writing."""
        if not path.exists():
            return
        descriptor = _private(path)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)  # who has started since we looked may be writing this very tail
            size = os.fstat(descriptor).st_size
            whole = _last_newline(descriptor, size)
            if whole == size:
                return
            fragment = os.pread(descriptor, size - whole, whole)
            with open(_private(path.with_name(path.name + ".bad")), "ab") as bad:
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
        if not _size(own.path):
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
    size = _size(path)
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


class Presence:
    """This proxy's file in `proxies/`: locked while the process lives, so that others can tell a live one from a dead one."""

    def __init__(self, directory: Path, facts: dict[str, Any]) -> None:
        self._directory = directory
        self._facts = facts
        self._offsets = {kind: _size(directory / name) for kind, name in FILES.items()}
        self._dead: list[tuple[Path, int, dict[str, Any]]] = []
        self.id = f"{os.getpid()}-{time.time_ns() // 1000:x}"
        self.path = directory / "proxies" / f"{self.id}.json"
        with self._gate():
            living = 0
            folder = directory / "proxies"
            for path in sorted([*folder.glob("*.json"), *folder.glob("*.dead")]):
                descriptor = _lock(path)
                if descriptor is None:
                    living += 1
                else:
                    dead = path.rename(path.with_suffix(".dead"))  # before it is locked: nobody takes it for a living one's
                    fcntl.flock(descriptor, fcntl.LOCK_EX)
                    self._dead.append((dead, descriptor, _facts(dead)))
            self.alone = not living
            self._begin()

    @contextmanager
    def _gate(self) -> Iterator[None]:
        """Two starts at once: one after the other."""
        gate = _private(_inside(self._directory / "proxies") / ".lock")
        try:
            fcntl.flock(gate, fcntl.LOCK_EX)
            yield
        finally:
            os.close(gate)

    def _begin(self) -> None:
        self._descriptor = _private(self.path)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        self.say(self._facts)

    def moved(self) -> bool:
        """Whether this proxy's file was taken away: nobody finds the proxy then, and nobody would end its flows."""
        return _moved(self.path, self._descriptor)

    def say_again(self, begun: Iterable[Kind]) -> None:
        """The same facts, where the file was taken away; `begun`: central files that begin anew. Raises OSError, Unusable."""
        self._offsets |= dict.fromkeys(begun, 0)
        if not self.moved():
            return self.say(self._facts)
        with self._gate():
            os.close(self._descriptor)
            self._begin()

    def say(self, facts: dict[str, Any]) -> None:
        """Writes what others should know of this proxy (port, web address without token, process)."""
        self._facts = facts
        content = {"id": self.id, "pid": os.getpid(), "started": time.time(), "offsets": self._offsets, **facts}
        os.ftruncate(self._descriptor, 0)
        os.write(self._descriptor, dumps(content))

    def orphans(self) -> Iterator[tuple[dict[str, Any], int]]:
        """(flow record, where the lines of its proxy begin) of proxies that are dead, whose end is missing."""
        for path, _, facts in self._dead:
            offsets = facts.get("offsets") or {}
            started = {}
            for record in _since(self._directory / FLOWS, offsets.get("flows", 0)):
                if record.get("proxy") == path.stem:
                    started[record["flow_id"]] = record
            for record in _since(self._directory / ENDS, offsets.get("flow_ends", 0)) if started else ():
                started.pop(record.get("flow_id", ""), None)
            yield from ((record, offsets.get("lines", 0)) for record in started.values())

    def forget(self) -> None:
        """Takes the presence files of dead proxies away: their orphans are ended, and on disk."""
        for path, descriptor, _ in self._dead:
            path.unlink(missing_ok=True)
            os.close(descriptor)
        self._dead = []

    def close(self, ended: bool = True) -> None:
        """`ended`: all flows have their end on disk; else the next start ends them."""
        if ended:
            self.path.unlink(missing_ok=True)
        os.close(self._descriptor)


def living(directory: Path) -> list[dict[str, Any]]:
    """What the proxies that write to this directory now say of themselves, the newest last."""
    found = []
    for path in sorted((directory / "proxies").glob("*.json"), key=lambda path: path.stat().st_mtime):
        descriptor = _lock(path)
        if descriptor is None:
            found.append(_facts(path))
        else:
            os.close(descriptor)
    return [facts for facts in found if facts]


def _lock(path: Path) -> int | None:
    """A descriptor that shares the lock of a dead proxy's file; None when its proxy is alive (or a start ends its flows).

    Shared, so that two that look at the same time do not take each other for the proxy.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return descriptor
    except BlockingIOError:
        os.close(descriptor)
        return None


def _facts(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text())
        return value if isinstance(value, dict) else {}
    except (OSError, ValueError):
        return {}


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


# -- reading -----------------------------------------------------------------------------------------------------------------


def _since(path: Path, offset: int) -> Iterator[dict[str, Any]]:
    if offset > _size(path):
        offset = 0  # the file is another one by now
    for line in whole_lines(path, offset):
        if (record := parse(line)) is not None:
            yield record


def whole_lines(path: Path, offset: int = 0) -> Iterator[bytes]:
    """The lines of a file from a byte offset on, without their newline; never the half line at its end. A missing file has none."""
    try:
        file: IO[bytes] = open(path, "rb")  # noqa: SIM115 (closed by the `with` below)
    except FileNotFoundError:
        return
    with file:
        file.seek(offset)
        for line in file:
            if line.endswith(b"\n"):
                yield line[:-1]


def parse(line: bytes) -> dict[str, Any] | None:
    """A record, or None for a line that is none (torn, corrupt, blank)."""
    try:
        record = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return record if isinstance(record, dict) else None


class LogReader:
    """Reads a log directory. Records come as dictionaries: unknown fields are kept."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def flows(self) -> Iterator[dict[str, Any]]:
        return _since(self.directory / FLOWS, 0)

    def ends(self) -> Iterator[dict[str, Any]]:
        return _since(self.directory / ENDS, 0)

    def lines(self) -> Iterator[dict[str, Any]]:
        return _since(self.directory / LINES, 0)

    def flow_lines(self, sid: str, flow_id: str) -> Iterator[dict[str, Any]]:
        """The line records of one flow, from its own file."""
        path = self.directory / "sse_logs" / safe_name(sid) / (safe_name(flow_id) + ".jsonl")
        return (record for record in _since(path, 0) if "data_count" in record)

    def parts(self, sid: str) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
        """(record, metadata) of the request parts of a session. An id that stands twice has the same text twice."""
        folder = self.directory / "sse_logs" / safe_name(sid)
        for path in sorted(folder.glob("*.jsonl")):
            for record in _since(path, 0):
                if str(record.get("event", "")).startswith("request."):
                    metadata = orjson.loads(record["metadata"])
                    if metadata.get("id"):
                        yield record, metadata

    def raw_flow(self, flow_id: str) -> bytes | None:
        """A flow's record exactly as it stands in the log."""
        needle = b'"flow_id":"%s"' % flow_id.encode()
        return next(
            (
                line
                for line in whole_lines(self.directory / FLOWS)
                if needle in line and (parse(line) or {}).get("flow_id") == flow_id
            ),
            None,
        )

    def payload(self, record: dict[str, Any]) -> str:
        """A line record's payload whole, also when it stands in bodies/."""
        metadata = orjson.loads(record["metadata"])
        body = self.directory / "bodies" / safe_name(str(metadata.get("sha256")))
        if "sha256" in metadata and body.exists():
            return body.read_text("utf-8", "replace")
        return str(record["line"]).removeprefix("data: ")

    def value(self, record: dict[str, Any]) -> Any:
        """The payload's JSON value, or its text where it is no JSON (`[DONE]`)."""
        text = self.payload(record)
        try:
            return loads(text)
        except ValueError:
            return text


def follow(path: Path, offset: int, stop: Callable[[], bool]) -> Iterator[bytes]:
    """Lines as they are appended, whole ones only; waits for a file that is not there yet.

    Ends when `stop` says so and all was read.
    """
    rest = b""
    file: IO[bytes] | None = None
    try:
        while True:
            last = stop()
            if file is None and path.exists():
                file = open(path, "rb")  # noqa: SIM115 (closed in the `finally`)
                file.seek(offset)
            data = file.read(READ) if file else b""
            if b"\n" in data:
                *lines, rest = (rest + data).split(b"\n")
                yield from lines
            else:
                rest += data
            if not data:
                if last:
                    return
                time.sleep(POLL)
    finally:
        if file:
            file.close()
