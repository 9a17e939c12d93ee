"""Content encodings: any bytes under any label raise nothing but EncodingError; what was encoded comes out, however it is cut."""

from capture.wire import EncodingError, inflater
from capture.wire.encoding import STAGES
from tests.fuzz.base import Choices, Target, cut
from tests.test_encoding import PACKED

LABELS = (*STAGES, "gzip, br", "zstd,gzip", "br, deflate, gzip", "identity", "", "compress", "gzip,gzip,gzip,gzip,gzip,gzip")


def undone(label: str, pieces: list[bytes]) -> tuple[bytes, bool]:
    """What came out, and whether all of it did."""
    out = []
    try:
        stream = inflater(label)
        for piece in pieces:
            for step in stream.steps(piece):
                out.append(step)
    except EncodingError:
        return b"".join(out), False
    return b"".join(out), True


def check(data: bytes) -> None:
    choices = Choices(data)
    label = choices.pick(LABELS) if choices.number(8) else choices.text()
    encoding, pack = choices.pick(tuple(PACKED.values()))
    flips = [(choices.number(65536), choices.number(256)) for _ in range(choices.number(4))]
    at = choices.positions()
    content = choices.rest()
    odd(label, content, at)
    packed = pack(content)
    assert undone(encoding, cut(packed, at)) == (content, True)
    if flips and packed:
        odd(encoding, damaged(packed, flips), at)
        odd(label, damaged(packed, flips), at)


def odd(label: str, content: bytes, at: list[int]) -> None:
    """Whatever came out in one way is the beginning of what came out in another, and all of it where nothing was wrong."""
    one, other = undone(label, [content]), undone(label, cut(content, at))
    assert one[0].startswith(other[0]) or other[0].startswith(one[0])
    assert one == other or not (one[1] and other[1])


def damaged(data: bytes, flips: list[tuple[int, int]]) -> bytes:
    changed = bytearray(data)
    for place, value in flips:
        changed[place % len(changed)] ^= value
    return bytes(changed)


TARGET = Target(
    "encodings",
    check,
    tuple(
        bytes([1, label, 3, 1, 200, 0, 7, 1, 5, 0]) + pack(b'data: {"a":1}\n\n' * 9)
        for label in range(len(LABELS))
        for _, pack in list(PACKED.values())[label % 3 :: 3]
    ),
)
