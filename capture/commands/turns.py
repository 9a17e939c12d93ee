"""`capture turns`: what was asked, how long it took, what it cost."""

import click

from capture.commands.answers import answer
from capture.commands.base import distinct, dollars, one_line, seconds, table, when
from capture.commands.options import Asked, last_option, source_options


@click.command(short_help="List turns: what was asked, how long it took, what it cost.")
@click.option(
    "--mode",
    type=click.Choice(["paired", "all"]),
    default="paired",
    show_default=True,
    help="Turns at whose end the agent went idle, or also unfinished ones.",
)
@source_options
@last_option(10)
def turns(asked: Asked, mode: str, last: int) -> None:
    """List the last turns, the newest at the end: from a user's prompt until the agent went idle.

    A turn has all that was done for it, sub-agents included, background calls (titles, quota) not. `cost` is in US dollars at
    list prices, null where a price is not known. `duration_ms` is from the prompt to `idle_t`.
    """
    from capture import questions
    from capture.prices import cost

    rows = answer(asked, questions.turns(cost, mode == "paired"), last)
    if rows:
        length = distinct([row["sid"] for row in rows])
        cells = [
            (
                f"{r['i']}",
                when(r["t"]),
                r["sid"][:length],
                one_line(r["prompt"], 50),
                seconds(r["duration_ms"]) if r["outcome"] == "idle" else r["outcome"],
                f"{r['calls']:,}" + (f" ({r['failed_calls']:,} failed)" if r["failed_calls"] else ""),
                f"{r['input']:,}",
                f"{r['output'] or 0:,}",
                dollars(r["cost"]),
            )
            for r in rows
        ]
        columns = ("i", "time", "session", "prompt", "took", "calls", "input", "output", "cost")
        table(columns, cells, flexible="prompt", spare=("session", "calls", "input", "output"))
