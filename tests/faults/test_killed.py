"""Rows 11 and 12: the proxy is killed, or told to stop, while it records."""

import random
import re
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from capture.files import LINES
from tests.faults.harness import (
    CHUNKED,
    Client,
    Origin,
    Proxy,
    Step,
    captures,
    chunk,
    event,
    head,
    until,
    whatwg,
)

STREAMS = 20
RATE = 50  # events a second on each stream: 1,000 together
LOSS = 0.100  # seconds before a kill that may be missing from the log
LONG = 300_000  # bytes of one event of the stream with long ones: a kill inside such a write leaves a torn line


def numbered(filling: int = 0, rate: float = RATE) -> Iterator[Step]:
    """An endless stream of numbered events."""
    yield head(CHUNKED)
    number = 0
    while True:
        yield chunk(event(number, filling))
        yield 1 / rate
        number += 1


class Listener:
    """A client in a thread that notes every piece it gets with the moment it got it."""

    def __init__(self, proxy: Proxy, url: str) -> None:
        self.url = url
        self.pieces: list[tuple[float, bytes]] = []
        self._client = Client(proxy.port)
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        body = b'{"messages":[{"role":"user","content":"%s"}]}' % self.url.encode()
        for data in self._client.open(self.url, body):
            self.pieces.append((time.monotonic(), data))

    def all(self) -> bytes:
        """Everything the client got, once the connection is over."""
        self._thread.join(20)
        assert not self._thread.is_alive()
        self._client.close()
        return b"".join(data for _, data in self.pieces)

    def arrivals(self) -> Iterator[tuple[float, bytes]]:
        """(when its last byte came, payload) of each whole event."""
        got, at = b"", 0
        for when, data in self.pieces:
            got += data
            while (end := got.find(b"\n\n", at)) >= 0:
                yield when, whatwg(got[at : end + 2])[0].data
                at = end + 2


def listen(proxy: Proxy, origin: Origin, streams: int, long: bool = False) -> list[Listener]:
    """Listeners that have all heard something."""
    scripts = [lambda: numbered()] * streams + ([lambda: numbered(LONG, 20)] if long else [])
    listeners = [Listener(proxy, origin.serve(script)) for script in scripts]
    until(lambda: all(listener.pieces for listener in listeners), "all streams to begin")
    return listeners


def lost(listener: Listener, recorded: Iterable[bytes], killed: float) -> tuple[int, float]:
    """(events the client had and the log has not, seconds before the kill the first of them came). The log's are a prefix."""
    arrivals, recorded = list(listener.arrivals()), list(recorded)
    payloads = [payload for _, payload in arrivals]
    whole = min(len(payloads), len(recorded))
    assert recorded[:whole] == payloads[:whole]
    missing = arrivals[whole:]
    return len(missing), (killed - missing[0][0]) if missing else 0.0


def torn_tails(proxy: Proxy, listeners: list[Listener]) -> dict[Path, int]:
    """Bytes behind the last newline of each file that has any: the central ones, and the flows' own."""
    found = {}
    own = [path for listener in listeners for flow in proxy.log.of(listener.url) for path in flow.files()]
    for path in (*proxy.directory.glob("sse_*.jsonl"), *own):
        if tail := len(last := path.read_bytes()[-2 * LONG :]) - (last.rfind(b"\n") + 1):
            found[path] = tail
    return found


def tear(*paths: Path) -> None:
    """What a kill inside a write leaves, which kills alone do too rarely (one in 378 kills)."""
    for path in paths:
        with open(path, "ab") as file:
            file.write(b'{"event":"torn","t":"2026-')


@pytest.mark.row(11)
def test_a_killed_proxy_loses_a_moment_and_its_log_is_repaired_by_the_next_start(
    tmp_path: Path, confdir: Path, origin: Origin, times: Callable[[int, int], int], record_property: Callable[[str, object], None]
) -> None:
    """SIGKILL at random moments under 1,000 events a second, one stream with long events among them."""
    proxy = Proxy(tmp_path, confdir)
    chance = random.Random(11)
    windows: list[float] = []
    kills = times(5, 200)
    events, missing, torn, unknown, seconds = 0, 0, 0, 0, 0.0
    for _ in range(kills):
        listeners = listen(proxy, origin, STREAMS, long=True)
        time.sleep(chance.uniform(0.05, 0.6))  # the random moment: nothing is waited for
        killed = time.monotonic()
        proxy.end(signal.SIGKILL)
        for listener in listeners:
            listener.all()
        tear(proxy.directory / LINES)
        for flow in proxy.log.of(listeners[0].url):
            tear(*flow.files())
        tails = torn_tails(proxy, listeners)
        torn += len(tails)
        complaints = len(proxy.log.errors())
        proxy.start()
        orphans = set()
        for listener in listeners:
            if not proxy.log.of(listener.url):  # it began just before the kill
                unknown += 1
                recorded: list[bytes] = []
            else:
                flow = proxy.log.ended(listener.url)
                assert flow.end["outcome"] == "killed"
                orphans.add(flow.record["flow_id"])
                recorded = flow.payloads
            count, window = lost(listener, recorded, killed)
            events += len(recorded)
            missing += count
            windows.append(window)
        seconds += killed - min(listener.pieces[0][0] for listener in listeners)
        assert torn_tails(proxy, listeners) == {}
        new = proxy.log.errors()[complaints:]
        repairs = [error["what"] for error in new if "torn line" in error["what"]]
        said = {what.split()[0]: int(re.findall(r"\d+", what)[-1]) for what in repairs}
        assert said == {path.name: size for path, size in tails.items()}
        assert all(path.with_name(f"{path.name}.bad").stat().st_size > size for path, size in tails.items())
        assert sorted(error["flow_id"] for error in new if error["flow_id"]) == sorted(orphans)
        assert len(new) == len(repairs) + len(orphans)
        captures(proxy, origin)
    proxy.end()
    proxy.log.audit()
    windows.sort()
    record_property("runs", kills)
    record_property("kills", kills)
    record_property("events on record", events)
    record_property("events a second", round(events / seconds))
    record_property("events lost", missing)
    record_property("flows lost whole", unknown)
    record_property("torn lines repaired", torn)
    record_property("loss window p50", f"{windows[len(windows) // 2] * 1e3:.0f} ms")
    record_property("loss window max", f"{windows[-1] * 1e3:.0f} ms")
    assert windows[-1] <= LOSS


@pytest.mark.row(12)
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_proxy_ends_every_open_flow_and_has_all_that_the_clients_got(
    tmp_path: Path,
    confdir: Path,
    origin: Origin,
    how: signal.Signals,
    times: Callable[[int, int], int],
    record_property: Callable[[str, object], None],
) -> None:
    proxy = Proxy(tmp_path, confdir)
    stops, slowest = times(1, 25), 0.0
    for _ in range(stops):
        listeners = listen(proxy, origin, STREAMS)
        time.sleep(random.Random(12).uniform(0.05, 0.3))  # a moment like any other: nothing is waited for
        seconds = proxy.end(how)
        assert seconds <= 5
        slowest = max(slowest, seconds)
        missing = 0
        for listener in listeners:
            got = listener.all()
            flow = proxy.log.ended(listener.url)
            assert flow.end["outcome"] == "stopped"
            missing += lost(listener, flow.payloads, 0.0)[0]
            assert flow.end["wire_bytes"] >= len(got)
        assert missing == 0
        proxy.start()
        assert proxy.log.errors() == []
        captures(proxy, origin)
    proxy.end()
    proxy.log.audit()
    record_property("runs", stops)
    record_property(f"stops by {how.name}", stops)
    record_property("events lost", 0)
    record_property("slowest exit", f"{slowest * 1e3:.0f} ms")
