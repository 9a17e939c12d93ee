"""JSON as the live view lays it out while it arrives: of the same value, the same however it is cut; no JSON stays as it is."""

import json

from capture.live.inks import Put
from capture.live.jsontext import JsonReader, JsonStreamFormatter, TextDeltaNormalizer
from tests.fuzz.base import Choices, Target, cut
from tests.test_live_jsontext import whole

WORDS = (
    *'{}[]:, "\\/\n',
    *('"a":', '"b":"x"', "true", "null", "-1.5e3", "0", "12345678901234567890", "NaN", "\\u00e9", "\\ud83d", "\\ude00", "\\n"),
    *('{"a":[1,', '"}', '"]', "é", "😀", "\u2028", "\\q", '\\"', "text"),
)


def check(data: bytes) -> None:
    choices = Choices(data)
    at = choices.positions()
    if choices.number(2):
        text = choices.words(WORDS)
    else:
        text = choices.rest().decode("utf-8", "replace")
    pieces = cut(text, at)
    once = laid_out([text])
    assert laid_out(pieces) == once == laid_out(list(text))
    assert "".join(once.split()) == "".join(text.split())
    assert whole(read(pieces)) == whole(read([text]))
    assert decoded(pieces) == decoded([text])
    value = value_of(text)
    if value is not None:
        assert value_of(once) == value


def laid_out(pieces: list[str]) -> str:
    formatter = JsonStreamFormatter()
    inks = [ink for piece in pieces for ink in formatter.feed(piece)] + formatter.close()
    return "".join(ink.text for ink in inks if isinstance(ink, Put))


def read(pieces: list[str]) -> list:  # type: ignore[type-arg]
    reader = JsonReader()
    return [token for piece in pieces for token in reader.feed(piece)] + list(reader.close())


def decoded(pieces: list[str]) -> str:
    normalizer = TextDeltaNormalizer()
    return "".join(map(normalizer.feed, pieces)) + normalizer.close()


def value_of(text: str) -> str | None:
    """The value of a JSON text, written in one way; None when it is none."""
    try:
        return json.dumps(json.loads(text, object_pairs_hook=list))
    except (ValueError, RecursionError):
        return None


TARGET = Target(
    "laidout",
    check,
    (
        b"\3\1\0\5\0\x14\0\0" + b'{"a":[1,2,{"b":"x\\u00e9\\ud83d\\ude00\\n"}],"c":null,"d":-1.5e3}',
        b"\0\0not {json} at all",
        b"\0\0[1,2",
        b"\2\5\0\x20\0\1\x20" + bytes(range(32)),
    ),
)
