"""`capture top`: many agents on one screen."""

import sys
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import click
from click.core import ParameterSource

from capture.commands.base import short
from capture.commands.options import Followed, follow_options
from capture.files import Unusable

BEFORE = "30m"  # what was said so lately is shown too: who starts this wants to see the agents that run already


@click.command(short_help="Watch many agents on one screen.")
@follow_options
@click.pass_context
def top(context: click.Context, followed: Followed) -> None:
    """Show all sessions on one screen, and the selected one's conversation as it grows; press ? there for the keys.

    SOURCE is a log directory (the default is that of --dir), a file of lines in any of the three dialects, also compressed, or a
    channel's URL. Begins with what was said in the last half hour, unless --from says otherwise.
    """
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise click.UsageError("this needs a terminal: on a pipe use `capture live`, which also reads lines on stdin")
    if context.get_parameter_source("start") is ParameterSource.DEFAULT:
        from capture.filters import moment

        followed = replace(followed, start=moment(BEFORE, datetime.now()))
    from capture.live.desk import Desk
    from capture.live.top import Top
    from capture.live.watch import Watch
    from capture.prices import cost
    from capture.scan.following import following

    desk = Desk(Watch(cost, followed.mine()), short(followed.where), str(Path.home()), _now)
    app = Top(following(followed.where, followed.start), desk)
    if problem := app.run():
        raise Unusable(problem)
    context.exit(app.return_code or 0)


def _now() -> str:
    """The time as the log writes it."""
    return datetime.now().isoformat(timespec="milliseconds")
