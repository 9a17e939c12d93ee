"""The parts of a log whose files were renamed away, by `logrotate` or by us, compressed or not."""

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from capture.files import FILES, Unusable, parse, status_of, whole_lines
from capture.packed import DAMAGED, SUFFIXES, packing_of, unpacked

type Places = list[tuple[Path, int]]  # files, each with the byte offset from which on it counts, the oldest first

RENAMED = r"[.-][0-9][0-9.-]*"  # behind the name of a file that was renamed away: `.1`, `-20261121-124000`
PACKED = "|".join(map(re.escape, SUFFIXES))
ENDING = re.compile(f"{RENAMED}(?:{PACKED})?")


def old_parts(directory: Path, name: str) -> list[Path]:
    """The files that were renamed away from a file of the log, in no order. One that is just being compressed counts once."""
    found = [path for path in directory.glob(name + "*") if ENDING.fullmatch(path.name.removeprefix(name)) and path.is_file()]
    return [path for path in found if path.suffix not in SUFFIXES or path.with_suffix("") not in found]


def is_being_packed(part: Path) -> bool:
    """Whether a compressed one stands beside it: `gzip` has not taken the plain one away yet."""
    return any(Path(f"{part}{suffix}").exists() for suffix in SUFFIXES)


def strangers(directory: Path) -> list[Path]:
    """Files that may hold records of the log, and that nobody here can read: packed otherwise, or called otherwise."""
    known = {path for name in FILES.values() for path in (directory / name, *old_parts(directory, name))}
    found = {path for name in FILES.values() for path in directory.glob(name + "?*") if path.is_file() and path.suffix != ".bad"}
    return sorted(found - known - {Path(f"{path}{suffix}") for path in known for suffix in SUFFIXES})


def parts(directory: Path, name: str) -> list[Path]:
    """These, the oldest first, and the file itself, which comes last, where it exists."""
    return [*sorted(old_parts(directory, name), key=_began), *filter(Path.exists, (directory / name,))]


def _began(part: Path) -> tuple[str, str]:
    """By what the parts of a file are in order: the time of the first record."""
    with suppress(*DAMAGED), unpacked(part) as file:
        return str(next(filter(None, map(parse, file)), {}).get("t")), part.name
    return "", part.name


def lines_of(part: Path, start: int = 0) -> Iterator[bytes]:
    """The whole lines of a part; of a compressed one, which does not grow, also a record that lacks its newline.

    Raises Unusable where it is damaged: nobody knows what stands there.
    """
    with readable(part):
        if not packing_of(part):
            yield from whole_lines(part, start)
            return
        with unpacked(part) as file:
            yield from (line.removesuffix(b"\n") for line in file if line.endswith(b"\n") or parse(line) is not None)


@contextmanager
def readable(part: Path) -> Iterator[None]:
    """What shows while a part is read that it is damaged is said in one line: Unusable."""
    try:
        yield
    except DAMAGED as problem:
        raise Unusable(f"{part} cannot be read ({problem}): repair it or move it away, then try again") from None


def written_since(path: Path, inode: int, offset: int) -> Places:
    """Where all stands that was written to a file since it was this one and had `offset` bytes; what was compressed is left out.

    It may have been renamed away since, and others after it. Of one that is gone nothing is left but what was begun anew.
    """
    if not inode or status_of(path).st_ino == inode:
        return [(path, offset)]
    old = [(status_of(part), part) for part in old_parts(path.parent, path.name) if part.suffix not in SUFFIXES]
    old.sort(key=lambda found: found[0].st_mtime_ns)
    at = next((at for at, (status, _) in enumerate(old) if status.st_ino == inode), None)
    if at is None:
        return [(path, 0)]
    return [(old[at][1], offset), *((part, 0) for _, part in old[at + 1 :]), (path, 0)]
