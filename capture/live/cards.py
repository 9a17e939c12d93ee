"""Cards: what each flow has said and nobody has seen yet, and how the flow is doing.

A *card* is all that one flow tells, or the prompts of one session. It speaks in *answers*, each from its first word to `done`: an
HTTP flow has one, a WebSocket many, and each prompt is one by itself. How a card is doing:

         ┌─────── HEARD (its next answer) ────────┐
         ▼                                        │
    streaming ─────────────── DONE ────────────▶ done
      │    ▲                                      ▲
    SILENT └── HEARD (revived) ──┐                │
      └───────────────────────▶ dead ─── DONE ────┘

Pure: times are seconds of the caller's clock, which never goes back.
"""

from collections import deque
from dataclasses import dataclass, field
from enum import Enum, auto
from heapq import heapify, heappop, heappush, heapreplace

MAX_IDS = 10_000  # of flows, and of sessions, whose numbers are remembered: more than a day of one user's work
ROOM = 64  # entries of a queue that may be out of date, before it is tidied


class State(Enum):
    """How a card is doing. The value is its rank where several wait: the lowest comes first."""

    STREAMING = 0
    DONE = 1
    DEAD = 2  # not done, but nothing was heard for long


class Signal(Enum):
    """What happens to a card."""

    HEARD = auto()
    DONE = auto()
    SILENT = auto()


S, X = State, Signal
NEXT = {  # what is right
    (S.STREAMING, X.HEARD): S.STREAMING,
    (S.STREAMING, X.DONE): S.DONE,
    (S.STREAMING, X.SILENT): S.DEAD,
    (S.DONE, X.HEARD): S.STREAMING,
    (S.DEAD, X.HEARD): S.STREAMING,
    (S.DEAD, X.DONE): S.DONE,
}
ODD = {  # what is not, by its name, and how it goes on
    (S.DONE, X.DONE): ("done_twice", S.DONE),
    (S.DONE, X.SILENT): ("silent_when_done", S.DONE),
    (S.DEAD, X.SILENT): ("silent_twice", S.DEAD),
}


def step(state: State, signal: Signal) -> tuple[State, str | None]:
    """(the state after a signal, what was odd about it)."""
    if (state, signal) in NEXT:
        return NEXT[state, signal], None
    name, after = ODD[state, signal]
    return after, name


@dataclass(slots=True, eq=False)
class Answer[T]:
    """What a card says in one go."""

    card: "Card[T]"
    items: list[tuple[str, T]] = field(default_factory=list)  # unseen, each with its time in the log
    first: int = 0  # place in time of the first unseen item, while it waits for the screen; 0: it does not wait
    finished: int = 0  # place in time of its end; 0: it goes on

    @property
    def state(self) -> State:
        return S.DONE if self.finished else self.card.state


@dataclass(slots=True, eq=False, weakref_slot=True)
class Card[T]:
    """What is known of one flow, or of the prompts of one session."""

    key: str  # flow id, or "prompts:" and the session's id
    owner: "Session[T]"
    number: int | None  # of the flow, in order of appearance, from 1; prompts are no flow
    last: float  # when it was last heard
    state: State = S.STREAMING
    revived: int = 0  # how often it was heard again after it was dead
    answer: Answer[T] = field(init=False)  # the last one
    on_screen: Answer[T] | None = None  # the one that is drawn as it comes
    waiting: deque[Answer[T]] = field(default_factory=deque)  # those that wait for the screen, in order

    def __post_init__(self) -> None:
        self.answer = Answer(self)

    @property
    def sid(self) -> str:
        return self.owner.sid

    @property
    def session(self) -> int:
        """The session's number."""
        return self.owner.number

    @property
    def is_prompts(self) -> bool:
        return self.number is None

    @property
    def unseen(self) -> list[tuple[str, T]]:
        """All that was heard and not drawn, in order."""
        answers = [self.on_screen, *self.waiting] if self.on_screen else self.waiting
        return [item for answer in answers for item in answer.items]

    def signal(self, signal: Signal) -> str | None:
        """Takes a signal in; what was odd about it."""
        if self.state is S.DEAD and signal is X.HEARD:
            self.revived += 1
        elif self.state is S.DONE and signal is X.HEARD:
            self.answer = Answer(self)
        self.state, odd = step(self.state, signal)
        return odd

    def age(self, now: float, dead_after: float) -> None:
        """It is dead when it streamed and was not heard for so long."""
        if self.state is S.STREAMING and now - self.last >= dead_after:
            self.signal(X.SILENT)


class Session[T]:
    """The cards of one conversation."""

    __slots__ = ("last", "number", "queue", "sid", "waiting")

    def __init__(self, sid: str, number: int, now: float) -> None:
        self.sid = sid
        self.number = number  # in order of appearance, from 1
        self.last = now  # when one of its cards was last heard
        self.waiting: dict[int, Answer[T]] = {}  # its answers that wait, by `first`, which is their order
        self.queue: Queue[T] = Queue()  # the same ones, the best first


class Queue[T]:
    """Answers that wait: the best is that of the best state, then the one that has waited longest.

    An answer whose state gets worse is found out when its turn comes; when it gets better it must be put in again.
    """

    __slots__ = ("_heap", "_room")

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, Answer[T]]] = []  # rank of the state, `first`
        self._room = ROOM

    def __len__(self) -> int:
        """How many entries there are, with those that are out of date."""
        return len(self._heap)

    def put(self, answer: Answer[T]) -> None:
        if len(self._heap) >= self._room:
            self._tidy()
        heappush(self._heap, (answer.state.value, answer.first, answer))

    def best(self, now: float, dead_after: float, but: Session[T] | None = None) -> Answer[T] | None:
        """The best that waits now. Those of a session that is not asked for are forgotten: put them in again."""
        while self._heap:
            rank, first, answer = self._heap[0]
            if answer.first != first or answer.card.owner is but:
                heappop(self._heap)
                continue
            answer.card.age(now, dead_after)
            if answer.state.value == rank:
                return answer
            heapreplace(self._heap, (answer.state.value, first, answer))
        return None

    def _tidy(self) -> None:
        """Takes out what waits no longer."""
        self._heap = [entry for entry in self._heap if entry[1] == entry[2].first]
        heapify(self._heap)
        self._room = 2 * len(self._heap) + ROOM


class Numbers:
    """Numbers in order of appearance, from 1. The oldest id is forgotten when there are too many: seen again, it is a new one."""

    def __init__(self, most: int = MAX_IDS) -> None:
        self._most = most
        self._count = 0
        self._of: dict[str, int] = {}

    def of(self, name: str) -> int:
        if name not in self._of:
            self._count += 1
            self._of[name] = self._count
            if len(self._of) > self._most:
                del self._of[next(iter(self._of))]
        return self._of[name]
