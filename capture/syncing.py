"""Files put on the disk itself, so that a power failure takes no more than the last moments of them.

`write` only reaches the system's memory, from where it goes to the disk within half a minute. Waiting for the disk takes
anything from a millisecond to seconds: that is done in a thread of its own, and keeps no record back.
"""

import os
import threading
from collections.abc import Callable, Iterable

EVERY = 1.0  # seconds between two times: what a power failure can take, and the time the disk needs


class Syncer:
    """Syncs files in the background, one batch after the other."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._last = now()
        self._busy = threading.Event()
        self._failed: OSError | None = None

    def failed(self) -> OSError | None:
        """What went wrong since this was asked last."""
        failed, self._failed = self._failed, None
        return failed

    @property
    def due(self) -> bool:
        """Whether it is time, and the disk is done with the batch before."""
        return abs(self._now() - self._last) >= EVERY and not self._busy.is_set()

    def sync(self, descriptors: Iterable[int]) -> None:
        """Returns at once; the files may be closed or renamed meanwhile. Raises OSError, RuntimeError (no thread starts)."""
        ours: list[int] = []
        self._busy.set()
        try:
            for descriptor in descriptors:
                ours.append(os.dup(descriptor))
            threading.Thread(target=self._sync, args=(ours,), name="sse-capture syncer", daemon=True).start()
        except (OSError, RuntimeError):
            for descriptor in ours:
                os.close(descriptor)
            self._busy.clear()
            raise
        self._last = self._now()

    def _sync(self, descriptors: list[int]) -> None:
        for descriptor in descriptors:
            try:
                fdatasync(descriptor)
            except OSError as problem:
                self._failed = problem
            finally:
                os.close(descriptor)
        self._busy.clear()


def fdatasync(descriptor: int) -> None:
    """Waits until a file is on the disk. Raises OSError."""
    getattr(os, "fdatasync", os.fsync)(descriptor)  # macOS has only fsync
