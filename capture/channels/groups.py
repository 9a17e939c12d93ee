"""A consumer group of a Redis stream: entries shared out among collectors, kept for them until they acknowledge."""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from capture.channels.flow_files import Raw
from capture.channels.redis import SOCKET_TIMEOUT, Client, ResponseError, command, connect
from capture.channels.where import Where

MOST = 2048  # entries taken at once: more fill the caches of a processor
BATCH = 900_000  # bytes of them, about: not over what an `Appender` writes at once
CLAIMED = 1000  # entries taken over at once
GONE = ("NOGROUP", "UNBLOCKED", "no such key", "no longer exists", "requires the key to exist")


class Gone(Exception):
    """The stream, or the group, was deleted."""


class Group:
    """One consumer of a group. Each method raises RedisError when the server is away, and Gone."""

    def __init__(self, where: Where, group: str, consumer: str) -> None:
        self.where, self.group, self.consumer = where, group, consumer
        self.deleted = 0  # entries that were given to somebody, and deleted before they were acknowledged
        self._client: Client | None = None
        self._connection: Any = None  # the library's, spoken to without its answers' dressing
        self._count = MOST // 8
        self._asked = 0  # answers that come
        self._reading = ("XREADGROUP", "GROUP", group, consumer)

    @property
    def connected(self) -> bool:
        return self._connection is not None

    def open(self) -> None:
        """Connects. Raises Unusable."""
        self._client = connect(self.where, re.sub(r"[^!-~]", "-", f"capture-collect-{self.consumer}"))
        self._connection = self._client.connection_pool.get_connection()

    def create(self, start: str) -> bool:
        """Whether the group is there now; where it was not, it begins at `start`: an id, or `$` for the stream's end.

        A stream that is not there is waited for, never made: by its absence shippers know that it was deleted, and send it again.
        """
        try:
            if self._facts() is None:  # a server without memory refuses to create what is there
                self._ask("XGROUP", "CREATE", self.where.stream, self.group, start)
        except Gone:
            return False
        except ResponseError as problem:
            if "BUSYGROUP" not in str(problem):
                raise
        return True

    def drop(self) -> None:
        """Closes the connection; the group keeps what was not acknowledged."""
        if self._connection is not None:
            self._connection.disconnect()
        if self._client is not None:
            self._client.close()
        self._client = self._connection = None
        self._asked = 0

    def ask(self, written: Sequence[Raw], wait: float) -> None:
        """Acknowledges what was written, and asks for the next entries; the server answers while we do other things.

        `wait`: seconds it waits for some.
        """
        words: list[tuple[Any, ...]] = [self._acknowledgement(written)] if written else []
        block = ("BLOCK", max(1, int(min(wait, SOCKET_TIMEOUT / 2) * 1000))) if wait > 0 else ()
        words.append((*self._reading, "COUNT", self._count, *block, "STREAMS", self.where.stream, ">"))
        words.append(("XPENDING", self.where.stream, self.group))
        self._asked = len(words)
        self._connection.send_packed_command([b"".join([command(*each) for each in words])])

    def answer(self) -> tuple[list[Raw], dict[str, int]]:
        """The next entries that nobody was given yet, in their order; how many each consumer was given and had not acknowledged."""
        answers = []
        while self._asked:
            answers.append(self._answer())
            self._asked -= 1
        entries = self._counted(answers[-2][0][1] if answers[-2] else [])
        return entries, {name.decode("utf-8", "replace"): int(count) for name, count in answers[-1][3] or ()}

    @property
    def waiting(self) -> bool:
        """Whether there are answers that nobody took."""
        return bool(self._asked)

    def unacknowledged(self) -> Iterator[list[Raw]]:
        """What we were given before and did not acknowledge, in its order, piece by piece. Deleted entries are among it."""
        last: bytes = b"0"
        while True:
            found = self._ask(*self._reading, "COUNT", self._count, "STREAMS", self.where.stream, last)
            if not found or not found[0][1]:
                return
            yield self._counted(found[0][1])
            last = found[0][1][-1][0]

    def acknowledge(self, entries: Sequence[Raw]) -> None:
        """They are where they belong."""
        if entries:
            self._ask(*self._acknowledgement(entries))

    def take_over(self, consumers: Iterable[str]) -> int:
        """What was given to consumers that are dead, or do not write now, is ours. How many entries."""
        count = 0
        for name in consumers:
            while found := self._ask("XPENDING", self.where.stream, self.group, "-", "+", CLAIMED, name):
                ids = [each[0] for each in found]
                claimed = self._ask("XCLAIM", self.where.stream, self.group, self.consumer, 0, *ids, "JUSTID")
                self.deleted += len(ids) - len(claimed)
                count += len(claimed)
        return count

    def take_idle(self, seconds: float) -> int:
        """What anybody was given so long ago, and has not acknowledged, is ours. How many entries."""
        count, cursor = 0, b"0-0"
        while True:
            words = (self.where.stream, self.group, self.consumer, int(seconds * 1000), cursor, "COUNT", CLAIMED, "JUSTID")
            cursor, found, *gone = self._ask("XAUTOCLAIM", *words)
            self.deleted += len(gone[0]) if gone else 0  # Redis 7 takes deleted entries out of the group here
            count += len(found)
            if cursor == b"0-0":
                return count

    def others(self) -> list[str]:
        """All consumers of the group but us."""
        found = self._ask("XINFO", "CONSUMERS", self.where.stream, self.group)
        names = [dict(zip(each[::2], each[1::2], strict=True))[b"name"].decode("utf-8", "replace") for each in found]
        return [name for name in names if name != self.consumer]

    def _facts(self) -> dict[bytes, Any] | None:
        """What the server says of the group; None when it is not there."""
        found = [dict(zip(each[::2], each[1::2], strict=True)) for each in self._ask("XINFO", "GROUPS", self.where.stream)]
        return next((facts for facts in found if facts[b"name"] == self.group.encode()), None)

    def _acknowledgement(self, entries: Sequence[Raw]) -> tuple[Any, ...]:
        return ("XACK", self.where.stream, self.group, *[entry[0] for entry in entries])

    def _counted(self, entries: list[Raw]) -> list[Raw]:
        """The entries; the next time as many as are of the size that is wanted."""
        if entries:
            size = sum([len(fields[3]) for _, fields in entries if fields and len(fields) > 3]) or 1
            self._count = max(16, min(MOST, len(entries) * BATCH // size))
        return entries

    def _ask(self, *words: Any) -> Any:
        self._connection.send_command(*words)
        return self._answer()

    def _answer(self) -> Any:
        try:
            return self._connection.read_response()
        except ResponseError as problem:
            if any(word in str(problem) for word in GONE):
                raise Gone from None
            raise
