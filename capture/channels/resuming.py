"""A log read on from where an earlier reading stopped, through files that were renamed while nobody looked."""

import os
import time
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Literal

from capture.channels.base import Batch
from capture.channels.checkpoints import Places
from capture.channels.cutting import Cutter
from capture.channels.directory import LINGER, LogSource, Place, end_of, first_line
from capture.files import ENDS, FILES, FLOWS, LINES, POLL, size_of

READ = 4 << 20  # bytes of a renamed file taken at one look
KEPT = LINGER + 1  # seconds a renamed file's place is kept: as long as somebody may still write to it
NAMES = tuple(FILES.values())
PACKED = (".bad", ".gz", ".zst", ".xz", ".bz2")  # what files beside the log end in that are no part of it as they are


class Rest:
    """What stands in a renamed file behind a place. Nobody but a proxy that has not looked yet writes to it."""

    def __init__(self, path: Path, place: Place) -> None:
        """Raises OSError."""
        self._file = open(path, "rb")  # noqa: SIM115 (closed by `close`)
        self._cutter = Cutter(self._file.seek(place.offset))
        status = os.fstat(self._file.fileno())
        self._inode, self._first, self._until = status.st_ino, first_line(path), status.st_ctime + LINGER

    @property
    def place(self) -> Place:
        return Place(self._cutter.offset, self._inode, self._first)

    @property
    def pending(self) -> int:
        return os.fstat(self._file.fileno()).st_size - self._cutter.offset

    def read(self) -> list[tuple[int, bytes]] | None:
        """Its next lines; None when there will be no more."""
        data = self._file.read(READ)
        return self._cutter.feed(data) if data else None if time.time() > self._until else []

    def close(self) -> None:
        self._file.close()


class Log:
    """A log directory read on from a checkpoint: first what is left in files that were renamed meanwhile, then the log as it grows.

    Ends wait for the lines: an end is given when all that stood in the lines' files was.
    """

    def __init__(self, directory: Path, places: Places) -> None:
        self._directory = directory
        self.lost: list[str] = []  # names of files that the places speak of, and that are gone
        self._rests: dict[str, deque[Rest]] = {name: deque() for name in NAMES}
        self._leaving: dict[str, list[tuple[Place, float]]] = {name: [] for name in NAMES}  # renamed just now; until when kept
        self._firsts: dict[str, tuple[int, str]] = {}  # (inode, hash of the first line) of the current files
        self.places = places  # how far it was read
        self._open(places)

    @property
    def pending(self) -> int:
        """Bytes that were not read."""
        rests = sum(rest.pending for rests in self._rests.values() for rest in rests)
        return rests + unread(self._directory, {name: (place,) for name, place in self._currents.items()})

    def poll(self, wait: float = 0.0) -> Batch:
        """What has come. Nothing of a batch that is `behind`: there is more, but not yet. Afterwards `places` is behind it."""
        if any(self._overtaken(name) for name in NAMES):
            self._source.close()
            self._open(self.places)
        batch = self._look(wait)
        self.places = self._reached()
        return batch

    def close(self) -> None:
        self._source.close()
        for rest in (rest for rests in self._rests.values() for rest in rests):
            rest.close()

    def _open(self, places: Places) -> None:
        for rests in self._rests.values():
            while rests:
                rests.popleft().close()
        self._currents = {name: self._opened(name, places.get(name, ())) for name in NAMES}
        self._source = LogSource(self._directory, dict(self._currents))
        self.places = self._reached()

    def _look(self, wait: float) -> Batch:
        if (flows := self._rest(FLOWS, wait)) is not None:
            return Batch(flows=[raw for _, raw in flows], behind=True)
        if (lines := self._rest(LINES, wait)) is not None:
            return Batch(lines=lines, behind=True)
        batch = self._source.poll(0.0 if self._rests[ENDS] else wait) or Batch()
        if batch.behind or not self._rests[ENDS]:
            return batch
        found: list[bytes] = []
        while ends := self._rest(ENDS, wait):
            found += [raw for _, raw in ends]
        batch.ends, batch.behind = found + batch.ends, bool(self._rests[ENDS])
        return batch

    def _rest(self, name: str, wait: float) -> list[tuple[int, bytes]] | None:
        """The next lines of renamed files; None when there are none left."""
        rests = self._rests[name]
        while rests:
            if (lines := rests[0].read()) is not None:
                if not lines:
                    time.sleep(min(POLL, wait))
                return lines
            rests.popleft().close()
        return None

    def _reached(self) -> Places:
        now = time.monotonic()
        for name, place in self._source.position.items():
            before = self._currents[name]
            if before.inode and place.inode != before.inode:
                self._leaving[name].append((before, now + KEPT))
            self._currents[name] = self._sure(name, place)
            self._leaving[name] = [each for each in self._leaving[name] if each[1] > now]
        return {
            name: (*(rest.place for rest in self._rests[name]), *(each for each, _ in self._leaving[name]), self._currents[name])
            for name in NAMES
        }

    def _sure(self, name: str, place: Place) -> Place:
        """The place with the hash of a whole first line: one that was taken while the line was torn is another."""
        if not place.offset:
            return Place(0, place.inode, "")
        known = self._firsts.get(name)
        if known is None or known[0] != place.inode or place.offset < self._currents[name].offset:
            known = (place.inode, place.first)
            with suppress(OSError):
                if (self._directory / name).stat().st_ino == place.inode:
                    known = (place.inode, first_line(self._directory / name))
            self._firsts[name] = known
        return Place(place.offset, place.inode, known[1])

    def _overtaken(self, name: str) -> bool:
        """Whether the file was renamed twice while we read: another one came and went, which only its name tells now."""
        path, place = self._directory / name, self._currents[name]
        with suppress(OSError):
            if not place.inode or path.stat().st_ino == place.inode:
                return False
            old = self._find(place)
            return old is not None and bool(_renamed_since(path, old))
        return False

    def _opened(self, name: str, places: tuple[Place, ...]) -> Place:
        """The place in the file that stands there now; what is left of older ones is opened."""
        path = self._directory / name
        *older, current = places or (Place(),)
        if current.inode and not current.is_in(path):
            older, current = [*older, current], Place()
        newest = None
        for place in older:
            newest = self._open_rest(name, place) or newest
        if newest and not current.inode:
            for between in _renamed_since(path, newest):
                self._open_rest(name, Place(0, between.stat().st_ino))
        return current

    def _open_rest(self, name: str, place: Place) -> Path | None:
        found = self._find(place)
        if found is None:
            self.lost.append(name)
            return None
        with suppress(FileNotFoundError):  # deleted between our looks: as if it had been before
            self._rests[name].append(Rest(found, place))
        return found

    def _find(self, place: Place) -> Path | None:
        """The file of a place, whatever it is called now."""
        return next((path for path in sorted(self._directory.iterdir()) if path.is_file() and place.is_in(path)), None)


def _renamed_since(path: Path, old: Path) -> list[Path]:
    """Files that were put beside after `old`, of the same name with something behind it; the oldest first."""
    names = sorted(path.parent.glob(f"{path.name}[.-]*"), reverse=True)  # at the same time: `.2` is older than `.1`
    times = {each: each.stat().st_mtime_ns for each in names if each.is_file() and each.suffix not in PACKED}
    return sorted(
        (each for each, time in times.items() if each != old and time >= old.stat().st_mtime_ns), key=lambda each: times[each]
    )


def unread(directory: Path, places: Places) -> int:
    """Bytes of the current files behind the places in them."""
    return sum(max(0, size_of(directory / name) - found[-1].offset) for name, found in places.items())


def began(directory: Path, start: Literal["now", "start"]) -> Places:
    """Where a shipping begins that has none behind it: in the files that stand there now, wherever they will be later."""
    return {name: (_at(directory / name, end_of(directory / name).offset if start == "now" else 0),) for name in NAMES}


def _at(path: Path, offset: int) -> Place:
    with suppress(OSError):
        return Place(offset, path.stat().st_ino, first_line(path) if offset else "")
    return Place(offset)
