"""The index beside a log: for each line where it begins, what it may hold, whose flow it is; and what was worked out once.

`<lines file>.index/` holds columns (`offsets`, `kinds`, `flows`: 13 bytes a line, 2 to 3 % of a log), the flows' names, and a
head that says of which file, how far, and which checksums. Readers make and extend it while they read. What does not fit, by
whatever cause, is thrown away and made again: no answer depends on it.
"""

import fcntl
import mmap
import os
import zlib
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from itertools import compress
from operator import and_
from pathlib import Path
from typing import Any

import orjson

from capture.files import parse
from capture.packed import BUFFER
from capture.providers.base import Holds
from capture.scan.base import Lines, Notes, Source
from capture.scan.kinds import HEAD, Chain, Kinds, Wanted, held, version

SUFFIX = ".index"
FORMAT = 1  # of the files; together with the version of the shapes
COLUMNS = ("offsets", "kinds", "flows", "names")
WIDTHS = {"offsets": 8, "kinds": 1, "flows": 4}  # bytes a line
COUNT, FLOW = b'","data_count":', b'"flow_id":"'
NOBODY = 0  # the flow's number of a line whose flow was not told from its bytes: it may be anybody's
EDGE = 4096  # bytes of a line that make sure that it is the same
SAVE = 1_000_000  # lines that wait in memory, 13 bytes each, before they are written
STEP = 16_384  # lines looked through at once
WINDOW = 1 << 16  # bytes of the log read at once; with 256 KiB the lines' memory is given back and asked for again each time

type Edges = tuple[list[int], list[int]]  # where lines begin, where they end; in file order


@dataclass(slots=True)
class Head:
    """What an index is of, and what its files must be."""

    inode: int = 0
    device: int = 0
    covered: int = 0  # bytes of the log: whole lines
    records: int = 0
    first: str = ""  # hashes of the first and of the last line covered
    last: str = ""
    last_at: int = 0
    sizes: dict[str, int] = field(default_factory=lambda: dict.fromkeys(COLUMNS, 0))
    sums: dict[str, int] = field(default_factory=lambda: dict.fromkeys(COLUMNS, 0))
    shapes: int = 0
    format: int = FORMAT


def place_of(source: Source) -> Path:
    """The directory of a source's index."""
    assert source.lines is not None
    return source.lines.with_name(source.lines.name + SUFFIX)


def lines(source: Source, wanted: Wanted, notes: Notes, sids: frozenset[str] | None = None, start: int = 0) -> Lines:
    """The lines from a line's offset on that may hold what is wanted, and that may be of these sessions.

    What is not in the index yet comes to be.
    """
    assert source.lines is not None
    notes.total = source.size
    if not source.size:
        return
    with open(source.lines, "rb", buffering=BUFFER) as file, Lock(place_of(source), "lock") as mine:
        index = Index(place_of(source), file.fileno())
        if start < index.head.covered or index.head.covered < notes.total:
            index.load()
            yield from cut(file.fileno(), index.find(wanted.holds, sids, start), notes)
            file.seek(max(start, index.head.covered))
            yield from index.go_on(file, wanted, notes, mine and start <= index.head.covered)
        notes.indexed = (index.head.covered, index.head.last_at)
    notes.read = notes.total


def cut(log: int, places: Iterator[Edges], notes: Notes) -> Lines:
    """The lines at these places. Not from a map: a log that is cut short under a map kills its reader."""
    for begins, ends in places:
        at = 0
        while at < len(begins):
            low = begins[at]
            stop = bisect_right(ends, low + WINDOW, at + 1)
            block = os.pread(log, ends[stop - 1] - low, low)
            whole = bisect_right(ends, low + len(block), at, stop)
            notes.read = low
            yield from [
                (begin, block[begin - low : end - low]) for begin, end in zip(begins[at:whole], ends[at:whole], strict=True)
            ]
            if whole < stop:
                return
            at = stop


def covered(source: Source) -> int:
    """How many bytes of a source its index covers; 0 without one that fits."""
    try:
        with open(source.lines or "", "rb") as file:
            return Index(place_of(source), file.fileno()).head.covered
    except OSError:
        return 0


class Lock:
    """Whether this process is the one that may write the index: also nobody may, where the log is not ours to write beside."""

    def __init__(self, place: Path, name: str) -> None:
        self._place, self._name = place, name
        self._descriptor = -1

    def __enter__(self) -> bool:
        try:
            self._place.mkdir(0o700, exist_ok=True)
            self._descriptor = open_private(self._place / self._name)
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True

    def __exit__(self, *_: object) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)


class Index:
    """The index of one log file as it is on disk; empty where it does not fit."""

    def __init__(self, place: Path, log: int) -> None:
        self.place = place
        self.head = _head(place, log)
        self._columns: dict[str, Any] = {}  # see `load`
        self._log = log
        self._numbers: dict[bytes, int] = {}  # by a flow's id as it stands in the line
        self._kinds = Kinds()

    def load(self) -> None:
        """Maps the columns; when they are not what the head says, this is an empty index."""
        self._columns = _load(self.place, self.head)
        if not self._columns:
            self.head = Head()

    def find(self, holds: int, sids: frozenset[str] | None, start: int = 0) -> Iterator[Edges]:
        """Where the covered lines from an offset on are that may hold some of it."""
        if not self._columns:
            return
        kinds = self._columns["kinds"]
        offsets = memoryview(self._columns["offsets"]).cast("Q")
        flows = memoryview(self._columns["flows"]).cast("I")
        table = bytes(kind & holds != 0 for kind in range(256))
        whose = None if sids is None else self._whose(sids)
        try:
            for begin in range(bisect_left(offsets, start), self.head.records, STEP):
                mask = kinds[begin : begin + STEP].translate(table)
                if whose is not None:
                    mask = bytes(map(and_, mask, map(whose.__contains__, flows[begin : begin + STEP])))
                edges = offsets[begin : begin + STEP + 1].tolist()
                if begin + STEP >= self.head.records:
                    edges.append(self.head.covered)
                yield list(compress(edges, mask)), list(compress(edges[1:], mask))
        finally:
            offsets.release()
            flows.release()

    def _whose(self, sids: frozenset[str]) -> frozenset[int]:
        """The numbers of the flows of these sessions."""
        names = enumerate(self._columns["names"][:].splitlines(), 1)
        return frozenset((NOBODY, *(number for number, name in names if orjson.loads(name)[1] in sids)))

    def go_on(self, file: Any, wanted: Wanted, notes: Notes, mine: bool) -> Lines:
        """The lines behind what is covered; when the index is `mine` to write, they are in it afterwards."""
        if mine:
            self._numbers = {orjson.dumps(orjson.loads(name)[0])[1:-1]: number for number, name in enumerate(self._names(), 1)}
        offset, new = file.tell(), _New()
        holds, kinds, numbers = wanted.holds, self._kinds, self._numbers
        add_offset, add_kind, add_flow = new.offsets.append, new.kinds.append, new.flows.append
        # of the line before, since the next one mostly is like it: how it begins, what its event tells, how its flow is named
        named, whose, number, rest = b"\n", b"\n", NOBODY, 0
        found: tuple[Chain, ...] | int = int(Holds.ALL)
        try:
            for raw in file:
                if not raw.startswith(named):
                    end = raw.find(b'"', 10)
                    named = raw[: end + 1] or raw
                    found = kinds[raw[10:end]] if raw[:10] == HEAD else int(Holds.ALL)
                kind = found if isinstance(found, int) else held(found, raw)
                if raw[-1:] != b"\n":  # not whole yet: not covered
                    if kind & holds:
                        yield offset, raw
                    break
                if mine:
                    if not raw.startswith(whose, len(raw) - rest):
                        count = raw.rfind(COUNT)
                        flow = raw.rfind(FLOW, 0, count)
                        name = raw[flow + len(FLOW) : count]
                        number = numbers[name] if name in numbers else self._number(new, name, raw)
                        whose, rest = (raw[flow : count + len(COUNT)], len(raw) - flow) if number else (b"\n", 0)
                    add_offset(offset)
                    add_kind(kind)
                    add_flow(number)
                begin, offset = offset, offset + len(raw)
                if kind & holds:
                    notes.read = begin
                    yield begin, raw
                if len(new.offsets) >= SAVE:
                    mine = self._save(new, offset)
        finally:
            if mine and new.offsets:
                self._save(new, offset)

    def _names(self) -> list[bytes]:
        return self._columns["names"][:].splitlines() if self._columns else []

    def _number(self, new: "_New", name: bytes, raw: bytes) -> int:
        """The number of a flow that is named for the first time; nobody's where its line is odd."""
        record = parse(raw) or {}
        flow_id, sid = record.get("flow_id"), record.get("sid")
        if not isinstance(flow_id, str) or not isinstance(sid, str) or orjson.dumps(flow_id)[1:-1] != name:
            return NOBODY
        new.names.append(orjson.dumps([flow_id, sid]))
        self._numbers[name] = len(self._numbers) + 1
        return self._numbers[name]

    def _save(self, new: "_New", covered: int) -> bool:
        """Whether what is new could be kept: the disk may be full, and anybody may delete an index at any time."""
        try:
            self._append(new, covered)
        except OSError:
            return False
        finally:
            new.clear()
        return True

    def _append(self, new: "_New", covered: int) -> None:
        """Appends what is new, then says so: until then it does not count."""
        head = self.head
        if not head.records:
            for name in COLUMNS:
                (self.place / name).unlink(missing_ok=True)  # somebody may read the old ones
        data = {
            "offsets": new.offsets.tobytes(),
            "kinds": bytes(new.kinds),
            "flows": new.flows.tobytes(),
            "names": b"".join(name + b"\n" for name in new.names),
        }
        for name, added in data.items():
            descriptor = open_private(self.place / name)
            try:
                os.ftruncate(descriptor, head.sizes[name])
                os.pwrite(descriptor, added, head.sizes[name])
            finally:
                os.close(descriptor)
            head.sizes[name] += len(added)
            head.sums[name] = zlib.crc32(added, head.sums[name])
        status = os.fstat(self._log)
        head.inode, head.device, head.shapes = status.st_ino, status.st_dev, version()
        head.covered, head.records, head.last_at = covered, head.records + len(new.offsets), new.offsets[-1]
        head.first, head.last = edge(self._log, 0), edge(self._log, head.last_at)
        write_checked(self.place / "head", asdict(head))


class _New:
    """Lines that are not in the index yet."""

    def __init__(self) -> None:
        self.offsets, self.kinds, self.flows = array("Q"), bytearray(), array("I")
        self.names: list[bytes] = []

    def clear(self) -> None:
        del self.offsets[:], self.kinds[:], self.flows[:], self.names[:]


def _head(place: Path, log: int) -> Head:
    """The head of an index that fits the log; an empty one otherwise."""
    found = read_checked(place / "head")
    status = os.fstat(log)
    try:
        head = Head(**found) if isinstance(found, dict) else Head()
        fits = (head.inode, head.device, head.shapes, head.format) == (status.st_ino, status.st_dev, version(), FORMAT)
        if not fits or not head.records or head.covered > status.st_size:
            return Head()
        return head if (head.first, head.last) == (edge(log, 0), edge(log, head.last_at)) else Head()
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return Head()


def _load(place: Path, head: Head) -> dict[str, Any]:
    """The columns of an index; nothing when they are not as its head says."""
    try:
        columns = {name: _map(place / name, head.sizes[name]) for name in COLUMNS} if head.records else {}
        return columns if all(_sum(found) == head.sums[name] for name, found in columns.items()) else {}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}


def _sum(column: Any) -> int:
    """The checksum of a column, whose pages then take no memory until they are looked at again."""
    found = zlib.crc32(column)
    if isinstance(column, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        column.madvise(mmap.MADV_DONTNEED)
    return found


def _map(path: Path, size: int) -> Any:
    """The first bytes of a file. Raises ValueError when there are not so many."""
    with open(path, "rb") as file:
        return mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ) if size else b""


def edge(log: int, offset: int) -> str:
    """A hash of the line at a place, or of its beginning."""
    return sha256(os.pread(log, EDGE, offset).partition(b"\n")[0]).hexdigest()


def write_checked(path: Path, value: Any) -> None:
    """A small file that is there whole or not at all, with a checksum."""
    data = orjson.dumps(value)
    temporary = path.with_name(path.name + ".new")
    descriptor = open_private(temporary)
    try:
        os.ftruncate(descriptor, 0)
        os.write(descriptor, b"%08x\n" % zlib.crc32(data) + data)
    finally:
        os.close(descriptor)
    temporary.rename(path)


def read_checked(path: Path) -> Any:
    """What `write_checked` wrote; None when it is not that any more."""
    try:
        checksum, _, data = path.read_bytes().partition(b"\n")
        return orjson.loads(data) if checksum == b"%08x" % zlib.crc32(data) else None
    except (OSError, ValueError):
        return None


def open_private(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
