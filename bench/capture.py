"""What recording costs: mitmdump with addon/sse_logger.py against mitmdump with a stream callback that does nothing.

    .venv/bin/python bench/capture.py [--quick] [--seconds N] [--pairs N] [--streams N] [--rate N] [--against DIR] [--json]

`--against`: against the addon of another checkout, to see what a change costs.

Both proxies run side by side and get the same load by turns (A B, B A, A B …), so that what else the machine does hits both.
What the figures mean: bench/README.md.
"""

import argparse
import asyncio
import json
import os
import platform
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[0] = str(ROOT)  # run as a file, this folder would hide the package `capture` behind this file

import psutil  # noqa: E402
from mitmproxy.test import taddons  # noqa: E402

from addon.recording import Recording  # noqa: E402
from addon.sse_logger import SseLogger  # noqa: E402
from capture.proxy import SAFE_OPTIONS  # noqa: E402
from capture.reader import LogReader  # noqa: E402
from capture.recorder import INLINE_LIMIT, Closed, Opened, Stamp  # noqa: E402
from capture.redact import Redactor  # noqa: E402
from capture.store import LogWriter  # noqa: E402

SCRIPTS = ("bench/noop.py", "addon/sse_logger.py")
FLAT_OUT = 400  # events of each stream in a flat out round: about a second
IDLE = 0.2  # seconds: a proxy that used under 1 % of them has nothing more to do for a round
START_TIMEOUT = 30.0  # seconds for a proxy to listen
PATIENCE = 60.0  # seconds over what a step should take
TAP_CALLS = 4000
TAP_RATE = 2500  # calls a second: 50 streams of 50 events
GOAL_CPU, GOAL_CALL = 15.0, 5.0  # percent, microseconds
GOAL_MORE = 5.0  # percent over an earlier version, for what has come since


@dataclass(frozen=True, slots=True)
class Scenario:
    tls: bool
    rate: float | None  # events a second of each stream; None: as fast as they are taken

    @property
    def name(self) -> str:
        return f"{'TLS' if self.tls else 'plain'} {f'{self.rate:g}/s' if self.rate else 'flat out'}"


@dataclass(frozen=True, slots=True)
class Round:
    """One load on one proxy."""

    cpu: float  # microseconds of the proxy's processor time per event
    seconds: float
    p50: float  # latency, milliseconds
    p99: float
    longest: float


@dataclass(slots=True)
class Side:
    """One proxy: with the addon, or with the callback that does nothing."""

    port: int
    process: psutil.Process
    log: Path
    settled: int = 0  # bytes of memory after the warm-up
    ended: int = 0  # and after the last round


class Failed(Exception):
    """The measurement could not be made."""


class Worker:
    """A process that takes orders and answers in JSON lines."""

    def __init__(self, *command: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.load", *command], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def order(self, **order: Any) -> None:
        assert self._process.stdin
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        self._process.stdin.flush()

    def answer(self, within: float = PATIENCE) -> dict[str, Any]:
        assert self._process.stdout
        alarm = threading.Timer(within, self._process.kill)
        alarm.start()
        line = self._process.stdout.readline()
        alarm.cancel()
        if not line:
            raise Failed(f"the streams did not get through within {within:.0f} s")
        facts: dict[str, Any] = json.loads(line)
        return facts

    def close(self) -> None:
        end(self._process)


def end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextmanager
def proxy(script: Path, folder: Path) -> Iterator[Side]:
    """A mitmdump with one addon, all it writes under `folder`."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    log = folder / f"log-{script.stem}-{port}"
    options = dict(SAFE_OPTIONS, listen_port=str(port), confdir=str(folder / "conf"), ssl_insecure="true")
    settings = [word for name, value in options.items() for word in ("--set", f"{name}={value}")]
    environment = dict(os.environ, XDG_STATE_HOME=str(folder / "state"), SSE_LOG_DIR=str(log))
    said = folder / f"said-{port}"
    with open(said, "wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", "from mitmproxy.tools.main import mitmdump; mitmdump()", "-q", *settings, "-s", str(script)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environment,
        )
    try:
        deadline = time.monotonic() + START_TIMEOUT
        while not listening(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise Failed(f"{script.name} did not start: {said.read_text()}")
            time.sleep(0.05)
        yield Side(port, psutil.Process(process.pid), log)
    finally:
        end(process)


def processor_seconds(process: psutil.Process) -> float:
    """What a process has used so far, user and system together."""
    if sys.platform == "linux":  # clock_getcpuclockid(3): nanoseconds, where cpu_times counts in ticks of 10 ms
        return time.clock_gettime(~process.pid << 3 | 2)
    times = process.cpu_times()
    return float(times.user + times.system)


def settle(process: psutil.Process) -> None:
    """Waits until a process has nothing to do."""
    used, deadline = -1.0, time.monotonic() + PATIENCE
    while (now := processor_seconds(process)) - used > IDLE / 100:
        if time.monotonic() > deadline:
            raise Failed("a proxy does not come to rest")
        used = now
        time.sleep(IDLE)


def listening(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True
    except OSError:
        return False


def certificate(folder: Path) -> Path:
    """A self-signed certificate for 127.0.0.1 and its key, in one file."""
    from ipaddress import IPv4Address

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), False)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path = folder / "origin.pem"
    path.touch(0o600)
    path.write_bytes(secret + built.public_bytes(serialization.Encoding.PEM))
    return path


class Bench:
    """Origin, client, and what they say."""

    def __init__(self, folder: Path, streams: int, seconds: float, against: Path | None) -> None:
        self._folder = folder
        self._streams = streams
        self._seconds = seconds
        self._code = folder / "code"  # a copy: mitmproxy reloads a script that somebody edits
        for part in ("addon", "bench", "capture"):
            shutil.copytree(ROOT / part, self._code / part)
        self._scripts = [self._code / script for script in SCRIPTS]
        if against:
            for part in ("addon", "capture"):
                shutil.copytree(against / part, folder / "before" / part)
            self._scripts[0] = folder / "before" / SCRIPTS[1]
        self._origin = Worker("origin", str(certificate(folder)))
        self._client = Worker("client")
        self._ports = self._origin.answer()
        self._rounds = 0

    def close(self) -> None:
        self._client.close()
        self._origin.close()

    def pair(self, scenarios: list[Scenario], turn: int) -> tuple[list[tuple[Round, Round]], int, Side, Side]:
        """All scenarios once on two fresh proxies: (no-op, addon) of each, lines lost, the two sides."""
        with ExitStack() as stack:
            noop, addon = (stack.enter_context(proxy(script, self._folder)) for script in self._scripts)
            sent: dict[str, list[Any]] = {}
            for side in (noop, addon):
                for tls in (False, True):
                    self.round(side, Scenario(tls, None), 40, sent if side is addon else {})
                side.settled = side.process.memory_info().rss
            found = []
            for number, scenario in enumerate(scenarios):
                events = round(scenario.rate * self._seconds) if scenario.rate else FLAT_OUT
                order = (noop, addon) if (turn + number) % 2 == 0 else (addon, noop)
                got = [(side is addon, self.round(side, scenario, events, sent if side is addon else {})) for side in order]
                found.append((dict(got)[False], dict(got)[True]))
            for side in (noop, addon):
                side.ended = side.process.memory_info().rss
        return found, lost(addon.log, sent), noop, addon

    def round(self, side: Side, scenario: Scenario, events: int, sent: dict[str, list[Any]]) -> Round:
        self._rounds += 1
        self._client.order(
            proxy=side.port,
            origin=self._ports["tls" if scenario.tls else "plain"],
            tls=scenario.tls,
            streams=self._streams,
            events=events,
            name=f"bench-{self._rounds}",
        )
        self._client.answer()
        settle(side.process)
        before, started = processor_seconds(side.process), time.monotonic()
        self._origin.order(order="go", events=events, rate=scenario.rate)
        self._client.answer(PATIENCE + (events / scenario.rate if scenario.rate else 0))
        seconds = time.monotonic() - started
        settle(side.process)
        used = processor_seconds(side.process) - before
        self._origin.order(order="end")
        heard = self._client.answer()
        sent.update(heard["sessions"])
        latencies = sorted(heard["latencies"])
        if len(latencies) != events * self._streams:
            raise Failed(f"the client got {len(latencies)} of {events * self._streams} events")
        return Round(
            cpu=used / len(latencies) * 1e6,
            seconds=seconds,
            p50=latencies[len(latencies) // 2] / 1000,
            p99=latencies[len(latencies) * 99 // 100] / 1000,
            longest=latencies[-1] / 1000,
        )


def lost(log: Path, sent: dict[str, list[Any]]) -> int:
    """Lines that the client got and the log does not have, or not the same, or not in their place."""
    payloads: dict[str, list[bytes]] = {sid: [] for sid in sent}
    for record in LogReader(log).lines():
        if not record["event"].startswith("request."):
            payloads.setdefault(record["sid"], []).append(record["line"].removeprefix("data: ").encode())
    missing = 0
    for sid, (lines, digest) in sent.items():
        got = payloads[sid]
        if sha256(b"".join(payload + b"\n" for payload in got)).hexdigest() != digest:
            missing += max(1, lines - len(got))
    return missing


async def tap_calls(folder: Path) -> list[float]:
    """Microseconds of each call of the real tap with a real recording behind it, called at the pace of 50 busy streams."""
    with taddons.context():  # type: ignore[no-untyped-call]
        logger = SseLogger()
        writer = LogWriter(folder / "log-tap", {})
        logger.recording = recording = Recording(writer, Redactor(b"bench"), INLINE_LIMIT, lambda flow_id, text: None)
        stamp = Stamp(time.time(), time.monotonic())
        headers = (("content-type", "text/event-stream"),)
        facts = Opened("tap", stamp, "POST", "http://127.0.0.1/v1/messages", (), b"{}", "127.0.0.1", 200, headers)
        recording.opened(facts.flow_id, lambda: facts, "", stamp)
        tap = logger._tap("tap")
        chunk = b'event: content_block_delta\ndata: {"type":"content_block_delta","delta":{"text":"%s"}}\n\n' % (b"word " * 20)
        calls = []
        for _ in range(TAP_CALLS):
            time.sleep(1 / TAP_RATE)
            before = time.perf_counter_ns()
            tap(chunk)
            calls.append((time.perf_counter_ns() - before) / 1000)
        recording.closed("tap", Closed.CLEANLY, stamp)
        recording.stop(Stamp(time.time(), time.monotonic()))
    if sum(record["flow_id"] == "tap" for record in LogReader(folder / "log-tap").lines()) < TAP_CALLS:
        raise Failed("the tap did not record what it was given")
    return sorted(calls)


# -- what is said ------------------------------------------------------------------------------------------------------------


def summary(pairs: list[tuple[Round, Round]]) -> dict[str, Any]:
    """Medians over the pairs; what is added is the median of the pairs' differences (or ratios), with the least and the most."""
    added = sorted((addon.cpu / noop.cpu - 1) * 100 for noop, addon in pairs)
    figures: dict[str, Any] = {"cpu_added_percent": {"median": median(added), "min": added[0], "max": added[-1]}}
    for name in ("cpu", "p50", "p99", "longest", "seconds"):
        bare = [getattr(noop, name) for noop, _ in pairs]
        full = [getattr(addon, name) for _, addon in pairs]
        more = sorted(b - a for a, b in zip(bare, full, strict=True))
        figures[name] = {
            "noop": median(bare),
            "addon": median(full),
            "added": median(more),
            "added_min": more[0],
            "added_max": more[-1],
        }
    return figures


def show(report: dict[str, Any]) -> None:
    print(
        f"{report['streams']} streams · {report['pairs']} pairs · {report['machine']} · load before {report['load'][0]:.1f},"
        f" after {report['load'][1]:.1f}"
    )
    goal = GOAL_MORE if report["against"] == "before" else GOAL_CPU
    print(f"\n{'':34}{report['against']:>9}{'addon':>9}{'added':>10}  {'(least … most)':20}goal")
    for name, figures in report["scenarios"].items():
        ratio = figures["cpu_added_percent"]
        rated = name.endswith("/s")
        print(
            f"{name + ' · CPU µs/event':34}{figures['cpu']['noop']:9.1f}{figures['cpu']['addon']:9.1f}{ratio['median']:+9.1f}%"
            f"  {f'({ratio["min"]:+.1f} … {ratio["max"]:+.1f} %)':20}{f'≤ +{goal:.0f} %' if rated else '-'}"
        )
        for key, title in (("p50", "latency p50 ms"), ("p99", "latency p99 ms"), ("longest", "latency max ms")):
            value = figures[key]
            print(
                f"{'  ' + title:34}{value['noop']:9.2f}{value['addon']:9.2f}{value['added']:+10.2f}"
                f"  {f'({value["added_min"]:+.2f} … {value["added_max"]:+.2f})':20}-"
            )
    memory = report["memory_mb"]
    print(f"{'memory at the end MB':34}{memory['noop']:9.1f}{memory['addon']:9.1f}{memory['addon'] - memory['noop']:+10.1f}")
    print(f"{'  grown since the warm-up MB':34}{memory['noop_grown']:9.1f}{memory['addon_grown']:9.1f}")
    tap = report["tap_us"]
    print(f"{'tap callback µs (median)':34}{'':9}{tap['median']:9.2f}{'':10}  {f'(p99 {tap["p99"]:.1f})':20}≤ {GOAL_CALL:.0f} µs")
    print(f"{'lines lost or changed':34}{'':9}{report['lines_lost']:9d}{'':10}  {f'(of {report["lines"]})':20}0")


def measure(options: argparse.Namespace) -> dict[str, Any]:
    scenarios = [Scenario(tls, rate) for tls in (False, True) for rate in (options.rate, None)]
    load = [os.getloadavg()[0]]
    with tempfile.TemporaryDirectory(prefix="sse-capture-bench-") as name, ExitStack() as stack:
        folder = Path(name)
        calls = asyncio.run(tap_calls(folder))
        bench = Bench(folder, options.streams, options.seconds, options.against)
        stack.callback(bench.close)
        results = []
        for turn in range(options.pairs):
            print(f"pair {turn + 1} of {options.pairs} …", file=sys.stderr)
            results.append(bench.pair(scenarios, turn))
    load.append(os.getloadavg()[0])
    sides = [(noop, addon) for _, _, noop, addon in results]
    events = sum((round(scenario.rate * options.seconds) if scenario.rate else FLAT_OUT) for scenario in scenarios)
    return {
        "streams": options.streams,
        "seconds": options.seconds,
        "pairs": options.pairs,
        "against": "before" if options.against else "no-op",
        "machine": f"Python {platform.python_version()}, {os.cpu_count()} CPUs",
        "load": load,
        "scenarios": {
            scenario.name: {
                **summary([found[number] for found, *_ in results]),
                "rounds": [[asdict(round) for round in found[number]] for found, *_ in results],
            }
            for number, scenario in enumerate(scenarios)
        },
        "memory_mb": {
            "noop": median(noop.ended for noop, _ in sides) / 1e6,
            "addon": median(addon.ended for _, addon in sides) / 1e6,
            "noop_grown": median(noop.ended - noop.settled for noop, _ in sides) / 1e6,
            "addon_grown": median(addon.ended - addon.settled for _, addon in sides) / 1e6,
        },
        "tap_us": {"median": median(calls), "p99": calls[len(calls) * 99 // 100]},
        "lines": events * options.streams * options.pairs,
        "lines_lost": sum(missing for _, missing, *_ in results),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="What recording costs, against mitmdump with a callback that does nothing.")
    parser.add_argument("--seconds", type=float, default=10.0, help="length of a round at the given rate (default 10)")
    parser.add_argument("--pairs", type=int, default=5, help="times both proxies are started and measured (default 5)")
    parser.add_argument("--streams", type=int, default=50, help="at the same time (default 50)")
    parser.add_argument("--rate", type=float, default=50.0, help="events a second of each stream (default 50)")
    parser.add_argument("--quick", action="store_true", help="2 pairs of 2 seconds: under a minute, for a first look")
    parser.add_argument("--against", type=Path, metavar="DIR", help="another checkout, whose addon stands in for the no-op")
    parser.add_argument("--json", action="store_true", help="all figures as JSON on stdout")
    options = parser.parse_args()
    if options.quick:
        options.seconds, options.pairs = 2.0, 2
    if min(options.seconds, options.pairs, options.streams, options.rate) <= 0:
        parser.error("--seconds, --pairs, --streams and --rate must be more than 0")
    if options.against and not (options.against / SCRIPTS[1]).is_file():
        parser.error(f"{options.against} has no {SCRIPTS[1]}: name a checkout of this project")
    try:
        report = measure(options)
    except Failed as problem:
        sys.exit(f"bench: {problem}")
    if options.json:
        print(json.dumps(report))
    else:
        show(report)


if __name__ == "__main__":
    main()
