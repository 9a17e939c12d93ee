"""Options that several commands have: where the log is, what part of it, what a proxy records."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from capture.commands.base import say
from capture.files import LINES, Unusable, default_directory
from capture.rotated import old_parts

if TYPE_CHECKING:
    from capture.filters import Filter
    from capture.scan import Source

type Command[**P, R] = Callable[P, R]


class AnyPath(click.Path):
    """A path; a shell leaves the `~` of `--dir=~/logs` to us."""

    def __init__(self, *, file: bool = True, directory: bool = True) -> None:
        super().__init__(file_okay=file, dir_okay=directory, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            path = Path(value).expanduser()
        except RuntimeError:  # `~nobody/logs`
            self.fail(f"{value}: there is no such user", param, ctx)
        return super().convert(path, param, ctx)


A_FILE, A_DIRECTORY, A_PATH = AnyPath(directory=False), AnyPath(file=False), AnyPath()


def absolute(context: click.Context, parameter: click.Parameter, path: Path | None) -> Path | None:
    """The path as another process must see it too, and as it is when we have gone elsewhere."""
    return path and path.absolute()


class Seconds(click.FloatRange):
    """A length of time: `nan` is in every range, and is none."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        seconds: float = super().convert(value, param, ctx)
        if not isfinite(seconds):
            self.fail(f"{value} is no length of time", param, ctx)
        return seconds


def directory_option[**P, R](command: Command[P, R]) -> Command[P, R]:
    """`--dir`: the log directory."""
    return click.option(
        "--dir",
        "directory",
        type=A_PATH,
        callback=absolute,
        default=lambda: default_directory(dict(os.environ)),
        show_default="$SSE_LOG_DIR, else ~/centralized-logs/all-mitm-sse",
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
        type=A_PATH,
        callback=absolute,
        default=_default_confdir,
        show_default="~/.mitmproxy",
        help="mitmproxy's folder, with its CA.",
    )(command)


def json_option[**P, R](command: Command[P, R]) -> Command[P, R]:
    """`--json`: for programs."""
    return click.option("--json", "as_json", is_flag=True, help="One JSON object a line, for programs.")(command)


# -- streams -------------------------------------------------------------------------------------------------------------------

stream_argument = click.argument("url", required=False, metavar="[redis://HOST:PORT/DB?stream=NAME]")


def begin_option(words: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """`--from`: where a stream or a log is begun; `words` say when."""
    return click.option(
        "--from",
        "start",
        type=click.Choice(["start", "now"]),
        default="start",
        show_default=True,
        help=f"{words}; later it goes on where it was.",
    )


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

    whole: Callable[..., R] = rotated_option(from_option(filled))
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


def rotated_option[R](command: Callable[..., R]) -> Callable[..., R]:
    """`--rotated`: a log with all that was rotated away from it, as the directory that `command` gets, gone afterwards."""

    @wraps(command)
    def filled(with_rotated: bool, directory: Path, **own: Any) -> R:
        instead = next((name for name in ("url", "file") if own.get(name) is not None), None)
        if not with_rotated:
            if instead is None and (parts := len(old_parts(directory, LINES))):
                some = "1 older part of this log is" if parts == 1 else f"{parts} older parts of this log are"
                say(f"{some} not read: --rotated reads all of it")
            return command(directory=directory, **own)
        if instead:
            raise click.UsageError(f"either --rotated or {'--from' if instead == 'url' else '--file'}")
        with joined(directory) as copy:
            return command(directory=copy, **own)

    words = "Also what was rotated away from the log: its parts are joined in a copy."
    return click.option("--rotated", "with_rotated", is_flag=True, help=words)(filled)


@contextmanager
def joined(directory: Path) -> Iterator[Path]:
    """A log with all that was rotated away from it, as a directory that is gone afterwards. Raises Unusable."""
    from tempfile import TemporaryDirectory

    from capture.rotating import join
    from capture.scan import Source

    Source(directory).check()
    with TemporaryDirectory(prefix="sse-capture-") as copy:
        try:
            broken = join(directory, Path(copy))
        except OSError as problem:
            raise Unusable(f"cannot copy the parts of {directory} to {copy} ({problem.strerror}): set TMPDIR") from None
        for part, why in broken.items():
            say(f"{part} cannot be read any further: {why}")
        yield Path(copy)


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
