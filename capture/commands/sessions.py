"""`capture sessions`: what is in the log."""

import sys
from dataclasses import asdict
from datetime import datetime
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
    on_terminal = sys.stdout.isatty()
    length = _distinct([row.sid for row in rows]) if on_terminal else None
    today = datetime.now().date().isoformat() if on_terminal else ""
    table(
        ("session", "client", "model", "directory", "flows", "last"),
        [
            (
                row.sid[:length],
                row.client or "?",
                ", ".join(row.models) or "?",
                short(row.cwd),
                _flows(row),
                row.last[:19].replace("T", " ").removeprefix(f"{today} "),
            )
            for row in rows
        ],
        flexible="directory",
    )


def _distinct(sids: list[str]) -> int:
    """Characters that tell the sessions apart: `capture show` takes the beginning of an id."""
    length = 8
    while len({sid[:length] for sid in sids}) < len(set(sids)):
        length += 1
    return length


def _flows(row: catalogue.SessionRow) -> str:
    notes = [f"{row.bad} not complete"] * bool(row.bad) + [f"{row.open} open"] * bool(row.open)
    return f"{row.flows:,}" + (f" ({', '.join(notes)})" if notes else "")
