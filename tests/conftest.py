"""Settings of the property tests, and how often a fault is made: seldom in the suite, often for the published figures."""

import os
import signal
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, settings

from tests.faults import report

settings.register_profile(  # no deadline for one example (machines differ), the same examples on every run in CI
    "house", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=bool(os.environ.get("CI"))
)
settings.load_profile("house")


def pytest_addoption(parser: pytest.Parser) -> None:
    report.add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    report.register(config)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a job in a shell's background: no program it starts would hear Ctrl-C
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def times(request: pytest.FixtureRequest) -> Callable[[int, int], int]:
    """`times(short, long)`: how often, in the suite and with --long."""
    return lambda short, long: long if request.config.getoption("--long") else short
