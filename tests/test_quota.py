"""Which sessions go so that a log stays as small, or as young, as it shall."""

import json
import time
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from capture import purging, quota
from capture.cli import cli
from capture.files import FLOWS, LINES
from capture.jsonl import Blob, Record
from capture.purging import Held
from capture.scope import scope_of
from capture.store import LogWriter

SESSIONS = st.dictionaries(st.text("abc", min_size=1, max_size=4), st.tuples(st.integers(0, 99), st.integers(0, 50)), max_size=8)


def ago(hours: float) -> str:
    return (datetime.now() - timedelta(hours=hours)).isoformat(timespec="milliseconds")


def put(writer: LogWriter, sid: str, hours: float, lines: int = 3, body: str = "") -> None:
    """A flow of a session, that long ago; `body`: a payload of that name that its first line refers to."""
    flow_id, t = f"flow-{sid}", ago(hours)
    flow = {"t": t, "started": 1.0, "flow_id": flow_id, "sid": sid, "client": {}, "url": "http://127.0.0.1/", "v": 1}
    writer.write(Record("flows", sid, flow_id, flow))
    for number in range(lines):
        metadata = "{}"
        if body and not number:
            digest = (body * 64)[:64]
            writer.write(Blob(digest, b"x" * 50_000))
            metadata = json.dumps({"sha256": digest}, separators=(",", ":"))
        fields = {"event": "e", "t": t, "line": "data: " + "x" * 1000, "metadata": metadata, "flow_id": flow_id}
        writer.write(Record("lines", sid, flow_id, {**fields, "data_count": number, "sid": sid}))
    end = {"t": t, "flow_id": flow_id, "sid": sid, "outcome": "complete", "lines": lines}
    writer.write(Record("flow_ends", sid, flow_id, end))
    writer.flush()


def run(directory: Path, *words: str) -> Result:
    return CliRunner().invoke(cli, ["purge", "--dir", str(directory), "--json", *words], prog_name="capture")


def purged(result: Result) -> list[str]:
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    return [row["session"] for row in rows if "session" in row]


@given(SESSIONS, st.integers(0, 300), st.integers(0, 60))
def test_the_oldest_go_and_no_more_than_are_needed(sessions: dict[str, tuple[int, int]], excess: int, before: int) -> None:
    there = {sid: Held(last=f"{last:03}") for sid, (_, last) in sessions.items()}
    sizes = {sid: size for sid, (size, _) in sessions.items()}
    gone = quota.oldest(there, sizes, excess, f"{before:03}")
    assert all(there[sid].last < f"{before:03}" for sid in gone)
    stay = there.keys() - set(gone)
    assert all(there[one].last <= there[other].last for one in gone for other in stay)
    assert not gone or sum(sizes[sid] for sid in gone[:-1]) < excess
    enough = sum(sizes[sid] for sid in gone) >= excess
    assert enough or all(there[sid].last >= f"{before:03}" for sid in stay)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Sessions of 100, 50 and 2 hours ago, and one of now; the first two share a body."""
    writer = LogWriter(tmp_path / "log", {})
    for sid, hours, body in (("oldest", 100, "a"), ("older", 50, "a"), ("young", 2, "b"), ("busy", 0, "")):
        put(writer, sid, hours, body=body)
    writer.close()
    return tmp_path / "log"


def test_a_log_is_made_as_small_as_is_asked_for_by_its_oldest_sessions(log: Path) -> None:
    whole, sizes = quota.size(log), quota.sizes(log, purging.held(log))
    assert sizes["oldest"] < sizes["older"], "the body they share goes with the younger one"
    assert purged(run(log, "--down-to", str(whole))) == []
    assert purged(run(log, "--down-to", str(whole - 1))) == ["oldest"]
    most = whole - sizes["oldest"] - 1
    assert purged(run(log, "--down-to", str(most), "--yes")) == ["oldest", "older"]
    assert quota.size(log) <= most
    assert not (log / "bodies" / ("a" * 64)).exists() and (log / "bodies" / ("b" * 64)).exists()


def test_a_session_that_somebody_is_at_work_in_stays(log: Path) -> None:
    result = run(log, "--down-to", "1", "--yes")
    assert purged(result) == ["oldest", "older", "young"]
    assert "sessions of the last hour" in result.stderr
    assert {json.loads(line)["sid"] for line in (log / LINES).read_bytes().splitlines()} == {"busy"}


@pytest.mark.parametrize("words", [("--down-to", "big"), ("--down-to", "0"), ("--down-to", "5GB", "--all")])
def test_wrong_use_is_said_with_an_example(log: Path, words: tuple[str, ...]) -> None:
    result = run(log, *words)
    assert result.exit_code != 0 and result.stdout == "" and "5GB" in result.stderr


def test_a_quick_look_tells_whether_a_limit_may_be_exceeded(log: Path) -> None:
    def exceeded(age: str, size: str) -> bool:
        return quota.is_exceeded(log, scope_of("", "", False, age, size), time.time())

    assert exceeded("90h", "") and not exceeded("5d", "")
    assert exceeded("", "10k") and not exceeded("", "1GB") and exceeded("90h", "1GB")
    (log / FLOWS).rename(log / f"{FLOWS}.1")
    (log / FLOWS).touch()
    assert exceeded("90h", "") and not exceeded("5d", "")
    assert not quota.is_exceeded(log / "none", scope_of("", "", False, "1h", "1k"), time.time())
