"""`capture secrets`: what secrets stand in logs that exist already, and out with them."""

import gzip
import os
import shutil
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

import click

from capture.commands.base import directory_option, json_option, print_rows, say, table
from capture.files import LINES, Unusable
from capture.presence import living

if TYPE_CHECKING:
    from capture.cleansing import Cleansing

NOT_OURS = ("proxies",)  # folders of a log that hold nothing that was said
paths_argument = click.argument("paths", nargs=-1, metavar="[PATH …]", type=click.Path(path_type=Path))


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
    rows = []
    for path in _files(paths or (directory,)):
        cleansing = _cleansing()
        for _ in _cleaned(path, cleansing):
            pass
        rows += [{"file": str(path), "kind": kind, "count": count} for kind, count in cleansing.kinds.most_common()]
    if as_json:
        print_rows(rows)
    else:
        _show(rows)
    sys.exit(1 if rows else 0)


@secrets.command(short_help="Replace the secrets in a log by hashes.")
@directory_option
@paths_argument
def redact(directory: Path, paths: tuple[Path, ...]) -> None:
    """Replace the secrets in files or whole directories by hashes; all other bytes stay as they are.

    Each file is written anew beside the old one and then takes its place. No proxy may be recording there. With - it is a
    filter from stdin to stdout. Bodies of requests that held a secret can still be shown, but are no more proven by their SHA-256.
    """
    if paths == (Path("-"),):
        sys.stdout.buffer.writelines(_cleansing().lines(sys.stdin.buffer))
        return
    found: Counter[str] = Counter()
    changed = 0
    for where in paths or (directory,):
        _refuse_living(where)
        renamed, old = _bodies(where, found)
        for path in _files((where,)):
            cleansing = _cleansing(renamed)
            changed += path.parent.name != "bodies" and _rewritten(path, cleansing)
            found.update(cleansing.kinds)
        for body in old:
            body.unlink()
        if where.is_dir():
            shutil.rmtree(where / f"{LINES}.index", ignore_errors=True)  # made again by whoever reads
        changed += len(old)
    total = sum(found.values())
    kinds = ", ".join(f"{count} {kind}" for kind, count in found.most_common())
    say(f"{total:,} secrets replaced in {changed:,} files ({kinds})" if total else "no secrets found; nothing was changed")


def _cleansing(renamed: dict[str, str] | None = None) -> "Cleansing":
    from capture.cleansing import Cleansing
    from capture.redact import Redactor
    from capture.state import read_salt

    return Cleansing(Redactor(read_salt()), renamed or {})


def _files(paths: tuple[Path, ...]) -> Iterator[Path]:
    """The files that are meant, those of a directory in the order of their names."""
    for path in paths:
        if path.is_dir():
            for each in sorted(path.rglob("*")):
                inner = each.relative_to(path).parts
                if (
                    each.is_file()
                    and not each.is_symlink()
                    and not any(part in NOT_OURS or part.endswith(".index") for part in inner)
                ):
                    yield each
        elif path.is_file() or str(path) == "-":
            yield path
        else:
            raise Unusable(f"there is no {path}: name a log directory or a file")


def _cleaned(path: Path, cleansing: "Cleansing") -> Iterator[bytes]:
    """What a file holds, without secrets."""
    from capture.scan import Source

    if path.parent.name == "bodies":
        yield cleansing.text(path.read_bytes())
        return
    try:
        with Source(file=str(path)).open() as file:
            yield from cleansing.lines(file)
    except (OSError, EOFError) as problem:
        raise Unusable(f"cannot read {path} ({getattr(problem, 'strerror', None) or problem})") from None


def _bodies(where: Path, found: Counter[str]) -> tuple[dict[str, str], list[Path]]:
    """Writes the bodies that held secrets under their new names: (new names by old ones, the old files)."""
    from capture.cleansing import body

    renamed, old = {}, []
    for path in sorted(where.glob("bodies/*")) if where.is_dir() else ():
        cleansing, data = _cleansing(), path.read_bytes()
        name, clean = body(cleansing.redactor, data)
        if clean != data:
            cleansing.text(data)
            found.update(cleansing.kinds)
            _put(path.with_name(name), clean)
            renamed[path.name] = name
            old.append(path)
    return renamed, old


def _rewritten(path: Path, cleansing: "Cleansing") -> bool:
    """Whether a file was written anew, because something in it was a secret."""
    draft = path.with_name(f".{path.name}-{os.getpid()}")
    same = True
    try:
        with _opened(draft, path.suffix) as out:
            for line in _cleaned(path, cleansing):
                out.write(line)
            same = not cleansing.kinds and not cleansing.renamed
        if not same:
            os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)
    return not same


def _opened(draft: Path, suffix: str) -> IO[bytes]:
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    if suffix == ".gz":
        os.close(descriptor)
        return cast(IO[bytes], gzip.open(draft, "wb"))
    if suffix == ".zst":
        import zstandard

        return cast(IO[bytes], zstandard.ZstdCompressor().stream_writer(os.fdopen(descriptor, "wb")))
    return os.fdopen(descriptor, "wb")


def _put(path: Path, data: bytes) -> None:
    """A file with this content, whole or not at all."""
    draft = path.with_name(f".{path.name}-{os.getpid()}")
    with _opened(draft, "") as out:
        out.write(data)
    os.replace(draft, path)


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
