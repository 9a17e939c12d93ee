"""Limits of age and size (`sse_max_age`, `sse_max_size`): `capture purge` keeps them, in a process of its own, hour by hour.

And rotation (`sse_rotate_size`): the central files are renamed when they have grown.
"""

import asyncio
import logging
import shutil
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from capture.files import LINES, Unusable, size_of
from capture.proxy import ROOT
from capture.quota import is_exceeded
from capture.rotating import rotate
from capture.scope import Scope

EVERY = 3600.0  # seconds between two looks whether a limit is exceeded
LOOK = 1.0  # seconds between two looks whether the log is to be rotated
PROGRAM = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from capture.cli import main; main()"
NICE = ("nice", "-n", "10")  # it reads the whole log: agents come first
ANOTHER = "another purge"  # as another proxy on the same log may have begun


def keep_limits(directory: Path, scope: Scope) -> asyncio.Task[None] | None:
    """Looks from now on until it is cancelled; None when nothing is limited."""
    if not (scope.max_age or scope.max_size):
        return None
    return asyncio.get_running_loop().create_task(_keep(directory, scope), name="sse-capture retention")


def rotate_over(directory: Path, size: int) -> asyncio.Task[None] | None:
    """Rotates the log from now on, until it is cancelled, whenever its lines have more than so many bytes; None for none."""
    return asyncio.get_running_loop().create_task(_rotate(directory, size), name="sse-capture rotation") if size else None


async def _rotate(directory: Path, size: int) -> None:
    while True:
        await asyncio.sleep(LOOK)
        if size_of(directory / LINES) > size:
            try:
                moved = await asyncio.to_thread(rotate, directory, size, time.time())
                logging.info(f"sse-capture: rotated to {', '.join(path.name for path in moved)}")
            except (OSError, Unusable) as problem:
                logging.error(f"sse-capture: the log could not be rotated: {problem}")


async def _keep(directory: Path, scope: Scope) -> None:
    while True:
        if await asyncio.to_thread(_is_exceeded, directory, scope):
            for option, limit in (("--older-than", scope.max_age), ("--down-to", scope.max_size)):
                if limit:
                    await _purge(directory, option, limit)
        await asyncio.sleep(EVERY)


def _is_exceeded(directory: Path, scope: Scope) -> bool:
    with suppress(OSError, Unusable):  # files come and go while they are looked at; the purge says what is damaged
        return is_exceeded(directory, scope, time.time())
    return True


async def _purge(directory: Path, option: str, limit: str) -> None:
    async with _process("purge", "--dir", str(directory), option, limit, "--yes") as process:
        _, said = await process.communicate()
        words = (said.decode("utf-8", "replace").splitlines() or [""])[-1].removeprefix("capture: ")
        if process.returncode == 0:
            logging.info(f"sse-capture: {option} {limit}: {words}")
        elif ANOTHER not in words:
            logging.error(f"sse-capture: {option} {limit} could not be kept: {words}")


@asynccontextmanager
async def _process(*words: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A command of ours, that ends with the proxy: a purge can be killed at any moment."""
    nice = NICE if shutil.which(NICE[0]) else ()
    pipe, null = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(
        *nice, sys.executable, "-c", PROGRAM, *words, stdin=null, stdout=null, stderr=pipe
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
