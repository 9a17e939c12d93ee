"""One contract for all channels: what goes into a sink comes out of a source, byte for byte, in its order."""

import os
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from capture.channels import CHANNELS, sink_of, source_of
from capture.channels.base import Sink, Source
from capture.channels.stdio import StreamSink, StreamSource
from capture.channels.where import SCHEMES, where_of
from capture.files import Unusable
from capture.jsonl import Kind
from tests.redis_server import Server, needed, server

type Ends = Callable[[], tuple[Sink, Source]]  # a channel that nothing went through yet
type Records = list[tuple[Kind, bytes]]

NUMBERS = count()
KINDS: tuple[Kind, ...] = get_args(Kind)
LINE = st.one_of(
    st.binary(max_size=40).map(lambda data: data.replace(b"\n", b" ")),
    st.builds(
        lambda flow, number: b'{"flow_id":"%d","data_count":%d,"sid":"s"}' % (flow, number), st.integers(0, 3), st.integers(0)
    ),
)
RECORDS = st.lists(st.tuples(st.sampled_from(KINDS), LINE.map(lambda line: line + b"\n")), max_size=30)


@pytest.fixture(params=["directory", "stdio", "redis", "redis+unix", "rediss", "password"])
def ends(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ends]:
    folder = tmp_path_factory.mktemp("channel")
    if request.param == "directory":
        yield lambda: _directory(folder / f"log-{next(NUMBERS)}")
    elif request.param == "stdio":
        yield _pipe
    else:
        password = "s3:c@r/t" if request.param == "password" else ""
        with server(folder, tls=request.param == "rediss", unix=request.param == "redis+unix", password=password) as running:
            yield lambda: _redis(running)


def _directory(path: Path) -> tuple[Sink, Source]:
    return sink_of(str(path)), source_of(str(path), "start")


def _pipe() -> tuple[Sink, Source]:
    reading, writing = os.pipe()
    return StreamSink("pipe", os.fdopen(writing, "wb")), StreamSource("pipe", os.fdopen(reading, "rb"), live=True)


def _redis(running: Server) -> tuple[Sink, Source]:
    url = running.stream(f"stream-{next(NUMBERS)}")
    if running.password:
        url = url.replace("://", "://:s3%3Ac%40r%2Ft@", 1)
    return sink_of(url), source_of(url, "start")


def _taken(source: Source, records: int) -> Records:
    """What comes out of a source until there are so many records: those of each kind in their order."""
    taken: Records = []
    while len(taken) < records:
        batch = source.poll(5.0)
        assert batch
        taken += [("flows", raw) for raw in batch.flows]
        taken += [("lines", raw) for _, raw in batch.lines]
        taken += [("flow_ends", raw) for raw in batch.ends]
    return taken


def _of(kind: Kind, records: Records) -> list[bytes]:
    return [raw for each, raw in records if each == kind]


@needed
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(parts=st.lists(RECORDS, max_size=4))
def test_what_goes_in_comes_out_byte_for_byte_and_in_order(ends: Ends, parts: list[Records]) -> None:
    """Whatever the lines are, and however often they are flushed; a stream of lines has one order for all kinds."""
    sink, source = ends()
    expected = [record for part in parts for record in part]
    for part in parts:
        for kind, raw in part:
            sink.add(kind, raw)
        sink.flush()
    found = _taken(source, len(expected))
    sink.close()
    source.close()
    if isinstance(source, StreamSource):
        assert [raw for _, raw in found] == [raw for _, raw in expected]
    else:
        assert {kind: _of(kind, found) for kind in KINDS} == {kind: _of(kind, expected) for kind in KINDS}


@needed
def test_lines_of_all_sizes_pass(ends: Ends) -> None:
    sink, source = ends()
    expected: Records = [("lines", b"x" * size + b"\n") for size in (0, 1, 32767, 32768, 65536, 1 << 20, 5 << 20, 1)]
    if isinstance(source, StreamSource):
        expected = expected[:2]  # a pipe that nobody reads meanwhile holds 64 KiB
    for kind, raw in expected:
        sink.add(kind, raw)
    sink.flush()
    assert _taken(source, len(expected)) == expected
    sink.close()
    source.close()


@needed
def test_a_stream_is_read_from_now_from_its_start_or_from_a_time(tmp_path: Path) -> None:
    with server(tmp_path) as running:
        url = running.stream("s")
        sink = sink_of(url)
        sink.add("lines", b"old\n")
        sink.flush()
        sources = {start: source_of(url, start) for start in ("now", "start", "2020-01-01T00:00:00.000", "2100-01-01T00:00:00")}
        sink.add("lines", b"new\n")
        sink.flush()
        found = {start: [raw for _, raw in batch.lines] if (batch := source.poll()) else [] for start, source in sources.items()}
    assert list(found.values()) == [[b"new\n"], [b"old\n", b"new\n"], [b"old\n", b"new\n"], []]


@needed
def test_a_source_goes_on_when_the_server_is_back(tmp_path: Path) -> None:
    with server(tmp_path) as running:
        source, sink = source_of(running.stream("s"), "start"), sink_of(running.stream("s"))
        sink.add("lines", b"before\n")
        sink.flush()
        assert [raw for _, raw in _polled(source)] == [b"before\n"]
        running.kill()
        assert not source.poll()
        running.start()
        sink.add("lines", b"after\n")
        sink.flush()
        assert [raw for _, raw in _polled(source)] == [b"after\n"]


def _polled(source: Source) -> list[tuple[int, bytes]]:
    """The first lines that come."""
    while not (batch := source.poll(1.0)):
        assert batch is not None
    return batch.lines


def test_every_scheme_has_a_channel() -> None:
    assert set(CHANNELS) == {"", "-", *SCHEMES}
    with pytest.raises(Unusable, match="kafka:// is no channel: there are redis://"):
        source_of("kafka://somewhere")


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("redis://", "redis://localhost:6379/0?stream=sse-capture"),
        ("redis://host", "redis://host:6379/0?stream=sse-capture"),
        ("redis://host:1/2?stream=x", "redis://host:1/2?stream=x"),
        ("redis://[::1]:1", "redis://[::1]:1/0?stream=sse-capture"),
        ("rediss://joe:s3cret@host/1", "rediss://host:6379/1?stream=sse-capture"),
        ("redis+unix:///run/redis.sock?db=3&stream=x", "redis+unix:///run/redis.sock?db=3&stream=x"),
        ("unix+redis:///run/redis.sock", "unix+redis:///run/redis.sock?db=0&stream=sse-capture"),
    ],
)
def test_a_url_says_where(url: str, name: str) -> None:
    assert where_of(url, {}).name == name
    assert where_of(None, {"REDIS_URL": url}).name == name


def test_a_password_comes_from_the_url_or_the_environment_and_is_never_shown() -> None:
    by_url = where_of("redis://joe:s3c%40ret@host", {"REDIS_PASSWORD": "other"})
    by_environment = where_of("redis://host", {"REDIS_PASSWORD": "s3c@ret"})
    assert (by_url.arguments["username"], by_url.arguments["password"]) == ("joe", "s3c@ret")
    assert by_environment.arguments["password"] == "s3c@ret"
    assert "s3c" not in f"{by_url!r} {by_url} {by_environment!r}"


@pytest.mark.parametrize(
    "url",
    [
        "redis://joe:s3cret@host:port",
        "redis://joe:s3cret@host/name",
        "redis://joe:s3#cret@host",
        "redis://joe:3344#cret@host",
        "redis://joe:s3/cret@host",
        "redis://joe:s3?cret@host",
        "redis://joe:s3[cret@host",
        "redis://joe:s3cret@host?maxlen=many",
        "redis://joe:s3cret@host?maxlen=-1",
        "redis://joe:s3cret@host?steam=x",
        "http://joe:s3cret@host",
        "joe:s3cret@host",
        "redis+unix://",
        "",
    ],
)
def test_a_wrong_url_is_refused_in_one_line_without_its_password(url: str) -> None:
    with pytest.raises(Unusable) as refused:
        where_of(url, {})
    assert "\n" not in str(refused.value)
    assert not {word for word in ("s3", "cret", "3344") if word in str(refused.value)}
    assert "redis" in str(refused.value).lower()
