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


def test_limits_are_kept() -> None:
    limits = {"primary": {"used_percent": 3}}
    assert say(RESPONSES, {"type": "codex.rate_limits", "rate_limits": limits}) == [RateLimited(limits)]


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


# -- all of them -------------------------------------------------------------------------------------------------------------

MEANS: dict[type[Any], Holds] = {
    TextDelta: Holds.TEXT,
    TextWhole: Holds.TEXT,
    ReasoningDelta: Holds.REASONING,
    ReasoningWhole: Holds.REASONING,
    ToolArgumentsDelta: Holds.ARGUMENTS,
    ToolCallStarted: Holds.CALL,
    ToolResult: Holds.CALL,
    UsageReported: Holds.USAGE,
    MessageStarted: Holds.USAGE | Holds.BOUND,
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


def told_frames() -> Iterator[tuple[Provider, str, str]]:
    for payload in responses("Hello", "{}"):
        yield RESPONSES, payload["type"], json.dumps(payload, separators=(",", ":"))
    for index, said in enumerate(
        (chunk(content="a"), chunk(reasoning="b", content="c"), chunk(role="assistant", tool_calls=[{"id": "x"}]))
    ):
        yield CHAT, "chat.completion.chunk", json.dumps({**said, "created": index}, separators=(",", ":"))


@pytest.mark.parametrize("case", [*samples.names(), "told"])
def test_a_shape_claims_all_that_a_line_holds(case: str) -> None:
    for provider, event, text in told_frames() if case == "told" else frames(case):
        try:
            payload = json.loads(text)
        except ValueError:
            payload = text
        holds = shape_of(provider.shapes, event, text)
        for said in provider.decode(event, payload):
            assert MEANS.get(type(said), Holds.ALL) & holds, f"{event} says {said}, its shape {holds!r}"


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
    assert of("message", {"candidates": [1]}) == of("request.user", {}, "gemini") == "gemini/generate_content"
    assert of("weather") == "unknown/unknown"


def test_an_end_is_not_mistaken_for_a_call() -> None:
    assert say(ANTHROPIC, {"type": "content_block_stop", "index": 0}) == [ToolCallEnded("0")]
    assert message([ToolCallEnded("0", "{}")]).calls == []
