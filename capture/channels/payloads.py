"""Large payloads, which arrive in pieces, put together in `bodies/`."""

import os
import re
from hashlib import file_digest
from pathlib import Path

from capture.files import inside

PIECE = re.compile(r"([0-9a-f]{64}):(\d{1,12})/(\d{1,12})")  # the id of a piece: SHA-256 of the whole, where it stands / size


class Payloads:
    """Pieces stand in a draft until its SHA-256 is the one that its name says; another collector may go on with it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._waiting: list[tuple[str, int, int, bytes]] = []

    def add(self, identity: str, piece: bytes) -> bool:
        """Whether it is a piece."""
        found = PIECE.fullmatch(identity)
        if found:
            self._waiting.append((found[1], int(found[2]), int(found[3]), piece))
        return found is not None

    def write(self, sync: bool) -> None:
        """Raises OSError, Unusable; what was not written waits."""
        whole: dict[str, int] = {}
        if self._waiting:
            inside(self._folder)
        for digest, offset, size, piece in self._waiting:
            if not (self._folder / digest).exists():
                self._put(digest, offset, piece)
                whole[digest] = size
        for digest, size in whole.items():
            self._finish(digest, size, sync)
        self._waiting.clear()

    @property
    def waiting(self) -> bool:
        return bool(self._waiting)

    def forget(self) -> None:
        """What waits is not written."""
        self._waiting.clear()

    def _draft(self, digest: str) -> Path:
        return self._folder / f".{digest}.part"

    def _put(self, digest: str, offset: int, piece: bytes) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        with open(os.open(self._draft(digest), flags, 0o600), "wb") as file:
            file.seek(offset)
            file.write(piece)

    def _finish(self, digest: str, size: int, sync: bool) -> None:
        draft = self._draft(digest)
        with open(draft, "rb") as file:
            if sync:
                os.fsync(file.fileno())
            if os.fstat(file.fileno()).st_size != size or file_digest(file, "sha256").hexdigest() != digest:
                return
        draft.rename(draft.with_name(digest))
        if sync:
            folder = os.open(self._folder, os.O_RDONLY | os.O_CLOEXEC)
            os.fsync(folder)
            os.close(folder)
