"""Row 47: who reaches the proxy and mitmweb, from where, and with what. Every attempt that is refused is counted."""

import base64
import http.client
import os
import re
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import orjson
import psutil
import pytest

from capture.presence import living
from capture.reader import LogReader
from tests.faults.harness import PATIENCE, STOP, Client, Log, Origin, chunked, event, free_of_listeners, until

CAPTURE = [sys.executable, "-m", "capture"]
ASKED = b'{"model":"m","messages":[{"role":"user","content":"hello"}]}'
OURSELVES = ("127.0.0.1", "localhost", "LOCALHOST.", "0.0.0.0", "127.1", "2130706433", "[::ffff:127.0.0.1]", "127.0.0.2")
STRANGERS = ("evil.example", "evil.example:{web}", "127.0.0.1.evil.example", "10.1.2.3:{web}", "localhost.evil.example", "")
PAGES = ("http://evil.example", "https://127.0.0.1.evil.example", "http://127.0.0.1:1", "http://localhost:{web}", "null", "")
PATHS = ("/", "/flows", "/state", "/options", "/events", "/commands", "/flows/dump", "/updates", "/filter-help")


class Up:
    """A proxy with mitmweb, started as a user starts it."""

    def __init__(self, base: Path, *words: str) -> None:
        self.base, self.directory = base, base / "log"
        kept = {name: value for name, value in os.environ.items() if name in ("PATH", "LANG")}
        self.environment = kept | {"HOME": str(base), "SSE_LOG_DIR": str(self.directory), "PYTHONPATH": os.getcwd()}
        ports = ["--port", str(free_of_listeners()), "--web-port", str(free_of_listeners())]
        self.process = subprocess.Popen(
            [*CAPTURE, "up", *ports, *words], env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        assert self.process.stdout
        self.said = ""
        for line in self.process.stdout:
            self.said += line
            if "Ctrl-C" in line:
                break
        (facts,) = living(self.directory)
        self.port, self.web = int(facts["port"]), int(facts["web_port"])
        found = re.search(r"token=(\w+)", self.said)
        assert found, self.said
        self.token = found[1]

    def capture(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*CAPTURE, *words], env=self.environment, capture_output=True, text=True, timeout=PATIENCE * 2)

    def end(self) -> str:
        """All it said."""
        self.process.send_signal(signal.SIGINT)
        said, _ = self.process.communicate(timeout=PATIENCE)
        return self.said + said

    def readable_by_others(self, secret: str) -> list[str]:
        """Where a secret stands for others to see: command lines, and files that are not 0600 in our directories."""
        found = [" ".join(words) for each in psutil.process_iter() if secret in " ".join(words := _command_line(each))]
        for path in self.base.rglob("*"):
            if path.is_file() and secret.encode() in path.read_bytes() and stat.S_IMODE(path.stat().st_mode) != 0o600:
                found.append(str(path))
        return found


def _command_line(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    one = Up(tmp_path_factory.mktemp("up"))
    yield one
    said = one.end()
    assert "Traceback" not in said


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """One that asks for a password."""
    one = Up(tmp_path_factory.mktemp("guarded"), "--password", "--", "--set", "ssl_insecure=true")
    yield one
    said = one.end()
    assert "Traceback" not in said and password_of(one) not in said


def password_of(up: Up) -> str:
    return (up.base / ".local/state/sse-capture/proxy-password").read_text()


def web(up: Up, method: str, path: str, headers: dict[str, str] | None = None, port: int = 0) -> tuple[int, bytes]:
    """(status, body) of one request, its headers as they are given; Host is mitmweb's own unless named."""
    connection = http.client.HTTPConnection("127.0.0.1", port or up.web, timeout=PATIENCE)
    connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
    given = {"Host": f"127.0.0.1:{up.web}", **(headers or {})}
    for name, value in given.items():
        connection.putheader(name, value)
    connection.endheaders()
    answer = connection.getresponse()
    body = answer.read(4096) if answer.status != 101 else b""
    connection.close()
    return answer.status, body


UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": base64.b64encode(b"x" * 16).decode(),
}


@pytest.mark.row(47)
def test_mitmweb_opens_for_its_own_token_only(up: Up, record_property: Callable[[str, object], None]) -> None:
    tokens = ("", "?token=", "?token=0", f"?token={up.token[:-1]}", f"?token={up.token}0", "?token=%00")
    headers: tuple[dict[str, str], ...] = (
        {},
        {"Authorization": "Bearer x"},
        {"Cookie": f"mitmproxy-auth-{up.web}=y"},
        {"Cookie": "user=y"},
    )
    tried = [web(up, "GET", path + token, given)[0] for path in PATHS for token in tokens for given in headers]
    tried += [web(up, "GET", "/updates" + token, UPGRADE)[0] for token in tokens]
    tried += [web(up, method, path)[0] for method in ("POST", "PUT", "DELETE") for path in ("/clear", "/options/save", "/flows/1")]
    assert [status for status in tried if not 400 <= status < 500] == []
    assert web(up, "GET", f"/flows?token={up.token}")[0] == 200
    record_property("without the token: attempts", len(tried))
    record_property("without the token: let in", 0)


@pytest.mark.row(47)
def test_mitmweb_is_called_by_its_own_name_and_from_its_own_page_only(
    up: Up, record_property: Callable[[str, object], None]
) -> None:
    """With a valid token, so that nothing else refuses them: a page that has rebound its name, a page of another site."""
    strangers = [{"Host": name.format(web=up.web)} for name in STRANGERS]
    pages = [{"Origin": page.format(web=up.web)} for page in PAGES]
    upgrades = [{**UPGRADE, **each} for each in (*strangers, *pages)]
    tried = [web(up, "GET", f"{path}?token={up.token}", given)[0] for given in (*strangers, *pages) for path in PATHS]
    tried += [web(up, "GET", f"/updates?token={up.token}", given)[0] for given in upgrades]
    tried += [web(up, "POST", f"/clear?token={up.token}", given)[0] for given in (*strangers, *pages)]
    tried += [web(up, "POST", f"/clear?token={up.token}", {"Sec-Fetch-Site": "cross-site"})[0]]
    assert [status for status in tried if status not in (403, 500)] == []  # mitmproxy raises what becomes a 500, of Sec-Fetch-Site
    for own in ("127.0.0.1:{web}", "localhost:{web}", "localhost:18080", "[::1]:{web}", "localhost"):  # another port: a tunnel
        host = own.format(web=up.web)
        assert web(up, "GET", f"/flows?token={up.token}", {"Host": host})[0] == 200
        mine = {"Host": host, "Origin": f"http://{host}"}
        assert web(up, "GET", f"/updates?token={up.token}", {**UPGRADE, **mine})[0] == 101
    record_property("foreign Host or Origin, with the token: attempts", len(tried))
    record_property("foreign Host or Origin, with the token: let in", 0)


@pytest.mark.row(47)
def test_only_the_loopback_address_is_answered(up: Up, record_property: Callable[[str, object], None]) -> None:
    """Also not 127.0.0.2, which a socket for all addresses would answer, nor the addresses of this machine in its network."""
    addresses = {address.address.partition("%")[0] for each in psutil.net_if_addrs().values() for address in each}
    others = [address for address in {*addresses, "127.0.0.2", "127.255.255.254", "::1"} if re.fullmatch(r"[0-9a-f.:]+", address)]
    others = [
        address for address in others if address != "127.0.0.1" and not re.fullmatch(r"([0-9a-f]{2}:){5}[0-9a-f]{2}", address)
    ]
    reached = [(address, port) for address in others for port in (up.port, up.web) if _connects(address, port)]
    assert len(others) >= 3 and reached == []
    record_property("other addresses of the machine: attempts", 2 * len(others))
    record_property("other addresses of the machine: let in", 0)


def _connects(address: str, port: int) -> bool:
    try:
        socket.create_connection((address, port), 2).close()
    except OSError:
        return False
    return True


@pytest.mark.row(47)
def test_nothing_leads_through_the_proxy_to_mitmweb_or_to_the_proxy_again(
    up: Up, record_property: Callable[[str, object], None]
) -> None:
    """However the address is written: mitmproxy itself knows three spellings, and a loop by another one has no end."""
    tried = []
    for host in OURSELVES:
        for port in (up.web, up.port):
            url = f"http://{host}:{port}"
            given = {"Host": f"{host}:{port}"}
            tried.append(web(up, "GET", f"{url}/flows?token={up.token}", given, up.port)[0])
            tried.append(web(up, "GET", f"{url}/updates?token={up.token}", {**given, **UPGRADE, "Origin": url}, up.port)[0])
            tried.append(_tunnelled(up, host, port))
    assert [status for status in tried if not 400 <= status < 600] == []
    assert list(LogReader(up.directory).flows()) == []
    record_property("through the proxy to itself: attempts", len(tried))
    record_property("through the proxy to itself: let in", 0)


def _tunnelled(up: Up, host: str, port: int) -> int:
    """The status of a request inside a tunnel; the tunnel's own, when there is none."""
    with socket.create_connection(("127.0.0.1", up.port), PATIENCE) as client:
        client.sendall(f"CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
        answer = client.recv(4096)
        if b" 200 " in answer.partition(b"\r\n")[0]:
            client.sendall(f"GET /flows?token={up.token} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
            answer = client.recv(4096)
        return int(answer.split(b" ", 2)[1]) if answer else 502


@pytest.mark.row(47)
def test_the_token_is_on_no_command_line_and_in_no_file(up: Up, record_property: Callable[[str, object], None]) -> None:
    assert web(up, "GET", f"/flows?token={up.token}")[0] == 200
    assert up.readable_by_others(up.token) == []
    assert up.token.encode() not in Log(up.directory).everything()
    record_property("places where others see the token", 0)


# -- the password ------------------------------------------------------------------------------------------------------------


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def ask(up: Up, url: str, headers: dict[str, str]) -> tuple[int, bytes]:
    with Client(up.port) as client:
        answer = client.ask(url, ASKED, headers=tuple(headers.items()))
        return answer.status, answer.body


@pytest.mark.row(47)
def test_without_the_password_nobody_uses_the_proxy_and_nothing_is_recorded(
    guarded: Up, origin: Origin, record_property: Callable[[str, object], None]
) -> None:
    """Neither by a request nor through a tunnel; the first who tries is named in sse_logger.error."""
    password = password_of(guarded)
    wrong = [
        "",
        "Basic",
        "Basic !",
        basic("capture", ""),
        basic("", password),
        basic("capture", password[:-1]),
        f"Bearer {password}",
    ]
    url = origin.serve(chunked([event(0), STOP]))
    with Client(guarded.port) as first:
        tried = [first.ask(url, ASKED).status]
        error = until(lambda: next(iter(Log(guarded.directory).errors()), None), "a word about it")
    tried += [ask(guarded, url, {"Proxy-Authorization": each})[0] for each in wrong]
    tried += [ask(guarded, url, {"Authorization": basic("capture", password)})[0]]
    tried += [_tunnelled(guarded, "127.0.0.1", origin.port), _tunnelled(guarded, "localhost", guarded.web)]
    assert set(tried) == {407}
    assert url.split("/")[3] not in origin.requests
    assert list(LogReader(guarded.directory).flows()) == []
    assert (error["where"], "407" in error["what"], "capture run" in error["do"]) == ("access", True, True)
    assert str(os.getpid()) in error["what"]
    record_property("without the password: attempts", len(tried))
    record_property("without the password: let in", 0)


@pytest.mark.row(47)
def test_the_password_opens_the_proxy_and_goes_no_further(
    guarded: Up, origin: Origin, record_property: Callable[[str, object], None]
) -> None:
    """Not to the model's host, also not from inside a tunnel; not on record; on no command line; in one file, 0600."""
    password = password_of(guarded)
    given = {"Proxy-Authorization": basic("capture", password)}
    urls = [origin.serve(chunked([event(0), STOP])) for _ in range(2)]
    assert ask(guarded, urls[0], given)[0] == 200
    with Client(guarded.port) as client:
        address = f"127.0.0.1:{origin.port}"
        said = f"CONNECT {address} HTTP/1.1\r\nhost: {address}\r\nproxy-authorization: {given['Proxy-Authorization']}\r\n\r\n"
        client._socket.sendall(said.encode())
        assert b" 200 " in client._socket.recv(4096)
        path = "/" + urls[1].split("/", 3)[3]
        assert client.open(urls[1], ASKED, headers=tuple(given.items()), target=path).read()
    urls.append(origin.serve(chunked([event(0), STOP])))
    printed = f"HTTPS_PROXY=http://capture:{password}@127.0.0.1:{guarded.port}"  # what a tool prints that shows its environment
    with Client(guarded.port) as client:
        body = orjson.dumps({"messages": [{"role": "user", "content": printed}]})
        assert client.ask(urls[2], body, headers=tuple(given.items())).status == 200
    log = Log(guarded.directory)
    flows = [log.ended(url).record for url in urls]
    for url in urls:
        assert b"proxy-authorization" not in origin.requests[url.split("/")[3]].lower()
    assert not any("proxy-authorization" in name.lower() for flow in flows for name, _ in flow["request_headers"])
    encoded = given["Proxy-Authorization"].removeprefix("Basic ")
    everything = log.everything()
    assert password.encode() not in everything and encoded.encode() not in everything
    assert guarded.readable_by_others(password) == [] and guarded.readable_by_others(encoded) == []
    holding = [path for path in guarded.base.rglob("*") if path.is_file() and password.encode() in path.read_bytes()]
    assert [path.name for path in holding] == ["proxy-password"]
    record_property("places where others see the password", 0)


@pytest.mark.row(47)
def test_run_and_env_know_the_password(guarded: Up) -> None:
    password = password_of(guarded)
    expected = f"http://capture:{password}@127.0.0.1:{guarded.port}"
    assert guarded.capture("run", "--", "printenv", "HTTPS_PROXY").stdout.strip() == expected
    assert guarded.capture("env").stdout.startswith(f"export HTTPS_PROXY={expected}\n")
    assert password not in guarded.said and 'eval "$(' in guarded.said
    guarded.environment["HTTPS_PROXY"] = expected
    try:
        doctor = guarded.capture("doctor").stdout
    finally:
        del guarded.environment["HTTPS_PROXY"]
    assert password not in doctor and "HTTPS_PROXY leads to our proxy" in doctor


@pytest.mark.row(47)
def test_a_mode_without_proxy_requests_cannot_ask_for_a_password(tmp_path: Path) -> None:
    """It would answer 401 to everything, in the model's name."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": os.getcwd()}
    words = ["up", "--no-web", "--password", "--port", str(free_of_listeners()), "--", "--mode", "reverse:http://127.0.0.1:1"]
    result = subprocess.run([*CAPTURE, *words], env=environment, capture_output=True, text=True, timeout=PATIENCE)
    assert result.returncode == 2
    assert "only a regular or upstream proxy can ask for a password" in result.stderr and "Traceback" not in result.stderr
