"""`capture check` calls a whole capture complete, and says of a damaged one what is damaged, and where."""

import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

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
from capture.jsonl import Blob, Record
from capture.presence import Presence
from capture.recorder import INLINE_LIMIT
from capture.scan import Source
from capture.store import LogWriter
from tests import golden, talk

ENDS = "sse_flow_ends.jsonl"
ROOT = Path(__file__).resolve().parent.parent
SESSIONS = {"ours": 9, "claude_log": 3, "codex_log": 3}
FLOW = "flow-0002"  # the one that is damaged


def source(log: Path) -> Source:
    return Source(log, None) if (log / FLOWS).exists() else Source(None, str(log / LINES))


def report(log: Path, deep: bool = False, asked: Filter = Filter()) -> Report:  # noqa: B008
    return check.checked(source(log), asked, deep=deep)[0]


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
    assert [each for each in found.findings if each.severity == "error"] == []


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
    _part_changed(log := tmp_path)
    assert "request_differs" not in report(log).counts
    assert "request_differs" in report(log, deep=True).counts


@pytest.mark.row(14)
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


# -- every kind can occur ------------------------------------------------------------------------------------------------------

type Records = list[dict[str, Any]]
type Damage = Callable[[Path], object]  # writes a log with one kind of damage

HOW: list[tuple[str, Damage]] = []
DEEP = ("body_differs", "request_differs")
LATE = Filter(since="2026-11-21T08:00:00.000")


def damages(*kinds: str) -> Callable[[Damage], Damage]:
    """A way to write a log that has findings of these kinds."""

    def note(damage: Damage) -> Damage:
        HOW.extend((kind, damage) for kind in kinds)
        return damage

    return note


def changes(*kinds: str) -> Callable[[Callable[[Records], Records | None]], Callable[[Records], Records | None]]:
    """A change to the records of `conversation()`, in place or as a new list, that makes findings of these kinds."""

    def note(change: Callable[[Records], Records | None]) -> Callable[[Records], Records | None]:
        def damage(log: Path) -> object:
            records = conversation()
            changed = change(records)
            return put(log, records if changed is None else changed)

        damages(*kinds)(damage)
        return change

    return note


def told(*kinds: str) -> Callable[[Callable[[talk.Wire], object]], Callable[[talk.Wire], object]]:
    """Another conversation."""

    def note(play: Callable[[talk.Wire], object]) -> Callable[[talk.Wire], object]:
        def damage(log: Path) -> object:
            wire = talk.Wire()
            play(wire)
            return put(log, wire.records)

        damages(*kinds)(damage)
        return play

    return note


def flow_record(records: Records, flow_id: str = FLOW) -> dict[str, Any]:
    return next(record for record in records if record["flow_id"] == flow_id and "request_headers" in record)


def end_record(records: Records, flow_id: str = FLOW) -> dict[str, Any]:
    return next(record for record in records if record["flow_id"] == flow_id and "outcome" in record)


def line_with(records: Records, text: str) -> dict[str, Any]:
    return next(record for record in records if "data_count" in record and text in record["line"])


def another_line(records: Records, event: str, payload: dict[str, Any]) -> None:
    """One line more in the damaged flow, as its recorder would have counted it."""
    last, end = lines_of(records)[-1], end_record(records)
    line = {**last, "event": event, "line": "data: " + json.dumps(payload), "data_count": last["data_count"] + 1}
    records.insert(records.index(last) + 1, line)
    end["lines"] += 1


ASK = talk.user("list the files")
MADE = talk.says("I look.", talk.call("toolu_1", command="ls"))
ANSWER = talk.user(talk.result("toolu_1"))


def cut_call(records: Records) -> Records:
    """The first answer's stream broke off within the arguments of its call."""
    at = records.index(line_with(records, '"partial_json": "d'))
    first = records[0]["flow_id"]
    lost = [record for record in records[at:] if record["flow_id"] == first and "data_count" in record]
    end_record(records, first).update(outcome="server_closed", terminal_event=None, lines=lost[0]["data_count"])
    return [record for record in records if record not in lost]


@damages("bad_line", "stray_line")
def _no_record(log: Path) -> None:
    with open(put(log, conversation()) / LINES, "a") as file:
        file.write("no record\n")


@damages("torn_tail")
def _torn(log: Path) -> None:
    path = put(log, conversation()) / LINES
    path.write_bytes(path.read_bytes()[:-20])


def with_a_body(log: Path) -> Path:
    """A log, as a proxy writes it, whose prompt is too large for its line; the file in bodies/ that holds it."""
    body = json.dumps({"model": "m", "messages": [talk.user("word " * (INLINE_LIMIT // 5))]}).encode()
    sample = replace(samples.load("anthropic/text"), request_body=body)
    writer = LogWriter(log, {})
    with patch.object(golden, "Record", (Record, Blob)):  # what it gives: all that is recorded
        for entry in golden.record(sample, sample.said):
            writer.write(entry)
    writer.close()
    return next((log / "bodies").glob("[0-9a-f]*"))


def test_a_payload_in_bodies_is_complete_and_rebuilds(tmp_path: Path) -> None:
    with_a_body(tmp_path)
    found = report(tmp_path, deep=True)
    assert ([each for each in found.findings if each.severity == "error"], found.flows) == ([], 1)


@damages("body_missing")
def _body_gone(log: Path) -> None:
    with_a_body(log).unlink()


@damages("body_differs")
def _body_changed(log: Path) -> None:
    path = with_a_body(log)
    path.write_bytes(path.read_bytes() + b" ")


@changes("flow_missing", "end_without_flow")
def _no_flow_record(records: Records) -> None:
    records.remove(flow_record(records))


@changes("flow_twice")
def _two_flow_records(records: Records) -> None:
    records.append(flow_record(records))


@changes("no_end", "open_flow")
def _no_end(records: Records) -> None:
    records.remove(end_record(records))


@changes("odd_record")
def _no_request(records: Records) -> None:
    del flow_record(records)["request"]


@changes("odd_record")
def _request_gone(records: Records) -> None:
    flow_record(records)["request"] = None


@changes("odd_record")
def _no_lines_told(records: Records) -> None:
    del end_record(records)["lines"]


@changes("odd_record")
def _no_number_of_lines(records: Records) -> None:
    end_record(records)["lines"] = "many"


@changes("odd_record")
def _no_metadata(records: Records) -> None:
    lines_of(records)[-3]["metadata"] = "null"


@changes("odd_record")
def _broken_metadata(records: Records) -> None:
    lines_of(records)[-1]["metadata"] = "{broken}"


@changes("odd_record")
def _no_prefix(records: Records) -> None:
    lines_of(records)[-1]["line"] = "{}"


@changes("other_session")
def _line_of_another_session(records: Records) -> None:
    lines_of(records)[-3]["sid"] = "somebody else's"


@changes("other_session")
def _end_of_another_session(records: Records) -> None:
    end_record(records)["sid"] = "somebody else's"


@changes("last_word_missing")
def _another_last_word(records: Records) -> None:
    lines_of(records)[-1]["event"] = "message_stopp"


@changes("part_differs")
def _part_rewritten(records: Records) -> None:
    line = line_with(records, "list the files")
    line["line"] = line["line"].replace("list", "lose")


@changes("late_arguments")
def _arguments_after_the_end(records: Records) -> None:
    piece = line_with(records, '"partial_json": "d')
    stop = next(r for r in records[records.index(piece) :] if '"content_block_stop"' in str(r.get("line")))
    records.insert(records.index(stop) + 1, {**piece, "line": piece["line"].replace('"partial_json": "d', '"partial_json": " ')})


@changes("disordered")
def _two_lines_swapped(records: Records) -> None:
    one, other = lines_of(records)[3:5]
    here, there = records.index(one), records.index(other)
    records[here], records[there] = other, one


@changes("clock_back")
def _lines_before_their_flow(records: Records) -> None:
    flow_record(records)["t"] = "2026-11-21T23:59:59.000"


@changes("end_twice")
def _two_ends(records: Records) -> None:
    records.append(end_record(records))


@changes("gap")
def _gap(records: Records) -> None:
    records.remove(lines_of(records)[4])


@changes("line_twice")
def _line_twice(records: Records) -> None:
    records.insert(records.index(line := lines_of(records)[4]), line)


@changes("lines_differ")
def _last_line_lost(records: Records) -> None:
    records.remove(lines_of(records)[-1])


@changes("capture_error")
def _capture_error(records: Records) -> None:
    end_record(records)["capture_error"] = "ValueError: odd"


@changes("part_missing")
def _part_lost(records: Records) -> None:
    records.remove(line_with(records, '"tool_result"'))


@damages("request_differs")
def _part_changed(log: Path) -> None:
    path = recorded(log) / LINES
    lines = path.read_text("utf-8").splitlines(keepends=True)
    at = next(at for at, line in enumerate(lines) if line.startswith('{"event":"request.user"'))
    lines[at] = lines[at].replace("user", "usor").replace("request.usor", "request.user", 1)
    path.write_text("".join(lines), "utf-8")


@changes("counted_gap")
def _gap_that_was_told(records: Records) -> None:
    another_line(records, "capture.gap", {"chunks": 3, "bytes": 999})


@changes("counted_gap")
def _gap_that_only_the_end_tells(records: Records) -> None:
    end_record(records).update(dropped_chunks=3, dropped_bytes=999)


@changes("undecodable")
def _undecodable_bytes(records: Records) -> None:
    another_line(records, "capture.undecodable", {"bytes": 999, "reason": "gzip: odd"})


@changes("undecodable")
def _undecodable_request(records: Records) -> None:
    flow_record(records)["request"] = {"reason": "gzip: odd", "bytes": 999, "sha256": "0" * 64}


@changes("renamed")
def _declared_as_another_tool(records: Records) -> None:
    line = line_with(records, '"tool_use", "id": "toolu_1"')
    records.insert(records.index(line) + 1, {**line, "line": line["line"].replace("Bash", "Task")})


@changes("bad_arguments")
def _no_json(records: Records) -> None:
    line = line_with(records, '"partial_json": "d')
    line["line"] = line["line"].replace('"partial_json": "d', '"partial_json": "\\"')


@changes("usage_shrinks")
def _fewer_tokens(records: Records) -> None:
    line = line_with(records, '"output_tokens": 1}')
    line["line"] = line["line"].replace('"output_tokens": 1}', '"output_tokens": 999}')


@changes("clock_back")
def _clock_back(records: Records) -> None:
    line = lines_of(records)[3]
    before = json.loads(line["metadata"])["us"]
    line["metadata"] = line["metadata"].replace(f'"us":{before}', f'"us":{before + 9_000_000}')


@changes("early_result")
def _result_of_a_cut_call(records: Records) -> Records:
    return cut_call(records)


@told("call_cut")
def _cut_call(wire: talk.Wire) -> None:
    wire.exchange([ASK], MADE)
    wire.records = cut_call(wire.records)


@told("call_cut")
def _cut_call_and_on(wire: talk.Wire) -> None:
    wire.exchange([ASK], MADE)
    wire.records = cut_call(wire.records)
    wire.exchange([ASK, talk.user("go on")], talk.says("Done."))


@told("not_complete")
def _cut(wire: talk.Wire) -> None:
    wire.exchange([ASK], talk.says("I look."), cut=True)


@told("unanswered")
def _left(wire: talk.Wire) -> None:
    wire.exchange([ASK], MADE)


@told("orphan")
def _passed(wire: talk.Wire) -> None:
    wire.exchange([ASK], MADE)
    wire.exchange([ASK, MADE, talk.user("never mind")], talk.says("Well."))


@told("second_result")
def _second_result(wire: talk.Wire) -> None:
    wire.exchange([ASK], MADE)
    wire.exchange([ASK, MADE, ANSWER], talk.says("Done."))
    wire.exchange([ASK, MADE, talk.user(talk.result("toolu_1", "cleared"))], talk.says("Well."))


@told("stray_result")
def _stray_result(wire: talk.Wire) -> None:
    wire.exchange([ASK], MADE)
    wire.exchange([ASK, MADE, talk.user(talk.result("toolu_1"), talk.result("toolu_9"))], talk.says("Done."))


@told("earlier_call")
def _earlier_call(wire: talk.Wire) -> None:
    wire.exchange([ASK, MADE, ANSWER], talk.says("Done."))


@told("http_error")
def _http_error(wire: talk.Wire) -> None:
    wire.exchange([ASK], None, status=429)


@changes("headers_only")
def _headers_only(records: Records) -> None:
    records[:] = [record for record in records if "data_count" not in record]
    for record in records:
        gone = {"lines": 0, "sha256": None} if "outcome" in record else {"request": None, "request_sha256": None, "kept": "headers"}
        record.update(gone)


@told("fallback_session")
def _nameless(wire: talk.Wire) -> None:
    wire.exchange([ASK], talk.says("Done."), headers={"x-claude-code-session-id": ""})


@pytest.mark.parametrize(("kind", "damage"), [pytest.param(*row, id=f"{row[0]}-{at}") for at, row in enumerate(HOW)])
def test_every_kind_of_finding_can_occur(tmp_path: Path, kind: str, damage: Damage) -> None:
    damage(tmp_path)
    presence = None
    if kind in ("open_flow", "torn_tail"):  # its proxy lives
        presence = Presence(tmp_path, {})
        flows = tmp_path / FLOWS
        flows.write_text(flows.read_text("utf-8").replace('"proxy":"test"', f'"proxy":"{presence.id}"'), "utf-8")
    found = report(tmp_path, deep=kind in DEEP, asked=LATE if kind == "stray_line" else Filter())
    if presence:
        presence.close()
    assert kind in {each.kind for each in found.findings}


def test_a_log_of_headers_only_is_complete_and_an_error_in_it_is_still_found(tmp_path: Path) -> None:
    records = conversation()
    _headers_only(records)
    found = report(put(tmp_path, records), deep=True)
    assert {each.kind for each in found.findings} == {"headers_only"}
    records.remove(end_record(records))
    assert "no_end" in {each.kind for each in report(put(tmp_path, records)).findings}


def test_no_kind_of_finding_is_dead() -> None:
    assert {kind for kind, _ in HOW} == set(KINDS)


# -- what must not be found, or not so ---------------------------------------------------------------------------------------


def test_a_call_id_that_comes_again_is_another_call(tmp_path: Path) -> None:
    wire, said = talk.Wire(), [ASK]
    for name in ("Bash", "Task", "Bash"):  # a local server begins to count anew in each answer
        made = talk.says(talk.call("call_0", name, command=name))
        wire.exchange(said, made)
        said = [*said, made, talk.user(talk.result("call_0", name))]
    wire.exchange(said, talk.says("Done."))
    found, rows = check.checked(source(put(tmp_path, wire.records)), Filter(), calls=True)
    assert (found.findings, found.calls) == ([], 3)
    assert [(row["call_id"], row["tool"], row["state"], row["verdict"]) for row in rows] == [
        ("call_0", name, "answered", "ok") for name in ("Bash", "Task", "Bash")
    ]


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        (_declared_as_another_tool, "renamed"),
        (_arguments_after_the_end, "late_arguments, bad_arguments"),
        (_no_json, "bad_arguments"),
        (cut_call, "early_result"),
    ],
)
def test_the_table_of_calls_says_what_was_odd(tmp_path: Path, change: Callable[[Records], Records | None], verdict: str) -> None:
    records = conversation()
    changed = change(records)
    _, rows = check.checked(source(put(tmp_path, records if changed is None else changed)), Filter(), calls=True)
    assert [row["verdict"] for row in rows] == [verdict]


def test_a_line_whose_number_is_none_is_no_record(tmp_path: Path) -> None:
    records = conversation()
    piece = line_with(records, '"text_delta"')
    at = records.index(piece)
    run = [piece | {"data_count": piece["data_count"] + more} for more in range(1, 6)]  # of which few are read closely
    for line in run:
        number, line["data_count"] = line["data_count"], {}
        assert report(put(tmp_path, [*records[: at + 1], *run, *records[at + 1 :]])).counts["bad_line"] == 1
        line["data_count"] = number


@pytest.mark.parametrize("case", [case for case in samples.names() if "websocket" in case])
def test_a_part_of_a_sockets_request_that_is_lost_is_found(tmp_path: Path, case: str) -> None:
    records = [record.fields for record in golden.play(case)]
    parts = [record for record in records if record.get("event", "").startswith("request.")]
    assert parts
    for part in parts:
        found = report(put(tmp_path, [record for record in records if record is not part]))
        lost = json.loads(part["metadata"])["id"]
        assert lost in {each.what for each in found.findings if each.kind == "part_missing"}


@pytest.mark.row(14)
def test_all_bad_lines_are_counted(tmp_path: Path) -> None:
    with open(put(tmp_path, conversation()) / LINES, "a") as file:
        file.write("no record\n" * 1234)
    assert report(tmp_path).counts == {"bad_line": 1234}


def test_one_file_tells_which_answers_were_cut(tmp_path: Path) -> None:
    wire = talk.Wire()
    wire.exchange([ASK], talk.says("I look."), cut=True)
    wire.exchange([ASK], talk.says("Done."))
    (put(tmp_path, wire.records) / FLOWS).unlink()
    (tmp_path / ENDS).unlink()
    assert [(each.kind, each.flow_id) for each in report(tmp_path).findings] == [("not_complete", "flow-0001")]


@pytest.mark.parametrize("value", ["x", None, -1, 3.5, True, [], {}])
def test_no_value_of_a_field_breaks_the_check(tmp_path: Path, value: Any) -> None:
    for at in range(3):
        records = conversation()
        victim = (flow_record(records), end_record(records), lines_of(records)[-1])[at]
        for name in list(victim):
            before, victim[name] = victim[name], value
            report(put(tmp_path, records))
            victim[name] = before


# -- on a terminal -------------------------------------------------------------------------------------------------------------


def on_a_narrow_terminal(*words: str) -> tuple[int, str]:
    """(exit status, what `capture check` prints) where stdout is a terminal of 40 columns."""
    main, side = pty.openpty()
    environment = {**os.environ, "COLUMNS": "40", "TERM": "xterm"}
    command = [sys.executable, "-m", "capture", "check", *words]
    try:
        try:
            done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=side, env=environment, cwd=ROOT, timeout=60)
        finally:
            os.close(side)
        shown = b""
        try:
            while data := os.read(main, 1 << 16):
                shown += data
        except OSError:  # so Linux says that nobody writes to it any more
            pass
    finally:
        os.close(main)
    return done.returncode, re.sub(r"\x1b\[[0-9;]*m", "", shown.decode())


def test_a_narrow_terminal_shows_calls_and_strict_exits_1_on_a_warning(tmp_path: Path) -> None:
    log = str(put(tmp_path, conversation()))
    status, shown = on_a_narrow_terminal("--calls", "--strict", "--dir", log)
    header, call, *_ = shown.splitlines()
    assert (status, header.split()[0], "verdict" in shown) == (0, "call", True)
    assert ("toolu_1" in call, "Bash" in call, "complete: 3 flows" in shown) == (True, True, True)
    wire = talk.Wire()
    _passed(wire)
    log = str(put(tmp_path, wire.records))
    assert on_a_narrow_terminal("--dir", log)[0] == 0
    status, shown = on_a_narrow_terminal("--calls", "--strict", "--dir", log)
    assert (status, "warning  orphan" in shown, "1 warning" in shown) == (1, True, True)


def test_the_page_lists_every_kind() -> None:
    page = (ROOT / "docs" / "check.md").read_text("utf-8")
    rows = [f"| `{kind.id}` | {kind.severity.value} | {kind.says} | {kind.do} |" for kind in KINDS.values()]
    assert [line for line in page.splitlines() if line.startswith("| `")] == rows
