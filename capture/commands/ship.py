"""`capture ship`: the log into a Redis stream."""

import signal
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from capture.commands.base import directory_option, say
from capture.files import Unusable

if TYPE_CHECKING:
    from capture.channels.shipping import Status

TICK = 1.0  # seconds between two status lines, and two writings of the metrics


class Telling:
    """A status line on a terminal, a file of metrics; both about once a second and when the state changes."""

    def __init__(self, name: str, metrics: Path | None) -> None:
        self._name, self._metrics = name, metrics
        self._told, self._state = 0.0, ""
        self._drawn = False

    def say(self, text: str) -> None:
        self._wipe()
        say(text)

    def tick(self, status: "Status") -> None:
        now = time.monotonic()
        if now - self._told < TICK and status.state == self._state:
            return
        self._told, self._state = now, status.state
        if self._metrics:
            from capture.channels.checkpoints import write_atomically
            from capture.jsonl import dumps, local_time

            try:
                write_atomically(self._metrics, dumps({"t": local_time(time.time()), "to": self._name, **asdict(status)}))
            except OSError as problem:
                raise Unusable(f"cannot write {self._metrics} ({problem.strerror}): choose another FILE for --metrics") from None
        if sys.stderr.isatty():
            self._wipe()
            click.echo(line_of(status), err=True, nl=False)
            self._drawn = True

    def end(self) -> None:
        if self._drawn:
            click.echo(err=True)
            self._drawn = False

    def _wipe(self) -> None:
        if self._drawn:
            click.echo("\r\x1b[K", err=True, nl=False)
            self._drawn = False


def line_of(status: "Status") -> str:
    """The status as people read it."""
    parts = [f"{status.sent:,} records sent", f"{status.pending_bytes / 1e6:,.1f} MB pending"]
    if status.lag_seconds >= 1:
        parts.append(f"{status.lag_seconds:,.0f} s behind")
    if status.reconnects:
        parts.append(f"{status.reconnects} reconnects")
    if status.state == "waiting":
        parts.append(f"waiting: {status.trouble}")
    return " · ".join(parts)


def _expanded(context: click.Context, parameter: click.Parameter, path: Path | None) -> Path | None:
    return path and path.expanduser().absolute()


@click.command(short_help="Add the log's records to a Redis stream.")
@directory_option
@click.option(
    "--from",
    "start",
    type=click.Choice(["start", "now"]),
    default="start",
    show_default=True,
    help="Where to begin, the first time; later it goes on where it was.",
)
@click.option("--once", is_flag=True, help="Stop when all is sent.")
@click.option(
    "--maxlen", type=click.IntRange(min=0), metavar="N", help="Entries the stream keeps, about; 0: all. Default: 1000000."
)
@click.option(
    "--metrics",
    type=click.Path(path_type=Path, dir_okay=False),
    callback=_expanded,
    metavar="FILE",
    help="Write sent, pending, reconnects, lag and uptime there, as JSON, every second.",
)
@click.argument("url", required=False, metavar="[redis://HOST:PORT/DB?stream=NAME]")
def ship(
    directory: Path, start: Literal["now", "start"], once: bool, maxlen: int | None, metrics: Path | None, url: str | None
) -> None:
    """Follow the log and add each record to a Redis stream; go on where it was after a restart.

    It reads the log, not the proxy: a slow or dead Redis holds no agent. What is not sent waits in the log. Without a URL that of
    $REDIS_URL counts; the password may stand in $REDIS_PASSWORD.
    """
    from dataclasses import replace

    from capture.channels.redis import where_of
    from capture.channels.shipping import Shipper

    where = where_of(url)
    where = where if maxlen is None else replace(where, maxlen=maxlen)
    telling = Telling(where.name, metrics)
    shipper = Shipper(directory, where, start, telling.say, telling.tick)
    signal.signal(signal.SIGTERM, _stop)
    try:
        shipper.run(once)
    finally:
        shipper.close()
        telling.end()


def _stop(number: int, frame: Any) -> None:
    """SIGTERM: an orderly end; nothing is lost, the next start goes on from here."""
    raise SystemExit(0)
