"""`capture collect`: a Redis stream into a log directory."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from capture.commands.base import StatusLine, end_in_order, say
from capture.commands.options import A_DIRECTORY, Seconds, absolute, begin_option, directory_option, stream_argument

if TYPE_CHECKING:
    from capture.channels.collecting import Collector, Status

WAIT = 1.0  # seconds a turn lasts in which nothing comes
EXPORT = 600.0  # seconds between two exports of what is new


def line_of(status: "Status") -> str:
    """The status as people read it."""
    parts = [f"{status.records:,} records collected"]
    for count, words in (
        (status.repeats, "were there already"),
        (status.deleted, "were deleted from the stream before they were collected"),
        (status.foreign, "entries are no records of ours"),
        (status.reconnects, "reconnects"),
    ):
        if count:
            parts.append(f"{count:,} {words}")
    if status.state == "waiting":
        parts.append(f"waiting: {status.trouble}")
    return " · ".join(parts)


@click.command(short_help="Collect a Redis stream into a log directory.")
@directory_option
@click.option("--group", default="collect", show_default=True, help="The consumer group: its collectors share the entries.")
@click.option("--consumer", metavar="NAME", help="Our name in the group. Default: one for each directory.")
@begin_option("Where a new group begins")
@click.option("--once", is_flag=True, help="Stop when all is collected.")
@click.option(
    "--idle",
    type=Seconds(min=0.1),
    default=60.0,
    show_default=True,
    metavar="S",
    help="When to take over what a collector of another directory does not acknowledge.",
)
@click.option(
    "--parquet",
    type=A_DIRECTORY,
    callback=absolute,
    metavar="DATASET",
    help="Also add the log to this dataset of Parquet files, every ten minutes and at the end.",
)
@stream_argument
def collect(
    directory: Path,
    group: str,
    consumer: str | None,
    start: Literal["now", "start"],
    once: bool,
    idle: float,
    parquet: Path | None,
    url: str | None,
) -> None:
    """Write the records of a Redis stream into a log directory, as they come: an ordinary log, each record once.

    Entries are acknowledged when their records are on the disk. Start several collectors for one directory, and one goes on when
    another dies. Without a URL that of $REDIS_URL counts; the password may stand in $REDIS_PASSWORD.
    """
    from capture.channels.collecting import Collector
    from capture.channels.where import where_of

    if not group or (consumer is not None and not consumer):
        raise click.UsageError("a group and a consumer need a name")
    line = StatusLine()

    def tick(status: "Status") -> None:
        if line.is_due(status.state):
            line.draw(line_of(status))

    collector = Collector(where_of(url), directory, group, consumer or "", start, idle, line.say, tick)
    end_in_order(0)  # what was not acknowledged comes again
    interrupted = False
    try:
        _run(collector, once, parquet, tick)
    except (SystemExit, KeyboardInterrupt) as end:  # an orderly end
        interrupted = isinstance(end, KeyboardInterrupt)
    finally:
        collector.close()
        line.wipe()
    say(line_of(collector.status))
    if parquet:
        _export(directory, parquet)
    if interrupted and once:
        raise click.Abort


def _run(collector: "Collector", once: bool, parquet: Path | None, tick: "Callable[[Status], None]") -> None:
    exported = time.monotonic()
    while not (collector.step(0.0 if once else WAIT) and once):
        tick(collector.status)
        if parquet and not once and time.monotonic() - exported > EXPORT:
            _export(collector.log.directory, parquet)
            exported = time.monotonic()


def _export(directory: Path, target: Path) -> None:
    """As `capture export parquet`."""
    from capture.dataset import export
    from capture.scan import Source
    from capture.sql import Database
    from capture.tables import chosen

    with Database(Source(directory)) as database:
        new = {done.table: done.rows for done in export(database, target, chosen(None))}
    if any(new.values()):
        say(f"{target}: " + ", ".join(f"{rows:,} {table}" for table, rows in new.items() if rows))
