"""`application/vnd.amazon.eventstream`: binary messages with headers and two checksums.

Layout: total length (4), headers length (4), CRC32 of these 8 bytes (4), headers, payload, CRC32 of all before (4); big endian.
Source: https://docs.aws.amazon.com/AmazonS3/latest/API/RESTSelectObjectAppendix.html
Bedrock wraps a provider's own event as `{"bytes": "<base64>"}`: the inner event is the frame.
"""

import base64
import binascii
import struct

import orjson

from capture.wire.base import MAX_FRAME_BYTES, Frame, Pieces

PRELUDE = struct.Struct(">III")
OVERHEAD = PRELUDE.size + 4  # the prelude and the checksum at the end
VALUE_LENGTHS = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}  # bytes, by header type; 6 and 7 carry their own


class EventStreamDecoder:
    """A frame for each message; from the first message that breaks the format on, the bytes as they are, as one frame."""

    def __init__(self) -> None:
        self._pending = bytearray()
        self._broken: Pieces | None = None

    def feed(self, chunk: bytes) -> list[Frame]:
        if self._broken:
            self._broken.add(chunk)
            return self._broken.overflow()
        self._pending += chunk
        frames: list[Frame] = []
        while len(self._pending) >= PRELUDE.size:
            total, headers, crc = PRELUDE.unpack_from(self._pending)
            if crc != binascii.crc32(self._pending[:8]) or not OVERHEAD + headers <= total <= MAX_FRAME_BYTES:
                self._broken = Pieces()
                self._broken.add(bytes(self._pending))
                self._pending.clear()
                return [*frames, *self._broken.overflow()]
            if len(self._pending) < total:
                break
            frames.append(_frame(bytes(self._pending[PRELUDE.size : total - 4]), headers))
            del self._pending[:total]
        return frames

    def close(self) -> list[Frame]:
        if self._broken:
            return [self._broken.take(cut=True)] if self._broken.started else []
        rest = bytes(self._pending)
        self._pending.clear()
        return [Frame(rest, cut=True)] if rest else []


def _frame(content: bytes, headers_length: int) -> Frame:
    headers, payload = _headers(content[:headers_length]), content[headers_length:]
    inner = _inner(payload)
    if inner is not None:
        return Frame(inner)
    return Frame(payload, headers.get(":event-type") or headers.get(":exception-type"))


def _inner(payload: bytes) -> bytes | None:
    try:
        value = orjson.loads(payload)
        return base64.b64decode(value["bytes"], validate=True)
    except (ValueError, TypeError, KeyError):
        return None


def _headers(block: bytes) -> dict[str, str]:
    """The string headers; whatever follows one that cannot be read is left out."""
    found: dict[str, str] = {}
    at = 0
    while at < len(block):
        end = at + 1 + block[at]
        name, kind = block[at + 1 : end], block[end : end + 1]
        at = end + 1
        if not kind:
            break
        if kind[0] in (6, 7):
            length = int.from_bytes(block[at : at + 2])
            found[name.decode("utf-8", "replace")] = block[at + 2 : at + 2 + length].decode("utf-8", "replace")
            at += 2 + length
        elif kind[0] in VALUE_LENGTHS:
            at += VALUE_LENGTHS[kind[0]]
        else:
            break
    return found
