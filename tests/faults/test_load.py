"""Rows 10, 31, 32 and 33: a slow disk, large requests one after the other, a slow client, and many streams at once."""

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from statistics import median
from typing import Any

import orjson
import pytest

from bench.capture import Bench, Round, Scenario, proxy
from capture.proxy import CA_FILE
from capture.reader import LogReader
from tests.faults.harness import (
    CHUNKED,
    STOP,
    Client,
    Log,
    Origin,
    Proxy,
    Step,
    captures,
    chunk,
    chunked,
    event,
    head,
    named,
    until,
    whatwg,
)
from tests.faults.http2 import ROUNDS, Origin2, ask_all
from tests.faults.pulse import forget_peak

ASKED = b'{"messages":[{"role":"user","content":"hello"}]}'
MIB = 1 << 20
SMALL_VIEW = Path(__file__).with_name("small_view.py")


# -- row 31 ------------------------------------------------------------------------------------------------------------------


def has_ended(log: Log, url: str, count: int) -> bool:
    """Whether so many flows of a case have ended."""
    return sum(bool(flow.ends) for flow in log.of(url)) >= count


@pytest.mark.row(31)
def test_large_requests_one_after_the_other_do_not_add_up_in_mitmweb(
    tmp_path: Path,
    confdir: Path,
    origin: Origin,
    times: Callable[[int, int], int],
    record_property: Callable[[str, object], None],
) -> None:
    """5 MB each: a conversation that is sent again with every word. The first fill what mitmweb keeps to show (here 32 MiB)."""
    web = Proxy(tmp_path, confdir, ("-s", str(SMALL_VIEW)), web=True)
    count, filling = times(40, 1000), times(16, 400)  # (the heap takes some 200 of them to settle)
    history = orjson.dumps({"role": "user", "content": "0123456789abcdef" * (5 * MIB // 16)})
    url = origin.serve(chunked([event(0), STOP]))
    memory, began = list[int](), 0.0
    with Client(web.port) as client:
        for number in range(count):
            if number == filling:
                began = time.monotonic()
            body = b'{"messages":[%s,{"role":"user","content":"question %d"}]}' % (history, number)
            assert client.ask(url, body).ended == "clean"
            until(partial(has_ended, web.log, url, number + 1), "the end on record")
            memory.append(web.memory()[0])
    seconds = time.monotonic() - began
    web.end()
    assert len([end for end in LogReader(web.directory).ends() if end["outcome"] == "complete"]) == count
    later = memory[filling:]
    half = len(later) // 2
    grown = (median(later[half:]) - median(later[:half])) * 2  # over all of them
    record_property("requests of 5 MB", count)
    record_property("memory at the end", f"{memory[-1] / MIB:.0f} MiB")
    if times(0, 1):
        record_property("growth per 100 requests", f"{grown / len(later) * 100 / MIB:.1f} MiB")
        record_property(
            "slope at this pace", f"{grown / seconds * 3600 / MIB:.0f} MiB/h, {len(later) / seconds * 3600:.0f} requests/h"
        )
    assert max(memory) <= memory[0] + 160 * MIB
    assert grown <= 32 * MIB


# -- row 32 ------------------------------------------------------------------------------------------------------------------


@pytest.mark.row(32)
def test_a_client_that_reads_slowly_holds_the_server_back_and_fills_no_memory(
    tmp_path: Path,
    confdir: Path,
    origin: Origin,
    times: Callable[[int, int], int],
    record_property: Callable[[str, object], None],
) -> None:
    """200 MB wait at the server; the client takes 5 kB a second, and leaves."""
    slow = Proxy(tmp_path, confdir)
    captures(slow, origin)
    block, sent = event(0, 100_000), [0]

    def script() -> Iterator[Step]:
        yield head(CHUNKED)
        for _ in range(2000):
            yield chunk(block)
            sent[0] += len(block)

    url = origin.serve(script)
    before = forget_peak(slow)
    with socket.create_connection(("127.0.0.1", slow.port), 20) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 10)
        host = url.split("/")[2]
        connection.sendall(f"POST {url} HTTP/1.1\r\nhost: {host}\r\ncontent-length: {len(ASKED)}\r\n\r\n".encode() + ASKED)
        got, seconds, held = 0, times(2, 30), list[int]()
        for _ in range(seconds * 5):
            got += len(connection.recv(1000))
            time.sleep(0.2)  # the fault itself
            held.append(sent[0])
    flow = slow.log.ended(url)
    peak = slow.memory()[1] - before
    slow.end()
    assert flow.end["outcome"] == "client_closed"
    assert flow.end["dropped_chunks"] == 0
    assert len(set(held[len(held) // 2 :])) <= 2  # nothing more goes out but what a buffer let in
    record_property("seconds at 5 kB a second", seconds)
    record_property("taken from the server, of 200 MB", f"{held[-1] / MIB:.1f} MiB")
    record_property("peak above the start", f"{peak / MIB:.0f} MiB")
    assert peak <= 64 * MIB


# -- rows 33 and 10: beside a bare proxy -------------------------------------------------------------------------------------

ADDON = "import sys\nsys.path.insert(0, {root!r})\nfrom addon.sse_logger import addons as addons\n"
SLOW_WRITE = 0.5  # seconds
FLAT_OUT = 10_000  # events of all streams together
SLOW_DISK = (
    ADDON
    + """
import os, threading, time

def slow(descriptor, data, write=os.write):
    if threading.current_thread().name == "sse-capture recorder":
        time.sleep({slow})
    return write(descriptor, data)

os.write = slow
"""
)


P99, LONGEST = 10.0, 50.0  # milliseconds that the addon may add
AGAIN = 3  # pairs more where one was disturbed


@dataclass(slots=True)
class Found:
    """Rounds of a load on a bare proxy and on one with the addon, by turns."""

    pairs: list[tuple[Round, Round]]
    events: int  # sent through the one with the addon

    def added(self, figure: str) -> float:
        """Milliseconds that the addon adds to a latency: the median of the pairs' differences."""
        added: float = median(getattr(full, figure) - getattr(bare, figure) for bare, full in self.pairs)
        return added

    @property
    def held(self) -> bool:
        """Whether nobody was delayed, in most of the pairs or (where the machine has other things to do) in the first or last."""
        pairs = [(full.p99 - bare.p99, full.longest - bare.longest) for bare, full in self.pairs]
        kept = [p99 <= P99 and longest <= LONGEST for p99, longest in pairs]
        return kept[0] or kept[-1] or sum(kept) * 2 > len(kept)


@contextmanager
def beside(folder: Path, addon: str) -> Iterator[Callable[[int, float | None, float, int], Found]]:
    """`load(streams, events a second, seconds, pairs)`: each event that the client got is on record afterwards, in its place."""
    bench = Bench(folder, streams=0, seconds=0, against=None)
    script = bench._code / "addon" / "beside.py"
    script.write_text(addon.format(root=str(bench._code), slow=SLOW_WRITE))
    with closing(bench), proxy(bench._code / "bench" / "noop.py", folder) as bare, proxy(script, folder) as full:

        def load(streams: int, rate: float | None, seconds: float, pairs: int) -> Found:
            bench._streams = streams
            scenario, found = Scenario(False, rate and rate / streams), Found([], 0)
            events = round(rate * seconds / streams) if rate else FLAT_OUT // max(100, streams)
            sent: dict[str, list[Any]] = {}
            while len(found.pairs) < pairs or (rate and not found.held and len(found.pairs) < pairs + AGAIN):
                rounds = dict[int, Round]()
                for side in (bare, full) if len(found.pairs) % 2 else (full, bare):
                    rounds[side.port] = bench.round(side, scenario, events, sent if side is full else {})
                found.pairs.append((rounds[bare.port], rounds[full.port]))
            until(lambda: not lost(full.log, sent), "all events to be on record")
            found.events = sum(lines for lines, _ in sent.values())
            return found

        load(4, None, 0, 1)  # to warm up
        yield load


def lost(log: Path, sent: dict[str, list[Any]]) -> list[str]:
    """Streams that are not, or not yet, on record as the client got them."""
    payloads: dict[str, list[bytes]] = {sid: [] for sid in sent}
    for record in LogReader(log).lines():
        if record["sid"] in sent and not record["event"].startswith("request."):
            payloads[record["sid"]].append(record["line"].removeprefix("data: ").encode() + b"\n")
    return [sid for sid, (_, digest) in sent.items() if sha256(b"".join(payloads[sid])).hexdigest() != digest]


@pytest.mark.row(10)
def test_on_a_disk_that_takes_half_a_second_for_each_write_no_client_waits(
    tmp_path: Path, times: Callable[[int, int], int], record_property: Callable[[str, object], None]
) -> None:
    with beside(tmp_path, SLOW_DISK) as load:
        found = load(4, 200, times(1, 5), times(1, 5))
    record_property("events a second", 200)
    record_property("added p99", f"{found.added('p99'):+.1f} ms")
    record_property("added max", f"{found.added('longest'):+.1f} ms")
    record_property("events missing from the log", 0)
    assert found.held


@pytest.mark.row(33)
def test_many_streams_at_once_are_recorded_whole_and_not_delayed(
    tmp_path: Path, times: Callable[[int, int], int], record_property: Callable[[str, object], None]
) -> None:
    """500 streams: 10,000 events as fast as they are taken. 50 streams: 1,000 events a second."""
    with beside(tmp_path, ADDON) as load:
        flat = load(500, None, 0, 1)
        found = load(times(50, 500), 1000, times(1, 2), times(1, 3))
    (bare, full), *_ = flat.pairs
    record_property("streams at once", 500)
    record_property("events a second flat out, bare", round(flat.events / bare.seconds))
    record_property("events a second flat out, with the addon", round(flat.events / full.seconds))
    record_property("added p99 at 1,000 events a second", f"{found.added('p99'):+.1f} ms")
    record_property("added max at 1,000 events a second", f"{found.added('longest'):+.1f} ms")
    record_property("events on record", flat.events + found.events)
    record_property("events missing from the log", 0)
    assert found.held


LADDER = (500, 1000, 2000, 3000, 4000, 6000)  # events a second


@pytest.mark.row(33)
def test_at_the_pace_of_fifty_busy_agents_nobody_waits_for_the_recorder(
    tmp_path: Path, times: Callable[[int, int], int], record_property: Callable[[str, object], None]
) -> None:
    """Up to the highest pace at which that is so."""
    if not times(0, 1):
        pytest.skip("with --long only: it takes a minute")
    best = 0
    with beside(tmp_path, ADDON) as load:
        for rate in LADDER:
            found = load(50, rate, 2.0, 1)
            if not found.held:
                break
            best = rate
    record_property("events a second at which nobody waits", best)
    assert best >= LADDER[0]


@pytest.mark.row(33)
def test_a_hundred_streams_on_one_http2_connection_are_recorded_whole(
    tmp_path: Path, confdir: Path, record_property: Callable[[str, object], None]
) -> None:
    one = Proxy(tmp_path / "proxy", confdir)
    origin = Origin2(tmp_path, 100)
    try:
        urls = origin.urls()
        heard = ask_all(one, confdir / CA_FILE, urls, ASKED, lambda: None, origin)
        assert {(each.status, each.ended) for each in heard} == {("200", "clean")}
        assert origin.connections == 1
        for url, each in zip(urls, heard, strict=True):
            flow = one.log.ended(url)
            assert flow.heard() == named(whatwg(each.body))
            assert len(flow.heard()) == ROUNDS + 1
    finally:
        origin.close()
        one.end()
    record_property("HTTP/2 streams on one connection", len(heard))
    record_property("of them exact", len(heard))
