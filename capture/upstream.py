"""A model that is not there: serves sample flows on loopback at their pace, and plays their clients."""

import asyncio
import hashlib
import http.client
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import tornado.httpserver
import tornado.netutil
import tornado.web
import tornado.websocket
from websockets.sync.client import connect

from capture.samples import Sample

HOST = "127.0.0.1"
HOP_BY_HOP = frozenset("connection transfer-encoding upgrade content-length host sec-websocket-accept".split())
TIMEOUT = 30.0  # seconds a client waits for a word


class _Stream(tornado.web.RequestHandler):
    """Answers a request with the response of its sample."""

    def initialize(self, sample: Sample) -> None:
        self.sample = sample

    async def prepare(self) -> None:
        self.set_status(self.sample.status)
        self.clear_header("Content-Type")
        for name, value in self.sample.response_headers.items():
            if name.lower() not in HOP_BY_HOP:
                self.set_header(name, value)
        for said in self.sample.said:
            await asyncio.sleep(said.after_ms / 1000)
            self.write(said.data)
            await self.flush()
        self.finish()

    def compute_etag(self) -> None:
        return None


class _Socket(tornado.websocket.WebSocketHandler):
    """Plays the server's side: a client's message is waited for where the sample has one."""

    def initialize(self, sample: Sample) -> None:
        self.sample = sample
        self.heard: asyncio.Queue[str | bytes] = asyncio.Queue()
        self.playing: asyncio.Task[None] | None = None

    def open(self, *args: str, **kwargs: str) -> None:
        self.playing = asyncio.create_task(self.play())

    def on_message(self, message: str | bytes) -> None:
        self.heard.put_nowait(message)

    async def play(self) -> None:
        for said in self.sample.said:
            if said.from_client:
                await self.heard.get()
                continue
            await asyncio.sleep(said.after_ms / 1000)
            await self.write_message(said.data.decode())


@contextmanager
def serving(samples: Iterable[Sample]) -> Iterator[int]:
    """An upstream for these samples, one for each path; gives its port."""
    routes: list[Any] = [
        (urlsplit(sample.url).path.replace("(", r"\("), _Socket if sample.websocket else _Stream, {"sample": sample})
        for sample in samples
    ]
    sockets = tornado.netutil.bind_sockets(0, HOST)
    ready = threading.Event()
    loop = asyncio.new_event_loop()

    async def serve() -> None:
        server = tornado.httpserver.HTTPServer(tornado.web.Application(routes, log_function=lambda handler: None))
        server.add_sockets(sockets)
        ready.set()

    def run() -> None:
        asyncio.set_event_loop(loop)
        loop.run_until_complete(serve())
        loop.run_forever()

    thread = threading.Thread(target=run, name="upstream", daemon=True)
    thread.start()
    ready.wait()
    try:
        yield int(sockets[0].getsockname()[1])
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


def call(sample: Sample, upstream: int, proxy: int) -> str:
    """Makes a sample's request through a proxy and hears the answer to its end; gives the SHA-256 of what was heard."""
    return (_talk if sample.websocket else _ask)(sample, upstream, proxy)


def _headers(sample: Sample) -> dict[str, str]:
    kept = {name: value for name, value in sample.request_headers.items() if name.lower() not in HOP_BY_HOP}
    return {name: value for name, value in kept.items() if not name.lower().startswith("sec-websocket-")}


def _ask(sample: Sample, upstream: int, proxy: int) -> str:
    connection = http.client.HTTPConnection(HOST, proxy, timeout=TIMEOUT)
    connection.request(sample.method, f"http://{HOST}:{upstream}{sample.path}", sample.request_body, _headers(sample))
    response, heard = connection.getresponse(), hashlib.sha256()
    while chunk := response.read1(65536):
        heard.update(chunk)
    connection.close()
    return heard.hexdigest()


def _talk(sample: Sample, upstream: int, proxy: int) -> str:
    headers = _headers(sample)
    agent = headers.pop("User-Agent", None)
    heard = hashlib.sha256()
    with connect(
        f"ws://{HOST}:{upstream}{sample.path}",
        proxy=f"http://{HOST}:{proxy}",
        additional_headers=headers,
        user_agent_header=agent,
        open_timeout=TIMEOUT,
    ) as socket:
        for said in sample.said:
            if said.from_client:
                socket.send(said.data.decode())
            else:
                message = socket.recv(TIMEOUT)
                heard.update(message.encode() if isinstance(message, str) else message)
    return heard.hexdigest()
