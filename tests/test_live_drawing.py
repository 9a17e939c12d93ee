"""A known call's arguments are drawn as what they are, and what is not as expected is drawn too: nothing said is lost."""

import json
import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from capture.live.drawing import MARKS
from capture.live.inks import Fresh, Ink, Put
from capture.live.items import ArgumentsPiece, CallBegun, CallComplete, Item
from capture.live.lines import CommandLines
from capture.live.render import Look, Renderer
from capture.live.terminal import Terminal

PATCH = "cd x\napply_patch <<'EOF'\n*** Begin Patch\n*** Update File: a\n@@\n-x\n+y\n z\n*** End Patch\nEOF\n-l"


def inks(name: str, *pieces: str) -> list[Ink]:
    renderer = Renderer(Look())
    items: list[Item] = [CallBegun("k", name), *(ArgumentsPiece("k", piece) for piece in pieces), CallComplete("k")]
    return [ink for item in items for ink in renderer.render(item)]


def plain(drawn: list[Ink]) -> str:
    return Terminal(lambda: 80, False, False).draw(drawn)


def said(name: str, arguments: Any) -> str:
    return plain(inks(name, arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)))


def runs(drawn: list[Ink]) -> list[Ink]:
    """What is left to see: runs of one style, and where lines begin."""
    found: list[Ink] = []
    for ink in drawn:
        before = found[-1] if found else None
        match ink:
            case Put(text, style) if text and isinstance(before, Put) and before.style == style:
                found[-1] = Put(before.text + text, style)
            case Put(text) if text:
                found.append(ink)
            case Fresh() if before != ink:
                found.append(ink)
            case _:
                pass
    return found


# -- commands ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "drawn"),
    [
        ({"command": [None, "a"]}, "Bash\n  command: null\n$ a"),
        ({"command": ["git", {"x": "y"}, "b"]}, "Bash\n  x: y\n$ git\n$ b"),
        ({"workdir": "/x", "command": ["bash", "-lc", "ls", "$1"]}, "Bash\n  workdir: /x\n  bash -lc\n$ ls $1"),
        ({"command": ["bash", "-lc"], "cmd": ["zsh", "-c", "ls"]}, "Bash bash -lc zsh -c\n$ ls"),
        ('{"command": "***', "Bash\n$ ***"),
        ({"command": ["apply_patch", "*** Begin Patch\n+x\n"]}, "Bash\n$ apply_patch\n*** Begin Patch\n+x\n"),
        ({"command": [], "env": {}}, "Bash\n  command: []\n  env: {}"),
        ('{"command": oops, "x": 1}', 'Bash\n  command:  oops, "x": 1}'),
        ('{"command": "ls", oops', "Bash\n$ ls\n oops"),
        ('{"command": "ls", "timeout"', "Bash\n$ ls\n  timeout: "),
    ],
)
def test_a_command_that_is_told_otherwise_is_drawn_too(arguments: Any, drawn: str) -> None:
    assert said("Bash", arguments) == drawn


def test_a_patch_within_a_command_is_coloured_as_one() -> None:
    drawn = [(ink.text, ink.style) for ink in runs(inks("Bash", json.dumps({"command": PATCH}))) if isinstance(ink, Put)]
    assert drawn[2:] == [
        ("cd x\napply_patch <<'EOF'\n", "value"),
        ("*** Begin Patch\n*** Update File: a\n", "strong"),
        ("@@\n", "quiet"),
        ("-x\n", "removed"),
        ("+y\n", "added"),
        (" z\n", "plain"),
        ("*** End Patch\n", "strong"),
        ("EOF\n-l", "value"),
    ]


@given(st.lists(st.integers(0, len(PATCH))))
def test_how_a_command_is_coloured_does_not_depend_on_the_cut(cuts: list[int]) -> None:
    lines, places = CommandLines(), sorted({0, len(PATCH), *cuts})
    drawn = [ink for low, high in pairwise(places) for ink in lines.feed(PATCH[low:high])] + list(lines.close())
    assert runs(drawn) == runs([*(whole := CommandLines()).feed(PATCH), *whole.close()])


def test_a_line_that_only_begins_like_a_patch_is_not_held_for_ever() -> None:
    lines = CommandLines()
    assert list(lines.feed("*** Begin")) == []
    assert list(lines.feed("ning")) == [Put("*** Beginning", "value")]
    assert [*lines.feed("\n***"), *lines.close()] == [Put("\n", "value"), Put("***", "value")]


# -- things to do ------------------------------------------------------------------------------------------------------------


def test_a_thing_to_do_shows_all_that_is_said_of_it() -> None:
    todos = [
        {"content": "a", "status": "cancelled", "activeForm": "doing a"},
        {"id": 3, "content": "b", "status": "in_progress", "priority": "high"},
        {"content": "c", "status": "pending"},
    ]
    assert said("TodoWrite", {"todos": todos}) == (
        "TodoWrite\n  ☐ a  doing a · status: cancelled\n  ◐ b  id: 3 · priority: high\n  ☐ c"
    )


# -- nothing is lost ---------------------------------------------------------------------------------------------------------

NAMES = st.sampled_from("Bash Edit Write Read Grep WebFetch Task TodoWrite update_plan shell apply_patch exec unknown".split())
KEYS = st.sampled_from(
    """command cmd description file_path old_string new_string edits todos plan content status step x prompt input activeForm
    query""".split()
)
STRINGS = st.text(max_size=6, alphabet="ab\n*-+ é") | st.sampled_from(
    ["bash", "-lc", "completed", "pending", "*** Begin Patch\n-x\n", "*** End Patch", "\N{GRINNING FACE}"]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(0, 99) | STRINGS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=10,
)
CUTS = st.lists(st.integers(0, 400), max_size=20)


def pieces_of(text: str, cuts: list[int]) -> list[str]:
    return [text[low:high] for low, high in pairwise(sorted({0, len(text), *(each % (len(text) + 1) for each in cuts)}))]


def leaves(value: Any, key: str = "") -> Iterator[str]:
    """What a call's arguments say, one after the other; a status that has a mark is shown by it."""
    match value:
        case dict() | list() if value:
            for name, each in value.items() if isinstance(value, dict) else ((key, each) for each in value):
                yield from leaves(each, name)
        case str() if key != "status" or value not in MARKS:
            yield value
        case str():
            pass
        case _:
            yield json.dumps(value)


@settings(max_examples=400)
@given(NAMES, st.dictionaries(KEYS, VALUES, min_size=1, max_size=4), CUTS)
def test_every_value_is_drawn_and_the_cut_shows_in_no_character_and_no_colour(
    name: str, told: dict[str, Any], cuts: list[int]
) -> None:
    text = json.dumps(told, ensure_ascii=False)
    drawn = runs(inks(name, *pieces_of(text, cuts)))
    assert drawn == runs(inks(name, text))
    shown = plain(drawn)
    unsigned = re.sub(r"\n[-+] ", "\n", shown)
    for leaf in leaves(told) if name != "unknown" else ():  # there strings stand with their escapes
        for line in leaf.split("\n"):
            assert line in unsigned or line.strip() in shown


@settings(max_examples=300)
@given(NAMES, st.text(alphabet='{}[]:",abc \n*', max_size=60), CUTS)
def test_what_is_no_json_is_drawn_whatever_it_is(name: str, text: str, cuts: list[int]) -> None:
    drawn = plain(inks(name, *pieces_of(text, cuts)))
    assert drawn == plain(inks(name, text))
    for word in re.findall("[abc*]+", text):
        assert word in drawn


@settings(max_examples=300)
@given(NAMES, st.dictionaries(KEYS, VALUES, max_size=4), st.integers(0, 300), CUTS)
def test_arguments_that_are_cut_are_drawn_as_far_as_they_came(name: str, told: dict[str, Any], end: int, cuts: list[int]) -> None:
    text = json.dumps(told, ensure_ascii=False)[:end]
    assert runs(inks(name, *pieces_of(text, cuts))) == runs(inks(name, text))
