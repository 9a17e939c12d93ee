"""What sub-agents did."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from capture.events import UsageReported
from capture.extract.base import Head, Kind
from capture.updates import Answered, Exchange, Turn, TurnClosed, total

type Key = tuple[str, int | None, str]  # flow, number of the turn, agent


class SubagentRow(Head):
    last_t: str
    """when its last exchange was over"""
    turn: int | None
    """of the session, from 1; null where it works for none that is in the log"""
    turn_sid: str
    """the session whose turn that is: a sub-agent may have a session of its own"""
    agent: str
    """its id; where a client gives none, the call that started it"""
    type: str | None
    """what kind of sub-agent"""
    parent: str | None
    """the session or agent that started it"""
    models: list[str]
    """models that answered it"""
    exchanges: int
    """with a model"""
    calls: int
    """tool calls it made"""
    input: int
    """tokens read, caches included"""
    output: int | None
    """tokens written"""


@dataclass(slots=True)
class _Work:
    """What one sub-agent did on one flow for one turn."""

    t: str
    sid: str
    flow_id: str
    last_t: str
    type: str | None
    parent: str | None
    models: dict[str, None] = field(default_factory=dict)
    exchanges: int = 0
    calls: int = 0
    usages: list[UsageReported] = field(default_factory=list)

    def add(self, exchange: Exchange) -> None:
        self.last_t = max(self.last_t, exchange.ended_t or exchange.t)
        self.exchanges += 1
        self.calls += len(exchange.calls)
        if exchange.model:
            self.models[exchange.model] = None
        if exchange.answer.usage:
            self.usages.append(exchange.answer.usage)


class Subagents:
    """What sub-agents did for a turn, told when the turn is over."""

    def __init__(self) -> None:
        self._work: dict[Key, _Work] = {}

    def feed(self, update: Answered | TurnClosed) -> Iterable[SubagentRow]:
        if isinstance(update, TurnClosed):
            yield from self._closed(update.turn)
            return
        exchange = update.exchange
        if exchange.agent:
            key = (exchange.flow_id, exchange.turn, exchange.agent)
            kind = exchange.client.get("agent_type")
            work = self._work.get(key)
            if work is None:
                work = self._work[key] = _Work(
                    exchange.t, exchange.sid, exchange.flow_id, exchange.t, kind if isinstance(kind, str) else None, exchange.parent
                )
            work.add(exchange)

    def close(self) -> Iterable[SubagentRow]:
        by_agent: dict[tuple[str, int | None, str], list[_Work]] = {}
        for (_, turn, agent), work in self._work.items():
            by_agent.setdefault((work.sid, turn, agent), []).append(work)
        for (sid, turn, agent), works in by_agent.items():
            yield _row(works, turn, sid, agent)

    def _closed(self, turn: Turn) -> Iterable[SubagentRow]:
        for agent in turn.agents:
            keys = [(flow_id, turn.number, agent) for flow_id in turn.flows]
            works = [self._work.pop(key) for key in keys if key in self._work]
            if works:
                yield _row(works, turn.number, turn.sid, agent)


def _row(works: list[_Work], turn: int | None, turn_sid: str, agent: str) -> SubagentRow:
    first, usage = works[0], total(usage for work in works for usage in work.usages)
    return {
        "t": first.t,
        "sid": first.sid,
        "flow_id": first.flow_id,
        "last_t": max(work.last_t for work in works),
        "turn": turn,
        "turn_sid": turn_sid,
        "agent": agent,
        "type": first.type,
        "parent": first.parent,
        "models": list(dict.fromkeys(model for work in works for model in work.models)),
        "exchanges": sum(work.exchanges for work in works),
        "calls": sum(work.calls for work in works),
        "input": usage.input,
        "output": usage.output,
    }


KINDS = (Kind("subagents", "What each sub-agent did in each turn.", SubagentRow, (Answered, TurnClosed), start=Subagents),)
