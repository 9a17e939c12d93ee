"""Row 3: a fault in one of 50 HTTP/2 streams on one connection."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from capture.proxy import CA_FILE
from tests.faults.harness import Flow, Proxy, case_of, named, until, whatwg
from tests.faults.http2 import ROUNDS, Origin2, ask_all
from tests.faults.test_raising import INJECTOR, Control

STREAMS = 50
ASKED = b'{"messages":[{"role":"user","content":"all at once"}]}'
FRAMES = ROUNDS + 1


@pytest.fixture(scope="module")
def rigged(tmp_path_factory: pytest.TempPathFactory, confdir: Path) -> Iterator[tuple[Proxy, Control]]:
    """A proxy with the injector in it."""
    base = tmp_path_factory.mktemp("rigged2")
    proxy = Proxy(base, confdir, ("-s", str(INJECTOR), "--set", f"inject_socket={base}/inject"))
    until((base / "inject").exists, "the injector to listen")
    yield proxy, Control(f"{base}/inject")
    proxy.end()
    assert "has crashed" not in proxy.output()
    proxy.log.audit()


@pytest.fixture(scope="module")
def origin2(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Origin2]:
    origin = Origin2(tmp_path_factory.mktemp("origin2"), STREAMS)
    yield origin
    origin.close()


def exact(flow: Flow, body: bytes) -> bool:
    """Whether all that the client heard, to the last word, is on record."""
    return flow.heard() == named(whatwg(body)) and len(flow.heard()) == FRAMES and flow.end["outcome"] == "complete"


@pytest.mark.row(3)
def test_a_fault_in_the_tap_of_one_stream_touches_no_other(
    rigged: tuple[Proxy, Control],
    origin2: Origin2,
    confdir: Path,
    times: Callable[[int, int], int],
    record_property: Callable[[str, object], None],
) -> None:
    """The client notices nothing at all: not even the stream that was hit."""
    proxy, control = rigged
    hit = touched = 0
    faults = times(3, 40)
    for number in range(faults):
        urls = origin2.urls()
        line = 1 + 7 * number  # of ours that the event loop runs from then on: each hits another place of another stream
        heard = ask_all(proxy, confdir / CA_FILE, urls, ASKED, partial(control.say, f"arm {line}"), origin2)
        assert {(each.status, each.ended) for each in heard} == {("200", "clean")}
        assert control.say("disarm")["fired"]
        flows = [proxy.log.ended(url) for url in urls]
        failed = [flow for flow in flows if flow.end["capture_error"]]
        siblings = [(flow, each) for flow, each in zip(flows, heard, strict=True) if flow not in failed]
        hit += len(failed)
        touched += sum(not exact(flow, each.body) for flow, each in siblings)
        assert len(failed) <= 1
        assert all("Injected" in flow.end["capture_error"] for flow in failed)
    assert origin2.connections == faults
    assert hit
    record_property("runs", faults)
    record_property("siblings touched", touched)
    assert touched == 0


@pytest.mark.row(3)
@pytest.mark.parametrize("who", ["server", "client"])
def test_a_stream_that_is_reset_touches_no_other(
    proxy: Proxy, origin2: Origin2, confdir: Path, who: str, record_property: Callable[[str, object], None]
) -> None:
    urls = origin2.urls()
    victim = 17

    def reset() -> None:
        if who == "server":
            origin2.victim = case_of(urls[victim])
        else:  # the client has cancelled it: the server goes on when the proxy knows
            proxy.log.ended(urls[victim])

    leave = victim if who == "client" else -1
    heard = ask_all(proxy, confdir / CA_FILE, urls, ASKED, reset, origin2, leave)
    flows = [proxy.log.ended(url) for url in urls]
    assert heard[victim].ended == ("reset" if who == "server" else "left")
    assert flows[victim].end["outcome"] == f"{who}_closed"
    assert flows[victim].heard()[: ROUNDS // 2] == named(whatwg(heard[victim].body))[: ROUNDS // 2]
    others = [number for number in range(STREAMS) if number != victim]
    assert {(heard[number].status, heard[number].ended) for number in others} == {("200", "clean")}
    touched = [number for number in others if not exact(flows[number], heard[number].body)]
    record_property("siblings touched", len(touched))
    assert touched == []
