"""The central files renamed away by ourselves when they have grown: proxies begin new ones, who follows loses nothing.

And all parts of such a log read as one again.
"""

import os
import shutil
import time
from pathlib import Path

from capture.files import FILES, LINES, parse, rotated, size_of, whole_lines
from capture.purges import Notice, post
from capture.purging import shut

COPIED = 1 << 20  # bytes at once


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


def join(directory: Path, into: Path) -> None:
    """The whole log in an empty directory: what was rotated away and what is written now as one. Raises OSError.

    Payloads are reached through a link.
    """
    (into / "bodies").symlink_to(directory.absolute() / "bodies")
    for name in FILES.values():
        with open(into / name, "wb") as whole:
            for part in sorted(rotated(directory, name), key=_began):
                with open(part, "rb") as file:
                    shutil.copyfileobj(file, whole, COPIED)
                    if file.tell() and os.pread(file.fileno(), 1, file.tell() - 1) != b"\n":
                        whole.write(b"\n")  # torn by a kill
            if (directory / name).exists():
                with open(directory / name, "rb") as file:
                    shutil.copyfileobj(file, whole, COPIED)


def _began(part: Path) -> tuple[str, str]:
    """By what the parts of a file are in order: the time of the first record."""
    first = next(filter(None, map(parse, whole_lines(part))), {})
    return str(first.get("t")), part.name
