"""`capture top` as an application: the list of sessions, and the conversation of the selected one, as it grows.

It reads and draws at a frame rate, never per event. What is shown is worked out without a screen (`watch`, `desk`), how it looks
is said in `panes`; here are the frames and the keys.
"""

import asyncio
import signal
import time
from collections import deque
from collections.abc import Callable
from typing import ClassVar, Literal, Protocol

from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Horizontal
from textual.widgets import Input, Static

from capture.files import Unusable
from capture.live.desk import Desk
from capture.live.pager import Pager
from capture.live.panes import ACCENT, BAR, BASE, CHOSEN, COLOURS, Help, Lines, SessionList, StatusBar, Talk, TitleBar
from capture.scan import Item

FRAMES = 8  # a second
WORK = 0.03  # seconds of reading after which keys are looked at
PAUSE = 0.003  # seconds for that
WIDE = 170  # columns from which on the list stands beside the conversation
BESIDE = "45%"  # of a wide window is the list's
ABOVE = 0.34  # of the window's height is the list's, at most

type Asks = Literal["search", "filter"]


class Follows(Protocol):
    """As `scan.following.Following`."""

    behind: bool

    def poll(self, wait: float = 0.0) -> list[Item] | None: ...

    def close(self) -> list[Item]: ...


class Top(App[str]):
    """The application. `frames`: how often a second it looks; 0: only when told. Returns why it could not go on, if so."""

    ENABLE_COMMAND_PALETTE = False
    TITLE = "capture top"
    CSS = f"""
    Screen {{ background: {BASE}; }}
    #title, #status {{ height: 1; }}
    #body {{ height: 1fr; layout: vertical; }}
    #list {{ width: 100%; height: 3; }}
    #talk {{ width: 100%; height: 1fr; }}
    #body.wide {{ layout: horizontal; }}
    #body.wide #list {{ width: {BESIDE}; height: 100%; border-right: solid {CHOSEN}; }}
    #body.wide #talk {{ width: 1fr; height: 100%; }}
    #body.full #list {{ display: none; }}
    #ask {{ height: 1; display: none; background: {BAR}; }}
    .asked #ask {{ display: block; }}
    .asked #status {{ display: none; }}
    #label {{ width: auto; padding: 0 1; background: {BAR}; color: {COLOURS["tool"].split()[-1]}; }}
    #words, #words:focus {{ width: 1fr; height: 1; border: none; padding: 0; background: {BAR}; }}
    Help {{ align: center middle; background: {BASE} 60%; }}
    #help {{ width: 66; max-width: 100%; height: auto; max-height: 100%; padding: 0 2; background: {BAR}; border: round {ACCENT}; }}
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q,ctrl+q", "quit", "quit"),
        Binding("ctrl+c", "quit", "quit", priority=True),
        Binding("j,down", "step(1)", "next"),
        Binding("k,up", "step(-1)", "previous"),
        Binding("pagedown,space", "page(1)", "page down"),
        Binding("pageup,b", "page(-1)", "page up"),
        Binding("g,home", "beginning", "beginning"),
        Binding("G,end", "follow", "follow"),
        Binding("n", "find(1)", "next place"),
        Binding("N", "find(-1)", "previous place"),
        Binding("enter", "full", "full width"),
        Binding("escape", "leave", "leave"),
        Binding("slash", "ask('search')", "search"),
        Binding("f", "ask('filter')", "filter"),
        Binding("question_mark", "help", "help"),
    ]

    def __init__(
        self, following: Follows, desk: Desk, *, frames: int = FRAMES, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__()
        self.desk = desk
        self._source = following
        self._unread: deque[Item] = deque()
        self._frames = frames
        self._clock = clock
        self._looked = clock()
        self._drawn = (-1, 0.0)  # how many events were read when a frame was drawn last, and when that was
        self._catching_up = False  # reading goes on between two frames
        self._asks: Asks = "search"
        self._list_height = 0

    def compose(self) -> ComposeResult:
        yield TitleBar(self.desk, "title")
        with Container(id="body"):
            yield SessionList(self.desk, "list")
            yield Talk(self.desk, "talk")
        yield StatusBar(self.desk, "status")
        with Horizontal(id="ask"):
            yield Static(id="label")
            yield Input(id="words")

    def on_mount(self) -> None:
        self._list.focus()
        self.look()
        if self._frames:
            self.set_interval(1 / self._frames, self.look)
            for end in (signal.SIGTERM, signal.SIGHUP):
                asyncio.get_running_loop().add_signal_handler(end, self.exit)

    # -- frames ------------------------------------------------------------------------------------------------------------------

    def look(self) -> None:
        """One frame: reads what has come, draws what has changed; ages and states change once a second."""
        if not self._catching_up:
            self._catch_up()
        now = self._clock()
        waited, self._looked = now - self._looked, now
        news = self.desk.watch.draw(waited)
        self.desk.count(now)
        events, (drawn, then) = self.desk.watch.events, self._drawn
        if news or events != drawn or now - then >= 1 or not self._frames:
            self._drawn = events, now
            self.desk.look()
            self.show()

    def show(self) -> None:
        """Draws what has changed."""
        self._fit()
        for pane in self.query(Lines):
            pane.look()

    def _catch_up(self) -> None:
        """Reads, again and again until nothing is left; between times keys are looked at."""
        try:
            more = self._read()
        except Unusable as problem:
            self.exit(str(problem), return_code=2)
            return
        self._catching_up = more and self._frames > 0
        if self._catching_up:
            self.set_timer(PAUSE, self._catch_up)

    def _read(self) -> bool:
        """Feeds on what has come, for a while; whether there is more already."""
        until = self._clock() + WORK
        while not self.desk.over or self._unread:
            if not self._unread:
                items = self._source.poll()
                self.desk.over = items is None
                self._unread.extend(self._source.close() if items is None else items)
                if not self._unread and not self._source.behind:
                    break
            while self._unread:
                self.desk.watch.feed(self._unread.popleft())
                if self._clock() > until:
                    return True
        return False

    def _fit(self) -> None:
        """The list is as high as it needs to be, or stands beside the conversation."""
        wide = self.size.width >= WIDE
        self._body.set_class(wide, "wide")
        height = 0 if wide else max(min(len(self.desk.shown) + 1, int(self.size.height * ABOVE)), 2)
        if height != self._list_height:
            self._list_height = height
            self._list.styles.height = height or None

    def on_resize(self) -> None:
        self.show()

    def on_lines_changed(self) -> None:
        self.show()

    @property
    def _body(self) -> Container:
        return self.query_one("#body", Container)

    @property
    def _list(self) -> SessionList:
        return self.query_one(SessionList)

    @property
    def _talk(self) -> Talk:
        return self.query_one(Talk)

    # -- keys --------------------------------------------------------------------------------------------------------------------

    def action_step(self, by: int) -> None:
        if self._talk.has_focus:
            self._scroll(lambda pager: pager.move(by))
        else:
            self.desk.choose(self.desk.index + by)
            self.show()

    def action_page(self, by: int) -> None:
        self._scroll(lambda pager: pager.page(by))

    def action_beginning(self) -> None:
        self._scroll(Pager.to_beginning)

    def action_follow(self) -> None:
        self._scroll(Pager.follow)

    def action_find(self, by: int) -> None:
        self._scroll(lambda pager: pager.step(by))

    def _scroll(self, move: Callable[[Pager], None]) -> None:
        if self.desk.pager:
            move(self.desk.pager)
            self._talk.look()

    def action_full(self) -> None:
        full = self._body.toggle_class("full").has_class("full")
        (self._talk if full else self._list).focus()

    def action_help(self) -> None:
        self.push_screen(Help())

    def action_ask(self, what: Asks) -> None:
        """Asks in the last line for what is searched, or for the filter."""
        self._asks = what
        self.query_one("#label", Static).update(what)
        self.screen.add_class("asked")
        words = self.query_one(Input)
        words.value = self.desk.wanted if what == "filter" else ""
        words.focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        if self.screen.has_class("asked"):
            self._wants(event.value)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        self.screen.remove_class("asked")
        (self._list if self._asks == "filter" else self._talk).focus()
        self.show()

    def action_leave(self) -> None:
        """Ends what was begun last: a question in the last line, the search, the filter, full width."""
        if self.screen.has_class("asked"):
            self.screen.remove_class("asked")
            self._list.focus()
            self._wants("")
        elif self.desk.pager and self.desk.pager.wanted:
            self._scroll(lambda pager: pager.search(""))
        elif self.desk.wanted:
            self.desk.filter("")
        elif self._body.has_class("full"):
            self.action_full()
        self.show()

    def _wants(self, words: str) -> None:
        if self._asks == "filter":
            self.desk.filter(words)
        else:
            self._scroll(lambda pager: pager.search(words))
        self.show()
