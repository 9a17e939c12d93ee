"""Real Claude Code and Codex, through the real proxy, against a scripted upstream.

They run where the client lab is: CLIENT_LAB names a folder that `shared/clients/setup.sh` has filled. Needs root: the lab lives
in a network namespace of its own, with nothing but a loopback interface.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest

from capture import catalogue, proxy, scan, turns
from capture.presence import living
from capture.reader import LogReader
from capture.updates import StrayResult, TurnClosed

LAB = Path(os.environ.get("CLIENT_LAB") or "/nonexistent")
NAMESPACE = ["ip", "netns", "exec", "agentlab"]
CLIENTS = {"claude": "claude-code", "claude_oauth": "claude-code", "codex": "codex", "codex_chatgpt": "codex"}
MARKER = "PROMPT-MARKER-7731"
AGENTS = ("claude", "codex")  # each once more, with a sub-agent
SPAWN = "SPAWN-SUBAGENT and say what it said"

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not (LAB / "runner.py").exists(), reason="CLIENT_LAB names no client lab"),
    pytest.mark.skipif(os.geteuid() != 0, reason="the client lab needs root"),
]


@dataclass(frozen=True)
class Run:
    """What one client did, and what the log has of it."""

    name: str
    report: str  # the lab's own words
    output: list[dict[str, Any]]  # what the client printed, JSON lines
    secrets: set[str]
    directory: Path
    flows: list[dict[str, Any]]
    lines: list[dict[str, Any]]
    ends: dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def lab() -> Iterator[None]:
    """The mock upstream and the trap for what passes the proxy by."""
    subprocess.run([LAB / "down.sh"], check=True)
    subprocess.run([LAB / "up.sh"], check=True, stdout=subprocess.DEVNULL)
    yield
    subprocess.run([LAB / "down.sh"], check=True)


@pytest.fixture(scope="module")
def runs(lab: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """Each client once, all through one proxy."""
    base = tmp_path_factory.mktemp("real")
    directory = base / "log"
    options = ("--set", "ssl_insecure=true")
    words = proxy.arguments(directory, 9110, None, LAB / "mitmconf", options)
    command = [
        sys.executable,
        "-c",
        "from mitmproxy.tools.main import mitmdump; mitmdump()",
        "-s",
        str(LAB / "redirect.py"),
        *words,
    ]
    with open(base / "proxy.out", "wb") as output:
        environment = proxy.proxy_environment() | {"XDG_STATE_HOME": str(base / "state")}
        process = subprocess.Popen([*NAMESPACE, *command], stdout=output, stderr=output, env=environment)
    try:
        deadline = time.monotonic() + 30
        while not living(directory):
            assert process.poll() is None and time.monotonic() < deadline, (base / "proxy.out").read_text()
            time.sleep(0.05)
        reports = {name: play(name) for name in CLIENTS}
        for name in AGENTS:
            play(name, "--tag", "agents", "--prompt", SPAWN)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(15)
    assert "Traceback" not in (base / "proxy.out").read_text()
    return {name: read(name, reports[name], directory) for name in CLIENTS}


def play(name: str, *options: str) -> str:
    words = [sys.executable, str(LAB / "runner.py"), name, "--external-proxy", "--port", "9110", *(options or ("--tag", "test"))]
    return subprocess.run(words, capture_output=True, text=True, timeout=150).stdout


def read(name: str, report: str, directory: Path) -> Run:
    artefacts = LAB / "artefacts" / name / "test"
    reader = LogReader(directory)
    work = str(LAB / f"work-{name}")
    said = (artefacts / "client.out").read_text()
    flows = [flow for flow in reader.flows() if flow["client"]["cwd"] == work and flow["sid"] in said]
    ids = {flow["flow_id"] for flow in flows}
    return Run(
        name=name,
        report=report,
        output=[orjson.loads(line) for line in (artefacts / "client.out").read_bytes().splitlines() if line.startswith(b"{")],
        secrets=secrets_of(name, artefacts),
        directory=directory,
        flows=flows,
        lines=[line for line in reader.lines() if line["flow_id"] in ids],
        ends={end["flow_id"]: end for end in reader.ends()},
    )


def secrets_of(name: str, artefacts: Path) -> set[str]:
    """Every fake secret the client was given: in its environment and in its login."""
    environment = json.loads((artefacts / "cmd.json").read_bytes())["env"]
    found = {value for key, value in environment.items() if re.search("KEY|TOKEN", key)}
    login = LAB / f"home-{name}" / ".codex" / "auth.json"
    if login.exists():
        tokens = json.loads(login.read_bytes()).get("tokens") or {}
        found |= {value for key, value in tokens.items() if key.endswith("_token")}
    return {secret for secret in found if secret}


@pytest.fixture(params=CLIENTS)
def run(request: pytest.FixtureRequest, runs: dict[str, Run]) -> Run:
    return runs[str(request.param)]


def test_the_client_gets_its_answer(run: Run) -> None:
    assert "answer=YES" in run.report


def test_every_call_to_the_model_is_on_record_and_complete(run: Run) -> None:
    assert run.flows
    assert {run.ends[flow["flow_id"]]["outcome"] for flow in run.flows} == {"complete"}
    for flow in run.flows:
        counts = [line["data_count"] for line in run.lines if line["flow_id"] == flow["flow_id"]]
        assert counts == list(range(run.ends[flow["flow_id"]]["lines"]))


def test_flows_carry_the_session_the_client_says_it_has(run: Run) -> None:
    said = [line.get("session_id") or line.get("thread_id") for line in run.output]
    assert {flow["sid"] for flow in run.flows} == {next(filter(None, said))}
    assert {line["sid"] for line in run.lines} == {next(filter(None, said))}


def test_flows_name_the_client_and_its_process(run: Run) -> None:
    assert {flow["client"]["name"] for flow in run.flows} == {CLIENTS[run.name]}
    assert all(flow["client"]["pid"] for flow in run.flows)


def test_the_prompt_and_the_tool_result_are_there_once(run: Run) -> None:
    prompts = [line for line in run.lines if line["event"] == "request.user" and MARKER in line["line"]]
    assert len(prompts) == 1
    results = [
        line
        for line in run.lines
        if line["event"] in ("request.user", "request.custom_tool_call_output", "request.function_call_output")
        and ("tool_result" in line["line"] or "call_output" in line["line"])
    ]
    assert len(results) == 1
    assert "hello" in results[0]["line"]


def test_no_secret_is_anywhere_in_the_log(run: Run) -> None:
    assert run.secrets
    files = [path for path in run.directory.rglob("*") if path.is_file()]
    leaks = [(path.name, secret[:12]) for path in files for secret in run.secrets if secret.encode() in path.read_bytes()]
    assert leaks == []


def test_the_log_has_the_very_events_the_client_heard(run: Run) -> None:
    """Claude Code prints each event it receives; what it prints is what is on record, in order."""
    heard = [line["event"] for line in run.output if line.get("type") == "stream_event"]
    if not heard:
        pytest.skip(f"{run.name} does not print the events it hears")
    recorded = [orjson.loads(line["line"].removeprefix("data: ")) for line in run.lines if not line["event"].startswith("request.")]
    assert [event for event in recorded if event["type"] != "ping"] == [event for event in heard if event["type"] != "ping"]


def test_each_request_is_rebuilt_as_it_was_sent(run: Run) -> None:
    reader = LogReader(run.directory)
    for flow in run.flows:
        bodies = list(catalogue.bodies(reader, flow))
        assert bodies
        for body, digest in bodies:
            assert orjson.loads(body)
            assert digest is None or digest == flow["request_sha256"]


def test_the_log_tells_one_turn_with_its_call_and_its_answer(run: Run) -> None:
    updates = list(turns.run(scan.read(scan.Source(run.directory, None), sids=frozenset(flow["sid"] for flow in run.flows))))
    (turn,) = [update.turn for update in updates if isinstance(update, TurnClosed)]
    assert MARKER in turn.text
    assert "MOCK-FINAL-ANSWER" in turn.answer
    assert (turn.outcome, len(turn.calls), turn.client["cwd"]) == ("idle", 1, str(LAB / f"work-{run.name}"))
    (call,) = turn.calls
    assert (call.results, "hello" in (call.result.text if call.result else "")) == (1, True)
    assert turn.usage.output
    assert [update for update in updates if isinstance(update, StrayResult)] == []


def test_the_live_view_draws_what_was_said_and_done_in_order(run: Run) -> None:
    words = [sys.executable, "-m", "capture", "live", str(run.directory), "--from", "start", "--no-follow"]
    for sid in {flow["sid"] for flow in run.flows}:
        words += ["--session", sid]
    drawn = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    places = [drawn.index(each) for each in (f"> {MARKER}", "echo hello", "└ ok", "hello\n", "MOCK-FINAL-ANSWER", "── idle after")]
    assert sorted(places[:3]) == places[:3] and sorted(places[4:]) == places[4:] and places[2] < places[4]
    assert "cut:" not in drawn and drawn.count("MOCK-FINAL-ANSWER") == 1


@pytest.mark.parametrize("name", AGENTS)
def test_a_sub_agent_works_for_the_turn_of_its_user(name: str, runs: dict[str, Run]) -> None:
    updates = list(turns.run(scan.read(scan.Source(runs[name].directory, None))))
    mine = [update.turn for update in updates if isinstance(update, TurnClosed) and SPAWN in update.turn.text]
    (turn,) = [turn for turn in mine if turn.client["name"] == CLIENTS[name]]
    assert len(turn.agents) == 1
    assert (turn.outcome, turn.number) == ("idle", 1)


def test_nothing_passed_the_proxy_by(run: Run) -> None:
    assert "trap: nothing" in run.report
