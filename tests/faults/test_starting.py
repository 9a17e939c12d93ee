"""Row 52: no proxy can be started, or it dies: the agent is told within two seconds, and can be let go on."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from capture import own as own_module
from capture.files import Unusable
from capture.own import Own
from capture.presence import Presence, living
from capture.proxy import Proxy
from capture.reader import LogReader
from capture.watching import TRIES, Watch, watching
from tests.faults.harness import CHUNKED, PATIENCE, STOP, Act, Origin, chunk, chunked, event, free_of_listeners, head, until

CAPTURE = [sys.executable, "-m", "capture"]
ROOT = Path(__file__).resolve().parent.parent.parent
SOON = 2.0  # seconds
AGENT = """
import http.client, os, sys, time, urllib.parse
proxy = urllib.parse.urlsplit(os.environ["HTTP_PROXY"])
for url in sys.argv[1:]:
    while True:
        try:
            connection = http.client.HTTPConnection(proxy.hostname, proxy.port)
            connection.request("POST", url, b'{"messages":[{"role":"user","content":"hello"}]}')
            answer = connection.getresponse()
            print(answer.status, answer.read().count(b"event: content_block_delta"), flush=True)
            break
        except (OSError, http.client.HTTPException) as problem:
            print(type(problem).__name__, flush=True)
            time.sleep(0.05)
"""

HELD: list[Any] = []  # what must stay open for a test: the socket and the presence of a proxy that is played

type Home = dict[str, str]
type Figures = Callable[[str, object], None]


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "LANG")}
    yield kept | {"HOME": str(tmp_path), "SSE_LOG_DIR": str(tmp_path / "log"), "PYTHONPATH": str(ROOT)}
    while HELD:
        HELD.pop().close()


def directory(home: Home) -> Path:
    return Path(home["SSE_LOG_DIR"])


def run(home: Home, *words: str) -> tuple[subprocess.CompletedProcess[str], float]:
    """What came of a command, and its seconds."""
    begun = time.monotonic()
    result = subprocess.run([*CAPTURE, "run", *words], env=home, capture_output=True, text=True, timeout=PATIENCE * 2)
    return result, time.monotonic() - begun


def no_directory(home: Home) -> None:
    home["SSE_LOG_DIR"] = "/proc/nowhere"


def directory_of_another(home: Home) -> None:
    directory(home).mkdir()
    os.chown(directory(home), 12345, -1)


def no_state(home: Home) -> None:
    home["XDG_STATE_HOME"] = "/proc/nowhere"


def damaged_salt(home: Home) -> None:
    state = Path(home["HOME"]) / ".local/state/sse-capture"
    state.mkdir(parents=True, mode=0o700)
    (state / "salt").write_bytes(b"short")


def damaged_ca(home: Home) -> None:
    confdir = Path(home["HOME"]) / ".mitmproxy"
    confdir.mkdir(mode=0o700)
    (confdir / "mitmproxy-ca.pem").write_text("nothing")


def no_ca(home: Home) -> None:
    """A proxy runs, and its CA is gone: the agent would trust nobody."""
    HELD.append(socket.create_server(("127.0.0.1", 0)))
    HELD.append(Presence(directory(home), {"port": HELD[0].getsockname()[1], "confdir": f"{home['HOME']}/gone"}))


def broken_mitmproxy(home: Home) -> None:
    package = Path(home["HOME"]) / "broken" / "mitmproxy"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise ImportError('it is broken')")
    home["PYTHONPATH"] = f"{package.parent}:{home['PYTHONPATH']}"


TROUBLE = {
    "no log directory": (no_directory, "cannot write to /proc/nowhere"),
    "a log directory of another user": (directory_of_another, "belongs to another user"),
    "no state directory": (no_state, "cannot write to /proc/nowhere"),
    "a damaged salt": (damaged_salt, "salt is damaged"),
    "a damaged CA": (damaged_ca, "mitmproxy-ca.pem is damaged"),
    "the CA of a running proxy missing": (no_ca, "CA certificate is missing"),
    "a broken mitmproxy": (broken_mitmproxy, "the proxy did not start: ImportError: it is broken"),
}


@pytest.mark.row(52)
@pytest.mark.parametrize("name", TROUBLE)
def test_without_a_proxy_the_agent_is_not_started_and_the_reason_is_said_in_one_line(
    home: Home, name: str, record_property: Figures
) -> None:
    make, says = TROUBLE[name]
    make(home)
    result, seconds = run(home, "--", "touch", f"{home['HOME']}/started")
    assert result.returncode == 2
    assert says in result.stderr and "--fail-open" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not (Path(home["HOME"]) / "started").exists()
    assert seconds <= SOON
    record_property(f"{name}: said after", f"{seconds:.1f} s")


@pytest.mark.row(52)
@pytest.mark.parametrize("name", ["no log directory", "a damaged CA", "a broken mitmproxy"])
def test_with_fail_open_the_agent_runs_all_the_same_and_is_said_not_to_be_recorded(
    home: Home, name: str, record_property: Figures
) -> None:
    """Also where the shell still leads to a proxy that has gone: the agent must not."""
    make, says = TROUBLE[name]
    make(home)
    with socket.create_server(("127.0.0.1", 0)) as gone:
        home["HTTPS_PROXY"] = f"http://capture:secret@127.0.0.1:{gone.getsockname()[1]}"
    result, seconds = run(home, "--fail-open", "--", "sh", "-c", 'echo "ran with <$HTTPS_PROXY>"; exit 7')
    assert (result.returncode, result.stdout) == (7, "ran with <>\n")
    first, last = result.stderr.splitlines()
    assert "NOT RECORDED" in first and says in first and "NOT RECORDED" in last
    assert seconds <= SOON
    record_property(f"{name}, --fail-open: agent over after", f"{seconds:.1f} s")


@pytest.mark.row(52)
def test_a_taken_port_costs_nothing(home: Home, origin: Origin, record_property: Figures) -> None:
    """The next free one is used, and the agent is recorded."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        url = origin.serve(chunked([event(0), STOP]))
        result, seconds = run(home, "--port", str(port), "--", sys.executable, "-c", AGENT, url)
    assert result.stdout == "200 1\n"
    assert "captured 1 flow (1 complete)" in result.stderr
    record_property("a taken port: recorded and over after", f"{seconds:.1f} s")


@pytest.mark.row(52)
def test_a_port_that_nobody_listens_on_any_more_is_not_used(home: Home, origin: Origin) -> None:
    """A presence that is locked, a port that is closed: a proxy that is ending. The run starts its own."""
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    ending = Presence(directory(home), {"port": port, "confdir": home["HOME"]})
    url = origin.serve(chunked([event(0), STOP]))
    result, _ = run(home, "--", sys.executable, "-c", AGENT, url)
    ending.close()
    assert "captured 1 flow (1 complete)" in result.stderr


@pytest.mark.row(52)
def test_a_proxy_that_dies_is_told_of_at_once_and_started_again_and_the_agent_goes_on(
    home: Home, origin: Origin, record_property: Figures
) -> None:
    """On the same port: the agent's stream is cut, it tries again, as agents do, and is recorded; the cut flow is ended."""
    held = origin.serve([head(CHUNKED), chunk(event(0)), Act.HOLD])
    urls = [origin.serve(chunked([event(0), STOP])), held]
    process = subprocess.Popen(
        [*CAPTURE, "run", "--", sys.executable, "-c", AGENT, *urls],
        env=home,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    said: list[tuple[float, str]] = []
    reading = threading.Thread(target=lambda: said.extend((time.monotonic(), line) for line in process.stderr or ()))
    reading.start()
    reader = LogReader(directory(home))
    until(lambda: len(list(reader.flows())) == 2, "the stream to be recorded")
    (first,) = living(directory(home))
    origin._scripts[held.split("/")[3]] = lambda: chunked([event(0), STOP])  # what it hears when it tries again
    killed = time.monotonic()
    os.kill(first["pid"], signal.SIGKILL)
    output = process.stdout.read() if process.stdout else ""
    assert process.wait(PATIENCE) == 0
    reading.join()
    heard = output.split("\n")
    assert heard[0] == "200 1" and heard[-2] == "200 1" and len(heard) > 3
    fell, rose, down, told = [each for each in said if "waiting for the proxy to start" not in each[1]]  # (on a busy machine)
    assert "the proxy ended before the command did" in fell[1] and "started again" in fell[1]
    assert fell[0] - killed <= 1.0
    assert "the proxy runs again" in rose[1] and "is not recorded" in down[1]
    assert "captured 3 flows (2 complete, 1 killed)" in told[1]
    assert living(directory(home)) == []
    record_property("a dead proxy: said after", f"{fell[0] - killed:.1f} s")
    record_property("a dead proxy: runs again after", f"{rose[0] - killed:.1f} s")


@pytest.mark.row(52)
def test_a_proxy_that_hangs_when_it_starts_is_waited_for_in_words_and_then_given_up(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr("capture.own.PROGRAM", (sys.executable, "-c", "import time; time.sleep(60)"))
    monkeypatch.setattr("capture.own.START_TIMEOUT", 0.5)
    assert own_module.SLOW < SOON
    monkeypatch.setattr("capture.own.SLOW", 0.1)
    said: list[str] = []
    own = Own(directory(home), tmp_path / "confdir", slow=said.append)
    with pytest.raises(Unusable, match="not listening after"):
        own.start(free_of_listeners())
    own.end()
    assert len(said) == 1 and "waiting for the proxy" in said[0]
    assert not own.alive()


# -- the watch alone ---------------------------------------------------------------------------------------------------------


class Played(Own):
    """A proxy that can be killed by a word; starts as often as it may."""

    def __init__(self, starts: int) -> None:
        self.starts, self.lives = starts, True

    def start(self, port: int = 0, exact: bool = False) -> Proxy:
        assert exact
        if not self.starts:
            raise Unusable("the port is taken")
        self.starts -= 1
        self.lives = True
        return of_ours(f"again {self.starts}", port)

    def alive(self) -> bool:
        return self.lives

    def end(self) -> None:
        self.lives = False


def of_ours(name: str, port: int = 1, owner: str | None = "me") -> Proxy:
    return Proxy(name, port, 0, Path(), None, owner)


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("capture.watching.LOOK", 0.001)


@pytest.mark.row(52)
def test_a_proxy_that_always_dies_is_started_again_so_often_and_no_more(tmp_path: Path, at_once: None) -> None:
    said: list[str] = []
    own = Played(100)
    with watching(of_ours("first"), own, tmp_path, said.append) as watch:
        for again in range(TRIES):
            own.lives = False
            until(lambda again=again: len(said) == 2 * again + 2, "it to run again")  # type: ignore[misc]
        own.lives = False
        until(lambda: "not started again" in said[-1], "it to be given up")
    assert own.starts == 100 - TRIES
    assert not watch.up and watch.down > 0 and len(watch.ids) == TRIES + 1


@pytest.mark.row(52)
def test_each_start_that_fails_is_said_with_its_reason(tmp_path: Path, at_once: None) -> None:
    said: list[str] = []
    own = Played(0)
    with watching(of_ours("first"), own, tmp_path, said.append):
        own.lives = False
        until(lambda: said and "not started again" in said[-1], "it to be given up")
    assert said[1:-1] == ["the port is taken"] * TRIES


@pytest.mark.row(52)
def test_a_proxy_of_somebody_else_is_not_started_but_seen_when_it_is_back(tmp_path: Path, at_once: None) -> None:
    said: list[str] = []
    first = Presence(tmp_path, {"port": 7, "confdir": ""})
    with watching(of_ours(first.id, 7, None), Played(0), tmp_path, said.append) as watch:
        first.close()
        until(lambda: said, "its death to be seen")
        back = Presence(tmp_path, {"port": 7, "confdir": ""})
        until(lambda: watch.up, "it to be back")
        back.close()
    assert "capture up --port 7" in said[0] and "runs again" in said[1]
    assert watch.ids == {first.id, back.id}


def test_a_death_in_the_last_moment_is_counted_all_the_same(tmp_path: Path) -> None:
    said: list[str] = []
    own = Played(1)
    watch = Watch(of_ours("first"), own, tmp_path, said.append)
    own.lives = False
    watch.stop()
    assert not watch.up and len(said) == 1 and own.starts == 1
