"""One file of whole lines, to which several processes append.

One `write` of whole lines on an O_APPEND descriptor is atomic between processes. A torn tail (a kill during a write, a full
disk) is never appended to: the next write begins with a newline then; whoever is alone moves the fragment away.
"""

import errno
import fcntl
import os
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

from capture.files import Unusable, inside, moved_away, open_private, parse
from capture.jsonl import dumps

WRITE = 1 << 20  # bytes of lines joined for one write, and tried again where the disk took none


class Appender:
    """One file of whole lines, open from its first `flush` to `close`; what could not be written waits, also while it is closed.

    `shared`: other processes may append to it as well.
    """

    def __init__(self, path: Path, shared: bool = True) -> None:
        self.path = path
        self.waiting = 0  # bytes
        self.lines: deque[bytes] = deque()  # that wait
        self._shared = shared
        self.descriptor = -1  # while it is closed
        self._size = -1  # of the file after our last write: when it still is, its tail is ours and whole
        self._before = 0  # bytes of the file before our last write
        self.was_cut = False  # somebody made it shorter, as `copytruncate` does

    def open(self) -> None:
        """Raises OSError, Unusable."""
        if self.descriptor < 0:
            self.descriptor, self._size = open_private(inside(self.path.parent) / self.path.name), -1

    def add(self, line: bytes) -> None:
        self.lines.append(line)
        self.waiting += len(line)

    def flush(self) -> None:
        """Writes what was added, up to WRITE bytes of whole lines in one `write`. Raises OSError; what was not written waits.

        Of a file that could not be written nothing is believed any more: it is opened anew, and its tail is looked at.
        """
        while self.lines:
            self.open()
            count = len(self.lines) if self.waiting <= WRITE else self._first()
            data = b"".join(islice(self.lines, count))
            try:
                written = self._append(data)
            except OSError:
                self.close()
                raise
            if written < len(data):  # a full disk shows so, before it shows as an error
                self._written(written)
                self.close()
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self._written(written)

    def moved(self) -> bool:
        """Whether the file is open, and was deleted or renamed away."""
        return self.descriptor >= 0 and moved_away(self.path, self.descriptor)

    def forget(self) -> None:
        """What waits is not written."""
        self.lines.clear()
        self.waiting = 0

    def leave_out(self, is_gone: Callable[[dict[str, Any]], bool]) -> None:
        """Of what waits, these records are not written."""
        self.lines = deque(line for line in self.lines if not is_gone(parse(line) or {}))
        self.waiting = sum(map(len, self.lines))

    def close(self) -> None:
        if self.descriptor >= 0:
            descriptor, self.descriptor = self.descriptor, -1
            os.close(descriptor)

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
            return self._whole_lines(data, os.write(self.descriptor, data))
        end = b""
        fcntl.flock(self.descriptor, fcntl.LOCK_SH)
        try:
            if self._torn():
                # It may be a write of another process that is not over: the exclusive lock waits for it.
                fcntl.flock(self.descriptor, fcntl.LOCK_EX)
                if self._torn() and not data.startswith(b"\n"):
                    end = b"\n"
            self._size = -1
            written = os.write(self.descriptor, end + data)
            written = self._whole_lines(end + data, written)
            with suppress(OSError):  # what is written is written: nothing that fails from here on may have it written again
                self._size = os.fstat(self.descriptor).st_size
                self.was_cut = self.was_cut or self._size < self._before + written
        finally:
            self._unlock()
        return max(0, written - len(end))

    def _whole_lines(self, data: bytes, written: int) -> int:
        """How many bytes of `data` stay: the half line that a short write left is taken back, where nobody wrote behind it."""
        if written == len(data):
            return written
        fragment = data[data.rfind(b"\n", 0, written) + 1 : written]
        if not fragment:
            return written
        with suppress(OSError):
            fcntl.flock(self.descriptor, fcntl.LOCK_EX)
            start = os.fstat(self.descriptor).st_size - len(fragment)
            if os.pread(self.descriptor, len(fragment), start) == fragment:
                os.ftruncate(self.descriptor, start)
                return written - len(fragment)
        return written

    def _unlock(self) -> None:
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_UN)
        except OSError:
            self.close()  # which ends the lock as well

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
        size = os.fstat(self.descriptor).st_size
        self.was_cut = self.was_cut or size < self._size
        self._before = size
        return size not in (0, self._size) and os.pread(self.descriptor, 1, size - 1) != b"\n"


def flushed(file: Appender) -> OSError | None:
    """What went wrong, so that one file's failure does not keep the others back."""
    try:
        file.flush()
    except (OSError, Unusable) as problem:
        return as_error(problem)
    return None


def as_error(problem: OSError | Unusable) -> OSError:
    return problem if isinstance(problem, OSError) else OSError(errno.EIO, str(problem))


def without_torn_tail(path: Path, t: str) -> int:
    """Moves the fragment at the end of a file that nobody else is writing to `<file>.bad`, with the time `t`: its bytes, or 0.

    Raises OSError, Unusable.
    """
    if not path.exists():
        return 0
    descriptor = open_private(path)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)  # who has started since we looked may be writing this very tail
        size = os.fstat(descriptor).st_size
        whole = _last_newline(descriptor, size)
        if whole < size:
            fragment = os.pread(descriptor, size - whole, whole)
            with open(open_private(path.with_name(path.name + ".bad")), "ab") as bad:
                bad.write(dumps({"t": t, "offset": whole, "bytes": len(fragment)}) + fragment + b"\n")
            os.ftruncate(descriptor, whole)
        return size - whole
    finally:
        os.close(descriptor)


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
