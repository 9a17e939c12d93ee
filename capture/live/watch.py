"""Items of a log → the sessions and their conversations: all that `capture top` shows, without a screen."""

from collections.abc import Callable

from capture.costs import Price
from capture.live.board import Board
from capture.live.clock import Clock
from capture.live.conversation import Conversations
from capture.live.telling import Telling
from capture.scan import Item
from capture.turns import Pairing
from capture.updates import Asked, Update

MAX_AGENTS = 4096  # flows of sub-agents that are remembered


class Watch:
    """Feeds on items. `mine`: sessions that are wanted, by id; None: all."""

    def __init__(self, price: Price, mine: Callable[[str], bool] | None = None) -> None:
        self.board = Board(price)
        self.conversations = Conversations(self.board.home, self._agent_of)
        self.events = 0  # records and pieces so far
        self._mine = mine
        self._pairing = Pairing(events=True)
        self._telling = Telling(price)
        self._agents: dict[str, str] = {}  # by flow
        self._clock = Clock()

    def feed(self, item: Item) -> None:
        """Takes one item."""
        self.events += 1 if isinstance(item, dict) else item.count
        for update in self._pairing.feed(item):
            self._take(update)
        if isinstance(item, dict) and "outcome" in item:
            for update in self._pairing.forgotten():
                self._take(update)

    def draw(self, waited: float = 0.0) -> set[str]:
        """Sessions whose conversations have something new, after nothing came for so many seconds."""
        return self.conversations.turn(self._clock.wait(waited))

    def _take(self, update: Update) -> None:
        if self._mine is not None and not self._mine(_sid(update)):
            return
        self.board.feed(update)
        if isinstance(update, Asked) and update.exchange.agent:
            self._agents[update.exchange.flow_id] = update.exchange.agent
            if len(self._agents) > MAX_AGENTS:
                del self._agents[next(iter(self._agents))]
        for told in self._telling.feed(update):
            self.conversations.take(told, self._clock.reach(told.t))

    def _agent_of(self, flow_id: str) -> str | None:
        return self._agents.get(flow_id)


def _sid(update: Update) -> str:
    """The session that an update is about."""
    for name in ("exchange", "turn", "call", "part"):
        if (about := getattr(update, name, None)) is not None:
            return str(about.sid)
    record = getattr(update, "flow", None) or getattr(update, "end", {})
    return str(record.get("sid"))
