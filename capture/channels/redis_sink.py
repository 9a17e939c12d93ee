"""Records into a Redis stream: in transactions that carry the place they reach, so that nothing is lost or doubled."""

import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from operator import itemgetter
from typing import Any, NoReturn

from capture.channels.entries import KINDS, EntryKind, host_of, record_ids
from capture.channels.redis import (
    AWAY,
    PAUSES,
    Client,
    RedisError,
    ResponseError,
    bulk,
    command,
    connect,
    pauses,
    skip_replies,
    why,
)
from capture.channels.where import Where
from capture.jsonl import Kind

LOOKS = 50  # at the groups, while as many entries are added as the stream keeps
FULL = 0.8  # of the stream: so much may a group have to read
PIECE = 1 << 16  # bytes given to a socket at once: its timeout is for each


class Rewound(Exception):
    """The server does not hold what it had acknowledged: go on from `place`; where that is None, from the beginning."""

    def __init__(self, place: bytes | None) -> None:
        super().__init__("the server lost what it had acknowledged")
        self.place = place


class RedisSink:
    """Records into a stream. All that was added goes in one transaction: it is there whole, or not at all.

    A `place` given to `begin` is kept beside the stream by the same transaction, so that the server itself knows how far a log was
    shipped, whatever dies. One transaction is under way at a time: a second might succeed where the first did not. The library
    packs an XADD in 5 µs; here a record is put into a prepared one, in one.
    """

    def __init__(
        self,
        where: Where,
        log: str = "",
        wait: Callable[[float, str], None] = lambda seconds, reason: time.sleep(seconds),
        steps: tuple[float, ...] = PAUSES,
    ) -> None:
        """`log`: the id of its shipping. `wait` is called with seconds and the reason when Redis does not go on."""
        self.name = where.name
        self.connections = 0  # made so far
        self._where, self._log, self._wait, self._steps = where, log or os.urandom(6).hex(), wait, steps
        self._pauses = pauses(steps)
        self._client: Client | None = None
        self._connection: Any = None  # the library's, spoken to without its packing
        self._waiting: list[tuple[EntryKind, list[bytes]]] = []  # entries from their data on, as they go over the wire
        self._flying: list[tuple[EntryKind, list[bytes]]] = []  # those that were sent and are not acknowledged
        self._flying_to: bytes | None = None  # the place they reach
        self._made, self._commands = False, 0  # whether they are to make the stream; their number, with what goes beside
        self._proven = False  # whether the connection at hand has carried something
        self._place: bytes | None = None  # the last one acknowledged
        self._unseen = 0  # entries sent since we looked at the groups
        self._missing = False  # the stream was not there at the last look
        self._heads = {make: {kind: self._head(kind, make) for kind in KINDS} for make in (False, True)}
        self._tail = bulk("h", host_of(self._log))

    def add(self, kind: Kind, raw: bytes) -> None:
        self.add_all(kind, [raw])

    def add_all(self, kind: Kind, raws: Sequence[bytes]) -> None:
        """Takes records of one kind."""
        tail, rests = self._tail, []
        for raw, identity in zip(raws, record_ids(kind, raws), strict=True):
            data = raw.removesuffix(b"\n")
            rests.append(b"$%d\r\n%b\r\n$2\r\nid\r\n$%d\r\n%b\r\n%b" % (len(data), data, len(identity), identity, tail))
        self._waiting.append((kind, rests))

    def add_body(self, digest: str, offset: int, size: int, piece: bytes) -> None:
        """Takes a piece of a payload of bodies/; `size` is that of the whole."""
        self._waiting.append(("body", [bulk(piece, "id", f"{digest}:{offset}/{size}") + self._tail]))

    def start(self) -> bytes | None:
        """The place that the server has of our log; None when it has none, or no stream any more. Waits for the server."""
        while True:
            try:
                self._open()
                self._place = None if self._missing else self._ask("HGET", self._where.shipped, self._log)
                return self._place
            except RedisError as problem:
                self._pause(problem)

    def begin(self, place: bytes | None = None) -> None:
        """Sends all that was added, and the place with it, when what was sent before is acknowledged; does not wait for its own.

        A place is given always or never, and no two are alike. Raises Rewound, and Unusable where no waiting helps.
        """
        if not self._waiting:
            return self.settle()
        making, packed = self._missing, self._packed(self._waiting, place)  # while the server is at work
        self.settle()
        self._let_groups_read()
        self._flying, self._waiting, self._flying_to = self._waiting, [], place
        try:
            if self._connection is not None:
                self._send(packed if making == self._missing else None)
        except AWAY:
            self.drop()  # `settle` finds it so, and sends again

    def settle(self) -> None:
        """What was sent is acknowledged; waits for the server as long as it takes. Raises Rewound, Unusable."""
        while self._flying:
            try:
                if self._connection is None:
                    self._open()
                    if self._flying_to and self._applied(self._flying_to):
                        break
                    self._send()
                if self._acknowledged():
                    break
                self._send()
            except RedisError as problem:
                self._retry(problem)
        if self._flying:
            self._proven = True
            self._flying = []
            self._place, self._pauses = self._flying_to, pauses(self._steps)

    def check(self) -> None:
        """While nothing is under way: the server still has what it acknowledged last. Raises Rewound, Unusable."""
        while self._place:
            try:
                if self._connection is None:
                    self._open()
                else:
                    self._look()
                known = None if self._missing else self._ask("HGET", self._where.shipped, self._log)
                if known != self._place:
                    self._rewind(known)
                return
            except RedisError as problem:
                self._retry(problem)

    def flush(self) -> None:
        self.begin()
        self.settle()

    def close(self) -> None:
        try:
            self.flush()
        finally:
            self.drop()

    def _head(self, kind: str, make: bool) -> bytes:
        """The XADD of a kind up to its data. One that makes no stream tells us when ours was deleted."""
        trim = ("MAXLEN", "~", self._where.maxlen) if self._where.maxlen else ()
        words = ("XADD", self._where.stream, *(() if make else ("NOMKSTREAM",)), *trim, "*", "k", kind, "d")
        return b"*%d\r\n" % (len(words) + 5) + bulk(*words)

    def _send(self, packed: bytes | None = None) -> None:
        self._made = self._missing
        self._commands = self._made + sum(len(rests) for _, rests in self._flying) + bool(self._flying_to)
        pieces = memoryview(packed or self._packed(self._flying, self._flying_to))
        self._connection.send_packed_command([pieces[at : at + PIECE] for at in range(0, len(pieces), PIECE)])

    def _packed(self, entries: list[tuple[EntryKind, list[bytes]]], place: bytes | None) -> bytes:
        """The transaction, as it goes over the wire."""
        heads, parts = self._heads[self._missing], [command("MULTI")]
        if self._missing:
            parts.append(command("DEL", self._where.shipped))  # of a stream that is gone no place holds
        for kind, rests in entries:
            parts += (heads[kind], heads[kind].join(rests))
        if place:
            parts.append(command("HSET", self._where.shipped, self._log, place))
        return b"".join((*parts, command("EXEC")))

    def _acknowledged(self) -> bool:
        """Whether the server has what is under way; else it must be sent again. Raises Rewound, RedisError."""
        skip_replies(self._connection, 1 + self._commands)  # OK of MULTI, and of each command that it is queued
        result = self._connection.read_response()
        if result is None:  # somebody else has made the stream since we looked
            self._look()
            return False
        if trouble := next((each for each in result if isinstance(each, RedisError)), None):
            raise trouble
        self._missing = False
        if None in result:
            return self._gone()
        if self._flying_to and not self._made and self._place and result[-1]:
            self._ask("HDEL", self._where.shipped, self._log)  # our place was new there: the stream was deleted and made again
            return self._gone()
        return True

    def _gone(self) -> bool:
        """The stream was deleted under us."""
        self._look()
        if self._flying_to:
            self._rewind(None)
        return False

    def _rewind(self, place: bytes | None) -> NoReturn:
        self._place, self._flying, self._waiting = place, [], []
        raise Rewound(place)

    def _let_groups_read(self) -> None:
        """Waits while a group has so much to read that the stream would be cut before it did."""
        every = self._where.maxlen // LOOKS
        coming = sum(len(rests) for _, rests in self._waiting)
        self._unseen += coming
        while every and self._unseen > every and self._connection is not None:
            try:
                group, entries = max(self._groups(), key=itemgetter(1), default=("", 0))
            except AWAY:
                return self.drop()
            except ResponseError:
                return  # our user may not
            if not entries or entries + coming < self._where.maxlen * FULL:
                self._unseen = 0
                return
            reason = f"group {group} has not read {entries:,} entries: start its collectors, or remove it, or allow a larger maxlen"
            self._wait(next(self._pauses), reason)

    def _groups(self) -> list[tuple[str, int]]:
        """The groups, and the entries that each has not read or not acknowledged."""
        newest = _pairs(self._ask("XINFO", "STREAM", self._where.stream))[b"last-generated-id"]
        return [_unread(_pairs(each), newest) for each in self._ask("XINFO", "GROUPS", self._where.stream)]

    def _applied(self, place: bytes) -> bool:
        """After a lost connection: whether what it carried reached the stream. Raises Rewound."""
        known = None if self._missing else self._ask("HGET", self._where.shipped, self._log)
        if known == place:
            return True
        if known == self._place:
            return False
        self._rewind(known)

    def _ask(self, *words: bytes | str | int) -> Any:
        self._connection.send_command(*words)
        return self._connection.read_response()

    def _open(self) -> None:
        name = f"capture-ship-{self._log}"
        self._client = connect(self._where, name)
        self._connection = self._client.connection_pool.get_connection()
        self.connections += 1
        with suppress(ResponseError):  # our user may not: at worst some records come twice, and are known by their ids
            self._end_others(name)
        self._look()

    def _end_others(self, name: str) -> None:
        """Ends connections that we lost: what still waits in them must not be added after we looked what was."""
        ours = self._ask("CLIENT", "ID")
        for line in self._ask("CLIENT", "LIST").decode().splitlines():
            facts = dict(word.partition("=")[::2] for word in line.split())
            if facts.get("name") == name and facts["id"] != str(ours):
                self._ask("CLIENT", "KILL", "ID", facts["id"])

    def _look(self) -> None:
        """Whether the stream is there; when it is not, and somebody makes it before us, our transaction does nothing."""
        self._ask("WATCH", self._where.stream)
        kind = self._ask("TYPE", self._where.stream)
        if kind not in (b"none", b"stream"):
            raise ResponseError(f"WRONGTYPE {kind.decode()}")
        self._missing = kind == b"none"
        if not self._missing:
            self._ask("UNWATCH")

    def _retry(self, problem: RedisError) -> None:
        """Waits; not when the connection worked until now: perhaps it only was idle for too long. Raises Unusable."""
        if self._proven and isinstance(problem, AWAY):
            self.drop()
        else:
            self._pause(problem)

    def _pause(self, problem: RedisError) -> None:
        """Raises Unusable."""
        self.drop()
        self._wait(next(self._pauses), why(problem, self._where))

    def drop(self) -> None:
        """Closes the connection; what was added since the last flush is not sent."""
        if self._connection is not None:
            self._connection.disconnect()
        if self._client is not None:
            self._client.close()
        self._client, self._connection, self._proven = None, None, False


def _pairs(flat: list[Any]) -> dict[bytes, Any]:
    """An answer of names and values in turn."""
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _unread(group: dict[bytes, Any], newest: bytes) -> tuple[str, int]:
    """A group's name, and the entries it has not read or not acknowledged. After restarts Redis may count a lag that is none."""
    lag = 0 if group[b"last-delivered-id"] == newest else group.get(b"lag") or 0
    return group[b"name"].decode("utf-8", "replace"), group[b"pending"] + lag
