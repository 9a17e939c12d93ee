"""The board: which sessions there are, how each is doing, in how many columns it is said."""

from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from capture.events import UsageReported
from capture.live import board as rules
from capture.live.board import Board, Session, State
from capture.live.listing import COLUMNS, Table, age, last_words, matches, model_name, number, price, short
from capture.turns import Pairing
from capture.updates import Answered
from tests.talk import Wire, call, result, says, user
from tests.test_turns import conversation

HOME = "/home/user"


def cent(provider: str, model: str | None, usage: UsageReported, t: str) -> float | None:
    """Everything costs a cent, but what a model without a price says."""
    return None if model == "own-model" else 0.01


def board_of(records: Iterable[dict[str, Any]], board: Board | None = None) -> Board:
    board, pairing = board or Board(cent), Pairing(events=True)
    for record in records:
        for update in pairing.feed(record):
            board.feed(update)
    return board


def only(board: Board) -> Session:
    (session,) = board.sessions("")
    return session


def later(session: Session, seconds: int) -> str:
    """A time of the log so long after a session was last heard of."""
    from datetime import datetime, timedelta

    return (datetime.fromisoformat(session.last_t) + timedelta(seconds=seconds)).isoformat(timespec="milliseconds")


# -- what is known of a session ----------------------------------------------------------------------------------------------


def test_a_row_adds_up_what_all_answers_of_a_session_took() -> None:
    session = only(board_of(conversation().records))
    assert (session.client, session.version, session.cwd, session.model) == (
        "claude-code",
        "2.1.329",
        "/home/user/shop",
        "claude-opus-5-5",
    )
    assert (session.input, session.output, session.unpriced, session.turns) == (345, 60, 0, 2)
    assert session.cost == pytest.approx(0.03)
    assert session.context == 135


def test_an_answer_without_a_price_is_counted_and_not_guessed() -> None:
    wire = Wire()
    wire.exchange([user("Hello")], says("Hi."), model="own-model")
    session = only(board_of(wire.records))
    assert (session.cost, session.unpriced, price(session)) == (0.0, 1, "?")


def test_a_session_is_working_then_waits_for_its_tools_then_is_idle() -> None:
    board, pairing = Board(cent), Pairing(events=True)
    states: list[State] = []
    for record in conversation().records:
        for update in pairing.feed(record):
            board.feed(update)
            if isinstance(update, Answered) and not update.exchange.calls:
                continue  # idle as soon as that is said
            states += [each.state(each.last_t) for each in board.sessions("") if states[-1:] != [each.state(each.last_t)]]
    once = [state for state in states if state is not State.QUIET]
    assert once == [State.WORKING, State.WAITING, State.WORKING, State.IDLE, State.WORKING, State.IDLE]


def test_who_should_be_working_and_says_nothing_is_quiet() -> None:
    wire = Wire()
    wire.exchange([user("Hello")], says("Hi."))
    said = [record for record in wire.records if "outcome" not in record][:-4]
    session = only(board_of(said))
    assert session.state(session.last_t) is State.WORKING
    assert session.state(later(session, rules.SILENT + 1)) is State.QUIET


def test_a_tool_may_take_its_time() -> None:
    wire = Wire()
    wire.exchange([user("Run")], says(call("t1", command="make")))
    session = only(board_of(wire.records))
    assert session.state(later(session, 10 * rules.SILENT)) is State.WAITING
    assert session.state(later(session, rules.ABANDONED + 1)) is State.QUIET


@pytest.mark.parametrize("wrong", [{"cut": True}, {"status": 429}], ids=["a cut stream", "an error"])
def test_a_session_whose_last_answer_was_none_has_failed_until_it_asks_again(wrong: dict[str, Any]) -> None:
    wire = Wire()
    wire.exchange([user("Hello")], says("Hi.") if "cut" in wrong else None, **wrong)
    failed = only(board_of(wire.records))
    assert (failed.state(failed.last_t), failed.voice) == (State.FAILED, "bad")
    before = len(wire.records)
    wire.exchange([user("Hello")], says("Hi."))
    states = [only(board_of(wire.records[:length])).state("") for length in range(before, len(wire.records) + 1)]
    assert list(dict.fromkeys(states)) == [State.FAILED, State.WORKING, State.IDLE]


def test_a_call_that_has_its_result_is_not_waited_for() -> None:
    wire, said = Wire(), [user("Run both")]
    wire.exchange(said, answer := says(call("t1", command="ls"), call("t2", command="make")))
    assert [call.call_id for call in only(board_of(wire.records)).calls] == ["t1", "t2"]
    before = len(wire.records)
    wire.exchange([*said, answer, user(result("t1"), result("t2"))], says("Done."))
    asked = next(index for index, record in enumerate(wire.records) if record.get("event") == "message_start" and index > before)
    assert only(board_of(wire.records[: asked + 1])).calls == []


def test_the_last_words_are_the_last_thing_that_was_said_or_done() -> None:
    wire, said = Wire(), [user("Run the tests")]
    wire.exchange(said, answer := says("I will.", call("t1", command="pytest -x")))
    session = only(board_of(wire.records))
    assert (session.voice, session.words) == ("tool", "Bash pytest -x")
    wire.exchange([*said, answer, user(result("t1"))], says("All\npass.\n"))
    session = only(board_of(wire.records))
    assert (session.voice, session.words) == ("assistant", "All\npass.\n")
    assert last_words(session, 20) == "pass."


def test_last_words_take_no_more_room_however_much_is_said() -> None:
    wire = Wire()
    wire.exchange([user("x" * 9_000)], says("y" * 9_000))
    board = Board(cent)
    pairing = Pairing(events=True)
    for record in wire.records:
        for update in pairing.feed(record):
            board.feed(update)
            assert all(len(session.words) <= rules.WORDS for session in board.sessions(""))


@pytest.mark.parametrize("headers", [{"x-claude-code-request-class": "auxiliary"}, {}], ids=["auxiliary", "title"])
def test_a_call_in_the_background_costs_but_says_nothing_about_the_agent(headers: dict[str, str]) -> None:
    wire = Wire()
    wire.exchange([user("Hello")], says("Hi."))
    wire.exchange([user("Name this")], says("A title"), headers=headers, model="claude-haiku-4-5", tools=())
    session = only(board_of(wire.records))
    assert (session.words, session.model, session.state(session.last_t)) == ("Hi.", "claude-opus-5-5", State.IDLE)
    assert session.cost == pytest.approx(0.02)


# -- sub-agents --------------------------------------------------------------------------------------------------------------


def test_a_sub_agent_in_a_session_of_its_own_is_part_of_its_parents_row() -> None:
    wire, said = Wire(), [user("Ask somebody")]
    wire.exchange(said, answer := says(call("task", "Task", prompt="Look")))
    opencode = {"user-agent": "opencode/1.18.33", "x-session-id": "child", "x-parent-session-id": wire.sid}
    wire.exchange([user("Look")], says("Seen."), headers=opencode | {"x-claude-code-session-id": ""}, sid="child")
    board = board_of(wire.records)
    session = only(board)
    assert (session.sid, board.home("child"), session.words) == (wire.sid, wire.sid, "Seen.")
    assert session.state(session.last_t) is State.WAITING
    wire.exchange([*said, answer, user(result("task"))], says("Done."))
    assert only(board_of(wire.records)).cost == pytest.approx(0.03)


def test_sub_agents_that_are_answering_are_counted_in_the_row() -> None:
    wire = Wire()
    wire.exchange([user("Ask")], says(call("task", "Task", prompt="Look at it")))
    wire.exchange([user("Look at it")], says("Seen."), headers={"x-claude-code-agent-id": "a1"}, model="claude-haiku-4-5")
    session = only(board_of(wire.records[:-4]))
    assert (session.agents, session.model) == (1, "claude-opus-5-5")
    table = Table([session], 120, HOME)
    assert "claude-code+1" in "".join(text for text, _ in table.row(session, session.last_t))
    assert only(board_of(wire.records)).agents == 0


# -- many sessions -----------------------------------------------------------------------------------------------------------


def many(count: int) -> Board:
    board, clock = Board(cent), Wire().clock
    for index in range(count):
        wire = Wire(f"session-{index:04d}", clock=clock)
        wire.exchange([user(f"Question {index}")], says("Answer."))
        clock = wire.clock + 60
        board_of(wire.records, board)
    return board


def test_the_session_last_heard_of_comes_first() -> None:
    board = many(5)
    assert [session.sid[-1] for session in board.sessions("9999-01-01T00:00:00.000")] == ["4", "3", "2", "1", "0"]


def test_sessions_that_speak_at_the_same_time_keep_their_places() -> None:
    first, second = Wire("a"), Wire("b")
    for wire in (first, second):
        wire.exchange([user("Hello")], says("Hi."))
    board = board_of([*first.records, *second.records])
    orders = []
    for wire in (first, second, first):
        wire.records.clear()
        wire.exchange([user("Go on")], says("Yes."))
        board_of(wire.records, board)
        orders.append([session.sid for session in board.sessions(max(each.last_t for each in board.sessions("")))])
    assert orders == [["b", "a"]] * 3


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "MAX_SESSIONS", 10)
    board = many(30)
    assert sorted(session.sid for session in board.sessions("")) == [f"session-{index:04d}" for index in range(20, 30)]


# -- rows --------------------------------------------------------------------------------------------------------------------

texts = st.text(st.one_of(st.characters(), st.sampled_from("漢字👩‍👩‍👧é\x1b\x9b\u202e\0\r\n\t")), max_size=60)
sessions = st.builds(
    Session,
    sid=texts,
    number=st.integers(1, 99),
    client=st.none() | texts,
    cwd=st.none() | texts,
    model=st.none() | texts,
    input=st.integers(0, 10**9),
    output=st.integers(0, 10**9),
    cost=st.floats(0, 9_999),
    unpriced=st.integers(0, 2),
    context=st.none() | st.integers(0, 10**7),
    words=texts,
    voice=st.sampled_from(("user", "assistant", "tool", "")),
    last_t=st.just("2026-11-21T08:00:00.000"),
)


@given(st.lists(sessions, max_size=4), st.integers(24, 220))
def test_no_row_is_wider_than_its_window_or_holds_what_commands_a_terminal(rows: list[Session], width: int) -> None:
    table = Table(rows, width, HOME)
    for line in (table.head, *(table.row(session, "2026-11-21T08:01:00.000") for session in rows)):
        text = "".join(text for text, _ in line)
        assert cell_len(text) <= width
        assert not any(ord(char) < 32 or 0x7F <= ord(char) < 0xA0 or char in "\u202e\u2028" for char in text)


@pytest.mark.parametrize(
    ("width", "titles"),
    [
        (40, ["client", "age", "last words"]),
        (60, ["client", "directory", "cost", "age", "last words"]),
        (80, ["client", "model", "directory", "in", "out", "cost", "age", "last words"]),
        (120, ["state", *(column.title for column in COLUMNS), "age", "last words"]),
    ],
)
def test_a_narrow_window_keeps_the_columns_that_matter(width: int, titles: list[str]) -> None:
    session = only(board_of(conversation().records))
    session.cwd = "/home/user/src/services/payments"
    assert [(title, title in Table([session], width, HOME).head[0][0]) for title in titles] == [(title, True) for title in titles]
    assert len(Table([session], width, HOME).head[0][0].replace("last words", "x").split()) == len(titles)


def test_a_filter_wants_all_its_words_anywhere() -> None:
    session = only(board_of(conversation().records))
    assert matches(session, "CLAUDE shop", HOME)
    assert matches(session, "welcome", HOME)
    assert matches(session, "~/shop", HOME)
    assert matches(session, "", HOME)
    assert not matches(session, "claude garden", HOME)


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0"),
        (999, "999"),
        (1_000, "1.0k"),
        (18_340, "18.3k"),
        (99_960, "100k"),
        (999_499, "999k"),
        (999_500, "1.0M"),
        (12_345_678, "12.3M"),
    ],
)
def test_numbers_take_five_columns(count: int, text: str) -> None:
    assert number(count) == text
    assert len(text) <= 5


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "now"), (1.9, "now"), (2, "2s"), (59, "59s"), (60, "1m"), (3599, "59m"), (3600, "1h"), (90_000, "1d")]
)
def test_ages_take_four_columns(seconds: float, text: str) -> None:
    assert age(seconds) == text


def test_names_are_shortened_to_what_tells_them_apart() -> None:
    assert model_name("claude-opus-4-5-20250929") == "opus-4-5"
    assert model_name("anthropic/claude-sonnet-4.5") == "sonnet-4.5"
    assert model_name("gpt-5.1-codex") == "gpt-5.1-codex"
    assert model_name(None) == "?"
    assert short("/home/user/shop", HOME) == "~/shop"
    assert short("/home/username", HOME) == "/home/username"
