"""An ordinary log directory, written from records that others made: each lands once, byte for byte.

What stands in the log already is known by the flows' own files, so repeats are recognised after any restart. A flow's own file is
written after the log; when a collector was killed between the two, the next turn begins with what the own files lack.
"""

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from capture.appending import Appender, without_torn_tail
from capture.channels.entries import entry_of
from capture.channels.flow_files import FlowFiles, Odd, Raw, named
from capture.channels.payloads import Payloads
from capture.channels.turn import Offsets, Turns
from capture.files import CHOOSE, FILES, Unusable, inside, prepare, size_of
from capture.jsonl import Kind, local_time

RECORDS: dict[bytes, Kind] = {kind.encode(): kind for kind in FILES}
SYNC_EVERY = (
    256 << 20
)  # bytes of the log after which the flows' own files are put on the disk too: so much is read after a power cut
AT_ONCE = 10_000  # lines looked at until what the own files lack is written


class CollectedLog:
    """A log directory that records are collected into, also by several processes at once. All is written in turns.

    `durable`: what `flush` has written survives a power cut.
    """

    def __init__(self, directory: Path, durable: bool = True) -> None:
        """Raises Unusable."""
        self.name = str(directory)
        self.directory = prepare(directory)
        self.records = self.repeats = 0  # taken; there already
        self.deleted = self.foreign = 0  # entries that were deleted before we had them; that are no records of ours
        self._durable = durable
        try:
            folder = inside(directory / "collecting")
            self.turns = Turns(folder)
            inside(directory / "bodies")
            self._flows = FlowFiles(inside(directory / "sse_logs"))
        except OSError as problem:
            raise Unusable(f"cannot write to {directory} ({problem.strerror}): {CHOOSE}") from None
        self._odd = Odd(folder / "odd")
        self._payloads = Payloads(directory / "bodies")
        self._files = {kind: Appender(directory / name) for kind, name in FILES.items()}
        self._later: list[tuple[Kind, bytes]] = []  # taken when it was not our turn
        self._inside = False

    @contextmanager
    def turn(self, waiting: Callable[[str], None] = lambda process: None) -> Iterator[bool]:
        """Our turn to write; whether the last one was ours, too. `waiting` is told which process has it for long. Raises OSError.

        What was taken and not flushed in it is forgotten.
        """
        last = self.turns.begin(self.sizes, waiting)
        self._inside = True
        try:
            if not last.ours or last.since is not None:
                self._flows.turn += 1
                self._odd.look()
            for file in self._files.values():
                if file.moved():
                    file.close()
            if last.since is not None:
                self._complete(last.since)
            yield last.ours
        finally:
            clean = not self._waiting
            if not clean:
                self._forget()
            self._inside = False
            self.turns.end(clean)

    def add(self, kind: Kind, raw: bytes) -> None:
        if self._inside:
            self.add_all(kind, [raw])
        else:
            self._later.append((kind, raw))

    def add_all(self, kind: Kind, raws: Sequence[bytes]) -> None:
        """Takes records in our turn. Raises OSError."""
        if kind == "lines":
            new = self._flows.take_lines(raws, self._odd.take)
        else:
            new = [raw for raw in raws if (self._flows.take(name, raw) if (name := named(raw)) else self._odd.take(raw))]
        file = self._files[kind]
        file.lines.extend(new)
        file.waiting += sum(map(len, new))
        self.records += len(new)
        self.repeats += len(raws) - len(new)

    def add_entries(self, entries: Iterable[Raw]) -> None:
        """Takes entries of a stream, in our turn. Raises OSError."""
        run, kind = list[bytes](), b""  # records of one kind
        for number, fields in entries:
            if fields and len(fields) == 8:
                first, what, second, data, _, _, _, _ = fields
                if first == b"k" and second == b"d" and (what == kind or what in RECORDS) and data.find(b"\n") < 0:
                    if what != kind:
                        self._add_run(kind, run)
                        run, kind = [], what
                    run.append(data + b"\n")
                    continue
            self._add_run(kind, run)
            run = []
            self._add_other(number, fields)
        self._add_run(kind, run)

    def add_body(self, identity: str, piece: bytes) -> bool:
        """Takes a piece of a payload; whether it is one."""
        return self._payloads.add(identity, piece)

    def flush(self) -> None:
        """All taken is in the log, and on the disk. Raises OSError, Unusable; what is not waits for the next `flush`."""
        if not self._inside:
            with self.turn():
                for kind, raw in self._later:
                    self.add(kind, raw)
                self.flush()
            return self._later.clear()
        self._payloads.write(self._durable)
        for kind, file in self._files.items():
            if file.lines:
                self._flush(file, self.directory / FILES[kind])
        self._flows.write()
        self._odd.write()
        if self._durable:
            self._sync_all()

    def close(self) -> None:
        try:
            if self._later:
                self.flush()
        finally:
            for file in self._files.values():
                file.close()
            self._flows.forget()
            self.turns.close()

    def sizes(self) -> dict[str, int]:
        return {name: size_of(self.directory / name) for name in FILES.values()}

    @property
    def _waiting(self) -> bool:
        return self._flows.waiting or self._payloads.waiting or any(file.lines for file in self._files.values())

    def _add_run(self, kind: bytes, run: list[bytes]) -> None:
        if run:
            self.add_all(RECORDS[kind], run)

    def _add_other(self, number: bytes, fields: list[bytes] | None) -> None:
        """A piece of a payload, an entry that was deleted, one with other fields than ours."""
        if fields is None:
            self.deleted += 1
            return
        entry = entry_of(number, dict(zip(fields[::2], fields[1::2], strict=True)))
        if entry is None or (b"\n" in entry.data and entry.kind != "body"):
            self.foreign += 1
        elif entry.kind != "body":
            self.add_all(entry.kind, [entry.raw])
        elif not self.add_body(entry.id, entry.data):
            self.foreign += 1

    def _flush(self, file: Appender, path: Path) -> None:
        new = not size_of(path)
        file.flush()
        if self._durable:
            sync(path)
            if new:
                sync(self.directory)

    def _forget(self) -> None:
        """It was not acknowledged: it comes again, to us or to another one."""
        for file in self._files.values():
            file.forget()
        self._flows.forget()
        self._odd.forget()
        self._payloads.forget()

    def _sync_all(self) -> None:
        """Now and then: the own files of all flows, whoever wrote them."""
        sizes, before = self.sizes(), self.turns.unsynced
        if sum(sizes.values()) - sum(before.values()) > SYNC_EVERY:
            os.sync()
            self.turns.synced(sizes)

    def _complete(self, since: Offsets) -> None:
        """After a kill or a power cut: the flows' own files get what the log has and they lack."""
        for name in FILES.values():
            path = self.directory / name
            without_torn_tail(path, local_time(time.time()))  # what a killed writer left; a proxy may write to this log, too
            for number, raw in enumerate(lines_from(path, since.get(name, 0)), 1):
                if found := named(raw):
                    self._flows.take(found, raw)
                else:
                    self._odd.take(raw)
                if not number % AT_ONCE:
                    self._flows.write()
            self._flows.write()
        self._odd.write()
        self.turns.whole(self.sizes())


def lines_from(path: Path, offset: int) -> Iterator[bytes]:
    """Whole lines from an offset on; all, when the file is shorter: it is another one."""
    if not path.exists():
        return
    with open(path, "rb") as file:
        if 0 < offset <= os.fstat(file.fileno()).st_size:
            file.seek(offset - 1)
            file.readline()
        yield from (raw for raw in file if raw.endswith(b"\n"))


def sync(path: Path) -> None:
    """What stands at a path is on the disk when this returns."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
