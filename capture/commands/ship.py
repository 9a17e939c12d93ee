"""`capture ship`: the log into a Redis stream."""

import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from capture.commands.base import StatusLine, end_in_order
from capture.commands.options import A_FILE, absolute, begin_option, directory_option, stream_argument
from capture.files import Unusable, written_whole

if TYPE_CHECKING:
    from capture.channels.shipping import Status


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


@click.command(short_help="Add the log's records to a Redis stream.")
@directory_option
@begin_option("Where to begin, the first time")
@click.option("--once", is_flag=True, help="Stop when all is sent.")
@click.option(
    "--maxlen", type=click.IntRange(min=0), metavar="N", help="Entries the stream keeps, about; 0: all. Default: 1000000."
)
@click.option(
    "--metrics",
    type=A_FILE,
    callback=absolute,
    metavar="FILE",
    help="Write sent, pending, reconnects, lag and uptime there, as JSON, every second.",
)
@stream_argument
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
    line = StatusLine()

    def tick(status: "Status") -> None:
        if line.is_due(status.state):
            if metrics:
                _write_metrics(metrics, where.name, status)
            line.draw(line_of(status))

    shipper = Shipper(directory, where, start, line.say, tick)
    end_in_order(0)  # nothing is lost: the next start goes on from here
    try:
        shipper.run(once)
    finally:
        shipper.close()
        line.leave()


def _write_metrics(path: Path, target: str, status: "Status") -> None:
    from capture.jsonl import dumps, local_time

    try:
        with written_whole(path, synced=False) as draft:
            draft.write_bytes(dumps({"t": local_time(time.time()), "to": target, **asdict(status)}))
    except OSError as problem:
        raise Unusable(f"cannot write {path} ({problem.strerror}): choose another FILE for --metrics") from None
