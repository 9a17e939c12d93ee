"""What somebody looks at: which sessions are listed, which one is selected, where they are in its conversation."""

from collections import deque
from collections.abc import Callable

from capture.live.board import Session, State
from capture.live.listing import MARKS, matches, price
from capture.live.pager import Pager
from capture.live.spans import Span
from capture.live.watch import Watch

RATE = 2.0  # seconds over which events are counted


class Desk:
    """The state of `capture top` but for its screen. `now`: the time as the log writes it. `home`: the user's directory."""

    def __init__(self, watch: Watch, source: str, home: str, now: Callable[[], str]) -> None:
        self.watch = watch
        self.source = source
        self.home = home
        self.now = now
        self.over = False  # the source has ended
        self.wanted = ""  # the filter
        self.shown: list[Session] = []
        self.pager: Pager | None = None  # on the conversation of the selected session
        self._all: list[Session] = []
        self._chosen: str | None = None
        self._counts: deque[tuple[float, int]] = deque([(0.0, 0)])

    def look(self) -> None:
        """Takes in what has changed; a session that is not shown any more is not selected."""
        self._all = self.watch.board.sessions(self.now())
        self.shown = [each for each in self._all if matches(each, self.wanted, self.home)] if self.wanted else self._all
        if self.session is None:
            self._chosen = self.shown[0].sid if self.shown else None
        self._open()

    @property
    def index(self) -> int:
        """The line of the selected session."""
        return next((at for at, each in enumerate(self.shown) if each.sid == self._chosen), 0)

    @property
    def session(self) -> Session | None:
        """The selected one."""
        return next((each for each in self.shown if each.sid == self._chosen), None)

    def choose(self, index: int) -> None:
        """Selects a session by its line, or the one nearest to it."""
        if self.shown:
            self._chosen = self.shown[max(0, min(index, len(self.shown) - 1))].sid
            self._open()

    def filter(self, wanted: str) -> None:
        """Lists only sessions that hold these words."""
        self.wanted = wanted
        self.look()

    def _open(self) -> None:
        """The conversation of the selected session, from its end; what was searched is searched there too."""
        document = self.watch.conversations.document(self._chosen) if self._chosen else None
        if document is (self.pager.document if self.pager else None):
            return
        wanted = self.pager.wanted if self.pager else ""
        self.pager = Pager(document) if document else None
        if self.pager and wanted:
            self.pager.search(wanted)
            self.pager.follow()

    # -- what all do together ----------------------------------------------------------------------------------------------------

    def count(self, at: float) -> None:
        """Counts events; `at`: seconds of a clock."""
        self._counts.append((at, self.watch.events))
        while at - self._counts[0][0] > RATE:
            self._counts.popleft()

    @property
    def rate(self) -> float:
        """Events a second."""
        (first, before), (last, after) = self._counts[0], self._counts[-1]
        return (after - before) / (last - first) if last > first else 0.0

    def summary(self) -> list[Span]:
        """How many there are, how they are doing, what they cost."""
        now = self.now()
        states = [session.state(now) for session in self._all]
        spans: list[Span] = [(f"{len(states)} session{'s' * (len(states) != 1)}  ", "plain")]
        for state in (State.WORKING, State.WAITING, State.FAILED):
            if count := states.count(state):
                mark, style, _ = MARKS[state]
                spans.append((f"{mark} {count}  ", style))
        spans.append(("the end  " if self.over else f"{self.rate:,.0f}/s  ", "quiet"))
        whole = Session("", 0, cost=sum(each.cost for each in self._all), unpriced=sum(each.unpriced for each in self._all))
        return [*spans, (f"{price(whole)} ", "value")]
