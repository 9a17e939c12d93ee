"""One origin, one CA and one proxy for all tests that kill neither."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.harness import Origin, Proxy


@pytest.fixture(scope="session")
def confdir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """mitmproxy's folder: its CA is made once, by the first proxy."""
    return tmp_path_factory.mktemp("confdir")


@pytest.fixture(scope="session")
def origin() -> Iterator[Origin]:
    origin = Origin()
    yield origin
    origin.close()


@pytest.fixture(scope="session")
def shared_proxy(tmp_path_factory: pytest.TempPathFactory, confdir: Path) -> Iterator[Proxy]:
    proxy = Proxy(tmp_path_factory.mktemp("shared"), confdir)
    yield proxy
    seconds = proxy.end()
    assert seconds <= 5
    assert proxy.log.audit() > 0
    assert_well(proxy)


@pytest.fixture
def proxy(shared_proxy: Proxy) -> Iterator[Proxy]:
    """The shared proxy, which must live on after each test and must not have a fault of its own to tell."""
    yield shared_proxy
    assert shared_proxy.process.poll() is None
    assert_well(shared_proxy)


def assert_well(proxy: Proxy) -> None:
    assert "Traceback" not in proxy.output()
    assert "has crashed" not in proxy.output()
    assert proxy.log.errors() == []
