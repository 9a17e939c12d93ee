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
from collections import OrderedDict
from collections.abc import Callable, Iterator
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


def prepare(directory: Path) -> Path:
    """The log directory, existing, ours, private, writable. Raises Unusable."""
    try:
        private_directory(directory)
        probe = directory / f".probe-{os.getpid()}"
        os.close(_private(probe))
        probe.unlink()
    except OSError as error:
        raise Unusable(f"cannot write to {directory} ({error.strerror}): {CHOOSE}") from None
    return directory


def private_directory(path: Path) -> Path:
    """A directory of ours, 0700 whatever the umask; parents that are missing are made the same way. Raises OSError, Unusable."""
    for missing in reversed([parent for parent in (path, *path.parents) if not parent.exists()]):
        missing.mkdir(0o700, exist_ok=True)
        missing.chmod(0o700)
    status = path.stat()
    if not stat.S_ISDIR(status.st_mode):
        raise Unusable(f"{path} is not a directory: {CHOOSE}")
    if status.st_uid != os.geteuid():
        raise Unusable(f"{path} belongs to another user: {CHOOSE}")
    if stat.S_IMODE(status.st_mode) != 0o700:
        path.chmod(0o700)
    return path


def _private(path: Path, flags: int = 0) -> int:
    """A descriptor to append to a file of ours, 0600, that is no link."""
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | flags, 0o600)
    if stat.S_IMODE(os.fstat(descriptor).st_mode) != 0o600:
        os.fchmod(descriptor, 0o600)
    return descriptor


class Appender:
    """One file of whole lines. `shared`: other processes may append to it as well."""

    def __init__(self, path: Path, shared: bool = True) -> None:
        self.path = path
        self._shared = shared
        self._descriptor = _private(path)
        self._pending: list[bytes] = []
        self._size = -1  # of the file after our last write: when it still is, its tail is ours and whole

    def add(self, line: bytes) -> None:
        self._pending.append(line)

    def flush(self) -> None:
        """Writes what was added, whole lines in one `write`. Raises OSError; what was not written whole stays pending."""
        if not self._pending:
            return
        data = b"".join(self._pending)
        if not self._shared and self._size >= 0:
            self._wrote(data, os.write(self._descriptor, data))
            return
        torn = self._torn()
        # A tail without its newline may be a write of another process that is not over: the exclusive lock waits for it.
        fcntl.flock(self._descriptor, fcntl.LOCK_EX if torn else fcntl.LOCK_SH)
        try:
            if torn and self._torn() and not data.startswith(b"\n"):
                data = b"\n" + data
            written = os.write(self._descriptor, data)
            self._size = os.fstat(self._descriptor).st_size
        finally:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)
        self._wrote(data, written)

    def _wrote(self, data: bytes, written: int) -> None:
        if written < len(data):  # a full disk shows so, before it shows as an error
            whole = written if data[written : written + 1] == b"\n" else data.rfind(b"\n", 0, written) + 1
            self._pending = [data[whole:]]  # of a line that lacks only its newline, the newline
            self._size = -1
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._pending.clear()

    def _torn(self) -> bool:
        size = os.fstat(self._descriptor).st_size
        return size not in (0, self._size) and os.pread(self._descriptor, 1, size - 1) != b"\n"

    def close(self) -> None:
        os.close(self._descriptor)


def _flush(file: Appender) -> OSError | None:
    """What went wrong, so that one file's failure does not keep the others back."""
    try:
        file.flush()
    except OSError as error:
        return error
    return None


class LogWriter:
    """Appends records to the central files and to the file of their flow. Lines reach the disk with `flush`."""

    def __init__(self, directory: Path, proxy: dict[str, Any], now: Callable[[], float] = time.time) -> None:
        """`proxy`: what the presence file says of the writing process. Raises Unusable."""
        self.directory = prepare(directory)
        self._now = now
        self._errors_at, self._errors = 0, 0
        self._blobs: list[Blob] = []  # to be written before the lines that refer to them
        self._failed: OSError | None = None  # what went wrong since the last flush
        self._flows: OrderedDict[str, Appender] = OrderedDict()
        self._folders: dict[str, str] = {}  # flow id → the session folder its file is in
        self._touched: dict[str, Appender] = {}  # flow files with pending lines
        try:
            for name in ("sse_logs", "bodies", "proxies"):
                private_directory(self.directory / name)
            self._error_file = Appender(self.directory / ERRORS)
            self.presence = Presence(self.directory, proxy)
            if self.presence.alone:
                for name in (*FILES.values(), ERRORS):
                    self._repair(self.directory / name)
            self._central = {kind: Appender(self.directory / name) for kind, name in FILES.items()}
            for orphan, since in self.presence.orphans():
                self._end_orphan(orphan, since)
            self.flush()
            self.presence.forget()
        except OSError as error:
            raise Unusable(f"cannot write to {directory} ({error.strerror}): {CHOOSE}") from None

    def write(self, entry: Entry) -> None:
        """Takes an entry; nothing raises before `flush`, so that one file's trouble keeps no other entry back."""
        if isinstance(entry, Blob):
            self._blobs.append(entry)
            return
        line = dumps(entry.fields)
        self._central[entry.kind].add(line)
        try:
            file = self._flow_file(entry.sid, entry.flow_id)
        except (OSError, Unusable) as problem:  # the record stands in the central log all the same
            self._failed = OSError(getattr(problem, "errno", None) or errno.EIO, getattr(problem, "strerror", None) or str(problem))
            return
        file.add(line)
        self._touched[entry.flow_id] = file
        if entry.kind == "flow_ends":
            self._folders.pop(entry.flow_id, None)

    def flush(self) -> None:
        """Everything written so far is in the files (the system's cache: a killed process loses nothing of it). Raises OSError."""
        failed, self._failed = self._failed, None
        try:
            while self._blobs:
                self._write_blob(self._blobs[0])
                del self._blobs[0]
        except OSError as problem:
            failed = problem
        for file in self._central.values():
            failed = _flush(file) or failed
        for flow_id, file in list(self._touched.items()):
            if trouble := _flush(file):
                failed = trouble
                continue
            del self._touched[flow_id]
            if flow_id not in self._folders:
                self._flows.pop(flow_id, file).close()
        if failed:
            raise failed

    def error(self, where: str, what: str, do: str, flow_id: str | None = None) -> None:
        """One line in sse_logger.error, at most MAX_ERRORS a minute. `what` has passed the redactor."""
        minute = int(self._now() // 60)
        if minute != self._errors_at:
            self._errors_at, self._errors = minute, 0
        self._errors += 1
        if self._errors > MAX_ERRORS:
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
        """Flushes, and says that this proxy has ended its flows."""
        self.flush()
        for file in (*self._central.values(), *self._flows.values(), self._error_file):
            file.close()
        self.presence.close()

    def _flow_file(self, sid: str, flow_id: str) -> Appender:
        if file := self._flows.get(flow_id):
            self._flows.move_to_end(flow_id)
            return file
        folder = self._folders.setdefault(flow_id, safe_name(sid))
        file = Appender(private_directory(self.directory / "sse_logs" / folder) / (safe_name(flow_id) + ".jsonl"), shared=False)
        self._flows[flow_id] = file
        if len(self._flows) > MAX_OPEN:
            oldest, closing = next(iter(self._flows.items()))
            if not _flush(closing):  # else it stays open: its lines wait in it
                del self._flows[oldest]
                self._touched.pop(oldest, None)
                closing.close()
        return file

    def _write_blob(self, blob: Blob) -> None:
        path = self.directory / "bodies" / blob.sha256
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
        self._offsets = {kind: _size(directory / name) for kind, name in FILES.items()}
        self._dead: list[tuple[Path, int, dict[str, Any]]] = []
        gate = _private(directory / "proxies" / ".lock")
        try:
            fcntl.flock(gate, fcntl.LOCK_EX)  # two starts at once: one after the other
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
            self.id = f"{os.getpid()}-{time.time_ns() // 1000:x}"
            self.path = directory / "proxies" / f"{self.id}.json"
            self._descriptor = _private(self.path)
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)
            self.say(facts)
        finally:
            os.close(gate)

    def say(self, facts: dict[str, Any]) -> None:
        """Writes what others should know of this proxy (port, web address without token, process)."""
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

    def close(self) -> None:
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
