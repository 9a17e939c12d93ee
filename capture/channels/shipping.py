"""A log shipped into a Redis stream."""

import os
import re
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import chain
from pathlib import Path
from typing import Literal

from capture.channels.checkpoints import Checkpoint, Memory, Places, loaded
from capture.channels.pieces import pieces
from capture.channels.redis import PAUSES
from capture.channels.redis_sink import RedisSink, Rewound
from capture.channels.resuming import Log, began, unread
from capture.channels.where import Where
from capture.files import CHOOSE, Unusable

WRITE = 1.0  # seconds between two writings of the checkpoint beside the log; the server has each
CHECK = 5.0  # seconds, while nothing comes, between two looks whether the server still has what was shipped
WAIT = 0.5  # seconds a look at the log takes at most
BODY = re.compile(rb'\\"sha256\\":\\"([0-9a-f]{64})\\"')  # in the metadata of a line, a JSON string: its payload lies in bodies/
PIECE = 256 << 10  # bytes of a payload in one entry
IN_LINE = 1 << 15  # bytes; a line whose payload lies in bodies/ has its first 64 KiB: a shorter one need not be searched
BODIES = 10_000  # payloads remembered as sent
TIME = re.compile(rb'"t":"([0-9T:.-]+)"')


@dataclass(frozen=True, slots=True)
class Status:
    """How a shipping goes."""

    state: Literal["following", "waiting", "done"]
    trouble: str  # why it waits
    sent: int  # records of this log, in all
    pending_bytes: int  # of the log, not sent
    reconnects: int
    lag_seconds: float  # age of the oldest record that is not sent
    uptime_seconds: float


class Shipper:
    """Follows a log and adds each record to a stream; it reads on only when the server has what was read."""

    def __init__(
        self,
        directory: Path,
        where: Where,
        start: Literal["now", "start"] = "start",
        say: Callable[[str], None] = lambda text: None,
        tick: Callable[[Status], None] = lambda status: None,
        steps: tuple[float, ...] = PAUSES,
    ) -> None:
        """`start`: where, when nothing was shipped yet. `say` tells people, `tick` is called all the time. Raises Unusable."""
        self._directory, self._where, self._say, self._tick = directory, where, say, tick
        self._memory = Memory(directory, where.name)
        self._began = self._memory.began or began(directory, start)
        self._sink = RedisSink(where, self._memory.log, self._wait, steps)
        self._since = time.monotonic()
        self._state: Literal["following", "waiting", "done"] = "following"
        self._trouble = ""
        self._oldest = 0.0  # when the oldest record came that is in our hands
        self._in_hand = 0  # bytes of records in our hands
        self._bodies: dict[bytes, None] = {}  # payloads that were sent, the oldest first
        self._done = self._sent = self._memory.last  # acknowledged; under way
        self._checked = 0.0  # when we looked whether the server still has it
        self._written = 0.0  # when the checkpoint was last written beside the log
        self._log: Log | None = None
        try:
            self._memory.write(self._began, self._done)  # where it begins, and under which id, must not be forgotten
        except OSError as problem:
            raise Unusable(f"cannot write to {directory} ({problem.strerror}): {CHOOSE}") from None

    @property
    def status(self) -> Status:
        now = time.time()
        return Status(
            self._state,
            self._trouble,
            self._done.sent,
            self._in_hand + (self._log.pending if self._log else unread(self._directory, self._done.places or self._began)),
            max(0, self._sink.connections - 1),
            round(max(0.0, now - self._oldest), 3) if self._oldest else 0.0,
            round(time.monotonic() - self._since, 3),
        )

    def run(self, once: bool = False) -> None:
        """Ships, for ever, or `once` until all is sent. Raises Unusable."""
        known = self._sink.start()
        if known is None and self._done.sent:
            self._say(
                "the stream does not know this log any more: it is sent again from where it began; repeats are known by their ids"
            )
        self._go_on_from(self._read(known) if known else replace(self._done, sent=0, places=self._began))
        while True:
            nothing = self._step()
            if nothing and (once or time.monotonic() - self._checked > CHECK):
                nothing = self._checks_out()
            if nothing and once:
                return
            self._tick(self.status)

    def close(self) -> None:
        self._state = "done"
        with suppress(OSError):
            self._memory.write(self._began, self._done)
        self._tick(self.status)
        if self._log:
            self._log.close()
        self._sink.drop()
        self._memory.close()

    def _go_on_from(self, checkpoint: Checkpoint) -> None:
        if self._log:
            self._log.close()
        self._done = self._sent = checkpoint
        self._bodies.clear()
        self._log = Log(self._directory, checkpoint.places)
        for name in self._log.lost:
            self._say(f"{name}: the file that was shipped last is not there any more; what it still held is not shipped")
        with suppress(OSError):
            self._memory.write(self._began, checkpoint)

    def _read(self, place: bytes) -> Checkpoint:
        try:
            return loaded(place)
        except ValueError:
            key = f"HDEL {self._where.shipped} {self._memory.log}"
            raise Unusable(f"{self._where.name}: what it says of this log is no checkpoint; to send all again: {key}") from None

    def _step(self) -> bool:
        """Ships what has come; whether there was nothing to ship any more."""
        assert self._log
        batch = self._log.poll(0.0 if self._sent != self._done else WAIT)
        try:
            for piece in pieces(batch, self._sent.places, self._log.places):
                self._oldest, self._in_hand = _time(piece.first) or self._oldest, sum(map(len, chain(*piece.records.values())))
                self._send_bodies(piece.records.get("lines", []))
                for kind, raws in piece.records.items():
                    self._sink.add_all(kind, raws)
                self._begin(piece.count, piece.places)
            if not batch:
                self._settle()
        except Rewound as rewound:
            self._rewind(rewound)
            return False
        nothing = not batch and not batch.behind
        if nothing:
            self._oldest, self._in_hand = 0.0, 0
        return nothing

    def _checks_out(self) -> bool:
        """Whether the server still has all that was shipped; else it is read again."""
        self._checked = time.monotonic()
        try:
            self._sink.check()
        except Rewound as rewound:
            self._rewind(rewound)
            return False
        self._goes_on()
        return True

    def _rewind(self, rewound: Rewound) -> None:
        self._say("Redis lost what it had acknowledged: it is sent again; repeats are known by their ids")
        known = self._read(rewound.place) if rewound.place else replace(self._done, sent=0, places=self._began)
        self._go_on_from(replace(known, number=max(known.number, self._sent.number)))

    def _goes_on(self) -> None:
        if self._state == "waiting":
            self._state, self._trouble = "following", ""
            self._say("Redis takes records again")

    def _begin(self, records: int, places: Places) -> None:
        """What was added is under way, and the checkpoint with it; what was under way before is acknowledged."""
        reached = Checkpoint(self._sent.number + 1, self._sent.sent + records, places)
        self._sink.begin(reached.dump())
        self._acknowledged()
        self._sent = reached

    def _settle(self) -> None:
        self._sink.settle()
        self._acknowledged()

    def _acknowledged(self) -> None:
        """What was under way has arrived."""
        if self._done is self._sent:
            return
        self._done = self._sent
        now = time.monotonic()
        if now - self._written > WRITE:
            self._written = now
            with suppress(OSError):  # a full disk: the server knows it
                self._memory.write(self._began, self._done)
        self._goes_on()

    def _send_bodies(self, lines: list[bytes]) -> None:
        """The payloads that lie in bodies/, before the lines that speak of them."""
        for raw in lines:
            if len(raw) > IN_LINE:
                for digest in BODY.findall(raw):
                    if digest not in self._bodies:
                        self._send_body(digest.decode())
                        self._bodies[digest] = None
        while len(self._bodies) > BODIES:
            del self._bodies[next(iter(self._bodies))]

    def _send_body(self, digest: str) -> None:
        with suppress(FileNotFoundError), open(self._directory / "bodies" / digest, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            while piece := file.read(PIECE):
                self._sink.add_body(digest, file.tell() - len(piece), size, piece)
                self._begin(0, self._sent.places)

    def _wait(self, seconds: float, reason: str) -> None:
        """Tells people once for each reason, and the status all the time."""
        if reason != self._trouble:
            self._say(f"{self._where.name}: {reason}; what is not sent waits in the log, and Redis is tried again and again")
        self._state, self._trouble = "waiting", reason
        until = time.monotonic() + seconds
        while True:
            self._tick(self.status)
            if (left := until - time.monotonic()) <= 0:
                return
            time.sleep(min(WAIT, left))


def _time(raw: bytes) -> float:
    """When a record came, Unix seconds; 0 where it does not say."""
    with suppress(ValueError):
        if found := TIME.search(raw):
            return datetime.fromisoformat(found[1].decode()).timestamp()
    return 0.0
