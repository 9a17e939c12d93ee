"""What commands share: options, voices, colours. Data goes to stdout, our words to stderr."""

import os
import shlex
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from capture.files import Unusable, default_directory
from capture.live.inks import SGR, Style
from capture.live.printable import printable

if TYPE_CHECKING:
    from capture.filters import Filter
    from capture.questions import Question, Windows
    from capture.scan import Notes, Source

type Command[**P, R] = Callable[P, R]

GAP = 2  # columns between two columns of a table
SHORTENED = 12  # columns that are left of the flexible column in the narrowest table
NARROW = 20  # columns: what is no wider is never broken


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


def _default_confdir() -> Path:
    from capture.proxy import default_confdir  # not needed by the commands that read the log: 15 ms

    return default_confdir()


def password_option[**P, R](command: Command[P, R]) -> Command[P, R]:
    """`--password`: of a proxy that is started."""
    words = "The proxy asks for a password; `run` and `env` know it, other users' programs do not."
    return click.option("--password", is_flag=True, help=words)(command)


def scope_options[R](command: Callable[..., R]) -> Callable[..., R]:
    """What a proxy that is started records, and for how long it is kept; `command` gets a Scope."""

    @wraps(command)
    def filled(only_hosts: str, skip_hosts: str, headers_only: bool, max_age: str, max_size: str, **own: Any) -> R:
        from capture.scope import scope_of

        return command(scope=scope_of(only_hosts, skip_hosts, headers_only, max_age, max_size), **own)

    for option in reversed(SCOPE_OPTIONS):
        filled = option(filled)
    return filled


SCOPE_OPTIONS: tuple[Callable[[Callable[..., Any]], Callable[..., Any]], ...] = (
    click.option(
        "--only-hosts", default="", metavar="HOSTS", help="Record these only (and names below them): api.anthropic.com,openai.com."
    ),
    click.option("--skip-hosts", default="", metavar="HOSTS", help="Leave these alone: their TLS is not opened, nothing recorded."),
    click.option("--headers-only", is_flag=True, help="Record headers, ends and counts; nothing of what is said."),
    click.option("--max-age", default="", metavar="AGE", help="Sessions that are older go, while the proxy runs: 30d."),
    click.option("--max-size", default="", metavar="SIZE", help="The oldest sessions go when the log is larger: 5GB."),
)


def confdir_option[**P, R](command: Command[P, R]) -> Command[P, R]:
    """`--confdir`: mitmproxy's folder."""
    return click.option(
        "--confdir",
        type=click.Path(path_type=Path),
        default=_default_confdir,
        show_default="~/.mitmproxy",
        callback=absolute,
        help="mitmproxy's folder, with its CA.",
    )(command)


def json_option[**P, R](command: Command[P, R]) -> Command[P, R]:
    """`--json`: for programs."""
    return click.option("--json", "as_json", is_flag=True, help="One JSON object a line, for programs.")(command)


# -- what part of a log a command reads ----------------------------------------------------------------------------------------

ENGINES = ("auto", "index", "rg", "duckdb", "python")


@dataclass(frozen=True, slots=True)
class Asked:
    """What `source_options` makes of its options."""

    source: "Source"
    filter: "Filter"  # its `sids(source)` are the sessions that `--session` means
    engine: str
    as_json: bool

    @property
    def for_people(self) -> bool:
        """Whether a table is wanted; else NDJSON."""
        return not self.as_json and sys.stdout.isatty()


def source_options[R](command: Callable[..., R]) -> Callable[..., R]:
    """The options of all commands that read a log; `command` gets an `Asked` before its own parameters."""

    @wraps(command)
    def filled(
        directory: Path, file: str | None, since: str, until: str, session: str | None, as_json: bool, engine: str, **own: Any
    ) -> R:
        from capture.filters import Filter
        from capture.scan import Source

        return command(Asked(Source(directory, file), Filter(since, until, session), engine, as_json), **own)

    whole: Callable[..., R] = from_option(filled)
    for option in reversed(SOURCE_OPTIONS):
        whole = option(whole)
    return whole


def from_option[R](command: Callable[..., R]) -> Callable[..., R]:
    """`--from redis://…`: what the stream holds, as the log directory that `command` gets, gone afterwards."""

    @wraps(command)
    def filled(url: str | None, directory: Path, **own: Any) -> R:
        if url is None:
            return command(directory=directory, **own)
        if own.get("file") is not None:
            raise click.UsageError("either --from or --file")
        from tempfile import TemporaryDirectory

        from capture.channels.streams import spool
        from capture.channels.where import where_of

        with TemporaryDirectory(prefix="sse-capture-") as copy:
            spool(where_of(url), Path(copy))
            return command(directory=Path(copy), **own)

    return click.option(
        "--from", "url", metavar="redis://…", help="Instead, what a Redis stream holds now; it is copied, and not changed."
    )(filled)


def _moment(context: click.Context, parameter: click.Parameter, text: str | None) -> str:
    """A time of the log from what the user typed; \"\" for nothing."""
    if not text:
        return ""
    from datetime import datetime

    from capture.filters import EXAMPLES, moment

    try:
        return moment(text, datetime.now(), end=parameter.name == "until")
    except (ValueError, OverflowError):
        raise click.UsageError(f"{text} is no time for --{parameter.name}: try one of {EXAMPLES}", context) from None


def _expanded(context: click.Context, parameter: click.Parameter, file: str | None) -> str | None:
    return file if file in (None, "-") or "://" in file else str(Path(file).expanduser())


SOURCE_OPTIONS: tuple[Callable[[Callable[..., Any]], Callable[..., Any]], ...] = (
    directory_option,
    click.option(
        "--file",
        metavar="FILE",
        callback=_expanded,
        help="Instead, one file of line records in any of the three dialects; - for stdin; also .gz and .zst.",
    ),
    click.option(
        "--since", callback=_moment, metavar="WHEN", help="From then on: 7d, 2h, 30m, today, yesterday, 2026-11-21T17:07."
    ),
    click.option("--until", callback=_moment, metavar="WHEN", help="Until then; a day is meant whole."),
    click.option("--session", metavar="ID", help="Only this session: its id, the beginning of it, or latest."),
    json_option,
    click.option("--engine", type=click.Choice(ENGINES), default="auto", help="How to read: all give the same answer."),
)


# -- what commands follow as it grows --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Followed:
    """What `follow_options` makes of its options."""

    where: str  # a log directory, a file, `-`, a URL
    start: str  # now, start, or a time of the log
    session: str | None

    def check(self) -> None:
        """Raises Unusable when there is nothing of that name, where that can be seen beforehand."""
        if self.where != "-" and "://" not in self.where:
            from capture.scan import Source

            path = Path(self.where)
            is_file = path.is_file() or (path.suffix and not path.is_dir())
            (Source(None, self.where) if is_file else Source(path)).check()

    def missing(self) -> bool:
        """Whether there is nothing of that name yet."""
        return self.where != "-" and "://" not in self.where and not Path(self.where).exists()

    def mine(self) -> Callable[[str], bool] | None:
        """Whether a session is wanted, by its id; None: all are. Raises Unusable when `latest` names none."""
        if self.session is None:
            return None
        from capture import filters, scan

        name, family = self.session, frozenset[str]()
        if name == "latest" and (self.where == "-" or "://" in self.where):
            raise Unusable("--session latest needs a log directory or a file: give the beginning of a session's id")
        path = Path(self.where)
        source = scan.Source(path) if path.is_dir() else scan.Source(None, self.where)
        if source.log is not None or name == "latest":
            try:
                family = filters.sids(source, name) or family
            except Unusable:
                if name == "latest":
                    raise
        return lambda sid: sid in family or (name != "latest" and (sid.startswith(name) or sid.endswith(name)))


def follow_options[R](command: Callable[..., R]) -> Callable[..., R]:
    """The options of all commands that follow a log; `command` gets a `Followed` before its own parameters."""

    @wraps(command)
    def filled(source: str | None, directory: Path, start: str, session: str | None, **own: Any) -> R:
        return command(Followed(source or str(directory), start, session), **own)

    for option in reversed(FOLLOW_OPTIONS):
        filled = option(filled)
    return filled


def _beginning(context: click.Context, parameter: click.Parameter, text: str) -> str:
    """`now`, `start`, or a time of the log from what the user typed: `-10m` is ten minutes ago."""
    if text in ("now", "start"):
        return text
    from datetime import datetime

    from capture.filters import EXAMPLES, moment

    try:
        return moment(text.removeprefix("-"), datetime.now())
    except (ValueError, OverflowError):
        raise click.UsageError(f"{text} is no time for --from: try now, start, -10m, or one of {EXAMPLES}", context) from None


FOLLOW_OPTIONS: tuple[Callable[[Callable[..., Any]], Callable[..., Any]], ...] = (
    click.argument("source", required=False, callback=_expanded),
    directory_option,
    click.option(
        "--from", "start", default="now", callback=_beginning, metavar="WHEN", help="Begin now, at the start, or -10m, today …"
    ),
    click.option("--session", metavar="ID", help="Only this session: its id, the beginning of it, or latest."),
)


def last_option(default: int) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """`-n`: how many rows."""
    return click.option(
        "-n",
        "--last",
        type=click.IntRange(min=0),
        default=default,
        show_default=True,
        metavar="N",
        help="How many, the last ones; 0 for all.",
    )


def answer(asked: Asked, question: "Question", last: int) -> list[dict[str, Any]]:
    """The last rows (0: all) that answer a question, for a table; on a pipe they are printed, and none are left to show."""
    from capture import filters, questions, scan

    notes = scan.Notes()
    with filters.rereadable(asked.source) if asked.filter.session else nullcontext(asked.source) as source:
        chosen = filters.sids(source, asked.filter.session)
        windows = scan.windows(source, question.holds, engine=asked.engine, sids=chosen, notes=notes)
        rows = questions.last(_each_with_its_own(notes, windows), question, last or None, asked.filter.within, asked.filter.since)
    if not asked.for_people:
        print_rows(rows)
    heard(asked, notes, bool(rows))
    if asked.for_people and not rows:
        say("there is nothing of that kind")
    return rows if asked.for_people else []


def _each_with_its_own(notes: "Notes", windows: "Windows") -> "Windows":
    """The windows; what was noted in one that did not do is forgotten."""
    for items, whole in windows:
        notes.bad.clear()
        notes.count = 0
        yield items, whole


def heard(asked: Asked, notes: "Notes", something: bool) -> None:
    """Says what was no record and therefore left out: no failure, the exit status stays. Raises Unusable where nothing is one."""
    if not notes.count:
        return
    first, name = notes.bad[0], "stdin" if asked.source.file == "-" else short(notes.bad[0].file)
    if not something and asked.source.file is not None and not _has_record(asked.source):
        raise Unusable(f"{name} is no log: none of its lines is a record ({first.why})")
    lines = "1 line was" if notes.count == 1 else f"{notes.count:,} lines were"
    say(f"{lines} skipped, the first at byte {first.offset} of {name}: {first.why}")


def _has_record(source: "Source") -> bool:
    from capture.scan import read

    return source.plain and next(read(source), None) is not None


# -- voices ------------------------------------------------------------------------------------------------------------------


def say(text: str) -> None:
    """A word to the user, on stderr."""
    click.echo(f"capture: {text}", err=True)


def coloured(stream: Any) -> bool:
    """Whether colours belong on a stream: a terminal, and nobody said no (https://no-color.org)."""
    return bool(stream.isatty()) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def paint(text: str, style: Style, stream: Any = None) -> str:
    """`text` in a style where colours belong."""
    if not coloured(stream or sys.stdout):
        return text
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
