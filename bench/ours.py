"""A story as our own recorder would have written it."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import cycle

from bench import asking, wording
from bench.conversation import Conversation
from bench.flows import HUGE, INLINE, Flow, Journal, damaged
from bench.story import Agent, Call, Exchange, Session, Turn, Usage
from bench.telling import Line, Told, Truth, added, local
from bench.wording import dumps, short

GAPS = (12, 31, 18, 44, 25, 9, 37, 22)  # ms between frames
WAIT = 300  # ms from a request to the first byte
OUTCOMES = {"complete": "complete", "cut": "server_closed", "interrupted": "client_closed", "broken": "error", "limited": "error"}
LAST_WORDS = {"anthropic": "message_stop", "responses": "response.completed", "chat": "[DONE]", "gemini": "finishReason"}


class Teller:
    """Tells one session. `truth` has what is true of it afterwards, `at` when it was over."""

    def __init__(self, session: Session, at: int, truth: Truth, nasty: bool, huge: bool = False, defective: bool = False) -> None:
        self.session, self.client, self.truth, self.nasty, self.huge = session, session.client, truth, nasty, huge
        self.defective = defective  # some of its records are damaged in ways that `check` must find
        self.at = at
        self.journal = Journal(session, nasty)
        self._flows = 0
        self._gaps = cycle(GAPS)
        self._socket: Flow | None = None
        self._asked = 0  # exchanges on the socket
        self._previous: str | None = None

    def tell(self) -> Iterator[Line]:
        """All records of the session, in time."""
        conversation = Conversation(self.client, self.session, self.client.model)
        if self.client.socket:
            self._prewarm(conversation)
        for number, turn in enumerate(self.session.turns, 1):
            self.at += turn.pause
            self._turn(turn, number, conversation)
        if self._socket:
            self._close_socket()
        lines = sorted(self.journal.lines)
        return iter(damaged(lines, self.truth) if self.defective else lines)

    # -- turns --------------------------------------------------------------------------------------------------------------

    def _turn(self, turn: Turn, number: int, conversation: Conversation) -> None:
        last = number == len(self.session.turns)
        if self.huge and number == 1:
            turn.exchanges[0].calls[0].result = "\\" * 3072 + '"x" ' * (HUGE // 4)
        if self.huge and number == 2:
            turn.exchanges[0].calls[0].result = "né " * (INLINE // 3)
        for item in asking.asked(self.client, turn.prompt, number == 1):
            conversation.add(item)
        began = self.at
        told: list[Told] = []
        calls: list[Call] = []
        agents: list[str] = []
        work: list[Told] = []
        if number == 1 and self.session.title:
            self._title(self.session.title, turn.prompt, began)
        for exchange in turn.exchanges:
            done = self.exchange(exchange, conversation)
            told.append(done)
            self.truth.exchange(self.session, done, turn=number)
            if exchange.end == "complete":
                for item in asking.answered(self.client, exchange, done.flow_id + str(done.number)):
                    if self.client.socket:
                        conversation.history.append(item)
                    else:
                        conversation.add(item)
                for call in exchange.calls:
                    if call.agent:
                        work += self._agent(call.agent, number, calls)
                        agents.append(call.agent.agent_id)
                for item in asking.results(self.client, exchange.calls):
                    conversation.add(item)
                if self.defective and exchange is turn.exchanges[0]:
                    self._strange_results(exchange, conversation, number)
                self.at += round(1000 * max((call.seconds for call in exchange.calls), default=0))
            elif exchange.end == "interrupted":
                for item in asking.stopped(self.client, exchange):
                    conversation.add(item)
            calls += [call for call in exchange.calls if call.complete]
        self._turn_truth(turn, number, told, work, calls, agents, last)
        if self.client.socket and told[-1].exchange.end in ("interrupted", "broken"):
            self._close_socket()

    def _strange_results(self, exchange: Exchange, conversation: Conversation, number: int) -> None:
        """A second result for a call, and one for a call that nobody made."""
        call = exchange.calls[0]
        stray = replace(call, call_id=f"toolu_stray{number}", result="out of nowhere")
        for defect, each in (("second_result", replace(call, result="a second time")), ("stray_result", stray)):
            for item in asking.results(self.client, [each]):
                conversation.add(item)
            self.truth.add("defects", defect=defect, sid=self.session.sid, call_id=each.call_id)

    def _turn_truth(
        self, turn: Turn, number: int, told: list[Told], work: list[Told], calls: list[Call], agents: list[str], last: bool
    ) -> None:
        final = told[-1]
        outcome = {"complete": "idle", "interrupted": "interrupted", "broken": "failed"}[final.exchange.end]
        if last and self.session.left:
            outcome = "open"
        idle = local(final.ended) if outcome == "idle" else None
        flow_id, sid = told[0].flow_id, self.session.sid
        self.truth.add("prompts", t=local(told[0].asked), sid=sid, text=turn.prompt, flow_id=flow_id)
        self.truth.add(
            "turns",
            sid=sid,
            number=number,
            t=local(told[0].asked),
            text=turn.prompt,
            plot=turn.plot,
            idle_t=idle,
            duration_ms=final.ended - told[0].asked if idle else None,
            outcome=outcome,
            answer=next(each.exchange.text for each in reversed(told) if each.exchange.texts),
            usage=added(wording.reported(self.client.vocabulary, each.exchange) for each in (*told, *work)),
            flows=sorted({each.flow_id for each in (*told, *work)}),
            exchanges=len(told) + len(work),
            calls=[call.call_id for call in calls],
            agents=agents,
        )
        if idle:
            self.truth.add("idle", t=idle, sid=sid, flow_id=final.flow_id)

    def _title(self, exchange: Exchange, prompt: str, at: int) -> None:
        """A background call that runs beside the first exchange."""
        conversation = Conversation(self.client, self.session, self.client.small, tools=False)
        conversation.add(dumps({"role": "user", "content": [{"type": "text", "text": f"Name this: {prompt}"}]}))
        now, self.at = self.at, at + 40
        told = self.exchange(exchange, conversation, small=True)
        self.truth.exchange(self.session, told, background="auxiliary", turn=None)
        self.at = now

    def _agent(self, agent: Agent, turn: int, calls: list[Call]) -> list[Told]:
        conversation = Conversation(self.client, self.session, self.client.small, agent=agent)
        conversation.add(dumps({"role": "user", "content": [{"type": "text", "text": agent.prompt}]}))
        done = []
        for exchange in agent.exchanges:
            told = self.exchange(exchange, conversation, agent=agent)
            done.append(told)
            self.truth.exchange(self.session, told, agent=agent.agent_id, turn=turn)
            for item in (
                *asking.answered(self.client, exchange, told.flow_id + str(told.number)),
                *asking.results(self.client, exchange.calls),
            ):
                conversation.add(item)
            calls += exchange.calls
            self.at += round(1000 * max((call.seconds for call in exchange.calls), default=0))
        self.truth.add("agents", sid=self.session.sid, agent=agent.agent_id, kind=agent.kind, turn=turn, exchanges=len(done))
        return done

    # -- exchanges ----------------------------------------------------------------------------------------------------------

    def exchange(self, exchange: Exchange, conversation: Conversation, *, small: bool = False, agent: Agent | None = None) -> Told:
        """Tells an exchange; afterwards it is as late as it took."""
        if self.client.socket and exchange.end != "limited":
            return self._on_socket(exchange, conversation)
        flow = self._flow(agent)
        parts, template, sha256 = conversation.request()
        self.at += WAIT
        told = Told(exchange, flow.flow_id, 0, flow.began)
        flow.parts(parts, self.at)
        if exchange.end == "limited":
            return self._limited(told, flow, template, sha256)
        flow.opened(template, sha256, self.at, small=small)
        self._frames(told, flow)
        failed = exchange.end == "broken"
        terminal = LAST_WORDS[self.client.vocabulary] if exchange.end == "complete" else None
        if failed:
            terminal = wording.error(self.client.vocabulary)[0]
        flow.ended(self.at, OUTCOMES[exchange.end], terminal)
        self.truth.add("flows", sid=self.session.sid, flow_id=flow.flow_id, text=exchange.text, outcome=OUTCOMES[exchange.end])
        self._error_truth(told, 200)
        return told

    def _limited(self, told: Told, flow: Flow, template: str, sha256: str) -> Told:
        event, payload = wording.limited(self.client.vocabulary)
        flow.opened(template, sha256, self.at, status=429)
        flow.line(event, payload, self.at)
        flow.ended(self.at, "error", event)
        told.ended = told.first = self.at
        self.truth.add("flows", sid=self.session.sid, flow_id=flow.flow_id, text="", outcome="error")
        self._error_truth(told, 429)
        self.at += 1000
        return told

    def _error_truth(self, told: Told, status: int) -> None:
        if told.exchange.end in ("limited", "broken"):
            self.truth.add("errors", sid=self.session.sid, flow_id=told.flow_id, status=status, end=told.exchange.end)

    def _frames(self, told: Told, flow: Flow) -> None:
        key = told.flow_id + str(told.number)
        at = self.at
        for event, payload in wording.answer(self.client, told.exchange, key, self.nasty):
            at += next(self._gaps)
            flow.line(event, payload, at)
            told.first = at if told.first is None else told.first
        told.ended = self.at = at
        self.at += 2  # the flow ends a little later than its last frame came

    def _flow(self, agent: Agent | None = None) -> Flow:
        self._flows += 1
        name = short(f"{self.session.sid}/{self._flows}", 32)
        return Flow(self.journal, f"{name[:8]}-{name[8:12]}-{name[12:16]}-{name[16:20]}-{name[20:]}", self.at, agent)

    # -- WebSocket ----------------------------------------------------------------------------------------------------------

    def _open_socket(self) -> Flow:
        self._socket = flow = self._flow()
        self._asked = 0
        self.at += WAIT
        flow.opened(None, None, self.at)
        self.truth.add("sockets", sid=self.session.sid, flow_id=flow.flow_id)
        return flow

    def _close_socket(self) -> None:
        if self._socket:
            self.at += 5
            self._socket.ended(self.at, *self._socket_end)
            self.truth.add(
                "flows", sid=self.session.sid, flow_id=self._socket.flow_id, text=self._socket_text, outcome=self._socket_end[0]
            )
            self._socket, self._socket_text = None, ""

    _socket_end: tuple[str, str | None] = ("complete", "response.completed")
    _socket_text = ""

    def _prewarm(self, conversation: Conversation) -> None:
        flow = self._open_socket()
        body = f'{{"type":"response.create","model":"{self.client.model}","input":[],"generate":false}}'
        flow.line("response.create", body, self.at, "out")
        empty = {"id": wording.response_id(flow.flow_id + "warm"), "object": "response", "model": self.client.model, "output": []}
        usage = {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}
        told = Told(Exchange(self.client.model, Usage(0, None, None, 0, None)), flow.flow_id, 0, self.at)
        for name, status in (("response.created", "in_progress"), ("response.completed", "completed")):
            self.at += next(self._gaps)
            flow.line(name, dumps({"type": name, "response": empty | {"status": status, "usage": usage}}), self.at)
        told.ended = self.at
        self._previous, self._asked = str(empty["id"]), 1
        self.truth.exchange(self.session, told, background="prewarm", turn=None)

    def _on_socket(self, exchange: Exchange, conversation: Conversation) -> Told:
        if not self._socket:
            conversation.begin_again()
            self._previous = None
        flow = self._socket or self._open_socket()
        parts, template, _ = conversation.request()
        self.at += 10
        told = Told(exchange, flow.flow_id, self._asked, self.at)
        if self._previous:
            template = template.replace('"input":', f'"previous_response_id":"{self._previous}","input":', 1)
        flow.parts(parts, self.at)
        flow.line("response.create", template, self.at, "out")
        self._asked += 1
        self._frames(told, flow)
        self._socket_text += exchange.text
        ends = {"complete": ("complete", "response.completed"), "broken": ("error", "error")}
        self._socket_end = ends.get(exchange.end, (OUTCOMES[exchange.end], None))
        self._error_truth(told, 101)
        if exchange.end == "complete":
            self._previous = wording.response_id(told.flow_id + str(told.number))
            conversation.forget()
        elif exchange.end == "cut":
            self._close_socket()
        return told
