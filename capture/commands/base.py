"""What commands share: voices, colours, tables, how people read values. Data goes to stdout, our words to stderr."""

import os
import shlex
import signal
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from capture.files import default_directory

if TYPE_CHECKING:
    from capture.live.inks import Style

GAP = 2  # columns between two columns of a table
SHORTENED = 12  # columns that are left of the flexible column in the narrowest table
TICK = 1.0  # seconds between two drawings of a status line
NARROW = 20  # columns: what is no wider is never broken


def say(text: str) -> None:
    """A word to the user, on stderr."""
    click.echo(f"capture: {text}", err=True)


class StatusLine:
    """A line at the bottom of a terminal's stderr, drawn anew about once a second; what is said stands above it."""

    def __init__(self) -> None:
        self._looked, self._state = 0.0, ""
        self._drawn = False

    def is_due(self, state: str) -> bool:
        """Whether to draw it: a second is over, or the state is another."""
        now = time.monotonic()
        if now - self._looked < TICK and state == self._state:
            return False
        self._looked, self._state = now, state
        return True

    def draw(self, text: str) -> None:
        if sys.stderr.isatty():
            self.wipe()
            click.echo(text, err=True, nl=False)
            self._drawn = True

    def say(self, text: str) -> None:
        self.wipe()
        say(text)

    def wipe(self) -> None:
        if self._drawn:
            click.echo("\r\x1b[K", err=True, nl=False)
            self._drawn = False

    def leave(self) -> None:
        """Nothing more is drawn; the line stays."""
        if self._drawn:
            click.echo(err=True)
            self._drawn = False


def end_in_order(status: int) -> None:
    """SIGTERM from now on ends the program as `sys.exit` does: what is open is closed."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(status))


def coloured(stream: Any) -> bool:
    """Whether colours belong on a stream: a terminal, and nobody said no (https://no-color.org)."""
    return bool(stream.isatty()) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def paint(text: str, style: "Style", stream: Any = None) -> str:
    """`text` in a style where colours belong."""
    if not coloured(stream or sys.stdout):
        return text
    from capture.live.inks import SGR  # not needed on a pipe: 2 ms

    return f"\x1b[{SGR[style]}m{text}\x1b[0m"


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], flexible: str, spare: Sequence[str] = ()) -> None:
    """A table no wider than the terminal.

    Where it is too narrow, the `spare` columns are left out, one after the other, then the `flexible` one is shortened. Numbers
    and times never are: rather the lines of a very narrow terminal wrap.
    """
    from rich.cells import cell_len
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from capture.live.printable import printable

    console = Console(no_color=not coloured(sys.stdout), highlight=False)
    if not sys.stdout.isatty():
        console.width = 10_000
    widths = [max(cell_len(cell) for cell in cells) for cells in zip(columns, *rows, strict=True)]
    shown = dict(zip(columns, widths, strict=True))
    for name in spare:
        if sum(shown.values()) + GAP * (len(shown) - 1) > console.width:
            del shown[name]
    others = sum(min(width, NARROW) for name, width in shown.items() if name != flexible) + GAP * (len(shown) - 1)
    room = max(SHORTENED, min(shown[flexible], console.width - others)) if flexible in shown else 0
    console.width = max(console.width, others + room)  # rich would cut every column alike, numbers too
    out = Table(box=None, pad_edge=False, header_style="bold", show_edge=False, padding=(0, GAP, 0, 0))
    for name, width in shown.items():
        if name == flexible:
            out.add_column(name, overflow="ellipsis", no_wrap=True, width=room)
        else:
            out.add_column(name, overflow="fold", no_wrap=width <= NARROW, min_width=min(width, NARROW))
    for row in rows:
        out.add_row(*(Text(printable(cell)) for name, cell in zip(columns, row, strict=True) if name in shown))
    console.print(out)


def print_rows(rows: Iterable[dict[str, Any]]) -> None:
    """NDJSON on stdout."""
    from capture.jsonl import dumps

    sys.stdout.flush()
    for row in rows:
        sys.stdout.buffer.write(dumps(row))
    sys.stdout.buffer.flush()


def when(t: str) -> str:
    """A time of the log as people read it; without the date when it is of today."""
    from datetime import date

    return t[:19].replace("T", " ").removeprefix(f"{date.today().isoformat()} ")


def distinct(ids: Sequence[str]) -> int:
    """Characters that tell ids apart by their beginnings, 8 at least: what takes an id takes its beginning."""
    length = 8
    while len({each[:length] for each in ids}) < len(set(ids)):
        length += 1
    return length


def one_line(text: str | None, most: int = 300) -> str:
    """A text on one line of a table."""
    line = " ".join((text or "")[: most * 4].split())
    return line if len(line) <= most else line[: most - 1] + "…"


def seconds(ms: float | None) -> str:
    """A duration as people read it."""
    if ms is None:
        return ""
    minutes, rest = divmod(ms / 1000, 60)
    return f"{minutes:,.0f} min {rest:02.0f} s" if minutes else f"{rest:.1f} s"


def dollars(cost: float | None) -> str:
    """A cost as people read it; `?` where it is not known."""
    return "?" if cost is None else f"${cost:,.2f}" if cost >= 1 or not cost else f"${cost:.4f}"


def hint(words: str, directory: Path) -> str:
    """A command as it can be pasted: by the name it has here, for this log directory."""
    from capture.proxy import command_name

    elsewhere = directory != default_directory(dict(os.environ)).absolute()
    ours, dashes, theirs = words.partition(" -- ")
    return f"{command_name()} {ours}" + (f" --dir {shlex.quote(str(directory))}" if elsewhere else "") + dashes + theirs


def short(path: str | None, home: str | None = None) -> str:
    """A path as people write it: `~` for the home directory."""
    home = home or str(Path.home())
    if not path:
        return ""
    return "~" + path[len(home) :] if path == home or path.startswith(home + "/") else path
