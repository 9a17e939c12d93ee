"""A JSON array whose elements arrive one by one: what Gemini streams when it is not asked for `alt=sse`."""

import re

from capture.wire.base import Frame, Pieces

STRUCTURE = re.compile(rb'["\\\[\]{}]')
_QUOTE, _BACKSLASH, _OPEN, _CLOSE = b'"', b"\\", (b"[", b"{"), (b"]", b"}")


class JsonArrayDecoder:
    """A frame for each object of the outermost array; what stands between them (commas, white space) is no frame."""

    def __init__(self) -> None:
        self._depth = 0  # 0 outside, 1 inside the outermost array, 2 and more inside an element
        self._in_string = False
        self._escaped = False  # the last byte of the chunk before was a backslash inside a string
        self._element = Pieces()

    def feed(self, chunk: bytes) -> list[Frame]:
        frames: list[Frame] = []
        start = 0  # where the element that is open now began in this chunk
        at = 1 if self._escaped and chunk else 0
        self._escaped = self._escaped and not chunk
        for found in STRUCTURE.finditer(chunk, at):
            if found.start() < at:
                continue
            mark = found.group()
            if self._in_string:
                if mark == _BACKSLASH:
                    at = found.end() + 1
                    self._escaped = at > len(chunk)
                elif mark == _QUOTE:
                    self._in_string = False
            elif mark == _QUOTE:
                self._in_string = True
            elif mark in _OPEN:
                self._depth += 1
                if self._depth == 2:
                    start = found.start()
            elif mark in _CLOSE:
                self._depth -= 1
                if self._depth == 1:
                    self._element.add(chunk[start : found.end()])
                    frames.extend(self._element.overflow())
                    frames.append(self._element.take())
        if self._depth >= 2:
            self._element.add(chunk[start:])
            frames.extend(self._element.overflow())
        return frames

    def close(self) -> list[Frame]:
        return [self._element.take(cut=True)] if self._element.started else []
