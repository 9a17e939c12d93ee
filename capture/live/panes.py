"""How `capture top` looks: its lines, each drawn anew only when it has changed."""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.geometry import Region
from textual.message import Message
from textual.screen import ModalScreen
from textual.strip import Strip
from textual.widget import Widget
from textual.widgets import Static

from capture.live.desk import Desk
from capture.live.listing import MARKS, Table, model_name, number, one_line, short
from capture.live.spans import Span, spread

ROOMY = 80  # columns from which on a heading says everything
EDGES = 3  # columns of the conversation's window that are free
WHEEL = 3  # rows that a notch of the wheel moves

BASE, BAR, CHOSEN, CHOSEN_AWAY, ACCENT = "#10131a", "#1a1f2b", "#2b3550", "#1f2636", "#7aa2f7"
COLOURS = {  # the project's scheme on a dark ground
    "user": "#e5c07b",
    "assistant": "#d7a0f5",
    "reasoning": "#63c5d5",
    "tool": "bold #ffe45c",
    "key": "#63c5d5",
    "value": "#98d082",
    "quiet": "#7a859c",
    "bad": "bold #ff6b6b",
    "good": "#7ddc8a",
    "strong": "bold #f0f3fa",
    "plain": "#cdd3e0",
    "added": "#98d082",
    "removed": "#ff8a80",
    "accent": f"bold {ACCENT}",
    "found": "bold #10131a on #ffe45c",
}
KEYS = (  # how important it is where not all have room, the key, what it does
    (0, "j/k", "session"),
    (4, "tab", "pane"),
    (3, "/", "search"),
    (5, "f", "filter"),
    (6, "enter", "full width"),
    (1, "?", "help"),
    (2, "q", "quit"),
)
HELP = f"""\
[b]Sessions[/b]
  j k ↓ ↑        the next, the previous one
  f              only those that hold these words: client,
                 directory, model, last words, id
  tab            to the conversation, where j k move a line

[b]Conversation[/b]
  pgdn pgup      a page; also space and b
  g G home end   the beginning; the end, and follow it
  enter          full width, and back
  / n N          search; the next, the previous place
  esc            end the search, the filter, full width

[b]States[/b]
  [{COLOURS["good"]}]●[/] working   [{COLOURS["tool"]}]◐[/] waiting for a tool   ○ idle   [{COLOURS["bad"]}]✖[/] failed
  [{COLOURS["quiet"]}]◌[/] quiet: it should be working, but nothing is heard

[b]Columns[/b]
  in out         tokens of all its requests
  context        tokens of the conversation as it is now
  cost           at list prices; + some, ? all without one
  codex+2        two sub-agents are answering

  q              quit"""

type Drawn = tuple[str, Sequence[Span]]  # background, what stands on it


@lru_cache(maxsize=256)
def look_of(style: str, background: str) -> Style:
    return Style(bgcolor=background) + Style.parse(COLOURS[style])


def strip_of(spans: Iterable[Span], width: int, background: str) -> Strip:
    """A line of the screen, filled to its width."""
    segments = [Segment(text, look_of(style, background)) for text, style in spans if text]
    return Strip(segments).adjust_cell_length(width, look_of("plain", background))


class Lines(Widget):
    """A widget that draws lines: those that have changed, when it is told to look."""

    class Changed(Message):
        """Something was chosen with the mouse."""

    def __init__(self, desk: Desk, id: str) -> None:
        super().__init__(id=id)
        self.desk = desk
        self._drawn: list[Drawn] = []
        self._strips: list[Strip] = []

    def lines(self, width: int, height: int) -> list[Drawn]:
        """What is to be seen now."""
        raise NotImplementedError

    def look(self) -> None:
        width, height = self.size
        if not width or not height:
            return
        drawn = self.lines(width, height)[:height]
        drawn += [(BASE, ())] * (height - len(drawn))
        if len(self._strips) != height or self._strips[0].cell_length != width:
            self._drawn, self._strips = [(BASE, ())] * height, [Strip.blank(width, look_of("plain", BASE))] * height
            self.refresh()
        changed = [y for y, line in enumerate(drawn) if line != self._drawn[y]]
        for y in changed:
            self._strips[y] = strip_of(drawn[y][1], width, drawn[y][0])
        self._drawn = drawn
        if changed:
            self.refresh(*(Region(0, y, width, 1) for y in changed))

    def render_line(self, y: int) -> Strip:
        return self._strips[y] if y < len(self._strips) else Strip.blank(self.size.width, look_of("plain", BASE))

    def on_resize(self) -> None:
        self.look()

    def on_focus(self) -> None:
        self.look()

    def on_blur(self) -> None:
        self.look()


class TitleBar(Lines):
    """What is watched, how all are doing."""

    def lines(self, width: int, height: int) -> list[Drawn]:
        left: list[Span] = [(" capture top", "accent"), (f"  {one_line(self.desk.source)}", "quiet")]
        if self.desk.wanted:
            left.insert(1, (f"  filter: {one_line(self.desk.wanted)}", "tool"))
        return [(BAR, spread(left, self.desk.summary(), width))]


class SessionList(Lines, can_focus=True):
    """One line for each session."""

    first = 0  # number of the session in the uppermost line

    def lines(self, width: int, height: int) -> list[Drawn]:
        desk, now = self.desk, self.desk.now()
        rows, chosen = max(height - 1, 1), desk.index
        self.first = max(min(self.first, chosen, len(desk.shown) - rows), chosen - rows + 1, 0)
        table = Table(desk.shown, width - 2, desk.home)
        drawn: list[Drawn] = [(BASE, [(" ", "quiet"), *table.head])]
        for at, session in enumerate(desk.shown[self.first : self.first + rows], self.first):
            background = BASE if at != chosen else CHOSEN if self.has_focus else CHOSEN_AWAY
            drawn.append((background, [("▌" if at == chosen else " ", "accent"), *table.row(session, now)]))
        if not desk.shown:
            drawn.append((BASE, [("   no session holds these words" if desk.wanted else "   nothing yet: waiting", "quiet")]))
        return drawn

    def on_click(self, event: events.Click) -> None:
        if event.y:
            self._choose(self.first + event.y - 1)

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        event.stop()
        self._choose(self.desk.index + 1)

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        event.stop()
        self._choose(self.desk.index - 1)

    def _choose(self, index: int) -> None:
        self.desk.choose(index)
        self.post_message(self.Changed())


class Talk(Lines, can_focus=True):
    """The selected conversation under a heading."""

    def lines(self, width: int, height: int) -> list[Drawn]:
        drawn: list[Drawn] = [(CHOSEN if self.has_focus else BAR, self._heading(width))]
        pager = self.desk.pager
        if pager is None or height < 2:
            return drawn
        self.desk.watch.conversations.columns = width - EDGES
        pager.fit(width - EDGES, height - 1)
        for spans, bar in zip(pager.rows(), pager.bar(), strict=False):
            seen: list[Span] = [(" ", "plain"), *spans]
            drawn.append((BASE, spread(seen, [("▐", "quiet")], width) if bar else seen))
        if pager.below:
            drawn[-1] = (BASE, spread([*drawn[-1][1]], [(f"  ↓ {pager.below:,} more: G follows ", "accent")], width))
        return drawn

    def _heading(self, width: int) -> list[Span]:
        session, pager = self.desk.session, self.desk.pager
        if session is None:
            return [(" no session", "quiet")]
        state = session.state(self.desk.now())
        mark, style, _ = MARKS[state]
        name = " ".join(filter(None, (session.client, session.version))) or "?"
        words = (short(session.cwd, self.desk.home), model_name(session.model), session.sid[:8])
        left: list[Span] = [(f" {mark} ", style), (one_line(name), "strong")]
        left.append(("".join(f" · {one_line(word)}" for word in words if word), "quiet"))
        right: list[Span] = []
        if pager and pager.wanted:
            right.append((f"{pager.at + 1}/{len(pager.found)} {one_line(pager.wanted)}   ", "tool"))
        if width >= ROOMY:
            right.append((f"turn {session.turns}  " if session.turns else "", "quiet"))
            right.append((f"{number(session.context)} context  " if session.context is not None else "", "quiet"))
        return spread(left, [*right, (f"{state.value} ", style)], width)

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        event.stop()
        self._move(WHEEL)

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        event.stop()
        self._move(-WHEEL)

    def _move(self, rows: int) -> None:
        if self.desk.pager:
            self.desk.pager.move(rows)
            self.look()


class StatusBar(Lines):
    """The keys, as many as there is room for."""

    def lines(self, width: int, height: int) -> list[Drawn]:
        kept, left = set(), width
        for _, key, what in sorted(KEYS):
            left -= len(f"  {key} {what}")
            if left >= 0:
                kept.add(key)
        pairs = [((f"  {key} ", "strong"), (what, "quiet")) for _, key, what in KEYS if key in kept]
        return [(BAR, [span for pair in pairs for span in pair])]


class Help(ModalScreen[None]):
    """What the keys do, and the marks mean."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,question_mark,q,enter,space", "dismiss", "close")]

    def compose(self) -> ComposeResult:
        yield Static(HELP, id="help")
