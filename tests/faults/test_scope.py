"""Row 48: hosts that are not recorded are not looked into; a client that pins its certificate is told of."""

import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

import orjson
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from capture.proxy import CA_FILE
from tests.faults.harness import (
    CHUNKED,
    END_OF_CHUNKS,
    STOP,
    Act,
    Client,
    Origin,
    Proxy,
    captures,
    chunk,
    chunked,
    event,
    head,
    until,
)

SAID = "said-to-nobody-else"
ASKED = b'{"model":"m","messages":[{"role":"user","content":"%s"}]}' % SAID.encode()
BODY = [event(number).replace(b"text_delta", b"text_delta " + SAID.encode()) for number in range(3)] + [STOP]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The host's own, with its key: for 127.0.0.1 and localhost."""
    key = ec.generate_private_key(ec.SECP256R1())
    name, now = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a host")]), datetime.now(UTC)
    names = [x509.DNSName("localhost"), x509.IPAddress(IPv4Address("127.0.0.1"))]
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now - timedelta(days=1), now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("certificate") / "host.pem"
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return path


@pytest.fixture(scope="module")
def host(certificate: Path) -> Iterator[Origin]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    origin = Origin(context)
    yield origin
    origin.close()


@pytest.fixture(scope="module")
def choosy(tmp_path_factory: pytest.TempPathFactory, confdir: Path) -> Iterator[Proxy]:
    """A proxy that leaves localhost alone."""
    proxy = Proxy(tmp_path_factory.mktemp("choosy"), confdir, ("--set", "sse_skip_hosts=localhost"))
    yield proxy
    proxy.end()
    assert "Traceback" not in proxy.output()


@pytest.fixture(scope="module")
def outlining(tmp_path_factory: pytest.TempPathFactory, confdir: Path) -> Iterator[Proxy]:
    """A proxy that records headers only, of 127.0.0.1 only."""
    options = ("--set", "sse_only_hosts=127.0.0.1", "--set", "sse_headers_only=true")
    proxy = Proxy(tmp_path_factory.mktemp("outlining"), confdir, options)
    yield proxy
    proxy.end()
    assert "Traceback" not in proxy.output()


def own(certificate: Path) -> bytes:
    """The host's certificate, DER."""
    return ssl.PEM_cert_to_DER_cert(certificate.read_text().partition("-----END PRIVATE KEY-----\n")[2])


@pytest.mark.row(48)
@pytest.mark.parametrize("which", ["skipped", "not among the only ones"])
def test_a_host_that_is_not_recorded_shows_the_client_its_own_certificate_and_leaves_no_byte_in_the_log(
    request: pytest.FixtureRequest,
    host: Origin,
    certificate: Path,
    which: str,
    times: Callable[[int, int], int],
    record_property: Callable[[str, object], None],
) -> None:
    proxy: Proxy = request.getfixturevalue("choosy" if which == "skipped" else "outlining")
    url = host.serve(chunked(BODY)).replace("127.0.0.1", "localhost")
    runs = times(3, 200)
    for _ in range(runs):
        with Client(proxy.port) as client:
            client.tunnel(url, certificate)  # trusts nobody but the host
            assert client.certificate() == own(certificate)
            answer = client.ask(url, ASKED, target=url[url.index("/", 8) :])
        assert (answer.status, answer.body, answer.ended) == (200, b"".join(BODY), "clean")
    assert proxy.log.of(url) == []
    everything = proxy.log.everything()
    assert SAID.encode() not in everything and f"localhost:{host.port}".encode() not in everything
    record_property("runs", runs)
    record_property("connections with the host's own certificate", runs)
    record_property("bytes of them in the log", 0)


@pytest.mark.row(48)
def test_a_host_without_tls_that_is_not_recorded_is_passed_on_as_it_comes(choosy: Proxy, origin: Origin) -> None:
    url = origin.serve([head(CHUNKED), chunk(BODY[0]), Act.HOLD]).replace("127.0.0.1", "localhost")
    with Client(choosy.port) as client:
        assert next(iter(client.open(url, ASKED))) == BODY[0]  # it is not held back until the end
    url = origin.serve(chunked(BODY)).replace("127.0.0.1", "localhost")
    with Client(choosy.port) as client:
        assert client.ask(url, ASKED).body == b"".join(BODY)
    captures(choosy, origin)
    assert choosy.log.of(url) == []
    assert SAID.encode() not in choosy.log.everything()


@pytest.mark.row(48)
def test_a_client_that_pins_its_certificate_is_told_of_once_with_the_option_that_leaves_its_host_alone(
    choosy: Proxy, origin: Origin, host: Origin, certificate: Path, confdir: Path, record_property: Callable[[str, object], None]
) -> None:
    url = host.serve([head(CHUNKED), *map(chunk, BODY), END_OF_CHUNKS])
    for _ in range(3):
        with Client(choosy.port) as client, pytest.raises(ssl.SSLError):
            client.tunnel(url, certificate)
    (error,) = until(choosy.log.errors, "a line about the client")
    assert error["where"] == "tls" and "127.0.0.1" in error["what"] and "--skip-hosts 127.0.0.1" in error["do"]
    with Client(choosy.port) as client:
        client.tunnel(url, confdir / CA_FILE)
        assert client.certificate() != own(certificate)
        assert client.ask(url, ASKED, target=url[url.index("/", 8) :]).body == b"".join(BODY)
    assert choosy.log.ended(url).end["outcome"] == "complete"
    captures(choosy, origin)
    assert choosy.log.errors() == [error]
    record_property("attempts refused, lines about them", "3, 1")


@pytest.mark.row(48)
def test_where_only_headers_are_recorded_a_stream_is_counted_and_not_kept_and_the_log_is_complete(
    outlining: Proxy, origin: Origin, record_property: Callable[[str, object], None]
) -> None:
    url = origin.serve(chunked(BODY))
    with Client(outlining.port) as client:
        assert client.ask(url, ASKED).body == b"".join(BODY)
    flow = outlining.log.ended(url)
    assert flow.lines == []
    assert (flow.end["outcome"], flow.end["terminal_event"], flow.end["frames"]) == ("complete", "message_stop", len(BODY))
    assert flow.end["wire_bytes"] == sum(map(len, BODY))
    assert (flow.record["kept"], flow.record["request"], flow.record["status"]) == ("headers", None, 200)
    assert SAID.encode() not in outlining.log.everything()
    checked = subprocess.run(
        [sys.executable, "-m", "capture", "check", "--deep", "--json", "--dir", str(outlining.directory)], capture_output=True
    )
    rows = [orjson.loads(line) for line in checked.stdout.splitlines()]
    assert rows[-1]["verdict"] == "complete" and rows[-1]["errors"] == rows[-1]["warnings"] == 0
    assert rows[-1]["counts"]["headers_only"] == 1
    record_property("bytes of bodies in the log", 0)
