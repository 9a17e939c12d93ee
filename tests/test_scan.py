"""All ways of reading a log give the same items, whatever stands in it."""

import gzip
import io
import json
import shutil
import sys
from collections.abc import Iterator
from dataclasses import fields
from itertools import zip_longest
from pathlib import Path
from typing import Any

import orjson
import pytest
import zstandard
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from capture import samples, scan, turns
from capture.events import ReasoningDelta, TextDelta, UsageReported
from capture.files import ENDS, FILES, FLOWS, LINES, Unusable
from capture.messages import Message, assemble
from capture.providers.base import Holds, Shape
from capture.scan import ENGINES, Notes, Source, facts, index, kinds, python, read, usages, windows
from capture.scan.base import Item
from capture.scan.kinds import Wanted
from capture.scan.templates import end_of, template, unescaped
from capture.scan.usage import meaning
from capture.updates import Answered, Deltas
from tests import golden

DELTA = "content_block_delta"
SHAPES = (  # as a vocabulary has them: one event of several kinds, one of one kind, a family
    Shape(DELTA, Holds.TEXT, '"type":"text_delta"'),
    Shape(DELTA, Holds.REASONING, '"type":"thinking_delta"'),
    Shape(DELTA, Holds.ARGUMENTS, '"type":"input_json_delta"'),
    Shape("message_start", Holds.BOUND | Holds.USAGE),
    Shape("message_delta", Holds.BOUND | Holds.USAGE),
    Shape("chat.completion.chunk", Holds.USAGE, '"usage":{'),
    Shape("chat.completion.chunk", Holds.TEXT),
    Shape("response.output_item.*", Holds.CALL),
    Shape("ping", Holds.OTHER),
)
HOLDS = st.sampled_from([Holds.ALL, *(Holds(1 << bit) for bit in range(8)), Holds.USAGE | Holds.BOUND, Holds.TEXT | Holds.CALL])
AT = "2026-11-17T08:00:{:06.3f}"
IN = {"ver": "claude-code-2.1.329", "pid": 7, "cwd": "/home/user/garden", "provider": "anthropic", "host": "h", "dir": "in"}
needs_rg = pytest.mark.skipif(not shutil.which("rg"), reason="no ripgrep here")
EVERY = [pytest.param(name, marks=needs_rg) if name == "rg" else name for name in ENGINES]
quick = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(autouse=True)
def shapes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A table of our own, so that these tests are about reading and not about vocabularies."""
    monkeypatch.setattr(kinds, "vocabularies", lambda: (kinds.OURS, SHAPES))


def line(event: str, payload: Any, flow: str = "flow-a", number: int = 0, second: float = 0.0, **more: Any) -> bytes:
    """A line as the recorder writes it."""
    metadata = json.dumps({**IN, "us": int(second * 1e6) + number, **more}, separators=(",", ":"))
    text = payload if isinstance(payload, str) else json.dumps(payload, separators=(",", ":"), ensure_ascii=False)
    first = {"event": event, "t": AT.format(second), "line": "data: " + text, "metadata": metadata}
    return (
        json.dumps({**first, "flow_id": flow, "data_count": number, "sid": f"sid-{flow}"}, separators=(",", ":")).encode() + b"\n"
    )


def text_delta(text: str, flow: str = "flow-a", number: int = 0, block: int = 0, kind: str = "text", **more: Any) -> bytes:
    name = {"text": "text", "thinking": "thinking", "input_json": "partial_json"}[kind]
    payload = {"type": DELTA, "index": block, "delta": {"type": f"{kind}_delta", name: text}}
    return line(DELTA, payload, flow, number, number / 1000, **more)


START = {"type": "message_start", "message": {"id": "msg_1", "model": "m", "usage": {"input_tokens": 5}}}
ODD = [
    line("message_start", START),
    text_delta("one ", number=1),
    text_delta("other", "flow-b", 0),
    text_delta("two", number=2),
    b"\0" * 300 + b"\n",
    b"\0\0" + line("ping", {"type": "ping"}),
    b"no JSON at all\n",
    b"42\n",
    b"\n",
    b"\r\n",
    b'{"event":"ping","t":"\xff\xfe"}\n',
    b'{"event":"message_start"}\n',
    line("message_start", "[DONE]", number=3)[:-1] + b"\r\n",
    line("brand.new", {"anything": [1, {"event": "ping"}]}, number=4),
    line('odd "name"', {"x": 1}, number=5),
    orjson.dumps({"event": "ping", "t": AT.format(1), "line": 'data: {"type": "ping"}', "metadata": "{}"}) + b"\n",
    json.dumps(orjson.loads(text_delta("spaced", number=6))).encode() + b"\n",
    line("request.user", {"role": "user", "content": text_delta("a decoy", number=9).decode()}, number=7),
    text_delta(text_delta("a decoy too").decode(), number=8),
    line("chat.completion.chunk", {"choices": [], "usage": {"prompt_tokens": 1}}, "flow-c", 0),
    line("chat.completion.chunk", {"choices": [{"index": 0, "delta": {"content": "hi"}}], "usage": None}, "flow-c", 1),
    line("chat.completion.chunk", '{"choices": [], "usage": {"prompt_tokens": 2}}', "flow-c", 2),
    line("response.output_item.added", {"item": {}}, "flow-d", 0),
    line("capture.gap", {"chunks": 1}, "flow-d", 1),
    text_delta("x" * 3_000_000, "flow-d", 2),
    text_delta("nul \0 byte", "flow-e", 0).replace(b"\\\\u0000", b"\0"),
    text_delta("tail", "flow-e", 1)[:150],
]


def log(folder: Path, lines: list[bytes]) -> Source:
    folder.mkdir(exist_ok=True)
    (folder / LINES).write_bytes(b"".join(lines))
    return Source(folder)


def plainly(items: Iterator[Item]) -> list[Any]:
    return [(item.flow_id, item.t, item.last_t, item.count, item.event) if isinstance(item, Deltas) else item for item in items]


def messages(items: Iterator[Item]) -> dict[str, Any]:
    """What was said in each flow, put together."""
    said: dict[str, list[Any]] = {}
    for item in items:
        if isinstance(item, Deltas):
            said.setdefault(item.flow_id, []).append(item.event)
        elif "data_count" in item:
            said.setdefault(item["flow_id"], []).extend(meaning(item))
    return {flow: [comparable(message) for message in assemble(events)] for flow, events in said.items()}


def comparable(message: Message) -> Any:
    calls = [(call.call_id, call.name, call.arguments, call.ended) for call in message.calls]
    rest = {each.name: getattr(message, each.name) for each in fields(message) if each.name not in ("texts", "reasonings", "calls")}
    return message.text, message.reasoning, calls, rest


# -- engines -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", EVERY)
@pytest.mark.parametrize("holds", [Holds.ALL, Holds.TEXT, Holds.USAGE, Holds.CALL, Holds.REQUEST, Holds.OTHER, Holds.ARGUMENTS])
def test_every_engine_gives_the_same_items_and_the_same_complaints(tmp_path: Path, engine: str, holds: Holds) -> None:
    source = log(tmp_path / "log", ODD)
    expected, actual = Notes(), Notes()
    assert plainly(read(source, holds, engine="python", notes=expected)) == plainly(
        read(source, holds, engine=engine, notes=actual)
    )
    assert (expected.count, expected.bad) == (actual.count, actual.bad)
    again = Notes()
    assert plainly(read(source, holds, engine=engine, notes=again)) == plainly(read(source, holds, engine="python"))


def test_what_is_asked_for_is_found_and_what_is_not_is_left_out(tmp_path: Path) -> None:
    source = log(tmp_path / "log", ODD)
    events = [item["event"] for item in read(source, Holds.USAGE, engine="python") if isinstance(item, dict)]
    assert events.count("chat.completion.chunk") == 2
    assert {"brand.new", 'odd "name"', "message_start"} <= set(events)
    assert not {"ping", "request.user", "response.output_item.added"} & set(events)


def test_a_field_before_the_metadata_hides_nothing_of_the_payload(tmp_path: Path) -> None:
    """The older logs have `round` there."""
    lines = [text_delta("text"), text_delta("thought", kind="thinking", number=1)]
    lines = [each.replace(b'","metadata":"', b'","round":3,"metadata":"') for each in lines]
    for engine in [name for name in ENGINES if name != "rg" or shutil.which("rg")]:
        found = [item for item in read(log(tmp_path / "log", lines), Holds.REASONING, engine=engine) if isinstance(item, Deltas)]
        assert [item.event for item in found] == [ReasoningDelta("thought", "0")]


@pytest.mark.row(14)
def test_bad_lines_are_counted_with_their_place_and_reason(tmp_path: Path) -> None:
    notes = Notes()
    list(read(log(tmp_path / "log", ODD), engine="python", notes=notes))
    whys = [bad.why for bad in notes.bad]
    assert whys == [
        "NUL bytes",
        "NUL bytes",
        "no JSON",
        "no JSON object",
        "no JSON",
        "no `t`",
        "no `flow_id`",
        "NUL bytes",
        "a torn line",
    ]
    assert notes.bad[0].offset == sum(map(len, ODD[:4]))
    assert notes.count == len(whys)


def test_nothing_else_is_lost(tmp_path: Path) -> None:
    items = list(read(log(tmp_path / "log", ODD), engine="python", join=False))
    good = [each for each in ODD if each.strip(b"\r\n") and _is_record(each)]
    assert [item["data_count"] for item in items if isinstance(item, dict)] == [orjson.loads(each)["data_count"] for each in good]


def _is_record(raw: bytes) -> bool:
    try:
        return "sid" in orjson.loads(raw)
    except (ValueError, TypeError):
        return False


LINE = st.one_of(
    st.builds(text_delta, st.text(max_size=8), st.sampled_from("abc"), st.integers(0, 99), st.integers(0, 1)),
    st.builds(
        text_delta, st.text(max_size=8), st.sampled_from("ab"), st.just(1), st.just(0), st.sampled_from(["thinking", "input_json"])
    ),
    st.builds(line, st.sampled_from(["ping", "message_start", "new", "chat.completion.chunk", "request.x"]), st.text(max_size=9)),
    st.sampled_from(ODD[:-1]),
    st.binary(max_size=30).map(lambda data: data.replace(b"\n", b"") + b"\n"),
)


@pytest.mark.row(14)
@quick
@given(st.lists(LINE, max_size=25), st.booleans(), HOLDS)
def test_random_logs_read_the_same_by_every_engine(tmp_path: Path, lines: list[bytes], torn: bool, holds: Holds) -> None:
    source = log(tmp_path / "log", [*lines, ODD[-1]] if torn else lines)
    assume(source.plain)
    shutil.rmtree(index.place_of(source), ignore_errors=True)
    wanted = list(python.lines(source, Wanted(holds), Notes()))
    for name, engine in ENGINES.items():
        if name != "rg" or (shutil.which("rg") and holds != Holds.ALL):
            assert list(engine(source, Wanted(holds), Notes())) == wanted, name
    assert list(index.lines(source, Wanted(holds), Notes())) == wanted


def test_without_ripgrep_its_engine_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(Unusable, match="install ripgrep"):
        read(log(tmp_path / "log", ODD), Holds.USAGE, engine="rg")


def test_what_is_no_log_is_said_in_one_line(tmp_path: Path) -> None:
    for source in (Source(tmp_path), Source(None, str(tmp_path / "missing")), Source(None, str(tmp_path))):
        with pytest.raises(Unusable) as problem:
            read(source)
        assert "\n" not in str(problem.value)
    with pytest.raises(Unusable, match="choose one of auto, index, rg"):
        read(log(tmp_path / "log", ODD), engine="grep")


# -- sources -----------------------------------------------------------------------------------------------------------------


def test_compressed_files_and_stdin_hold_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = b"".join(ODD)
    source = log(tmp_path / "log", ODD)
    (tmp_path / "a.gz").write_bytes(gzip.compress(whole))
    (tmp_path / "a.zst").write_bytes(zstandard.compress(whole[:5000]) + zstandard.compress(whole[5000:]))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(whole)))
    expected = plainly(read(source))
    for name in (str(tmp_path / "a.gz"), str(tmp_path / "a.zst"), "-"):
        assert plainly(read(Source(None, name), engine="index")) == expected, name


@pytest.mark.row(14)
@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_a_cut_compressed_file_gives_what_is_there_and_a_note(tmp_path: Path, suffix: str) -> None:
    lines = [text_delta("word ", number=number, id=str(hash(number))) for number in range(20_000)]
    path, notes = tmp_path / f"a{suffix}", Notes()
    packed = gzip.compress(b"".join(lines)) if suffix == ".gz" else zstandard.compress(b"".join(lines))
    path.write_bytes(packed[: len(packed) // 2])
    assert sum(item.count for item in read(Source(None, str(path)), notes=notes) if isinstance(item, Deltas)) > 1000
    assert notes.count in (1, 2)  # the end of the file, and the line torn there


def test_what_only_begins_like_a_compressed_file_is_read_as_far_as_it_is_one(tmp_path: Path) -> None:
    for begin, plain in ((b"\x28\xb5\n", True), (b"\x1f\x8b\n", True), (b"\x28\xb5\x2f\xfd\xff\xff\n", False)):
        source, notes = log(tmp_path / "log", [begin, line("ping", {"type": "ping"})]), Notes()
        assert source.plain == plain
        assert len(list(read(source, notes=notes))) == plain
        assert notes.count == 1


def test_a_lines_file_beside_the_other_two_is_its_directory(tmp_path: Path) -> None:
    source = log(tmp_path / "log", [text_delta("a")])
    (tmp_path / "log" / FLOWS).write_bytes(record_of("flow-a", 0))
    assert plainly(read(Source(None, str(tmp_path / "log" / LINES)))) == plainly(read(source))
    assert len(list(read(source))) == 2


def record_of(flow: str, second: float, **more: Any) -> bytes:
    return orjson.dumps({"t": AT.format(second), "flow_id": flow, "sid": f"sid-{flow}", **more}) + b"\n"


def test_a_flow_record_comes_before_its_lines_and_its_end_after_them(tmp_path: Path) -> None:
    flows = [f"flow-{number}" for number in range(40)]
    lines = [(start + step * 0.2, flow, step) for start, flow in enumerate(flows) for step in range(20)]
    source = log(
        tmp_path / "log",
        [at_time(at, flow, step) for at, flow, step in sorted(lines)],
    )
    (tmp_path / "log" / FLOWS).write_bytes(b"".join(record_of(flow, start) for start, flow in enumerate(flows)))
    ends = b"".join(record_of(flow, start + 3.9, outcome="complete") for start, flow in enumerate(flows))
    (tmp_path / "log" / ENDS).write_bytes(ends)
    items = list(read(source, engine="python"))
    for flow in flows:
        mine = [item for item in items if (item.flow_id if isinstance(item, Deltas) else item["flow_id"]) == flow]
        assert [
            "F" if isinstance(item, dict) and "outcome" not in item else "E" if isinstance(item, dict) else "D" for item in mine
        ] == ["F", "D", "E"]
    first_end = next(place for place, item in enumerate(items) if isinstance(item, dict) and "outcome" in item)
    assert first_end < len(items) / 3  # not all at the end


def at_time(second: float, flow: str, number: int) -> bytes:
    return line(DELTA, {"type": DELTA, "index": 0, "delta": {"type": "text_delta", "text": "x"}}, flow, number, second)


def test_missing_flow_records_and_ends_do_no_harm(tmp_path: Path) -> None:
    source = log(tmp_path / "log", [at_time(1, "flow-a", 0), at_time(2, "flow-b", 0), at_time(30, "flow-c", 0)])
    (tmp_path / "log" / FLOWS).write_bytes(record_of("flow-b", 2) + b"torn" + b"\n" + record_of("never", 3))
    (tmp_path / "log" / ENDS).write_bytes(record_of("flow-a", 2, outcome="complete"))
    notes = Notes()
    items = list(read(source, notes=notes))
    assert sum(isinstance(item, Deltas) for item in items) == 3
    assert [item["flow_id"] for item in items if isinstance(item, dict)] == ["flow-b", "never", "flow-a"]
    assert [bad.why for bad in notes.bad] == ["no record"]


# -- payloads ----------------------------------------------------------------------------------------------------------------


def test_large_payloads_are_read_from_their_file(tmp_path: Path) -> None:
    source = log(tmp_path / "log", [line("ping", '{"cut', sha256="abc", bytes=99)])
    (tmp_path / "log" / "bodies").mkdir()
    (tmp_path / "log" / "bodies" / "abc").write_text('{"whole": 1}')
    assert [item["payload"] for item in read(source) if isinstance(item, dict)] == [{"whole": 1}]


def test_frames_in_parts_are_one_and_others_do_not_come_between(tmp_path: Path) -> None:
    parts = [line("big", text, number=n, part=part) for n, (text, part) in enumerate([('{"a"', "1"), (":", "2"), ("1}", "3/3")])]
    source = log(tmp_path / "log", [parts[0], line("ping", {}, "flow-b"), *parts[1:], line("ping", {}, number=3)])
    payloads = [(item["event"], item["payload"], item.get("parts")) for item in read(source) if isinstance(item, dict)]
    assert payloads == [("ping", {}, None), ("big", {"a": 1}, 3), ("ping", {}, None)]


def test_a_frame_whose_last_part_is_missing_is_given_as_it_is(tmp_path: Path) -> None:
    source = log(tmp_path / "log", [line("big", '{"a"', part="1"), line("big", ":", number=1, part="2")])
    assert [item["payload"] for item in read(source) if isinstance(item, dict)] == ['{"a"', ":"]


def test_a_lone_surrogate_is_a_payload(tmp_path: Path) -> None:
    source = log(tmp_path / "log", [line("ping", '{"x":"\\ud83d"}')])
    assert [item["payload"] for item in read(source) if isinstance(item, dict)] == [{"x": "\ud83d"}]


# -- runs of pieces ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", samples.names())
def test_joined_pieces_say_what_the_pieces_say(tmp_path: Path, case: str) -> None:
    records = [orjson.loads(each) for each in golden.load(case)]
    source = log(tmp_path / "log", [orjson.dumps(each["fields"]) + b"\n" for each in records if each["kind"] == "lines"])
    joined, single = list(read(source)), list(read(source, join=False))
    assert messages(iter(joined)) == messages(iter(single))
    assert sum(item.count if isinstance(item, Deltas) else 1 for item in joined) == len(single)


TEXT = st.text(st.one_of(st.characters(), st.sampled_from('\\"\n\u2028😀{}:,')), max_size=12)


IDS = st.sampled_from([f"{letter * 8}-0000-4000-8000-000000000000" for letter in "ab"] + ["c" * 50, "short"])


def spaced_out(raw: bytes) -> bytes:
    """The same record with spaces, its characters as they are where they can stand so."""
    record = json.loads(raw)
    try:
        return json.dumps(record, ensure_ascii=False).encode() + b"\n"
    except UnicodeEncodeError:
        return json.dumps(record).encode() + b"\n"


@quick
@given(
    st.lists(st.tuples(TEXT, IDS, st.integers(0, 1), st.sampled_from(["text", "thinking", "input_json"])), max_size=40),
    st.booleans(),
)
def test_any_texts_are_joined_as_they_were_said(tmp_path: Path, said: list[tuple[str, str, int, str]], spaced: bool) -> None:
    lines = [text_delta(text, flow, number, block, kind) for number, (text, flow, block, kind) in enumerate(said)]
    if spaced:
        lines = [spaced_out(each) for each in lines]
    source = log(tmp_path / "log", lines)
    joined = list(read(source, engine="python"))
    assert messages(iter(joined)) == messages(read(source, engine="python", join=False))
    assert sum(item.count for item in joined if isinstance(item, Deltas)) == len(said)


def test_a_run_is_one_item_though_others_speak_in_between(tmp_path: Path) -> None:
    words = [f'w{number} "é" \\ ' for number in range(50)]
    lines = [text_delta(word, flow, number) for number, word in enumerate(words) for flow in ("a", "b", "c")]
    found = [item for item in read(log(tmp_path / "log", lines)) if isinstance(item, Deltas)]
    assert [(item.count, item.event) for item in found] == [(50, TextDelta("".join(words)))] * 3 or [
        (item.count, getattr(item.event, "text", None)) for item in found
    ] == [(50, "".join(words))] * 3
    assert (found[0].t, found[0].last_t) == (AT.format(0), AT.format(0.049))


def test_a_piece_with_more_in_it_is_not_joined(tmp_path: Path) -> None:
    odd = {"type": DELTA, "index": 0, "delta": {"type": "text_delta", "text": "b", "more": 1}}
    source = log(
        tmp_path / "log",
        [text_delta("a"), line(DELTA, odd, number=1), text_delta("c", number=2), text_delta("d", number=3, dir="out")],
    )
    assert [item.count if isinstance(item, Deltas) else item["data_count"] for item in read(source)] == [1, 1, 1, 3]


def test_what_differs_by_numbers_and_words_only_is_told_without_parsing() -> None:
    def delta(text: str, number: int) -> bytes:
        payload = {"type": "response.output_text.delta", "sequence_number": number, "delta": text, "obfuscation": "q" * number}
        return line("response.output_text.delta", payload, number=number)

    about = template(delta("one", 1), "one")
    assert about is not None
    for number, text in enumerate(["two", "", 'a "quote"', "back\\slash", "\\", '"', "é\n"], 2):
        raw = delta(text, number)
        start, end = about.span(raw, raw.rfind(b'","data_count":'))
        assert (
            (start > 0 and unescaped(raw[start:end])) == text
            or (start == 0 and '"' in text)
            or (start == 0 and text.endswith("\\"))
        )
    for wrong in (
        delta("x", 3).replace(b"sid-flow-a", b"sid-flow-b"),
        delta("x", 3).replace(b'"delta', b'"other'),
        line("ping", {}),
    ):
        assert about.span(wrong, wrong.rfind(b'","data_count":')) == (0, 0)


@quick
@given(TEXT, TEXT)
def test_the_end_of_a_text_in_a_text_is_found(text: str, rest: str) -> None:
    raw = orjson.dumps(json.dumps({"text": text, "rest": rest}))
    start = raw.index(b'\\"text\\": \\"') + 12
    alone = any("\ud800" <= character <= "\udfff" for character in text)  # half a pair: such a line is parsed
    assert unescaped(raw[start : end_of(raw, start)]) == (None if alone else text)


# -- windows -----------------------------------------------------------------------------------------------------------------


def long_log(folder: Path, monkeypatch: pytest.MonkeyPatch, lines: int = 3000) -> Source:
    """Flows of ten lines, one that lasts all the time; windows of 10, 100 … kB."""
    monkeypatch.setattr(scan, "WINDOWS", (10_000, 100_000))
    monkeypatch.setattr("capture.scan.beside.BLOCK", 5_000)
    said = [at_time(n / 100, "socket" if n % 10 == 5 else f"flow-{n // 10}", n) for n in range(lines)]
    source = log(folder, said)
    flows = [record_of("socket", 0), *(record_of(f"flow-{n}", n / 10) for n in range(lines // 10))]
    (folder / FLOWS).write_bytes(b"".join(flows))
    ends = (record_of(f"flow-{n}", n / 10 + 0.09, outcome="complete") for n in range(lines // 10))
    (folder / ENDS).write_bytes(b"".join(ends))
    return source


def test_windows_grow_until_all_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = long_log(tmp_path / "log", monkeypatch)
    found = [(plainly(items), whole) for items, whole in windows(source)]
    assert [whole for _, whole in found] == [False, False, True]
    assert found[-1][0] == plainly(read(source))
    assert len(found[0][0]) < len(found[1][0]) < len(found[2][0])


def test_a_window_has_the_flow_records_of_its_flows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = long_log(tmp_path / "log", monkeypatch)
    items, _ = next(windows(source))
    opened: set[str] = set()
    spoke = 0
    for item in items:
        if isinstance(item, Deltas):
            spoke += 1
            assert item.flow_id in opened
        elif "outcome" not in item and "data_count" not in item:
            opened.add(item["flow_id"])
    assert spoke > 2
    assert "socket" in opened
    assert len(opened) < 300


# -- the index ---------------------------------------------------------------------------------------------------------------


@quick
@given(st.lists(LINE, min_size=1, max_size=30), st.lists(st.integers(0, 30), max_size=4), HOLDS)
def test_an_index_made_in_steps_is_the_one_made_at_once(tmp_path: Path, lines: list[bytes], steps: list[int], holds: Holds) -> None:
    source = log(tmp_path / "log", lines)
    shutil.rmtree(index.place_of(source), ignore_errors=True)
    list(index.lines(source, Wanted(holds), Notes()))
    at_once = contents(source)
    shutil.rmtree(index.place_of(source), ignore_errors=True)
    (tmp_path / "log" / LINES).write_bytes(b"")
    with open(tmp_path / "log" / LINES, "ab", buffering=0) as file:
        for begin, end in zip([0, *sorted(steps)], [*sorted(steps), len(lines)], strict=True):
            file.write(b"".join(lines[begin:end]))
            list(index.lines(source, Wanted(holds), Notes()))
    assert contents(source) == at_once
    assert list(index.lines(source, Wanted(holds), Notes())) == list(python.lines(source, Wanted(holds), Notes()))


def contents(source: Source) -> dict[str, bytes]:
    return {name: (index.place_of(source) / name).read_bytes() for name in index.COLUMNS}


@pytest.mark.row(14)
@quick
@given(
    st.sampled_from([*index.COLUMNS, "head", facts.HEAD, facts.ROWS]), st.floats(0, 1), st.binary(max_size=9), st.booleans(), HOLDS
)
def test_a_damaged_index_changes_no_answer(tmp_path: Path, name: str, where: float, by: bytes, cut: bool, holds: Holds) -> None:
    source = log(tmp_path / "log", [*ODD[:-1], *(text_delta("x", f"flow-{n}", n) for n in range(50))])
    list(index.lines(source, Wanted(Holds.ALL), Notes()))
    took = list(usages(source, engine="index"))
    path = index.place_of(source) / name
    data = path.read_bytes()
    at = int(where * len(data))
    path.write_bytes(data[:at] if cut else data[:at] + by + data[at + len(by) :])
    assert list(index.lines(source, Wanted(holds), Notes())) == list(python.lines(source, Wanted(holds), Notes()))
    assert list(usages(source, engine="index")) == took


def test_an_index_of_another_file_is_made_again(tmp_path: Path) -> None:
    source = log(tmp_path / "log", ODD)
    list(index.lines(source, Wanted(Holds.ALL), Notes()))
    for lines in (ODD[:9], ODD[::-1], [*ODD[:5], b"x\n", *ODD]):
        log(tmp_path / "log", lines)
        assert list(index.lines(source, Wanted(Holds.TEXT), Notes())) == list(python.lines(source, Wanted(Holds.TEXT), Notes()))


def test_who_may_not_write_the_index_reads_without_it(tmp_path: Path) -> None:
    source = log(tmp_path / "log", ODD)
    with index.Lock(index.place_of(source), "lock") as mine:
        assert mine
        expected = list(python.lines(source, Wanted(Holds.TEXT), Notes()))
        assert list(index.lines(source, Wanted(Holds.TEXT), Notes())) == expected
        assert index.covered(source) == 0
    list(index.lines(source, Wanted(Holds.TEXT), Notes()))
    assert index.covered(source) == sum(map(len, ODD[:-1]))


def test_the_index_is_private_and_small(tmp_path: Path) -> None:
    source = log(tmp_path / "log", [text_delta("word", f"flow-{n // 100}", n) for n in range(5000)])
    list(read(source, Holds.TEXT, engine="index"))
    place = index.place_of(source)
    assert place.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in place.iterdir()} == {0o600}
    assert sum(path.stat().st_size for path in place.iterdir()) < source.size * 0.05


def test_an_index_finds_the_lines_of_a_session(tmp_path: Path) -> None:
    source = log(tmp_path / "log", [text_delta("word", f"flow-{n % 10}", n) for n in range(1000)])
    sids = frozenset(["sid-flow-3"])
    for _ in range(2):
        assert plainly(read(source, Holds.TEXT, engine="index", sids=sids)) == plainly(
            read(source, Holds.TEXT, engine="python", sids=sids)
        )
    assert len(list(index.lines(source, Wanted(Holds.TEXT), Notes(), sids))) == 100


# -- usage -------------------------------------------------------------------------------------------------------------------


def answer(flow: str, number: int, tokens: int) -> list[bytes]:
    start = {
        "type": "message_start",
        "message": {"id": f"msg_{number}", "model": "m", "usage": {"input_tokens": tokens, "output_tokens": 1}},
    }
    ends = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": tokens * 2}}
    return [
        line("message_start", start, flow, number),
        text_delta("x", flow, number + 1),
        line("message_delta", ends, flow, number + 2),
    ]


@pytest.mark.parametrize("engine", EVERY)
def test_every_engine_says_what_was_used(tmp_path: Path, engine: str) -> None:
    one, two, three = answer("a", 0, 10), answer("b", 0, 20), answer("a", 5, 30)  # the third is another answer of the first flow
    mixed = [each for group in zip_longest(one, two) for each in group if each] + three
    source = log(tmp_path / "log", mixed)
    for _ in range(2):
        found = sorted(
            (each.flow_id, each.model, each.cwd, each.usage.fresh, each.usage.output) for each in usages(source, engine=engine)
        )
        assert found == [("a", "m", IN["cwd"], 10, 20), ("a", "m", IN["cwd"], 30, 60), ("b", "m", IN["cwd"], 20, 40)]


@quick
@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 3), st.integers(1, 9)), max_size=12),
    st.lists(st.integers(0, 36), max_size=4),
)
def test_usage_kept_in_steps_is_usage_read_at_once(tmp_path: Path, answers: list[tuple[str, int, int]], steps: list[int]) -> None:
    lines = [each for given in answers for each in answer(*given)]
    source = log(tmp_path / "log", [])
    shutil.rmtree(index.place_of(source), ignore_errors=True)
    with open(tmp_path / "log" / LINES, "ab", buffering=0) as file:
        for begin, end in zip([0, *sorted(steps)], [*sorted(steps), len(lines)], strict=True):
            file.write(b"".join(lines[begin:end]))
            kept = list(usages(source, engine="index"))
    assert kept == list(usages(source, engine="python"))


@pytest.mark.parametrize("engine", EVERY)
def test_usage_complains_of_the_same_bad_lines_each_time(tmp_path: Path, engine: str) -> None:
    source = log(tmp_path / "log", [*answer("a", 0, 10), *ODD])
    expected, first, again = Notes(), Notes(), Notes()
    list(read(source, Holds.USAGE | Holds.BOUND, engine="python", notes=expected))
    for notes in (first, again):
        list(usages(source, engine=engine, notes=notes))
        assert (notes.count, notes.bad) == (expected.count, expected.bad)


def test_counts_that_grow_with_every_frame_are_folded_as_if_each_was_understood(tmp_path: Path) -> None:
    def frame(number: int, **usage: Any) -> bytes:
        payload = {"candidates": [], "usageMetadata": usage, "modelVersion": "gemini", "responseId": f"r{number // 10}"}
        return line("message", payload, f"g{number // 10}", number, number / 10, provider="gemini")

    grown = [frame(n, promptTokenCount=5, candidatesTokenCount=n) for n in range(1, 8)]
    thought = [frame(8, promptTokenCount=5, candidatesTokenCount=8, thoughtsTokenCount=3), frame(9, candidatesTokenCount=None)]
    source = log(
        tmp_path / "log", [*grown, *thought, *(frame(n, promptTokenCount=7, candidatesTokenCount=n) for n in range(10, 14))]
    )
    found = list(usages(source, engine="python"))
    by_hand = []
    for ids in ("r0", "r1"):
        total = UsageReported()
        for item in read(source, join=False):
            if isinstance(item, dict) and item["payload"]["responseId"] == ids:
                for event in meaning(item):
                    total = total.newer(event) if isinstance(event, UsageReported) else total
        by_hand.append(total)
    assert [each.usage for each in found] == by_hand


def growing(number: int, text: str, thought: bool, keys: int, flow: str) -> bytes:
    """A frame that holds a piece of text and counts all tokens so far, as Gemini sends them."""
    part = {"text": text, "thought": True} if thought else {"text": text}
    counts = {"promptTokenCount": 5, "candidatesTokenCount": number, "thoughtsTokenCount": number * 2, "totalTokenCount": 1000}
    payload = {
        "candidates": [{"content": {"parts": [part], "role": "model"}, "index": 0}],
        "usageMetadata": dict(list(counts.items())[:keys]),
        "modelVersion": "gemini",
        "responseId": "r",
    }
    return line("message", payload, flow, number, number / 10, provider="gemini")


@quick
@given(
    st.lists(st.tuples(st.text(max_size=4), st.booleans(), st.integers(1, 4), IDS), max_size=30),
    st.integers(0, 30),
)
def test_frames_that_say_text_and_count_tokens_are_joined_and_nothing_of_either_is_lost(
    tmp_path: Path, frames: list[tuple[str, bool, int, str]], cut: int
) -> None:
    lines = [growing(number, *frame) for number, frame in enumerate(frames)]
    source = log(tmp_path / "log", lines[:cut])
    shutil.rmtree(index.place_of(source), ignore_errors=True)
    list(usages(source, engine="index"))
    with open(tmp_path / "log" / LINES, "ab") as file:
        file.write(b"".join(lines[cut:]))
    single = [item for item in read(source, join=False) if isinstance(item, dict)]
    assert messages(read(source)) == messages(iter(single))
    expected: dict[str, tuple[str, UsageReported]] = {}
    for item in single:
        first_t, total = expected.get(item["flow_id"], (item["t"], UsageReported()))
        for event in meaning(item):
            total = total.newer(event) if isinstance(event, UsageReported) else total
        expected[item["flow_id"]] = first_t, total
    for engine in ("python", "index"):
        assert {each.flow_id: (each.t, each.usage) for each in usages(source, engine=engine)} == expected


def test_a_damaged_line_among_its_like_ends_no_reading(tmp_path: Path) -> None:
    flow = "a" * 36
    good = [growing(number, "text", False, 4, flow) for number in range(4)]
    odd = [
        good[3].replace(b'"data_count":3', b'"data_count":03'),
        good[3].replace(b'"data_count":3', b'"data_count":x'),
        good[3].replace(b'"t":"2026', b'"t":"\xff026'),
    ]
    for bad in odd:
        notes = Notes()
        source = log(tmp_path / "log", [*good[:3], bad])
        (found,) = usages(source, engine="python", notes=notes)
        assert found.usage.fresh == 5
        assert len(list(read(source))) >= 2


def test_usage_in_a_frame_in_parts_counts_though_it_is_read_between_two_of_them(tmp_path: Path) -> None:
    whole = json.dumps({"type": "message_delta", "delta": {}, "usage": {"output_tokens": 70}})
    parts = [line("message_delta", whole[:9], "a", 1, part="1"), line("message_delta", whole[9:], "a", 2, part="2/2")]
    source = log(tmp_path / "log", [answer("a", 0, 10)[0], parts[0]])
    list(usages(source, engine="index"))
    with open(tmp_path / "log" / LINES, "ab") as file:
        file.write(parts[1])
    for _ in range(2):
        assert [each.usage.output for each in usages(source, engine="index")] == [70]
    assert [each.usage.output for each in usages(source, engine="python")] == [70]


# -- with the vocabularies as they are ---------------------------------------------------------------------------------------


@pytest.fixture
def recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Source:
    """All sample flows as one log, with the real table of shapes."""
    monkeypatch.undo()
    records = [orjson.loads(each) for case in samples.names() for each in golden.load(case)]
    (tmp_path / "log").mkdir()
    for kind, name in FILES.items():
        lines = [orjson.dumps(each["fields"]) + b"\n" for each in records if each["kind"] == kind]
        (tmp_path / "log" / name).write_bytes(b"".join(lines))
    return Source(tmp_path / "log")


@pytest.mark.parametrize("engine", EVERY)
@pytest.mark.parametrize("holds", [Holds(1 << bit) for bit in range(8)])
def test_the_real_shapes_mean_the_same_to_every_engine(recorded: Source, engine: str, holds: Holds) -> None:
    expected = plainly(read(recorded, holds, engine="python"))
    assert plainly(read(recorded, holds, engine=engine)) == expected
    assert 0 < len(expected) < len(plainly(read(recorded)))


def test_usage_is_what_pairing_says_of_each_answer(recorded: Source) -> None:
    answered = [update.exchange for update in turns.run(read(recorded)) if isinstance(update, Answered)]
    paired = sorted((each.flow_id, each.model or "", repr(each.answer.usage)) for each in answered if each.answer.usage)
    folded = sorted((each.flow_id, each.model or "", repr(each.usage)) for each in usages(recorded))
    assert folded == paired
