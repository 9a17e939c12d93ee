"""What is true of a log, collected while its story is told: rows for each question, written as `truth/<question>.jsonl`."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from bench.story import Call, Exchange, Session, Usage
from bench.wording import reported, stop

BEGAN = datetime(2026, 11, 17, 8, 0)  # local time of the first record
_EPOCH = BEGAN.timestamp()
LINES, FLOWS, ENDS = "sse_lines.jsonl", "sse_flows.jsonl", "sse_flow_ends.jsonl"


class Line(NamedTuple):
    """A line of the log. `at`: ms since the log began; lines of the same ms stand in the order in which they were told."""

    at: int
    number: int
    file: str
    text: str


_seconds: dict[int, str] = {}


def local(at: int) -> str:
    """`2026-11-17T08:00:00.000` of ms since the log began."""
    second, ms = divmod(at, 1000)
    if second not in _seconds:
        if len(_seconds) > 1000:
            _seconds.clear()
        _seconds[second] = datetime.fromtimestamp(_EPOCH + second).isoformat(timespec="seconds")
    return f"{_seconds[second]}.{ms:03d}"


def unix(at: int) -> float:
    return _EPOCH + at / 1000


@dataclass(slots=True)
class Told:
    """An exchange as it stands in the log."""

    exchange: Exchange
    flow_id: str
    number: int
    asked: int
    first: int | None = None
    ended: int = 0
    outcome: str = ""


@dataclass(slots=True)
class Truth:
    """Rows by question."""

    rows: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    exit_codes: bool = False  # the dialect tells those of shell commands

    def add(self, question: str, **row: Any) -> None:
        self.rows.setdefault(question, []).append(row)

    def exchange(
        self, session: Session, told: Told, *, background: str | None = None, agent: str | None = None, turn: int | None
    ) -> None:
        exchange, client = told.exchange, session.client
        limited = exchange.end == "limited"
        self.add(
            "exchanges",
            sid=session.sid,
            flow_id=told.flow_id,
            number=told.number,
            t=local(told.asked),
            ended_t=local(told.ended),
            model=exchange.model,
            cwd=session.cwd,
            text="" if limited else exchange.text,
            reasoning=exchange.thought,
            stop=stop(client.vocabulary, exchange) if exchange.end == "complete" else None,
            end=exchange.end,
            usage=asdict(reported(client.vocabulary, exchange)),
            calls=[call.call_id for call in exchange.calls],
            background=background,
            agent=agent,
            turn=turn,
        )
        for call in exchange.calls:
            self.call(session, told, call, agent)

    def call(self, session: Session, told: Told, call: Call, agent: str | None) -> None:
        answered = call.result is not None and call.complete
        self.add(
            "calls",
            sid=session.sid,
            flow_id=told.flow_id,
            call_id=call.call_id,
            named=session.client.vocabulary != "gemini",  # whether its id is said on the wire
            name=call.name,
            arguments=_as_said(session, call),
            complete=call.complete,
            json=_is_json(call.arguments),
            free=call.free,
            result=call.result if answered else None,
            failed=call.failed and answered and self._told_failures(session, call),
            seconds=call.seconds if answered else None,
            agent=agent,
        )

    def _told_failures(self, session: Session, call: Call) -> bool:
        """Whether the wire says that a call failed."""
        return session.client.vocabulary == "anthropic" or (self.exit_codes and call.name == "shell")

    def write(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        for question, rows in self.rows.items():
            with open(folder / f"{question}.jsonl", "wb") as file:
                file.writelines(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in rows)


def load(folder: Path, question: str) -> list[dict[str, Any]]:
    """The right answers to a question; none when nothing is to be found."""
    path = folder / "truth" / f"{question}.jsonl"
    return [orjson.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []


def added(usages: Iterator[Usage]) -> dict[str, int | None]:
    """Sums; None where nobody says a number."""
    total: dict[str, int | None] = dict.fromkeys(("fresh", "cached", "written", "output", "reasoning"))
    for usage in usages:
        for name, value in asdict(usage).items():
            total[name] = total[name] if value is None else (total[name] or 0) + value
    return total


def _as_said(session: Session, call: Call) -> str:
    """A call's arguments: Gemini sends a value, not a text, which is written without blanks."""
    if session.client.vocabulary != "gemini":
        return call.arguments
    return json.dumps(json.loads(call.arguments), ensure_ascii=False, separators=(",", ":"))


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True
