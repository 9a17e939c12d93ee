"""Who may use the proxy and look into mitmweb: the password, foreign pages, requests that lead back to ourselves."""

import asyncio
import ipaddress
import socket
import sys
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager

from mitmproxy import ctx, http
from mitmproxy.proxy.server_hooks import ServerConnectionHookData

from capture.files import Unusable
from capture.proxy import USER
from capture.state import password_file, read_password

SAY_AGAIN = 60.0  # seconds between two lines about clients without the password, or that do not trust us


class Access:
    """Decides; the hooks of the addon ask it."""

    def __init__(self) -> None:
        self._said: dict[str, float] = {}  # what → when last
        self._credentials = ""  # as they stand in a header

    def ask_for_password(self) -> None:
        """From now on a client without it gets 407: mitmproxy does that. It never stands on a command line. Raises Unusable."""
        if not all(mode.startswith(("regular", "upstream")) for mode in ctx.options.mode):  # others see no words meant for a proxy
            raise Unusable("only a regular or upstream proxy can ask for a password: leave --password or --mode out")
        pair = f"{USER}:{read_password(password_file())}"
        self._credentials = b64encode(pair.encode()).decode()
        ctx.options.proxyauth = pair

    def guard_web(self) -> None:
        """mitmweb refuses what comes by another name than its own, or from another page: a rebound name, a foreign socket."""
        if app := getattr(ctx.master, "app", None):
            from addon.doorkeeper import guard  # tornado: half a megabyte that mitmdump can do without

            guard(app)

    def has_password(self) -> bool:
        return bool(ctx.options.proxyauth)

    def is_refused(self, flow: http.HTTPFlow) -> bool:
        """Whether a flow got 407 from us: what a stranger says is not on record."""
        return self.has_password() and "proxyauth" not in flow.metadata and not flow.is_replay

    def is_news(self, what: str = "password") -> bool:
        """Whether a refusal is to be said: a client that tries again and again is said once a minute."""
        now = time.monotonic()
        self._said = {each: at for each, at in self._said.items() if now - at < SAY_AGAIN}
        return self._said.setdefault(what, now) == now

    def take_password_out(self, flow: http.HTTPFlow) -> None:
        """A client's password for us is not for anybody behind us (mitmproxy leaves it in requests inside a tunnel)."""
        if self._credentials and flow.request.headers.get("proxy-authorization", "").endswith(self._credentials):
            del flow.request.headers["proxy-authorization"]  # (another may be that of a proxy behind us)

    async def refuse_ourselves(self, data: ServerConnectionHookData, listening: list[tuple[str, int]]) -> None:
        """A request that leads to the proxy again, or to mitmweb, ends here, however the address is written."""
        host, port = data.server.address[:2] if data.server.address else ("", 0)
        ports = (*(own for _, own in listening), getattr(ctx.options, "web_port", None))
        if port in ports and data.server.transport_protocol == "tcp" and await _is_here(host, port):
            data.server.error = f"{host}:{port} is this proxy itself: it is not reached through the proxy"


@contextmanager
def or_end() -> Iterator[None]:
    """What makes recording impossible is said in one line, and the proxy ends."""
    try:
        yield
    except Unusable as problem:
        print(f"sse-capture: {problem}", file=sys.stderr, flush=True)
        raise SystemExit(2) from None


async def _is_here(host: str, port: int) -> bool:
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError:
        return False
    return any(_is_own(str(address[0])) for *_, address in found)


def _is_own(address: str) -> bool:
    ip = ipaddress.ip_address(address.partition("%")[0])
    ip = getattr(ip, "ipv4_mapped", None) or ip
    return ip.is_loopback or ip.is_unspecified  # a connection to 0.0.0.0 is one to this machine
