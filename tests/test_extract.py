"""Updates → rows: each kind's golden, its model, and one pass for all of them."""

import json
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.generate import FILES as DIALECTS
from bench.generate import Wanted, generate
from bench.story import Scale
from bench.telling import FLOWS, LINES, load
from capture import scan
from capture.cli import cli
from capture.extract import KINDS, Row, extract, fields_of, holds_of, json_line, model_of, sharing
from capture.jsonl import dumps
from capture.turns import run
from capture.updates import Update
from tests import golden_rows
from tests.odd import JSON
from tests.talk import Wire, call, result, says, user

NAMES = [kind.name for kind in KINDS]
BY_NAME = {kind.name: kind for kind in KINDS}
ENVIRONMENT = """# Environment
 - Primary working directory: /home/user/shop
 - Is a git repository: true
 - Platform: linux
 - Additional working directories: /srv/other
You are powered by the model named Opus 5.5. The exact model ID is claude-opus-5-5. Assistant knowledge cutoff is June 2026.
Today's date is 2026-11-21."""
FIND = {"x-claude-code-agent-id": "a1", "x-claude-code-agent-type": "finder"}


def conversation() -> Wire:
    """All that the samples do not show: an error, limits, a sub-agent, an edit, a stray result, what a prompt says of the model."""
    wire, task = Wire(), "Find all the tests"
    said = [
        user("<system-reminder>Be brief.</system-reminder>", "Fix the tests"),
        {"role": "system", "content": ENVIRONMENT},
    ]
    wire.exchange(said, None, status=529)
    opened = next(record for record in wire.records if "request_headers" in record)
    opened["response_headers"] += [["Retry-After", "7"], ["anthropic-ratelimit-requests-remaining", "0"]]
    edit = call("e1", "Edit", file_path="a.py", old_string="x", new_string="y\nz")
    wire.exchange(said, answer := says("I look.", call("b1", command="pytest"), edit, call("t1", "Task", prompt=task)))
    said += [answer]
    wire.exchange([user(task)], found := says(call("s1", command="ls")), headers=FIND)
    wire.exchange([user(task), found, user(result("s1", "a b"))], says("Two."), headers=FIND)
    said += [user(result("b1", "exit 1", error=True), result("e1"), result("t1", "Two."), result("gone", "?"))]
    wire.exchange(said, says("Fixed."))
    return wire


def rows_of(updates: Iterator[Update], *names: str) -> dict[str, list[Any]]:
    """The rows of some kinds (all), as JSON says them."""
    found: dict[str, list[Any]] = {name: [] for name in names or NAMES}
    for name, row in extract(updates, [BY_NAME[name] for name in names or NAMES]):
        found[name].append(json.loads(json_line(row)))
    return found


@pytest.fixture(scope="module")
def rows() -> dict[str, list[Any]]:
    return rows_of(run(conversation().records))


# -- every kind ------------------------------------------------------------------------------------------------------------------


def test_the_goldens_are_those_of_the_kinds() -> None:
    assert {path.stem for path in golden_rows.DIRECTORY.iterdir()} == set(NAMES)


@pytest.fixture(scope="module")
def samples() -> dict[str, list[Row]]:
    return golden_rows.rows()


@pytest.mark.parametrize("kind", NAMES)
def test_samples_give_their_golden_rows(kind: str, samples: dict[str, list[Row]]) -> None:
    assert golden_rows.path(kind).read_bytes() == b"".join(map(json_line, samples[kind]))


@pytest.mark.parametrize("kind", NAMES)
def test_rows_are_what_their_model_says(kind: str, rows: dict[str, list[Any]], samples: dict[str, list[Row]]) -> None:
    model = model_of(BY_NAME[kind])
    told = [json.loads(line) for line in golden_rows.path(kind).read_bytes().splitlines()]
    assert rows[kind] or told, "a kind without a row proves nothing"
    for row in (*rows[kind], *told):
        assert list(model.model_fields) == list(row), "fields stand in the model's order"
        model.model_validate(row, strict=True)


@pytest.mark.parametrize("kind", NAMES)
def test_every_field_says_what_it_is(kind: str) -> None:
    fields = fields_of(BY_NAME[kind])
    assert [field.name for field in fields if not field.says] == []
    assert [field.name for field in fields][:2] == ["t", "sid"], "rows begin alike"
    schema = model_of(BY_NAME[kind]).model_json_schema()
    assert schema["additionalProperties"] is False
    assert all(schema["properties"][field.name]["description"] == field.says for field in fields)
    assert schema["required"] == [field.name for field in fields]


def test_a_row_with_an_unknown_field_is_none() -> None:
    model = model_of(BY_NAME["costs"])
    row = json.loads(golden_rows.path("costs").read_bytes().splitlines()[0])
    with pytest.raises(ValueError, match="extra"):
        model.model_validate(row | {"more": 1})


# -- what they say ---------------------------------------------------------------------------------------------------------------


def test_calls_have_arguments_status_and_times(rows: dict[str, list[Any]]) -> None:
    calls = {row["call_id"]: row for row in rows["tool_calls"]}
    assert {name: row["status"] for name, row in calls.items()} == {"b1": "error", "e1": "ok", "t1": "ok", "s1": "ok"}
    assert calls["b1"]["arguments"] == {"command": "pytest"}
    assert calls["s1"]["agent"] == "a1"
    assert all(row["t"] <= row["completed_t"] <= row["result_t"] and row["duration_ms"] > 0 for row in calls.values())


def test_results_belong_to_their_calls(rows: dict[str, list[Any]]) -> None:
    found = {row["call_id"]: (row["name"], row["text"], row["is_error"], row["flow_id"]) for row in rows["tool_results"]}
    assert found == {
        "s1": ("Bash", "a b", False, "flow-0004"),
        "b1": ("Bash", "exit 1", True, "flow-0005"),
        "e1": ("Edit", "done", False, "flow-0005"),
        "t1": ("Task", "Two.", False, "flow-0005"),
        "gone": (None, "?", False, "flow-0005"),
    }


def test_linkage_says_where_a_call_was_made_and_where_it_was_answered(rows: dict[str, list[Any]]) -> None:
    found = {row["call_id"]: (row["flow_id"], row["number"], row["turn"], row["result_flow"]) for row in rows["call_linkage"]}
    assert found["b1"] == ("flow-0002", 0, 1, "flow-0005")
    assert found["s1"] == ("flow-0003", 0, 1, "flow-0004")
    assert {row["result_number"] for row in rows["call_linkage"]} == {0}


def test_linkage_over_a_socket_has_the_numbers_of_its_exchanges() -> None:
    found = rows_of(run(golden_rows.records("openai_responses/websocket")), "call_linkage", "call_index")
    (made,) = [row for row in found["call_linkage"] if row["result_flow"]]
    assert made["result_number"] == made["number"] + 1
    assert {row["number"] for row in found["call_index"]} >= {made["number"], made["result_number"]}


def test_errors_are_failed_calls_and_results_without_one(rows: dict[str, list[Any]]) -> None:
    assert {(row["call_id"], row["problem"]) for row in rows["function_call_errors"]} == {("b1", "error"), ("gone", "stray_result")}


def test_a_call_that_was_cut_and_one_without_an_answer_are_errors() -> None:
    wire = Wire()
    wire.exchange([user("Run")], says(call("t1", command="ls"), call("t2", command="ls")))
    pieces = [at for at, record in enumerate(wire.records) if record.get("event") == "content_block_delta"]
    cut = wire.records[: pieces[-1]]  # half of the second call's arguments
    found = rows_of(run(cut), "function_call_errors")["function_call_errors"]
    assert {(row["call_id"], row["problem"]) for row in found} == {("t1", "unanswered"), ("t2", "cut")}


def test_usage_is_counted_by_session_and_tool(rows: dict[str, list[Any]]) -> None:
    found = {row["name"]: (row["sort"], row["calls"], row["errors"], row["unanswered"]) for row in rows["tool_usage_stats"]}
    assert found == {"Bash": ("shell", 2, 1, 0), "Edit": ("edit", 1, 0, 0), "Task": ("agent", 1, 0, 0)}
    bash = next(row for row in rows["tool_usage_stats"] if row["name"] == "Bash")
    assert bash["mean_ms"] * 2 == pytest.approx(bash["duration_ms"])
    assert bash["max_ms"] <= bash["duration_ms"]


def test_a_failed_flow_has_the_providers_words(rows: dict[str, list[Any]]) -> None:
    (row,) = rows["http_errors"]
    assert (row["status"], row["said"], row["retry_after"], row["outcome"]) == (529, "rate_limit_error: slow down", "7", "error")
    (limits,) = rows["rate_limits"]
    assert limits["limits"] == {"retry-after": "7", "anthropic-ratelimit-requests-remaining": "0"}


def test_a_sub_agent_has_its_own_row_in_its_turn(rows: dict[str, list[Any]]) -> None:
    (row,) = rows["subagents"]
    assert (row["agent"], row["type"], row["turn"], row["exchanges"], row["calls"]) == ("a1", "finder", 1, 2, 1)
    assert (row["input"], row["output"]) == (230, 40)


def test_edits_and_commands_are_told_with_their_status(rows: dict[str, list[Any]]) -> None:
    (edit,) = rows["file_edits"]
    assert (edit["path"], edit["action"], edit["added"], edit["removed"], edit["status"]) == ("a.py", "edit", 2, 1, "ok")
    assert sorted(row["command"] for row in rows["shell_commands"]) == ["ls", "pytest"]


def test_prompts_are_what_the_user_wrote_and_reminders_are_not(rows: dict[str, list[Any]]) -> None:
    assert [row["text"] for row in rows["user_prompts"]] == ["Fix the tests"]
    assert [(row["tag"], row["text"]) for row in rows["reminders_policies"]] == [("system-reminder", "Be brief.")]


def test_a_prompt_that_explains_a_tag_is_no_reminder() -> None:
    wire = Wire()
    wire.exchange(
        [{"role": "system", "content": "Text in `<system-reminder>` is context.</system-reminder>"}, user("Go")], says("Gone.")
    )
    assert rows_of(run(wire.records), "reminders_policies")["reminders_policies"] == []


def test_a_reminder_within_a_result_is_found() -> None:
    wire, said = Wire(), [user("Go"), says(call("t1"))]
    wire.exchange([*said, user(result("t1", "a\n<system-reminder>Stay.</system-reminder>"))], says("Gone."))
    (row,) = rows_of(run(wire.records), "reminders_policies")["reminders_policies"]
    assert (row["role"], row["text"]) == ("tool", "Stay.")


def test_what_a_prompt_says_of_place_and_model(rows: dict[str, list[Any]]) -> None:
    (place,) = rows["paths_repo_hints"]
    assert (place["cwd"], place["git_repo"], place["platform"], place["paths"]) == (
        "/home/user/shop",
        True,
        "linux",
        ["/srv/other"],
    )
    (model,) = rows["model_identity_cutoff"]
    assert (model["model_name"], model["model_id"], model["cutoff"], model["date"]) == (
        "Opus 5.5",
        "claude-opus-5-5",
        "June 2026",
        "2026-11-21",
    )


def test_a_models_name_ends_before_the_sentence_does() -> None:
    wire = Wire()
    for name in ("GPT-6", "GPT-6.1-codex"):
        wire.exchange(
            [{"role": "system", "content": f"You are Codex, an agent based on {name}. You share a workspace."}], says("Yes.")
        )
    found = rows_of(run(wire.records), "model_identity_cutoff")["model_identity_cutoff"]
    assert [row["model_name"] for row in found] == ["GPT-6", "GPT-6.1-codex"]


def test_a_user_who_speaks_of_directories_is_no_hint() -> None:
    wire = Wire()
    wire.exchange([user("The working directory: /etc is wrong; knowledge cutoff: 1999")], says("Yes."))
    found = rows_of(run(wire.records), "paths_repo_hints", "model_identity_cutoff")
    assert found == {"paths_repo_hints": [], "model_identity_cutoff": []}


def test_growth_is_what_is_new(rows: dict[str, list[Any]]) -> None:
    found = {row["flow_id"]: (row["messages"], row["new"], row["results"], row["prompts"]) for row in rows["conversation_growth"]}
    assert found["flow-0001"] == (2, 2, 0, 1)
    assert found["flow-0002"] == (2, 0, 0, 0), "a retry says nothing new"
    assert found["flow-0005"] == (4, 2, 4, 0)
    sizes = {row["flow_id"]: row["new_bytes"] for row in rows["conversation_growth"]}
    assert sizes["flow-0002"] == 0 < sizes["flow-0005"]


def test_a_request_is_told_with_what_it_sets() -> None:
    wire = Wire()
    wire.exchange([user("Go")], says("Gone."), headers={"anthropic-beta": "one-2026, two-2026"})
    opened = next(record for record in wire.records if "request_headers" in record)
    opened["request"] |= {
        "max_tokens": 32000,
        "temperature": 0.5,
        "thinking": {"type": "enabled", "budget_tokens": 1000},
        "output_config": {"effort": "high"},
        "metadata": {"user_id": '{"device_id":"d1","account_uuid":"a1"}'},
        "context_management": {"edits": []},
    }
    found = rows_of(run(wire.records), "config", "telemetry")
    (row,) = found["config"]
    assert (row["model"], row["max_tokens"], row["temperature"], row["stream"]) == ("claude-opus-5-5", 32000, 0.5, True)
    assert (row["thinking"], row["thinking_budget"], row["effort"]) == ("enabled", 1000, "high")
    assert row["betas"] == ["one-2026", "two-2026"]
    assert set(row["other"]) == {"thinking", "output_config", "context_management"}
    told = next(row for row in found["telemetry"] if row["source"] == "body")
    assert (told["device_id"], told["account_id"]) == ("d1", "a1")


def test_a_request_of_gemini_is_told_in_the_same_words() -> None:
    found = rows_of(run(golden_rows.records("gemini/google_login")), "config")["config"]
    assert all(row["model"].startswith("gemini") and row["max_tokens"] != 0 for row in found)


def test_tokens_and_costs_are_of_answers_that_have_some(rows: dict[str, list[Any]]) -> None:
    assert [row["total"] for row in rows["token_usage"]] == [135] * 4
    assert [row["flow_id"] for row in rows["costs"]] == [row["flow_id"] for row in rows["token_usage"]]
    assert len(rows["call_index"]) == 5


# -- one pass --------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=tuple(DIALECTS))
def log(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A nasty log of a few MB."""
    out = tmp_path_factory.mktemp(request.param)
    sessions = {"ours": 9, "claude_log": 3, "codex_log": 3}[request.param]
    generate(Wanted(out, request.param, sessions=sessions, nasty=True, scale=Scale(exchanges=3, deltas=16, result=120)))
    return out


def source(log: Path) -> scan.Source:
    return scan.Source(log, None) if (log / FLOWS).exists() else scan.Source(None, str(log / LINES))


def test_all_kinds_in_one_pass_are_each_alone_with_what_it_needs(log: Path) -> None:
    together = rows_of(run(scan.read(source(log))))
    for kind in KINDS:
        alone = rows_of(run(scan.read(source(log), holds_of([kind]))), kind.name)
        assert alone[kind.name] == together[kind.name], kind.name


def test_made_up_logs_give_rows_of_their_models(log: Path) -> None:
    for kind, found in rows_of(run(scan.read(source(log)))).items():
        model = model_of(BY_NAME[kind])
        for row in found:
            assert list(model.model_fields) == list(row)
            model.model_validate(row, strict=True)


def test_several_processes_find_what_one_finds(log: Path, tmp_path: Path) -> None:
    one, several = scan.Notes(), scan.Notes()
    together = rows_of(run(scan.read(source(log), notes=one)))
    done = sharing.share(source(log), KINDS, None, 3, tmp_path, False, untouched)
    for each in done:
        several.bad += each.notes.bad
        several.count += each.notes.count
    for name in NAMES:
        with open(tmp_path / name, "wb") as file:
            assert sharing.merged(done, name, file) == len(together[name])
        found = [json.loads(line) for line in (tmp_path / name).read_bytes().splitlines()]
        assert sorted(map(json.dumps, found)) == sorted(map(json.dumps, together[name])), name
        if name in ("user_prompts", "system_prompts"):  # the end of a flow may be known a little earlier or later
            assert found == together[name], "in the same order"
    assert sum(bool(each.notes.bad or any(each.places.values())) for each in done) > 1, "more than one had something to do"
    assert several.count == one.count
    assert {(bad.file, bad.offset) for bad in several.bad} == {(bad.file, bad.offset) for bad in one.bad}


def untouched(items: Iterable[scan.Item], notes: scan.Notes) -> Iterator[scan.Item]:
    return iter(items)


def test_a_sub_agents_own_session_is_its_parents_share() -> None:
    parents = {"child": "parent", "grandchild": "child", "loop": "pool", "pool": "loop"}
    shares = [sharing.Share(number, 5, parents) for number in range(5)]
    for sid in ("parent", "child", "grandchild", "other", "loop", "\udc80"):
        assert sum(sid in share for share in shares) == 1
    assert {("child" in share, "grandchild" in share) for share in shares} == {(True, True), (False, False)}
    assert [("child" in share) for share in shares] == [("parent" in share) for share in shares]


@pytest.mark.parametrize("form", ["compact", "spaced", "escaped", "with more behind"])
def test_a_line_goes_to_one_process_however_it_is_written(tmp_path: Path, form: str) -> None:
    sids = [f"s\u00e9ssion {number}" for number in range(9)]
    with open(tmp_path / LINES, "wb") as file:
        for number, sid in enumerate(sids):
            record = {"event": "x", "t": "2026-11-21T08:00:00.000", "line": 'data: {"sid":"s0"}', "metadata": "{}"}
            record |= {"flow_id": f"f{number}", "data_count": 0, "sid": sid}  # type: ignore[dict-item]
            match form:
                case "spaced":
                    text = json.dumps(record, ensure_ascii=False)
                case "escaped":
                    text = json.dumps(record, separators=(",", ":"))
                case "compact":
                    text = dumps(record).decode()
                case _:
                    text = dumps(record | {"more": [1]}).decode()
            file.write(text.strip().encode() + b"\n")
    log, shares = scan.Source(None, str(tmp_path / LINES)), [sharing.Share(number, 3) for number in range(3)]
    found = [[item["sid"] for item in sharing._items(log, share, scan.Notes()) if isinstance(item, dict)] for share in shares]
    assert sorted(sid for each in found for sid in each) == sids
    assert all(found), "each has some"


STRAYS = ("stray_result", "second_result")


def defects(log: Path) -> list[dict[str, Any]]:
    return load(log, "defects") if (log / "truth" / "defects.jsonl").exists() else []


def test_calls_and_tokens_are_those_of_the_story(log: Path) -> None:
    found = rows_of(run(scan.read(source(log))))
    truth = load(log, "calls")
    assert len(found["tool_calls"]) == len(truth)
    strays = [row for row in found["function_call_errors"] if row["problem"] == "stray_result"]
    meant = {(row["sid"], row["call_id"]) for row in defects(log) if row["defect"] in STRAYS}
    assert meant <= {(row["sid"], row["call_id"]) for row in strays}
    assert len(found["tool_results"]) == sum(row["result"] is not None for row in truth) + len(strays)
    assert [(row["t"], row["text"]) for row in load(log, "prompts")] == sorted(
        (row["t"], row["text"]) for row in found["user_prompts"]
    )
    told = [row for row in load(log, "exchanges") if row["usage"]]
    assert sum(row["output"] or 0 for row in found["token_usage"]) == sum(row["usage"]["output"] or 0 for row in told)
    if (log / "truth" / "agents.jsonl").exists():
        agents = sorted((row["agent"], row["exchanges"]) for row in load(log, "agents"))
        assert sorted((row["agent"], row["exchanges"]) for row in found["subagents"]) == agents


@settings(max_examples=60)
@given(st.data())
def test_odd_payloads_never_raise(data: st.DataObject) -> None:
    records = conversation().records
    for _ in range(3):
        at = data.draw(st.integers(0, len(records) - 1))
        odd, record = data.draw(JSON), records[at]
        if "data_count" in record:
            records[at] = record | {"payload": odd}
        else:
            records[at] = record | {data.draw(st.sampled_from(sorted(set(record) - {"flow_id", "sid", "t", "outcome"}))): odd}
    for _, row in extract(run(records), KINDS):
        json.loads(json_line(row))


@given(JSON)
def test_any_part_is_data(value: Any) -> None:
    wire = Wire()
    wire.exchange([user("Go")], says("Gone."))
    for record in wire.records:
        if str(record.get("event")) in ("request.user", "request.tools", "request.system"):
            record["payload"] = value
    for _, row in extract(run(wire.records), KINDS):
        json.loads(json_line(row))


# -- commands --------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A log directory with the conversation."""
    path = tmp_path / "log"
    path.mkdir()
    for record in conversation().records:
        name = "sse_lines" if "data_count" in record else "sse_flow_ends" if "outcome" in record else "sse_flows"
        with open(path / f"{name}.jsonl", "ab") as file:
            file.write(dumps(record))
    return path


def capture(*words: str) -> Result:
    return CliRunner().invoke(cli, words, catch_exceptions=False, standalone_mode=False)


def test_each_kind_has_its_file_that_only_the_user_can_read(directory: Path, tmp_path: Path, rows: dict[str, list[Any]]) -> None:
    out = tmp_path / "deep" / "out"
    result = capture("extract", "--dir", str(directory), "--out-dir", str(out))
    assert {path.name for path in out.iterdir()} == {f"{name}.jsonl" for name in NAMES}
    assert {stat.S_IMODE(path.stat().st_mode) for path in out.iterdir()} == {0o600}
    found = {name: [json.loads(line) for line in (out / f"{name}.jsonl").read_bytes().splitlines()] for name in NAMES}
    assert found == rows
    total, each = result.stderr.splitlines()
    assert total == f"capture: {sum(map(len, rows.values()))} rows in 28 files in {out}"
    assert each == f"capture: {', '.join(f'{name} {len(rows[name])}' for name in NAMES)}"
    assert result.stdout == ""


def test_a_second_run_replaces_the_files_whole(directory: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    capture("extract", "--dir", str(directory), "-o", str(out), "--kinds", "costs")
    before = (out / "costs.jsonl").read_bytes()
    inode = os.stat(out / "costs.jsonl").st_ino
    capture("extract", "--dir", str(directory), "-o", str(out), "--kinds", "costs")
    assert (out / "costs.jsonl").read_bytes() == before
    assert os.stat(out / "costs.jsonl").st_ino != inode
    assert [path.name for path in out.iterdir()] == ["costs.jsonl"]


@pytest.mark.parametrize("words", [("-",), ("--out-dir", "-"), ("-o", "-")])
def test_on_stdout_rows_name_their_kind(directory: Path, words: tuple[str, ...], rows: dict[str, list[Any]]) -> None:
    result = capture("extract", "--dir", str(directory), "--kinds", "costs, tool_calls", *words)
    found = [json.loads(line) for line in result.stdout.splitlines()]
    assert [row for row in found if row["kind"] == "costs"] == [{"kind": "costs", **row} for row in rows["costs"]]
    assert {row["kind"] for row in found} == {"costs", "tool_calls"}
    assert not Path("extract").exists()


def test_a_part_of_the_log_is_what_began_in_it(directory: Path, rows: dict[str, list[Any]]) -> None:
    border = rows["call_index"][2]["t"]

    def asked(*words: str) -> list[str]:
        lines = capture("extract", "--dir", str(directory), "--kinds", "call_index", "-", *words).stdout.splitlines()
        return [json.loads(line)["t"] for line in lines]

    assert asked("--since", border) + asked("--until", border) == [
        row["t"] for row in (*rows["call_index"][2:], *rows["call_index"][:2])
    ]
    assert len(asked("--session", "latest")) == 5


@pytest.mark.parametrize("to", ["files", "-"])
def test_a_large_log_is_shared_by_processes(
    directory: Path, tmp_path: Path, to: str, monkeypatch: pytest.MonkeyPatch, rows: dict[str, list[Any]]
) -> None:
    monkeypatch.setattr("capture.extract.sharing.processes", lambda *_: 2)
    out = "-" if to == "-" else str(tmp_path / "out")
    result = capture("extract", "--dir", str(directory), "-o", out)
    if to == "-":
        found = [json.loads(line) for line in result.stdout.splitlines()]
        assert [row for row in found if row["kind"] == "costs"] == [{"kind": "costs", **row} for row in rows["costs"]]
        assert result.stderr == "", "where it wrote is said only of files"
        assert len(found) == sum(map(len, rows.values()))
    else:
        told = {
            name: [json.loads(line) for line in (tmp_path / "out" / f"{name}.jsonl").read_bytes().splitlines()] for name in NAMES
        }
        assert told == rows
        assert f", token_usage {len(rows['token_usage'])}, " in result.stderr


def test_a_pass_is_shared_only_where_that_is_worth_it(tmp_path: Path) -> None:
    path = tmp_path / LINES
    with open(path, "wb") as file:
        file.truncate(sharing.WORTH)
    large = scan.Source(tmp_path, None)
    assert 1 <= sharing.processes(large, holds_of(KINDS), "auto") <= sharing.MOST
    assert sharing.processes(large, holds_of([BY_NAME["tool_calls"]]), "auto") == 1, "the index is faster"
    assert sharing.processes(large, holds_of(KINDS), "index") == 1
    assert sharing.processes(scan.Source(None, "-"), holds_of(KINDS), "auto") == 1
    path.write_bytes(b"")
    assert sharing.processes(large, holds_of(KINDS), "auto") == 1


def test_bad_lines_are_counted_and_named(directory: Path) -> None:
    with open(directory / "sse_lines.jsonl", "ab") as file:
        where = file.tell()
        file.write(b"no record\n")
    result = capture("extract", "--dir", str(directory), "--kinds", "costs", "-")
    assert f"1 line was skipped, the first at byte {where} of" in result.stderr
    assert result.stdout.count("\n") == 4


@pytest.mark.parametrize("words", [("extract", "--kinds", "tool_call"), ("kinds", "tool_call")])
def test_an_unknown_kind_gets_a_near_match(words: tuple[str, ...]) -> None:
    from capture.files import Unusable

    with pytest.raises(Unusable, match="there is no kind tool_call: did you mean tool_calls"):
        capture(*words)


def test_a_directory_that_cannot_be_written_is_named(directory: Path, tmp_path: Path) -> None:
    from capture.files import Unusable

    (tmp_path / "file").write_text("")
    with pytest.raises(Unusable, match="choose another directory with --out-dir"):
        capture("extract", "--dir", str(directory), "-o", str(tmp_path / "file" / "out"))


def test_kinds_are_listed_with_their_fields() -> None:
    found = [json.loads(line) for line in capture("kinds").stdout.splitlines()]
    assert [row["name"] for row in found] == NAMES
    fields = [json.loads(line) for line in capture("kinds", "costs").stdout.splitlines()]
    assert fields == found[NAMES.index("costs")]["fields"]
    assert fields[-1] == {
        "name": "cost",
        "type": "number or null",
        "says": "US dollars at list prices; null when the price is not known",
    }


def test_schemas_are_published() -> None:
    schema = json.loads(capture("kinds", "--schema", "costs").stdout)
    assert schema == model_of(BY_NAME["costs"]).model_json_schema()
    assert json.loads(capture("kinds", "--schema").stdout)["costs"] == schema
