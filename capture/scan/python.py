"""Every line looked at by Python: the name of its event is cut out and looked up."""

from capture.packed import DAMAGED
from capture.scan.base import Lines, Notes, Source
from capture.scan.kinds import HEAD, Chain, Wanted, held

STEP = 4 << 20  # bytes between two notes of how far it is


def lines(source: Source, wanted: Wanted, notes: Notes, start: int = 0) -> Lines:
    """The lines from `start` on that may hold what is wanted."""
    notes.total = source.size - start
    file = source.open(start)
    begin = offset = file.tell() if source.plain and start else 0
    everything, holds, due = wanted.all, wanted.holds, offset + STEP
    named = b"\n"  # how the line before begins: the next one is mostly of the same event
    verdict: bool | tuple[Chain, ...] = True
    try:
        for raw in file:
            if everything:
                yield offset, raw
            else:
                if not raw.startswith(named):
                    end = raw.find(b'"', 10)
                    named = raw[: end + 1] or raw
                    verdict = wanted[raw[10:end]] if raw[:10] == HEAD else True
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
