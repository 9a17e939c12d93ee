"""Where a text could still become what a pattern matches: the pattern of its beginnings, made from the pattern itself.

    sk-[a-z]{8,}  ──▶  s(?:k(?:-(?:[a-z]{1,})?)?)?

A rule stays one entry in its table: nobody writes its beginnings by hand, and none can be forgotten. The pattern is read by the
parser of Python's own `re` (hypothesis does the same), and written again as text that both `re` and RE2 compile.
"""

import re
from re import _constants as sre  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any, NamedTuple

type Item = tuple[Any, Any]  # what the parser gives: an operation and its argument

PLACES = {sre.AT_BEGINNING: "^", sre.AT_END: "$", sre.AT_BOUNDARY: r"\b"}
CLASSES = {sre.CATEGORY_SPACE: r"\s", sre.CATEGORY_WORD: r"\w", sre.CATEGORY_DIGIT: r"\d"}


class Opening(NamedTuple):
    """How a text ends that could still become a match."""

    pattern: str  # what must stand before group 1, then any beginning of group 1, not none; to be anchored at the text's end
    lead: int  # characters of group 1 that are the same in every match: they alone give nothing away


def opening(pattern: str) -> Opening:
    """The beginnings of group 1 of `pattern`, behind all that must stand before it; what must follow it is left out.

    Raises ValueError for a pattern whose group 1 is not one of its top-level items, or that holds what is not known here.
    """
    parsed = parser.parse(pattern)
    at = next((index for index, (op, value) in enumerate(parsed) if op is sre.SUBPATTERN and value[0] == 1), None)
    if at is None:
        raise ValueError(f"group 1 stands inside another: {pattern}")
    secret = list(parsed[at][1][3])
    case = "(?i)" if parsed.state.flags & re.IGNORECASE else ""
    return Opening(f"{case}{_whole(parsed[:at])}({_begun(secret)})", _lead(secret))


def beginning(pattern: str) -> str:
    """The beginnings of all that `pattern` matches, at least a character. A first item that `"` or `:"` matches is not enough.

    For where a text begins, these stand before it (in JSON): what follows that item is seen without anything that came before.
    """
    parsed = parser.parse(pattern)
    items = list(parsed)
    case = "(?i)" if parsed.state.flags & re.IGNORECASE else ""
    if any(re.fullmatch(case + _text(items[0]), before) for before in ('"', ':"')):
        return f"{case}{_text(items[0])}(?:{_begun(items[1:])})"
    return f"{case}(?:{_begun(items)})"


def _begun(items: list[Item]) -> str:
    """Some of the items, at least a character, up to all of them."""
    rest = ""
    for item in reversed(items):
        if _is_character(item):
            rest = f"{_text(item)}(?:{rest})?" if rest else _text(item)
        elif item[0] is sre.AT:  # it takes nothing
            rest = f"{_text(item)}(?:{rest})" if rest else ""
        else:
            rest = f"{_some(item)}|{_text(item)}(?:{rest})" if rest else _some(item)
    return rest


def _some(item: Item) -> str:
    """All beginnings of what one item matches, at least a character."""
    operation, value = item
    if operation is sre.BRANCH:
        return "(?:" + "|".join(filter(None, (_begun(list(branch)) for branch in value[1]))) + ")"
    if operation is sre.SUBPATTERN:
        return f"(?:{_begun(list(value[3]))})"
    if operation in (sre.MAX_REPEAT, sre.MIN_REPEAT):
        _, most, repeated = value
        if len(repeated) == 1 and _is_character(repeated[0]):
            return _whole(repeated) + _counted(1, most)
        fewer = most if most is sre.MAXREPEAT else most - 1
        return f"(?:{_whole(repeated)}){_counted(0, fewer)}(?:{_begun(list(repeated))})"
    raise ValueError(f"cannot take the beginnings of {operation}")


def _whole(items: Any) -> str:
    return "".join(_text(item) for item in items)


def _text(item: Item) -> str:
    """The pattern of an item as text again."""
    operation, value = item
    if operation is sre.AT and value in PLACES:
        return PLACES[value]
    if operation is sre.ANY:
        return "."
    if operation is sre.LITERAL:
        return _character(value)
    if operation is sre.NOT_LITERAL:
        return f"[^{_character(value)}]"
    if operation is sre.IN:
        return "[" + "".join(_member(member) for member in value) + "]"
    if operation is sre.BRANCH:
        return "(?:" + "|".join(_whole(branch) for branch in value[1]) + ")"
    if operation is sre.SUBPATTERN:
        return f"(?:{_whole(value[3])})"
    if operation in (sre.MAX_REPEAT, sre.MIN_REPEAT):
        least, most, repeated = value
        lazy = "?" if operation is sre.MIN_REPEAT else ""
        return f"(?:{_whole(repeated)}){_counted(least, most)}{lazy}"
    raise ValueError(f"cannot take the beginnings of {operation}")


def _member(item: Item) -> str:
    """A member of a character class."""
    operation, value = item
    if operation is sre.NEGATE:
        return "^"
    if operation is sre.RANGE:
        return f"{_character(value[0])}-{_character(value[1])}"
    if operation is sre.CATEGORY and value in CLASSES:
        return CLASSES[value]
    if operation is sre.LITERAL:
        return _character(value)
    raise ValueError(f"cannot take the beginnings of {operation} in a class")


def _character(code: int) -> str:
    character = chr(code)
    return character if character.isascii() and (character.isalnum() or character == "_") else f"\\x{code:02x}"


def _counted(least: int, most: Any) -> str:
    return f"{{{least},{'' if most is sre.MAXREPEAT else most}}}"


def _is_character(item: Item) -> bool:
    return item[0] in (sre.LITERAL, sre.NOT_LITERAL, sre.IN, sre.ANY)


def _lead(items: list[Item]) -> int:
    """How many characters at the beginning can only be these; of several ways the shortest."""
    length = 0
    for operation, value in items:
        if operation is sre.LITERAL:
            length += 1
        elif operation is sre.BRANCH:
            return length + min(_lead(list(branch)) for branch in value[1])
        elif operation is sre.SUBPATTERN:
            inner = list(value[3])
            length += _lead(inner)
            if not all(each[0] is sre.LITERAL for each in inner):
                return length
        else:
            return length
    return length
