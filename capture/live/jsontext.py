"""JSON that arrives in pieces, cut anywhere: strings decoded, tokens told, lines laid out, each as soon as it is known."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from json import JSONDecoder
from operator import itemgetter

from capture.live.inks import Ink, Put, Style
from capture.live.jsonlexer import Kind, Lexer, Raw

DEEP = 32  # levels that are indented and that a path names: in hostile nesting both would grow with its square


# -- the inside of a string --------------------------------------------------------------------------------------------------

HELD = 11  # characters: the longest escape that is cut, a high surrogate and a low one that lacks a digit: \ud83d\ude0
CUT = re.compile(  # lazily over whole escapes, so that the second backslash of a pair is never taken for the first of another
    r"(?:[^\\]|\\.)*?((?:\\u[dD][89abAB][0-9a-fA-F]{2})?(?:\\(?:u[0-9a-fA-F]{0,3})?)?)\Z", re.DOTALL
)
ESCAPES = re.compile(r"(?:\\u[0-9a-fA-F]{4})+|\\.", re.DOTALL)
LETTERS = {"\\n": "\n", "\\r": "\r", "\\t": "\t", "\\f": "\f", "\\b": "\b", '\\"': '"', "\\\\": "\\", "\\/": "/"}
SURROGATE = re.compile("[\ud800-\udfff]")
decode = JSONDecoder(strict=False).raw_decode


class TextDeltaNormalizer:
    r"""The text that the inside of a JSON string stands for: `\n \r \t \f \b \" \\ \/ \uXXXX` undone, surrogate pairs joined.

    A surrogate without its other half becomes U+FFFD; an unknown escape, and a bare quote, stay as they are.
    """

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held = ""

    def feed(self, text: str) -> str:
        """What is known of the text by now: all but an escape that is cut."""
        if self._held:
            text, self._held = self._held + text, ""
        if "\\" in text:
            known = _known(text)
            self._held = text[known:]
            text = _unescaped(text[:known])
        return _paired(text)

    def close(self) -> str:
        """What is still held: a cut escape, as it was told. Another string may follow."""
        text, self._held = self._held, ""
        return _paired(_unescaped(text))


def _known(text: str) -> int:
    """The length of the text without an escape at its end that may still go on."""
    if "\\" not in text[-6:]:
        return len(text)
    before = text[:-HELD]  # no escape that is cut begins in it; its last backslash may begin a whole one
    backslashes = len(before) - len(before.rstrip("\\"))
    cut = CUT.match(text, len(before) - backslashes % 2)
    assert cut is not None  # the group may be empty
    return cut.start(1)


def _unescaped(text: str) -> str:
    try:
        whole, end = decode(f'"{text}"')
    except ValueError:  # an unknown escape
        return ESCAPES.sub(_characters, text)
    return str(whole) if end == len(text) + 2 else ESCAPES.sub(_characters, text)  # a bare quote ended it


def _characters(escape: re.Match[str]) -> str:
    text = escape[0]
    if len(text) > 2:
        return bytes.fromhex(text.replace("\\u", "")).decode("utf-16-be", "replace")
    return LETTERS.get(text, text)


def _paired(text: str) -> str:
    return text if text.isascii() else SURROGATE.sub("\ufffd", text)


# -- what tokens mean --------------------------------------------------------------------------------------------------------

type Path = tuple[str | int, ...]
"""Where a value stands: keys and indices, from the outermost; no more than the first `DEEP` of them."""


@dataclass(slots=True)
class Begin:
    """An object or an array opens."""

    bracket: str  # { or [


@dataclass(slots=True)
class End:
    """An object or an array closes."""

    bracket: str  # } or ]


@dataclass(slots=True)
class Key:
    """A key is whole. Its value stands at `(*path, text)`."""

    path: Path  # of the object
    text: str


@dataclass(slots=True)
class StringPiece:
    """A piece of a string value, decoded. The first and the last may be empty; where the JSON is cut, there is no last one."""

    path: Path
    text: str
    first: bool
    last: bool


@dataclass(slots=True)
class Scalar:
    """A number, true, false, null, as it is written."""

    path: Path
    text: str


@dataclass(slots=True)
class NotJson:
    """A piece of what is no JSON, as it is: all that follows is told so."""

    text: str


type Token = Begin | End | Key | StringPiece | Scalar | NotJson


class JsonReader:
    """The tokens of one JSON value, each as soon as it is known. What is not iterated over is not read."""

    __slots__ = ("_decoder", "_key", "_lexer", "_steps")

    def __init__(self) -> None:
        self._lexer = Lexer()
        self._decoder = TextDeltaNormalizer()
        self._steps: list[str | int] = []  # for each bracket that is open: the key or the index that is read
        self._key: list[str] = []  # pieces of the key that is read

    def feed(self, text: str) -> Iterator[Token]:
        for kind, piece, first, last in self._lexer.feed(text):
            if (token := self._token(kind, piece, first, last)) is not None:
                yield token

    def close(self) -> Iterator[Token]:
        """What is held, where the text is cut: a number that nothing ended, the rest of a string, a key as it was told."""
        for kind, piece, first, last in self._lexer.close():
            if (token := self._token(kind, piece, first, last)) is not None:
                yield token
        if self._key:
            yield NotJson('"' + "".join(self._key))
        elif rest := self._decoder.close():
            yield StringPiece(self._path(), rest, False, False)

    def _token(self, kind: Kind, text: str, first: bool, last: bool) -> Token | None:
        match kind:
            case Kind.STRING:
                return self._string(text, first, last)
            case Kind.KEY:
                return self._whole_key(text, last)
            case Kind.SCALAR:
                return Scalar(self._path(), text)
            case Kind.OPEN:
                self._steps.append("" if text == "{" else 0)
                return Begin(text)
            case Kind.CLOSE:
                self._steps.pop()
                return End(text)
            case Kind.COMMA:
                self._next()
                return None
            case Kind.COLON:
                return None
            case Kind.NOT_JSON:
                return NotJson(text)

    def _string(self, text: str, first: bool, last: bool) -> StringPiece | None:
        text = self._decoder.feed(text)
        if last:
            text += self._decoder.close()
        return StringPiece(self._path(), text, first, last) if text or first or last else None

    def _whole_key(self, text: str, last: bool) -> Key | None:
        self._key.append(text)
        if not last:
            return None
        key = self._decoder.feed("".join(self._key)) + self._decoder.close()
        self._key.clear()
        self._steps[-1] = key
        return Key(tuple(self._steps[: min(DEEP, len(self._steps) - 1)]), key)

    def _next(self) -> None:
        """The next item of an array."""
        index = self._steps[-1]
        if isinstance(index, int):
            self._steps[-1] = index + 1

    def _path(self) -> Path:
        return tuple(self._steps[:DEEP])


# -- how tokens look ---------------------------------------------------------------------------------------------------------

STYLES: dict[Kind, Style] = {
    Kind.OPEN: "quiet",
    Kind.CLOSE: "quiet",
    Kind.COLON: "quiet",
    Kind.COMMA: "quiet",
    Kind.KEY: "key",
    Kind.STRING: "value",
    Kind.SCALAR: "value",
    Kind.NOT_JSON: "plain",
}


class JsonStreamFormatter:
    """JSON laid out as `json.dumps(indent=…)` would, one key or item a line, as it arrives, and of the same value.

    Strings and numbers stay as they are written. A line is begun when it is known that JSON follows, so that text which only
    looks like JSON at first stays as it is. No line is indented by more than `DEEP` levels.
    """

    __slots__ = ("_before", "_depth", "_indent", "_lexer")

    def __init__(self, indent: int = 2) -> None:
        self._lexer = Lexer()
        self._indent = " " * indent
        self._depth = 0
        self._before: Kind | None = None

    def feed(self, text: str) -> list[Ink]:
        return self._inks(self._lexer.feed(text))

    def close(self) -> list[Ink]:
        """What was held: a backslash, a number that nothing ended, whitespace that nothing followed."""
        return self._inks(self._lexer.close())

    def _inks(self, tokens: Iterable[Raw]) -> list[Ink]:
        styled: list[tuple[Style, str]] = []
        for kind, text, first, last in tokens:
            if first and (space := self._space(kind)):
                styled.append(("quiet", space))
            if kind is Kind.KEY or kind is Kind.STRING:
                text = '"' * first + text + '"' * last
            if text:
                styled.append((STYLES[kind], text))
        return [Put("".join(text for _, text in run), style) for style, run in groupby(styled, itemgetter(0))]

    def _space(self, kind: Kind) -> str:
        """What stands between the token before and this one."""
        before, self._before = self._before, kind
        self._depth += (before is Kind.OPEN) - (kind is Kind.CLOSE)
        if before is None or kind is Kind.COLON or kind is Kind.COMMA or (before is Kind.OPEN and kind is Kind.CLOSE):
            return ""
        return " " if before is Kind.COLON else "\n" + self._indent * min(self._depth, DEEP)
