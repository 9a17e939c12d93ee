"""The text of a flow: what a model said in it, block by block."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from capture.events import (
    Event,
    ReasoningDelta,
    ReasoningWhole,
    TextDelta,
    TextWhole,
    ToolArgumentsDelta,
    ToolCallEnded,
    ToolCallStarted,
)
from capture.messages import joined
from capture.scan import Item
from capture.turns import run
from capture.updates import Deltas, Exchange, Said

type Row = dict[str, Any]

CHANNELS = ("text", "reasoning", "arguments")


@dataclass(slots=True)
class Block:
    """One stretch of an answer: a text, reasoning, a call's arguments."""

    channel: str
    t: str
    again: int
    name: str | None = None  # of a call's tool
    pieces: list[str] = field(default_factory=list)


def deltas(items: Iterable[Item]) -> Iterator[Row]:
    """The blocks of answers, in the order in which they began, numbered from 1."""
    number = 0
    for exchange, blocks in _exchanges(items):
        first = {channel: min((b.again for b in blocks if b.channel == channel), default=0) for channel in CHANNELS}
        for block in blocks:
            text = joined(block.pieces)
            if block.again == first[block.channel] and (text or block.name):
                number += 1
                named = {"name": block.name} if block.name else {}
                yield (
                    {"i": number, "flow_id": exchange.flow_id, "sid": exchange.sid, "t": block.t, "channel": block.channel}
                    | named
                    | {"text": text}
                )


def of_flow(items: Iterable[Item], flow_id: str) -> Iterator[Item]:
    return (item for item in items if (item.flow_id if isinstance(item, Deltas) else item.get("flow_id")) == flow_id)


def _exchanges(items: Iterable[Item]) -> Iterator[tuple[Exchange, list[Block]]]:
    blocks: dict[tuple[str, str, int], Block] = {}
    exchange: Exchange | None = None
    for update in run(items, events=True):
        if isinstance(update, Said):
            if exchange is not None and update.exchange is not exchange:
                yield exchange, list(blocks.values())
                blocks = {}
            exchange = update.exchange
            _into(blocks, update.event, update.t)
    if exchange is not None:
        yield exchange, list(blocks.values())


def _into(blocks: dict[tuple[str, str, int], Block], event: Event, t: str) -> None:
    """Adds what an event says to its block."""

    def block(channel: str, key: str, again: int = 0) -> Block:
        return blocks.setdefault((channel, key, again), Block(channel, t, again))

    match event:
        case TextDelta(text, _, key, again):
            block("text", key, again).pieces.append(text)
        case TextWhole(text, key, again):
            block("text", key, again).pieces = [text]
        case ReasoningDelta(text, key, _, again):
            block("reasoning", key, again).pieces.append(text)
        case ReasoningWhole(text, key, _, again):
            block("reasoning", key, again).pieces = [text]
        case ToolCallStarted(key, _, name):
            block("arguments", key).name = name
        case ToolArgumentsDelta(key, text):
            block("arguments", key).pieces.append(text)
        case ToolCallEnded(key, str(arguments)) if ("arguments", key, 0) in blocks:
            block("arguments", key).pieces = [arguments]
