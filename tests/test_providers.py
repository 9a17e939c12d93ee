"""What providers say, in all their words: nothing is lost, nothing told twice. Whole flows: test_golden.py, test_truth.py."""

import json
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capture import providers, samples
from capture.events import (
    Cited,
    Event,
    Failed,
    IdGiven,
    ImageSeen,
    MessageStarted,
    PromptGiven,
    RateLimited,
    ReasoningDelta,
    ReasoningWhole,
    Sealed,
    Stopped,
    TextDelta,
    TextWhole,
    ToolArgumentsDelta,
    ToolCallEnded,
    ToolCallStarted,
    ToolResult,
    Unknown,
    UsageReported,
    WentIdle,
)
from capture.messages import Assembler, Message
from capture.providers.base import Holds, Provider, shape_of
from tests import golden
from tests.test_golden import ODD, places, with_odd

ANTHROPIC = providers.called("anthropic", "messages")
RESPONSES = providers.called("openai", "responses")
CHAT = providers.called("openai", "chat")
GEMINI = providers.called("gemini", "generate_content")
CLAUDE_LOG, CODEX_LOG = providers.DIALECTS


def say(provider: Provider, *payloads: Any, event: str = "") -> list[Event]:
    """The events of frames, each named by its `type` as on the wire."""
    return [
        said
        for payload in payloads
        for said in provider.decode(event or (payload.get("type", "") if isinstance(payload, dict) else ""), payload)
    ]


def message(events: Iterable[Event]) -> Message:
    assembler = Assembler()
    for event in events:
        list(assembler.feed(event))
    return assembler.message


def block(index: int, **content: Any) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": content}


def delta(index: int, **said: Any) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": said}


# -- Anthropic ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        (delta(0, type="text_delta", text="a"), [TextDelta("a", "assistant", "0")]),
        (delta(1, type="thinking_delta", thinking="b"), [ReasoningDelta("b", "1")]),
        (delta(1, type="signature_delta", signature="c"), [Sealed("signature", "c", "1")]),
        (delta(2, type="citations_delta", citation={"url": "u"}), [Cited({"url": "u"})]),
        (delta(3, type="input_json_delta", partial_json="{"), [ToolArgumentsDelta("3", "{")]),
        (block(0, type="text", text=""), []),
        (block(0, type="redacted_thinking", data="x"), [Sealed("redacted", "x", "0")]),
        (block(1, type="tool_use", id="t", name="Bash", input={}), [ToolCallStarted("1", "t", "Bash")]),
        (block(1, type="server_tool_use", id="s", name="web_search", input={}), [ToolCallStarted("1", "s", "web_search", True)]),
        (
            block(2, type="web_search_tool_result", tool_use_id="s", content=[{"type": "web_search_result", "url": "u"}]),
            [ToolResult("s", '[{"type":"web_search_result","url":"u"}]')],
        ),
        (
            block(2, type="web_search_tool_result", tool_use_id="s", content={"type": "web_search_tool_result_error"}),
            [ToolResult("s", '{"type":"web_search_tool_result_error"}', is_error=True)],
        ),
        (
            {
                "type": "message_delta",
                "delta": {"stop_reason": "end_turn", "container": {"id": "c1"}},
                "usage": {"output_tokens": 7},
            },
            [UsageReported(output=7), IdGiven("container", "c1"), Stopped("end_turn")],
        ),
        ({"type": "error", "error": {"type": "overloaded_error", "message": "m"}}, [Failed("overloaded_error", "m")]),
        ({"type": "ping"}, []),
    ],
)
def test_anthropic_says(frame: dict[str, Any], expected: list[Event]) -> None:
    assert say(ANTHROPIC, frame) == expected


def test_what_anthropic_never_said_before_is_kept() -> None:
    for frame in (delta(0, type="song_delta", notes="la"), {"type": "weather"}, block(0, type="dance")):
        (event,) = say(ANTHROPIC, frame)
        assert isinstance(event, Unknown)
        assert event.payload


def test_anthropic_tokens_are_counted_once_and_the_last_report_wins() -> None:
    usage = {"input_tokens": 10, "cache_read_input_tokens": 100, "cache_creation_input_tokens": 5, "output_tokens": 1}
    said = message(
        say(
            ANTHROPIC,
            {"type": "message_start", "message": {"id": "m", "model": "claude", "usage": usage}},
            {"type": "message_delta", "delta": {}, "usage": {"output_tokens": 9}},
            {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 27}},
        )
    )
    assert said.usage == UsageReported(fresh=10, cached=100, written=5, output=27)
    assert said.usage.input == 115


def test_images_are_named_not_kept() -> None:
    source = {"type": "base64", "media_type": "image/png", "data": "A" * 400}
    part = {"role": "user", "content": [{"type": "image", "source": source}, {"type": "text", "text": "What is it?"}]}
    events = list(ANTHROPIC.decode_part("request.user", part))
    assert events[0] == ImageSeen("image/png", "base64, 400 characters", "user")
    assert events[1] == TextDelta("What is it?", "user", "1")


def test_an_image_or_a_page_in_a_result_is_not_lost() -> None:
    source = {"type": "base64", "media_type": "image/png", "data": "AAAA"}
    content = [
        {"type": "text", "text": "seen"},
        {"type": "image", "source": source},
        {"type": "tool_reference", "tool_name": "Look"},
    ]
    part = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": content}]}
    assert list(ANTHROPIC.decode_part("request.user", part)) == [
        ToolResult("t", 'seen\n[{"type":"tool_reference","tool_name":"Look"}]'),
        ImageSeen("image/png", "base64, 4 characters", "user"),
    ]


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"content": "Exit code 2\nls: no", "is_error": True}, ToolResult("t", "Exit code 2\nls: no", True, exit_code=2)),
        ({"content": "Exit code 2 is bad"}, ToolResult("t", "Exit code 2 is bad")),
        ({"content": {"type": "bash_result", "return_code": -9, "output": "x"}}, ToolResult("t", "x", True, exit_code=-9)),
        ({}, ToolResult("t", "")),
    ],
)
def test_anthropic_results_say_how_their_command_ended(said: dict[str, Any], expected: ToolResult) -> None:
    part = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", **said}]}
    assert list(ANTHROPIC.decode_part("request.user", part)) == [expected]


def test_why_an_answer_stopped_is_told_whole() -> None:
    details = {"type": "refusal", "explanation": "no"}
    ended = {"stop_reason": "refusal", "stop_sequence": None, "stop_details": details}
    edited: dict[str, Any] = {"applied_edits": []}
    frame = {"type": "message_delta", "delta": ended, "context_management": edited}
    assert say(ANTHROPIC, frame) == [Unknown("stop_details", details), Stopped("refusal")]


def test_an_error_needs_no_type() -> None:
    assert say(ANTHROPIC, {"error": {"type": "api_error", "message": "m"}}, event="error") == [Failed("api_error", "m")]


# -- Responses ---------------------------------------------------------------------------------------------------------------


def responses(
    text: str, arguments: str, *, deltas: bool = True, dones: bool = True, items: bool = True, last: bool = True
) -> list[Any]:
    """One answer with a text, reasoning and a call, told by deltas, by their dones, by items, and by the last frame."""
    spot = {"item_id": "msg_1", "output_index": 1, "content_index": 0}
    thought = {"item_id": "rs_1", "output_index": 0, "summary_index": 0}
    reasoning = {
        "type": "reasoning",
        "id": "rs_1",
        "summary": [{"type": "summary_text", "text": "think"}],
        "encrypted_content": "e",
    }
    said = {"type": "message", "id": "msg_1", "role": "assistant", "content": [{"type": "output_text", "text": text}]}
    call = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "shell", "arguments": arguments}
    frames: list[Any] = [{"type": "response.created", "response": {"id": "resp_1", "model": "gpt"}}]
    if deltas:
        frames += [{"type": "response.reasoning_summary_text.delta", **thought, "delta": piece} for piece in ("thi", "nk")]
        frames += [{"type": "response.output_text.delta", **spot, "delta": piece} for piece in text]
        frames.append({"type": "response.output_item.added", "output_index": 2, "item": {**call, "arguments": ""}})
        frames += [{"type": "response.function_call_arguments.delta", "item_id": "fc_1", "delta": piece} for piece in arguments]
    if dones:
        frames.append({"type": "response.reasoning_summary_text.done", **thought, "text": "think"})
        frames.append({"type": "response.output_text.done", **spot, "text": text})
        frames.append({"type": "response.function_call_arguments.done", "item_id": "fc_1", "arguments": arguments})
    if items:
        frames += [
            {"type": "response.output_item.done", "output_index": i, "item": item} for i, item in enumerate((reasoning, said, call))
        ]
    output = [reasoning, said, call] if last else []
    usage = {"input_tokens": 30, "input_tokens_details": {"cached_tokens": 20}, "output_tokens": 8}
    usage["output_tokens_details"] = {"reasoning_tokens": 3}
    return [
        *frames,
        {"type": "response.completed", "response": {"id": "resp_1", "status": "completed", "output": output, "usage": usage}},
    ]


@pytest.mark.parametrize("deltas", [True, False])
@pytest.mark.parametrize("dones", [True, False])
@pytest.mark.parametrize("items", [True, False])
@pytest.mark.parametrize("last", [True, False])
def test_what_responses_tell_several_times_counts_once(deltas: bool, dones: bool, items: bool, last: bool) -> None:
    if not (deltas or items or last):
        return  # then a call was never declared
    said = message(say(RESPONSES, *responses("Hello", '{"a":1}', deltas=deltas, dones=dones, items=items, last=last)))
    assert (said.text, said.reasoning) == ("Hello", "think")
    assert [(call.call_id, call.name, call.arguments, call.ended) for call in said.calls] == [
        ("call_1", "shell", '{"a":1}', dones or items or last or said.stopped is not None)
    ]
    assert said.usage == UsageReported(fresh=10, cached=20, output=8, reasoning=3)
    assert said.stopped == "completed"
    assert [(each.kind, each.data) for each in said.sealed] == ([("encrypted", "e")] if items or last else [])


def test_a_lost_delta_is_made_good_by_the_whole() -> None:
    frames = responses("Hello", '{"a":1}')
    lost = [frame for index, frame in enumerate(frames) if index not in (2, 4, 11)]
    assert message(say(RESPONSES, *lost)).text == "Hello"
    assert message(say(RESPONSES, *lost)).calls[0].arguments == '{"a":1}'


def test_the_providers_own_tools_are_told_from_the_clients() -> None:
    item = {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search", "query": "q"}}
    mcp = {"type": "mcp_call", "id": "mcp_1", "name": "look", "arguments": '{"x":1}', "output": "seen", "error": None}
    said = message(say(RESPONSES, *({"type": "response.output_item.done", "item": each} for each in (item, mcp))))
    assert [(call.name, call.server, call.arguments) for call in said.calls] == [
        ("web_search", True, '{"type":"search","query":"q"}'),
        ("look", True, '{"x":1}'),
    ]
    assert [result.text for result in said.results] == ["seen"]


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("plain", ToolResult("c", "plain")),
        ([{"type": "input_text", "text": "listed"}], ToolResult("c", "listed")),
        (
            '{"output":"said","metadata":{"exit_code":1,"duration_seconds":0.2}}',
            ToolResult("c", "said", is_error=True, exit_code=1, seconds=0.2),
        ),
        (
            "Exit code: 0\nWall time: 0.2 seconds\nOutput:\nhello",
            ToolResult("c", "Exit code: 0\nWall time: 0.2 seconds\nOutput:\nhello", exit_code=0, seconds=0.2),
        ),
        ('{"output": "not by codex"}', ToolResult("c", '{"output": "not by codex"}')),
    ],
)
def test_results_say_how_their_command_ended(output: Any, expected: ToolResult) -> None:
    part = {"type": "function_call_output", "call_id": "c", "output": output}
    assert list(RESPONSES.decode_part("request.function_call_output", part)) == [expected]


@pytest.mark.parametrize("kind", ["mcp_call_arguments", "code_interpreter_call_code", "custom_tool_call_input"])
def test_what_a_tool_is_asked_streams_whoever_runs_it(kind: str) -> None:
    pieces = [{"type": f"response.{kind}.delta", "item_id": "i", "delta": piece} for piece in ("pri", "nt")]
    name = {"mcp_call_arguments": "arguments", "code_interpreter_call_code": "code", "custom_tool_call_input": "input"}[kind]
    assert say(RESPONSES, *pieces, {"type": f"response.{kind}.done", "item_id": "i", name: "print"}) == [
        ToolArgumentsDelta("i", "pri"),
        ToolArgumentsDelta("i", "nt"),
        ToolCallEnded("i", "print"),
    ]


@pytest.mark.parametrize("kind", ["output_text", "reasoning_text", "reasoning_summary_text"])
def test_parts_of_an_item_do_not_mix(kind: str) -> None:
    place = "summary_index" if "summary" in kind else "content_index"
    pieces = [{"type": f"response.{kind}.delta", "item_id": "i", place: i, "delta": said} for i, said in enumerate("ab")]
    again = [{"type": f"response.{kind}.done", "item_id": "i", place: i, "text": said} for i, said in enumerate("ab")]
    for told in (pieces, again, [*pieces, *again], [pieces[0], again[0], pieces[1], again[1]]):
        said = message(say(RESPONSES, *told))
        assert said.text + said.reasoning == "ab"


def test_a_refusal_is_a_text_told_once() -> None:
    spot = {"item_id": "m", "output_index": 0, "content_index": 0}
    piece = {"type": "response.refusal.delta", **spot, "delta": "No"}
    whole = {"type": "response.refusal.done", **spot, "refusal": "No."}
    content = [{"type": "refusal", "refusal": "No."}]
    item = {"type": "response.output_item.done", "item": {"type": "message", "id": "m", "role": "assistant", "content": content}}
    for told in ([piece, whole], [whole], [item], [piece, whole, item]):
        assert message(say(RESPONSES, *told)).text == "No."


@pytest.mark.parametrize(
    ("item", "name", "arguments", "server"),
    [
        ({"type": "local_shell_call", "call_id": "c", "action": {"command": ["ls"]}}, "local_shell", '{"command":["ls"]}', False),
        ({"type": "computer_call", "call_id": "c", "action": {"type": "click"}}, "computer", '{"type":"click"}', False),
        ({"type": "file_search_call", "id": "f", "queries": ["q"]}, "file_search", '["q"]', True),
        ({"type": "code_interpreter_call", "id": "k", "code": "1"}, "code_interpreter", "1", True),
        ({"type": "image_generation_call", "id": "g", "result": "AAAA", "output_format": "png"}, "image_generation", "{}", True),
        ({"type": "custom_tool_call", "call_id": "c", "name": "exec", "input": "ls"}, "exec", "ls", False),
    ],
)
def test_a_call_whose_beginning_was_lost_is_there(item: dict[str, Any], name: str, arguments: str, server: bool) -> None:
    said = message(say(RESPONSES, {"type": "response.output_item.done", "output_index": 0, "item": item}))
    assert [(call.name, call.arguments, call.server, call.ended) for call in said.calls] == [(name, arguments, server, True)]


def test_citations_told_three_times_are_one() -> None:
    cited = {"type": "url_citation", "url": "u"}
    item = {
        "type": "message",
        "id": "m",
        "role": "assistant",
        "content": [{"type": "output_text", "text": "a", "annotations": [cited]}],
    }
    said = message(
        say(
            RESPONSES,
            {"type": "response.output_text.annotation.added", "item_id": "m", "annotation": cited},
            {"type": "response.output_item.done", "item": item},
            {"type": "response.completed", "response": {"output": [item]}},
        )
    )
    assert (said.text, said.citations) == ("a", [cited])


def test_limits_are_kept() -> None:
    limits = {"primary": {"used_percent": 3}}
    frame = {"type": "codex.rate_limits", "rate_limits": limits, "plan_type": "plus", "credits": None}
    assert say(RESPONSES, frame) == [RateLimited(limits), Unknown("codex.rate_limits", {"plan_type": "plus"})]
    assert say(CODEX_LOG, frame) == say(RESPONSES, frame)


def test_the_ids_that_requests_refer_to_are_kept() -> None:
    created = {"id": "resp_2", "model": "gpt", "previous_response_id": "resp_1", "conversation": {"id": "conv_1"}}
    assert say(RESPONSES, {"type": "response.created", "response": created}) == [
        MessageStarted("resp_2", "gpt"),
        IdGiven("previous_response", "resp_1"),
        IdGiven("conversation", "conv_1"),
    ]


# -- Chat --------------------------------------------------------------------------------------------------------------------


def chunk(**said: Any) -> dict[str, Any]:
    reason = said.pop("finish_reason", None)
    return {
        "object": "chat.completion.chunk",
        "id": "c",
        "model": "k",
        "choices": [{"index": 0, "delta": said, "finish_reason": reason}],
    }


def test_chat_and_its_imitators() -> None:
    said = message(
        say(
            CHAT,
            chunk(role="assistant", content=""),
            chunk(reasoning_content="hm"),
            chunk(content="He"),
            chunk(content="llo"),
            chunk(tool_calls=[{"index": 0, "id": "a", "function": {"name": "ls", "arguments": ""}}]),
            chunk(tool_calls=[{"index": 1, "id": "b", "function": {"name": "cat", "arguments": '{"f"'}}]),
            chunk(tool_calls=[{"index": 0, "function": {"arguments": "{}"}}]),
            chunk(tool_calls=[{"index": 1, "function": {"arguments": ":1}"}}]),
            chunk(finish_reason="tool_calls"),
            {
                "object": "chat.completion.chunk",
                "choices": [],
                "usage": {"prompt_tokens": 9, "cached_tokens": 4, "completion_tokens": 2},
            },
            "[DONE]",
        )
    )
    assert (said.text, said.reasoning, said.stopped) == ("Hello", "hm", "tool_calls")
    assert [(call.name, call.arguments, call.ended) for call in said.calls] == [("ls", "{}", True), ("cat", '{"f":1}', True)]
    assert said.usage == UsageReported(fresh=5, cached=4, output=2)


def test_several_choices_do_not_mix() -> None:
    other = chunk(content="two")
    other["choices"][0]["index"] = 1
    assert message(say(CHAT, chunk(content="on"), other, chunk(content="e"))).text == "onetwo"


def test_what_openrouter_seals_is_kept() -> None:
    said = message(say(CHAT, chunk(reasoning="a", reasoning_details=[{"type": "reasoning.text", "text": "a", "signature": "s"}])))
    assert (said.reasoning, [(each.kind, each.data) for each in said.sealed]) == ("a", [("signature", "s")])


def test_what_only_counts_tokens_begins_no_answer() -> None:
    after = {**chunk(role="assistant", content=""), "usage": {"prompt_tokens": 9, "completion_tokens": 2}}  # OpenRouter
    said = message(say(CHAT, chunk(role="assistant", content="Hi"), chunk(finish_reason="stop"), after))
    assert (said.text, said.usage) == ("Hi", UsageReported(fresh=9, output=2))
    first = {**chunk(role="assistant", content=""), "usage": {"prompt_tokens": 9, "completion_tokens": 0}}  # vLLM
    assert say(CHAT, first)[0] == MessageStarted("c", "k")


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"prompt_tokens": 9, "prompt_tokens_details": {"cached_tokens": 4}}, UsageReported(fresh=5, cached=4)),
        ({"prompt_tokens": 9, "prompt_cache_hit_tokens": 4, "prompt_cache_miss_tokens": 5}, UsageReported(fresh=5, cached=4)),
        ({"prompt_tokens": 3, "cached_tokens": 4}, UsageReported(fresh=0, cached=4)),
        ({"completion_tokens": 3, "completion_tokens_details": {"reasoning_tokens": 1}}, UsageReported(output=3, reasoning=1)),
        ({"prompt_tokens": -1, "completion_tokens": True}, UsageReported()),
    ],
)
def test_imitators_count_tokens_in_their_own_way(usage: dict[str, Any], expected: UsageReported) -> None:
    assert say(CHAT, {"choices": [], "usage": usage}) == [expected]
    assert say(CHAT, {"choices": [], "x_groq": {"usage": usage}}) == [expected]


def test_what_imitators_say_besides_is_kept() -> None:
    assert say(CHAT, chunk(song="la", reasoning_content=None)) == [Unknown("song", "la")]
    thinking = [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"type": "text", "text": "Hi"}]
    assert say(CHAT, chunk(content=thinking)) == [TextDelta("Hi"), ReasoningDelta("hm")]
    sealed = [{"type": "reasoning.text", "text": "hm", "signature": "s"}, {"type": "reasoning.encrypted", "data": "e"}]
    assert say(CHAT, chunk(reasoning_details=sealed)) == [
        ReasoningDelta("hm"),
        Sealed("signature", "s"),
        Sealed("encrypted", "e"),
    ]
    assert say(CHAT, chunk(thinking_blocks=[{"type": "thinking", "thinking": "hm", "signature": "s"}], reasoning_content="hm")) == [
        ReasoningDelta("hm"),
        Sealed("signature", "s"),
    ]


def test_an_error_beside_an_answer_loses_nothing_of_it() -> None:
    failed = {**chunk(content="Hal", finish_reason="error"), "error": {"code": 502, "message": "gone"}}
    assert say(CHAT, failed) == [Failed("502", "gone"), TextDelta("Hal"), Stopped("error")]
    assert say(CHAT, {"error": "no such model"}) == [Failed("error", "no such model")]


def test_calls_without_an_id_or_of_the_old_kind_are_calls() -> None:
    old = [chunk(function_call={"name": "ls", "arguments": ""}), chunk(function_call={"arguments": "{}"})]
    new = [chunk(tool_calls=[{"index": 0, "function": {"name": "ls", "arguments": "{}"}}])]
    for told in (old, new):
        assert [(call.call_id, call.name, call.arguments) for call in message(say(CHAT, *told)).calls] == [("ls", "ls", "{}")]


# -- Gemini ------------------------------------------------------------------------------------------------------------------


def test_gemini_says() -> None:
    parts = [
        {"text": "mull", "thought": True},
        {"text": "Hi", "thoughtSignature": "s"},
        {"functionCall": {"name": "ls", "args": {"dir": "."}}},
        {"executableCode": {"language": "PYTHON", "code": "1"}},
        {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "1"}},
        {"inlineData": {"mimeType": "image/png", "data": "AAAA"}},
    ]
    usage = {"promptTokenCount": 10, "cachedContentTokenCount": 4, "candidatesTokenCount": 5, "thoughtsTokenCount": 3}
    frame = {
        "candidates": [{"content": {"parts": parts}, "finishReason": "STOP", "groundingMetadata": {"x": 1}}],
        "usageMetadata": usage,
    }
    said = message(say(GEMINI, frame, {"usageMetadata": usage}))
    assert (said.text, said.reasoning, said.stopped) == ("Hi", "mull", "STOP")
    assert [(call.name, call.arguments, call.server) for call in said.calls] == [
        ("ls", '{"dir":"."}', False),
        ("code_execution", '{"language":"PYTHON","code":"1"}', True),
    ]
    assert said.usage == UsageReported(fresh=6, cached=4, output=8, reasoning=3)
    assert ([s.data for s in said.sealed], said.citations, said.images[0].source) == (["s"], [{"x": 1}], "base64, 4 characters")


def test_gemini_may_call_one_tool_several_times() -> None:
    frames = [
        {"candidates": [{"content": {"parts": [{"functionCall": {"name": "ls", "args": {"dir": where}}}]}}]} for where in "ab"
    ]
    assert [call.arguments for call in message(say(GEMINI, *frames)).calls] == ['{"dir":"a"}', '{"dir":"b"}']


def test_gemini_says_why_it_said_nothing() -> None:
    refused = {"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 3}}
    assert say(GEMINI, refused) == [
        UsageReported(fresh=3),
        Unknown("promptFeedback", {"blockReason": "SAFETY"}),
        Stopped("SAFETY"),
    ]
    broken = {"candidates": [{"finishReason": "MALFORMED_FUNCTION_CALL", "finishMessage": "m"}], "responseId": "r"}
    assert say(GEMINI, broken) == [
        MessageStarted("r", None),
        Unknown("finishMessage", "m"),
        Stopped("MALFORMED_FUNCTION_CALL"),
    ]
    assert say(GEMINI, [{"error": {"status": "INVALID_ARGUMENT", "message": "m"}}]) == [Failed("INVALID_ARGUMENT", "m")]


def test_gemini_results_name_their_tool_and_may_hold_images() -> None:
    result = {
        "name": "look",
        "response": {"error": "dark"},
        "parts": [{"inlineData": {"mimeType": "image/png", "data": "AAAA"}}],
    }
    part = {"role": "user", "parts": [{"functionResponse": result}]}
    assert list(GEMINI.decode_part("request.user", part)) == [
        ToolResult("look", "dark", is_error=True, name="look"),
        ImageSeen("image/png", "base64, 4 characters", "user"),
    ]


# -- the older logs ----------------------------------------------------------------------------------------------------------


def test_the_claude_log_says() -> None:
    def told(kind: str, **payload: Any) -> list[Event]:
        line = {
            "timestamp": "2025-11-15T05:11:37.546Z",
            "type": "event_msg",
            "payload": {"type": kind, **payload, "request_id": "r"},
        }
        return list(CLAUDE_LOG.decode(f"claude.{kind}", line))

    assert told("user_prompt", prompt="Hi") == [PromptGiven("Hi")]
    assert told("stop") == [WentIdle()]
    assert told("content_block_delta", index=0, delta={"type": "text_delta", "text": "a"}) == [TextDelta("a", "assistant", "0")]
    assert isinstance(told("session_start", source="startup")[0], Unknown)


def test_the_codex_log_tells_everything_several_times() -> None:
    def told(kind: str, payload: Any) -> list[Event]:
        return list(CODEX_LOG.decode(kind, {"type": kind, "payload": payload}))

    assert list(CODEX_LOG.decode("codex.user_prompt", {"type": "codex.user_prompt", "text": "Hi"})) == [PromptGiven("Hi")]
    assert told("turn.user_message", {"message": "Hi"}) == [PromptGiven("Hi", again=1)]
    wire = {"type": "response.output_text.delta", "item_id": "m", "content_index": 0, "delta": "Hello"}
    first = list(CODEX_LOG.decode("response.output_text.delta", wire))
    again = [
        *told("turn.agent_message.delta", {"delta": "Hello"}),
        *told("turn.response.delta", {"delta": "Hello"}),
        *told(
            "turn.raw_response_item",
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Hello"}]},
        ),
    ]
    assert message(first + again).text == message(again + first).text == message(again).text == "Hello"
    assert message(again[1:]).text == message(again[2:]).text == "Hello"
    (end,) = told(
        "turn.exec.end", {"call_id": "c", "aggregated_output": "x", "exit_code": 2, "duration": {"secs": 1, "nanos": 5 * 10**8}}
    )
    assert end == ToolResult("c", "x", is_error=True, exit_code=2, seconds=1.5, again=1)
    total = {"input_tokens": 50, "cached_input_tokens": 30, "output_tokens": 9, "reasoning_output_tokens": 4}
    tokens = told("turn.token_count", {"info": {"total_token_usage": total}, "rate_limits": {"primary": {}}})
    assert tokens == [UsageReported(20, 30, None, 9, 4, running=True, again=1), RateLimited({"primary": {}})]


def test_the_claude_log_names_its_request_once() -> None:
    frames = [
        {"type": "message_start", "message": {"id": "m"}},
        block(0, type="text", text=""),
        delta(0, type="text_delta", text="a"),
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}},
    ]
    lines = [(f"claude.{frame['type']}", {"payload": {**frame, "request_id": "req_1"}}) for frame in frames]
    events = [said for event, payload in lines for said in CLAUDE_LOG.decode(event, payload)]
    assert [said for said in events if isinstance(said, IdGiven)] == [IdGiven("request", "req_1")]


@pytest.mark.parametrize("where", ["prompt", "text", "message", "content"])
def test_a_prompt_of_the_claude_log_may_stand_anywhere(where: str) -> None:
    assert list(CLAUDE_LOG.decode("claude.user_prompt", {"payload": {where: "Hi"}})) == [PromptGiven("Hi")]
    (lost,) = CLAUDE_LOG.decode("claude.user_prompt", {"payload": {"new": "Hi"}})
    assert lost == Unknown("claude.user_prompt", {"payload": {"new": "Hi"}})


def test_items_of_the_codex_log_are_named_by_their_calls() -> None:
    def told(**item: Any) -> list[Event]:
        return list(CODEX_LOG.decode("turn.raw_response_item", {"type": "turn.raw_response_item", "payload": item}))

    assert told(type="function_call", id="fc_1", call_id="c", name="shell", arguments="{}") == [
        ToolCallStarted("c", "c", "shell"),
        ToolCallEnded("c", "{}"),
    ]
    assert told(type="custom_tool_call_output", call_id="c", output="x") == [ToolResult("c", "x")]
    thoughts = [told(type="reasoning", summary=[{"type": "summary_text", "text": text}], encrypted_content=text) for text in "ab"]
    said = message(event for events in thoughts for event in events)
    assert {event.again for events in thoughts for event in events if isinstance(event, ReasoningWhole)} == {3}
    assert (said.reasoning, [each.data for each in said.sealed]) == ("ab", ["a", "b"])


def test_pieces_and_wholes_of_the_codex_log_are_one_text() -> None:
    def told(kind: str, **payload: Any) -> list[Event]:
        return list(CODEX_LOG.decode(kind, {"type": kind, "payload": payload}))

    pieces = [*told("turn.agent_message.delta", delta="He"), *told("turn.agent_message.delta", delta="llo")]
    whole = told("turn.agent_message", message="Hello")
    assert message(pieces).text == message(whole).text == message(pieces + whole).text == "Hello"
    thought = [*told("turn.reasoning.delta", delta="hm"), *told("turn.agent_reasoning", text="hm")]
    assert (thought[0], message(thought).reasoning) == (ReasoningDelta("hm", again=1), "hm")
    (item,) = told(
        "turn.raw_response_item", type="message", id="m", role="assistant", content=[{"type": "output_text", "text": "a"}]
    )
    assert isinstance(item, TextWhole)
    assert item.again == 3
    (unknown,) = told("turn.token_count", news="x")
    assert isinstance(unknown, Unknown)


# -- all of them -------------------------------------------------------------------------------------------------------------

MEANS: dict[type[Any], Holds] = {
    TextDelta: Holds.TEXT,
    TextWhole: Holds.TEXT,
    ReasoningDelta: Holds.REASONING,
    ReasoningWhole: Holds.REASONING,
    ToolArgumentsDelta: Holds.ARGUMENTS,
    ToolCallStarted: Holds.CALL,
    ToolCallEnded: Holds.CALL,
    ToolResult: Holds.CALL,
    UsageReported: Holds.USAGE,
    MessageStarted: Holds.USAGE | Holds.BOUND,
    Sealed: Holds.OTHER,
    Cited: Holds.OTHER,
    ImageSeen: Holds.OTHER,
    RateLimited: Holds.OTHER,
    IdGiven: Holds.OTHER,
    Unknown: Holds.OTHER,
    Stopped: Holds.BOUND,
    Failed: Holds.BOUND,
    WentIdle: Holds.BOUND,
    PromptGiven: Holds.REQUEST,
}


def frames(case: str) -> Iterator[tuple[Provider, str, str]]:
    """(vocabulary, event, payload as text) of a sample's frames from the server."""
    records = [json.loads(line)["fields"] for line in golden.load(case)]
    flow = next(fields for fields in records if "provider" in fields)
    provider = providers.called(flow["provider"], flow["api"])
    for fields in records:
        if "data_count" in fields and json.loads(fields["metadata"])["dir"] == "in":
            yield provider, fields["event"], fields["line"].removeprefix("data: ")


QUOTED = (  # texts that look like what shapes look for
    ',"delta":{"type":"text_delta",',
    '"finish_reason":"stop","usage":{"prompt_tokens":1}',
    '"tool_calls":[{"id":"x"}]',
    ',"content_block":{"type":"text","text":""',
    '"role":"user","error":{',
)
TEXT = st.one_of(st.text(max_size=8), st.sampled_from(QUOTED))


def told_frames(text: str = "Hello") -> list[tuple[Provider, Any]]:
    """A frame of each kind, in all vocabularies: (vocabulary, payload)."""
    source = {"type": "base64", "media_type": "image/png", "data": "AAAA"}
    answer = {"id": "m", "model": "claude", "usage": {"input_tokens": 1, "output_tokens": 2}, "container": {"id": "c"}}
    anthropic: list[dict[str, Any]] = [
        {"type": "message_start", "message": {**answer, "content": []}, "request_id": "r"},
        {"type": "message_start", "message": {**answer, "content": [{"type": "text", "text": text}]}},
        *(delta(0, type=kind, **{name: text}) for kind, name in ANTHROPIC_PIECES.items()),
        delta(0, type="song_delta", notes=text),
        block(0, type="text", text=""),
        block(0, type="text", text=text),
        block(0, type="text", text="", citations=[{"url": text}]),
        block(0, type="thinking", thinking="", signature=text),
        block(0, type="thinking", thinking=text),
        block(0, type="redacted_thinking", data=text),
        block(0, type="tool_use", id="t", name=text, input={}),
        block(0, type="server_tool_use", id="t", name=text, input={"a": text}),
        block(
            0,
            type="mcp_tool_result",
            tool_use_id="t",
            content=[{"type": "text", "text": text}, {"type": "image", "source": source}],
        ),
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "stop_sequence", "stop_sequence": text}, "usage": {"output_tokens": 3}},
        {"type": "message_stop"},
        {"type": "ping"},
        {"type": "error", "error": {"type": "overloaded_error", "message": text}, "request_id": "r"},
    ]
    spot = {"item_id": "i", "output_index": 0, "content_index": 0}
    items: list[dict[str, Any]] = [
        {"type": "reasoning", "id": "r", "summary": [{"type": "summary_text", "text": text}], "encrypted_content": text},
        {
            "type": "message",
            "id": "m",
            "role": "assistant",
            "content": [{"type": "output_text", "text": text, "annotations": [{"a": 1}]}],
        },
        {"type": "custom_tool_call", "id": "i", "call_id": "c", "name": text, "input": text},
        {"type": "local_shell_call", "id": "l", "call_id": "c", "action": {"command": [text]}},
        {"type": "image_generation_call", "id": "g", "result": text, "output_format": "png"},
        {"type": "code_interpreter_call", "id": "k", "code": text, "outputs": [{"type": "logs", "logs": text}]},
        {"type": "function_call_output", "call_id": "c", "output": [{"type": "input_text", "text": text}, {"type": "input_image"}]},
        {"type": "weather", "text": text},
    ]
    responses_only: list[dict[str, Any]] = [
        *responses(text, text),
        *(
            {"type": f"response.output_item.{when}", "output_index": 0, "item": item}
            for item in items
            for when in ("added", "done")
        ),
        *({"type": f"response.{kind}.delta", **spot, "delta": text} for kind in RESPONSES_PIECES),
        {"type": "response.refusal.done", **spot, "refusal": text},
        {"type": "response.reasoning_text.done", **spot, "text": text},
        {"type": "response.custom_tool_call_input.done", **spot, "input": text},
        {"type": "response.content_part.added", **spot, "part": {"type": "output_text", "text": text}},
        {"type": "response.created", "response": {"id": "r", "previous_response_id": "p", "conversation": {"id": "c"}}},
        {"type": "response.in_progress", "response": {"id": "r"}},
        {"type": "response.failed", "response": {"error": {"code": "x", "message": text}}},
        {"type": "codex.rate_limits", "rate_limits": {"primary": {}}, "plan_type": text},
        {"type": "error", "error": {"code": "x", "message": text}},
    ]
    call = {"index": 0, "id": "c", "function": {"name": text, "arguments": text}}
    chat: list[Any] = [
        *(chunk(**{name: text}) for name in ("content", "reasoning_content", "reasoning", "thinking", "refusal", "song")),
        chunk(role="assistant", content=""),
        chunk(content=None, reasoning_content=text),
        chunk(content=text, reasoning=text, song=text),
        chunk(content=[{"type": "thinking", "thinking": [{"type": "text", "text": text}]}, {"type": "dance"}]),
        chunk(reasoning_details=[{"type": "reasoning.encrypted", "data": text}, {"text": text, "signature": text}]),
        chunk(tool_calls=[call]),
        chunk(tool_calls=[{"index": 0, "function": {"arguments": text}}]),
        chunk(content=text, tool_calls=[call], annotations=[{"url": text}]),
        chunk(function_call={"name": text, "arguments": text}),
        chunk(images=[{"image_url": {"url": "data:image/png;base64,AAAA"}}]),
        chunk(audio={"id": "a", "data": "AAAA", "transcript": text}),
        chunk(finish_reason="stop"),
        {"object": "chat.completion.chunk", "choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 2}},
        {"object": "chat.completion.chunk", "choices": [], "x_groq": {"usage": {"prompt_tokens": 9}}},
        {**chunk(content=text), "citations": [text]},
        {**chunk(content=text), "error": {"code": 502, "message": text}},
        {**chunk(content=text), "error": text or "x"},
        {"choices": [{"delta": {"content": text}}]},
        "[DONE]",
    ]
    parts: list[dict[str, Any]] = [
        {"text": text},
        {"text": text, "thought": True},
        {"text": "", "thoughtSignature": text},
        {"functionCall": {"name": text, "args": {"a": text}}},
        {"functionCall": {"name": text, "partialArgs": [{"jsonPath": "$.a", "stringValue": text}]}},
        {"executableCode": {"language": "PYTHON", "code": text}},
        {"codeExecutionResult": {"outcome": "OUTCOME_FAILED", "output": text}},
        {"inlineData": {"mimeType": "image/png", "data": "AAAA"}},
        {"fileData": {"mimeType": "image/png", "fileUri": text}},
        {"dance": text},
    ]
    gemini: list[Any] = [
        *({"candidates": [{"content": {"parts": [part]}}], "usageMetadata": {"promptTokenCount": 3}} for part in parts),
        {"response": {"candidates": [{"finishReason": "SAFETY", "finishMessage": text, "safetyRatings": [{"blocked": True}]}]}},
        {"promptFeedback": {"blockReason": "OTHER"}},
        {"error": {"status": "UNAVAILABLE", "message": text}},
        [{"error": {"status": "UNAVAILABLE", "message": text}}],
    ]
    claude = [
        {"type": "event_msg", "payload": {**frame, "request_id": "r"}}
        for frame in (*anthropic, {"type": "user_prompt", "prompt": text}, {"type": "stop"}, {"type": "session_start"})
    ]
    codex: list[dict[str, Any]] = [
        *responses_only,
        {"type": "codex.user_prompt", "text": text},
        {"type": "codex.idle"},
        *({"type": kind, "payload": {"delta": text}} for kind in CODEX_PIECES),
        *({"type": "turn.raw_response_item", "payload": item} for item in items),
        {"type": "turn.agent_message", "payload": {"message": text}},
        {"type": "turn.agent_reasoning", "payload": {"text": text}},
        {"type": "turn.user_message", "payload": {"message": text}},
        {"type": "turn.exec.begin", "payload": {"call_id": "c", "command": [text]}},
        {"type": "turn.exec.end", "payload": {"call_id": "c", "stdout": text, "stderr": text, "exit_code": 1}},
        *({"type": kind, "payload": {"info": {"total_token_usage": {"input_tokens": 3}}, "rate_limits": {}}} for kind in TOKENS),
        {"type": "turn.shutdown_complete", "payload": {}},
    ]
    spoken: list[tuple[Provider, list[Any]]] = [
        (ANTHROPIC, anthropic),
        (RESPONSES, responses_only),
        (CHAT, chat),
        (GEMINI, gemini),
        (CLAUDE_LOG, claude),
        (CODEX_LOG, codex),
    ]
    return [(provider, payload) for provider, payloads in spoken for payload in payloads]


ANTHROPIC_PIECES = {
    "text_delta": "text",
    "thinking_delta": "thinking",
    "input_json_delta": "partial_json",
    "signature_delta": "signature",
    "citations_delta": "citation",
}
RESPONSES_PIECES = """output_text refusal reasoning_text reasoning_summary_text function_call_arguments custom_tool_call_input
    mcp_call_arguments code_interpreter_call_code""".split()
CODEX_PIECES = "turn.agent_message.delta turn.response.delta turn.agent_reasoning.delta turn.reasoning.delta".split()
TOKENS = ("turn.token_count", "codex.token_count")
TOLD = len(told_frames())


def name_of(provider: Provider, payload: Any) -> str:
    """The `event` of a frame's record."""
    if not isinstance(payload, dict):
        return "message"
    if provider is CLAUDE_LOG:
        return f"claude.{payload['payload']['type']}"
    return str(payload.get("type") or payload.get("object") or "message")


def claims(provider: Provider, event: str, payload: Any, text: str, odd: bool = False) -> None:
    """The shape of a line claims all that the line says. An odd line may be unknown whatever its shape says."""
    holds = shape_of(provider.shapes, event, text)
    for said in provider.decode(event, payload):
        if not (odd and isinstance(said, Unknown)):
            assert MEANS[type(said)] & holds, f"{event} says {said}, its shape {holds!r}: {text}"


@pytest.mark.parametrize("case", samples.names())
def test_a_shape_claims_all_that_a_line_of_a_sample_holds(case: str) -> None:
    for provider, event, text in frames(case):
        payload = _value(text)
        claims(provider, event, payload, text, odd=payload == text)  # a frame that was cut is no JSON


@given(st.integers(0, TOLD - 1), TEXT, st.sampled_from([(",", ":"), (", ", ": ")]))
def test_a_shape_claims_all_that_a_line_holds(which: int, text: str, separators: tuple[str, str]) -> None:
    told = told_frames(text)
    provider, payload = told[which % len(told)]  # an empty text comes in fewer pieces
    claims(provider, name_of(provider, payload), payload, json.dumps(payload, separators=separators, ensure_ascii=False))


@pytest.mark.parametrize("text", ["Hello", *QUOTED])
def test_a_shape_claims_all_that_a_line_of_each_kind_holds(text: str) -> None:
    for provider, payload in told_frames(text):
        claims(provider, name_of(provider, payload), payload, json.dumps(payload, separators=(",", ":")))


@given(st.data(), st.integers(0, TOLD - 1))
def test_a_frame_with_anything_anywhere_is_data_and_no_shape_claims_too_little(data: st.DataObject, which: int) -> None:
    provider, payload = told_frames()[which]
    event = name_of(provider, payload)
    inner = data.draw(st.sampled_from([place for place in places(payload) if place[-1:] != ("type",)]))
    odd = with_odd(payload, inner, data.draw(ODD))
    claims(provider, event, odd, json.dumps(odd, separators=(",", ":"), ensure_ascii=False), odd=True)


@given(st.sampled_from(providers.VOCABULARIES), st.sampled_from(["", "message", "error", "codex.idle", "turn.x", "claude.x"]), ODD)
def test_nothing_raises_on_what_is_no_frame(provider: Provider, event: str, payload: Any) -> None:
    list(provider.decode(event, payload))
    list(provider.decode_part("request.user", payload))


def test_every_vocabulary_has_shapes() -> None:
    assert all(provider.shapes for provider in providers.VOCABULARIES)


def test_a_test_of_shapes_can_fail() -> None:
    with pytest.raises(AssertionError):
        claims(ANTHROPIC, "ping", delta(0, type="text_delta", text="a"), "{}")


@given(st.sampled_from(samples.names()), st.integers(0, 200))
def test_the_events_of_a_prefix_are_a_prefix_of_the_events(case: str, length: int) -> None:
    whole = [(provider, event, text) for provider, event, text in frames(case)]

    def events(some: list[tuple[Provider, str, str]]) -> list[Event]:
        return [said for provider, event, text in some for said in provider.decode(event, _value(text))]

    part = events(whole[:length])
    assert events(whole)[: len(part)] == part


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


@given(st.text(), st.lists(st.integers(0, 50), max_size=6), st.sampled_from(["anthropic", "responses", "chat"]))
def test_arguments_and_texts_survive_any_split(text: str, cuts: list[int], how: str) -> None:
    places = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    pieces = [text[a:b] for a, b in pairwise(places)]
    made: dict[str, list[Any]] = {
        "anthropic": [
            block(0, type="tool_use", id="t", name="Bash", input={}),
            *(delta(0, type="input_json_delta", partial_json=piece) for piece in pieces),
            *(delta(1, type="text_delta", text=piece) for piece in pieces),
        ],
        "responses": [
            {"type": "response.output_item.added", "item": {"type": "function_call", "id": "f", "call_id": "t", "name": "Bash"}},
            *({"type": "response.function_call_arguments.delta", "item_id": "f", "delta": piece} for piece in pieces),
            *({"type": "response.output_text.delta", "item_id": "m", "content_index": 0, "delta": piece} for piece in pieces),
        ],
        "chat": [
            chunk(tool_calls=[{"index": 0, "id": "t", "function": {"name": "Bash"}}]),
            *(chunk(tool_calls=[{"index": 0, "function": {"arguments": piece}}]) for piece in pieces),
            *(chunk(content=piece) for piece in pieces),
        ],
    }
    provider = {"anthropic": ANTHROPIC, "responses": RESPONSES, "chat": CHAT}[how]
    said = message(say(provider, *made[how]))
    assert (said.calls[0].arguments, said.text) == (text, text)


def test_a_character_cut_into_two_escapes_is_one_again() -> None:
    halves = [json.loads('"\\ud83e"'), json.loads('"\\udd80"')]
    assert message(say(CHAT, *(chunk(content=half) for half in halves))).text == "🦀"


def test_lines_without_a_flow_record_find_their_vocabulary() -> None:
    def of(event: str, payload: Any = None, name: str = "") -> str:
        provider = providers.of_line(event, payload, name)
        return f"{provider.name}/{provider.api}"

    assert of("message_start") == of("content_block_delta", {}, "anthropic") == "anthropic/messages"
    assert of("response.created", {}, "openai") == of("request.user", {"type": "message"}, "openai") == "openai/responses"
    assert of("response.created") == of("turn.exec.end") == of("codex.idle") == "codex_log/codex_log"
    assert of("chat.completion.chunk") == of("request.user", {"role": "user"}, "openai") == "openai/chat"
    assert of("claude.stop") == "claude_log/claude_log"
    assert of("ping") == of("message_stop") == "anthropic/messages"
    assert of("message", {"candidates": [1]}) == of("request.user", {}, "gemini") == "gemini/generate_content"
    assert of("weather") == "unknown/unknown"


def test_an_end_is_not_mistaken_for_a_call() -> None:
    assert say(ANTHROPIC, {"type": "content_block_stop", "index": 0}) == [ToolCallEnded("0")]
    assert message([ToolCallEnded("0", "{}")]).calls == []
