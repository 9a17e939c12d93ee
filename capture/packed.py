"""Files that were compressed: read and written like others. Reading what is damaged, or ends early, raises one of DAMAGED."""

import zlib
from collections.abc import Buffer
from pathlib import Path
from typing import IO, cast

MAGIC = {b"\x1f\x8b\x08": "gz", b"\x28\xb5\x2f\xfd": "zst"}  # how compressed files begin
SUFFIXES = tuple(f".{packing}" for packing in MAGIC.values())
DAMAGED = (EOFError, OSError, ValueError, zlib.error)
BUFFER = 1 << 20  # bytes read at once


def packing_of(path: Path) -> str | None:
    """`gz`, `zst`, or None for a file that is not compressed. Raises OSError."""
    with open(path, "rb") as file:
        begin = file.read(4)
    return next((packing for magic, packing in MAGIC.items() if begin.startswith(magic)), None)


def opened(path: Path, packing: str | None) -> IO[bytes]:
    """What stands in a file that is compressed so. Raises OSError."""
    if packing == "gz":
        import gzip  # each command imports this file

        return cast(IO[bytes], gzip.open(path, "rb"))
    if packing == "zst":
        return _zstandard(path)
    return open(path, "rb", buffering=BUFFER)


def unpacked(path: Path) -> IO[bytes]:
    """What stands in a file, compressed or not. Raises OSError."""
    return opened(path, packing_of(path))


def written(path: Path, packing: str | None) -> IO[bytes]:
    """A file that is compressed so, to be written anew; one that is there keeps its rights. Raises OSError."""
    if packing == "gz":
        import gzip

        return cast(IO[bytes], gzip.open(path, "wb"))
    if packing == "zst":
        import zstandard

        return cast(IO[bytes], zstandard.ZstdCompressor().stream_writer(open(path, "wb")))
    return open(path, "wb")


def _zstandard(path: Path) -> IO[bytes]:
    import io

    import zstandard  # only where needed: 10 ms

    class Frames(io.RawIOBase):
        """What stands in a file of frames; raises EOFError for one that ends in the middle of a frame, as gzip does."""

        def __init__(self) -> None:
            self.file = open(path, "rb")  # noqa: SIM115 (closed with its reader)
            self.frame: zstandard.ZstdDecompressionObj | None = None
            self.ready = b""

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Buffer) -> int:
            room = memoryview(buffer).cast("B")
            while not self.ready:
                rest = self.frame.unused_data if self.frame and self.frame.eof else b""
                data = rest or self.file.read(BUFFER)
                if not data:
                    if self.frame and not self.frame.eof:
                        raise EOFError("the file ends in the middle of a frame")
                    return 0
                if self.frame is None or self.frame.eof:
                    self.frame = zstandard.ZstdDecompressor().decompressobj()
                try:
                    self.ready = self.frame.decompress(data)
                except zstandard.ZstdError as error:
                    raise OSError(str(error)) from None  # as gzip says it
            count = min(len(room), len(self.ready))
            room[:count], self.ready = self.ready[:count], self.ready[count:]
            return count

        def close(self) -> None:
            self.file.close()
            super().close()

    return cast(IO[bytes], io.BufferedReader(Frames(), BUFFER))
