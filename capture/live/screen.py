"""Which card is on the screen: one at a time, so that many agents can be read in one terminal.

Priority decides between sessions, time decides within one.

- Between sessions: streaming before done before dead, then what has waited longest. Another session takes the screen only when
  nothing was heard of the shown one for `guard` seconds.
- Within the session that is shown: when the shown answer is done or dead, the next one takes the screen at once; while it streams,
  only when it has been silent for `flush` seconds. An answer that goes on is not interrupted, not even by a prompt.
- What was finished before the chosen answer's first unseen item is printed whole before it, oldest first. So a prompt comes before
  all of an answer that began after it, and the answers of one socket come in order, each under its prompt.
- While something streams on the screen, the others are looked at only every `flush` seconds.

Every item that was heard is drawn once, in the order of its card. Pure: the clock is an argument and never goes back.
Work for a delta does not depend on how many cards there are; a switch takes log(answers that wait).
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from capture.live.cards import Answer, Card, Numbers, Queue, Session, Signal, State

ROOM = 256  # cards in memory before those that are over are forgotten
GONE = 600  # seconds without a word after which a card that never was done is forgotten, when all of it is drawn

FIRST = "first card"
DONE = "the shown card is done"
BEFORE = "printed whole before the one that follows"
END = "nothing else is left: the log ends"


@dataclass(frozen=True, slots=True)
class Switch:
    """Another card takes the screen."""

    at: float  # seconds, of the caller's clock
    before: str | None  # key of the card that leaves it
    to: str
    sid: str  # session of the card that takes it
    why: str
    waiting: int  # other cards with something unseen


type Drawn[T] = Switch | tuple[Card[T], list[tuple[str, T]]]


class Screen[T]:
    """Feeds on items and ends of flows; says at each turn what is to be drawn.

    `guard`: quiet seconds of the shown session before another may take the screen; `flush`: seconds between looks at the others
    while something streams, and silence after which another flow of the session may take it; `dead_after`: seconds of silence
    after which a card is dead.
    """

    def __init__(self, guard: float = 2.0, flush: float = 0.5, dead_after: float = 5.0) -> None:
        self.cards: dict[str, Card[T]] = {}  # by key; those that are over are forgotten after a while
        self.odd: Counter[str] = Counter()  # what should not happen to a card: how often, by name
        self._guard = guard
        self._flush = flush
        self._dead_after = dead_after
        self._sessions: dict[str, Session[T]] = {}
        self._others: Queue[T] = Queue()  # answers that wait, of all sessions but the shown one
        self._shown: Answer[T] | None = None
        self._look = 0.0  # when the others are looked at again, while something streams on the screen
        self._now_in_time = 0  # counts beginnings and ends of waiting answers: their places in time
        self._waiting = 0  # cards with something that waits
        self._flow_numbers = Numbers()
        self._session_numbers = Numbers()
        self._room = ROOM

    @property
    def shown(self) -> Card[T] | None:
        """The card on the screen."""
        return self._shown.card if self._shown else None

    # -- what is heard -----------------------------------------------------------------------------------------------------------

    def heard(self, key: str, sid: str, t: str, item: T, now: float, prompts: bool = False) -> None:
        """An item of a card, with its time in the log. Prompts are answers by themselves and done at once."""
        card = self.cards.get(key)
        if card is None:
            card = self._new(key, sid, now, prompts)
        elif card.state is not State.STREAMING or now - card.last >= self._dead_after:
            self._again(card, now)
        card.last = card.owner.last = now
        answer = card.answer
        answer.items.append((t, item))
        if not answer.first and answer is not self._shown:
            self._wait(answer)
        if prompts:
            self.done(key, now)

    def done(self, key: str, now: float) -> None:
        """The card's answer is over. `now` is when."""
        card = self.cards.get(key)
        if card is None:
            self.odd["done_unheard"] += 1  # nothing of it is to be shown, or it is forgotten
            return
        card.age(now, self._dead_after)
        if card.state is not State.DONE:
            card.answer.finished = self._place()
        was_dead = card.state is State.DEAD
        self._signal(card, Signal.DONE)
        if was_dead:
            self._better(card.answer)

    def _new(self, key: str, sid: str, now: float, prompts: bool) -> Card[T]:
        if len(self.cards) >= self._room:
            self._forget(now)
        session = self._sessions.get(sid)
        if session is None:
            session = self._sessions[sid] = Session(sid, self._session_numbers.of(sid), now)
        card = self.cards[key] = Card(key, session, None if prompts else self._flow_numbers.of(key), now)
        return card

    def _again(self, card: Card[T], now: float) -> None:
        """A card is heard that was done or dead."""
        card.age(now, self._dead_after)
        was_dead = card.state is State.DEAD
        self._signal(card, Signal.HEARD)
        if was_dead:
            self._better(card.answer)

    def _signal(self, card: Card[T], signal: Signal) -> None:
        odd = card.signal(signal)
        if odd:
            self.odd[odd] += 1

    def _place(self) -> int:
        self._now_in_time += 1
        return self._now_in_time

    # -- what waits --------------------------------------------------------------------------------------------------------------

    def _wait(self, answer: Answer[T]) -> None:
        """Its first unseen item was heard."""
        answer.first = self._place()
        self._waiting += not answer.card.waiting
        answer.card.waiting.append(answer)
        answer.card.owner.waiting[answer.first] = answer
        self._better(answer)

    def _better(self, answer: Answer[T]) -> None:
        """It waits, and its state is better than it was."""
        if answer.first:
            session = answer.card.owner
            session.queue.put(answer)
            if self._shown is None or session is not self._shown.card.owner:
                self._others.put(answer)

    def _wait_no_more(self, answer: Answer[T]) -> None:
        card = answer.card
        del card.owner.waiting[answer.first]
        card.waiting.popleft()  # the answers of a card are drawn in order
        self._waiting -= not card.waiting
        answer.first = 0

    def _forget(self, now: float) -> None:
        """Forgets the cards that are over and drawn, and the sessions that have no others. Their numbers are kept."""
        self.cards = {key: card for key, card in self.cards.items() if self._is_needed(card, now)}
        self._sessions = {card.sid: card.owner for card in self.cards.values()}
        self._room = max(ROOM, 2 * len(self.cards))

    def _is_needed(self, card: Card[T], now: float) -> bool:
        goes_on = card.state is not State.DONE and now - card.last < GONE
        return goes_on or bool(card.waiting) or card is self.shown

    # -- what is drawn -----------------------------------------------------------------------------------------------------------

    def turn(self, now: float) -> Iterator[Drawn[T]]:
        """What is to be drawn now, in order: switches, and items of the card that has the screen."""
        if self._shown and self._shown.items:
            yield self._shown.card, _taken(self._shown)
        while self._waiting and (choice := self._choose(now)):
            yield from self._take(*choice, now)

    def close(self, now: float) -> Iterator[Drawn[T]]:
        """All that is left, as `turn`: nobody waits any more."""
        if self._shown and self._shown.items:
            yield self._shown.card, _taken(self._shown)
        while answer := self._mine(now) or self._best_other(now):
            yield from self._take(answer, END, now)

    def _choose(self, now: float) -> tuple[Answer[T], str] | None:
        """(the answer that takes the screen now, why)."""
        shown = self._shown
        if shown is None:
            answer = self._best_other(now)
            return (answer, FIRST) if answer else None
        shown.card.age(now, self._dead_after)
        if shown.state is State.STREAMING and not self._is_time_to_look(now):
            return None
        why = self._may_follow(shown, now)
        if why and (answer := self._mine(now)):
            return answer, why
        quiet = now - shown.card.owner.last
        if quiet >= self._guard and (answer := self._best_other(now)):
            return answer, f"session quiet for {quiet:.1f} s"
        return None

    def _is_time_to_look(self, now: float) -> bool:
        if now < self._look:
            return False
        self._look = now + self._flush
        return True

    def _may_follow(self, shown: Answer[T], now: float) -> str | None:
        """Why another answer of the shown session may take the screen; None: it may not."""
        silent = now - shown.card.last
        match shown.state:
            case State.DONE:
                return DONE
            case State.DEAD:
                return f"the shown card is dead: silent for {silent:.1f} s"
            case State.STREAMING:
                return f"same session, shown card silent for {silent:.1f} s" if silent >= self._flush else None

    def _mine(self, now: float) -> Answer[T] | None:
        """The best that waits in the shown session."""
        return self._shown.card.owner.queue.best(now, self._dead_after) if self._shown else None

    def _best_other(self, now: float) -> Answer[T] | None:
        """The best that waits in the other sessions."""
        return self._others.best(now, self._dead_after, self._shown.card.owner if self._shown else None)

    def _take(self, chosen: Answer[T], why: str, now: float) -> Iterator[Drawn[T]]:
        """The chosen answer takes the screen, after what its session finished before it."""
        earlier = _finished_before(chosen)
        for answer in earlier:
            yield from self._show(answer, f"{why}; {BEFORE}" if answer is earlier[0] else BEFORE, now)
        yield from self._show(chosen, DONE if earlier else why, now)

    def _show(self, answer: Answer[T], why: str, now: float) -> Iterator[Drawn[T]]:
        """An answer is on the screen with all that is unseen of it."""
        before, card = self._shown.card if self._shown else None, answer.card
        self._wait_no_more(answer)
        if before:
            before.on_screen = None
        self._shown = card.on_screen = answer
        self._look = now + self._flush
        if before and before.owner is not card.owner:
            for left in before.owner.waiting.values():
                self._others.put(left)
        if card is not before:
            yield Switch(now, before.key if before else None, card.key, card.sid, why, self._waiting - bool(card.waiting))
        if answer.items:
            yield card, _taken(answer)


def _finished_before[T](chosen: Answer[T]) -> list[Answer[T]]:
    """The answers of its session that wait and were over before its first unseen item, oldest first."""
    if chosen.state is not State.STREAMING:
        return []  # it is the oldest of those that are over, or none is
    earlier = []
    for first, answer in chosen.card.owner.waiting.items():
        if first >= chosen.first:
            break
        if 0 < answer.finished < chosen.first:
            earlier.append(answer)
    return earlier


def _taken[T](answer: Answer[T]) -> list[tuple[str, T]]:
    items, answer.items = answer.items, []
    return items
