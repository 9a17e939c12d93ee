"""A JSON array whose elements arrive one by one: what Gemini streams when it is not asked for `alt=sse`."""

import re

from capture.wire.base import Frame, Pieces

STRING = rb'(?:[^"\\]++|\\.)*+'  # all of a string, or of what is there of it, but its quotes
IN_STRING = re.compile(STRING + rb'("|\\?)', re.DOTALL)  # group 1: its end, or a backslash or nothing where the chunk ends first
IN_ELEMENT = re.compile(rb'(?:[^"\[\]{}]++|"' + STRING + rb'")*+', re.DOTALL)  # what says nothing of where an element ends,
BETWEEN = re.compile(rb'(?:[^"\[\]{},]++|"' + STRING + rb'")*+', re.DOTALL)  # and of where the next one begins
QUOTE, OBJECT, ARRAY, CLOSE, OPEN, ENDS = *b'"{[]', b"[{", b",]"


class JsonArrayDecoder:
    """A frame for each element of the outermost array; commas and white space between them are no frame.

    What stands where no element can (behind the array, behind a bracket too many) is a frame too: nothing said is lost.
    """

    def __init__(self) -> None:
        self._inside = False  # the outermost array is open
        self._depth = 0  # brackets open in the element at hand; 0 between elements, and in one that has no brackets
        self._in_string = False
        self._escaped = False  # the last byte of the chunk before was a backslash inside a string
        self._element = Pieces()

    def feed(self, chunk: bytes) -> list[Frame]:
        frames: list[Frame] = []
        start = at = 0  # where the element that is open now began in this chunk; what comes next
        if self._in_string:
            at = self._string(chunk, 1 if self._escaped and chunk else 0)
        depth, size = self._depth, len(chunk)
        while (at := _behind(IN_ELEMENT if depth else BETWEEN, chunk, at)) < size:
            mark, at = chunk[at], at + 1
            if mark == QUOTE:  # of a string that does not end in this chunk
                at = self._string(chunk, at)
            elif depth:
                depth += 1 if mark in OPEN else -1
                if not depth:
                    start = self._end_at(chunk, start, at, frames)
            elif mark == OBJECT or (mark == ARRAY and self._inside):
                start = self._end_at(chunk, start, at - 1, frames)
                depth = 1
            elif mark == ARRAY or (mark in ENDS and self._inside):
                self._end_at(chunk, start, at - 1, frames)
                self._inside, start = mark != CLOSE, at
        self._depth = depth
        self._add(chunk[start:], frames)
        return frames

    def close(self) -> list[Frame]:
        frames: list[Frame] = []
        self._end(frames, cut=self._inside or self._in_string or self._depth > 0)
        self._inside, self._in_string, self._escaped, self._depth = False, False, False, 0
        return frames

    def _string(self, chunk: bytes, at: int) -> int:
        """Where a string, or what the chunk has of it, ends."""
        if found := IN_STRING.match(chunk, at):
            if chunk:
                self._in_string, self._escaped = found[1] != b'"', found[1] == b"\\"
            return found.end()
        return at

    def _end_at(self, chunk: bytes, start: int, end: int, frames: list[Frame]) -> int:
        """Gives out the element that ends at `end`, if there is one; returns `end`."""
        if start < end or self._element.started:
            self._add(chunk[start:end], frames)
            self._end(frames)
        return end

    def _add(self, data: bytes, frames: list[Frame]) -> None:
        if not self._element.started:
            data = data.lstrip()
        if data:
            self._element.add(data)
            frames.extend(self._element.overflow())

    def _end(self, frames: list[Frame], cut: bool = False) -> None:
        if self._element.started:
            frame = self._element.take(cut=cut)
            inside = cut and (self._in_string or self._depth)  # else white space at its end stands between elements
            frames.append(frame if inside else frame._replace(data=frame.data.rstrip()))


def _behind(pattern: re.Pattern[bytes], chunk: bytes, at: int) -> int:
    found = pattern.match(chunk, at)
    return found.end() if found else at
