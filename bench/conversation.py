"""A request body that grows with its conversation, recorded by reference as our recorder does it."""

import hashlib

from bench import asking
from bench.story import Agent, Client, Session
from capture import parts as parts_of


class Conversation:
    """A request body that grows: its text by its hash, its template, the parts that nobody has recorded yet."""

    def __init__(self, client: Client, session: Session, model: str, *, tools: bool = True, agent: Agent | None = None) -> None:
        self.client = client
        self.field, self.before, self.behind = asking.frame_of(client, session, model, tools, agent)
        self.items: list[str] = []  # references
        self.history: list[str] = []  # texts of all items, also of those that the server knows already
        self.parts: list[parts_of.Part] = []  # of the items, since the last request
        self.fixed: list[parts_of.Part] = []  # system prompt, tools
        self._fixed_templates = [self._split_fields(self.before), self._split_fields(self.behind)]
        self._hash = hashlib.sha256(("{" + self._fill(self.before, 0) + f'"{self.field}":[').encode())
        self._last = ""  # the text of the last item
        self.requests = 0
        for item in asking.opening(client, session):
            self.add(item)

    def _split_fields(self, text: str) -> str:
        body = text.replace("%PREVIOUS%", "").replace("%CCH%", "0")
        split = parts_of.split("{" + (body[1:] if body.startswith(",") else body.rstrip(",") + "}"))
        self.fixed += split.parts
        template = split.template[1:-1]
        return f",{template}}}" if text.startswith(",") else template and template + ","

    def _fill(self, text: str, number: int) -> str:
        return text.replace("%CCH%", f"{number:05d}").replace("%PREVIOUS%", "")

    def add(self, item: str) -> None:
        split = parts_of.split(f'{{"{self.field}":[{item}]}}')
        self.parts += split.parts
        self.history.append(item)
        if self.items:
            self._hash.update((self._last + ",").encode())
        self._last = item
        self.items.append(split.template[len(self.field) + 5 : -2])

    def request(self, previous: str | None = None) -> tuple[list[parts_of.Part], str, str]:
        """(parts, template, sha256 of the text) of a request with all that was said so far."""
        self.requests += 1
        new, self.parts = [*self.fixed, *self.parts], []
        last, reference = self._last, self.items[-1] if self.items else ""
        if self.client.vocabulary == "anthropic" and last.endswith("}]}"):  # the marker wanders with the last block
            last = last[:-3] + ',"cache_control":{"type":"ephemeral"}}]}'
            reference = parts_of.split(f'{{"messages":[{last}]}}').template[len(self.field) + 5 : -2]
        number = f"{self.requests:05d}"
        behind = self._fixed_templates[1]
        if "%CCH%" in self.behind:
            behind = behind.replace("cch=0;", f"cch={number};")
        template = "{" + self._fixed_templates[0] + f'"{self.field}":[' + ",".join([*self.items[:-1], reference]) + "]" + behind
        whole = self._hash.copy()
        whole.update((last + "]" + self._fill(self.behind, self.requests)).encode())
        return new, template, whole.hexdigest()

    def forget(self) -> None:
        """The next request carries only what is new (WebSocket)."""
        self.items, self._last = [], ""

    def begin_again(self) -> None:
        """The next request carries everything: its socket is a new one."""
        self.items, self.parts, self._last = [], [], ""
        history, self.history = self.history, []
        for item in history:
            self.add(item)
