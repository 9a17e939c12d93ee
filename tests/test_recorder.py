"""One flow → records."""

import base64
import gzip
import hashlib
import json
import re
import zlib
from collections.abc import Callable
from itertools import count
from typing import Any

import brotli  # type: ignore[import-untyped]
import orjson
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from capture import parts, recorder, redact
from capture.jsonl import Blob, Entry, Record, dumps
from capture.processes import Process
from capture.recorder import Closed, FlowRecorder, Memory, Opened, Stamp
from capture.records import EndRecord, FlowRecord, LineRecord, Metadata
from capture.redact import Redactor
from tests.cuts import cut, every_way, positions

REDACTOR = Redactor(b"the salt of one machine")
BEGAN = Stamp(1_763_000_000.25, 100.0)
ME = Process(4711, "/home/me/project")
SECRET = "sk-" + "ant-api03-" + hashlib.sha256(b"made up").hexdigest()
SEVEN = ["event", "t", "line", "metadata", "flow_id", "data_count", "sid"]


def later(seconds: float) -> Stamp:
    return Stamp(BEGAN.wall + seconds, BEGAN.mono + seconds)


def opened(
    path: str = "/v1/messages?beta=true",
    content_type: str | None = "text/event-stream; charset=utf-8",
    body: bytes = b'{"model":"m","messages":[{"role":"user","content":"hello"}]}',
    headers: tuple[tuple[str, str], ...] = (
        ("X-Claude-Code-Session-Id", "session-1"),
        ("User-Agent", "claude-cli/2.1.329 (external)"),
    ),
    answer: tuple[tuple[str, str], ...] = (),
    **more: Any,
) -> Opened:
    facts: dict[str, Any] = {
        "flow_id": "flow-1",
        "started": BEGAN,
        "method": "POST",
        "status": 200,
        "client_ip": "127.0.0.1",
    } | more
    kind = (("Content-Type", content_type),) if content_type is not None else ()
    return Opened(
        url=f"https://h.example{path}", request_headers=headers, request_body=body, response_headers=(*kind, *answer), **facts
    )


def socket(headers: tuple[tuple[str, str], ...] = (("session-id", "session-1"),), **more: Any) -> Opened:
    return opened("/v1/responses", None, b"", headers, method="GET", status=101, websocket=True, **more)


def flow(facts: Opened, memory: Memory | None = None, limit: int = recorder.INLINE_LIMIT, caller: Process = ME) -> FlowRecorder:
    return FlowRecorder(facts, caller, REDACTOR, memory or Memory(), limit)


def record(
    facts: Opened,
    chunks: list[bytes],
    how: Closed = Closed.CLEANLY,
    memory: Memory | None = None,
    limit: int = recorder.INLINE_LIMIT,
) -> list[Entry]:
    """All that is recorded of a flow; each chunk comes a second after the one before."""
    one, seconds = flow(facts, memory, limit), count(1)
    entries = one.open(later(next(seconds)))
    for chunk in chunks:
        entries += one.feed(chunk, later(next(seconds)))
    return entries + one.close(how, later(next(seconds)))


def talk(
    facts: Opened, messages: list[tuple[str, bytes]], how: Closed, code: int | None = None, memory: Memory | None = None
) -> list[Entry]:
    """All that is recorded of a WebSocket; each message is (`in` or `out`, content)."""
    one, seconds = flow(facts, memory), count(1)
    entries = one.open(later(next(seconds)))
    for direction, content in messages:
        entries += one.message(content, direction == "out", later(next(seconds)))
    return entries + one.close(how, later(next(seconds)), close_code=code)


def fields(entries: list[Entry], kind: str) -> list[dict[str, Any]]:
    """The records of one kind, as a reader gets them."""
    return [orjson.loads(dumps(entry.fields)) for entry in entries if isinstance(entry, Record) and entry.kind == kind]


def lines(entries: list[Entry], direction: str | None = None) -> list[dict[str, Any]]:
    return [line for line in fields(entries, "lines") if direction in (None, metadata(line)["dir"])]


def metadata(line: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads(line["metadata"])
    return found


def said(entries: list[Entry], direction: str = "in") -> list[tuple[str, str]]:
    """(event, payload) of each line."""
    return [(line["event"], line["line"].removeprefix("data: ")) for line in lines(entries, direction)]


def end(entries: list[Entry]) -> dict[str, Any]:
    [found] = fields(entries, "flow_ends")
    return found


def on_disk(entries: list[Entry]) -> bytes:
    """Every byte that a writer would write."""
    return b"".join(entry.data if isinstance(entry, Blob) else dumps(entry.fields) for entry in entries)


def without_times(entries: list[Entry]) -> list[Any]:
    found: list[Any] = []
    for entry in entries:
        if isinstance(entry, Blob):
            found.append(entry)
            continue
        kept = {name: value for name, value in entry.fields.items() if name != "t" and not name.endswith("_ms")}
        if "metadata" in kept:
            kept["metadata"] = {name: value for name, value in orjson.loads(kept["metadata"]).items() if name != "us"}
        if isinstance(kept.get("request"), orjson.Fragment):
            kept["request"] = dumps({"": kept["request"]})
        found.append((entry.kind, entry.sid, entry.flow_id, kept))
    return found


def sse(*events: tuple[str | None, Any]) -> bytes:
    """An event stream of (name, payload)."""
    return b"".join(
        (f"event: {name}\n".encode() if name else b"")
        + b"data: "
        + (payload if isinstance(payload, bytes) else orjson.dumps(payload))
        + b"\n\n"
        for name, payload in events
    )


ANTHROPIC = sse(
    ("message_start", {"type": "message_start", "message": {"id": "msg_1"}}),
    ("ping", {"type": "ping"}),
    ("content_block_delta", {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "héllo 😀"}}),
    ("message_stop", {"type": "message_stop"}),
)

# -- secrets in pieces (all kinds and cuts: tests/test_holding.py) --------------------------------------------------------------

KEY = "sk-" + "ant-api03-" + "Ab1_" * 12


def delta(text: str) -> bytes:
    payload = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}
    return sse(("content_block_delta", payload))


def text_of(line: dict[str, Any]) -> str:
    return str(orjson.loads(line["line"].removeprefix("data: "))["delta"]["text"])


def test_a_frame_that_waited_keeps_its_time_and_its_place() -> None:
    one = flow(opened())
    entries = one.open(later(0))
    assert one.feed(delta("it is sk-ant-"), later(1)) == [] and one.holds
    assert one.feed(sse(("ping", {"type": "ping"})), later(2)) == []
    entries += one.feed(delta(KEY[7:] + " ok"), later(2.5))
    assert not one.holds
    heard = lines([*entries, *one.close(Closed.CLEANLY, later(4))], "in")
    assert [line["event"] for line in heard] == ["content_block_delta", "ping", "content_block_delta"]
    assert [metadata(line)["us"] for line in heard] == [1_000_000, 2_000_000, 2_500_000]
    assert [line["data_count"] for line in heard] == sorted(line["data_count"] for line in heard)
    assert [text_of(line) for line in (heard[0], heard[2])] == [f"it is {REDACTOR.value(KEY)}", " ok"]


def test_what_waits_too_long_is_written_without_what_has_begun() -> None:
    one = flow(opened())
    one.open(later(0))
    one.feed(delta(f"it is {KEY[:30]}"), later(1))
    assert one.due(later(2.9).mono) == []
    (line,) = lines(one.due(later(3.1).mono))
    assert text_of(line) == f"it is {REDACTOR.value(KEY[:30])}"
    (line,) = lines(one.feed(delta(KEY[30:] + " ok"), later(4)))
    assert text_of(line) == " ok"


@pytest.mark.parametrize("last", ["content_block_stop", "message_stop", "close", "gap"])
def test_nothing_waits_behind_the_end_of_its_text(last: str) -> None:
    one = flow(opened())
    one.open(later(0))
    assert one.feed(delta("a flask: sk-"), later(1)) == []
    if last == "close":
        entries = one.close(Closed.CLEANLY, later(1.1))
    elif last == "gap":
        entries = one.gap(1, 10, later(1.1))
    else:
        entries = one.feed(sse((last, {"type": last, "index": 0})), later(1.1))
    heard = lines(entries, "in")
    assert text_of(heard[0]) == "a flask: sk-"
    assert [line["event"] for line in heard[1:]] == ([] if last == "close" else ["capture.gap" if last == "gap" else last])
    assert not one.holds


def test_a_message_of_the_client_stands_behind_what_the_server_said_before_it() -> None:
    piece = {"type": "response.output_text.delta", "item_id": "m", "delta": "it is sk-"}
    messages = [("in", orjson.dumps(piece)), ("out", b'{"type":"input.note"}'), ("in", orjson.dumps({**piece, "delta": "ip"}))]
    assert [line["event"] for line in lines(talk(socket(), messages, Closed.BY_CLIENT))] == [
        "response.output_text.delta",
        "input.note",
        "response.output_text.delta",
    ]


# -- the shape of records ----------------------------------------------------------------------------------------------------


def test_records_have_the_fields_of_their_models_in_their_order() -> None:
    for entries in (
        record(opened(), [ANTHROPIC]),
        record(opened("/v1/chat/completions", body=b"", headers=(), status=None), [], Closed.WITH_ERROR),
        talk(socket(), [("out", b"{}"), ("in", b"x")], Closed.BY_CLIENT, 1006),
    ):
        for line in lines(entries):
            assert list(line) == list(LineRecord.model_fields) == SEVEN
            assert set(metadata(line)) <= set(Metadata.model_fields)
            LineRecord.model_validate(line)
            Metadata.model_validate(metadata(line))
        for found in fields(entries, "flows"):
            assert list(found) == [name for name in FlowRecord.model_fields if name != "kept"]  # that is not the recorder's to say
            FlowRecord.model_validate(found)
        assert list(end(entries)) == list(EndRecord.model_fields)
        EndRecord.model_validate(end(entries))


def test_a_flow_is_its_parts_then_its_flow_record_then_its_frames_then_its_end() -> None:
    entries = record(opened(), [ANTHROPIC])
    kinds = [entry.kind for entry in entries if isinstance(entry, Record)]
    assert kinds == ["lines", "flows", *["lines"] * 4, "flow_ends"]
    assert [line["event"] for line in lines(entries)] == [
        "request.user",
        "message_start",
        "ping",
        "content_block_delta",
        "message_stop",
    ]
    assert {(entry.sid, entry.flow_id) for entry in entries if isinstance(entry, Record)} == {("session-1", "flow-1")}


def test_the_line_is_the_payload_as_received() -> None:
    odd = b'{ "type" : "x",  "n": 1.50, "t": "\xe2\x80\xa8 \\u00e9" }'
    entries = record(opened(), [b"data: " + odd + b"\n\n", b"data: a\ndata:  b\ndata\n\n"])
    assert [line["line"] for line in lines(entries, "in")] == ["data: " + odd.decode(), "data: a\n b\n"]


def test_metadata_says_who_where_and_when() -> None:
    [first, *_] = lines(record(opened(), [ANTHROPIC]), "in")
    assert metadata(first) == {
        **{"ver": "claude-code-2.1.329", "pid": 4711, "cwd": "/home/me/project"},
        **{"provider": "anthropic", "host": "h.example", "dir": "in", "us": 2_000_000},
    }


def test_the_end_counts_what_there_was() -> None:
    packed = gzip.compress(ANTHROPIC)
    entries = record(opened(answer=(("Content-Encoding", "gzip"),)), [packed[:30], packed[30:]])
    found = end(entries)
    assert (found["wire_bytes"], found["decoded_bytes"], found["frames"], found["lines"]) == (len(packed), len(ANTHROPIC), 4, 5)
    assert found["sha256"] == hashlib.sha256(packed).hexdigest()
    assert (found["first_byte_ms"], found["duration_ms"]) == (2000, 4000)
    assert found["first_event_ms"] in (2000, 3000)


@given(
    st.lists(st.sampled_from([ANTHROPIC[:90], b"data: x\n\n", b"event: y\n", b"\n\n", b": c\n\n", b"\xff"]), max_size=12),
    st.booleans(),
)
def test_data_count_has_no_gap_and_the_end_says_how_far_it_runs(chunks: list[bytes], gap: bool) -> None:
    one = flow(opened())
    entries = one.open(BEGAN)
    for chunk in chunks:
        entries += one.feed(chunk, BEGAN)
        if gap:
            entries += one.gap(1, 5, BEGAN)
    entries += one.close(Closed.BY_SERVER, BEGAN)
    assert [line["data_count"] for line in lines(entries)] == list(range(end(entries)["lines"]))


# -- every cut ---------------------------------------------------------------------------------------------------------------

EVENTS = sse((None, {"type": "a", "n": 1}), ("message_stop", {"type": "message_stop"}))
ARRAY = b'[{"candidates":[{"content":{"parts":[{"text":"a"}]}}]}\n,\r\n{"candidates":[{"finishReason":"STOP"}]}]'
JSON = b'{"type":"error","error":{"type":"overloaded_error","message":"later"}}'
STREAMS: dict[str, tuple[str | None, str, bytes]] = {  # content-type, content-encoding, bytes on the wire
    "events": ("text/event-stream", "", EVENTS),
    "events, CRLF and BOM": ("text/event-stream", "", b"\xef\xbb\xbf" + EVENTS.replace(b"\n", b"\r\n")),
    "events, cut": ("text/event-stream", "", EVENTS[:-20]),
    "events, gzip": ("text/event-stream", "gzip", gzip.compress(EVENTS)),
    "events, br": ("text/event-stream", "br", brotli.compress(EVENTS)),
    "events, zstd": ("text/event-stream", "zstd", zstandard.compress(EVENTS)),
    "events, deflate": ("text/event-stream", "deflate", zlib.compress(EVENTS)),
    "events, raw deflate": ("text/event-stream", "deflate", zlib.compress(EVENTS, wbits=-15)),
    "events, gzip in br": ("text/event-stream", "gzip, br", brotli.compress(gzip.compress(EVENTS))),
    "events, identity": ("text/event-stream", "identity", EVENTS),
    "events, said to be gzip": ("text/event-stream", "gzip", EVENTS),
    "events, said to be br": ("text/event-stream", "br", EVENTS),
    "events, said to be deflate": ("text/event-stream", "deflate", b": comment\n\n" + EVENTS),
    "events, of an unknown encoding": ("text/event-stream", "aws-chunked", EVENTS),
    "events, said to be JSON": ("application/json", "", b"\xef\xbb\xbf" + EVENTS),
    "events after many empty lines": ("application/json", "", b"\r\n" * 20 + EVENTS),
    "events without a type": (None, "", EVENTS),
    "short events": (None, "", b"data: 1\n\n"),
    "array": ("application/json", "", ARRAY),
    "array, gzip": ("application/json", "gzip", gzip.compress(ARRAY)),
    "lines": ("application/x-ndjson", "", b'{"type":"a"}\r\n{"type":"b"}\n\n{"type":"c"}'),
    "JSON": ("application/json", "", JSON),
    "JSON, said to be deflate": ("application/json", "deflate", JSON),
    "short": ("text/plain", "", b"no"),
    "short, gzip": ("text/plain", "gzip", gzip.compress(b"no")),
    "empty": ("application/json", "gzip", b""),
    "brackets": ("text/plain", "", b"[upstream] no connection"),
}


@pytest.mark.row(26)
@pytest.mark.parametrize(("content_type", "encoding", "wire"), STREAMS.values(), ids=STREAMS.keys())
def test_every_cut_of_the_same_bytes_gives_the_same_records(content_type: str | None, encoding: str, wire: bytes) -> None:
    answer = (("content-encoding", encoding),) if encoding else ()
    facts = opened(content_type=content_type, answer=answer, path="/v1beta/models/m:streamGenerateContent")
    expected = record(facts, [wire])
    assert not any("error" in metadata(line) for line in lines(expected))
    assert b"".join(payload.encode() for _, payload in said(expected)) or not wire
    for chunks in every_way(wire):
        assert without_times(record(facts, chunks)) == without_times(expected)


pieces = st.sampled_from(
    [b"data: ", b"event: x\n", b"\n", b"\r\n\n", b'{"type":"t"}', b"[{", b"}]", b"\xef\xbb\xbf", b":", b"\xff\x00", b"  "]
)
wires = st.lists(pieces | st.binary(max_size=6), max_size=15).map(b"".join)
kinds = st.sampled_from(
    ["text/event-stream", "application/json", "application/x-ndjson", "application/vnd.amazon.eventstream", "", "text/html"]
)
PACK: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": brotli.compress,
    "zstd": zstandard.compress,
}


@pytest.mark.row(26)
@given(wires, kinds, st.sampled_from(sorted(PACK)), positions)
def test_any_cut_of_any_bytes_gives_the_same_records(body: bytes, kind: str, encoding: str, at: list[int]) -> None:
    facts, wire = opened(content_type=kind, answer=(("Content-Encoding", encoding),)), PACK[encoding](body)
    assert without_times(record(facts, cut(wire, at), limit=30)) == without_times(record(facts, [wire], limit=30))


@given(wires, st.sampled_from(["gzip", "deflate", "br", "zstd", "lzma", "gzip, br"]), positions)
def test_bytes_that_are_not_what_their_label_says_are_recorded_all_the_same(wire: bytes, label: str, at: list[int]) -> None:
    entries = record(opened(content_type="text/event-stream", answer=(("Content-Encoding", label),)), cut(wire, at))
    assert end(entries)["sha256"] == hashlib.sha256(wire).hexdigest()
    assert end(entries)["wire_bytes"] == len(wire)


def payload_bytes(line: dict[str, Any]) -> bytes:
    """What a line says, to the byte."""
    packed = metadata(line).get("base64")
    return base64.b64decode(packed) if packed else line["line"].removeprefix("data: ").encode()


def undecodable(line: dict[str, Any]) -> tuple[int, str]:
    """(size, SHA-256) of the bytes that a line stands for, which says why they are not there."""
    payload = orjson.loads(line["line"].removeprefix("data: "))
    assert line["event"] == payload["type"] == "capture.undecodable"
    assert payload["reason"] == metadata(line)["error"]
    assert payload["reason"].startswith("content-encoding: ")
    assert not {"base64", "sha256"} & set(metadata(line))
    return payload["bytes"], payload["sha256"]


@pytest.mark.parametrize("content_type", ["text/event-stream", "application/json"])
@pytest.mark.parametrize("label", ["gzip", "br", "zstd", "deflate", "lzma", "gzip, br"])
def test_of_bytes_that_cannot_be_decoded_their_size_and_digest_and_the_reason_are_on_record(label: str, content_type: str) -> None:
    noise = bytes(range(200, 256))
    for chunks in every_way(noise):
        entries = record(opened(content_type=content_type, answer=(("Content-Encoding", label),)), chunks)
        [line] = lines(entries, "in")
        assert undecodable(line) == (len(noise), hashlib.sha256(noise).hexdigest())
        assert (end(entries)["frames"], end(entries)["decoded_bytes"]) == (0, 0)


def flushed(data: bytes) -> bytes:
    """gzip without its end: all that was said can be read."""
    packer = zlib.compressobj(wbits=31)
    return packer.compress(data) + packer.flush(zlib.Z_SYNC_FLUSH)


def test_a_compressed_stream_that_breaks_is_on_record_up_to_there() -> None:
    whole, broken = flushed(ANTHROPIC), b"\xde\xad\xbe\xef" * 20
    entries = record(opened(answer=(("Content-Encoding", "gzip"),)), [whole, broken, b"more", b"\0"])
    *read, last_line = lines(entries, "in")
    assert [line["event"] for line in read][-1] == "message_stop"
    assert not any("error" in metadata(line) for line in read)
    size, digest = undecodable(last_line)
    assert (size, digest) == (85, hashlib.sha256(broken + b"more" + b"\0").hexdigest())


@pytest.mark.parametrize("content_type", ["text/event-stream", "application/json"])
def test_what_was_pending_when_a_compressed_stream_broke_is_on_record(content_type: str) -> None:
    wire, broken = flushed(b"data: half"), b"\xde\xad\xbe\xef" * 20
    entries = record(opened(content_type=content_type, answer=(("Content-Encoding", "gzip"),)), [wire, broken])
    [half, rest] = lines(entries, "in")
    assert (half["line"], metadata(half).get("cut")) == ("data: half", True)
    assert undecodable(rest)[0] == len(broken)


@pytest.mark.parametrize("encoding", sorted(PACK.keys() - {""}))
def test_no_secret_can_be_inflated_out_of_what_is_on_record(encoding: str) -> None:
    """Stored, not compressed: so the very bytes of the secret would be seen."""
    said = sse((None, {"token": SECRET}))
    packed = gzip.compress(said, 0) if encoding == "gzip" else PACK[encoding](said)
    answer = (("Content-Encoding", encoding),)
    one = flow(opened(answer=answer))
    after_gap = [*one.open(BEGAN), *one.feed(packed[:2], BEGAN), *one.gap(1, 1, BEGAN), *one.feed(packed[3:], BEGAN)]
    after_gap += one.close(Closed.CLEANLY, BEGAN)
    wrong = record(opened(answer=(("Content-Encoding", "lzma"),)), [packed])
    request = record(opened(body=packed, headers=(("Content-Encoding", "lzma"), ("session-id", "s"))), [])
    for entries in (after_gap, wrong, request):
        found = on_disk(entries)
        assert b"capture.undecodable" in found and b"base64" not in found
        for start in range(0, len(packed) - 8, 4):
            assert base64.b64encode(packed[start : start + 9])[:11] not in found
        assert SECRET[12:40].encode() not in found


def test_a_body_of_white_space_is_decided_when_enough_of_it_is_there() -> None:
    for label in ("", "gzip"):
        one = flow(opened(content_type="application/json", answer=(("Content-Encoding", label),) if label else ()))
        one.open(BEGAN)
        for _ in range(70):
            assert one.feed(b" " * 1024, BEGAN) == []
        assert not one._beginning and not one._encoded
        entries = one.close(Closed.CLEANLY, BEGAN)
        [line] = lines(entries, "in")
        assert line["line"] == "data: " + " " * 70 * 1024 if not label else undecodable(line)[0] == 70 * 1024


@pytest.mark.parametrize("white", [65530, 65536, 65540])
@pytest.mark.parametrize("size", [1000, 65535, 1 << 20])
def test_events_behind_much_white_space_give_the_same_records_however_they_are_cut(white: int, size: int) -> None:
    wire = b"\n" * white + EVENTS
    expected = record(opened(content_type="application/json"), [wire])
    chunks = [wire[start : start + size] for start in range(0, len(wire), size)]
    assert without_times(record(opened(content_type="application/json"), chunks)) == without_times(expected)


def test_a_compressed_stream_that_was_cut_gives_what_can_be_known() -> None:
    packer = zlib.compressobj(wbits=31)
    wire = packer.compress(ANTHROPIC) + packer.flush(zlib.Z_SYNC_FLUSH)
    entries = record(opened(answer=(("Content-Encoding", "gzip"),)), [wire], Closed.BY_SERVER)
    assert [event for event, _ in said(entries)][-1] == "message_stop"
    assert end(entries)["outcome"] == "complete"


# -- how a flow ended --------------------------------------------------------------------------------------------------------

RESPONSES, CHAT = "/v1/responses", "/v1/chat/completions"
GEMINI, LOGIN = "/v1beta/models/m:streamGenerateContent?alt=sse", "/v1internal:streamGenerateContent?alt=sse"
DELTA = {"choices": [{"index": 0, "delta": {"content": "a"}}], "object": "chat.completion.chunk"}
FINISHED = {"candidates": [{"content": {"parts": [{"text": "a"}]}, "finishReason": "STOP"}]}
GOES_ON = {"candidates": [{"content": {"parts": [{"text": "a"}]}, "finishReason": None}]}
CALLED = {"candidates": [{"content": {"parts": [{"functionCall": {"name": "f", "args": {"finishReason": "STOP"}}}]}}]}
ASKED = {"candidates": [{"content": {"parts": [{"text": 'say "finishReason"'}]}}]}


def last(event: str) -> bytes:
    return sse((event, {"type": event}))


OUTCOMES: dict[str, tuple[str, bytes, Closed, str, str | None]] = {  # path, stream, how it was closed, outcome, last word
    "anthropic": ("/v1/messages", ANTHROPIC, Closed.CLEANLY, "complete", "message_stop"),
    "anthropic, client gone afterwards": ("/v1/messages", ANTHROPIC, Closed.BY_CLIENT, "complete", "message_stop"),
    "anthropic, cut": ("/v1/messages", ANTHROPIC[:-30], Closed.BY_SERVER, "server_closed", None),
    "anthropic, ended without a last word": ("/v1/messages", ANTHROPIC[:-44], Closed.CLEANLY, "server_closed", None),
    "anthropic, client gone": ("/v1/messages", ANTHROPIC[:-44], Closed.BY_CLIENT, "client_closed", None),
    "anthropic, proxy stopped": ("/v1/messages", ANTHROPIC[:-44], Closed.BY_STOP, "stopped", None),
    "anthropic, proxy stopped afterwards": ("/v1/messages", ANTHROPIC, Closed.BY_STOP, "complete", "message_stop"),
    "anthropic, error": ("/v1/messages", last("error"), Closed.CLEANLY, "error", "error"),
    "anthropic, protocol error": ("/v1/messages", ANTHROPIC[:50], Closed.WITH_ERROR, "error", None),
    "responses": (RESPONSES, last("response.completed"), Closed.CLEANLY, "complete", "response.completed"),
    "responses, codex hangs up": (RESPONSES, last("response.completed"), Closed.BY_CLIENT, "complete", "response.completed"),
    "responses, incomplete": (RESPONSES, last("response.incomplete"), Closed.CLEANLY, "complete", "response.incomplete"),
    "responses, failed": (RESPONSES, last("response.failed"), Closed.CLEANLY, "error", "response.failed"),
    "responses, error": (RESPONSES, last("error"), Closed.BY_SERVER, "error", "error"),
    "responses, without names": (
        RESPONSES,
        sse((None, {"type": "response.completed"})),
        Closed.CLEANLY,
        "complete",
        "response.completed",
    ),
    "responses, cut": (RESPONSES, last("response.created"), Closed.CLEANLY, "server_closed", None),
    "chat": (CHAT, sse((None, DELTA), (None, b"[DONE]")), Closed.CLEANLY, "complete", "[DONE]"),
    "chat, kimi hangs up": (CHAT, sse((None, DELTA), (None, b"[DONE]")), Closed.BY_CLIENT, "complete", "[DONE]"),
    "chat, error": (CHAT, sse((None, DELTA), (None, {"error": {"message": "no"}})), Closed.CLEANLY, "error", "message"),
    "chat, cut": (CHAT, sse((None, DELTA)), Closed.CLEANLY, "server_closed", None),
    "gemini": (GEMINI, sse((None, ASKED), (None, FINISHED)), Closed.CLEANLY, "complete", "finishReason"),
    "gemini, cut": (GEMINI, sse((None, ASKED)), Closed.CLEANLY, "server_closed", None),
    "gemini, error": (GEMINI, sse((None, {"error": {"code": 500}})), Closed.CLEANLY, "error", "message"),
    "gemini, login": (LOGIN, sse((None, {"response": FINISHED})), Closed.CLEANLY, "complete", "finishReason"),
    "gemini, null in every frame": (GEMINI, sse((None, GOES_ON), (None, GOES_ON)), Closed.CLEANLY, "server_closed", None),
    "gemini, null and then the end": (GEMINI, sse((None, GOES_ON), (None, FINISHED)), Closed.CLEANLY, "complete", "finishReason"),
    "gemini, in the arguments of a call": (GEMINI, sse((None, CALLED)), Closed.CLEANLY, "server_closed", None),
    "gemini, login, in the arguments": (LOGIN, sse((None, {"response": CALLED})), Closed.CLEANLY, "server_closed", None),
    "gemini, empty": (GEMINI, sse((None, {"candidates": [{"finishReason": ""}]})), Closed.CLEANLY, "server_closed", None),
    "gemini, an array in an event": (GEMINI, sse((None, [GOES_ON, FINISHED])), Closed.CLEANLY, "complete", "finishReason"),
    "gemini, an array": (GEMINI, orjson.dumps([GOES_ON, FINISHED]), Closed.CLEANLY, "complete", "finishReason"),
    "gemini, an array, not finished": (GEMINI, orjson.dumps([GOES_ON, CALLED]), Closed.CLEANLY, "server_closed", None),
    "gemini, odd": (GEMINI, sse((None, {"candidates": {"finishReason": "STOP"}})), Closed.CLEANLY, "server_closed", None),
    "gemini, the second candidate": (
        GEMINI,
        sse((None, {"candidates": [{"index": 0}, {"finishReason": "STOP"}]})),
        Closed.CLEANLY,
        "complete",
        "finishReason",
    ),
    "somebody else": ("/events", sse((None, {"a": 1})), Closed.CLEANLY, "complete", None),
    "somebody else, cut": ("/events", sse((None, {"a": 1})), Closed.BY_SERVER, "server_closed", None),
}


@pytest.mark.parametrize(("path", "stream", "how", "outcome", "terminal"), OUTCOMES.values(), ids=OUTCOMES.keys())
def test_success_is_that_the_last_word_was_seen(path: str, stream: bytes, how: Closed, outcome: str, terminal: str | None) -> None:
    kind = "application/json" if stream.startswith(b"[") else "text/event-stream"
    found = end(record(opened(path, kind), [stream], how))
    assert (found["outcome"], found["terminal_event"]) == (outcome, terminal)


@pytest.mark.parametrize(
    ("status", "content_type", "body", "outcome"),
    [
        (200, "application/json", b'{"type":"message","content":[]}', "complete"),
        (200, "application/json", JSON, "error"),
        (429, "application/json", b'{"error":{"message":"slow down"}}', "error"),
        (529, "application/json", JSON, "error"),
        (500, "text/html", b"<h1>no</h1>", "error"),
        (502, None, b"", "error"),
        (204, None, b"", "complete"),
    ],
)
def test_a_call_that_became_no_stream_is_recorded_with_its_body(
    status: int, content_type: str | None, body: bytes, outcome: str
) -> None:
    entries = record(opened(content_type=content_type, status=status), [body])
    assert [payload.encode() for _, payload in said(entries)] == ([body] if body else [])
    assert end(entries)["outcome"] == outcome
    assert fields(entries, "flows")[0]["status"] == status


def test_a_call_that_got_no_answer_is_recorded_with_the_reason() -> None:
    one = flow(opened(content_type=None, status=None))
    entries = [*one.open(BEGAN), *one.close(Closed.WITH_ERROR, later(1), f"no route to https://me:{SECRET}@h.example")]
    assert fields(entries, "flows")[0]["transport"] == "none"
    assert end(entries)["outcome"] == "error"
    assert end(entries)["error"].startswith("no route to https://hash:")


# -- WebSocket ---------------------------------------------------------------------------------------------------------------


def create(text: str | None, **more: Any) -> bytes:
    items = [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}] if text else []
    return orjson.dumps({"type": "response.create", "model": "m", "input": items, **more})


def event(kind: str, **more: Any) -> bytes:
    return orjson.dumps({"type": kind, **more})


PREWARM = [("out", create(None, generate=False)), ("in", event("response.created")), ("in", event("response.completed"))]
ANSWERED = [
    ("out", create("hello", previous_response_id="r1")),
    ("in", event("response.created")),
    ("in", event("response.completed")),
]


@pytest.mark.parametrize(
    ("messages", "how", "outcome"),
    [
        pytest.param(PREWARM + ANSWERED, Closed.BY_CLIENT, "complete", id="codex: ends with 1006"),
        pytest.param(PREWARM + ANSWERED, Closed.BY_SERVER, "complete", id="server hangs up"),
        pytest.param(PREWARM + ANSWERED, Closed.BY_STOP, "complete", id="proxy stopped"),
        pytest.param(PREWARM, Closed.BY_CLIENT, "complete", id="prewarm only"),
        pytest.param([], Closed.BY_CLIENT, "complete", id="nothing said"),
        pytest.param(PREWARM + ANSWERED[:2], Closed.BY_CLIENT, "client_closed", id="client gone in an answer"),
        pytest.param(PREWARM + ANSWERED[:1], Closed.BY_SERVER, "server_closed", id="server gone before an answer"),
        pytest.param(PREWARM + ANSWERED[:1], Closed.BY_STOP, "stopped", id="stopped before an answer"),
        pytest.param([*ANSWERED[:2], ("in", event("response.failed"))], Closed.BY_CLIENT, "error", id="failed"),
        pytest.param(
            [*ANSWERED[:2], ("in", event("response.failed")), *ANSWERED], Closed.BY_CLIENT, "complete", id="failed, asked again"
        ),
    ],
)
def test_a_socket_is_complete_when_no_answer_was_open(messages: list[tuple[str, bytes]], how: Closed, outcome: str) -> None:
    entries = talk(socket(), messages, how, 1006)
    assert (end(entries)["outcome"], end(entries)["close_code"]) == (outcome, 1006)
    assert end(entries)["frames"] == len(messages)


def test_a_request_over_a_socket_is_its_new_parts_and_then_the_frame_with_references() -> None:
    entries = talk(socket(), PREWARM + ANSWERED, Closed.BY_CLIENT)
    assert [name for name, _ in said(entries, "out")] == ["response.create", "request.user", "response.create"]
    request = said(entries, "out")[-1][1]
    texts = {metadata(line)["id"]: line["line"].removeprefix("data: ") for line in lines(entries, "out") if "id" in metadata(line)}
    assert parts.join(request, texts.__getitem__).encode() == ANSWERED[0][1]


def test_a_socket_whose_upgrade_names_no_session_takes_it_from_its_first_message() -> None:
    first = ("out", create("hello", prompt_cache_key="session-2"))
    entries = talk(socket(headers=()), [first, ("in", event("response.completed"))], Closed.BY_CLIENT)
    assert isinstance(entries[0], Record) and entries[0].kind == "flows"
    assert {entry.sid for entry in entries if isinstance(entry, Record)} == {"session-2"}
    assert fields(entries, "flows")[0]["sid_source"] == "body:prompt_cache_key"


@pytest.mark.parametrize("messages", [[], [("in", b"hi")], [("out", b"ping"), ("in", b"pong")], [("out", create("hello"))]])
def test_a_socket_that_never_names_its_session_has_one_all_the_same(messages: list[tuple[str, bytes]]) -> None:
    entries = talk(socket(headers=()), messages, Closed.BY_CLIENT)
    assert len({entry.sid for entry in entries if isinstance(entry, Record)}) == 1
    assert len(fields(entries, "flows")) == 1
    assert [line["data_count"] for line in lines(entries)] == list(range(end(entries)["lines"]))


@pytest.mark.parametrize("headers", [(("session-id", "session-1"),), ()])
def test_a_socket_stays_in_its_session_when_a_later_message_names_another(headers: tuple[tuple[str, str], ...]) -> None:
    """Readers look for the lines, parts and bodies of a flow under its session."""
    messages = [(sid, ("out", create(f"hello {sid}", prompt_cache_key=sid))) for sid in ("session-1", "session-2", "session-1")]
    entries = talk(socket(headers=headers), [message for _, message in messages], Closed.BY_CLIENT)
    assert {entry.sid for entry in entries if isinstance(entry, Record)} == {"session-1"}
    assert {line["sid"] for kind in ("lines", "flows", "flow_ends") for line in fields(entries, kind)} == {"session-1"}
    texts = {metadata(line)["id"]: line["line"].removeprefix("data: ") for line in lines(entries, "out") if "id" in metadata(line)}
    requests = [payload for name, payload in said(entries, "out") if name == "response.create"]
    assert [parts.join(request, texts.__getitem__).encode() for request in requests] == [content for _, (_, content) in messages]


def test_a_gap_before_the_first_message_does_not_split_the_session_of_a_socket() -> None:
    one = flow(socket(headers=()))
    entries = [
        *one.open(BEGAN),
        *one.gap(1, 10, BEGAN),
        *one.message(create("hello"), True, BEGAN),
        *one.close(Closed.BY_CLIENT, BEGAN),
    ]
    assert isinstance(entries[0], Record) and entries[0].kind == "flows"


@pytest.mark.parametrize("content", [b"", b"\xff\xfe binary", b"text", b"[1]", b'{"type":7}', b"null", b'"\\ud800"'])
def test_a_message_of_any_kind_is_one_line(content: bytes) -> None:
    for direction in ("in", "out"):
        entries = talk(socket(), [(direction, content)], Closed.BY_SERVER)
        [line] = lines(entries)
        assert payload_bytes(line) == content
        assert (line["event"], metadata(line)["dir"]) == ("message", direction)


def test_a_large_last_word_is_seen() -> None:
    """`response.completed` says the whole answer and its tools again: 4.6 MB were seen."""
    large = b'{"type":"response.completed","response":{"output":"' + b"x" * 5_000_000 + b'"}}'
    assert end(talk(socket(), [*ANSWERED[:2], ("in", large)], Closed.BY_CLIENT))["outcome"] == "complete"


# -- the request -------------------------------------------------------------------------------------------------------------


def rebuilt(entries: list[Entry], more: list[Entry] | None = None) -> bytes:
    """The request body, out of what stands in the log."""
    texts = {}
    blobs = {entry.sha256: entry.data.decode() for entry in (*entries, *(more or [])) if isinstance(entry, Blob)}
    for line in lines([*entries, *(more or [])], "out"):
        found = metadata(line)
        texts[found["id"]] = blobs[found["sha256"]] if "sha256" in found else line["line"].removeprefix("data: ")
    [raw] = [dumps(entry.fields).decode() for entry in entries if isinstance(entry, Record) and entry.kind == "flows"]
    template = parts.member(raw, "request") or ""
    template = json.loads(template) if template.startswith('"') else template
    return parts.join("" if template == "null" else template, texts.__getitem__).encode()


LONG = {
    "model": "m",
    "system": "be brief",
    "tools": [{"name": "bash"}],
    "messages": [{"role": "user", "content": "é " * 100}],
    "n": 1.50,
}


@pytest.mark.parametrize(
    "body",
    [
        orjson.dumps(LONG),
        json.dumps(LONG).encode(),
        json.dumps(LONG, indent=2).replace("\n", "\r\n").encode(),
        b'{"messages":[{"role":"user","content":"\\ud83d"},{"type":"\\ud800"}],"messages":[7, 1.50]}',
        b'{"messages":[NaN]}',
        b"[1, 2]",
        b"no JSON at all",
        b"a=b&c=d",
        b'{"a":' + b"[" * 3000 + b"]" * 3000 + b"}",
        b'{"$part":"0123456789abcdef","messages":[{"$part":"0123456789abcdef"}]}',
        b"",
    ],
)
@pytest.mark.parametrize("limit", [recorder.INLINE_LIMIT, 40])
def test_the_body_is_rebuilt_to_the_byte_from_the_records(body: bytes, limit: int) -> None:
    entries = record(opened(body=body), [ANTHROPIC], limit=limit)
    assert rebuilt(entries) == body
    [found] = fields(entries, "flows")
    assert found["request_sha256"] == (hashlib.sha256(body).hexdigest() if body else None)


def test_each_part_is_on_record_once_per_session() -> None:
    memory = Memory()
    one = {"role": "user", "content": "hello"}
    two = [
        {"role": "user", "content": [{"type": "text", "text": "hello", "cache_control": {"type": "ephemeral"}}]},
        {"role": "user", "content": "more"},
    ]
    first = record(opened(body=orjson.dumps({"system": "s", "messages": [one]})), [], memory=memory)
    second = record(opened(body=orjson.dumps({"system": "s", "messages": two}), flow_id="flow-2"), [], memory=memory)
    assert [name for name, _ in said(first, "out")] == ["request.system", "request.user"]
    assert said(second, "out") == [("request.user", '{"role":"user","content":"more"}')]
    assert rebuilt(second, first) == orjson.dumps({"system": "s", "messages": two})
    other = opened(body=orjson.dumps({"system": "s", "messages": [one]}), headers=(("session-id", "other"),))
    assert len(said(record(other, [], memory=memory), "out")) == 2


def test_a_session_that_was_forgotten_has_its_parts_on_record_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "MAX_SESSIONS", 2)
    memory = Memory()
    for name, expected in (("a", 1), ("b", 1), ("a", 0), ("c", 1), ("a", 0), ("b", 1)):
        assert len(said(record(opened(headers=(("session-id", name),)), [], memory=memory), "out")) == expected


def test_the_ids_remembered_of_all_sessions_together_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "MAX_IDS", 10)
    monkeypatch.setattr(recorder, "MAX_PARTS", 20)
    memory = Memory()
    for sid in "abc":
        for number in range(4):
            assert memory.is_new(sid, str(number))
    assert (list(memory.written), memory.ids) == (["b", "c"], 8)  # a was quiet longest
    assert not memory.is_new("c", "0")
    assert memory.is_new("a", "0")
    for number in range(30):
        assert memory.is_new("d", str(number))
    assert list(memory.written) == ["d"]  # the session at hand stays, up to its own bound
    assert memory.ids == sum(map(len, memory.written.values())) == 10


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd"])
def test_an_encoded_request_is_recorded_decoded(encoding: str) -> None:
    body = orjson.dumps(LONG)
    for sent in (PACK[encoding](body), body):  # the second one's label is wrong
        entries = record(opened(body=sent, headers=(("Content-Encoding", encoding), ("session-id", "s"))), [])
        assert rebuilt(entries) == body


@pytest.mark.parametrize("encoding", ["gzip", "zstd", "lzma"])
def test_a_request_that_cannot_be_decoded_is_said_to_be_so(encoding: str) -> None:
    entries = record(opened(body=b"\xff\xfe\x00 nothing known", headers=(("Content-Encoding", encoding),)), [])
    said = orjson.loads(rebuilt(entries))
    assert (said["type"], said["bytes"]) == ("capture.undecodable", 17)
    assert said["reason"].startswith("content-encoding: ")
    assert said["sha256"] == hashlib.sha256(b"\xff\xfe\x00 nothing known").hexdigest()


def test_strangers_who_say_the_same_are_in_sessions_of_their_own() -> None:
    memory, agent = Memory(), (("User-Agent", "agent/1.0"),)
    sids = [
        fields(record(opened(headers=agent, client_ip=ip), [], memory=memory), "flows")[0]["sid"]
        for ip in ("127.0.0.1", "10.0.0.7", "127.0.0.1")
    ]
    assert sids[0] == sids[2] != sids[1]


def test_two_sessions_under_the_same_instructions_are_two() -> None:
    memory, agent = Memory(), (("User-Agent", "agent/1.0"),)
    sources = [
        fields(record(opened(headers=agent, body=orjson.dumps(body)), [], memory=memory), "flows")[0]["sid_source"]
        for body in (
            {"system": "be brief"},
            {"system": "be brief", "messages": [{"role": "user", "content": "hello"}]},
            {"messages": [{"role": "system", "content": "be brief"}]},
            {"messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hi"}]},
        )
    ]
    assert sources == ["fallback"] * 4


# -- what does not fit in a line ---------------------------------------------------------------------------------------------


def test_a_payload_over_the_limit_stands_whole_in_a_blob_and_with_its_head_in_the_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "INLINE_HEAD", 10)
    large = b'{"type":"x","text":"' + "é".encode() * 50 + b'"}'
    entries = record(opened(), [b"data: " + large + b"\n\ndata: small\n\n"], limit=60)
    digest = hashlib.sha256(large).hexdigest()
    assert Blob(digest, large) in entries
    [first, second] = lines(entries, "in")
    assert (first["event"], first["line"]) == ("x", "data: " + large[:10].decode())
    assert (metadata(first)["bytes"], metadata(first)["sha256"]) == (len(large), digest)
    assert "sha256" not in metadata(second)
    assert entries.index(Blob(digest, large)) < entries.index(
        next(e for e in entries if isinstance(e, Record) and e.fields.get("event") == "x")
    )


@pytest.mark.row(24)
def test_a_payload_that_is_no_utf8_stands_to_the_byte_in_its_metadata() -> None:
    odd = b'{"type":"x","text":"\xff\xc3\x00\xed\xa0\x80"}'
    [line] = lines(record(opened(), [b"data: " + odd + b"\n\n"]), "in")
    assert payload_bytes(line) == odd
    assert line["line"].startswith('data: {"type":"x","text":"\N{REPLACEMENT CHARACTER}')


def test_a_frame_in_parts_says_which_part_each_line_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("capture.wire.base.MAX_FRAME_BYTES", 100)
    monkeypatch.setattr("capture.wire.sse.MAX_FRAME_BYTES", 100)
    monkeypatch.setattr(redact, "SEAM_BEFORE_END", 20)
    payload = b'{"type":"long","text":"' + b"x" * 250 + b'"}'
    found = lines(record(opened(), [b"data: " + payload + b"\n\n"]), "in")
    assert [metadata(line)["part"] for line in found] == ["1", "2", "3/3"]
    assert b"".join(payload_bytes(line) for line in found) == payload
    assert found[0]["event"] == "long"


@pytest.mark.parametrize(
    ("path", "end_of_it", "expected"),
    [
        (GEMINI, b'"}]},"finishReason" : "STOP"}]}', ("complete", "finishReason")),
        (GEMINI, b'"}]},"finishReason":null}]}', ("server_closed", None)),
    ],
)
def test_the_last_word_is_seen_in_the_last_part_of_a_frame(
    monkeypatch: pytest.MonkeyPatch, path: str, end_of_it: bytes, expected: tuple[str, str | None]
) -> None:
    monkeypatch.setattr("capture.wire.base.MAX_FRAME_BYTES", 200)
    monkeypatch.setattr(redact, "SEAM_BEFORE_END", 100)
    stream = b'data: {"candidates":[{"content":{"parts":[{"text":"' + b"x" * 500 + end_of_it + b"\n\n"
    found = end(record(opened(path), [stream]))
    assert (found["outcome"], found["terminal_event"]) == expected


@pytest.mark.parametrize("how", ["whole", "cut by a gap", "cut by its end"])
def test_no_secret_is_shown_by_the_parts_of_a_frame(monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    monkeypatch.setattr("capture.wire.base.MAX_FRAME_BYTES", 400)
    monkeypatch.setattr("capture.wire.sse.MAX_FRAME_BYTES", 400)
    monkeypatch.setattr(redact, "SEAM_BEFORE_END", 120)
    for before in range(380, 820):  # the secret begins, lies and ends at every byte of two boundaries
        filler = ("words, and more words " * 40)[:before] + " "
        payload = orjson.dumps({"type": "long", "text": filler + SECRET + " and more words" * 10})
        one = flow(opened())
        entries = [*one.open(BEGAN), *one.feed(b"data: " + payload + (b"\n\n" if how == "whole" else b""), BEGAN)]
        if how == "cut by a gap":
            entries += one.gap(1, 10, BEGAN)
        found = [line for line in lines(entries + one.close(Closed.CLEANLY, BEGAN), "in") if line["event"] != "capture.gap"]
        assert [metadata(line)["part"] for line in found] == [*map(str, range(1, len(found))), f"{len(found)}/{len(found)}"]
        assert len(found) > 1
        assert b"".join(payload_bytes(line) for line in found) == REDACTOR.text(payload)


def test_an_event_the_stream_ended_in_is_marked() -> None:
    [line] = lines(record(opened(), [b"event: x\ndata: {"], Closed.BY_SERVER), "in")
    assert (line["event"], metadata(line)["cut"]) == ("x", True)


# -- gaps --------------------------------------------------------------------------------------------------------------------


def test_a_gap_is_said_in_its_place_and_what_was_pending_before_it_is_kept() -> None:
    one = flow(opened())
    entries = one.open(BEGAN)
    entries += one.feed(b"event: a\ndata: 1\n\nevent: b\ndata: 2", BEGAN)
    entries += one.gap(3, 77, BEGAN)
    entries += one.feed(b'alf of a line"}\n\nevent: message_stop\ndata: {}\n\n', BEGAN)
    entries += one.close(Closed.CLEANLY, BEGAN)
    assert said(entries) == [
        ("a", "1"),
        ("b", "2"),
        ("capture.gap", '{"type":"capture.gap","chunks":3,"bytes":77}'),
        ("message_stop", "{}"),
    ]
    assert metadata(lines(entries, "in")[1])["cut"] is True
    assert (end(entries)["dropped_chunks"], end(entries)["dropped_bytes"], end(entries)["outcome"]) == (3, 77, "complete")


def test_what_follows_a_gap_in_a_compressed_stream_is_counted() -> None:
    packed = gzip.compress(ANTHROPIC * 3)
    one = flow(opened(answer=(("content-encoding", "gzip"),)))
    entries = [*one.open(BEGAN), *one.feed(packed[:60], BEGAN), *one.gap(1, 10, BEGAN), *one.feed(packed[70:], BEGAN)]
    entries += one.close(Closed.CLEANLY, BEGAN)
    *_, gap, rest = lines(entries, "in")
    assert gap["event"] == "capture.gap"
    assert undecodable(rest) == (len(packed) - 70, hashlib.sha256(packed[70:]).hexdigest())
    assert "missing" in metadata(rest)["error"]


def test_a_gap_among_bytes_that_cannot_be_decoded_stands_in_its_place() -> None:
    one = flow(opened(answer=(("content-encoding", "lzma"),)))
    entries = [*one.open(BEGAN), *one.feed(b"\xff\xfe" * 20, BEGAN), *one.gap(1, 10, BEGAN), *one.gap(1, 10, BEGAN)]
    entries += [*one.feed(b"\xfd" * 30, BEGAN), *one.close(Closed.CLEANLY, BEGAN)]
    assert [line["event"] for line in lines(entries, "in")] == [
        *["capture.undecodable", "capture.gap"],
        *["capture.gap", "capture.undecodable"],
    ]
    assert [undecodable(line)[0] for line in lines(entries, "in") if line["event"] != "capture.gap"] == [40, 30]


def test_a_gap_in_a_stream_under_a_wrong_label_changes_nothing_else() -> None:
    one = flow(opened(answer=(("content-encoding", "gzip"),)))
    entries = [*one.open(BEGAN), *one.feed(ANTHROPIC, BEGAN), *one.gap(1, 10, BEGAN), *one.feed(ANTHROPIC, BEGAN)]
    assert [event for event, _ in said(entries)].count("message_stop") == 2


# -- secrets -----------------------------------------------------------------------------------------------------------------


def test_a_secret_is_nowhere_in_any_record() -> None:
    headers = [
        ("Authorization", f"Bearer {SECRET}"),
        ("Cookie", SECRET),
        ("X-Custom", SECRET),
        ("User-Agent", f"claude-cli/{SECRET}"),
    ]
    headers += [("session_id", SECRET), ("thread-id", SECRET), ("x-openai-subagent", SECRET), ("x-codex-parent-thread-id", SECRET)]
    headers += [("x-claude-code-session-id", SECRET), ("x-session-id", SECRET), ("x-parent-session-id", SECRET)]
    text = orjson.dumps({"key": SECRET}).decode()
    body = orjson.dumps(
        {"prompt_cache_key": SECRET, "system": SECRET, "messages": [{"role": "user", "content": text}, {"type": SECRET}]}
    )
    stream = sse(
        (SECRET, {"a": SECRET}),
        (None, {"type": SECRET, "delta": text}),
        (None, SECRET.encode()),
        (None, b"\xff " + SECRET.encode()),
    )
    answer = (("Set-Cookie", SECRET), ("Location", f"https://h.example/?next={SECRET}"), ("x-request-id", SECRET))
    for limit in (recorder.INLINE_LIMIT, 50):
        for path in (f"/v1/messages?x={SECRET}&key={SECRET}", f"/{SECRET}/responses"):
            facts = opened(path, body=body, headers=tuple(headers), answer=answer)
            one = flow(facts, limit=limit)
            entries = [*one.open(BEGAN), *one.feed(stream, BEGAN)]
            entries += one.message(event("response.create", input=[{"type": SECRET}], prompt_cache_key=SECRET), True, BEGAN)
            entries += one.message(event(SECRET), False, BEGAN) + one.message(SECRET.encode(), True, BEGAN)
            one.failed(f"KeyError: {SECRET}")
            entries += one.close(Closed.WITH_ERROR, BEGAN, f"cannot reach {SECRET}")
            assert SECRET[12:].encode() not in on_disk(entries)
            assert SECRET not in one.summary()
            for line in lines(entries):
                assert SECRET[12:].encode() not in payload_bytes(line)


def test_a_session_that_is_named_by_a_secret_is_the_same_session_every_time() -> None:
    names = {fields(record(opened(headers=(("session_id", SECRET),)), []), "flows")[0]["sid"] for _ in range(2)}
    assert len(names) == 1 and re.fullmatch("hash:[0-9a-f]{16}", names.pop())


def test_payloads_that_cannot_be_redacted_are_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    redactor = Redactor(b"salt")
    for test in ("in_json", "in_text", "may_hold"):
        monkeypatch.setattr(redactor.shapes, test, lambda text: 1 / 0)
    one = FlowRecorder(opened(), ME, redactor, Memory())
    entries = [*one.open(BEGAN), *one.feed(sse((None, {"a": "something said"})), BEGAN), *one.close(Closed.CLEANLY, BEGAN)]
    assert b"something said" not in on_disk(entries) and b"hello" not in on_disk(entries)
    assert b"redaction_error" in on_disk(entries)


# -- odd input ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "facts",
    [
        opened(headers=(("User-Agent", "claude-cli/2.1\udce9 (caf\udce9)"), ("session-id", "caf\udce9"), ("X-\udce9", "\udce9"))),
        opened(path="/caf\udce9?x=\udce9"),
        opened(body=b'{"messages":[{"type":"\\ud800"},{"role":"\\udfff"}]}'),
        opened(body=b"\xff\xfe"),
        opened(content_type="\udce9"),
        opened(headers=(), body=b"", method="", status=0),
    ],
)
def test_odd_requests_raise_nothing_and_every_record_can_be_read(facts: Opened) -> None:
    one = flow(facts, caller=Process(1, "/home/caf\udce9"))
    entries = [*one.open(BEGAN), *one.feed(ANTHROPIC, BEGAN), *one.close(Closed.CLEANLY, BEGAN, "caf\udce9")]
    assert len(fields(entries, "flows")) == len(fields(entries, "flow_ends")) == 1
    assert end(entries)["outcome"] == "complete" or not facts.method
    assert one.summary()


@pytest.mark.row(24)
@pytest.mark.parametrize(
    "payload",
    [b'{"type":' + b"[" * 100_000, b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", b'{"type":"\\ud800"}', b"{", b'{"type":{}}'],
)
def test_odd_payloads_raise_nothing(payload: bytes) -> None:
    entries = record(opened(), [b"data: " + payload + b"\n\n"]) + talk(
        socket(), [("in", payload), ("out", payload)], Closed.BY_CLIENT
    )
    assert [payload_bytes(line) for line in lines(entries) if not line["event"].startswith("request.")] == [payload] * 3


@given(st.lists(st.tuples(st.sampled_from(["in", "out"]), wires), max_size=5), st.sampled_from(list(Closed)))
def test_any_messages_of_a_socket_raise_nothing(messages: list[tuple[str, bytes]], how: Closed) -> None:
    entries = talk(socket(headers=()), messages, how)
    assert len(fields(entries, "flows")) == len(fields(entries, "flow_ends")) == 1
    assert end(entries)["frames"] == len(messages)
