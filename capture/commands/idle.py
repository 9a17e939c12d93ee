"""`capture idle`: when agents went idle."""

import click

from capture.commands.answers import answer
from capture.commands.base import distinct, seconds, table, when
from capture.commands.options import Asked, last_option, source_options


@click.command(short_help="List when agents went idle.")
@source_options
@last_option(10)
def idle(asked: Asked, last: int) -> None:
    """List the last times an agent was done and waited for its user, the newest at the end.

    `turn_t` is when its user had asked (see `capture turns`); `duration_ms` how long it took. An agent that goes on by itself
    may go idle several times in a turn.
    """
    from capture import questions

    rows = answer(asked, questions.IDLE, last)
    if rows:
        length = distinct([row["sid"] for row in rows])
        cells = [
            (f"{r['i']}", when(r["t"]), r["sid"][:length], r["flow_id"][-8:], when(r["turn_t"]), seconds(r["duration_ms"]))
            for r in rows
        ]
        table(("i", "time", "session", "flow", "asked", "after"), cells, flexible="flow")
