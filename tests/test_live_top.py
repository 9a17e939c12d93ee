"""`capture top`: what its screen shows, what its keys do, how it reads and draws."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from textual.pilot import Pilot

from capture.cli import cli
from capture.files import Unusable
from capture.live.panes import Lines, SessionList, Talk
from capture.live.top import WORK, Top
from capture.scan import Item
from tests.golden_live import INTERLEAVED, log
from tests.golden_top import VIEWS, Source, application, path, plain, run, screen, shot
from tests.talk import Wire, says, user

SIZE = (100, 30)
HOSTILE = "\x1b]0;owned\x07\x1b[2J\x1b[99;99H \x9b31m \u202egnp.exe \0 \r over \x08\x08 \ud83d 漢字 👩‍👩‍👧\u2028"


def talk(sid: str, *said: tuple[str, str]) -> list[dict[str, Any]]:
    """The records of a session: prompts, each with its answer."""
    wire, messages = Wire(sid), []
    for prompt, text in said:
        messages.append(user(prompt))
        wire.exchange(list(messages), answer := says(text))
        messages.append(answer)
    return wire.records


def of(*said: tuple[str, str]) -> list[dict[str, Any]]:
    """The records of so many sessions, each with one prompt and its answer."""
    return [record for index, each in enumerate(said) for record in talk(f"session-{index}", each)]


def long(lines: int, *later: tuple[str, str]) -> list[dict[str, Any]]:
    """One session with an answer of so many lines, and what was said later."""
    return talk("long", ("Count", "\n".join(f"number {index}" for index in range(lines))), *later)


def body(text: str) -> list[str]:
    """The lines of the conversation on a screen whose list has two."""
    return [line.strip(" ▐") for line in plain(text).splitlines()[5:-1]]


# -- what is seen ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("view", VIEWS)
def test_the_screen_is_the_golden(view: str) -> None:
    assert shot(view) == path(view).read_text("utf-8")


@pytest.mark.parametrize("size", [(20, 5), (1, 1), (40, 8), (60, 200), (400, 20)])
def test_any_window_will_do(size: tuple[int, int]) -> None:
    run(
        application(Source([log(INTERLEAVED)])),
        size,
        "j",
        "tab",
        "pageup",
        "enter",
        "question_mark",
        "escape",
        "slash",
        "a",
        "enter",
    )


def test_hostile_text_is_shown_and_moves_nothing() -> None:
    text = run(application(Source([of((HOSTILE, HOSTILE))])), SIZE)
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e\u2028\ud800-\udfff]", text)
    assert "␛]0;owned␇" in text
    assert "<U+202E>" in text


def test_what_the_log_says_about_a_client_commands_no_terminal_either() -> None:
    records = of(("Hello", "Hi."))
    for record in records:
        if "client" in record:
            record["client"] |= {"name": "evil\x1b[2J\n", "version": "\x9b1m", "cwd": "/tmp/\x1b]0;x\x07"}
    text = run(application(Source([records])), SIZE)
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", text)


def test_before_anything_is_said_the_screen_says_that_it_waits() -> None:
    assert "nothing yet" in plain(run(application(Source()), SIZE))


def test_a_source_that_ends_is_shown_to_its_end() -> None:
    text = plain(run(application(Source([of(("Hello", "Good day."))], ends=True)), SIZE))
    assert "the end" in text
    assert "Good day." in text


# -- keys --------------------------------------------------------------------------------------------------------------------


def chosen(text: str) -> str:
    """The last words in the line of the selected session."""
    (line,) = (line for line in plain(text).splitlines() if line.startswith("▌"))
    return line.split()[-1]


three = (("1", "One."), ("2", "Two."), ("3", "Three."))


@pytest.mark.parametrize(
    ("keys", "words"),
    [("", "Three."), ("j", "Two."), ("jj", "One."), ("jjj", "One."), ("jjk", "Two."), ("k", "Three.")],
)
def test_j_and_k_move_between_sessions(keys: str, words: str) -> None:
    text = run(application(Source([of(*three)])), SIZE, *keys)
    assert chosen(text) == words
    assert plain(text).count(words) == 2  # in the list and in the conversation


def test_arrows_move_between_sessions_too() -> None:
    assert chosen(run(application(Source([of(*three)])), SIZE, "down", "down", "up")) == "Two."


def test_the_selected_session_stays_selected_when_another_one_comes_first() -> None:
    app = application(Source([of(*three[:2])]))
    text = run(app, SIZE, "j", lambda pilot: more(app, talk("another", three[2])))
    assert chosen(text) == "One."


def more(app: Top, records: list[dict[str, Any]]) -> None:
    """Something comes, and is looked at with the next frame."""
    source = app._source
    assert isinstance(source, Source)
    source.batches.append(records)


def test_a_click_selects_a_session() -> None:
    async def click(pilot: Pilot[str]) -> None:
        await pilot.click(SessionList, offset=(10, 3))

    assert chosen(run(application(Source([of(*three)])), SIZE, click)) == "One."


def test_tab_changes_the_pane_and_there_j_and_k_move_a_line() -> None:
    app = application(Source([of(*three), long(50)]))
    text = plain(run(app, SIZE, "tab", "k", "k", "j", "k"))
    assert "2 more" in text
    assert chosen(text) == "49"


def test_the_conversation_follows_its_end_until_somebody_scrolls_up() -> None:
    first = long(50)
    second = long(50, ("Go on", "Later."))[len(first) :]
    app = application(Source([first]))
    assert "Later." in plain(run(app, SIZE, lambda pilot: more(app, second)))
    app = application(Source([first]))
    text = plain(run(app, SIZE, "pageup", lambda pilot: more(app, second)))
    assert "Later." not in "".join(body(text))
    app = application(Source([first]))
    assert "Later." in "".join(body(run(app, SIZE, "pageup", lambda pilot: more(app, second), "G")))


def test_the_wheel_scrolls_the_conversation() -> None:
    def wheel(pilot: Pilot[str]) -> None:
        from textual.events import MouseScrollUp

        pilot.app.query_one(Talk).post_message(MouseScrollUp(None, 5, 5, 0, -1, 0, False, False, False))

    assert "3 more" in plain(run(application(Source([long(50)])), SIZE, wheel))


def test_a_search_finds_what_was_said_and_n_goes_on() -> None:
    app = application(Source([long(50)]))
    seen: list[str] = []

    def look(pilot: Pilot[str]) -> None:
        seen.append(screen(app))

    run(app, SIZE, "g", "slash", "8", look, "enter", "n", look, "N", "N", look, "escape", look)
    assert [re.search(r"[0-9]+/[0-9]+ 8", plain(text)) is not None for text in seen] == [True, True, True, False]
    assert ["1/5 8" in seen[0], "2/5 8" in seen[1], "5/5 8" in seen[2]] == [True] * 3
    assert "‹assistant›number ‹›‹found›8‹›" in seen[0]
    assert "‹assistant›number 4‹›‹found›8‹›" in seen[2]
    assert "found" not in seen[3]


@pytest.mark.parametrize(("words", "left"), [("tw", ["Two."]), ("c T", ["Three.", "Two."]), ("zz", [])])
def test_a_filter_lists_only_sessions_that_hold_its_words(words: str, left: list[str]) -> None:
    app = application(Source([of(*three)]))
    seen: list[list[str]] = []

    def look(pilot: Pilot[str]) -> None:
        seen.append([session.words for session in app.desk.shown])

    run(app, SIZE, "f", *words, look, "enter", look, "escape", look)
    assert seen == [left, left, ["Three.", "Two.", "One."]]


def test_enter_shows_the_conversation_alone_and_enter_again_the_list() -> None:
    assert "▌" not in run(application(Source([of(*three)])), SIZE, "enter")
    assert "▌" in run(application(Source([of(*three)])), SIZE, "enter", "enter")
    assert "▌" in run(application(Source([of(*three)])), SIZE, "enter", "escape")


@pytest.mark.parametrize("key", ["q", "ctrl+c", "ctrl+q"])
def test_it_can_be_left(key: str) -> None:
    app = application(Source([of(*three)]))
    left: list[bool] = []
    run(app, SIZE, key, lambda pilot: left.append(not app.is_running or app._exit))
    assert left == [True]


def test_help_goes_away_again() -> None:
    assert "the next, the previous one" in plain(run(application(Source()), SIZE, "question_mark"))
    assert "the next, the previous one" not in plain(run(application(Source()), SIZE, "question_mark", "question_mark"))


# -- frames ------------------------------------------------------------------------------------------------------------------


class Counted(Source):
    """Counts how often it is asked."""

    asked = 0

    def poll(self, wait: float = 0.0) -> list[Item] | None:
        self.asked += 1
        return super().poll(wait)


def test_a_frame_reads_no_longer_than_it_may_and_nothing_is_left_out() -> None:
    ticks = count()
    app = application(Source(), clock=lambda: next(ticks) * 0.001)
    records = of(*((str(index), f"Answer {index}.") for index in range(40)))
    fed: list[int] = []

    def frames(pilot: Pilot[str]) -> None:
        more(app, records)
        while sum(fed) < len(records):
            before = app.desk.watch.events
            app.look()
            fed.append(app.desk.watch.events - before)

    run(app, SIZE, frames)
    assert len(fed) > 10
    assert max(fed) <= WORK * 1_000 + 1
    assert {session.words for session in app.desk.shown} == {f"Answer {index}." for index in range(40)}


def test_a_frame_in_which_nothing_came_draws_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    app = application(Source([of(*three)]))
    drawn: list[Any] = []
    seen: list[int] = []

    def look_again(pilot: Pilot[str]) -> None:
        monkeypatch.setattr(Lines, "refresh", lambda self, *regions, **how: drawn.append(self))
        app.look()
        seen.append(len(drawn))
        app.desk.choose(1)
        app.look()
        seen.append(len(drawn))

    run(app, SIZE, look_again)
    assert seen[0] == 0
    assert seen[1] > 0


def test_a_frame_draws_only_the_lines_that_have_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    app = application(Source([of(*three)]))
    drawn: list[int] = []

    def look_again(pilot: Pilot[str]) -> None:
        monkeypatch.setattr(SessionList, "refresh", lambda self, *regions: drawn.extend(each.y for each in regions))
        app.desk.choose(1)
        app.look()
        assert drawn == [1, 2]

    run(app, SIZE, look_again)


def test_a_source_that_is_gone_ends_it_with_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(wait: float = 0.0) -> list[Item] | None:
        raise Unusable("the server is gone: start it")

    source = Source()
    monkeypatch.setattr(source, "poll", gone)
    app = application(source)
    run(app, SIZE)
    assert (app.return_value, app.return_code) == ("the server is gone: start it", 2)


# -- the command -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", [b"q", b"\x03", signal.SIGTERM], ids=["q", "ctrl-c", "SIGTERM"])
def test_however_it_ends_the_terminal_is_as_it_was(end: bytes | int, tmp_path: Path) -> None:
    code = "from capture.commands.top import top; top(prog_name='capture top')"
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ.update(TERM="xterm-256color", HOME=str(tmp_path))
        os.execv(sys.executable, [sys.executable, "-c", code, str(tmp_path)])
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    before = termios.tcgetattr(terminal)
    shown = _until(terminal, b"quit")
    os.kill(pid, end) if isinstance(end, int) else os.write(terminal, end)
    shown += _until(terminal, None)
    _, status = os.waitpid(pid, 0)
    assert (os.WIFEXITED(status), os.WEXITSTATUS(status)) == (True, 0)
    assert shown.rfind(b"\x1b[?1049l") > shown.rfind(b"\x1b[?1049h") >= 0
    assert shown.rfind(b"\x1b[?25h") > shown.rfind(b"\x1b[?25l")
    assert b"Traceback" not in shown
    assert termios.tcgetattr(terminal)[3] == before[3]
    os.close(terminal)


def _until(terminal: int, wanted: bytes | None) -> bytes:
    """What is written until something was; None: until nothing more can come."""
    shown, until = b"", time.monotonic() + 20
    while (wanted is None or wanted not in shown) and time.monotonic() < until:
        if select.select([terminal], [], [], 0.1)[0]:
            try:
                data = os.read(terminal, 1 << 16)
            except OSError:  # the other end is closed
                break
            if not data:
                break
            shown += data
    return shown


def test_without_a_terminal_the_command_says_what_to_do(tmp_path: Path) -> None:
    answer = CliRunner().invoke(cli, ["top", str(tmp_path)])
    assert answer.exit_code == 2
    assert "capture live" in answer.output
