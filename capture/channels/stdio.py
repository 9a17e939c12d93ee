"""A stream of lines that somebody else reads or makes: a pipe, a compressed file, stdin, stdout."""

import os
import select
from typing import IO

from capture.channels.base import Batch
from capture.channels.cutting import Cutter
from capture.jsonl import Kind
from capture.packed import DAMAGED

READ = 1 << 16  # bytes taken at one look: of a damaged file so much is lost at most


class StreamSource:
    """Lines from an open file. `live`: it is a pipe or a terminal, where more may come later."""

    def __init__(self, name: str, file: IO[bytes], live: bool) -> None:
        self.name = name
        self._file = file
        self._live = live
        self._cutter = Cutter()
        self._over = False
        self.broken = ""  # why it cannot be read to its end

    def poll(self, wait: float = 0.0) -> Batch | None:
        if self._over:
            return None
        if not self._live:
            data = self._next()
        elif not select.select([self._file], [], [], wait)[0]:
            return Batch()
        else:
            data = os.read(self._file.fileno(), READ)
        self._over = not data
        lines = self._cutter.feed(data) if data else self._cutter.close()
        return Batch(lines=lines, behind=not self._live) if lines or data else None

    def _next(self) -> bytes:
        """What comes next of a file; where a compressed one is damaged, or was cut, it ends, and says so."""
        try:
            return self._file.read(READ)
        except DAMAGED as error:
            self.broken = str(error)
            return b""

    def close(self) -> None:
        self._file.close()


class StreamSink:
    """Records, of all kinds, as lines to an open file."""

    def __init__(self, name: str, file: IO[bytes]) -> None:
        self.name = name
        self._file = file

    def add(self, kind: Kind, raw: bytes) -> None:
        self._file.write(raw)

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        self._file.flush()
