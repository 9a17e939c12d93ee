"""The two ends of a measurement, each a process of its own: an origin that sends streams, a client that reads them.

    python -m bench.load origin CERTIFICATE     python -m bench.load client

Both take orders as JSON lines on stdin and answer as JSON lines on stdout. One round: the client opens all streams and says
`ready`; the origin is told `go` and sends its events, numbered and stamped with the monotonic clock of this machine; the
client says `received`; the origin is told `end`; the client says what it heard.
"""

import asyncio
import hashlib
import json
import ssl
import sys
import time
from collections.abc import AsyncIterator
from typing import Any

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"
START = (
    b'event: message_start\ndata: {"type":"message_start","message":{"id":"msg_1","model":"bench","usage":{"input_tokens":9}}}\n\n'
)
STOP = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
DELTA = (
    b"event: content_block_delta\n"
    b'data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"%s"},"n":%d,"ns":%d}\n\n'
)
TEXT = (
    b"The recorder keeps what the model said, in the order in which it said it, and hands every chunk on before it looks at it. "
    * 2
)
REQUEST = (
    b"POST %s HTTP/1.1\r\nhost: %s\r\nuser-agent: claude-cli/2.1.329 (external, cli)\r\n"
    b"x-api-key: sk-ant-api03-bench-0123456789abcdef\r\n"
    b"x-claude-code-session-id: %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s"
)
BODY = b'{"model":"bench","stream":true,"max_tokens":1000,"messages":[{"role":"user","content":"Say something, %s."}]}'


async def orders() -> AsyncIterator[dict[str, Any]]:
    """What stdin says, until it is closed."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    async for line in reader:
        yield json.loads(line)


def answer(**facts: Any) -> None:
    print(json.dumps(facts), flush=True)


# -- origin ------------------------------------------------------------------------------------------------------------------


class Origin:
    """Streams that all begin, send and end together."""

    def __init__(self) -> None:
        self._start_afresh()

    def _start_afresh(self) -> None:
        self._go: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._end = asyncio.Event()
        self._streams = 0

    async def run(self, certificate: str) -> None:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(certificate)
        servers = [await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=context, backlog=1000) for context in (None, tls)]
        plain, secure = (server.sockets[0].getsockname()[1] for server in servers)
        answer(plain=plain, tls=secure)
        async for order in orders():
            if order.pop("order") == "go":
                self._go.set_result(order)
            else:
                self._end.set()
                self._start_afresh()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        go, end, number = self._go, self._end, self._streams
        self._streams += 1
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]))
        writer.write(HEAD + chunked(START))
        order = await asyncio.shield(go)
        await send(writer, order["events"], order["rate"], number / self._streams)
        await end.wait()
        writer.write(chunked(STOP) + b"0\r\n\r\n")
        await writer.drain()
        writer.close()


async def send(writer: asyncio.StreamWriter, events: int, rate: float | None, phase: float) -> None:
    """Numbered events: `rate` a second, the first after `phase` of an interval; without a rate as fast as they are taken."""
    loop = asyncio.get_running_loop()
    start = loop.time() + phase / (rate or 1)
    for number in range(events):
        if rate:
            await asyncio.sleep(max(0.0, start + number / rate - loop.time()))
        else:
            await asyncio.sleep(0)  # the other streams' turn
        first = number * 7 % 100
        writer.write(chunked(DELTA % (TEXT[first : first + 5 + number * 13 % 90], number, time.monotonic_ns())))
        await writer.drain()


def chunked(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


# -- client ------------------------------------------------------------------------------------------------------------------


class Heard:
    """One stream as the client got it."""

    def __init__(self) -> None:
        self._rest = b""
        self._event = b""
        self.ended = False
        self.lines = 0
        self.sha256 = hashlib.sha256()  # of all payloads, each with a newline
        self.latencies: list[int] = []  # microseconds from sent to received, of each numbered event

    def feed(self, data: bytes, now: int) -> None:
        data, at = self._rest + data, 0
        while (end := data.find(b"\r\n", at)) > 0:
            start, stop = end + 2, end + 2 + int(data[at:end], 16)
            if len(data) < stop + 2:
                break
            self._event += data[start:stop]
            self.ended = start == stop
            at = stop + 2
        self._rest = data[at:]
        *events, self._event = self._event.split(b"\n\n")
        for event in events:
            payload = event.partition(b"\ndata: ")[2]
            self.lines += 1
            self.sha256.update(payload + b"\n")
            if stamp := payload.partition(b'"ns":')[2]:
                self.latencies.append((now - int(stamp[:-1])) // 1000)


class Client:
    """One round: all streams through one proxy."""

    def __init__(self, order: dict[str, Any]) -> None:
        self._proxy, self._origin, self._tls = order["proxy"], order["origin"], order["tls"]
        self._events, self._streams, self._name = order["events"], order["streams"], order["name"]
        self._waiting = {"ready": self._streams, "received": self._streams}

    async def run(self) -> None:
        heard = await asyncio.gather(*(self._listen(f"{self._name}-{number}") for number in range(self._streams)))
        answer(
            sessions={sid: [stream.lines, stream.sha256.hexdigest()] for sid, stream in heard},
            latencies=[latency for _, stream in heard for latency in stream.latencies],
        )

    async def _listen(self, sid: str) -> tuple[str, Heard]:
        reader, writer = await self._connect()
        stream = Heard()
        host = b"127.0.0.1:%d" % self._origin
        url = b"/v1/messages" if self._tls else b"http://%s/v1/messages" % host
        body = BODY % sid.encode()
        writer.write(REQUEST % (url, host, sid.encode(), len(body), body))
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(f"the proxy answered {head!r}")
        due = {"ready": 1, "received": 1 + self._events}  # lines
        while not stream.ended and (data := await reader.read(1 << 18)):
            stream.feed(data, time.monotonic_ns())
            for said in [said for said, lines in due.items() if stream.lines >= lines]:
                del due[said]
                self._say(said)
        writer.close()
        return sid, stream

    def _say(self, said: str) -> None:
        self._waiting[said] -= 1
        if not self._waiting[said]:
            answer(said=said)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._proxy, limit=1 << 18)
        if self._tls:
            writer.write(b"CONNECT 127.0.0.1:%d HTTP/1.1\r\n\r\n" % self._origin)
            await reader.readuntil(b"\r\n\r\n")
            trusting = ssl.create_default_context()
            trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
            await writer.start_tls(trusting)
        return reader, writer


async def client() -> None:
    async for order in orders():
        await Client(order).run()


async def origin(certificate: str) -> None:
    await Origin().run(certificate)


if __name__ == "__main__":
    asyncio.run(origin(sys.argv[2]) if sys.argv[1] == "origin" else client())
