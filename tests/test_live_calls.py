"""Tool calls are recognised while their arguments stream, and everything that was said of them is drawn once."""

import json
import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from capture.live.arguments import NEXT, Arguments, State
from capture.live.inks import Fresh, Ink, Provisional, Put
from capture.live.items import ArgumentsPiece, CallBegun, CallComplete, Item, Prompted, Remark, Resulted, Spoken, TurnOver
from capture.live.patterns import PATTERNS, recognised, stripped
from capture.live.render import Look, Renderer, cut, took
from capture.live.terminal import Terminal
from capture.toolcalls import TOOLS
from tests.emulator import Emulator

CUSTOMER = ['{"c', "omma", 'nd":[', '"bash', '","', "-lc", '","', "ls -l", ' | wc"', "]}"]  # the customer's detection example


def call(name: str, pieces: list[str], **look: Any) -> list[Item]:
    return [CallBegun("k", name), *(ArgumentsPiece("k", piece) for piece in pieces), CallComplete("k")]


def inks(items: list[Item], **look: Any) -> list[Ink]:
    renderer = Renderer(Look(**look), "flow-12345")
    return [ink for item in items for ink in renderer.render(item, "2026-11-21T08:00:00.000")]


def plain(items: list[Item], **look: Any) -> str:
    """What stands there at the end."""
    return Terminal(lambda: 80, colours=False, interactive=False).draw(inks(items, **look))


def at_once(name: str, arguments: Any) -> str:
    return plain(call(name, [arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)]))


def pieces_of(text: str, cuts: list[int]) -> list[str]:
    places = sorted({0, len(text), *(each % (len(text) + 1) for each in cuts)})
    return [text[low:high] for low, high in pairwise(places)]


# -- recognition -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["shell", "container.exec", "a_tool_nobody_knows"])
def test_the_customers_example_is_recognised_by_the_eighth_delta(name: str) -> None:
    arguments = Arguments(name, name, 8, 2)
    for piece in CUSTOMER[:8]:
        list(arguments.feed(piece))
    assert arguments.state is State.RECOGNISED
    assert plain(call(name, CUSTOMER)) == f"{name} bash -lc\n$ ls -l | wc"


@pytest.mark.parametrize("columns", [20, 80, 120])
def test_the_provisional_line_leaves_no_trace(columns: int) -> None:
    terminal, emulator = Terminal(lambda: columns), Emulator(columns)
    renderer = Renderer(Look(width=lambda: columns))
    stood = False
    for item in call("tool", CUSTOMER):
        emulator.feed(terminal.draw(renderer.render(item)))
        stood = stood or any('{"comma' in line for line in emulator.lines())
    emulator.feed(terminal.close())
    assert stood
    assert "".join(emulator.lines()) == "tool bash -lc$ ls -l | wc"


def test_every_pattern_is_named_once_and_can_be_found() -> None:
    assert len({pattern.name for pattern in PATTERNS}) == len(PATTERNS)
    said = {"patch": "*** Begin Patch\n", "script": "const a", "bash -lc": '{"workdir":"/x","command":["bash","-lc","ls"]}'}
    for pattern in PATTERNS:
        tool = TOOLS[pattern.tools].split()[0] if pattern.tools else "unknown"
        found = recognised(tool, stripped(said.get(pattern.name, '{"any": 1}')))
        assert found == pattern


@given(st.sampled_from(["Bash", "Edit", "unknown"]), st.text(max_size=300), st.lists(st.integers(0, 300), max_size=20))
def test_what_is_recognised_does_not_depend_on_the_cut(name: str, text: str, cuts: list[int]) -> None:
    text = '{"command":["bash","-lc"' + text if len(text) % 3 == 0 else text
    assert plain(call(name, pieces_of(text, cuts))) == at_once(name, text)


def test_a_call_nobody_knows_is_shown_as_json() -> None:
    assert at_once("mcp__maps__route", {"from": "Ō", "to": ["a", 1]}) == (
        'mcp__maps__route {\n  "from": "Ō",\n  "to": [\n    "a",\n    1\n  ]\n}'
    )
    styles = {ink.style for ink in inks(call("mcp", ['{"from": "x"}'])) if isinstance(ink, Put)}
    assert {"tool", "key", "value"} <= styles


def test_the_machine_is_the_drawing_in_its_docstring() -> None:
    assert {before for before, _ in NEXT} == set(State) - {State.OVER}
    assert set(NEXT.values()) == set(State) - {State.PROVISIONAL}


def test_it_says_when_a_call_is_recognised() -> None:
    assert "[provisional → recognised: bash -lc, delta 6]" in plain(call("unknown", CUSTOMER), show_fsm=True)
    assert "[provisional → unknown: JSON, delta 1]" in plain(call("unknown", ['{"a":1}']), show_fsm=True)


# -- what calls look like ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "arguments", "drawn"),
    [
        ("Bash", {"command": "ls -l\nwc", "description": "Look"}, "Bash\n$ ls -l\nwc\n  description: Look"),
        ("Bash", {"description": "Look", "command": "ls"}, "Bash Look\n$ ls"),
        ("shell", {"command": ["bash", "-lc", "ls"], "timeout_ms": 1000}, "shell bash -lc\n$ ls\n  timeout_ms: 1000"),
        ("shell", {"command": ["git", "status", "-s"]}, "shell\n$ git status -s"),
        ("shell", {"command": ["ls"]}, "shell\n$ ls"),
        ("exec_command", {"cmd": "ls"}, "exec_command\n$ ls"),
        ("exec", "const a = 1;\n", "exec\nconst a = 1;\n"),
        ("Edit", {"file_path": "/a.py", "old_string": "x\ny", "new_string": "z\n"}, "Edit /a.py\n- x\n- y\n+ z\n"),
        ("Edit", {"path": "/a", "old_string": "x", "new_string": "y", "all": True}, "Edit /a\n- x\n+ y\n  all: true"),
        ("MultiEdit", {"file_path": "/a", "edits": [{"old_string": "x", "new_string": "y"}]}, "MultiEdit /a\n- x\n+ y"),
        ("Write", {"file_path": "/a", "content": "1\n2\n"}, "Write /a\n+ 1\n+ 2\n"),
        ("apply_patch", "*** Begin Patch\n-x\n+y\n*** End Patch", "apply_patch\n*** Begin Patch\n-x\n+y\n*** End Patch"),
        ("apply_patch", {"input": "*** Begin Patch\n+y\n"}, "apply_patch\n*** Begin Patch\n+y\n"),
        ("Read", {"file_path": "/a", "limit": 5}, "Read /a\n  limit: 5"),
        ("Grep", {"pattern": "x+", "path": "/src"}, "Grep x+ /src"),
        ("WebFetch", {"url": "https://a.example", "prompt": "What\nis it?"}, "WebFetch https://a.example\n  prompt: What\nis it?"),
        ("Task", {"description": "Look", "prompt": "Do\nit", "subagent_type": "x"}, "Task Look\n  Do\nit\n  subagent_type: x"),
        ("TodoWrite", {"todos": [{"content": "a", "status": "completed"}, {"content": "b"}]}, "TodoWrite\n  ☑ a\n  ☐ b"),
        ("update_plan", {"plan": [{"step": "a", "status": "in_progress"}]}, "update_plan\n  ◐ a"),
        ("Bash", {}, "Bash"),
        ("Bash", "", "Bash"),
    ],
)  # fmt: skip
def test_a_known_call_is_drawn_as_what_it_is(name: str, arguments: Any, drawn: str) -> None:
    assert at_once(name, arguments) == drawn


def test_a_diff_is_coloured_by_what_becomes_of_the_lines() -> None:
    drawn = inks(call("Edit", [json.dumps({"file_path": "/a", "old_string": "x", "new_string": "y"})]))
    assert {(ink.text, ink.style) for ink in drawn if isinstance(ink, Put)} >= {("x", "removed"), ("y", "added"), ("/a", "strong")}
    patch = inks(call("apply_patch", ["*** Begin Patch\n-x\n+", "y\n"]))
    assert [ink.style for ink in patch if isinstance(ink, Put)][-4:] == ["strong", "removed", "added", "added"]


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from(["command", "cmd", "description", "file_path", "old_string", "new_string", "edits", "todos", "content", "x"])
ARGUMENTS = st.dictionaries(KEYS, ANYTHING | st.lists(st.text(max_size=8), max_size=5), max_size=4)
NAMES = st.sampled_from(["Bash", "Edit", "Write", "Read", "Grep", "WebFetch", "Task", "TodoWrite", "unknown", "shell"])


def strings(value: Any) -> Iterator[str]:
    match value:
        case str():
            yield value
        case dict():
            for each in value.values():
                yield from strings(each)
        case list():
            for each in value:
                yield from strings(each)


@settings(max_examples=300)
@given(NAMES, ARGUMENTS, st.lists(st.integers(0, 500), max_size=30))
def test_nothing_of_a_call_is_lost_and_the_cut_does_not_show(name: str, arguments: dict[str, Any], cuts: list[int]) -> None:
    text = json.dumps(arguments)
    drawn = plain(call(name, pieces_of(text, cuts)))
    assert drawn == plain(call(name, [text]))
    if name != "unknown":  # there strings stand with their escapes
        shown = re.sub(r"\n[-+] ", "\n", drawn)
        for each in strings(arguments):
            for line in Terminal(lambda: 80, False, False).draw([Put(each)]).split("\n"):
                assert line in shown or line.strip() in drawn


@given(NAMES, ARGUMENTS, st.integers(0, 200))
def test_a_call_that_is_cut_is_drawn_as_far_as_it_came(name: str, arguments: dict[str, Any], end: int) -> None:
    text = json.dumps(arguments)[:end]
    assert plain(call(name, [text])).startswith(name)


# -- calls that overlap, and what else is said -------------------------------------------------------------------------------


def test_calls_that_interleave_are_drawn_one_after_the_other() -> None:
    items: list[Item] = [
        CallBegun("a", "Bash"),
        CallBegun("b", "Bash"),
        ArgumentsPiece("a", '{"command":"l'),
        ArgumentsPiece("b", '{"command":"pwd'),
        ArgumentsPiece("a", 's"}'),
        CallComplete("b"),
        CallComplete("a"),
    ]
    assert plain(items) == "Bash\n$ ls\nBash\n$ pwd"


def test_what_leaves_the_screen_comes_back() -> None:
    renderer = Renderer(Look())
    list(renderer.render(CallBegun("k", "unknown")))
    list(renderer.render(ArgumentsPiece("k", '{"a":')))
    assert not any(isinstance(ink, Put) for ink in renderer.leave())
    assert [ink.text for ink in renderer.back() if isinstance(ink, Provisional)] == ['unknown {"a":']


def test_a_block_begins_a_line_and_its_pieces_stay_on_it() -> None:
    items: list[Item] = [Spoken("reasoning", "I "), Spoken("reasoning", "think"), Spoken("assistant", "so"), Prompted("why?")]
    assert plain(items) == "I think\nso\n> why?"


@pytest.mark.parametrize(
    ("item", "drawn"),
    [
        (Resulted("Bash", "ls", "a\nb\n", ms=1234.0), "└ ok 1.2 s · Bash ls\n  a\n  b"),
        (Resulted("Bash", "", "", exit_code=2), "└ exit 2 · Bash"),
        (Resulted("Read", "/a", "1\n\n3\n4\n5\n6\n7", is_error=True), "└ error · Read /a\n  1\n\n  3\n  4\n  5\n  … 2 more lines"),
        (Remark("cut", bad=True), "cut"),
        (TurnOver(75_000.0, 1234, 5, 0.0123, 2, "idle"), "── idle after 1 min 15 s · 1,234 tokens in, 5 out · $0.0123 · 2 calls\n"),
        (TurnOver(None, None, None, None, 0, "failed"), "── failed\n"),
    ],
)
def test_results_and_ends_are_one_line_each_and_more(item: Item, drawn: str) -> None:
    assert plain([item]) == drawn


def test_long_lines_of_a_result_are_cut_to_the_window() -> None:
    drawn = plain([Resulted("Bash", "", "日本" * 100)], width=lambda: 30)
    assert [len(line) <= 30 for line in drawn.split("\n")] == [True, True]
    assert cut("abc\tdef", 20) == "abc    def"
    assert cut("日本語日本語", 5) == "日本…"


def test_time_flow_and_gaps_are_shown_where_they_are_wanted() -> None:
    assert plain([Spoken("assistant", "hi")], show_time=True, show_flow_id=True) == "08:00:00.000 12345 hi"
    renderer = Renderer(Look(show_deltas=True))
    drawn = [*renderer.render(Spoken("assistant", "a"), "2026-11-21T08:00:00.000")]
    drawn += renderer.render(Spoken("assistant", "b"), "2026-11-21T08:00:00.012")
    assert [ink.text for ink in drawn if isinstance(ink, Put)] == ["a", "+12ms ", "b"]
    assert Fresh() in drawn


def test_durations_are_as_people_read_them() -> None:
    assert [took(ms) for ms in (3, 999, 1500, 61_000)] == ["3 ms", "999 ms", "1.5 s", "1 min 01 s"]
