"""Sessions as rows of a table, as wide as the window: which columns there is room for, and what stands in them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from capture.live.board import Session, State
from capture.live.printable import printable
from capture.live.spans import Span, columns, cut, cut_left, steady

type Side = Literal["left", "right"]

MARKS: dict[State, tuple[str, str, str]] = {  # how a state is marked, styled, and called in a column
    State.WORKING: ("●", "good", "working"),
    State.WAITING: ("◐", "tool", "tool"),
    State.FAILED: ("✖", "bad", "failed"),
    State.IDLE: ("○", "plain", "idle"),
    State.QUIET: ("◌", "quiet", "quiet"),
}
WORDS = 16  # columns that the last words need at least; in a wide window a fifth of it
LATEST = 2  # seconds that are no age yet


@dataclass(frozen=True, slots=True)
class Column:
    """One column: how wide at most, what stands in it. `least`: columns it can do with."""

    title: str
    most: int
    cell: Callable[[Session, str, int], Span]
    side: Side = "left"
    least: int = 0

    def width(self, cells: Sequence[str]) -> int:
        """The columns it takes."""
        widest = max((columns(cell) for cell in (self.title, *cells)), default=0)
        return min(max(widest, self.least), self.most)


def _client(session: Session, home: str, width: int) -> Span:
    helpers = f"+{session.agents}" if session.agents else ""
    return cut(session.client or "?", width - len(helpers)) + helpers, "strong"


def _where(session: Session, home: str, width: int) -> Span:
    return cut_left(short(session.cwd, home), width), "plain"


def _model(session: Session, home: str, width: int) -> Span:
    return cut(model_name(session.model), width), "plain"


def _input(session: Session, home: str, width: int) -> Span:
    return number(session.input) if session.input else "", "quiet"


def _output(session: Session, home: str, width: int) -> Span:
    return number(session.output) if session.output else "", "plain"


def _context(session: Session, home: str, width: int) -> Span:
    return number(session.context) if session.context is not None else "", "quiet"


def _cost(session: Session, home: str, width: int) -> Span:
    return price(session), "value"


COLUMNS = (  # as they stand, but for the state before and age and last words after them
    Column("client", 14, _client, least=6),
    Column("model", 18, _model),
    Column("directory", 28, _where, least=9),
    Column("in", 6, _input, "right", least=5),
    Column("out", 6, _output, "right", least=5),
    Column("context", 7, _context, "right"),
    Column("cost", 8, _cost, "right", least=6),
)
IMPORTANT = ("client", "directory", "cost", "model", "out", "in", "context")  # which ones a narrow window keeps


class Table:
    """How rows look that are so wide: the columns are those there is room for."""

    def __init__(self, sessions: Sequence[Session], width: int, home: str) -> None:
        self.width = width
        self._home = home
        widths = {column.title: column.width([column.cell(each, home, column.most)[0] for each in sessions]) for column in COLUMNS}
        widths["directory"] = min(widths["directory"], max(width // 5, 12))
        words = max(WORDS, width // 5)
        left = width - 2 - 5 - words  # the mark, the age, the last words
        kept = set()
        for title in IMPORTANT:
            if widths[title] + 1 <= left:
                kept.add(title)
                left -= widths[title] + 1
        self._named = left >= 8  # room for the name of the state
        left -= 8 * self._named
        self._columns = [(column, widths[column.title]) for column in COLUMNS if column.title in kept]
        self._words = words + left

    @property
    def head(self) -> list[Span]:
        titles = [(column.title, width, column.side) for column, width in self._columns]
        state = [("state", 7, "left")] if self._named else []
        cells = [_padded(title, width, side) for title, width, side in [*state, *titles, ("age", 4, "right")]]  # type: ignore[arg-type]
        return [(cut("  " + " ".join(cells) + " last words", self.width), "quiet")]

    def row(self, session: Session, now: str) -> list[Span]:
        mark, style, name = MARKS[session.state(now)]
        spans: list[Span] = [(mark + " ", style)]
        if self._named:
            spans.append((_padded(name, 8, "left"), style))
        for column, width in self._columns:
            text, tone = column.cell(session, self._home, width)
            spans.append((_padded(one_line(text), width, column.side) + " ", tone))
        spans.append((_padded(age(session.silent(now)), 4, "right") + " ", "quiet"))
        spans.append((last_words(session, max(self._words, 0)), session.voice or "plain"))
        return spans


def _padded(text: str, width: int, side: Side) -> str:
    text = cut(text, width)
    room = " " * (width - columns(text))
    return room + text if side == "right" else text + room


def last_words(session: Session, width: int) -> str:
    """The last line that was said, its end; of a prompt or a call the beginning."""
    if session.voice in ("assistant", "reasoning"):
        line = next((line for line in reversed(session.words.split("\n")) if line.strip()), "")
        return cut_left(one_line(line), width)
    return cut(one_line(session.words), width)


def one_line(text: str) -> str:
    """A text that cannot leave its row."""
    return steady(" ".join(printable(text).split()))


def matches(session: Session, wanted: str, home: str) -> bool:
    """Whether a session holds all words of a filter: in its client, directory, model, last words or id."""
    text = "\n".join(
        (session.client or "", short(session.cwd, home), session.cwd or "", session.model or "", session.words, session.sid)
    ).casefold()
    return all(word in text for word in wanted.casefold().split())


def model_name(model: str | None) -> str:
    """A model's name without what all of them have: `claude-opus-4-5-20250929` is `opus-4-5`."""
    if not model:
        return "?"
    name = model.rpartition("/")[2].removeprefix("claude-")
    stem, _, day = name.rpartition("-")
    return stem if stem and len(day) == 8 and day.isdigit() else name


def short(path: str | None, home: str) -> str:
    """A path as people write it: `~` for the home directory."""
    if not path:
        return ""
    return "~" + path[len(home) :] if path == home or path.startswith(home + "/") else path


def number(count: int) -> str:
    """A number in at most five columns."""
    if count < 1000:
        return str(count)
    size, unit = (count / 1e6, "M") if count >= 999_500 else (count / 1e3, "k")
    return f"{size:.0f}{unit}" if size >= 99.95 else f"{size:.1f}{unit}"


def price(session: Session) -> str:
    """What a session cost: `+` says that some answers have no price, `?` that none has."""
    if not session.cost:
        return "?" if session.unpriced else ""
    digits = 3 if session.cost < 0.1 else 2 if session.cost < 1_000 else 0
    return f"${session.cost:,.{digits}f}" + "+" * bool(session.unpriced)


def age(seconds: float) -> str:
    """A time that is over, in at most four columns."""
    if seconds < LATEST:
        return "now"
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "m")):
        if seconds >= size:
            return f"{int(seconds // size)}{unit}"
    return f"{int(seconds)}s"
