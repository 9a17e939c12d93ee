"""`capture up`: the proxy, with mitmweb to look into it, until Ctrl-C."""

import os
from pathlib import Path
from typing import NoReturn

import click

from capture import proxy
from capture.commands.base import say
from capture.commands.options import confdir_option, directory_option, password_option, scope_options
from capture.files import prepare
from capture.scope import Scope

ADDONS = ("addon.sse_logger", "addon.greeting")


@click.command(short_help="Run the proxy; print what to paste for an agent.")
@directory_option
@click.option("--port", type=click.IntRange(1, 65535), default=proxy.PORT, show_default=True, help="Of the proxy.")
@click.option("--web-port", type=click.IntRange(1, 65535), default=proxy.WEB_PORT, show_default=True, help="Of mitmweb.")
@click.option("--no-web", is_flag=True, help="Without mitmweb: less memory.")
@password_option
@scope_options
@confdir_option
@click.argument("options", nargs=-1, metavar="[-- MITMPROXY OPTIONS]")
def up(
    directory: Path,
    port: int,
    web_port: int,
    no_web: bool,
    password: bool,
    scope: Scope,
    confdir: Path,
    options: tuple[str, ...],
) -> None:
    """Run the proxy in the foreground; print what to paste for an agent.

    What follows `--` goes to mitmproxy, for example `-- --mode upstream:http://proxy.example:3128`.
    """
    if options and not options[0].startswith("-"):
        raise click.UsageError(f"unexpected argument {options[0]}: what follows -- are options of mitmproxy")
    prepare(directory)
    port = _port(port, "port")
    web = None if no_web else _port(web_port, "web port")
    os.environ.pop("SSLKEYLOGFILE", None)  # would write TLS keys
    os.environ.pop("MITMPROXY_SSLKEYLOGFILE", None)
    from mitmproxy.certs import CertStore
    from mitmproxy.options import CONF_BASENAME, KEY_SIZE
    from mitmproxy.tools import main

    with proxy.starting(confdir):
        CertStore.from_store(confdir, CONF_BASENAME, KEY_SIZE)
    chosen = (*proxy.asking(password), *proxy.recording(scope), *options)
    words = proxy.arguments(directory, port, web, confdir, ("--set", "termlog_verbosity=warn", *chosen), ADDONS)
    if web is None:
        words += ["--set", "flow_detail=0"]
    _check(list(options), web is not None)
    (main.mitmdump if web is None else main.mitmweb)(words)


def _check(words: list[str], web: bool) -> None:
    """Raises UsageError for what mitmproxy's own command line would refuse, in more words."""
    from mitmproxy.options import Options
    from mitmproxy.tools import cmdline

    def refuse(message: str) -> NoReturn:
        raise click.UsageError(f"mitmproxy says: {message}", click.get_current_context())

    parser = (cmdline.mitmweb if web else cmdline.mitmdump)(Options())  # type: ignore[no-untyped-call]
    parser.error = refuse
    parser.parse_args(words)


def _port(wanted: int, what: str) -> int:
    found = proxy.free_port(wanted)
    if found != wanted:
        say(f"{what} {wanted} is taken, using {found}")
    return found
