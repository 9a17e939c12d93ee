"""Secrets in logs that exist already: found by today's rules, taken out, also those that lie across frames.

A line is looked at as it stands; the payloads of a flow's lines besides as the recorder looks at them, one after the other, so that
a secret in pieces is seen (`capture.holding`). Everything else stays byte for byte, in its order.
"""

import base64
import hashlib
import re
from collections import Counter, OrderedDict, deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import orjson

from capture import providers
from capture.files import parse
from capture.holding import Holding
from capture.jsonl import loads
from capture.redact import Redactor

IN_PIECES = "in pieces"  # the kind of a secret that lies across frames
MAX_FLOWS = 512  # looked at side by side; of the least recent one the texts are taken for ended
MAX_LINES = 10_000  # that wait for the one before them
DATA = "data: "
METADATA = re.compile(rb'"metadata":\s*("(?:[^"\\]|\\.)*+")')
LINE = re.compile(rb'"line":\s*("(?:[^"\\]|\\.)*+")')


@dataclass(slots=True)
class _Slot:
    """A line on its way out: None until it is known what becomes of it."""

    raw: bytes
    record: dict[str, Any] | None = None
    clean: bytes | None = None


@dataclass(slots=True)
class Cleansing:
    """Lines in, clean lines out, in the same order; `kinds` counts what was found. `renamed`: bodies by their old and new names."""

    redactor: Redactor
    renamed: dict[str, str] = field(default_factory=dict)
    kinds: Counter[str] = field(default_factory=Counter)
    _flows: OrderedDict[str, Holding[_Slot]] = field(default_factory=OrderedDict)
    _slots: deque[_Slot] = field(default_factory=deque)

    def lines(self, raws: Iterable[bytes]) -> Iterator[bytes]:
        """The lines with their secrets replaced; one without any is the very object."""
        for raw in raws:
            self._take(raw)
            if len(self._slots) > MAX_LINES:
                self._end(next(iter(self._flows)))
            yield from self._out()
        while self._flows:
            self._end(next(iter(self._flows)))
        yield from self._out()

    def text(self, data: bytes) -> bytes:
        """A text that is no log: a body, an error file."""
        clean = self.redactor.text(data)
        if clean is not data:
            self.kinds.update(self.redactor.shapes.names(data))
        for old, new in self.renamed.items():
            clean = clean.replace(old.encode(), new.encode())
        return clean

    def _undoubled(self, raw: bytes, record: dict[str, Any]) -> bytes:
        """A line with its payload as base64, which is no UTF-8, clean in there too."""
        metadata = loads(record["metadata"])
        data = base64.b64decode(metadata["base64"])
        clean = self.text(data)
        if clean is data:
            return raw
        text = orjson.dumps(orjson.dumps({**metadata, "base64": base64.b64encode(clean).decode()}).decode())
        return METADATA.sub(lambda match: match[0][: match.start(1) - match.start()] + text, raw, count=1)

    def _take(self, raw: bytes) -> None:
        record = parse(raw) if b'"line"' in raw else None
        if record is not None and '"base64":' in str(record.get("metadata")):
            with suppress(ValueError, KeyError, TypeError):
                raw = self._undoubled(raw, record)
        slot = _Slot(raw, record)
        self._slots.append(slot)
        if (
            record is None
            or not isinstance(record.get("line"), str)
            or record["line"][:6] != DATA
            or '"dir":"out"' in str(record.get("metadata"))
        ):
            slot.clean = self.text(raw)
            return
        flow_id = str(record.get("flow_id"))
        flow = self._flows.get(flow_id)
        if flow is None:
            if len(self._flows) >= MAX_FLOWS:
                self._end(next(iter(self._flows)))
            flow = self._flows[flow_id] = Holding(self.redactor, _Pieces(record))
        self._flows.move_to_end(flow_id)
        payload = record["line"][6:].encode("utf-8", "surrogatepass")
        self._done(flow.feed(payload, slot, 0.0))

    def _end(self, flow_id: str) -> None:
        self._done(self._flows.pop(flow_id).rest())

    def _done(self, payloads: list[tuple[bytes, _Slot]]) -> None:
        for payload, slot in payloads:
            assert slot.record is not None
            before = slot.record["line"][6:].encode("utf-8", "surrogatepass")
            raw = slot.raw
            if payload != before:
                whole = self.redactor.shapes.names(before)
                self.kinds.update(
                    whole or ([IN_PIECES] if b"hash:" in payload and payload.count(b"hash:") > before.count(b"hash:") else [])
                )
                raw = _with_payload(raw, payload)
            slot.clean = self.text(raw)

    def _out(self) -> Iterator[bytes]:
        while self._slots and (clean := self._slots[0].clean) is not None:
            self._slots.popleft()
            yield clean


class _Pieces:
    """What the payloads of a flow add to its texts, in the vocabulary that its first line is in."""

    def __init__(self, record: dict[str, Any]) -> None:
        self._event, self._metadata = str(record.get("event")), record.get("metadata")
        self._provider: providers.Provider | None = None

    def __call__(self, payload: bytes) -> list[providers.Said]:
        if self._provider is None:
            try:
                value = loads(payload)
            except ValueError:
                value = None
            self._provider = providers.of_line(self._event, value, _provider_of(self._metadata))
        return providers.pieces_of(self._provider, payload)


def _provider_of(metadata: object) -> str:
    try:
        return str(loads(metadata).get("provider") or "") if isinstance(metadata, str) else ""
    except (ValueError, AttributeError):
        return ""


def _with_payload(raw: bytes, payload: bytes) -> bytes:
    """A line with another payload, all other bytes as they were."""
    text = orjson.dumps(DATA + payload.decode("utf-8", "replace"))
    return LINE.sub(lambda match: match[0][: match.start(1) - match.start()] + text, raw, count=1)


def body(redactor: Redactor, data: bytes) -> tuple[str, bytes]:
    """(name, content) of a body without its secrets."""
    clean = redactor.text(data)
    return hashlib.sha256(clean).hexdigest(), clean
