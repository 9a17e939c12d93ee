"""Row 51: a purge is killed at random moments while a proxy writes. The log is whole each time; the next purge ends it."""

import random
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import orjson
import pytest

from capture.files import ENDS, FLOWS, LINES
from capture.store import LogWriter
from tests.faults.harness import Origin, Proxy, until
from tests.faults.test_keeping import Talk, went_on
from tests.test_quota import put

NAMES = (FLOWS, LINES, ENDS)
DOOMED, KEPT = 30, 5


def of(directory: Path, beginning: str) -> dict[str, list[bytes]]:
    """The lines of sessions that begin so, in each central file, all of whose lines are records."""
    found = {}
    for name in NAMES:
        data = (directory / name).read_bytes()
        lines = data[: data.rfind(b"\n") + 1].splitlines()
        found[name] = [line for line in lines if orjson.loads(line)["sid"].startswith(beginning)]
    return found


@pytest.mark.row(51)
def test_a_purge_killed_at_any_moment_leaves_a_whole_log_that_the_next_one_finishes(
    tmp_path: Path, confdir: Path, origin: Origin, times: Callable[[int, int], int], record_property: Callable[[str, object], None]
) -> None:
    chance = random.Random(51)
    writer = LogWriter(tmp_path / "log", {})
    for number in range(KEPT):
        put(writer, f"kept-{number}", 10, lines=20)
    proxy = Proxy(tmp_path, confdir)
    talk = Talk(proxy, origin, "session-live", "pear")
    kept, kills, ended, took = of(proxy.directory, "kept"), times(4, 60), 0, 0.0
    words = [sys.executable, "-m", "capture", "purge", "--dir", str(proxy.directory), "--older-than", "20h", "--yes"]
    for run in range(-1, kills + 1):
        for number in range(DOOMED):
            put(writer, f"doomed-{run}-{number}", 100, lines=20)
        began = time.monotonic()
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        if run > 0:
            time.sleep(chance.uniform(0.3, 1.0) * took)  # the random moment: nothing is waited for
            process.kill()
            ended += process.wait() == 0
        else:  # the first two are not disturbed: how long the next ones will take
            process.wait()
            took = time.monotonic() - began
        assert of(proxy.directory, "kept") == kept
        until(partial(went_on, [talk], [talk.heard + 100]), "the client to be served")
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert of(proxy.directory, "kept") == kept
    assert b"doomed" not in proxy.log.everything()
    assert not (proxy.directory / ".purge").exists()
    talk.end()
    live = until(lambda: list(of(proxy.directory, "session-live")[ENDS]), "its end")
    count = orjson.loads(live[0])["lines"]
    numbers = [orjson.loads(line)["data_count"] for line in of(proxy.directory, "session-live")[LINES]]
    assert numbers == list(range(count))
    proxy.end()
    writer.close()
    assert ended < kills
    record_property("runs", kills)
    record_property("purges killed", kills - ended)
    record_property("lines of others lost or doubled", 0)
