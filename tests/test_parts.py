"""Request bodies taken apart and put together again, to the byte."""

import hashlib
import json
from typing import Any

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from capture.jsonl import dumps
from capture.parts import MAX_TEMPLATE, Request, join, member, references, split


def rebuilt(request: Request, template: str | None = None) -> str:
    texts = {part.id: part.text for part in request.parts}
    return join(request.template if template is None else template, texts.__getitem__)


def compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def ids(value: Any) -> list[str]:
    return [part.id for part in split(compact(value)).parts]


# -- any text at all ---------------------------------------------------------------------------------------------------------

spaces = st.sampled_from(["", "", "", " ", "\n", "\t", "\r\n  "])
names = st.sampled_from(
    "messages input contents system tools instructions systemInstruction prompt request response model content type text role "
    "cache_control $part cuts id a b".split()
).map(json.dumps) | st.sampled_from(['""', '"\\u006d\\u0065ssages"', '"sys\\ntem"', '"\\ud800"'])
scalars = st.sampled_from(
    [
        *("null", "true", "false", "0", "-0", "0.10", "1e5", "1E+400", "-1.5e-7", "12345678901234567890123456789", "9" * 5000),
        *('""', '"x"', '"user"', '"system"', '"message"', '"function_call"', '"\\ud83d\\ude00"', '"\\ud800"', '"\\/\\"\\\\"'),
        *('"{\\"$part\\":\\"0\\"}"', '"}]"', '"]}"', '"é\u2028"', '{"type":"ephemeral"}', '{"$part":"0123456789abcdef"}'),
        *("NaN", "Infinity", "-Infinity", "01", "tru", '"a\nb"', '"\\x"', ",", "[", "}", ""),
    ]
) | st.text(max_size=8).map(json.dumps)


def _array(items: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    spaced = st.tuples(spaces, items, spaces).map("".join)
    return st.lists(spaced, max_size=4).map(lambda texts: "[" + ",".join(texts) + "]")


def _object(items: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    members = st.tuples(spaces, names, spaces, st.just(":"), spaces, items, spaces).map("".join)
    return st.lists(members, max_size=5).map(lambda texts: "{" + ",".join(texts) + "}")


valid = st.sampled_from(
    ["null", "true", "-0.10", "12345678901234567890", '"x"', '"user"', '"a\\u00e9\\n"', '"\\ud800"', '{"type":"ephemeral"}']
)
bodies = _object(st.recursive(valid, lambda inner: _array(inner) | _object(inner), max_leaves=20))
nearly = _object(st.recursive(scalars, lambda inner: _array(inner) | _object(inner), max_leaves=20))
texts = st.tuples(spaces, bodies | nearly | scalars | st.text(max_size=30), spaces).map("".join)

FRAGMENTS = [
    *(
        '{"messages":[',
        '{"role":"user","content":',
        '[{"type":"text","text":"hello"',
        '"cache_control":{"type":"ephemeral"}',
        '"cache_control":null',
    ),
    *(
        "]",
        "}",
        ",",
        ":",
        '"',
        '"x"',
        '"text"',
        '"x-anthropic-billing-header: cc_version=1; cch=2"',
        '"system":',
        "\\",
        '"content":',
        " ",
        "\n",
    ),
]
fragments = st.lists(st.sampled_from(FRAGMENTS), max_size=14).map("".join)


@settings(max_examples=1000)
@given(texts | fragments)
@example('{"request":{}}')
@example('{"a":{"b":1},"request":{},"messages":[]}')
@example('{"request":{"messages":[1,2]},"messages":[3]}')
@example('{"messages":[{"content":[{"type":"text","text":"a","cache_control":null}]}]}')
@example('{"messages":[{"content":[{"type":"text","text":"a"},{"cache_control":{}}]}]}')
@example('{"messages":[{"content":[{"type":"text","text":"a"')
@example('{"messages":[1],"messages":[2]} trailing')
@example('{"messages":[{"$part":"0123456789abcdef"}]}')
@example('{"messages":[1,],}')
@example('{"messages":[NaN]}')
def test_any_text_that_was_taken_apart_is_put_together_to_the_byte(text: str) -> None:
    request = split(text)
    assert rebuilt(request) == text
    assert request.sha256 == (hashlib.sha256(text.encode()).hexdigest() if text else None)
    assert {part.id for part in request.parts} >= set(references(request.template))


@given(texts | fragments)
def test_every_template_can_be_read_by_orjson_also_inside_a_record(text: str) -> None:
    template = split(text).template
    if not template:
        return
    fields = {"flow_id": "f", "request": template if "\n" in template or "\r" in template else orjson.Fragment(template)}
    line = dumps(fields)
    assert line.count(b"\n") == 1
    record = orjson.loads(line)
    kept = record["request"] if isinstance(record["request"], str) else orjson.dumps(record["request"]).decode()
    assert references(kept) == references(template)


@given(texts | fragments)
def test_the_id_of_a_part_is_the_hash_of_its_text(text: str) -> None:
    for part in split(text).parts:
        assert part.id == hashlib.sha256(part.text.encode()).hexdigest()[:16]


@given(bodies)
@example('{"messages":[{"cache_control":null,"content":"a"}]}')
@example('{"messages":[{"cache_control":{},"b":{"cache_control":{}},"c":1,"cache_control":{}}]}')
@example('{"messages":[{"content":[{"type":"text","text":"a"},7]}]}')
@example('{"messages":[{"content":[{"type":"text","text":"a","cache_control":null,"b":7}]}]}')
def test_the_parts_of_json_are_json(text: str) -> None:
    request = split(text)
    if request.body is not None:
        for part in request.parts:
            json.loads(part.text)


@given(bodies)
def test_a_json_object_has_a_value_and_anything_else_has_none(text: str) -> None:
    request = split(text)
    try:
        expected = orjson.loads(text)
    except orjson.JSONDecodeError:
        return
    if request.body is not None:
        assert set(request.body) <= set(expected)
    for odd in (f"[{text}]", text + "x", text[:-1], f'"{len(text)}"'):
        assert split(odd).body is None
        assert [part.event for part in split(odd).parts] == ["request.body"]


@pytest.mark.parametrize("depth", [10, 900, 1000, *range(1015, 1030), 5000, 200_000])
@pytest.mark.parametrize("frame", ['{{"a":{}}}', '{{"messages":[{}]}}', '{{"request":{{"a":{}}}}}'])
def test_nesting_of_any_depth_is_put_together_and_the_record_can_be_read(frame: str, depth: int) -> None:
    text = frame.format("[" * depth + "]" * depth)
    request = split(text)
    assert rebuilt(request) == text
    orjson.loads(dumps({"request": orjson.Fragment(request.template)}))


def test_eight_times_the_messages_make_a_template_eight_times_as_long() -> None:
    def template(messages: int) -> str:
        return split(compact({"messages": [{"role": "user", "content": f"{n} " + "long " * 50} for n in range(messages)]})).template

    assert len(template(80)) < 9 * len(template(10)) < 9 * 10 * 40


# -- what the parts are ------------------------------------------------------------------------------------------------------

TOOL = {"name": "bash", "input_schema": {"type": "object"}}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param(
            {"model": "m", "messages": [{"role": "user", "content": "hi"}], "system": "be brief", "tools": [TOOL], "stream": True},
            ["request.system", "request.tools", "request.user"],
            id="anthropic",
        ),
        pytest.param(
            {
                "instructions": "be brief",
                "input": [
                    {"type": "message", "role": "developer", "content": "x"},
                    {"type": "message", "role": "user", "content": "x"},
                    {"type": "function_call", "call_id": "c", "name": "bash", "arguments": "{}"},
                    {"type": "function_call_output", "call_id": "c", "output": "x"},
                    {"type": "reasoning", "summary": []},
                    {"role": "assistant", "content": "x"},
                ],
            },
            [
                "request.system",
                "request.developer",
                "request.user",
                "request.function_call",
                "request.function_call_output",
                "request.reasoning",
                "request.assistant",
            ],
            id="responses",
        ),
        pytest.param({"input": "just text"}, ["request.user"], id="responses, text"),
        pytest.param(
            {"messages": [{"role": "system", "content": "x"}, {"role": "tool", "tool_call_id": "c", "content": "x"}]},
            ["request.system", "request.tool"],
            id="chat",
        ),
        pytest.param(
            {
                "contents": [{"role": "user", "parts": []}, {"role": "model", "parts": []}, {"parts": []}],
                "systemInstruction": {"parts": [1]},
            },
            ["request.system", "request.user", "request.model", "request.user"],
            id="gemini",
        ),
        pytest.param(
            {
                "model": "m",
                "request": {"contents": [{"role": "user", "parts": []}], "systemInstruction": {"parts": [1]}, "session_id": "s"},
            },
            ["request.system", "request.user"],
            id="gemini, login",
        ),
        pytest.param(
            {"type": "response.create", "response": {"input": [{"type": "message", "role": "user", "content": "x"}]}},
            ["request.user"],
            id="responses, WebSocket",
        ),
        pytest.param({"prompt": "say", "max_tokens": 1}, ["request.user"], id="completions"),
        pytest.param(
            {"messages": ["text", 7, None, {"role": 7}, {"type": 7, "role": "user"}]}, ["request.user"] * 5, id="odd items"
        ),
        pytest.param({"messages": [], "tools": [], "system": "", "input": "", "instructions": None}, [], id="empty"),
        pytest.param({"messages": {"role": "user"}, "input": 7}, [], id="not lists"),
        pytest.param({"metadata": {"request": {"messages": [1]}, "messages": [1]}}, [], id="elsewhere"),
    ],
)
def test_the_parts_of_a_body_are_its_system_prompt_its_tools_and_its_messages(body: dict[str, Any], expected: list[str]) -> None:
    for text in (compact(body), json.dumps(body), json.dumps(body, indent=2)):
        request = split(text)
        assert [part.event for part in request.parts] == expected
        assert request.body == body
        assert rebuilt(request) == text
        assert len(references(request.template)) == len(expected)


def test_references_stand_in_the_order_of_the_body() -> None:
    messages = [{"role": "user", "content": str(n)} for n in range(5)]
    request = split(compact({"messages": messages, "system": "s"}))
    by_id = {part.id: part.value for part in request.parts}
    assert [by_id[part_id] for part_id in references(request.template)] == [*messages, "s"]


def test_a_member_is_its_text_as_it_stands() -> None:
    text = '{ "a" : [1, 2.50] , "b":{"a":"\\u00e9"}, "c":"x" }'
    assert member(text, "a") == "[1, 2.50]"
    assert member(text, "b") == '{"a":"\\u00e9"}'
    assert member(text, "d") is None


# -- what wanders ------------------------------------------------------------------------------------------------------------

EPHEMERAL = {"cache_control": {"type": "ephemeral"}}


def user(*blocks: dict[str, Any]) -> dict[str, Any]:
    return {"role": "user", "content": list(blocks)}


def block(text: str, **more: Any) -> dict[str, Any]:
    return {"type": "text", "text": text, **more}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param(user(block("a"), block("b")), user(block("a"), block("b", **EPHEMERAL)), id="cache_control last"),
        pytest.param(
            user(block("a"), block("b")),
            user(block("a", cache_control={"type": "ephemeral", "ttl": "1h"}), block("b")),
            id="with ttl",
        ),
        pytest.param(user(block("a")), user(block("a", cache_control=None)), id="null"),
        pytest.param(
            user({"type": "tool_result", "content": "x"}),
            user({"type": "tool_result", "content": "x", **EPHEMERAL}),
            id="tool result",
        ),
        pytest.param({"role": "user", "content": "a"}, user(block("a")), id="one block is its text"),
        pytest.param({"role": "user", "content": "a"}, user(block("a", **EPHEMERAL)), id="one block with cache_control"),
        pytest.param({"role": "user", "content": 'a "q" \\ }]'}, user(block('a "q" \\ }]', **EPHEMERAL)), id="text with quotes"),
        pytest.param({"role": "user", "content": ""}, user(block("")), id="empty text"),
    ],
)
def test_a_message_is_the_same_part_wherever_cache_control_stands(one: dict[str, Any], other: dict[str, Any]) -> None:
    for body in ({"messages": [one]}, {"messages": [other]}):
        assert rebuilt(split(compact(body))) == compact(body)
    assert ids({"messages": [one]}) == ids({"messages": [other]})


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param(user(block("a")), user(block("b")), id="text"),
        pytest.param(user(block("a"), block("")), user(block("a")), id="two blocks"),
        pytest.param({"role": "user", "content": "a"}, {"role": "assistant", "content": "a"}, id="role"),
        pytest.param(user(block("a", citations=[])), user(block("a")), id="a field"),
        pytest.param(
            user(block('say "cache_control":{"type":"x"}')),
            user(block('say "cache_control":{"type":"y"}')),
            id="cache_control in a text",
        ),
    ],
)
def test_messages_that_say_other_things_are_other_parts(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert ids({"messages": [one]}) != ids({"messages": [other]})


def test_the_billing_line_of_claude_does_not_make_the_system_prompt_a_new_part() -> None:
    def body(cch: str, where: str) -> dict[str, Any]:
        billing = block(f"x-anthropic-billing-header: cc_version=2.1.329.{cch}; cc_entrypoint=cli; cch={cch}; cc_prompt_id={cch};")
        prompt = [billing, block("You are Claude Code.", **EPHEMERAL)]
        return {"system": prompt} if where == "system" else {"messages": [{"role": "system", "content": prompt}]}

    for where in ("system", "messages"):
        assert ids(body("1", where)) == ids(body("2", where))
        assert rebuilt(split(compact(body("2", where)))) == compact(body("2", where))


def test_the_next_request_of_a_conversation_has_only_its_new_messages_as_new_parts() -> None:
    first = [{"role": "system", "content": "s"}, user(block("hello", **EPHEMERAL))]
    second = [first[0], user(block("hello")), {"role": "assistant", "content": "hi"}, user(block("more", **EPHEMERAL))]
    known = set(ids({"messages": first, "tools": [TOOL]}))
    assert [part.value for part in split(compact({"messages": second, "tools": [TOOL]})).parts if part.id not in known] == second[
        2:
    ]


def test_a_body_that_is_long_beside_its_parts_is_one_part() -> None:
    """What a template holds stands in the flow record, in one line."""
    text = json.dumps({"model": "m", "image": "x" * MAX_TEMPLATE, "messages": [{"role": "user", "content": "hello"}]})
    request = split(text)
    assert [part.event for part in request.parts] == ["request.body"]
    assert len(request.template) < 100
    assert request.body is not None and request.body["model"] == "m"
    assert rebuilt(request) == text
