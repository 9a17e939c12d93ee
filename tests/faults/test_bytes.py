"""Rows 23 to 26: endless lines, odd bytes, and any cut of them."""

import hashlib
import json
from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.faults.harness import (
    CHUNKED,
    END_OF_CHUNKS,
    STOP,
    Client,
    Origin,
    Proxy,
    Step,
    chunk,
    chunked,
    event,
    head,
    named,
    whatwg,
)
from tests.faults.pulse import forget_peak

ASKED = b'{"messages":[{"role":"user","content":"hello"}]}'
MIB = 1 << 20
MOST_MEMORY = 64  # MiB above the start: the queue (at most 24), a frame of 16 and what reads it


@pytest.fixture(scope="module")
def client(shared_proxy: Proxy) -> Iterator[Client]:
    """One connection for thousands of streams."""
    with Client(shared_proxy.port) as client:
        yield client


def assert_same(proxy: Proxy, origin: Origin, client: Client, pieces: list[bytes]) -> None:
    """The client gets these bytes, and the log has what the standard says they mean."""
    url = origin.serve(chunked(pieces), "/feed")
    answer = client.ask(url, ASKED)
    stream = b"".join(pieces)
    assert (answer.body, answer.ended) == (stream, "clean")
    assert proxy.log.ended(url).heard() == named(whatwg(stream))


BLOCK = bytes(range(32, 127)) * 11_037  # 1,048,515 bytes
TRIES = 3  # where the machine had other things to do
PACE = 0.03  # seconds between two of them: 250 Mbit/s


def long_line(line: bytes, pause: float) -> Iterator[Step]:
    """A line of 100 MB, then an event."""
    yield head(CHUNKED) + (chunk(line) if line else b"")
    for _ in range(100):
        yield chunk(BLOCK)
        if pause:
            yield pause
    yield chunk(b"\n\n" + STOP)
    yield END_OF_CHUNKS


def received(proxy: Proxy, url: str) -> tuple[int, str]:
    """(bytes, SHA-256) of a body that came whole."""
    got, sha256 = 0, hashlib.sha256()
    with Client(proxy.port) as client:
        stream = client.open(url, ASKED)
        for data in stream:
            got += len(data)
            sha256.update(data)
    assert stream.ended == "clean"
    return got, sha256.hexdigest()


@pytest.mark.row(23)
@pytest.mark.parametrize("line", [b"data: ", b": ", b""], ids=["data", "comment", "field"])
def test_a_line_of_100_mb_is_on_record_in_parts_and_its_memory_is_bounded(
    proxy: Proxy, origin: Origin, line: bytes, record_property: Callable[[str, object], None]
) -> None:
    """As fast as a fast line brings it. A line that is no `data:` means nothing, so nothing of it is on record."""
    expected = hashlib.sha256(line + BLOCK * 100 + b"\n\n" + STOP).hexdigest()
    for _ in range(TRIES):
        url = origin.serve(lambda: long_line(line, PACE if line == b"data: " else PACE / 4))
        before = forget_peak(proxy)
        got, digest = received(proxy, url)
        assert (got, digest) == (len(line) + 100 * len(BLOCK) + 2 + len(STOP), expected)
        flow = proxy.log.ended(url)
        now, peak = proxy.memory()
        above, after = (peak - before) / MIB, (now - before) / MIB
        if flow.end["dropped_chunks"] == 0 and above <= MOST_MEMORY:
            break
    record_property("peak above the start", f"{above:.0f} MiB")
    record_property("most kept afterwards", f"{max(0.0, after):.0f} MiB")
    assert above <= MOST_MEMORY
    assert (flow.end["dropped_chunks"], flow.end["sha256"]) == (0, expected)
    assert (flow.end["outcome"], flow.heard()[-1].event) == ("complete", "message_stop")
    parts = flow.payloads[:-1]
    if line == b"data: ":
        assert hashlib.sha256(b"".join(parts)).digest() == hashlib.sha256(BLOCK * 100).digest()
        count = len(parts)
        assert flow.metadata("part")[:-1] == [*(str(number) for number in range(1, count)), f"{count}/{count}"]
    else:
        assert parts == []


@pytest.mark.row(23)
def test_of_a_line_that_comes_faster_than_it_can_be_recorded_each_byte_is_on_record_or_counted(
    proxy: Proxy, origin: Origin, record_property: Callable[[str, object], None]
) -> None:
    """At the speed of the loopback interface, some 6 Gbit/s."""
    url = origin.serve(lambda: long_line(b"data: ", 0))
    before = forget_peak(proxy)
    got, _ = received(proxy, url)
    flow = proxy.log.ended(url)
    above = (proxy.memory()[1] - before) / MIB
    gaps = [json.loads(said.data) for said in flow.heard() if said.event == "capture.gap"]
    dropped = sum(gap["bytes"] for gap in gaps)
    assert flow.end["wire_bytes"] + dropped == got
    assert (sum(gap["chunks"] for gap in gaps), dropped) == (flow.end["dropped_chunks"], flow.end["dropped_bytes"])
    record_property("at loopback speed: peak above the start", f"{above:.0f} MiB")
    record_property("at loopback speed: dropped and counted, of 100 MB", f"{dropped / 1e6:.0f} MB")
    assert above <= MOST_MEMORY


ODD: dict[str, bytes] = {
    # row 24: bytes that are no text
    "invalid UTF-8": b"data: \xff\xfe\x80abc\n\n",
    "half a character": b"data: \xe2\x82\n\ndata: \xac\n\n",
    "NUL": b"data: a\x00b\n\n",
    "all bytes": b"data: " + bytes(byte for byte in range(256) if byte not in (10, 13)) + b"\n\n",
    "lone surrogate, raw": b"data: \xed\xa0\x80\n\n",
    "lone surrogate, escaped": b'data: {"type":"\\ud800","x":"\\udfff"}\n\n',
    "overlong": b"data: \xc0\xaf\xe0\x80\xaf\n\n",
    "invalid name": b"event: \xff\xfe\ndata: x\n\n",
    "NUL in the name": b"event: a\x00b\ndata: x\n\n",
    "line separators that are none": "data: a\u2028b\u2029c\u0085d\x0be\x0cf\x1cg\n\n".encode(),
    # row 25: lines
    "CR": b"event: a\rdata: 1\r\rdata: 2\r\r",
    "CRLF": b"event: a\r\ndata: 1\r\n\r\ndata: 2\r\n\r\n",
    "all three": b"data: 1\rdata: 2\ndata: 3\r\n\r\n\ndata: 4\n\r\n\r\r",
    "CR then LF is one": b"data: 1\r\n\rdata: 2\n\n",
    "BOM": b"\xef\xbb\xbfdata: 1\n\n",
    "two BOMs": b"\xef\xbb\xbf\xef\xbb\xbfdata: 1\n\ndata: 2\n\n",
    "BOM later": b"data: 1\n\n\xef\xbb\xbfdata: 2\n\ndata: 3\n\n",
    "no colon": b"data\n\ndata\ndata\n\nevent\ndata: x\n\n",
    "comments": b":\n: ping\n:data: no\ndata: yes\n: again\n\n",
    "unknown fields": b"foo: bar\nDATA: no\n data: no\ndata : no\ndata: yes\nretry: 5\nretry: x\n\n",
    "empty data": b"data:\n\ndata: \n\ndata:  \n\n",
    "two spaces": b"data:  x\nevent:  y\n\n",
    "colon in the value": b"data:: a: b\n\n",
    "two names": b"event: a\nevent: b\ndata: x\n\n",
    "name without data": b"event: a\n\ndata: x\n\n",
    "name cleared": b"event: a\nevent:\ndata: x\n\n",
    "name `message`": b"event: message\ndata: x\n\n",
    "many lines": b"data: a\ndata: b\ndata:\ndata: c\n\n",
    "2 MB id": b"id: " + b"7" * 2_000_000 + b"\ndata: x\n\n",
    "2 MB name": b"data: x\nnothing: " + b"e" * 2_000_000 + b"\n\n",
    "2 MB of data": b"data: " + b"d" * 2_000_000 + b"\n\n",
    "2 MB of new lines": b"\n" * 2_000_000 + b"data: x\n\n",
    "ends inside a line": b"data: 1\n\ndata: 2",
    "ends behind a line": b"data: 1\n\ndata: 2\n",
    "ends inside CRLF": b"data: 1\r\n\r\ndata: 2\r\n\r",
    "only a BOM": b"\xef\xbb\xbf",
    "half a BOM": b"\xef\xbb",
    "DONE": b"data: [DONE]\n\n",
    "JSON over lines": b'data: {"type":\ndata: "split"}\n\n',
    "array": b"data: [1,2]\n\n",
    "number": b"data: 5\n\n",
    "type that is no text": b'data: {"type":5}\n\ndata: {"type":"","object":"o"}\n\n',
}


@pytest.mark.row(24, 25)
@pytest.mark.parametrize("name", ODD)
def test_odd_bytes_mean_what_the_standard_says(
    proxy: Proxy, origin: Origin, client: Client, name: str, record_property: Callable[[str, object], None]
) -> None:
    assert_same(proxy, origin, client, [ODD[name]])
    record_property("cases by hand", 1)


FRAGMENT = st.sampled_from(
    [
        b"data",
        b"event",
        b"id",
        b":",
        b": ",
        b" ",
        b"\n",
        b"\n",
        b"\n\n",
        b"\r",
        b"\r\n",
        b"\xef\xbb\xbf",
        b"\x00",
        b"\xff",
        b'{"type":"t"}',
    ]
)


@pytest.mark.row(24, 25)
@settings(max_examples=150, deadline=None, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
@given(pieces=st.lists(st.one_of(FRAGMENT, st.binary(max_size=8)).filter(bool), min_size=1, max_size=30))
def test_any_bytes_mean_what_the_standard_says(
    shared_proxy: Proxy, origin: Origin, client: Client, pieces: list[bytes], record_property: Callable[[str, object], None]
) -> None:
    """Each fragment comes as a chunk of its own."""
    record_property("cases generated", 1)
    assert_same(shared_proxy, origin, client, pieces)


STREAM = (
    b"\xef\xbb\xbf: hi\r\n\r\n"
    + event(0)
    + 'event: ping\rdata: {"type":"ping","text":"\u20ac \U0001f600 \u2028"}\r\r'.encode()
    + b"data: two\r\ndata:lines\r\n\r\nid: 7\nretry: 5\ndata\n\n"
    + STOP
    + b"event: cut\ndata: the stream ends in"
)


@pytest.mark.row(26)
def test_a_stream_cut_anywhere_gives_the_same_records(
    proxy: Proxy, origin: Origin, client: Client, record_property: Callable[[str, object], None]
) -> None:
    cuts = [[STREAM[:at], STREAM[at:]] for at in range(len(STREAM) + 1)]
    cuts.append([STREAM[at : at + 1] for at in range(len(STREAM))])
    urls = []
    for pieces in cuts:
        url = origin.serve(chunked(pieces), "/feed")
        assert client.ask(url, ASKED).body == STREAM
        urls.append(url)
    expected = named(whatwg(STREAM))
    assert len(expected) == 6
    different = [url for url in urls if proxy.log.ended(url).heard() != expected]
    record_property("cut points", len(cuts))
    record_property("differences", len(different))
    assert different == []
