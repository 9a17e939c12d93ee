"""A real redis-server of a test's own: on a free port or a Unix socket, in its own folder; killed, stopped, restarted at will."""

import os
import shutil
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
import redis
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

PROGRAM = os.environ.get("REDIS_SERVER", "redis-server")  # valkey-server does as well
needed = pytest.mark.skipif(shutil.which(PROGRAM) is None, reason="needs a redis-server on PATH")
START = 10.0  # seconds a server may take to answer


class Server:
    """One server. What it acknowledged survives `kill`, as long as `durable`."""

    def __init__(self, folder: Path, *, durable: bool = True, password: str = "", tls: bool = False, unix: bool = False) -> None:
        self.folder, self.password = folder, password
        self.port = 0 if unix else free_port()
        self.socket = folder / "redis.sock"
        self.certificate = write_certificate(folder) if tls else None
        self._options = ["--dir", str(folder), "--save", "", "--appendonly", "yes" if durable else "no", "--bind", "127.0.0.1"]
        self._options += ["--appendfsync", "no"]  # written before it acknowledges; with `everysec` up to 2 s later, on a busy disk
        self._options += ["--unixsocket", str(self.socket)]
        if self.certificate:
            files = ["--tls-cert-file", str(self.certificate), "--tls-key-file", str(folder / "key.pem")]
            self._options += ["--port", "0", "--tls-port", str(self.port), *files, "--tls-auth-clients", "no"]
        else:
            self._options += ["--port", str(self.port)]
        if password:
            self._options += ["--requirepass", password]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Without the password."""
        if self.certificate:
            return f"rediss://127.0.0.1:{self.port}/0?ssl_ca_certs={self.certificate}"
        return f"redis://127.0.0.1:{self.port}/0" if self.port else f"redis+unix://{self.socket}"

    def stream(self, name: str) -> str:
        """The URL of a stream."""
        return f"{self.url}{'&' if '?' in self.url else '?'}stream={name}"

    def client(self) -> redis.Redis:
        """For looking into the server, through its Unix socket, beside what is tested."""
        return redis.Redis(unix_socket_path=str(self.socket), password=self.password or None, protocol=2)

    def needs(self, version: int) -> None:
        """Skips the test on an older server. Valkey counts as Redis 7."""
        with self.client() as client:
            if int(client.info("server")["redis_version"].partition(".")[0]) < version:
                pytest.skip(f"needs Redis {version}")

    def start(self) -> "Server":
        with open(self.folder / "output", "ab") as output:
            self._process = subprocess.Popen([PROGRAM, *self._options], stdout=output, stderr=output, cwd=self.folder)
        until = time.monotonic() + START
        while True:
            try:
                with self.client() as client:
                    client.ping()
                return self
            except (redis.ConnectionError, redis.exceptions.BusyLoadingError):
                if self._process.poll() is not None or time.monotonic() > until:
                    raise AssertionError((self.folder / "output").read_text()) from None
                time.sleep(0.01)

    def kill(self) -> None:
        """As a power cut would: no goodbye."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def restart(self) -> None:
        self.kill()
        self.start()

    def freeze(self) -> None:
        assert self._process
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process
        self._process.send_signal(signal.SIGCONT)

    def _end(self, how: signal.Signals) -> None:
        if self._process:
            self._process.send_signal(how)
            self._process.send_signal(signal.SIGCONT)  # a frozen one takes SIGTERM only then
            self._process.wait()
            self._process = None


@contextmanager
def server(folder: Path, *, durable: bool = True, password: str = "", tls: bool = False, unix: bool = False) -> Iterator[Server]:
    """A running server in a folder, made where it is missing; a Unix socket's path has at most 107 bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    ours = Server(folder, durable=durable, password=password, tls=tls, unix=unix)
    try:
        yield ours.start()
    finally:
        ours.kill()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def write_certificate(folder: Path) -> Path:
    """A certificate of 127.0.0.1 that vouches for itself, good for a day, and `key.pem` beside it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path = folder / "certificate.pem"
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(private)
    ssl.create_default_context(cafile=str(path))
    return path
