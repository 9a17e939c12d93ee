"""What a user types, and what it prints: on a log made of the sample flows."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from capture import catalogue, samples
from capture.cli import cli
from capture.reader import LogReader
from capture.store import LogWriter
from tests import golden

type Capture = Callable[..., Result]


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log directory with every sample flow in it."""
    directory = tmp_path_factory.mktemp("log")
    writer = LogWriter(directory, {})
    for name in samples.names():
        for record in golden.play(name):
            writer.write(record)
    writer.close()
    return directory


@pytest.fixture
def capture(log: Path, monkeypatch: pytest.MonkeyPatch) -> Capture:
    """Runs `capture WORDS…` on that log."""
    monkeypatch.setenv("SSE_LOG_DIR", str(log))
    return lambda *words: CliRunner().invoke(cli, list(words), prog_name="capture")


def flow_id(name: str) -> str:
    return str(json.loads(golden.load(name)[-1])["fields"]["flow_id"])


def test_sessions_lists_every_session_with_client_model_and_directory(capture: Capture) -> None:
    rows = [json.loads(line) for line in capture("sessions", "--json").stdout.splitlines()]
    assert {row["sid"] for row in rows} == {json.loads(golden.load(name)[-1])["fields"]["sid"] for name in samples.names()}
    assert sum(row["flows"] for row in rows) == len(samples.names())
    assert all(row["client"] and row["models"] and row["cwd"] == "/home/user/project" for row in rows)


def test_sessions_on_a_pipe_keeps_each_session_on_one_line(capture: Capture) -> None:
    header, *rows = capture("sessions").stdout.splitlines()
    assert header.split() == ["session", "client", "model", "directory", "flows", "last"]
    assert len(rows) == len(capture("sessions", "--json").stdout.splitlines())


def test_sessions_n_shows_the_last_ones(capture: Capture) -> None:
    everything = capture("sessions", "--json").stdout.splitlines()
    assert capture("sessions", "--json", "-n", "2").stdout.splitlines() == everything[-2:]


@pytest.mark.parametrize("name", samples.names())
def test_show_tells_all_that_was_said(capture: Capture, log: Path, name: str) -> None:
    expected = json.loads((samples.DIRECTORY / name / "expected.json").read_bytes())
    reader = LogReader(log)
    ((_, said),) = catalogue.conversation(reader, catalogue.find(reader, flow_id(name)))
    messages = list(said)
    answers = [message for message in messages if message.stopped or message.failed or message is messages[-1]]
    assert "".join(message.text for message in answers) == expected["text"]
    assert "".join(message.reasoning for message in answers) == expected["reasoning"]
    shown = squeezed(capture("show", flow_id(name), "--full").stdout)
    for message in messages:
        assert squeezed(message.text) in shown
        assert all(squeezed(call.arguments) in shown for call in message.calls)


def squeezed(text: str) -> str:
    """Without white space: lines are indented where they are shown."""
    return "".join(text.split())


@pytest.mark.parametrize("name", [name for name in samples.names() if not samples.load(name).websocket])
def test_show_request_gives_the_body_that_was_sent(capture: Capture, name: str) -> None:
    result = capture("show", "--request", flow_id(name))
    assert result.exit_code == 0
    assert result.stdout.encode() == samples.load(name).request_body


def test_show_request_gives_each_request_of_a_socket(capture: Capture) -> None:
    sample = samples.load("openai_responses/websocket")
    sent = [said.data.decode() for said in sample.said if said.from_client]
    assert capture("show", "--request", flow_id(sample.name)).stdout.splitlines() == sent


def test_show_raw_gives_the_frames_as_received(capture: Capture) -> None:
    name = "anthropic/text"
    assert capture("show", "--raw", flow_id(name)).stdout.encode() == samples.load(name).response


def test_show_takes_the_beginning_of_a_session_and_the_end_of_a_flow(capture: Capture) -> None:
    assert capture("show", flow_id("anthropic/text")[-8:]).exit_code == 0
    assert capture("show").stdout == capture("show", "latest").stdout


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["show", "nothing-like-it"], "no session and no flow goes by nothing-like-it"),
        (["show", "0"], "sessions begin with 0"),
        (["show", "--request", "0000"], "sessions begin with 0000"),
    ],
)
def test_a_name_that_means_nothing_is_answered_in_one_line(capture: Capture, words: list[str], says: str) -> None:
    result = capture(*words)
    assert result.exit_code == 2
    assert says in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_an_empty_log_says_what_to_do(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["sessions", "--dir", str(tmp_path)])
    assert result.exit_code == 0
    assert f"capture run --dir {tmp_path} -- claude" in result.stderr


def test_env_without_a_proxy_says_what_to_do(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["env", "--dir", str(tmp_path)])
    assert "capture up" in str(result.exception)


def test_doctor_says_what_to_do_in_each_line_that_is_not_fine(
    capture: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "localhost")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    result = capture("doctor", "--json", "--confdir", str(tmp_path / "none"))
    findings = [json.loads(line) for line in result.stdout.splitlines()]
    assert {finding["state"] for finding in findings} <= {"ok", "warn", "fail"}
    assert all(finding["do"] for finding in findings if finding["state"] != "ok")
    assert any("NO_PROXY" in finding["what"] for finding in findings)
    assert any("server_closed" in finding["what"] for finding in findings)


def test_doctor_fails_when_others_can_read_the_key_of_the_ca(capture: Capture, tmp_path: Path) -> None:
    from tests.certificates import write_ca

    confdir = tmp_path / "conf"
    confdir.mkdir(mode=0o755)
    write_ca(confdir)
    result = capture("doctor", "--confdir", str(confdir))
    assert result.exit_code == 1
    assert "chmod 700" in result.stdout
