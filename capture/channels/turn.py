"""Whose turn it is to write to a collected log: collectors that share a directory read, write and acknowledge one after the other.

So what one has read is written before another reads what follows: order within a flow is kept, whoever gets which entries. The turn
is a lock, which ends with its process, however that ends; what stands in the locked file says how far the log was then.
"""

import fcntl
import json
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from capture.files import inside, moved_away

type Offsets = Mapping[str, int]  # bytes of each of the three files

SOON, LATER = 0.001, 0.05  # seconds between two looks whether the turn is free: at first, at last
PATIENCE = 30.0  # seconds after which it is said who has the turn: more than a server may take to answer
BOOT = Path("/proc/sys/kernel/random/boot_id")  # another one after a power cut


@dataclass(frozen=True, slots=True)
class Last:
    """What the last turn left."""

    ours: bool  # it was ours: nobody has written since
    since: Offsets | None  # from there on the flows' own files may lack what the log has; None: they lack nothing


class Turns:
    """A directory's turns, as one collector sees them."""

    def __init__(self, folder: Path) -> None:
        """Raises Unusable, OSError."""
        self._folder = folder
        self._gate = self._lock = -1
        self._open()
        self._us = f"{os.getpid()}-{os.urandom(4).hex()}"
        self._boot = BOOT.read_text().strip() if BOOT.exists() else ""
        self._state: dict[str, Any] = {}

    @property
    def consumers(self) -> dict[str, list[str]]:
        """Who reads for this directory, by group; read while it is our turn."""
        found: dict[str, list[str]] = self._state.setdefault("consumers", {})
        return found

    def begin(self, sizes: Callable[[], Offsets], waiting: Callable[[str], None]) -> Last:
        """Waits for our turn. `sizes` are those of the log now; `waiting` is told, once, which process lets us wait."""
        until = time.monotonic() + PATIENCE
        while True:
            self._wait(self._gate, until, waiting)
            self._wait(self._lock, until, waiting)
            fcntl.flock(self._gate, fcntl.LOCK_UN)
            if not moved_away(self._folder / "turn", self._lock):
                break
            self._open()  # somebody deleted the folder
        found = self._read()
        now = sizes()
        known = {"offsets": now, "synced": now} if found is None else found
        last = Last(known.get("us") == self._us, self._since(known))
        self._state = {
            **known,
            "offsets": now if last.since is None else last.since,
            "clean": False,
            "us": self._us,
            "boot": self._boot,
        }
        self._write()
        return last

    def keep(self) -> None:
        """What was changed of `consumers` is there for the next one."""
        self._write()

    def whole(self, offsets: Offsets) -> None:
        """The flows' own files have all that the log has up to there."""
        self._state["offsets"] = dict(offsets)
        self._write()

    def synced(self, offsets: Offsets) -> None:
        """As `whole`, and all of it is on the disk."""
        self._state["synced"] = dict(offsets)
        self._write()
        os.fsync(self._lock)

    @property
    def unsynced(self) -> Offsets:
        """Up to where all is on the disk."""
        found: Offsets = self._state.get("synced", {})
        return found

    def end(self, clean: bool) -> None:
        """The next one may. `clean`: the flows' own files lack nothing."""
        self._state["clean"] = clean
        with suppress(OSError):  # a full disk: then it counts as not clean
            self._write()
        fcntl.flock(self._lock, fcntl.LOCK_UN)

    def close(self) -> None:
        os.close(self._lock)
        os.close(self._gate)

    def _open(self) -> None:
        """The folder's two files: the gate is held by who waits, so that turns go round."""
        if self._lock >= 0:
            self.close()
        inside(self._folder)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        self._gate = os.open(self._folder / "gate", flags, 0o600)
        self._lock = os.open(self._folder / "turn", flags, 0o600)

    def _since(self, known: dict[str, Any]) -> Offsets | None:
        if known.get("boot", self._boot) != self._boot:
            return dict(known.get("synced", {}))
        return None if known.get("clean", True) else dict(known.get("offsets", {}))

    def _wait(self, lock: int, until: float, waiting: Callable[[str], None]) -> None:
        pause = SOON
        while True:
            try:
                return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                pass
            if time.monotonic() > until:
                waiting(str((self._read() or {}).get("us", "?")).partition("-")[0])
            time.sleep(pause)
            pause = min(LATER, pause * 1.5)

    def _read(self) -> dict[str, Any] | None:
        """What the last turn left; None where there was none. Of a damaged one nothing is known: all is looked through."""
        line = os.pread(self._lock, 1 << 20, 0).partition(b"\n")[0]
        if not line:
            return None
        try:
            found = json.loads(line)
        except ValueError:
            found = None
        return found if isinstance(found, dict) else {"clean": False}

    def _write(self) -> None:
        """The first line of the file is the state: what an older, longer one leaves behind it means nothing."""
        line = json.dumps(self._state, separators=(",", ":")).encode() + b"\n"
        os.pwrite(self._lock, line, 0)
