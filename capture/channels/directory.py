"""A log directory, or one file of lines, as it grows: through rotation, truncation, torn and huge lines.

A file that is not there yet is waited for. One that is renamed away is read to its end, and for a while longer, since several
proxies may write and each looks only once a second whether its files still are where they were; then the new one is read from
its beginning. One that is cut (`copytruncate`) is read from its beginning again. One that a purge has rewritten is read on from
where the old one ended.
"""

import os
import re
import stat
import time
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Literal

from capture import purges
from capture.channels.base import Batch
from capture.channels.cutting import Cutter
from capture.files import ENDS, FLOWS, LINES, POLL, Unusable, moved_away

READ = 1 << 20  # bytes of a file taken at one look: what is made of them is in memory at once, and larger looks are not faster
SOME = 1 << 18  # bytes of flow records taken at once, while many are there already: as many as the lines need
TIME = re.compile(rb'"t":"([^"]+)"')
LINGER = 2.0  # seconds a file is read after it was renamed away: a proxy looks once a second
FIRST = 1 << 16  # bytes at the beginning of a file that are compared, at most its first line
BLOCK = 1 << 16  # bytes looked at once for the last newline


@dataclass(frozen=True, slots=True)
class Place:
    """How far a file was read."""

    offset: int = 0  # bytes, at the beginning of a line
    inode: int = 0  # of the file; 0: whichever stands there
    first: str = ""  # SHA-256 of its first line: an inode may come again

    def is_in(self, path: Path) -> bool:
        """Whether it is a place in this very file."""
        try:
            same = not self.inode or path.stat().st_ino == self.inode
            return same and (not self.first or first_line(path) == self.first) and path.stat().st_size >= self.offset
        except OSError:
            return False


type Start = Literal["now", "start"] | Mapping[str, Place]  # by the names of the files; a file that is not named: its beginning


def first_line(path: Path) -> str:
    """SHA-256, in hex, of a file's first line (64 KiB at most); \"\" where there is none that is whole."""
    with open(path, "rb") as file:
        return _first_of(file.fileno())


def end_of(path: Path) -> Place:
    """The beginning of the line that is not whole yet, at the end of a file."""
    try:
        with open(path, "rb") as file:
            place = file.seek(0, os.SEEK_END)
            while place > 0:
                low = max(0, place - BLOCK)
                file.seek(low)
                at = file.read(place - low).rfind(b"\n")
                if at >= 0:
                    return Place(low + at + 1)
                place = low
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as error:
        raise Unusable(f"cannot read {path} ({error.strerror})") from None
    return Place()


class Growing:
    """One file while it grows."""

    def __init__(self, path: Path, place: Place) -> None:
        self.path = path
        self._start = place
        self._descriptor = -1
        self._cutter = Cutter()
        self._inode = 0
        self._first = ""
        self._leaving: list[tuple[int, Cutter, float]] = []  # files that were renamed away, until when they are read
        self.behind = False  # there was more than was taken
        self.share = 1.0  # of what was there: how much is taken

    @property
    def place(self) -> Place:
        """How far the file at hand was read: the place to go on from."""
        if self._descriptor < 0:
            return self._start
        if not self._first:
            self._first = _first_of(self._descriptor)
        return Place(self._cutter.offset, self._inode, self._first)

    def read(self, most: int = READ) -> list[tuple[int, bytes]]:
        """The lines that became whole since the last look, of about `most` bytes."""
        found = self._of_old_ones() if self._leaving else []
        if self._descriptor < 0 and not self._open():
            return found
        moved = moved_away(self.path, self._descriptor)  # asked first: what a purge takes the place of has got its last line then
        data = self._more(self._descriptor, most)
        if data:
            return found + self._cutter.feed(data)
        self.behind = False
        return found + self.read(most) if moved and self._goes_on() else found

    def _goes_on(self) -> bool:
        """Leaves a file that was renamed away for the one in its place; False while there is none."""
        before, inode, cutter, first = self._descriptor, self._inode, self._cutter, self._first
        self._descriptor, self._start = -1, Place()
        if not self._open():
            self._descriptor, self._inode, self._cutter, self._first = before, inode, cutter, first
            return False
        place = purges.continues(self.path, inode, cutter.offset, self._inode)
        if place is None:
            self._leaving.append((before, cutter, time.monotonic() + LINGER))
            return True
        os.close(before)
        os.lseek(self._descriptor, place, os.SEEK_SET)
        self._cutter = Cutter(place)
        return True

    def close(self) -> None:
        for descriptor in (self._descriptor, *(each for each, _, _ in self._leaving)):
            if descriptor >= 0:
                os.close(descriptor)
        self._descriptor = -1
        self._leaving.clear()

    def _open(self) -> bool:
        try:
            self._descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError as error:
            raise Unusable(f"cannot read {self.path} ({error.strerror})") from None
        if stat.S_ISDIR(os.fstat(self._descriptor).st_mode):
            raise Unusable(f"{self.path} is a directory: name the one above it")
        self._inode, self._first = os.fstat(self._descriptor).st_ino, ""
        offset = self._start.offset if self._start.is_in(self.path) else 0
        os.lseek(self._descriptor, offset, os.SEEK_SET)
        self._cutter = Cutter(offset)
        return True

    def _more(self, descriptor: int, most: int) -> bytes:
        """What was appended, at most so many bytes; from the beginning when the file was cut."""
        size, place = os.fstat(descriptor).st_size, os.lseek(descriptor, 0, os.SEEK_CUR)
        if size < place:
            os.lseek(descriptor, 0, os.SEEK_SET)
            self._cutter, self._first, place = Cutter(), "", 0
        self.behind = size - place > most
        self.share = (place + most) / size if self.behind else 1.0
        return os.read(descriptor, min(most, size - place)) if size > place else b""

    def _of_old_ones(self) -> list[tuple[int, bytes]]:
        found: list[tuple[int, bytes]] = []
        for each in list(self._leaving):
            descriptor, cutter, until = each
            found += cutter.feed(os.read(descriptor, READ))
            if time.monotonic() > until:
                found += cutter.close()
                os.close(descriptor)
                self._leaving.remove(each)
        return found


class LogSource:
    """The three files of a log directory, together."""

    def __init__(self, directory: Path, start: Start = "now") -> None:
        self.name = str(directory)
        self._flows, self._lines, self._ends = (
            Growing(directory / name, _place(directory / name, start)) for name in (FLOWS, LINES, ENDS)
        )
        self._ahead = b""  # time of the last flow record that was taken

    @property
    def position(self) -> dict[str, Place]:
        """How far each file was read, by name: what another reading can start from."""
        return {growing.path.name: growing.place for growing in (self._flows, self._lines, self._ends)}

    def poll(self, wait: float = 0.0) -> Batch | None:
        until = time.monotonic() + wait
        while not (batch := self._look()) and (left := until - time.monotonic()) > 0:
            time.sleep(min(POLL, left))
        return batch

    def close(self) -> None:
        for growing in (self._flows, self._lines, self._ends):
            growing.close()

    def _look(self) -> Batch:
        """Ends first, flows last: proxies write them the other way round, so nothing is read before what it refers to."""
        ends = [raw for _, raw in self._ends.read()]
        lines = self._lines.read()
        flows = self._flows_for(lines)
        return Batch(flows, lines, ends, self._lines.behind or self._flows.behind)

    def _flows_for(self, lines: list[tuple[int, bytes]]) -> list[bytes]:
        """The flow records up to the time of the last line: of a long log not all that are there, which would fill memory.

        At least the same share of their file as of that of the lines: they grew together, also where clocks differ.
        """
        flows: list[bytes] = []
        until = _time(lines[-1][1]) if lines else b""
        while not (lines and self._flows.behind and self._ahead > until and self._flows.share >= self._lines.share):
            some = [raw for _, raw in self._flows.read(SOME)]
            if some:
                flows += some
                self._ahead = _time(some[-1])
            if not self._flows.behind or not lines:
                break
        return flows


class FileSource:
    """One file of line records, of any dialect."""

    def __init__(self, path: Path, start: Literal["now", "start"] | Place = "now") -> None:
        self.name = str(path)
        self._lines = Growing(path, _place(path, {path.name: start} if isinstance(start, Place) else start))

    def poll(self, wait: float = 0.0) -> Batch | None:
        until = time.monotonic() + wait
        while not (lines := self._lines.read()) and (left := until - time.monotonic()) > 0:
            time.sleep(min(POLL, left))
        return Batch(lines=lines, behind=self._lines.behind)

    def close(self) -> None:
        self._lines.close()


def _time(raw: bytes) -> bytes:
    """The time of a record, from the beginning of its line; empty for what is none."""
    found = TIME.search(raw, 0, 1000)
    return found[1] if found else b""


def _place(path: Path, start: Start) -> Place:
    if start == "now":
        return end_of(path)
    return start.get(path.name, Place()) if isinstance(start, Mapping) else Place()


def _first_of(descriptor: int) -> str:
    """As `first_line`, of an open file, whose place stays."""
    line, newline, _ = os.pread(descriptor, FIRST, 0).partition(b"\n")
    return sha256(line + newline).hexdigest() if newline or len(line) == FIRST else ""
