"""Secrets that come in pieces. Texts are those of test_redact; cut anywhere, what is written says what the whole would say."""

import itertools
import json
import re
import weakref
from collections.abc import Iterable
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from capture.holding import HOLD, LONG, MAX_CHANNELS, MAX_HELD, Holding
from capture.providers import Said
from capture.redact import Redactor
from capture.shapes import Shapes
from tests.test_redact import HASH, IN_CONTEXT, REDACTOR, SHAPES, SURROUNDINGS, leaks

TEXTS: dict[str, tuple[str, str]] = {
    **{f"{name}, {how}": (secret, surround(secret)) for name, secret in SHAPES.items() for how, surround in SURROUNDINGS.items()},
    **IN_CONTEXT,
}
each_text = pytest.mark.parametrize(
    ("secret", "text"),
    [*((secret, f"use {secret}, it works.") for secret in SHAPES.values()), *IN_CONTEXT.values()],
    ids=[*SHAPES, *IN_CONTEXT],
)


PROSE = (Path(__file__).parent.parent / "docs" / "design.md").read_text("utf-8")


def frame(text: str, of: int = 0) -> bytes:
    return orjson.dumps({"type": "text_delta", "of": of, "text": text, "n": 1})


def pieces_of(payload: bytes) -> list[Said]:
    value = orjson.loads(payload)
    return [((value.get("of"), name), name, value[name]) for name in ("text", "x", "y") if name in value]


def said(payloads: Iterable[bytes]) -> str:
    return "".join(orjson.loads(payload)["text"] for payload in payloads)


def written(pieces: Iterable[str], redactor: Redactor = REDACTOR) -> list[bytes]:
    """What is written of a text that comes in these pieces, all within a moment."""
    holding: Holding[int] = Holding(redactor, pieces_of)
    out = [each for number, piece in enumerate(pieces) for each in holding.feed(frame(piece), number, 0.0)]
    out += holding.rest()
    assert [tag for _, tag in out] == list(range(len(out)))
    return [payload for payload, _ in out]


def alike(text: str) -> str:
    """The text with all hashes alike: of secrets that overlap, the whole is hashed here, and one after the other there."""
    return HASH.sub("hash:", text)


def cut(text: str, at: Iterable[int]) -> list[str]:
    places = [0, *sorted(place for place in at if 0 < place < len(text)), len(text)]
    return [text[start:stop] for start, stop in itertools.pairwise(places)]


@each_text
def test_a_secret_cut_in_two_anywhere_is_replaced_as_if_it_were_whole(secret: str, text: str) -> None:
    whole = alike(REDACTOR.string(text))
    for place in range(1, len(text)):
        assert alike(said(written(cut(text, [place])))) == whole, place


@each_text
def test_a_secret_in_pieces_of_any_size_is_replaced_as_if_it_were_whole(secret: str, text: str) -> None:
    whole = alike(REDACTOR.string(text))
    for size in (1, 2, 3, 5, 8):
        assert alike(said(written(cut(text, range(0, len(text), size))))) == whole, size


@given(st.sampled_from(sorted(TEXTS)), st.lists(st.integers(0, 400), max_size=30), st.text(max_size=20), st.text(max_size=20))
def test_what_is_written_of_any_pieces_is_what_is_written_of_the_whole(name: str, at: list[int], before: str, after: str) -> None:
    secret, text = TEXTS[name]
    text = f"{before} {text} {after}".encode("utf-8", "replace").decode()
    clean = said(written(cut(text, at)))
    assert not leaks(secret, clean)
    assert alike(clean) == alike(REDACTOR.string(text))


# -- pauses ------------------------------------------------------------------------------------------------------------------


def shown(pieces: Iterable[tuple[str, float]]) -> str:
    """What is written of pieces with a pause (seconds) before each, where it is looked every 50 ms who has waited long enough."""
    holding: Holding[float] = Holding(REDACTOR, pieces_of)
    now, fed, out = 0.0, list[float](), list[tuple[bytes, float]]()
    for piece, pause in pieces:
        for _ in range(round(pause / 0.05)):
            now += 0.05
            out += holding.due(now)
            assert holding.waiting == (len(out) < len(fed))
            assert not holding.waiting or now - fed[len(out)] < HOLD
        fed.append(now)
        out += holding.feed(frame(piece), now, now)
    return said(payload for payload, _ in [*out, *holding.rest()])


@each_text
def test_a_pause_inside_a_secret_shows_nothing_of_it_that_matters(secret: str, text: str) -> None:
    for place in range(1, len(text), 7 if len(text) > 500 else 1):
        one, other = cut(text, [place])
        clean = shown([(one, 0.0), (other, HOLD + 0.1)])
        assert not leaks(secret, clean), (place, clean)


@given(
    st.sampled_from(sorted(TEXTS)),
    st.lists(st.integers(0, 400), max_size=12),
    st.lists(st.sampled_from([0.0, 0.5, 2.5]), min_size=13),
)
def test_no_pauses_and_no_cuts_show_a_secret(name: str, at: list[int], pauses: list[float]) -> None:
    secret, text = TEXTS[name]
    pieces = cut(text, at)
    assert not leaks(secret, shown(zip(pieces, pauses, strict=False)))


def test_ordinary_text_hardly_ever_waits_and_never_for_long() -> None:
    """Words in pieces as a model says them: how many wait, and for how many of the next ones."""
    holding: Holding[int] = Holding(REDACTOR, pieces_of)
    pieces = re.findall(r"\s?\w{1,5}|\s+|[^\w\s]", PROSE)
    waits = []
    for number, piece in enumerate(pieces):
        waits += [number - tag for _, tag in holding.feed(frame(piece), number, 0.0)]
    assert sum(wait > 0 for wait in waits) < 0.06 * len(pieces)
    assert max(waits) <= 8
    assert sorted(waits)[int(len(waits) * 0.999)] <= 3


def test_frames_without_a_secret_are_given_out_as_they_came_the_very_object() -> None:
    payloads = [frame(piece) for piece in ("to be ", "or ", "not s", "o said the s", "k")]
    holding: Holding[None] = Holding(REDACTOR, pieces_of)
    out = [each for payload in payloads for each in holding.feed(payload, None, 0.0)]
    out += holding.rest()
    assert all(given is payload for (given, _), payload in zip(out, payloads, strict=True))


def test_a_frame_behind_one_that_waits_waits_too() -> None:
    holding: Holding[str] = Holding(REDACTOR, pieces_of)
    assert holding.feed(frame("the key is sk-"), "one", 0.0) == []
    assert holding.feed(b'{"type":"ping"}', "ping", 0.1) == []
    assert [tag for _, tag in holding.feed(frame("ip it"), "two", 0.2)] == ["one", "ping", "two"]


def test_texts_that_come_by_turns_are_apart() -> None:
    """Two halves of a secret in two texts are none; in one text they are, whatever comes between."""
    secret = SHAPES["anthropic api"]
    holding: Holding[int] = Holding(REDACTOR, pieces_of)
    halves = [(0, secret[:30]), (1, "I see "), (0, secret[30:] + " "), (1, secret[30:60])]
    out = [each for channel, text in halves for each in holding.feed(frame(text, channel), channel, 0.0)]
    out += holding.rest()
    texts = [orjson.loads(payload)["text"] for payload, _ in out]
    assert texts == [REDACTOR.value(secret), "I see ", " ", secret[30:60]]


def test_two_pieces_in_one_frame_are_both_clean_and_the_rest_of_it_is_untouched() -> None:
    secret = SHAPES["github personal"]
    first, second = b'{"a": 1.0, "x" : "key %s", "y":"%s"}', b'{ "y":"%s", "x":"%s." }'
    holding: Holding[int] = Holding(REDACTOR, pieces_of)
    one = first % (secret[:9].encode(), b"no")
    two = second % (b"thing", secret[9:].encode())
    out = holding.feed(one, 1, 0.0)
    out += holding.feed(two, 2, 0.0)
    hashed = REDACTOR.value(secret).encode()
    assert [payload for payload, _ in out] == [first % (hashed, b"no"), second % (b"thing", b"")]


def test_a_piece_that_cannot_be_found_in_its_frame_is_not_given_out() -> None:
    secret = SHAPES["github personal"]
    holding: Holding[int] = Holding(REDACTOR, lambda payload: [(0, "else", piece) for piece in said([payload]).split()])
    out = [*holding.feed(frame(secret[:20]), 1, 0.0), *holding.feed(frame(secret[20:]), 2, 0.0), *holding.rest()]
    assert [orjson.loads(payload).get("redaction_error") for payload, _ in out] == ["NotFound", "NotFound"]


def test_an_endless_secret_takes_no_memory_and_its_frames_do_not_wait_for_its_end() -> None:
    holding: Holding[int] = Holding(REDACTOR, pieces_of)
    secret = "eyJ" + "a" * 30 + ".eyJ" + "b" * 500_000
    out = []
    for start in range(0, len(secret), 100):
        piece = secret[start : start + 100]
        out += [payload for payload, _ in holding.feed(frame(piece), 0, 0.0)]
        (channel,) = holding._channels.values()
        assert len(channel.text) <= 3 * LONG
    out += [payload for payload, _ in holding.feed(frame(" end"), 0, 0.0)]
    assert HASH.fullmatch(said(out).removesuffix(" end"))


def test_frames_that_are_too_large_to_wait_are_written() -> None:
    """What stands in them of a secret is taken out all the same."""
    holding: Holding[int] = Holding(REDACTOR, pieces_of)
    payload = orjson.dumps({"text": "sk-" + "ant-abcdefgh", "more": "x " * MAX_HELD})
    ((clean, _),) = holding.feed(payload, 0, 0.0)
    assert HASH.fullmatch(orjson.loads(clean)["text"])


def test_what_stands_beside_a_secret_stays_whatever_it_is() -> None:
    """Half a surrogate pair, letters of other scripts, quotes and line ends: in a piece that is written anew."""
    secret = SHAPES["anthropic api"]
    beside = 'é "quoted" \\ line\nend ☃ \ud83d '
    payloads = [json.dumps({"text": beside + secret[:20]}).encode(), json.dumps({"text": secret[20:] + " " + beside}).encode()]
    holding: Holding[int] = Holding(REDACTOR, lambda payload: [(0, "text", json.loads(payload)["text"])])
    out = [each for payload in payloads for each in holding.feed(payload, 0, 0.0)] + holding.rest()
    assert [json.loads(payload)["text"] for payload, _ in out] == [beside + REDACTOR.value(secret), " " + beside]


def test_many_frames_behind_one_that_waits_cost_no_more_than_others() -> None:
    """Each of 20,000 is looked at once, not again with each that comes."""
    holding: Holding[int] = Holding(REDACTOR, pieces_of)
    holding.feed(frame("it is sk-"), 0, 0.0)
    written = sum(len(holding.feed(b'{"type":"ping"}', number, 0.1)) for number in range(20_000))
    assert written == 0
    assert len(holding.feed(frame("ip it"), 0, 0.2)) == 20_002


def test_a_secret_that_is_learned_while_a_frame_waits_is_taken_out_of_it() -> None:
    redactor, known = Redactor(b"salt"), "kJ8sd7-opaque-Lm2ksi"
    holding: Holding[int] = Holding(redactor, pieces_of)
    assert holding.feed(frame(f"key {known} and sk-"), 1, 0.0) == []
    redactor.learn([("x-api-key", known)])
    assert known not in said(payload for payload, _ in holding.rest())


def test_channels_that_stopped_inside_a_secret_are_not_kept_without_end() -> None:
    holding: Holding[None] = Holding(REDACTOR, pieces_of)
    for number in range(2 * MAX_CHANNELS):
        holding.feed(frame(f"use {SHAPES['anthropic api']}", of=number), None, 3.0 * number)
        holding.due(3.0 * number + HOLD)
    assert len(holding._channels) <= MAX_CHANNELS


def test_a_secret_that_is_learned_while_a_frame_waits_is_taken_out_of_all_of_it() -> None:
    """Also where no text stands that goes on in the next frames."""
    redactor, known = Redactor(b"salt"), "kJ8sd7-opaque-Lm2ksi"
    holding: Holding[int] = Holding(redactor, pieces_of)
    payload = orjson.dumps({"of": 0, "text": "and s", "beside": known})
    assert holding.feed(payload, 1, 0.0) == []
    redactor.learn([("x-api-key", known)])
    written = b"".join(payload for payload, _ in holding.feed(frame("o on"), 2, 0.1))
    assert known.encode() not in written
    assert b"and s" in written


@pytest.mark.parametrize("model", ["gpt-4.1", "gpt-4o-2024-08-06", "gemini-2.0-flash-001", "kimi-k2-s"])
def test_a_name_that_ends_like_the_beginning_of_a_secret_holds_no_frame_back(model: str) -> None:
    """It stands in every frame, and is no text that goes on."""
    holding: Holding[int] = Holding(REDACTOR, pieces_of)
    payloads = [orjson.dumps({"text": text, "model": model}) for text in ("Some", " words", " of", " it")]
    assert REDACTOR.in_json(payloads[0])
    assert [holding.feed(payload, number, 0.0) for number, payload in enumerate(payloads)] == [
        [(payload, number)] for number, payload in enumerate(payloads)
    ]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Authorization: Bearer abcdefghijklmno-s", "eQ8ZkQ71xYzzPq09aBcD"),
        ("key tvly-abcdefghijklmnop-s", "kQ8ZkQ71xYz6zPq09aBcD1"),
    ],
)
def test_a_frame_that_waited_too_long_is_read_with_the_next_one_where_that_is_there(one: str, other: str) -> None:
    """Nobody looked in between: the recorder's thread hung, and has both now."""
    holding: Holding[int] = Holding(REDACTOR, pieces_of)
    out = [*holding.feed(frame(one), 1, 0.0), *holding.feed(frame(other), 2, HOLD + 0.5), *holding.rest()]
    assert alike(said(payload for payload, _ in out)) == alike(REDACTOR.string(one + other))


def test_shapes_that_are_replaced_are_freed_at_once() -> None:
    """Each takes a megabyte outside of what Python counts; a cycle would keep it until somebody collects."""
    shapes = Shapes([b"a secret without a shape"])
    assert shapes.surely_begun(b"and s")
    freed = weakref.ref(shapes)
    del shapes
    assert freed() is None
