"""A window on a document: which rows are seen, following its end or staying where somebody reads, and what is searched in it."""

from capture.live.document import Document, Layout
from capture.live.spans import Span, cut, marked


class Pager:
    """One document in a window of so many columns and rows, from its end; `fit` tells its real size."""

    def __init__(self, document: Document, width: int = 80, height: int = 24) -> None:
        self.following = True
        self.wanted = ""  # what is searched
        self.found: list[int] = []  # numbers of the lines that hold it
        self.at = -1  # which of them is looked at
        self._height = max(height, 1)
        self._layout = Layout(document, width)
        self._layout.update()
        self._place = self._end

    @property
    def document(self) -> Document:
        return self._layout.document

    @property
    def below(self) -> int:
        """Rows after the last one that is seen."""
        return max(self._end - self._place, 0)

    @property
    def _end(self) -> int:
        """The place of the window at the end of the document."""
        return max(self._total - self._height, 0)

    @property
    def _total(self) -> int:
        return len(self._layout.rows) + (self.document.provisional is not None)

    def fit(self, width: int, height: int) -> None:
        """The window's size and the document may have changed: what is read stays where it is."""
        self._height = max(height, 1)
        if self._layout.width == max(width, 1):
            self._place -= self._layout.update()
        else:
            line = self._line
            self._layout = Layout(self.document, width)
            self._layout.update()
            self._place = self._layout.row_of(line)
        self._place = self._end if self.following else max(min(self._place, self._end), 0)
        self.following = self._place >= self._end

    def rows(self) -> list[list[Span]]:
        """What is seen."""
        end = min(self._place + self._height, len(self._layout.rows))
        seen = [self._row(at) for at in range(self._place, end)]
        if self.document.provisional and len(seen) < self._height:
            text, style = self.document.provisional
            seen.append([(cut(text, self._layout.width), style)])
        return seen

    def bar(self) -> list[bool]:
        """For each row of the window whether it is one of the scroll bar, which is as long as the part that is seen."""
        height, total = self._height, self._total
        if total <= height:
            return [False] * height
        size = max(height * height // total, 1)
        begin = round((height - size) * self._place / (total - height))
        return [begin <= y < begin + size for y in range(height)]

    def _row(self, at: int) -> list[Span]:
        row = self._layout.rows[at]
        spans: list[Span] = [(" " * row.indent, "plain")] if row.indent else []
        spans += self.document.line(row.line).spans(row.begin, row.end)
        return marked(spans, self.wanted) if self.wanted else spans

    # -- moving about ----------------------------------------------------------------------------------------------------------

    def move(self, rows: int) -> None:
        """Up (less than 0) or down; who reaches the end follows it."""
        self._place = max(min(self._place + rows, self._end), 0)
        self.following = self._place >= self._end

    def page(self, by: int) -> None:
        """A page, of which two rows stay."""
        self.move(by * max(self._height - 2, 1))

    def to_beginning(self) -> None:
        self.move(-self._total)

    def follow(self) -> None:
        self.move(self._total)

    # -- searching ---------------------------------------------------------------------------------------------------------------

    def search(self, wanted: str) -> None:
        """Goes to the first line with a text that is in the window or below it, else to the last one above."""
        self.wanted, self.at = wanted, -1
        self.found = self.document.find(wanted)
        if self.found:
            line = self._line
            self.at = next((at for at, each in enumerate(self.found) if each >= line), len(self.found) - 1)
            self._go()

    def step(self, by: int) -> None:
        """Goes to the next (1) or the previous (-1) line of what is searched; behind the last one comes the first."""
        line = self.found[self.at] if 0 <= self.at < len(self.found) else self._line
        self.found = self.document.find(self.wanted)
        if self.found:
            after = [at for at, each in enumerate(self.found) if each > line]
            before = [at for at, each in enumerate(self.found) if each < line]
            self.at = ([*after, 0] if by > 0 else [len(self.found) - 1, *before])[0 if by > 0 else -1]
            self._go()

    @property
    def _line(self) -> int:
        """The number of the uppermost line that is seen."""
        rows = self._layout.rows
        return rows[self._place].line if self._place < len(rows) else self.document.last

    def _go(self) -> None:
        row = self._layout.row_of(self.found[self.at])
        if not self._place <= row < self._place + self._height:
            self.move(row - self._height // 3 - self._place)
