"""The contract of the wire: chunks go in, frames come out, nothing else is touched."""

from collections import deque
from typing import NamedTuple, Protocol

MAX_FRAME_BYTES = 16 << 20  # one frame in memory; a longer one is given out in parts (largest seen on a real wire: 4.6 MB)
PART_BYTES = 4 << 20  # of such a part: whoever reads it copies it some times


class Frame(NamedTuple):
    """One SSE event, one WebSocket message, one NDJSON line, or one plain body: as received, not yet understood."""

    data: bytes
    event: str | None = None  # the name the wire itself gave it (SSE `event:`); None when it gave none
    part: int = 0  # 0: whole. 1, 2, 3 …: the pieces of a frame over MAX_FRAME_BYTES, in order
    last: bool = True  # False: more pieces of this frame follow
    cut: bool = False  # True: the stream ended inside this frame


class Decoder(Protocol):
    """Chunks to frames. Any cut of the same bytes gives the same frames; neither method raises on odd input."""

    def feed(self, chunk: bytes) -> list[Frame]: ...

    def close(self) -> list[Frame]:
        """What was still pending when the stream ended, marked `cut`."""
        ...


class Pieces:
    """Bytes that belong to one frame still arriving: appended in constant time, given out whole or in parts."""

    __slots__ = ("chunks", "part", "size")

    def __init__(self) -> None:
        self.chunks: deque[bytes] = deque()
        self.size = 0  # bytes held now
        self.part = 0  # parts given out so far

    def add(self, data: bytes) -> None:
        self.chunks.append(data)
        self.size += len(data)

    @property
    def started(self) -> bool:
        return self.size > 0 or self.part > 0

    def overflow(self, event: str | None = None) -> list[Frame]:
        """The parts that must go out now: all but one, as soon as the frame is known to be larger than MAX_FRAME_BYTES."""
        size = min(PART_BYTES, MAX_FRAME_BYTES)
        if self.size <= (size if self.part else MAX_FRAME_BYTES):
            return []
        frames = []
        while self.size > size:  # at least a byte stays: the last part is never empty
            self.part += 1
            frames.append(Frame(self._first(size), event, self.part, last=False))
        return frames

    def _first(self, size: int) -> bytes:
        """Takes the first `size` of the bytes that are held, which are more."""
        taken, missing = [], size
        while missing >= len(self.chunks[0]):
            taken.append(self.chunks.popleft())
            missing -= len(taken[-1])
        if missing:
            taken.append(self.chunks[0][:missing])
            self.chunks[0] = self.chunks[0][missing:]
        self.size -= size
        return b"".join(taken)

    def take(self, event: str | None = None, cut: bool = False) -> Frame:
        """What is held, as the whole frame or as the last of its parts; empty afterwards."""
        data = self.chunks[0] if len(self.chunks) == 1 else b"".join(self.chunks)
        frame = Frame(data, event, self.part + 1 if self.part else 0, True, cut)
        self.chunks.clear()
        self.size = self.part = 0
        return frame
