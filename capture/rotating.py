"""The central files renamed away by ourselves when they have grown: proxies begin new ones, who follows loses nothing."""

import time
from pathlib import Path

from capture.files import FILES, LINES, size_of
from capture.purges import Notice, post
from capture.purging import shut


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
