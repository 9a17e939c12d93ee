"""Secrets that come in pieces: what could become one is held back until it is one, or is none.

    frame ──▶ does a text in it end in the beginning of anything by which a secret is known?
              no   it is written at once
              yes  its pieces are looked at, and those of the frames behind it, until no text ends so; meanwhile
                   a frame whose piece could be of a secret waits, and all behind it, HOLD seconds at most

A channel is one text that comes in pieces: an answer, its reasoning, the arguments of one tool call (`Provider.pieces`).
The pieces joined are searched, so that a secret is seen wherever it was cut; what each piece has of it is taken out of that
piece, and the hash of the whole stands where it begins. Who waits too long is written with what has begun taken out: of a
secret that a pause cuts in two, no more than a few characters stand in the log (`capture.shapes.FEW`).
"""

import json
import re
from collections.abc import Callable, Collection, Hashable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import orjson

from capture.jsonl import loads
from capture.providers.base import IN_LIST, ITSELF, PLAIN, Said
from capture.redact import Redactor, together, unredacted
from capture.shapes import BEGUN, GOES_ON, HOLDS, Found, Shapes

HOLD = 2.0  # seconds a frame waits at most
MAX_HELD = 1 << 20  # bytes of frames that wait; above it nobody waits
LOOK_BACK = 96  # bytes before a place that say whether a secret begins there: `"code_verifier": "`
LOOK_BACK_CURL = 512  # the same of `curl … -u`
LONG = 4 << 10  # bytes of a secret that is waited for; of a longer one the hash is that of its beginning
SEEN = 1 << 10  # bytes of its beginning and of its end by which one that goes on is known
MAX_CHANNELS = 256  # of one flow; the oldest is forgotten
STRING = re.compile(rb'"(?:[^"\\]|\\.)*+"')
WORD = re.compile(rb"\w\w")
CURL = re.compile(rb"(?<![0-9A-Za-z_])curl\b")


@dataclass(slots=True)
class _Channel:
    """One text as it comes: the end of it, as far back as a rule looks, and all that waits."""

    redactor: Redactor
    text: bytes = b""
    base: int = 0  # how many bytes went before `text`; places are counted from the text's very beginning
    waiting: int = 0  # pieces
    inside: bool = False  # the hash of a secret was written that has not ended
    seen: Collection[int] = ()  # what the text has (`capture.shapes`): HOLDS, GOES_ON, BEGUN
    places: list[Found] = field(default_factory=list)  # of the secrets in `text`
    looked: bool = True  # since it grew, or was trimmed
    _begun: int | None = None  # not asked for yet

    @property
    def end(self) -> int:
        return self.base + len(self.text)

    @property
    def stays(self) -> bool:
        """Whether what comes next must be read together with it."""
        return self.inside or GOES_ON in self.seen

    def add(self, text: bytes) -> None:
        self.text += text
        self.looked = False

    def look(self) -> None:
        """Sees what the text has."""
        if self.looked:
            return
        self.looked, self._begun = True, None
        self.seen = self.redactor.in_text(self.text)
        self.places = self.redactor.places(self.text) if HOLDS in self.seen else []

    @property
    def begun(self) -> int:
        """Where a secret may have begun that is not over; the text's end when none has."""
        if BEGUN not in self.seen:
            return self.end
        if self._begun is None:
            begun = self.redactor.begun(self.text)
            self._begun = self.end if begun is None else self.base + begun
        return self._begun

    def waits_for(self, start: int, stop: int) -> bool:
        """Whether its piece has something of what could become a secret; what goes on with one that was told is no question."""
        self.look()
        if BEGUN not in self.seen:
            return False
        if stop == self.end and not self.inside and len(self.text) <= LONG:
            return True  # wherever it has begun
        return stop > self.begun and not (self.inside and self.begun < start) and self.end - self.begun <= LONG

    def trim(self) -> None:
        """Forgets what no rule looks back to; nothing waits."""
        if not self.looked:  # it has not grown since
            return
        text, begun = self.text, self.begun - self.base
        over = [place.stop for place in self.places if place.stop <= begun]
        keep = max(begun - LOOK_BACK, *over[-1:], 0)
        if b"curl" in text and (command := CURL.search(text, max(0, begun - LOOK_BACK_CURL))):
            keep = min(keep, max(0, command.start() - 1))
        kept = _end(text, keep)
        if (self.inside and len(kept) > 2 * SEEN) or len(kept) > 2 * LONG:
            kept = kept[:SEEN] + kept[-SEEN:]
        self.base += len(text) - len(kept)
        self.text, self.places, self.looked = kept, [], False


def _end(text: bytes, start: int) -> bytes:
    """The text from there on; the first byte is no beginning of a word where it was none."""
    kept = text[start:]
    return b"_" + kept[1:] if start and WORD.match(text, start - 1) else kept


class _Piece(NamedTuple):
    channel: _Channel
    name: str
    text: str
    start: int
    stop: int


@dataclass(slots=True)
class _Held[T]:
    payload: bytes
    tag: T
    since: float
    shapes: Shapes  # with which it was looked at
    holds: bool  # maybe a secret, whole
    pieces: list[_Piece]


@dataclass(frozen=True, slots=True)
class _Alone[T]:
    """The first frame to wait, with one piece. Nearly always the next one shows that it was the beginning of nothing."""

    payload: bytes
    tag: T
    since: float
    shapes: Shapes
    key: Hashable
    text: str


class Holding[T]:
    """The frames of one flow, in their order: `tag` is given back with each payload, secrets out, as soon as it may be written."""

    def __init__(self, redactor: Redactor, pieces: Callable[[bytes], list[Said]]) -> None:
        """`pieces`: what a payload adds to its channels, in no order."""
        self._redactor = redactor
        self._pieces = pieces
        self._channels: dict[Hashable, _Channel] = {}  # none as long as no text ends in a beginning
        self._last = b""  # the last frame
        self._alone: _Alone[T] | None = None  # none else waits then, and there are no channels
        self._held: list[_Held[T]] = []
        self._bytes = 0  # in the frames that wait

    @property
    def waiting(self) -> bool:
        """Whether a frame waits."""
        return bool(self._held) or self._alone is not None

    def feed(self, payload: bytes, tag: T, now: float) -> list[tuple[bytes, T]]:
        """What may be written now that this frame is there, secrets out."""
        alone = self._alone
        if alone is not None:
            if self._is_settled(alone, payload):
                self._alone, self._last = None, payload
                return [(alone.payload, alone.tag), (payload, tag)]
            self._read(alone)
        seen = self._redactor.in_json(payload)
        if not self._channels and not self._held:
            if not seen:
                self._last = payload
                return [(payload, tag)]  # nearly all frames
            said = self._pieces(payload) if HOLDS not in seen and len(payload) <= LONG else []
            if len(said) == 1:
                ((key, _, text),) = said
                data = _encoded(text)
                if self._redactor.surely_begun(data):
                    self._alone = _Alone(payload, tag, now, self._redactor.shapes, key, text)
                    return []
                if not self._redactor.in_text(data):  # what ends so is no text that goes on, but the name of a model: `gpt-4.1`
                    self._last = payload
                    return [(payload, tag)]
            self._begin()
        self._hold(payload, tag, now, HOLDS in seen)
        return self._free(now if self._bytes <= MAX_HELD else now + 2 * HOLD)

    def due(self, now: float) -> list[tuple[bytes, T]]:
        """What has waited long enough."""
        if self._alone and now - self._alone.since >= HOLD:
            self._read(self._alone)
        return self._free(now) if self._held and now - self._held[0].since >= HOLD else []

    def rest(self) -> list[tuple[bytes, T]]:
        """All that waits; a text may go on all the same, so what has begun is taken out, and it is known how it began."""
        if self._alone:
            self._read(self._alone)
        out = [self._write(held, given_up=True) for held in self._held]
        self._held, self._bytes = [], 0
        self._forget()
        return out

    def _is_settled(self, alone: _Alone[T], payload: bytes) -> bool:
        """Whether this frame, and the one that waits alone, hold nothing of a secret: all of their text is searched at once."""
        if len(payload) > LONG or alone.shapes is not self._redactor.shapes:
            return False
        said = self._pieces(payload)
        if len(said) != 1 or said[0][0] != alone.key:
            return False
        return not self._redactor.in_json(b'%b,"%b"' % (payload, _encoded(alone.text + said[0][2])))

    def _read(self, alone: _Alone[T]) -> None:
        """The frame that waits alone is read with what came before it, and waits with what comes."""
        self._alone = None
        self._begin()
        learned = alone.shapes is not self._redactor.shapes  # a secret that it may hold, while it waited
        self._hold(alone.payload, alone.tag, alone.since, learned)

    def _hold(self, payload: bytes, tag: T, since: float, holds: bool) -> None:
        """Adds a frame to the channels, behind those that wait."""
        self._last = payload
        pieces = [self._add(*said) for said in self._pieces(payload)]
        self._held.append(_Held(payload, tag, since, self._redactor.shapes, holds, pieces))
        self._bytes += len(payload)

    def _forget(self) -> None:
        """Nothing waits: only texts are kept that end in a beginning, or inside a secret."""
        self._channels = {key: each for key, each in self._channels.items() if each.stays}
        for channel in self._channels.values():
            channel.trim()

    def _begin(self) -> None:
        """Channels with what the last frame added to them: it ends in no beginning, but says whether a word begins behind it."""
        for key, _, text in self._pieces(self._last) if self._last else ():
            self._channels[key] = _Channel(self._redactor, _encoded(text[-LOOK_BACK:]))

    def _add(self, key: Hashable, name: str, text: str) -> _Piece:
        channel = self._channels.get(key)
        if channel is None:
            if len(self._channels) >= MAX_CHANNELS:
                idle = [key for key, each in self._channels.items() if not each.waiting]
                over = (key for key in idle if not self._channels[key].inside)
                self._channels.pop(next(over, idle[0] if idle else None), None)
            channel = self._channels[key] = _Channel(self._redactor)
        start = channel.end
        channel.add(_encoded(text))
        channel.waiting += 1
        return _Piece(channel, name, text, start, channel.end)

    def _free(self, now: float) -> list[tuple[bytes, T]]:
        """The frames at the front that need not wait."""
        out = []
        for held in self._held:
            over = now - held.since >= HOLD
            if not over and any(piece.channel.waits_for(piece.start, piece.stop) for piece in held.pieces):
                break
            out.append(self._write(held, given_up=over))
            self._bytes -= len(held.payload)
        if not out:
            return out
        written = self._held[: len(out)]
        del self._held[: len(out)]
        if not self._held:
            self._forget()
        else:
            for piece in (piece for held in written for piece in held.pieces if not piece.channel.waiting):
                piece.channel.trim()
        return out

    def _write(self, held: _Held[T], given_up: bool) -> tuple[bytes, T]:
        changes = []
        holds = held.holds or held.shapes is not self._redactor.shapes  # a secret may have been learned while it waited
        for piece in held.pieces:
            clean = self._clean(piece, given_up, holds)
            if clean is not None:
                changes.append((piece, clean))
            piece.channel.waiting -= 1
        payload = _rewritten(held.payload, changes) if changes else held.payload
        return self._redactor.text(payload) if changes or holds else payload, held.tag

    def _clean(self, piece: _Piece, given_up: bool, alone: bool) -> str | None:
        """The piece without what it has of secrets; None when it has nothing of any. `alone`: it may hold one by itself."""
        channel = piece.channel
        channel.look()
        told, channel.inside = channel.inside, False
        if not (channel.places or alone or BEGUN in channel.seen):
            return None
        data, at, out = _encoded(piece.text), piece.start, []
        for start, stop, salted in self._secrets(piece, given_up, told, alone):
            if stop <= piece.start or start >= piece.stop:
                continue
            out.append(data[at - piece.start : max(start, at) - piece.start])
            if start >= piece.start or not told:
                secret = channel.text[start - channel.base : stop - channel.base]
                out.append(self._redactor.value(secret, salted).encode())
            at = min(stop, piece.stop)
            channel.inside = stop > piece.stop or (stop == channel.end and channel.begun < stop)
        return _decoded(b"".join([*out, data[at - piece.start :]])) if out else None

    def _secrets(self, piece: _Piece, given_up: bool, told: bool, alone: bool) -> list[Found]:
        """The secrets of the piece's channel, by their places in the whole text, and what has begun where it is taken for one."""
        channel = piece.channel
        places = [Found(start + channel.base, stop + channel.base, salted) for start, stop, salted in channel.places]
        if alone:  # it may be no text that goes on
            own = self._redactor.places(_encoded(piece.text))
            places += [Found(start + piece.start, stop + piece.start, salted) for start, stop, salted in own]
        long = channel.end - channel.begun > LONG
        goes_on = told and channel.begun < piece.start
        if channel.begun < channel.end and (goes_on or ((given_up or long) and self._redactor.shapes.much(channel.text))):
            places.append(Found(channel.begun, channel.end, False))
        return together(places)


def _rewritten(payload: bytes, changes: list[tuple[_Piece, str]]) -> bytes:
    """The payload with these pieces replaced, all other bytes as they were. Where one is not found, no payload is given out.

    Of members that are called and say the same all are replaced: which of them is the piece cannot be told.
    """
    taken: dict[tuple[int, int], bytes] = {}
    for piece, clean in changes:
        if piece.name == PLAIN:
            return _encoded(clean)
        places = list(_strings(payload, piece))
        if not places:
            return unredacted("NotFound", len(payload))
        for place in places:
            taken.setdefault(place, _quoted(clean))
    out, end = list[bytes](), 0
    for (start, stop), string in sorted(taken.items()):
        out += [payload[end:start], string]
        end = stop
    return b"".join([*out, payload[end:]])


def _strings(payload: bytes, piece: _Piece) -> Iterator[tuple[int, int]]:
    """Where the strings stand that are called and say what this piece does."""
    if piece.name in (ITSELF, IN_LIST):
        yield from (match.span() for match in STRING.finditer(payload) if _is(match[0], piece.text))
        return
    name = rb'"' + re.escape(_encoded(piece.name)) + rb'"\s*:\s*'
    for match in re.finditer(name, payload):
        string = STRING.match(payload, match.end())
        if string and _is(string[0], piece.text):
            yield string.span()


def _is(string: bytes, text: str) -> bool:
    try:
        return bool(loads(string) == text)
    except ValueError:
        return False


def _quoted(text: str) -> bytes:
    try:
        return orjson.dumps(text)
    except orjson.JSONEncodeError:  # half a surrogate pair
        return json.dumps(text).encode()


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _decoded(data: bytes) -> str:
    try:
        return data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:  # a secret ended inside a character
        return data.decode("utf-8", "replace")
