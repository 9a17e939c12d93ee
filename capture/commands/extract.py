"""`capture extract`: all kinds of facts, in one pass."""

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import IO, TYPE_CHECKING

import click

from capture.commands.answers import heard
from capture.commands.base import say, short
from capture.commands.options import Asked, source_options

if TYPE_CHECKING:
    from capture.extract import Kind
    from capture.scan import Item, Notes, Source

type Files = dict[str, IO[bytes]]  # by kind
type Counts = dict[str, int]  # rows, by the same names

PRINTED = "rows"  # the one name among `Files` when all kinds go to stdout
QUIET = 2.0  # seconds that may pass before progress is told
AGAIN = 0.5  # seconds between two words about it
LOOK = 1024  # items between two looks at the clock


@click.command(short_help="Find facts of 28 kinds, in one pass.")
@click.option("--kinds", "names", default="all", show_default=True, metavar="A,B", help="Which kinds (see `capture kinds`).")
@click.option(
    "-o",
    "--out-dir",
    "out",
    type=click.Path(path_type=Path, file_okay=False, allow_dash=True),
    default=Path("extract"),
    show_default=True,
    help="Where their files go; - for stdout.",
)
@click.argument("dash", type=click.Choice(["-"]), required=False, metavar="[-]")
@source_options
def extract(asked: Asked, names: str, out: Path, dash: str | None) -> None:
    """Find facts in the log: one file KIND.jsonl for each kind, or with - all on stdout, each row with its `kind`.

    An exchange belongs to the time when it was asked, a call to when the model made it: --since and --until go by that.
    Rows stand in the order in which they became known. `capture kinds` lists the kinds, `capture kinds KIND` their fields.
    """
    from capture import filters, scan
    from capture.extract import chosen, holds_of
    from capture.extract.keeping import keeps
    from capture.extract.sharing import processes

    kinds, to_stdout = chosen(names), bool(dash) or str(out) == "-"
    holds, notes = holds_of(kinds), scan.Notes()
    with filters.rereadable(asked.source) if asked.filter.session else nullcontext(asked.source) as source:
        source.check()
        sids = filters.sids(source, asked.filter.session)
        several = processes(source, holds, asked.engine) if sids is None else 1
        with _printed() if to_stdout else _files(out.expanduser(), [kind.name for kind in kinds]) as files:
            if several > 1:
                counts = _by_several(several, asked, kinds, notes, files)
            elif sids is None and not _within(asked) and keeps(source, kinds, asked.engine):
                counts = _kept(source, kinds[0], notes, files)
            else:
                items = scan.read(source, holds, engine=asked.engine, sids=sids, notes=notes)
                counts = _alone(items, asked, kinds, notes, files)
    total = sum(counts.values())
    heard(asked, notes, bool(total))
    if not to_stdout:
        written = "1 file" if len(kinds) == 1 else f"{len(kinds)} files"
        say(f"{total:,} row{'' if total == 1 else 's'} in {written} in {short(str(out))}")
        say(", ".join(f"{kind.name} {counts[kind.name]:,}" for kind in kinds))


def _alone(items: "Iterable[Item]", asked: Asked, kinds: "Iterable[Kind]", notes: "Notes", files: Files) -> Counts:
    """One pass by this process: how many rows there are, by file."""
    from capture.extract import extract as found
    from capture.extract import json_line
    from capture.turns import run

    counts, printed = dict.fromkeys(files, 0), files.get(PRINTED)
    for kind, row in found(run(_watched(items, notes)), kinds, _within(asked)):
        if printed:
            printed.write(json_line({"kind": kind, **row}))
        else:
            files[kind].write(json_line(row))
        counts[PRINTED if printed else kind] += 1
    return counts


def _kept(source: "Source", kind: "Kind", notes: "Notes", files: Files) -> Counts:
    """The rows of a kind that is kept beside the log: how many there are."""
    from capture.extract.keeping import rows

    (name,) = files
    head, count = b'{"kind":"%s",' % kind.name.encode(), 0
    for line in rows(source, kind, notes, _watched):
        files[name].write(head + line[1:] if name == PRINTED else line)
        count += 1
    return {name: count}


def _by_several(several: int, asked: Asked, kinds: "tuple[Kind, ...]", notes: "Notes", files: Files) -> Counts:
    """One pass by several processes, whose rows are put together afterwards: how many there are, by file."""
    from tempfile import TemporaryDirectory

    from capture.extract.sharing import merged, share

    with TemporaryDirectory(prefix="sse-capture-") as folder:
        done = share(asked.source, kinds, _within(asked), several, Path(folder), PRINTED in files, _watched)
        for each in done:
            notes.bad += each.notes.bad
            notes.count += each.notes.count
        notes.bad.sort(key=lambda bad: (bad.file, bad.offset))
        return {name: merged(done, name, file) for name, file in files.items()}


def _within(asked: Asked) -> "Callable[[str], bool] | None":
    return asked.filter.within if asked.filter.since or asked.filter.until else None


# -- where rows go -----------------------------------------------------------------------------------------------------------


@contextmanager
def _printed() -> Iterator[Files]:
    """All rows go to stdout."""
    sys.stdout.flush()
    yield {PRINTED: sys.stdout.buffer}
    sys.stdout.buffer.flush()


@contextmanager
def _files(out: Path, names: list[str]) -> Iterator[Files]:
    """A file to write for each name, 0600. What was there before stays until all are whole."""
    from capture.files import Unusable

    parts = {name: out / f".{name}.jsonl.{os.getpid()}" for name in names}
    files: Files = {}
    try:
        out.mkdir(0o700, parents=True, exist_ok=True)
        for name, part in parts.items():
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
            files[name] = os.fdopen(os.open(part, flags, 0o600), "wb", 1 << 18)
        yield files
        for file in files.values():
            file.close()
        for name, part in parts.items():
            part.replace(out / f"{name}.jsonl")
    except OSError as error:
        raise Unusable(f"cannot write to {out} ({error.strerror}): choose another directory with --out-dir") from None
    finally:
        for name, file in files.items():
            file.close()
            parts[name].unlink(missing_ok=True)


# -- how far it is -----------------------------------------------------------------------------------------------------------


def _watched(items: "Iterable[Item]", notes: "Notes") -> "Iterator[Item]":
    """The items; on a terminal it is told how far reading is, when that takes long."""
    if not sys.stderr.isatty():
        yield from items
        return
    due = time.monotonic() + QUIET
    told = False
    try:
        for number, item in enumerate(items):
            if number % LOOK == 0 and time.monotonic() > due:
                done = f"{100 * notes.read // notes.total} %" if notes.total else f"{notes.read / 1e6:,.0f} MB"
                sys.stderr.write(f"\r\033[Kcapture: {done} read")
                sys.stderr.flush()
                due, told = time.monotonic() + AGAIN, True
            yield item
    finally:
        if told:
            sys.stderr.write("\r\033[K")
