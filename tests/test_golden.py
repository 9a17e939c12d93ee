"""Sample flows give the records that stand beside them, however their bytes are cut."""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from capture import parts, providers, samples
from capture.events import (
    Event,
    Failed,
    ReasoningDelta,
    Stopped,
    TextDelta,
    ToolArgumentsDelta,
    ToolCallEnded,
    ToolCallStarted,
    ToolResult,
    Unknown,
    UsageReported,
)
from capture.records import EndRecord, FlowRecord, LineRecord, Metadata
from capture.redact import Redactor
from capture.samples import Said
from tests import golden

CASES = samples.names()
STREAMS = [case for case in CASES if not samples.load(case).websocket]
MODELS: dict[str, type[BaseModel]] = {"flows": FlowRecord, "lines": LineRecord, "flow_ends": EndRecord}
ODD: st.SearchStrategy[Any] = st.sampled_from(
    [None, 0, 10**30, 1.5, True, "", "x", "\ud83d", [], {}, [None], [[]], [{}], {"a": 1}, {"text": None}]
)
TIMES = ("t", "first_byte_ms", "first_event_ms", "duration_ms")


@pytest.mark.parametrize("case", CASES)
def test_a_flow_gives_its_golden_records(case: str) -> None:
    assert golden.load(case) == golden.lines(golden.play(case))


@pytest.mark.parametrize("size", [1, 7, 1000])
@pytest.mark.parametrize("case", STREAMS)
def test_records_do_not_depend_on_how_a_response_is_cut(case: str, size: int) -> None:
    sample = samples.load(case)
    body = sample.response
    cut = golden.record(sample, [Said(1, body[at : at + size]) for at in range(0, len(body), size)])
    assert [_timeless(line) for line in golden.load(case)] == [_timeless(line) for line in golden.lines(cut)]


@pytest.mark.parametrize("case", CASES)
def test_a_case_has_all_its_files(case: str) -> None:
    directory = samples.DIRECTORY / case
    answer = "frames.jsonl" if samples.load(case).websocket else "response.sse"
    files = {"README.md", "expected.json", "live.txt", "record.jsonl", "request.json", answer}
    assert files == {path.name for path in directory.iterdir()}
    readme = (directory / "README.md").read_text("utf-8")
    assert readme.startswith(f"# {case}\n")
    assert "Provenance: written for this project" in readme


def test_every_file_of_the_samples_belongs_to_a_case() -> None:
    directories = {path.parent.relative_to(samples.DIRECTORY).as_posix() for path in samples.DIRECTORY.glob("*/*/*")}
    assert set(CASES) == directories


@pytest.mark.parametrize("case", CASES)
def test_a_request_body_is_rebuilt_to_the_byte(case: str) -> None:
    flow = next(line for line in golden.load(case) if _kind(line) == "flows")
    template = parts.member(_fields(flow), "request") or ""
    body = samples.load(case).request_body
    assert body == (b"" if template == "null" else parts.join(template, _part_texts(case).__getitem__).encode())


def test_the_requests_on_a_socket_are_rebuilt_to_the_byte() -> None:
    case = "openai_responses/websocket"
    sent = [said.data for said in samples.load(case).said if said.from_client]
    requests = [line["line"].removeprefix("data: ") for line in _lines(case) if line["event"] == "response.create"]
    assert sent == [parts.join(request, _part_texts(case).__getitem__).encode() for request in requests]


@pytest.mark.parametrize("case", CASES)
def test_a_part_stands_once(case: str) -> None:
    ids = [found for fields in _lines(case) if (found := _metadata(fields).id)]
    assert ids
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("case", CASES)
def test_a_part_stands_before_the_request_that_refers_to_it(case: str) -> None:
    known: set[str] = set()
    for line in golden.load(case):
        fields = json.loads(line)["fields"]
        if _kind(line) == "lines":
            known.add(_metadata(fields).id or "")
        assert known.issuperset(parts.references(fields.get("request") or fields.get("line")))


@pytest.mark.parametrize("case", CASES)
def test_frames_mean_what_was_said(case: str) -> None:
    """`expected.json` was written from the texts, not by decoding the frames."""
    expected = json.loads((samples.DIRECTORY / case / "expected.json").read_bytes())
    events = list(_events(case, "in"))
    calls = {event.key: [event.name, ""] for event in events if isinstance(event, ToolCallStarted)}
    whole: dict[str, str] = {}
    for event in events:
        match event:
            case ToolArgumentsDelta(key, text):
                calls[key][1] += text
            case ToolCallEnded(key, str(arguments)):
                whole[key] = arguments
    for key, arguments in whole.items():
        assert calls[key][1] in ("", arguments), "the pieces are the whole"
        calls[key][1] = arguments
    assert expected == {
        "reasoning": "".join(event.text for event in events if isinstance(event, ReasoningDelta)),
        "text": "".join(event.text for event in events if isinstance(event, TextDelta)),
        "calls": list(calls.values()),
        "stopped": [event.reason for event in events if isinstance(event, Stopped)],
        **_where_any("failed", [event.kind for event in events if isinstance(event, Failed)]),
        **_where_any("unknown", sum(isinstance(event, Unknown) for event in events)),
        "outcome": json.loads(golden.load(case)[-1])["fields"]["outcome"],
    }


@pytest.mark.parametrize("case", CASES)
def test_requests_hold_a_prompt_and_nothing_unknown(case: str) -> None:
    events = list(_events(case, "out"))
    assert not [event for event in events if isinstance(event, Unknown)]
    assert any(isinstance(event, TextDelta) and event.role == "user" for event in events)


@pytest.mark.parametrize("case", CASES)
def test_a_tool_result_names_a_call_of_the_same_conversation(case: str) -> None:
    events = [*_events(case, "out"), *_events(case, "in")]
    made = {event.call_id for event in events if isinstance(event, ToolCallStarted)}
    assert made.issuperset(event.call_id for event in events if isinstance(event, ToolResult))


@pytest.mark.parametrize("case", CASES)
@given(data=st.data())
def test_an_odd_value_anywhere_in_a_frame_is_data(case: str, data: st.DataObject) -> None:
    """Providers never raise, and every text in an event is a text."""
    fields = data.draw(st.sampled_from(_lines(case)))
    payload = _value(fields["line"].removeprefix("data: "))
    payload = with_odd(payload, data.draw(st.sampled_from(list(places(payload)))), data.draw(ODD))
    provider = _provider(case)
    decode = provider.decode_part if fields["event"].startswith("request.") else provider.decode
    for event in decode(fields["event"], payload):
        texts = {name: getattr(event, name) for name in ("text", "key", "call_id", "name") if hasattr(event, name)}
        assert all(isinstance(text, str) or (name == "name" and text is None) for name, text in texts.items())


@pytest.mark.parametrize("case", sorted(set(CASES) - {"anthropic/cut_in_tool_arguments"}))
def test_usage_is_reported(case: str) -> None:
    reported = [event for event in _events(case, "in") if isinstance(event, UsageReported)]
    assert reported[-1].input
    assert reported[-1].output


@pytest.mark.parametrize("case", CASES)
def test_golden_records_are_what_the_schema_says(case: str) -> None:
    for line in golden.load(case):
        fields = json.loads(line)["fields"]
        model = MODELS[_kind(line)]
        record = model.model_validate(fields)
        assert not record.model_extra
        assert [name for name in model.model_fields if name in fields] == list(fields), "fields stand in the model's order"
    assert not any(_metadata(fields).model_extra for fields in _lines(case))


@pytest.mark.parametrize("case", CASES)
def test_records_are_numbered_without_a_gap_and_end_once(case: str) -> None:
    kinds = Counter(_kind(line) for line in golden.load(case))
    assert kinds == {"flows": 1, "flow_ends": 1, "lines": kinds["lines"]}
    assert list(range(kinds["lines"])) == [fields["data_count"] for fields in _lines(case)]
    assert kinds["lines"] == json.loads(golden.load(case)[-1])["fields"]["lines"]


@pytest.mark.parametrize("case", ["anthropic/thinking", "openai_responses/websocket", "openai_chat/tool_calls"])
def test_a_demo_is_rich_and_short(case: str) -> None:
    said = samples.load(case).said
    assert 60 <= len(said) <= 150
    assert 5_000 <= sum(piece.after_ms for piece in said) <= 10_000


@pytest.mark.parametrize(
    "file", sorted(path for path in samples.DIRECTORY.rglob("*") if path.is_file()), ids=lambda path: path.name
)
def test_no_sample_holds_a_secret(file: Path) -> None:
    content = file.read_bytes()
    assert content == Redactor(golden.SALT).text(content)


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kathmandu"])
def test_goldens_do_not_depend_on_the_time_zone(zone: str) -> None:
    code = "from tests import golden; assert golden.load('anthropic/text') == golden.lines(golden.play('anthropic/text'))"
    subprocess.run([sys.executable, "-c", code], check=True, env={"TZ": zone}, cwd=samples.DIRECTORY.parent)


def _kind(line: str) -> str:
    return str(json.loads(line)["kind"])


def _fields(line: str) -> str:
    """The record's own text."""
    return parts.member(line, "fields") or ""


def _lines(case: str) -> list[dict[str, Any]]:
    """The line records of a golden."""
    return [json.loads(line)["fields"] for line in golden.load(case) if _kind(line) == "lines"]


def _metadata(fields: dict[str, Any]) -> Metadata:
    return Metadata.model_validate_json(fields["metadata"])


def _part_texts(case: str) -> dict[str, str]:
    return {found: fields["line"].removeprefix("data: ") for fields in _lines(case) if (found := _metadata(fields).id)}


def _events(case: str, direction: str) -> Iterator[Event]:
    """What the frames of a golden mean (`in`), or the parts of its requests (`out`)."""
    provider = _provider(case)
    for fields in _lines(case):
        metadata, payload = _metadata(fields), _value(fields["line"].removeprefix("data: "))
        if metadata.dir == direction == "in":
            yield from provider.decode(fields["event"], payload)
        elif metadata.dir == direction and metadata.id:
            yield from provider.decode_part(fields["event"], payload)


def _provider(case: str) -> providers.Provider:
    sample = samples.load(case)
    return providers.recognise(sample.method, sample.path) or providers.UNKNOWN


def _value(payload: str) -> Any:
    """What a payload says; one that is no JSON (`[DONE]`, a cut frame) is its text."""
    try:
        return json.loads(payload)
    except ValueError:
        return payload


def places(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of each value in a JSON value."""
    yield place
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from places(inner, (*place, key))


def with_odd(value: Any, place: tuple[Any, ...], odd: Any) -> Any:
    """`value` with something odd in one place."""
    if not place:
        return odd
    copy = value.copy()
    copy[place[0]] = with_odd(value[place[0]], place[1:], odd)
    return copy


def _where_any(name: str, value: Any) -> dict[str, Any]:
    return {name: value} if value else {}


def _timeless(line: str) -> dict[str, Any]:
    """A golden line without what the clock said."""
    fields = {name: value for name, value in json.loads(line)["fields"].items() if name not in TIMES}
    if "metadata" in fields:
        fields["metadata"] = {name: value for name, value in json.loads(fields["metadata"]).items() if name != "us"}
    return fields
