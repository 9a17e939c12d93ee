"""Raw lines → what `Pairing` takes: records with their payload, and runs of pieces joined to `Deltas`."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from capture import providers
from capture.events import Event, MessageStarted, ReasoningDelta, TextDelta, ToolArgumentsDelta, UsageReported
from capture.files import parse, safe_name
from capture.jsonl import loads
from capture.scan.base import Item, Lines, Notes
from capture.scan.beside import AHEAD, Nothing, later
from capture.scan.pieces import COUNTS, PIECES, Block, piece
from capture.scan.templates import BACKSLASH, COUNT, NAME, NOWHERE, QUOTE, TIME, Template, template, unescaped
from capture.updates import Deltas

MAX_TEXT = 1 << 20  # characters of one run that wait for its end
MAX_RUNS = 2_000  # flows whose runs wait
TURNING = ("request.", "codex.", "claude.user_prompt", "claude.stop", "turn.user_message")  # how events begin
MAX_FRAME = 256 << 20  # characters of a frame in parts
NAMES = ("event", "t", "line", "metadata", "flow_id", "data_count", "sid")
TYPES = (str, str, str, str, str, int, str)
SPECIAL = frozenset(("part", "cut", "sha256", "base64"))  # in the metadata: the line does not hold its payload, or not all


class Run:
    """Pieces of one block that follow each other in their flow."""

    __slots__ = ("block", "event", "flow_id", "latest", "offset", "sid", "size", "t", "template", "texts", "whole")

    def __init__(self, block: Block, event: Event, record: dict[str, Any], text: str) -> None:
        self.block = block
        self.event = event  # what the first piece means
        self.flow_id: str = record["flow_id"]
        self.sid: str = record["sid"]
        self.t: str = record["t"]
        self.latest: bytes | str = self.t  # the last line, or its time
        self.offset = 0  # of the last line
        self.template: Template = NOWHERE
        self.texts = [text]
        self.size = len(text)
        self.whole: dict[str, Any] | None = record if block[0] == COUNTS else None  # the last piece, where it says more

    def items(self) -> Iterator[Item]:
        """The pieces as one, and after them the last one where that is to be given whole: with `first_t`, the time of the first."""
        texts = self.texts[:-1] if self.whole else self.texts
        if texts:
            event = with_text(self.event, "".join(texts))
            yield Deltas(self.flow_id, self.sid, self.t, self._last_t(), len(texts), event)
        if self.whole:
            if isinstance(self.latest, bytes) and (record := parse(self.latest)):
                self.whole = _with_payload(record, record["line"].removeprefix("data: "), self.offset)
            self.whole["first_t"] = self.t
            yield self.whole

    def _last_t(self) -> str:
        if isinstance(self.latest, str):
            return str(self.latest)
        return self.latest[self.template.at - TIME : self.template.at].decode("utf-8", "replace")


def with_text(event: Event, text: str) -> Event:
    """The same piece with another text."""
    match event:
        case TextDelta(_, role, key, again):
            return TextDelta(text, role, key, again)
        case ReasoningDelta(_, key, summary, again):
            return ReasoningDelta(text, key, summary, again)
        case ToolArgumentsDelta(key, _):
            return ToolArgumentsDelta(key, text)
        case _:
            return event


class Reading:
    """One reading of one source."""

    def __init__(
        self, name: str, directory: Path | None, beside: Nothing, notes: Notes, sids: frozenset[str] | None = None
    ) -> None:
        self.name = name
        self.directory = directory
        self.beside = beside
        self.notes = notes
        self.sids = sids
        self._runs: dict[str, Run] = {}  # by flow
        self._named: dict[bytes, Run] = {}  # by the end of the flow's name, where a template tells how its lines look
        self._parts: dict[str, list[dict[str, Any]]] = {}  # by flow: a frame whose parts are not all there yet
        self._now = ""  # the latest time so far
        self._counts: dict[str, int] = {}  # by flow that has not ended: of its last line
        self._early: dict[str, dict[str, Any]] = {}  # ends that came before their flows' last lines
        self._incoming: dict[str, bool | None] = {}  # by how metadata begins: from the server? None: the line is special

    def items(self, lines: Lines, join: bool = True) -> Iterator[Item]:
        """All that the lines say. `join`: runs of pieces as `Deltas`."""
        yield from self.more(lines, join)
        yield from self.close()

    def more(self, lines: "Iterable[tuple[int, bytes]]", join: bool = True) -> Iterator[Item]:
        """What some lines say, more of which may come: the last runs of pieces still wait."""
        named, closely = self._named, self._closely
        run, about, rest = None, NOWHERE, 0  # of the line before: the next one is mostly of the same flow
        for offset, raw in lines:
            flow = len(raw) - rest
            if not raw.startswith(about.tail, flow):
                count = raw.rfind(COUNT)
                run = named.get(raw[count - NAME : count])
                about = run.template if run is not None else NOWHERE
                flow = count - about.back
                rest = len(raw) - flow
                if not raw.startswith(about.tail, flow):
                    run = None
            if run is not None and run.size < MAX_TEXT:
                start = about.text_at
                end = raw.find(QUOTE, start)
                if not (  # as `Template.span`, for the usual case: a call costs as much as all this
                    raw.startswith(about.head, about.at)
                    and raw.startswith(about.begin)
                    and raw.startswith(about.after, end)
                    and raw[end - 1] != BACKSLASH
                    and raw[end + about.after_size : flow].isdigit()
                    and raw.endswith(about.last)
                    and raw[flow + about.tail_size : about.count_end].isdigit()
                ):
                    start, end = about.span(raw, flow + about.back)
                if start and (text := unescaped(raw[start:end])) is not None:
                    run.texts.append(text)
                    run.size += len(text)
                    run.latest = raw
                    run.offset = offset
                    continue
            run, about = None, NOWHERE
            if found := closely(offset, raw, join):
                yield from found

    def _closely(self, offset: int, raw: bytes, join: bool) -> list[Item]:
        """What one line says that is not as the one before it in its flow."""
        record = self._record(offset, raw)
        said: list[Item] = []
        if record is None or (self.sids is not None and record["sid"] not in self.sids):
            return said
        flow_id, t = record["flow_id"], record["t"]
        if self.beside.tells_ends:
            self._counts[flow_id] = record["data_count"]
        if t >= self._now:
            self._now = t
        elif t < later(self._now, -AHEAD):
            self.beside.lags = True
        if t > self.beside.due or self.beside.lags:
            said += self._beside(self.beside.passed(t))
        run = self._runs.get(flow_id)
        if run is None and flow_id not in self.beside.known:
            said += self._beside(self.beside.before(flow_id, t))
        if (incoming := self._is_incoming(record["metadata"])) is None:
            wholes: Iterable[dict[str, Any]] = self._special(record, offset)
        else:
            wholes = (_with_payload(record, record["line"].removeprefix("data: "), offset),)
        for whole in wholes:
            found = piece(whole["event"], whole["payload"]) if join and incoming and whole["event"] in PIECES else None
            if run is not None:
                if found is not None and found[0] == run.block and run.size < MAX_TEXT:
                    run.texts.append(found[1])
                    run.size += len(found[1])
                    run.latest = t
                    if run.whole:
                        run.whole = whole
                    break
                said += self._drop(flow_id).items()
                run = None
            if found is not None and (event := _event(whole, found[1])) is not None:
                said += self._begin(Run(found[0], event, whole, found[1]), raw)
            else:
                if whole["event"].startswith(TURNING):
                    said += self._settled(whole)
                said.append(whole)
        if flow_id in self._early and self._is_over(self._early[flow_id]):
            said += self._ended(self._early.pop(flow_id))
        return said

    def _settled(self, record: dict[str, Any]) -> Iterator[Item]:
        """What still waits of a session, before a record that may begin or end its turn: a stream that was cut ends in nothing."""
        sid = record["sid"]
        for end in [end for end in self._early.values() if end.get("sid") == sid and end["t"] <= record["t"]]:  # one machine's
            yield from self._ended(self._early.pop(end["flow_id"]))
        for run in [run for run in self._runs.values() if run.sid == sid]:
            yield from self._let_go(run).items()

    def _begin(self, run: Run, raw: bytes) -> Iterator[Item]:
        """Holds a new run; gives the oldest one when there are too many."""
        self._runs[run.flow_id] = run
        if about := template(raw, run.texts[0]):
            run.template = about
            self._named[about.name] = run
        if len(self._runs) > MAX_RUNS:
            yield from self._drop(next(iter(self._runs))).items()

    def _drop(self, flow_id: str) -> Run:
        run = self._runs.pop(flow_id)
        if self._named.get(run.template.name) is run:
            del self._named[run.template.name]
        return run

    @property
    def partial(self) -> bool:
        """Whether a frame waits for its last parts."""
        return bool(self._parts)

    def settled(self) -> Iterator[Item]:
        """The runs of pieces that waited for more."""
        for run in list(self._runs.values()):
            yield from self._let_go(run).items()

    def _let_go(self, run: Run) -> Run:
        """A run that may be the last of its flow."""
        if self.beside.tells_ends:
            self._counts[run.flow_id] = self._count(run.flow_id)
        return self._drop(run.flow_id)

    def _count(self, flow_id: str) -> int:
        """That of the last line of a flow so far; -1 when there was none."""
        run = self._runs.get(flow_id)
        last = parse(run.latest) if run is not None and isinstance(run.latest, bytes) else None
        return max(self._counts.get(flow_id, -1), int((last or {}).get("data_count", -1)))

    def rest(self) -> Iterator[Item]:
        """The flow and end records that waited for later lines, when there are none now."""
        yield from self._beside(self.beside.rest())

    def close(self) -> Iterator[Item]:
        """All that still waited."""
        yield from self.settled()
        for held in self._parts.values():
            yield from held
        self._parts.clear()
        yield from self.rest()
        for end in self._early.values():
            yield from self._ended(end)
        self._early.clear()

    def _beside(self, records: Iterator[dict[str, Any]]) -> Iterator[Item]:
        """Flow and end records; before an end what still waited of its flow."""
        for record in records:
            if "outcome" not in record:
                yield record
            elif self.beside.lags and not self._is_over(record):
                self._early[record["flow_id"]] = record
            else:
                yield from self._ended(record)

    def _ended(self, end: dict[str, Any]) -> Iterator[Item]:
        """An end, behind what still waited of its flow."""
        flow_id = end["flow_id"]
        if flow_id in self._runs:
            yield from self._drop(flow_id).items()
        yield from self._parts.pop(flow_id, ())
        self._counts.pop(flow_id, None)
        yield end

    def _is_over(self, end: dict[str, Any]) -> bool:
        """Whether the last line of a flow was given, as its end counts them."""
        lines = end.get("lines")
        return not isinstance(lines, int) or self._count(end["flow_id"]) + 1 >= lines

    def _record(self, offset: int, raw: bytes) -> dict[str, Any] | None:
        """The record of a line; None, and noted, when it is none."""
        try:
            return self._checked(offset, raw, loads(raw))
        except ValueError:
            if raw.strip():
                self._note(offset, raw, "NUL bytes" if b"\0" in raw else "no JSON")
            return None

    def _checked(self, offset: int, raw: bytes, record: Any) -> dict[str, Any] | None:
        if not isinstance(record, dict):
            self._note(offset, raw, "no JSON object")
        elif tuple(map(type, map(record.get, NAMES))) != TYPES:
            wrong = next(name for name, kind in zip(NAMES, TYPES, strict=True) if type(record.get(name)) is not kind)
            self._note(offset, raw, f"no `{wrong}`")
        else:
            return record
        return None

    def _note(self, offset: int, raw: bytes, why: str) -> None:
        self.notes.add(self.name, offset, why if raw.endswith(b"\n") else "a torn line")

    def _special(self, record: dict[str, Any], offset: int) -> Iterator[dict[str, Any]]:
        """The record with its payload; nothing while parts of its frame are missing; parts that stay alone as they are."""
        text, metadata = record["line"].removeprefix("data: "), _object(record["metadata"])
        if part := metadata.get("part"):
            record["payload"], record["offset"] = text, offset
            yield from self._part(record, str(part))
        else:
            yield _with_payload(record, self._body(metadata, text), offset)

    def _part(self, record: dict[str, Any], part: str) -> Iterator[dict[str, Any]]:
        number, _, of = part.partition("/")
        held = self._parts.setdefault(record["flow_id"], [])
        if number == "1" or sum(len(each["payload"]) for each in held) > MAX_FRAME:
            yield from held
            held.clear()
        held.append(record)
        if of:
            del self._parts[record["flow_id"]]
            if of == str(len(held)):
                first = held[0]
                first["parts"] = len(held)
                yield _with_payload(first, "".join(each["payload"] for each in held), first["offset"])
            else:
                yield from held

    def _body(self, metadata: dict[str, Any], text: str) -> str:
        """The payload, from its own file where it has one."""
        if self.directory is None or "sha256" not in metadata:
            return text
        try:
            return (self.directory / "bodies" / safe_name(str(metadata["sha256"]))).read_text("utf-8", "replace")
        except OSError:
            return text

    def _is_incoming(self, metadata: str) -> bool | None:
        """Whether a line is from the server; None when it is special. Told from metadata that differ in their time only."""
        at = metadata.rfind('"us":')
        key = metadata[:at] if at > 0 and metadata[at + 5 : -1].isdigit() else metadata
        if key not in self._incoming:
            if len(self._incoming) > 10_000:
                self._incoming.clear()
            fields = _object(metadata)
            self._incoming[key] = None if fields.keys() & SPECIAL else fields.get("dir") != "out"
        return self._incoming[key]


def _event(record: dict[str, Any], text: str) -> Event | None:
    """What its vocabulary makes of a piece: one event with its text, or it is none."""
    name, event, payload = str(_object(record["metadata"]).get("provider", "")), record["event"], record["payload"]
    provider = providers.of_line(event, payload, name)
    if name and name != provider.name:
        return None  # somebody else's flow, where the same name may mean something else
    events = list(provider.decode(event, payload))
    if provider.api == "generate_content":
        events = [each for each in events if not isinstance(each, (MessageStarted, UsageReported))]
    if len(events) == 1 and isinstance(events[0], (TextDelta, ReasoningDelta, ToolArgumentsDelta)) and events[0].text == text:
        return events[0]
    return None


def _with_payload(record: dict[str, Any], text: str, offset: int) -> dict[str, Any]:
    try:
        record["payload"] = loads(text)
    except ValueError:
        record["payload"] = text
    record["offset"] = offset
    return record


def _object(text: str) -> dict[str, Any]:
    try:
        value = loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
