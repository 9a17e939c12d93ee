"""How large a log may become, and how old: which sessions go so that it does not. The oldest go first, whole ones only."""

from collections.abc import Mapping
from pathlib import Path

from capture.files import FLOWS, parse, safe_name, size_of
from capture.jsonl import local_time
from capture.purging import Held
from capture.rotated import lines_of, parts
from capture.scope import Scope, bytes_of, seconds_of


def is_exceeded(directory: Path, scope: Scope, now: float) -> bool:
    """Whether something may have to go: a quick look, at first records and sizes. `now`: Unix seconds. Raises Unusable."""
    if scope.max_age:
        oldest = local_time(now - seconds_of(scope.max_age))
        firsts = (parse(next(lines_of(part), b"")) or {} for part in parts(directory, FLOWS))
        if any(str(first.get("t") or "~") < oldest for first in firsts):
            return True
    return bool(scope.max_size) and size(directory) > bytes_of(scope.max_size)


def size(directory: Path) -> int:
    """Bytes of all files of a log, the index excepted: that is made again."""
    files = [path for path in directory.rglob("*") if not any(name.endswith(".index") for name in path.parts[-2:])]
    return sum(path.lstat().st_size for path in files if path.is_file() and not path.is_symlink())


def sizes(directory: Path, there: Mapping[str, Held]) -> dict[str, int]:
    """What each session takes; a payload that several refer to counts for the one that was spoken in last: with it, it goes."""
    found = {}
    owners: dict[str, str] = {}
    for sid, held in _by_age(there):
        folder = directory / "sse_logs" / safe_name(sid)
        found[sid] = held.bytes + sum(size_of(path) for path in folder.glob("*"))
        owners |= dict.fromkeys(held.bodies, sid)
    for name, sid in owners.items():
        found[sid] += size_of(directory / "bodies" / name)
    return found


def oldest(there: Mapping[str, Held], sizes: Mapping[str, int], excess: int, before: str) -> list[str]:
    """The sessions to take out so that at least `excess` bytes go: those spoken in longest ago, none since the time `before`."""
    chosen: list[str] = []
    for sid, held in _by_age(there):
        if excess <= 0 or held.last >= before:
            break
        chosen.append(sid)
        excess -= sizes[sid]
    return chosen


def _by_age(there: Mapping[str, Held]) -> list[tuple[str, Held]]:
    return sorted(there.items(), key=lambda item: (item[1].last, item[0]))
