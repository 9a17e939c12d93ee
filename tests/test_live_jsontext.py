"""JSON that arrives in pieces: strings decoded, tokens told, lines laid out, the same however it is cut."""

import json
import re
from collections.abc import Iterable
from itertools import groupby
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from capture.live.inks import Put
from capture.live.jsontext import (
    DEEP,
    Begin,
    End,
    JsonReader,
    JsonStreamFormatter,
    Key,
    NotJson,
    Path,
    Scalar,
    StringPiece,
    TextDeltaNormalizer,
    Token,
)
from tests.cuts import positions

# -- any JSON, written in any way, cut anywhere ------------------------------------------------------------------------------

characters = st.sampled_from([*'"\\/\b\f\n\r\tu{}[]:, ', "\ud83d", "\ude00", "😀", "é", "\u2028", "\x00"]) | st.characters()
strings = st.lists(characters, max_size=8).map("".join)
numbers = st.integers() | st.floats(allow_nan=False) | st.sampled_from([10**400, -0.0, 1e308, 5e-324])
scalars = st.none() | st.booleans() | numbers | strings
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(strings, inner, max_size=4), max_leaves=12
)
inside = st.lists(  # of strings, as it is told: whole escapes of all kinds, and any text
    st.sampled_from(
        [*(f"\\{letter}" for letter in 'nrtfb"\\/'), "\\u00e9", "\\uD83D\\ude00", "\\ud83d", "\\ude00", "\\u0022", "ab", "é😀"]
    ),
    max_size=12,
).map("".join)
odd = st.lists(st.sampled_from([*'\\"u{}[]:,-0129dDeEnaflstr. \n', "\\ud83d", "\\q", "true", "é"]), max_size=30).map("".join)
DUMPED = [
    {"ensure_ascii": ascii, "separators": separators, "indent": indent}
    for ascii in (True, False)
    for separators in ((",", ":"), (", ", ": "), (" ,\n\n", "\t:\r\n "))
    for indent in (None, 0, "\t")
]
documents = st.builds(lambda value, style: json.dumps(value, **style), values, st.sampled_from(DUMPED)) | st.builds(
    '{{"{0}" : [ "{1}"],"k": "{0}{1}" }} '.format, inside, inside
)


def pieces(text: str, at: Iterable[int]) -> list[str]:
    marks = sorted(position % (len(text) + 1) for position in at)
    return [text[start:end] for start, end in zip([0, *marks], [*marks, len(text)], strict=True)]


def decoded(parts: Iterable[str]) -> str:
    normalizer = TextDeltaNormalizer()
    return "".join(map(normalizer.feed, parts)) + normalizer.close()


def read(parts: Iterable[str]) -> list[Token]:
    reader = JsonReader()
    return [token for part in parts for token in reader.feed(part)] + list(reader.close())


def laid_out(parts: Iterable[str], indent: int = 2) -> list[Put]:
    """The inks, neighbours of one style joined."""
    formatter = JsonStreamFormatter(indent)
    inks = [ink for part in parts for ink in formatter.feed(part)] + formatter.close()
    puts = [ink for ink in inks if isinstance(ink, Put)]
    assert len(puts) == len(inks) and all(put.text for put in puts)
    return [Put("".join(put.text for put in run), style) for style, run in groupby(puts, lambda put: put.style)]


def printed(parts: Iterable[str], indent: int = 2) -> str:
    return "".join(put.text for put in laid_out(parts, indent))


def whole(tokens: Iterable[Token]) -> list[Token]:
    """The tokens, the pieces of one string and of what is no JSON joined."""
    joined: list[Token] = []
    for token in tokens:
        match joined[-1:], token:
            case [StringPiece(path, text, first, False)], StringPiece(_, more, False, last):
                joined[-1] = StringPiece(path, text + more, first, last)
            case [NotJson(text)], NotJson(more):
                joined[-1] = NotJson(text + more)
            case _:
                joined.append(token)
    return joined


def paired(text: str) -> str:
    return re.sub("[\ud800-\udfff]", "\ufffd", text)


def tokens(value: Any, path: Path = ()) -> Iterable[Token]:
    """What is told of a value, from the value itself."""
    if isinstance(value, dict):
        yield Begin("{")
        for key, member in value.items():
            yield Key(path, paired(key))
            yield from tokens(member, (*path, paired(key)))
        yield End("}")
    elif isinstance(value, list):
        yield Begin("[")
        for index, item in enumerate(value):
            yield from tokens(item, (*path, index))
        yield End("]")
    elif isinstance(value, str):
        yield StringPiece(path, paired(value), True, True)
    else:
        yield Scalar(path, json.dumps(value))


@given(inside, positions)
@example("\\ud83d\\ude00", [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11])
@example("\\\\ud83d\\\\\\ude00", range(1, 15))
def test_the_inside_of_a_string_decodes_as_json_however_it_is_cut(text: str, at: list[int]) -> None:
    assert paired(json.loads(f'"{text}"')) == decoded(pieces(text, at)) == decoded(text)


@given(odd, positions)
@example("\\ud83d\\u00", [])
@example("\\" * 25, [13])
def test_no_text_decodes_otherwise_when_it_is_cut(text: str, at: list[int]) -> None:
    assert decoded([text]) == decoded(pieces(text, at)) == decoded(text)


@pytest.mark.parametrize("text", ["\\q", "\\u12G4", 'say "x"', "\\", "\\u12", "\\x41"])
def test_what_is_no_escape_stays_as_it_is(text: str) -> None:
    assert text == decoded([text])


def test_text_is_told_as_soon_as_it_is_known() -> None:
    normalizer = TextDeltaNormalizer()
    assert [normalizer.feed(piece) for piece in ("ab\\", "n", "\\u00e", "9!")] == ["ab", "\n", "", "é!"]


@given(documents, positions)
def test_the_reader_tells_each_value_at_its_path(text: str, at: list[int]) -> None:
    value = json.loads(text)
    assert list(tokens(value)) == whole(read(pieces(text, at))) or _repeated(text)
    assert whole(read([text])) == whole(read(pieces(text, at))) == whole(read(text))


def _repeated(text: str) -> bool:
    """Whether a key comes twice in an object: it is told twice, and kept once."""
    found: list[bool] = []
    json.loads(text, object_pairs_hook=lambda pairs: found.append(len(dict(pairs)) < len(pairs)))
    return any(found)


@given(documents, positions, st.integers(0, 4))
def test_what_is_laid_out_is_the_same_value(text: str, at: list[int], indent: int) -> None:
    assert json.loads(text) == json.loads(printed(pieces(text, at), indent))
    assert laid_out([text], indent) == laid_out(pieces(text, at), indent) == laid_out(text, indent)


@given(values, st.booleans(), st.integers(0, 4))
def test_the_layout_is_that_of_json_dumps(value: Any, ascii: bool, indent: int) -> None:
    assert json.dumps(value, indent=indent, ensure_ascii=ascii) == printed([json.dumps(value, ensure_ascii=ascii)], indent)


@given(odd | st.text(max_size=30), positions)
def test_text_that_is_no_json_loses_and_gains_nothing_but_whitespace(text: str, at: list[int]) -> None:
    assert laid_out([text]) == laid_out(pieces(text, at)) == laid_out(text)
    assert whole(read([text])) == whole(read(pieces(text, at))) == whole(read(text))
    assert "".join(text.split()) == "".join(printed([text]).split())


@given(st.text(max_size=30).filter(lambda text: text.strip()[:1] not in ("", "{", "[")), positions)
@example("  hello {x}\n", [3])
@example("[link](x) and more\n", [])
@example("12 monkeys\n", [1])
@example('"quoted" text', [])
def test_text_that_never_was_json_passes_unchanged(text: str, at: list[int]) -> None:
    assert text.rstrip() == printed(pieces(text, at)).rstrip()


@pytest.mark.parametrize(
    "text", ["nul", "01", "1.", "-", "[,", "[1,]", '{"a":1,}', '{"a",', "{1", "]", '{"a":1 "b"', "[1}", "{} {}", "+1", "truee"]
)
def test_the_rest_is_no_json_from_the_first_place_on(text: str) -> None:
    assert isinstance(read([text])[-1], NotJson)
    assert printed([text, ' "tail']).endswith(' "tail')


def test_colours_tell_keys_values_and_punctuation_apart() -> None:
    assert [
        Put("{\n  ", "quiet"),
        Put('"a"', "key"),
        Put(": ", "quiet"),
        Put("1", "value"),
        Put("\n}", "quiet"),
        Put(" tail", "plain"),
    ] == laid_out(['{"a":1} tail'])


def test_a_cut_string_is_told_as_far_as_it_came() -> None:
    assert [Begin("{"), Key((), "a"), StringPiece(("a",), "x\\u00", True, False)] == whole(read(['{"a":"x\\u0', "0"]))
    assert [Begin("{"), NotJson('"ke\\')] == read(['{"ke\\'])


def test_a_string_is_told_to_have_begun_before_its_text_comes() -> None:
    assert [StringPiece((), "", True, False)] == list(JsonReader().feed('"'))


@pytest.mark.parametrize("begin, end", [("[", "]"), ('{"a":', "}"), ("[1,", "]")])
def test_nesting_has_no_limit_and_costs_no_more_than_its_length(begin: str, end: str) -> None:
    depth = 100_000
    text = begin * depth + "2" + end * depth
    told = read([text])
    assert Scalar((("a",) if "a" in begin else (int("1" in begin),)) * DEEP, "2") in told
    shown = printed([text])
    assert "".join(shown.split()) == text
    assert len(shown) <= len(text) + 4 * depth * (2 * DEEP + 1)


@pytest.mark.parametrize("part", ["x", "\\n", "\\\\", "\\q", "\\ud83d", "é"])
def test_long_strings_come_in_one_piece_or_in_many(part: str) -> None:
    text = '"' + part * 30_000 + '"'
    assert text == printed([text]) == printed(text)
    assert whole(read([text])) == whole(read(text))
