"""Content encodings undone while the bytes arrive: gzip, deflate, br, zstd, and any stack of them.

Only what a caller must know: `feed` gives what can be known by now, a missing end (trailer, last block) is no error,
and bytes that are not of the promised encoding raise `EncodingError` once.
"""

import zlib
from collections.abc import Callable
from typing import Protocol

import brotli  # type: ignore[import-untyped]
import zstandard


class EncodingError(ValueError):
    """The bytes are not what `content-encoding` says, or it names an encoding unknown here."""


class Inflater(Protocol):
    """Raises EncodingError from `feed`."""

    def feed(self, chunk: bytes) -> bytes: ...


class Identity:
    """The bytes as they are."""

    def feed(self, chunk: bytes) -> bytes:
        return chunk


class Zlib:
    """gzip (any number of members one after the other) and deflate (with the zlib header, or raw as some servers send it)."""

    def __init__(self, wbits: int) -> None:
        self._wbits = wbits
        self._stream = zlib.decompressobj(wbits)
        self._head: bytes | None = b""  # the first two bytes tell the zlib header from raw deflate; None once they are here

    def feed(self, chunk: bytes) -> bytes:
        out = []
        try:
            if self._head is not None:
                self._head += chunk
                if len(self._head) < 2:
                    return b""
                chunk, self._head = self._head, None
                if self._wbits == zlib.MAX_WBITS and not (chunk[0] & 15 == 8 and int.from_bytes(chunk[:2]) % 31 == 0):
                    self._wbits = -zlib.MAX_WBITS
                    self._stream = zlib.decompressobj(self._wbits)
            while chunk:
                if self._stream.eof:
                    self._stream = zlib.decompressobj(self._wbits)
                out.append(self._stream.decompress(chunk))
                chunk = self._stream.unused_data
        except zlib.error as error:
            raise EncodingError(str(error)) from None
        return b"".join(out)


class Brotli:
    """https://www.rfc-editor.org/rfc/rfc7932"""

    def __init__(self) -> None:
        self._stream = brotli.Decompressor()

    def feed(self, chunk: bytes) -> bytes:
        try:
            out: bytes = self._stream.process(chunk)
        except brotli.error as error:
            raise EncodingError(str(error)) from None
        return out


class Zstd:
    """https://www.rfc-editor.org/rfc/rfc8878 (any number of frames one after the other)"""

    def __init__(self) -> None:
        self._stream = zstandard.ZstdDecompressor().decompressobj(read_across_frames=True)

    def feed(self, chunk: bytes) -> bytes:
        try:
            return self._stream.decompress(chunk)
        except zstandard.ZstdError as error:
            raise EncodingError(str(error)) from None


class Stack:
    """Several encodings, undone from the last applied to the first."""

    def __init__(self, inflaters: list[Inflater]) -> None:
        self._inflaters = inflaters

    def feed(self, chunk: bytes) -> bytes:
        for inflater in self._inflaters:
            chunk = inflater.feed(chunk)
        return chunk


INFLATERS: dict[str, Callable[[], Inflater]] = {
    "identity": Identity,
    "gzip": lambda: Zlib(16 + zlib.MAX_WBITS),
    "x-gzip": lambda: Zlib(16 + zlib.MAX_WBITS),
    "deflate": lambda: Zlib(zlib.MAX_WBITS),
    "br": Brotli,
    "zstd": Zstd,
}


def inflater(content_encoding: str) -> Inflater:
    """Undoes what a `content-encoding` header says. Raises EncodingError when it names an encoding unknown here."""
    names = [name.strip().lower() for name in content_encoding.split(",") if name.strip()]
    unknown = [name for name in names if name not in INFLATERS]
    if unknown:
        raise EncodingError(f"unknown content-encoding {unknown[0]}")
    if len(names) == 1:
        return INFLATERS[names[0]]()
    return Stack([INFLATERS[name]() for name in reversed(names)]) if names else Identity()
