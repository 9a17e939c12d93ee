"""What part of a log a question is about: a stretch of time, a session."""

import re
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from capture.files import ENDS, FLOWS, Unusable, parse, records_since, whole_lines
from capture.providers.base import Holds
from capture.scan import Notes, Source, read

if TYPE_CHECKING:
    from capture.scan import Item

AGO = re.compile(r"(\d+)\s*([smhdw])")
UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
EXAMPLES = "7d, 2h, 30m, today, yesterday, 2026-11-21, 2026-11-21T17:07"
HEAD = re.compile(rb'\{"t":"([^"\\]+)",(?:"started":[\d.]+,)?"flow_id":"[^"\\]*","sid":"([^"\\]+)"')  # how our records begin
SHOWN = 4  # sessions or flows that a message names


@dataclass(frozen=True, slots=True)
class Filter:
    """Which rows are asked for."""

    since: str = ""  # a time of the log: rows from it on; "": from the beginning
    until: str = ""  # rows before it; "": to the end
    session: str | None = None  # an id, the beginning of one, `latest`; None: all

    def within(self, t: str) -> bool:
        """Whether a time of the log is in the stretch that is asked for."""
        return t >= self.since and (not self.until or t < self.until)


def moment(text: str, now: datetime, end: bool = False) -> str:
    """A time of the log (local, ms) from what a user types. A day means its beginning, or its end. Raises ValueError."""
    text = text.strip()
    if ago := AGO.fullmatch(text):
        return _local(now - timedelta(**{UNITS[ago[2]]: int(ago[1])}))
    if text in ("today", "yesterday"):
        text = (now - timedelta(days=text == "yesterday")).date().isoformat()
    found = datetime.fromisoformat(text)
    if DAY.fullmatch(text) and end:
        found += timedelta(days=1)
    return _local(found.astimezone() if found.tzinfo else found)


def _local(when: datetime) -> str:
    return when.replace(tzinfo=None).isoformat(timespec="milliseconds")


# -- sessions ----------------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Sessions:
    """The sessions of a log: when each was last heard of, and which session started it."""

    last: dict[str, str] = field(default_factory=dict)
    parents: dict[str, str] = field(default_factory=dict)

    def see(self, items: "Iterable[Item]") -> None:
        for item in items:
            sid, t = (str(item.get("sid")), str(item.get("t"))) if isinstance(item, dict) else (item.sid, item.last_t)
            self.last[sid] = max(t, self.last.get(sid, ""))
            if isinstance(item, dict) and isinstance(client := item.get("client"), dict) and client.get("parent_id"):
                self.parents.setdefault(sid, str(client["parent_id"]))

    def meant(self, name: str) -> str | None:
        """The one that a name means; None when there is none. Raises Unusable when there are several."""
        if name == "latest":
            return max(self.last, key=lambda sid: self.last[sid], default=None)
        if name in self.last:
            return name
        found = sorted(sid for sid in self.last if sid.startswith(name) or sid.endswith(name))
        if len(found) > 1:
            raise Unusable(f"{len(found)} sessions begin or end with {name}: {some(found)}: give more of the id")
        return found[0] if found else None

    def family(self, sid: str) -> frozenset[str]:
        """A session and the sessions of its sub-agents, and of theirs."""
        found = {sid}
        while more := {child for child, parent in self.parents.items() if parent in found} - found:
            found |= more
        return frozenset(found)

    def named(self, name: str) -> frozenset[str]:
        """The ids that a name means: the session and its sub-agents' own. Raises Unusable."""
        found = self.meant(name)
        if found is None:
            raise Unusable(f"no session goes by {name}{near(name, self.last)} (see `capture sessions`)")
        return self.family(found)


def heads(lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    """Flow or end records, as much of them as says which session they are of: a request's many references are not parsed."""
    for line in lines:
        head = HEAD.match(line)
        if head and b'"parent_id":"' not in line:
            yield {"t": head[1].decode(), "sid": head[2].decode()}
        elif record := parse(line):
            yield record


def sids(source: Source, name: str | None) -> frozenset[str] | None:
    """The ids of the sessions that a name means: the session and its sub-agents' own; None: all. Raises Unusable."""
    if name is None:
        return None
    source.check()
    known = Sessions()
    if source.log is not None:
        for file in (FLOWS, ENDS):
            known.see(heads(whole_lines(source.log / file)))
    if known.meant(name) is None:
        known.see(read(source, Holds.REQUEST | Holds.BOUND, notes=Notes()))
    return known.named(name)


@contextmanager
def rereadable(source: Source) -> Iterator[Source]:
    """The source; what can be read only once, such as stdin, as a file of ours that is gone afterwards."""
    source.check()
    if source.file is None or (source.lines is not None and source.lines.is_file()):
        yield source
        return
    from shutil import copyfileobj
    from tempfile import NamedTemporaryFile

    with NamedTemporaryFile(prefix="sse-capture-") as copy, source.open() as file:
        copyfileobj(file, copy)
        copy.flush()
        yield Source(None, copy.name)


def flow(source: Source, name: str, engine: str, within: frozenset[str] | None) -> tuple[str, str]:
    """(flow id, sid) of the flow whose id is `name`, or ends or begins so; of the sessions `within`. Raises Unusable."""
    source.check()
    known: dict[str, str] = {}
    if source.log is not None:
        known = {str(record.get("flow_id")): str(record.get("sid")) for record in records_since(source.log / FLOWS, 0)}
    if not any(_called(flow_id, name) for flow_id in known):
        for item in read(source, Holds.ALL & ~Holds.OTHER, engine=engine, notes=Notes()):
            flow_id, sid = (str(item["flow_id"]), str(item["sid"])) if isinstance(item, dict) else (item.flow_id, item.sid)
            known[flow_id] = sid
    if within is not None:
        known = {flow_id: sid for flow_id, sid in known.items() if sid in within}
    if name in known:
        return name, known[name]
    found = [flow_id for flow_id in known if _called(flow_id, name)]
    if len(found) > 1:
        raise Unusable(f"{len(found)} flows begin or end with {name}: {some(found)}: give more of the id")
    if not found:
        raise Unusable(f"no flow goes by {name}{near(name, known)} (see `capture show`)")
    return found[0], known[found[0]]


def _called(flow_id: str, name: str) -> bool:
    return flow_id.endswith(name) or flow_id.startswith(name)


def some(names: Collection[str]) -> str:
    """Some of many names."""
    few = list(names)[:SHOWN]
    return ", ".join(few) + (" …" if len(names) > SHOWN else "")


def near(name: str, names: Iterable[str]) -> str:
    """`: did you mean NAME?` where one is like it, in whole or in its beginning; else nothing."""
    from difflib import get_close_matches

    whole: dict[str, str] = {}
    for known in names:
        whole |= {part.lower(): known for part in (known, known[: len(name)], known[-len(name) :])}
    found = get_close_matches(name.lower(), whole, 1)
    return f": did you mean {whole[found[0]]}?" if found else ""
