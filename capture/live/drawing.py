"""How the arguments of a known call are drawn, as they stream: a command, a diff, a path, a list of things to do.

A drawing is told tokens and says inks. It begins behind the tool's name, on the same line. Whatever it does not expect it shows as
`key: value`, so that nothing is lost.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from capture.live.inks import Fresh, Ink, Put, Style
from capture.live.jsontext import Begin, End, Key, NotJson, Scalar, StringPiece, Token
from capture.live.lines import CommandLines, Lines, PatchLines
from capture.toolcalls import ABOUT, BEGIN, COMMAND, CONTENT, NEW, OLD, PATCH, PATH, SHELL_FLAGS, Sort

MARKS = {"completed": "☑", "done": "☑", "in_progress": "◐", "pending": "☐", "": "☐"}  # of things to do; ☐ is everything else
DOING = "activeForm"  # of Claude: the same thing in other words
TASK = ("content", "step", "title", "description", "text")  # what is to be done


@dataclass(slots=True)
class Drawing:
    """One call's arguments: what they look like so far."""

    sort: Sort | None
    on_header: bool = True  # the header's line is still open
    depth: int = 0
    held: list[str] = field(default_factory=list)  # of a command in words: those that may be a shell's
    line: bool = False  # the next word of a command is a shell's line
    worded: bool = False  # the beginning of a command in words is drawn
    text: Lines | PatchLines | None = None  # the string that is drawn now
    task: dict[str, str] = field(default_factory=dict)  # of a thing to do, while it is told
    saying: list[str] = field(default_factory=list)  # pieces of a string that is shown when it is whole
    script: CommandLines = field(default_factory=CommandLines)
    free: Lines | PatchLines | None = None  # what is no JSON
    key: str = ""  # the last one that was told
    open: bool = False  # nothing of its value was told
    empty: bool = False  # nothing has been told of the object or array that was opened last

    def feed(self, token: Token) -> Iterator[Ink]:
        empty, self.empty = self.empty, isinstance(token, Begin)
        match token:
            case StringPiece():
                yield from self._string(token)
            case Scalar(path, text):
                yield from self._scalar(path, text)
            case NotJson(text):
                yield from self._free(text)
            case Begin():
                self.depth += 1
            case End(bracket):
                self.depth -= 1
                if empty and self.depth:
                    yield from self._other(self.key, "{}" if bracket == "}" else "[]")
                yield from self._ended(bracket)
            case Key(_, text):
                self.key = text
        self.open = isinstance(token, Key)

    def close(self) -> Iterator[Ink]:
        """What was held where the arguments end, or were cut."""
        yield from self.script.close()
        if self.open:
            yield from self._other(self.key, "")
            self.open = False
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
            case "plan" if _is_of_a_task(path):
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
        yield from self._text(piece)

    def _text(self, piece: StringPiece) -> Iterator[Ink]:
        if self.sort != "shell":
            if piece.text:
                yield Put(piece.text, "value")
            return
        yield from self.script.feed(piece.text)
        if piece.last:
            yield from self.script.close()
            self.script = CommandLines()

    def _words(self, piece: StringPiece, name: str) -> Iterator[Ink]:
        """A command in words: of `bash -lc LINE` the line, the shell on the header."""
        if self.line:
            yield from self._shell(piece, name)
            self.line, self.worded = not piece.last, True
        elif self.worded:
            yield Put(" " * piece.first, "value")
            yield from self._text(piece)
        else:
            self.saying.append(piece.text)
            if piece.last:
                self.held.append("".join(self.saying))
                self.saying.clear()
                yield from self._two_words()

    def _two_words(self) -> Iterator[Ink]:
        """A shell and its flag, or what is run and its first argument; nothing before there are two."""
        if len(self.held) < 2:
            return
        words, self.held = self.held, []
        self.line = words[1] in SHELL_FLAGS
        self.worded = not self.line
        if self.worded:
            yield from self._command(("\n" if words[1].startswith(BEGIN) else " ").join(words), True)
        elif self.on_header:
            yield from self._header(" ".join(words))
        else:
            yield from self._other("", " ".join(words))

    def _command(self, text: str, first: bool) -> Iterator[Ink]:
        yield from self._shell(StringPiece((), text, first, True), "")

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
        if self.free is None:
            yield from self.script.close()
            self.on_header = False
            yield Fresh()
            if self.open:
                yield Put(f"  {self.key}: ", "quiet")
            self.free = PatchLines() if self.sort == "edit" else Lines("", "value")
        yield from self.free.feed(text)

    def _scalar(self, path: tuple[str | int, ...], text: str) -> Iterator[Ink]:
        if self.sort == "plan" and _is_of_a_task(path):
            self.task[_name(path)] = text
        else:
            yield from self._other(_name(path), text)

    # -- things to do -------------------------------------------------------------------------------------------------------------

    def _ended(self, bracket: str) -> Iterator[Ink]:
        if self.held:
            yield from self._command(" ".join(self.held), True)
            self.held.clear()
        self.line = self.worded = False
        if bracket == "}" and self.depth == 2:
            yield from self._task()

    def _task(self) -> Iterator[Ink]:
        """One thing to do, with its mark; what else is said of it stays quiet."""
        task, self.task = self.task, {}
        if task:
            text = next((task.pop(name) for name in TASK if name in task), "")
            mark = MARKS.get(status := task.pop("status", ""))
            if mark is None:
                mark, task["status"] = "☐", status
            self.on_header = False
            yield Fresh()
            yield Put(f"  {mark} ", "value")
            yield Put(text, "value")
            if rest := " · ".join(each if name == DOING else f"{name}: {each}" for name, each in task.items() if each != text):
                yield Put(f"  {rest}", "quiet")


def _is_of_a_task(path: tuple[str | int, ...]) -> bool:
    return len(path) == 3 and isinstance(path[1], int) and isinstance(path[2], str)


def _name(path: tuple[str | int, ...]) -> str:
    """The last key of a path: what a value is called, also as an item of a list."""
    return next((step for step in reversed(path) if isinstance(step, str)), "")
