"""How the arguments of a known call are drawn, as they stream: a command, a diff, a path, a list of things to do.

A drawing is told tokens and says inks. It begins behind the tool's name, on the same line. Whatever it does not expect it shows as
`key: value`, so that nothing is lost.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from capture.live.inks import Fresh, Ink, Put, Style
from capture.live.jsontext import Begin, End, Key, NotJson, Scalar, StringPiece, Token
from capture.toolcalls import ABOUT, COMMAND, CONTENT, NEW, OLD, PATCH, PATH, SHELL_FLAGS, Sort

MARKS = {"completed": "☑", "done": "☑", "in_progress": "◐"}  # of things to do; ☐ is everything else
TASK = ("content", "step", "title", "description", "text")  # what is to be done
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


def _split(text: str) -> list[str]:
    """Lines with their ends; only a newline ends one."""
    *lines, rest = text.split("\n")
    return [line + "\n" for line in lines] + ([rest] if rest else [])


@dataclass(slots=True)
class Drawing:
    """One call's arguments: what they look like so far."""

    sort: Sort | None
    on_header: bool = True  # the header's line is still open
    depth: int = 0
    held: list[str] = field(default_factory=list)  # of a command in words: those that may be a shell's
    text: Lines | PatchLines | None = None  # the string that is drawn now
    task: dict[str, str] = field(default_factory=dict)  # of a thing to do, while it is told
    saying: list[str] = field(default_factory=list)  # pieces of a string that is shown when it is whole

    def feed(self, token: Token) -> Iterator[Ink]:
        match token:
            case StringPiece():
                yield from self._string(token)
            case Scalar(path, text):
                yield from self._other(_name(path), text)
            case NotJson(text):
                yield from self._free(text)
            case Begin():
                self.depth += 1
            case End(bracket):
                self.depth -= 1
                yield from self._ended(bracket)
            case Key():
                pass

    def close(self) -> Iterator[Ink]:
        """What was held where the arguments end, or were cut."""
        if self.held:
            yield from self._command(" ".join(self.held), True)
            self.held.clear()
        if self.saying:
            yield from self._other("", "".join(self.saying))
            self.saying.clear()
        yield from self._task()

    # -- strings ------------------------------------------------------------------------------------------------------------------

    def _string(self, piece: StringPiece) -> Iterator[Ink]:
        name = _name(piece.path)
        draw = self._how(name, piece.path)
        yield from draw(piece, name)

    def _how(self, name: str, path: tuple[str | int, ...]) -> "Callable[[StringPiece, str], Iterator[Ink]]":
        match self.sort:
            case "shell" if name in COMMAND:
                return self._shell if isinstance(path[-1], str) else self._words
            case "edit" if name in OLD or name in NEW or name in CONTENT or name in PATCH:
                return self._lines
            case "plan" if len(path) == 3 and isinstance(path[1], int):
                return self._doing
            case "agent" if name in ("prompt", "message", "objective"):
                return self._shell
            case _:
                return self._named

    def _shell(self, piece: StringPiece, name: str) -> Iterator[Ink]:
        """A text that may have many lines, as it is."""
        if piece.first:
            self.on_header = False
            yield Fresh()
            yield Put("$ " if self.sort == "shell" else "  ", "quiet")
        if piece.text:
            yield Put(piece.text, "value")

    def _words(self, piece: StringPiece, name: str) -> Iterator[Ink]:
        """A command in words: of `bash -lc LINE` the line, the shell on the header."""
        number = piece.path[-1]
        if isinstance(number, int) and number < 2:
            self.saying.append(piece.text)
            if piece.last:
                self.held.append("".join(self.saying))
                self.saying.clear()
                if number == 1:
                    flags, words, self.held = self.held[1] in SHELL_FLAGS, " ".join(self.held), []
                    yield from self._header(words) if flags else self._command(words, True)
            return
        if number == 2 and self.on_header:
            yield from self._shell(piece, name)
        else:
            if piece.first:
                yield Put(" ", "value")
            yield Put(piece.text, "value")

    def _command(self, text: str, first: bool) -> Iterator[Ink]:
        yield from self._shell(StringPiece((), text, first, False), "")

    def _lines(self, piece: StringPiece, name: str) -> Iterator[Ink]:
        """Lines that are added, taken away, or a patch."""
        if piece.first or self.text is None:
            self.on_header = False
            yield Fresh()
            self.text = PatchLines() if name in PATCH else Lines("- ", "removed") if name in OLD else Lines("+ ", "added")
        yield from self.text.feed(piece.text)

    def _doing(self, piece: StringPiece, name: str) -> Iterator[Ink]:
        self.task[name] = self.task.get(name, "") + piece.text
        yield from ()

    def _named(self, piece: StringPiece, name: str) -> Iterator[Ink]:
        """A string that is shown when it is whole: on the header when the call is about it, else on a line of its own."""
        self.saying.append(piece.text)
        if piece.last:
            text = "".join(self.saying)
            self.saying.clear()
            if self.on_header and name in ABOUT and "\n" not in text:
                yield from self._header(text, "strong" if name in PATH else "value")
            else:
                yield from self._other(name, text)

    def _header(self, text: str, style: Style = "quiet") -> Iterator[Ink]:
        yield Put(" ", "quiet")
        yield Put(text, style)

    def _other(self, name: str, text: str) -> Iterator[Ink]:
        self.on_header = False
        yield Fresh()
        yield Put(f"  {name}: " if name else "  ", "quiet")
        yield Put(text, "quiet")

    def _free(self, text: str) -> Iterator[Ink]:
        """What is no JSON: a patch, a script."""
        if self.text is None:
            self.on_header = False
            yield Fresh()
            self.text = PatchLines() if self.sort == "edit" else Lines("", "value")
        yield from self.text.feed(text)

    # -- things to do -------------------------------------------------------------------------------------------------------------

    def _ended(self, bracket: str) -> Iterator[Ink]:
        if self.held:
            yield from self._command(" ".join(self.held), True)
            self.held.clear()
        if bracket == "}" and self.depth == 2:
            yield from self._task()

    def _task(self) -> Iterator[Ink]:
        """One thing to do, with its mark; what else is said of it stays quiet."""
        task, self.task = self.task, {}
        if task:
            text = next((task.pop(name) for name in TASK if name in task), "")
            mark = MARKS.get(task.pop("status", ""), "☐")
            self.on_header = False
            yield Fresh()
            yield Put(f"  {mark} ", "value")
            yield Put(text, "value")
            if rest := " · ".join(each for each in task.values() if each != text):
                yield Put(f"  {rest}", "quiet")


def _name(path: tuple[str | int, ...]) -> str:
    """The last key of a path: what a value is called, also as an item of a list."""
    return next((step for step in reversed(path) if isinstance(step, str)), "")
