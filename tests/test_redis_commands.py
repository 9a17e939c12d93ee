"""`capture redis`: what it says of a stream is so, what it deletes is what it said, and nothing goes without --yes."""

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from capture.channels.collecting import Collector
from capture.channels.shipping import Shipper
from capture.channels.where import where_of
from capture.cli import cli
from capture.files import FILES, LINES
from capture.jsonl import dumps
from tests.redis_server import Server, needed, server

STREAM = "s"

pytestmark = needed


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Server]:
    with server(tmp_path / "redis") as ours:
        yield ours


@pytest.fixture
def log(tmp_path: Path, running: Server) -> Path:
    """A small log, shipped."""
    folder = tmp_path / "log"
    folder.mkdir(mode=0o700)
    ids = [(f"flow-{n}", f"session-{n % 2}") for n in range(4)]
    flows = [dumps({"t": "t", "flow_id": flow, "sid": sid}) for flow, sid in ids]
    lines = [
        dumps(
            {
                "event": "e",
                "t": "2026-11-21T17:07:03.042",
                "line": "data: ü",
                "metadata": "{}",
                "flow_id": flow,
                "data_count": n,
                "sid": sid,
            }
        )
        for n in range(10)
        for flow, sid in ids
    ]
    ends = [dumps({"t": "t", "flow_id": flow, "sid": sid, "outcome": "complete", "lines": 10}) for flow, sid in ids]
    for name, raws in zip(FILES.values(), (flows, lines, ends), strict=True):
        (folder / name).write_bytes(b"".join(raws))
    with closing(Shipper(folder, where_of(running.stream(STREAM), {}))) as shipper:
        shipper.run(once=True)
    return folder


def run(*words: str) -> Result:
    return CliRunner().invoke(cli, ["redis", *words])


def count(running: Server) -> int:
    with running.client() as client:
        return int(client.xlen(STREAM))


def test_info_says_what_stands_there_and_what_groups_have_to_do(log: Path, running: Server, tmp_path: Path) -> None:
    running.needs(7)  # older ones do not say how much a group has to read
    with running.client() as client:
        client.xgroup_create(STREAM, "lazy", "0")
        client.xreadgroup("lazy", "somebody", {STREAM: ">"}, count=7)
    with closing(Collector(where_of(running.stream(STREAM), {}), tmp_path / "to", consumer="me")) as collector:
        collector.run(once=True)
    told = json.loads(run("info", "--json", running.stream(STREAM)).stdout)
    assert told["entries"] == 48 and told["stream"] == STREAM and told["bytes"] > 1000
    assert [(each["group"], each["pending"], each["lag"]) for each in told["groups"]] == [("collect", 0, 0), ("lazy", 7, 41)]
    assert [each["consumers"][0]["consumer"] for each in told["groups"]] == ["me", "somebody"]
    assert [each["sent"] for each in told["logs"]] == [48]
    shown = run("info", running.stream(STREAM)).stdout
    assert "48 entries" in shown and "somebody" in shown and "41" in shown


def test_a_stream_that_is_not_there_is_one_line_that_says_so(running: Server) -> None:
    for words in (("info",), ("trim", "--maxlen", "0"), ("delete", "--flow", "f")):
        result = run(*words, running.stream("other"))
        assert result.exit_code and "there " in str(result.exception) and "\n" not in str(result.exception)


def test_a_server_that_is_not_there_is_one_line_that_says_so() -> None:
    result = run("info", "redis://127.0.0.1:1/0")
    assert str(result.exception) == "redis://127.0.0.1:1/0?stream=sse-capture: nothing listens there"


def test_the_url_may_stand_in_the_environment(log: Path, running: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", running.stream(STREAM))
    assert json.loads(run("info", "--json").stdout)["entries"] == 48
    assert run("delete", "1-0").exit_code


# -- export --------------------------------------------------------------------------------------------------------------------


def test_an_export_has_every_entry_with_its_fields(log: Path, running: Server, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in run("export", running.stream(STREAM)).stdout.splitlines()]
    records = [raw for name in FILES.values() for raw in (log / name).read_text().splitlines()]
    assert [row["fields"]["d"] for row in rows] == records
    assert {tuple(row["fields"]) for row in rows} == {("k", "d", "id", "h")}
    with running.client() as client:
        assert [row["entry"] for row in rows] == [entry.decode() for entry, _ in client.xrange(STREAM)]


def test_an_export_into_a_file_is_whole_and_private(log: Path, running: Server, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    assert run("export", "-o", str(out), running.stream(STREAM)).stderr == f"capture: wrote 48 lines to {out}\n"
    assert out.read_text() == run("export", running.stream(STREAM)).stdout
    assert out.stat().st_mode & 0o777 == 0o600


def test_a_raw_export_is_lines_that_any_command_reads(log: Path, running: Server) -> None:
    raw = run("export", "--raw", running.stream(STREAM)).stdout_bytes
    assert raw == b"".join((log / name).read_bytes() for name in FILES.values())


def test_fields_of_other_programs_are_exported_too_and_bytes_as_base64(running: Server) -> None:
    with running.client() as client:
        client.xadd(STREAM, {"type": "user", b"bytes": b"\xff\x00"}, id="5-1")
    expected = {"entry": "5-1", "fields": {"type": "user", "bytes": {"base64": "/wA="}}}
    assert json.loads(run("export", running.stream(STREAM)).stdout) == expected
    assert run("export", "--raw", running.stream(STREAM)).stdout == ""


def test_an_export_of_a_time_has_the_entries_of_that_time(running: Server) -> None:
    with running.client() as client:
        for second in (100, 200, 300):
            client.xadd(STREAM, {"n": second}, id=f"{second * 86_400_000}-0")
    words = ("export", "--since", "1970-05-01", "--until", "1970-09-01", running.stream(STREAM))
    assert [json.loads(line)["fields"]["n"] for line in run(*words).stdout.splitlines()] == ["200"]


# -- cutting -------------------------------------------------------------------------------------------------------------------


def test_nothing_is_deleted_without_yes(log: Path, running: Server) -> None:
    with running.client() as client:
        first = client.xrange(STREAM, count=1)[0][0].decode()
    for words, number in (
        (("trim", "--maxlen", "8"), "40 entries"),
        (("trim", "--before", "1s"), None),
        (("delete", "--session", "session-0"), "24 entries"),
        (("delete", "--flow", "flow-3"), "12 entries"),
    ):
        result = run(*words, running.stream(STREAM))
        assert result.exit_code == 0 and (number is None or f"would delete {number}" in result.stderr)
    assert "would delete 1 entry" in run("delete", running.stream(STREAM), first, "1-1").stderr
    assert count(running) == 48


def test_trim_keeps_the_newest(log: Path, running: Server) -> None:
    assert run("trim", "--maxlen", "8", "--yes", running.stream(STREAM)).stderr == "capture: deleted 40 entries\n"
    raws = run("export", "--raw", running.stream(STREAM)).stdout.splitlines()
    assert raws == [raw for name in FILES.values() for raw in (log / name).read_text().splitlines()][-8:]


def test_trim_before_a_time_keeps_what_came_from_then_on(running: Server) -> None:
    with running.client() as client:
        for day in (100, 200, 300):
            client.xadd(STREAM, {"n": day}, id=f"{day * 86_400_000}-0")
    assert run("trim", "--before", "1970-05-01", "--yes", running.stream(STREAM)).stderr == "capture: deleted 1 entry\n"
    assert count(running) == 2


def test_trim_says_who_has_not_read_what_would_go(log: Path, running: Server) -> None:
    with running.client() as client:
        client.xgroup_create(STREAM, "lazy", "0")
        client.xgroup_create(STREAM, "done", "$")
    said = run("trim", "--maxlen", "0", running.stream(STREAM)).stderr
    assert "acknowledged by lazy: " in said


def test_an_emptied_stream_is_still_there(log: Path, running: Server) -> None:
    """So shippers do not send their logs again."""
    run("trim", "--maxlen", "0", "--yes", running.stream(STREAM))
    with running.client() as client:
        assert client.exists(STREAM) and not client.xlen(STREAM)


def test_delete_takes_a_session_and_nothing_else(log: Path, running: Server) -> None:
    assert run("delete", "--session", "session-1", "--yes", running.stream(STREAM)).stderr == "capture: deleted 24 entries\n"
    raws = run("export", "--raw", running.stream(STREAM)).stdout
    assert raws == "".join(
        raw for name in FILES.values() for raw in (log / name).read_text().splitlines(keepends=True) if '"sid":"session-0"' in raw
    )


def test_delete_takes_entries_by_their_ids(log: Path, running: Server) -> None:
    with running.client() as client:
        ids = [entry.decode() for entry, _ in client.xrange(STREAM, count=3)]
    assert run("delete", "--yes", running.stream(STREAM), *ids[:2]).stderr == "capture: deleted 2 entries\n"
    assert count(running) == 46


def test_delete_takes_a_group_and_leaves_the_entries(log: Path, running: Server) -> None:
    running.needs(7)  # older ones do not say how much a group has to read
    with running.client() as client:
        client.xgroup_create(STREAM, "lazy", "0")
        assert "48 not read; nobody ever read in it" in run("delete", "--group", "lazy", running.stream(STREAM)).stderr
        assert client.xinfo_groups(STREAM)
        assert "deleted it" in run("delete", "--group", "lazy", "--yes", running.stream(STREAM)).stderr
        assert not client.xinfo_groups(STREAM)
    assert "no group lazy" in str(run("delete", "--group", "lazy", running.stream(STREAM)).exception)
    assert count(running) == 48


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("trim",), "what shall stay?"),
        (("trim", "--maxlen", "1", "--before", "7d"), "what shall stay?"),
        (("trim", "--before", "soon"), "soon is no time for --before"),
        (("delete",), "which entries?"),
        (("delete", "--flow", "f", "redis://x", "1-0"), "either"),
        (("delete", "redis://x", "nine"), "nine is no id"),
        (("info", "http://x"), "no scheme of Redis"),
    ],
)
def test_wrong_use_is_one_line_that_says_what_to_do(words: tuple[str, ...], says: str) -> None:
    result = run(*words)
    assert result.exit_code and says in (result.stderr or str(result.exception))


def test_lines_of_a_stream_can_be_asked_by_sql_and_shown(log: Path, running: Server) -> None:
    result = CliRunner().invoke(cli, ["query", "--from", running.stream(STREAM), "--format", "csv", "SELECT count(*) n FROM lines"])
    assert result.stdout == f"n\n{len((log / LINES).read_bytes().splitlines())}\n"


@pytest.mark.parametrize("words", [["sessions", "--json"], ["show", "session-0", "--raw"], ["stats", "--json"]])
def test_what_is_asked_of_a_stream_is_answered_as_of_the_log(words: list[str], log: Path, running: Server) -> None:
    asked = [CliRunner().invoke(cli, [*words, *of]) for of in (["--from", running.stream(STREAM)], ["--dir", str(log)])]
    assert asked[0].exit_code == asked[1].exit_code and asked[0].stdout == asked[1].stdout
