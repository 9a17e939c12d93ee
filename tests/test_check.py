"""`capture check` calls a whole capture complete, and says of a damaged one what is damaged, and where."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from bench.generate import FILES, Wanted, generate
from bench.story import Scale
from bench.telling import FLOWS, LINES, load
from capture import check, samples
from capture.check.findings import KINDS, Report
from capture.check.lives import NEXT, ODD
from capture.cli import cli
from capture.filters import Filter
from capture.scan import Source
from capture.store import LogWriter
from tests import golden, talk

ENDS = "sse_flow_ends.jsonl"
ROOT = Path(__file__).resolve().parent.parent
SESSIONS = {"ours": 9, "claude_log": 3, "codex_log": 3}
FLOW = "flow-0002"  # the one that is damaged


def source(log: Path) -> Source:
    return Source(log, None) if (log / FLOWS).exists() else Source(None, str(log / LINES))


def report(log: Path, deep: bool = False) -> Report:
    return check.checked(source(log), Filter(), deep=deep)[0]


def put(log: Path, records: list[dict[str, Any]]) -> Path:
    """The records as three files."""
    files: dict[str, list[str]] = {FLOWS: [], LINES: [], ENDS: []}
    for record in records:
        name = LINES if "data_count" in record else ENDS if "outcome" in record else FLOWS
        files[name].append(json.dumps(record, ensure_ascii=False, separators=(",", ":")) + "\n")
    for name, lines in files.items():
        (log / name).write_text("".join(lines), "utf-8")
    return log


def conversation() -> list[dict[str, Any]]:
    wire = talk.Wire()
    ask, made = talk.user("list the files"), talk.says("I look.", talk.call("toolu_1", command="ls"))
    wire.exchange([ask], made)
    answered = [ask, made, talk.user(talk.result("toolu_1"))]
    wire.exchange(answered, talk.says("Done."))
    wire.exchange([*answered, talk.says("Done."), talk.user("thanks")], talk.says("Welcome."))
    return wire.records


def test_a_conversation_is_complete(tmp_path: Path) -> None:
    found = report(put(tmp_path, conversation()))
    assert (found.findings, found.flows, found.calls) == ([], 3, 1)


def recorded(log: Path) -> Path:
    """All sample flows, as a proxy writes them."""
    writer = LogWriter(log, {})
    for case in samples.names():
        for record in golden.play(case):
            writer.write(record)
    writer.close()
    return log


def test_the_sample_flows_recorded_are_complete_and_rebuild_to_what_was_sent(tmp_path: Path) -> None:
    found = report(recorded(tmp_path), deep=True)
    assert [each for each in found.findings if each.severity == "error" and each.kind != "body_missing"] == []


def lines_of(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [record for record in records if record["flow_id"] == FLOW and "data_count" in record]


@pytest.mark.parametrize("index", range(len(lines_of(conversation()))))
@pytest.mark.parametrize("double", (False, True))
def test_any_line_lost_or_doubled_is_found(tmp_path: Path, index: int, double: bool) -> None:
    records = conversation()
    line = lines_of(records)[index]
    at = records.index(line)
    records[at : at + 1] = [line, line] if double else []
    found = report(put(tmp_path, records))
    expected = "line_twice" if double else "lines_differ"
    assert (expected, FLOW) in {(each.kind, each.flow_id) for each in found.findings}
    assert not found.complete


@pytest.mark.parametrize(
    ("kind", "is_it"),
    [
        ("no_end", lambda record: "outcome" in record),
        ("flow_missing", lambda record: "request_headers" in record),
        ("part_missing", lambda record: str(record.get("event")) == "request.user"),
    ],
)
def test_any_record_lost_is_found(tmp_path: Path, kind: str, is_it: Callable[[dict[str, Any]], bool]) -> None:
    records = [record for record in conversation() if not (record["flow_id"] == FLOW and is_it(record))]
    assert kind in {each.kind for each in report(put(tmp_path, records)).findings if each.flow_id == FLOW}


@pytest.mark.parametrize(("kind", "field"), [("end_twice", "outcome"), ("flow_twice", "request_headers")])
def test_any_record_doubled_is_found(tmp_path: Path, kind: str, field: str) -> None:
    records = conversation()
    records += [record for record in records if record["flow_id"] == FLOW and field in record]
    assert kind in {each.kind for each in report(put(tmp_path, records)).findings if each.flow_id == FLOW}


def test_a_part_that_was_changed_is_found_by_rebuilding(tmp_path: Path) -> None:
    log = recorded(tmp_path)
    lines = (log / LINES).read_text("utf-8").splitlines(keepends=True)
    at = next(at for at, line in enumerate(lines) if line.startswith('{"event":"request.user"'))
    lines[at] = lines[at].replace("user", "usor").replace("request.usor", "request.user", 1)
    (log / LINES).write_text("".join(lines), "utf-8")
    assert "request_differs" not in report(log).counts
    assert "request_differs" in report(log, deep=True).counts


def test_a_torn_tail_is_found(tmp_path: Path) -> None:
    log = put(tmp_path, conversation())
    (log / LINES).write_bytes((log / LINES).read_bytes()[:-20])
    assert {"bad_line", "lines_differ"} <= {each.kind for each in report(log).findings}


@pytest.mark.parametrize("dialect", FILES)
def test_what_is_wrong_in_a_made_up_log_is_found(tmp_path: Path, dialect: str) -> None:
    scale = Scale(exchanges=3, deltas=16, result=120)
    generate(Wanted(tmp_path, dialect, sessions=SESSIONS[dialect], nasty=True, scale=scale))
    found = report(tmp_path)
    bad = {(each.file, each.offset) for each in found.findings if each.kind == "bad_line"}
    assert {(row["file"], row["offset"]) for row in load(tmp_path, "bad")} == bad
    if dialect == "ours":
        names = {"missing_part": "part_missing"}
        truth = {(names.get(r["defect"], r["defect"]), r.get("call_id") or r["flow_id"]) for r in load(tmp_path, "defects")}
        kinds = {kind for kind, _ in truth}
        assert truth == {(each.kind, each.call_id or each.flow_id) for each in found.findings if each.kind in kinds}


def test_the_command_exits_1_where_something_is_missing(tmp_path: Path) -> None:
    log = put(tmp_path, conversation())
    assert CliRunner().invoke(cli, ["check", "--dir", str(log)]).exit_code == 0
    put(log, conversation()[:-1])
    result = CliRunner().invoke(cli, ["check", "--dir", str(log), "--json"])
    assert (result.exit_code, json.loads(result.stdout.splitlines()[-1])["verdict"]) == (1, "not complete")


def test_every_oddity_of_a_call_is_a_kind_of_finding_and_no_step_is_both() -> None:
    assert {kind for kind, _ in ODD.values()} <= set(KINDS)
    assert not NEXT.keys() & ODD.keys()


def test_the_page_lists_every_kind() -> None:
    page = (ROOT / "docs" / "check.md").read_text("utf-8")
    rows = [f"| `{kind.id}` | {kind.severity.value} | {kind.says} | {kind.do} |" for kind in KINDS.values()]
    assert [line for line in page.splitlines() if line.startswith("| `")] == rows
