"""A conversation as lines, as rows of a window, and as what of it is seen."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from wcwidth import wcwidth

from capture.live import document as rules
from capture.live.document import Document, Layout
from capture.live.inks import Erase, Fresh, Ink, Provisional, Put
from capture.live.pager import Pager
from capture.live.spans import broken, cut, cut_left, marked, spread, width_of

texts = st.text(st.one_of(st.characters(), st.sampled_from("ab c  漢字👩‍👩‍👧e\u0301\x1b\x9b\u202e\0\r\n\t")), max_size=80)
inks = st.lists(
    st.one_of(
        st.builds(Put, texts, st.sampled_from(("user", "quiet"))),
        st.just(Fresh()),
        st.builds(Provisional, texts),
        st.just(Erase()),
    ),
    max_size=12,
)


def drawn(*what: Ink | str) -> Document:
    document = Document()
    document.draw(Put(each) if isinstance(each, str) else each for each in what)
    return document


def numbered(count: int) -> Document:
    return drawn(*(f"line {number}\n" for number in range(count)))


def seen(pager: Pager) -> list[str]:
    return ["".join(text for text, _ in row) for row in pager.rows()]


def rows(layout: Layout) -> list[str]:
    return [layout.document.line(row.line).text[row.begin : row.end] for row in layout.rows]


# -- lines -------------------------------------------------------------------------------------------------------------------


@given(st.lists(texts, max_size=6))
def test_lines_hold_what_was_said_however_it_was_cut(pieces: list[str]) -> None:
    whole = drawn("".join(pieces).replace("\r\n", "\n"))
    assert [
        line.text for line in drawn(*(piece.replace("\r\n", "\n") for piece in "".join(pieces).replace("\r\n", "\n"))).lines
    ] == [line.text for line in whole.lines]


def test_each_piece_keeps_its_style() -> None:
    document = drawn(Put("one ", "user"), Put("two", "user"), Put(" three\nfour", "bad"))
    assert list(document.lines[0].spans(0, 13)) == [("one two", "user"), (" three", "bad")]
    assert list(document.lines[0].spans(4, 9)) == [("two", "user"), (" t", "bad")]
    assert list(document.lines[1].spans(0, 4)) == [("four", "bad")]


def test_fresh_begins_a_line_unless_one_has_just_begun() -> None:
    assert [line.text for line in drawn("a", Fresh(), Fresh(), "b\n", Fresh(), "c").lines] == ["a", "b", "c"]


def test_space_leaves_one_line_free_and_none_at_the_beginning() -> None:
    document = Document()
    for text in ("a", "b\n", "c\n\n"):
        document.space()
        document.draw([Put(text)])
    document.space()
    assert [line.text for line in document.lines] == ["a", "", "b", "", "c", "", ""]


def test_a_provisional_line_is_no_line_and_leaves_no_trace() -> None:
    document = drawn("said\n", Provisional("perhaps\nthis"))
    assert seen(Pager(document)) == ["said", "perhaps this"]
    document.draw([Erase()])
    assert seen(Pager(document)) == ["said"]


def test_the_oldest_lines_go_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "MAX_LINES", 50)
    monkeypatch.setattr(rules, "SLACK", 10)
    document = numbered(1_000)
    assert len(document.lines) <= 61
    assert document.line(document.last - 1).text == "line 999"
    assert document.line(document.first).text == f"line {document.first}"


def test_an_endless_line_goes_on_in_the_next_one() -> None:
    document = drawn("x" * 3 * rules.MAX_LINE)
    assert [len(line.text) for line in document.lines] == [rules.MAX_LINE] * 3


def test_a_line_of_20_mb_costs_no_more_than_its_length() -> None:
    """Copied once for each line that it makes it would be 100 GB: this test would not end."""
    document = drawn("x" * (20 << 20))
    assert len(document.lines) <= rules.MAX_LINES + rules.SLACK
    assert sum(len(line.text) for line in document.lines) <= (rules.MAX_LINES + rules.SLACK) * rules.MAX_LINE


# -- rows --------------------------------------------------------------------------------------------------------------------


@given(texts.map(lambda text: text.replace("\n", "")), st.integers(2, 40), st.integers(0, 12))
def test_every_row_fits_and_only_spaces_get_lost(text: str, width: int, indent: int) -> None:
    indent = min(indent, width // 3)
    pieces = broken(text, width, indent)
    shown = [text[begin:end] for begin, end in pieces]
    assert "".join(shown).replace(" ", "") == text.replace(" ", "")
    for number, piece in enumerate(shown):
        assert cell_len(piece) <= (width - indent if number else width)


def test_lines_are_broken_between_words_and_what_follows_stands_under_what_began() -> None:
    document = drawn("  the quick brown fox", "\n", "漢字漢字")
    layout = Layout(document, 9)
    layout.update()
    assert rows(layout) == ["  the", "quick", "brown", "fox", "漢字漢字"]
    assert [row.indent for row in layout.rows] == [0, 2, 2, 2, 0]


@given(st.lists(st.tuples(inks, st.booleans()), max_size=6), st.integers(2, 30))
def test_rows_that_grew_are_the_rows_of_the_whole(steps: list[tuple[list[Ink], bool]], width: int) -> None:
    document = Document()
    grown = Layout(document, width)
    for some, look in steps:
        document.draw(some)
        if look:
            grown.update()
    grown.update()
    whole = Layout(document, width)
    whole.update()
    assert grown.rows == whole.rows


def test_rows_whose_lines_are_gone_are_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "MAX_LINES", 20)
    monkeypatch.setattr(rules, "SLACK", 5)
    document = numbered(20)
    layout = Layout(document, 4)
    layout.update()
    before = len(layout.rows)
    document.draw([Put("more\n" * 30)])
    gone = layout.update()
    assert 0 < gone <= before
    assert layout.rows[0].line == document.first
    whole = Layout(document, 4)
    whole.update()
    assert layout.rows == whole.rows


# -- the window --------------------------------------------------------------------------------------------------------------


def test_the_window_follows_the_end() -> None:
    document = numbered(10)
    pager = Pager(document, 20, 3)
    assert seen(pager) == ["line 7", "line 8", "line 9"]
    document.draw([Put("line 10\n")])
    pager.fit(20, 3)
    assert seen(pager) == ["line 8", "line 9", "line 10"]


def test_who_has_scrolled_up_stays_there_until_the_end_is_reached_again() -> None:
    document = numbered(10)
    pager = Pager(document, 20, 3)
    pager.move(-2)
    document.draw([Put("line 10\n")])
    pager.fit(20, 3)
    assert (seen(pager), pager.below) == (["line 5", "line 6", "line 7"], 3)
    pager.move(3)
    assert pager.following
    pager.to_beginning()
    assert seen(pager) == ["line 0", "line 1", "line 2"]
    pager.follow()
    assert seen(pager) == ["line 8", "line 9", "line 10"]


def test_what_is_read_stays_where_it_is_when_old_lines_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "MAX_LINES", 20)
    monkeypatch.setattr(rules, "SLACK", 0)
    document = numbered(19)
    pager = Pager(document, 20, 3)
    pager.move(-3)
    before = seen(pager)
    document.draw([Put("more\n" * 5)])
    pager.fit(20, 3)
    assert seen(pager) == before


def test_a_window_of_another_width_shows_the_same_lines() -> None:
    document = drawn(*(f"{number} some words that are broken\n" for number in range(50)))
    pager = Pager(document, 60, 5)
    pager.move(-20)
    pager.fit(12, 5)
    assert seen(pager)[0] == "25 some"


@given(st.lists(st.one_of(st.integers(-9, 9).map(lambda by: ("move", by)), inks.map(lambda some: ("draw", some))), max_size=10))
def test_the_window_never_leaves_the_document(steps: list[tuple[str, Any]]) -> None:
    document = Document()
    pager = Pager(document, 10, 4)
    for what, value in steps:
        pager.move(value) if what == "move" else document.draw(value)
        pager.fit(10, 4)
        assert len(pager.rows()) <= 4
        assert pager.below >= 0
        assert all(cell_len(row) <= 10 for row in seen(pager))
        assert not pager.following or pager.below == 0


def test_the_scroll_bar_is_where_the_window_is() -> None:
    pager = Pager(numbered(40), 20, 10)
    assert pager.bar() == [False] * 8 + [True] * 2
    pager.to_beginning()
    assert pager.bar() == [True] * 2 + [False] * 8
    assert Pager(numbered(10), 20, 10).bar() == [False] * 10


# -- searching ---------------------------------------------------------------------------------------------------------------


def test_a_search_goes_to_what_is_below_first_and_round_and_round() -> None:
    pager = Pager(numbered(30), 20, 5)
    pager.to_beginning()
    pager.search("LINE 1")
    lines = [1, *range(10, 20)]
    assert pager.found == lines
    visited = []
    for _ in range(12):
        visited.append(pager.found[pager.at])
        pager.step(1)
    assert visited == [*lines, 1]
    pager.step(-1)
    assert pager.found[pager.at] == 1
    pager.step(-1)
    assert pager.found[pager.at] == 19
    assert "line 19" in seen(pager)


def test_a_search_goes_on_with_what_was_said_since() -> None:
    document = numbered(5)
    pager = Pager(document, 20, 5)
    pager.search("line 4")
    document.draw([Put("line 42\n")])
    pager.fit(20, 5)
    pager.step(1)
    assert (pager.found[pager.at], len(pager.found)) == (5, 2)


def test_what_is_searched_for_in_vain_moves_nothing() -> None:
    pager = Pager(numbered(30), 20, 5)
    before = seen(pager)
    pager.search("nowhere")
    pager.step(1)
    pager.step(-1)
    assert (seen(pager), pager.at, pager.found) == (before, -1, [])


def test_what_is_found_stands_out() -> None:
    assert marked([("one One", "user"), (" two", "bad")], "ONE") == [
        ("one", "found"),
        (" ", "user"),
        ("One", "found"),
        (" two", "bad"),
    ]


# -- lines that fit ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shorten", [cut, cut_left])
@given(text=texts, width=st.integers(0, 50))
def test_what_is_shortened_fits_and_says_so(shorten: Callable[[str, int], str], text: str, width: int) -> None:
    short = shorten(text, width)
    assert cell_len(short) <= width
    assert short == text or not width or "…" in short


@given(texts, texts, st.integers(0, 60))
def test_what_is_spread_over_a_line_fills_it(left: str, right: str, width: int) -> None:
    assert width_of(spread([(left, "plain")], [(right, "plain")], width)) <= width


@pytest.mark.parametrize("text", ["👩‍👩‍👧", "👍🏽 yes", "❤️‍🔥", "1️⃣", "🏳️‍🌈", "🇩🇪", "漢字", "e\u0301", "क्‍ष", "☕"])
def test_what_terminals_disagree_about_is_shown_so_that_they_agree(text: str) -> None:
    """Rich counts by whole signs, xterm by characters (as wcwidth): what both say is the truth everywhere."""
    for size in range(1, len(text) + 1):
        document = drawn(*(text[at : at + size] for at in range(0, len(text), size)))
        shown = document.lines[0].text
        assert cell_len(shown) == sum(max(wcwidth(char), 0) for char in shown)
        assert shown == drawn(text).lines[0].text
