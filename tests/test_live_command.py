"""`capture live` as it runs: a real process in a real pseudo-terminal, on a log that grows."""

import fcntl
import json
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from capture.cli import cli
from capture.files import ENDS, FLOWS, LINES
from capture.jsonl import dumps
from tests.emulator import Emulator
from tests.talk import Wire, call, result, says, user
from tests.test_following import append, name_of

PATIENCE = 20.0  # seconds that a test waits for what must come
LIVE = (sys.executable, "-m", "capture", "live")


class Watched:
    """The command in a terminal of 80 columns."""

    def __init__(self, *words: str) -> None:
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        environ = {name: value for name, value in os.environ.items() if name != "NO_COLOR"} | {"TERM": "xterm-256color"}
        self.process = subprocess.Popen(
            (*LIVE, *words), stdin=theirs, stdout=theirs, stderr=theirs, env=environ, start_new_session=True
        )
        os.close(theirs)
        self.raw = b""

    def see(self, wanted: Callable[[str], bool]) -> str:
        """The screen as soon as it is as wanted."""
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            if wanted(screen := self.screen):
                return screen
            if select.select([self._ours], [], [], 0.2)[0]:
                try:
                    self.raw += os.read(self._ours, 1 << 16)
                except OSError:
                    break
        assert wanted(self.screen), self.screen
        return self.screen

    @property
    def emulator(self) -> Emulator:
        return Emulator(80).feed(self.raw.decode("utf-8", "replace").replace("\r\n", "\n"))

    @property
    def screen(self) -> str:
        return "\n".join(self.emulator.lines())

    def end(self, how: int = signal.SIGINT) -> int:
        self.process.send_signal(how)
        while True:
            try:
                data = os.read(self._ours, 1 << 16)
            except OSError:
                break
            if not data:
                break
            self.raw += data
        return self.process.wait(PATIENCE)


@pytest.fixture
def watched() -> Iterator[Callable[..., Watched]]:
    started: list[Watched] = []

    def start(*words: str) -> Watched:
        started.append(Watched(*words))
        return started[-1]

    yield start
    for each in started:
        if each.process.poll() is None:
            each.process.kill()
            each.process.wait()


def conversation() -> Wire:
    wire, first = Wire(), [user("list the files")]
    wire.exchange(first, says("I look.", call("toolu_1", command="ls -l")))
    wire.exchange([*first, says("I look.", call("toolu_1", command="ls -l")), user(result("toolu_1", "a.txt"))], says("One file."))
    return wire


def write(directory: Path, records: list[dict[str, Any]]) -> None:
    for name in (FLOWS, LINES, ENDS):
        append(directory / name, b"".join(dumps(record) for record in records if name_of(record) == name))


def test_a_log_that_is_not_there_yet_is_waited_for_and_followed(tmp_path: Path, watched: Callable[..., Watched]) -> None:
    directory = tmp_path / "log"
    view = watched(str(directory))
    view.see(lambda screen: "is not there yet" in screen.replace("\n", ""))
    directory.mkdir()
    records = conversation().records
    half = len(records) // 2
    write(directory, records[:half])
    view.see(lambda screen: "> list the files" in screen)
    os.rename(directory / LINES, directory / "old.jsonl")  # rotated in the middle of a conversation
    write(directory, records[half:])
    screen = view.see(lambda screen: "One file." in screen and "idle after" in screen)
    places = [screen.index(each) for each in ("list the files", "I look.", "$ ls -l", "a.txt", "One file.", "idle after")]
    assert places == sorted(places)
    assert view.end() == 130
    assert view.emulator.colour == ""
    assert not view.emulator.disturbed


def test_ctrl_c_in_the_middle_of_a_call_leaves_a_clean_terminal(tmp_path: Path, watched: Callable[..., Watched]) -> None:
    wire = Wire()
    wire.exchange([user("go")], says("I look.", call("toolu_1", "unknown_tool", question="how long " * 3)), cut=True)
    records = wire.records
    last = max(index for index, record in enumerate(records) if "input_json_delta" in str(record.get("line")))
    write(tmp_path, records[:last])
    view = watched(str(tmp_path), "--from", "start")
    view.see(lambda screen: 'unknown_tool {"question"' in screen)
    assert view.end() == 130
    assert view.emulator.cursor[1] == 0
    assert view.emulator.colour == ""
    assert '"question": "how' in view.screen  # as far as it came


def test_being_ended_leaves_a_clean_terminal_too(tmp_path: Path, watched: Callable[..., Watched]) -> None:
    write(tmp_path, conversation().records[:12])
    view = watched(str(tmp_path), "--from", "start")
    view.see(lambda screen: "> list the files" in screen)
    assert view.end(signal.SIGTERM) == 143
    assert view.emulator.colour == ""
    assert view.emulator.cursor[1] == 0


def test_a_pipe_of_lines_is_enough(tmp_path: Path) -> None:
    data = b"".join(dumps(record) for record in conversation().records if name_of(record) == LINES)
    done = subprocess.run((*LIVE, "-"), input=data, capture_output=True, timeout=60)
    assert done.returncode == 0
    text = done.stdout.decode()
    assert "\x1b" not in text
    assert "> list the files" in text and "$ ls -l" in text and "One file." in text


def test_a_reader_that_has_seen_enough_is_no_failure(tmp_path: Path) -> None:
    wire, messages = Wire(), []
    for number in range(40):
        messages += [user("x" * 4000)]
        wire.exchange(messages[-1:], says(f"{number}" * 4000))
    write(tmp_path, wire.records)  # more than a pipe holds
    command = f"{sys.executable} -m capture live {tmp_path} --from start --no-follow | head -1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, timeout=60, text=True)
    assert done.stdout.splitlines()[-1] == "0"
    assert done.stderr == ""


def played(tmp_path: Path, *words: str) -> str:
    write(tmp_path, conversation().records)
    outcome = CliRunner().invoke(cli, ["live", str(tmp_path), "--from", "start", "--no-follow", *words])
    assert outcome.exit_code == 0, outcome.output
    return outcome.stdout


def test_only_what_is_wanted_is_shown(tmp_path: Path) -> None:
    text = played(tmp_path, "--function-only")
    assert "$ ls -l" in text
    assert "list the files" not in text and "One file." not in text and "idle" not in text


def test_only_the_session_that_is_wanted_is_shown(tmp_path: Path) -> None:
    other = Wire(sid="99999999-2222-4333-8444-555555555555")
    other.exchange([user("something else")], says("Else."))
    for record in other.records:
        record["flow_id"] = "other-" + record["flow_id"]
    write(tmp_path, other.records)
    text = played(tmp_path, "--session", "1111")
    assert "One file." in text and "Else." not in text


def test_decisions_are_written_as_json(tmp_path: Path) -> None:
    played(tmp_path, "--log-decisions", str(tmp_path / "why.jsonl"))
    rows = [json.loads(line) for line in (tmp_path / "why.jsonl").read_text().splitlines()]
    assert rows and all(row["why"] and row["to"] for row in rows)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--only", "txt"), "did you mean text"),
        (("--only", ","), "names nothing"),
        (("--only", "text", "--function-only"), "either"),
        (("--from", "soonish"), "--from"),
        (("--args-sub-deltas", "3"), "args-sub-deltas"),
        (("--session", "latest", "nowhere.jsonl"), "there is no"),
        (("gopher://x",), "is no channel"),
        (("nowhere",), "there is no log in nowhere"),
        (("nowhere.jsonl.gz",), "there is no file nowhere.jsonl.gz"),
        (("--log-decisions", "/nonexistent/x", "-"), "choose another file"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    done = subprocess.run((*LIVE, "--no-follow", *words), capture_output=True, timeout=60, text=True, cwd=tmp_path)
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
