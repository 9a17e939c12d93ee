"""Server-sent events, by the rules of the WHATWG: https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream

Two differences, both so that nothing is lost: an event the stream ends in is given out by `close`, marked `cut`
(a browser drops it), and an event larger than MAX_FRAME_BYTES is given out in parts.
"""

import re

from capture.wire.base import MAX_FRAME_BYTES, Frame, Pieces

CR, LF = 13, 10  # numbers: whether a byte is in bytes costs ten times as much for `b"\r"`
BOM = b"\xef\xbb\xbf"
LONG_LINE = 64 << 10  # bytes of a line that has not ended; of a longer one nothing is joined until its frame is whole
MAX_NAME_BYTES = 4096  # of an event's name; what is over is left out (longest known name: 42 bytes)
WHOLE = re.compile(rb"(?:event: ?([^\n]{0,%d}+)\n)?data: ?([^\n]*+)\n\n" % MAX_NAME_BYTES)  # one event, as nearly every chunk is


class SseDecoder:
    """Frames of one event stream. Linear in the bytes fed, whatever their cut."""

    def __init__(self) -> None:
        self._line: list[bytes] = []  # pieces of the line that has not ended yet
        self._held = 0  # bytes in them
        self._long = False  # the line is a `data:` line so long that its beginning has moved to _data already
        self._event = ""
        self._data = Pieces()
        self._lines = 0  # `data:` lines of the event so far
        self._after_cr = False  # the last chunk ended in CR: a LF now belongs to it
        self._bom: bytes | None = b""  # what may still become a byte order mark; None once decided

    def feed(self, chunk: bytes) -> list[Frame]:
        if self._bom is not None:
            chunk = self._without_bom(chunk)
        if self._after_cr and chunk:
            self._after_cr = False
            if chunk[0] == LF:
                chunk = chunk[1:]
        if CR in chunk:
            self._after_cr = chunk.endswith(b"\r")
            chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        if not chunk:
            return []
        idle = not (self._held or self._long or self._lines or self._event)
        if idle and len(chunk) <= MAX_FRAME_BYTES and (whole := WHOLE.fullmatch(chunk)):  # half the work of the general way
            name, data = whole.groups()
            return [Frame(data, name.decode("utf-8", "replace") if name else None)]
        *lines, rest = chunk.split(b"\n")
        frames: list[Frame] = []
        if lines:
            if self._held:
                self._line.append(lines[0])
                lines[0] = b"".join(self._line)
                self._line, self._held = [], 0
            for line in lines:
                self._end_of_line(line, frames)
        if rest and self._long:
            self._data.add(rest)
            frames.extend(self._data.overflow(self._event or None))
        elif rest:
            self._line.append(rest)
            self._held += len(rest)
            if self._held > LONG_LINE:
                self._relieve(frames)
        return frames

    def close(self) -> list[Frame]:
        frames: list[Frame] = []
        if self._bom:
            self._line, self._held, self._bom = [self._bom], len(self._bom), None
        line = b"".join(self._line)
        if self._long or line.startswith(b"data:"):  # of any other field the half of it may say something else
            self._end_of_line(line, frames)
        self._line, self._held = [], 0
        if self._lines:
            frames.append(self._data.take(self._event or None, cut=True))
        self._event, self._lines = "", 0
        return frames

    def _without_bom(self, chunk: bytes) -> bytes:
        seen = (self._bom or b"") + chunk
        if len(seen) < len(BOM) and BOM.startswith(seen):
            self._bom = seen
            return b""
        self._bom = None
        return seen.removeprefix(BOM)

    def _end_of_line(self, line: bytes, frames: list[Frame]) -> None:
        if self._long:
            self._long = False
            self._data.add(line)
            frames.extend(self._data.overflow(self._event or None))
        elif not line:
            self._end_of_event(frames)
        elif line.startswith(b"data:"):
            self._data_line(line[6:] if line[5:6] == b" " else line[5:], frames)
        elif line.startswith(b"event:"):
            self._event = (line[7:] if line[6:7] == b" " else line[6:])[:MAX_NAME_BYTES].decode("utf-8", "replace")
        elif line == b"data":
            self._data_line(b"", frames)
        elif line == b"event":
            self._event = ""
        # comments, `id`, `retry` and unknown fields change nothing that an event means

    def _data_line(self, value: bytes, frames: list[Frame]) -> None:
        if self._lines:
            self._data.add(b"\n")
        self._lines += 1
        self._data.add(value)
        frames.extend(self._data.overflow(self._event or None))

    def _end_of_event(self, frames: list[Frame]) -> None:
        if self._lines:
            frames.append(self._data.take(self._event or None))
        self._event, self._lines = "", 0

    def _relieve(self, frames: list[Frame]) -> None:
        """Moves the beginning of a long line out of the way; of one that is no `data:` only what a name needs is kept."""
        line = b"".join(self._line)
        self._line, self._held = [], 0
        if line.startswith(b"data:"):
            self._long = True
            self._data_line(line[6:] if line[5:6] == b" " else line[5:], frames)
        else:
            keep = len(b"event: ") + MAX_NAME_BYTES
            self._line, self._held = [line[:keep]], min(keep, len(line))
