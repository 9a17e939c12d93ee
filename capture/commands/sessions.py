"""`capture sessions`: what is in the log."""

import sys
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

import click
import orjson

from capture import catalogue
from capture.commands.base import hint, say, short, table
from capture.commands.options import directory_option, from_option, json_option, rotated_option
from capture.reader import LogReader


@click.command(short_help="List what is recorded.")
@directory_option
@rotated_option
@from_option
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
        say(f"nothing is recorded in {short(str(directory))} yet: try {hint('run -- claude', directory)}")
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
                _models(row.models, on_terminal),
                short(row.cwd),
                _flows(row),
                row.last[:19].replace("T", " ").removeprefix(f"{today} "),
            )
            for row in rows
        ],
        flexible="directory",
        spare=("model", "directory") if on_terminal else (),
    )


def _models(models: list[str], on_terminal: bool) -> str:
    """All models on a pipe; on a terminal the first, and how many more."""
    if on_terminal and len(models) > 1:
        return f"{models[0]} +{len(models) - 1}"
    return ", ".join(models) or "?"


def _distinct(sids: list[str]) -> int:
    """Characters that tell the sessions apart: `capture show` takes the beginning of an id."""
    length = 8
    while len({sid[:length] for sid in sids}) < len(set(sids)):
        length += 1
    return length


def _flows(row: catalogue.SessionRow) -> str:
    notes = [f"{row.bad} not complete"] * bool(row.bad) + [f"{row.open} open"] * bool(row.open)
    return f"{row.flows:,}" + (f" ({', '.join(notes)})" if notes else "")
