"""What `capture top` knows without a screen: each session's conversation, its sub-agents' words in it."""

from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capture import samples
from capture.live import conversation as rules
from capture.live.desk import Desk
from capture.live.spans import steady
from capture.live.watch import Watch
from capture.prices import cost
from capture.turns import run
from capture.updates import Answered
from tests.golden_live import INTERLEAVED, log
from tests.talk import Wire, call, result, says, user

QUIET = 20.0  # seconds after which everything that waits is drawn


def watched(records: Iterable[dict[str, Any]], watch: Watch | None = None) -> Watch:
    watch = watch or Watch(cost)
    for record in records:
        watch.feed(record)
        watch.draw()
    watch.draw(QUIET)
    return watch


def said(watch: Watch, sid: str) -> str:
    document = watch.conversations.document(sid)
    return "\n".join(line.text for line in document.lines) if document else ""


def squeezed(text: str) -> str:
    return "".join(steady(text).split())


@pytest.mark.parametrize("case", [*samples.names(), INTERLEAVED])
def test_all_that_a_model_says_is_drawn_once(case: str) -> None:
    watch = watched(log(case))
    answers = [update.exchange for update in run(log(case)) if isinstance(update, Answered)]
    assert answers
    for exchange in answers:
        for pieces in (exchange.answer.texts, exchange.answer.reasonings):
            for block in pieces._blocks.values():
                assert squeezed(said(watch, exchange.sid)).count(squeezed("".join(block))) == 1 or not "".join(block).strip()


def family() -> list[list[dict[str, Any]]]:
    """The records of an agent that asks two others at once, flow by flow."""
    wire, flows = Wire(), []
    for name, messages, answer in (
        (
            None,
            [user("Ask both")],
            says("I will.", call("t1", "Task", prompt="Look left"), call("t2", "Task", prompt="Look right")),
        ),
        ("a1", [user("Look left")], says("Nothing on the left.")),
        ("a2", [user("Look right")], says("A tree on the right.")),
    ):
        before = len(wire.records)
        wire.exchange(messages, answer, headers={"x-claude-code-agent-id": name} if name else {})
        flows.append(wire.records[before:])
    return flows


def by_speaker(text: str) -> dict[str, str]:
    """What each has said, by the line that says who speaks."""
    found, speaker = {"": ""}, ""
    for line in text.split("\n"):
        if line.startswith("── ") and line.endswith(" ──"):
            speaker = line
        else:
            found[speaker] = found.get(speaker, "") + line + "\n"
    return found


@given(st.randoms(use_true_random=False))
def test_what_sub_agents_say_at_once_stays_theirs_and_whole(random: Any) -> None:
    first, *both = family()
    order = [index for index, flow in enumerate(both) for _ in flow]
    random.shuffle(order)
    rest = [iter(flow) for flow in both]
    text = said(watched([*first, *(next(rest[index]) for index in order)]), Wire().sid)
    spoken = by_speaker(text)
    assert squeezed(spoken["── sub-agent a1 ──"]) == squeezed("sub-agent: Look left Nothing on the left.")
    assert squeezed(spoken["── sub-agent a2 ──"]) == squeezed("sub-agent: Look right A tree on the right.")


def test_a_line_says_when_the_agent_itself_speaks_again() -> None:
    wire = Wire()
    wire.exchange([user("Ask")], answer := says(call("t1", "Task", prompt="Look")))
    wire.exchange([user("Look")], says("Seen."), headers={"x-claude-code-agent-id": "a1"})
    wire.exchange([user("Ask"), answer, user(result("t1", "Seen."))], says("It was seen."))
    lines = said(watched(wire.records), wire.sid).split("\n")
    order = [line for line in lines if line in ("── sub-agent a1 ──", "Seen.", "── the agent itself ──", "It was seen.")]
    assert order == ["── sub-agent a1 ──", "Seen.", "── the agent itself ──", "It was seen."]


def test_a_sub_agents_own_session_is_told_in_its_parents_conversation() -> None:
    wire = Wire()
    wire.exchange([user("Ask somebody")], says(call("task", "Task", prompt="Look")))
    opencode = {"user-agent": "opencode/1.18.33", "x-session-id": "child", "x-parent-session-id": wire.sid}
    wire.exchange([user("Look")], says("Seen."), headers=opencode | {"x-claude-code-session-id": ""}, sid="child")
    watch = watched(wire.records)
    assert "Seen." in said(watch, wire.sid)
    assert watch.conversations.document("child") is None


def test_a_call_whose_arguments_were_cut_is_drawn_as_far_as_it_came() -> None:
    wire = Wire()
    wire.exchange(
        [user("Go")], says(call("t1", "Mystery", riddle="What walks on four legs, then on two, then on three?")), cut=True
    )
    told = [record for record in wire.records if record.get("event") == "content_block_delta"]
    watch = watched(record for record in wire.records if record is not told[-1] and record.get("event") != "content_block_stop")
    document = watch.conversations.document(wire.sid)
    assert document is not None
    assert document.provisional is None
    assert "What walks on" in said(watch, wire.sid)
    assert "before the answer was over" in said(watch, wire.sid)


def test_only_the_sessions_that_are_wanted_are_known() -> None:
    one, other = Wire("one"), Wire("other")
    for wire in (one, other):
        wire.exchange([user("Hello")], says("Hi."))
    watch = watched([*one.records, *other.records], Watch(cost, lambda sid: sid == "one"))
    assert [session.sid for session in watch.board.sessions("")] == ["one"]
    assert watch.conversations.document("other") is None


def test_the_session_longest_silent_loses_its_conversation_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "MAX_LINES", 60)
    watch = Watch(cost)
    for name in ("first", "second", "third"):
        wire = Wire(name)
        wire.exchange([user("Count")], says("\n".join(str(number) for number in range(40))))
        watched(wire.records, watch)
    assert [watch.conversations.document(name) is not None for name in ("first", "second", "third")] == [False, False, True]


def test_what_is_over_leaves_nothing_behind_but_its_lines() -> None:
    watch = Watch(cost)
    for index in range(50):
        wire = Wire("one")
        wire.flows = index
        wire.exchange([user(f"Question {index}")], says(call("t", command="ls")))
        watched(wire.records, watch)
    (conversation,) = watch.conversations._all.values()
    assert len(conversation._renderers) <= 1


def test_a_conversation_that_began_anew_is_looked_at_anew() -> None:
    watch = Watch(cost)
    desk = Desk(watch, "log", "/home/user", lambda: "")
    wire = Wire("one")
    wire.exchange([user("Hello")], says("Hi."))
    watched(wire.records, watch)
    desk.look()
    watch.conversations._all.clear()
    wire.records.clear()
    wire.exchange([user("Hello"), says("Hi."), user("Again")], says("Hi again."))
    watched(wire.records, watch)
    desk.look()
    assert desk.pager is not None
    assert desk.pager.document is watch.conversations.document("one")
