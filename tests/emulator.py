"""A terminal to look at: what was written, as a reader would see it, with all that has scrolled away."""

from itertools import groupby
from typing import Any

import pyte
from pyte import modes
from wcwidth import wcwidth

NAMES = {"brown": "yellow", "brightbrown": "bright_yellow", "brightblack": "bright_black", "default": ""}  # pyte's → ours

type Row = list[tuple[str, str]]  # text and its colours: "", "cyan", "bold", "red bold"


class _Screen(pyte.Screen):
    """pyte's screen with a scroll-back; wide and zero-width characters are placed as xterm places them."""

    def __init__(self, columns: int, lines: int) -> None:
        self.past: list[Any] = []  # rows that scrolled away
        self.answers: list[str] = []  # what the terminal would have typed, or rung
        super().__init__(columns, lines)

    def index(self) -> None:
        if self.cursor.y == self.lines - 1:
            self.past.append(self.buffer[0])
        super().index()

    def draw(self, data: str) -> None:
        """Each code point by its own width: a wide one that does not fit begins a row, one without width joins the one before."""
        for char in data:
            cells = min(wcwidth(char), self.columns)
            if cells <= 0:
                self._join(char)
                continue
            if self.cursor.x + cells > self.columns and modes.DECAWM in self.mode:
                self.carriage_return()
                self.linefeed()
            line, attributes = self.buffer[self.cursor.y], self.cursor.attrs
            line[self.cursor.x] = attributes._replace(data=char)
            if cells == 2:
                line[self.cursor.x + 1] = attributes._replace(data="")
            self.cursor.x = min(self.cursor.x + cells, self.columns)

    def _join(self, char: str) -> None:
        line, x = self.buffer[self.cursor.y], self.cursor.x - 1
        if x > 0 and not line[x].data:  # the second cell of a wide character
            x -= 1
        if x >= 0:
            line[x] = line[x]._replace(data=line[x].data + char)

    def write_process_input(self, data: str) -> None:
        self.answers.append(data)

    def bell(self, *args: Any) -> None:
        self.answers.append("bell")


class Emulator:
    """A terminal of so many columns behind a tty (which makes CR LF of each newline)."""

    def __init__(self, columns: int = 80, lines: int = 24) -> None:
        self._screen = _Screen(columns, lines)
        self._stream = pyte.Stream(self._screen)
        self._untouched = self._state()

    def feed(self, text: str) -> "Emulator":
        self._stream.feed(text.replace("\n", "\r\n"))
        return self

    @property
    def cursor(self) -> tuple[int, int]:
        """Row from the beginning of all that was written, and column; after a full row it is the number of columns."""
        return len(self._screen.past) + self._screen.cursor.y, self._screen.cursor.x

    @property
    def colour(self) -> str:
        """What the next character would be coloured."""
        return _colour(self._screen.cursor.attrs)

    @property
    def disturbed(self) -> dict[str, Any]:
        """What text must not change and did: title, modes, margins, answers. Empty when all is well."""
        return {name: value for name, value in self._state().items() if value != self._untouched[name]}

    def lines(self) -> list[str]:
        """All rows without the spaces at their ends, also those that scrolled away; no empty ones at the end."""
        return ["".join(text for text, _ in row) for row in self.rows()]

    def rows(self) -> list[Row]:
        """The same rows as runs of one colour."""
        shown = [*self._screen.past, *(self._screen.buffer[y] for y in range(self._screen.lines))]
        rows = [self._row(line) for line in shown]
        while rows and not rows[-1]:
            rows.pop()
        return rows

    def golden(self) -> str:
        """All rows as text for a file: a run of one colour is `‹cyan›text‹›`, with its spaces at the ends of rows cut."""
        return "".join("".join(f"‹{colour}›{text}‹›" if colour else text for text, colour in row) + "\n" for row in self.rows())

    def _row(self, line: Any) -> Row:
        cells = [line[x] for x in range(self._screen.columns)]
        while cells and cells[-1].data == " ":
            cells.pop()
        return [("".join(cell.data for cell in run), colour) for colour, run in groupby(cells, _colour)]

    def _state(self) -> dict[str, Any]:
        screen = self._screen
        return {
            "title": (screen.title, screen.icon_name),
            "modes": set(screen.mode),
            "margins": screen.margins,
            "charsets": (screen.charset, screen.g0_charset, screen.g1_charset),
            "tab stops": set(screen.tabstops),
            "saved": list(screen.savepoints),
            "hidden": screen.cursor.hidden,
            "answers": list(screen.answers),
        }


def _colour(cell: Any) -> str:
    ground = f"on {cell.bg}" if cell.bg != "default" else ""
    flags = [name for name in ("bold", "italics", "underscore", "strikethrough", "reverse", "blink") if getattr(cell, name)]
    return " ".join(filter(None, [NAMES.get(cell.fg, cell.fg), ground, *flags]))
