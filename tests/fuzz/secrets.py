"""Secrets made of any bytes, each of a shape that is known, and texts that hold one."""

import string

from tests.fuzz.base import Choices
from tests.test_redact import IN_CONTEXT, SHAPES, SURROUNDINGS, leaks

CLASSES = (string.digits, "abcdef", "ghijklmnopqrstuvwxyz", string.ascii_uppercase)  # a shape's alphabet has all of one, or none
HEAD = 14  # characters of a shape that stay: what all of its kind begin with
WORDS = (  # by which secrets are known, and what stands around them
    *"\"'\\\n =:&@/_-.,${}aZ7éX→·",
    *"token= &key= Authorization: :// https://a:b@ sk- sk-ant- eyJ ghp_ xoxb- hf_ AKIA 1//0 code_verifier=".split(),
    *"key abcdefgh 0123456789 hash: hash:0123456789abcdef %3D \\u0026 \\n \x1b[1;32m ----- PRIVATE -----END".split(),
    *("-----BEGIN PRIVATE KEY-----", "curl -u ", "Bearer ", "bearer+"),
    *("Basic ", "aws secret = ", '"access_token":"', "PRIVATE KEY-----"),
)
AROUND = ("\n", " ", "\t", "; ", "\r\n")  # what stands between the text that holds it and any other


def secret_of(choices: Choices) -> str:
    """A secret of a known shape, its characters chosen by the bytes."""
    shape = choices.pick(tuple(SHAPES.values()))
    turns = choices.piece() or b"\0"
    fixed = {*range(HEAD), *(at + back for at, mark in enumerate(shape) if mark in ".:" for back in range(4))}
    return "".join(mark if at in fixed else _turned(mark, turns[at % len(turns)]) for at, mark in enumerate(shape))


def _turned(mark: str, by: int) -> str:
    """Another character of the same kind."""
    for each in CLASSES:
        if mark in each:
            return each[(each.index(mark) + by) % len(each)]
    return mark


def text_with_secret(choices: Choices) -> tuple[str, str]:
    """(secret, a text that holds it), with any text before and behind; ("", text) where that text itself has something of it."""
    if choices.number(3):
        secret = secret_of(choices)
        text = choices.pick(tuple(SURROUNDINGS.values()))(secret)
    else:
        secret, text = choices.pick(tuple(IN_CONTEXT.values()))
    before, between, after = choices.words(WORDS, 16), choices.pick(AROUND), choices.words(WORDS, 16)
    return ("" if leaks(secret, f"{before}{between}{after}") else secret), f"{before}{between}{text}{between}{after}"
