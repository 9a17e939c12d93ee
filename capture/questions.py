"""What people ask of a log, as rows: prompts, idle events, turns, pairs.

Rows come from what `Pairing` tells, each with the time it stands at. The last rows of a log are looked for in its end first:
what was found there counts when nothing can be missing among it (`last`). So a row says only what can be known without reading
the log from its beginning: a turn is named by its session and the time it began (`turn_t`), not by its number.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from heapq import nlargest
from typing import Any, NamedTuple

from capture.costs import Costs, Price
from capture.providers.base import Holds
from capture.scan import Item
from capture.turns import run
from capture.updates import (
    Answered,
    Deltas,
    Exchange,
    Prompt,
    Turn,
    TurnClosed,
    TurnIdle,
    TurnStarted,
    Update,
    between,
)

type Row = dict[str, Any]
type Windows = Iterable[tuple[Iterator[Item], bool]]  # ever larger ends of a log; the last one (True) is all of it

MARGIN = timedelta(seconds=60)  # at the beginning of a window things may be missing: lines of several writers stand a little
# out of order, and a sub-agent may be known only by the call that started it, or a prompt's retelling by its first telling


@dataclass(frozen=True, slots=True)
class Found:
    """A row and its time. `sure`: reading earlier would not change it. Without a row: here is one that was not seen whole.

    `turn`: the number of its turn in the session, as far as that was read.
    """

    at: str
    row: Row | None
    sure: bool = True
    turn: int = 0


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked: what of the log it needs, and the rows that answer it, in any order."""

    holds: Holds
    rows: Callable[[Iterator[Update]], Iterator[Found]]


# -- the last rows -----------------------------------------------------------------------------------------------------------


def last(windows: Windows, question: Question, count: int | None, within: Callable[[str], bool], since: str = "") -> list[Row]:
    """The last `count` rows (None: all) whose time is `within`, in order of time, numbered from 1.

    Rows of one session stand in the order in which it went on, also where the clock was set back. `since`: the time before
    which `within` takes none.
    """
    for items, whole in windows:
        began, rest = _begins(items)
        doubtful = ""  # time of the last thing that was not seen whole

        def known(rest: Iterator[Item] = rest) -> Iterator[Found]:
            nonlocal doubtful
            for found in question.rows(run(rest)):
                if within(found.at):
                    if not found.sure:
                        doubtful = max(doubtful, found.at)
                    if found.row is not None:
                        yield found

        rows = nlargest(count, _placed(known())) if count is not None else sorted(_placed(known()), reverse=True)
        rows.reverse()
        reach = rows[0].at if rows and len(rows) == count else since
        if whole or (reach > doubtful and reach > began):
            return [{"i": number, **placed.row} for number, placed in enumerate(rows, 1)]
    return []


class _Place(NamedTuple):
    """A row, and what its place among others is decided by: the first that differs."""

    at: str  # never before an earlier turn of its session
    sid: str
    turn: int
    flow_id: str
    seen: int
    row: Row


def _placed(rows: Iterable[Found]) -> Iterator[_Place]:
    latest: dict[str, tuple[int, str]] = {}  # session → its newest turn, and the place of that
    for seen, found in enumerate(rows):
        row = found.row or {}
        sid = str(row.get("sid"))
        turn, at = latest.get(sid, (0, ""))
        if found.turn >= turn:  # else its row was only made after that of a later turn
            at = max(at, found.at)
            latest[sid] = found.turn, at
        else:
            at = found.at
        yield _Place(at, sid, found.turn, str(row.get("flow_id")), seen, row)


def _begins(items: Iterator[Item]) -> tuple[str, Iterator[Item]]:
    """(the time from which on nothing is missing in a window, its items)."""
    held: list[Item] = []
    for item in items:
        held.append(item)
        if isinstance(item, Deltas) or "data_count" in item:
            return _later(item.t if isinstance(item, Deltas) else str(item["t"])), _chained(held, items)
    return "", iter(held)


def _chained(held: list[Item], items: Iterator[Item]) -> Iterator[Item]:
    yield from held
    held.clear()
    yield from items


def _later(t: str) -> str:
    try:
        return (datetime.fromisoformat(t) + MARGIN).isoformat(timespec="milliseconds")
    except ValueError:
        return t


# -- prompts, idle events ----------------------------------------------------------------------------------------------------


def _prompts(updates: Iterator[Update]) -> Iterator[Found]:
    for update in updates:
        if isinstance(update, TurnStarted):
            for prompt in update.turn.prompts:
                row = _prompt(prompt, update.turn) if prompt.text else None
                yield Found(prompt.t, row, _sure(update.turn), update.turn.number)


def _prompt(prompt: Prompt, turn: Turn) -> Row:
    return {
        "t": prompt.t,
        "sid": prompt.sid,
        "flow_id": prompt.flow_id,
        "client": client_of(turn.client),
        "cwd": turn.client.get("cwd"),
        "text": prompt.text,
    }


def _idle(updates: Iterator[Update]) -> Iterator[Found]:
    for update in updates:
        if isinstance(update, TurnIdle):
            turn = update.turn
            yield Found(
                update.t,
                {
                    "t": update.t,
                    "sid": turn.sid,
                    "flow_id": update.flow_id,
                    "turn_t": turn.t,
                    "duration_ms": between(turn.t, update.t),
                },
                _sure(turn),
                turn.number,
            )
        elif isinstance(update, Answered) and _of_an_unseen_turn(update.exchange):
            yield Found(_later(update.exchange.ended_t or update.exchange.t), None, False)


def _sure(turn: Turn) -> bool:
    """Whether this is a user's turn however much earlier one begins to read."""
    parent = turn.client.get("parent_id")
    return turn.sure and (parent is None or parent == turn.sid)


def _of_an_unseen_turn(exchange: Exchange) -> bool:
    """Whether an agent may have gone idle here in a turn whose prompt was not read."""
    return exchange.turn is None and not exchange.background and not exchange.agent


def client_of(client: Row) -> str | None:
    """`claude-code 2.1.329`."""
    return " ".join(str(word) for word in (client.get("name"), client.get("version")) if word) or None


# -- turns -------------------------------------------------------------------------------------------------------------------


def turns(price: Price, paired: bool) -> Question:
    """Turns; `paired`: only those at whose end the agent went idle."""

    def rows(updates: Iterator[Update]) -> Iterator[Found]:
        costs = Costs(price)
        for update in updates:
            if isinstance(update, Answered):
                costs.add(update.exchange)
            elif isinstance(update, TurnClosed):
                cost = costs.of(update.turn)
                wanted = not paired or update.turn.idle_t
                row = _turn(update.turn, cost) if wanted else None
                yield Found(update.turn.t, row, _sure(update.turn), update.turn.number)

    return Question(TURN, rows)


def _turn(turn: Turn, cost: float | None) -> Row:
    usage = turn.usage
    return {
        "sid": turn.sid,
        "t": turn.t,
        "idle_t": turn.idle_t,
        "duration_ms": turn.duration_ms,
        "outcome": turn.outcome,
        "prompt": turn.text,
        "client": client_of(turn.client),
        "cwd": turn.client.get("cwd"),
        "models": list(turn.models),
        "exchanges": turn.exchanges,
        "flows": list(turn.flows),
        "agents": list(turn.agents),
        "calls": sum(call.made.ended for call in turn.calls),
        "failed_calls": sum(call.result is not None and call.result.is_error for call in turn.calls),
        "input": usage.input,
        "cached": usage.cached,
        "written": usage.written,
        "output": usage.output,
        "reasoning": usage.reasoning,
        "cost": cost,
    }


def _pairs(updates: Iterator[Update]) -> Iterator[Found]:
    for update in updates:
        if isinstance(update, TurnClosed):
            yield Found(update.turn.t, _pair(update.turn), _sure(update.turn), update.turn.number)


def _pair(turn: Turn) -> Row:
    return {
        "sid": turn.sid,
        "t": turn.t,
        "prompt": turn.text,
        "idle_t": turn.idle_t,
        "model": turn.answer_model,
        "reply": turn.answer or None,
    }


# arguments, since a call's may be all that tells a sub-agent's task from a prompt
ASKED = Holds.REQUEST | Holds.BOUND | Holds.CALL | Holds.ARGUMENTS
TURN = Holds.ALL & ~Holds.OTHER  # all that makes an exchange, also one of which only a piece of text is there
PROMPTS = Question(ASKED, _prompts)
IDLE = Question(ASKED, _idle)
PAIRS = Question(TURN, _pairs)
