"""The log as a dataset: Parquet files by table and day, to which each run adds what is new.

    DIR/lines/date=2026-11-21/part-0000-000000000000-0.parquet
    DIR/turns/date=2026-11-21/part-<random>-0.parquet
    DIR/export.json                 how far each table was read

Logged tables grow by bytes of their file: files first, then the state; what a crash leaves between the two is known by the
offset in its name and taken away by the next run. A file that was renamed away is known by its content: what had come to it is
read, then those that were begun after it. Derived tables grow by rows: a row whose keys are in the dataset is not new.
"""

import fcntl
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import IO, Any

from capture.files import Unusable, parse, private_directory, written_whole
from capture.jsonl import dumps
from capture.packed import packing_of, unpacked
from capture.rotated import parts, readable
from capture.sql import Database
from capture.tables import Table

STATE, STAGING, LOCK = "export.json", ".staging", ".lock"
OURS = (STATE, LOCK)  # a directory with one of these is a dataset of ours
STEP = 64 << 20  # bytes of a log file read into one set of files: it takes about six times as much memory
MARK = 4096  # bytes at the beginning, and before the offset, that tell whether a log file is still the same
MAX_KNOWN = 1000  # files that were read before
VERSION = 1


@dataclass(frozen=True, slots=True)
class Read:
    """How far a log file was read, and how it is known again."""

    offset: int = 0
    generation: int = 0  # rises with each file
    head: str = ""  # SHA-256 of its first MARK bytes, or what there was
    tail: str = ""  # SHA-256 of MARK bytes before the offset
    before: tuple[tuple[int, str], ...] = ()  # the files before this one: how many bytes of their beginning, and its SHA-256


@dataclass(frozen=True, slots=True)
class Written:
    """What a run added to a table."""

    table: str
    rows: int
    bad: int = 0  # lines that are no records
    replaced: int | None = None  # the file that was read last time is gone; of that one so many bytes were read


@dataclass(slots=True)
class State:
    """What a dataset remembers."""

    tables: dict[str, Read] = field(default_factory=dict)

    @classmethod
    def load(cls, folder: Path) -> "State":
        """The state of a dataset; a new one where there is none. Raises Unusable."""
        try:
            told = parse((folder / STATE).read_bytes())
        except FileNotFoundError:
            return cls()
        try:
            if not told or told["version"] != VERSION:
                raise ValueError
            return cls({name: _read(told) for name, told in told["tables"].items()})
        except (KeyError, TypeError, ValueError, AttributeError):
            raise Unusable(f"{folder / STATE} is not of this version: export to another directory") from None

    def save(self, folder: Path) -> None:
        with written_whole(folder / STATE) as part:
            part.write_bytes(dumps({"version": VERSION, "tables": {name: asdict(read) for name, read in self.tables.items()}}))


def _read(told: dict[str, Any]) -> Read:
    return Read(**told | {"before": tuple((size, head) for size, head in told.get("before", ()))})


@contextmanager
def dataset(folder: Path) -> Iterator[Path]:
    """A dataset's directory, made private, for one run at a time. Raises Unusable."""
    try:
        private_directory(folder, OURS, "name a directory of its own")
        lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise Unusable(f"cannot write to {folder} ({error.strerror}): name another directory") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder / STAGING, ignore_errors=True)
        yield folder
    except BlockingIOError:
        raise Unusable(f"another export to {folder} is running") from None
    finally:
        os.close(lock)


def export(
    database: Database, folder: Path, tables: Sequence[Table], final: bool = False, log: Path | None = None
) -> Iterator[Written]:
    """Adds to a dataset what the log has and it has not, table by table. `final`: also what may still change.

    `log`: the directory with the parts of which the database reads all, joined.
    """
    with dataset(folder):
        state = State.load(folder)
        derived = [table for table in tables if not table.logged]
        for table in tables:
            if table.logged:
                files = parts(log, table.logged.file) if log else [database.path(table.name)]
                yield _logged(database, folder, table, state, files)
        database.prepare(table.name for table in derived)
        for table in derived:
            yield _derived(database, folder, table, final)


# -- tables that are files of the log ----------------------------------------------------------------------------------------


def _logged(database: Database, folder: Path, table: Table, state: State, files: Sequence[Path]) -> Written:
    """`files`: the parts of the table's file, the oldest first."""
    read = state.tables.get(table.name, Read())
    known = next((at for at in reversed(range(len(files))) if _is(files[at], read, database.scratch)), None) if read.offset else 0
    replaced = read.offset if known is None else None
    unread = files[known:] if known is not None else [path for path in files if not _was_read(path, read, database.scratch)]
    rows = bad = 0
    for number, path in enumerate(unread):
        if number or known is None:
            read = _next(read)
        _take_back(folder / table.name, read)
        with _plain(path, database.scratch) as log:
            while (end := whole_to(log, read.offset, STEP)) > read.offset:
                slice_ = database.scratch / "slice.jsonl"
                _copy(log, read.offset, end, slice_)
                name = f"part-{read.generation:04d}-{read.offset:012d}"
                odd, wrong = database.odd(table.name, slice_)
                rows += _add(database, folder, table, database.records(table.name, slice_, odd), name)
                bad += wrong
                head, tail = _digest(log, 0, min(MARK, end)), _digest(log, max(0, end - MARK), end)
                read = Read(end, read.generation, head, tail, read.before)
                state.tables[table.name] = read
                state.save(folder)
    return Written(table.name, rows, bad, replaced)


def _is(path: Path, read: Read, scratch: Path) -> bool:
    with _plain(path, scratch) as log:
        return _same(log, read)


def _was_read(path: Path, read: Read, scratch: Path) -> bool:
    """Whether it is one of the files before; the one that was read last is no more what it was, and is read again."""
    with _plain(path, scratch) as log:
        return any(_digest(log, 0, size) == head for size, head in read.before)


def _next(read: Read) -> Read:
    """The file after it."""
    before = (*read.before, (min(MARK, read.offset), read.head)) if read.offset else read.before
    return Read(generation=read.generation + 1, before=before[-MAX_KNOWN:])


def _plain(path: Path, scratch: Path) -> IO[bytes]:
    """A part of the log to be read from any place: of a compressed one, what stands in it. Raises Unusable."""
    if not packing_of(path):
        return open(path, "rb")
    plain: IO[bytes] = tempfile.TemporaryFile(dir=scratch)  # noqa: SIM115 (closed by who asked for it)
    with readable(path), unpacked(path) as packed:
        shutil.copyfileobj(packed, plain, 1 << 20)
    plain.flush()
    return plain


def _same(log: IO[bytes], read: Read) -> bool:
    """Whether a log file still begins, and goes on, as it did when it was read."""
    end = read.offset
    return not end or (
        os.fstat(log.fileno()).st_size >= end
        and _digest(log, 0, min(MARK, end)) == read.head
        and _digest(log, max(0, end - MARK), end) == read.tail
    )


def _digest(log: IO[bytes], start: int, end: int) -> str:
    return sha256(os.pread(log.fileno(), end - start, start)).hexdigest()


def whole_to(log: IO[bytes], start: int, step: int) -> int:
    """Where whole lines from `start` end, about `step` bytes on; `start` where there is no whole line."""
    size = os.fstat(log.fileno()).st_size
    if start + step < size:
        log.seek(start + step)
        if log.readline().endswith(b"\n"):
            return log.tell()
    end = size
    while end > start:
        begin = max(start, end - (1 << 16))
        found = os.pread(log.fileno(), end - begin, begin).rfind(b"\n")
        if found >= 0:
            return begin + found + 1
        end = begin
    return start


def _copy(log: IO[bytes], start: int, end: int, to: Path) -> None:
    """Bytes of a file as a file of their own: DuckDB reads only whole files."""
    log.seek(start)
    with open(to, "wb") as out:
        while start < end and (data := log.read(min(1 << 20, end - start))):
            start += out.write(data)


def _take_back(folder: Path, read: Read) -> None:
    """Removes what a run wrote that did not come to say so."""
    for path in folder.glob(f"*/part-{read.generation:04d}-*.parquet"):
        offset = path.name.split("-")[2]
        if offset.isdigit() and int(offset) >= read.offset:
            path.unlink()


# -- tables that are made by pairing -----------------------------------------------------------------------------------------


def _derived(database: Database, folder: Path, table: Table, final: bool) -> Written:
    keys = ", ".join(table.keys)
    settled = "true" if final else "settled"
    first = f"QUALIFY row_number() OVER (PARTITION BY {keys} ORDER BY position) = 1"
    new = f"SELECT * EXCLUDE (settled, position) FROM {database.rows(table.name)} WHERE {settled} {first}"
    if any((folder / table.name).glob("*/*.parquet")):
        link = database.scratch / "dataset"  # a name without `*` or `[`, which DuckDB reads as patterns
        link.unlink(missing_ok=True)
        link.symlink_to(folder.absolute())
        there = f"read_parquet('{link}/{table.name}/*/*.parquet', union_by_name = true, hive_partitioning = false)"
        same = " AND ".join(f"new.{key} IS NOT DISTINCT FROM old.{key}" for key in table.keys)
        new = f"SELECT new.* FROM ({new}) new ANTI JOIN (SELECT {keys} FROM {there}) old ON {same}"
    return Written(table.name, _add(database, folder, table, new, f"part-{uuid.uuid4().hex}"))


# -- files -------------------------------------------------------------------------------------------------------------------


def _add(database: Database, folder: Path, table: Table, rows: str, name: str) -> int:
    """Rows of a query added to a table, a file for each day. They appear when all are written."""
    staging = folder / STAGING
    staging.mkdir(0o700)
    try:
        count = database.divide(rows, staging, f"{name}-{{i}}")
        for path in sorted(staging.glob("*/*.parquet")):
            path.chmod(0o600)
            _sync(path)
            day = private_directory(folder / table.name / path.parent.name, ("*",))
            path.replace(day / path.name)
            _sync(day)
    finally:
        shutil.rmtree(staging)
    return count


def _sync(path: Path) -> None:
    """What stands at a path is on the disk when this returns."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
