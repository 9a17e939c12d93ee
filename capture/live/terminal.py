"""Inks → exactly what is to be written to a terminal. Nothing but what is in this file ever commands it."""

from bisect import bisect_right
from collections.abc import Callable, Iterable
from functools import lru_cache
from itertools import accumulate
from typing import assert_never

from wcwidth import wcswidth, wcwidth

from capture.live.inks import SGR, Erase, Fresh, Ink, Provisional, Put, Style
from capture.live.printable import printable

COLOURLESS: dict[Style, str] = dict.fromkeys(SGR, "")
TAB = 8  # cells from one tab stop to the next
RESET = "\x1b[0m"
ERASED = "\r\x1b[2K"  # the row of the cursor is empty, and the cursor at its beginning
ERASED_ABOVE = "\x1b[1A\x1b[2K"


class Terminal:
    """What is written where; holds no more than the line that is being written.

    `columns()` says how wide the window is now; it is asked only when a provisional line is drawn or erased. Where nothing is
    interactive, nothing is erased: no escape sequence but colours is written, tabs stay tabs, and a provisional line is not drawn.
    A provisional line begins a line, as `Fresh` does, whether it is drawn or not: so all windows and pipes show the same lines.
    """

    def __init__(self, columns: Callable[[], int], colours: bool = True, interactive: bool = True) -> None:
        self._columns = columns
        self._codes = SGR if colours else COLOURLESS
        self._interactive = interactive
        self._line: list[str] = []  # pieces since the last newline, or since the last tab: as far as the next tab must know them
        self._held = ""  # a carriage return that ended a text: the newline it belongs to may be the next text's beginning
        self._standing = ""  # the provisional line as it is drawn
        self._width = 0  # columns of the window when it was
        self._code = ""  # SGR numbers that are in force

    def draw(self, inks: Iterable[Ink]) -> str:
        """What to write. Behind all of it no colour is in force: whatever ends us then, the shell's words have none."""
        out: list[str] = []
        self._code = ""
        for ink in inks:
            match ink:
                case Put():
                    self._put(ink, out)
                case Fresh():
                    self._fresh(out)
                case Provisional():
                    self._fresh(out)
                    if self._interactive:
                        self._provisional(ink, out)
                case Erase():
                    self._erase(out)
                case _:
                    assert_never(ink)
        if self._code:
            self._switch("", out)
        return "".join(out)

    def close(self) -> str:
        """What to write at the end: no colour and no provisional line is left, and whatever comes next begins a line.

        The colour is ended even where it was: of the last text, Ctrl-C may have let only a part be written.
        """
        return (RESET if self._codes is SGR else "") + self.draw((Erase(), Fresh()))

    def _put(self, ink: Put, out: list[str]) -> None:
        text = ink.text
        plain = not self._held and text.isprintable()
        shown = text if plain else self._harmless(text)
        if not shown:
            return
        if self._standing:
            self._erase(out)
        code = self._codes[ink.style]
        if code != self._code:
            self._switch(code, out)
        out.append(shown if plain or not self._interactive else self._spaced(shown))
        if plain:
            self._line.append(shown)
        else:
            self._keep(shown)

    def _harmless(self, text: str) -> str:
        text = self._held + text
        self._held = "\r" if text.endswith("\r") else ""
        return printable(text[:-1] if self._held else text)

    def _spaced(self, text: str) -> str:
        if "\t" not in text:
            return text
        line = "".join(self._line)
        return tabs_as_spaces(line + text)[len(line) :]

    def _keep(self, text: str) -> None:
        _, newline, line = text.rpartition("\n")
        _, tab, rest = line.rpartition("\t")
        if newline or tab:
            self._line = [" " * TAB] if tab else []
        if rest:
            self._line.append(rest)

    def _fresh(self, out: list[str]) -> None:
        self._held = ""
        if self._line:
            out.append("\n")
            self._line = []

    def _provisional(self, ink: Provisional, out: list[str]) -> None:
        self._erase(out)
        self._width = max(self._columns(), 1)
        room = self._width - 1  # a row that is full would leave the cursor waiting for a wrap, where terminals differ
        self._standing = fitting(_one_line(ink.text, room), room)
        if self._standing:
            self._switch(self._codes[ink.style], out)
            out.append(self._standing)

    def _erase(self, out: list[str]) -> None:
        if self._standing:
            columns = self._columns()
            wrapped = rows(self._standing, columns) - 1 if columns < self._width else 0
            out.append(ERASED + ERASED_ABOVE * wrapped)
            self._standing = ""

    def _switch(self, code: str, out: list[str]) -> None:
        if code != self._code:
            out.append(f"\x1b[{'0;' if self._code and code else ''}{code or '0'}m")
            self._code = code


def _one_line(text: str, most: int) -> str:
    """The beginning of a text, harmless, on one line: `most` characters at least, where there are so many."""
    return printable(text[: most + 1]).replace("\n", " ").replace("\t", " ")  # one more: a CR LF there is not cut


def tabs_as_spaces(text: str) -> str:
    """Spaces up to the next multiple of TAB cells of the line for each tab of a printable text that begins a line.

    A real tab in a row's last columns goes no further than the last one, and what comes next is written over it. Cells are counted
    in the line, not in the row, so that a window of another width shows the same.
    """
    if text.isascii():
        return text.expandtabs(TAB)
    return "\n".join(map(_line_spaced, text.split("\n")))


def _line_spaced(line: str) -> str:
    *pieces, rest = line.split("\t")
    return "".join([piece + " " * (TAB - wcswidth(piece) % TAB) for piece in pieces]) + rest


def fitting(text: str, room: int) -> str:
    """The beginning of a printable text that fits into `room` cells, whatever the terminal makes of it.

    Terminals differ about joined emoji, variation selectors and marks: each code point counts by itself, and one cell at least.
    """
    if text.isascii():
        return text[:room]
    ends = list(accumulate(map(_cells, text[:room])))
    return text[: bisect_right(ends, room)]


@lru_cache(maxsize=4096)
def _cells(char: str) -> int:
    return max(wcwidth(char), 1)


def rows(text: str, columns: int) -> int:
    """Rows that a line takes in a window of so many columns: more than one when the window has shrunk since it was drawn."""
    count, column = 1, 0
    for char in text:
        cells = wcwidth(char)
        if column and column + cells > columns:
            count, column = count + 1, 0
        column += cells
    return count
