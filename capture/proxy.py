"""Proxies: their safe settings, how to find one that runs, how to start one, and what an agent must be told to use it."""

import fcntl
import hashlib
import os
import secrets
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Any, NamedTuple

import certifi

from capture.files import Unusable, private_directory
from capture.presence import living

ROOT = Path(__file__).resolve().parent.parent
HOST = "127.0.0.1"
PORT, WEB_PORT = 9110, 9115
CA_FILE = "mitmproxy-ca-cert.pem"
SALT_BYTES = 32
SILENCE = 14_400  # seconds a connection may be silent: a model may think for long, and mitmproxy's 600 cut it
START_TIMEOUT = 30.0  # seconds until a started proxy must be listening (1-2 s is usual)

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

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

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
    return Proxy(
        facts["id"], int(facts["port"]), int(facts["pid"]), Path(facts["confdir"]), facts.get("web_port"), facts.get("owner")
    )


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


def _script(addon: str) -> Path:
    """A script that loads one of our addons and never changes.

    mitmproxy loads a script again when its file changes: an update of this checkout would cut the recording of open flows.
    """
    content = f"import sys\n\nsys.path.insert(0, {str(ROOT)!r})\n\nfrom {addon} import addons as addons\n"
    return _kept(addon, ".py", content.encode())


def prepare_confdir(confdir: Path) -> Path:
    """mitmproxy's folder with the CA's private key: only ours to read."""
    marks = ("*",) if confdir == default_confdir() else ("mitmproxy-ca*.pem", ".sse-capture.lock")
    try:
        return private_directory(confdir, marks, "name another with --confdir")
    except OSError as error:
        raise Unusable(f"cannot write to {confdir} ({error.strerror}): choose another with --confdir") from None


@contextmanager
def starting(confdir: Path) -> Iterator[None]:
    """One start at a time: two at once would make two CAs, and choose the same port."""
    prepare_confdir(confdir)
    with open(confdir / ".sse-capture.lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def own(directory: Path, confdir: Path, port: int = PORT, extra: tuple[str, ...] = ()) -> Iterator[Proxy]:
    """A proxy for the caller alone: it ends with the context, and when the caller is killed. Raises Unusable."""
    owner = f"{os.getpid()}-{secrets.token_hex(4)}"
    lifeline, ours = os.pipe()
    options = ("--set", f"sse_lifeline={lifeline}", "--set", f"sse_owner={owner}", "-q", *extra)
    program = [sys.executable, "-c", "from mitmproxy.tools.main import mitmdump; mitmdump()"]
    with ExitStack() as stack:
        stack.callback(os.close, ours)
        words = stack.enter_context(tempfile.TemporaryFile())  # a pipe that nobody reads would fill, and block the proxy
        with starting(confdir):
            process = subprocess.Popen(
                [*program, *arguments(directory, free_port(port), None, confdir, options)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=words,
                pass_fds=(lifeline,),
                start_new_session=True,
                env=proxy_environment(),
            )
            stack.callback(_end, process)
            os.close(lifeline)
            found = _wait(process, words, directory, owner)
        yield found


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _last_line(words: IO[bytes]) -> str:
    """The last thing a process said."""
    words.seek(0)
    said = words.read().decode("utf-8", "replace").strip().splitlines()
    return said[-1].removeprefix("sse-capture: ") if said else ""


def _wait(process: subprocess.Popen[bytes], words: IO[bytes], directory: Path, owner: str) -> Proxy:
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline:
        if proxy := started_by(directory, owner):
            return proxy
        if process.poll() is not None:
            raise Unusable(f"the proxy did not start: {_last_line(words) or f'exit status {process.returncode}'}")
        time.sleep(0.02)
    raise Unusable(f"the proxy was not listening after {START_TIMEOUT:.0f} s: look into it with `capture up --no-web`")


def proxy_environment() -> dict[str, str]:
    """The environment a proxy runs in: without what would write TLS keys to disk."""
    return {name: value for name, value in os.environ.items() if name not in ("SSLKEYLOGFILE", "MITMPROXY_SSLKEYLOGFILE")}


# -- what an agent is told ---------------------------------------------------------------------------------------------------


def agent_environment(proxy: Proxy, bundle: Path) -> dict[str, str]:
    """The variables that make every client known to us use the proxy and trust its CA."""
    return dict.fromkeys(PROXY_VARIABLES, proxy.url) | {name: str(bundle) for name in CA_VARIABLES}


def bundle(ca: Path) -> Path:
    """A file with the system's roots and our CA: SSL_CERT_FILE *replaces* a client's trust store. Raises Unusable."""
    try:
        ours = ca.read_bytes()
    except OSError:
        raise Unusable(f"the proxy's CA certificate is missing ({ca}): start the proxy once with `capture up`") from None
    return _kept("ca-bundle", ".pem", system_roots() + b"\n# sse-capture's proxy\n" + ours)


def roots() -> Path:
    """A file with the machine's roots, for the proxy: what an agent trusts without us it trusts through us. Raises Unusable."""
    return _kept("roots", ".pem", system_roots())


def _kept(name: str, suffix: str, content: bytes) -> Path:
    """A file of ours with this content; it never changes, a running agent or proxy may read it much later."""
    path = state_directory() / f"{name}-{hashlib.sha256(content).hexdigest()[:8]}{suffix}"
    if not path.exists():
        draft = path.with_name(f".{path.name}-{os.getpid()}")
        _write_private(draft, content)
        draft.rename(path)
    return path


def _write_private(path: Path, content: bytes) -> None:
    """A file only we can read, whatever the umask."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(descriptor, "wb") as file:
        os.fchmod(descriptor, 0o600)
        file.write(content)


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


def state_directory() -> Path:
    """Where this program keeps what is neither log nor setting. Raises Unusable."""
    base = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    path = Path(base).expanduser() / "sse-capture"
    try:
        return private_directory(path, ("salt", "*.pem"), "set XDG_STATE_HOME to a directory of yours")
    except OSError as error:
        raise Unusable(f"cannot write to {path} ({error.strerror}): set XDG_STATE_HOME to a directory of yours") from None


def read_salt() -> bytes:
    """This machine's salt for hashes of guessable secrets: 32 random bytes, 0600, outside the log. Raises Unusable."""
    path = state_directory() / "salt"
    if not path.exists():
        draft = path.with_name(f".salt-{os.getpid()}")
        _write_private(draft, secrets.token_bytes(SALT_BYTES))
        with suppress(FileExistsError):  # another start was first: its salt is everybody's
            os.link(draft, path)
        draft.unlink()
    salt = path.read_bytes()
    if len(salt) != SALT_BYTES:
        raise Unusable(f"{path} is damaged: delete it (hashes of short secrets will differ from those before)")
    return salt
