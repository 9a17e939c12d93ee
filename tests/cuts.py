"""Bytes cut into chunks: by a list of positions (hypothesis), at one position, into equal sizes."""

from collections.abc import Iterable, Iterator

from hypothesis import strategies as st

positions = st.lists(st.integers(0, 2**16), max_size=12)  # where to cut; any bytes: they count modulo its length


def cut(data: bytes, at: Iterable[int]) -> list[bytes]:
    """The chunks of `data`; a position that comes twice makes an empty chunk."""
    marks = sorted(position % (len(data) + 1) for position in at)
    return [data[start:end] for start, end in zip([0, *marks], [*marks, len(data)], strict=True)]


def every_way(data: bytes) -> Iterator[list[bytes]]:
    """`data` cut at each single position, into single bytes, and into sizes between."""
    for position in range(len(data) + 1):
        yield [data[:position], data[position:]]
    for size in (1, 2, 3, 7, 64):
        yield sized(data, size)


def sized(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]
