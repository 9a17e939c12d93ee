"""Row 17: rotation by ourselves loses nothing; deleting, and cutting after a copy, lose something, and it is said."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import orjson
import pytest

from capture.files import ENDS, FLOWS, LINES
from tests.faults.harness import Origin, Proxy, captures, until
from tests.faults.test_keeping import NAMES, Reader, Talk, went_on

AGENTS = 4


def numbers(paths: list[Path]) -> dict[str, list[int]]:
    """data_count of the lines in these files, by flow."""
    found: dict[str, list[int]] = {}
    for path in paths:
        for raw in path.read_bytes().splitlines():
            record = orjson.loads(raw)
            found.setdefault(record["flow_id"], []).append(record["data_count"])
    return found


def ends_of(proxy: Proxy, talks: list[Talk]) -> dict[str, int]:
    """How many lines each flow has."""
    path = proxy.directory / ENDS
    until(lambda: path.exists() and path.read_bytes().count(b"\n") >= len(talks), "the ends")
    records = [orjson.loads(line) for line in path.read_bytes().splitlines()]
    return {record["flow_id"]: record["lines"] for record in records}


@pytest.mark.row(17)
def test_a_log_deleted_under_load_is_begun_anew_and_who_follows_has_all_of_it(
    tmp_path: Path, confdir: Path, origin: Origin, times: Callable[[int, int], int], record_property: Callable[[str, object], None]
) -> None:
    """The files' own copies in sse_logs/ stay; of the central log goes what stood in it, and at most a second more."""
    proxy = Proxy(tmp_path, confdir)
    reader = Reader(proxy.directory)
    talks = [Talk(proxy, origin, f"session-{index}", f"pear{index}x") for index in range(AGENTS)]
    rounds = times(1, 10)
    for turn in range(1, rounds + 1):
        for name in NAMES:
            (proxy.directory / name).unlink(missing_ok=True)
        until((proxy.directory / LINES).exists, "the log to be begun anew")
        until(partial(went_on, talks, [talk.heard + 500 for talk in talks]), "it to go on")
        until(lambda turn=turn: len(proxy.log.errors()) >= turn, "it to be said")  # type: ignore[misc]
    for talk in talks:
        talk.end()
    ends = ends_of(proxy, talks)
    assert len(ends) == AGENTS
    until(lambda: all(len(reader.counts(each)) >= count for each, count in ends.items()), "the reader to have read all")
    reader.end()
    assert all(sorted(reader.counts(each)) == list(range(count)) for each, count in ends.items())
    assert all("deleted or renamed" in error["what"] for error in proxy.log.errors())
    kept = numbers([proxy.directory / LINES])
    assert all(found == list(range(found[0], ends[each])) for each, found in kept.items()), (
        "from the new beginning on nothing is missing"
    )
    own = numbers_of_own(proxy, ends)
    assert own == {each: list(range(count)) for each, count in ends.items()}
    captures(proxy, origin)
    proxy.end()
    record_property("runs", rounds)
    record_property("lines, deleted", sum(ends.values()))
    record_property("lost for a reader", 0)
    record_property("doubled for a reader", 0)


@pytest.mark.row(17)
def test_a_log_that_two_proxies_rotate_themselves_loses_and_doubles_nothing(
    tmp_path: Path, confdir: Path, origin: Origin, times: Callable[[int, int], int], record_property: Callable[[str, object], None]
) -> None:
    proxies = [Proxy(tmp_path, confdir, ("--set", "sse_rotate_size=60k"), tmp_path / f"{number}.out") for number in range(2)]
    directory, rounds = proxies[0].directory, times(2, 15)
    reader = Reader(directory)
    talks = [Talk(proxies[index % 2], origin, f"session-{index}", f"pear{index}x") for index in range(AGENTS)]
    until(lambda: len(list(directory.glob(f"{LINES}-*"))) >= rounds, "the log to be rotated", 60)
    for talk in talks:
        talk.end()
    for proxy in proxies:
        proxy.end()
    ends = {
        end["flow_id"]: end["lines"]
        for path in directory.glob(f"{ENDS}*")
        for end in map(orjson.loads, path.read_bytes().splitlines())
    }
    assert len(ends) == AGENTS
    until(lambda: all(len(reader.counts(each)) >= count for each, count in ends.items()), "the reader to have read all")
    reader.end()
    there = numbers(list(directory.glob(f"{LINES}*")))
    assert {each: sorted(found) for each, found in there.items()} == {each: list(range(count)) for each, count in ends.items()}
    assert all(sorted(reader.counts(each)) == list(range(count)) for each, count in ends.items())
    assert sum(path.read_bytes().count(b"\n") for path in directory.glob(f"{FLOWS}*")) == AGENTS
    record_property("runs", rounds)
    assert proxies[0].log.errors() == []
    record_property("lines, rotated by us", sum(ends.values()))
    record_property("lost", 0)
    record_property("doubled", 0)


def numbers_of_own(proxy: Proxy, ends: dict[str, int]) -> dict[str, list[int]]:
    """data_count of the lines in the flows' own files."""
    found = {}
    for path in proxy.directory.glob("sse_logs/*/*.jsonl"):
        records = [orjson.loads(raw) for raw in path.read_bytes().splitlines()]
        found[path.stem] = [record["data_count"] for record in records if "data_count" in record]
    return {each: counts for each, counts in found.items() if each in ends}


@pytest.mark.row(17)
def test_a_log_copied_and_cut_under_load_says_so_each_time_and_check_finds_what_is_missing(
    tmp_path: Path, confdir: Path, origin: Origin, times: Callable[[int, int], int], record_property: Callable[[str, object], None]
) -> None:
    proxy = Proxy(tmp_path, confdir)
    reader = Reader(proxy.directory)
    talks = [Talk(proxy, origin, f"session-{index}", f"pear{index}x") for index in range(AGENTS)]
    cuts = times(2, 15)
    for cut in range(1, cuts + 1):
        copied = Path(shutil.copy(proxy.directory / LINES, tmp_path / f"copy-{cut}")).stat().st_size
        until(partial(is_larger, proxy.directory / LINES, copied + 2000), "something to come between the copy and the cut")
        with open(proxy.directory / LINES, "r+b") as file:
            file.truncate(0)
        until(lambda cut=cut: len(proxy.log.errors()) >= cut, "it to be said")  # type: ignore[misc]
    for talk in talks:
        talk.end()
    ends = ends_of(proxy, talks)
    reader.end()
    assert [("cut short" in error["what"], LINES in error["what"]) for error in proxy.log.errors()] == [(True, True)] * cuts
    there = numbers([*(whole(path) for path in tmp_path.glob("copy-*")), proxy.directory / LINES])
    lost = sum(len(set(range(count)) - set(there[each])) for each, count in ends.items())
    assert lost > 0
    assert all(len(found) == len(set(found)) for found in there.values())
    checked = subprocess.run(
        [sys.executable, "-m", "capture", "check", "--json", "--dir", str(proxy.directory)], capture_output=True
    )
    verdict = orjson.loads(checked.stdout.splitlines()[-1])
    assert checked.returncode == 1 and verdict["counts"]["gap"] == AGENTS
    captures(proxy, origin)
    proxy.end()
    record_property("runs", cuts)
    record_property("cuts said", cuts)
    record_property("lines, copied and cut", sum(ends.values()))
    record_property("lost between copy and cut", lost)


def is_larger(path: Path, size: int) -> bool:
    return path.stat().st_size > size


def whole(path: Path) -> Path:
    """The copy without the half line at its end."""
    data = path.read_bytes()
    path.write_bytes(data[: data.rfind(b"\n") + 1])
    return path
