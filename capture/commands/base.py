"""What commands share: options, voices, colours. Data goes to stdout, our words to stderr."""

import os
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from capture.files import default_directory
from capture.proxy import command_name, default_confdir

type Command[**P, R] = Callable[P, R]

COLOURS = {  # this project's scheme; people learn it once
    "user": {"fg": "yellow"},
    "assistant": {"fg": "magenta"},
    "reasoning": {"fg": "cyan"},
    "tool": {"fg": "bright_yellow"},
    "key": {"fg": "cyan"},
    "value": {"fg": "green"},
    "quiet": {"fg": "bright_black"},
    "bad": {"fg": "red"},
    "good": {"fg": "green"},
    "strong": {"bold": True},
}
GAP = 2  # columns between two columns of a table
NARROW = 20  # columns: what is no wider is never broken
CONTROL = dict.fromkeys([*range(0x00, 0x09), *range(0x0B, 0x20), *range(0x7F, 0xA0)], "�")  # all but tab and newline


def absolute(context: click.Context, parameter: click.Parameter, path: Path) -> Path:
    """The path as the proxy, another process, must see it too; a shell leaves the `~` of `--dir=~/logs` to us."""
    return path.expanduser().absolute()


def directory_option[**P, R](command: Command[P, R]) -> Command[P, R]:
    """`--dir`: the log directory."""
    return click.option(
        "--dir",
        "directory",
        type=click.Path(path_type=Path),
        default=lambda: default_directory(dict(os.environ)),
        show_default="$SSE_LOG_DIR, else ~/centralized-logs/all-mitm-sse",
        callback=absolute,
        help="The log directory.",
    )(command)


def confdir_option[**P, R](command: Command[P, R]) -> Command[P, R]:
    """`--confdir`: mitmproxy's folder."""
    return click.option(
        "--confdir",
        type=click.Path(path_type=Path),
        default=default_confdir,
        show_default="~/.mitmproxy",
        callback=absolute,
        help="mitmproxy's folder, with its CA.",
    )(command)


def json_option[**P, R](command: Command[P, R]) -> Command[P, R]:
    """`--json`: for programs."""
    return click.option("--json", "as_json", is_flag=True, help="One JSON object a line, for programs.")(command)


def say(text: str) -> None:
    """A word to the user, on stderr."""
    click.echo(f"capture: {text}", err=True)


def coloured(stream: Any) -> bool:
    """Whether colours belong on a stream: a terminal, and nobody said no (https://no-color.org)."""
    return bool(stream.isatty()) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def paint(text: str, style: str, stream: Any = None) -> str:
    """`text` in a style of COLOURS where colours belong."""
    if not coloured(stream or sys.stdout):
        return text
    return click.style(text, **COLOURS[style])  # type: ignore[arg-type]


def printable(text: str) -> str:
    """What a model or a tool said, without the control characters that would command the reader's terminal."""
    return text.translate(CONTROL)


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], flexible: str, spare: Sequence[str] = ()) -> None:
    """A table no wider than the terminal.

    Where it is too narrow, the `spare` columns are left out, one after the other, then the `flexible` one is shortened.
    """
    from rich.cells import cell_len
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(no_color=not coloured(sys.stdout), highlight=False)
    if not sys.stdout.isatty():
        console.width = 10_000
    widths = [max(cell_len(cell) for cell in cells) for cells in zip(columns, *rows, strict=True)]
    shown = dict(zip(columns, widths, strict=True))
    for name in spare:
        if sum(shown.values()) + GAP * (len(shown) - 1) > console.width:
            del shown[name]
    out = Table(box=None, pad_edge=False, header_style="bold", show_edge=False, padding=(0, GAP, 0, 0))
    for name in shown:
        out.add_column(name, overflow="ellipsis" if name == flexible else "fold", no_wrap=name == flexible or shown[name] <= NARROW)
    for row in rows:
        out.add_row(*(Text(printable(cell)) for name, cell in zip(columns, row, strict=True) if name in shown))
    console.print(out)


def hint(words: str, directory: Path) -> str:
    """A command as it can be pasted: by the name it has here, for this log directory."""
    elsewhere = directory != default_directory(dict(os.environ)).absolute()
    ours, dashes, theirs = words.partition(" -- ")
    return f"{command_name()} {ours}" + (f" --dir {shlex.quote(str(directory))}" if elsewhere else "") + dashes + theirs


def short(path: str | None, home: str | None = None) -> str:
    """A path as people write it: `~` for the home directory."""
    home = home or str(Path.home())
    if not path:
        return ""
    return "~" + path[len(home) :] if path == home or path.startswith(home + "/") else path
