"""One call's arguments while they stream: provisional on an erasable line until it is known what they are.

BEGUN ──piece──▶ PROVISIONAL ──found──▶ RECOGNISED ──end──▶ OVER
                      └─given up, end──▶ UNKNOWN ────end──▶ OVER
"""

from collections.abc import Iterator
from enum import Enum, auto

from capture.live.drawing import Drawing
from capture.live.inks import Erase, Fresh, Ink, Provisional, Put
from capture.live.jsontext import JsonReader, JsonStreamFormatter
from capture.live.patterns import LOOK, READ, Pattern, hopeless, recognised, stripped

SHOWN = 400  # characters of a provisional line: more than any window has columns


class State(Enum):
    """What is known of a call."""

    PROVISIONAL = auto()
    RECOGNISED = auto()
    UNKNOWN = auto()
    OVER = auto()


class Signal(Enum):
    """What becomes known."""

    FOUND = auto()
    GIVEN_UP = auto()
    END = auto()


S, X = State, Signal
NEXT = {
    (S.PROVISIONAL, X.FOUND): S.RECOGNISED,
    (S.PROVISIONAL, X.GIVEN_UP): S.UNKNOWN,
    (S.RECOGNISED, X.END): S.OVER,
    (S.UNKNOWN, X.END): S.OVER,
}


class Arguments:
    """Feeds on pieces of the arguments; see the module. `patience`: deltas that are looked at, at least.

    `prefix` stands before the header: a provisional line has it too, so it cannot be drawn before that is erased.
    """

    def __init__(self, header: str, tool: str, patience: int, indent: int, say_why: bool = False, prefix: str = "") -> None:
        self._header = header
        self._prefix = prefix
        self._tool = tool
        self.state = S.PROVISIONAL
        self._patience = patience
        self._say_why = say_why
        self._deltas = 0
        self._said = ""  # while provisional
        self._shown = ""  # of that, with the gaps between the pieces
        self._reader = JsonReader()
        self._drawing = Drawing(None)
        self._plain = JsonStreamFormatter(indent)

    def begun(self) -> Iterator[Ink]:
        yield from self.shown_again()

    def feed(self, text: str, deltas: int = 1, gap: str = "") -> Iterator[Ink]:
        """What a piece adds. `deltas`: how many it was told in; `gap`: what is to be said before it."""
        if self.state is not S.PROVISIONAL:
            if gap:
                yield Put(gap, "quiet")
            yield from self._more(text)
            return
        self._said += text
        if len(self._shown) < SHOWN:
            self._shown += gap + text[:SHOWN]
        self._deltas += deltas
        beginning = stripped(self._said)
        if pattern := recognised(self._tool, beginning):
            yield from self._settle(X.FOUND, pattern)
        elif hopeless(self._tool, beginning) or (self._deltas >= self._patience and self._seen_enough(beginning)):
            yield from self._settle(X.GIVEN_UP, None)
        else:
            yield from self.shown_again()

    def end(self) -> Iterator[Ink]:
        """All was said, or nothing more comes."""
        if self.state is S.PROVISIONAL:
            yield from self._settle(X.GIVEN_UP, None)
        if self.state is S.RECOGNISED:
            for token in self._reader.close():
                yield from self._drawing.feed(token)
            yield from self._drawing.close()
        elif self.state is S.UNKNOWN:
            yield from self._plain.close()
        self.state = NEXT.get((self.state, X.END), S.OVER)

    def shown_again(self) -> Iterator[Ink]:
        """The provisional line, where one stands."""
        if self.state is S.PROVISIONAL:
            yield Provisional(f"{self._prefix}{self._header} {self._shown}")

    def _seen_enough(self, beginning: str) -> bool:
        """Nothing that comes changes the stripped beginning any more."""
        return len(beginning) >= LOOK or len(self._said) >= READ

    def _settle(self, signal: Signal, pattern: Pattern | None) -> Iterator[Ink]:
        """It is known what this is: the provisional line goes, a header and what was said come."""
        before, self.state = self.state, NEXT[self.state, signal]
        yield Erase()
        yield Fresh()
        if self._prefix:
            yield Put(self._prefix, "quiet")
        yield Put(self._header, "tool")
        if self._say_why:
            name = pattern.name if pattern else "JSON"
            yield Put(f" [{before.name.lower()} → {self.state.name.lower()}: {name}, delta {self._deltas}]", "quiet")
        if pattern:
            self._drawing = Drawing(pattern.sort)
        elif self._said.strip():
            yield Put(" ", "quiet")
        said, self._said = self._said, ""
        yield from self._more(said)

    def _more(self, text: str) -> Iterator[Ink]:
        if self.state is S.RECOGNISED:
            for token in self._reader.feed(text):
                yield from self._drawing.feed(token)
        elif self.state is S.UNKNOWN:
            yield from self._plain.feed(text)
