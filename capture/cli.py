"""`capture`: the list of commands."""

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
    "doctor": "Check the set-up; say what to do.",
    "demo": "Show it all in ten seconds.",
}


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
            return super().invoke(context)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is still to be flushed has nobody to go to
            return 0

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


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
