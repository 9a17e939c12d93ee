"""One card at a time has the screen: nothing is lost or drawn twice, and each switch keeps the rules."""

import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from capture.live.cards import NEXT, ODD, Answer, Card, Numbers, Queue, Session, Signal, State, step
from capture.live.screen import GONE, ROOM, Drawn, Screen, Switch

# -- examples ----------------------------------------------------------------------------------------------------------------------


def drawn(outputs: Iterable[Drawn[str]]) -> list[str]:
    """What was drawn, one line a card: its key and its items."""
    return [f"{out[0].key}: {' '.join(item for _, item in out[1])}" for out in outputs if not isinstance(out, Switch)]


def switches(outputs: Iterable[Drawn[str]]) -> list[tuple[str, str]]:
    """(who takes the screen, why)"""
    return [(out.to, out.why) for out in outputs if isinstance(out, Switch)]


def say(screen: Screen[str], now: float, key: str, *items: str, done: bool = False) -> None:
    """A flow, named by its session's letter and a digit, says something."""
    for item in items:
        screen.heard(key, key[0], f"t{now}", item, now)
    if done:
        screen.done(key, now)


def ask(screen: Screen[str], now: float, sid: str, text: str) -> None:
    screen.heard(f"prompts:{sid}", sid, f"t{now}", text, now, prompts=True)


def test_the_customers_timeline_is_kept() -> None:
    """Pattern 3 of the reference: shown at T1, guarded at T2, spoke again at T3, looked past at T4, switched at T5, shown at T6."""
    screen = Screen[str](guard=2.0, flush=0.5)
    say(screen, 0.0, "a1", "T1")
    assert drawn(screen.turn(0.0)) == ["a1: T1"]
    say(screen, 0.5, "b1", "T2")
    assert list(screen.turn(0.5)) == []  # the other session has been quiet for half a second only
    say(screen, 0.8, "a1", "T3")
    assert drawn(screen.turn(0.8)) == ["a1: T3"]
    assert list(screen.turn(1.4)) == []  # looked at, the guard holds
    assert switches(screen.turn(2.9)) == [("b1", "session quiet for 2.1 s")]
    say(screen, 3.0, "b1", "T6")
    assert drawn(screen.turn(3.0)) == ["b1: T6"]


def test_a_card_that_finished_unseen_is_printed_whole_when_its_turn_comes() -> None:
    screen = Screen[str]()
    say(screen, 0.0, "a1", "one")
    say(screen, 0.1, "b1", "first", "second", "third", done=True)
    assert drawn(screen.turn(0.1)) == ["a1: one"]
    assert drawn(screen.turn(2.2)) == ["b1: first second third"]


def test_the_first_card_takes_the_empty_screen_at_once() -> None:
    screen = Screen[str]()
    say(screen, 0.0, "a1", "hello")
    card = screen.cards["a1"]
    assert list(screen.turn(0.0)) == [Switch(0.0, None, "a1", "a", "first card", 0), (card, [("t0.0", "hello")])]
    assert screen.shown is card


def test_another_flow_of_the_session_follows_a_done_one_at_once_and_a_silent_one_after_the_flush_interval() -> None:
    screen = Screen[str](flush=0.5)
    say(screen, 0.0, "a1", "one")
    list(screen.turn(0.0))
    say(screen, 0.1, "a2", "two")
    assert list(screen.turn(0.4)) == []
    assert switches(screen.turn(0.6)) == [("a2", "same session, shown card silent for 0.6 s")]
    say(screen, 0.7, "a2", "over", done=True)
    say(screen, 0.7, "a1", "more")
    assert switches(screen.turn(0.7)) == [("a1", "the shown card is done")]


def test_another_flow_of_the_session_follows_a_dead_one_at_once() -> None:
    screen = Screen[str](flush=9.0, dead_after=5.0)
    say(screen, 0.0, "a1", "one")
    list(screen.turn(0.0))
    say(screen, 4.0, "a2", "two")
    assert list(screen.turn(4.0)) == []
    assert switches(screen.turn(5.0)) == [("a2", "the shown card is dead: silent for 5.0 s")]


def test_a_prompt_comes_before_its_answer_also_when_the_answer_is_what_takes_the_screen() -> None:
    screen = Screen[str]()
    say(screen, 0.0, "a1", "busy")
    list(screen.turn(0.0))
    ask(screen, 0.1, "b", "why?")
    say(screen, 0.2, "b1", "because", done=True)
    say(screen, 0.3, "b2", "and")
    outputs = list(screen.turn(2.0))
    assert drawn(outputs) == ["prompts:b: why?", "b1: because", "b2: and"]
    assert switches(outputs) == [
        ("prompts:b", "session quiet for 2.0 s; printed whole before the one that follows"),
        ("b1", "printed whole before the one that follows"),
        ("b2", "the shown card is done"),
    ]


def test_the_answers_of_one_socket_stand_under_their_prompts() -> None:
    """A WebSocket is one card with many answers: they were all over before anybody looked."""
    screen = Screen[str]()
    say(screen, 0.0, "a1", "busy")
    list(screen.turn(0.0))
    for number in "12":
        ask(screen, 0.1, "b", f"question {number}")
        say(screen, 0.1, "b1", f"answer {number}", done=True)
    expected = ["prompts:b: question 1", "b1: answer 1", "prompts:b: question 2", "b1: answer 2"]
    assert drawn(screen.turn(2.0)) == expected


def test_a_prompt_does_not_interrupt_the_answer_that_streams() -> None:
    screen = Screen[str](flush=0.5)
    say(screen, 0.0, "a1", "wo")
    list(screen.turn(0.0))
    ask(screen, 0.1, "a", "hurry!")
    say(screen, 0.2, "a1", "rd")
    assert drawn(screen.turn(0.2)) == ["a1: rd"]
    say(screen, 0.3, "a1", ".", done=True)
    assert drawn(screen.turn(0.3)) == ["a1: .", "prompts:a: hurry!"]


def test_streaming_sessions_come_before_done_ones_and_done_ones_before_dead_ones() -> None:
    screen = Screen[str](guard=2.0, dead_after=5.0)
    say(screen, 0.0, "a1", "dead")
    say(screen, 1.0, "b1", "done", done=True)
    say(screen, 2.0, "c1", "done later", done=True)
    say(screen, 6.0, "d1", "streaming")
    assert drawn(screen.turn(6.0)) == ["d1: streaming"]
    assert drawn(screen.turn(8.0)) == ["b1: done", "c1: done later", "a1: dead"]


def test_a_card_that_goes_on_is_not_left_for_another_of_its_session() -> None:
    """At every look it was heard just before."""
    screen = Screen[str](flush=0.5)
    say(screen, 0.0, "a1", "one")
    list(screen.turn(0.0))
    say(screen, 0.1, "a2", "two")
    for now in (0.4, 0.8, 1.2, 1.6):
        say(screen, now, "a1", "more")
        assert drawn(screen.turn(now)) == ["a1: more"]
    assert list(screen.turn(2.0)) == []
    assert drawn(screen.turn(2.4)) == ["a2: two"]


def test_within_a_session_what_was_over_before_another_began_is_printed_before_it_and_what_ended_later_after_it() -> None:
    screen = Screen[str]()
    say(screen, 0.0, "a1", "busy")
    list(screen.turn(0.0))
    say(screen, 0.1, "b1", "over before", done=True)
    say(screen, 0.2, "b2", "began")
    say(screen, 0.3, "b3", "goes on")
    screen.done("b2", 0.4)
    assert drawn(screen.turn(2.0)) == ["b1: over before", "b3: goes on"]
    screen.done("b3", 2.1)
    assert drawn(screen.turn(2.1)) == ["b2: began"]


def test_while_something_streams_the_others_are_looked_at_only_every_flush_interval() -> None:
    screen = Screen[str](guard=0.0, flush=0.5)
    say(screen, 0.0, "a1", "one")
    list(screen.turn(0.0))
    say(screen, 0.1, "b1", "two")
    assert list(screen.turn(0.4)) == []
    assert switches(screen.turn(0.5)) == [("b1", "session quiet for 0.5 s")]


def test_a_look_in_vain_is_followed_by_another_only_after_the_flush_interval() -> None:
    screen = Screen[str](guard=2.0, flush=0.5)
    say(screen, 0.0, "a1", "one")
    say(screen, 0.0, "b1", "two")
    list(screen.turn(0.0))
    assert list(screen.turn(1.9)) == []
    assert list(screen.turn(2.3)) == []
    assert switches(screen.turn(2.4)) == [("b1", "session quiet for 2.4 s")]


def test_a_dead_card_that_is_heard_again_streams_again() -> None:
    screen = Screen[str](dead_after=5.0)
    say(screen, 0.0, "a1", "one")
    list(screen.turn(0.0))
    list(screen.turn(5.0))
    say(screen, 6.0, "b1", "two")
    list(screen.turn(6.0))
    card = screen.cards["a1"]
    assert (card.state, card.revived) == (State.DEAD, 0)
    say(screen, 7.0, "a1", "three")
    assert (card.state, card.revived, card.unseen) == (State.STREAMING, 1, [("t7.0", "three")])


def test_what_waits_is_looked_at_with_its_new_life() -> None:
    """A dead card that is heard again takes its place among those that stream, before a done one that has waited longer."""
    screen = Screen[str](guard=2.0, dead_after=5.0)
    say(screen, 0.0, "a1", "one", done=True)
    list(screen.turn(0.0))
    say(screen, 0.0, "a1", "shown")
    list(screen.turn(0.0))
    say(screen, 0.0, "b1", "done", done=True)
    say(screen, 0.0, "c1", "dead")
    for now in (1.0, 2.0, 3.0, 4.0, 5.0, 6.0):
        say(screen, now, "a1", "more")
        list(screen.turn(now))
    say(screen, 7.0, "c1", "alive")
    assert switches(screen.turn(8.0))[0][0] == "c1"


def test_the_end_of_the_log_leaves_nothing_undrawn() -> None:
    screen = Screen[str]()
    say(screen, 0.0, "a1", "one")
    say(screen, 0.0, "b1", "two")
    outputs = list(screen.close(0.0))
    assert drawn(outputs) == ["a1: one", "b1: two"]
    assert {why for _, why in switches(outputs)} == {"nothing else is left: the log ends"}


def test_cards_are_numbered_in_order_of_appearance_and_prompts_are_no_flow() -> None:
    screen = Screen[str]()
    ask(screen, 0.0, "a", "go")
    for key in ("a1", "b1", "a2", "a1"):
        say(screen, 0.0, key, "text")
    numbers = {key: (card.sid, card.session, card.number, card.is_prompts) for key, card in screen.cards.items()}
    assert numbers == {
        "prompts:a": ("a", 1, None, True),
        "a1": ("a", 1, 1, False),
        "b1": ("b", 2, 2, False),
        "a2": ("a", 1, 3, False),
    }


# -- the table ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("signal", Signal)
def test_every_signal_has_an_effect_in_every_state(state: State, signal: Signal) -> None:
    assert ((state, signal) in NEXT) != ((state, signal) in ODD)
    after, odd = step(state, signal)
    assert isinstance(after, State)
    assert (odd is None) == ((state, signal) in NEXT)


def test_what_should_not_happen_is_counted() -> None:
    screen = Screen[str]()
    say(screen, 0.0, "a1", "one", done=True)
    screen.done("a1", 0.0)
    screen.done("never heard", 0.0)
    assert screen.odd == {"done_twice": 1, "done_unheard": 1}


# -- bounds ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("one_session", [True, False])
def test_cards_that_are_over_and_drawn_are_forgotten(one_session: bool) -> None:
    screen = Screen[str](guard=0.0)
    for number in range(20 * ROOM):
        key = f"a{number}"
        screen.heard(key, "a" if one_session else key, "", "text", 0.0)
        screen.done(key, 0.0)
        assert drawn(screen.turn(0.0)) == [f"{key}: text"]
        assert len(screen.cards) <= ROOM
    assert screen.cards[key].number == 20 * ROOM


def test_a_card_that_is_forgotten_keeps_its_numbers() -> None:
    screen = Screen[str]()
    say(screen, 0.0, "b1", "first", done=True)
    list(screen.turn(0.0))
    for number in range(2 * ROOM):
        say(screen, 3.0, f"a{number}", "text", done=True)
        list(screen.turn(3.0))
    assert "b1" not in screen.cards
    say(screen, 3.0, "b1", "again")
    assert (screen.cards["b1"].session, screen.cards["b1"].number) == (1, 1)


def test_cards_that_wait_or_are_alive_are_not_forgotten() -> None:
    screen = Screen[str](flush=1000.0)
    say(screen, 0.0, "a0", "thinks")
    list(screen.turn(0.0))
    say(screen, 0.0, "b0", "waits", done=True)
    for number in range(2 * ROOM):
        say(screen, 1.0, f"a{number + 1}", "waits too", done=True)
    assert len(screen.cards) == 2 * ROOM + 2


def test_a_card_that_may_go_on_is_not_forgotten_before_it_is_silent_for_long() -> None:
    """A model that thinks for minutes comes back to the call that it was making."""
    screen = Screen[str](guard=0.0)
    say(screen, 0.0, "a1", "thinks")
    list(screen.turn(0.0))
    cards = [screen.cards["a1"]]
    for now in (GONE - 1.0, GONE + 0.0):
        for number in range(2 * ROOM):
            say(screen, now, f"b{now}{number}", "text", done=True)
            list(screen.turn(now))
        cards += [card for key, card in screen.cards.items() if key == "a1"]
    assert cards == [cards[0]] * 2


def test_the_card_on_the_screen_is_not_forgotten() -> None:
    screen = Screen[str]()
    say(screen, 0.0, "a1", "over", done=True)
    list(screen.turn(0.0))
    for number in range(2 * ROOM):
        say(screen, 1.0, f"b{number}", "waits", done=True)
    say(screen, 1.0, "a1", "its next answer")
    outputs = list(screen.turn(1.0))
    assert (switches(outputs), drawn(outputs)) == ([], ["a1: its next answer"])


def test_a_queue_holds_little_more_than_what_waits_and_keeps_its_order() -> None:
    queue = Queue[str]()
    card = Card[str]("a1", Session("a", 1, 0.0), 1, 0.0)
    waiting = []
    for number in range(1, 10_007):
        answer = Answer(card, first=number * 7919 % 10_007)
        queue.put(answer)
        if number % 100:
            answer.first = 0  # it waits no longer
        else:
            waiting.append(answer.first)
    assert len(queue) < 5 * len(waiting)
    found = []
    while best := queue.best(0.0, 5.0):
        found.append(best.first)
        best.first = 0
    assert found == sorted(waiting)


def test_only_so_many_numbers_are_remembered() -> None:
    numbers = Numbers(most=2)
    assert [numbers.of(name) for name in ("a", "b", "a", "c", "b", "a")] == [1, 2, 1, 3, 2, 4]


def opcodes(run: Callable[[], object]) -> int:
    """How many instructions of Python's a function takes."""
    count = 0

    def trace(frame: FrameType, event: str, arg: Any) -> Any:
        nonlocal count
        frame.f_trace_opcodes = True
        count += event == "opcode"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        run()
    finally:
        sys.settrace(before)
    return count


def test_a_delta_takes_the_same_work_however_many_cards_wait() -> None:
    def work(waiting: int, again: str) -> int:
        screen = Screen[str]()
        say(screen, 0.0, "a1", "one")
        for number in range(waiting):
            say(screen, 0.0, f"b{number}", "waits")
            screen.heard(f"c{number}", f"c{number}", "", "waits", 0.0)
        list(screen.turn(0.0))

        def one_delta() -> None:
            screen.heard(again, "a", "", "two", 0.1)
            list(screen.turn(0.1))

        return opcodes(one_delta)

    assert work(2, "a1") == work(500, "a1")
    assert work(2, "b1") == work(500, "b1")


def test_a_new_card_takes_the_same_work_however_many_wait() -> None:
    def work(cards: int) -> int:
        screen = Screen[str]()

        def hear_all() -> None:
            for number in range(cards):
                screen.heard(f"a{number}", "a", "", "waits", 0.0)

        return opcodes(hear_all)

    assert work(8 * ROOM) < 1.2 * 2 * work(4 * ROOM)


# -- whatever comes in whatever order ----------------------------------------------------------------------------------------------


@dataclass
class Told:
    """An answer as the test knows it: places in time of its beginning, of its items, of its end."""

    key: str
    sid: str
    places: list[int] = field(default_factory=list)
    seen: int = 0  # items drawn
    finished: int | None = None

    @property
    def first_unseen(self) -> int:
        return self.places[self.seen]

    @property
    def is_unseen(self) -> bool:
        return self.seen < len(self.places)


class Audience:
    """Tells a screen what is heard, and holds all that it draws against the rules, by looking at everything each time."""

    def __init__(self, guard: float, flush: float, dead_after: float) -> None:
        self.screen = Screen[int](guard, flush, dead_after)
        self.guard, self.flush, self.dead_after = guard, flush, dead_after
        self.now = 0.0
        self.place = 0
        self.answers: list[Told] = []
        self.last: dict[str, float] = {}  # by key and by session
        self.revived: dict[str, int] = {}
        self.shown: Told | None = None
        self.log: list[object] = []

    # what is heard

    def heard(self, key: str, prompts: bool = False) -> None:
        sid = key[-1] if prompts else key[0]
        self.place += 1
        answer = self.open(key)
        if answer is None:
            answer = Told(key, sid)
            self.answers.append(answer)
        elif self.now - self.last[key] >= self.dead_after:
            self.revived[key] = self.revived.get(key, 0) + 1
        answer.places.append(self.place)
        if prompts:
            self.place += 1
            answer.finished = self.place
        self.last[key] = self.last[sid] = self.now
        self.screen.heard(key, sid, f"t{self.place}", answer.places[-1], self.now, prompts)

    def done(self, key: str) -> None:
        self.place += 1
        answer = self.open(key)
        if answer:
            answer.finished = self.place
        self.screen.done(key, self.now)

    def open(self, key: str) -> Told | None:
        return next((each for each in self.answers if each.key == key and each.finished is None), None)

    def unseen(self, *sids: str) -> list[Told]:
        return [each for each in self.answers if each.is_unseen and (not sids or each.sid in sids)]

    def state(self, answer: Told) -> State:
        if answer.finished is not None:
            return State.DONE
        return State.DEAD if self.now - self.last[answer.key] >= self.dead_after else State.STREAMING

    # what is drawn

    def turn(self) -> None:
        self.watch(self.screen.turn(self.now), closing=False)
        shown = self.shown
        if shown is None:
            assert not self.unseen()
            return
        assert shown not in self.unseen()
        if self.state(shown) is not State.STREAMING:
            assert not self.unseen(shown.sid), "another flow of the session follows at once"
            if self.now - self.last[shown.sid] >= self.guard:
                assert not self.unseen(), "another session follows a quiet one at once"

    def close(self) -> None:
        self.watch(self.screen.close(self.now), closing=True)
        assert not self.unseen()
        assert list(self.screen.close(self.now)) == list(self.screen.turn(self.now)) == []

    def watch(self, outputs: Iterable[Drawn[int]], closing: bool) -> None:
        on_screen = self.shown.key if self.shown else None
        for out in outputs:
            if isinstance(out, Switch):
                self.check_switch(out, on_screen)
                on_screen = out.to
                self.log.append(out)
                continue
            card, items = out
            assert card.key == on_screen
            answer = self.answer_of(items)
            if answer is not self.shown:
                if not closing:
                    self.check_leaving(answer)
                self.check_reading_order(answer)
            self.check_prompts_first(answer)
            self.draw(card, answer, items)

    def answer_of(self, items: list[tuple[str, int]]) -> Told:
        assert items, "nothing is drawn for nothing"
        return next(each for each in self.answers if items[0][1] in each.places)

    def draw(self, card: Card[int], answer: Told, items: list[tuple[str, int]]) -> None:
        """All that is unseen of the answer is drawn, in order, and what was drawn is not drawn again."""
        assert [item for _, item in items] == answer.places[answer.seen :]
        assert items[-1][0] == f"t{answer.places[-1] + card.is_prompts}"
        assert not any(each.is_unseen for each in self.answers[: self.answers.index(answer)] if each.key == answer.key)
        answer.seen = len(answer.places)
        self.shown = answer
        self.log.append((card.key, items))

    def check_switch(self, switch: Switch, on_screen: str | None) -> None:
        waiting = {each.key for each in self.unseen()} - {switch.to}
        assert (switch.at, switch.before, switch.waiting) == (self.now, on_screen, len(waiting))
        assert switch.to != on_screen
        assert switch.why
        assert switch.sid == next(each.sid for each in self.answers if each.key == switch.to)

    def check_leaving(self, answer: Told) -> None:
        """The shown answer may be left for this one."""
        shown = self.shown
        if shown is None:
            self.check_is_best(answer.sid, self.unseen())
            return
        state = self.state(shown)
        if answer.sid == shown.sid:
            silent = self.now - self.last[shown.key]
            assert state is not State.STREAMING or silent >= self.flush
            return
        assert self.now - self.last[shown.sid] >= self.guard
        assert state is State.STREAMING or not self.unseen(shown.sid)
        self.check_is_best(answer.sid, [each for each in self.unseen() if each.sid != shown.sid])

    def check_is_best(self, sid: str, waiting: list[Told]) -> None:
        """The session holds the answer of the best state, and of those the one that has waited longest."""
        best = min(waiting, key=lambda each: (self.state(each).value, each.first_unseen))
        assert sid == best.sid

    def check_reading_order(self, answer: Told) -> None:
        """What its session finished before is drawn."""
        for other in self.unseen(answer.sid):
            assert other is answer or other.finished is None or other.finished > answer.first_unseen

    def check_prompts_first(self, answer: Told) -> None:
        """The prompts that were heard before an answer began are drawn."""
        prompts = [each for each in self.unseen(answer.sid) if each.key.startswith("prompts")]
        assert all(prompt.places[0] >= answer.places[0] for prompt in prompts)


FLOWS = ("a1", "a2", "b1", "b2", "c1")
PAUSES = st.sampled_from((0.0, 0.0, 0.0, 0.25, 0.5, 1.0, 2.0, 5.0))  # binary fractions: sums are exact
STEP = st.tuples(st.sampled_from(("heard", "heard", "heard", "done", "prompt", "turn")), st.sampled_from(FLOWS), PAUSES)
STEPS = st.lists(STEP) | st.lists(STEP, min_size=30, max_size=60)  # short ones alone meet too few cards
OPTIONS = st.tuples(st.sampled_from((0.0, 0.5, 2.0)), st.sampled_from((0.0, 0.5, 1.0)), st.sampled_from((1.0, 5.0)))

type Steps = list[tuple[str, str, float]]


def play(steps: Steps, options: tuple[float, float, float]) -> Audience:
    audience = Audience(*options)
    for what, flow, pause in steps:
        audience.now += pause
        match what:
            case "heard":
                audience.heard(flow)
            case "done":
                audience.done(flow)
            case "prompt":
                audience.heard(f"prompts:{flow[0]}", prompts=True)
            case _:
                audience.turn()
    return audience


@settings(max_examples=200)
@given(STEPS, OPTIONS)
def test_all_that_was_heard_is_drawn_once_and_in_order_when_the_log_ends(steps: Steps, options: tuple[float, float, float]) -> None:
    play(steps, options).close()


@settings(max_examples=200)
@given(STEPS, OPTIONS)
def test_one_turn_after_a_long_silence_draws_all_that_is_left(steps: Steps, options: tuple[float, float, float]) -> None:
    """No card is starved for ever once all are silent."""
    audience = play(steps, options)
    audience.now += sum(options)
    audience.turn()
    assert not audience.unseen()


@settings(max_examples=200)
@given(STEPS, OPTIONS)
def test_each_turn_of_a_busy_screen_keeps_the_rules(steps: Steps, options: tuple[float, float, float]) -> None:
    """As a view does it: a turn after everything that is heard."""
    play([each for step in steps for each in (step, ("turn", "", 0.0))], options).close()


@settings(max_examples=200)
@given(STEPS, OPTIONS)
def test_the_same_story_is_drawn_the_same_way(steps: Steps, options: tuple[float, float, float]) -> None:
    assert play(steps, options).log == play(steps, options).log


@settings(max_examples=200)
@given(STEPS, OPTIONS)
def test_cards_know_how_they_are_and_what_of_them_is_unseen(steps: Steps, options: tuple[float, float, float]) -> None:
    audience = play(steps, options)
    for key, card in audience.screen.cards.items():
        answers = [each for each in audience.answers if each.key == key]
        assert [item for _, item in card.unseen] == [place for each in answers for place in each.places[each.seen :]]
        assert card.revived == audience.revived.get(key, 0)
        assert (card.state is State.DONE) == (answers[-1].finished is not None)
        card.age(audience.now, audience.dead_after)
        assert card.state is audience.state(answers[-1])


@given(STEPS, OPTIONS, st.integers(0, 5))
def test_a_turn_that_is_broken_off_loses_nothing(steps: Steps, options: tuple[float, float, float], taken: int) -> None:
    audience = play([step for step in steps if step[0] != "turn"], options)
    outputs = audience.screen.turn(audience.now)
    seen = [out for _, out in zip(range(taken), outputs, strict=False)]
    seen += audience.screen.close(audience.now)
    items = [item for out in seen if not isinstance(out, Switch) for _, item in out[1]]
    assert sorted(items) == sorted(place for each in audience.answers for place in each.places)
