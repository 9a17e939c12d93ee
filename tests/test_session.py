"""Which session a request belongs to: five rules, the first answer wins. Places and shapes of ids are those of WIRE.md."""

import json
from typing import Any

import pytest

from capture import session
from capture.session import Asked, Conversations, Session, identify

UUID, OTHER, THIRD = (
    "11111111-2222-4333-8444-555555555555",
    "66666666-7777-4888-9999-000000000000",
    "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee",
)
CLAUDE_USER = json.dumps({"device_id": "d" * 64, "account_uuid": OTHER, "session_id": UUID})
CLAUDE_USER_OLD = f"user_{'0' * 64}_account_{OTHER}_session_{UUID}"


def asked(
    headers: dict[str, str] | None = None,
    body: dict[str, Any] | None = None,
    history: tuple[str, ...] = (),
    length: int = 10,
    url: str = "https://h.example/v1/messages",
    ip: str = "127.0.0.1",
) -> Asked:
    return Asked(headers or {}, body, length, url, ip, history)


def answer(headers: dict[str, str] | None = None, body: dict[str, Any] | None = None) -> Session:
    return identify(asked(headers, body), Conversations())


# -- where clients put their ids ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "body", "expected"),
    [
        pytest.param({"conversation-id": UUID}, None, (UUID, "header:conversation-id"), id="conversation_id"),
        pytest.param({"session-id": UUID}, None, (UUID, "header:session-id"), id="session_id"),
        pytest.param({"x-claude-code-session-id": UUID}, {}, (UUID, "header:x-claude-code-session-id"), id="claude"),
        pytest.param(
            {"session-id": UUID, "thread-id": OTHER}, {"prompt_cache_key": OTHER}, (UUID, "header:session-id"), id="codex"
        ),
        pytest.param({"thread-id": UUID}, None, (UUID, "header:thread-id"), id="codex, thread only"),
        pytest.param({"x-session-id": UUID, "x-session-affinity": OTHER}, {}, (UUID, "header:x-session-id"), id="opencode"),
        pytest.param({"x-session-affinity": UUID}, {}, (UUID, "header:x-session-affinity"), id="opencode, affinity only"),
        pytest.param({}, {"metadata": {"sessionId": UUID}}, (UUID, "body:metadata.sessionId"), id="metadata"),
        pytest.param(
            {}, {"client_metadata": {"session_id": UUID}}, (UUID, "body:client_metadata.session_id"), id="codex, WebSocket"
        ),
        pytest.param({}, {"request": {"session_id": UUID}}, (UUID, "body:request.session_id"), id="gemini, login"),
        pytest.param({}, {"prompt_cache_key": UUID}, (UUID, "body:prompt_cache_key"), id="kimi-cli, pi"),
        pytest.param({}, {"prompt_cache_key": f"session_{UUID}"}, (UUID, "body:prompt_cache_key"), id="kimi-code"),
        pytest.param({}, {"prompt_cache_key": f"qwen-code:{UUID}"}, (UUID, "body:prompt_cache_key"), id="qwen"),
        pytest.param(
            {},
            {"prompt_cache_key": f"qwen-code:{UUID}:general-purpose-call_1"},
            (UUID, "body:prompt_cache_key"),
            id="qwen, sub-agent",
        ),
        pytest.param({}, {"user_id": CLAUDE_USER_OLD}, (UUID, "body:user_id"), id="user_id"),
        pytest.param({}, {"metadata": {"user_id": CLAUDE_USER_OLD}}, (UUID, "body:metadata.user_id"), id="claude, older"),
        pytest.param({}, {"metadata": {"user_id": CLAUDE_USER}}, (UUID, "body:metadata.user_id"), id="claude, JSON"),
    ],
)
def test_an_id_is_found_where_its_client_puts_it(
    headers: dict[str, str], body: dict[str, Any] | None, expected: tuple[str, str]
) -> None:
    assert answer(headers, body) == Session(*expected)


FIVE: list[tuple[str, dict[str, str], dict[str, Any]]] = [  # source, what makes the rule answer; in the order of the rules
    ("header:conversation-id", {"conversation-id": "1"}, {}),
    ("body:metadata.sessionId", {}, {"metadata": {"sessionId": "2"}}),
    ("body:prompt_cache_key", {}, {"prompt_cache_key": "3"}),
    ("body:user_id", {}, {"user_id": CLAUDE_USER}),
    ("fallback", {}, {}),
]


@pytest.mark.parametrize("first", range(len(FIVE)))
def test_the_first_rule_that_answers_wins(first: int) -> None:
    headers: dict[str, str] = {}
    body: dict[str, Any] = {}
    for _, more_headers, more_body in FIVE[first:]:
        headers |= more_headers
        body |= more_body
    assert answer(headers, body).source == FIVE[first][0]


def test_headers_are_asked_in_their_order() -> None:
    for position, name in enumerate(session.HEADERS):
        assert answer(dict.fromkeys(session.HEADERS[position:], UUID)).source == f"header:{name}"


ODD = ["", "  ", "x" * 201, "a\nb", "a\0b", "caf\udce9"]


@pytest.mark.parametrize("odd", ODD)
def test_an_id_that_is_empty_too_long_or_no_text_is_passed_over(odd: str) -> None:
    assert answer({"conversation-id": odd, "session-id": UUID}) == Session(UUID, "header:session-id")
    assert answer({"session-id": odd}, {"prompt_cache_key": UUID}) == Session(UUID, "body:prompt_cache_key")
    if odd.strip():
        assert answer({}, {"metadata": {"sessionId": odd}, "prompt_cache_key": odd, "user_id": CLAUDE_USER}).sid == UUID


@pytest.mark.parametrize("key", ["session_", "qwen-code:", "qwen-code:session_"])
def test_a_prefix_alone_is_no_id(key: str) -> None:
    assert answer({}, {"prompt_cache_key": key}).source == "fallback"


@pytest.mark.parametrize(
    "odd", [None, 7, 1.5, True, [], {}, [UUID], {"a": 1}, "", "user_1", "{", "{}", "[1]", '{"session_id":7}', "_session_x"]
)
def test_odd_values_are_no_ids_and_raise_nothing(odd: Any) -> None:
    body = {"metadata": odd, "client_metadata": odd, "request": odd, "prompt_cache_key": None, "user_id": odd}
    assert answer({}, body).source == "fallback"
    assert answer({}, {"metadata": {"sessionId": None, "user_id": odd}, "user_id": odd}).source == "fallback"
    if not isinstance(odd, str):
        assert answer({}, {"metadata": {"sessionId": odd}, "prompt_cache_key": odd}).source == "fallback"


# -- the fallback ------------------------------------------------------------------------------------------------------------


def test_the_fallback_is_a_hash_of_address_url_and_length() -> None:
    sid = identify(asked(), Conversations()).sid
    assert len(sid) == 16 and int(sid, 16) >= 0
    assert sid == identify(asked(), Conversations()).sid
    assert len({identify(one, Conversations()).sid for one in (asked(), asked(length=11), asked(ip="::1"), asked(url="/"))}) == 4


def test_a_request_whose_messages_go_on_belongs_to_the_conversation_they_go_on() -> None:
    known = Conversations()
    first = identify(asked(history=("system", "hello"), length=1), known)
    assert first.source == "fallback"
    second = identify(asked(history=("system", "hello", "hi", "more"), length=2), known)
    assert second == Session(first.sid, "history")
    third = identify(asked(history=("system", "hello", "hi", "more", "yes", "and"), length=3), known)
    assert third == Session(first.sid, "history")
    assert identify(asked(history=("system", "hello"), length=1), known) == Session(first.sid, "history")  # said again: a retry


def test_strangers_who_say_the_same_are_in_sessions_of_their_own() -> None:
    known = Conversations()
    here = identify(asked(history=("system", "hello"), length=1), known)
    there = identify(asked(history=("system", "hello"), length=1, ip="10.0.0.7"), known)
    other = identify(asked({"user-agent": "QwenCode/0.24.4"}, history=("system", "hello", "hi"), length=2), known)
    assert [one.source for one in (here, there, other)] == ["fallback"] * 3
    assert len({here.sid, there.sid, other.sid}) == 3
    more = ("system", "hello", "hi", "more")
    assert identify(asked(history=more, length=3), known) == Session(here.sid, "history")
    assert identify(asked(history=more, length=3, ip="10.0.0.7"), known) == Session(there.sid, "history")
    newer = {"user-agent": "QwenCode/0.25.0 (linux)"}  # a client that was updated is the same client
    assert identify(asked(newer, history=more, length=3), known) == Session(other.sid, "history")


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        (["request.system", "request.tools", "request.user"], ("0", "2")),
        (["request.user", "request.assistant", "request.user"], ("0", "1", "2")),
        (["request.system", "request.tools"], ()),
        (["request.system", "request.developer"], ()),
        (["request.developer", "request.user"], ("0", "1")),
        (["request.tools"], ()),
        ([], ()),
    ],
)
def test_instructions_alone_are_no_history(events: list[str], expected: tuple[str, ...]) -> None:
    assert session.history((event, str(number)) for number, event in enumerate(events)) == expected


def test_other_messages_are_another_conversation_also_when_the_system_prompt_is_the_same() -> None:
    known = Conversations()
    first = identify(asked(history=("system", "hello"), length=1), known)
    other = identify(asked(history=("system", "good morning"), length=2), known)
    assert other.source == "fallback" and other.sid != first.sid
    assert identify(asked(history=("system", "good morning", "x"), length=3), known).sid == other.sid
    assert identify(asked(history=("hello", "system"), length=4), known).source == "fallback"


def test_two_conversations_that_began_alike_go_their_own_ways() -> None:
    known = Conversations()
    one = identify(asked(history=("s", "a"), length=1), known)
    identify(asked(history=("s", "a", "b", "c"), length=2), known)
    assert identify(asked(history=("s", "a", "b", "c", "d"), length=3), known).sid == one.sid


def test_a_request_without_messages_continues_nothing() -> None:
    known = Conversations()
    identify(asked(history=(), length=1), known)
    assert identify(asked(history=(), length=2), known).source == "fallback"


def test_a_request_that_names_its_session_is_not_remembered_by_its_messages() -> None:
    known = Conversations()
    identify(asked({"session-id": UUID}, history=("a",)), known)
    assert identify(asked(history=("a", "b")), known).source == "fallback"


def test_the_conversation_that_was_quiet_longest_is_forgotten_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "MAX_CONVERSATIONS", 2)
    known = Conversations()
    for name in ("a", "b", "a", "c"):
        identify(asked(history=(name,), length=ord(name)), known)
    assert [identify(asked(history=(name, "x")), known).source for name in ("a", "c")] == ["history", "history"]
    assert identify(asked(history=("b", "x")), known).source == "fallback"


# -- who called --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("user_agent", "expected"),
    [
        ("claude-cli/2.1.329 (external, cli)", ("claude-code", "2.1.329")),
        ("codex_cli_rs/0.169.0 (Debian 12; x86_64) dumb", ("codex", "0.169.0")),
        ("codex_exec/0.169.0 (Debian 12)", ("codex", "0.169.0")),
        ("GeminiCLI/v0.61.0/gemini-3-pro (linux; x64)", ("gemini-cli", "0.61.0")),
        ("QwenCode/0.24.4 (linux; x64)", ("qwen-code", "0.24.4")),
        ("KimiCLI/1.51", ("kimi-cli", "1.51")),
        ("opencode/1.18.33", ("opencode", "1.18.33")),
        ("Mozilla/5.0 (X11)", ("mozilla", "5.0")),
        ("no product", (None, None)),
        ("", (None, None)),
        ("/1.0", (None, None)),
        ("x" * 70 + "/1.0", (None, None)),
    ],
)
def test_a_client_is_named_as_people_call_it(user_agent: str, expected: tuple[str | None, str | None]) -> None:
    assert session.client_name(user_agent) == expected


@pytest.mark.parametrize(
    ("headers", "body", "expected"),
    [
        pytest.param({"x-claude-code-session-id": UUID}, None, (None, None, None), id="claude, main"),
        pytest.param(
            {"x-claude-code-session-id": UUID, "x-claude-code-agent-id": "a1", "x-claude-code-agent-type": "Explore"},
            None,
            ("a1", "Explore", UUID),
            id="claude",
        ),
        pytest.param(
            {"x-claude-code-session-id": UUID, "x-claude-code-agent-id": "a2", "x-claude-code-parent-agent-id": "a1"},
            None,
            ("a2", None, "a1"),
            id="claude, of a sub-agent",
        ),
        pytest.param({"session-id": UUID, "thread-id": UUID}, None, (None, None, None), id="codex, main"),
        pytest.param(
            {"session-id": UUID, "thread-id": OTHER, "x-openai-subagent": "review", "x-codex-parent-thread-id": THIRD},
            None,
            (OTHER, "review", THIRD),
            id="codex",
        ),
        pytest.param(
            {"session-id": UUID, "thread-id": OTHER, "x-openai-subagent": "review"},
            None,
            (OTHER, "review", UUID),
            id="codex, no parent",
        ),
        pytest.param(
            {"session-id": UUID, "thread-id": OTHER, "x-codex-turn-metadata": json.dumps({"parent_thread_id": THIRD})},
            None,
            (OTHER, None, THIRD),
            id="codex, turn metadata",
        ),
        pytest.param({"x-session-id": OTHER, "x-parent-session-id": UUID}, None, (OTHER, None, UUID), id="opencode"),
        pytest.param(
            {}, {"prompt_cache_key": f"qwen-code:{UUID}:general-purpose-call_1"}, ("general-purpose-call_1", None, UUID), id="qwen"
        ),
        pytest.param({}, {"prompt_cache_key": f"qwen-code:{UUID}"}, (None, None, None), id="qwen, main"),
        pytest.param({"x-codex-turn-metadata": "{broken"}, {"prompt_cache_key": 7}, (None, None, None), id="odd"),
    ],
)
def test_a_sub_agent_keeps_its_id_its_type_and_its_parent(
    headers: dict[str, str], body: dict[str, Any] | None, expected: tuple[str | None, ...]
) -> None:
    who = session.client(asked(headers, body), None, None)
    assert (who.agent_id, who.agent_type, who.parent_id) == expected


def test_a_client_is_known_by_its_process_and_its_user_agent_also_when_they_are_no_unicode() -> None:
    who = session.client(asked({"user-agent": "claude-cli/2.1 (caf\udce9)"}), 7, "/home/caf\udce9")
    assert (who.name, who.version, who.pid) == ("claude-code", "2.1", 7)
    for text in (who.user_agent, who.cwd):
        assert text and text.encode() and "\N{REPLACEMENT CHARACTER}" in text
