"""Row 51, its second half: a proxy keeps limits of age and size."""

from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from capture import quota
from capture.files import ENDS, FLOWS, LINES
from capture.presence import living
from capture.store import LogWriter
from tests.faults.harness import Origin, Proxy, captures, until
from tests.test_quota import put

LIMITS = {
    "age": ("sse_max_age=30h", {"older-0", "older-1", "older-2"}),
    "size": ("sse_max_size=60k", {"older-0", "older-1"}),
}


def sessions(directory: Path) -> set[str]:
    return {orjson.loads(line)["sid"] for line in (directory / LINES).read_bytes().splitlines()}


@pytest.mark.row(51)
@pytest.mark.parametrize("limit", LIMITS)
def test_a_proxy_takes_out_what_is_too_old_or_too_much_and_leaves_the_rest_as_it_is(
    tmp_path: Path, confdir: Path, origin: Origin, limit: str, record_property: Callable[[str, object], None]
) -> None:
    option, gone = LIMITS[limit]
    writer = LogWriter(tmp_path / "log", {})
    for number in range(4):
        put(writer, f"older-{number}", 100 - 25 * number, lines=10)
    writer.close()
    kept = {
        name: [line for line in (tmp_path / "log" / name).read_bytes().splitlines() if orjson.loads(line)["sid"] not in gone]
        for name in (FLOWS, LINES, ENDS)
    }
    before = quota.size(tmp_path / "log")
    proxy = Proxy(tmp_path, confdir, ("--set", option))
    until(lambda: not sessions(proxy.directory) & gone, "the oldest sessions to go")
    until(lambda: not list(proxy.directory.glob(".purge")), "the purge to end")
    assert all((proxy.directory / name).read_bytes().splitlines() == lines for name, lines in kept.items())
    assert not any(name.encode() in proxy.log.everything() for name in gone)
    size = quota.size(proxy.directory)
    (facts,) = living(proxy.directory)
    assert list(facts["scope"].values()) == [option.partition("=")[2]]
    captures(proxy, origin)
    proxy.end()
    assert "Traceback" not in proxy.output()
    record_property("runs", 1)
    record_property(f"{option}: bytes before, after", f"{before}, {size}")
