"""`capture sessions`: what is in the log."""

from dataclasses import asdict
from pathlib import Path

import click
import orjson

from capture import catalogue
from capture.commands.base import directory_option, json_option, say, short, table
from capture.store import LogReader


@click.command()
@directory_option
@json_option
@click.option("-n", "--last", type=click.IntRange(min=1), help="Only the last N sessions.")
def sessions(directory: Path, as_json: bool, last: int | None) -> None:
    """List the sessions: client, model, directory, flows, when. The newest stands last."""
    rows = catalogue.sessions(LogReader(directory))[-(last or 0) :]
    if as_json:
        for row in rows:
            click.echo(orjson.dumps(asdict(row)))
        return
    if not rows:
        say(f"nothing is recorded in {short(str(directory))} yet: try `capture run -- claude`")
        return
    table(
        ("session", "client", "model", "directory", "flows", "last"),
        [
            (
                row.sid,
                row.client or "?",
                ", ".join(row.models) or "?",
                short(row.cwd),
                _flows(row),
                row.last[:19].replace("T", " "),
            )
            for row in rows
        ],
        flexible="directory",
    )


def _flows(row: catalogue.SessionRow) -> str:
    notes = [f"{row.bad} not complete"] * bool(row.bad) + [f"{row.open} open"] * bool(row.open)
    return f"{row.flows:,}" + (f" ({', '.join(notes)})" if notes else "")
