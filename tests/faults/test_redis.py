"""Row 35 with all parts at once: agents talk through a proxy, its log is shipped as it grows, and Redis has its troubles."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from capture.files import FILES
from tests.faults.harness import Client, Origin, Proxy, until
from tests.faults.test_killed import numbered
from tests.redis_server import Server, needed, server
from tests.test_ship import STREAM, stored

pytestmark = needed
ASKED = b'{"messages":[{"role":"user","content":"go on"}]}'
STREAMS = 4
RATE = 100.0  # events a second on each


def dead(redis: Server, seconds: float) -> None:
    redis.kill()
    time.sleep(seconds)
    redis.start()


def hanging(redis: Server, seconds: float) -> None:
    redis.freeze()
    time.sleep(seconds)
    redis.thaw()


def out_of_memory(redis: Server, seconds: float) -> None:
    with redis.client() as client:
        client.config_set("maxmemory", int(client.info("memory")["used_memory"]) + 4096)
        time.sleep(seconds)
        client.config_set("maxmemory", 0)


def restarting(redis: Server, seconds: float) -> None:
    for _ in range(3):
        redis.restart()
        time.sleep(seconds / 3)


TROUBLES: tuple[Callable[[Server, float], None], ...] = (dead, hanging, out_of_memory, restarting)


@contextmanager
def shipping(directory: Path, redis: Server, metrics: Path) -> Iterator[subprocess.Popen[str]]:
    words = ["ship", redis.stream(STREAM), "--dir", str(directory), "--metrics", str(metrics)]
    process = subprocess.Popen([sys.executable, "-m", "capture", *words], stderr=subprocess.PIPE, text=True, env=os.environ)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)


@contextmanager
def talking(proxy: Proxy, origin: Origin) -> Iterator[list[float]]:
    """Agents that listen; the longest wait between two pieces, in seconds, stands in the list afterwards."""
    waits: list[float] = []
    stopping = threading.Event()

    def listen() -> None:
        with Client(proxy.port) as client:
            last, longest = time.monotonic(), 0.0
            for _ in client.open(origin.serve(lambda: numbered(rate=RATE)), ASKED):
                now = time.monotonic()
                longest, last = max(longest, now - last), now
                if stopping.is_set():
                    break
            waits.append(longest)

    threads = [threading.Thread(target=listen) for _ in range(STREAMS)]
    for thread in threads:
        thread.start()
    try:
        yield waits
    finally:
        stopping.set()
        for thread in threads:
            thread.join()


@pytest.mark.row(35)
def test_troubles_of_redis_touch_no_agent_and_no_file_and_are_caught_up_with(
    tmp_path: Path,
    confdir: Path,
    origin: Origin,
    times: Callable[[int, int], int],
    record_property: Callable[[str, object], None],
) -> None:
    metrics, seconds = tmp_path / "metrics.json", 0.6 * times(1, 10)
    proxy = Proxy(tmp_path, confdir)
    backlog, slowest = 0, 0.0

    with server(tmp_path / "redis") as redis, shipping(proxy.directory, redis, metrics) as shipper:
        with talking(proxy, origin) as waits:
            until(lambda: metrics.exists() and json.loads(metrics.read_text())["sent"], "the first records to arrive")
            for trouble in TROUBLES:
                trouble(redis, seconds)
                back, there = time.monotonic(), lines_in(proxy.directory)
                backlog = max(backlog, json.loads(metrics.read_text())["pending_bytes"])
                until(lambda there=there: shipped(redis) >= there, "all that waited to arrive")  # type: ignore[misc]
                slowest = max(slowest, time.monotonic() - back)
        proxy.end()
        assert shipper.poll() is None
        until(lambda: stored(redis) == files(proxy.directory), "the rest to arrive")
        shipper.send_signal(signal.SIGTERM)
        _, said = shipper.communicate(timeout=20)
    assert proxy.log.audit() == STREAMS
    assert proxy.log.errors() == []
    assert "Traceback" not in said
    record_property("runs", len(TROUBLES))
    record_property("longest wait of an agent for its next event (one each 10 ms), max", f"{max(waits) * 1e3:.0f} ms")
    record_property("backlog max", f"{backlog / 1e6:.2f} MB")
    record_property("caught up after, max", f"{slowest:.1f} s")
    record_property("lost or doubled", 0)


def lines_in(directory: Path) -> int:
    return sum((directory / name).read_bytes().count(b"\n") for name in FILES.values() if (directory / name).exists())


def files(directory: Path) -> dict[str, bytes]:
    return {name: (directory / name).read_bytes() for name in FILES.values()}


def shipped(redis: Server) -> int:
    with redis.client() as client:
        return int(client.xlen(STREAM))
