"""What a raw line may hold, told from its first bytes: the shapes of all vocabularies as one table for all engines."""

import re
import zlib
from collections.abc import Iterable
from functools import cache
from itertools import groupby

from capture import providers
from capture.providers.base import Holds, Shape

HEAD = b'{"event":"'  # how the lines begin that a shape can be known of; all others may hold anything
PART = b'\\"part\\":\\"'  # in the metadata of a frame in parts: only the first one may look like its shape
METADATA = b'","metadata":"'  # where the payload has ended
LONG = 60_000  # bytes; shorter lines are no part
TAIL = 2_000  # bytes at a line's end where its metadata stands
OURS = (Shape("capture.*", Holds.OTHER), Shape("request.*", Holds.REQUEST))  # events of no vocabulary

# one vocabulary's shapes of one event: (a text of these stands in the payload, the same texts, holds); the first that fits
type Chain = tuple[tuple[re.Pattern[bytes], tuple[bytes, ...], int], ...]

ANYTHING = re.compile(b"")


@cache
def vocabularies() -> tuple[tuple[Shape, ...], ...]:
    """The shapes of each vocabulary."""
    known = getattr(providers, "VOCABULARIES", providers.PROVIDERS)
    return (OURS, *(provider.shapes for provider in known if provider.shapes))


@cache
def version() -> int:
    """A number of this table: what was told by another one is worth nothing."""
    return zlib.crc32(repr([(s.event, int(s.holds), s.within) for shapes in vocabularies() for s in shapes]).encode())


def needle(within: str) -> bytes:
    """How a text of a payload stands in a raw line, where the payload is a string of JSON."""
    return within.replace("\\", "\\\\").replace('"', '\\"').encode()


def spaced(pattern: str) -> str:
    """A pattern of JSON in JSON that takes it with spaces, too."""
    return pattern.replace('\\\\":', '\\\\": ?').replace(',\\\\"', ', ?\\\\"')


def chains(name: bytes, wanted: int = int(Holds.ALL)) -> tuple[Chain, ...]:
    """What each vocabulary that knows an event says of its lines, as far as it is `wanted`. None: they may hold anything."""
    text = name.decode("utf-8", "replace")
    found = ([shape for shape in shapes if _fits(shape, text)] for shapes in vocabularies())
    return tuple(_chain(shapes, wanted) for shapes in found if shapes)


def _chain(shapes: list[Shape], wanted: int) -> Chain:
    """The shapes of an event up to the one that always fits: what fits none may hold anything. Those that say the same are one."""
    end = next((at for at, shape in enumerate(shapes) if not shape.within), None)
    rest = int(Holds.ALL if end is None else shapes[end].holds) & wanted
    chain = []
    for holds, same in groupby(shapes[:end], lambda shape: int(shape.holds) & wanted):
        texts = tuple(needle(shape.within) for shape in same)
        pattern = "|".join(spaced(re.escape(text.decode())) for text in texts)
        chain.append((re.compile(pattern.encode()), texts, holds))
    while chain and chain[-1][2] == rest:
        chain.pop()
    return (*chain, (ANYTHING, (b"",), rest))


def _fits(shape: Shape, event: str) -> bool:
    if shape.event.endswith("*"):
        return event.startswith(shape.event[:-1])
    return event == shape.event


def held(found: Iterable[Chain], raw: bytes) -> int:
    """What a line of an event may hold."""
    if len(raw) > LONG and PART in raw[-TAIL:]:
        return Holds.ALL
    holds, end = 0, raw.rfind(METADATA)
    if end < 0:
        end = len(raw)  # it is torn, or something else stands before the metadata
    for chain in found:
        for pattern, _, each in chain:
            if pattern.search(raw, 0, end):
                holds |= each
                break
    return holds


class Kinds(dict[bytes, tuple[Chain, ...] | int]):
    """What lines hold, by event name: a number, or the chains to be asked."""

    def __missing__(self, name: bytes) -> tuple[Chain, ...] | int:
        if len(self) > 10_000:
            self.clear()  # names that somebody makes up
        found = chains(name)
        fixed = all(len(chain) == 1 for chain in found)
        self[name] = (held(found, b"") or int(Holds.ALL)) if fixed else found
        return self[name]


class Wanted(dict[bytes, bool | tuple[Chain, ...]]):
    """Whether lines may hold some of what is wanted, by event name: yes, no, or the chains to be asked."""

    def __init__(self, holds: Holds) -> None:
        self.holds = int(holds)
        self.all = holds == Holds.ALL
        super().__init__()

    def __missing__(self, name: bytes) -> bool | tuple[Chain, ...]:
        if len(self) > 10_000:
            self.clear()
        found = chains(name, self.holds)
        self[name] = self._verdict(found) if found else True
        return self[name]

    def _verdict(self, found: tuple[Chain, ...]) -> bool | tuple[Chain, ...]:
        """The answer where it is the same whatever the line says."""
        wanted = [[bool(holds) for _, _, holds in chain] for chain in found]
        if not any(map(any, wanted)):
            return False
        return True if any(map(all, wanted)) else found

    def line(self, raw: bytes) -> bool:
        """Whether a raw line may hold some of what is wanted."""
        if self.all or not raw.startswith(HEAD):
            return True
        verdict = self[raw[10 : raw.find(b'"', 10)]]
        return verdict if isinstance(verdict, bool) else bool(held(verdict, raw) & self.holds)
