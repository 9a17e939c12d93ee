"""Tool calls kept beside the index: what was put together once is copied again, and only sessions that went on are read anew.

What pairing says of a session depends on nothing but the session and the sub-agents that work for it (see `sharing`). So the
rows of families of sessions that nothing was added to stand as they were; those of the others are made again, each in the place
of the log where it becomes known. What is not of this log as it stands, or was made by another version of this program, counts
for nothing.
"""

import heapq
import os
import zlib
from array import array
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field
from functools import cache
from hashlib import sha256
from operator import attrgetter
from pathlib import Path
from typing import IO, Any, NamedTuple

from capture.extract.base import Kind, json_line
from capture.extract.sharing import parent_of, placed, root_of, sid_of
from capture.files import ENDS, FLOWS, parse, whole_lines
from capture.scan import Item, Notes, Source, chosen, read
from capture.scan.index import Lock, open_private, place_of, read_checked, write_checked
from capture.turns import MAX_SESSIONS

KEPT = "tool_calls"  # the kind: its rows come from the lines of their session alone, and are often asked for
ROWS, TABLE, HEAD, NEW = "calls", "calls.table", "calls.head", ".new"
FORMAT = 1
MAKING = ("extract", "providers", "scan")  # folders of the package whose modules have a part in what rows say
EDGE = 4096  # bytes at both ends of a file that make sure that it is the same
BLOCK = 1 << 20  # bytes looked at once
PACKAGE = Path(__file__).parent.parent

type Mark = list[Any]  # which file, how far, and what stands at both ends of that; empty: there is none
type Watched = Callable[[Iterable[Item], Notes], Iterator[Item]]


class Placed(NamedTuple):
    """A row as a line of JSON, where in the log it became known, whose it is."""

    place: int
    line: bytes
    sid: str


@dataclass(slots=True)
class Kept:
    """What is kept: all rows of a log as far as its marks say."""

    marks: list[Mark]
    sids: list[str] = field(default_factory=list)  # all sessions
    parents: dict[str, str] = field(default_factory=dict)  # session of a sub-agent → session or agent that started it
    bad: list[tuple[str, int, str]] = field(default_factory=list)  # (name of the file, offset, why)
    whose: list[str] = field(default_factory=list)  # sessions by the number they have in the table
    sums: list[int] = field(default_factory=list)  # checksums of rows and table


class Stored(NamedTuple):
    """What an earlier run kept, open to be read."""

    kept: Kept
    table: "array[int]"  # of each row: place, length, number of its session
    file: IO[bytes]

    def rows(self) -> Iterator[Placed]:
        for at, length, number in zip(self.table[::3], self.table[1::3], self.table[2::3], strict=True):
            yield Placed(at, self.file.read(length), self.kept.whose[number])


def keeps(source: Source, kinds: tuple[Kind, ...], engine: str) -> bool:
    """Whether the rows of these kinds are kept."""
    return [kind.name for kind in kinds] == [KEPT] and chosen(source, kinds[0].holds, engine) == "index"


def rows(source: Source, kind: Kind, notes: Notes, watched: Watched) -> Generator[bytes]:
    """The rows of a kind as lines of JSON, in the order in which they become known."""
    place, files = place_of(source), _files(source)
    marks = [_mark(path) for path in files]
    with ExitStack() as stack:
        mine = stack.enter_context(Lock(place, "calls.lock"))
        before = _load(place, files, stack) if None not in marks else None
        if before and before.kept.marks == marks:
            _tell(before.kept, files, notes)
            yield from map(attrgetter("line"), before.rows())
            return
        now = Kept([mark or [] for mark in marks])
        renewed = _renewed(files, before.kept, now) if before else None
        noted, heard = Notes(), set(now.sids)
        items = watched(_heard(read(source, kind.holds, engine="index", sids=renewed, notes=noted), heard), noted)
        found: Iterable[Placed] = (Placed(at, json_line(row), str(row["sid"])) for at, _, row in placed(items, (kind,), None))
        if before and renewed is not None:
            others = (each for each in before.rows() if each.sid not in renewed)
            found = heapq.merge(others, found, key=attrgetter("place"))
        writing = stack.enter_context(_Writing(place)) if mine and None not in marks else None
        for each in found:
            if writing:
                writing.add(each)
            yield each.line
        now.sids = sorted(heard)
        known = {(name, offset) for name, offset, _ in now.bad}
        now.bad += [(name, bad.offset, bad.why) for bad in noted.bad if ((name := Path(bad.file).name), bad.offset) not in known]
        _tell(now, files, notes)
        notes.count += noted.count - len(noted.bad)
        if writing and noted.count == len(noted.bad) and len(now.sids) <= MAX_SESSIONS:
            writing.save(now)


def _tell(kept: Kept, files: list[Path], notes: Notes) -> None:
    """Adds the bad lines to what was noticed."""
    paths = {path.name: str(path) for path in files}
    for name, offset, why in kept.bad:
        notes.add(paths[name], offset, why)


# -- what came since -----------------------------------------------------------------------------------------------------------


def _renewed(files: list[Path], before: Kept, now: Kept) -> frozenset[str] | None:
    """The sessions that something was added to, with their families; None when that is not certain: then all are read again."""
    came, parents = set[str](), dict(before.parents)
    for number, (path, mark) in enumerate(zip(files, before.marks, strict=True)):
        for raw in whole_lines(path, mark[2] if mark else 0):
            if number == 0:
                came.add(sid_of(raw))
                continue
            record = parse(raw) or {}
            sid = record.get("sid")
            came.add(sid if isinstance(sid, str) else "")
            if parent := parent_of(record):
                parents.setdefault(str(sid), parent)
    now.parents = parents
    sids = came.union(before.sids)
    if "" in came or len(sids) > MAX_SESSIONS:
        return None
    now.sids, now.bad = list(sids), list(before.bad)
    roots = {root_of(sid, parents) for sid in came}
    return frozenset(sid for sid in sids if root_of(sid, parents) in roots)


def _heard(items: Iterator[Item], heard: set[str]) -> Iterator[Item]:
    """The items; remembers of which sessions."""
    for item in items:
        if isinstance(item, dict):
            heard.add(str(item.get("sid")))
        yield item


def _files(source: Source) -> list[Path]:
    assert source.lines is not None
    return [source.lines, *(source.log / name for name in (FLOWS, ENDS) if source.log)]


def _mark(path: Path) -> Mark | None:
    """A file as it stands; None while its last line is not whole."""
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            whole = not size or os.pread(file.fileno(), 1, size - 1) == b"\n"
            return _marked(file, size) if whole else None
    except FileNotFoundError:
        return []


def _marked(file: IO[bytes], size: int) -> Mark:
    """A file up to a size."""
    status = os.fstat(file.fileno())
    ends = (os.pread(file.fileno(), min(EDGE, size), at) for at in (0, max(0, size - EDGE)))
    return [status.st_ino, status.st_dev, size, *(sha256(each).hexdigest() for each in ends)]


# -- kept from run to run ------------------------------------------------------------------------------------------------------


def _load(place: Path, files: list[Path], stack: ExitStack) -> Stored | None:
    """What an earlier run kept of these files; they may have grown since. None where there is nothing, or it is not of them."""
    found = read_checked(place / HEAD)
    try:
        if found.pop("of") != _version():
            return None
        kept = Kept(**found)
        if not all(_goes_on(path, mark) for path, mark in zip(files, kept.marks, strict=True)):
            return None
        file = stack.enter_context(open(place / ROWS, "rb", BLOCK))  # noqa: SIM115 (the stack closes it)
        table = (place / TABLE).read_bytes()
        return Stored(kept, array("q", table), file) if kept.sums == [_sum(file), zlib.crc32(table)] else None
    except (OSError, AttributeError, TypeError, ValueError, KeyError):
        return None


def _goes_on(path: Path, mark: Mark) -> bool:
    """Whether a file still begins with what was there."""
    if not mark:
        return not path.exists()
    with open(path, "rb") as file:
        return os.fstat(file.fileno()).st_size >= mark[2] and _marked(file, mark[2]) == mark


def _sum(file: IO[bytes]) -> int:
    """The checksum of a file, which then stands at its beginning again."""
    found = 0
    while block := file.read(BLOCK):
        found = zlib.crc32(block, found)
    file.seek(0)
    return found


class _Writing:
    """Rows on their way to be kept: they count when all are there, and `save` was called."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._table = array("q")
        self._whose: dict[str, int] = {}  # by session: its number
        self._sum = 0
        self._file: IO[bytes] | None = None

    def __enter__(self) -> "_Writing":
        with suppress(OSError):
            (self._place / (ROWS + NEW)).unlink(missing_ok=True)
            self._file = os.fdopen(open_private(self._place / (ROWS + NEW)), "wb", BLOCK)
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            if self._file:
                self._file.close()
            (self._place / (ROWS + NEW)).unlink(missing_ok=True)

    def add(self, row: Placed) -> None:
        if self._file is None:
            return
        try:
            self._file.write(row.line)
        except OSError:  # the disk is full: these rows are not kept
            self._file = None
        self._sum = zlib.crc32(row.line, self._sum)
        self._table.extend((row.place, len(row.line), self._whose.setdefault(row.sid, len(self._whose))))

    def save(self, kept: Kept) -> None:
        """Makes them count: the head is written last."""
        if self._file is None:
            return
        table = self._table.tobytes()
        kept.whose, kept.sums = list(self._whose), [self._sum, zlib.crc32(table)]
        with suppress(OSError):
            self._file.close()
            (self._place / HEAD).unlink(missing_ok=True)
            (self._place / (ROWS + NEW)).replace(self._place / ROWS)
            (self._place / TABLE).unlink(missing_ok=True)
            descriptor = open_private(self._place / TABLE)
            with os.fdopen(descriptor, "wb") as file:
                file.write(table)
            write_checked(self._place / HEAD, {**asdict(kept), "of": _version()})


@cache
def _version() -> list[int]:
    """What made it: any other version of this program may say something else."""
    code = sorted(
        (str(path.relative_to(PACKAGE)), status.st_size, status.st_mtime_ns)
        for folder in (PACKAGE, *(PACKAGE / name for name in MAKING))
        for path in folder.glob("*.py")
        if (status := path.stat())
    )
    return [FORMAT, zlib.crc32(repr(code).encode())]
