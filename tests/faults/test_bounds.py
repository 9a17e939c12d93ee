"""Rows 29 and 30: what inflates without end, and bodies without measure, cost neither memory nor anybody's time."""

import base64
import hashlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import orjson
import pytest

from capture.files import FLOWS, LINES
from tests.cuts import sized
from tests.faults.harness import (
    CHUNKED,
    END_OF_CHUNKS,
    STOP,
    Client,
    Origin,
    Proxy,
    Step,
    ask,
    captures,
    chunk,
    chunked,
    event,
    head,
)
from tests.faults.pulse import Bare, Pulse, beating, forget_peak
from tests.test_encoding import BOMBS, bombs

ASKED = b'{"messages":[{"role":"user","content":"hello"}]}'
MIB = 1 << 20
STALL = 0.050  # seconds the event loop may be kept from its next turn
TRIES = 3  # where it was kept for longer: the machine may have other things to do, too
MEMORY = 64  # MiB above what the proxy had before


@pytest.fixture(scope="module")
def felt(tmp_path_factory: pytest.TempPathFactory, confdir: Path, origin: Origin) -> Iterator[tuple[Proxy, Pulse]]:
    """A proxy whose event loop is watched, warmed up."""
    base = tmp_path_factory.mktemp("felt")
    proxy = Proxy(base, confdir, beating(base))
    pulse = Pulse(base)
    captures(proxy, origin)
    yield proxy, pulse
    pulse.close()
    proxy.end()
    proxy.log.audit()


@pytest.mark.row(29)
@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_in_an_answer_costs_little_memory_and_nobodys_time(
    felt: tuple[Proxy, Pulse], origin: Origin, name: str, record_property: Callable[[str, object], None]
) -> None:
    """10 GiB, packed. The client gets what was sent, to the byte; an event before the bomb is on record."""
    proxy, pulse = felt
    encoding, packed = bombs()[name]

    def script() -> Iterator[Step]:
        yield head(CHUNKED, b"content-encoding: " + encoding.encode())
        yield from (chunk(piece) for piece in sized(packed, 16 << 10))
        yield END_OF_CHUNKS

    for _ in range(TRIES):
        before = forget_peak(proxy)
        pulse.longest()
        answer = ask(proxy, url := origin.serve(script), ASKED)
        assert (answer.body == packed, answer.ended) == (True, "clean")
        flow = proxy.log.ended(url)
        stall, above = pulse.longest(), (proxy.memory()[1] - before) / MIB
        if stall <= STALL:
            break
    last = flow.heard()[-1]
    said = orjson.loads(last.data)
    assert (last.event, said["reason"]) == (
        "capture.undecodable",
        "content-encoding: inflates to more than 16 MiB beyond 100 times its size",
    )
    assert 0 < said["bytes"] <= len(packed)
    assert said["sha256"] == hashlib.sha256(packed[len(packed) - said["bytes"] :]).hexdigest()
    assert flow.end["decoded_bytes"] <= 17 * MIB + 100 * len(packed)
    assert flow.end["sha256"] == hashlib.sha256(packed).hexdigest()
    captures(proxy, origin)
    record_property("bombs of 10 GiB", 1)
    record_property("inflated at most", f"{flow.end['decoded_bytes'] / MIB:.0f} MiB")
    record_property("peak above the start", f"{max(0.0, above):.0f} MiB")
    record_property("longest stall of the loop", f"{stall * 1e3:.0f} ms")
    assert above <= MEMORY
    assert stall <= STALL


@pytest.mark.row(29)
@pytest.mark.parametrize("name", ["br", "zstd", "br, many events", "gzip in br in zstd"])
def test_a_bomb_in_a_request_costs_little_memory_and_nobodys_time(
    felt: tuple[Proxy, Pulse], origin: Origin, name: str, record_property: Callable[[str, object], None]
) -> None:
    proxy, pulse = felt
    encoding, packed = bombs()[name]
    for _ in range(TRIES):
        before = forget_peak(proxy)
        pulse.longest()
        url = origin.serve([head(CHUNKED), chunk(event(0)), chunk(STOP), END_OF_CHUNKS])
        answer = ask(proxy, url, packed, headers=(("content-encoding", encoding),))
        assert (answer.status, answer.ended) == (200, "clean")
        flow = proxy.log.ended(url)
        stall, above = pulse.longest(), (proxy.memory()[1] - before) / MIB
        if stall <= STALL:
            break
    assert flow.record["request"]["type"] == "capture.undecodable"
    assert flow.record["request"]["sha256"] == hashlib.sha256(packed).hexdigest()
    assert flow.end["outcome"] == "complete"
    record_property("bombs of 10 GiB in requests", 1)
    record_property("peak above the start", f"{max(0.0, above):.0f} MiB")
    record_property("longest stall of the loop", f"{stall * 1e3:.0f} ms")
    assert above <= MEMORY
    assert stall <= STALL


# -- large requests ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory, confdir: Path) -> Iterator[Bare]:
    bare = Bare(tmp_path_factory.mktemp("bare"), confdir)
    yield bare
    bare.end()


def as_text(size: int) -> bytes:
    noise = os.urandom(size // 2).hex().encode()  # in base64 of so much noise there is something that looks like a key
    return b'{"messages":[{"role":"user","content":"hello"},{"role":"user","content":"%s"}]}' % noise


def asked(port: int, url: str, body: bytes) -> float:
    """Seconds until the answer was there."""
    with Client(port) as client:
        began = time.monotonic()
        answer = client.ask(url, body)
        seconds = time.monotonic() - began
    assert (answer.status, answer.ended) == (200, "clean")
    return seconds


@pytest.mark.row(30)
@pytest.mark.parametrize("make", [as_text, os.urandom])
def test_a_request_of_100_mb_is_sent_at_line_speed_and_stands_out_of_line(
    felt: tuple[Proxy, Pulse],
    bare: Bare,
    origin: Origin,
    make: Callable[[int], bytes],
    times: Callable[[int, int], int],
    record_property: Callable[[str, object], None],
) -> None:
    """(mitmproxy itself holds a request twice until it is answered; so does the bare one.)"""
    proxy, pulse = felt
    steps = chunked([event(0), STOP])
    added, beats, memories = list[float](), list[tuple[float, float]](), list[tuple[float, float]]()
    in_line = sum((proxy.directory / name).stat().st_size for name in (FLOWS, LINES))
    for turn in range(times(3, 5)):
        body = make(100 * MIB)  # what a session has said before is not written again
        seconds, stalls, peaks = dict[Proxy | Bare, float](), dict[Proxy | Bare, float](), dict[Proxy | Bare, float]()
        sides: tuple[Proxy | Bare, ...] = (bare, proxy) if turn % 2 else (proxy, bare)
        for side in sides:
            heart = bare.pulse if side is bare else pulse
            before = forget_peak(side)
            heart.longest()
            seconds[side] = asked(side.port, url := origin.serve(steps), body)
            if side is proxy:
                flow = proxy.log.ended(url)
            stalls[side], peaks[side] = heart.longest(), (side.memory()[1] - before) / MIB
        added.append(seconds[proxy] - seconds[bare])
        beats.append((stalls[bare], stalls[proxy]))
        memories.append((peaks[bare], peaks[proxy]))
    size = sum((proxy.directory / name).stat().st_size for name in (FLOWS, LINES)) - in_line
    assert size < 2 * MIB
    (digest,) = [digest for line in flow.lines if (digest := orjson.loads(line["metadata"]).get("sha256"))]
    kept = (proxy.directory / "bodies" / digest).read_bytes()
    text = base64.b64decode(orjson.loads(kept)["capture.base64"]) if make is os.urandom else kept
    assert len(text) >= 100 * MIB
    assert text in body
    record_property("added by the addon", f"{sorted(added)[len(added) // 2] * 1e3:.0f} ms")
    record_property("longest stall, bare", f"{max(beat for beat, _ in beats) * 1e3:.0f} ms")
    record_property("longest stall, with the addon", f"{max(beat for _, beat in beats) * 1e3:.0f} ms")
    record_property("peak above the start, bare", f"{max(peak for peak, _ in memories):.0f} MiB")
    record_property("peak above the start, with the addon", f"{max(peak for _, peak in memories):.0f} MiB")
    assert sorted(added)[len(added) // 2] <= 0.25
