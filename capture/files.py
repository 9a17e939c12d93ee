"""Files of the log directory: what they are called, who may read them, their whole lines."""

import errno
import os
import re
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
    alone: to close /tmp or a home to all others breaks more than it protects. No link that somebody may have planted is
    followed.
    """
    _refuse_planted(Path(os.path.abspath(path)), choose)
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


def _refuse_planted(path: Path, choose: str) -> None:
    """Raises Unusable where somebody else decides what an absolute path leads to: by a link, or as the owner of its parent."""
    there = [(place, status) for place in (path, *path.parents) if (status := _status(place))]
    for place, status in there:
        if stat.S_ISLNK(status.st_mode) and not _is_trusted(place, status, near=place in (path, path.parent)):
            raise Unusable(f"{place} is a symbolic link (to {os.readlink(place)}), which is not followed: {choose}")
    above = next((status for place, status in there if place != path), None)
    if above and above.st_uid not in (0, os.geteuid()):
        raise Unusable(f"{path} is in a directory of another user: {choose}")


def _is_trusted(link: Path, status: os.stat_result, near: bool) -> bool:
    """Whether a link on the way to a directory may be followed.

    The directory itself (it has no parent in `near` that is ours to choose) never is a link, nor is what it stands in, but for
    the system's (macOS has one at /tmp); further up those of ours and of the system are followed where nobody else can put one.
    """
    if near:
        return status.st_uid == 0 != os.geteuid()
    mode = link.parent.stat().st_mode
    return status.st_uid in (0, os.geteuid()) and (not mode & 0o002 or bool(mode & stat.S_ISVTX))


def inside(path: Path) -> Path:
    """A directory inside the log: whatever it holds is ours. The way to the log was looked at by `prepare`."""
    return path if _is_private(path) and _is_private(path.parent) else private_directory(path, ANYTHING)


def _is_private(path: Path) -> bool:
    """Whether a path is a directory of ours, 0700, and no link to one."""
    status = _status(path)
    return status is not None and status.st_mode == stat.S_IFDIR | 0o700 and status.st_uid == os.geteuid()


def open_private(path: Path, flags: int = 0, choose: str = CHOOSE) -> int:
    """A descriptor to append to a file of ours, 0600, that is no link and nothing else but a file. Raises OSError, Unusable.

    `flags`: O_TRUNC or none. What is refused is neither changed nor emptied.
    """
    refuse_odd(path, choose)
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
    except OSError as error:
        if error.errno == errno.ELOOP:  # it came since we looked
            raise Unusable(f"{path} is a symbolic link: move it away, or {choose}") from None
        raise
    try:
        status = os.fstat(descriptor)
        _refuse_odd(path, status, choose)
        if stat.S_IMODE(status.st_mode) != 0o600:
            os.fchmod(descriptor, 0o600)
        if flags & os.O_TRUNC:
            os.ftruncate(descriptor, 0)
    except (OSError, Unusable):
        os.close(descriptor)
        raise
    return descriptor


@contextmanager
def written_whole(path: Path, synced: bool = True) -> Iterator[Path]:
    """An empty file of ours, 0600, to write to; it takes its name when all is written, and is gone when something is raised.

    `synced`: what was written is on the disk before that. Raises OSError.
    """
    draft = path.with_name(f".{path.name}-{os.getpid()}")
    draft.unlink(missing_ok=True)  # of a process that was killed; what others planted is not followed
    os.close(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    try:
        yield draft
        if synced:
            with open(draft, "rb") as file:
                os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def is_ordinary(path: Path) -> bool:
    """Whether there is a file of ours: no link, no second name for another file, nothing but a file."""
    status = _status(path)
    return status is not None and not _oddity(status)


def refuse_odd(path: Path, choose: str = CHOOSE) -> None:
    """Raises Unusable when what stands at a path is not an ordinary file of ours; nothing is fine."""
    if status := _status(path):
        _refuse_odd(path, status, choose)


def _refuse_odd(path: Path, status: os.stat_result, choose: str) -> None:
    if oddity := _oddity(status):
        raise Unusable(f"{path} {oddity}: move it away, or {choose}")


def _status(path: Path) -> os.stat_result | None:
    """Of what stands at a path itself, also when it is a link; None when nothing does."""
    try:
        return path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None


def _oddity(status: os.stat_result) -> str:
    """What is wrong with a file that should be ours alone; "" when nothing is."""
    if stat.S_ISLNK(status.st_mode):
        return "is a symbolic link"
    if not stat.S_ISREG(status.st_mode):
        return "is not a file"
    if status.st_uid != os.geteuid():
        return "belongs to another user"
    return "has another name elsewhere (a hard link)" if status.st_nlink > 1 else ""


def moved_away(path: Path, descriptor: int) -> bool:
    """Whether an open file does not stand at its path any more: deleted, or renamed away."""
    try:
        return not os.path.samestat(os.lstat(path), os.fstat(descriptor))
    except (FileNotFoundError, NotADirectoryError):
        return True


def status_of(path: Path) -> os.stat_result:
    """All zeros when there is no such file."""
    try:
        return path.stat()
    except OSError:
        return os.stat_result((0,) * 10)


def size_of(path: Path) -> int:
    """0 when there is no such file."""
    return status_of(path).st_size


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
