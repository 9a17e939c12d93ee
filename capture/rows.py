"""What the log means, as rows of the tables `events messages turns tool_calls usage`, in files that DuckDB reads."""

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from itertools import chain
from pathlib import Path
from typing import IO, Any

from capture import providers
from capture.events import Event, UsageReported
from capture.jsonl import dumps
from capture.messages import assemble
from capture.prices import cost
from capture.providers import Provider
from capture.scan import Item, Notes, Source, read
from capture.updates import Answered, Asked, Call, CallClosed, Exchange, Part, PartTold, Turn, TurnClosed, Update, between

SETTLED = timedelta(days=1)  # what was last heard of so long before the log's end will not change any more

type Row = dict[str, Any]


def write(source: Source, tables: Iterable[str], folder: Path, notes: Notes) -> None:
    """Writes the rows of each table to `<table>.jsonl` in a folder.

    Each row also has its `position`, and whether it is `settled`: what only the log's end has closed may change when it goes on.
    """
    wanted = set(tables)
    if "events" in wanted:
        with open(folder / "events.jsonl", "wb") as file:
            _write_events(source, file, notes)
    paired = {name: open(folder / f"{name}.jsonl", "wb") for name in wanted - {"events"}}  # noqa: SIM115 (closed below)
    try:
        if paired:
            for position, (table, row, settled) in enumerate(_paired(source, notes)):
                if table in paired:
                    paired[table].write(line(row | {"settled": settled, "position": position}))
    finally:
        for file in paired.values():
            file.close()


# -- rows of lines -----------------------------------------------------------------------------------------------------------


def _write_events(source: Source, file: IO[bytes], notes: Notes) -> None:
    from capture.turns import provider_named

    known: dict[str, Provider] = {}  # by flow
    for item in read(source, notes=notes, join=False):
        if not isinstance(item, dict) or "outcome" in item:
            continue
        if "data_count" not in item:
            known[item["flow_id"]] = providers.called(str(item.get("provider")), str(item.get("api")))
            continue
        provider = known.get(item["flow_id"]) or providers.of_line(item["event"], item["payload"], provider_named(item))
        outgoing = '"dir":"out"' in item["metadata"].replace(" ", "")
        for number, event in enumerate(_decoded(item, provider, outgoing)):
            file.write(line(_event(item, number, event, outgoing)))


def _decoded(item: Row, provider: Provider, outgoing: bool) -> Iterator[Event]:
    """The events of a line. A request of a socket is none: its parts have lines of their own."""
    if item["event"].startswith("request."):
        return provider.decode_part(item["event"], item["payload"])
    return iter(()) if outgoing or item["event"].startswith("capture.") else provider.decode(item["event"], item["payload"])


def _event(item: Row, number: int, event: Event, outgoing: bool) -> Row:
    value = {name: getattr(event, name) for name in event.__match_args__}
    return {
        "t": item["t"],
        "sid": item["sid"],
        "flow_id": item["flow_id"],
        "data_count": item["data_count"],
        "number": number,
        "dir": "out" if outgoing else "in",
        "type": type(event).__name__,
        "text": value.get("text") or value.get("message"),
        "name": value.get("name") or value.get("model") or value.get("kind") or value.get("reason"),
        "call_id": value.get("call_id"),
        "value": value,
        "settled": True,
        "position": item["offset"],
    }


def line(row: Row) -> bytes:
    """A row as JSON; integers that orjson refuses are written too."""
    try:
        return dumps(row)
    except TypeError:
        import json

        return json.dumps(row, ensure_ascii=True, default=str).encode() + b"\n"


# -- rows of updates ---------------------------------------------------------------------------------------------------------


def _paired(source: Source, notes: Notes) -> Iterator[tuple[str, Row, bool]]:
    """(table, row, whether it is settled) of all that pairing tells."""
    from capture import turns

    pairing, told, latest = turns.Pairing(), Told(), ""
    for item in read(source, notes=notes):
        latest = max(latest, _time(item))
        for update in chain(pairing.feed(item), pairing.forgotten() if isinstance(item, dict) and "outcome" in item else ()):
            yield from ((table, row, True) for table, row in told.rows(update))
    before = _earlier(latest)
    for update in pairing.close():
        yield from ((table, row, _last(update) < before) for table, row in told.rows(update))


class Told:
    """Rows of updates. Knows who made the flows: a call does not say it."""

    def __init__(self) -> None:
        self._clients: dict[str, Row] = {}  # by flow

    def rows(self, update: Update) -> Iterator[tuple[str, Row]]:
        """(table, row) of what an update closes."""
        match update:
            case PartTold(part, flow):
                yield "messages", _part(part, flow)
            case Asked(exchange):
                self._clients.setdefault(exchange.flow_id, _who(exchange.client))
            case Answered(exchange):
                if not exchange.retold:
                    yield "usage", _usage(exchange)
                    if not exchange.answer.empty:
                        yield "messages", _answer(exchange)
            case CallClosed(call):
                yield "tool_calls", _call(call, self._clients.get(call.flow_id, {}))
            case TurnClosed(turn):
                yield "turns", _turn(turn)
            case _:
                pass  # what these tell stands in the rows of what they lead to


def _who(client: Row) -> Row:
    return {"client": client.get("name"), "client_version": client.get("version"), "cwd": client.get("cwd")}


def _tokens(usage: UsageReported | None) -> Row:
    if usage is None:
        return {}
    return {
        "fresh": usage.fresh,
        "cached": usage.cached,
        "written": usage.written,
        "input": usage.input,
        "output": usage.output,
        "reasoning_tokens": usage.reasoning,
    }


def _part(part: Part, flow: Row) -> Row:
    provider = providers.called(str(flow.get("provider")), str(flow.get("api")))
    said = list(assemble(provider.decode_part(part.event, part.value)))
    client = flow.get("client")
    return {
        "t": part.t,
        "sid": part.sid,
        "flow_id": part.flow_id,
        "role": part.event.removeprefix("request."),
        "part": part.event,
        "part_id": part.id,
        "again": part.said_before,
        "human": part.human,
        "text": "\n".join(filter(None, (message.text for message in said))),
        "reasoning": "\n".join(filter(None, (message.reasoning for message in said))),
        "calls": sum(len(message.calls) for message in said),
        "results": len(part.results),
        **_who(client if isinstance(client, dict) else {}),
    }


def _answer(exchange: Exchange) -> Row:
    answer = exchange.answer
    return {
        "t": exchange.first_t or exchange.t,
        "sid": exchange.sid,
        "flow_id": exchange.flow_id,
        "number": exchange.number,
        "turn": exchange.turn,
        "role": answer.role,
        "again": False,
        "text": answer.text,
        "reasoning": answer.reasoning,
        "model": exchange.model,
        "message_id": answer.message_id,
        "calls": len(answer.calls),
        "results": len(answer.results),
        "stopped": answer.stopped,
        "failed": answer.failed,
        "background": exchange.background,
        "agent": exchange.agent,
        **_who(exchange.client),
    }


def _usage(exchange: Exchange) -> Row:
    return {
        "t": exchange.t,
        "sid": exchange.sid,
        "flow_id": exchange.flow_id,
        "number": exchange.number,
        "turn": exchange.turn,
        "provider": exchange.provider,
        "api": exchange.api,
        "model": exchange.model,
        **_tokens(exchange.answer.usage),
        "cost": _cost(exchange),
        "first_ms": between(exchange.t, exchange.first_t),
        "duration_ms": exchange.duration_ms,
        "status": exchange.status,
        "outcome": exchange.outcome,
        "stopped": exchange.answer.stopped,
        "failed": exchange.answer.failed,
        "calls": len(exchange.calls),
        "background": exchange.background,
        "agent": exchange.agent,
        **_who(exchange.client),
    }


def _cost(exchange: Exchange) -> float | None:
    usage = exchange.answer.usage
    return None if usage is None or usage.running else cost(exchange.provider, exchange.model, usage, exchange.t)


def _call(call: Call, who: Row) -> Row:
    return {
        "t": call.t,
        "sid": call.sid,
        "flow_id": call.flow_id,
        "call_id": call.call_id,
        "name": call.name,
        "arguments": call.arguments,
        "server": call.server,
        "completed_t": call.completed_t,
        "result": call.result.text if call.result else None,
        "is_error": call.result.is_error if call.result else None,
        "exit_code": call.result.exit_code if call.result else None,
        "result_t": call.result_t,
        "result_flow": call.result_flow,
        "results": call.results,
        "duration_ms": call.duration_ms,
        "agent": call.agent,
        **who,
    }


def _turn(turn: Turn) -> Row:
    return {
        "t": turn.t,
        "sid": turn.sid,
        "turn": turn.number,
        "prompt": turn.text,
        "prompts": len(turn.prompts),
        "sure": turn.sure,
        "answer": turn.answer,
        "model": turn.answer_model,
        "models": list(turn.models),
        "outcome": turn.outcome,
        "failed": turn.failed,
        "last_t": turn.last_t,
        "idle_t": turn.idle_t,
        "duration_ms": turn.duration_ms,
        "exchanges": turn.exchanges,
        "flows": len(turn.flows),
        "agents": len(turn.agents),
        "calls": len(turn.calls),
        **_tokens(turn.usage),
        **_who(turn.client),
    }


def _last(update: Update) -> str:
    """When what an update closes was last heard of."""
    match update:
        case TurnClosed(turn):
            return turn.last_t or turn.t
        case CallClosed(call):
            return call.result_t or call.completed_t or call.t
        case Answered(exchange):
            return exchange.ended_t or exchange.first_t or exchange.t
        case _:
            return ""


def _time(item: Item) -> str:
    found = item.get("t") if isinstance(item, dict) else item.last_t
    return found if isinstance(found, str) else ""


def _earlier(t: str) -> str:
    """A time so long before another that what ended by then is settled; "" for what is no time: nothing is."""
    try:
        return (datetime.fromisoformat(t) - SETTLED).isoformat(timespec="milliseconds")
    except ValueError:
        return ""
