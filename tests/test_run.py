"""`capture run`, `capture up`, `scripts/launch.sh`: real processes, as a user starts them, each with an empty HOME."""

import hashlib
import itertools
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil
import pytest

from capture import proxy, samples, scope, upstream
from capture.commands import run as command
from capture.presence import living
from capture.reader import LogReader

ROOT = Path(__file__).resolve().parent.parent
CAPTURE = [sys.executable, "-m", "capture"]
AGENT = """
import os, sys, http.client, urllib.parse
url, path, body = sys.argv[1:4]
proxy = urllib.parse.urlsplit(os.environ["HTTP_PROXY"])
connection = http.client.HTTPConnection(proxy.hostname, proxy.port)
headers = {"User-Agent": "claude-cli/2.1.329 (test)", "X-Claude-Code-Session-Id": "run-test"}
connection.request("POST", url + path, body.encode(), headers)
sys.stdout.buffer.write(connection.getresponse().read())
sys.exit(int(sys.argv[4]))
"""
PATIENCE = 30.0  # seconds a thing may take before a test gives up on it

type Home = dict[str, str]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """The environment of a user who has nothing yet."""
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "LANG", "SSL_CERT_FILE")}
    return kept | {"HOME": str(tmp_path), "SSE_LOG_DIR": str(tmp_path / "log"), "PYTHONPATH": str(ROOT)}


@pytest.fixture
def model() -> Iterator[str]:
    """The address of a scripted model."""
    with upstream.serving([samples.load("anthropic/text")]) as port:
        yield f"http://127.0.0.1:{port}"


def agent(model: str, status: int = 0) -> list[str]:
    """An agent that asks once, prints what it hears and ends with `status`."""
    sample = samples.load("anthropic/text")
    return [sys.executable, "-c", AGENT, model, sample.path, sample.request_body.decode(), str(status)]


def run(home: Home, *words: str, **options: Any) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([*CAPTURE, *words], env=home, capture_output=True, timeout=PATIENCE * 2, **options)


def until[T](found: Callable[[], T | None], what: str) -> T:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if (value := found()) is not None:
            return value
        time.sleep(0.02)
    raise AssertionError(f"waited {PATIENCE:.0f} s for {what}")


def proxies_of(home: Home) -> list[dict[str, Any]]:
    return living(Path(home["SSE_LOG_DIR"]))


def test_run_on_a_machine_with_nothing_records_an_agent_and_leaves_nothing_running(home: Home, model: str) -> None:
    result = run(home, "run", "--", *agent(model, status=7))
    assert result.returncode == 7
    assert hashlib.sha256(result.stdout).digest() == hashlib.sha256(samples.load("anthropic/text").response).digest()
    assert b"captured 1 flow (1 complete) of session run-test" in result.stderr
    flow = next(LogReader(Path(home["SSE_LOG_DIR"])).flows())
    assert flow["client"]["cwd"] == str(Path.cwd())
    assert proxies_of(home) == []


def test_run_says_loudly_that_nothing_was_captured(home: Home) -> None:
    result = run(home, "run", "--", "true")
    assert result.returncode == 0
    assert b"NOTHING WAS CAPTURED" in result.stderr


def test_run_sets_every_variable_and_clears_no_proxy(home: Home) -> None:
    result = run(home | {"NO_PROXY": "*", "no_proxy": "*"}, "run", "--", "env")
    variables = dict(line.split("=", 1) for line in result.stdout.decode().splitlines() if "=" in line)
    assert {variables[name] for name in ("HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy", "ALL_PROXY")} == {
        variables["HTTPS_PROXY"]
    }
    bundle = Path(variables["SSL_CERT_FILE"])
    assert {
        variables[name]
        for name in ("NODE_EXTRA_CA_CERTS", "CODEX_CA_CERTIFICATE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO")
    } == {str(bundle)}
    assert bundle.read_text().count("BEGIN CERTIFICATE") > 10
    assert (Path(home["HOME"]) / ".mitmproxy/mitmproxy-ca-cert.pem").read_text().strip() in bundle.read_text()
    assert "NO_PROXY" not in variables and "no_proxy" not in variables


def test_run_passes_a_signal_on_and_tells_of_it_as_a_shell_does(home: Home, tmp_path: Path) -> None:
    started = tmp_path / "started"
    process = subprocess.Popen(
        [*CAPTURE, "run", "--", "sh", "-c", f"touch {started}; exec sleep 60"], env=home, stderr=subprocess.DEVNULL
    )
    until(lambda: started.exists() or None, "the command to start")
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE) == 128 + signal.SIGTERM
    assert proxies_of(home) == []


def test_a_killed_run_takes_its_proxy_with_it(home: Home, tmp_path: Path) -> None:
    started = tmp_path / "started"
    process = subprocess.Popen(
        [*CAPTURE, "run", "--", "sh", "-c", f"touch {started}; exec sleep 60"], env=home, stderr=subprocess.DEVNULL
    )
    until(lambda: started.exists() or None, "the command to start")
    proxy, child = proxies_of(home)[0]["pid"], psutil.Process(process.pid).children()
    process.kill()
    process.wait()
    until(
        lambda: None if psutil.pid_exists(proxy) and psutil.Process(proxy).status() != psutil.STATUS_ZOMBIE else True,
        "the proxy to end",
    )
    for orphan in child:
        if orphan.is_running() and "sleep" in orphan.name():
            orphan.kill()


@pytest.mark.parametrize("content", ["no shebang", "#!/no/such/interpreter\n"])
def test_a_command_that_cannot_be_executed_is_told_of_in_one_line(home: Home, tmp_path: Path, content: str) -> None:
    script = tmp_path / "agent"
    script.write_text(content)
    script.chmod(0o700)
    result = run(home, "run", "--", str(script))
    assert result.returncode == 126
    assert len(result.stderr.decode().splitlines()) == 1
    assert proxies_of(home) == []


def test_a_directory_with_a_tilde_is_the_same_to_the_command_and_to_the_proxy(home: Home, model: str) -> None:
    result = run(home, "run", "--dir=~/elsewhere", "--", *agent(model))
    assert b"captured 1 flow" in result.stderr
    assert (Path(home["HOME"]) / "elsewhere" / "sse_flows.jsonl").exists()
    shown = result.stderr.decode().rpartition(": ")[2].split()
    assert subprocess.run(shown, env=home, capture_output=True).returncode == 0, "what is said to paste can be pasted"


@pytest.mark.row(52)
def test_a_run_whose_proxy_dies_says_so_and_passes_the_status_on(home: Home, tmp_path: Path) -> None:
    started, go = tmp_path / "started", tmp_path / "go"
    words = f"touch {started}; while [ ! -e {go} ]; do sleep 0.1; done; exit 4"
    process = subprocess.Popen([*CAPTURE, "run", "--", "sh", "-c", words], env=home, stderr=subprocess.PIPE)
    until(lambda: started.exists() or None, "the command to start")
    os.kill(proxies_of(home)[0]["pid"], signal.SIGKILL)
    until(lambda: None if proxies_of(home) else True, "the proxy to be dead")
    go.touch()
    said = process.communicate(timeout=PATIENCE)[1]
    assert process.returncode == 4
    assert b"the proxy ended before the command did" in said


def test_two_runs_at_once_have_a_proxy_each(home: Home, model: str) -> None:
    both = [
        subprocess.Popen([*CAPTURE, "run", "--", *agent(model)], env=home, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        for _ in range(2)
    ]
    said = [process.communicate(timeout=PATIENCE * 2)[1] for process in both]
    assert [b"1 complete" in words for words in said] == [True, True]
    reader = LogReader(Path(home["SSE_LOG_DIR"]))
    assert len({flow["proxy"] for flow in reader.flows()}) == 2
    assert sorted(end["outcome"] for end in reader.ends()) == ["complete", "complete"]


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        (["run", "--", "no-such-agent"], 127, "command not found: no-such-agent"),
        (["run", "--", "/etc/passwd"], 126, "/etc/passwd is not executable"),
        (["run"], 2, "Missing argument"),
        (["run", "--nonsense", "--", "true"], 2, "No such option"),
        (["up", "--port", "99999"], 2, "99999"),
        (["up", "nonsense"], 2, "unexpected argument nonsense"),
        (["up", "--", "--nonsense"], 2, "mitmproxy says: unrecognized arguments: --nonsense"),
        (["run", "--dir", "/proc/nowhere", "--", "true"], 2, "cannot write to /proc/nowhere"),
        (["up", "--dir", "/etc/passwd/log"], 2, "/etc/passwd"),
        (["up", "--confdir", "/proc/nowhere"], 2, "cannot write to /proc/nowhere"),
        (["env"], 2, "capture up"),
        (["nonsense"], 2, "no such command"),
    ],
)
def test_bad_input_gets_one_line_and_leaves_nothing_running(home: Home, words: list[str], status: int, says: str) -> None:
    result = run(home, *words)
    assert result.returncode == status
    assert says in result.stderr.decode()
    assert len(result.stderr.decode().strip().splitlines()) == 1
    assert result.stdout == b""
    assert proxies_of(home) == []


class Up:
    """`capture up` in the background, read until it has said all."""

    def __init__(self, home: Home, *words: str) -> None:
        self.process = subprocess.Popen(
            [*CAPTURE, "up", *words], env=home, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        assert self.process.stdout
        self.said = ""
        for line in self.process.stdout:
            self.said += line
            if "Ctrl-C" in line:
                break

    def end(self) -> int:
        self.process.send_signal(signal.SIGINT)
        assert self.process.stdout
        self.said += self.process.stdout.read()
        return self.process.wait(PATIENCE)

    def url(self, what: str) -> str:
        found = re.search(rf"{what}\s+(http\S+)", self.said)
        assert found, self.said
        return found[1]


@pytest.fixture
def up(home: Home) -> Iterator[Callable[..., Up]]:
    started: list[Up] = []

    def start(*words: str) -> Up:
        started.append(Up(home, *words))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            one.process.kill()
            one.process.wait()


def test_up_tells_where_everything_is_and_ends_cleanly(up: Callable[..., Up], home: Home, model: str) -> None:
    proxy = up()
    assert home["SSE_LOG_DIR"] in proxy.said
    assert "export HTTPS_PROXY=" in proxy.said
    result = run(home, "run", "--", *agent(model))
    assert b"1 complete" in result.stderr
    assert run(home, "env").stdout.decode().startswith(f"export HTTPS_PROXY={proxy.url('proxy')}\n")
    assert proxy.end() == 0
    assert "1 flow recorded" in proxy.said
    assert "Traceback" not in proxy.said


def test_mitmweb_shows_the_streamed_body_and_the_session_and_asks_for_a_token(
    up: Callable[..., Up], home: Home, model: str
) -> None:
    proxy = up()
    run(home, "run", "--", *agent(model))
    address, _, token = proxy.url("web").partition("/?token=")
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(f"{address}/flows", timeout=PATIENCE)
    with urllib.request.urlopen(f"{address}/flows?token={token}", timeout=PATIENCE) as answer:
        (flow,) = json.load(answer)
    assert "session run-test · claude-code-2.1.329 · messages · complete" in flow["comment"]
    with urllib.request.urlopen(f"{address}/flows/{flow['id']}/response/content.data?token={token}", timeout=PATIENCE) as answer:
        assert answer.read() == samples.load("anthropic/text").response
    proxy.end()
    assert token not in "".join(
        path.read_text("utf-8", "replace") for path in Path(home["SSE_LOG_DIR"]).rglob("*") if path.is_file()
    )


@pytest.mark.row(52)
def test_a_taken_port_moves_to_the_next_and_says_so(up: Callable[..., Up]) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        proxy = up("--no-web", "--port", str(port))
        assert f"port {port} is taken, using " in proxy.said
        assert proxy.url("proxy") != f"http://127.0.0.1:{port}"
        proxy.end()


@pytest.mark.row(47)
def test_only_loopback_can_reach_proxy_and_web(up: Callable[..., Up]) -> None:
    proxy = up()
    listening = [c.laddr.ip for c in psutil.Process(proxy.process.pid).net_connections("tcp") if c.status == psutil.CONN_LISTEN]
    assert set(listening) == {"127.0.0.1"}
    proxy.end()


def test_keys_of_tls_are_not_written_even_when_the_environment_asks(up: Callable[..., Up], home: Home, tmp_path: Path) -> None:
    home["SSLKEYLOGFILE"] = home["MITMPROXY_SSLKEYLOGFILE"] = str(tmp_path / "keys")
    proxy = up("--no-web")
    proxy.end()
    assert not (tmp_path / "keys").exists()


def test_a_proxy_that_listens_nowhere_greets_all_the_same(up: Callable[..., Up]) -> None:
    """As in mitmproxy's local mode, which takes the traffic of a program that ignores proxy variables."""
    proxy = up("--no-web", "--", "--no-server")
    assert "agents must trust the CA" in proxy.said
    assert proxy.end() == 0


def test_the_salt_is_made_once_and_a_damaged_one_is_refused(home: Home, tmp_path: Path) -> None:
    run(home, "run", "--", "true")
    salt = tmp_path / ".local/state/sse-capture/salt"
    assert len(salt.read_bytes()) == 32 and salt.stat().st_mode & 0o777 == 0o600
    salt.write_bytes(b"")
    result = run(home, "run", "--", "true")
    assert result.returncode == 2
    assert "salt is damaged" in result.stderr.decode()


def test_an_update_of_the_checkout_does_not_reload_the_addon_of_a_running_proxy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """mitmproxy loads a script again when its file changes: what it is given is a file that never does."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    words = proxy.arguments(tmp_path, 0, None, tmp_path, addons=("addon.sse_logger", "addon.greeting"))
    scripts = [Path(script) for word, script in itertools.pairwise(words) if word == "-s"]
    assert [script.read_text().splitlines()[-1] for script in scripts] == [
        "from addon.sse_logger import addons as addons",
        "from addon.greeting import addons as addons",
    ]
    assert not any(script.is_relative_to(ROOT) for script in scripts)
    assert words == proxy.arguments(tmp_path, 0, None, tmp_path, addons=("addon.sse_logger", "addon.greeting"))


def test_the_demo_ends_by_itself_and_all_is_complete(home: Home) -> None:
    started = time.monotonic()
    result = run(home, "demo")
    assert result.returncode == 0, result.stderr
    assert time.monotonic() - started < PATIENCE
    said = result.stdout.decode()
    assert "byte for byte what the model sent" in said
    assert said.count(" complete") == 3
    directory = re.search(r"sessions --dir (\S+)", said)
    assert directory
    assert len(run(home, "sessions", "--json", "--dir", directory[1]).stdout.splitlines()) == 3


def test_the_addon_works_in_a_mitmdump_that_somebody_else_starts(home: Home, model: str, tmp_path: Path) -> None:
    mitmdump = [sys.executable, "-c", "from mitmproxy.tools.main import mitmdump; mitmdump()"]
    words = ["--listen-host", "127.0.0.1", "--listen-port", "0", "-q", "-s", str(ROOT / "addon" / "sse_logger.py")]
    home.pop("PYTHONPATH")
    with subprocess.Popen([*mitmdump, *words], env=home, cwd=tmp_path) as process:
        port = until(lambda: next((facts["port"] for facts in proxies_of(home)), None), "the proxy")
        heard = upstream.call(samples.load("anthropic/text"), int(model.rpartition(":")[2]), port)
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 0
    assert heard == hashlib.sha256(samples.load("anthropic/text").response).hexdigest()
    assert [end["outcome"] for end in LogReader(Path(home["SSE_LOG_DIR"])).ends()] == ["complete"]


def test_the_addon_refuses_an_unusable_directory_in_one_line_and_ends(home: Home, tmp_path: Path) -> None:
    mitmdump = [sys.executable, "-c", "from mitmproxy.tools.main import mitmdump; mitmdump()"]
    words = ["--listen-host", "127.0.0.1", "--listen-port", "0", "-q", "-s", str(ROOT / "addon" / "sse_logger.py")]
    result = subprocess.run(
        [*mitmdump, *words], env=home | {"SSE_LOG_DIR": "/proc/nowhere"}, capture_output=True, text=True, timeout=PATIENCE
    )
    assert result.returncode == 2
    assert result.stderr.splitlines() == [
        "sse-capture: cannot write to /proc/nowhere (No such file or directory): choose another with SSE_LOG_DIR or --dir"
    ]


@pytest.mark.parametrize(
    ("asked", "runs", "used"),
    [
        (scope.ALL, scope.ALL, True),
        (scope.ALL, scope.Scope(headers_only=True), True),
        (scope.Scope(headers_only=True), scope.ALL, False),
        (scope.Scope(headers_only=True), scope.Scope(headers_only=True), True),
        (scope.Scope(only=("a.example",)), scope.Scope(only=("b.example",)), False),
    ],
)
def test_a_proxy_that_records_other_things_than_were_asked_for_is_not_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, asked: scope.Scope, runs: scope.Scope, used: bool
) -> None:
    running = proxy.Proxy("running", 1, 1, tmp_path, None, None, scope=runs)
    own = proxy.Proxy("own", 2, 2, tmp_path, None, "me", scope=asked)

    class Own:
        def start(self, port: int) -> proxy.Proxy:
            return own

        def end(self) -> None:
            pass

    monkeypatch.setattr(proxy, "running", lambda directory: running)
    monkeypatch.setattr(proxy, "answers", lambda port: True)
    with ExitStack() as stack:
        found = command._proxy(tmp_path, Own(), 9110, asked, stack)  # type: ignore[arg-type]
    assert found is (running if used else own)
