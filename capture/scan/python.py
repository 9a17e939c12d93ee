"""Every line looked at by Python: the name of its event is cut out and looked up."""

from capture.packed import DAMAGED
from capture.scan.base import Lines, Notes, Source
from capture.scan.kinds import HEAD, Wanted, held

STEP = 4 << 20  # bytes between two notes of how far it is


def lines(source: Source, wanted: Wanted, notes: Notes, start: int = 0) -> Lines:
    """The lines from `start` on that may hold what is wanted."""
    notes.total = source.size - start
    file = source.open(start)
    begin = offset = file.tell() if source.plain and start else 0
    everything, holds, due = wanted.all, wanted.holds, offset + STEP
    try:
        for raw in file:
            if everything or raw[:10] != HEAD:
                yield offset, raw
            else:
                verdict = wanted[raw[10 : raw.find(b'"', 10)]]
                if verdict is True or (verdict and held(verdict, raw) & holds):
                    yield offset, raw
            offset += len(raw)
            if offset > due:
                notes.read, due = offset - begin, offset + STEP
    except DAMAGED as error:
        notes.add(source.name, offset, f"cannot be read any further: {error}")
    finally:
        notes.read = offset - begin
        if source.lines is not None:
            file.close()
