"""Usage facts kept beside the index: what was folded once is read again, and gone on with where it stopped."""

import os
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any

import orjson

from capture.scan.base import Lines, Notes, Source
from capture.scan.beside import Nothing
from capture.scan.index import Lock, edge, open_private, place_of, read_checked, write_checked
from capture.scan.kinds import version
from capture.scan.usage import Tally, Usage, fact, row

FORMAT = 2
HEAD, ROWS = "usages.head", "usages"

type Read = Callable[[int, Notes], Lines]  # (from a line's offset on) → lines with usage


def usages(source: Source, read: Read, notes: Notes) -> Iterator[Usage]:
    """All facts; those that are new are kept."""
    place = place_of(source)
    with open(source.lines or "", "rb") as log, Lock(place, "usages.lock") as mine:
        head, kept = _load(place, log.fileno())
        before = head["covered"]
        noted = Notes()
        for offset, why in head["bad"]:
            noted.add(source.name, offset, why)
        noted.count = head["bad_count"]
        tally, new, torn = Tally(head["open"]), list[Usage](), list[tuple[int, bytes]]()

        def whole(lines: Lines) -> Lines:
            """The whole lines; remembers how far they go."""
            for offset, raw in lines:
                if raw.endswith(b"\n"):
                    head.update(last_at=offset, covered=offset + len(raw))
                    yield offset, raw
                else:
                    torn.append((offset, raw))

        if source.size > before:
            from capture.scan.reading import Reading  # 10 ms, where there is something to read

            reading = Reading(source.name, source.log, Nothing(), noted)
            for item in chain(reading.more(whole(read(before, notes))), reading.settled()):
                new += tally.feed(item)
            if notes.indexed[0] > head["covered"]:  # nothing more is in the lines up to there
                head.update(covered=notes.indexed[0], last_at=notes.indexed[1])
            if mine and head["covered"] > before and not reading.partial:
                head.update(open=tally.rows, bad=[(bad.offset, bad.why) for bad in noted.bad], bad_count=noted.count)
                with suppress(OSError):
                    _save(place, log.fileno(), head, [row(each) for each in new])
            for item in chain(reading.more(torn), reading.close()):
                new += tally.feed(item)
    notes.bad += noted.bad
    notes.count += noted.count
    yield from kept
    yield from new
    yield from tally.close()


def _load(place: Path, log: int) -> tuple[dict[str, Any], Iterator[Usage]]:
    """What was kept, and how far it goes; nothing when it is not of this log."""
    nothing = {"covered": 0, "size": 0, "sum": 0, "open": [], "bad": [], "bad_count": 0}
    head = read_checked(place / HEAD)
    status = os.fstat(log)
    try:
        if (head["inode"], head["device"], head["of"]) != (status.st_ino, status.st_dev, [version(), FORMAT]):
            return nothing, iter(())
        if head["covered"] > status.st_size or (head["first"], head["last"]) != (edge(log, 0), edge(log, head["last_at"])):
            return nothing, iter(())
        with open(place / ROWS, "rb") as file:
            data = file.read(head["size"])
        if len(data) != head["size"] or zlib.crc32(data) != head["sum"]:
            return nothing, iter(())
    except (OSError, TypeError, KeyError):
        return nothing, iter(())
    return head, map(fact, orjson.loads(b"[" + data[:-2] + b"]") if data else ())


def _save(place: Path, log: int, head: dict[str, Any], rows: list[list[Any]]) -> None:
    added = b"".join(orjson.dumps(each) + b",\n" for each in rows)
    if not head["size"]:
        (place / ROWS).unlink(missing_ok=True)
    descriptor = open_private(place / ROWS)
    try:
        os.ftruncate(descriptor, head["size"])
        os.pwrite(descriptor, added, head["size"])
    finally:
        os.close(descriptor)
    status = os.fstat(log)
    head.update(
        inode=status.st_ino,
        device=status.st_dev,
        of=[version(), FORMAT],
        first=edge(log, 0),
        last=edge(log, head["last_at"]),
        size=head["size"] + len(added),
        sum=zlib.crc32(added, head["sum"]),
    )
    write_checked(place / HEAD, head)
