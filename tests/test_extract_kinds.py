"""One update → the rows of one kind: cases that no sample and no conversation has."""

from collections.abc import Iterable
from typing import Any

import pytest

from capture.events import ToolResult, UsageReported
from capture.extract import KINDS, Row, extract
from capture.messages import Message, ToolCall
from capture.requests import Request
from capture.updates import Answered, Asked, Call, CallClosed, Exchange, FlowEnded, Part, PartTold, Update

BY_NAME = {kind.name: kind for kind in KINDS}
T = "2026-11-21T08:00:00.000"
FLOW = {"t": T, "sid": "s", "flow_id": "f", "provider": "anthropic", "api": "messages"}
REMINDER = "<system-reminder>Be brief.</system-reminder>"
PLACE = "<environment_context><cwd>/srv/shop</cwd> Current date: 2026-11-21</environment_context>"


def rows(name: str, *updates: Update) -> list[Row]:
    return [row for _, row in extract(updates, [BY_NAME[name]])]


def values(found: Iterable[Row], field: str) -> list[object]:
    return [row[field] for row in found]


def made(arguments: str, result: ToolResult | None = None, complete: bool = True) -> CallClosed:
    """A call of a shell."""
    call = ToolCall("c1", "Bash", pieces=[arguments])
    return CallClosed(
        Call("c1", "Bash", "s", "f", T, call, completed_t=T if complete else None, result=result, result_t=T if result else None)
    )


def exchange(body: dict[str, Any] | None = None, answer: Message | None = None) -> Exchange:
    return Exchange(
        "f", "s", 0, "gemini", "generate_content", T, Request(body or {}), {}, answer=answer or Message("assistant"), ended_t=T
    )


def told(event: str, value: Any) -> PartTold:
    return PartTold(Part("p1", event, T, "s", "f", value), FLOW)


def test_a_command_has_the_exit_code_that_the_client_says() -> None:
    update = made('{"command":"ls"}', ToolResult("c1", "none", exit_code=3))
    assert values(rows("shell_commands", update), "exit_code") == [3]
    assert values(rows("tool_results", update), "exit_code") == [3]
    assert values(rows("shell_commands", made('{"command":"ls"}')), "exit_code") == [None]


@pytest.mark.parametrize(
    ("arguments", "complete", "problem"),
    [('{"command":', True, "no_json"), ('{"command":', False, "cut"), ("", False, "cut")],
)
def test_arguments_that_are_no_json_are_told_from_those_that_were_cut(arguments: str, complete: bool, problem: str) -> None:
    found = rows("function_call_errors", made(arguments, ToolResult("c1", "done"), complete))
    assert values(found, "problem") == [problem]
    assert values(found, "text") == [arguments]


def test_the_free_text_of_a_custom_tool_is_no_error() -> None:
    assert rows("function_call_errors", made("ls -la", ToolResult("c1", "done"))) == []


def test_a_sum_over_the_session_is_no_usage_of_an_answer() -> None:
    one, running = UsageReported(fresh=5, output=7), UsageReported(fresh=50, output=70, running=True)
    updates = [Answered(exchange(answer=Message("assistant", usage=usage))) for usage in (one, running, None)]
    assert values(rows("token_usage", *updates), "total") == [12]
    assert values(rows("costs", *updates), "output") == [7]
    assert values(rows("latency", *updates), "output") == [7, None, None]


@pytest.mark.parametrize(
    ("body", "budget"),
    [
        ({"generationConfig": {"thinkingConfig": {"thinkingBudget": 512}}}, 512),
        ({"request": {"generationConfig": {"thinkingConfig": {"thinkingBudget": 512}}}}, 512),
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, 1024),
        ({"thinking_budget": 2048}, 2048),
        ({"thinking": {"type": "adaptive"}}, None),
    ],
)
def test_a_thinking_budget_is_found_wherever_it_stands(body: dict[str, Any], budget: int | None) -> None:
    assert values(rows("config", Asked(exchange(body))), "thinking_budget") == [budget]


@pytest.mark.parametrize(
    ("status", "failed"), [(None, True), (101, False), (200, False), (399, False), (400, True), (429, True), (500, True)]
)
def test_an_error_is_a_status_from_400_on_or_no_answer(status: int | None, failed: bool) -> None:
    found = rows("http_errors", FlowEnded({"t": T, "flow_id": "f", "sid": "s", "outcome": "error"}, FLOW | {"status": status}))
    assert values(found, "status") == ([status] if failed else [])


def test_limits_that_an_answer_tells_are_told() -> None:
    limits = {"primary": {"used_percent": 3.5}}
    found = rows("rate_limits", Answered(exchange(answer=Message("assistant", limits=[limits]))))
    assert [(row["source"], row["limits"]) for row in found] == [("event", limits)]


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ([{"type": "namespace", "name": "mail", "tools": [{"type": "function", "name": "send"}]}], [("send", "mail")]),
        ([{"functionDeclarations": [{"name": "send"}, {"name": "read"}]}], [("send", None), ("read", None)]),
        ([{"type": "function", "function": {"name": "send"}}], [("send", None)]),
        ({"tools": [{"name": "send"}]}, [("send", None)]),
        ([{"type": "web_search"}], [("web_search", None)]),
        ([{"googleSearch": {}}], [("googleSearch", None)]),
    ],
)
def test_tools_are_found_in_every_form(value: Any, found: list[tuple[str, str | None]]) -> None:
    assert [(row["name"], row["namespace"]) for row in rows("tools_defined", told("request.tools", value))] == found


@pytest.mark.parametrize("kind", ["reminders_policies", "paths_repo_hints", "model_identity_cutoff"])
def test_what_the_model_had_said_is_not_what_it_was_told(kind: str) -> None:
    content = [{"type": "text", "text": text} for text in (REMINDER, PLACE)]
    assert rows(kind, told("request.user", {"role": "user", "content": content}))
    assert rows(kind, told("request.assistant", {"role": "assistant", "content": content})) == []


@pytest.mark.parametrize("kind", ["paths_repo_hints", "model_identity_cutoff"])
def test_what_a_tool_says_is_no_hint(kind: str) -> None:
    part = Part("p1", "request.user", T, "s", "f", {"role": "user", "content": []}, results=(ToolResult("c1", PLACE),))
    assert rows(kind, PartTold(part, FLOW)) == []
