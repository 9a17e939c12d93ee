"""A WebSocket origin and a client that reaches it through the proxy, both of the `websockets` library."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from socket import SHUT_RDWR
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect
from websockets.sync.server import ServerConnection, serve

from tests.faults.harness import PATIENCE, Proxy, case_of, new_case

type Message = str | bytes


class SocketOrigin:
    """For each case: sends its messages, then gives back what it gets (`echo`) until the client goes."""

    def __init__(self, **options: Any) -> None:
        self._cases: dict[str, tuple[Sequence[Message | Sequence[Message]], bool, bool]] = {}
        self._server = serve(self._handle, "127.0.0.1", 0, max_size=None, **options)
        self.port: int = self._server.socket.getsockname()[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def serve(self, messages: Sequence[Message | Sequence[Message]], echo: bool = False, drop: bool = False) -> str:
        """The URL of a new case; a message that is a sequence is sent in fragments. `drop`: cut at the client's first message."""
        case = new_case()
        self._cases[case] = (messages, echo, drop)
        return f"ws://127.0.0.1:{self.port}/{case}/v1/responses"

    def close(self) -> None:
        self._server.shutdown()

    def _handle(self, socket: ServerConnection) -> None:
        assert socket.request
        messages, echo, drop = self._cases[case_of(socket.request.path)]
        try:
            for message in messages:
                socket.send(message)
            while echo:
                received = socket.recv()
                if drop:
                    socket.socket.shutdown(SHUT_RDWR)
                socket.send(received)
        except ConnectionClosed:
            return


@contextmanager
def connected(proxy: Proxy, url: str, **options: Any) -> Iterator[ClientConnection]:
    with connect(
        url, proxy=f"http://127.0.0.1:{proxy.port}", max_size=None, open_timeout=PATIENCE, close_timeout=PATIENCE, **options
    ) as socket:
        yield socket
