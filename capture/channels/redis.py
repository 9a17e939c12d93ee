"""A Redis server: reached, its errors told, records read from a stream of it. The only file that imports the library.

`entries` has the layout of an entry, `redis_sink` puts them into a stream.
"""

import ssl
import time
from collections.abc import Iterator
from itertools import chain, repeat
from random import uniform
from typing import Any, Literal, cast

import redis
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, ConnectionError, NoPermissionError, TimeoutError
from redis.exceptions import RedisError as RedisError
from redis.exceptions import ResponseError as ResponseError
from redis.retry import Retry

from capture.channels.base import Batch
from capture.channels.entries import Entry as Entry
from capture.channels.entries import entry_of as entry_of
from capture.channels.entries import record_id as record_id
from capture.channels.where import Where as Where
from capture.channels.where import where_of as where_of
from capture.files import Unusable

SOCKET_TIMEOUT = 15.0  # seconds without a byte until a connection counts as dead
CONNECT_TIMEOUT = 5.0  # seconds
PAUSES = (1.0, 2.0, 4.0, 8.0, 16.0, 30.0)  # seconds between two tries to reach Redis; the last one again and again
JITTER = 0.2  # of a pause, so that not all come back at once
BATCH = 4 << 20  # bytes of entries a source takes at one look, about
MOST = 4096  # entries of them
AWAY = (ConnectionError, TimeoutError)  # the server cannot be reached now: try again later
Client = redis.Redis


# -- the server ----------------------------------------------------------------------------------------------------------------


def connect(where: Where, name: str | None = None) -> redis.Redis:
    """A client whose server answers. Raises Unusable where a person must do something, one of AWAY where waiting may help.

    `name`: what the server lists the connection as. It tries each command once: who has it knows better when to try again.
    """
    client = redis.Redis(
        **where.arguments,
        client_name=name,
        protocol=2,
        socket_timeout=SOCKET_TIMEOUT,
        socket_connect_timeout=CONNECT_TIMEOUT,
        socket_keepalive=True,
        retry=Retry(NoBackoff(), 0),
    )
    try:
        client.ping()
    except RedisError as problem:
        client.close()
        raise ConnectionError(why(problem, where)) from problem
    return client


HOPELESS = (  # what a server says that no waiting helps against, and what to do
    (
        ("WRONGPASS", "invalid username-password", "invalid password"),
        "it refuses the password: see $REDIS_PASSWORD or the URL's user",
    ),
    (("NOAUTH", "Authentication required"), "it wants a password: put it into $REDIS_PASSWORD"),
    (("without any password configured",), "it has no password set for this user: leave $REDIS_PASSWORD and the URL's out"),
    (("NOPERM", "no permissions"), "its user may not do this: docs/channels.md lists the commands that are needed"),
    (("WRONGTYPE",), "that key holds something else: choose another name with ?stream="),
    (("DB index is out of range", "invalid DB index"), "it has no such database: see the number after the port"),
    (("CERTIFICATE_VERIFY_FAILED",), "its certificate is not trusted: add ssl_ca_certs=FILE to the URL"),
    (("WRONG_VERSION_NUMBER", "wrong version number", "record layer failure"), "it does not speak TLS there: try redis://"),
    (("unknown command", "wrong number of arguments", "syntax error"), "it is too old: Redis 6.2 or newer, or Valkey, is needed"),
    (("MOVED", "CROSSSLOT"), "it is a cluster: name the one server that holds the stream"),
)
PATIENCE = (  # what passes by itself
    (("OOM", "used memory >"), "it is out of memory (maxmemory)"),  # the library takes some of the codes away
    (("LOADING", "is loading"), "it is loading its data"),
    (("READONLY", "read only replica"), "it is a replica now"),
    (("MISCONF",), "it cannot save to its disk"),
    (("Timeout",), "it does not answer"),
    (("refused",), "nothing listens there"),
)


def why(problem: Exception, where: Where) -> str:
    """Why Redis does not go on just now, in a few words for people. Raises Unusable where no waiting helps."""
    said = f"{problem} {_cause(problem)}"
    for words, advice in HOPELESS:
        if any(word in said for word in words):
            raise Unusable(f"{where.name}: {advice}") from None
    if isinstance(problem, AuthenticationError | NoPermissionError):
        raise Unusable(f"{where.name}: {problem}") from None
    found = next((meaning for words, meaning in PATIENCE if any(word in said for word in words)), None)
    return found or str(problem).rstrip(".")


def _cause(problem: BaseException) -> str:
    """What lies under an error of the library: the TLS library's own words."""
    causes = [problem.__cause__, problem.__context__]
    return " ".join(str(cause) for cause in causes if isinstance(cause, ssl.SSLError))


def bulk(*words: bytes | str | int) -> bytes:
    """Words of a command as they go over the wire (https://redis.io/docs/latest/develop/reference/protocol-spec/)."""
    encoded = [word if isinstance(word, bytes) else str(word).encode() for word in words]
    return b"".join([b"$%d\r\n%b\r\n" % (len(word), word) for word in encoded])


def command(*words: bytes | str | int) -> bytes:
    return b"*%d\r\n%b" % (len(words), bulk(*words))


def skip_replies(connection: Any, count: int) -> None:
    """Takes so many replies that say nothing (OK, QUEUED) from a connection. Raises the error that one of them is.

    As `read_response` so many times, in a third of its 0.6 µs: the parser is asked itself.
    """
    parser = connection._parser
    gets = getattr(getattr(parser, "_reader", None), "gets", None)
    while count and gets:
        reply = gets()
        if type(reply) is bytes:
            count -= 1
        elif isinstance(reply, RedisError):
            raise reply
        else:  # there is not enough data: this waits for it
            connection.read_response()
            count -= 1
    for _ in range(count):
        connection.read_response()


def pauses(steps: tuple[float, ...] = PAUSES) -> Iterator[float]:
    """Seconds to wait before each try to reach Redis again."""
    for step in chain(steps, repeat(steps[-1])):
        yield min(steps[-1], step * uniform(1 - JITTER, 1 + JITTER))


# -- out of a stream -----------------------------------------------------------------------------------------------------------


class RedisSource:
    """Records from a stream as they come, each to everybody who reads so (`capture collect` shares them out instead).

    While the server is away it gives nothing, and goes on behind what it gave last when it is back.
    """

    def __init__(self, where: Where, start: Literal["now", "start"] | float = "now") -> None:
        """`start`: a number is a time, Unix seconds. Raises Unusable, also when the server cannot be reached."""
        self.name = where.name
        self.trouble = ""  # why nothing comes, while the server is away
        self._where = where
        self._count = MOST // 8
        self._offset = 0  # bytes of lines given
        self._pauses, self._again = pauses(), 0.0
        try:
            self._client = connect(where)
            self._last = self._newest() if start == "now" else "0" if start == "start" else f"{int(start * 1000)}-0"
        except RedisError as problem:
            raise Unusable(f"{where.name} cannot be reached: {why(problem, where)}") from None

    def poll(self, wait: float = 0.0) -> Batch | None:
        if self.trouble and (left := self._again - time.monotonic()) > 0:
            time.sleep(min(left, wait))
            return Batch()
        try:
            entries = self._read(wait)
        except RedisError as problem:
            self.trouble = why(problem, self._where)
            self._again = time.monotonic() + next(self._pauses)
            return Batch()
        self.trouble, self._pauses = "", pauses()
        return self._batch(entries)

    def close(self) -> None:
        self._client.close()

    def _newest(self) -> str:
        """The id of the last entry there ever was."""
        try:
            return str(cast(dict[str, bytes], self._client.xinfo_stream(self._where.stream))["last-generated-id"].decode())
        except ResponseError as problem:
            if "no such key" in str(problem):
                return "0"
            raise

    def _read(self, wait: float) -> list[tuple[bytes, dict[bytes, bytes]]]:
        block = {"block": max(1, int(min(wait, SOCKET_TIMEOUT / 2) * 1000))} if wait > 0 else {}
        found = cast(Any, self._client.xread({self._where.stream: self._last}, count=self._count, **block))
        return found[0][1] if found else []

    def _batch(self, entries: list[tuple[bytes, dict[bytes, bytes]]]) -> Batch:
        batch = Batch(behind=len(entries) == self._count)
        size = 1
        for number, fields in entries:
            self._last = number.decode()
            if not (entry := entry_of(number, fields)):
                continue
            size += len(entry.data)
            match entry.kind:
                case "flows":
                    batch.flows.append(entry.raw)
                case "lines":
                    batch.lines.append((self._offset, entry.raw))
                    self._offset += len(entry.raw)
                case "flow_ends":
                    batch.ends.append(entry.raw)
                case "body":
                    pass  # a source gives the records; payloads are for who keeps them
        if entries:
            self._count = max(16, min(MOST, len(entries) * BATCH // size))
        return batch
