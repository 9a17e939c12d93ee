"""The central files renamed away by ourselves when they have grown: proxies begin new ones, who follows loses nothing.

And all parts of such a log read as one again.
"""

import time
from collections.abc import Iterator
from pathlib import Path

from capture.files import FILES, LINES, size_of, status_of
from capture.packed import DAMAGED, unpacked
from capture.purges import Notice, post
from capture.purging import shut
from capture.rotated import parts

TRIES = 5  # to copy a log while it is not rotated
COPIED = 1 << 16  # bytes at once: so much is lost at most of a part that is damaged


def rotate(directory: Path, over: int, now: float) -> list[Path]:
    """Where the three files stand now, if that of lines had more than `over` bytes; else nothing. Raises OSError, Unusable.

    `now`: Unix seconds. No proxy writes meanwhile, and all go on in new files; `purge` and `ship` know the names.
    """
    with shut(directory) as board:
        if size_of(directory / LINES) <= over:  # another proxy was faster
            return []
        ending = time.strftime("-%Y%m%d-%H%M%S", time.localtime(now))
        moved = []
        for name in FILES.values():
            if (directory / name).exists() and not (directory / (name + ending)).exists():
                moved.append((directory / name).rename(directory / (name + ending)))
        post(board, Notice(now, {}, frozenset()))  # nobody's records went: proxies open their files anew
        return moved


def join(directory: Path, into: Path) -> dict[Path, str]:
    """The whole log in an empty directory: what was rotated away, compressed or not, and what is written now as one.

    Payloads are reached through a link. Gives back which parts could not be read to their end, and why. Raises OSError.
    """
    (into / "bodies").symlink_to(directory.absolute() / "bodies")
    broken: dict[Path, str] = {}
    for name in FILES.values():
        for _ in range(TRIES):
            found, broken_here = _stamped(directory, name), dict[Path, str]()
            with open(into / name, "wb") as whole:
                for part, _ in found:
                    whole.writelines(_pieces(part, broken_here))
            if _stamped(directory, name) == found:
                break
        broken |= broken_here
    return broken


def _stamped(directory: Path, name: str) -> list[tuple[Path, int]]:
    """The parts of a file, and which files these are: a rotation changes it."""
    return [(part, status_of(part).st_ino) for part in parts(directory, name)]


def _pieces(part: Path, broken: dict[Path, str]) -> Iterator[bytes]:
    """What a file holds, in whole lines: what a kill has torn becomes one as well."""
    end = b"\n"
    try:
        with unpacked(part) as file:
            while data := file.read(COPIED):
                yield data
                end = data[-1:]
    except DAMAGED as problem:
        broken[part] = str(problem)
    if end != b"\n":
        yield b"\n"
