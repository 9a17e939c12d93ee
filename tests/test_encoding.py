"""Content encodings undone while the bytes arrive: the same bytes however they are cut."""

import contextlib
import functools
import gzip
import random
import zlib
from collections.abc import Callable

import brotli  # type: ignore[import-untyped]
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from capture import wire
from capture.wire import EncodingError, inflater
from capture.wire import encoding as encodings
from tests.cuts import cut, every_way, positions, sized

SAYINGS = b"".join(b'event: delta\ndata: {"type":"delta","n":%d,"text":"caf\xc3\xa9 \xf0\x9f\x98\x80"}\n\n' % n for n in range(40))
NOISE = random.Random(7).randbytes(300)


def raw_deflate(data: bytes) -> bytes:
    return zlib.compress(data, wbits=-15)


def flushed_gzip(data: bytes) -> bytes:
    """As a server writes a stream: every event flushed, so that it can be read at once."""
    packer = zlib.compressobj(wbits=31)
    events = [packer.compress(event) + packer.flush(zlib.Z_SYNC_FLUSH) for event in sized(data, 60)]
    return b"".join(events) + packer.flush()


def members(pack: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    return lambda data: pack(data[:100]) + pack(b"") + pack(data[100:])


PACKED: dict[str, tuple[str, Callable[[bytes], bytes]]] = {  # name of the test: content-encoding, how it is made
    "gzip": ("gzip", gzip.compress),
    "x-gzip": ("X-GZip", gzip.compress),
    "gzip, flushed": ("gzip", flushed_gzip),
    "gzip, members": ("gzip", members(gzip.compress)),
    "deflate": ("deflate", zlib.compress),
    "deflate, stored": ("deflate", lambda data: zlib.compress(data, 0)),
    "raw deflate": ("deflate", raw_deflate),
    "br": ("br", brotli.compress),
    "zstd": ("zstd", zstandard.compress),
    "zstd, frames": ("zstd", members(zstandard.compress)),
    "identity": ("identity", bytes),
    "nothing": ("", bytes),
    "gzip in br": ("gzip, br", lambda data: brotli.compress(gzip.compress(data))),
    "three deep": ("deflate,identity , zstd,gzip", lambda data: gzip.compress(zstandard.compress(zlib.compress(data)))),
}
each_encoding = pytest.mark.parametrize(("encoding", "pack"), PACKED.values(), ids=PACKED.keys())


def undo(encoding: str, chunks: list[bytes]) -> bytes:
    stream = inflater(encoding)
    return b"".join(stream.feed(chunk) for chunk in chunks)


@pytest.mark.row(26, 28)
@each_encoding
def test_every_cut_gives_the_bytes_that_were_encoded(encoding: str, pack: Callable[[bytes], bytes]) -> None:
    for data in (SAYINGS, NOISE, b"x"):
        for chunks in every_way(pack(data)):
            assert data == undo(encoding, chunks)


@pytest.mark.row(28)
@given(st.binary(max_size=300), positions, st.sampled_from(sorted(PACKED)))
def test_any_cut_of_any_bytes_gives_them_back(data: bytes, at: list[int], name: str) -> None:
    encoding, pack = PACKED[name]
    assert data == undo(encoding, cut(pack(data), at))


@each_encoding
def test_a_stream_that_was_cut_gives_a_beginning_and_no_error(encoding: str, pack: Callable[[bytes], bytes]) -> None:
    packed = pack(SAYINGS)
    for end in range(len(packed)):
        assert SAYINGS.startswith(undo(encoding, [packed[:end]]))
    assert undo(encoding, [packed]) == SAYINGS


def test_what_was_flushed_is_there_before_the_stream_goes_on() -> None:
    packer, stream = zlib.compressobj(wbits=31), inflater("gzip")
    for event in (b"data: 1\n\n", b"data: 2\n\n"):
        assert event == stream.feed(packer.compress(event) + packer.flush(zlib.Z_SYNC_FLUSH))


@pytest.mark.parametrize("name", ["gzip", "gzip, members", "deflate", "raw deflate", "zstd", "zstd, frames"])
@pytest.mark.parametrize("behind", [b"\0\0\0\0", b"trailing text", b"\x1f\x8b", b"\x28\xb5\x2f\xfd"])
def test_what_stands_behind_the_end_is_left_out(name: str, behind: bytes) -> None:
    encoding, pack = PACKED[name]
    for chunks in every_way(pack(SAYINGS) + behind):
        assert undo(encoding, chunks) == SAYINGS


@pytest.mark.parametrize("encoding", ["gzip", "br", "zstd", "deflate", "gzip, br"])
def test_bytes_of_another_encoding_raise_and_only_this(encoding: str) -> None:
    with pytest.raises(EncodingError):
        undo(encoding, [b"\xff\xfe neither one nor the other" * 4])


@pytest.mark.row(28)
@given(st.binary(max_size=100), st.sampled_from(["gzip", "br", "zstd", "deflate"]), positions)
def test_any_bytes_at_all_are_decoded_or_raise_an_encoding_error(data: bytes, encoding: str, at: list[int]) -> None:
    with contextlib.suppress(EncodingError):
        undo(encoding, cut(data, at))


@pytest.mark.parametrize("label", ["compress", "gzip, lzma", "utf-8"])
def test_an_encoding_unknown_here_is_named_in_the_error(label: str) -> None:
    with pytest.raises(EncodingError, match=r"unknown content-encoding (compress|lzma|utf-8)"):
        inflater(label)


TEXTS = [
    b"data: x\n\ndata: y\n\n",
    b"event: m\ndata: caf\xc3\xa9",
    b": ping\n\ndata: h",
    b'{"error":{"type":"x"}}',
    b'[{"a":1},{"b":2}]',
]


@pytest.mark.parametrize("text", TEXTS)
def test_text_under_a_wrong_label_is_seen_to_be_text(text: bytes) -> None:
    assert wire.looks_plain(text)
    assert wire.looks_plain(b"\r\n" + text)


@each_encoding
def test_what_is_encoded_is_not_taken_for_text(encoding: str, pack: Callable[[bytes], bytes]) -> None:
    if encoding in ("", "identity"):
        assert pack(SAYINGS) == SAYINGS
        return
    for text in (*TEXTS, SAYINGS, b"", b"x"):
        assert not wire.looks_plain(pack(text))


def test_encodings_without_a_signature_are_not_taken_for_text_at_any_length() -> None:
    """br and raw deflate may begin with any byte, also with `[`, `{` or `:`."""
    for size in range(1, 600):
        assert not wire.looks_plain(raw_deflate(SAYINGS[:size]))
        assert not any(wire.looks_plain(brotli.compress(SAYINGS[:size], quality=quality)) for quality in (0, 1, 5, 9))


# -- bombs -------------------------------------------------------------------------------------------------------------------

MIB = 1 << 20
PIECES = 640  # of 16 MiB each: 10 GiB


def _brotli_bomb(piece: bytes) -> bytes:
    """As many equal pieces as make 10 GiB: flushed behind each, all but the first are packed into the same bytes."""
    packer = brotli.Compressor(quality=5)
    first, next_one, another = (packer.process(piece) + packer.flush() for _ in range(3))
    assert next_one == another
    packed: bytes = first + next_one * (PIECES - 1) + packer.finish()
    return packed


@functools.cache
def bombs() -> dict[str, tuple[str, bytes]]:
    """Name: content-encoding, and bytes that inflate to 10 GiB (the last: to nothing, by way of 42 MB)."""
    piece = bytes(16 * MIB)
    frames = (b"data: " + b"x" * 120 + b"\n\n") * (MIB >> 3)
    member = gzip.compress(piece)
    return {
        "gzip": ("gzip", member * PIECES),
        "br": ("br", _brotli_bomb(piece)),
        "zstd": ("zstd", zstandard.compress(piece) * PIECES),
        "br, many events": ("br", _brotli_bomb(frames)),
        "gzip in br": ("gzip, br", gzips := brotli.compress(member * PIECES, quality=4)),
        "gzip in zstd": ("gzip, zstd", zstandard.compress(member * PIECES)),
        "gzip in br in zstd": ("gzip, br, zstd", zstandard.compress(gzips)),
        "nothing, often, in br": ("gzip, br", brotli.compress(gzip.compress(b"") * 2 * MIB, quality=4)),
    }


BOMBS = ("gzip", "br", "zstd", "br, many events", "gzip in br", "gzip in zstd", "gzip in br in zstd", "nothing, often, in br")


@pytest.mark.row(29)
@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_given_up_after_16_mib_and_no_step_is_large(name: str) -> None:
    encoding, packed = bombs()[name]
    stream, most = inflater(encoding), 0
    got = 0
    with pytest.raises(EncodingError, match="inflates to more than 16 MiB"):
        for chunk in sized(packed, 16 << 10):
            for step in stream.steps(chunk):
                got += len(step)
                most = max(most, len(step))
    assert got <= 17 * MIB + 100 * len(packed)
    assert most <= encodings.STEP


def test_a_stream_of_any_length_is_no_bomb() -> None:
    """Events flushed one by one: the same few bytes of deflate mean the same again and again, far over the bound."""
    packer, stream = zlib.compressobj(wbits=31), inflater("gzip")
    first, again = (packer.compress(SAYINGS) + packer.flush(zlib.Z_SYNC_FLUSH) for _ in range(2))
    assert 50 * len(again) < len(SAYINGS) < 100 * len(again)
    assert stream.feed(first) == SAYINGS
    for _ in range(3 * encodings.BURST // len(SAYINGS)):
        assert stream.feed(again) == SAYINGS


def test_a_large_body_is_no_bomb_and_comes_in_small_steps() -> None:
    body = bytes(8 * MIB) + random.Random(1).randbytes(8 * MIB) + bytes(8 * MIB)
    for encoding, pack in (
        ("gzip", gzip.compress),
        ("br", lambda data: brotli.compress(data, quality=4)),
        ("zstd", zstandard.compress),
    ):
        stream = inflater(encoding)
        steps = [step for chunk in sized(pack(body), 50_000) for step in stream.steps(chunk)]
        assert b"".join(steps) == body
        assert max(map(len, steps)) <= encodings.STEP


def test_no_more_encodings_are_undone_than_curl_undoes() -> None:
    inflater(", ".join(["gzip"] * 5))
    with pytest.raises(EncodingError, match="6 encodings"):
        inflater(", ".join(["gzip"] * 6))
