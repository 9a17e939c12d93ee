"""Row 50: clocks jump, zones change, hours come twice; what was said keeps its order."""

import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from capture.cli import cli
from capture.files import ENDS, FLOWS, LINES
from capture.jsonl import Record
from capture.processes import Process
from capture.reader import LogReader
from capture.recorder import Closed, FlowRecorder, Memory, Stamp
from capture.redact import Redactor
from tests.faults.harness import STOP, Origin, Proxy, ask, chunked, event
from tests.talk import START, Wire, call, result, says, user
from tests.test_recorder import opened

HOUR, DAY = 3600.0, 86_400.0
ZONES = ("UTC", "America/New_York", "Asia/Kathmandu", "Pacific/Kiritimati", "Antarctica/Troll")
JUMPS = {
    # name: (the clock steps by so many seconds, before the n-th record)
    "an hour back": {7: -HOUR},
    "a day ahead": {5: DAY},
    "to 1970 and on": {9: -START},
    "back and forth": {3: -HOUR, 8: 2 * HOUR, 13: -5 * DAY, 21: 30 * DAY},
    "a second back, again and again": dict.fromkeys(range(2, 40, 2), -1.0),
    "stands still": dict.fromkeys(range(1, 60), -0.1),
}


@pytest.fixture
def zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Sets the time zone of this process."""

    def set_to(name: str) -> None:
        monkeypatch.setenv("TZ", name)
        time.tzset()

    yield set_to
    monkeypatch.undo()
    time.tzset()


class Jumping(Wire):
    """A wire whose wall clock jumps; the monotonic one does not."""

    def __init__(self, jumps: dict[int, float]) -> None:
        super().__init__()
        self.jumps, self.steps, self.since = jumps, 0, 0.0

    def _stamp(self) -> Stamp:
        self.steps += 1
        self.since += 0.1
        self.clock += 0.1 + self.jumps.get(self.steps, 0.0)
        return Stamp(self.clock, self.since)


def conversation(wire: Wire) -> list[dict[str, Any]]:
    first = [user("list the files")]
    wire.exchange(first, says("I look.", call("toolu_1", command="ls -l")))
    second = [*first, says("I look.", call("toolu_1", command="ls -l")), user(result("toolu_1", "a.txt"))]
    wire.exchange(second, says("There is a.txt."))
    wire.exchange([*second, says("There is a.txt."), user("thanks")], says("You are welcome."))
    return wire.records


def put(log: Path, records: list[dict[str, Any]]) -> Path:
    log.mkdir(parents=True, exist_ok=True)
    for record in records:
        name = LINES if "data_count" in record else ENDS if "outcome" in record else FLOWS
        with open(log / name, "ab") as file:
            file.write(orjson.dumps(record) + b"\n")
    return log


QUESTIONS = (
    ["prompts", "--json"],
    ["turns", "--json"],
    ["pairs", "--json"],
    ["show", "11111111"],
    ["stats", "--by", "session", "--json"],
)


def told(log: Path, *words: str) -> str:
    """What is answered, times taken out."""
    done = CliRunner(env={"COLUMNS": "200"}).invoke(cli, [*words, "--dir", str(log)], prog_name="capture")
    assert done.exit_code in (0, 1), done.output
    return timeless(done.stdout)


def kinds(log: Path) -> set[str]:
    """What the check finds."""
    done = CliRunner().invoke(cli, ["check", "--json", "--dir", str(log)], prog_name="capture")
    return {row["finding"] for row in map(json.loads, done.stdout.splitlines()) if "finding" in row}


def timeless(text: str) -> str:
    rows = []
    for line in text.splitlines():
        try:
            rows.append(json.dumps(_timeless(json.loads(line))))
        except ValueError:
            rows.append(re.sub(r"\d{4}-\d\d-\d\d|\d\d:\d\d(:\d\d)?(\.\d+)?|[\d.]+ ?(s|ms|min|h|d)\b", "", line))
    return "\n".join(re.sub(r" +", " ", row).strip() for row in rows)


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _timeless(item) for key, item in value.items() if not re.search(r"(^|_)(t|ms|at|day)$", key)}
    return [_timeless(item) for item in value] if isinstance(value, list) else value


@pytest.mark.row(50)
@pytest.mark.parametrize("name", JUMPS)
def test_what_is_asked_of_a_log_whose_clock_jumped_is_answered_in_the_order_it_was_said(
    tmp_path: Path, name: str, record_property: Callable[[str, object], None]
) -> None:
    steady = put(tmp_path / "steady", conversation(Jumping({})))
    jumping = put(tmp_path / "log", conversation(Jumping(JUMPS[name])))
    for words in QUESTIONS:
        assert told(jumping, *words) == told(steady, *words), words
    assert kinds(jumping) - {"clock_back"} == kinds(steady) == set()
    record_property("jumps", len(JUMPS[name]))


@pytest.mark.row(50)
@pytest.mark.parametrize("name", JUMPS)
def test_records_of_a_flow_whose_clock_jumps_differ_in_their_times_only(name: str) -> None:
    """`us` and durations are of the monotonic clock."""
    steady, jumping = conversation(Jumping({})), conversation(Jumping(JUMPS[name]))
    assert [_without(record) for record in jumping] == [_without(record) for record in steady]


def _without(record: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in record.items() if key not in ("t", "started")}


@pytest.mark.row(50)
@given(walls=st.lists(st.floats(-1e9, 4e9, allow_nan=False), min_size=12, max_size=12))
def test_no_jump_of_the_clock_changes_the_order_or_makes_a_duration_negative(walls: list[float]) -> None:
    request = opened()
    stamps = iter(Stamp(wall, request.started.mono + 0.01 * number) for number, wall in enumerate(walls))
    flow = FlowRecorder(request, Process(None, None), Redactor(b"salt"), Memory())
    entries = flow.open(next(stamps))
    for number in range(9):
        entries += flow.feed(event(number), next(stamps))
    entries += flow.feed(STOP, next(stamps)) + flow.close(Closed.CLEANLY, next(stamps), None, None)
    records = [entry.fields for entry in entries if isinstance(entry, Record)]
    lines = [record for record in records if "data_count" in record]
    assert [line["data_count"] for line in lines] == list(range(len(lines)))
    said = [orjson.loads(line["metadata"]).get("us") for line in lines]
    assert [us for us in said if us is not None] == sorted(us for us in said if us is not None)
    end = records[-1]
    assert 0 <= end["first_byte_ms"] <= end["first_event_ms"] <= end["duration_ms"]


@pytest.mark.row(50)
def test_readers_in_any_zone_say_the_same_of_a_log(tmp_path: Path, zone: Callable[[str], None]) -> None:
    """`t` is the time of the machine that recorded; nobody converts it."""
    log = put(tmp_path / "log", conversation(Wire()))
    answers = []
    for name in ZONES:
        zone(name)
        runner = CliRunner(env={"COLUMNS": "200"})
        answers.append([runner.invoke(cli, [*words, "--dir", str(log)]).stdout for words in QUESTIONS])
    assert all(answer == answers[0] for answer in answers)
    assert answers[0][0]


@pytest.mark.row(50)
def test_an_hour_that_comes_twice_keeps_its_order(tmp_path: Path, zone: Callable[[str], None]) -> None:
    """The end of summer time: 01:59:59.9 is followed by 01:00:00.0."""
    zone("Europe/Berlin")
    twice = time.mktime((2026, 10, 25, 1, 59, 58, 0, 0, 1)) + HOUR  # 02:59:58 summer time
    log = put(tmp_path / "log", conversation(Wire(clock=twice)))
    times = [record["t"] for record in LogReader(log).lines()]
    assert times != sorted(times)
    steady = put(tmp_path / "steady", conversation(Wire(clock=twice - 30 * DAY)))
    for words in QUESTIONS:
        assert told(log, *words) == told(steady, *words), words


@pytest.mark.row(50)
def test_proxies_in_other_zones_go_on_with_the_same_log(
    tmp_path: Path, confdir: Path, origin: Origin, monkeypatch: pytest.MonkeyPatch, record_property: Callable[[str, object], None]
) -> None:
    """A day lies between the first two, backwards."""
    proxy, said = None, []
    for number, name in enumerate(("Pacific/Kiritimati", "Pacific/Pago_Pago", "UTC")):
        monkeypatch.setenv("TZ", name)
        if proxy is None:
            proxy = Proxy(tmp_path, confdir)
        else:
            proxy.start()
        said.append({"role": "user", "content": f"prompt {number}"})
        url = origin.serve(chunked([event(0), STOP]))
        assert ask(proxy, url, orjson.dumps({"messages": said}), headers=(("session-id", "zones"),)).ended == "clean"
        proxy.log.ended(url)
        proxy.end()
        said.append({"role": "assistant", "content": f"answer {number}"})
    assert proxy
    days = [record["t"][:10] for record in LogReader(proxy.directory).flows()]
    assert days[0] > days[1]
    done = CliRunner().invoke(cli, ["prompts", "--json", "--dir", str(proxy.directory)])
    assert [json.loads(line)["text"] for line in done.stdout.splitlines()] == ["prompt 0", "prompt 1", "prompt 2"]
    assert proxy.log.audit() == 3
    record_property("zones", 3)
