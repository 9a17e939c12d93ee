"""Wire decoders: any bytes in any pieces give the same frames, whole or in parts; event streams as the standard describes them."""

from capture import wire
from capture.wire.sse import SseDecoder
from tests.fuzz.base import Choices, Target, cut
from tests.test_wire import DECODERS, ODD, run, small_frames, whatwg, whole

TYPES = ("", "application/json", *wire.STREAMS, "Text/Event-Stream; charset=x")


def check(data: bytes) -> None:
    choices = Choices(data)
    make = choices.pick(DECODERS)
    by_name = choices.pick(TYPES)
    at = choices.positions()
    stream = choices.rest()
    once, pieces = run(make, [stream]), cut(stream, at)
    assert run(make, pieces) == once
    if make is SseDecoder:
        assert whole(once) == whatwg(stream)
    if len(stream) <= 200:
        assert run(make, [stream[at : at + 1] for at in range(len(stream))]) == once
    with small_frames():
        assert run(make, pieces) == run(make, [stream])
    beginning = wire.Beginning()
    known = next((number for number, piece in enumerate(pieces) if beginning.add(piece)), None)
    if known is not None:
        assert type(wire.decoder_for(by_name, beginning.take())) is type(wire.decoder_for(by_name, stream))


TARGET = Target(
    "frames",
    check,
    (
        *(bytes([number, 0, 2, 9, 0, 30, 0]) + b"".join(ODD) for number in range(len(DECODERS))),
        b"\0\0\1\7\0" + b'event: message_start\ndata: {"a":1}\n\n: ping\r\n\r\ndata: x\ndata: y\n\n',
        b"\2\0\1\7\0" + b'[{"a":[1,{"b":"]\\""}]},\n{"c":2}, 7, "x"]',
        b"\1\0\1\7\0" + b'{"a":1}\n{"b":2}\r\n\n{"c"',
    ),
)
