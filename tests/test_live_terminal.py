"""The terminal: inks → what is written. Looked at with a terminal emulator; `plain` is what harmless text would look like."""

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from time import process_time
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wcwidth import wcswidth, wcwidth

from capture.live.inks import SGR, Erase, Fresh, Ink, Provisional, Put, Style
from capture.live.printable import printable
from capture.live.terminal import Terminal, rows
from tests.emulator import Emulator

HOSTILE = (
    "\x1b]0;owned\x07",  # title
    "\x1b]2;owned\x1b\\",
    "\x9d0;owned\x9c",
    "\x1b[2J\x1b[H",  # the screen erased
    "\x9b10A",  # cursor up, 8-bit
    "\x1b[?25l\x1b[?1049h\x1b[?2004h",  # modes
    "\x1b[5;6r",  # margins
    "\x1b[6n\x1b[c",  # questions: the terminal would type the answer
    "\x1bc",  # reset
    "\x1b7\x1b8\x1bH\x1b#8",
    "\x1b(0\x0e",  # line-drawing characters
    "\x1bP$q\x1b\\",
    "\x1b[31;7m",
    "\x07\x08\x08\x08\x0b\x0c",
    "\x00\x7f",
    "one\rtwo",
    "\u202eevil\u2066\u2069\u200f",
    "a\u2028b\u2029c\x85d",
    "\ud83d",
    "\ud83d\ude00",
    "ignore\U000e0041\U000e0042",
)
WIDE = ("日本語", "👩‍👩‍👧", "⚠️", "🇩🇪", "e\u0301", "ｆ", "한", "\u200b", "\ufe0f")
TEXT = ("a", "word ", "\n", "\t", "\r\n", "\r", "x" * 19, "x" * 80)

texts = st.one_of(st.text(), st.lists(st.sampled_from((*HOSTILE, *WIDE, *TEXT)), max_size=12).map("".join))
cuts = st.lists(st.integers(0, 2**16), max_size=6)
widths = st.sampled_from((80, 120, 20, 3, 2, 1))
styles: st.SearchStrategy[Style] = st.sampled_from(get_args(Style.__value__))
inks: st.SearchStrategy[Ink] = st.one_of(
    st.builds(Put, texts, styles), st.builds(Provisional, texts, styles), st.just(Fresh()), st.just(Erase())
)


def pieces(text: str, at: Iterable[int]) -> list[str]:
    """The text cut at positions, which count modulo its length."""
    marks = sorted(position % (len(text) + 1) for position in at)
    return [text[start:end] for start, end in zip([0, *marks], [*marks, len(text)], strict=True)]


def plain(text: str) -> str:
    """The same text in harmless characters, one by one; a text is drawn as this would be."""
    out, since = "", ""  # since the last newline or tab
    for char in text.replace("\r\n", "\n"):
        if char == "\t":
            out += " " * (8 - wcswidth(since) % 8)
        else:
            out += char if char == "\n" else harmless(char)
        since = "" if char in "\n\t" else since + harmless(char)
    return out


def harmless(char: str) -> str:
    code, category = ord(char), unicodedata.category(char)
    if category == "Cs":
        return "\ufffd"
    if code < 32:
        return chr(0x2400 + code)
    if char == "\x7f":
        return "\u2421"
    return f"<U+{code:04X}>" if category in ("Cc", "Zl", "Zp") or turns(char) or hides(char) else char


def turns(char: str) -> bool:
    """Whether a character turns the direction of what follows (Bidi_Control), or did in Unicode's early days."""
    return char in "\u061c\u200e\u200f" or "\u202a" <= char <= "\u202e" or "\u2066" <= char <= "\u206f"


def hides(char: str) -> bool:
    return "\ufff9" <= char <= "\ufffb" or "\U000e0000" <= char <= "\U000e007f"


def drawn(inks: Iterable[Ink], columns: int = 80, lines: int = 24) -> Emulator:
    return Emulator(columns, lines).feed(Terminal(lambda: columns).draw(inks))


def visible(text: str) -> str:
    return "".join(char for char in text if wcwidth(char) > 0 and char != " ")


# -- hostile text ------------------------------------------------------------------------------------------------------------


def test_no_character_that_commands_a_terminal_is_left_and_no_other_is_changed() -> None:
    for char in map(chr, range(0x110000)):
        expected = char if char in "\n\t" else harmless(char)
        assert printable(char) == expected, f"U+{ord(char):04X}"
        assert char in "\n\t" or not any(unicodedata.category(each) in ("Cc", "Cs", "Zl", "Zp") for each in expected)


@given(texts, cuts, widths)
def test_any_text_cut_anywhere_is_drawn_as_harmless_text_would_be(text: str, at: list[int], columns: int) -> None:
    terminal = Terminal(lambda: columns)
    screen = Emulator(columns)
    for piece in pieces(text, at):
        screen.feed(terminal.draw([Put(piece)]))
    screen.feed(terminal.draw([Put(".")]))  # a carriage return at the end waits for what comes next
    expected = Emulator(columns).feed(plain(text + "."))
    assert expected.lines() == screen.lines()
    assert expected.cursor == screen.cursor
    assert screen.disturbed == {}
    assert screen.colour == ""


@given(texts, widths.filter(lambda columns: columns > 1))
def test_all_of_a_text_is_visible(text: str, columns: int) -> None:
    screen = drawn([Put(text), Put(".")], columns)
    assert visible(plain(text + ".").replace("\n", "")) == visible("".join(screen.lines()))


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_a_hostile_text_cut_at_each_position_is_harmless(text: str) -> None:
    expected = Emulator().feed(f"before {plain(text)} after")
    for position in range(len(text) + 1):
        screen = drawn([Put("before "), Put(text[:position]), Put(text[position:]), Put(" after")])
        assert expected.lines() == screen.lines()
        assert expected.cursor == screen.cursor
        assert screen.disturbed == {}


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_a_hostile_text_on_a_provisional_line_is_harmless(text: str) -> None:
    screen = drawn([Put("before"), Provisional(text)])
    assert ["before", plain(text)] == screen.lines()
    assert screen.disturbed == {}


def test_the_emulator_is_disturbed_by_hostile_text_that_is_not_made_harmless() -> None:
    for text in ("\x1b]0;owned\x07", "\x9d0;owned\x9c", "\x1b[?25l", "\x1b[5;6r", "\x1b[6n", "\x1b7", "\x07"):
        assert Emulator().feed(text).disturbed != {}, ascii(text)


OURS = re.compile(r"\x1b\[[0-9;]*m|\r\x1b\[2K(?:\x1b\[1A\x1b\[2K)*")


@given(st.lists(inks), widths, st.booleans())
def test_nothing_is_written_but_text_newlines_colours_and_erasing(inks: list[Ink], columns: int, colours: bool) -> None:
    written = Terminal(lambda: columns, colours).draw(inks)
    assert re.findall(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\ud800-\udfff]", OURS.sub("", written)) == []
    assert colours or not re.search(r"\x1b\[[0-9;]*m", written)


@pytest.mark.parametrize("unit", ["a", "\x1b", "日", "日\t", "\t", "\r", "e\u0301", "\x9b"], ids=ascii)
def test_a_line_of_20_mb_takes_less_than_two_seconds(unit: str) -> None:
    text = unit * (20_000_000 // len(unit.encode()))
    begun = process_time()
    Terminal(lambda: 80).draw([Put(text), Provisional(text)])
    assert process_time() - begun < 2


def test_many_small_carriage_returns_take_linear_time() -> None:
    terminal = Terminal(lambda: 80)
    assert "".join(terminal.draw([Put("\r")]) for _ in range(100_000)) == "␍" * 99_999


# -- lines -------------------------------------------------------------------------------------------------------------------


def test_a_newline_in_two_halves_is_one() -> None:
    assert drawn([Put("a\r"), Put("\nb")]).lines() == ["a", "b"]


def test_a_carriage_return_alone_is_shown() -> None:
    assert drawn([Put("10%\r20%\r\r"), Put("\r\ndone")]).lines() == ["10%␍20%␍␍", "done"]


def test_a_fresh_line_is_begun_only_where_something_stands() -> None:
    assert drawn([Fresh(), Put("a"), Fresh(), Fresh(), Put("b\n"), Fresh(), Put("\nc")]).lines() == ["a", "b", "", "c"]


def test_a_fresh_line_after_a_full_row_leaves_no_empty_row() -> None:
    assert drawn([Put("x" * 20), Fresh(), Put("y")], 20).lines() == ["x" * 20, "y"]


def test_a_wide_character_that_does_not_fit_begins_the_next_row() -> None:
    screen = drawn([Put("x" * 19 + "日y")], 20)
    assert screen.lines() == ["x" * 19, "日y"]
    assert screen.cursor == (1, 3)


def test_a_tab_goes_to_the_next_multiple_of_eight_cells_whatever_stands_before_it() -> None:
    for before in ("", "a", "日本語", "e\u0301", "1234567", "12345678", "👩‍👩‍👧"):
        written = Terminal(lambda: 80).draw([Put(before), Put("\tx")])
        assert wcswidth(written) % 8 == 1


def test_tabs_in_many_pieces_go_where_they_go_in_one() -> None:
    text = "abc\td\t\te日\tf\n\tg\thijklmnop\tq👩‍👩‍👧\tr"
    assert drawn([Put(text)]).lines() == drawn([Put(char) for char in text]).lines() == plain(text).split("\n")


def test_a_line_with_only_a_tab_is_not_empty() -> None:
    assert drawn([Put("\t"), Fresh(), Put("a")]).lines() == ["", "a"]


def test_a_tab_at_the_end_of_a_row_lets_nothing_be_written_over() -> None:
    assert "".join(drawn([Put("x" * 20 + "\tyy\tz")], 20).lines()).replace(" ", "") == "x" * 20 + "yyz"


# -- provisional lines -------------------------------------------------------------------------------------------------------


def without_provisional(inks: Iterable[Ink]) -> list[Ink]:
    """The same inks, had the provisional lines not been drawn: each begins a line all the same."""
    return [Fresh() if isinstance(ink, Provisional) else ink for ink in inks if not isinstance(ink, Erase)]


@given(st.lists(st.lists(inks, max_size=5), max_size=5), widths)
def test_an_erased_provisional_line_leaves_no_trace(draws: list[list[Ink]], columns: int) -> None:
    terminal, screen = Terminal(lambda: columns), Emulator(columns, 5)
    other, expected = Terminal(lambda: columns), Emulator(columns, 5)
    for each in draws:
        screen.feed(terminal.draw([*each, Erase()]))
        expected.feed(other.draw(without_provisional(each)))
        assert expected.rows() == screen.rows()
        assert expected.cursor == screen.cursor


@given(texts, texts, widths)
def test_a_provisional_line_takes_less_than_a_row(before: str, text: str, columns: int) -> None:
    terminal = Terminal(lambda: columns)
    screen = Emulator(columns).feed(terminal.draw([Put(before), Fresh()]))
    row, _ = screen.cursor
    screen.feed(terminal.draw([Provisional(text)]))
    assert row == screen.cursor[0]
    assert screen.cursor[1] < columns


def test_a_provisional_line_replaces_the_one_before_it() -> None:
    assert drawn([Put("text\n"), Provisional("first, longer"), Provisional("second")]).lines() == ["text", "second"]


def test_text_after_a_provisional_line_erases_it() -> None:
    assert drawn([Put("text\n"), Provisional("provisional"), Put("more")]).lines() == ["text", "more"]


def test_no_text_after_a_provisional_line_does_not_erase_it() -> None:
    assert drawn([Provisional("provisional"), Put(""), Fresh()]).lines() == ["provisional"]


@pytest.mark.parametrize("columns", [80, 120, 20, 2, 1])
def test_a_provisional_line_below_text_that_filled_the_row_leaves_no_trace(columns: int) -> None:
    full = Put("x" * columns)
    screen = drawn([full, Provisional("{" * 500), Erase(), Put("y")], columns)
    assert ["x" * columns, "y"] == screen.lines()


def test_newlines_and_tabs_of_a_provisional_line_are_spaces() -> None:
    assert drawn([Provisional('{\n"a":\t1\r\n}')]).lines() == ['{ "a": 1 }']


def test_a_newline_in_the_last_columns_of_a_provisional_line_is_a_space_too() -> None:
    for text in ("abc\r\nd", "abcd\r\ne", "abcde\r\nf"):
        assert drawn([Provisional(text), Put("", "plain")], 6).lines() == [text.replace("\r\n", " ")[:5].rstrip()]


def test_a_carriage_return_before_a_fresh_line_is_not_shown() -> None:
    assert drawn([Put("a\r"), Fresh(), Put("b")]).lines() == ["a", "b"]


def test_a_provisional_line_is_cut_to_the_window_as_it_is_now() -> None:
    columns = [20, 10]
    terminal = Terminal(lambda: columns[0])
    terminal.draw([Provisional("x" * 30)])
    columns.pop(0)
    assert Emulator(10).feed(terminal.draw([Erase(), Provisional("x" * 30)])).lines() == ["x" * 9]


@given(texts, st.sampled_from((80, 120, 20)), st.sampled_from((79, 40, 19, 10, 3, 2)))
def test_a_provisional_line_that_a_shrinking_window_has_wrapped_leaves_no_trace(text: str, wide: int, narrow: int) -> None:
    columns = wide
    terminal = Terminal(lambda: columns)
    written = terminal.draw([Put("above\n"), Provisional(text)])
    columns = narrow
    drawn = written + terminal.draw([Put("below")])
    screen = Emulator(narrow, 200).feed(drawn)  # what terminals that wrap lines anew make of it
    assert Emulator(narrow).feed("above\nbelow").lines() == screen.lines()


@given(texts, st.integers(2, 20))
def test_the_rows_of_a_line_are_counted_as_they_are_drawn(text: str, columns: int) -> None:
    line = printable(text).replace("\n", " ").replace("\t", " ")
    assert Emulator(columns).feed(line).cursor[0] + 1 == rows(line, columns)


def test_at_the_end_no_provisional_line_is_left_and_the_line_is_ended() -> None:
    terminal = Terminal(lambda: 80)
    screen = Emulator().feed(terminal.draw([Put("text"), Provisional("provisional")]))
    screen.feed(terminal.close())
    assert screen.lines() == ["text"]
    assert screen.cursor == (1, 0)
    plain = Terminal(lambda: 80, colours=False)
    assert plain.draw([Put("text")]) + plain.close() == "text\n"


@given(st.lists(inks), st.integers(0))
def test_a_cut_writing_leaves_no_colour_when_the_end_is_written(inks: list[Ink], at: int) -> None:
    terminal = Terminal(lambda: 80)
    written = terminal.draw(inks)
    cut = written[: at % (len(written) + 1)]
    whole = re.sub(r"\x1b(\[[0-9;]*)?$", "", cut)  # terminals drop a sequence in which ESC begins another one; pyte does not
    assert Emulator().feed(whole + terminal.close()).colour == ""


def test_a_draw_that_failed_half_way_leaves_no_wrong_colour_to_the_next() -> None:
    def failing() -> Iterator[Ink]:
        yield Put("lost", "bad")
        raise KeyboardInterrupt

    terminal = Terminal(lambda: 80)
    with pytest.raises(KeyboardInterrupt):
        terminal.draw(failing())
    assert terminal.draw([Put("text", "bad")]) == "\x1b[31mtext\x1b[0m"


# -- colours -----------------------------------------------------------------------------------------------------------------


def test_each_style_has_its_colour() -> None:
    assert set(get_args(Style.__value__)) == set(SGR)


def test_a_colour_is_switched_only_where_the_style_changes() -> None:
    written = Terminal(lambda: 80).draw([Put("a", "user"), Put("b\n", "user"), Put("c"), Put("d", "bad"), Put("e", "value")])
    assert written == "\x1b[33mab\n\x1b[0mc\x1b[31md\x1b[0;32me\x1b[0m"


def test_styles_of_one_look_are_no_switch() -> None:
    written = Terminal(lambda: 80).draw([Put("a", "reasoning"), Put("", "bad"), Put("b", "key")])
    assert written == "\x1b[36mab\x1b[0m"


@given(st.lists(st.lists(styles)))
def test_each_piece_has_the_colour_of_its_own_style(draws: list[list[Style]]) -> None:
    terminal, screen = Terminal(lambda: 80), Emulator(80)
    for each in draws:
        screen.feed(terminal.draw(ink for style in each for ink in (Put("x", style), Provisional("y", "quiet"))))
    screen.feed(terminal.close())
    assert [look(style) for each in draws for style in each] == [colour for row in screen.rows() for _, colour in row]


LOOKS = {
    "1": "bold",
    "31": "red",
    "32": "green",
    "33": "yellow",
    "35": "magenta",
    "36": "cyan",
    "90": "bright_black",
    "93": "bright_yellow",
}


def look(style: Style) -> str:
    """The colour of a style as the emulator calls it."""
    return LOOKS.get(SGR[style], "")


@given(st.lists(inks), widths)
def test_no_colour_is_left_in_force(inks: list[Ink], columns: int) -> None:
    written = Terminal(lambda: columns).draw(inks)
    last = re.findall(r"\x1b\[[0-9;]*m", written)[-1:]
    assert last in ([], ["\x1b[0m"])
    assert not last or Emulator(columns).feed(written).colour == ""


def test_without_colours_lines_are_erased_all_the_same() -> None:
    written = Terminal(lambda: 80, colours=False).draw([Put("text\n", "user"), Provisional("provisional"), Erase()])
    assert written == "text\nprovisional\r\x1b[2K"


# -- where nothing can be erased ---------------------------------------------------------------------------------------------


@given(st.lists(st.lists(inks, max_size=5), max_size=5), widths, st.booleans())
def test_a_pipe_gets_what_a_terminal_is_left_with(draws: list[list[Ink]], columns: int, colours: bool) -> None:
    pipe, terminal = Terminal(lambda: columns, colours, interactive=False), Terminal(lambda: columns, colours)
    for each in map(tabless, draws):
        assert pipe.draw(each) == terminal.draw(without_provisional(each))


def tabless(inks: Iterable[Ink]) -> list[Ink]:
    return [Put(ink.text.replace("\t", " "), ink.style) if isinstance(ink, Put) else ink for ink in inks]


def test_a_pipe_gets_tabs_as_tabs() -> None:
    assert Terminal(lambda: 80, colours=False, interactive=False).draw([Put("a\tb", "user"), Provisional("p"), Erase()]) == "a\tb\n"


def test_the_window_is_asked_for_its_width_only_for_provisional_lines() -> None:
    def unasked() -> int:
        raise AssertionError

    columns: Callable[[], int] = unasked
    assert Terminal(columns).draw([Put("text"), Fresh(), Erase()]) == "text\n"
