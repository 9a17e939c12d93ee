"""`capture export`: the log as files that other programs read."""

from contextlib import nullcontext
from pathlib import Path

import click

from capture.commands.base import say
from capture.commands.options import A_DIRECTORY, directory_option, from_option, joined
from capture.files import FILES
from capture.rotated import old_parts


@click.command(short_help="Export the log as Parquet, again and again.")
@directory_option
@from_option
@click.option("--tables", "names", help="Only these, with commas between. Default: all.")
@click.option("--final", is_flag=True, help="Also what the log's end leaves open, and may still change.")
@click.argument("form", type=click.Choice(["parquet"]), metavar="parquet")
@click.argument("target", type=A_DIRECTORY, metavar="DIR")
def export(directory: Path, names: str | None, final: bool, form: str, target: Path) -> None:
    """Export the log's tables as a dataset of Parquet files, divided by date: `DIR/lines/date=2026-11-21/…`.

    The next run to the same DIR adds only what is new, also where the log's files were rotated away since. What is not over yet
    (a turn, a call) waits for a later run.
    """
    from capture.dataset import export as add
    from capture.scan import Source
    from capture.sql import Database, left_out
    from capture.tables import chosen

    tables = chosen(names)
    old = any(old_parts(directory, name) for name in FILES.values())
    with joined(directory) if old else nullcontext(directory) as whole, Database(Source(whole)) as database:
        for done in add(database, target.absolute(), tables, final, directory if old else None):
            if done.replaced is not None:
                say(f"{done.table}: the log's file is another one; {done.replaced:,} bytes of the old one are in {target}")
            say(f"{done.table}: {done.rows:,} new rows" + (f"; {left_out(done.bad)}" if done.bad else ""))
