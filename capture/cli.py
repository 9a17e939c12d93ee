"""`capture`: the list of commands."""

import sys

import click

from capture import __version__
from capture.commands import demo, doctor, env, run, sessions, show, up
from capture.files import Unusable

COMMANDS: tuple[click.Command, ...] = (
    run.run,
    up.up,
    env.env,
    sessions.sessions,
    show.show,
    doctor.doctor,
    demo.demo,
)


class Listed(click.Group):
    """Shows the commands in their order: what one needs first stands first."""

    def list_commands(self, context: click.Context) -> list[str]:
        return [name for command in COMMANDS if (name := command.name)]


@click.group(cls=Listed, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="capture")
def cli() -> None:
    """Sees and keeps everything that AI agents say to their models and hear from them.

    Start with `capture run -- claude` (or codex, gemini, …), then `capture sessions`.
    """


for _command in COMMANDS:
    cli.add_command(_command)


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
    except BrokenPipeError:  # the reader of our output has seen enough
        sys.stderr.close()
        sys.exit(0)
    sys.exit(status if isinstance(status, int) else 0)
