"""Items of one card → inks: what they look like."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import assert_never

from wcwidth import wcswidth

from capture.live.arguments import Arguments, State
from capture.live.inks import Erase, Fresh, Ink, Put, Style
from capture.live.items import (
    ArgumentsPiece,
    CallBegun,
    CallComplete,
    Item,
    Prompted,
    Remark,
    Resulted,
    Spoken,
    TurnOver,
)
from capture.live.terminal import fitting

ID = 5  # characters of a flow id before a block
INDENT = "  "  # before the lines of a result
OUTCOMES: dict[str, tuple[str, Style]] = {
    "idle": ("idle", "quiet"),
    "interrupted": ("interrupted", "bad"),
    "failed": ("failed", "bad"),
}


def eighty() -> int:
    return 80


@dataclass(frozen=True, slots=True)
class Look:
    """What is shown of items, and how."""

    args_sub_deltas: int = 8  # deltas of a call's arguments that are looked at, at least
    indent: int = 2  # columns for each level of JSON
    results: int = 5  # lines of a result
    show_fsm: bool = False
    show_time: bool = False
    show_flow_id: bool = False
    show_deltas: bool = False
    width: Callable[[], int] = eighty  # columns of the window


@dataclass(slots=True)
class _Waiting:
    """A call whose turn has not come: another one is drawn."""

    call: Arguments
    pieces: list[tuple[str, int]] = field(default_factory=list)
    complete: bool = False


class Renderer:
    """Feeds on the items of one card, in order. `flow`: its id."""

    def __init__(self, look: Look, flow: str = "") -> None:
        self._look = look
        self._flow = flow
        self._block: tuple[str, ...] = ()  # what is drawn: a voice and its key, a call
        self._calls: dict[str, _Waiting] = {}  # by key, in order; the first is drawn
        self._last: datetime | None = None  # time of the last delta

    def render(self, item: Item, t: str = "") -> Iterator[Ink]:
        """What an item adds; `t`: its time in the log."""
        match item:
            case Spoken(voice, text, key):
                if self._block != (voice, key):
                    yield from self._line(t)
                    self._block = (voice, key)
                if gap := self._gap(t):
                    yield Put(gap, "quiet")
                yield Put(text, voice)
            case CallBegun(key, name, server):
                yield from self._call(key, name, server, t)
            case ArgumentsPiece(key, text, deltas):
                yield from self._arguments(key, text, deltas, t)
            case CallComplete(key):
                yield from self._complete(key)
            case Prompted(text):
                yield from self._line(t)
                yield Put("> ", "quiet")
                yield Put(text, "user")
            case Resulted():
                yield from self._result(item, t)
            case Remark(text, bad):
                yield from self._line(t)
                yield Put(" ".join(text.split()), "bad" if bad else "quiet")
            case TurnOver():
                yield from self._line(t)
                yield from _over(item)
            case _:
                assert_never(item)

    def leave(self) -> Iterator[Ink]:
        """The card goes off the screen: no provisional line stands, the line is ended."""
        yield Erase()
        yield Fresh()
        self._block = ()

    def back(self) -> Iterator[Ink]:
        """The card comes back: the provisional line of the call that is drawn stands again."""
        if self._calls:
            yield from next(iter(self._calls.values())).call.shown_again()

    def close(self) -> Iterator[Ink]:
        """Nothing more comes: calls that were cut are drawn as far as they came."""
        for key in list(self._calls):
            yield from self._complete(key)

    # -- blocks -------------------------------------------------------------------------------------------------------------------

    def _line(self, t: str) -> Iterator[Ink]:
        """A new line, with the time and the flow where they are wanted."""
        self._block = ()
        yield Erase()
        yield Fresh()
        if prefix := self._prefix(t):
            yield Put(prefix, "quiet")

    def _prefix(self, t: str) -> str:
        """What stands before a block: the time and the flow, where they are wanted."""
        look = self._look
        words = [t[11:23]] * look.show_time + [self._flow[-ID:]] * look.show_flow_id
        return "".join(word + " " for word in words if word)

    def _gap(self, t: str) -> str:
        """How long the card was silent before a delta, where that is wanted."""
        if not self._look.show_deltas:
            return ""
        before, now = self._last, _moment(t)
        self._last = now or before
        return f"+{(now - before).total_seconds() * 1000:.0f}ms " if now and before else ""

    # -- calls --------------------------------------------------------------------------------------------------------------------

    def _call(self, key: str, name: str, server: bool, t: str) -> Iterator[Ink]:
        if key in self._calls:  # another answer on the card: what was open of the one before it was cut
            yield from self.close()
        tool = f"{name} (by the provider)" if server else name
        look = self._look
        call = Arguments(tool, name, look.args_sub_deltas, look.indent, look.show_fsm, self._prefix(t))
        self._calls[key] = _Waiting(call)
        if len(self._calls) == 1:
            yield from self._drawn()

    def _drawn(self) -> Iterator[Ink]:
        """The first call that waits is drawn, with all that was said of it."""
        key, waiting = next(iter(self._calls.items()))
        yield from self._at(key, waiting.call, "")
        yield from waiting.call.begun()
        for text, deltas in waiting.pieces:
            yield from waiting.call.feed(text, deltas)
        waiting.pieces.clear()

    def _at(self, key: str, call: Arguments, t: str) -> Iterator[Ink]:
        """The call is what is drawn, also when something else was said meanwhile. A provisional line brings its own prefix."""
        if self._block == ("call", key):
            return
        if call.state is State.PROVISIONAL:
            yield Erase()
            yield Fresh()
        else:
            yield from self._line(t)
        self._block = ("call", key)

    def _arguments(self, key: str, text: str, deltas: int, t: str) -> Iterator[Ink]:
        gap = self._gap(t)
        waiting = self._calls.get(key)
        if waiting is None:  # of a call that is over, or that nobody declared
            yield from self._line(t)
            yield Put(gap + text, "quiet")
        elif next(iter(self._calls)) != key:
            waiting.pieces.append((text, deltas))
        else:
            yield from self._at(key, waiting.call, t)
            yield from waiting.call.feed(text, deltas, gap)

    def _complete(self, key: str) -> Iterator[Ink]:
        """A call's arguments are all there; then comes what waited for its end."""
        if key in self._calls:
            self._calls[key].complete = True
        while self._calls:
            first, waiting = next(iter(self._calls.items()))
            if not waiting.complete:
                return
            yield from self._ended(first, waiting.call)
            del self._calls[first]
            if self._calls:
                yield from self._drawn()

    def _ended(self, key: str, call: Arguments) -> Iterator[Ink]:
        """What was held of a call, not on the line of what was said meanwhile."""
        inks = list(call.end())
        if inks and self._block != ("call", key):
            yield Fresh()
        if inks or self._block == ("call", key):
            self._block = ()
        yield from inks

    # -- results and ends ---------------------------------------------------------------------------------------------------------

    def _result(self, result: Resulted, t: str) -> Iterator[Ink]:
        yield from self._line(t)
        status = f"exit {result.exit_code}" if result.exit_code else "error" if result.is_error else "ok"
        yield Put("└ ", "quiet")
        yield Put(status, "bad" if result.is_error or result.exit_code else "good")
        about = f" · {result.name}" + (f" {result.about}" if result.about else "")
        yield Put((f" {took(result.ms)}" if result.ms is not None else "") + about, "quiet")
        lines = result.text.strip("\n").split("\n") if result.text.strip() else []
        room = max(self._look.width() - len(INDENT) - 1, 1)
        for line in lines[: self._look.results]:
            yield Fresh()
            yield Put((INDENT + cut(line, room)).rstrip(" ") or "\n", "quiet")
        if self._look.results and len(lines) > self._look.results:
            yield Fresh()
            yield Put(f"{INDENT}… {len(lines) - self._look.results:,} more lines", "quiet")


def _over(turn: TurnOver) -> Iterator[Ink]:
    word, style = OUTCOMES.get(turn.outcome, (turn.outcome, "bad"))
    words = [f"{word} after {took(turn.ms)}" if turn.ms is not None else word]
    if turn.input is not None:
        words.append(f"{turn.input:,} tokens in, {turn.output or 0:,} out")
    if turn.cost is not None:
        words.append(f"${turn.cost:,.2f}" if turn.cost >= 1 else f"${turn.cost:.4f}")
    if turn.calls:
        words.append("1 call" if turn.calls == 1 else f"{turn.calls:,} calls")
    yield Put("── " + " · ".join(words) + "\n", style)


def took(ms: float) -> str:
    """A duration as people read it."""
    if ms < 1000:
        return f"{ms:.0f} ms"
    minutes, rest = divmod(ms / 1000, 60)
    return f"{minutes:,.0f} min {rest:02.0f} s" if minutes else f"{rest:.1f} s"


def cut(line: str, cells: int) -> str:
    """The beginning of a line that fits into so many cells, as near as that can be known."""
    line = line[: cells * 4].rstrip("\r").replace("\t", "    ")
    if len(line) <= cells and (line.isascii() or wcswidth(line) <= cells):
        return line
    return fitting(line, cells - 1) + "…"


def _moment(t: str) -> datetime | None:
    try:
        return datetime.fromisoformat(t)
    except ValueError:
        return None
