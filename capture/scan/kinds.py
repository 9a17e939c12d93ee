"""What a raw line may hold, told from its first bytes: the shapes of all vocabularies as one table for all engines."""

import zlib
from collections.abc import Iterable
from functools import cache

from capture import providers
from capture.providers.base import Holds, Shape

HEAD = b'{"event":"'  # how the lines begin that a shape can be known of; all others may hold anything
PART = b'\\"part\\":\\"'  # in the metadata of a frame in parts: only the first one may look like its shape
METADATA = b'","metadata":"'  # where the payload has ended
SPACED = b'\\": '  # in a payload with spaces after its colons, or in one that quotes JSON
LONG = 60_000  # bytes; shorter lines are no part
TAIL = 2_000  # bytes at a line's end where its metadata stands
OURS = (Shape("capture.*", Holds.OTHER), Shape("request.*", Holds.REQUEST))  # events of no vocabulary

type Chain = tuple[
    tuple[bytes, bytes, int], ...
]  # one vocabulary's shapes of one event: (needle, with spaces, holds); the first that fits


@cache
def vocabularies() -> tuple[tuple[Shape, ...], ...]:
    """The shapes of each vocabulary."""
    known = getattr(providers, "VOCABULARIES", providers.PROVIDERS)
    return (OURS, *(provider.shapes for provider in known if provider.shapes))


@cache
def version() -> int:
    """A number of this table: what was told by another one is worth nothing."""
    return zlib.crc32(repr([(s.event, int(s.holds), s.within) for shapes in vocabularies() for s in shapes]).encode())


def needles(within: str) -> tuple[bytes, bytes]:
    """How a text of a payload stands in a raw line, where the payload is a string of JSON: without spaces, and with them."""
    compact = within.replace("\\", "\\\\").replace('"', '\\"').encode()
    return compact, compact.replace(b'\\":', b'\\": ').replace(b',\\"', b', \\"')


def chains(name: bytes) -> tuple[Chain, ...]:
    """What each vocabulary that knows an event says of its lines. None knows it: the line may hold anything."""
    text = name.decode("utf-8", "replace")
    found = ([shape for shape in shapes if _fits(shape, text)] for shapes in vocabularies())
    return tuple(_chain(shapes) for shapes in found if shapes)


def _chain(shapes: list[Shape]) -> Chain:
    """The shapes of an event up to the one that always fits: what fits none may hold anything."""
    end = next((at for at, shape in enumerate(shapes, 1) if not shape.within), None)
    chain = tuple((*needles(shape.within), int(shape.holds)) for shape in shapes[:end])
    return chain if end else (*chain, (b"", b"", int(Holds.ALL)))


def _fits(shape: Shape, event: str) -> bool:
    if shape.event.endswith("*"):
        return event.startswith(shape.event[:-1])
    return event == shape.event


def held(found: Iterable[Chain], raw: bytes) -> int:
    """What a line of an event may hold."""
    if len(raw) > LONG and PART in raw[-TAIL:]:
        return Holds.ALL
    body = raw[: raw.rfind(METADATA)]  # half of most lines
    spaced = SPACED in body
    holds = 0
    for chain in found:
        for needle, with_spaces, each in chain:
            if needle in body or (spaced and with_spaces in body):
                holds |= each
                break
    return holds


class Kinds(dict[bytes, tuple[Chain, ...] | int]):
    """What lines hold, by event name: a number, or the chains to be asked."""

    def __missing__(self, name: bytes) -> tuple[Chain, ...] | int:
        if len(self) > 10_000:
            self.clear()  # names that somebody makes up
        found = chains(name)
        fixed = all(not chain[0][0] for chain in found)
        self[name] = (held(found, b"") or int(Holds.ALL)) if fixed else found
        return self[name]

    def of(self, raw: bytes) -> int:
        """The Holds of a raw line."""
        if not raw.startswith(HEAD):
            return Holds.ALL
        found = self[raw[10 : raw.find(b'"', 10)]]
        return found if isinstance(found, int) else held(found, raw)


class Wanted(dict[bytes, bool | tuple[Chain, ...]]):
    """Whether lines may hold some of what is wanted, by event name: yes, no, or the chains to be asked."""

    def __init__(self, holds: Holds) -> None:
        self.holds = int(holds)
        self.all = holds == Holds.ALL
        super().__init__()

    def __missing__(self, name: bytes) -> bool | tuple[Chain, ...]:
        if len(self) > 10_000:
            self.clear()
        found = chains(name)
        self[name] = self._verdict(found) if found else True
        return self[name]

    def _verdict(self, found: tuple[Chain, ...]) -> bool | tuple[Chain, ...]:
        """The answer where it is the same whatever the line says."""
        wanted = [[bool(holds & self.holds) for _, _, holds in chain] for chain in found]
        if not any(map(any, wanted)):
            return False
        return True if any(map(all, wanted)) else found

    def line(self, raw: bytes) -> bool:
        """Whether a raw line may hold some of what is wanted."""
        if self.all or not raw.startswith(HEAD):
            return True
        verdict = self[raw[10 : raw.find(b'"', 10)]]
        return verdict if isinstance(verdict, bool) else bool(held(verdict, raw) & self.holds)
