"""A Redis stream looked at and cut by hand: its entries, its groups, trimming, deletion."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, cast

from capture.channels.checkpoints import loaded
from capture.channels.collected import CollectedLog
from capture.channels.flow_files import Raw, named
from capture.channels.redis import Client, RedisError, connect, why
from capture.channels.where import Where
from capture.files import Unusable

COUNT = 1000  # entries asked for at once, at first
MOST = 4096  # later
BATCH = 4 << 20  # bytes of them, about
RECORD = (b"flows", b"lines", b"flow_ends")


@contextmanager
def opened(where: Where) -> Iterator[Client]:
    """A client. Raises Unusable, also when the server cannot be reached or goes away."""
    client: Client | None = None
    try:
        client = connect(where)
        yield client
    except RedisError as problem:
        raise Unusable(f"{where.name}: {why(problem, where)}") from None
    finally:
        if client:
            client.close()


@contextmanager
def existing(where: Where) -> Iterator[Client]:
    """As `opened`, for a stream that is there: an empty answer to a misspelled name would look like success. Raises Unusable."""
    with opened(where) as client:
        if not client.exists(where.stream):
            raise Unusable(f"there is no stream {where.stream} in {where.name}: name another with ?stream=")
        yield client


def entries(client: Client, stream: str, first: str = "-", last: str = "+") -> Iterator[list[Raw]]:
    """Entries of a stream from an id to an id, or from and to times (milliseconds), piece by piece."""
    connection: Any = client.connection_pool.get_connection()
    count = COUNT
    try:
        while True:
            connection.send_command("XRANGE", stream, first, last, "COUNT", count)
            found: list[Raw] = connection.read_response()
            if not found:
                return
            yield found
            first = "(" + found[-1][0].decode()
            size = sum(len(value) for _, fields in found for value in fields)
            count = max(16, min(MOST, len(found) * BATCH // max(1, size)))
    finally:
        client.connection_pool.release(connection)


def spool(where: Where, directory: Path) -> None:
    """All that a stream holds, as a log directory. Raises Unusable."""
    log = CollectedLog(directory, durable=False)
    with existing(where) as client:
        for some in entries(client, where.stream):
            with log.turn():
                log.add_entries(some)
                log.flush()
    log.close()


def info(where: Where) -> dict[str, Any]:
    """What the server says of a stream, its groups, their consumers, and the logs that are shipped to it. Raises Unusable."""
    with existing(where) as client:
        stream: dict[str, Any] = client.xinfo_stream(where.stream)
        groups = [_group(client, where.stream, each) for each in client.xinfo_groups(where.stream)]
        shipped = cast(dict[bytes, bytes], client.hgetall(where.shipped))
        ends = [cast(Any, stream[name]) for name in ("first-entry", "last-entry")]
        return {
            "stream": where.stream,
            "at": where.name,
            "entries": stream["length"],
            "bytes": client.memory_usage(where.stream, samples=5),
            "first": _text(ends[0][0]) if ends[0] else None,
            "last": _text(ends[1][0]) if ends[1] else None,
            "groups": groups,
            "logs": [{"log": _text(log), "sent": _sent(place)} for log, place in sorted(shipped.items())],
        }


def _group(client: Client, stream: str, facts: dict[str, Any]) -> dict[str, Any]:
    consumers: list[dict[str, Any]] = client.xinfo_consumers(stream, facts["name"])
    return {
        "group": _text(facts["name"]),
        "pending": facts["pending"],
        "lag": facts.get("lag"),
        "delivered": _text(facts["last-delivered-id"]),
        "consumers": [
            {"consumer": _text(each["name"]), "pending": each["pending"], "idle_seconds": round(each["idle"] / 1000, 1)}
            for each in consumers
        ],
    }


def _sent(place: bytes) -> int:
    """Records that a checkpoint counts."""
    with suppress(ValueError):
        return loaded(place).sent
    return 0


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def unread(told: dict[str, Any], last: str) -> list[str]:
    """The groups, of what `info` told, that may need entries up to an id: not read yet, or not acknowledged."""
    behind = [each for each in told["groups"] if each["lag"] != 0 and number(each["delivered"]) < number(last)]
    return [each["group"] for each in told["groups"] if each["pending"] or each in behind]


def number(entry: str) -> tuple[int, int]:
    """An entry's id as what it is ordered by: milliseconds, number."""
    milliseconds, _, rest = entry.partition("-")
    return int(milliseconds), int(rest or 0)


def before(client: Client, stream: str, milliseconds: int) -> int:
    """How many entries Redis took before a time."""
    return sum(map(len, entries(client, stream, "-", f"({milliseconds}-0")))


def of(client: Client, stream: str, session: str | None, flow: str | None) -> list[bytes]:
    """The ids of the entries that hold records of a session, of a flow, of both when both are given."""
    found = []
    for some in entries(client, stream):
        for entry, fields in some:
            facts = dict(zip(fields[::2], fields[1::2], strict=True))
            name = named(facts.get(b"d", b"")) if facts.get(b"k") in RECORD else None
            if name and (session is None or name.sid == session.encode()) and (flow is None or name.flow == flow.encode()):
                found.append(entry)
    return found


def delete(client: Client, stream: str, ids: Sequence[bytes | str]) -> int:
    """How many entries are gone."""
    gone: list[int] = [client.xdel(stream, *ids[at : at + COUNT]) for at in range(0, len(ids), COUNT)]
    return sum(gone)
