"""Row 45: links, pipes, devices and other people's files where ours should be. Nothing is written through them, nobody waits."""

import os
import signal
import socket
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

import pytest

from capture import proxy, state
from capture.commands.doctor import examine
from capture.files import FILES, LINES, Unusable, prepare
from capture.jsonl import Blob
from capture.store import LOOK, LogWriter
from tests.faults.harness import STOP, Origin, Proxy, ask, chunked, event, until
from tests.test_store import end_record, flow_record, line_record

STRANGER = 12345  # a user id
WAIT = 5  # seconds after which a call that waits for a pipe is given up
FILE_KINDS = ("symlink", "dangling", "hard link", "foreign", "fifo", "socket", "device", "directory")
DIRECTORY_KINDS = ("symlink", "dangling", "foreign", "fifo", "socket", "device", "file")
CENTRAL = (*FILES.values(), "sse_logger.error", "proxies/.lock", "proxies/1-1.json", "proxies/1-1.dead")

type Figures = Callable[[str, object], None]

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away and make devices")


class Bait:
    """What must stay as it is: a file and a directory that links lead to."""

    def __init__(self, base: Path) -> None:
        base.mkdir(mode=0o755)
        base.chmod(0o755)
        self.file, self.directory, self.nothing = base / "file", base / "directory", base / "nothing"
        self.file.write_text("bait")
        self.file.chmod(0o644)
        self.directory.mkdir()
        self.directory.chmod(0o755)
        self.planted: list[Path] = []
        self._before = self._look()

    def plant(self, kind: str, path: Path, to: Path) -> None:
        """Puts something of that kind at a path; a link leads to `to`."""
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        match kind:
            case "symlink":
                path.symlink_to(to)
            case "dangling":
                path.symlink_to(self.nothing)
            case "hard link":
                path.hardlink_to(self.file)
            case "foreign":
                path.mkdir() if to == self.directory else path.write_text("theirs")
                os.chown(path, STRANGER, -1)
            case "fifo":
                os.mkfifo(path)
            case "socket":
                with socket.socket(socket.AF_UNIX) as server:
                    _bind(server, path)
            case "device":
                os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 3))
            case "directory":
                path.mkdir()
            case "file":
                path.write_text("a file")
        self.planted.append(path)
        self._before = self._look()

    def untouched(self) -> bool:
        return self._look() == self._before

    def _look(self) -> list[object]:
        status = [(stat.S_IMODE(each.lstat().st_mode), each.lstat().st_uid) for each in (self.file, self.directory, *self.planted)]
        inside = [sorted(os.listdir(each)) for each in (self.directory, *self.planted) if each.is_dir() and not each.is_symlink()]
        return [self.file.read_text(), os.listdir(self.directory), self.nothing.exists(), status, inside]


def _bind(server: socket.socket, path: Path) -> None:
    """A socket's path has at most 107 bytes: it is bound from its directory."""
    here = os.getcwd()
    os.chdir(path.parent)
    try:
        server.bind(path.name)
    finally:
        os.chdir(here)


@pytest.fixture
def bait(tmp_path: Path) -> Bait:
    return Bait(tmp_path / "bait")


@pytest.fixture(autouse=True)
def nobody_waits() -> Iterator[None]:
    """A call that hangs (who opens a pipe to read waits for a writer) fails its test."""

    def give_up(number: int, frame: FrameType | None) -> None:
        raise AssertionError("it waits")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(WAIT)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def refused(call: Callable[[], object], path: Path) -> str:
    """The one line in which something was refused; it names the path."""
    with pytest.raises(Unusable) as problem:
        call()
    said = str(problem.value)
    assert "\n" not in said and str(path) in said
    return said


@needs_root
@pytest.mark.row(45)
@pytest.mark.parametrize("kind", FILE_KINDS)
@pytest.mark.parametrize("name", CENTRAL)
def test_a_log_with_something_else_in_place_of_a_file_is_refused(
    tmp_path: Path, bait: Bait, name: str, kind: str, record_property: Figures
) -> None:
    bait.plant(kind, tmp_path / "log" / name, bait.file)
    said = refused(lambda: LogWriter(tmp_path / "log", {}), tmp_path / "log" / name)
    assert "SSE_LOG_DIR" in said
    assert bait.untouched()
    record_property("planted in place of files", 1)


@needs_root
@pytest.mark.row(45)
@pytest.mark.parametrize("kind", DIRECTORY_KINDS)
@pytest.mark.parametrize("name", ["", "sse_logs", "bodies", "proxies"])
def test_a_log_with_something_else_in_place_of_a_directory_is_refused(
    tmp_path: Path, bait: Bait, name: str, kind: str, record_property: Figures
) -> None:
    bait.plant(kind, tmp_path / "log" / name, bait.directory)
    said = refused(lambda: LogWriter(tmp_path / "log", {}), tmp_path / "log" / name)
    assert "SSE_LOG_DIR" in said
    assert bait.untouched()
    record_property("planted in place of directories", 1)


@needs_root
@pytest.mark.row(45)
@pytest.mark.parametrize("kind", FILE_KINDS)
def test_what_is_planted_while_the_log_is_written_costs_the_copy_and_not_the_record(
    tmp_path: Path, bait: Bait, kind: str, record_property: Figures
) -> None:
    """In place of a flow's own file. The central log has the record; the trouble is named."""
    writer = LogWriter(tmp_path / "log", {})
    path = tmp_path / "log" / "sse_logs" / "session-1" / "flow-1.jsonl"
    bait.plant(kind, path, bait.file)
    for record in (flow_record(), end_record()):  # when it ends, it is written at once
        writer.write(record)
    with pytest.raises(OSError) as problem:
        writer.flush()
    assert str(path) in str(problem.value)
    assert b"session-1" in (tmp_path / "log" / "sse_flows.jsonl").read_bytes()
    assert bait.untouched()
    record_property("planted while it was written", 1)


@needs_root
@pytest.mark.row(45)
@pytest.mark.parametrize("kind", DIRECTORY_KINDS)
def test_a_session_folder_that_is_none_takes_no_copies(tmp_path: Path, bait: Bait, kind: str, record_property: Figures) -> None:
    writer = LogWriter(tmp_path / "log", {})
    path = tmp_path / "log" / "sse_logs" / "session-1"
    bait.plant(kind, path, bait.directory)
    for record in (flow_record(), line_record(0), end_record()):
        writer.write(record)
    with pytest.raises(OSError) as problem:
        writer.flush()
    assert str(path) in str(problem.value)
    assert b"session-1" in (tmp_path / "log" / LINES).read_bytes()
    assert bait.untouched()
    record_property("planted while it was written", 1)


@needs_root
@pytest.mark.row(45)
@pytest.mark.parametrize("kind", [kind for kind in FILE_KINDS if kind != "directory"])
def test_a_body_takes_the_place_of_what_was_planted_there(tmp_path: Path, bait: Bait, kind: str, record_property: Figures) -> None:
    """It is written beside it and then given its name: the link, pipe or file goes, what a link leads to stays."""
    writer = LogWriter(tmp_path / "log", {})
    path = tmp_path / "log" / "bodies" / "abc"
    bait.plant(kind, path, bait.file)
    if kind == "hard link":
        bait.planted.clear()
    writer.write(Blob("abc", b"large"))
    writer.flush()
    assert path.read_bytes() == b"large" and not path.is_symlink() and path.stat().st_uid == os.geteuid()
    assert bait.file.read_text() == "bait" and not bait.nothing.exists()
    record_property("planted while it was written", 1)


@needs_root
@pytest.mark.row(45)
@pytest.mark.parametrize("kind", FILE_KINDS)
def test_a_central_file_that_is_exchanged_while_it_is_written_waits_for_a_file(
    tmp_path: Path, bait: Bait, kind: str, record_property: Figures
) -> None:
    now = [1000.0]
    writer = LogWriter(tmp_path / "log", {}, now=lambda: now[0])
    path = tmp_path / "log" / LINES
    path.rename(tmp_path / "away")
    bait.plant(kind, path, bait.file)
    now[0] += 2 * LOOK
    writer.write(line_record(0))
    with pytest.raises(OSError) as problem:
        writer.flush()
    assert str(path) in str(problem.value)
    assert bait.untouched()
    path.rmdir() if kind == "directory" else path.unlink()
    now[0] += 2 * LOOK
    writer.flush()
    assert b'"data_count":0' in path.read_bytes()
    record_property("planted while it was written", 1)


@needs_root
@pytest.mark.row(45)
@pytest.mark.parametrize("kind", [kind for kind in FILE_KINDS if kind != "hard link"])
@pytest.mark.parametrize("name", ["salt", "proxy-password"])
def test_a_secret_that_is_no_file_of_ours_is_refused(
    tmp_path: Path, bait: Bait, monkeypatch: pytest.MonkeyPatch, name: str, kind: str, record_property: Figures
) -> None:
    """A second name is no harm to what is only read."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    path = tmp_path / "sse-capture" / name
    bait.plant(kind, path, bait.file)
    refused(state.read_salt if name == "salt" else state.password_file, path)
    assert bait.untouched()
    record_property("planted in place of secrets", 1)


@needs_root
@pytest.mark.row(45)
@pytest.mark.parametrize("kind", FILE_KINDS)
@pytest.mark.parametrize("name", ["scripts", "roots"])
def test_a_kept_file_takes_the_place_of_what_was_planted_there(
    tmp_path: Path, bait: Bait, monkeypatch: pytest.MonkeyPatch, name: str, kind: str, record_property: Figures
) -> None:
    """Also of a file with other content: a script that a proxy runs must be the one that was meant."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    path = state.kept(name, ".py", b"ours")
    path.unlink()
    bait.plant(kind, path, bait.file)
    if kind == "directory":
        with pytest.raises(OSError):
            state.kept(name, ".py", b"ours")
    else:
        assert state.kept(name, ".py", b"ours").read_bytes() == b"ours"
        assert not path.is_symlink()
        path.write_bytes(b"theirs")
        assert state.kept(name, ".py", b"ours").read_bytes() == b"ours"
    assert bait.file.read_text() == "bait" and not bait.nothing.exists()
    record_property("planted in place of kept files", 1)


@needs_root
@pytest.mark.row(45)
@pytest.mark.parametrize("kind", DIRECTORY_KINDS)
@pytest.mark.parametrize("what", ["state", "confdir"])
def test_a_folder_of_secrets_that_is_not_ours_is_refused(
    tmp_path: Path, bait: Bait, monkeypatch: pytest.MonkeyPatch, what: str, kind: str, record_property: Figures
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    path = tmp_path / ("sse-capture" if what == "state" else "confdir")
    bait.plant(kind, path, bait.directory)
    said = refused(state.state_directory if what == "state" else lambda: proxy.prepare_confdir(path), path)
    assert ("XDG_STATE_HOME" if what == "state" else "--confdir") in said
    assert bait.untouched()
    record_property("planted in place of directories", 1)


@needs_root
@pytest.mark.row(45)
@pytest.mark.parametrize("kind", [kind for kind in FILE_KINDS if kind not in ("symlink", "hard link")])
@pytest.mark.parametrize("name", ["mitmproxy-ca.pem", "mitmproxy-ca-cert.pem", ".sse-capture.lock"])
def test_a_ca_that_is_no_file_of_ours_is_refused(
    tmp_path: Path, bait: Bait, name: str, kind: str, record_property: Figures
) -> None:
    """(mitmproxy writes its key through a link that leads nowhere, and would wait for a pipe.)"""
    bait.plant(kind, tmp_path / "confdir" / name, bait.file)

    def start() -> None:
        with proxy.starting(tmp_path / "confdir"):
            pass

    assert "--confdir" in refused(start, tmp_path / "confdir" / name)
    assert bait.untouched()
    record_property("planted in place of secrets", 1)


# -- the way to the log ------------------------------------------------------------------------------------------------------


@needs_root
@pytest.mark.row(45)
@pytest.mark.parametrize("kind", DIRECTORY_KINDS)
def test_a_parent_that_is_not_ours_is_refused(tmp_path: Path, bait: Bait, kind: str, record_property: Figures) -> None:
    bait.plant(kind, tmp_path / "parent", bait.directory)
    with pytest.raises(Unusable) as problem:
        prepare(tmp_path / "parent" / "log")
    assert str(tmp_path / "parent") in str(problem.value) and "\n" not in str(problem.value)
    assert bait.untouched()
    record_property("planted in place of the parent", 1)


@needs_root
@pytest.mark.row(45)
@pytest.mark.parametrize(("owner", "mode", "followed"), [(0, 0o755, True), (0, 0o777, False), (STRANGER, 0o755, False)])
def test_a_link_further_up_is_followed_only_where_nobody_else_can_put_one(
    tmp_path: Path, bait: Bait, owner: int, mode: int, followed: bool, record_property: Figures
) -> None:
    """Homes and disks are often behind links: of the system's, or of our own in a directory that is ours."""
    way = tmp_path / "way"
    way.mkdir()
    (way / "link").symlink_to(bait.directory)
    os.chown(way / "link", owner, -1, follow_symlinks=False)
    way.chmod(mode)
    log = way / "link" / "parent" / "log"
    if followed:
        assert prepare(log).is_dir()
    else:
        refused(lambda: prepare(log), way / "link")
        assert bait.untouched()
        record_property("planted further up", 1)


@needs_root
@pytest.mark.row(45)
def test_a_user_is_not_led_astray_by_links_of_his_own_and_follows_those_of_the_system(record_property: Figures) -> None:
    """As root one cannot tell the two apart."""
    with tempfile.TemporaryDirectory() as name:
        base = Path(name)
        os.chown(base, STRANGER, -1)
        (base / "real").mkdir()
        os.chown(base / "real", STRANGER, -1)
        for link, owner in (("mine", STRANGER), ("systems", 0), ("other", STRANGER + 1)):
            (base / link).symlink_to(base / "real")
            os.chown(base / link, owner, -1, follow_symlinks=False)
        os.seteuid(STRANGER)
        try:
            assert prepare(base / "systems" / "log").is_dir()
            for link in ("mine", "other"):
                refused(lambda link=link: prepare(base / link / "log"), base / link)  # type: ignore[misc]
            for link in ("mine", "systems", "other"):
                refused(lambda link=link: prepare(base / link), base / link)  # type: ignore[misc]
        finally:
            os.seteuid(0)
    record_property("planted in place of the parent", 5)


@needs_root
@pytest.mark.row(45)
def test_a_running_proxy_says_what_was_planted_and_records_on(
    tmp_path: Path, confdir: Path, origin: Origin, bait: Bait, record_property: Figures
) -> None:
    """E: one clear line in sse_logger.error; the client has its bytes, the central log its records."""
    signal.alarm(0)  # it starts a process
    proxy = Proxy(tmp_path, confdir)
    bait.plant("symlink", proxy.directory / "sse_logs" / "led-astray", bait.directory)
    url = origin.serve(chunked([event(0), STOP]))
    answer = ask(proxy, url, b'{"messages":[]}', headers=(("session-id", "led-astray"),))
    assert (answer.status, answer.ended) == (200, "clean")
    error = until(lambda: next(iter(proxy.log.errors()), None), "a word about it")
    until(lambda: [flow for flow in proxy.log.of(url) if flow.ends], "the flow's end in the central log")
    (flow,) = proxy.log.of(url)
    assert (error["where"], "led-astray is a symbolic link" in error["what"]) == ("disk", True)
    assert (flow.end["outcome"], len(flow.payloads)) == ("complete", 2)
    assert bait.untouched()
    proxy.end(signal.SIGKILL)
    record_property("planted while it was written", 1)


@needs_root
@pytest.mark.row(45)
@pytest.mark.parametrize("kind", FILE_KINDS)
def test_doctor_says_what_was_planted_and_does_not_wait_for_it(tmp_path: Path, bait: Bait, kind: str) -> None:
    bait.plant(kind, tmp_path / "log" / LINES, bait.file)
    (tmp_path / "log").chmod(0o700)
    failed = [finding.what for finding in examine(tmp_path / "log", tmp_path / "confdir") if finding.state == "fail"]
    assert len(failed) == 1 and str(tmp_path / "log" / LINES) in failed[0]
    assert bait.untouched()
