"""Held-back secrets: of a text in any pieces, with any pauses, nothing is shown of a secret that matters."""

import orjson

from capture.holding import HOLD, Holding
from capture.redact import Redactor
from tests.fuzz.base import Choices, Target, cut
from tests.fuzz.secrets import text_with_secret
from tests.test_holding import frame, pieces_of
from tests.test_redact import REDACTOR, leaks

PAUSES = (0.0, 0.0, 0.0, 0.4, HOLD + 0.1)  # seconds before a piece
STEP = 0.35  # seconds between two looks at who has waited long enough


def shown(pieces: list[tuple[str, float]], redactor: Redactor = REDACTOR) -> str:
    """What is written of pieces with a pause before each: as many frames as there were, in their order."""
    holding: Holding[int] = Holding(redactor, pieces_of)
    now, out = 0.0, list[tuple[bytes, int]]()
    for number, (piece, pause) in enumerate(pieces):
        until = now + pause
        while now < until:
            now = min(until, now + STEP)
            out += holding.due(now)
        out += holding.feed(frame(piece), number, now)
    out += holding.rest()
    assert [tag for _, tag in out] == list(range(len(pieces)))
    return "".join(orjson.loads(payload)["text"] for payload, _ in out)


def check(data: bytes) -> None:
    choices = Choices(data)
    secret, text = text_with_secret(choices)
    at = choices.positions()
    pieces = cut(text, at) if at or len(text) > 300 else list(text)
    pauses = [choices.pick(PAUSES) for _ in pieces]
    clean = shown(list(zip(pieces, pauses, strict=True)))
    if secret:
        assert not leaks(secret, clean)


TARGET = Target(
    "held",
    check,
    (
        *(
            bytes([1, number, 3, 1, 2, 3, number % 16])
            + b"\0\2ab\0\0\2cd"
            + b"\5\x0a\0\x14\0\x1e\0\x28\0\x32\0"
            + bytes([0, 4, 3, 4, 0])
            for number in range(50)
        ),
        *(bytes([0, number]) + b"\0\2ab\0\0\2cd" + b"\3\x14\0\x20\0\x2c\0" + bytes([0, 4, 4, 4]) for number in range(40)),
    ),
)
