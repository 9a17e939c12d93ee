"""`capture deltas`: the text of one flow."""

from collections.abc import Iterator
from typing import Any

import click

from capture.commands.answers import heard
from capture.commands.base import paint, print_rows
from capture.commands.options import Asked, source_options
from capture.live.inks import Style
from capture.live.printable import printable

STYLES: dict[str, Style] = {"text": "assistant", "reasoning": "reasoning", "arguments": "tool"}


@click.command(short_help="Print the text of one flow, block by block.")
@click.argument("flow", metavar="FLOW")
@source_options
def deltas(asked: Asked, flow: str) -> None:
    """Print what a model said in one flow: text, reasoning and tool calls, in their order.

    FLOW is the end of a flow's id, or its beginning, or all of it. On a pipe a row for each block: its `channel` is text,
    reasoning or arguments (of the tool `name`).
    """
    from capture import blocks, filters
    from capture.scan import Holds, Notes, read

    notes = Notes()
    with filters.rereadable(asked.source) as source:
        flow_id, sid = filters.flow(source, flow, asked.engine, filters.sids(source, asked.filter.session))
        items = read(source, Holds.ALL & ~Holds.OTHER, engine=asked.engine, sids=frozenset((sid,)), notes=notes)
        rows = [row for row in blocks.deltas(blocks.of_flow(items, flow_id)) if asked.filter.within(row["t"])]
    if asked.for_people:
        for line in _lines(rows):
            click.echo(line)
    else:
        print_rows(rows)
    heard(asked, notes, True)


def _lines(rows: list[dict[str, Any]]) -> Iterator[str]:
    for row in rows:
        label = {"text": "", "reasoning": "reasoning: ", "arguments": f"tool {row.get('name') or '?'}: "}[row["channel"]]
        yield paint(label, "strong") + paint(printable(row["text"].strip()), STYLES[row["channel"]])
