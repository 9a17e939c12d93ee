"""A Redis stream's URL → where it is."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from capture.files import Unusable

SCHEMES = ("redis", "rediss", "redis+unix", "unix+redis")
STREAM = "sse-capture"
MAXLEN = 1_000_000  # entries a stream keeps, about: half a GiB of ordinary records
TLS = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")  # parameters of a rediss:// URL, as the library calls them
EXAMPLE = "redis://HOST:PORT/DB?stream=NAME"


@dataclass(frozen=True, slots=True)
class Where:
    """A stream on a server."""

    name: str  # the URL for people: without password
    stream: str
    maxlen: int  # entries the stream keeps, about; 0: all
    arguments: Mapping[str, Any] = field(repr=False)  # of the library's client; the password is in them

    @property
    def shipped(self) -> str:
        """The key beside the stream that says how far each log was shipped: a hash, by the id of its shipping."""
        return f"{self.stream}:shipped"


def is_redis(where: str | None) -> bool:
    return bool(where) and str(where).partition("://")[0] in SCHEMES and "://" in str(where)


def where_of(url: str | None, environ: Mapping[str, str] | None = None) -> Where:
    """The stream that a URL names; None: that of $REDIS_URL. The password may stand in $REDIS_PASSWORD. Raises Unusable."""
    environ = os.environ if environ is None else environ
    url = url or environ.get("REDIS_URL")
    if not url:
        raise Unusable(f"which Redis? Name it as {EXAMPLE}, or in $REDIS_URL")
    if not is_redis(url):
        raise Unusable(f"{_scheme(url)} is no scheme of Redis: write {EXAMPLE}, rediss:// for TLS, redis+unix:///path of a socket")
    try:
        parts = urlsplit(url)
        if parts.fragment:  # a `#` in the password would cut host and port off, and we would call on localhost
            raise ValueError("it has a # in it")
        options = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
        stream, maxlen = options.pop("stream", "") or STREAM, int(options.pop("maxlen", MAXLEN))
        arguments = _unix(parts, options) if "unix" in parts.scheme else _tcp(parts, options)
    except ValueError as problem:
        raise Unusable(f"this Redis URL cannot be read ({_without_secrets(problem, url)}): write {EXAMPLE}") from None
    if options or maxlen < 0:
        wrong = next(iter(options), "maxlen")
        raise Unusable(f"{wrong} means nothing in this Redis URL: it may have stream, maxlen, db of a socket, {', '.join(TLS)}")
    credentials = {"username": unquote(parts.username or "") or None, "password": _password(parts, environ)}
    return Where(_name(parts, arguments, stream), stream, maxlen, arguments | credentials)


def _scheme(url: str) -> str:
    """What stands before `://`; nothing of what may be a secret."""
    return f"{url.partition('://')[0]}://" if "://" in url else "this"


def _without_secrets(problem: ValueError, url: str) -> str:
    """What the library says of a URL, unless it quotes what may be part of a password."""
    return str(problem) if "@" not in url else "is a character in the password not %-escaped?"


def _tcp(parts: SplitResult, options: dict[str, str]) -> dict[str, Any]:
    path = parts.path.strip("/")
    if path and not path.isdecimal():
        raise ValueError(f"the database is a number, not {path}")
    secure: dict[str, Any] = {"ssl": True} if parts.scheme == "rediss" else {}
    if secure:
        secure |= {name: os.path.expanduser(options.pop(name)) for name in TLS if name in options}
    return {"host": unquote(parts.hostname or "localhost"), "port": parts.port or 6379, "db": int(path or 0), **secure}


def _unix(parts: SplitResult, options: dict[str, str]) -> dict[str, Any]:
    path = unquote((parts.hostname or "") + parts.path)
    if not path:
        raise ValueError("it names no socket")
    return {"unix_socket_path": os.path.expanduser(path), "db": int(options.pop("db", "0"))}


def _password(parts: SplitResult, environ: Mapping[str, str]) -> str | None:
    return unquote(parts.password) if parts.password else environ.get("REDIS_PASSWORD") or None


def _name(parts: SplitResult, arguments: Mapping[str, Any], stream: str) -> str:
    if "unix_socket_path" in arguments:
        return f"{parts.scheme}://{arguments['unix_socket_path']}?db={arguments['db']}&stream={stream}"
    host = f"[{arguments['host']}]" if ":" in arguments["host"] else arguments["host"]
    return f"{parts.scheme}://{host}:{arguments['port']}/{arguments['db']}?stream={stream}"
