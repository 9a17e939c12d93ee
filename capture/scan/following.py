"""What a source tells as it grows, as what `Pairing` takes: one reading that never begins anew."""

from collections import deque
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from capture import channels
from capture.channels.base import Batch, Source
from capture.channels.directory import FileSource, LogSource, Place
from capture.channels.stdio import StreamSource
from capture.files import ENDS, FLOWS, LINES, parse
from capture.scan.base import Item, Notes
from capture.scan.base import Source as Stored
from capture.scan.beside import AHEAD, Log, later, start_of
from capture.scan.reading import Reading


class Arrived:
    """Records in a queue: an iterator that has nothing now, and may have something later."""

    def __init__(self) -> None:
        self._waiting: deque[dict[str, Any]] = deque()

    def __iter__(self) -> "Arrived":
        return self

    def __next__(self) -> dict[str, Any]:
        if not self._waiting:
            raise StopIteration
        return self._waiting.popleft()

    def add(self, raws: Iterable[bytes], notes: Notes, name: str) -> None:
        for raw in raws:
            record = parse(raw)
            if record is not None and isinstance(record.get("flow_id"), str) and isinstance(record.get("t"), str):
                self._waiting.append(record)
            elif raw.strip():
                notes.add(name, 0, "no record")


class Arriving(Log):
    """Flow and end records as they arrive; older flow records are looked up in their file."""

    def __init__(self, directory: Path | None, start: int) -> None:
        self._start = start if directory else 0  # byte offset in the file of flow records before which nothing arrives
        self._directory = directory or Path()
        self._arrived = (Arrived(), Arrived())
        self._flows, self._ends = self._arrived
        self._begin()

    def add(self, batch: Batch, notes: Notes, name: str) -> None:
        """Takes what a batch brings."""
        flows, ends = self._arrived
        flows.add(batch.flows, notes, name)
        ends.add(batch.ends, notes, name)
        self._fill()
        self._set_due()


class Following:
    """Items of a source, as they come. `directory`: where older flow records, from before `start`, and bodies are."""

    def __init__(
        self, source: Source, directory: Path | None = None, start: int = 0, *, join: bool = True, notes: Notes | None = None
    ) -> None:
        self.source = source
        self.notes = notes or Notes()
        self.behind = False  # what was given last is not the newest
        self._join = join
        self._beside = Arriving(directory, start)
        self._reading = Reading(source.name, directory, self._beside, self.notes)

    def poll(self, wait: float = 0.0) -> list[Item] | None:
        """What has come since the last look, waiting up to `wait` seconds for something; None: there will be no more.

        Pieces that came together are joined (`join`), so what comes fast costs less.
        """
        batch = self.source.poll(wait)
        if batch is None:
            if isinstance(self.source, StreamSource) and self.source.broken:
                self.notes.add(self.source.name, 0, f"cannot be read any further: {self.source.broken}")
            return None
        self.behind = batch.behind
        self._beside.add(batch, self.notes, self.source.name)
        found = [*self._reading.more(batch.lines, self._join), *self._reading.settled()]
        if not batch.behind:
            found += self._reading.rest()
        return found

    def close(self) -> list[Item]:
        """What still waited where the source ends."""
        self.source.close()
        return list(self._reading.close())


def following(where: str, start: str, *, join: bool = True) -> Following:
    """The records of a log directory, a file (any dialect, also compressed), `-` for stdin, or a channel's URL, as they come.

    `start`: `now`, `start`, or a time of the log. A directory or a file that is not there yet is waited for. Raises Unusable.
    """
    if where == "-" or "://" in where:
        return Following(channels.source_of(where, start), join=join)
    path = Path(where)
    stored = Stored(path) if path.is_dir() or not (path.exists() or path.suffix) else Stored(None, where)
    if stored.log is not None:
        source = LogSource(stored.log, _places(stored.log, (FLOWS, LINES, ENDS), start))
        return Following(source, stored.log, source.position[FLOWS].offset, join=join)
    if path.exists() and not stored.plain:
        return Following(StreamSource(where, stored.open(), live=False), join=join)
    places = _places(path.parent, (path.name,), start)
    return Following(FileSource(path, places if isinstance(places, str) else places[path.name]), join=join)


def _places(directory: Path, names: Iterable[str], start: str) -> Literal["now", "start"] | dict[str, Place]:
    """Where to begin in each file; of flow records a little earlier than the time asked for."""
    if start in ("now", "start"):
        return "now" if start == "now" else "start"
    return {name: Place(start_of(directory / name, later(start, -AHEAD) if name == FLOWS else start)) for name in names}
