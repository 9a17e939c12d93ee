"""Chunks to frames: which decoder reads which content type."""

import re
from codecs import getincrementaldecoder
from collections.abc import Callable

from capture.wire.base import MAX_FRAME_BYTES, Decoder, Frame
from capture.wire.body import BodyDecoder
from capture.wire.encoding import EncodingError, Inflater, inflater
from capture.wire.eventstream import EventStreamDecoder
from capture.wire.jsonarray import JsonArrayDecoder
from capture.wire.ndjson import NdjsonDecoder
from capture.wire.sse import SseDecoder

__all__ = [
    "MAX_FRAME_BYTES",
    "SNIFF",
    "STREAMS",
    "Beginning",
    "BodyDecoder",
    "Decoder",
    "EncodingError",
    "Frame",
    "Inflater",
    "decoder_for",
    "inflater",
    "looks_plain",
    "media_type",
    "sniff",
]

STREAMS: dict[str, Callable[[], Decoder]] = {
    "text/event-stream": SseDecoder,
    "application/x-ndjson": NdjsonDecoder,
    "application/ndjson": NdjsonDecoder,
    "application/jsonl": NdjsonDecoder,
    "application/x-jsonlines": NdjsonDecoder,
    "application/vnd.amazon.eventstream": EventStreamDecoder,
}

ENOUGH = 64 << 10  # bytes: what begins with more white space than this is decided all the same
SNIFF = 16  # bytes behind leading white space: they tell a stream from a body, and text from compressed bytes
SSE_BEGINNINGS = (b"data:", b"event:", b":", b"id:", b"retry:", b"\xef\xbb\xbfdata:", b"\xef\xbb\xbfevent:")
ARRAY_OF_OBJECTS = re.compile(rb"\[\s*(?:\{|$)")  # text that only begins with a bracket (`[upstream] timeout`) is no array
WHITE = re.compile(rb"\s*")
CONTROL = re.compile(r"[\0-\x08\x0e-\x1a\x1c-\x1f\x7f\ufffd]")  # what hardly stands in text (ESC may: coloured messages)


def media_type(content_type: str) -> str:
    """`text/event-stream` of `Text/Event-Stream; charset=utf-8`."""
    return content_type.partition(";")[0].strip().lower()


class Beginning:
    """The first bytes of a body while they do not tell yet what it is. Looks at each byte once, however they come."""

    __slots__ = ("_data", "_white")

    def __init__(self) -> None:
        self._data = bytearray()
        self._white = 0  # bytes of white space at its beginning

    def __bool__(self) -> bool:
        return bool(self._data)

    def add(self, data: bytes) -> bool:
        """Whether these are bytes enough: `sniff` and `looks_plain` say the same of any longer beginning."""
        self._data += data
        if self._white < ENOUGH and (white := WHITE.match(self._data, self._white)):
            self._white = white.end()
        return len(self._data) - self._white >= SNIFF or len(self._data) >= ENOUGH

    def take(self) -> bytes:
        """All that was added; empty afterwards."""
        data = bytes(self._data)
        self._data, self._white = bytearray(), 0
        return data


def sniff(beginning: bytes) -> Callable[[], Decoder]:
    """What a body is whose content type does not say that it is a stream."""
    beginning = beginning[:ENOUGH].lstrip()[:SNIFF]
    if beginning.startswith(SSE_BEGINNINGS):
        return SseDecoder
    if ARRAY_OF_OBJECTS.match(beginning):
        return JsonArrayDecoder
    return BodyDecoder


def looks_plain(beginning: bytes) -> bool:
    """Whether bytes said to be compressed are text all the same. (Compressed bytes pass for text once in some 10^8 streams.)"""
    beginning = beginning[:ENOUGH].lstrip()[:SNIFF]
    if sniff(beginning) is BodyDecoder and not beginning.startswith(b"{"):
        return False
    return not CONTROL.search(getincrementaldecoder("utf-8")("replace").decode(beginning))


def decoder_for(content_type: str, beginning: bytes) -> Decoder:
    """The decoder of a response body: by its content type, else by how it begins."""
    return (STREAMS.get(media_type(content_type)) or sniff(beginning))()
