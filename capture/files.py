"""Files of the log directory: what they are called, who may read them, their whole lines."""

import os
import re
import stat
import time
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import IO, Any

import orjson

from capture.jsonl import Kind

FLOWS, LINES, ENDS = "sse_flows.jsonl", "sse_lines.jsonl", "sse_flow_ends.jsonl"
FILES: dict[Kind, str] = {"flows": FLOWS, "lines": LINES, "flow_ends": ENDS}
ERRORS = "sse_logger.error"
SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,93}")  # with its suffix a file name has at most 100 bytes
RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)  # names Windows keeps for devices
POLL = 0.05  # seconds between two looks at a followed file
READ = 4 << 20  # bytes of a followed file read at once
CHOOSE = "choose another with SSE_LOG_DIR or --dir"
A_LOG = ("proxies", *FILES.values())  # a directory with one of these is a log
ANYTHING = ("*",)


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


def prepare(directory: Path) -> Path:
    """The log directory, existing, ours, private, writable. Raises Unusable."""
    try:
        private_directory(directory, A_LOG, "name a directory of its own with SSE_LOG_DIR or --dir")
        probe = directory / f".probe-{os.getpid()}"
        os.close(open_private(probe))
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


def inside(path: Path) -> Path:
    """A directory inside the log: whatever it holds is ours."""
    return private_directory(path, ANYTHING)


def open_private(path: Path, flags: int = 0) -> int:
    """A descriptor to append to a file of ours, 0600, that is no link."""
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | flags, 0o600)
    if stat.S_IMODE(os.fstat(descriptor).st_mode) != 0o600:
        os.fchmod(descriptor, 0o600)
    return descriptor


def moved_away(path: Path, descriptor: int) -> bool:
    """Whether an open file does not stand at its path any more: deleted, or renamed away."""
    try:
        return not os.path.samestat(os.lstat(path), os.fstat(descriptor))
    except (FileNotFoundError, NotADirectoryError):
        return True


def size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


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


def records_since(path: Path, offset: int) -> Iterator[dict[str, Any]]:
    if offset > size_of(path):
        offset = 0  # the file is another one by now
    for line in whole_lines(path, offset):
        if (record := parse(line)) is not None:
            yield record


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
