"""Lines that differ from another one of their flow only in a text, told without parsing them.

A model's pieces come as thousands of lines that are the same but for the text, three numbers and a time. What stands around
these is compared as bytes; a line where all of it is as before says the same with another text. Any other line is parsed.
"""

import re
from functools import lru_cache

import orjson

COUNT = b'","data_count":'
TIME = 23  # characters of `t`
NAME = 36  # characters of a flow's id that are looked up: a UUID
TEXTS = re.compile(rb'\\"(?:text|thinking|partial_json|delta|content|reasoning_content|reasoning|arguments)\\": ?\\"')
HOLES = re.compile(  # what else differs from piece to piece
    rb'\\"(?:sequence_number|\w*[tT]okenCount)\\": ?(?P<number>\d+)|\\"(?:obfuscation|timestamp)\\": ?\\"(?P<word>[^"\\]*)\\"'
)
QUOTE, BACKSLASH = b'\\"', 92  # a quote of the payload; the byte before it, where it does not end its string
WORD = 34  # the last byte before a hole that holds a word; before any other stands a number

type Literals = tuple[bytes, ...]


class Template:
    """What stands around the text."""

    __slots__ = (
        "after",
        "after_holes",
        "after_size",
        "at",
        "back",
        "begin",
        "count_end",
        "head",
        "head_holes",
        "last",
        "name",
        "tail",
        "tail_size",
        "text_at",
    )

    def __init__(self, raw: bytes, start: int, end: int, fields: tuple[int, int, int]) -> None:
        count, flow, digits = fields
        self.at = raw.index(b'"', 10) + 7 + TIME  # where `","line":"` begins
        self.begin = raw[: self.at - TIME]
        self.head = raw[self.at : start]
        self.text_at = start
        self.after = raw[end:digits]
        self.after_size = len(self.after)
        self.tail = raw[flow : count + len(COUNT)]
        self.tail_size = len(self.tail)
        self.back = count - flow
        self.last = raw[raw.index(b",", count + len(COUNT)) :]
        self.count_end = -len(self.last)
        self.name = raw[count - NAME : count]
        self.head_holes = split(self.head)
        self.after_holes = split(self.after)

    def span(self, raw: bytes, count: int) -> tuple[int, int]:
        """Where the text of a line stands that is as this template; (0, 0) when it is not so. `count`: where its `COUNT` stands."""
        if not raw.startswith(self.begin):
            return 0, 0
        start = past(raw, self.at, self.head_holes)
        end = raw.find(QUOTE, start) if start > 0 else 0
        if end <= 0:
            return 0, 0
        if raw[end - 1] == BACKSLASH:
            end = raw.find(self.after_holes[0], start)
            if end <= 0 or raw[end - 1] == BACKSLASH:
                return 0, 0
        digits, flow = past(raw, end, self.after_holes), count - self.back
        if (
            digits > 0
            and raw[digits:flow].isdigit()
            and raw.startswith(self.tail, flow)
            and raw.endswith(self.last)
            and raw[count + len(COUNT) : self.count_end].isdigit()
        ):
            return start, end
        return 0, 0


@lru_cache(maxsize=256)  # what is around the text is the same in the next answers too
def split(literal: bytes) -> Literals:
    """A literal cut where it has holes."""
    pieces, at = [], 0
    for found in HOLES.finditer(literal):
        begin, end = found.span(found.lastgroup or 0)
        pieces.append(literal[at:begin])
        at = end
    return (*pieces, literal[at:])


def past(raw: bytes, at: int, literals: Literals) -> int:
    """Where the last of the literals ends, that follow each other from a place on with numbers or words between; 0 if not."""
    first = literals[0]
    if not raw.startswith(first, at):
        return 0
    at += len(first)
    for literal in literals[1:]:
        end = raw.find(literal[:2], at, at + 100)
        if end < 0 or not raw.startswith(literal, end):
            return 0
        hole = raw[at:end]
        if not (hole.isdigit() if raw[at - 1] != WORD else not hole or hole.translate(None, b"-:.").isalnum()):
            return 0
        at = end + len(literal)
    return at


def template(raw: bytes, text: str) -> Template | None:
    """The template of a line that says this text; None when the place of the text is not certain."""
    count = raw.rfind(COUNT)
    flow = raw.rfind(b'}","flow_id":"', 0, count)
    metadata = raw.rfind(b'","metadata":"', 0, flow)
    digits = raw.rfind(b'\\"us\\":', metadata, flow) + 7
    if min(flow, metadata) < 0 or digits < metadata or raw[-2:] != b"}\n" or not raw[digits:flow].isdigit():
        return None
    places = [(found.end(), end_of(raw, found.end())) for found in TEXTS.finditer(raw, 0, metadata)]
    places = [(start, end) for start, end in places if 0 < end < metadata and unescaped(raw[start:end]) == text]
    time = raw.find(b'"', 10) + 7
    if len(places) != 1 or raw[time - 7 : time] != b'","t":"' or raw[time + TIME : time + TIME + 9] != b'","line":':
        return None
    return Template(raw, *places[0], (count, flow, digits))


def end_of(raw: bytes, start: int) -> int:
    """Where a string of the payload ends; -1: not in this line."""
    end = raw.find(QUOTE, start)
    while end > 0 and raw[end - 1] == BACKSLASH and _escaped(raw, end):
        end = raw.find(QUOTE, end + 2)
    return end


def _escaped(raw: bytes, end: int) -> bool:
    """Whether the quote is one of the text: an odd number of the payload's backslashes, each two in the line, is before it."""
    before = end
    while raw[before - 1] == BACKSLASH:
        before -= 1
    return (end - before) // 2 % 2 == 1


def unescaped(raw: bytes) -> str | None:
    """The text that stands so in a string of JSON in a string of JSON; None when that is no text."""
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        return None
    if "\\" not in text and text.isprintable() and '"' not in text:
        return text
    try:
        found = orjson.loads(b'"' + orjson.loads(b'"' + raw + b'"').encode() + b'"')
    except (ValueError, AttributeError):
        return None
    return found if isinstance(found, str) else None


NOWHERE = Template(
    b'{"event":"","t":"' + b" " * TIME + b'","line":"","metadata":"{}","flow_id":"","data_count":0,}', 0, 0, (0, 0, 0)
)
