"""All that a log says, read fast: engines find the lines, one reading makes items of them for `Pairing`."""

import os
import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING

from capture.files import Unusable
from capture.providers.base import Holds
from capture.scan import facts, index, python, rg, vectorised
from capture.scan.base import Bad, Engine, Item, Lines, Notes, Source
from capture.scan.beside import Log, Nothing
from capture.scan.kinds import Wanted
from capture.scan.usage import Tally, Usage, first_hand

if TYPE_CHECKING:
    from capture.scan.reading import Reading

__all__ = ["ENGINES", "Bad", "Holds", "Item", "Notes", "Source", "Usage", "read", "usages", "windows"]

ENGINES: dict[str, Engine] = {
    "index": index.lines,
    "rg": rg.lines,
    "duckdb": vectorised.lines,
    "python": python.lines,
}
WINDOWS = (2 << 20, 8 << 20, 32 << 20, 128 << 20)  # bytes of tails to try; beyond, all of a log with an index takes no longer
INDEXED = 64 << 20  # bytes of a log that is worth an index
SEARCHED = 4 << 20  # bytes of a log that is worth a process


def read(
    source: Source,
    holds: Holds = Holds.ALL,
    *,
    engine: str = "auto",
    sids: frozenset[str] | None = None,
    notes: Notes | None = None,
    join: bool = True,
) -> Iterator[Item]:
    """All records in an order that `Pairing` can be fed with; lines that hold nothing of `holds` may be left out.

    `join`: runs of pieces as `Deltas`. Raises Unusable.
    """
    source.check()
    notes = notes or Notes()
    lines = _lines(source, holds, engine, sids, notes)
    return _reading(source, _beside(source, notes, sids), notes, sids).items(lines, join)


def windows(
    source: Source,
    holds: Holds = Holds.ALL,
    *,
    engine: str = "auto",
    sids: frozenset[str] | None = None,
    notes: Notes | None = None,
) -> Iterator[tuple[Iterator[Item], bool]]:
    """(items, whether that is all): ever larger tails of the log, for questions about its end; the last one is whole.

    What a window's flows said before it is left out, their flow records are not. Raises Unusable.
    """
    source.check()
    notes = notes or Notes()
    if source.plain and engine == "auto":
        for size in WINDOWS:
            if size >= source.size:
                break
            yield _tail(source, holds, source.size - size, sids, notes), False
    yield read(source, holds, engine=engine, sids=sids, notes=notes), True


def usages(
    source: Source, *, engine: str = "auto", sids: frozenset[str] | None = None, notes: Notes | None = None
) -> Iterator[Usage]:
    """What each answer took, first-hand where its session has such reports. Raises Unusable."""
    source.check()
    notes = notes or Notes()
    holds = Holds.USAGE | Holds.BOUND
    if chosen(source, holds, engine) == "index":
        found = facts.usages(
            source,
            lambda start, notes: index.lines(source, Wanted(holds), notes, start=start),
            notes,
        )
    else:
        lines = _lines(source, holds, engine, sids, notes)
        found = _folded(_reading(source, Nothing(), notes, sids).items(lines))
    return first_hand(each for each in found if sids is None or each.sid in sids)


def chosen(source: Source, holds: Holds, engine: str) -> str:
    """The engine that answers. Raises Unusable."""
    if engine not in ("auto", *ENGINES):
        raise Unusable(f"there is no engine {engine}: choose one of auto, {', '.join(ENGINES)}")
    if engine == "rg" and not shutil.which("rg"):
        raise Unusable("there is no `rg` on PATH: install ripgrep, or choose another --engine")
    if not source.plain or not source.size or (holds == Holds.ALL and engine in ("auto", "rg")):
        return "python"
    if engine != "auto":
        return engine
    if source.size > INDEXED and (index.covered(source) or os.access(index.place_of(source).parent, os.W_OK)):
        return "index"
    return "rg" if source.size > SEARCHED and rg.worth(holds) and shutil.which("rg") else "python"


def _lines(source: Source, holds: Holds, engine: str, sids: frozenset[str] | None, notes: Notes) -> Lines:
    name = chosen(source, holds, engine)
    if name == "index":
        return index.lines(source, Wanted(holds), notes, sids)
    return ENGINES[name](source, Wanted(holds), notes)


def _tail(source: Source, holds: Holds, start: int, sids: frozenset[str] | None, notes: Notes) -> Iterator[Item]:
    beside = _beside(source, notes, sids, _time_at(source, start))
    return _reading(source, beside, notes, sids).items(python.lines(source, Wanted(holds), notes, start))


def _time_at(source: Source, start: int) -> str:
    """The time of the first record behind an offset."""
    lines = python.lines(source, Wanted(Holds.ALL), Notes(), start)
    items = _reading(source, Nothing(), Notes()).items(lines, join=False)
    return next((str(item["t"]) for item in items if isinstance(item, dict)), "")


def _reading(source: Source, beside: Nothing, notes: Notes, sids: frozenset[str] | None = None) -> "Reading":
    from capture.scan.reading import Reading  # 10 ms; tokens that are kept are told without

    return Reading(source.name, source.log, beside, notes, sids)


def _beside(source: Source, notes: Notes, sids: frozenset[str] | None, since: str = "") -> Nothing:
    return Log(source.log, notes, since, sids) if source.log else Nothing()


def _folded(items: Iterator[Item]) -> Iterator[Usage]:
    tally = Tally()
    for item in items:
        yield from tally.feed(item)
    yield from tally.close()
