"""Records → turns: who asked what, which calls answered it, when the agent was idle again."""

import json
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capture.dialogue import KEPT
from capture.events import UsageReported
from capture.turns import Pairing, run
from capture.updates import (
    Answered,
    Asked,
    Call,
    CallClosed,
    CallMade,
    Exchange,
    Prompt,
    StrayResult,
    Turn,
    TurnClosed,
    TurnIdle,
    TurnStarted,
    Update,
)
from tests import golden
from tests.talk import Wire, call, result, says, user

REMINDER = "<system-reminder>Be brief.</system-reminder>"
AUXILIARY = {"x-claude-code-request-class": "auxiliary"}


def turns(records: Iterable[dict[str, Any]]) -> list[Turn]:
    return [update.turn for update in run(records) if isinstance(update, TurnClosed)]


def closed(records: Iterable[dict[str, Any]]) -> list[Call]:
    return [update.call for update in run(records) if isinstance(update, CallClosed)]


def conversation() -> Wire:
    """Two prompts: the first needs two calls at once, the second none."""
    wire, said = Wire(), [user(REMINDER, "Run the tests")]
    wire.exchange(said, said_next := says("I will.", call("t1", command="pytest"), call("t2", command="ls")))
    said += [said_next, user(result("t1", "3 passed"), result("t2", "no such file", error=True))]
    wire.exchange(said, answer := says("All pass."))
    said += [answer, user("Thank you")]
    wire.exchange(said, says("You are welcome."))
    return wire


def test_a_turn_is_a_prompt_and_all_until_the_agent_is_idle() -> None:
    first, second = turns(conversation().records)
    assert (first.number, first.text, first.answer, first.outcome, first.exchanges) == (1, "Run the tests", "All pass.", "idle", 2)
    assert list(first.flows) == ["flow-0001", "flow-0002"]
    assert (second.number, second.text, second.answer, second.exchanges) == (2, "Thank you", "You are welcome.", 1)
    assert first.usage == UsageReported(fresh=20, cached=200, written=10, output=40)
    assert first.duration_ms is not None
    assert first.duration_ms > 0
    assert first.client["cwd"] == "/home/user/shop"


def test_calls_have_their_arguments_results_and_durations() -> None:
    one, two = closed(conversation().records)
    assert (one.name, json.loads(one.arguments), one.result and one.result.text) == ("Bash", {"command": "pytest"}, "3 passed")
    assert two.result is not None
    assert two.result.is_error
    assert (two.flow_id, two.result_flow, two.results) == ("flow-0001", "flow-0002", 1)
    assert one.duration_ms is not None
    assert one.duration_ms > 0


def test_the_same_prompt_twice_is_two_prompts() -> None:
    wire, said = Wire(), []
    for _ in range(3):
        said.append(user("continue"))
        wire.exchange(said, answer := says("Done."))
        said.append(answer)
    assert [turn.text for turn in turns(wire.records)] == ["continue"] * 3


def test_a_retried_request_is_one_turn() -> None:
    wire, said = Wire(), [user("Run")]
    wire.exchange(said, says("Half of an ans"), cut=True)
    wire.exchange(said, None, status=529)
    wire.exchange(said, says("The answer."))
    (turn,) = turns(wire.records)
    assert (turn.exchanges, turn.answer, turn.outcome) == (3, "The answer.", "idle")


def test_a_retried_call_is_one_call() -> None:
    wire, said = Wire(), [user("Run")]
    wire.exchange(said, says(call("t1", command="ls -la")), cut=True)
    wire.exchange(said, answer := says(call("t1", command="ls -la")))
    wire.exchange([*said, answer, user(result("t1"))], says("Done."))
    (made,) = closed(wire.records)
    assert (json.loads(made.arguments), made.results) == ({"command": "ls -la"}, 1)


def test_an_interrupted_turn_is_closed_by_the_next_prompt() -> None:
    wire, said = Wire(), [user("Count to a million")]
    wire.exchange(said, says("1 2 3"), cut=True)
    wire.exchange([*said, user("[Request interrupted by user]"), user("Stop")], says("Stopped."))
    first, second = turns(wire.records)
    assert (first.text, first.outcome, first.idle_t) == ("Count to a million", "failed", None)
    assert (second.text, second.outcome) == ("Stop", "idle")


def test_a_background_call_makes_no_turn() -> None:
    wire = Wire()
    wire.exchange([user("Name this: Run the tests")], says("Tests"), tools=(), headers=AUXILIARY, model="claude-haiku-4-5")
    wire.exchange([user("Run the tests")], says("Done."))
    wire.exchange([user("quota")], says("#"), tools=(), model="claude-haiku-4-5")
    (turn,) = turns(wire.records)
    assert (turn.text, turn.answer, turn.exchanges) == ("Run the tests", "Done.", 1)
    marks = [update.exchange.background for update in run(wire.records) if isinstance(update, Answered)]
    assert marks == ["auxiliary", None, "title"]


@pytest.mark.parametrize("named", [True, False], ids=["by its headers", "by nothing but its task"])
def test_a_sub_agent_works_for_the_turn_of_its_parent(named: bool) -> None:
    wire, said = Wire(), [user("Ask somebody")]
    task = "Find all the tests of the project and say how many there are"
    headers = {"x-claude-code-agent-id": "a1", "x-claude-code-agent-type": "finder"} if named else {}
    wire.exchange(said, answer := says(call("task", "Task", prompt=task)))
    wire.exchange([user(task)], found := says(call("t1", command="ls")), headers=headers)
    wire.exchange([user(task), found, user(result("t1", "a b"))], says("Two."), headers=headers)
    wire.exchange([*said, answer, user(result("task", "Two."))], says("There are two."))
    (turn,) = turns(wire.records)
    assert (turn.text, turn.answer, turn.exchanges, turn.outcome) == ("Ask somebody", "There are two.", 4, "idle")
    assert list(turn.agents) == ["a1" if named else "task"]
    assert len([update for update in run(wire.records) if isinstance(update, TurnIdle)]) == 1
    assert {made.call_id: made.results for made in closed(wire.records)} == {"task": 1, "t1": 1}


def test_a_sub_agent_with_a_session_of_its_own_belongs_to_its_parent() -> None:
    wire, said = Wire(), [user("Ask somebody")]
    wire.exchange(said, answer := says(call("task", "Task", prompt="Look")))
    opencode = {"user-agent": "opencode/1.18.33", "x-session-id": "child", "x-parent-session-id": wire.sid}
    wire.exchange([user("Look")], says("Seen."), headers=opencode | {"x-claude-code-session-id": ""}, sid="child")
    wire.exchange([*said, answer, user(result("task"))], says("Done."))
    (turn,) = turns(wire.records)
    assert (turn.exchanges, list(turn.agents), turn.answer) == (3, ["child"], "Done.")


def test_a_result_for_no_call_and_a_second_one_are_told() -> None:
    wire, said = Wire(), [user("Run")]
    wire.exchange(said, answer := says(call("t1", command="ls")))
    said += [answer, user(result("t1", "one"))]
    wire.exchange(said, answer := says("Hm."))
    wire.exchange([*said, answer, user(result("t1", "two"), result("t9", "three"))], says("Done."))
    strays = [(update.result.text, update.second) for update in run(wire.records) if isinstance(update, StrayResult)]
    assert strays == [("two", True), ("three", False)]
    (made,) = closed(wire.records)
    assert made.result is not None
    assert made.result.text == "one"


def test_a_call_without_a_result_is_closed_where_the_log_ends() -> None:
    wire = Wire()
    wire.exchange([user("Run")], says(call("t1", command="ls")))
    (made,) = closed(wire.records)
    assert (made.result, made.completed_t is not None) == (None, True)
    (turn,) = turns(wire.records)
    assert (turn.outcome, turn.idle_t) == ("open", None)


def test_a_history_that_is_sent_again_after_a_while_asks_nothing_new() -> None:
    wire = conversation()
    said = [user("Something else"), says("Yes?"), user("A compact history"), says("Good.")]
    wire.exchange([*said, user("Go on")], says("Gone."))
    assert [turn.text for turn in turns(wire.records)] == ["Run the tests", "Thank you", "Go on"]


def test_ids_of_calls_may_come_again() -> None:
    wire, said = Wire(), []
    for number in range(3):
        said.append(user(f"prompt {number}"))
        wire.exchange(said, made := says(call("call_0", command=f"ls {number}")))
        said += [made, user(result("call_0", f"result {number}"))]
        wire.exchange(said, answer := says("Done."))
        said.append(answer)
    assert [(json.loads(made.arguments)["command"], made.result and made.result.text) for made in closed(wire.records)] == [
        (f"ls {number}", f"result {number}") for number in range(3)
    ]
    assert not [update for update in run(wire.records) if isinstance(update, StrayResult)]


def test_a_user_may_say_what_an_open_call_says() -> None:
    wire, said = Wire(), [user("Look")]
    wire.exchange(said, made := says(call("t1", command="continue")))
    wire.exchange([*said, made, user(result("t1", "denied", error=True), "continue")], says("So be it."))
    assert [(turn.text, turn.answer, list(turn.agents)) for turn in turns(wire.records)] == [
        ("Look", "", []),
        ("continue", "So be it.", []),
    ]


def test_the_same_question_asked_anew_is_a_prompt_and_no_retry() -> None:
    wire = Wire()
    for text in ("hi", "hi", "yo", "hi"):
        wire.exchange([user(text)], says(f"{text}!"))
    assert [(turn.text, turn.answer, turn.exchanges) for turn in turns(wire.records)] == [
        ("hi", "hi!", 1),
        ("hi", "hi!", 1),
        ("yo", "yo!", 1),
        ("hi", "hi!", 1),
    ]


def test_a_compaction_goes_on_with_the_turn() -> None:
    wire, said = Wire(), [user("Build it all")]
    wire.exchange(said, made := says(call("t1", command="make")))
    said += [made, user(result("t1"))]
    wire.exchange([*said, user("Your task is to create a detailed summary of the conversation so far.")], says("It is built."))
    short = user("This session is being continued from a previous conversation. It is built.")
    wire.exchange([short], says("All built."))
    (turn,) = turns(wire.records)
    assert (turn.text, turn.answer, turn.outcome, turn.exchanges) == ("Build it all", "All built.", "idle", 2)


@pytest.mark.parametrize(
    ("blocks", "text"),
    [
        ([{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}], "[image]"),
        ([f"{REMINDER}\nReally do it"], "\nReally do it"),
        (["<ide_opened_file>a.py</ide_opened_file>", "Explain"], "Explain"),
        (["<b>bold</b> words"], "<b>bold</b> words"),
    ],
)
def test_what_a_human_wrote_is_told_from_what_a_client_put_there(blocks: list[Any], text: str) -> None:
    wire = Wire()
    wire.exchange([user(*blocks)], says("Yes."))
    assert [turn.text for turn in turns(wire.records)] == [text]


@pytest.mark.parametrize(
    "text", ["<system-reminder>open for ever", "<bash-input>ls</bash-input>", "Stop hook feedback: no", REMINDER]
)
def test_what_no_human_wrote_is_no_prompt(text: str) -> None:
    wire = Wire()
    wire.exchange([user("Go")], says("Gone."))
    wire.exchange([user("Go"), says("Gone."), user(text)], says("Hm."))
    assert [turn.text for turn in turns(wire.records)] == ["Go"]


def test_many_sessions_at_once_stay_whole() -> None:
    wires = [Wire(sid=f"session-{number:04d}", flows=number * 10) for number in range(600)]
    for wire in wires:
        wire.exchange([user("Run")], says(call("t1", command="ls")))
        wire.exchange([user("Run"), says(call("t1", command="ls")), user(result("t1"))], says("Done."))
    first = [record for wire in wires for record in wire.records if record["flow_id"].endswith("1")]
    second = [record for wire in wires for record in wire.records if record["flow_id"].endswith("2")]
    found = turns(first + second)
    assert {(turn.outcome, turn.exchanges, turn.number, turn.answer) for turn in found} == {("idle", 2, 1, "Done.")}
    assert len(found) == 600


@pytest.mark.parametrize(
    ("call_id", "kept"),
    [("toolu_01UfRQwKzSZqoUTAHTgYqxNJ", KEPT), ("call_0", 9000), ("functions.Shell:0", 9000), ("run_shell_command", 9000)],
)
def test_of_a_long_result_that_was_told_the_beginning_is_remembered(call_id: str, kept: int) -> None:
    """Where ids come again, and the same result with them, all of it: it is told once more by its part's id alone."""
    wire, pairing = Wire(), Pairing()
    said = [user("Read it"), says(call(call_id, "Read", file="a")), user(result(call_id, "x" * 9000)), says("Read.")]
    again = [*said, user("Once more"), says(call(call_id, "Read", file="a")), said[2]]
    for request, answer in ((said[:1], said[1]), (said[:3], said[3]), (again[:5], again[5]), (again[:7], says("Same."))):
        wire.exchange(request, answer)
    results, remembered = [], list[int]()
    for record in wire.records:
        for update in pairing.feed(record):
            if isinstance(update, CallClosed):
                assert update.call.result
                results.append(update.call.result.text)
    for session in pairing._sessions.values():
        remembered += [len(each.text) for part in session.parts.values() for each in part.results]
    assert results[0] == "x" * 9000
    assert results[1:] == ["x" * kept]
    assert remembered == [kept]


def test_two_sessions_that_overlap_do_not_mix() -> None:
    one, two = Wire(), Wire(sid="99999999-2222-4333-8444-555555555555", flows=100)
    one.exchange([user("A")], says(call("t1")))
    two.exchange([user("B")], says(call("t1")))
    one.exchange([user("A"), says(call("t1")), user(result("t1", "of A"))], says("a"))
    two.exchange([user("B"), says(call("t1")), user(result("t1", "of B"))], says("b"))
    records = [record for pair in zip(one.records, two.records, strict=True) for record in pair]
    assert {turn.text: turn.answer for turn in turns(records)} == {"A": "a", "B": "b"}
    assert {made.sid: made.result and made.result.text for made in closed(records)} == {one.sid: "of A", two.sid: "of B"}


def test_without_flow_records_prompts_and_answers_are_the_same() -> None:
    records = conversation().records
    lines = [record for record in records if "data_count" in record]
    assert [(turn.text, turn.answer) for turn in turns(lines)] == [(turn.text, turn.answer) for turn in turns(records)]


def told(updates: Iterable[Update]) -> list[Any]:
    """What is final in updates, as plain values."""
    rows: list[Any] = []
    for update in updates:
        match update:
            case TurnClosed(turn):
                rows.append((turn.sid, turn.number, turn.text, turn.answer, turn.outcome, turn.idle_t, turn.usage))
            case CallClosed(made):
                rows.append((made.call_id, made.arguments, made.result))
            case Answered(exchange):
                rows.append((exchange.flow_id, exchange.number, exchange.answer.text, exchange.outcome))
            case TurnStarted(turn):
                rows.append(("started", turn.sid, turn.number))
    return rows


def test_record_by_record_or_at_once_is_the_same() -> None:
    records = conversation().records
    pairing = Pairing()
    one_by_one: list[Any] = []
    for record in records:
        one_by_one += told(list(pairing.feed(json.loads(json.dumps(record)))))
    assert one_by_one + told(list(pairing.close())) == told(list(run(records)))


@given(st.integers(0, 60))
def test_what_a_prefix_tells_is_a_prefix_of_what_the_whole_tells(length: int) -> None:
    records = conversation().records
    length = min(length, len(records))

    def updates(some: list[dict[str, Any]]) -> list[Any]:
        pairing = Pairing()
        return [row for record in some for row in told(pairing.feed(record))]

    part = updates(records[:length])
    assert updates(records)[: len(part)] == part


@given(st.data())
def test_a_log_with_gaps_never_raises(data: st.DataObject) -> None:
    records = conversation().records
    kept = data.draw(st.lists(st.sampled_from(range(len(records))), unique=True).map(sorted))
    for turn in turns([records[index] for index in kept]):
        assert turn.outcome in ("idle", "interrupted", "failed", "open")


@pytest.mark.parametrize(
    "case", ["openai_responses/websocket", "openai_chat/tool_calls", "openai_chat/usage_done", "gemini/json_array"]
)
def test_every_vocabulary_has_a_prompt_and_an_answer(case: str) -> None:
    records = [json.loads(line)["fields"] for line in golden.load(case)]
    records.sort(key=lambda record: "request_headers" not in record)
    updates = list(run(records))
    asked: list[Exchange] = [update.exchange for update in updates if isinstance(update, Asked) and not update.exchange.background]
    prompts: list[Prompt] = [prompt for exchange in asked for prompt in exchange.prompts]
    assert prompts
    assert all(prompt.text and prompt.sure for prompt in prompts)
    assert any(isinstance(update, CallMade | TurnIdle) for update in updates)
    assert all(exchange.outcome == "complete" for exchange in asked)
