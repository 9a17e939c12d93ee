"""One pass by several processes: each looks at all lines and parses those of its own sessions.

What pairing says of a session depends on nothing but the session and the sub-agents that work for it; so each process takes
whole families of sessions. Their rows are merged by the place in the log at which they became known. They are the rows of one
process, but not always in its order: a process notices that a flow has begun or ended at the next line of its own sessions.
"""

import heapq
import os
import re
import zlib
from array import array
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import repeat
from pathlib import Path
from typing import IO, Any, cast

from capture.extract.base import Kind, Pass, Row, json_line
from capture.files import FLOWS, parse, whole_lines
from capture.jsonl import loads
from capture.providers.base import Holds
from capture.scan import Item, Notes, Source
from capture.scan import python as engine
from capture.scan.beside import Log, Nothing
from capture.scan.kinds import Wanted
from capture.scan.reading import Reading
from capture.turns import Pairing

WORTH = 64 << 20  # bytes of a log that is worth a second process
MOST = 4  # processes: each looks at every line, which takes a tenth of all the work
SID = b'"sid":"'  # the last one in a line names its session: within a payload the quotes are escaped
SPACED = re.compile(rb'"sid"\s*:\s*"([^"]*)"')
PARENT = b'"parent_id":"'
END = (1 << 63) - 1  # where rows stand that are known at the log's end

type Within = Callable[[str], bool] | None


@dataclass(frozen=True, slots=True)
class Share:
    """The sessions of one process."""

    number: int
    of: int
    parents: dict[str, str] = field(default_factory=dict)  # session of a sub-agent → session or agent that started it

    def __contains__(self, sid: object) -> bool:
        root = root_of(str(sid), self.parents)
        return zlib.crc32(root.encode("utf-8", "surrogatepass")) % self.of == self.number


@dataclass(slots=True)
class Done:
    """What one process has written: for each row of each file where it stands in the log, and its length."""

    files: dict[str, Path]
    places: dict[str, "array[int]"]
    lengths: dict[str, "array[int]"]
    notes: Notes


def processes(source: Source, holds: Holds, engine: str) -> int:
    """How many processes a pass is worth."""
    if holds != Holds.ALL or engine not in ("auto", "python") or not source.plain or source.size < WORTH:
        return 1
    return min(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1, MOST)


def parents_in(source: Source) -> dict[str, str]:
    """Which session works for which, as the flow records say."""
    found: dict[str, str] = {}
    for line in whole_lines(source.log / FLOWS) if source.log else ():
        if PARENT in line and (record := parse(line)) and (parent := parent_of(record)):
            found.setdefault(str(record.get("sid")), parent)
    return found


def parent_of(record: dict[str, Any]) -> str | None:
    """Whom the session of a flow record works for."""
    client = record.get("client")
    parent = client.get("parent_id") if isinstance(client, dict) else None
    return str(parent) if parent else None


def root_of(sid: str, parents: dict[str, str]) -> str:
    """The session that a session works for in the end."""
    root, seen = sid, set[str]()
    while (parent := parents.get(root)) and root not in seen:
        seen.add(root)
        root = parent
    return root


def share(
    source: Source,
    kinds: tuple[Kind, ...],
    within: Within,
    of: int,
    folder: Path,
    named: bool,
    watched: Callable[[Iterable[Item], Notes], Iterator[Item]],
) -> list[Done]:
    """The pass done by `of` processes, into files in a folder: one a kind, or with `named` one whose rows say their kind.

    `watched` goes through the items of one of them, which is as far as all.
    """
    from concurrent.futures import ProcessPoolExecutor  # only for large logs: 25 ms

    parents = parents_in(source)
    with ProcessPoolExecutor(of) as pool:
        shares = [Share(number, of, parents) for number in range(of)]
        told = [pool.submit(_work, source, kinds, within, each, folder, named, watched) for each in shares]
        return [each.result() for each in told]


def merged(done: list[Done], name: str, out: IO[bytes]) -> int:
    """Writes the rows that all processes have for a file, in the order in which they became known; how many there are."""
    count = 0
    with ExitStack() as stack:
        files = [stack.enter_context(open(each.files[name], "rb", 1 << 18)) for each in done]
        rows = [zip(each.places[name], repeat(number), each.lengths[name], strict=False) for number, each in enumerate(done)]
        for _, number, length in heapq.merge(*rows):
            out.write(files[number].read(length))
            count += 1
    return count


# -- in each process -----------------------------------------------------------------------------------------------------------


def _work(
    source: Source,
    kinds: tuple[Kind, ...],
    within: Within,
    mine: Share,
    folder: Path,
    named: bool,
    watched: Callable[[Iterable[Item], Notes], Iterator[Item]],
) -> Done:
    notes, files = Notes(), ["rows"] if named else [kind.name for kind in kinds]
    done = Done({name: folder / f"{name}.{mine.number}" for name in files}, _arrays(files), _arrays(files), notes)
    items = _items(source, mine, notes)
    with ExitStack() as stack:
        out = {name: stack.enter_context(open(path, "wb", 1 << 18)) for name, path in done.files.items()}
        for place, kind, row in placed(watched(items, notes) if mine.number == 0 else items, kinds, within):
            name = "rows" if named else kind
            line = json_line({"kind": kind, **row} if named else row)
            out[name].write(line)
            done.places[name].append(place)
            done.lengths[name].append(len(line))
    return done


def placed(items: Iterable[Item], kinds: Iterable[Kind], within: Within) -> Iterator[tuple[int, str, Row]]:
    """(where in the log, kind, row): as `extract` of what `turns.run` says."""
    one, pairing, place = Pass(kinds, within), Pairing(), 0
    for item in items:
        ended = False
        if isinstance(item, dict):
            place, ended = item.get("offset", place), "outcome" in item
        for update in pairing.feed(item):
            for kind, row in one.feed(update):
                yield place, kind, row
        for update in pairing.forgotten() if ended else ():
            for kind, row in one.feed(update):
                yield place, kind, row
    for update in pairing.close():
        for kind, row in one.feed(update):
            yield END, kind, row
    for kind, row in one.close():
        yield END, kind, row


def _items(source: Source, mine: Share, notes: Notes) -> Iterator[Item]:
    aside = notes if mine.number == 0 else Notes()  # what all processes notice is told by one
    sids = cast(frozenset[str], mine)
    beside = Log(source.log, aside, sids=sids) if source.log else Nothing()
    reading = Reading(source.name, source.log, beside, notes, sids)
    return reading.items(_lines(source, mine, notes))


def _lines(source: Source, mine: Share, notes: Notes) -> Iterator[tuple[int, bytes]]:
    """The lines of its sessions; those that name no session are the first one's, to be noted."""
    known: dict[bytes, bool] = {b"": mine.number == 0}
    tail, own = b"{", False  # of the line before: the next one is mostly of the same session
    for offset, raw in engine.lines(source, Wanted(Holds.ALL), notes):
        if not raw.endswith(tail):
            sid, tail = _sid(raw), raw[max(raw.rfind(SID), 0) :]
            if (found := known.get(sid)) is None:
                found = known[sid] = _unescaped(sid) in mine
            own = found
        if own:
            yield offset, raw


def sid_of(raw: bytes) -> str:
    """The session that a line names; empty where it names none."""
    return _unescaped(_sid(raw))


def _sid(raw: bytes) -> bytes:
    at = raw.rfind(SID)
    return raw[at + len(SID) : raw.find(b'"', at + len(SID))] if at > 0 else _spaced(raw)


def _spaced(raw: bytes) -> bytes:
    """The session of a line that was written with spaces."""
    found = SPACED.findall(raw)
    return bytes(found[-1]) if found else b""


def _unescaped(sid: bytes) -> str:
    try:
        return str(loads(b'"%s"' % sid))
    except ValueError:
        return sid.decode("utf-8", "replace")


def _arrays(names: Iterable[str]) -> dict[str, "array[Any]"]:
    return {name: array("q") for name in names}
