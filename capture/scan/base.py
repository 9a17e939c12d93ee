"""The contract of an engine: a way to find the lines of a log that may hold what is wanted."""

import stat
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol

from capture.files import A_LOG, ENDS, FLOWS, LINES, Unusable, size_of
from capture.packed import opened, packing_of
from capture.scan.kinds import Wanted

if TYPE_CHECKING:  # 10 ms that `capture stats` can do without
    from capture.updates import Deltas

type Item = dict[str, Any] | Deltas  # what `Pairing` takes: a record with its payload, or pieces that were read together
type Lines = Iterator[tuple[int, bytes]]  # (byte offset, raw line with its newline), in file order

MAX_BAD = 1000  # bad lines kept one by one; all are counted


@dataclass(frozen=True, slots=True)
class Bad:
    """A line that is no record."""

    file: str
    offset: int
    why: str


@dataclass(slots=True)
class Notes:
    """What reading noticed by the way: bad lines, and how far it is."""

    bad: list[Bad] = field(default_factory=list)  # the first of them
    count: int = 0  # of all bad lines
    read: int = 0  # bytes of the lines file, as stored
    total: int = 0  # 0: not known
    indexed: tuple[int, int] = (0, 0)  # how far the index goes now: bytes, and where its last line begins

    def add(self, file: str, offset: int, why: str) -> None:
        self.count += 1
        if len(self.bad) < MAX_BAD:
            self.bad.append(Bad(file, offset, why))


@dataclass(frozen=True, slots=True)
class Source:
    """A log directory, or one file of line records in any of the three dialects: a path, `-` for stdin, `.gz`, `.zst`."""

    directory: Path | None = None
    file: str | None = None

    @property
    def log(self) -> Path | None:
        """The directory whose three files are read together; None for one file of lines."""
        if self.file is None:
            return self.directory
        path = Path(self.file)
        beside = path.name == LINES and any((path.parent / name).exists() for name in (FLOWS, ENDS))
        return path.parent if beside else None

    @property
    def lines(self) -> Path | None:
        """The file of line records; None for stdin."""
        if self.file == "-":
            return None
        return Path(self.file) if self.file is not None else (self.directory or Path()) / LINES

    @property
    def name(self) -> str:
        return "stdin" if self.lines is None else str(self.lines)

    @property
    def size(self) -> int:
        """Bytes of the lines file; 0 where that is not known."""
        return size_of(self.lines) if self.lines and _regular(self.lines) else 0

    @property
    def plain(self) -> bool:
        """Whether the lines stand in a regular file as they are: it can be searched, mapped, read from anywhere."""
        return self.lines is not None and _regular(self.lines) and packing_of(self.lines) is None

    def check(self) -> None:
        """Raises Unusable when there is nothing of that name."""
        path = self.lines
        if self.file is None:
            if not any((self.directory or Path()).joinpath(name).exists() for name in A_LOG):
                raise Unusable(f"there is no log in {self.directory}: name another directory with SSE_LOG_DIR or --dir")
        elif path is not None and not path.exists():
            raise Unusable(f"there is no file {path}")
        elif path is not None and path.is_dir():
            raise Unusable(f"{path} is a directory: name it with --dir")

    def open(self, start: int = 0) -> IO[bytes]:
        """The lines file from its first whole line at or after `start` on. A missing one, of a directory, is empty."""
        if self.lines is None:
            return sys.stdin.buffer
        if self.file is None and not self.lines.exists():
            return open("/dev/null", "rb")
        packing = packing_of(self.lines) if _regular(self.lines) else self.lines.suffix.lstrip(".")
        file = opened(self.lines, packing)
        if packing:
            return file
        if start:
            file.seek(start - 1)
            file.readline()
        return file


class Engine(Protocol):
    """One way to the lines of a log that may hold what is wanted: at least those, and all that are of no known shape."""

    def __call__(self, source: Source, wanted: Wanted, notes: Notes) -> Lines: ...


def _regular(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return False
