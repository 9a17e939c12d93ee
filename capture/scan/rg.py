"""ripgrep leaves out the lines that surely hold nothing of what is wanted; what it lets through is looked at once more."""

import re
import shutil
import subprocess
from collections.abc import Iterator

from capture.files import Unusable
from capture.packed import BUFFER
from capture.providers.base import Holds
from capture.scan import kinds
from capture.scan.base import Lines, Notes, Source
from capture.scan.kinds import Wanted

PLAIN = ("--no-config", "--color=never", "--no-heading", "--no-filename", "--no-line-number")
BYTES = ("--text", "--encoding=none", "--byte-offset", "--invert-match")  # lines with NUL bytes too, as they are


def lines(source: Source, wanted: Wanted, notes: Notes) -> Lines:
    """The lines that may hold what is wanted. Raises Unusable without `rg`."""
    path, program = source.lines, shutil.which("rg")
    if program is None:
        raise Unusable("there is no `rg` on PATH: install ripgrep, or choose another --engine")
    notes.total = size = source.size
    command = [program, *PLAIN, *BYTES, "--regexp", "(?-u)" + pattern(wanted), "--", str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=BUFFER) as process:
        assert process.stdout
        try:
            for found in process.stdout:
                at = found.index(b":")
                offset, raw = int(found[:at]), found[at + 1 :]
                if not wanted.line(raw):
                    continue
                if offset + len(raw) > size and offset + len(raw) > source.size:
                    raw = raw[:-1]  # it ends what has no end
                notes.read = offset
                yield offset, raw
            if process.wait() > 1:
                raise Unusable(f"rg cannot read {source.name}: choose another --engine")
        finally:
            process.kill()
    notes.read = size


def pattern(wanted: Wanted) -> str:
    """What the lines look like that hold nothing of what is wanted, or a part of them."""
    left_out = "|".join(unwanted(wanted))
    return rf'^\{{"event":"(?:{left_out})' if left_out else "^$"


def unwanted(wanted: Wanted) -> Iterator[str]:
    names = {shape.event for shapes in kinds.vocabularies() for shape in shapes}
    for name in sorted(names):
        if not name.endswith("*"):
            yield from _named(wanted, name)
        elif not any(
            wanted[other.rstrip("*").encode()] for other in names if other.startswith(name[:-1]) or name.startswith(other)
        ):
            yield _escaped(name[:-1])


def _named(wanted: Wanted, name: str) -> Iterator[str]:
    verdict = wanted[name.encode()]
    if verdict is False:
        yield _escaped(name) + '"'
    elif verdict is not True and len(verdict) == 1:
        for _, texts, holds in verdict[0]:
            if holds or not all(texts):
                return  # a line that fits a later shape may fit this one first
            for text in texts:
                yield _escaped(name) + '".*' + kinds.spaced(_escaped(text.decode()))


def _escaped(text: str) -> str:
    """A pattern for a text that both Rust's engine and RE2 take."""
    return re.escape(text).replace("\\ ", " ")


def worth(holds: Holds) -> bool:
    """Whether ripgrep can leave out much."""
    return not holds & (Holds.TEXT | Holds.REASONING | Holds.ARGUMENTS)
