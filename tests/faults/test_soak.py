"""Row 54: everything at once, for some seconds in the suite, for as long as `--minutes` says with scripts/faults.sh."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.soak import Soak
from tests.faults.soak_audit import Verdict, audit, slope

SUITE = (14.0, 0.7)  # seconds, and between two faults
LONG = 20.0  # seconds between two faults of a long run
FLAT = 64.0  # MB an hour, of a run long enough to tell
TELLS = 25 * 60.0  # seconds: shorter runs end while memories still fill up


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[tuple[Path, bool]]:
    """(where the logs go, whether it is a small disk of their own)."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=2000m", "tmpfs", str(tmp_path)]
    small = os.geteuid() == 0 and subprocess.run(mount, capture_output=True, check=False).returncode == 0
    yield tmp_path, small
    if small:
        subprocess.run(["umount", "-l", str(tmp_path)], check=True)


@pytest.mark.row(54)
def test_nothing_is_lost_but_what_is_counted_whatever_goes_wrong_meanwhile(
    disk: tuple[Path, bool], confdir: Path, request: pytest.FixtureRequest, record_property: Callable[[str, object], None]
) -> None:
    minutes = request.config.getoption("--minutes")
    seconds, pause = (minutes * 60, min(LONG, minutes * 60 / 10)) if minutes else SUITE
    soak = Soak(disk[0], confdir, seed=54, small_disk=disk[1])
    verdicts: list[Verdict] = []
    soak.run(seconds, pause, lambda side: verdicts.append(audit(side, soak.faults.get("full", 0))))
    climb = slope(soak.steady.memory)
    faults = sum(soak.faults.values())
    record_property("runs", faults)
    record_property("minutes", round(seconds / 60, 1))
    record_property("faults survived", faults)
    record_property("kinds of faults", len(soak.faults))
    record_property("flows", sum(each.flows for each in verdicts))
    record_property("events", sum(each.events for each in verdicts))
    record_property("losses", sum(len(each.wrong) for each in verdicts))
    record_property("lost in the last moment before a kill", sum(each.lost for each in verdicts))
    record_property("longest such moment", f"{max(each.window for each in verdicts) * 1e3:.0f} ms")
    record_property("dropped and counted", sum(each.dropped for each in verdicts))
    record_property("secrets in pieces found", sum(each.leaks for each in verdicts))
    record_property("memory slope", f"{climb:.0f} MB/h" if seconds >= TELLS else "not told by less than 25 minutes")
    record_property("a fresh stream on record after, slowest", f"{soak.slowest_fresh:.1f} s")
    print(soak.faults, verdicts, f"{climb:.0f} MB/h", sep="\n")
    assert [wrong for each in verdicts for wrong in each.wrong] == []
    assert sum(each.leaks for each in verdicts) == 0
    assert seconds < TELLS or climb <= FLAT
