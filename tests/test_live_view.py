"""What agents say is drawn once, whole, in order, whoever else speaks."""

import re
from collections import defaultdict
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from capture.events import ReasoningDelta, TextDelta
from capture.live.clock import Clock
from capture.live.screen import Switch
from capture.turns import run
from capture.updates import Said
from tests import golden_live
from tests.emulator import Emulator
from tests.talk import Wire, call, result, says, user

HEAD = re.compile(r"\[s:(?P<sid>\S+) \(#\d+\)(?: f:(?P<flow>\S+) \(#\d+\) c:\S+)? [^\]]*\]")


@pytest.mark.parametrize("columns", [golden_live.PLAIN, *golden_live.COLUMNS])
@pytest.mark.parametrize("case", golden_live.cases())
def test_what_is_drawn_is_the_golden(case: str, columns: int) -> None:
    assert golden_live.written(case, columns) == golden_live.path(case, columns).read_text("utf-8")


@pytest.mark.parametrize("case", golden_live.cases())
def test_nothing_but_colours_and_erasing_is_sent(case: str) -> None:
    emulator = Emulator(80)
    for text in golden_live.drawn(golden_live.log(case), 80):
        emulator.feed(text)
        assert not emulator.disturbed
        assert emulator.colour == ""


def blocks(text: str, ids: int = 99) -> dict[str, str]:
    """What was drawn, by card: the session lines taken out."""
    found: dict[str, str] = defaultdict(str)
    card = ""
    for line in text.splitlines(keepends=True):
        if head := HEAD.fullmatch(line.strip()):
            card = head["flow"] or "prompts:" + head["sid"]
        else:
            found[card] += line
    return found


def squeezed(text: str) -> str:
    return "".join(text.split())


@pytest.mark.parametrize("case", golden_live.cases())
def test_all_that_a_model_says_is_drawn_once(case: str) -> None:
    records = golden_live.log(case)
    said: dict[str, list[str]] = defaultdict(list)
    for update in run(records, events=True):
        if isinstance(update, Said) and isinstance(update.event, (TextDelta, ReasoningDelta)) and not update.event.again:
            said[update.exchange.flow_id].append(update.event.text)
    drawn = blocks("".join(golden_live.drawn(records, golden_live.PLAIN, ids=99)))
    for flow, pieces in said.items():
        text, at = squeezed(drawn[flow]), 0
        for piece in map(squeezed, pieces):
            at = text.index(piece, at) + len(piece)


TEXTS = st.text(st.sampled_from('abc é日🚂\n\t"\\'), min_size=1, max_size=30).filter(lambda text: bool(text.strip()))


@settings(max_examples=60)
@given(st.lists(st.lists(TEXTS, min_size=1, max_size=3), min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_interleaved_answers_stay_whole(sessions: list[list[str]], random: Any) -> None:
    """However the lines of several sessions are mixed, each answer is drawn once, as it was said."""
    logs = []
    for number, answers in enumerate(sessions):
        wire, messages = Wire(sid=f"{number}-session"), []
        for index, text in enumerate(answers):
            messages.append(user(f"prompt {index} of {number}"))
            wire.exchange(messages, says(f"«{text}»"))
            messages.append(says(f"«{text}»"))
        for record in wire.records:
            record["flow_id"] = f"{number}-{record['flow_id']}"
        logs.append(wire.records)
    mixed = []
    while any(logs):
        mixed.append(random.choice([log for log in logs if log]).pop(0))
    drawn = blocks("".join(golden_live.drawn(mixed, golden_live.PLAIN, ids=99)))
    for number, answers in enumerate(sessions):
        for index, text in enumerate(answers):
            assert drawn[f"{number}-flow-{index + 1:04d}"].count(f"«{text}»") == 1
            assert f"prompt {index} of {number}" in drawn[f"prompts:{number}-session"]


def test_a_prompt_comes_before_its_answer_and_a_result_after_its_call() -> None:
    wire = Wire()
    first = [user("list the files")]
    wire.exchange(first, says("I look.", call("toolu_1", command="ls -l")))
    wire.exchange([*first, says("I look.", call("toolu_1", command="ls -l")), user(result("toolu_1", "a.txt"))], says("One file."))
    text = "".join(golden_live.drawn(wire.records, golden_live.PLAIN))
    places = [text.index(each) for each in ("list the files", "I look.", "$ ls -l", "a.txt", "One file.", "idle")]
    assert places == sorted(places)


def test_an_answer_takes_the_screen_as_soon_as_the_one_before_it_is_over() -> None:
    wire, messages = Wire(), []
    for number in range(3):
        messages += [user(f"question {number}")]
        wire.exchange(messages, says(f"answer {number}"))
        messages += [says(f"answer {number}")]
    decided: list[Switch] = []
    view = golden_live.view(80)
    view._decided = decided.append
    view.feed(wire.records)
    assert {switch.why for switch in decided[1:]} == {"the shown card is done"}


def test_the_session_line_is_as_prescribed() -> None:
    wire = Wire(sid="11111111-2222-4333-8444-55555552b856")
    wire.exchange([user("hello")], says("hi"))
    text = "".join(golden_live.drawn(wire.records, golden_live.PLAIN))
    assert re.search(r"^\[s:2b856 \(#1\) f:-0001 \(#1\) c:0\.\d\dk \d{4}-\d\d-\d\d \d\d:\d\d:\d\d\]$", text, re.MULTILINE)
    whole = "".join(golden_live.drawn(wire.records, golden_live.PLAIN, ids=11))
    assert f"[s:{wire.sid} (#1) f:flow-0001 (#1) " in whole


def test_every_switch_says_why() -> None:
    decided: list[Switch] = []
    view = golden_live.view(80)
    view._decided = decided.append
    for record in golden_live.log(golden_live.INTERLEAVED):
        view.feed([record])
    view.close()
    assert len(decided) >= 8
    assert all(switch.why and switch.to for switch in decided)


def test_a_character_that_is_cut_between_two_deltas_is_drawn_whole() -> None:
    wire = Wire()
    wire.exchange([user("hello")], says("\U0001f680\U0001f681"))
    records = wire.records
    for record in records:  # as Claude Code's log has it: each delta with half of a surrogate pair
        line = record.get("line", "")
        record["line"] = line.replace(r"\ud83d\ude80", r"\ud83d").replace(r"\ud83d\ude81", r"\ude80!")
    assert "\n\U0001f680!\n" in "".join(golden_live.drawn(records, golden_live.PLAIN))


def test_a_clock_that_is_set_back_makes_nobody_wait() -> None:
    """At the end of summer time the log's times go back an hour: who waits for the screen still gets it in seconds."""
    clock = Clock()
    times = [f"2026-10-25T02:59:{second:02d}.000" for second in range(50, 60)]
    times += [f"2026-10-25T02:00:{second:02d}.000" for second in range(20)]
    passed = [clock.reach(t) for t in times]
    assert passed == sorted(passed)
    assert passed[-1] - passed[0] == 28.0
    assert clock.wait(2.0) == passed[-1] + 2.0
    assert clock.reach("no time") == clock.now


def test_hostile_text_is_shown_and_not_sent() -> None:
    wire = Wire()
    hostile = "\x1b]0;owned\x07\x1b[2J\x9b31m\x00\u202eabc\x1b[?1049h"
    wire.exchange([user(f"prompt {hostile}")], says(f"answer {hostile}", call("toolu_1", command=f"echo {hostile}")))
    emulator = Emulator(80)
    for text in golden_live.drawn(wire.records, 80):
        emulator.feed(text)
    assert not emulator.disturbed
    shown = "".join(emulator.lines())
    assert shown.count("owned") >= 2
