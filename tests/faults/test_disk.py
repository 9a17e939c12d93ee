"""Row 6: the log's disk is full while agents talk, and has room again later."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from capture.reader import LogReader
from tests.faults.harness import STOP, Client, Origin, Proxy, chunked, event, until
from tests.test_store import errors

ASKED = b'{"messages":[{"role":"user","content":"hello"}]}'


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A directory whose `log` is a real file system of 1 MB; the test is skipped where none can be mounted."""
    (tmp_path / "log").mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(tmp_path / "log")]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("cannot mount a small disk")
    yield tmp_path
    subprocess.run(["umount", "-l", str(tmp_path / "log")], check=True)


def test_a_full_disk_is_not_noticed_by_clients_said_in_mitmproxys_log_and_made_up_for_later(
    small_disk: Path, confdir: Path, origin: Origin
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
