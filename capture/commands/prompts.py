"""`capture prompts`: what users asked."""

import click

from capture.commands.answers import answer
from capture.commands.base import distinct, one_line, short, table, when
from capture.commands.options import Asked, last_option, source_options


@click.command(short_help="List what users asked.")
@source_options
@last_option(10)
def prompts(asked: Asked, last: int) -> None:
    """List the last prompts of users, the newest at the end.

    What an agent's client says in its user's name, what sub-agents are told and background calls (titles, quota) are left out.
    """
    from capture import questions

    rows = answer(asked, questions.PROMPTS, last)
    if rows:
        length = distinct([row["sid"] for row in rows])
        cells = [
            (f"{r['i']}", when(r["t"]), r["sid"][:length], r["client"] or "?", short(r["cwd"]), one_line(r["text"])) for r in rows
        ]
        table(("i", "time", "session", "client", "directory", "prompt"), cells, flexible="prompt", spare=("directory", "client"))
