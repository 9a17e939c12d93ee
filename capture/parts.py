"""Request bodies taken apart and put together again, to the byte.

An agent sends its whole conversation with every request. So the long parts of a body (system prompt, tools, each message)
are cut out of its text and recorded once per session; what is left is the *template*: the same JSON text with
`{"$part": "<id>"}` where a part stood. Parts are slices of the text, never re-serialised: white space, key order and
number formats survive.

What wanders from request to request inside a part that is otherwise the same (Anthropic's `cache_control`, Claude Code's
billing line, `"content": "x"` against `"content": [{"type": "text", "text": "x"}]`) is cut out before the part is hashed,
and stands in the reference as `"cuts": [[position, text], …]`, positions in characters of the recorded part.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from json.decoder import scanstring  # type: ignore[attr-defined]
from typing import Any, NamedTuple

import orjson

from capture.jsonl import HASH_DIGITS

WHOLE = {  # body fields that are one part each
    "system": "request.system",
    "instructions": "request.system",
    "systemInstruction": "request.system",
    "system_instruction": "request.system",
    "tools": "request.tools",
    "prompt": "request.user",
}
EACH = ("messages", "input", "contents")  # body fields whose elements are one part each
WRAPPERS = ("request", "response")  # Gemini with a Google login; one form of the Responses WebSocket message
REFERENCE = '{"$part":'
MAX_TEMPLATE = 1 << 20  # characters of a template, which stands in the flow record: as many as bytes of a payload in a line
_MARKER = r'"cache_control":(?:null|\{[^{}"]*(?:"[^"\\]*"[^{}"]*)*\})'  # claude 2.1.329
CACHE_CONTROL = re.compile(rf"(?<!\\)(?:,{_MARKER}|{_MARKER},?)")  # with one comma: what is left is JSON
BILLING = re.compile(r'(?<="x-anthropic-billing-header: )[^"\\]+')  # claude 2.1.329: cch and cc_prompt_id change per request
TEXT_BLOCK = '"content":[{"type":"text","text":'
_WHITE = re.compile(r"[ \t\n\r]*")
_value = json.JSONDecoder().raw_decode


class Part(NamedTuple):
    """One part of a request: `text` is what is recorded, `value` what it means, `event` its name in the log."""

    event: str
    id: str
    text: str
    value: Any


class Request(NamedTuple):
    """A request body taken apart. `body` is its value, None when it is no JSON object; `sha256` is of the whole text."""

    template: str
    parts: list[Part]
    body: dict[str, Any] | None
    sha256: str | None


def split(text: str) -> Request:
    """The template and the parts of a body; one that is no object, or is long beside its parts, is one part, `request.body`."""
    if not text:
        return Request("", [], None, None)
    sha256 = hashlib.sha256(text.encode()).hexdigest()
    body = None
    try:
        if REFERENCE not in text:
            out = _Splitter(text)
            body = out.object(_skip(text, 0), depth=0)
            if _skip(text, out.at) < len(text):  # it would stand behind a value in a record, which no reader could read then
                raise ValueError("more behind the object")
            template = out.template()
            orjson.loads(f"[{template}]")  # what every reader can read, inside a record: no NaN, no bottomless nesting
            if len(template) <= MAX_TEMPLATE:
                return Request(template, out.whole + out.each, body, sha256)
    except (ValueError, RecursionError):
        body = None
    part = Part("request.body", _hash(text), text, None)
    return Request(_reference(part.id, []), [part], body, sha256)


def join(template: str, part_text: Callable[[str], str]) -> str:
    """The body again. `part_text` gives the recorded text of a part by its id; what it raises goes through."""
    pieces, at = [], 0
    while (found := template.find(REFERENCE, at)) >= 0:
        reference, end = _value(template, found)
        text, inserted = part_text(reference["$part"]), 0
        pieces.append(template[at:found])
        for position, cut in reference.get("cuts", []):
            pieces += [text[inserted:position], cut]
            inserted = position
        pieces.append(text[inserted:])
        at = end
    return "".join([*pieces, template[at:]])


def references(request: Any) -> list[str]:
    """The ids of the parts a recorded `request` refers to, in order."""
    text = request if isinstance(request, str) else json.dumps(request, separators=(",", ":"))
    return re.findall(r'\{"\$part":\s?"([0-9a-f]+)"', text)


def member(text: str, name: str) -> str | None:
    """The text of one member of a JSON object, exactly as it stands there."""
    for key, start, end, _ in _members(text, _skip(text, 0)):
        if key == name:
            return text[start:end]
    return None


class _Splitter:
    """Walks one body; collects parts and the spans they stood in."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.whole: list[Part] = []  # parts that are a whole field: they come first in the log, as they do in meaning
        self.each: list[Part] = []  # parts that are one of many
        self.spans: list[tuple[int, int, str]] = []  # start, end, reference
        self.at = 0  # where the object ended

    def object(self, at: int, depth: int) -> dict[str, Any]:
        body: dict[str, Any] = {}
        walk = _members(self.text, at, self._inside(depth, body))
        for key, start, end, value in walk:
            if key not in body:
                body[key] = value
            if key in WHOLE and depth <= 1 and end - start > 2 and value is not None:
                self.whole.append(self._part(WHOLE[key], start, end, value))
            elif key == "input" and isinstance(value, str) and value:
                self.each.append(self._part("request.user", start, end, value))
            self.at = end
        self.at = _object_end(self.text, self.at, at)
        return body

    def _inside(self, depth: int, body: dict[str, Any]) -> Callable[[str, int], tuple[Any, int] | None]:
        """Values that are walked here instead of being decoded in one go."""

        def walk(key: str, start: int) -> tuple[Any, int] | None:
            if key in EACH and self.text[start : start + 1] == "[":
                return self._each(start)
            if depth == 0 and key in WRAPPERS and self.text[start : start + 1] == "{":
                inner = self.object(start, depth + 1)
                return inner, self.at
            return None

        return walk

    def _each(self, at: int) -> tuple[list[Any], int]:
        values = []
        for start, end, value in _elements(self.text, at):
            values.append(value)
            self.each.append(self._part("request." + _item_name(value), start, end, value))
            at = end
        return values, _skip(self.text, at if values else at + 1) + 1

    def _part(self, event: str, start: int, end: int, value: Any) -> Part:
        text, cuts = _without_wandering(self.text[start:end], event)
        part = Part(event, _hash(text), text, value)
        self.spans.append((start, end, _reference(part.id, cuts)))
        return part

    def template(self) -> str:
        pieces, at = [], 0
        for start, end, reference in sorted(self.spans):
            pieces += [self.text[at:start], reference]
            at = end
        return "".join([*pieces, self.text[at:]])


def _item_name(item: Any) -> str:
    if not isinstance(item, dict):
        return "user"
    kind = item.get("type")
    name = kind if isinstance(kind, str) and kind != "message" else item.get("role", "user")
    return name if isinstance(name, str) else "user"


def _without_wandering(text: str, event: str) -> tuple[str, list[tuple[int, str]]]:
    """A part's text without what changes from request to request, and what was taken out: [(position, text)]."""
    spans = [found.span() for found in CACHE_CONTROL.finditer(text)] if '"cache_control"' in text else []
    if event == "request.system":
        spans += [found.span() for found in BILLING.finditer(text)]
    spans += _text_block(text, spans)
    pieces, cuts, at, kept = [], [], 0, 0
    for start, end in sorted(spans):
        pieces.append(text[at:start])
        kept += start - at
        cuts.append((kept, text[start:end]))
        at = end
    return "".join([*pieces, text[at:]]), cuts


def _text_block(text: str, taken: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The spans around the text of a message whose content is one single text block."""
    found = text.find(TEXT_BLOCK, 0, 64)
    if found < 0:
        return []
    start = found + len(TEXT_BLOCK)
    if text[start : start + 1] != '"':
        return []
    _, end = scanstring(text, start + 1)
    close = next((stop for begin, stop in taken if begin == end), end)
    if text[close : close + 2] != "}]":
        return []
    return [(found + len('"content":'), start), (close, close + 2)]


def _reference(part_id: str, cuts: list[tuple[int, str]]) -> str:
    if not cuts:
        return f'{{"$part":"{part_id}"}}'
    return f'{{"$part":"{part_id}","cuts":{json.dumps(cuts, ensure_ascii=False, separators=(",", ":"))}}}'


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:HASH_DIGITS]


# -- JSON text, by position ------------------------------------------------------------------------------------------------


def _skip(text: str, at: int) -> int:
    match = _WHITE.match(text, at)
    return match.end() if match else at


def _expect(text: str, at: int, mark: str) -> int:
    if text[at : at + 1] != mark:
        raise ValueError(f"expected {mark} at {at}")
    return at + 1


def _members(
    text: str, at: int, inside: Callable[[str, int], tuple[Any, int] | None] = lambda key, start: None
) -> Iterator[tuple[str, int, int, Any]]:
    """(key, start of value, end of value, value) of the object that begins at `at`. Raises ValueError."""
    at = _skip(text, _expect(text, at, "{"))
    while text[at : at + 1] != "}":
        key, at = scanstring(text, _expect(text, at, '"'))
        start = _skip(text, _expect(text, _skip(text, at), ":"))
        value, end = inside(key, start) or _value(text, start)
        yield key, start, end, value
        at = _skip(text, end)
        if text[at : at + 1] != "}":
            at = _skip(text, _expect(text, at, ","))
            _expect(text, at, '"')


def _object_end(text: str, at: int, start: int) -> int:
    """Behind the closing brace of the object at `start`, whose last member ended at `at` (0 or less than start: it has none)."""
    return _expect(text, _skip(text, at if at > start else start + 1), "}")


def _elements(text: str, at: int) -> Iterator[tuple[int, int, Any]]:
    """(start, end, value) of each element of the array that begins at `at`. Raises ValueError."""
    at = _skip(text, _expect(text, at, "["))
    while text[at : at + 1] != "]":
        value, end = _value(text, at)
        yield at, end, value
        at = _skip(text, end)
        if text[at : at + 1] != "]":
            at = _skip(text, _expect(text, at, ","))
            if text[at : at + 1] == "]":
                raise ValueError(f"expected a value at {at}")
