"""Rows 27 and 28: what a stream calls itself, and how it is packed."""

import gzip
import hashlib
import zlib
from collections.abc import Callable

import brotli  # type: ignore[import-untyped]
import orjson
import pytest
import zstandard

from tests.faults.harness import (
    CHUNKED,
    END_OF_CHUNKS,
    STOP,
    Act,
    Origin,
    Proxy,
    Said,
    Step,
    amazon,
    ask,
    captures,
    chunk,
    chunked,
    event,
    head,
    named,
    whatwg,
)

ASKED = b'{"messages":[{"role":"user","content":"hello"}]}'
SSE = b"".join([*(event(number, 40) for number in range(8)), STOP])
EVENTS = named(whatwg(SSE))
NDJSON = b'{"type":"a","n":1}\n{"type":"b","n":2}\r\n{"object":"c"}'
NDJSON_SAID = [Said("a", b'{"type":"a","n":1}'), Said("b", b'{"type":"b","n":2}'), Said("c", b'{"object":"c"}')]
AMAZON = amazon(b'{"bytes":"eyJ0eXBlIjoibWVzc2FnZV9zdG9wIn0="}') + amazon(b'{"p":1}', "metadata")
AMAZON_SAID = [Said("message_stop", b'{"type":"message_stop"}'), Said("metadata", b'{"p":1}')]

MODEL, OTHER = "/v1/messages", "/feed"
TYPES: dict[str, tuple[str, bytes | None, bytes, list[Said] | None]] = {
    # name: (path, content type, body, what is on record; None: the flow is not, and its body goes through at once)
    "plain": (OTHER, b"text/event-stream", SSE, EVENTS),
    "charset": (OTHER, b"text/event-stream; charset=utf-8", SSE, EVENTS),
    "upper case": (OTHER, b"TEXT/EVENT-STREAM;CHARSET=UTF-8", SSE, EVENTS),
    "spaces": (OTHER, b"  text/event-stream ; x=y", SSE, EVENTS),
    "none, on a model's path": (MODEL, None, SSE, EVENTS),
    "json, on a model's path": (MODEL, b"application/json", SSE, EVENTS),
    "octets, on a model's path": (MODEL, b"application/octet-stream", SSE, EVENTS),
    "ndjson": (OTHER, b"application/x-ndjson", NDJSON, NDJSON_SAID),
    "jsonl": (OTHER, b"application/jsonl", NDJSON, NDJSON_SAID),
    "amazon": (OTHER, b"application/vnd.amazon.eventstream", AMAZON, AMAZON_SAID),
    "none": (OTHER, None, SSE, None),
    "text": (OTHER, b"text/plain", SSE, None),
    "json": (OTHER, b"application/json", b"{}", None),
}


@pytest.mark.row(27)
@pytest.mark.parametrize("name", TYPES)
def test_a_stream_is_recognised_by_its_content_type_or_by_whom_it_answers(
    proxy: Proxy, origin: Origin, name: str, record_property: Callable[[str, object], None]
) -> None:
    record_property("content types", 1)
    path, content_type, body, said = TYPES[name]
    url = origin.serve(chunked([body[:100], body[100:]], content_type=content_type), path)
    answer = ask(proxy, url, ASKED)
    assert (answer.body, answer.ended) == (body, "clean")
    if said is None:
        captures(proxy, origin)  # what came after it is on record, so it would be too
        assert proxy.log.of(url) == []
    else:
        assert proxy.log.ended(url).heard() == said


def deflate(data: bytes, wbits: int) -> bytes:
    packer = zlib.compressobj(wbits=wbits)
    return packer.compress(data) + packer.flush()


def in_flushes(data: bytes) -> list[bytes]:
    """gzip as servers send it: flushed behind each event."""
    packer = zlib.compressobj(wbits=31)
    pieces = [packer.compress(piece + b"\n\n") + packer.flush(zlib.Z_SYNC_FLUSH) for piece in data.split(b"\n\n") if piece]
    return [*pieces, packer.flush()]


def halves(data: bytes) -> list[bytes]:
    return [data[: len(data) // 2], data[len(data) // 2 :]]


ZSTD = zstandard.ZstdCompressor()
PACKED: dict[str, tuple[bytes, list[bytes]]] = {
    # name: (content-encoding, pieces on the wire)
    "gzip": (b"gzip", halves(gzip.compress(SSE))),
    "gzip in two members": (b"gzip", [gzip.compress(SSE[:500]), gzip.compress(SSE[500:])]),
    "gzip byte by byte": (b"gzip", [bytes([byte]) for byte in gzip.compress(SSE)]),
    "gzip in upper case": (b"GZIP", halves(gzip.compress(SSE))),
    "x-gzip": (b"x-gzip", halves(gzip.compress(SSE))),
    "deflate": (b"deflate", halves(deflate(SSE, 15))),
    "deflate without header": (b"deflate", halves(deflate(SSE, -15))),
    "br": (b"br", halves(brotli.compress(SSE))),
    "zstd": (b"zstd", halves(ZSTD.compress(SSE))),
    "zstd in two frames": (b"zstd", [ZSTD.compress(SSE[:500]), ZSTD.compress(SSE[500:])]),
    "identity": (b"identity", halves(SSE)),
    "gzip in br": (b"gzip, br", halves(brotli.compress(gzip.compress(SSE)))),
    "three deep": (b"deflate, gzip, zstd", halves(ZSTD.compress(gzip.compress(deflate(SSE, 15))))),
    "nothing is packed, gzip is said": (b"gzip", halves(SSE)),
    "nothing is packed, br is said": (b"br", halves(SSE)),
    "nothing is packed, zstd is said": (b"zstd", halves(SSE)),
    "nothing is packed, deflate is said": (b"deflate", halves(SSE)),
}


@pytest.mark.row(28)
@pytest.mark.parametrize("name", PACKED)
def test_a_packed_stream_reaches_the_client_packed_and_the_log_unpacked(
    proxy: Proxy, origin: Origin, name: str, record_property: Callable[[str, object], None]
) -> None:
    record_property("ways of packing", 1)
    encoding, pieces = PACKED[name]
    url = origin.serve(chunked(pieces, b"content-encoding: " + encoding))
    answer = ask(proxy, url, ASKED)
    assert (answer.body, answer.ended) == (b"".join(pieces), "clean")
    assert [value for key, value in answer.headers if key.lower() == b"content-encoding"] == [encoding]
    flow = proxy.log.ended(url)
    assert flow.heard() == EVENTS
    assert (flow.end["outcome"], flow.end["wire_bytes"], flow.end["decoded_bytes"]) == ("complete", len(answer.body), len(SSE))
    assert set(flow.metadata("error")) == {None}


WRONG: dict[str, tuple[bytes, list[bytes]]] = {
    "br, gzip is said": (b"gzip", halves(brotli.compress(SSE))),
    "gzip, zstd is said": (b"zstd", halves(gzip.compress(SSE))),
    "gzip, br is said": (b"br", halves(gzip.compress(SSE))),
    "an encoding nobody knows": (b"x-own", [b"\x00\x01\x02" * 20, b"\xff" * 10]),
    "gzip that breaks in the middle": (b"gzip", [*in_flushes(SSE)[:3], b"\xde\xad\xbe\xef" * 20]),
}


@pytest.mark.row(28)
@pytest.mark.parametrize("name", WRONG)
def test_of_what_cannot_be_unpacked_size_digest_and_reason_are_on_record(
    proxy: Proxy, origin: Origin, name: str, record_property: Callable[[str, object], None]
) -> None:
    record_property("wrong labels", 1)
    encoding, pieces = WRONG[name]
    url = origin.serve(chunked(pieces, b"content-encoding: " + encoding))
    answer = ask(proxy, url, ASKED)
    assert (answer.body, answer.ended) == (b"".join(pieces), "clean")
    flow = proxy.log.ended(url)
    *unpacked, lost = flow.heard()
    *clean, reason = flow.metadata("error")
    assert set(clean) <= {None}
    said = orjson.loads(lost.data)
    assert (lost.event, said["reason"]) == ("capture.undecodable", reason)
    assert reason.startswith("content-encoding: ")
    rest = answer.body[len(answer.body) - said["bytes"] :]  # the bytes themselves are not there: no secret in them could be seen
    assert rest and said["sha256"] == hashlib.sha256(rest).hexdigest()
    assert set(flow.metadata("base64")) == {None}
    assert unpacked == EVENTS[: len(unpacked)]
    assert len(unpacked) == (3 if "middle" in name else 0)
    assert unpacked or rest == answer.body
    captures(proxy, origin)


FLUSHED = in_flushes(SSE)
TRUNCATED: dict[str, list[bytes]] = {
    "without the last events": FLUSHED[:5],
    "inside a flush": [*FLUSHED[:5], FLUSHED[5][:3]],
    "without the trailer": FLUSHED[:-1],
}


@pytest.mark.row(28)
@pytest.mark.parametrize("name", TRUNCATED)
@pytest.mark.parametrize("clean", [True, False], ids=["ended", "cut"])
def test_a_packed_stream_that_is_cut_is_on_record_up_to_the_cut(
    proxy: Proxy, origin: Origin, name: str, clean: bool, record_property: Callable[[str, object], None]
) -> None:
    record_property("cuts", 1)
    pieces = TRUNCATED[name]
    ending: Step = END_OF_CHUNKS if clean else Act.CLOSE
    url = origin.serve([head(CHUNKED, b"content-encoding: gzip"), *(chunk(piece) for piece in pieces), ending])
    answer = ask(proxy, url, ASKED)
    assert (answer.body, answer.ended) == (b"".join(pieces), "clean" if clean else "truncated")
    flow = proxy.log.ended(url)
    whole = min(len(pieces), 5) if "trailer" not in name else len(EVENTS)
    assert [said for said in flow.heard() if not said.cut] == EVENTS[:whole]
    assert flow.end["outcome"] == ("complete" if whole == len(EVENTS) else "server_closed")
