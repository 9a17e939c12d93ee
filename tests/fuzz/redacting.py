"""Redactor: a secret never survives, twice is as good as once, JSON stays JSON, a text may be cut at its seam."""

import orjson

from capture.shapes import BEGUN, GOES_ON, HOLDS
from tests.fuzz.base import Choices, Target
from tests.fuzz.secrets import WORDS, text_with_secret
from tests.test_redact import REDACTOR, bodies, leaks


def check(data: bytes) -> None:
    choices = Choices(data)
    any_bytes(choices.words(WORDS, 32).encode() if choices.number(2) else choices.piece())
    any_json(choices.words(WORDS, 16), choices.words(WORDS, 16))
    secret, text = text_with_secret(choices)
    if secret:
        seeded(secret, text)
    any_url(choices.rest())


def any_bytes(data: bytes) -> None:
    clean = REDACTOR.text(data)
    assert b"redaction_error" not in clean or b"redaction_error" in data
    stable(clean)
    seam = REDACTOR.seam(data)
    assert 0 <= seam <= len(data)
    for place in REDACTOR.places(data):
        assert 0 <= place.start < place.stop <= len(data)
    begun, seen = REDACTOR.begun(data), REDACTOR.in_text(data)
    assert begun is None or 0 <= begun < len(data)
    assert (begun is not None) == (BEGUN in seen) and (GOES_ON in seen or BEGUN not in seen)
    assert HOLDS in seen or not REDACTOR.places(data)


def any_json(one: str, other: str) -> None:
    for body in bodies(one + other):
        orjson.loads(REDACTOR.text(body))
    body = orjson.dumps({one: other, "list": [one, other, {other: one}]})
    clean = REDACTOR.text(body)
    assert isinstance(orjson.loads(clean), dict)
    stable(clean)


def stable(clean: bytes) -> None:
    """Redacting once more takes nothing out but what a hash has become a part of: `Bearer a=hash` of `Bearer a=hash:0123…`."""
    again = REDACTOR.text(clean)
    assert again == clean or all(b"hash" in clean[max(0, found.start - 24) : found.stop + 24] for found in REDACTOR.places(clean))


def seeded(secret: str, text: str) -> None:
    clean = REDACTOR.string(text)
    assert not leaks(secret, clean)
    for body in bodies(text):
        clean_body = REDACTOR.text(body)
        assert not leaks(secret, clean_body)
        orjson.loads(clean_body)


def any_url(data: bytes) -> None:
    url = data.decode("utf-8", "surrogateescape")
    clean = REDACTOR.url(url)
    assert REDACTOR.string(clean) == clean
    name, _, value = url.partition(":")
    REDACTOR.header(name, value)


TARGET = Target(
    "redacting",
    check,
    (
        *(
            bytes([3]) + b"abc" + b"\2\xc3\xa9\1\n" + bytes([1, number, 3, 1, 2, 3, number % 16]) + b"\2ab\0\2cd"
            for number in range(50)
        ),
        *(b"\0\0\0\0\0\0" + bytes([0]) + bytes([number]) + b"\0\2ab\0\0\2cd" for number in range(40)),
        b"\0\x20authorization: Basic YWJjZGVmZ2g=" + b"\0\x13api_key=abcdefghijk\0\x11https://a:b@c/d?e",
        b"\1\x1f" + bytes(range(31)) + b"\0\x0f" + bytes(range(20, 35)) + b"\0\x0f" + bytes(range(40, 55)),
    ),
)
