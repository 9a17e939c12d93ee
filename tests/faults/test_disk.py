"""Rows 6, 7 and 9: the log's disk is full while agents talk and has room again later; its directory goes and comes."""

import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from capture.files import FILES, parse, whole_lines
from capture.reader import LogReader
from tests.faults.harness import (
    CHUNKED,
    END_OF_CHUNKS,
    STOP,
    Client,
    Flow,
    Origin,
    Proxy,
    ask,
    captures,
    case_of,
    chunk,
    chunked,
    event,
    head,
    named,
    until,
    whatwg,
)
from tests.test_store import errors

ASKED = b'{"messages":[{"role":"user","content":"hello"}]}'
BODY = [event(0), STOP]


def mount_or_skip(*mount: str | Path) -> None:
    """`mount_or_skip("-t", "tmpfs", …)`: skips the test where nothing can be mounted."""
    if os.geteuid() != 0 or subprocess.run(["mount", *map(str, mount)], capture_output=True).returncode:
        pytest.skip("cannot mount")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A directory whose `log` is a real file system of 1 MB; the test is skipped where none can be mounted."""
    (tmp_path / "log").mkdir()
    mount_or_skip("-t", "tmpfs", "-o", "size=1m", "tmpfs", tmp_path / "log")
    yield tmp_path
    subprocess.run(["umount", "-l", str(tmp_path / "log")], check=True)


@pytest.mark.row(6)
def test_a_full_disk_is_not_noticed_by_clients_said_in_mitmproxys_log_and_made_up_for_later(
    small_disk: Path, confdir: Path, origin: Origin, record_property: Callable[[str, object], None]
) -> None:
    proxy = Proxy(small_disk, confdir)
    ballast = small_disk / "log" / "ballast"
    ballast.write_bytes(b"x" * 700_000)
    bodies = [[event(number, 100_000), STOP] for number in range(10)]
    urls = [origin.serve(chunked(body)) for body in bodies]
    for url, body in zip(urls, bodies, strict=True):
        with Client(proxy.port) as client:
            answer = client.ask(url, ASKED)
            assert (answer.body, answer.ended) == (b"".join(body), "clean")
    until(lambda: "No space left on device" in proxy.output(), "the full disk to be said")
    ballast.unlink()
    (small_disk / "log").chmod(0o700)
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk / "log")], check=True)
    until(lambda: "the log is written again" in proxy.output(), "the disk to take records again")
    url = origin.serve(chunked([event(0), STOP]))
    with Client(proxy.port) as client:
        client.ask(url, ASKED)
    proxy.end()
    assert "Traceback" not in proxy.output()
    log = LogReader(proxy.directory)
    flows = [flow["flow_id"] for flow in log.flows()]
    assert len(flows) == 11
    for flow_id in flows:
        (end,) = [end for end in log.ends() if end["flow_id"] == flow_id]
        assert end["outcome"] == "complete"
        counts = [line["data_count"] for line in log.lines() if line["flow_id"] == flow_id]
        assert counts == list(range(end["lines"])) == [line["data_count"] for line in log.flow_lines(end["sid"], flow_id)]
    assert [error["where"] for error in errors(proxy.directory)] == ["disk"]
    glued = sum(not parse(line) for name in FILES.values() for line in whole_lines(proxy.directory / name))
    assert glued == 0
    record_property("streams while the disk was full", 10)
    record_property("records lost after recovery", 0)
    record_property("torn or glued lines", glued)


@pytest.fixture
def small_copies(tmp_path: Path) -> Iterator[Path]:
    """A directory whose `log/sse_logs` is a real file system of 300 kB."""
    copies = tmp_path / "log" / "sse_logs"
    copies.mkdir(parents=True)
    (tmp_path / "log").chmod(0o700)
    mount_or_skip("-t", "tmpfs", "-o", "size=300k,mode=700", "tmpfs", copies)
    yield tmp_path
    subprocess.run(["umount", "-l", str(copies)], check=True)


def ended(proxy: Proxy, url: str) -> Flow:
    """The flow of a case, as soon as the central log has its end."""
    return until(lambda: next((flow for flow in proxy.log.of(url) if flow.ends), None), "the end in the central log")


@pytest.mark.row(7)
def test_where_only_the_flows_own_files_find_no_room_the_central_log_goes_on(
    small_copies: Path, confdir: Path, origin: Origin, record_property: Callable[[str, object], None]
) -> None:
    proxy = Proxy(small_copies, confdir)
    body = [*(event(number, 10_000) for number in range(20)), STOP]
    for _ in range(5):
        url = origin.serve(chunked(body))
        with Client(proxy.port) as client:
            assert client.ask(url, ASKED).body == b"".join(body)
        flow = ended(proxy, url)
        assert flow.heard() == named(whatwg(b"".join(body)))
    assert "No space left on device" in proxy.output()
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_copies / "log" / "sse_logs")], check=True)
    until(lambda: "the log is written again" in proxy.output(), "the copies to find room")
    proxy.end()
    assert proxy.log.audit() == 5  # the copies as well: they had waited
    record_property("streams while the copies had no room", 5)
    record_property("records missing from the central log", 0)
    record_property("records missing from the copies afterwards", 0)


def away(log: Path) -> Callable[[], None]:
    log.rename(log.with_name("elsewhere"))
    return lambda: None


def deleted(log: Path) -> Callable[[], None]:
    shutil.rmtree(log)
    return lambda: None


def replaced(log: Path) -> Callable[[], None]:
    log.rename(log.with_name("elsewhere"))
    log.mkdir(0o700)
    return lambda: None


def a_file_in_its_place(log: Path) -> Callable[[], None]:
    log.rename(log.with_name("elsewhere"))
    log.write_text("in the way")
    return log.unlink


def read_only(log: Path) -> Callable[[], None]:
    mount_or_skip("--bind", log, log)
    subprocess.run(["mount", "-o", "remount,bind,ro", str(log)], check=True)
    return lambda: unmount(log)


def unmount(path: Path) -> None:
    subprocess.run(["umount", "-l", str(path)], check=True)


def recovered(proxy: Proxy, origin: Origin) -> float:
    """Seconds until a fresh stream is on record whole. (What comes before the proxy has looked goes to the files it had.)"""
    began = time.monotonic()
    while True:
        url = origin.serve(chunked(BODY))
        assert ask(proxy, url, ASKED).body == b"".join(BODY)
        looked = time.monotonic()
        while time.monotonic() < looked + 0.3:
            flows = [flow["flow_id"] for flow in LogReader(proxy.directory).flows() if case_of(flow["url"]) == case_of(url)]
            if flows and any(end["flow_id"] == flows[0] for end in LogReader(proxy.directory).ends()):
                return time.monotonic() - began
        assert time.monotonic() < began + 60


@pytest.mark.row(9)
@pytest.mark.parametrize("happens", [away, deleted, replaced, a_file_in_its_place, read_only])
def test_a_directory_that_goes_is_begun_anew_or_said_to_be_missing_until_it_is_back(
    tmp_path: Path,
    confdir: Path,
    origin: Origin,
    happens: Callable[[Path], Callable[[], None]],
    times: Callable[[int, int], int],
    record_property: Callable[[str, object], None],
) -> None:
    """A stream is open meanwhile, and its client notices nothing."""
    if happens in (away, replaced) and not times(0, 1):
        pytest.skip("with --long only: much like the others")
    proxy = Proxy(tmp_path, confdir)
    captures(proxy, origin)
    more = threading.Event()
    url = origin.serve([head(CHUNKED), chunk(event(0)), more, chunk(STOP), END_OF_CHUNKS])
    with Client(proxy.port) as client:
        stream = client.open(url, ASKED)
        pieces = iter(stream)
        next(pieces)
        flow = until(lambda: next((flow for flow in proxy.log.of(url) if flow.lines), None), "the stream's first event")
        undo = happens(proxy.directory)
        if happens in (a_file_in_its_place, read_only):
            assert ask(proxy, origin.serve(chunked(BODY)), ASKED).body == b"".join(BODY)
            until(lambda: "cannot write to" in proxy.output(), "the trouble to be said")
            undo()
        seconds = recovered(proxy, origin)
        more.set()
        assert b"".join(pieces) == STOP
        assert stream.ended == "clean"
    proxy.end()
    ends = [end for end in LogReader(proxy.directory).ends() if end["flow_id"] == flow.record["flow_id"]]
    assert [end["outcome"] for end in ends] == ["complete"]
    assert errors(proxy.directory) or "the log is written again" in proxy.output()
    assert "Traceback" not in proxy.output()
    record_property(f"{happens.__name__.replace('_', ' ')}: on record again after", f"{seconds:.1f} s")
