"""Recorder: whatever a flow is, it raises nothing, its lines count without a gap, and each record is a line of JSON."""

import gzip
import hashlib
from copy import copy

import orjson

from capture.jsonl import Blob, Entry, Record, dumps
from capture.processes import Process
from capture.recorder import Closed, FlowRecorder, Memory, Opened, Stamp
from capture.redact import Redactor
from tests.fuzz.base import Choices, Target, cut
from tests.test_redact import REDACTOR

PATHS = (
    "/v1/messages?beta=true",
    "/v1/responses",
    "/v1/chat/completions",
    "/v1beta/models/m:streamGenerateContent",
    "/backend-api/codex/responses",
    "/",
)
TYPES = (
    "text/event-stream",
    "application/json",
    "application/x-ndjson",
    "application/vnd.amazon.eventstream",
    "text/plain",
    "",
)
ENCODINGS = ("", "", "", "gzip", "br", "zstd", "deflate", "identity", "nonsense")
HEADERS = ("user-agent", "session_id", "x-claude-code-session-id", "authorization", "cookie", "content-encoding", "x-api-key")
BODIES = (
    b'{"model":"m","messages":[{"role":"user","content":"hello"}],"stream":true}',
    b'{"model":"m","input":[{"type":"message","role":"user","content":[{"type":"input_text","text":"a"}]}]}',
    b'{"type":"response.create","response":{"instructions":"x","input":"y"}}',
    b'{"contents":[{"role":"user","parts":[{"text":"a"}]}],"systemInstruction":{"parts":[]}}',
    b"",
)
SAID = (
    b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"sk-"}}\n\n',
    b'data: {"type":"response.output_text.delta","item_id":"i","delta":"see "}\n\n',
    b'data: {"choices":[{"index":0,"delta":{"content":"gh"}}]}\n\n',
    b'event: message_stop\ndata: {"type":"message_stop"}\n\n',
    b"data: [DONE]\n\n",
    b'{"type":"response.completed","response":{"id":"r"}}\n',
    b'[{"candidates":[{"content":{"parts":[{"text":"a"}]}}]}',
    gzip.compress(b'data: {"a":1}\n\n'),
)
LIMITS = (1 << 20, 40, 1)
START = Stamp(1_763_000_000.25, 100.0)
NOBODY = Process(None, None)


def headers(choices: Choices, more: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    """Header fields as mitmproxy gives them: what is no UTF-8 as lone surrogates."""
    found = []
    for _ in range(choices.number(4)):
        name = choices.pick(HEADERS) if choices.number(4) else choices.text()
        found.append((name, choices.piece().decode("utf-8", "surrogateescape")))
    return (*((name, value) for name, value in more if value), *found)


def opened(choices: Choices) -> Opened:
    body = choices.pick(BODIES) if choices.number(3) else choices.piece()
    path = choices.pick(PATHS) if choices.number(4) else "/" + choices.piece().decode("utf-8", "surrogateescape")
    return Opened(
        flow_id="flow-1",
        started=START,
        method=choices.pick(("POST", "GET", "HEAD")),
        url="https://h.example" + path,
        request_headers=headers(choices, ()),
        request_body=body,
        client_ip="127.0.0.1",
        status=choices.pick((200, 101, 429, 529, 204, None)),
        response_headers=headers(choices, (("content-type", choices.pick(TYPES)), ("content-encoding", choices.pick(ENCODINGS)))),
        websocket=not choices.number(3),
    )


def step(recorder: FlowRecorder, choices: Choices, now: Stamp) -> list[Entry]:
    """One thing that happens to a flow."""
    data = choices.pick(SAID) if choices.number(2) else choices.piece()
    match choices.number(8):
        case 0 | 1 | 2:
            return [entry for chunk in cut(data, choices.positions()) for entry in recorder.feed(chunk, now)]
        case 3 | 4:
            return recorder.message(data, bool(choices.number(2)), now, text=bool(choices.number(4)))
        case 5:
            return recorder.due(now.mono)
        case 6:
            return recorder.gap(choices.number(9), choices.number(65536), now)
        case _:
            recorder.failed(choices.text())
            return recorder.message(choices.pick(BODIES), True, now)


def check(data: bytes) -> None:
    choices = Choices(data)
    recorder = FlowRecorder(opened(choices), NOBODY, new_redactor(), Memory(), choices.pick(LIMITS))
    now, entries = START, recorder.open(START)
    while choices.left:
        now = Stamp(now.wall + 1, now.mono + choices.number(4))
        entries += step(recorder, choices, now)
    entries += recorder.close(choices.pick(tuple(Closed)), now, choices.text() or None)
    assert not recorder.holds
    recorder.summary()
    well_formed(entries)


def new_redactor() -> Redactor:
    """One that has learned nothing yet, in no time."""
    redactor = copy(REDACTOR)
    redactor._known = {}
    return redactor


def well_formed(entries: list[Entry]) -> None:
    lines = []
    for entry in entries:
        match entry:
            case Blob(sha256, data):
                assert hashlib.sha256(data).hexdigest() == sha256
            case Record(kind, sid, flow_id, fields):
                line = dumps(fields)
                assert line.endswith(b"\n") and line.count(b"\n") == 1
                said = orjson.loads(line)
                assert (said["flow_id"], said["sid"]) == (flow_id, orjson.loads(dumps({"": sid}))[""])
                if kind == "lines":
                    assert isinstance(orjson.loads(said["metadata"]), dict)
                    lines.append(said["data_count"])
    assert lines == list(range(len(lines)))
    kinds = [entry.kind for entry in entries if isinstance(entry, Record)]
    assert kinds.count("flows") == kinds.count("flow_ends") == 1
    assert kinds[-1] == "flow_ends"
    (end,) = (entry.fields for entry in entries if isinstance(entry, Record) and entry.kind == "flow_ends")
    assert end["lines"] == len(lines)


TARGET = Target(
    "recorded",
    check,
    tuple(
        bytes([1, body, 1, path, 0, 0, 0, 0, kind, encoding, web, 0])
        + b"".join(bytes([1, 1, said, 0, 0]) for said in range(len(SAID)))
        for body in range(len(BODIES))
        for path, kind, encoding, web in ((0, 0, 0, 1), (1, 0, 3, 1), (2, 1, 0, 0), (3, 1, 0, 1), (4, 0, 0, 0))
    ),
)
