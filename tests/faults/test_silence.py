"""Rows 20 and 21: a server that says nothing for long, and servers that cannot be reached."""

import os
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from capture import proxy as proxies
from capture.proxy import CA_FILE, SILENCE
from tests.faults.harness import (
    CHUNKED,
    END_OF_CHUNKS,
    PATIENCE,
    STOP,
    Act,
    Answer,
    Client,
    Origin,
    Proxy,
    ask,
    captures,
    case_of,
    chunk,
    event,
    free_of_listeners,
    head,
    named,
    until,
    whatwg,
)
from tests.redis_server import write_certificate

ASKED = b'{"messages":[{"role":"user","content":"think for long"}]}'
SHORT = 1  # seconds of silence that the proxy under test allows
ADDON = Path(proxies.__file__).resolve().parent.parent / "addon" / "sse_logger.py"


def setting(folder: Path, option: str, value: object) -> tuple[str, ...]:
    """A script that sets an option which the command line of the proxy sets already (mitmproxy takes each once)."""
    script = folder / "setting.py"
    script.write_text(f"from mitmproxy import ctx\n\ndef running():\n    ctx.options.{option} = {value!r}\n")
    return "-s", str(script)


# -- row 20 ------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory, confdir: Path) -> Iterator[Proxy]:
    """A proxy like ours, but with a `tcp_timeout` of a second."""
    base = tmp_path_factory.mktemp("impatient")
    proxy = Proxy(base, confdir, setting(base, "tcp_timeout", SHORT))
    yield proxy
    proxy.end()
    proxy.log.audit()


@pytest.mark.row(20)
def test_it_is_tcp_timeout_that_cuts_a_silent_stream_and_nothing_else(
    impatient: Proxy, proxy: Proxy, origin: Origin, record_property: Callable[[str, object], None]
) -> None:
    """The same silence through both proxies, which differ in that option only."""
    silence = 2.0 * SHORT
    url = origin.serve([head(CHUNKED), chunk(event(0)), silence, chunk(event(1)), chunk(STOP), END_OF_CHUNKS])
    began = time.monotonic()
    cut = ask(impatient, url, ASKED)
    seconds = time.monotonic() - began
    assert (cut.body, cut.ended) == (cut.body[: len(event(0))], "truncated")
    assert SHORT <= seconds < silence
    flow = impatient.log.ended(url)
    assert flow.heard() == named(whatwg(cut.body))
    assert flow.end["outcome"] in ("server_closed", "client_closed", "error")
    whole = ask(proxy, url, ASKED)
    assert whole.ended == "clean"
    assert proxy.log.ended(url).end["outcome"] == "complete"
    captures(impatient, origin)
    record_property("cut after, with tcp_timeout=1", f"{seconds:.1f} s")


@pytest.mark.row(20)
def test_a_stream_that_says_something_now_and_then_is_not_cut_however_long_it_takes(impatient: Proxy, origin: Origin) -> None:
    steps = [each for number in range(4) for each in (chunk(event(number)), 0.5 * SHORT)]
    answer = ask(impatient, origin.serve([head(CHUNKED), *steps, chunk(STOP), END_OF_CHUNKS]), ASKED)
    assert answer.ended == "clean"


@pytest.mark.row(20)
def test_ours_waits_for_hours_also_where_somebody_else_starts_mitmproxy(
    tmp_path: Path, confdir: Path, record_property: Callable[[str, object], None]
) -> None:
    """Ours says so on its command line; in a `mitmdump -s addon/sse_logger.py` the addon changes mitmproxy's own 600 s."""
    assert f"tcp_timeout={SILENCE}" in proxies.arguments(tmp_path, 0, None, confdir, ())
    teller = tmp_path / "teller.py"
    teller.write_text("from mitmproxy import ctx\ndef done():\n    print('tcp_timeout', ctx.options.tcp_timeout, flush=True)\n")
    process = subprocess.Popen(
        [*mitmdump(confdir), "--listen-port", "0", "-s", str(ADDON), "-s", str(teller), "--set", f"sse_log_dir={tmp_path / 'log'}"],
        env=proxies.proxy_environment() | {"XDG_STATE_HOME": str(tmp_path)},
        stdout=subprocess.PIPE,
        text=True,
    )
    until(lambda: list((tmp_path / "log").glob("proxies/*.json")), "the addon to run")
    process.terminate()
    told, _ = process.communicate(timeout=PATIENCE)
    assert f"tcp_timeout {SILENCE}" in told
    record_property("least default", f"{SILENCE} s")
    assert SILENCE >= 3600


# -- row 21 ------------------------------------------------------------------------------------------------------------------


def mitmdump(confdir: Path) -> list[str]:
    return [
        sys.executable,
        "-c",
        "from mitmproxy.tools.main import mitmdump; mitmdump()",
        "--set",
        f"confdir={confdir}",
        "--listen-host",
        "127.0.0.1",
    ]


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory, confdir: Path) -> Iterator[Proxy]:
    """A proxy that looks at certificates, as ours do."""
    base = tmp_path_factory.mktemp("strict")
    proxy = Proxy(base, confdir, setting(base, "ssl_insecure", False))
    yield proxy
    proxy.end()
    proxy.log.audit()


@pytest.fixture(scope="module")
def bare(confdir: Path, strict: Proxy, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a mitmproxy without us."""
    port = free_of_listeners()
    with open(tmp_path_factory.mktemp("bare") / "out", "wb") as output:
        process = subprocess.Popen([*mitmdump(confdir), "--listen-port", str(port)], env=os.environ, stdout=output, stderr=output)
    until(lambda: _listens(port), "mitmproxy to listen")
    yield port
    process.terminate()
    process.wait(PATIENCE)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module")
def selfsigned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Origin]:
    folder = tmp_path_factory.mktemp("selfsigned")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(write_certificate(folder), folder / "key.pem")
    origin = Origin(context)
    yield origin
    origin.close()


def asked(port: int, url: str, confdir: Path) -> Answer:
    with Client(port) as client:
        target = url
        if url.startswith("https:"):
            client.tunnel(url, confdir / CA_FILE)
            target = url[url.index("/", 8) :]
        stream = client.open(url, ASKED, target=target)
        return Answer(stream.status, stream.headers, stream.read(), stream.ended)


BAD = {
    # name: (URL with this instead of the origin's, what the record names)
    "nobody listens": ("http://127.0.0.1:{dead}", "{dead}"),
    "no such host": ("http://no-such-host.invalid:80", "no-such-host.invalid"),
    "a certificate nobody vouches for": ("https://127.0.0.1:{tls}", "127.0.0.1"),
    "hangs up at once": ("http://127.0.0.1:{plain}", "127.0.0.1"),
}


@pytest.mark.row(21)
@pytest.mark.parametrize("name", BAD)
def test_an_upstream_that_fails_is_told_to_the_client_as_without_us_and_named_on_record(
    strict: Proxy,
    bare: int,
    origin: Origin,
    selfsigned: Origin,
    confdir: Path,
    name: str,
    record_property: Callable[[str, object], None],
) -> None:
    base, names = BAD[name]
    path = origin.serve([Act.CLOSE]).partition(f":{origin.port}")[2]
    ports = {"dead": free_of_listeners(), "tls": selfsigned.port, "plain": origin.port}
    url = base.format(**ports) + path
    ours, theirs = asked(strict.port, url, confdir), asked(bare, url, confdir)
    assert (ours.status, ours.ended) == (theirs.status, theirs.ended) == (502, "clean")
    assert ours.body == theirs.body
    flow = strict.log.ended(url)
    assert (flow.record["status"], flow.end["outcome"], flow.heard()) == (None, "error", [])
    assert names.format(**ports) in flow.record["url"]
    assert flow.end["error"]
    assert case_of(flow.record["url"]) == case_of(url)
    captures(strict, origin)
    record_property("ways to fail", 1)
