"""What a target makes of its bytes: choices, numbers, pieces, and whatever is left."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple


class Target(NamedTuple):
    """One fuzzed door: `check` raises on bytes for which a property does not hold."""

    name: str
    check: Callable[[bytes], None]
    seeds: tuple[bytes, ...]  # where atheris begins


class Choices:
    """Decisions taken from the front of some bytes; when none are left each is the first, 0, or empty."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def left(self) -> bool:
        return self._at < len(self._data)

    def take(self, count: int) -> bytes:
        """At most the next `count` bytes."""
        taken = self._data[self._at : self._at + count]
        self._at += len(taken)
        return taken

    def number(self, below: int) -> int:
        size = 1 if below <= 256 else 2 if below <= 65536 else 4
        return int.from_bytes(self.take(size), "little") % below

    def pick[T](self, options: Sequence[T]) -> T:
        return options[self.number(len(options))]

    def piece(self) -> bytes:
        """Some bytes, as many as the first of them says."""
        return self.take(self.number(256))

    def text(self) -> str:
        return self.piece().decode("utf-8", "replace")

    def words(self, words: Sequence[str], most: int = 256) -> str:
        """Less than `most` of these words, and any text."""
        count = self.number(most)
        return "".join(self.pick(words) for _ in range(count) if self.left) + self.text()

    def rest(self) -> bytes:
        return self.take(len(self._data))

    def positions(self) -> list[int]:
        """Where to cut: at most 15 places, each taken modulo the length of what is cut."""
        return [self.number(65536) for _ in range(self.number(16))]


def cut[S: (str, bytes)](data: S, at: Sequence[int]) -> list[S]:
    """The pieces of `data`, cut at these places modulo its length; together they are `data`."""
    marks = [0, *sorted(place % (len(data) + 1) for place in at), len(data)]
    return [data[start:end] for start, end in pairwise(marks)]
