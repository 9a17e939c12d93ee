"""Content encodings undone while the bytes arrive: gzip, deflate, br, zstd, and any stack of them.

Only what a caller must know: what can be known by now comes out, a missing end (trailer, last block) is no error,
and bytes that are not of the promised encoding raise `EncodingError` once.

No few bytes may become gigabytes here: each call of a decompressor is bounded in what it gives, and a stream that inflates
to more than BURST beyond RATIO times its size is given up. (A stream of hours stays far below that, however long it is.)
"""

import zlib
from collections.abc import Callable, Iterator
from io import BytesIO
from typing import Any, Protocol

import brotli  # type: ignore[import-untyped]
import zstandard

STEP = 64 << 10  # bytes given out at once, and taken in at once
BURST = 16 << 20  # bytes a stream may inflate to beyond RATIO times its size; what its stages give each other counts as well
RATIO = 100  # bytes that any byte may inflate to (text of agents: 3 to 20; deflate 1,032, br and zstd above 10,000 at most)
NAMED = 40  # characters of an unknown encoding's name that are told, in ASCII: a header may hold any bytes
MAX_STAGES = 5  # encodings of one body: as many as curl undoes
ZSTD_PIECE = 128  # bytes fed to zstd, whose output cannot be limited: a block of 4 bytes gives 128 KiB, so these 4 MiB at most
ZSTD_WINDOW = 8 << 20  # bytes: the most an encoder may use on the web, https://www.rfc-editor.org/rfc/rfc9659#section-3


class EncodingError(ValueError):
    """The bytes are not what `content-encoding` says, or are too many, or it names an encoding unknown here."""


class Stage(Protocol):
    """One encoding. Gives what a chunk inflates to in steps, none of them much larger than STEP; raises EncodingError."""

    def steps(self, chunk: bytes) -> Iterator[bytes]: ...


class Inflater:
    """Undoes several encodings, from the last applied to the first; none of them: gives the bytes as they are."""

    def __init__(self, stages: tuple[Stage, ...]) -> None:
        self._stages = stages
        self._excess = 0  # bytes that came out beyond RATIO times those that went in; no piece leaves credit to the next

    def feed(self, chunk: bytes) -> bytes:
        """All that a chunk inflates to. Raises EncodingError."""
        if not self._stages:
            return chunk
        data = BytesIO()
        for step in self.steps(chunk):
            data.write(step)
        return data.getvalue()

    def steps(self, chunk: bytes) -> Iterator[bytes]:
        """The same, at most STEP bytes at once: nobody has to hold all of it. Raises EncodingError where it cannot go on."""
        if not self._stages:
            yield chunk
            return
        for piece in _cut(chunk):
            self._excess -= RATIO * len(piece)
            for data in self._through(piece, self._stages):
                yield from _cut(data)
            self._excess = max(0, self._excess)

    def _through(self, chunk: bytes, stages: tuple[Stage, ...]) -> Iterator[bytes]:
        if not stages:
            yield chunk
            return
        for data in stages[0].steps(chunk):
            self._excess += len(data)
            if self._excess > BURST:
                raise EncodingError(f"inflates to more than {BURST >> 20} MiB beyond {RATIO} times its size")
            yield from self._through(data, stages[1:])


class Members:
    """Any number of compressed members one after the other; what stands behind a member and is none is left out, as gzip(1) does.

    gzip: https://www.rfc-editor.org/rfc/rfc1952#section-2.2, zstd: https://www.rfc-editor.org/rfc/rfc8878#section-3.1
    """

    def __init__(self, new: Callable[[], Any], piece: int = STEP) -> None:
        """`new` makes what undoes one member, as zlib's objects do; it is fed `piece` bytes at once."""
        self._new = new
        self._piece = piece
        self._stream = new()
        self._whole = 0  # members that have ended
        self._gave = False  # the member open now has given bytes: it is one
        self._over = False

    def steps(self, chunk: bytes) -> Iterator[bytes]:
        for piece in _cut(chunk, self._piece):
            while piece and not self._over:
                if self._stream.eof:
                    self._stream, self._gave = self._new(), False
                    self._whole += 1
                yield from self._member(piece)
                piece = self._stream.unused_data if self._stream.eof else b""

    def _member(self, piece: bytes) -> Iterator[bytes]:
        """What the member at hand makes of a piece."""
        stream, full = self._stream, True
        while (piece or full) and not stream.eof:  # also without bytes: of those it took it may hold more than a step
            try:
                data = stream.decompress(piece, STEP)
            except (zlib.error, zstandard.ZstdError) as error:
                if self._gave or not self._whole:
                    raise EncodingError(str(error)) from None
                self._over = True
                return
            piece, full = stream.unconsumed_tail, len(data) >= STEP
            if data:
                self._gave = True
                yield data


class Deflate:
    """deflate with the zlib header, or raw as some servers send it: the first two bytes tell."""

    def __init__(self) -> None:
        self._head = b""
        self._members: Members | None = None

    def steps(self, chunk: bytes) -> Iterator[bytes]:
        if self._members is None:
            chunk = self._head = self._head + chunk
            if len(chunk) < 2:
                return
            zlib_header = chunk[0] & 15 == 8 and int.from_bytes(chunk[:2]) % 31 == 0  # https://www.rfc-editor.org/rfc/rfc1950
            wbits = zlib.MAX_WBITS if zlib_header else -zlib.MAX_WBITS
            self._members = Members(lambda: zlib.decompressobj(wbits))
        yield from self._members.steps(chunk)


class Brotli:
    """https://www.rfc-editor.org/rfc/rfc7932"""

    def __init__(self) -> None:
        self._stream = brotli.Decompressor()

    def steps(self, chunk: bytes) -> Iterator[bytes]:
        for piece in _cut(chunk):
            yield from self._piece(piece)

    def _piece(self, piece: bytes) -> Iterator[bytes]:
        stream, full = self._stream, True
        try:
            while full:  # also without bytes: one that it took may be worth a million
                data = stream.process(piece, output_buffer_limit=STEP)
                piece, full = b"", not stream.is_finished() and (len(data) >= STEP or not stream.can_accept_more_data())
                if data:
                    yield data
        except brotli.error as error:
            raise EncodingError(str(error)) from None


class ZstdFrame:
    """One frame of zstd, undone as zlib undoes a member; how much a call gives is bounded by what it is fed."""

    unconsumed_tail = b""

    def __init__(self) -> None:
        self._stream = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW).decompressobj()

    @property
    def eof(self) -> bool:
        return self._stream.eof

    @property
    def unused_data(self) -> bytes:
        return self._stream.unused_data

    def decompress(self, data: bytes, _: int) -> bytes:
        return self._stream.decompress(data)


def _cut(data: bytes, size: int = STEP) -> Iterator[bytes]:
    """The bytes in pieces of at most `size`."""
    if len(data) <= size:
        yield data
    else:
        yield from (data[start : start + size] for start in range(0, len(data), size))


def _gzip() -> Stage:
    return Members(lambda: zlib.decompressobj(16 + zlib.MAX_WBITS))


def _zstd() -> Stage:
    return Members(ZstdFrame, ZSTD_PIECE)


STAGES: dict[str, Callable[[], Stage]] = {
    "gzip": _gzip,
    "x-gzip": _gzip,
    "deflate": Deflate,
    "br": Brotli,
    "zstd": _zstd,
}


def inflater(content_encoding: str) -> Inflater:
    """Undoes what a `content-encoding` header says. Raises EncodingError when it names an encoding unknown here."""
    names = [name.strip().lower() for name in content_encoding.split(",")]
    names = [name for name in names if name and name != "identity"]
    if unknown := [name for name in names if name not in STAGES]:
        raise EncodingError(f"unknown content-encoding {ascii(unknown[0])[1:-1][:NAMED]}")
    if len(names) > MAX_STAGES:
        raise EncodingError(f"{len(names)} encodings, one upon the other")
    return Inflater(tuple(STAGES[name]() for name in reversed(names)))
