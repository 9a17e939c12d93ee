"""What is said on one card is drawn once, in its order and on its own lines, whatever comes between."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capture.live.arguments import Arguments, State
from capture.live.inks import Ink, Provisional, Put
from capture.live.items import ArgumentsPiece, CallBegun, CallComplete, Item, Remark, Spoken
from capture.live.patterns import LOOK, PATTERNS, READ, hopeless, recognised, stripped
from capture.live.render import Look, Renderer
from capture.live.terminal import Terminal
from capture.toolcalls import SORTS
from tests.emulator import Emulator

TOOLS = st.sampled_from(["nobody_knows_it", *SORTS])


def drawn(items: list[Item], **look: Any) -> Iterator[Ink]:
    """What a card's items add, each 7 ms after the one before."""
    renderer = Renderer(Look(**look), "flow-12345")
    for number, item in enumerate(items):
        yield from renderer.render(item, f"2026-11-21T08:00:00.{number * 7:03}")
    yield from renderer.close()


def screen(items: list[Item], **look: Any) -> list[str]:
    """The lines of a terminal at the end; a pipe has the same."""
    terminal, emulator = Terminal(lambda: 80, colours=False), Emulator(80)
    emulator.feed(terminal.draw(drawn(items, **look)) + terminal.close())
    piped = Terminal(lambda: 80, False, False).draw(drawn(items, **look))
    assert [line.rstrip() for line in piped.split("\n")] == emulator.lines()
    return emulator.lines()


def call(name: str, *pieces: str, key: str = "k") -> list[Item]:
    return [CallBegun(key, name), *(ArgumentsPiece(key, piece) for piece in pieces), CallComplete(key)]


# -- recognition -------------------------------------------------------------------------------------------------------------


def state_after(name: str, pieces: list[str]) -> State:
    arguments = Arguments(name, name, 8, 2)
    for piece in pieces:
        list(arguments.feed(piece))
    return arguments.state


def test_the_customers_example_is_known_by_its_eighth_delta_whatever_the_tool_is_called() -> None:
    deltas = ['{"c', "omma", 'nd":[', '"bash', '","', "-lc", '","', "ls"]
    assert "{command:[bash,-lc" in stripped("".join(deltas))
    for name in ("nobody_knows_it", "mcp__shell__run", *SORTS):
        assert state_after(name, deltas) is State.RECOGNISED


@pytest.mark.parametrize(
    "command",
    [
        ["bash", "-lc", "ls"],
        ["/usr/bin/zsh", "-c", "ls"],
        ["/opt/homebrew/bin/fish", "-c", "ls"],
        ["powershell.exe", "-Command", "dir"],
    ],
)
def test_a_shells_command_is_known_under_any_name_and_after_any_key(command: list[str]) -> None:
    assert state_after("nobody_knows_it", [json.dumps({"command": command})]) is State.RECOGNISED
    assert state_after("nobody_knows_it", [json.dumps({"workdir": "/x", "t": 1, "command": command}, indent=4)]) is State.RECOGNISED


@pytest.mark.parametrize("command", [["publish", "-c", "x"], ["git", "stash", "-c"], ["bash", "script.sh"], "bash -lc ls"])
def test_what_only_looks_like_a_shells_command_is_not(command: Any) -> None:
    assert state_after("nobody_knows_it", [json.dumps({"command": command})]) is State.PROVISIONAL


@pytest.mark.parametrize(("name", "text"), [("nobody_knows_it", "Free text"), ("nobody_knows_it", "[1"), ("apply_patch", "please")])
def test_what_begins_as_nothing_that_is_known_streams_from_its_first_piece(name: str, text: str) -> None:
    assert state_after(name, [text]) is State.UNKNOWN


def test_what_may_still_become_a_patch_is_waited_for() -> None:
    assert state_after("apply_patch", ["*", "** Beg"]) is State.PROVISIONAL
    assert state_after("apply_patch", ["*", "** Beg", "in Patch"]) is State.RECOGNISED


@pytest.mark.parametrize("rest", ['"a":"' + "x" * LOOK, " " * READ])
def test_a_call_is_given_up_when_enough_was_seen_in_enough_deltas(rest: str) -> None:
    assert state_after("nobody_knows_it", ["{" + rest, *"123456"]) is State.PROVISIONAL
    assert state_after("nobody_knows_it", ["{" + rest, *"1234567"]) is State.UNKNOWN


BEGINNINGS = st.text(alphabet='{[]}":,*/ -aBbcdeghiklnoPsz', max_size=40) | st.sampled_from(
    ['{"command":["bash","-lc","', 'say {"command":["bash","-lc","', "*** Begin Patch\n", '{"cmd":["/bin/sh","-c"', "*** Begi", "{"]
)


@given(TOOLS, BEGINNINGS, st.text(max_size=30))
def test_yes_stays_yes_and_no_stays_no(tool: str, beginning: str, more: str) -> None:
    before, after = stripped(beginning), stripped(beginning + more)
    found = recognised(tool, before)
    if found:
        assert recognised(tool, after) == found
        assert not hopeless(tool, before)
    if hopeless(tool, before):
        assert recognised(tool, after) is None
        assert hopeless(tool, after)


@given(st.sampled_from(PATTERNS), BEGINNINGS)
def test_no_shape_matches_without_its_opening(pattern: Any, text: str) -> None:
    assert not pattern.shape.search(stripped(text)) or pattern.may_come(stripped(text))


# -- prefixes and gaps -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["Bash", "nobody_knows_it"])
def test_the_time_of_a_call_stands_before_its_header(name: str) -> None:
    lines = screen(call(name, '{"comm', 'and":"ls"}'), show_time=True, show_flow_id=True)
    assert lines[0].startswith(f"08:00:00.000 12345 {name}")


def test_a_provisional_line_has_its_prefix_too() -> None:
    shown = [ink.text for ink in drawn(call("nobody_knows_it", '{"a"'), show_time=True) if isinstance(ink, Provisional)]
    assert shown == ["08:00:00.000 nobody_knows_it ", '08:00:00.000 nobody_knows_it {"a"']


def test_a_call_that_is_drawn_later_has_the_time_when_it_began() -> None:
    items = [CallBegun("a", "Bash"), *call("Bash", '{"command":"pwd"}', key="b"), CallComplete("a")]
    assert screen(items, show_time=True) == ["08:00:00.000 Bash", "08:00:00.007 Bash", "$ pwd"]


def test_what_goes_on_after_something_else_has_its_own_time() -> None:
    items: list[Item] = [CallBegun("k", "Bash"), ArgumentsPiece("k", '{"command":"ls'), Remark("a retry")]
    items += [ArgumentsPiece("k", ' -l"}'), CallComplete("k")]
    assert screen(items, show_time=True) == ["08:00:00.000 Bash", "$ ls", "08:00:00.014 a retry", "08:00:00.021  -l"]


def test_gaps_stand_in_the_line_they_are_of() -> None:
    said: list[Item] = [Spoken("assistant", "a"), Spoken("assistant", "b"), CallBegun("k", "nobody_knows_it")]
    items = [*said, ArgumentsPiece("k", '{"a"'), ArgumentsPiece("k", ":1}")]
    provisional = [ink.text for ink in drawn(items, show_deltas=True) if isinstance(ink, Provisional)]
    assert provisional[-1] == 'nobody_knows_it +14ms {"a"+7ms :1}'
    assert screen(items, show_deltas=True) == ["a+7ms b", "nobody_knows_it {", '  "a": 1', "}"]


def test_a_call_that_waits_draws_no_gaps() -> None:
    items = [Spoken("assistant", "a"), CallBegun("a", "Bash"), *call("Bash", '{"command":"pwd"}', key="b"), CallComplete("a")]
    assert screen(items, show_deltas=True) == ["a", "Bash", "Bash", "$ pwd"]


# -- nothing is lost ---------------------------------------------------------------------------------------------------------


def test_a_key_that_comes_again_is_another_answers() -> None:
    first, again = [CallBegun("0", "first"), CallBegun("1", "second")], call("third", '{"c":3}', key="1")
    items = [*first, ArgumentsPiece("0", '{"a":1'), ArgumentsPiece("1", '{"b":2'), *again]
    assert "".join(screen(items)).replace(" ", "") == 'first{"a":1second{"b":2third{"c":3}'


def test_a_piece_of_a_call_nobody_declared_is_shown() -> None:
    assert screen([ArgumentsPiece("?", "what"), *call("Bash"), ArgumentsPiece("k", "late")]) == ["what", "Bash", "late"]


def test_the_rest_of_a_call_begins_a_line() -> None:
    items: list[Item] = [CallBegun("k", "free"), ArgumentsPiece("k", "[1, 2"), Spoken("assistant", "I wait"), CallComplete("k")]
    assert screen([*items, Spoken("assistant", " and go on")]) == ["free [", "  1,", "I wait", "", "  2", " and go on"]


SOURCES = ("abc", "def", "ghi", "jkl", "mno")  # the letters of two voices and three calls: who said what can be told apart


@st.composite
def cards(draw: st.DrawFn) -> list[Item | str]:
    """Items of a card with overlapping blocks; "leave": it goes off the screen and comes back."""
    items: list[Item | str] = []
    begun: list[int] = []
    for source in draw(st.lists(st.integers(0, 6), max_size=30)):
        letters = draw(st.text(alphabet=SOURCES[source % 5], min_size=1, max_size=4))
        match source:
            case 0 | 1:
                items.append(Spoken("assistant", letters.upper(), SOURCES[source]))
            case 5:
                items.append("leave")
            case 6:
                items.append(Remark("?!"))
            case _ if source in begun:
                items.append(ArgumentsPiece(str(source), letters.upper()))
            case _:
                begun.append(source)
                items += [CallBegun(str(source), ["edit", "bash", "?"][source - 2]), ArgumentsPiece(str(source), '{"content":"')]
    return [*items, *(CallComplete(str(source)) for source in draw(st.permutations(begun)))]


@given(cards())
def test_everything_is_drawn_once_and_in_order_whatever_overlaps(items: list[Item | str]) -> None:
    renderer, inks = Renderer(Look()), list[Ink]()
    for item in items:
        inks += [*renderer.leave(), *renderer.back()] if isinstance(item, str) else renderer.render(item)
    emulator = Emulator(80)
    terminal = Terminal(lambda: 80)
    emulator.feed(terminal.draw(inks) + terminal.close())
    text = "".join(emulator.lines())
    for letters in SOURCES:
        said = "".join(item.text for item in items if isinstance(item, (Spoken, ArgumentsPiece)))
        assert "".join(char for char in said if char in letters.upper()) == "".join(
            char for char in text if char in letters.upper()
        )
    assert text.count("?!") == sum(isinstance(item, Remark) for item in items)


def test_a_remark_is_one_line() -> None:
    assert screen([Remark('{\n  "error": "busy"\n}\n', bad=True), Remark("next")]) == ['{ "error": "busy" }', "next"]


def test_a_spoken_piece_costs_one_ink() -> None:
    renderer = Renderer(Look())
    list(renderer.render(Spoken("assistant", "a", "k")))
    assert list(renderer.render(Spoken("assistant", "b", "k"))) == [Put("b", "assistant")]
