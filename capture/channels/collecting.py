"""A Redis stream collected into a log directory."""

import math
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from socket import gethostname
from typing import Literal

from capture.channels.collected import CollectedLog
from capture.channels.flow_files import Raw
from capture.channels.groups import Gone, Group
from capture.channels.redis import PAUSES, RedisError, pauses, why
from capture.channels.where import Where

GROUP = "collect"
WAIT = 1.0  # seconds a turn lasts in which nothing comes
TURN = 0.2  # seconds after which another one may, while there is more to do
NAMES = 100  # consumers of a directory that are remembered
MISSING = 0.1  # seconds between two looks for a stream that is not there
IDLE = 60.0  # seconds after which what another directory's collector has not acknowledged is taken over


@dataclass(frozen=True, slots=True)
class Status:
    """What a collector says of itself."""

    state: Literal["following", "waiting", "done"]
    trouble: str  # why it waits
    records: int  # written by this run
    repeats: int  # that were there already
    deleted: int  # entries that were deleted from the stream before they were collected
    foreign: int  # entries that are none of ours
    reconnects: int
    uptime_seconds: float


class Collector:
    """One of the collectors of a group. Others may write to the same directory: each in its turn, nothing twice, all in order."""

    def __init__(
        self,
        where: Where,
        directory: Path,
        group: str = GROUP,
        consumer: str = "",
        start: Literal["now", "start"] = "start",
        idle: float = IDLE,
        say: Callable[[str], None] = lambda text: None,
        tick: Callable[[Status], None] = lambda status: None,
        steps: tuple[float, ...] = PAUSES,
    ) -> None:
        """`start`: where a group begins that is new. `say` tells people, `tick` is called all the time. Raises Unusable."""
        self.log = CollectedLog(directory)
        self.group = Group(where, group, consumer or default_consumer(directory))
        self._where, self._start, self._idle = where, "0" if start == "start" else "$", idle
        self._say, self._tick, self._steps = say, tick, steps
        self._pauses = pauses(steps)
        self._since = time.monotonic()
        self._state: Literal["following", "waiting", "done"] = "following"
        self._trouble = ""
        self._connections = 0
        self._ready = False  # the group is there
        self._looked = -math.inf  # when we looked what others do not acknowledge
        self._warned: set[str] = set()

    @property
    def status(self) -> Status:
        counts = (
            self.log.records,
            self.log.repeats,
            self.log.deleted + self.group.deleted,
            self.log.foreign,
            max(0, self._connections - 1),
        )
        return Status(self._state, self._trouble, *counts, round(time.monotonic() - self._since, 3))

    def run(self, once: bool = False) -> None:
        """Collects, for ever, or `once` until the stream has nothing that nobody was given. Raises Unusable."""
        while True:
            done = self.step(0.0 if once else WAIT)
            self._tick(self.status)
            if once and done:
                return

    def close(self) -> None:
        self._state = "done"
        self._tick(self.status)
        self.group.drop()
        self.log.close()

    def step(self, wait: float) -> bool:
        """One turn; whether there was nothing to collect. Raises Unusable."""
        try:
            if not self.group.connected:
                self.group.open()
                self._connections += 1
            if not self._ready:
                return self._began(wait)
            with self.log.turn(self._held):
                found = self._turn(wait)
            self._well()
            return not found
        except Gone:
            self._ready, self._start = False, "0"
            self._say_once(f"{self._where.name}: the stream was deleted; what shippers send again is known by its ids")
        except RedisError as problem:
            self.group.drop()
            reason = why(problem, self._where)
            self._pause(reason, f"{self._where.name}: {reason}; it is tried again and again")
        except OSError as problem:
            self._pause_for_disk(problem)
        finally:
            if self.group.waiting:  # an answer that nobody took: what it gives comes again
                self.group.drop()
        return False

    def _began(self, wait: float) -> bool:
        """Whether there is no stream, and so nothing to collect."""
        self._ready = self.group.create(self._start)
        if not self._ready:
            self._start = "0"  # all that comes from now on
            if self._looked < 0:  # of one that was deleted it is said elsewhere
                self._say_once(f"{self._where.name}: there is no such stream yet")
            time.sleep(min(wait, MISSING))
            return True
        return False

    def _turn(self, wait: float) -> bool:
        """Whether there was something to collect.

        A consumer of this directory may have been given entries that it never wrote: it was killed, or its connection was. Such
        entries are older than those that come next, also where the server gave them in the moment before. So what was given
        is looked at after new entries are there, and before these are written.
        """
        consumers = self._consumers()
        if time.monotonic() - self._looked > self._idle / 2:
            self._looked = time.monotonic()
            self.group.take_idle(self._idle)
            self._warn(consumers)
        until, written = time.monotonic() + TURN, list[Raw]()  # what is not acknowledged yet
        self.group.ask([], wait)
        while True:
            entries, pending = self.group.answer()
            ours = {name: count for name, count in pending.items() if name in consumers}
            if sum(ours.values()) != len(written) + len(entries):
                self.group.acknowledge(written)
                return self._rest(name for name in ours if name != self.group.consumer)
            if not entries or time.monotonic() > until:
                break
            self.group.ask(written, 0.0)  # the server is at work while we are
            self._write(entries)
            written = entries
        self._write(entries)
        self.group.acknowledge([*written, *entries])
        return bool(written or entries)

    def _rest(self, dead: Iterable[str]) -> bool:
        """All that this directory's consumers were given and have not acknowledged, in the order of the stream."""
        self.group.take_over(dead)
        for entries in self.group.unacknowledged():
            self._keep(entries)
        return True

    def _consumers(self) -> list[str]:
        """The consumers of this directory. What they have not acknowledged nobody has in its hands, as it is our turn."""
        mine = self.group.consumer
        everybody = self.log.turns.consumers
        key = f"{self._where.name} {self.group.group}"
        known = everybody.get(key, [])
        if mine not in known:
            everybody[key] = [*known, mine][-NAMES:]
            self.log.turns.keep()
        return everybody[key]

    def _keep(self, entries: list[Raw]) -> None:
        """Entries into the log, and only then acknowledged."""
        self._write(entries)
        self.group.acknowledge(entries)

    def _write(self, entries: list[Raw]) -> None:
        """Entries are in the log when this returns, as long as it takes."""
        self.log.add_entries(entries)
        while entries:
            try:
                return self.log.flush()
            except OSError as problem:
                self._pause_for_disk(problem)

    def _warn(self, consumers: list[str]) -> None:
        """Says who else reads in the group, and for another directory."""
        if strange := [name for name in self.group.others() if name not in consumers]:
            self._say_once(
                f"group {self.group.group} has collectors of other directories ({', '.join(strange[:3])}): "
                "each directory gets a part of each flow; for all of it name a --group of its own"
            )

    def _held(self, process: str) -> None:
        self._say_once(f"process {process} writes to {self.log.name}, and does not let go: stop it if it hangs")
        self._tick(self.status)

    def _say_once(self, text: str) -> None:
        if text not in self._warned:
            self._warned.add(text)
            self._say(text)

    def _pause_for_disk(self, problem: OSError) -> None:
        reason = problem.strerror or str(problem)
        self._pause(reason, f"cannot write to {self.log.name} ({reason}); the records wait in Redis")

    def _pause(self, trouble: str, text: str) -> None:
        """Tells people once for each reason, and the status all the time."""
        if trouble != self._trouble:
            self._say(text)
        self._state, self._trouble = "waiting", trouble
        until = time.monotonic() + next(self._pauses)
        while (left := until - time.monotonic()) > 0:
            self._tick(self.status)
            time.sleep(min(MISSING, left))

    def _well(self) -> None:
        if self._state == "waiting":
            self._state, self._trouble = "following", ""
            self._pauses = pauses(self._steps)
            self._say("it goes on")


def default_consumer(directory: Path) -> str:
    """Our name in a group: that of the directory, for whose processes take turns."""
    with suppress(OSError):
        directory = directory.resolve()
    return f"{gethostname()}-{sha256(str(directory).encode()).hexdigest()[:8]}"
