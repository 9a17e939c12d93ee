"""A `-s` script that feels the pulse of the proxy's event loop: how long anything kept it from its next turn.

Whoever connects to the Unix socket and says a line gets the longest stall since the last one asked, in seconds.
"""

import asyncio
import time

from mitmproxy import ctx
from mitmproxy.addonmanager import Loader

BEAT = 0.002  # seconds


class Heartbeat:
    def __init__(self) -> None:
        self._longest = 0.0

    def load(self, loader: Loader) -> None:
        loader.add_option("heartbeat_socket", str, "", "Unix socket the test asks on.")

    async def running(self) -> None:
        self._beating = asyncio.create_task(self._beat())
        self._server = await asyncio.start_unix_server(self._serve, ctx.options.heartbeat_socket)

    async def _beat(self) -> None:
        while True:
            began = time.monotonic()
            await asyncio.sleep(BEAT)
            self._longest = max(self._longest, time.monotonic() - began - BEAT)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readline():
            writer.write(b"%.6f\n" % self._longest)
            self._longest = 0.0


addons = [Heartbeat()]
