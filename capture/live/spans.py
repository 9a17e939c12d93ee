"""Lines of styled text that fit: broken, cut, spread to both ends, with what is searched standing out."""

from bisect import bisect_left
from collections.abc import Iterable

from rich.cells import cell_len, split_graphemes

type Span = tuple[str, str]  # text without newlines or control characters, style

# What makes one sign of several characters, or another one of it: some terminals draw one, others each by itself.
JOINING = (0x200D, 0xFE0E, 0xFE0F, *range(0x1F3FB, 0x1F400))  # zero-width joiner, variants, tones of skin
FLAGS = {0x1F1E6 + at: chr(ord("A") + at) for at in range(26)}  # two of these are one flag, or two letters
_STEADY = {**dict.fromkeys(JOINING), **FLAGS}


def steady(text: str) -> str:
    """A text that is as wide in every terminal: emoji one by one, without tones and variants."""
    return text if text.isascii() else text.translate(_STEADY)


def cut(text: str, width: int) -> str:
    """The beginning of a text, no wider than that; `…` says that there is more."""
    if cell_len(text) <= width:
        return text
    return text[: _end(split_graphemes(text)[0], width - 1)] + "…" if width > 0 else ""


def cut_left(text: str, width: int) -> str:
    """The end of a text, no wider than that; `…` says that there was more."""
    if cell_len(text) <= width:
        return text
    room, begin = width - 1, len(text)
    for start, _, size in reversed(split_graphemes(text)[0]):
        room -= size
        if room < 0:
            break
        begin = start
    return "…" + text[begin:].lstrip() if width > 0 else ""


def _end(cells: list[tuple[int, int, int]], room: int) -> int:
    end = 0
    for _, stop, size in cells:
        room -= size
        if room < 0:
            break
        end = stop
    return end


def columns(text: str) -> int:
    """The columns that a text takes."""
    return cell_len(text)


def width_of(spans: Iterable[Span]) -> int:
    """The columns that spans take."""
    return sum(cell_len(text) for text, _ in spans)


def clipped(spans: Iterable[Span], width: int) -> list[Span]:
    """As much of a line as there is room for."""
    found: list[Span] = []
    for text, style in spans:
        shown = cut(text, width)
        if shown:
            found.append((shown, style))
        width -= cell_len(shown)
        if width <= 0 or shown != text:
            break
    return found


def spread(left: list[Span], right: list[Span], width: int) -> list[Span]:
    """Spans at both ends of a line. Where there is no room for both, the left ones are cut."""
    room = width - width_of(right)
    if room < 0:
        return clipped(right, width)
    fitting = clipped(left, max(room - 1, 0))
    return [*fitting, (" " * (room - width_of(fitting)), "plain"), *right]


def marked(spans: Iterable[Span], wanted: str) -> list[Span]:
    """A line in which a text stands out, upper and lower case alike."""
    found: list[Span] = []
    wanted = wanted.lower()
    for text, style in spans:
        lower, begin = text.lower(), 0
        while wanted and len(lower) == len(text) and (at := lower.find(wanted, begin)) >= 0:
            found += [(text[begin:at], style), (text[at : at + len(wanted)], "found")]
            begin = at + len(wanted)
        found.append((text[begin:], style))
    return [(text, style) for text, style in found if text]


def broken(text: str, width: int, indent: int = 0) -> list[tuple[int, int]]:
    """Where a line is broken so that each piece fits, between words where that can be: (begin, end) of each piece.

    Pieces after the first have `indent` columns less. Spaces at a break belong to none.
    """
    plain = text.isascii()
    if plain and len(text) <= width:
        return [(0, len(text))]
    cells = None if plain else split_graphemes(text)[0]
    if cells is not None and sum(size for _, _, size in cells) <= width:
        return [(0, len(text))]
    pieces, begin, room = [], 0, width
    while begin < len(text):
        end = min(begin + room, len(text)) if cells is None else _fitting(cells, begin, room)
        if end < len(text) and text[end] != " ":
            space = text.rfind(" ", begin + 1, end)
            if space >= 0 and text[begin:space].strip():
                end = space
        pieces.append((begin, end))
        begin = end
        while begin < len(text) and text[begin] == " ":
            begin += 1
        room = max(width - indent, 1)
    return pieces


def _fitting(cells: list[tuple[int, int, int]], begin: int, room: int) -> int:
    """Where the piece ends that begins there and is no wider; at least one character is in it."""
    at = bisect_left(cells, begin, key=lambda cell: cell[0])
    end = begin
    for _, stop, size in cells[at:]:
        room -= size
        if room < 0 and end > begin:
            break
        end = stop
    return end
