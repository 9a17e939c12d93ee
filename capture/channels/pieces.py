"""What was read of a log, in transactions: each with the places that it reaches."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from capture.channels.base import Batch
from capture.channels.checkpoints import Places
from capture.files import FILES
from capture.jsonl import Kind

MOST = 500  # records of one transaction: the server does nothing else meanwhile, 1 ms
SIZE = 1 << 20  # bytes of them


@dataclass(frozen=True, slots=True)
class Piece:
    """Records of one transaction, and the places that it reaches."""

    records: dict[Kind, list[bytes]]  # flows, lines, ends: in that order
    places: Places

    @property
    def count(self) -> int:
        return sum(map(len, self.records.values()))

    @property
    def first(self) -> bytes:
        return next(raws[0] for raws in self.records.values())


def pieces(batch: Batch, before: Places, after: Places) -> Iterator[Piece]:
    """A batch in transactions; in one only, when a file was renamed or cut within it."""
    records: dict[Kind, list[bytes]] = {"flows": batch.flows, "lines": [raw for _, raw in batch.lines], "flow_ends": batch.ends}
    if not _straight(records, before, after):
        if whole := {kind: found for kind, raws in records.items() if (found := _whole(raws))}:
            yield Piece(whole, after)
        return
    reached = {name: places[-1].offset for name, places in before.items()}
    for kind, raws in records.items():
        for some, size in _portions(raws):
            reached[FILES[kind]] += size
            yield Piece({kind: some}, {name: (replace(after[name][-1], offset=offset),) for name, offset in reached.items()})


def _whole(raws: list[bytes]) -> list[bytes]:
    """Without the torn last line of a file that was renamed."""
    return [raw for raw in raws if raw.endswith(b"\n")]


def _straight(records: dict[Kind, list[bytes]], before: Places, after: Places) -> bool:
    """Whether the records are what stands between two places of each current file."""
    return all(
        len(before.get(name, ())) == len(after[name]) == 1
        and before[name][-1].inode in (0, after[name][-1].inode)
        and before[name][-1].offset + sum(map(len, records[kind])) == after[name][-1].offset
        for kind, name in FILES.items()
    )


def _portions(raws: list[bytes]) -> Iterator[tuple[list[bytes], int]]:
    """Lists of MOST records and SIZE bytes at most, or of one record, with their bytes."""
    at = 0
    while at < len(raws):
        some = raws[at : at + MOST]
        while (size := sum(map(len, some))) > SIZE and len(some) > 1:
            some = some[: max(1, min(len(some) - 1, len(some) * SIZE // size))]
        yield some, size
        at += len(some)
