"""`capture env`: what a shell must export so that agents started from it are captured."""

import shlex
from pathlib import Path

import click
import orjson

from capture import proxy
from capture.commands.options import directory_option, json_option
from capture.files import Unusable


@click.command(short_help="Print the export lines for a shell.")
@directory_option
@json_option
@click.option("--shell", type=click.Choice(["sh", "fish"]), default="sh", show_default=True, help="Whose syntax.")
def env(directory: Path, as_json: bool, shell: str) -> None:
    """Print the export lines for a shell: eval "$(capture env)".

    The proxy must be running (`capture up`).
    """
    found = proxy.running(directory)
    if found is None:
        raise Unusable("no proxy records to this directory: start one with `capture up`, or use `capture run -- CMD`")
    variables = proxy.agent_environment(found, proxy.bundle(found.ca))
    if as_json:
        click.echo(orjson.dumps({**variables, **dict.fromkeys(proxy.CLEARED_VARIABLES)}))
        return
    for name, value in variables.items():
        click.echo(f"export {name}={shlex.quote(value)}" if shell == "sh" else f"set -gx {name} {shlex.quote(value)}")
    for name in proxy.CLEARED_VARIABLES:
        click.echo(f"unset {name}" if shell == "sh" else f"set -e {name}")
