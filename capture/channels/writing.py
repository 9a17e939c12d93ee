"""Records into a log directory."""

from pathlib import Path

from capture.appending import Appender
from capture.files import FILES, prepare
from capture.jsonl import Kind


class DirectorySink:
    """The three files of a log directory, appended to; others may write to them at the same time."""

    def __init__(self, directory: Path) -> None:
        """Raises Unusable."""
        self.name = str(directory)
        folder = prepare(directory)
        self._files = {kind: Appender(folder / name) for kind, name in FILES.items()}

    def add(self, kind: Kind, raw: bytes) -> None:
        self._files[kind].add(raw)

    def flush(self) -> None:
        """All is in the files, flows first, ends last, as readers expect. Raises OSError; what is not written waits."""
        for file in self._files.values():
            file.flush()

    def close(self) -> None:
        try:
            self.flush()
        finally:
            for file in self._files.values():
                file.close()
