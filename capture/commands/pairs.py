"""`capture pairs`: prompts with the last answer to each."""

import click

from capture.commands.answers import answer
from capture.commands.base import distinct, one_line, table, when
from capture.commands.options import Asked, last_option, source_options


@click.command(short_help="List prompts with the last answer to each.")
@source_options
@last_option(10)
def pairs(asked: Asked, last: int) -> None:
    """List the last prompts, each with the last thing the agent said to it; the newest at the end.

    `reply` is null where nothing was answered, `idle_t` where the agent did not go idle after it.
    """
    from capture import questions

    rows = answer(asked, questions.PAIRS, last)
    if rows:
        length = distinct([row["sid"] for row in rows])
        cells = [
            (f"{r['i']}", when(r["t"]), r["sid"][:length], one_line(r["prompt"], 60), one_line(r["reply"]) or "–") for r in rows
        ]
        table(("i", "time", "session", "prompt", "reply"), cells, flexible="reply", spare=("session", "time"))
