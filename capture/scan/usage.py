"""Who took how many tokens: the reports of each answer folded to one fact, flow by flow, without anything else of the log."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from capture import providers
from capture.events import Event, MessageStarted, UsageReported
from capture.jsonl import loads
from capture.scan.base import Item

CHAT = providers.called("openai", "chat")
MAX_OPEN = 4096  # answers that may still get a report; the one that got none for longest is over

type Row = list[Any]  # a fact as it stands in the index


@dataclass(slots=True)
class Usage:
    """What one answer took."""

    flow_id: str
    sid: str
    t: str  # of the first that was seen of the answer
    provider: str | None
    model: str | None
    cwd: str | None
    usage: UsageReported

    @property
    def first_hand(self) -> bool:
        return not (self.usage.again or self.usage.running)


@dataclass(slots=True)
class Open:
    """An answer that is being given."""

    fact: Usage
    message_id: str | None = None
    reported: bool = False


class Tally:
    """Reports → facts."""

    def __init__(self, rows: Iterable[Row] = ()) -> None:
        self._open: dict[str, Open] = {row[0]: Open(fact(row[3:]), row[1], row[2]) for row in rows}  # by flow and telling

    def feed(self, record: Item) -> list[Usage]:
        """The answers that are over with this record. Pieces may be joined: of those that count, the last one is given whole."""
        over: list[Usage] = []
        if not isinstance(record, dict) or "data_count" not in record:
            return over
        for event in meaning(record):
            if isinstance(event, UsageReported):
                self._reported(record, event)
            elif isinstance(event, MessageStarted):
                over += self._started(record, event)
        while len(self._open) > MAX_OPEN:
            over += self._close(next(iter(self._open)))
        return over

    def close(self) -> Iterator[Usage]:
        for key in list(self._open):
            yield from self._close(key)

    @property
    def rows(self) -> list[Row]:
        """What is open, for `__init__`."""
        return [[key, each.message_id, each.reported, *row(each.fact)] for key, each in self._open.items()]

    def _started(self, record: dict[str, Any], event: MessageStarted) -> Iterator[Usage]:
        """A message with another id is another answer."""
        key = _key(record, UsageReported())
        found = self._open.get(key)
        if found and event.message_id and found.message_id and event.message_id != found.message_id:
            yield from self._close(key)
            found = None
        if found is None:
            found = self._open[key] = _begin(record)
        found.message_id = event.message_id or found.message_id
        found.fact.model = event.model or found.fact.model

    def _reported(self, record: dict[str, Any], event: UsageReported) -> None:
        key = _key(record, event)
        found = self._open.pop(key, None) or _begin(record)
        if not found.reported and (first := self._open.get(_key(record, UsageReported()))):
            found.fact.model = found.fact.model or first.fact.model
        found.fact.usage = found.fact.usage.newer(event)
        found.reported = True
        self._open[key] = found  # now the newest

    def _close(self, key: str) -> Iterator[Usage]:
        found = self._open.pop(key)
        if found.reported:
            yield found.fact


def first_hand(facts: Iterable[Usage]) -> Iterator[Usage]:
    """What counts: first-hand facts; of a session that has none, one telling of them, or the last running sum."""
    seen: set[str] = set()
    retold: dict[str, list[Usage]] = {}
    for each in facts:
        if each.first_hand:
            if each.sid not in seen:
                seen.add(each.sid)
                retold.pop(each.sid, None)
            yield each
        elif each.sid not in seen:
            retold.setdefault(each.sid, []).append(each)
    for tellings in retold.values():
        plain = [each for each in tellings if not each.usage.running]
        least = min((each.usage.again for each in plain), default=0)
        yield from [each for each in plain if each.usage.again == least] or tellings[-1:]


def meaning(record: dict[str, Any]) -> Iterable[Event]:
    """The events of a frame from a server, by its vocabulary."""
    event, metadata = record["event"], record["metadata"]
    if event.startswith(("request.", "capture.")) or ('"out"' in metadata and _metadata(record).get("dir") == "out"):
        return ()
    at = metadata.find('"us":')  # what stands before it is the same in all lines of a flow
    name = _provider(metadata[:at].rstrip(",") + "}" if at > 0 else metadata)
    payload = record["payload"]
    if event == "message" and isinstance(payload, dict) and "choices" in payload:
        return CHAT.decode(event, payload)  # an imitator that leaves `object` out
    return providers.of_line(event, payload, name).decode(event, payload)


@lru_cache(maxsize=4096)
def _provider(metadata: str) -> str:
    return str(_object(metadata).get("provider", ""))


def row(each: Usage) -> Row:
    usage = each.usage
    numbers = (usage.fresh, usage.cached, usage.written, usage.output, usage.reasoning, usage.running, usage.again)
    return [each.flow_id, each.sid, each.t, each.provider, each.model, each.cwd, *numbers]


def fact(found: Row) -> Usage:
    flow_id, sid, t, provider, model, cwd, *numbers = found
    return Usage(flow_id, sid, t, provider, model, cwd, UsageReported(*numbers))


def _begin(record: dict[str, Any]) -> Open:
    metadata = _metadata(record)
    t = record.get("first_t", record["t"])
    found = Usage(record["flow_id"], record["sid"], t, metadata.get("provider"), None, metadata.get("cwd"), UsageReported())
    return Open(found)


def _key(record: dict[str, Any], event: UsageReported) -> str:
    return f"{record['flow_id']} {event.again} {event.running}" if event.again or event.running else str(record["flow_id"])


def _metadata(record: dict[str, Any]) -> dict[str, Any]:
    return _object(record["metadata"])


def _object(text: str) -> dict[str, Any]:
    try:
        value = loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
