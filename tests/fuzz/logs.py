"""Readers: a log of any bytes raises nothing, and every whole line in it that is a record is found."""

import itertools
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import orjson

from capture import scan
from capture.files import ENDS, FILES, FLOWS, LINES, parse
from capture.jsonl import Record, dumps
from capture.processes import Process
from capture.reader import LogReader
from capture.recorder import Closed, FlowRecorder, Memory, Stamp
from capture.scan import Notes, Source
from capture.scan.reading import NAMES, TYPES
from capture.updates import Deltas
from tests.fuzz.base import Choices, Target
from tests.test_recorder import opened
from tests.test_redact import REDACTOR

ANSWER = b"".join(
    b"event: %s\ndata: %s\n\n" % (name, payload)
    for name, payload in (
        (b"message_start", b'{"type":"message_start","message":{"id":"m","model":"x","usage":{"input_tokens":1}}}'),
        (b"content_block_start", b'{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}'),
        (b"content_block_delta", b'{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"a \\"b\\" "}}'),
        (b"content_block_delta", b'{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"c"}}'),
        (b"content_block_stop", b'{"type":"content_block_stop","index":0}'),
        (b"message_delta", b'{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":2}}'),
        (b"message_stop", b'{"type":"message_stop"}'),
    )
)
NOISE = (b"\n", b"\0\0\0\n", b"{}\n", b"[]\n", b"null\n", b"\xff\xfe\n", b'{"event":"', b'{"sid":7,"flow_id":null}\n', b"\r\n")


@cache
def valid() -> dict[str, tuple[bytes, ...]]:
    """The lines of a flow, by file."""
    recorder = FlowRecorder(opened(), Process(1, "/x"), REDACTOR, Memory(), 200)
    stamp = Stamp(1_763_000_001.0, 101.0)
    entries = [*recorder.open(stamp), *recorder.feed(ANSWER, stamp), *recorder.close(Closed.CLEANLY, stamp)]
    records = [entry for entry in entries if isinstance(entry, Record)]
    return {name: tuple(dumps(record.fields) for record in records if record.kind == kind) for kind, name in FILES.items()}


@cache
def folder() -> Path:
    """One directory for all executions of this process."""
    base = Path("/dev/shm") if Path("/dev/shm").is_dir() else None
    return Path(tempfile.mkdtemp(prefix="fuzz-logs-", dir=base))


def content(choices: Choices, name: str) -> bytes:
    """A file of lines that are valid, damaged, or anything."""
    out = []
    for _ in range(choices.number(12)):
        line = choices.pick(valid()[name])
        match choices.number(8):
            case 0 | 1 | 2:
                out.append(line)
            case 3:
                out.append(changed(line, choices))
            case 4:
                out.append(swapped(line, choices))
            case 5:
                out.append(line[: choices.number(len(line))])
            case 6:
                out.append(choices.pick(NOISE))
            case _:
                out.append(choices.piece())
    return b"".join(out)


def changed(line: bytes, choices: Choices) -> bytes:
    """A line with some of its bytes replaced by others."""
    start, length = choices.number(len(line)), choices.number(8)
    return line[:start] + choices.piece()[:16] + line[start + length :]


def swapped(line: bytes, choices: Choices) -> bytes:
    """A record with one of its values replaced by another."""
    record = orjson.loads(line)
    other: tuple[Any, ...] = (None, 7, "", "\u2028", [], {}, {"a": {}}, [[]], "2026-11-21T00:00:00.000", -1, 1e300, True, "{", "{}")
    record[choices.pick(tuple(record))] = choices.pick(other)
    return dumps(record)


def check(data: bytes) -> None:
    choices = Choices(data)
    files = {name: content(choices, name) for name in (LINES, FLOWS, ENDS)}
    files[LINES] += choices.rest()
    try:
        for name, text in files.items():
            (folder() / name).write_bytes(text)
        read_directly(files)
        scanned(files)
    except BaseException:
        shutil.rmtree(folder(), ignore_errors=True)
        folder.cache_clear()
        raise


def records(text: bytes) -> list[dict[str, Any]]:
    """The records in whole lines."""
    whole = text.split(b"\n")[:-1]
    return [record for line in whole if (record := parse(line)) is not None]


def read_directly(files: dict[str, bytes]) -> None:
    reader = LogReader(folder())
    assert list(reader.lines()) == records(files[LINES])
    assert list(reader.flows()) == records(files[FLOWS])
    assert list(reader.ends()) == records(files[ENDS])
    reader.raw_flow("flow-1")


def scanned(files: dict[str, bytes]) -> None:
    notes = Notes()
    items = list(scan.read(Source(folder()), engine="python", notes=notes, join=False))
    text = files[LINES]
    if text[:4] != b"\x28\xb5\x2f\xfd" and text[:3] != b"\x1f\x8b\x08":
        expected = [record for record in records(text) if tuple(map(type, map(record.get, NAMES))) == TYPES]
        found = [(item["flow_id"], item["data_count"]) for item in items if isinstance(item, dict) and "data_count" in item]
        wanted = [(record["flow_id"], record["data_count"]) for record in expected]
        assert not set(wanted) - set(found)
    joined = list(scan.read(Source(folder()), engine="python"))
    assert sum(item.count for item in joined if isinstance(item, Deltas)) <= len(items)
    list(scan.usages(Source(folder()), engine="python"))
    list(itertools.chain.from_iterable(window for window, _ in scan.windows(Source(folder()))))


TARGET = Target(
    "logs",
    check,
    (
        bytes([8, *(byte for number in range(8) for byte in (number, 0))]) + bytes([2, 0, 0, 0, 0, 2, 0, 0, 0, 0]),
        *(
            bytes([6, *(byte for number in range(6) for byte in (number, kind, number * 9, 3, 4, 1, 65))]) + b"\1\0\0\1\0\0tail"
            for kind in range(8)
        ),
    ),
)
