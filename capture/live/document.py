"""A conversation as lines of styled text that grow at their end, and as rows of a window of any width.

Nothing is wrapped before somebody looks: a document holds lines as they were said, a `Layout` knows where each is broken.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import assert_never

from capture.live.inks import Erase, Fresh, Ink, Provisional, Put, Style
from capture.live.printable import printable
from capture.live.spans import broken, steady

MAX_LINES = 5_000  # of one document; the oldest go first
SLACK = 500  # lines above that before they go: together they cost little
MAX_LINE = 2_000  # characters; what is longer goes on in the next line
TAB = " " * 4

type Span = tuple[str, Style]


@dataclass(slots=True)
class Line:
    """A line as it was said; each run of characters of one style ends somewhere."""

    text: str = ""
    ends: list[tuple[int, Style]] = field(default_factory=list)

    def add(self, text: str, style: Style) -> None:
        self.text += text
        if self.ends and self.ends[-1][1] == style:
            self.ends.pop()
        self.ends.append((len(self.text), style))

    def spans(self, begin: int, end: int) -> Iterator[Span]:
        """The runs between two places."""
        for stop, style in self.ends:
            if stop > begin:
                yield self.text[begin : min(stop, end)], style
                begin = stop
            if begin >= end:
                return


@dataclass(frozen=True, slots=True)
class Row:
    """A piece of a line that fits the window."""

    line: int  # number of the line, counted from the first there ever was
    begin: int  # characters within the line
    end: int
    indent: int  # columns left free before it


class Document:
    """Lines, the newest `MAX_LINES` of them."""

    def __init__(self) -> None:
        self.first = 0  # number of the first line that is kept
        self.lines = [Line()]  # the last one is being written
        self.provisional: Span | None = None

    @property
    def last(self) -> int:
        """The number of the line being written."""
        return self.first + len(self.lines) - 1

    def line(self, number: int) -> Line:
        return self.lines[number - self.first]

    def draw(self, inks: Iterable[Ink]) -> None:
        for ink in inks:
            match ink:
                case Put(text, style):
                    self._put(steady(printable(text)).replace("\t", TAB), style)
                case Fresh():
                    self.fresh()
                case Provisional(text, style):
                    self.provisional = (steady(" ".join(printable(text).split())), style)
                case Erase():
                    self.provisional = None
                case _:
                    assert_never(ink)

    def fresh(self) -> None:
        """What follows begins a line."""
        if self.lines[-1].text:
            self._new()

    def space(self) -> None:
        """What follows stands apart: an empty line before it, unless there is one, or nothing."""
        self.fresh()
        if len(self.lines) > 1 and self.lines[-2].text:
            self._new()

    def _put(self, text: str, style: Style) -> None:
        first, *others = text.split("\n")
        self._append(first, style)
        for other in others:
            self._new()
            self._append(other, style)

    def _append(self, text: str, style: Style) -> None:
        begin = 0
        while begin < len(text):
            room = MAX_LINE - len(self.lines[-1].text)
            if room > 0:
                self.lines[-1].add(text[begin : begin + room], style)
                begin += room
            else:
                self._new()

    def _new(self) -> None:
        self.lines.append(Line())
        if len(self.lines) > MAX_LINES + SLACK:
            self.first += len(self.lines) - MAX_LINES
            del self.lines[:-MAX_LINES]

    def find(self, wanted: str) -> list[int]:
        """Numbers of the lines that hold a text, upper and lower case alike."""
        wanted = wanted.lower()
        return [self.first + at for at, line in enumerate(self.lines) if wanted in line.text.lower()] if wanted else []


class Layout:
    """The rows of a document in a window of some width."""

    def __init__(self, document: Document, width: int) -> None:
        self.document = document
        self.width = max(width, 1)
        self.rows: list[Row] = []
        self._next = document.first  # the first line that may still change, or is not broken yet
        self._settled = 0  # rows of the lines before that

    def update(self) -> int:
        """Breaks what is new; how many rows have gone at the beginning."""
        document = self.document
        gone = self._forget()
        del self.rows[self._settled :]
        for number in range(max(self._next, document.first), document.last + 1):
            text = document.line(number).text
            if number == document.last:
                self._next, self._settled = number, len(self.rows)
                if not text:
                    break  # nothing stands there yet
            indent = min(len(text) - len(text.lstrip(" ")), self.width // 3)
            self.rows += [Row(number, begin, end, indent if begin else 0) for begin, end in broken(text, self.width, indent)]
        return gone

    def row_of(self, line: int) -> int:
        """The first row of a line."""
        return bisect_left(self.rows, line, key=lambda row: row.line)

    def _forget(self) -> int:
        """Takes the rows away whose lines are gone."""
        gone = self.row_of(self.document.first)
        if gone:
            del self.rows[:gone]
            self._settled = max(self._settled - gone, 0)
        return gone
