"""Who stands before mitmweb's token: requests that name another host than mitmweb, or come from another page, get 403.

A page of a foreign site can make a browser call 127.0.0.1, also by a name of its own that leads there (DNS rebinding). It has
neither the token nor mitmweb's cookie; here it does not come as far as being asked for them.
"""

from typing import Any

import tornado.web
from mitmproxy import ctx
from tornado.httputil import HTTPServerRequest, split_host_and_port
from tornado.routing import Matcher, Rule

from capture.proxy import HOST

LOOPBACK = (HOST, "localhost", "::1", "[::1]")  # how a browser may call mitmweb; the port may be that of a tunnel
EVERYWHERE = ("", "0.0.0.0", "::")  # who lets mitmweb listen there wants to be called by any name


def guard(app: tornado.web.Application) -> None:
    """All that comes to mitmweb from now on passes here first."""
    app.default_router.rules.insert(0, Rule(Foreign(), Refused))


class Foreign(Matcher):
    """Requests to mitmweb that a page of another site can have made."""

    def match(self, request: HTTPServerRequest) -> dict[str, Any] | None:
        return {} if is_foreign(request.headers.get("Host", ""), request.headers.get("Origin"), ctx.options.web_host) else None


def is_foreign(host: str, origin: str | None, web_host: str) -> bool:
    """Whether a request names another host than mitmweb's, or comes from a page that is not mitmweb's."""
    name = split_host_and_port(host.lower())[0].removesuffix(".")
    known = web_host in EVERYWHERE or name in LOOPBACK or name in (web_host.lower(), f"[{web_host.lower()}]")
    return not known or (origin is not None and origin.lower().partition("://")[2] != host.lower())


class Refused(tornado.web.RequestHandler):
    """403 to any method, before mitmweb looks at the request."""

    def prepare(self) -> None:
        self.set_status(403)
        self.finish("403: this is mitmweb; open it at the address that `capture up` printed\n")

    def check_xsrf_cookie(self) -> None:
        """Nothing to protect: nothing is done."""
