"""A second `-s` script beside the addon: raises in the k-th line of ours that the event loop runs from a given moment on.

The test says `arm K` (or `arm end`: in the call that ends a stream) on a Unix socket; `state` answers what fired, and whether
all is quiet again. What must not raise is left out: the guards (`_watched`, and the lines that enter it; the tap, whose
`return data` everything rests on).
"""

import asyncio
import json
import linecache
import sys
import threading
from collections.abc import Iterator
from types import CodeType, FunctionType
from typing import Any

from mitmproxy import connection, ctx
from mitmproxy.addonmanager import Loader, traverse

import capture.store
from addon.access import Access
from addon.recording import Recording
from addon.webview import WebView

TOOL = 4  # of sys.monitoring: one that no debugger, profiler or coverage tool claims
GUARDS = {"_watched", "load", "running", "done", "_facts", "_later", "_lifeline_closed", "_listening"}
LOOP_SIDE = {"connected", "disconnected", "opened", "chunk", "message", "closed", "_put", "_put_data"}  # of Recording
GUARD = "with self._watched("


class Injected(Exception):
    """What is raised."""


class Injector:
    def __init__(self) -> None:
        self._left: int | None = None  # lines until it raises; None: not armed
        self._at_end = False  # raises in the first line that runs for the end call, the tap's `b""`
        self._fired: str | None = None
        self._connected: set[str] = set()
        self._loop_thread = 0
        self._recording: Recording | None = None

    def load(self, loader: Loader) -> None:
        loader.add_option("inject_socket", str, "", "Unix socket the test speaks to.")
        capture.store.MAX_ERRORS = 1_000_000  # every fault is to be seen in sse_logger.error

    async def running(self) -> None:
        self._loop_thread = threading.get_ident()
        logger = next(addon for addon in _all(ctx.master.addons.chain) if type(addon).__name__ == "SseLogger")
        self._recording = logger.recording
        monitoring = sys.monitoring
        monitoring.use_tool_id(TOOL, "injector")
        monitoring.register_callback(TOOL, monitoring.events.LINE, self._line)
        for code in _codes(logger):
            monitoring.set_local_events(TOOL, code, monitoring.events.LINE)
        self._server = await asyncio.start_unix_server(self._serve, ctx.options.inject_socket)

    def client_connected(self, client: connection.Client) -> None:
        self._connected.add(client.id)

    def client_disconnected(self, client: connection.Client) -> None:
        self._connected.discard(client.id)

    def _line(self, code: CodeType, line: int) -> None:
        if (self._left is None and not self._at_end) or threading.get_ident() != self._loop_thread:
            return
        if GUARD in linecache.getline(code.co_filename, line):
            return
        ending = sys._getframe(1).f_locals.get("data") == b""
        if self._left is not None:
            self._left -= 1
        if self._left != 0 and not (self._at_end and ending):
            return
        self._left, self._at_end = None, False
        self._fired = f"{code.co_qualname}:{line - code.co_firstlineno}" + (" at the end" if ending else "")
        raise Injected(self._fired)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while words := (await reader.readline()).split():
            if words[0] == b"arm":
                self._at_end = words[1] == b"end"
                self._left, self._fired = None if self._at_end else int(words[1]), None
            elif words[0] == b"disarm":
                self._left, self._at_end = None, False
            idle = not self._connected and self._recording is not None and self._recording._asleep and not self._recording._jobs
            writer.write(json.dumps({"fired": self._fired, "idle": idle}).encode() + b"\n")


def _all(chain: list[Any]) -> Iterator[Any]:
    return traverse(chain)  # type: ignore[no-untyped-call,no-any-return]


def _codes(logger: object) -> list[CodeType]:
    """Of every function of the addon that the loop runs, guards left out."""
    edge = type(logger).responseheaders.__globals__  # type: ignore[attr-defined]
    module = [value for value in edge.values() if isinstance(value, FunctionType) and value.__module__ == edge["__name__"]]
    methods = [value for kind in (type(logger), WebView, Access) for value in vars(kind).values()]
    recording = [value for name, value in vars(Recording).items() if name in LOOP_SIDE]
    functions = [each.fget if isinstance(each, property) else each for each in (*module, *methods, *recording)]
    return [
        function.__code__
        for function in functions
        if isinstance(function, FunctionType) and function.__name__ not in GUARDS and not function.__name__.startswith("__")
    ]


addons = [Injector()]
