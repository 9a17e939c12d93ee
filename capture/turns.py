"""Records → what was asked and what came of it: exchanges, tool calls, turns. One engine for live and for batch.

`Pairing.feed` takes the records of a log in their order and yields updates as soon as they are known; a batch run reads to the
end and keeps the finished ones. Everything that needs more than one flow is worked out here, once: which messages of a request
are new, which prompt they hold, which call a result belongs to, how long a tool took, which turn a sub-agent works for.

    flow record ──▶ request parts ──▶ frames ──▶ end record        (WebSocket: parts and frames again and again)
         └─ an exchange is asked ─┴─ is answered ─┘
    prompt ──▶ exchange ──▶ tool results in the next request ──▶ … ──▶ an answer without calls: idle

Nothing here needs all records: a log with gaps, or a reader that leaves out lines of no interest to it, gives the same answers
about what was there.
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from capture import providers
from capture.dialogue import (
    NO_REQUEST,
    Flow,
    History,
    Session,
    after_the_answer,
    as_told,
    asked_at,
    asks_again,
    continued,
    given_by_a_call,
    new_in,
    read_part,
    remembered,
)
from capture.events import (
    Event,
    IdGiven,
    MessageStarted,
    PromptGiven,
    RateLimited,
    Stopped,
    ToolCallEnded,
    ToolCallStarted,
    ToolResult,
    Unknown,
    UsageReported,
    WentIdle,
)
from capture.jsonl import loads
from capture.messages import Assembler
from capture.providers import End
from capture.requests import Request, request_in, request_of
from capture.updates import (
    Answered,
    Asked,
    Call,
    CallClosed,
    CallMade,
    Deltas,
    Exchange,
    FlowEnded,
    FlowOpened,
    PartTold,
    Prompt,
    Said,
    StrayResult,
    Turn,
    TurnClosed,
    TurnIdle,
    TurnStarted,
    Update,
    total,
)

MAX_SESSIONS = 512  # sessions whose conversations are remembered, the ones last heard of
MAX_FLOWS = 20_000  # flows without a flow record that are remembered
MAX_HISTORIES = 8  # conversations within a session, told apart by what they begin with
TELL_IDLE = ("claude_log", "codex_log")  # logs whose clients say themselves when they are idle
BROKEN = ("error", "server_closed", "killed")  # outcomes of exchanges that no user wanted
GOES_ON = ("tool_use", "pause_turn", "tool_calls", "function_call")  # reasons to stop after which the agent goes on


class Pairing:
    """Feeds on records; see the module. `events`: also yields every event of an answer, as `Said`."""

    def __init__(self, events: bool = False) -> None:
        self._events = events
        self._flows: dict[str, Flow] = {}
        self._sessions: dict[str, Session] = {}
        self._warm: OrderedDict[str, None] = OrderedDict()  # sids whose parts are remembered, the one last heard of at the end
        self._parents: dict[str, str] = {}  # sid of a sub-agent's own session → sid of the session it works for

    def feed(self, record: "dict[str, Any] | Deltas") -> Iterator[Update]:
        """What a record of any of the three files, or a run of deltas, tells."""
        if isinstance(record, Deltas):
            yield from self._heard(
                self._flow(record.flow_id, record.sid, {}, None), (record.event,), record.t, record.last_t, record.count
            )
        elif "data_count" in record:
            yield from self._line(record)
        elif "outcome" in record:
            yield from self._ended(record)
        elif "flow_id" in record and "sid" in record:
            yield from self._opened(record)

    def close(self) -> Iterator[Update]:
        """What is left open where the log ends."""
        for flow in list(self._flows.values()):
            yield from self._finish(flow, None, "open")
        for session in list(self._sessions.values()):
            yield from self._forget(session)
        self._flows.clear()
        self._sessions.clear()

    # -- records ----------------------------------------------------------------------------------------------------------------

    def _opened(self, record: dict[str, Any]) -> Iterator[Update]:
        client = _object(record.get("client"))
        flow_id, sid = str(record["flow_id"]), str(record["sid"])
        if (parent := _word(client.get("parent_id"))) and parent != sid and parent in self._sessions:
            self._parents[sid] = parent
        provider = providers.called(str(record.get("provider")), str(record.get("api")))
        agent = _word(client.get("agent_id"))
        flow = self._flows.setdefault(flow_id, Flow(flow_id, sid, None, provider, client))
        flow.record, flow.provider, flow.client, flow.agent = record, provider, client, agent  # its lines may have come first
        if flow.agent is None and sid in self._parents:
            flow.agent = sid
        yield FlowOpened(record)
        if record.get("transport") != "websocket" and flow.exchange is None:
            flow.waits = request_of(record)
            yield from self._ask_when_told(flow)

    def _ended(self, record: dict[str, Any]) -> Iterator[Update]:
        flow = self._flows.pop(str(record.get("flow_id")), None)
        if flow:
            if flow.waits:
                yield from self._ask(flow, flow.waits, str(record.get("t")))
            yield from self._finish(flow, str(record.get("t")), str(record["outcome"]))
        yield FlowEnded(record, flow.record if flow else None)

    def _line(self, record: dict[str, Any]) -> Iterator[Update]:
        event, t = str(record.get("event", "")), str(record.get("t", ""))
        payload = record["payload"] if "payload" in record else payload_of(record)
        flow = self._flow(str(record.get("flow_id")), str(record.get("sid")), record, payload)
        if event.startswith("request."):
            yield from self._part(flow, record, event, payload, t)
        elif flow.provider.opens(payload):
            request = request_in(flow.record or {}, payload)
            if not request.said and flow.told:  # this socket's frame holds no references that can be read
                request = replace(as_told(flow.told), body=request.body, model=request.model)
            yield from self._finish(flow, t, "open")
            yield from self._ask(flow, request, t)
        elif not (event.startswith("capture.") or _is_outgoing(record)):
            yield from self._heard(flow, flow.provider.decode(event, payload), t, t)
            if (exchange := flow.exchange) and (exchange.answer.stopped or exchange.answer.failed):
                exchange.ended_t = t
                if not flow.ends_by_record and _is_last(flow, event, payload):
                    yield from self._finish(flow, t, "error" if exchange.answer.failed else "complete")

    def _flow(self, flow_id: str, sid: str, record: dict[str, Any], payload: Any) -> Flow:
        flow = self._flows.get(flow_id)
        event = str(record.get("event", ""))
        if flow is None:
            if len(self._flows) > MAX_FLOWS:
                self._flows = {key: each for key, each in self._flows.items() if each.record or each.exchange}
            provider = providers.of_line(event, payload, provider_named(record))
            flow = self._flows[flow_id] = Flow(flow_id, sid, None, provider, _client(_metadata(record)))
        elif flow.record is None and record and (flow.exchange is None or flow.provider is providers.UNKNOWN):
            provider = providers.of_line(event, payload, flow.provider.name)
            flow.provider = flow.provider if provider is providers.UNKNOWN else provider
        return flow

    # -- requests ---------------------------------------------------------------------------------------------------------------

    def _part(self, flow: Flow, record: dict[str, Any], event: str, value: Any, t: str) -> Iterator[Update]:
        session = self._session(flow.sid)
        part_id = str(_metadata(record).get("id") or f"{flow.id}:{record.get('data_count')}")
        known = session.parts.get(part_id)
        if known is None:
            part = read_part(flow.provider, part_id, event, t, flow, value)
            session.parts[part_id] = part
            flow.told.append(part)
            yield PartTold(part, flow.record or {})
            part.value = None
        else:
            flow.told.append(known)
        yield from self._ask_when_told(flow)

    def _ask_when_told(self, flow: Flow) -> Iterator[Update]:
        """The request is complete as soon as all its parts are known."""
        if flow.waits and flow.record:
            parts = self._session(flow.sid).parts
            if all(map(parts.__contains__, reversed(flow.waits.said))):
                yield from self._ask(flow, flow.waits, asked_at(flow.record))

    def _ask(self, flow: Flow, request: Request, t: str) -> Iterator[Update]:
        session = self._session(flow.sid)
        before = (flow.history if flow.is_socket else None) or continued(session, request.said)
        retried = flow.failed and flow.asked is not None and asks_again(flow.asked, request)
        fresh = [] if retried else new_in(session, request, before)
        flow.asked, flow.failed = request, False
        if any(part.asks_summary for part in after_the_answer(fresh)):
            request = replace(request, background="compaction")
        flow.waits, flow.told = None, []
        exchange = Exchange(
            flow_id=flow.id,
            sid=flow.sid,
            number=flow.count,
            provider=flow.provider.name,
            api=flow.provider.api,
            t=t,
            request=request,
            client=flow.client,
            agent=flow.agent or (before.agent if before else given_by_a_call(session, fresh)),
            parent=_word(flow.client.get("parent_id")) or self._parents.get(flow.sid),
            new=fresh,
            status=flow.status,
        )
        self._begin(flow, exchange)
        for part in fresh:
            for result in part.results:
                if part.flow_id == flow.id or result.call_id in session.calls:
                    yield from self._result(session, exchange, result, t)
        if not exchange.background:
            if not exchange.agent:
                yield from self._prompted(session, exchange, before, t)
            self._remember(session, flow, request, before, exchange.agent)
        self._belongs(exchange)
        yield Asked(exchange)

    def _prompted(self, session: Session, exchange: Exchange, before: History | None, t: str) -> Iterator[Update]:
        """The turn that begins where the request ends with something that a human wrote."""
        flow_id, said = exchange.flow_id, exchange.request.said
        for part in after_the_answer(exchange.new):
            if part.human:
                sure = before is not None or part.flow_id == flow_id or exchange.request.previous is not None
                exchange.prompts.append(Prompt(t, exchange.sid, flow_id, part.human, sure))
        if not exchange.prompts and said and said[-1] not in session.parts and (before is None or said[-1] not in before.ids):
            exchange.prompts = [Prompt(t, exchange.sid, flow_id, "", sure=False)]
        if exchange.prompts:
            yield from self._close_turn(session, "interrupted")
            session.turns += 1
            session.turn = Turn(session.sid, session.turns, t, exchange.prompts, exchange.client, last_t=t)
            yield TurnStarted(session.turn)

    def _remember(self, session: Session, flow: Flow, request: Request, before: History | None, agent: str | None) -> None:
        """The conversation as it is now. A request that leaves what was known is another one: the old one may go on too."""
        if request.previous is not None and flow.history:
            flow.history.ids += request.said
            flow.history.answered = False
            return
        if before and request.said[: len(before.ids)] == before.ids:
            before.ids, before.answered = request.said, False
        else:
            before = History(request.said, agent)
            session.histories.append(before)
            del session.histories[:-MAX_HISTORIES]
        if flow.record:
            flow.history = before

    def _begin(self, flow: Flow, exchange: Exchange) -> None:
        flow.exchange, flow.assembler, flow.calls = exchange, Assembler(), {}
        exchange.answer = flow.assembler.message
        flow.count += 1

    def _belongs(self, exchange: Exchange) -> None:
        """The exchange is one of its turn's."""
        turn = self._session(exchange.sid).turn
        if turn and not exchange.background:
            exchange.turn, exchange.after = turn.number, turn.exchanges

    # -- answers ----------------------------------------------------------------------------------------------------------------

    def _heard(self, flow: Flow, events: Iterable[Event], t: str, last_t: str, deltas: int = 1) -> Iterator[Update]:
        if flow.waits:
            yield from self._ask(flow, flow.waits, asked_at(flow.record or {}) or t)
        elif flow.told and not flow.record and not flow.exchange:
            yield from self._ask(flow, as_told(flow.told), flow.told[-1].t)
        for event in events:
            match event:
                case PromptGiven(text):
                    yield from self._given(flow, event, text, t)
                    continue
                case WentIdle():
                    yield from self._settle(flow.sid, t)
                    yield from self._idle(self._session(flow.sid), flow.id, t)
                    continue
                case ToolResult() if not _of_the_provider(flow, event):
                    yield from self._result(self._session(flow.sid), flow.exchange or self._unasked(flow, t), event, t)
                    continue
                case UsageReported(running=True):
                    self._session(flow.sid).running = event
                    continue
                case Unknown() | UsageReported() | RateLimited() | IdGiven() | ToolCallEnded() | Stopped() if (
                    flow.exchange is None and (flow.count or not flow.record)
                ):
                    continue  # an afterthought begins no answer
                case MessageStarted() if (
                    flow.exchange and flow.exchange.answer.stopped and flow.is_socket and not flow.provider.last_word
                ):
                    yield from self._finish(flow, t, "open")  # the end of the answer before is not in what is read
            exchange = flow.exchange or self._unasked(flow, t)
            exchange.first_t = exchange.first_t or t
            yield from self._said(flow, exchange, event, last_t)
            if self._events:
                yield Said(exchange, event, t, deltas)

    def _unasked(self, flow: Flow, t: str) -> Exchange:
        """An exchange whose request is not in what is read."""
        exchange = Exchange(
            flow.id, flow.sid, flow.count, flow.provider.name, flow.provider.api, t, NO_REQUEST, flow.client, flow.agent
        )
        self._begin(flow, exchange)
        self._belongs(exchange)
        return exchange

    def _said(self, flow: Flow, exchange: Exchange, event: Event, t: str) -> Iterator[Update]:
        assert flow.assembler
        for _ in flow.assembler.feed(event):  # a second message in one answer: what was before it stays the answer's
            pass
        exchange.answer = flow.assembler.message
        match event:
            case ToolCallStarted(key, call_id, name, server):
                self._declared(flow, exchange, key, call_id, name, server, t)
            case ToolCallEnded(key) if call := flow.calls.get(key):
                made = next((made for made in exchange.answer.calls if made.call_id == call.call_id and made.ended), call.made)
                if len(made.arguments) > len(call.made.arguments):
                    call.made = made
                if call.completed_t is None:
                    call.completed_t = t
                    yield CallMade(call)

    def _declared(self, flow: Flow, exchange: Exchange, key: str, call_id: str, name: str, server: bool, t: str) -> None:
        session = self._session(flow.sid)
        again = exchange.provider == "codex_log" or not exchange.new  # the codex log has each call several times; a retried request
        made = next((made for made in reversed(exchange.answer.calls) if made.call_id == call_id), None)
        if made is None or (key in flow.calls and flow.calls[key].call_id == call_id):
            return
        if again and call_id != name:  # Gemini's calls may have no id: the name stands for it
            if call_id in session.answered:
                return
            if twin := next(iter(session.calls.get(call_id, ())), None):
                flow.calls[key] = twin
                return
        session.answered.discard(call_id)
        call = flow.calls[key] = Call(call_id, name, flow.sid, flow.id, t, made, exchange.agent, server)
        exchange.calls.append(call)
        session.calls.setdefault(call_id, []).append(call)
        if (turn := session.turn) and not exchange.background:
            turn.calls.append(call)

    def _finish(self, flow: Flow, t: str | None, outcome: str) -> Iterator[Update]:
        """The exchange that is being answered is over."""
        exchange = flow.exchange
        if exchange is None:
            return
        for call in exchange.calls:
            if call.completed_t is None and outcome == "complete":
                call.completed_t = t
                yield CallMade(call)
        flow.exchange, flow.assembler, flow.calls = None, None, {}
        exchange.ended_t, exchange.outcome = exchange.ended_t or t, outcome
        flow.failed = outcome != "complete" or exchange.answer.failed is not None
        if flow.history and not exchange.background:
            flow.history.answered = not flow.failed
        session = self._session(flow.sid)
        if _only_retold(exchange):
            exchange.retold = True
            if not session.firsthand:
                session.retold.append(exchange)
            return
        if exchange.answer.texts or exchange.answer.usage:
            session.firsthand = True
            session.retold.clear()
        yield from self._close(session, exchange)

    def _close(self, session: Session, exchange: Exchange) -> Iterator[Update]:
        for call in exchange.calls:
            if call.server:
                result = next((each for each in exchange.answer.results if each.call_id == call.call_id), None)
                if result:
                    call.result, call.results, call.result_t, call.result_flow = result, 1, exchange.ended_t, exchange.flow_id
                _drop(session, call)
                yield CallClosed(call)
        turn = session.turn
        mine = turn if turn and exchange.turn == turn.number else None
        if mine:
            _add_to(mine, exchange)
        yield Answered(exchange)
        for part in exchange.new:
            part.results = tuple(map(remembered, part.results))
        if mine and not exchange.agent and _goes_idle(exchange):
            yield from self._idle(session, exchange.flow_id, exchange.ended_t or exchange.t)

    # -- calls and their results ------------------------------------------------------------------------------------------------

    def _result(self, session: Session, exchange: Exchange, result: ToolResult, t: str) -> Iterator[Update]:
        call = _waiting(session.calls.get(result.call_id, ()), exchange.agent)
        if call is None and result.again and result.call_id in session.answered:
            return
        if call is None:
            call = next(iter(session.calls.get(result.call_id, ())), None)
            yield StrayResult(result, exchange, call, result.call_id in session.answered)
            return
        call.result = _richer(call.result, result)
        if call.result_t is None:
            call.result_t, call.result_flow = t, exchange.flow_id
        if not result.again:
            call.results += 1
            _drop(session, call)
            yield CallClosed(call)

    # -- turns ------------------------------------------------------------------------------------------------------------------

    def _given(self, flow: Flow, event: PromptGiven, text: str, t: str) -> Iterator[Update]:
        """A prompt a client tells of, perhaps more than once."""
        session = self._session(flow.sid)
        before, session.given = session.given, (event.again, text)
        if before and before[0] != event.again and before[1].strip() == text.strip():
            session.given = None
            return  # the same prompt in another telling
        yield from self._settle(flow.sid, t)
        yield from self._tell_retold(session)
        yield from self._close_turn(session, "interrupted")
        session.turns += 1
        session.turn = Turn(session.sid, session.turns, t, [Prompt(t, flow.sid, flow.id, text)], flow.client, last_t=t)
        yield TurnStarted(session.turn)

    def _settle(self, sid: str, t: str) -> Iterator[Update]:
        """Closes what is still being answered in a session where only the client's word says that it is over."""
        for flow in [flow for flow in self._flows.values() if flow.exchange and not flow.record and flow.sid == sid]:
            yield from self._finish(flow, t, "open")

    def _idle(self, session: Session, flow_id: str, t: str) -> Iterator[Update]:
        yield from self._tell_retold(session)
        if turn := session.turn:
            turn.idle_t, turn.outcome = t, "idle"
            turn.last_t = max(turn.last_t, t)
            yield TurnIdle(turn, t, flow_id)

    def _tell_retold(self, session: Session) -> Iterator[Update]:
        """Nothing was heard first-hand: what was retold is all there is."""
        told, session.retold = session.retold, []
        if told and not session.firsthand:
            if session.running:
                told[-1].answer.usage = _difference(session.running, session.counted)
                session.counted = session.running
            for exchange in told:
                exchange.retold = False
                self._belongs(exchange)
                yield from self._close(session, exchange)

    def _close_turn(self, session: Session, outcome: str) -> Iterator[Update]:
        if turn := session.turn:
            if turn.outcome == "open":
                turn.outcome = "failed" if turn.failed else outcome
            session.turn = None
            yield TurnClosed(turn)

    # -- sessions ---------------------------------------------------------------------------------------------------------------

    def _session(self, sid: str) -> Session:
        """The session, or the one that its sub-agent's session works for."""
        sid = self._parents.get(sid, sid)
        session = self._sessions.get(sid)
        if session is None:
            session = self._sessions[sid] = Session(sid)
        self._warm[sid] = None
        self._warm.move_to_end(sid)
        return session

    def forgotten(self) -> Iterator[Update]:
        """Lets go what the sessions longest silent had said, beyond so many; `run` calls it now and then.

        Their open calls and their unfinished turns stay: they may be answered yet.
        """
        while len(self._warm) > MAX_SESSIONS:
            sid, _ = self._warm.popitem(last=False)
            session = self._sessions[sid]
            session.parts.clear()
            session.histories.clear()
            if session.turn and session.turn.outcome == "idle" and not session.calls:
                yield from self._close_turn(session, "idle")

    def _forget(self, session: Session) -> Iterator[Update]:
        yield from self._tell_retold(session)
        for calls in list(session.calls.values()):
            for call in calls:
                yield CallClosed(call)
        session.calls.clear()
        yield from self._close_turn(session, "open")


def run(items: "Iterable[dict[str, Any] | Deltas]", events: bool = False) -> Iterator[Update]:
    """All updates of a log, from its beginning to its end."""
    pairing = Pairing(events)
    for item in items:
        yield from pairing.feed(item)
        if isinstance(item, dict) and "outcome" in item:
            yield from pairing.forgotten()
    yield from pairing.close()


def provider_named(record: dict[str, Any]) -> str:
    """The provider that a line's metadata name; empty where they name none."""
    return str(_metadata(record).get("provider") or "")


def payload_of(record: dict[str, Any]) -> Any:
    """The payload of a line record that stands in its line: its JSON value, or its text where it is no JSON (`[DONE]`)."""
    text = str(record.get("line", "")).removeprefix("data: ")
    try:
        return loads(text)
    except ValueError:
        return text


# -- answers -----------------------------------------------------------------------------------------------------------------


def _is_last(flow: Flow, event: str, payload: Any) -> bool:
    """Whether an answer that has stopped ends with this frame."""
    if flow.provider.last_word == "[DONE]":
        return payload == "[DONE]" or bool(flow.exchange and flow.exchange.answer.failed)
    return bool(flow.provider.last_word) or flow.provider.end(event, b"") is not End.OPEN


def _of_the_provider(flow: Flow, result: ToolResult) -> bool:
    """Whether it is the result of a tool that the provider runs: a part of the answer."""
    return flow.exchange is not None and any(call.server and call.call_id == result.call_id for call in flow.exchange.calls)


def _only_retold(exchange: Exchange) -> bool:
    """Whether all that an exchange tells is a retelling (codex log: `turn.*`)."""
    answer = exchange.answer
    return (
        exchange.provider == "codex_log"
        and answer.message_id is None
        and answer.usage is None
        and (answer.texts.again > 0 if answer.texts else not answer.reasonings or answer.reasonings.again > 0)
    )


def _goes_idle(exchange: Exchange) -> bool:
    """Whether the agent waits for its user after this answer; the older logs' clients say so themselves."""
    return (
        exchange.outcome == "complete"
        and exchange.provider not in TELL_IDLE
        and not exchange.answer.failed
        and exchange.answer.stopped not in GOES_ON
        and all(call.server for call in exchange.calls)
        and not any(not call.server for call in exchange.answer.calls)
    )


def _add_to(turn: Turn, exchange: Exchange) -> None:
    """A turn with one exchange more."""
    answer, model = exchange.answer, exchange.model or ""
    turn.exchanges += 1
    turn.flows[exchange.flow_id] = None
    turn.client = turn.client or exchange.client
    turn.last_t = max(turn.last_t, exchange.ended_t or exchange.t)
    if exchange.agent:
        turn.agents[exchange.agent] = None
    if model:
        turn.models[model] = None
    if answer.usage:
        key = (exchange.provider, model)
        turn.usages[key] = total([turn.usages.get(key, UsageReported()), answer.usage])
    if not exchange.agent:
        turn.failed = answer.failed or (exchange.outcome if exchange.outcome in BROKEN else None)
        small = _is_small(exchange) and turn.answer_model and "haiku" not in turn.answer_model
        later = exchange.after >= turn.answer_place or exchange.t >= turn.answer_t  # of two at once, the one asked last
        if answer.texts and later and not small:
            turn.answer, turn.answer_model, turn.answer_t = answer.text, exchange.model, exchange.t
            turn.answer_place = turn.exchanges


def _is_small(exchange: Exchange) -> bool:
    """A title that the claude log cannot tell from an answer but by its model."""
    return exchange.provider == "claude_log" and "haiku" in (exchange.model or "")


def _richer(before: ToolResult | None, result: ToolResult) -> ToolResult:
    """A result with what another telling of it knew: exit code and duration."""
    if before is None:
        return result
    return replace(
        result,
        exit_code=before.exit_code if result.exit_code is None else result.exit_code,
        seconds=before.seconds if result.seconds is None else result.seconds,
        is_error=before.is_error or result.is_error,
    )


def _waiting(calls: Iterable[Call], agent: str | None) -> Call | None:
    """The call that a result is for: of the same agent, of the last answer that made such calls, the first without a result.

    Ids come again in a session (`call_0` in each answer of a local server), and Gemini's calls may have none.
    """
    open_calls = [call for call in calls if call.result is None or call.result.again]
    mine = [call for call in open_calls if call.agent == agent] or open_calls
    return next((call for call in mine if call.flow_id == mine[-1].flow_id), None)


def _drop(session: Session, call: Call) -> None:
    """The call waits no longer."""
    waiting = session.calls.get(call.call_id, [])
    if call in waiting:
        waiting.remove(call)
    if not waiting:
        session.calls.pop(call.call_id, None)
    if call.call_id != call.name:
        session.answered.add(call.call_id)


def _difference(later: UsageReported, earlier: UsageReported) -> UsageReported:
    """What was used between two sums over a session."""

    def less(one: int | None, other: int | None) -> int | None:
        return None if one is None else max(one - (other or 0), 0)

    return UsageReported(
        less(later.fresh, earlier.fresh),
        less(later.cached, earlier.cached),
        less(later.written, earlier.written),
        less(later.output, earlier.output),
        less(later.reasoning, earlier.reasoning),
    )


# -- records -----------------------------------------------------------------------------------------------------------------


def _metadata(record: dict[str, Any]) -> dict[str, Any]:
    """A line's metadata: a JSON text in the log, a dictionary where a reader has parsed it."""
    metadata = record.get("metadata")
    if isinstance(metadata, str):
        try:
            metadata = loads(metadata)
        except ValueError:
            return {}
    return metadata if isinstance(metadata, dict) else {}


def _is_outgoing(record: dict[str, Any]) -> bool:
    """Whether a line is from the client."""
    metadata = record.get("metadata")
    if isinstance(metadata, str) and '"out"' not in metadata and "\\" not in metadata:
        return False  # it cannot say so: no need to parse it
    return _metadata(record).get("dir") == "out"


def _client(metadata: dict[str, Any]) -> dict[str, Any]:
    """The client of a flow without a flow record."""
    name, _, version = str(metadata.get("ver") or "").rpartition("-")
    return {"name": name or None, "version": version or None, "pid": metadata.get("pid"), "cwd": _word(metadata.get("cwd"))}


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _word(value: Any) -> str | None:
    return value if isinstance(value, str) else None
