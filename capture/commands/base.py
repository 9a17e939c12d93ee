"""What commands share: options, voices, colours. Data goes to stdout, our words to stderr."""

import os
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import click

from capture.store import default_directory

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
CONTROL = dict.fromkeys([*range(0x00, 0x09), *range(0x0B, 0x20), *range(0x7F, 0xA0)], "�")  # all but tab and newline


def directory_option[**P, R](command: Command[P, R]) -> Command[P, R]:
    """`--dir`: the log directory."""
    return click.option(
        "--dir",
        "directory",
        type=click.Path(path_type=Path),
        default=lambda: default_directory(dict(os.environ)),
        show_default="$SSE_LOG_DIR, else ~/centralized-logs/all-mitm-sse",
        help="The log directory.",
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


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], flexible: str) -> None:
    """A table as wide as the terminal; the `flexible` column gives way first. Everything else is folded, never cut."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(no_color=not coloured(sys.stdout), highlight=False)
    if not sys.stdout.isatty():
        console.width = 10_000
    out = Table(box=None, pad_edge=False, header_style="bold", show_edge=False)
    for name in columns:
        out.add_column(name, overflow="ellipsis" if name == flexible else "fold", no_wrap=name == flexible, ratio=None)
    for row in rows:
        out.add_row(*(Text(printable(cell)) for cell in row))
    console.print(out)


def short(path: str | None, home: str | None = None) -> str:
    """A path as people write it: `~` for the home directory."""
    home = home or str(Path.home())
    if not path:
        return ""
    return "~" + path[len(home) :] if path == home or path.startswith(home + "/") else path
