"""mitmproxy addon: records what AI agents say to their models and hear from them.

    mitmdump --listen-host 127.0.0.1 -s addon/sse_logger.py [--set sse_log_dir=DIR]

Every hook hands facts to the recorder's queue and returns. The tap gives each chunk back, the very object, before anything
is done with it; whatever goes wrong in here, the client's bytes are not touched.
"""

import atexit
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # mitmproxy puts only this file's folder there

try:
    from addon.access import Access, or_end
    from addon.recording import Recording
    from addon.retention import keep_limits, rotate_over
    from addon.webview import WebView
    from capture import providers, purging, wire
    from capture.files import default_directory
    from capture.proxy import SILENCE
    from capture.recorder import INLINE_LIMIT, Closed, Opened, Stamp
    from capture.redact import Redactor
    from capture.scope import ALL, bytes_of_option, scope_of
    from capture.state import password_file, read_salt
    from capture.store import LogWriter
except ModuleNotFoundError as missing:
    needed = "orjson pydantic psutil google-re2"
    print(f"sse-capture: {sys.executable} has no {missing.name}: run {sys.executable} -m pip install {needed}", file=sys.stderr)
    raise SystemExit(2) from None

import asyncio
import logging

from mitmproxy import connection, ctx, http, tls
from mitmproxy.addonmanager import Loader
from mitmproxy.proxy.server_hooks import ServerConnectionHookData

STREAM_OVER = 1 << 20  # bytes: responses that are no call to a model pass through unbuffered from this size on
SCOPE = ("sse_only_hosts", "sse_skip_hosts", "sse_headers_only", "sse_max_age", "sse_max_size")  # options, in `scope_of`'s order
ON_RECORD = "sse_logger"  # in a flow's metadata; a new version of this script is loaded at once, and leaves such flows alone


def now() -> Stamp:
    return Stamp(time.time(), time.monotonic())


class SseLogger:
    """Routes mitmproxy's hooks to the recorder."""

    def __init__(self) -> None:
        self.recording: Recording | None = None
        self.web = WebView()
        self.access = Access()
        self._tapped: set[str] = set()  # ids of flows the recorder knows and whose end it waits for
        self._proxy_id = ""
        self._scope = ALL
        self._keeping: list[asyncio.Task[None] | None] = []
        self._ending = False  # the proxy ends, and every flow that is still open with it

    # -- start and stop ---------------------------------------------------------------------------------------------------

    def load(self, loader: Loader) -> None:
        loader.add_option(
            "sse_log_dir", str, "", "Directory of the log. Default: $SSE_LOG_DIR, else ~/centralized-logs/all-mitm-sse."
        )
        loader.add_option(
            "sse_inline_limit",
            int,
            INLINE_LIMIT,
            "Bytes of one payload in a log line; a longer one goes to bodies/ and is referred to.",
        )
        loader.add_option("sse_owner", str, "", "Who started this proxy for itself alone; other commands will not use it.")
        loader.add_option("sse_only_hosts", str, "", "Record these hosts only, commas between; TLS to others passes unopened.")
        loader.add_option("sse_skip_hosts", str, "", "Do not record these hosts, commas between; TLS to them passes unopened.")
        loader.add_option("sse_headers_only", bool, False, "Record headers, ends and counts of flows, nothing of what was said.")
        loader.add_option("sse_max_age", str, "", "Sessions that nothing was said in for so long are purged: 30d. Default: never.")
        loader.add_option("sse_max_size", str, "", "The oldest sessions are purged when the log is larger: 5GB. Default: never.")
        loader.add_option("sse_rotate_size", str, "", "The log's files are renamed when its lines take more: 1GB. Default: never.")
        loader.add_option("sse_password", bool, False, "Ask clients for a password; it stands in a file that only you can read.")
        loader.add_option("sse_lifeline", int, -1, "File descriptor; the proxy ends when it is closed at the other end.")

        self.access.guard_web()

    def configure(self, updated: set[str]) -> None:
        if "sse_password" in updated and ctx.options.sse_password:
            with or_end():
                self.access.ask_for_password()
        if not updated.isdisjoint(SCOPE) and not self.recording:  # later it is not changed
            with or_end():
                self._scope = scope_of(*(getattr(ctx.options, name) for name in SCOPE))

    def running(self) -> None:
        directory = Path(ctx.options.sse_log_dir).expanduser() if ctx.options.sse_log_dir else default_directory(dict(os.environ))
        with or_end():
            rotate_size = bytes_of_option("sse_rotate_size", ctx.options.sse_rotate_size)
            redactor = Redactor(read_salt())
            purging.finish(directory)
            writer = LogWriter(directory, self._facts())
        self._proxy_id = writer.presence.id
        loop = asyncio.get_running_loop()
        self.recording = Recording(
            writer,
            redactor,
            ctx.options.sse_inline_limit,
            lambda flow_id, text: self._later(loop, self.web.comment, flow_id, text),
            self._scope,
        )
        self._keeping = [keep_limits(directory, self._scope), rotate_over(directory, rotate_size)]
        if ctx.options.sse_lifeline >= 0:
            loop.add_reader(ctx.options.sse_lifeline, self._lifeline_closed, loop)
        if ctx.options.tcp_timeout == 600:
            ctx.options.tcp_timeout = SILENCE
        if any(host in ("0.0.0.0", "::", "") for host, _ in _listening()):
            logging.warning(
                "sse-capture: this proxy listens on all interfaces, anybody near can use it: add --listen-host 127.0.0.1"
            )
        logging.info(f"sse-capture: recording to {directory}")

    def done(self) -> None:
        """Stops recording: at once when this script is taken out or loaded again, at the very end when the proxy ends.

        mitmproxy calls this first of all, forwards what still comes in, and then tells how each open flow ended.
        """
        for task in filter(None, self._keeping):
            task.cancel()
        if not self.recording:
            return
        if ctx.master.should_exit.is_set():
            self._ending = True
            atexit.register(self._stop)
        else:
            self._stop()

    def _stop(self) -> None:
        recording, self.recording = self.recording, None
        if recording:
            recording.stop(now())

    def _facts(self) -> dict[str, object]:
        """What other processes should know of this proxy."""
        addresses = _listening()
        return {
            "host": addresses[0][0] if addresses else None,
            "port": addresses[0][1] if addresses else None,
            "web_port": getattr(ctx.options, "web_port", None),
            "confdir": str(Path(ctx.options.confdir).expanduser()),
            "owner": ctx.options.sse_owner or None,
            "password_file": str(password_file()) if ctx.options.sse_password else None,
            "scope": self._scope.facts,
        }

    def _lifeline_closed(self, loop: asyncio.AbstractEventLoop) -> None:
        loop.remove_reader(ctx.options.sse_lifeline)
        ctx.master.shutdown()  # type: ignore[no-untyped-call]

    def _later(self, loop: asyncio.AbstractEventLoop, call: Callable[..., None], *arguments: str) -> None:
        """Runs a call in the loop, from the recorder's thread; nothing when the loop is gone."""
        if self.web.view is not None:
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(call, *arguments)

    @contextmanager
    def _watched(self, where: str, flow_id: str | None = None, last: Closed | None = None) -> Iterator[None]:
        """A fault in a hook is said in the log and goes no further; one in a flow's `last` hook ends the flow all the same."""
        try:
            yield
        except Exception as problem:
            if self.recording:
                self.recording.failed(where, problem, flow_id)
                if last and flow_id:
                    self._tapped.discard(flow_id)
                    self.recording.closed(flow_id, last, now())

    # -- connections ------------------------------------------------------------------------------------------------------

    def client_connected(self, client: connection.Client) -> None:
        with self._watched("client_connected"):
            if self.recording and client.peername and client.sockname:
                self.recording.connected(client.id, client.peername[:2], client.sockname[:2])

    def client_disconnected(self, client: connection.Client) -> None:
        with self._watched("client_disconnected"):
            if self.recording:
                self.recording.disconnected(client.id)

    def tls_clienthello(self, data: tls.ClientHelloData) -> None:
        """Into TLS that is not to be recorded nobody looks: the client sees the host's own certificate."""
        with self._watched("tls_clienthello"):
            host, port = data.context.server.address or ("", 0)
            if not self._scope.covers((host, data.client_hello.sni), port):
                data.ignore_connection = True

    def tls_failed_client(self, data: tls.TlsData) -> None:
        with self._watched("tls_failed_client"):
            host = data.conn.sni or (data.context.server.address or ("an unknown host", 0))[0]
            no_certificate_seen = data.conn.error and data.conn.error.startswith(("connection closed early", "Cannot parse"))
            if self.recording and not no_certificate_seen and self.access.is_news(host):
                self.recording.distrusted(data.conn.id, host)

    async def server_connect(self, data: ServerConnectionHookData) -> None:
        with self._watched("server_connect"):
            await self.access.refuse_ourselves(data, _listening())

    # -- HTTP -------------------------------------------------------------------------------------------------------------

    def http_connect(self, flow: http.HTTPFlow) -> None:
        with self._watched("http_connect"):
            self._at_the_door(flow)

    def requestheaders(self, flow: http.HTTPFlow) -> None:
        with self._watched("requestheaders", flow.id):
            self._at_the_door(flow)
            if not self._is_covered(flow):
                flow.request.stream = True

    def _at_the_door(self, flow: http.HTTPFlow) -> None:
        if not self.access.has_password():
            return
        if self.access.is_refused(flow) and self.access.is_news() and self.recording:
            self.recording.refused(flow.client_conn.id)
        self.access.take_password_out(flow)

    def responseheaders(self, flow: http.HTTPFlow) -> None:
        with self._watched("responseheaders", flow.id):
            if not self.recording or not flow.response or flow.response.status_code == 101:
                return
            if not self._is_covered(flow):
                flow.response.stream = True
            elif self._is_recorded(flow):
                self._open(flow)
                flow.response.stream = self._tap(flow.id)
            elif _passes_through(flow.response):
                flow.response.stream = True
            return
        if flow.response:
            flow.response.stream = True  # we failed: without this mitmproxy would hold the body back until its end

    def _tap(self, flow_id: str) -> Callable[[bytes], bytes]:
        """Called by mitmproxy with each chunk before it is sent."""

        def tap(data: bytes) -> bytes:
            try:
                self._hear(flow_id, data)
            except Exception as problem:
                with self._watched("tap", flow_id):
                    if self.recording:
                        self.recording.failed("tap", problem, flow_id)
                        self.recording.missed(flow_id, len(data), now())
            return data

        return tap

    def _hear(self, flow_id: str, data: bytes) -> None:
        if data and self.recording:
            self.recording.chunk(flow_id, data, Stamp(time.time(), time.monotonic()))
            self.web.chunk(flow_id, data)

    def response(self, flow: http.HTTPFlow) -> None:
        with self._watched("response", flow.id, last=Closed.CLEANLY):
            if not flow.websocket and self._is_recorded(flow):
                self._open(flow)
                self._close(flow, Closed.CLEANLY)
        with self._watched("response", flow.id):
            self.web.ended(flow)

    def error(self, flow: http.HTTPFlow) -> None:
        with self._watched("error", flow.id, last=Closed.WITH_ERROR):
            if self._is_recorded(flow):
                self._open(flow)
            self._close(flow, _ended_by(flow), flow.error.msg if flow.error else None)
        with self._watched("error", flow.id):
            self.web.ended(flow)

    # -- WebSocket --------------------------------------------------------------------------------------------------------

    def websocket_start(self, flow: http.HTTPFlow) -> None:
        with self._watched("websocket_start", flow.id):
            if self._is_covered(flow):
                self._open(flow)

    def websocket_message(self, flow: http.HTTPFlow) -> None:
        with self._watched("websocket_message", flow.id):
            if self.recording and flow.websocket:
                if self._is_covered(flow):
                    self._open(flow)
                    message = flow.websocket.messages[-1]
                    self.recording.message(flow.id, message.content, message.from_client, message.is_text, now())
                self.web.message(flow)

    def websocket_end(self, flow: http.HTTPFlow) -> None:
        with self._watched("websocket_end", flow.id, last=Closed.WITH_ERROR):
            if (socket := flow.websocket) and self._is_covered(flow):
                self._open(flow)
                how = Closed.BY_CLIENT if socket.closed_by_client else Closed.BY_SERVER
                self._close(flow, how, socket.close_reason, socket.close_code)
        with self._watched("websocket_end", flow.id):
            self.web.ended(flow)

    # -- flows ------------------------------------------------------------------------------------------------------------

    def _is_recorded(self, flow: http.HTTPFlow) -> bool:
        of_interest = (flow.response is not None and _is_stream(flow.response)) or _calls_model(flow)
        return of_interest and self._is_covered(flow) and not self.access.is_refused(flow)

    def _is_covered(self, flow: http.HTTPFlow) -> bool:
        request = flow.request
        return self._scope is ALL or self._scope.covers((request.host, request.pretty_host, flow.client_conn.sni), request.port)

    def _open(self, flow: http.HTTPFlow) -> None:
        """Puts a flow on record that is not yet: one without an answer, one whose earlier hook failed, or simply a new one."""
        if self.recording and flow.id not in self._tapped and flow.metadata.get(ON_RECORD) != flow.id:
            stamp = now()
            proxy = self._proxy_id
            size = len(flow.request.raw_content or b"")
            self.recording.opened(flow.id, lambda: _facts_of(flow, stamp, proxy), flow.client_conn.id, stamp, size)
            self._tapped.add(flow.id)
            flow.metadata[ON_RECORD] = flow.id

    def _close(self, flow: http.HTTPFlow, how: Closed, error: str | None = None, close_code: int | None = None) -> None:
        if self.recording and flow.id in self._tapped:
            self._tapped.discard(flow.id)
            if self._ending:
                how, error = Closed.BY_STOP, None  # whatever mitmproxy calls it
            self.recording.closed(flow.id, how, now(), error, close_code)


def _listening() -> list[tuple[str, int]]:
    server = ctx.master.addons.get("proxyserver")  # type: ignore[no-untyped-call]
    return [(str(address[0]), int(address[1])) for address in server.listen_addrs()] if server else []


def _is_stream(response: http.Response) -> bool:
    return wire.media_type(response.headers.get("content-type", "")) in wire.STREAMS


def _calls_model(flow: http.HTTPFlow) -> bool:
    if flow.request.method == "GET" and flow.request.headers.get("upgrade", "").lower() != "websocket":
        return False
    return providers.recognise(flow.request.method, flow.request.path) is not None


def _passes_through(response: http.Response) -> bool:
    """Whether a response that is not recorded should be forwarded as it comes: a large one, or one of unknown length."""
    length = response.headers.get("content-length", "")
    return not length.isdigit() or int(length) > STREAM_OVER


def _ended_by(flow: http.HTTPFlow) -> Closed:
    """Who cut a flow. mitmproxy's error text does not always tell: over HTTP/2 it says "by client" of both sides."""
    message = flow.error.msg if flow.error else ""
    if message.startswith("Client disconnected") or not flow.client_conn.connected:
        return Closed.BY_CLIENT
    if message.startswith("stream reset"):
        client_speaks_2 = flow.client_conn.alpn == b"h2"
        server_speaks_2 = flow.server_conn.alpn == b"h2"
        if client_speaks_2 and (not server_speaks_2 or "CANCEL" in message):
            return Closed.BY_CLIENT
    return Closed.BY_SERVER if flow.response else Closed.WITH_ERROR


def _facts_of(flow: http.HTTPFlow, stamp: Stamp, proxy: str) -> Opened:
    """Runs in the recorder's thread."""
    started = flow.request.timestamp_start or stamp.wall
    return Opened(
        flow_id=flow.id,
        started=Stamp(started, stamp.mono - max(0.0, stamp.wall - started)),
        method=flow.request.method,
        url=flow.request.pretty_url,
        request_headers=_headers(flow.request.headers),
        request_body=flow.request.raw_content or b"",
        client_ip=flow.client_conn.peername[0] if flow.client_conn.peername else "",
        status=flow.response.status_code if flow.response else None,
        response_headers=_headers(flow.response.headers) if flow.response else (),
        websocket=flow.websocket is not None,
        proxy=proxy,
    )


def _headers(headers: http.Headers) -> tuple[tuple[str, str], ...]:
    return tuple(
        (name.decode("utf-8", "surrogateescape"), value.decode("utf-8", "surrogateescape")) for name, value in headers.fields
    )


addons = [SseLogger()]
