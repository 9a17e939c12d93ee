"""What cards show → one document for each session: who speaks is drawn, who waits is drawn when its turn comes."""

from collections.abc import Callable, Iterator

from capture.live.cards import Card, State
from capture.live.document import Document
from capture.live.inks import Ink, Put
from capture.live.items import Item
from capture.live.render import Look, Renderer
from capture.live.screen import Screen, Switch
from capture.live.telling import PROMPTS, Over, Told

MAX_LINES = 60_000  # of all documents together; the session longest silent loses its own first
SILENT = 2.0  # seconds without a word after which another flow of the session may be drawn in between
LINGER = 10.0  # seconds after its last word for which a session is looked at: cards may be waiting


class Conversation:
    """What is said in one session and by its sub-agents."""

    def __init__(self, sid: str, look: Look, agent: Callable[[str], str | None]) -> None:
        self.document = Document()
        self.heard = 0.0  # on the log's clock
        self._sid = sid
        self._look = look
        self._agent = agent
        self._screen: Screen[Item] = Screen(flush=SILENT)
        self._renderers: dict[str, Renderer] = {}
        self._shown: Card[Item] | None = None
        self._speaker: str | None = None  # the sub-agent whose words were drawn last

    def take(self, told: Told | Over, now: float) -> None:
        self.heard = now
        if isinstance(told, Over):
            self._screen.done(told.key, now)
        else:
            self._screen.heard(told.key, self._sid, told.t, told.item, now, prompts=told.key.startswith(PROMPTS))

    def turn(self, now: float) -> bool:
        """Draws what is to be drawn now; whether there was something."""
        drawn = [each for each in self._screen.turn(now) if not isinstance(each, Switch)]
        for card, items in drawn:
            self.document.draw(self._inks(card, items))
        self.document.draw(self._over())
        return bool(drawn)

    def _inks(self, card: Card[Item], items: list[tuple[str, Item]]) -> Iterator[Ink]:
        renderer = self._renderers.get(card.key)
        if renderer is None:
            renderer = self._renderers[card.key] = Renderer(self._look, card.key)
        if self._shown is not card:
            yield from self._left()
            self._shown = card
            yield from self._headed(card)
            yield from renderer.back()
        for t, item in items:
            yield from renderer.render(item, t)

    def _left(self) -> Iterator[Ink]:
        """Another card is drawn from now on."""
        yield from self._over()
        if self._shown is not None and (renderer := self._renderers.get(self._shown.key)):
            yield from renderer.leave()

    def _over(self) -> Iterator[Ink]:
        """The card that was drawn last needs its renderer no longer when all that it said is drawn."""
        card = self._shown
        if card is not None and card.state is State.DONE and not card.unseen and card.key in self._renderers:
            yield from self._renderers.pop(card.key).leave()

    def _headed(self, card: Card[Item]) -> Iterator[Ink]:
        """Cards stand apart; a line says when somebody else speaks."""
        self.document.space()
        if card.is_prompts:
            self._speaker = None
            return
        speaker = self._agent(card.key)
        if speaker != self._speaker:
            yield Put(f"── {f'sub-agent {speaker}' if speaker else 'the agent itself'} ──\n", "quiet")
        self._speaker = speaker


class Conversations:
    """Those of all sessions, within bounds. `home`: the session in whose conversation a session is shown."""

    def __init__(self, home: Callable[[str], str], agent: Callable[[str], str | None]) -> None:
        self.columns = 80  # of the window that they are shown in
        self._home = home
        self._agent = agent
        self._look = Look(width=lambda: self.columns)
        self._all: dict[str, Conversation] = {}  # the one last heard of at the end
        self._warm: dict[str, Conversation] = {}  # those that may have something to draw

    def take(self, told: Told | Over, now: float) -> None:
        sid = self._home(told.sid)
        conversation = self._all.pop(sid, None) or Conversation(sid, self._look, self._agent)
        self._all[sid] = self._warm[sid] = conversation
        conversation.take(told, now)

    def turn(self, now: float) -> set[str]:
        """Draws what is to be drawn now; the sessions that have something new."""
        found = {sid for sid, conversation in self._warm.items() if conversation.turn(now)}
        self._warm = {sid: each for sid, each in self._warm.items() if now - each.heard < LINGER}
        self._forget()
        return found

    def document(self, sid: str) -> Document | None:
        conversation = self._all.get(sid)
        return conversation.document if conversation else None

    def _forget(self) -> None:
        lines = sum(len(each.document.lines) for each in self._all.values())
        while lines > MAX_LINES and len(self._all) > 1:
            oldest = next(iter(self._all))
            lines -= len(self._all.pop(oldest).document.lines)
            self._warm.pop(oldest, None)
