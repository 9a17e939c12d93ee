"""Records + updates → findings: the proof that a capture is complete, or where it is not.

One reading of the log: each raw line is looked at on its way (its number within the flow, its time), then `scan` joins what
belongs together and `Pairing` says what came of the calls (`lives`). What is remembered of a flow that is over and sound
is one number; of a session its parts' and calls' ids.
"""

import re
from collections.abc import Iterable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

from capture import parts
from capture.check import fields
from capture.check.findings import Finding, Report
from capture.check.lives import Lives
from capture.check.rebuild import number
from capture.check.seen import Seen, of_end, of_lines
from capture.events import MessageStarted, Stopped, UsageReported
from capture.files import safe_name
from capture.jsonl import HASH_DIGITS, loads
from capture.scan import Item, Notes
from capture.scan.base import Lines
from capture.scan.reading import NAMES, SPECIAL, TYPES
from capture.turns import Pairing
from capture.updates import Answered, Exchange, Said, Update

TAIL = re.compile(rb'\}","flow_id":"([^"\\]+)","data_count":(\d+),"sid":"([^"\\]*)"\}\n?')
MARK, CLOCK = b'}","flow_id":"', b'\\"us\\":'
PREFIX = "data: "
LIFE = 200  # bytes of metadata before a flow's id in which its time stands


class Check:
    """Feeds on a reading of a log. `lines` goes around the raw lines that it reads, `run` around the items it makes of them."""

    def __init__(self, report: Report, log: Path | None, living: frozenset[str] = frozenset(), calls: bool = False) -> None:
        """`log`: the directory, where there are flow and end records; `living`: proxies that write to it now."""
        self.report = report
        self.parts: dict[str, dict[int, int]] = {}  # by session: id of a part → offset of its line
        self.lives = Lives(report, calls)
        self._log = log
        self._living = living
        self._flows: dict[str, Seen] = {}
        self._done: set[int] = set()  # flows that are settled
        self._last_t = ""
        self._outputs: dict[str, int] = {}  # of flows being answered: tokens of the last report

    # -- raw lines --------------------------------------------------------------------------------------------------------------

    def lines(self, lines: Lines, notes: Notes, name: str, sids: frozenset[str] | None) -> Lines:
        """The same lines, of the file of that name. Which of them were no record is known when the next one is asked for."""
        for offset, raw in lines:
            bad = notes.count
            yield offset, raw
            known = notes.count > bad and not is_record(raw)  # what was noted may have been of another file
            if not known and not self._counted(offset, raw, sids):
                notes.add(name, offset, "no record")

    def _counted(self, offset: int, raw: bytes, sids: frozenset[str] | None) -> bool:
        """Whether a line is a record, or blank."""
        at = raw.rfind(MARK)
        if at > 0 and (found := TAIL.match(raw, at)):
            flow_id, count, sid = found[1].decode(), int(found[2]), found[3].decode("utf-8", "replace")
        elif is_record(raw):
            record = _object(raw)
            flow_id, count, sid = record["flow_id"], record["data_count"], record["sid"]
        else:
            return not raw.strip()
        if sids is not None and sid not in sids:
            return True
        if at <= 0 and not (record := _object(raw))["metadata"].endswith("}"):
            self._found("odd_record", record | {"offset": offset}, "`metadata`: no JSON object")
        clock = raw.rfind(CLOCK, max(0, at - LIFE), at) + len(CLOCK)
        digits = raw[clock:at] if clock >= len(CLOCK) else b""
        seen = self._flows.get(flow_id) or self._new(flow_id, sid, _object(raw).get("t"))
        if not seen.lines:
            seen.first_t = str(_object(raw).get("t"))
        if sid != seen.sid:
            seen.elsewhere.add(sid)
        seen.line(count, offset, int(digits) if digits.isdigit() else seen.us)
        return True

    def _new(self, flow_id: str, sid: str, t: Any) -> Seen:
        seen = self._flows[flow_id] = Seen(flow_id, sid, str(t))
        return seen

    # -- records ----------------------------------------------------------------------------------------------------------------

    def run(self, items: Iterable[Item]) -> None:
        """Looks at all of a reading."""
        pairing = Pairing(events=True)
        for item in items:
            record = item if isinstance(item, dict) else {}
            if "data_count" in record:
                self._line(record)
                self.lives.line(record)
            elif "outcome" in record:
                self._ended(record)
            elif record:
                self._opened(record)
            for update in pairing.feed(item):
                self._heard(update, record)
            if "outcome" in record:
                for update in pairing.forgotten():
                    self._heard(update, {})
        for update in pairing.close():
            self._heard(update, {})
        for seen in list(self._flows.values()):
            self._settle(seen)

    def _line(self, record: dict[str, Any]) -> None:
        event, metadata = record["event"], _object(record["metadata"])
        self._last_t = max(self._last_t, record["t"])
        if not metadata and record["metadata"].endswith("}"):  # else it was found already
            self._found("odd_record", record, "`metadata`: no JSON object")
        if not record["line"].startswith(PREFIX):
            self._found("odd_record", record, f"`line`: does not begin with `{PREFIX}`")
        if event.startswith("request."):
            self._part(record, metadata)
        elif event.startswith("capture."):
            self._lost(record)
        elif metadata.get("dir") == "out":
            if isinstance(record["payload"], dict):
                self._wants(self._flow_of(record), record["payload"])
        else:
            self._flow_of(record).said.add("[DONE]" if record["payload"] == "[DONE]" else event)
        digest = metadata.get("sha256")
        if self._log and digest and not (self._log / "bodies" / safe_name(str(digest))).exists():
            self._found("body_missing", record, f"{digest} ({event})")

    def _part(self, record: dict[str, Any], metadata: dict[str, Any]) -> None:
        """Notes where a part stands. Its id is the hash of its text."""
        if part_id := str(metadata.get("id") or ""):
            self.parts.setdefault(record["sid"], {}).setdefault(number(part_id), record["offset"])
            text = record["line"].removeprefix(PREFIX)
            if not SPECIAL & metadata.keys() and sha256(text.encode()).hexdigest()[:HASH_DIGITS] != part_id:
                self._found("part_differs", record, f"{part_id} ({record['event']})")

    def _flow_of(self, record: dict[str, Any]) -> Seen:
        return self._flows.get(record["flow_id"]) or self._new(record["flow_id"], record["sid"], record["t"])

    def _wants(self, seen: Seen, request: Any) -> None:
        known = self.parts.get(seen.sid, {})
        seen.wants += [part_id for part_id in parts.references(request) if number(part_id) not in known]

    def _lost(self, record: dict[str, Any]) -> None:
        payload = record["payload"] if isinstance(record["payload"], dict) else {}
        if record["event"] == "capture.gap":
            self._flow_of(record).gaps += int(payload.get("chunks") or 0)
            self._found("counted_gap", record, f"{payload.get('chunks')} chunks, {payload.get('bytes')} bytes")
        elif record["event"] == "capture.undecodable":
            self._found("undecodable", record, f"{payload.get('bytes')} bytes: {payload.get('reason')}")

    def _opened(self, record: dict[str, Any]) -> None:
        flow_id = str(record["flow_id"])
        seen = self._flows.get(flow_id)
        if hash(flow_id) in self._done or (seen and seen.record):
            self._found("flow_twice", record, "")
            return
        seen = seen or self._new(flow_id, str(record.get("sid")), record.get("t"))
        wrong = fields.of_flow(record)
        self._odd(record, wrong)
        record = fields.usable(record, wrong) | {"flow_id": flow_id}
        if record.get("sid", seen.sid) != seen.sid:
            seen.elsewhere.add(record["sid"])
        seen.record, seen.opened_t = True, record["t"]
        seen.proxy, seen.status = record.get("proxy"), record.get("status")
        seen.outlined = record.get("kept") == "headers"
        request = record.get("request")
        if request is not None:
            self._wants(seen, request)
        if isinstance(request, dict) and request.keys() == {"reason", "bytes", "sha256"}:
            self._found("undecodable", record, f"the request, {request['bytes']} bytes: {request['reason']}")
        if record.get("sid_source") == "fallback":
            self._found("fallback_session", record, "")

    def _ended(self, record: dict[str, Any]) -> None:
        flow_id = str(record["flow_id"])
        if hash(flow_id) in self._done:
            self._found("end_twice", record, "")
            return
        seen = self._flows.get(flow_id) or self._new(flow_id, str(record.get("sid")), record.get("t"))
        wrong = fields.of_end(record)
        self._odd(record, wrong)
        if record.get("sid") != seen.sid and "sid" not in wrong:
            seen.elsewhere.add(record["sid"])
        seen.ends += 1
        seen.end = seen.end or fields.usable(record, wrong)
        self._resolve(seen)
        if seen.sound:
            self._settle(seen)
            self._done.add(hash(flow_id))

    def _odd(self, record: dict[str, Any], wrong: dict[str, str]) -> None:
        for name, why in wrong.items():
            self._found("odd_record", record, f"`{name}`: {why}")

    def _resolve(self, seen: Seen) -> None:
        known = self.parts.get(seen.sid, {})
        seen.wants = [part_id for part_id in seen.wants if number(part_id) not in known]

    # -- flows ------------------------------------------------------------------------------------------------------------------

    def _settle(self, seen: Seen) -> None:
        """What is to be said of a flow when no more of it can come."""
        self._flows.pop(seen.flow_id, None)
        self._resolve(seen)
        if self.report.within(seen.t):
            self.report.flows += hash(seen.flow_id) not in self._done
            self.report.lines += seen.lines
        for kind, what in (*(self._of_records(seen) if self._log else ()), *of_lines(seen), *of_end(seen)):
            self._say(seen, kind, what)

    def _of_records(self, seen: Seen) -> Iterator[tuple[str, str]]:
        """What flow and end records say against it."""
        if hash(seen.flow_id) in self._done:  # a sound flow, and something more
            yield "line_twice", f"{seen.lines} more than its end says"
            return
        writing = seen.proxy in self._living
        if not seen.record and seen.lines:
            yield "flow_missing", f"{seen.lines} lines"
        if not seen.record and seen.ends:
            yield "end_without_flow", ""
        if not seen.ends:
            yield "open_flow" if writing else "no_end", f"{seen.lines} lines"
        elif seen.ends > 1:
            yield "end_twice", f"{seen.ends} ends"
        expected = seen.end.get("lines", seen.lines)
        written_since = writing and seen.lines < expected and not seen.missing and str(seen.end.get("t")) >= self._last_t
        if expected != seen.lines and not written_since:
            yield "lines_differ", f"{expected} by its end, {seen.lines} in the log"
        for part_id in dict.fromkeys(seen.wants):
            if not (writing and not seen.ends):
                yield "part_missing", part_id

    def _say(self, seen: Seen, kind: str, what: str) -> None:
        self.report.add(Finding(kind, what, seen.flow_id, seen.sid, seen.t, seen.count, seen.offset))

    def _found(self, kind: str, record: dict[str, Any], what: str) -> None:
        """Says something of a record; of flow and end records the place is not known."""
        t = seen.t if (seen := self._flows.get(str(record["flow_id"]))) else record.get("t")
        count, offset = record.get("data_count"), record.get("offset")
        self.report.add(Finding(kind, what, str(record["flow_id"]), record.get("sid"), t, count, offset))

    # -- answers ----------------------------------------------------------------------------------------------------------

    def _heard(self, update: Update, record: dict[str, Any]) -> None:
        self.lives.heard(update, record)
        match update:
            case Said(exchange, Stopped()) if seen := self._flows.get(exchange.flow_id):
                seen.said.add("finishReason")
            case Said(exchange, MessageStarted()):
                self._outputs.pop(exchange.flow_id, None)
            case Answered(exchange):
                self._outputs.pop(exchange.flow_id, None)
                if self._log is None:
                    self._answered(exchange)
            case Said(exchange, UsageReported(output=int(output), running=False, again=0)):
                before = self._outputs.get(exchange.flow_id, 0)
                if output < before and record:
                    self._found("usage_shrinks", record, f"output {before:,}, then {output:,}")
                self._outputs[exchange.flow_id] = output
            case _:
                pass

    def _answered(self, exchange: Exchange) -> None:
        """Where there are no end records, what an answer says itself tells whether it ended."""
        answer = exchange.answer
        if not (answer.empty or answer.stopped or answer.failed):
            self.report.add(Finding("not_complete", "no last word", exchange.flow_id, exchange.sid, exchange.t))


def is_record(raw: bytes) -> bool:
    """Whether a line is a line record."""
    record = _object(raw)
    return tuple(map(type, map(record.get, NAMES))) == TYPES


def note_bad_lines(report: Report, notes: Notes, living: bool, whole: bool) -> None:
    """Adds the lines that are no records. `whole`: the whole log is asked for, so they belong to what is asked for."""
    kind = "bad_line" if whole else "stray_line"
    for bad in notes.bad:
        torn = living and bad.why == "a torn line"
        report.add(Finding("torn_tail" if torn else kind, bad.why, offset=bad.offset, file=Path(bad.file).name))
    if more := notes.count - len(notes.bad):
        report.counts[kind] += more


def _object(text: str | bytes) -> dict[str, Any]:
    try:
        value = loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
