"""Decoders: chunks to frames, the same frames however the bytes are cut."""

import base64
import binascii
import re
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from capture import wire
from capture.wire import Decoder, Frame, base, sse
from capture.wire.body import BodyDecoder
from capture.wire.eventstream import EventStreamDecoder
from capture.wire.jsonarray import JsonArrayDecoder
from capture.wire.ndjson import NdjsonDecoder
from capture.wire.sse import SseDecoder
from tests.cuts import cut, every_way, positions, sized

SMALL = 16  # bytes: MAX_FRAME_BYTES in tests of parts


def run(make: Callable[[], Decoder], chunks: list[bytes]) -> list[Frame]:
    decoder = make()
    frames = [frame for chunk in chunks for frame in decoder.feed(chunk)]
    return frames + decoder.close()


def whole(frames: list[Frame]) -> list[Frame]:
    return [frame for frame in frames if not frame.cut]


@contextmanager
def small_frames(size: int = SMALL) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(base, "MAX_FRAME_BYTES", size)
        patch.setattr(base, "PART_BYTES", size // 3)
        patch.setattr(sse, "MAX_FRAME_BYTES", size)
        patch.setattr(sse, "LONG_LINE", size)
        patch.setattr(sse, "MAX_NAME_BYTES", size - len("event: "))
        yield


# -- server-sent events ------------------------------------------------------------------------------------------------------


def whatwg(stream: bytes) -> list[Frame]:
    """The events of a whole stream, as the standard describes them, one sentence a line.

    https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
    """
    *lines, _ = re.split(rb"\r\n|\r|\n", stream.removeprefix(b"\xef\xbb\xbf"))
    data, event, frames = b"", b"", []
    for line in lines:
        field, _, value = line.partition(b":")
        value = value[1:] if value.startswith(b" ") else value
        if not line:
            if data:
                frames.append(Frame(data[:-1], event.decode("utf-8", "replace") or None))
            data, event = b"", b""
        elif field == b"data":
            data += value + b"\n"
        elif field == b"event":
            event = value
    return frames


PIECES = [
    *(b"data:", b"data: ", b"data", b"event:", b"event: ", b"event", b"id: 1", b"retry: 5", b": comment", b"unknown: field"),
    *(b"\n", b"\r", b"\r\n", b"\n\n", b"\r\r", b"\r\n\r\n", b":", b" ", b"x", b'{"a":1}', b"[DONE]", b"message_stop"),
    *(b"\xef\xbb\xbf", "\u2028".encode(), "\x85".encode(), "é😀".encode(), b"\x85", b"\xff\xfe", b"\0", b"\x0b", b"\x0c", b"\x1c"),
]
streams = st.lists(st.sampled_from(PIECES) | st.binary(max_size=4), max_size=40).map(b"".join)


@pytest.mark.row(25, 26)
@given(streams, positions)
def test_an_event_stream_means_what_the_standard_says_however_it_is_cut(stream: bytes, at: list[int]) -> None:
    assert whatwg(stream) == whole(run(SseDecoder, cut(stream, at)))


@pytest.mark.parametrize("newline", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        (b"data: a\n\n", [Frame(b"a")]),
        (b"data:a\n\ndata:  b\n\n", [Frame(b"a"), Frame(b" b")]),
        (b"event: x\ndata: a\n\ndata: b\n\n", [Frame(b"a", "x"), Frame(b"b")]),
        (b"data: a\nevent: x\n\n", [Frame(b"a", "x")]),
        (b"data: a\ndata\ndata: b\n\n", [Frame(b"a\n\nb")]),
        (b"data\n\n", [Frame(b"")]),
        (b"data:\n\n", [Frame(b"")]),
        (b"event: x\n\ndata: a\n\n", [Frame(b"a")]),
        (b"event: x\nevent\ndata: a\n\n", [Frame(b"a")]),
        (b": ping\n\n:\n\nid: 7\nretry: 3\n\n", []),
        (b"\xef\xbb\xbfdata: a\n\n", [Frame(b"a")]),
        (b"\xef\xbb\xbf\xef\xbb\xbfdata: a\n\ndata: b\n\n", [Frame(b"b")]),
        (b" data: a\n\nDATA: b\n\n", []),
        ("data: a\u2028b\u0085c\u2029\n\n".encode(), [Frame("a\u2028b\u0085c\u2029".encode())]),
        (b"data: a\x0bb\x0cc\x1cd\x85e\n\n", [Frame(b"a\x0bb\x0cc\x1cd\x85e")]),
        (b"data: \xff\xc3\0\xed\xa0\x80\n\n", [Frame(b"\xff\xc3\0\xed\xa0\x80")]),
        (b"event: \xff\ndata: a\n\n", [Frame(b"a", "\N{REPLACEMENT CHARACTER}")]),
    ],
)
def test_every_cut_of_a_stream_gives_the_same_events(stream: bytes, expected: list[Frame], newline: bytes) -> None:
    stream = stream.replace(b"\n", newline)
    expected = [frame._replace(data=frame.data) for frame in expected]
    for chunks in every_way(stream):
        assert expected == run(SseDecoder, chunks)


@given(streams, st.integers(0, 2**16))
@example(b"data: a\ndatabase\n\n", 12)
def test_a_cut_stream_is_a_prefix_of_the_whole(stream: bytes, end: int) -> None:
    stream += b"\n\n"  # the last event of the whole stream is complete
    complete, partial = run(SseDecoder, [stream]), run(SseDecoder, [stream[: end % (len(stream) + 1)]])
    known = whole(partial)
    assert known == complete[: len(known)]
    for frame in partial[len(known) :]:
        assert complete[len(known)].data.startswith(frame.data)


def test_an_event_the_stream_ends_in_is_given_out_and_marked() -> None:
    assert [Frame(b"a", "x", cut=True)] == run(SseDecoder, [b"event: x\ndata: a"])
    assert [Frame(b"a", "x", cut=True)] == run(SseDecoder, [b"event: x\ndata: a\n"])
    assert run(SseDecoder, [b"event: x\n"]) == []


# -- parts of frames that are too long ---------------------------------------------------------------------------------------


def joined(frames: list[Frame]) -> list[bytes]:
    """The data of each frame, its parts put together; fails when a part is missing, too long or out of order."""
    found: list[bytes] = []
    expected = 0
    for frame in frames:
        assert frame.part in (expected, 1 if expected == 0 else expected)
        if frame.part:
            assert 0 < len(frame.data) <= base.PART_BYTES
            assert frame.last or len(frame.data) == base.PART_BYTES
        if frame.part > 1:
            found[-1] += frame.data
        else:
            found.append(frame.data)
        expected = 0 if frame.last else frame.part + 1
    assert expected == 0
    return found


long_streams = st.lists(
    st.sampled_from(PIECES) | st.integers(0, 5 * SMALL).map(lambda size: b"data: " + b"y" * size), max_size=20
).map(b"".join)


@pytest.mark.row(23, 26)
@given(long_streams, positions)
@example(b"data: " + b"y" * 2 * SMALL + b"\n\n", [10, 20, 30, 35])
@example(b"event: " + b"y" * 5 * SMALL + b"\ndata: x\n\n", [10, 20, 30, 50])
@example(b"xdata: " + b"y" * 5 * SMALL + b"\ndata: x\n\n", [10, 20, 30, 50])
def test_parts_of_long_events_are_the_same_however_they_are_cut(stream: bytes, at: list[int]) -> None:
    with small_frames():
        at_once, in_chunks = run(SseDecoder, [stream]), run(SseDecoder, cut(stream, at))
        assert at_once == in_chunks
        assert [frame.data for frame in whatwg(stream)] == joined(at_once)[: len(whatwg(stream))]


@pytest.mark.parametrize("size", [SMALL - 1, SMALL, SMALL + 1, 2 * SMALL, 2 * SMALL + 1, 3 * SMALL])
@pytest.mark.parametrize(
    ("make", "around"),
    [
        (SseDecoder, (b"data: ", b"\n\n")),
        (NdjsonDecoder, (b"", b"\n")),
        (NdjsonDecoder, (b"", b"\r\n")),
        (BodyDecoder, (b"", b"")),
    ],
)
def test_every_part_but_the_last_is_as_long_as_a_part_may_be(
    make: Callable[[], Decoder], around: tuple[bytes, bytes], size: int
) -> None:
    payload = bytes(65 + index % 26 for index in range(size))
    with small_frames():
        for chunks in every_way(around[0] + payload + around[1]):
            frames = run(make, chunks)
            assert frames == run(make, [b"".join(chunks)])
            assert [payload] == joined(frames)
            whole = size + around[1].count(b"\r") <= SMALL  # what is held counts, until a CR is known to end the line
            assert (1 if whole else -(-size // base.PART_BYTES)) == len([frame for frame in frames if frame.data])


@pytest.mark.row(23)
def test_an_event_of_40_mb_comes_in_parts_of_4_mib() -> None:
    payload = b"0123456789abcdef" * (40 * 1000 * 1000 // 16)
    frames = run(SseDecoder, sized(b"event: big\ndata: " + payload + b"\n\ndata: next\n\n", 1 << 16))
    assert [(frame.part, frame.last) for frame in frames] == [*((number, False) for number in range(1, 10)), (10, True), (0, True)]
    assert {"big"} == {frame.event for frame in frames[:10]}
    assert [payload, b"next"] == joined(frames)


def test_a_line_of_3_mb_is_one_frame() -> None:
    payload = b'{"delta":"' + b"z" * 3_000_000 + b'"}'
    assert [Frame(payload)] == run(SseDecoder, sized(b"data: " + payload + b"\r\n\r\n", 65_521))


def test_an_endless_name_is_cut_at_the_same_place_however_it_comes() -> None:
    with small_frames(100):
        for chunks in every_way(b"event: " + b"n" * 300 + b"\ndata: a\n\n"):
            assert run(SseDecoder, chunks) == [Frame(b"a", "n" * sse.MAX_NAME_BYTES)]


@pytest.mark.row(23)
def test_an_endless_comment_takes_no_memory() -> None:
    with small_frames():
        decoder = SseDecoder()
        for _ in range(1000):
            assert decoder.feed(b": never ends") == []
        assert decoder._held <= 2 * SMALL
        assert [Frame(b"a")] == decoder.feed(b"\ndata: a\n\n")


# -- the other decoders ------------------------------------------------------------------------------------------------------

values = st.recursive(
    st.none() | st.integers(-5, 5) | st.text(max_size=8) | st.sampled_from(['"', "\\", "}", "]", '{"', '\\\\"[{']),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
objects = st.lists(st.dictionaries(st.text(max_size=4), values, max_size=3).map(orjson.dumps), max_size=6)


@given(objects, st.sampled_from([b"\n", b"\r\n", b"\n\n"]), st.booleans(), positions)
def test_a_line_of_ndjson_is_a_frame(items: list[bytes], newline: bytes, ended: bool, at: list[int]) -> None:
    body = newline.join(items) + (newline if ended else b"")
    assert [Frame(item) for item in items] == run(NdjsonDecoder, cut(body, at))


@given(objects, st.sampled_from([b",", b",\n", b"\r\n , "]), st.sampled_from([b"", b" ", b"\n"]), positions)
def test_an_object_of_a_json_array_is_a_frame(items: list[bytes], comma: bytes, space: bytes, at: list[int]) -> None:
    body = b"[" + space + comma.join(items) + space + b"]"
    assert [Frame(item) for item in items] == run(JsonArrayDecoder, cut(body, at))


def test_an_object_the_array_ends_in_is_given_out_and_marked() -> None:
    body = b'[{"a":"}\\""},{"b":[1,'
    for chunks in every_way(body):
        assert [Frame(b'{"a":"}\\""}'), Frame(b'{"b":[1,', cut=True)] == run(JsonArrayDecoder, chunks)


LOOSE: dict[str, tuple[bytes, list[bytes]]] = {  # what stands in an array's place and is no object
    "scalars": (b'[1, true ,"a, ]\\" b",null\n, {"a":1},-2.5e3]', [b"1", b"true", b'"a, ]\\" b"', b"null", b'{"a":1}', b"-2.5e3"]),
    "arrays": (b'[[1,[2]], [], {}]', [b"[1,[2]]", b"[]", b"{}"]),
    "no commas": (b'[{"a":1}{"b":2} 3 {"c":3}]', [b'{"a":1}', b'{"b":2}', b"3", b'{"c":3}']),
    "too many commas": (b"[,,1,,]", [b"1"]),
    "two arrays": (b'[{"a":1}]\n[{"b":2}]', [b'{"a":1}', b'{"b":2}']),
    "text behind": (b'[{"a":1}] \n done, bye \n', [b'{"a":1}', b"done, bye"]),
    "an object behind": (b'[{"a":1}]{"error":[1,{}]} x', [b'{"a":1}', b'{"error":[1,{}]}', b"x"]),
    "a stray bracket": (b'[{"a":1}]],{"b":2}]', [b'{"a":1}', b"],", b'{"b":2}', b"]"]),
    "a stray bracket before": (b']{"b":2}', [b"]", b'{"b":2}']),
    "a stray brace": (b'[{"a":1}},{"b":2}]', [b'{"a":1}', b"}", b'{"b":2}']),
    "white space": (b" [ \r\n ] \n", []),
    "no array": (b'{"error":{"code":500}}', [b'{"error":{"code":500}}']),
}  # fmt: skip


@pytest.mark.parametrize(("body", "expected"), LOOSE.values(), ids=LOOSE.keys())
def test_nothing_an_array_says_is_lost(body: bytes, expected: list[bytes]) -> None:
    for chunks in every_way(body):
        assert [Frame(data) for data in expected] == run(JsonArrayDecoder, chunks)


@given(st.lists(values.map(orjson.dumps), max_size=6), st.sampled_from([b",", b",\n", b"\r\n , "]), positions)
def test_an_element_of_any_kind_is_a_frame(items: list[bytes], comma: bytes, at: list[int]) -> None:
    assert [Frame(item) for item in items] == run(JsonArrayDecoder, cut(b"[" + comma.join(items) + b"]", at))


@given(st.lists(st.sampled_from([*b'[]{},"\\ \n1a']), max_size=40).map(bytes), positions)
def test_only_commas_brackets_and_white_space_between_elements_are_no_frames(body: bytes, at: list[int]) -> None:
    said, rest = b"".join(frame.data for frame in run(JsonArrayDecoder, cut(body, at))), body
    for byte in said:  # what was said stands in the body, in this order, and what is left out says nothing
        before, found, rest = rest.partition(bytes([byte]))
        assert found and not before.strip(b"[], \n")
    assert not rest.strip(b"[], \n")


def test_a_scalar_the_array_ends_in_is_given_out_and_marked() -> None:
    for chunks in every_way(b'[1, "a '):
        assert [Frame(b"1"), Frame(b'"a ', cut=True)] == run(JsonArrayDecoder, chunks)
    for chunks in every_way(b'[{"a":" '):
        assert [Frame(b'{"a":" ', cut=True)] == run(JsonArrayDecoder, chunks)


def message(payload: bytes, **headers: str) -> bytes:
    """One amazon eventstream message with string headers (`event_type` stands for `:event-type`)."""
    block = b"".join(
        bytes([len(name) + 1]) + b":" + name.replace("_", "-").encode() + b"\x07" + struct.pack(">H", len(value)) + value.encode()
        for name, value in headers.items()
    )
    prelude = struct.pack(">II", len(block) + len(payload) + 16, len(block))
    body = prelude + struct.pack(">I", binascii.crc32(prelude)) + block + payload
    return body + struct.pack(">I", binascii.crc32(body))


def test_a_message_of_an_amazon_eventstream_is_a_frame_and_the_event_it_wraps_is_taken_out() -> None:
    inner = b'{"type":"message_stop"}'
    wrapped = orjson.dumps({"bytes": base64.b64encode(inner).decode(), "p": "abc"})
    stream = message(wrapped, event_type="chunk", message_type="event") + message(b'{"a":1}', event_type="metadata")
    stream += message(b'{"message":"slow down"}', exception_type="throttlingException") + message(b"")
    expected = [Frame(inner), Frame(b'{"a":1}', "metadata"), Frame(b'{"message":"slow down"}', "throttlingException"), Frame(b"")]
    for chunks in every_way(stream):
        assert expected == run(EventStreamDecoder, chunks)


def test_eventstream_headers_of_every_type_are_passed_over() -> None:
    sizes = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}
    block = b"".join(bytes([1]) + b"h" + bytes([kind]) + b"\xff" * size for kind, size in sizes.items())
    block += b"\x01b\x06\x00\x02zz" + b"\x0b:event-type\x07\x00\x04last"
    prelude = struct.pack(">II", len(block) + 16 + 2, len(block))
    body = prelude + struct.pack(">I", binascii.crc32(prelude)) + block + b"{}"
    assert [Frame(b"{}", "last")] == run(EventStreamDecoder, [body + struct.pack(">I", binascii.crc32(body))])


def test_a_broken_eventstream_is_kept_as_it_is_from_where_it_broke() -> None:
    good, bad = message(b'{"a":1}'), b"\0\0\0\x20 this is no prelude at all, and goes on"
    for chunks in every_way(good + bad):
        assert [Frame(b'{"a":1}'), Frame(bad, cut=True)] == run(EventStreamDecoder, chunks)
    assert [Frame(good[:-1], cut=True)] == run(EventStreamDecoder, [good[:-1]])


@pytest.mark.parametrize("lengths", [(15, 0), (100, 85), (1 << 30, 0), (0, 0)])
def test_a_message_whose_lengths_cannot_be_is_broken_also_when_its_checksum_is_right(lengths: tuple[int, int]) -> None:
    prelude = struct.pack(">II", *lengths)
    bad = prelude + struct.pack(">I", binascii.crc32(prelude)) + b"x" * 120
    assert [Frame(bad, cut=True)] == run(EventStreamDecoder, [bad])


def test_a_message_whose_checksum_is_wrong_is_broken() -> None:
    bad = message(b'{"a":1}')
    bad = bad[:8] + bytes(4) + bad[12:]
    assert [Frame(bad, cut=True)] == run(EventStreamDecoder, [bad])


@given(st.binary(max_size=200), positions)
def test_a_body_is_one_frame_when_it_ends(body: bytes, at: list[int]) -> None:
    assert ([Frame(body)] if body else []) == run(BodyDecoder, cut(body, at))


# -- all of them -------------------------------------------------------------------------------------------------------------

DECODERS: list[Callable[[], Decoder]] = [SseDecoder, NdjsonDecoder, JsonArrayDecoder, EventStreamDecoder, BodyDecoder]
ODD = [*PIECES, b"[{", b"]", b"}", b'"', b"\\", b",", message(b"{}"), message(b'{"bytes":7}'), message(b"[]", x="y")[:-3]]
odd_bytes = st.lists(st.sampled_from(ODD) | st.binary(max_size=20), max_size=20).map(b"".join)


@pytest.mark.row(26)
@pytest.mark.parametrize("make", DECODERS)
@given(stream=odd_bytes, at=positions)
def test_any_cut_of_any_bytes_gives_the_same_frames(make: Callable[[], Decoder], stream: bytes, at: list[int]) -> None:
    assert run(make, [stream]) == run(make, cut(stream, at))
    with small_frames():
        assert run(make, [stream]) == run(make, cut(stream, at))


@pytest.mark.parametrize("make", DECODERS)
def test_a_decoder_that_was_closed_holds_nothing(make: Callable[[], Decoder]) -> None:
    decoder = make()
    decoder.feed(b'[{"a":1},{"b')
    decoder.close()
    assert decoder.close() == []


def _cpu_seconds(make: Callable[[], Decoder], chunks: list[bytes]) -> float:
    started = time.process_time()
    run(make, chunks)
    return time.process_time() - started


@pytest.mark.parametrize("chunk", [1, 61, 8192])
@pytest.mark.parametrize(
    ("make", "begin", "unit", "end"),
    [
        (SseDecoder, b"data: ", b"x", b"\n\n"),
        (SseDecoder, b"", b"data: x\n", b"\n"),
        (SseDecoder, b"", b"data: x\r\r", b""),
        (NdjsonDecoder, b"", b"x", b"\n"),
        (JsonArrayDecoder, b'[{"a":"', b"x", b'"}]'),
        (JsonArrayDecoder, b'[{"a":"', b"\\\\", b'"}]'),
        (EventStreamDecoder, b"", message(b"{}"), b""),
        (EventStreamDecoder, b"", b"broken from the first byte on", b""),
        (BodyDecoder, b"", b"x", b""),
    ],
)
def test_eight_times_the_bytes_take_no_more_than_three_times_eight_times_the_time(
    make: Callable[[], Decoder], begin: bytes, unit: bytes, end: bytes, chunk: int
) -> None:
    """Time of the processor, not of the clock, and the best of five tries: quadratic work (64 times) fails every one of them."""
    size = min(400_000, 20_000 * chunk)

    def stream(times: int) -> list[bytes]:
        return sized(begin + unit * (times * size // len(unit)) + end, chunk)

    ratios: list[float] = []
    for _ in range(5):
        once, eight = _cpu_seconds(make, stream(1)), _cpu_seconds(make, stream(8))
        ratios.append(eight / max(once, 0.0005))
        if ratios[-1] < 24:
            return
    pytest.fail(f"8 times the bytes took {min(ratios):.0f} times the time")


# -- which decoder -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content_type", "beginning", "expected"),
    [
        ("text/event-stream", b"", SseDecoder),
        ("Text/Event-Stream; charset=UTF-8", b"{", SseDecoder),
        ("application/x-ndjson", b"", NdjsonDecoder),
        ("application/vnd.amazon.eventstream", b"", EventStreamDecoder),
        ("", b"event: message_start\ndata: {}", SseDecoder),
        ("application/json", b"data: {}\n\n", SseDecoder),
        ("application/json", b"\xef\xbb\xbfevent: message_start", SseDecoder),
        ("text/plain", b"\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\ndata: {}\n\n", SseDecoder),
        ("application/json", b': keep-alive\n\ndata: {"a":1}', SseDecoder),
        ("application/json", b'[{"candidates": []}]', JsonArrayDecoder),
        ("application/json; charset=utf-8", b"[\n                            {", JsonArrayDecoder),
        ("application/json", b'{"type":"error"}', BodyDecoder),
        ("text/plain", b"[upstream] connection refused", BodyDecoder),
        ("application/json", b"[0.25, 0.5]", BodyDecoder),
        ("text/html", b"<html>", BodyDecoder),
        ("", b"", BodyDecoder),
    ],
)
def test_the_content_type_says_what_a_body_is_else_how_it_begins(content_type: str, beginning: bytes, expected: type) -> None:
    assert isinstance(wire.decoder_for(content_type, beginning), expected)


@given(st.sampled_from(ODD), st.binary(max_size=40))
def test_more_bytes_do_not_change_what_a_beginning_was_taken_for(beginning: bytes, more: bytes) -> None:
    if wire.Beginning().add(beginning):
        assert wire.sniff(beginning) is wire.sniff(beginning + more)
        assert wire.looks_plain(beginning) == wire.looks_plain(beginning + more)


@given(st.lists(st.sampled_from([b" ", b"\n", b"  \r\n", b"data: x", b"{", b"[", b"\x1f\x8b"]), max_size=30), positions)
def test_a_beginning_is_known_at_the_same_byte_however_it_comes(pieces: list[bytes], at: list[int]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wire, "ENOUGH", 24)
        whole, beginning, seen = b"".join(pieces), wire.Beginning(), b""
        first = next((end for end in range(len(whole) + 1) if wire.Beginning().add(whole[:end])), None)
        for chunk in cut(whole, at):
            seen += chunk
            known = beginning.add(chunk)
            assert known == (first is not None and len(seen) >= first)
            if known:
                assert wire.sniff(seen) is wire.sniff(whole)
                assert wire.looks_plain(seen) == wire.looks_plain(whole)
        assert beginning.take() == whole and not beginning


def test_white_space_is_looked_at_once_and_only_as_much_of_it_as_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at = 0

    class Counting:
        def match(self, data: bytes, at: int) -> re.Match[bytes] | None:
            nonlocal looked_at
            looked_at += len(data) - at
            return re.compile(rb"\s*").match(data, at)

    monkeypatch.setattr(wire, "WHITE", Counting())
    beginning = wire.Beginning()
    known = [beginning.add(b" ") for _ in range(wire.ENOUGH + 1000)]
    assert known.index(True) == wire.ENOUGH - 1
    assert looked_at == wire.ENOUGH
