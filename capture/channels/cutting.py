"""Bytes that arrive in pieces → whole lines, with the offset at which each begins."""

from io import BytesIO
from itertools import accumulate


class Cutter:
    """Lines as they become whole. What has no newline yet waits, however long it grows: its pieces are joined once."""

    def __init__(self, offset: int = 0) -> None:
        self.offset = offset  # of the first byte that is in no line yet
        self._torn: list[bytes] = []

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """The lines, with their newlines, that `data` completes."""
        lines = BytesIO(data).readlines()
        if not lines:
            return []
        rest = b"" if lines[-1].endswith(b"\n") else lines.pop()
        if lines and self._torn:
            lines[0] = b"".join((*self._torn, lines[0]))
            self._torn.clear()
        if rest:
            self._torn.append(rest)
        *offsets, self.offset = accumulate(map(len, lines), initial=self.offset)
        return list(zip(offsets, lines, strict=True))

    def close(self) -> list[tuple[int, bytes]]:
        """The last line, where it has no newline."""
        rest = b"".join(self._torn)
        self._torn.clear()
        return [(self.offset, rest)] if rest else []
