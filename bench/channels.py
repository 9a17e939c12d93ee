"""How fast a log travels through Redis, beside what `redis-benchmark` reaches with entries of the same size; in how much memory.

    .venv/bin/python -m bench.channels [--quick] [--json] [--only ship,collect,memory]

What the figures mean: bench/README.md.
"""

import argparse
import csv
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from bench.generate import Wanted, generate
from capture.channels.entries import host_of, record_id
from capture.channels.pieces import MOST
from capture.files import FILES, LINES
from tests.redis_server import Server, server

STREAM = "bench"
CAPTURE = (sys.executable, "-m", "capture")
SECONDS = 600  # the longest that anything here may take


def records(log: Path) -> int:
    """In all three files."""
    return sum(data.count(b"\n") for name in FILES.values() for data in _pieces(log / name))


def _pieces(path: Path) -> Iterator[bytes]:
    with open(path, "rb") as file:
        while data := file.read(1 << 20):
            yield data


def flushed(running: Server) -> None:
    with running.client() as client:
        client.flushall()


# -- ship --------------------------------------------------------------------------------------------------------------------


def entry(log: Path) -> list[str]:
    """The fields of an entry of the log's mean size, as `ship` would add it."""
    with open(log / LINES, "rb") as file:
        identity = record_id("lines", file.readline()).decode()
        file.seek(0)
        sizes = [len(line) for line in file]
    return ["k", "lines", "d", "x" * (sum(sizes) // len(sizes) - 1), "id", identity, "h", host_of("0123456789ab")]


def benchmark(running: Server, fields: list[str], number: int) -> float:
    """Entries a second by redis-benchmark, one connection, as many commands at once as our transactions have."""
    flushed(running)
    words = ["redis-benchmark", "-p", str(running.port), "-c", "1", "-P", str(MOST), "-n", str(number), "--csv"]
    done = subprocess.run([*words, "XADD", STREAM, "*", *fields], capture_output=True, text=True, check=True, timeout=SECONDS)
    return float(list(csv.DictReader(done.stdout.splitlines()))[-1]["rps"])


def shipped(running: Server, log: Path) -> dict[str, float]:
    """Records a second by `capture ship --once`, as a process of its own and without its start; its peak memory."""
    flushed(running)
    shutil.rmtree(log / "shipping", ignore_errors=True)
    metrics = running.folder / "metrics.json"
    words = ("ship", f"{running.stream(STREAM)}&maxlen=0", "--dir", str(log), "--once", "--metrics", str(metrics))
    began = time.perf_counter()
    process = psutil.Popen([*CAPTURE, *words])
    peak = watched(process)
    took = time.perf_counter() - began
    said = json.loads(metrics.read_text())
    with running.client() as client:
        assert client.xlen(STREAM) == said["sent"] == records(log), "records are missing"
    return {"whole": said["sent"] / took, "rate": said["sent"] / said["uptime_seconds"], "peak": peak}


def watched(process: psutil.Popen) -> float:
    """The peak memory of a process that ends, MiB."""
    peak = 0
    while process.poll() is None:
        peak = max(peak, _memory(process))
        time.sleep(0.02)
    assert process.returncode == 0
    return peak / 2**20


def _memory(process: psutil.Popen) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.NoSuchProcess:
        return 0


def ship(folder: Path, log: Path, rounds: int) -> dict[str, Any]:
    """By turns: redis-benchmark, `capture ship`."""
    fields, number = entry(log), records(log)
    found: list[dict[str, float]] = []
    with server(folder / "ship", durable=False) as running:
        for _ in range(rounds):
            rival = benchmark(running, fields, number)
            found.append(shipped(running, log) | {"rival": rival})
    return {
        "records": number,
        "bytes_of_an_entry": sum(map(len, fields)),
        "at_once": MOST,
        "rate": median(each["rate"] for each in found),
        "whole": median(each["whole"] for each in found),
        "rival": median(each["rival"] for each in found),
        "share": median(each["rate"] / each["rival"] for each in found),
        "least": min(each["rate"] / each["rival"] for each in found),
        "most": max(each["rate"] / each["rival"] for each in found),
        "peak": max(each["peak"] for each in found),
    }


def tell_ship(found: dict[str, Any]) -> None:
    size = f"{found['records']:,} entries of {found['bytes_of_an_entry']} bytes, {found['at_once']} at once"
    print(f"ship              {found['rate']:>9,.0f} records/s   ({found['whole']:,.0f} with its start)   {size}")
    print(f"redis-benchmark   {found['rival']:>9,.0f} entries/s")
    print(f"share             {found['share']:>9.0%}             ({found['least']:.0%} … {found['most']:.0%}; goal 60%)")
    print(f"memory            {found['peak']:>9,.0f} MiB at most")


# -- collect -----------------------------------------------------------------------------------------------------------------


def collected(running: Server, to: Path, number: int) -> dict[str, float]:
    """Records a second by `capture collect --once` into an empty directory, as a process of its own; its peak memory.

    Its start is in `whole`; `rate` is without the time that a run takes which finds nothing.
    """
    words = (*CAPTURE, "collect", running.stream(STREAM), "--dir", str(to), "--once")
    with running.client() as client:
        client.xgroup_create(STREAM, "collect", "0")
    whole, peak = _timed(words)
    start, _ = _timed(words)
    assert records(to) == number, "records are missing"
    with running.client() as client:
        client.xgroup_destroy(STREAM, "collect")
    _emptied(to)
    return {"whole": number / whole, "rate": number / (whole - start), "peak": peak}


def _emptied(to: Path) -> None:
    """Its room on the disk is free. Its files stay: for half a minute ext4 makes new ones more slowly, the more were deleted."""
    for path in to.rglob("*"):
        if path.is_file():
            os.truncate(path, 0)


def _timed(words: tuple[str, ...]) -> tuple[float, float]:
    """Seconds, and the peak memory in MiB."""
    began = time.perf_counter()
    peak = watched(psutil.Popen(words, stderr=subprocess.DEVNULL))
    return time.perf_counter() - began, peak


def collect(folder: Path, log: Path, rounds: int) -> dict[str, Any]:
    """By turns: redis-benchmark adds entries, `capture collect` takes as many out of a stream."""
    fields, number = entry(log), records(log)
    found: list[dict[str, float]] = []
    with server(folder / "collect", durable=False) as running:
        for round_ in range(rounds):
            rival = benchmark(running, fields, number)
            shipped(running, log)
            found.append(collected(running, folder / f"collected-{round_}", number) | {"rival": rival})
    return {
        "records": number,
        "rate": median(each["rate"] for each in found),
        "whole": median(each["whole"] for each in found),
        "rival": median(each["rival"] for each in found),
        "share": median(each["rate"] / each["rival"] for each in found),
        "least": min(each["rate"] / each["rival"] for each in found),
        "most": max(each["rate"] / each["rival"] for each in found),
        "peak": max(each["peak"] for each in found),
    }


def tell_collect(found: dict[str, Any]) -> None:
    whole = f"({found['whole']:,.0f} with its start)"
    print(f"collect           {found['rate']:>9,.0f} records/s   {whole}   {found['records']:,} entries")
    print(f"redis-benchmark   {found['rival']:>9,.0f} entries/s")
    print(f"share             {found['share']:>9.0%}             ({found['least']:.0%} … {found['most']:.0%}; goal 60%)")
    print(f"memory            {found['peak']:>9,.0f} MiB at most")


# -- memory ------------------------------------------------------------------------------------------------------------------


def memory(folder: Path, log: Path, size: int) -> dict[str, Any]:
    """A shipper whose Redis goes away, while the log grows by `size` bytes; then comes back."""
    own = folder / "growing"
    own.mkdir(mode=0o700)
    data = (log / LINES).read_bytes()
    (own / LINES).write_bytes(data[: data.index(b"\n") + 1])
    with server(folder / "memory", durable=False) as running:
        metrics = running.folder / "metrics.json"
        words = ("ship", f"{running.stream(STREAM)}&maxlen=10000", "--dir", str(own), "--metrics", str(metrics))
        process = psutil.Popen([*CAPTURE, *words], stderr=subprocess.DEVNULL)
        try:
            _until(metrics, lambda said: said["sent"] == 1)
            before = _memory(process)
            running.kill()
            with open(own / LINES, "ab") as file:
                while file.tell() < size:
                    file.write(data)
            _until(metrics, lambda said: said["state"] == "waiting" and said["pending_bytes"] > size - len(data))
            away = _memory(process)
            running.start()
            peak = 0
            while json.loads(metrics.read_text())["pending_bytes"]:
                peak = max(peak, _memory(process))
                time.sleep(0.02)
        finally:
            process.terminate()
            process.wait()
    return {"grown_by": size, "before": before / 2**20, "away": away / 2**20, "catching_up": peak / 2**20}


def _until(metrics: Path, true: Callable[[dict[str, Any]], bool]) -> None:
    until = time.monotonic() + SECONDS
    while not (metrics.exists() and true(json.loads(metrics.read_text()))):
        assert time.monotonic() < until
        time.sleep(0.05)


def tell_memory(found: dict[str, Any]) -> None:
    print(
        f"memory of ship    {found['before']:.0f} MiB; Redis away while the log grew by {found['grown_by'] / 2**20:,.0f} MiB:",
        end=" ",
    )
    print(f"{found['away']:.0f} MiB; while it caught up: {found['catching_up']:.0f} MiB at most")


# ----------------------------------------------------------------------------------------------------------------------------


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a small log, few rounds")
    parser.add_argument("--json", action="store_true", help="for a program")
    parser.add_argument("--only", default="ship,collect,memory", help="which of them, with commas between")
    asked = parser.parse_args()
    lines, rounds, size = (150_000, 3, 256 << 20) if asked.quick else (1_000_000, 5, 1 << 30)
    with tempfile.TemporaryDirectory(prefix="bench-channels-") as name:
        folder = Path(name)
        generate(Wanted(out=folder / "log", lines=lines))
        (folder / "log").chmod(0o700)
        found: dict[str, Any] = {}
        if "ship" in asked.only:
            found["ship"] = ship(folder, folder / "log", rounds)
        if "collect" in asked.only:
            found["collect"] = collect(folder, folder / "log", rounds)
        if "memory" in asked.only:
            found["memory"] = memory(folder, folder / "log", size)
    if asked.json:
        print(json.dumps(found))
        return
    for name, tell in (("ship", tell_ship), ("collect", tell_collect), ("memory", tell_memory)):
        if name in found:
            tell(found[name])


if __name__ == "__main__":
    main()
