"""Content encodings undone while the bytes arrive: gzip, deflate, br, zstd, and any stack of them.

Only what a caller must know: `feed` gives what can be known by now, a missing end (trailer, last block) is no error,
and bytes that are not of the promised encoding raise `EncodingError` once.
"""

import zlib
from collections.abc import Callable
from typing import Any, Protocol

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


class Members:
    """Any number of compressed members one after the other; what stands behind a member and is none is left out, as gzip(1) does.

    gzip: https://www.rfc-editor.org/rfc/rfc1952#section-2.2, zstd: https://www.rfc-editor.org/rfc/rfc8878#section-3.1
    """

    def __init__(self, new: Callable[[], Any]) -> None:
        """`new` makes what undoes one member: `decompress`, `eof` and `unused_data`, as zlib and zstandard name them."""
        self._new = new
        self._stream = new()
        self._whole = 0  # members that have ended
        self._gave = False  # the member open now has given bytes: it is one
        self._over = False

    def feed(self, chunk: bytes) -> bytes:
        out = []
        while chunk and not self._over:
            if self._stream.eof:
                self._stream, self._gave = self._new(), False
                self._whole += 1
            try:
                data = self._stream.decompress(chunk)
            except (zlib.error, zstandard.ZstdError) as error:
                if self._gave or not self._whole:
                    raise EncodingError(str(error)) from None
                self._over = True
                break
            self._gave = self._gave or bool(data)
            out.append(data)
            chunk = self._stream.unused_data if self._stream.eof else b""
        return b"".join(out)


class Deflate:
    """deflate with the zlib header, or raw as some servers send it: the first two bytes tell."""

    def __init__(self) -> None:
        self._head = b""
        self._members: Members | None = None

    def feed(self, chunk: bytes) -> bytes:
        if self._members is None:
            chunk = self._head = self._head + chunk
            if len(chunk) < 2:
                return b""
            zlib_header = chunk[0] & 15 == 8 and int.from_bytes(chunk[:2]) % 31 == 0  # https://www.rfc-editor.org/rfc/rfc1950
            wbits = zlib.MAX_WBITS if zlib_header else -zlib.MAX_WBITS
            self._members = Members(lambda: zlib.decompressobj(wbits))
        return self._members.feed(chunk)


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


class Stack:
    """Several encodings, undone from the last applied to the first."""

    def __init__(self, inflaters: list[Inflater]) -> None:
        self._inflaters = inflaters

    def feed(self, chunk: bytes) -> bytes:
        for inflater in self._inflaters:
            chunk = inflater.feed(chunk)
        return chunk


def _gzip() -> Inflater:
    return Members(lambda: zlib.decompressobj(16 + zlib.MAX_WBITS))


def _zstd() -> Inflater:
    return Members(lambda: zstandard.ZstdDecompressor().decompressobj())


INFLATERS: dict[str, Callable[[], Inflater]] = {
    "identity": Identity,
    "gzip": _gzip,
    "x-gzip": _gzip,
    "deflate": Deflate,
    "br": Brotli,
    "zstd": _zstd,
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
