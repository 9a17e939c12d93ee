"""Mixed load through real proxies while one fault after the other is made; `tests/faults/soak_audit.py` looks at what is on record.

Two proxies with a log directory each, on one small disk where one can be mounted: `shaken` suffers every fault, `steady` all
that a process survives, so that its memory is that of one life. Agents of all kinds talk through both all the time.
"""

import itertools
import os
import random
import shutil
import signal
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from websockets.exceptions import WebSocketException

from capture.files import ENDS, FLOWS, LINES
from tests.faults.harness import (
    CHUNKED,
    END_OF_CHUNKS,
    STOP,
    Act,
    Client,
    Origin,
    Proxy,
    Step,
    case_of,
    chunk,
    event,
    free_of_listeners,
    head,
    until,
    whatwg,
)
from tests.faults.sockets import SocketOrigin, connected

AGENTS = 8  # that talk at the same time through each proxy
LONGEST = 1.6  # seconds an exchange takes when nothing is wrong: shorter than the time between two faults
STORM = 40  # exchanges at once
BIG = 2_000_000  # bytes of one frame: it goes to bodies/
BIG_SHARE = 0.01  # of the exchanges
SETTLE = 240.0  # seconds between two audits: what was audited is deleted, so that a soak may take a night
SECRET = "sk-ant-api03-" + "Zq7"  # with random letters behind it: no key that anybody has


class Got(NamedTuple):
    """The SHA-256 of one payload, and when the client had all of it (monotonic)."""

    at: float
    digest: bytes
    size: int


def got(at: float, payload: bytes) -> Got:
    return Got(at, sha256(payload).digest(), len(payload))


@dataclass(slots=True)
class Exchange:
    """What a client did and heard: what the log must say of it, at least."""

    url: str
    kind: str
    began: float
    ended: float = 0.0
    status: int = 0  # 0: the client got no answer
    how: str = ""  # the response ended: clean, truncated, reset, silent, left (by the client)
    got: list[Got] = field(default_factory=list)
    secret: str = ""  # that was in it


@dataclass(slots=True)
class Side:
    """One proxy with all that went through it."""

    proxy: Proxy
    name: str
    exchanges: list[Exchange] = field(default_factory=list)
    kills: list[float] = field(default_factory=list)  # monotonic
    stops: list[float] = field(default_factory=list)
    memory: list[tuple[float, int]] = field(default_factory=list)  # (monotonic, resident bytes), of one life
    up: threading.Event = field(default_factory=threading.Event)
    talking: int = 0  # exchanges under way


# -- load --------------------------------------------------------------------------------------------------------------------


def spread(pieces: list[bytes], seconds: float) -> Iterator[Step]:
    for piece in pieces:
        yield chunk(piece)
        yield seconds / len(pieces)


def plain(count: int, seconds: float) -> Callable[[], Iterator[Step]]:
    def script() -> Iterator[Step]:
        yield head(CHUNKED)
        yield from spread([event(number, 40) for number in range(count)], seconds)
        yield chunk(STOP) + END_OF_CHUNKS

    return script


def packed(count: int, seconds: float) -> Callable[[], Iterator[Step]]:
    def script() -> Iterator[Step]:
        packer = zlib.compressobj(wbits=31)
        events = [*(event(number, 40) for number in range(count)), STOP]
        yield head(CHUNKED, b"content-encoding: gzip")
        yield from spread([packer.compress(each) + packer.flush(zlib.Z_SYNC_FLUSH) for each in events], seconds)
        yield chunk(packer.flush()) + END_OF_CHUNKS

    return script


def in_pieces(secret: str, at: int) -> list[Step]:
    """A secret that two deltas share."""
    delta = '{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"%s"}}'
    texts = ["the key is ", secret[:at], secret[at:], " and that was it"]
    events = [b"event: content_block_delta\ndata: " + (delta % text).encode() + b"\n\n" for text in texts]
    return [head(CHUNKED), *(chunk(each) for each in events), chunk(STOP), END_OF_CHUNKS]


class Load:
    """Agents in threads; each does one exchange after the other, of random kinds, until the load stops."""

    def __init__(self, sides: list[Side], seed: int) -> None:
        self.origin, self.sockets = Origin(), SocketOrigin()
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._dead = free_of_listeners()
        self._threads = [
            threading.Thread(target=self._talk, args=(side, random.Random(seed * 1000 + number)), daemon=True)
            for number, side in enumerate(side for side in sides for _ in range(AGENTS))
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive()
        self.origin.close()
        self.sockets.close()

    def _talk(self, side: Side, chance: random.Random) -> None:
        kinds = [self._streams] * 10 + [self._packs] * 4 + [self._socket] * 3 + [self._leaves] * 3 + [self._fails] * 2
        kinds += [self._secret] * 2 + [self._reset, self._unreachable]
        while not self._stopping.is_set():
            with self._lock:
                side.talking += 1
            if side.up.is_set():
                (self._big if chance.random() < BIG_SHARE else chance.choice(kinds))(side, chance)
            with self._lock:
                side.talking -= 1
            side.up.wait(1)

    def _streams(self, side: Side, chance: random.Random) -> None:
        self.stream(side, "plain", plain(chance.randint(1, 60), chance.uniform(0.05, LONGEST)))

    def _packs(self, side: Side, chance: random.Random) -> None:
        url = self.origin.serve(packed(chance.randint(1, 40), chance.uniform(0.05, LONGEST)))
        self._hear(side, Exchange(url, "gzip", time.monotonic()), packed=True)

    def _leaves(self, side: Side, chance: random.Random) -> None:
        self.stream(side, "left", plain(60, LONGEST), leave=chance.randint(1, 20), reset=chance.random() < 0.5)

    def _fails(self, side: Side, chance: random.Random) -> None:
        body = b'{"type":"error","error":{"type":"overloaded_error"}}'
        status = chance.choice([b"429 Too Many Requests", b"500 Internal Server Error", b"529 "])
        self.stream(side, "error", lambda: [head(b"content-length: %d" % len(body), status=status) + body])

    def _secret(self, side: Side, chance: random.Random) -> None:
        letters = "".join(chance.choices("abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789", k=60))
        secret = SECRET + letters
        self.stream(side, "secret", lambda: in_pieces(secret, chance.randint(1, len(secret) - 1)), secret=secret)

    def _big(self, side: Side, chance: random.Random) -> None:
        self.stream(side, "big", lambda: [head(CHUNKED), chunk(event(0, BIG)), chunk(STOP), END_OF_CHUNKS])

    def _reset(self, side: Side, chance: random.Random) -> None:
        self.stream(side, "cut", lambda: [head(CHUNKED), *(chunk(event(number)) for number in range(9)), 0.05, Act.RESET])

    def _unreachable(self, side: Side, chance: random.Random) -> None:
        url = self.origin.serve([]).replace(str(self.origin.port), str(self._dead))
        self._hear(side, Exchange(url, "unreachable", time.monotonic()))

    def stream(
        self,
        side: Side,
        kind: str,
        script: Callable[[], Iterator[Step] | list[Step]],
        leave: int = 0,
        reset: bool = False,
        secret: str = "",
    ) -> None:
        self._hear(side, Exchange(self.origin.serve(script), kind, time.monotonic(), secret=secret), leave, reset)

    def _hear(self, side: Side, exchange: Exchange, leave: int = 0, reset: bool = False, packed: bool = False) -> None:
        """Asks, and notes what comes; `leave`: hangs up after so many events."""
        unpack = zlib.decompressobj(wbits=31).decompress if packed else bytes
        body = b'{"messages":[{"role":"user","content":"%s"}]}' % exchange.url.encode()
        rest = b""
        try:
            with Client(side.proxy.port) as client:
                stream = client.open(exchange.url, body)
                exchange.status = stream.status
                for data in stream:
                    rest = self._note(exchange, rest + unpack(data))
                    if leave and len(exchange.got) >= leave:
                        exchange.how = "left"
                        client.close(reset)
                        break
                exchange.how = exchange.how or stream.ended
        except OSError:
            exchange.how = "reset"
        self._done(side, exchange)

    def _note(self, exchange: Exchange, stream: bytes) -> bytes:
        """Notes the whole events of a stream; what is left of it. The body of an error is none."""
        *whole, rest = stream.split(b"\n\n")
        now = time.monotonic()
        exchange.got += [got(now, whatwg(each + b"\n\n")[0].data) for each in whole]
        return rest

    def _socket(self, side: Side, chance: random.Random) -> None:
        down = [
            f'{{"type":"response.output_text.delta","n":{number},"at":{time.time()}}}' for number in range(chance.randint(1, 40))
        ]
        exchange = Exchange(self.sockets.serve([*down], echo=True), "websocket", time.monotonic())
        try:
            with connected(side.proxy, exchange.url) as client:
                exchange.status = 101
                for message in itertools.chain(down, ['{"type":"ping"}']):
                    if message not in down:
                        client.send(message)
                    said = client.recv(20)
                    exchange.got.append(got(time.monotonic(), said.encode() if isinstance(said, str) else said))
                exchange.how = "left"
        except (OSError, WebSocketException, EOFError):
            exchange.how = "reset"
        self._done(side, exchange)

    def _done(self, side: Side, exchange: Exchange) -> None:
        exchange.ended = time.monotonic()
        with self._lock:
            side.exchanges.append(exchange)


# -- faults ------------------------------------------------------------------------------------------------------------------


class Soak:
    """One run: load, faults, and the memory of the steady proxy."""

    def __init__(self, base: Path, confdir: Path, seed: int, small_disk: bool) -> None:
        self.disk, self._chance, self._confdir = base, random.Random(seed), confdir
        self._aside = itertools.count(1)
        self.faults: dict[str, int] = {}  # name → how often it was made
        self.slowest_fresh = 0.0  # seconds until a stream that began after a fault was whole on record
        self.shaken, self.steady = (
            Side(Proxy(base / name, confdir, output=confdir / f"{name}.out"), name) for name in ("shaken", "steady")
        )
        self.sides = [self.shaken, self.steady]
        for side in self.sides:
            side.up.set()
        self.load = Load(self.sides, seed)
        self._kinds = [self.killed, self.stopped, self.moved, self.rotated, self.left, self.reset, self.frozen]
        self._kinds += [self.rotated_and_killed]
        self._kinds += [self.full] if small_disk else []
        self._bag: list[Callable[[], None]] = []

    def run(self, seconds: float, pause: float, audit: Callable[[Side], None]) -> None:
        """A random fault every `pause` seconds, each kind as often as the others; ends all in good order.

        `audit` is called for each side when nothing is under way through it, now and then and at the end.
        """
        watching = threading.Event()
        watcher = threading.Thread(target=self._watch, args=(watching,))
        watcher.start()
        settled, end = time.monotonic(), time.monotonic() + seconds
        try:
            while (left := end - time.monotonic()) > pause:
                time.sleep(min(pause, left))  # the load is what happens
                self._next()
                if time.monotonic() - settled > SETTLE:
                    self._settle(audit)
                    settled = time.monotonic()
        finally:
            self.load.stop()
            watching.set()
            watcher.join()
            for side in self.sides:
                side.proxy.end()
        for side in self.sides:
            audit(side)

    def _settle(self, audit: Callable[[Side], None]) -> None:
        """Audits what there is while nobody talks, and deletes it."""
        for side in self.sides:
            side.up.clear()
        for side in self.sides:
            until(lambda side=side: not side.talking, "all exchanges to end", 60)  # type: ignore[misc]
            self._fresh(side)
            time.sleep(1)  # ends of the last ones reach the files
            audit(side)
            for heard in (side.exchanges, side.kills, side.stops):
                heard.clear()
            for log in side.proxy.directory.parent.glob("log*"):
                shutil.rmtree(log)
        time.sleep(1.5)  # a proxy looks once a second whether its files still are there
        for side in self.sides:
            side.up.set()

    def _next(self) -> None:
        if not self._bag:
            self._bag = self._chance.sample(self._kinds, len(self._kinds))
        fault = self._bag.pop()
        fault()
        self.faults[fault.__name__] = self.faults.get(fault.__name__, 0) + 1
        for side in self.sides:
            self._fresh(side)

    def _fresh(self, side: Side) -> None:
        """A stream that begins after the fault is whole for its client and on record."""
        assert side.proxy.process.poll() is None, side.proxy.output()[-2000:]
        before = len(side.exchanges)
        began = time.monotonic()
        self.load.stream(side, "fresh", plain(3, 0.0))
        exchange = next(each for each in side.exchanges[before:] if each.kind == "fresh")
        assert (exchange.status, exchange.how, len(exchange.got)) == (200, "clean", 4), exchange
        until(lambda: _on_record(side.proxy.directory.parent, exchange.url), "a fresh stream to be on record")
        self.slowest_fresh = max(self.slowest_fresh, time.monotonic() - began)

    def _watch(self, stopping: threading.Event) -> None:
        while not stopping.wait(0.5):
            self.steady.memory.append((time.monotonic(), self.steady.proxy.memory()[0]))

    def killed(self) -> None:
        self._again(signal.SIGKILL, self.shaken.kills)

    def stopped(self) -> None:
        self._again(signal.SIGTERM, self.shaken.stops)

    def _again(self, how: signal.Signals, times: list[float]) -> None:
        self.shaken.up.clear()
        times.append(time.monotonic())
        self.shaken.proxy.end(how)
        self.shaken.proxy.start()
        self.shaken.up.set()

    def moved(self) -> None:
        """The whole directory is renamed away."""
        for side in self.sides:
            side.proxy.directory.rename(self._away(side.proxy.directory))

    def rotated(self) -> None:
        """One file after the other, as logrotate would without telling anybody."""
        for side in self.sides:
            for name in (LINES, FLOWS, ENDS):
                path = side.proxy.directory / name
                if path.exists():
                    path.rename(self._away(path))

    def rotated_and_killed(self) -> None:
        """Killed while flows are open whose records stand in the old file."""
        self.rotated()
        time.sleep(1.2)  # a proxy looks once a second whether its files still are there
        self.killed()

    def _away(self, path: Path) -> Path:
        return path.with_name(f"{path.name}.{next(self._aside)}")

    def left(self) -> None:
        self._storm("left", plain(60, LONGEST), leave=2, reset=True)

    def reset(self) -> None:
        self._storm("cut", lambda: [head(CHUNKED), *(chunk(event(number)) for number in range(5)), 0.1, Act.RESET])

    def _storm(self, kind: str, script: Callable[[], Iterator[Step] | list[Step]], leave: int = 0, reset: bool = False) -> None:
        threads = [
            threading.Thread(target=self.load.stream, args=(side, kind, script, leave, reset))
            for side in self.sides
            for _ in range(STORM // 2)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def frozen(self) -> None:
        for side in self.sides:
            side.proxy.process.send_signal(signal.SIGSTOP)
        time.sleep(0.8)  # nobody is served
        for side in self.sides:
            side.proxy.process.send_signal(signal.SIGCONT)

    def full(self) -> None:
        """The disk of both logs has no room for a moment."""
        ballast = self.disk / "ballast"
        with open(ballast, "wb", buffering=0) as file, suppress(OSError):
            os.posix_fallocate(file.fileno(), 0, max(1, shutil.disk_usage(self.disk).free - (8 << 20)))
            file.seek(0, os.SEEK_END)
            while file.write(b"x" * (1 << 20)):
                pass
        time.sleep(0.8)  # agents talk
        ballast.unlink()


def files(base: Path, name: str) -> list[Path]:
    """All files of a name that a proxy has written to, the ones that were renamed away as well; the oldest first."""
    found = [path for path in base.glob(f"log*/{name}*") if path.suffix != ".bad" and path.is_file()]
    return sorted(found, key=lambda path: path.stat().st_mtime_ns)


def _on_record(base: Path, url: str) -> bool:
    """Whether a flow of the case has its end on record."""
    needle = b"/%s/" % case_of(url).encode()
    lines = [line for line in _tails(base, FLOWS).splitlines() if needle in line]
    ids = [line.partition(b'"flow_id":"')[2].partition(b'"')[0] for line in lines]
    ended = _tails(base, ENDS) if ids else b""
    return any(b'"flow_id":"%s"' % flow_id in ended for flow_id in ids)


def _tails(base: Path, name: str) -> bytes:
    """The end of the two files that were written to last."""
    return b"".join(_tail(path) for path in files(base, name)[-2:])


def _tail(path: Path) -> bytes:
    with open(path, "rb") as file:
        file.seek(max(0, path.stat().st_size - (1 << 20)))
        return file.read()
