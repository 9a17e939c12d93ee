"""Newline-delimited JSON: one frame a line. https://github.com/ndjson/ndjson-spec"""

from capture.wire.base import Frame, Pieces


class NdjsonDecoder:
    """A frame for each line that is not empty."""

    def __init__(self) -> None:
        self._line = Pieces()

    def feed(self, chunk: bytes) -> list[Frame]:
        *lines, rest = chunk.split(b"\n")
        frames: list[Frame] = []
        for line in lines:
            self._line.add(line)
            frames.extend(self._line.overflow())
            frame = self._line.take()
            frame = frame._replace(data=frame.data.removesuffix(b"\r"))
            if frame.data or frame.part:
                frames.append(frame)
        if rest:
            self._line.add(rest)
            frames.extend(self._line.overflow())
        return frames

    def close(self) -> list[Frame]:
        """A last line without its newline is whole all the same: most servers end so."""
        if not self._line.started:
            return []
        frame = self._line.take()
        frame = frame._replace(data=frame.data.removesuffix(b"\r"))
        return [frame] if frame.data or frame.part else []
