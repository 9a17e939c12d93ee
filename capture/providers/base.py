"""The contract of a vocabulary: what one provider's requests look like and what its frames mean."""

import json
import re
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from enum import Enum, IntFlag
from typing import Any

from capture.events import Event, ImageSeen, ToolResult
from capture.jsonl import loads

type Json = Any  # a decoded JSON value
type Said = tuple[
    Hashable, str, str
]  # a piece of a text that comes in pieces: which text, the member that holds the piece, the piece

ERROR = re.compile(rb'\s*(?:\{\s*"response"\s*:\s*)?\{\s*"error"\s*:\s*\{')  # how a payload begins that is an error


class End(Enum):
    """What a frame says about the stream it stands in."""

    OPEN = "open"  # more is to come
    COMPLETE = "complete"  # the provider's last word: nothing is missing
    FAILED = "failed"  # the provider's last word is an error


class Holds(IntFlag):
    """What a line of the log may hold: a byte. A reader that asks for some of it may skip lines that hold none of it."""

    REQUEST = 1  # a request part, a client's WebSocket request, a prompt the client tells of
    TEXT = 2  # text of an answer, or a piece of it
    REASONING = 4
    ARGUMENTS = 8  # a piece of a tool call's arguments
    CALL = 16  # a tool call's beginning, its end, its whole arguments, its result
    USAGE = 32  # tokens, and the model that took them
    BOUND = 64  # an answer begins or ends, an agent goes idle, something failed
    OTHER = 128  # anything else
    ALL = 255


@dataclass(frozen=True, slots=True)
class Shape:
    """How a line is known by its raw text, before it is parsed: by the `event` it begins with, and by a text in its payload.

    The first shape that fits says what the line holds. A line that fits none may hold anything (`Holds.ALL`): it is always read.
    A shape may claim too much, never too little.
    """

    event: str  # the whole name; with a `*` at its end, how it begins
    holds: Holds
    within: str = ""  # stands in the payload, written as in the payload: `"type":"text_delta"`


@dataclass(frozen=True, slots=True)
class Provider:
    """One vocabulary. All fields are pure functions or constants; none raises on odd input, which is `Unknown`, or nothing."""

    name: str  # whose vocabulary: anthropic, openai, gemini
    api: str  # which of its interfaces: messages, responses, chat, generate_content
    recognises: Callable[[str, str], bool]  # (method, path without query): is this a call to a model?
    end: Callable[
        [str, bytes], End
    ]  # (event name, payload): does the stream end here? Runs on every frame: parses none that cannot be the last
    decode: Callable[[str, Json], Iterator[Event]]  # (event name, payload): the events of a frame from the server
    decode_part: Callable[[str, Json], Iterator[Event]]  # (event name `request.…`, part): the events of a request part
    last_word: str | None = None  # what its terminal event is called where the event has no name of its own
    opens: Callable[[Json], bool] = lambda body: False  # is this WebSocket message of the client a request?
    shapes: tuple[Shape, ...] = ()  # what its lines hold
    pieces: Callable[[Json], list[Said]] = lambda payload: []  # the pieces in a frame of texts that go on in the next frames


FIXED = frozenset("type id object model role event name finish_reason stop_reason status signature obfuscation".split())
MAX_PIECES = 64  # of one frame; more are no stream
PIECES_UP_TO = 4 << 20  # bytes of a frame that is looked into
PLAIN, ITSELF, IN_LIST = "", '"', "["  # what holds a piece that no member of an object holds: the payload, as text or JSON; a list


def any_pieces(payload: Json, place: tuple[str, ...] = (), depth: int = 6) -> list[Said]:
    """Every text of a frame as a piece of what stands at the same place in the next ones; names of things left out."""
    if isinstance(payload, str):
        return [(place, ITSELF, payload)]
    found: list[Said] = []
    if isinstance(payload, list):
        found += [((*place, str(at)), IN_LIST, value) for at, value in enumerate(payload[:MAX_PIECES]) if isinstance(value, str)]
    members = payload.items() if isinstance(payload, dict) else enumerate(payload) if isinstance(payload, list) else ()
    for name, value in members:
        if isinstance(value, str):
            if isinstance(name, str) and name not in FIXED and not name.endswith("_id"):
                found.append(((*place, name), name, value))
        elif isinstance(value, (dict, list)) and depth:
            found += any_pieces(value, (*place, str(name)), depth - 1)
        if len(found) > MAX_PIECES:
            break
    return found


def pieces_of(provider: Provider, payload: bytes) -> list[Said]:
    """What a payload adds to texts that come in pieces; one that is text itself is a piece of what all such payloads say."""
    if len(payload) > PIECES_UP_TO:
        return []
    try:
        if payload[:1].isalpha():
            return [((), PLAIN, payload.decode())]
        return provider.pieces(loads(payload))
    except ValueError:
        pass
    try:
        if payload[:1] in (b"{", b"["):
            return provider.pieces(loads(payload.decode("utf-8", "replace")))  # bytes that are no UTF-8 may stand beside the piece
        return [((), PLAIN, payload.decode())]
    except ValueError:
        return []


def text_of(content: Json, depth: int = 8) -> str:
    """The text in a content value: a string, or a list of blocks that have a `text`. `depth`: levels looked into."""
    if isinstance(content, str):
        return content
    if isinstance(content, list) and depth:
        return "\n".join(filter(None, (text_of(block, depth - 1) for block in content)))
    if isinstance(content, dict) and depth:
        return text_of(content.get("text") or content.get("content") or content.get("output"), depth - 1)
    return ""


def json_text(value: Json) -> str:
    """A decoded value as JSON again: also lone surrogates and long integers, which orjson refuses."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def number(value: Json) -> int | None:
    return value if isinstance(value, int) else None


def word(value: Json) -> str | None:
    return value if isinstance(value, str) else None


def items(value: Json) -> list[dict[str, Json]]:
    """The objects of a JSON array; what else stands in it, or instead of it, is left out."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def member(value: Json, *path: str) -> Json:
    """What stands at the end of a path of names; None when there is no such place."""
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def positive(value: Json) -> int | None:
    """A count of tokens, or None where there is none."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def less(whole: Json, part: Json) -> int | None:
    """What of a count is left without a part of it; None where there is no count."""
    count = positive(whole)
    return None if count is None else max(count - (positive(part) or 0), 0)


def image(media_type: Json, source: Json, role: str, data: Json = None) -> ImageSeen:
    """An image by what it is: of one that comes as base64 only its size."""
    where = f"base64, {len(data)} characters" if isinstance(data, str) else str(source or "")
    return ImageSeen(word(media_type) or "image", where[:1000], role)


def image_url(url: Json, role: str) -> ImageSeen:
    """An image by its URL, which may hold the image itself (`data:image/png;base64,…`)."""
    text = word(url) or ""
    if text.startswith("data:"):
        kind, _, data = text[5:].partition(",")
        return image(kind.partition(";")[0], None, role, data)
    return image(None, text, role)


EXIT = re.compile(  # how codex 0.169.0 begins the output of a command, in words
    r"(?:Exit code: (?P<code>-?\d+)\n)?(?:.*\n){0,3}?Wall time: (?P<seconds>[\d.]+) seconds\n"
)


def command_result(call_id: str, output: Json, again: int = 0) -> ToolResult:
    """A result that may say how its command ended: as text, as content items, or as JSON with `output` and `metadata` (codex)."""
    text = text_of(output)
    if text.startswith('{"output":'):
        try:
            value = loads(text)
        except ValueError:
            value = None
        metadata = member(value, "metadata")
        if isinstance(metadata, dict) and isinstance(member(value, "output"), str):
            code, seconds = metadata.get("exit_code"), metadata.get("duration_seconds")
            return ToolResult(call_id, value["output"], bool(code), None, number(code), _seconds(seconds), again)
    found = EXIT.match(text[:300])
    if found is None or not (found["code"] or text.startswith("Script ")):
        return ToolResult(call_id, text, again=again)
    code = int(found["code"]) if found["code"] else None
    return ToolResult(call_id, text, bool(code), None, code, float(found["seconds"].rstrip(".") or 0), again)


def _seconds(value: Json) -> float | None:
    return float(value) if isinstance(value, (int, float)) else None


def shape_of(shapes: "tuple[Shape, ...]", event: str, payload: str) -> Holds:
    """What a line holds, by its event and its payload's text."""
    for shape in shapes:
        named = event.startswith(shape.event[:-1]) if shape.event.endswith("*") else event == shape.event
        if named and shape.within in payload:
            return shape.holds
    return Holds.ALL
