"""`capture`: the list of commands."""

import errno
import gc
import os
import sys
from importlib import import_module

import click

from capture import __version__
from capture.files import Unusable

COMMANDS = {  # what one needs first stands first; each is imported when it is used: a start takes 0.1 s instead of 0.3 s
    "run": "Run an agent and record it.",
    "up": "Run the proxy; print what to paste for an agent.",
    "env": "Print the export lines for a shell.",
    "live": "Watch what agents say, as they say it.",
    "top": "Watch many agents on one screen.",
    "sessions": "List what is recorded.",
    "show": "Show a conversation, its frames, or a request.",
    "prompts": "List what users asked.",
    "turns": "List turns: what was asked, how long it took, what it cost.",
    "pairs": "List prompts with the last answer to each.",
    "idle": "List when agents went idle.",
    "deltas": "Print the text of one flow, block by block.",
    "stats": "Add up tokens and cost.",
    "extract": "Find facts of 28 kinds, in one pass.",
    "kinds": "List what extract finds, with its fields.",
    "query": "Ask the log with SQL.",
    "export": "Export the log as Parquet, again and again.",
    "ship": "Add the log's records to a Redis stream.",
    "collect": "Collect a Redis stream into a log directory.",
    "redis": "Look at a Redis stream; export it, trim it.",
    "check": "Prove that a capture is complete.",
    "secrets": "Find secrets in older logs; take them out.",
    "purge": "Take sessions out of the log for good.",
    "doctor": "Check the set-up; say what to do.",
    "demo": "Show it all in ten seconds.",
}
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Listed(click.Group):
    """Knows its commands by name, and imports the one that is used."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        return command(name) if name in COMMANDS else None

    def resolve_command(self, context: click.Context, words: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(context, words)
        except click.UsageError as problem:
            from capture.filters import near

            raise click.UsageError(f"no such command: {words[0]}{near(words[0], COMMANDS)}", problem.ctx) from None

    def invoke(self, context: click.Context) -> object:
        """Runs the command. Who reads our output may stop when it has seen enough (`| head`): that is no failure."""
        try:
            result = super().invoke(context)
            sys.stdout.flush()
            return result
        except BrokenPipeError:
            _drop_output()
            return 0
        except OSError as problem:
            if problem.errno not in NO_ROOM or problem.filename:
                raise
            _drop_output()
            raise Unusable(f"cannot write the output ({problem.strerror}): make room, or send it elsewhere") from None

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def _drop_output() -> None:
    """What is still to be flushed has nobody to go to."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def command(name: str) -> click.Command:
    """The command of that name, from the file of that name."""
    found: click.Command = getattr(import_module(f"capture.commands.{name}"), name)
    return found


@click.group(cls=Listed, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="capture")
def cli() -> None:
    """Sees and keeps everything that AI agents say to their models and hear from them.

    Start with `capture run -- claude` (or codex, gemini, …), then `capture sessions`.
    """


def main() -> None:
    """Runs a command. Exit status: 0 fine, 1 a check found something, 2 wrong usage; `run` passes its command's on."""
    gc.freeze()  # what was imported stays until the end
    gc.set_threshold(50_000, 20, 50)  # records are trees: looking for cycles among them takes a tenth of all time, and finds none
    if sys.stdout is None:  # closed (`>&-`): nobody wants to read it
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 (open to the end)
    try:
        status = cli.main(prog_name="capture", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as problem:
        click.echo(problem.format_message())
        sys.exit(2)
    except click.ClickException as problem:
        where = problem.ctx.command_path if isinstance(problem, click.UsageError) and problem.ctx else "capture"
        click.echo(f"capture: {problem.format_message().rstrip('.')} (see `{where} --help`)", err=True)
        sys.exit(2)
    except Unusable as problem:
        click.echo(f"capture: {problem}", err=True)
        sys.exit(2)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    sys.exit(status if isinstance(status, int) else 0)
