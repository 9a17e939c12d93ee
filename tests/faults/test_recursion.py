"""Row 49: an agent reads the log that records it, again and again."""

from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from capture.files import LINES
from tests.faults.harness import STOP, Origin, Proxy, ask, chunked, event

SESSION = (("session_id", "session-1"),)


def read_lines(log: Path) -> str:
    return (log / LINES).read_text()


def read_everything(log: Path) -> str:
    return "".join(path.read_text() for path in sorted(log.rglob("*")) if path.is_file() and path.parent.name != "proxies")


def size(log: Path) -> int:
    return sum(path.stat().st_size for path in log.rglob("*") if path.is_file())


@pytest.mark.row(49)
@pytest.mark.parametrize(("read", "generations"), [(read_lines, 12), (read_everything, 6)])
def test_a_log_that_is_told_to_the_agent_it_records_grows_by_what_was_told_once(
    tmp_path: Path,
    confdir: Path,
    origin: Origin,
    read: Callable[[Path], str],
    generations: int,
    times: Callable[[int, int], int],
    record_property: Callable[[str, object], None],
) -> None:
    """(Who reads bodies/ as well reads what was told before, too: it is the telling that grows then.)"""
    if read is read_everything and not times(0, 1):
        pytest.skip("with --long only: much like the other")
    proxy = Proxy(tmp_path, confdir)
    url = origin.serve(chunked([*(event(number, 40) for number in range(200)), STOP]))
    ask(proxy, url, b'{"messages":[{"role":"user","content":"what does the log say?"}]}', headers=SESSION)
    proxy.log.ended(url)
    before, worst, sizes = size(proxy.directory), 0.0, []
    for number in range(generations):
        told = {"type": "tool_result", "tool_use_id": f"call-{number}", "content": read(proxy.directory)}
        body = orjson.dumps({"messages": [{"role": "user", "content": [told]}]})
        url = origin.serve(chunked([event(number), STOP]))
        ask(proxy, url, body, headers=SESSION)
        proxy.log.ended(url)
        after = size(proxy.directory)
        worst = max(worst, (after - len(body)) / before)
        sizes.append(after)
        before = after
    proxy.end()
    record_property(f"generations of {read.__name__.replace('_', ' ')}", generations)
    record_property("most that a generation added beside the body", f"x{worst:.2f}")
    record_property("bytes after each generation", " ".join(map(str, sizes)))
    assert worst <= 1.2
