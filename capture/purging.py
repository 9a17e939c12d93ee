"""Sessions taken out of a log for good, while any number of proxies write to it.

Each central file is copied without what goes; the last stretch and the renames are done while the gate is shut (`capture.purges`),
so that all of them are the old ones, or all the new ones. A kill in between leaves a plan, by which the next purge or the next
start of a proxy goes on.
"""

import fcntl
import json
import os
import re
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from capture.files import (
    ENDS,
    ERRORS,
    FLOWS,
    LINES,
    Unusable,
    inside,
    open_private,
    parse,
    safe_name,
    size_of,
    status_of,
    whole_lines,
    written_whole,
)
from capture.packed import packing_of, written
from capture.purges import NOTICES, Moved, Notice, hash_of, marks, post
from capture.rotated import is_being_packed, lines_of, old_parts, parts, strangers

WORK = ".purge"  # a folder in the log: drafts, and the plan of a purge that has begun to rename
PLAN = "plan.json"
REWRITTEN = (ERRORS, FLOWS, ENDS, LINES)
CLOSE = 1 << 20  # bytes left to copy with the gate shut
ROUNDS = 8  # copies of what came meanwhile, before that
PATIENCE = 10.0  # seconds until a proxy that holds the gate is waited for no longer
YOUNG = 3600.0  # seconds a body nobody refers to stays: the line that refers to it may wait for a full disk
TIME = re.compile(rb'"t":"([^"\\]+)"')
BODY = re.compile(rb'sha256\\":\\"([0-9a-f]{64})')
LAST = b',"sid":"'


@dataclass(slots=True)
class Held:
    """What a log holds of one session."""

    flows: set[str] = field(default_factory=set)
    records: int = 0
    bytes: int = 0  # that its records take in the central files
    last: str = ""  # time of its last record
    bodies: set[str] = field(default_factory=set)  # that its records refer to


@dataclass(frozen=True, slots=True)
class Going:
    """Whose records go; `sids` None: all."""

    sids: frozenset[str] | None
    flows: frozenset[str]

    def takes(self, line: bytes, kind: str) -> bool:
        """Whether a line of a file goes. One that is no record goes when it names what goes."""
        if kind == ERRORS:
            record = parse(line)
            return (record or {}).get("flow_id") in self.flows or self._named(line) or (self.sids is None and record is None)
        sid = sid_of(line)
        if sid is None:
            return self.sids is None or self._named(line)
        return self.sids is None or sid in self.sids

    def _named(self, line: bytes) -> bool:
        return any(name.encode() in line for name in (*(self.sids or ()), *self.flows))


def sid_of(line: bytes) -> str | None:
    """The session of a record; None for a line that is none."""
    at = line.rfind(LAST)
    record = parse(b"{" + line[at + 1 :]) if at >= 0 else None
    if record is None or set(record) != {"sid"}:
        record = parse(line)
    return str(record["sid"]) if record and "sid" in record else None


def body_of(line: bytes) -> str:
    """The file in bodies/ that a record refers to; "" when it refers to none."""
    found = BODY.search(line, at) if (at := line.rfind(b',"metadata":"')) >= 0 else None
    return found[1].decode() if found else ""


def held(directory: Path) -> dict[str, Held]:
    """What a log holds, by session."""
    found: dict[str, Held] = {}
    for name in (FLOWS, LINES, ENDS):
        for path in parts(directory, name):
            sizes = Counter[str]()
            for line in lines_of(path):
                if (sid := sid_of(line)) is None:
                    continue
                session = found.setdefault(sid, Held())
                session.records += 1
                sizes[sid] += len(line) + 1
                if body := body_of(line):
                    session.bodies.add(body)
                if t := TIME.search(line, 0, 1000):
                    session.last = max(session.last, t[1].decode("utf-8", "replace"))
                if name != LINES and (record := parse(line)):
                    session.flows.add(str(record.get("flow_id")))
            share = size_of(path) / max(1, sizes.total()) if packing_of(path) else 1
            for sid, size in sizes.items():
                found[sid].bytes += round(size * share)
    return found


def files_of(directory: Path, sids: frozenset[str] | None) -> list[Path]:
    """The sessions' folders in sse_logs/."""
    folder = directory / "sse_logs"
    if sids is None:
        return sorted(folder.glob("*"))
    return [path for sid in sorted(sids) if (path := folder / safe_name(sid)).exists()]


def purge(directory: Path, sids: frozenset[str] | None, flows: frozenset[str]) -> None:
    """Takes these sessions out (None: all). Proxies go on; their open flows are recorded no further. Raises Unusable."""
    with _alone(directory) as work:
        _finish(directory, work)
        _purge(directory, work, Going(sids, flows), {})


def finish(directory: Path) -> None:
    """Ends what a killed purge had begun. Raises Unusable."""
    if (directory / WORK).is_dir():
        with _alone(directory) as work:
            _finish(directory, work)


@contextmanager
def _alone(directory: Path) -> Iterator[Path]:
    """The folder to work in: one purge at a time. Raises Unusable."""
    try:
        work = inside(directory / WORK)
        lock = open_private(work / "lock")
    except OSError as error:
        raise Unusable(f"cannot write to {directory} ({error.strerror})") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        done = False
        try:
            yield work
            done = True
        finally:
            if done or not _plan(work / PLAN):  # else something has been renamed, and the next one goes on
                shutil.rmtree(work, ignore_errors=True)
    except BlockingIOError:
        raise Unusable("another purge of this log is at work: try again when it is done") from None
    except OSError as error:
        raise Unusable(f"cannot purge {directory} ({error.strerror}): nothing is half done, try again") from None
    finally:
        os.close(lock)


def _finish(directory: Path, work: Path) -> None:
    plan = _plan(work / PLAN)
    if plan:
        sids = None if plan["sids"] is None else frozenset(plan["sids"])
        _purge(directory, work, Going(sids, frozenset(plan["flows"])), plan["files"])


def _plan(path: Path) -> dict[str, Any]:
    try:
        plan = json.loads(path.read_bytes())
        return plan if {"sids", "flows", "files"} <= set(plan) else {}
    except (OSError, ValueError):
        return {}


def _purge(directory: Path, work: Path, going: Going, begun: dict[str, list[int]]) -> None:
    """`begun`: inode and size of the files as they were when an earlier try began to rename: what came later stays."""
    bodies = _Bodies()
    if packing := [path.name for name in REWRITTEN for path in old_parts(directory, name) if is_being_packed(path)]:
        raise Unusable(f"{', '.join(packing)} is being compressed: try again when only one of the two is there")
    old = [_Part(path, work, name, going, bodies) for name in REWRITTEN for path in old_parts(directory, name)]
    for part in old:
        part.go_on()
    copies = [_Copy(directory / name, work / name, going, bodies, begun) for name in REWRITTEN]
    try:
        for copy in copies:
            for _ in range(ROUNDS):
                if copy.go_on() < CLOSE:
                    break
        with shut(directory) as board:
            for copy in copies:
                copy.finish()
            for part in old:
                part.finish()
            if {part.path for part in old} != {path for name in REWRITTEN for path in old_parts(directory, name)}:
                raise Unusable("the log was rotated meanwhile: try again")
            _commit(work, going, copies, old, board)
            _take_away(directory, going, bodies)
    finally:
        for copy in copies:
            copy.close()
    _take_bad(directory, going)


def _commit(work: Path, going: Going, copies: list["_Copy"], old: list["_Part"], board: int) -> None:
    moved = {copy.path.name: copy.moved() for copy in copies if copy.there}
    plan = {
        "sids": None if going.sids is None else sorted(going.sids),
        "flows": sorted(going.flows),
        "files": {name: [each.old, each.size] for name, each in moved.items()},
    }
    draft = open_private(work / "plan", os.O_TRUNC)
    try:
        os.write(draft, json.dumps(plan).encode())
        os.fsync(draft)
    finally:
        os.close(draft)
    (work / "plan").rename(work / PLAN)
    for part in old:
        part.replace()
    sessions = None if going.sids is None else frozenset(map(hash_of, going.sids))
    post(board, Notice(time.time(), moved, sessions))
    for copy in copies:
        if copy.there:
            copy.draft.rename(copy.path)


@contextmanager
def shut(directory: Path) -> Iterator[int]:
    """The open notice board, while no proxy writes."""
    board = open_private(inside((directory / NOTICES).parent) / Path(NOTICES).name)
    try:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                fcntl.flock(board, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise Unusable("a proxy has been writing for 10 s without an end: see `capture doctor`, try again") from None
                time.sleep(0.001)
        yield board
    finally:
        os.close(board)


class _Bodies:
    """Which payloads in bodies/ the records refer to: those that stay, and those that go."""

    def __init__(self) -> None:
        self.kept: set[str] = set()
        self.gone: set[str] = set()

    def see(self, line: bytes, goes: bool) -> None:
        if name := body_of(line):
            (self.gone if goes else self.kept).add(name)


class _Copy:
    """A file copied without what goes, as it grows."""

    def __init__(self, path: Path, draft: Path, going: Going, bodies: _Bodies, begun: dict[str, list[int]]) -> None:
        self.path, self.draft = path, draft
        self._going, self._bodies = going, bodies
        self.there = path.exists()
        self._in: IO[bytes] = open(path if self.there else os.devnull, "rb")  # noqa: SIM115 (closed by `close`)
        self._out: IO[bytes] = open(open_private(draft, os.O_TRUNC), "ab")  # noqa: SIM115
        self._read = self._written = self._whole = 0
        self._wanted, self._marks = marks(path, self._inode()), list[tuple[int, int]]()
        inode, size = begun.get(path.name, (0, 0)) if begun else (self._inode(), -1)
        self._upto = (size if inode == self._inode() else 0) if begun else -1  # what stands behind it came later: it stays

    def _inode(self) -> int:
        return os.fstat(self._in.fileno()).st_ino

    def go_on(self) -> int:
        """Copies what there is of whole lines. How many bytes have come since."""
        self._in.seek(self._read)
        for line in self._in:
            if not line.endswith(b"\n"):
                break
            self._line(line)
        return os.fstat(self._in.fileno()).st_size - self._read

    def _line(self, line: bytes) -> None:
        goes = (self._upto < 0 or self._read < self._upto) and self._going.takes(line, self.path.name)
        self._bodies.see(line, goes)
        if self._read in self._wanted:
            self._marks.append((self._read, self._written))
        self._read += len(line)
        if not goes:
            self._out.write(line)
            self._written += len(line)

    def finish(self) -> None:
        """The last stretch, with the gate shut; a torn tail stays only where it is a record that wants its newline."""
        if self.there and status_of(self.path).st_ino != self._inode():
            raise Unusable(f"{self.path.name} was renamed away meanwhile: try again")
        self.go_on()
        self._whole = self._written
        self._in.seek(self._read)
        rest = self._in.read()
        if rest and parse(rest) is not None:
            self._size = self._read
            self._line(rest + b"\n")
            self._read = self._size
        self._out.flush()
        os.fsync(self._out.fileno())

    def moved(self) -> Moved:
        return Moved(self._inode(), self._read, os.fstat(self._out.fileno()).st_ino, self._whole, tuple(self._marks))

    def close(self) -> None:
        self._in.close()
        self._out.close()


class _Part:
    """A file that was rotated away, copied without what goes. Just after the renaming proxies still write to it."""

    def __init__(self, path: Path, work: Path, name: str, going: Going, bodies: _Bodies) -> None:
        self.path, self._draft, self._packing = path, work / path.name, packing_of(path)
        self._name, self._going, self._bodies = name, going, bodies
        self._inode, self._read = status_of(path).st_ino, 0
        self._changes = False  # something goes
        os.close(open_private(self._draft, os.O_TRUNC))

    def go_on(self) -> None:
        """Copies what has come of whole lines; nothing comes to what is compressed."""
        if self._packing and self._read:
            return
        with written(self._draft, self._packing) if self._packing else open(self._draft, "ab") as out:
            for line in lines_of(self.path, self._read):
                self._line(line, out)

    def _line(self, line: bytes, out: IO[bytes]) -> None:
        self._read += len(line) + 1
        goes = self._going.takes(line, self._name)
        self._bodies.see(line, goes)
        if goes:
            self._changes = True
        else:
            out.write(line + b"\n")

    def finish(self) -> None:
        """The last stretch, with the gate shut; a torn tail stays only where it is a record that wants its newline."""
        if status_of(self.path).st_ino != self._inode or is_being_packed(self.path):
            raise Unusable(f"{self.path.name} was renamed or compressed meanwhile: try again")
        self.go_on()
        if not self._packing:
            with open(self.path, "rb") as part, open(self._draft, "ab") as out:
                part.seek(self._read)
                if parse(rest := part.read()) is not None:
                    self._line(rest, out)

    def replace(self) -> None:
        """Takes the part's place; one in which nothing goes stays as it was made."""
        if self._changes:
            self._draft.rename(self.path)


def _take_away(directory: Path, going: Going, bodies: _Bodies) -> None:
    """Files of what went; the index, which knows it."""
    for folder in files_of(directory, going.sids):
        shutil.rmtree(folder, ignore_errors=True)
    for index in directory.glob("*.index"):
        shutil.rmtree(index, ignore_errors=True)
    for name in REWRITTEN:  # of a kill while `capture secrets redact` wrote
        for draft in directory.glob(f".{name}*-*"):
            draft.unlink(missing_ok=True)
    nobodys = not strangers(directory)  # else what nobody refers to may be referred to there
    for path in (directory / "bodies").glob("*"):
        if path.name not in bodies.kept and (going.sids is None or path.name in bodies.gone or (nobodys and _is_old(path))):
            path.unlink(missing_ok=True)


def _is_old(path: Path) -> bool:
    try:
        return path.stat().st_mtime < time.time() - YOUNG
    except OSError:
        return False


def _take_bad(directory: Path, going: Going) -> None:
    """Torn lines of killed proxies: those stay that name a session or flow that stays, the rest cannot be told from what goes."""
    torn = list(directory.glob("*.bad"))
    staying = _staying(directory) if torn else set()
    for path in torn:
        lines = list(whole_lines(path))
        kept = [pair for pair in zip(lines[::2], lines[1::2], strict=False) if any(name in pair[1] for name in staying)]
        if not kept:
            path.unlink(missing_ok=True)
            continue
        with written_whole(path) as draft:
            draft.write_bytes(b"".join(line + b"\n" for pair in kept for line in pair))


def _staying(directory: Path) -> set[bytes]:
    return {
        str(value).encode()
        for part in parts(directory, FLOWS)
        for line in lines_of(part)
        if (r := parse(line))
        for value in (r.get("flow_id"), r.get("sid"))
    }


def total(directory: Path, chosen: dict[str, Held], everything: bool) -> dict[str, int]:
    """What would go: sessions, flows, records, bytes of the central files, files of their own."""
    folders = files_of(directory, None if everything else frozenset(chosen))
    files = sum(len(list(folder.glob("*"))) if folder.is_dir() else 1 for folder in folders)
    return {
        "sessions": len(chosen),
        "flows": sum(len(each.flows) for each in chosen.values()),
        "records": sum(each.records for each in chosen.values()),
        "bytes": sum(each.bytes for each in chosen.values()),
        "files": files,
    }
