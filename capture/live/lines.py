"""Text that comes in pieces → inks, line by line: lines that are added or removed, a patch, a command with a patch in it."""

from collections.abc import Iterator

from capture.live.inks import Ink, Put, Style
from capture.toolcalls import BEGIN

ENDED = "*** End Patch"
SIGNS: dict[str, Style] = {"+": "added", "-": "removed", "*": "strong", "@": "quiet"}  # how lines of a patch begin


class Lines:
    """Text by lines, each with a sign before it; a line may come in pieces."""

    def __init__(self, sign: str, style: Style) -> None:
        self._sign = sign
        self._style = style
        self._begun = False

    def feed(self, text: str) -> Iterator[Ink]:
        for line in text.splitlines(keepends=True) if text.isascii() else _split(text):
            if not self._begun:
                yield Put(self._sign, self._style)
            yield Put(line, self._style)
            self._begun = not line.endswith("\n")


class PatchLines:
    """The lines of a patch, each coloured by its first character."""

    def __init__(self) -> None:
        self._style: Style | None = None  # of the line that is open

    def feed(self, text: str) -> Iterator[Ink]:
        for line in _split(text):
            if self._style is None:
                self._style = SIGNS.get(line[0], "plain")
            yield Put(line, self._style)
            if line.endswith("\n"):
                self._style = None


class CommandLines:
    """The lines of a command; those of a patch in it (`apply_patch <<EOF`) are coloured as such."""

    def __init__(self) -> None:
        self._style: Style | None = None  # of the line that is open
        self._begun = ""  # of a line that may be a patch's first or last
        self._patched = False

    def feed(self, text: str) -> Iterator[Ink]:
        for piece in _split(text):
            if self._style is None:
                line, self._begun = self._begun + piece, ""
                if (ENDED if self._patched else BEGIN).startswith(line):
                    self._begun = line
                    continue
                yield from self._line(line)
            else:
                yield Put(piece, self._style)
            if piece.endswith("\n"):
                self._style = None

    def close(self) -> Iterator[Ink]:
        """What was held of the last line."""
        line, self._begun = self._begun, ""
        if line:
            yield from self._line(line)

    def _line(self, line: str) -> Iterator[Ink]:
        begins, ends = line.startswith(BEGIN), line.startswith(ENDED)
        inside = self._patched or begins
        self._style = SIGNS.get(line[0], "plain") if inside else "value"
        self._patched = inside and not ends
        yield Put(line, self._style)


def _split(text: str) -> list[str]:
    """Lines with their ends; only a newline ends one."""
    *lines, rest = text.split("\n")
    return [line + "\n" for line in lines] + ([rest] if rest else [])
