"""`capture secrets`: what secrets stand in logs that exist already, and out with them."""

import re
import shutil
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

import click

from capture.commands.base import print_rows, say, table
from capture.commands.options import A_PATH, directory_option, json_option
from capture.files import LINES, Unusable, written_whole
from capture.packed import DAMAGED, packing_of, written
from capture.presence import living
from capture.rotated import PACKED, RENAMED

if TYPE_CHECKING:
    from capture.cleansing import Cleansing

NOT_OURS = ("proxies",)  # folders of a log that hold nothing that was said
OURS = re.compile(rf"[^.].*\.jsonl({RENAMED})?({PACKED})?|.*\.bad|sse_logger\.error")  # of a directory; other files are not logs
BODY = re.compile(r"[0-9a-f]{64}")
DRAFT = re.compile(r"\.(.+)-\d+")
paths_argument = click.argument("paths", nargs=-1, metavar="[PATH …]", type=A_PATH)


@click.group(short_help="Find secrets in older logs; take them out.")
def secrets() -> None:
    """Find secrets in logs that exist already, and take them out.

    A recording holds none of those known when it was made; this looks with today's rules, and into logs of other tools.
    """


@secrets.command(short_help="Count the secrets in a log, by kind.")
@directory_option
@json_option
@paths_argument
def scan(directory: Path, as_json: bool, paths: tuple[Path, ...]) -> None:
    """Count the secrets in files or whole directories, by kind; they are never shown. Exit status 1 when there are any.

    PATH is a file of any of the three dialects (also .gz, .zst, - for stdin) or a directory; without one, the log directory.
    """
    rows: list[dict[str, object]] = []
    problems = Problems()
    for path in _files(paths or (directory,), problems):
        cleansing = _cleansing()
        with problems.of(path):
            for _ in _cleaned(path, cleansing):
                pass
        rows += [{"file": str(path), "kind": kind, "count": count} for kind, count in cleansing.kinds.most_common()]
    if as_json:
        print_rows(rows)
    else:
        _show(rows)
    problems.say()
    sys.exit(2 if problems.unread else 1 if rows else 0)


@secrets.command(short_help="Replace the secrets in a log by hashes.")
@directory_option
@paths_argument
def redact(directory: Path, paths: tuple[Path, ...]) -> None:
    """Replace the secrets in files or whole directories by hashes; all other lines stay as they are.

    Each file is written anew beside the old one and then takes its place. No proxy may be recording there. With - it is a
    filter from stdin to stdout. Bodies of requests that held a secret can still be shown, but are no more proven by their SHA-256.
    """
    if Path("-") in paths:
        if len(paths) > 1:
            raise click.UsageError("- is a filter from stdin to stdout: name nothing beside it")
        sys.stdout.buffer.writelines(_cleansing().lines(sys.stdin.buffer))
        return
    found: Counter[str] = Counter()
    changed, problems = 0, Problems()
    for where in [path.resolve() for path in paths or (directory,)]:  # a link leads to what is meant
        if where.parent.name == "bodies":
            raise Unusable(f"{where} is named by what it holds, and referred to by that name: name its log directory")
        _refuse_living(where)
        _sweep(where)
        renamed, old = _bodies(where, found)
        for path in _files((where,), problems):
            if path.parent.name != "bodies":
                cleansing = _cleansing(renamed)
                with problems.of(path):
                    changed += _rewritten(path, cleansing)
                    found.update(cleansing.kinds)
        for body in old:
            body.unlink()
        if where.is_dir():
            shutil.rmtree(where / f"{LINES}.index", ignore_errors=True)  # made again by whoever reads
        changed += len(old)
    total = sum(found.values())
    kinds = ", ".join(f"{count} {kind}" for kind, count in found.most_common())
    say(f"{total:,} secrets replaced in {changed:,} files ({kinds})" if total else "no secrets found; nothing was changed")
    problems.say()
    sys.exit(2 if problems.unread else 0)


class Problems:
    """What could not be read, and what was left alone: the rest is done all the same."""

    def __init__(self) -> None:
        self.unread: list[str] = []
        self.left = 0  # files that are no logs

    @contextmanager
    def of(self, path: Path) -> Iterator[None]:
        try:
            yield
        except (*DAMAGED, Unusable) as problem:
            self.unread.append(f"{path} ({getattr(problem, 'strerror', None) or problem})")

    def say(self) -> None:
        for each in self.unread:
            say(f"cannot be read or written, left as it is: {each}")
        if self.left:
            say(f"{self.left:,} other files are no logs: not looked into")


def _cleansing(renamed: dict[str, str] | None = None) -> "Cleansing":
    from capture.cleansing import Cleansing
    from capture.redact import Redactor
    from capture.state import read_salt

    return Cleansing(Redactor(read_salt()), renamed or {})


def _files(paths: tuple[Path, ...], problems: Problems) -> Iterator[Path]:
    """The files that are meant, those of a directory in the order of their names."""
    for path in paths:
        if path.is_dir():
            for each in sorted(path.rglob("*")):
                inner = each.relative_to(path).parts
                if each.is_symlink() or not each.is_file() or any(part in NOT_OURS or part.endswith(".index") for part in inner):
                    continue
                if OURS.fullmatch(each.name) or (each.parent.name == "bodies" and BODY.fullmatch(each.name)):
                    yield each
                else:
                    problems.left += 1
        elif path.is_file() or str(path) == "-":
            yield path
        else:
            raise Unusable(f"there is no {path}: name a log directory or a file")


def _cleaned(path: Path, cleansing: "Cleansing") -> Iterator[bytes]:
    """What a file holds, without secrets. Raises one of DAMAGED, Unusable."""
    from capture.scan import Source

    if path.parent.name == "bodies":
        yield cleansing.text(path.read_bytes())
        return
    with Source(file=str(path)).open() as file:
        yield from cleansing.lines(_text(path, file))


def _text(path: Path, file: IO[bytes]) -> Iterator[bytes]:
    """The lines of a file. Raises Unusable for one that is no text: a hash has another length than what it replaces."""
    for number, line in enumerate(file):
        if number == 0 and b"\0" in line[:4096] and not OURS.fullmatch(path.name):
            raise Unusable("it is no text")
        yield line


def _sweep(where: Path) -> None:
    """Takes away what a run that was killed had begun to write."""
    folder = where if where.is_dir() else where.parent
    for draft in folder.rglob(".*-*"):
        name = DRAFT.fullmatch(draft.name)
        if name and draft.with_name(name[1]).exists():
            draft.unlink(missing_ok=True)


def _bodies(where: Path, found: Counter[str]) -> tuple[dict[str, str], list[Path]]:
    """Writes the bodies that held secrets under their new names: (new names by old ones, the old files)."""
    from capture.cleansing import body

    renamed, old = {}, []
    for path in sorted(where.rglob("bodies/*")) if where.is_dir() else ():
        if not BODY.fullmatch(path.name) or path.is_symlink():
            continue
        cleansing, data = _cleansing(), path.read_bytes()
        name, clean = body(cleansing.redactor, data)
        if clean != data:
            cleansing.text(data)
            found.update(cleansing.kinds)
            with written_whole(path.with_name(name)) as draft:
                draft.write_bytes(clean)
            renamed[path.name] = name
            old.append(path)
    return renamed, old


class _Same(Exception):
    """There is nothing to write anew."""


def _rewritten(path: Path, cleansing: "Cleansing") -> bool:
    """Whether a file was written anew, because something in it was a secret."""
    with suppress(_Same), written_whole(path) as draft:
        with written(draft, packing_of(path)) as out:
            for line in _cleaned(path, cleansing):
                out.write(line)
        if not cleansing.kinds and not cleansing.renamed:
            raise _Same
        return True
    return False


def _refuse_living(where: Path) -> None:
    """Raises Unusable while a proxy records to the log that this is, or is in."""
    for directory in (where, *where.absolute().parents):
        if (directory / "proxies").is_dir() and (proxies := living(directory)):
            raise Unusable(f"a proxy (process {proxies[0]['pid']}) records to {directory}: end it first")


def _show(rows: list[dict[str, object]]) -> None:
    if not rows:
        say("no secrets found")
        return
    table(("kind", "count", "file"), [(str(row["kind"]), f"{row['count']:,}", str(row["file"])) for row in rows], "file")
    total = sum(cast(int, row["count"]) for row in rows)
    say(f"{total:,} secrets in {len({row['file'] for row in rows}):,} files: capture secrets redact takes them out")
