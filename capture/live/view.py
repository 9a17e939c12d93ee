"""Items of a log → what a terminal is sent. The clock is the log's own, moved on by whoever waits."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby

from capture.costs import Price
from capture.live.cards import Card, State
from capture.live.clock import Clock
from capture.live.inks import Fresh, Ink, Put
from capture.live.items import ArgumentsPiece, Item, Spoken
from capture.live.render import Look, Renderer
from capture.live.screen import Screen, Switch
from capture.live.telling import PROMPTS, Only, Over, Telling, Told, no_price
from capture.live.terminal import Terminal
from capture.scan import Item as Read
from capture.turns import Pairing

WHOLE = 10  # characters of an id; who asks for more gets all of it


@dataclass(frozen=True, slots=True)
class Choice:
    """What is shown, and how."""

    look: Look
    guard: float = 2.0  # seconds a session must be quiet before another one takes the screen
    flush: float = 0.5  # seconds between two looks at the cards that wait
    dead_after: float = 5.0  # seconds without a delta
    ids: int = 5  # characters of an id that the session line shows
    only: Only | None = None  # items that are wanted; None: all
    mine: Callable[[str], bool] | None = None  # sessions that are wanted, by id; None: all


class View:
    """Feeds on items; see the module. `decided`: told why each switch was made."""

    def __init__(
        self, choice: Choice, terminal: Terminal, price: Price = no_price, decided: Callable[[Switch], None] | None = None
    ) -> None:
        self._choice = choice
        self._terminal = terminal
        self._decided = decided
        self._pairing = Pairing(events=True)
        self._telling = Telling(price)
        self._screen: Screen[Item] = Screen(choice.guard, choice.flush, choice.dead_after)
        self._renderers: dict[str, Renderer] = {}  # of cards on their way to the screen, by key
        self._shown: Card[Item] | None = None
        self._headings = False  # something was drawn
        self._clock = Clock()

    def feed(self, items: Iterable[Read]) -> str:
        """What the terminal is to be sent after some items."""
        inks: list[Ink] = []
        for item in items:
            something = False
            for update in self._pairing.feed(item):
                for told in self._telling.feed(update):
                    self._take(told)
                    something = True
            if isinstance(item, dict) and "outcome" in item:
                for update in self._pairing.forgotten():
                    for told in self._telling.feed(update):
                        self._take(told)
            if something:
                inks += self._turn()
        return self._terminal.draw(inks)

    def wait(self, seconds: float) -> str:
        """What it is to be sent when nothing came for so long."""
        self._clock.wait(seconds)
        return self._terminal.draw(self._turn())

    def close(self) -> str:
        """What it is to be sent when nothing more comes."""
        for update in self._pairing.close():
            for told in self._telling.feed(update):
                self._take(told)
        inks = list(self._inks(self._screen.close(self._clock.now)))
        inks += self._left(None)
        return self._terminal.draw(inks) + self._terminal.close()

    def _take(self, told: Told | Over) -> None:
        choice = self._choice
        if choice.mine and not choice.mine(told.sid):
            return
        now = self._clock.reach(told.t)
        if isinstance(told, Over):
            self._screen.done(told.key, now)
        elif choice.only is None or choice.only(told.item):
            self._screen.heard(told.key, told.sid, told.t, told.item, now, prompts=told.key.startswith(PROMPTS))

    def _turn(self) -> Iterator[Ink]:
        return self._inks(self._screen.turn(self._clock.now))

    def _inks(self, drawn: Iterable[Switch | tuple[Card[Item], list[tuple[str, Item]]]]) -> Iterator[Ink]:
        for each in drawn:
            if isinstance(each, Switch):
                if self._decided:
                    self._decided(each)
                continue
            card, items = each
            renderer = self._renderers.get(card.key)
            if renderer is None:
                renderer = self._renderers[card.key] = Renderer(self._choice.look, card.key)
            if self._shown is not card:
                yield from self._left(card)
                yield from self._headed(card, items[0][0] if items else "")
                yield from renderer.back()
            for t, item in items if self._choice.look.show_deltas else joined(items):
                yield from renderer.render(item, t)

    def _left(self, following: Card[Item] | None) -> Iterator[Ink]:
        """The card that was shown goes off the screen; what is done needs its renderer no longer."""
        card, self._shown = self._shown, following
        if card is not None and (renderer := self._renderers.get(card.key)):
            yield from renderer.leave()
            if card.state is State.DONE and not card.unseen:
                del self._renderers[card.key]

    def _headed(self, card: Card[Item], t: str) -> Iterator[Ink]:
        """The session line: `[s:2b856 (#17) f:20184 (#18) c:0.25k 2025-11-11 17:07:03]`, with some air above it."""
        yield Fresh()
        yield Put("\n" * self._headings + f"[{self._names(card)} {t[:19].replace('T', ' ')}]\n", "quiet")
        self._headings = True

    def _names(self, card: Card[Item]) -> str:
        session = f"s:{self._short(card.sid)} (#{card.session})"
        if card.is_prompts:
            return session
        tokens = self._telling.context.get(card.sid)
        context = f"{tokens / 1000:.2f}k" if tokens is not None else "?"
        return f"{session} f:{self._short(card.key)} (#{card.number}) c:{context}"

    def _short(self, name: str) -> str:
        return name if self._choice.ids > WHOLE else name[-self._choice.ids :]


def joined(items: list[tuple[str, Item]]) -> list[tuple[str, Item]]:
    """The items, pieces of one block that follow each other as one: what waited is drawn at once."""
    if len(items) < 2:
        return items
    found: list[tuple[str, Item]] = []
    for block, group in groupby(items, lambda each: _block(each[1])):
        run = list(group)
        found += run if block is None or len(run) == 1 else [(run[0][0], _one([item for _, item in run]))]
    return found


def _block(item: Item) -> tuple[str, ...] | None:
    """Which block an item is a piece of; None for what is no piece."""
    match item:
        case Spoken(voice, _, key):
            return voice, key
        case ArgumentsPiece(key):
            return (key,)
        case _:
            return None


def _one(pieces: list[Item]) -> Item:
    """Pieces of one block as one."""
    told = [piece for piece in pieces if isinstance(piece, (Spoken, ArgumentsPiece))]
    text, deltas, first = "".join(piece.text for piece in told), sum(piece.deltas for piece in told), told[0]
    if isinstance(first, Spoken):
        return Spoken(first.voice, text, first.key, deltas)
    return ArgumentsPiece(first.key, text, deltas)
