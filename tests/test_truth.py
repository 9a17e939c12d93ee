"""What readers say of a made-up log is what its story says: all dialects, with all that goes wrong. Stories: bench/story.py."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.generate import FILES, Wanted, generate
from bench.story import Scale
from bench.telling import FLOWS, LINES, load
from capture import scan
from capture.turns import Pairing, run
from capture.updates import Answered, Call, CallClosed, Exchange, Turn, TurnClosed, TurnIdle, TurnStarted, Update

SMALL = Scale(exchanges=3, deltas=16, result=120)
SESSIONS = {"ours": 9, "claude_log": 3, "codex_log": 3}
NUMBERS = ("fresh", "cached", "written", "output", "reasoning")


@pytest.fixture(scope="module", params=tuple(FILES))
def log(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A nasty log of a few MB."""
    out = tmp_path_factory.mktemp(request.param)
    generate(Wanted(out, request.param, sessions=SESSIONS[request.param], nasty=True, scale=SMALL))
    return out


@pytest.fixture(scope="module")
def updates(log: Path) -> list[Update]:
    return list(run(scan.read(source(log))))


def source(log: Path) -> scan.Source:
    return scan.Source(log, None) if (log / FLOWS).exists() else scan.Source(None, str(log / LINES))


def of[T](kind: type[T], updates: list[Update]) -> Iterator[T]:
    return (update for update in updates if isinstance(update, kind))


# -- the log -----------------------------------------------------------------------------------------------------------------


def test_bad_lines_are_counted_where_they_stand_and_nothing_else_is_lost(log: Path) -> None:
    notes = scan.Notes()
    found = [item for item in scan.read(source(log), notes=notes, join=False) if isinstance(item, dict) and "data_count" in item]
    assert {(row["file"], row["offset"]) for row in load(log, "bad")} == {(Path(bad.file).name, bad.offset) for bad in notes.bad}
    assert notes.count == len(load(log, "bad"))
    bad = {row["offset"] for row in load(log, "bad") if row["file"] == LINES}
    assert sorted(offsets(log / LINES) - bad) == sorted(record["offset"] for record in found)


def offsets(path: Path) -> set[int]:
    at, found = 0, set()
    for line in path.read_bytes().split(b"\n"):
        found.add(at)
        at += len(line) + 1
    return found


# -- turns -------------------------------------------------------------------------------------------------------------------


def told(turn: Turn) -> dict[str, Any]:
    """A turn in the words of the truth."""
    return {
        "sid": turn.sid,
        "number": turn.number,
        "t": turn.t,
        "text": turn.text,
        "outcome": turn.outcome,
        "idle_t": turn.idle_t,
        "duration_ms": turn.duration_ms,
        "answer": turn.answer,
        "usage": {name: getattr(turn.usage, name) for name in NUMBERS},
        "exchanges": turn.exchanges,
        "calls": sorted(call.name for call in turn.calls if call.completed_t),
        "agents": sorted(turn.agents),
    }


def truth_of_turns(log: Path) -> list[dict[str, Any]]:
    names = {call["call_id"]: call["name"] for call in load(log, "calls")}
    return [
        {name: value for name, value in row.items() if name not in ("flows", "plot")}
        | {"calls": sorted(names[call_id] for call_id in row["calls"]), "agents": sorted(row.get("agents", ()))}
        for row in load(log, "turns")
    ]


def by[K](rows: list[dict[str, Any]], *names: str) -> dict[tuple[Any, ...], dict[str, Any]]:
    return {tuple(row[name] for name in names): row for row in rows}


def test_every_turn_is_as_it_was_told(log: Path, updates: list[Update]) -> None:
    found = [told(update.turn) for update in of(TurnClosed, updates)]
    assert by(truth_of_turns(log), "sid", "number") == by(found, "sid", "number")


def test_every_prompt_is_found_once_and_no_quoted_one(log: Path, updates: list[Update]) -> None:
    found = [(prompt.t, prompt.sid, prompt.text) for update in of(TurnStarted, updates) for prompt in update.turn.prompts]
    assert [(row["t"], row["sid"], row["text"]) for row in load(log, "prompts")] == sorted(found)


def test_the_agent_is_idle_when_it_was(log: Path, updates: list[Update]) -> None:
    assert [(row["t"], row["sid"]) for row in load(log, "idle")] == sorted(
        (each.t, each.turn.sid) for each in of(TurnIdle, updates)
    )


# -- exchanges ---------------------------------------------------------------------------------------------------------------


def exchanged(exchange: Exchange) -> dict[str, Any]:
    answer, usage = exchange.answer, exchange.answer.usage
    return {
        "sid": exchange.sid,
        "flow_id": exchange.flow_id,
        "number": exchange.number,
        "t": exchange.t,
        "model": exchange.model,
        "text": answer.text,
        "reasoning": answer.reasoning,
        "stop": answer.stopped,
        "usage": {name: getattr(usage, name) if usage else None for name in NUMBERS},
        "background": exchange.background is not None,
        "agent": exchange.agent,
        "turn": exchange.turn,
    }


def test_every_answer_is_as_it_was_told(log: Path, updates: list[Update]) -> None:
    found = [exchanged(update.exchange) for update in of(Answered, updates) if not update.exchange.retold]
    expected = [
        {name: row[name] for name in found[0]} | {"background": row["background"] is not None} for row in load(log, "exchanges")
    ]
    assert by(expected, "flow_id", "number") == by(found, "flow_id", "number")


def called(call: Call) -> dict[str, Any]:
    return {
        "sid": call.sid,
        "call_id": call.call_id,
        "name": call.name,
        "arguments": call.arguments,
        "complete": call.completed_t is not None,
        "result": call.result.text if call.result else None,
        "failed": bool(call.result and call.result.is_error),
        "agent": call.agent,
    }


def test_every_call_has_its_arguments_and_its_result(log: Path, updates: list[Update]) -> None:
    truth = load(log, "calls")
    unnamed = {row["flow_id"] for row in truth if not row["named"]}
    found = [called(update.call) | {"id": update.call.flow_id in unnamed} for update in of(CallClosed, updates)]
    expected = [{name: row[name] for name in called_names} | {"id": not row["named"]} for row in truth]
    for row in (*found, *expected):
        if row.pop("id"):  # Gemini gives its calls no id
            row["call_id"] = ""
    assert sorted(map(json.dumps, expected)) == sorted(map(json.dumps, found))


called_names = ("sid", "call_id", "name", "arguments", "complete", "result", "failed", "agent")


@pytest.mark.parametrize("dialect", tuple(FILES))
def test_a_line_of_20_mb_changes_nothing(dialect: str, tmp_path: Path) -> None:
    generate(Wanted(tmp_path, dialect, sessions=1, nasty=True, huge=True, scale=SMALL))
    found = list(run(scan.read(source(tmp_path))))
    calls = {call["call_id"]: call for call in (called(update.call) for update in of(CallClosed, found))}
    huge = max(load(tmp_path, "calls"), key=lambda row: len(row["arguments"]) + len(row["result"] or ""))
    assert by(truth_of_turns(tmp_path), "sid", "number") == by([told(each.turn) for each in of(TurnClosed, found)], "sid", "number")
    assert (huge["arguments"], huge["result"]) == (calls[huge["call_id"]]["arguments"], calls[huge["call_id"]]["result"])
    assert all(row["result"] == calls[row["call_id"]]["result"] for row in load(tmp_path, "calls"))


# -- properties --------------------------------------------------------------------------------------------------------------


def test_feeding_record_by_record_or_in_runs_gives_the_same_turns(log: Path, updates: list[Update]) -> None:
    singly = [told(update.turn) for update in of(TurnClosed, list(run(scan.read(source(log), join=False))))]
    assert [told(update.turn) for update in of(TurnClosed, updates)] == singly


@pytest.mark.parametrize("share", (0.1, 0.5, 0.83))
def test_the_turns_of_a_prefix_are_a_prefix_of_the_turns(log: Path, share: float) -> None:
    items = list(scan.read(source(log)))
    whole, part = closed_turns(items), closed_turns(items[: round(len(items) * share)])
    assert whole[: len(part)] == part


def closed_turns(items: list[Any]) -> list[dict[str, Any]]:
    """The turns that are over while the log goes on, as they were then."""
    pairing = Pairing()
    return [told(update.turn) for item in items for update in pairing.feed(item) if isinstance(update, TurnClosed)]
