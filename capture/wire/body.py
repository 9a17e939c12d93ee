"""A body that is no stream: one frame when it ends."""

from capture.wire.base import Frame, Pieces


class BodyDecoder:
    """Collects; gives the whole body out at the end (in parts when it is larger than MAX_FRAME_BYTES)."""

    def __init__(self) -> None:
        self._body = Pieces()

    def feed(self, chunk: bytes) -> list[Frame]:
        self._body.add(chunk)
        return self._body.overflow()

    def close(self) -> list[Frame]:
        return [self._body.take()] if self._body.started else []
