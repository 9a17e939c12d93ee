"""Rows 18 and 19 once more inside TLS, as agents reach their providers: CONNECT, our CA, an upstream's own certificate."""

import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from capture.proxy import CA_FILE
from tests.faults.harness import CHUNKED, END_OF_CHUNKS, STOP, Act, Client, Origin, Proxy, Step, chunk, event, head, named, whatwg

ASKED = b'{"messages":[{"role":"user","content":"in private"}]}'
BODY = event(0) + event(1)


@pytest.fixture(scope="module")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Origin]:
    """An origin with a certificate of its own making."""
    key = ec.generate_private_key(ec.SECP256R1())
    name, now = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")]), datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now - timedelta(days=1), now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("certificate") / "upstream.pem"
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    origin = Origin(context)
    yield origin
    origin.close()


ENDS: dict[str, tuple[list[Step], str, str]] = {
    # name: (what follows the body, how it ends for the client, outcome)
    "whole": ([chunk(STOP), END_OF_CHUNKS], "clean", "complete"),
    "reset": ([0.1, Act.RESET], "truncated", "server_closed"),
    "closed": ([Act.CLOSE], "truncated", "server_closed"),
}


@pytest.mark.row(19)
@pytest.mark.parametrize("name", ENDS)
def test_a_stream_inside_tls_ends_for_client_and_log_as_the_server_ends_it(
    proxy: Proxy, upstream: Origin, confdir: Path, name: str
) -> None:
    steps, ended, outcome = ENDS[name]
    url = upstream.serve([head(CHUNKED), chunk(BODY), *steps])
    with Client(proxy.port) as client:
        client.tunnel(url, confdir / CA_FILE)
        stream = client.open(url, ASKED, target=url[url.index("/", 8) :])
        body = stream.read()
    assert (body, stream.ended) == (BODY + (STOP if name == "whole" else b""), ended)
    flow = proxy.log.ended(url)
    assert flow.heard() == named(whatwg(body))
    assert (flow.end["outcome"], flow.record["url"]) == (outcome, url)


@pytest.mark.row(18)
def test_a_client_that_leaves_inside_tls_is_recorded_up_to_there(proxy: Proxy, upstream: Origin, confdir: Path) -> None:
    url = upstream.serve([head(CHUNKED), chunk(BODY), Act.HOLD])
    with Client(proxy.port) as client:
        client.tunnel(url, confdir / CA_FILE)
        got = b""
        for data in client.open(url, ASKED, target=url[url.index("/", 8) :]):
            got += data
            if got == BODY:
                break
    flow = proxy.log.ended(url)
    assert flow.heard() == named(whatwg(BODY))
    assert flow.end["outcome"] == "client_closed"
