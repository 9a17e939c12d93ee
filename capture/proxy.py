"""Proxies: their safe settings, how to find one that runs, and what an agent must be told to use it."""

import fcntl
import os
import shutil
import socket
import ssl
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import certifi

from capture.files import Unusable, open_private, private_directory
from capture.presence import living
from capture.scope import ALL, Scope, of_facts
from capture.state import kept, read_password, state_directory

ROOT = Path(__file__).resolve().parent.parent
HOST = "127.0.0.1"
PORT, WEB_PORT = 9110, 9115
USER = "capture"  # whose password it is; the name tells nobody anything
CA_KEY, CA_FILE = "mitmproxy-ca.pem", "mitmproxy-ca-cert.pem"
LOCK = ".sse-capture.lock"
CHOOSE = "name another with --confdir"
SILENCE = 14_400  # seconds a connection may be silent: a model may think for long, and mitmproxy's 600 cut it

PROXY_VARIABLES = ("HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy", "ALL_PROXY", "all_proxy")
CA_VARIABLES = (
    "SSL_CERT_FILE",
    "CODEX_CA_CERTIFICATE",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "NODE_EXTRA_CA_CERTS",
)
CLEARED_VARIABLES = ("NO_PROXY", "no_proxy")  # an inherited one makes every client pass us by, silently
SAFE_OPTIONS = {  # why: docs/design.md
    "listen_host": HOST,
    "tcp_timeout": str(SILENCE),
    "onboarding": "false",
    "connection_strategy": "lazy",
    "show_ignored_hosts": "false",
}


class Proxy(NamedTuple):
    """A proxy that runs, from its presence file."""

    id: str
    port: int
    pid: int
    confdir: Path
    web_port: int | None
    owner: str | None
    password_file: Path | None = None  # of one that asks for a password
    scope: Scope = ALL

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    def url_with_password(self) -> str:
        """What an agent is told; the same as `url` for a proxy that asks for none. Raises Unusable."""
        return self.url if self.password_file is None else f"http://{USER}:{read_password(self.password_file)}@{HOST}:{self.port}"

    @property
    def ca(self) -> Path:
        return self.confdir / CA_FILE


def running(directory: Path, shared: bool = True) -> Proxy | None:
    """The newest proxy that records to `directory`; not one that somebody started for himself alone, when `shared`."""
    found = [_proxy(facts) for facts in living(directory) if facts.get("port")]
    usable = [proxy for proxy in found if not (shared and proxy.owner)]
    return usable[-1] if usable else None


def started_by(directory: Path, owner: str) -> Proxy | None:
    return next((proxy for facts in living(directory) if facts.get("port") and (proxy := _proxy(facts)).owner == owner), None)


def lives(proxy: Proxy, directory: Path) -> bool:
    return any(facts.get("id") == proxy.id for facts in living(directory))


def _proxy(facts: dict[str, Any]) -> Proxy:
    password = facts.get("password_file")
    return Proxy(
        id=facts["id"],
        port=int(facts["port"]),
        pid=int(facts["pid"]),
        confdir=Path(facts["confdir"]),
        web_port=facts.get("web_port"),
        owner=facts.get("owner"),
        password_file=Path(password) if password else None,
        scope=of_facts(facts.get("scope") or {}),
    )


def answers(port: int) -> bool:
    """Whether somebody listens on a port of the loopback interface."""
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex((HOST, port)) == 0


def without_password(url: str) -> str:
    """A proxy's URL as it may be shown, and compared."""
    scheme, slashes, rest = url.rstrip("/").rpartition("://")
    return scheme + slashes + rest.rpartition("@")[2]


def leads_nowhere(url: str) -> bool:
    """Whether a URL is that of a proxy on this machine that does not run."""
    parts = urlsplit(url)
    return parts.hostname in (HOST, "localhost") and not answers(parts.port or 80)


def free_port(wanted: int) -> int:
    """`wanted`, or the next port that is free on the loopback interface. Raises Unusable when 100 are taken."""
    for port in range(wanted, min(wanted + 100, 65536)):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
                return port
            except OSError:
                continue
    raise Unusable(f"no free port from {wanted} on: name another with --port")


def arguments(
    directory: Path,
    port: int,
    web_port: int | None,
    confdir: Path,
    extra: tuple[str, ...] = (),
    addons: tuple[str, ...] = ("addon.sse_logger",),
) -> list[str]:
    """The command line of mitmweb (or, without a web port, of mitmdump) with our addons and safe settings."""
    options = dict(SAFE_OPTIONS, listen_port=str(port), confdir=str(confdir), sse_log_dir=str(directory))
    options["ssl_verify_upstream_trusted_ca"] = str(roots())
    if web_port is not None:
        options |= {"web_host": HOST, "web_port": str(web_port), "web_open_browser": "false"}
    settings = [word for name, value in options.items() for word in ("--set", f"{name}={value}")]
    scripts = [word for addon in addons for word in ("-s", str(_script(addon)))]
    return [*settings, *scripts, *extra]


def asking(password: bool) -> tuple[str, ...]:
    """The options of a proxy that asks for a password: not the password, for everybody can read a command line."""
    return ("--set", "sse_password=true") if password else ()


def recording(scope: Scope) -> tuple[str, ...]:
    """The options of a proxy that records no more than that."""
    options = {
        "sse_only_hosts": ",".join(scope.only),
        "sse_skip_hosts": ",".join(scope.skip),
        "sse_headers_only": "true" if scope.headers_only else "",
        "sse_max_age": scope.max_age,
        "sse_max_size": scope.max_size,
    }
    return tuple(word for name, value in options.items() if value for word in ("--set", f"{name}={value}"))


def _script(addon: str) -> Path:
    """A script that loads one of our addons and never changes.

    mitmproxy loads a script again when its file changes: an update of this checkout would cut the recording of open flows.
    """
    content = f"import sys\n\nsys.path.insert(0, {str(ROOT)!r})\n\nfrom {addon} import addons as addons\n"
    return kept(addon, ".py", content.encode())


def prepare_confdir(confdir: Path) -> Path:
    """mitmproxy's folder with the CA's private key: only ours to read."""
    marks = ("*",) if confdir == default_confdir() else ("mitmproxy-ca*.pem", LOCK)
    try:
        private_directory(confdir, marks, CHOOSE)
        for path in confdir.glob("mitmproxy-ca*"):
            _check_certificate(path)
        return confdir
    except OSError as error:
        raise Unusable(f"cannot write to {confdir} ({error.strerror}): choose another with --confdir") from None


def _check_certificate(path: Path) -> None:
    """Raises Unusable, OSError. A link to a file of ours is fine (mitmproxy only reads what exists); one to nothing is not."""
    if not path.is_file() or path.stat().st_uid not in (0, os.geteuid()):
        raise Unusable(f"{path} is not a file of yours: move it away, or {CHOOSE}")
    needed = {CA_KEY: b"PRIVATE KEY", CA_FILE: b"BEGIN CERTIFICATE"}.get(path.name, b"")
    if needed not in path.read_bytes():
        raise Unusable(f"{path} is damaged: move {path.parent} away, the next start makes a new CA (agents are told of it)")


@contextmanager
def starting(confdir: Path) -> Iterator[None]:
    """One start at a time: two at once would make two CAs, and choose the same port."""
    prepare_confdir(confdir)
    lock = open_private(confdir / LOCK, choose=CHOOSE)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def proxy_environment() -> dict[str, str]:
    """The environment a proxy runs in: without what would write TLS keys to disk."""
    return {name: value for name, value in os.environ.items() if name not in ("SSLKEYLOGFILE", "MITMPROXY_SSLKEYLOGFILE")}


# -- what an agent is told ---------------------------------------------------------------------------------------------------


def agent_environment(proxy: Proxy, bundle: Path) -> dict[str, str]:
    """The variables that make every client known to us use the proxy and trust its CA. Raises Unusable."""
    return dict.fromkeys(PROXY_VARIABLES, proxy.url_with_password()) | {name: str(bundle) for name in CA_VARIABLES}


def bundle(ca: Path) -> Path:
    """A file with the system's roots and our CA: SSL_CERT_FILE *replaces* a client's trust store. Raises Unusable."""
    try:
        ours = ca.read_bytes()
    except OSError:
        raise Unusable(f"the proxy's CA certificate is missing ({ca}): start the proxy once with `capture up`") from None
    return kept("ca-bundle", ".pem", system_roots() + b"\n# sse-capture's proxy\n" + ours)


def roots() -> Path:
    """A file with the machine's roots, for the proxy: what an agent trusts without us it trusts through us. Raises Unusable."""
    return kept("roots", ".pem", system_roots())


def system_roots() -> bytes:
    """The machine's trusted roots, PEM: of an inherited bundle, of the system, else of certifi."""
    candidates = [
        os.environ.get("SSL_CERT_FILE"),
        ssl.get_default_verify_paths().cafile,
        "/etc/ssl/certs/ca-certificates.crt",
        "/etc/pki/tls/certs/ca-bundle.crt",
        "/etc/ssl/cert.pem",
    ]
    for name in candidates:
        if name and Path(name).parent != state_directory() and Path(name).is_file():
            return Path(name).read_bytes()
    return Path(certifi.where()).read_bytes()


def command_name() -> str:
    """How this program is called in a shell of the user's: `capture` where that is on PATH, else the path of the script."""
    script = Path(sys.executable).with_name("capture")
    found = shutil.which("capture")
    return "capture" if found and Path(found).resolve() == script.resolve() else str(script)


def default_confdir() -> Path:
    """mitmproxy's own: whoever trusts its CA already need do nothing."""
    return Path("~/.mitmproxy").expanduser()
