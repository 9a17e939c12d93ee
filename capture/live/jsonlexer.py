"""JSON text that arrives in pieces → raw tokens, each as soon as it is known: what `JsonReader` and `JsonStreamFormatter` stand on.

RFC 8259, lenient where a model may be careless and nothing is lost by it: control characters in strings, unknown escapes, `NaN`
and `Infinity` pass. From the first place on where the text is no JSON, all of it is told as it is.

Nothing recurses, and no work grows with what came before: nesting and length are limited by memory alone.
"""

import re
from collections.abc import Iterator
from enum import StrEnum


class Kind(StrEnum):
    """What a raw token is."""

    OPEN = "a bracket opens"
    CLOSE = "a bracket closes"
    COLON = "a colon"
    COMMA = "a comma"
    KEY = "a piece of a key, without its quotes"
    STRING = "a piece of a string value, without its quotes"
    SCALAR = "a number, true, false, null"
    NOT_JSON = "a piece of what is no JSON"


class At(StrEnum):
    """What may come next."""

    VALUE = "a value"
    FIRST_ITEM = "a value or ]"
    FIRST_KEY = "a key or }"
    KEY = "a key"
    COLON = "a colon"
    MORE_ITEMS = "a comma or ]"
    MORE_MEMBERS = "a comma or }"
    END = "nothing"
    OVER = "a value is over: one of the three before, by what is open"


WORD = "w"  # a number, true, false, null
OVER = {"": At.END, "[": At.MORE_ITEMS, "{": At.MORE_MEMBERS}
NEXT = {  # what is not here is no JSON
    (At.VALUE, "{"): At.FIRST_KEY,
    (At.VALUE, "["): At.FIRST_ITEM,
    (At.VALUE, '"'): At.OVER,
    (At.VALUE, WORD): At.OVER,
    (At.FIRST_ITEM, "{"): At.FIRST_KEY,
    (At.FIRST_ITEM, "["): At.FIRST_ITEM,
    (At.FIRST_ITEM, '"'): At.OVER,
    (At.FIRST_ITEM, WORD): At.OVER,
    (At.FIRST_ITEM, "]"): At.OVER,
    (At.FIRST_KEY, '"'): At.COLON,
    (At.FIRST_KEY, "}"): At.OVER,
    (At.KEY, '"'): At.COLON,
    (At.COLON, ":"): At.VALUE,
    (At.MORE_ITEMS, ","): At.VALUE,
    (At.MORE_ITEMS, "]"): At.OVER,
    (At.MORE_MEMBERS, ","): At.KEY,
    (At.MORE_MEMBERS, "}"): At.OVER,
}
SPACES = " \t\n\r"
TOKEN = re.compile(r'[ \t\n\r]*+(?:(["{}\[\]:,])|([-0-9tfnNI][-+.0-9A-Za-z]*+))?')
MORE_OF_WORD = re.compile(r"[-+.0-9A-Za-z]*+")
SCALAR = re.compile(r"-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?(?:[eE][-+]?[0-9]++)?|true|false|null|NaN|-?Infinity")
INSIDE = re.compile(r'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)

type Raw = tuple[Kind, str, bool, bool]
"""A raw token: its kind, its text, whether this is the first piece of it, whether the last."""


SIGNS: dict[str, Raw] = {
    "{": (Kind.OPEN, "{", True, True),
    "[": (Kind.OPEN, "[", True, True),
    "}": (Kind.CLOSE, "}", True, True),
    "]": (Kind.CLOSE, "]", True, True),
    ":": (Kind.COLON, ":", True, True),
    ",": (Kind.COMMA, ",", True, True),
}


class Lexer:
    """JSON text → raw tokens. Whitespace between them is no token; what is no JSON takes the whitespace before it along."""

    __slots__ = ("_at", "_backslash", "_held", "_inside", "_lost", "_new", "_open", "_word")

    def __init__(self) -> None:
        self._at = At.VALUE
        self._open: list[str] = []  # the brackets
        self._inside: Kind | None = None  # a key or a string is being read,
        self._new = False  # and nothing of it has been told yet,
        self._backslash = ""  # and this ended the last piece
        self._word = False  # a number, true, false, null is being read
        self._held: list[str] = []  # whitespace since the last token, and the word after it
        self._lost = False  # this is no JSON

    def feed(self, text: str) -> Iterator[Raw]:
        if self._backslash:
            text, self._backslash = self._backslash + text, ""
        start, length = 0, len(text)
        while start < length or self._new:
            if self._inside is not None:
                inside, first = self._inside, self._new
                end, last = self._string(text, start)
                if start < end or first or last:
                    yield inside, text[start:end], first, last
                start = end + last + len(self._backslash)
            elif self._lost:
                yield Kind.NOT_JSON, text[start:], False, False
                return
            elif self._word:
                end = _end(MORE_OF_WORD, text, start)
                self._held.append(text[start:end])
                start = end
                if start < length:
                    yield self._whole_word()
            else:
                found = TOKEN.match(text, start)
                assert found is not None  # all of it is optional
                sign, word = found.groups()
                end = found.end()
                if not self._goes_on(sign or (word and WORD), end == length):
                    yield self._no_json(text[start:])
                    return
                if sign is None:
                    self._held.append(text[start:end])
                elif sign != '"':
                    yield SIGNS[sign]
                start = end

    def close(self) -> Iterator[Raw]:
        """What was held: a backslash, a number that nothing ended, whitespace that nothing followed."""
        if self._inside is not None and self._backslash:
            yield self._inside, self._backslash, False, False
        elif self._word:
            yield self._whole_word()
        elif self._held and self._at is At.VALUE and not self._open:
            yield self._no_json("")

    def _string(self, text: str, start: int) -> tuple[int, bool]:
        """Where this piece of the string ends, and whether the string does."""
        end = _end(INSIDE, text, start)
        last = text[end : end + 1] == '"'
        if last:
            self._inside = None
        else:
            self._backslash = text[end:]
        self._new = False
        return end, last

    def _goes_on(self, signal: str | None, is_end: bool) -> bool:
        """Whether JSON may go on with this; None: with whitespace, or what is never in JSON."""
        if signal is None:
            return is_end
        then = NEXT.get((self._at, signal))
        if then is None:
            return False
        match signal:
            case "{" | "[":
                self._open.append(signal)
            case "}" | "]":
                self._open.pop()
            case "w":
                self._word = True
            case '"':
                self._inside, self._new = Kind.KEY if then is At.COLON else Kind.STRING, True
        if signal != WORD:
            self._held.clear()
        self._at = OVER[self._open[-1] if self._open else ""] if then is At.OVER else then
        return True

    def _whole_word(self) -> Raw:
        self._word = False
        word = "".join(self._held).lstrip(SPACES)
        if not SCALAR.fullmatch(word):
            return self._no_json("")
        self._held.clear()
        return Kind.SCALAR, word, True, True

    def _no_json(self, rest: str) -> Raw:
        self._lost = True
        text = "".join(self._held) + rest
        self._held.clear()
        return Kind.NOT_JSON, text, False, False


def _end(pattern: re.Pattern[str], text: str, start: int) -> int:
    found = pattern.match(text, start)
    assert found is not None  # all of it is optional
    return found.end()
