"""What was purged from a log while proxies write to it and readers follow it: how they are told.

`proxies/purges` is gate and notice board in one. A writer holds its lock, shared, while it writes what it has; a purge holds it
alone while it puts rewritten files in the place of the old ones, and appends a notice. No notice tells an id: of the sessions
that went it holds hashes.
"""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import orjson

from capture.files import inside, moved_away, open_private, parse, whole_lines
from capture.jsonl import dumps

NOTICES = "proxies/purges"
MARKS = 100  # purges a reader may have slept through, and still reads on where it was


@dataclass(frozen=True, slots=True)
class Moved:
    """A file whose place a rewritten one took."""

    old: int  # inode
    size: int  # bytes of the old one, when it was left
    new: int  # inode
    offset: int  # in the new one: all before it stands in the old one as well
    marks: tuple[tuple[int, int], ...] = ()  # where earlier purges left the old one, and where that is in the new one

    def place(self, offset: int) -> int | None:
        """Where in the new one an offset of the old one is; None where that is not known."""
        return self.offset if offset >= self.size else dict(self.marks).get(offset)


@dataclass(frozen=True, slots=True)
class Notice:
    """One purge: which files were rewritten, and whose records went."""

    at: float  # Unix seconds
    files: dict[str, Moved]
    sessions: frozenset[str] | None  # hashes (`hash_of`); None: all

    def covers(self, sid: str) -> bool:
        return self.sessions is None or hash_of(sid) in self.sessions


def hash_of(sid: str) -> str:
    """What stands for a session in a notice."""
    return sha256(b"purged " + sid.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def post(descriptor: int, notice: Notice) -> None:
    """Appends a notice to the open board. Raises OSError."""
    files = {name: [moved.old, moved.size, moved.new, moved.offset, moved.marks] for name, moved in notice.files.items()}
    line = dumps({"at": notice.at, "files": files, "sessions": sorted(notice.sessions) if notice.sessions is not None else None})
    if os.write(descriptor, line) < len(line):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    os.fsync(descriptor)


def notices(directory: Path, offset: int = 0) -> Iterator[Notice]:
    """What the board of a log directory says, the oldest first; from a byte offset on."""
    for line in whole_lines(directory / NOTICES, offset):
        found = _notice(line)
        if found is not None:
            yield found


def _notice(line: bytes) -> Notice | None:
    record = parse(line) or {}
    try:
        files = {str(name): _moved(*numbers) for name, numbers in record["files"].items()}
        sessions = record["sessions"]
        return Notice(float(record["at"]), files, None if sessions is None else frozenset(map(str, sessions)))
    except (KeyError, TypeError, ValueError, AttributeError, orjson.JSONDecodeError):
        return None


def _moved(old: int, size: int, new: int, offset: int, marks: list[list[int]]) -> Moved:
    return Moved(old, size, new, offset, tuple((before, after) for before, after in marks))


def last(directory: Path) -> float:
    """When the last purge was, Unix seconds; 0.0 when there was none."""
    return max((notice.at for notice in notices(directory)), default=0.0)


def continues(path: Path, inode: int, offset: int, there: int) -> int | None:
    """Where in the file `there` (an inode) goes on what was read of the one before it up to `offset`; None: from its beginning.

    A purge puts a shorter file in the place of the old one: who has read the old one to its end has read this one up to there.
    """
    moves = [moved for notice in notices(path.parent) if (moved := notice.files.get(path.name))]
    born = max((index for index, moved in enumerate(moves, 1) if moved.new == inode), default=0)  # earlier ones had its number
    at: int | None = offset
    for moved in moves[born:]:
        if moved.old == inode and inode != there and at is not None:
            inode, at = moved.new, moved.place(at)
    return at if inode == there else None


def marks(path: Path, inode: int) -> frozenset[int]:
    """Where in this file earlier purges left it: who was away meanwhile looks for these places."""
    found: frozenset[int] = frozenset()
    for notice in notices(path.parent):
        moved = notice.files.get(path.name)
        if moved and moved.new == inode:
            found = frozenset([moved.offset, *[after for _, after in moved.marks][-MARKS:]])
    return found


class Gate:
    """A writer's side of the board: nothing is purged while it is `held`."""

    def __init__(self, directory: Path) -> None:
        """Raises OSError, Unusable."""
        self._path = directory / NOTICES
        self._descriptor = self._open()
        self._read = os.fstat(self._descriptor).st_size
        self._depth = 0  # who holds it may come again

    def _open(self) -> int:
        return open_private(inside(self._path.parent) / self._path.name)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Whatever is wrong with the lock, what is to be written is written."""
        if not self._depth:
            with suppress(OSError):
                fcntl.flock(self._descriptor, fcntl.LOCK_SH)
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1
            if not self._depth:
                with suppress(OSError):
                    fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def news(self) -> list[Notice]:
        """The purges since the last look."""
        with suppress(OSError):
            size = os.fstat(self._descriptor).st_size
            if size > self._read:
                data = os.pread(self._descriptor, size - self._read, self._read)
                self._read = size
                return [notice for line in data.splitlines() if (notice := _notice(line))]
        return []

    def look(self) -> None:
        """Opens the board again where it was taken away. Raises OSError, Unusable."""
        if moved_away(self._path, self._descriptor):
            fresh = self._open()
            fcntl.flock(fresh, fcntl.LOCK_SH | fcntl.LOCK_NB) if self._depth else None
            os.close(self._descriptor)
            self._descriptor, self._read = fresh, os.fstat(fresh).st_size

    def close(self) -> None:
        os.close(self._descriptor)
