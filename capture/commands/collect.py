"""`capture collect`: a Redis stream into a log directory."""

import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from capture.commands.base import directory_option, say

if TYPE_CHECKING:
    from capture.channels.collecting import Collector, Status

WAIT = 1.0  # seconds a turn lasts in which nothing comes
TICK = 1.0  # seconds between two status lines
EXPORT = 600.0  # seconds between two exports of what is new


class Telling:
    """A status line on a terminal, about once a second and when the state changes."""

    def __init__(self) -> None:
        self._told, self._state = 0.0, ""
        self._drawn = False

    def say(self, text: str) -> None:
        self.wipe()
        say(text)

    def tick(self, status: "Status") -> None:
        now = time.monotonic()
        if not sys.stderr.isatty() or (now - self._told < TICK and status.state == self._state):
            return
        self._told, self._state = now, status.state
        self.wipe()
        click.echo(line_of(status), err=True, nl=False)
        self._drawn = True

    def wipe(self) -> None:
        if self._drawn:
            click.echo("\r\x1b[K", err=True, nl=False)
            self._drawn = False


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


def _expanded(context: click.Context, parameter: click.Parameter, path: Path | None) -> Path | None:
    return path and path.expanduser().absolute()


@click.command(short_help="Collect a Redis stream into a log directory.")
@directory_option
@click.option("--group", default="collect", show_default=True, help="The consumer group: its collectors share the entries.")
@click.option("--consumer", metavar="NAME", help="Our name in the group. Default: one for each directory.")
@click.option(
    "--from",
    "start",
    type=click.Choice(["start", "now"]),
    default="start",
    show_default=True,
    help="Where a new group begins; later it goes on where it was.",
)
@click.option("--once", is_flag=True, help="Stop when all is collected.")
@click.option(
    "--idle",
    type=click.FloatRange(min=0.1),
    default=60.0,
    show_default=True,
    metavar="S",
    help="When to take over what a collector of another directory does not acknowledge.",
)
@click.option(
    "--parquet",
    type=click.Path(path_type=Path, file_okay=False),
    callback=_expanded,
    metavar="DATASET",
    help="Also add the log to this dataset of Parquet files, every ten minutes and at the end.",
)
@click.argument("url", required=False, metavar="[redis://HOST:PORT/DB?stream=NAME]")
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
    telling = Telling()
    collector = Collector(where_of(url), directory, group, consumer or "", start, idle, telling.say, telling.tick)
    signal.signal(signal.SIGTERM, _stop)
    interrupted = False
    try:
        _run(collector, once, parquet, telling)
    except (SystemExit, KeyboardInterrupt) as end:  # an orderly end
        interrupted = isinstance(end, KeyboardInterrupt)
    finally:
        collector.close()
        telling.wipe()
    say(line_of(collector.status))
    if parquet:
        _export(directory, parquet)
    if interrupted and once:
        raise click.Abort


def _run(collector: "Collector", once: bool, parquet: Path | None, telling: Telling) -> None:
    exported = time.monotonic()
    while not (collector.step(0.0 if once else WAIT) and once):
        telling.tick(collector.status)
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


def _stop(number: int, frame: Any) -> None:
    """SIGTERM: an orderly end; what was not acknowledged comes again."""
    raise SystemExit(0)
