"""Chunks to frames: which decoder reads which content type."""

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
    "STREAMS",
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

SSE_BEGINNINGS = (b"data:", b"event:", b":", b"id:", b"retry:", b"\xef\xbb\xbfdata:", b"\xef\xbb\xbfevent:")


def media_type(content_type: str) -> str:
    """`text/event-stream` of `Text/Event-Stream; charset=utf-8`."""
    return content_type.partition(";")[0].strip().lower()


def sniff(beginning: bytes) -> Callable[[], Decoder]:
    """What a body is whose content type does not say that it is a stream."""
    beginning = beginning.lstrip(b"\r\n\t ")
    if beginning.startswith(SSE_BEGINNINGS):
        return SseDecoder
    if beginning.startswith(b"["):
        return JsonArrayDecoder
    return BodyDecoder


def looks_plain(beginning: bytes) -> bool:
    """Whether bytes said to be compressed are text all the same."""
    return sniff(beginning) is not BodyDecoder or beginning.lstrip().startswith(b"{")


def decoder_for(content_type: str, beginning: bytes) -> Decoder:
    """The decoder of a response body: by its content type, else by how it begins."""
    return (STREAMS.get(media_type(content_type)) or sniff(beginning))()
