"""Real Claude Code and Codex with a proxy that asks for a password, and with one that is killed while they work."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from capture.reader import LogReader
from tests.test_real_clients import LAB, NAMESPACE, lab
from tests.test_real_clients import pytestmark as pytestmark

__all__ = ["lab"]

SCRIPT = """
import json, os, signal, subprocess, sys, threading, time
from pathlib import Path
from capture import proxy
from capture.own import Own
from capture.presence import living
from capture.reader import LogReader
from capture.watching import watching

lab, directory, client, how, credentials = Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:]
words = ("-s", str(lab / "redirect.py"), "--set", "ssl_insecure=true", *proxy.asking(how == "password"))
own, said = Own(directory, lab / "mitmconf", words), []
found = own.start(9110)
url = found.url_with_password() if credentials else found.url

def kill():
    while not list(LogReader(directory).flows()):
        time.sleep(0.01)
    os.kill(living(directory)[-1]["pid"], signal.SIGKILL)

if how == "killed":
    threading.Thread(target=kill, daemon=True).start()
command = [sys.executable, lab / "runner.py", client, "--external-proxy", "--no-netns", "--port", "9110", "--tag", "access"]
with watching(found, own, directory, said.append) as watch:
    done = subprocess.run(
        [*command, "--timeout", "60" if credentials else "10", "--env", f"HTTPS_PROXY={url}", "--env", f"HTTP_PROXY={url}"],
        capture_output=True, text=True,
    )
own.end()
print(json.dumps({"answered": "answer=YES" in done.stdout, "said": said, "down": watch.down, "url": url}))
"""


def play(base: Path, client: str, how: str, credentials: bool = True) -> dict[str, Any]:
    words = [*NAMESPACE, "env", f"XDG_STATE_HOME={base}/state", sys.executable, "-c", SCRIPT, str(LAB), f"{base}/log", client, how]
    done = subprocess.run([*words, "yes" if credentials else ""], capture_output=True, text=True, timeout=150)
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def outcomes(base: Path) -> list[str]:
    return [end["outcome"] for end in LogReader(base / "log").ends()]


@pytest.mark.row(47)
@pytest.mark.parametrize("client", ["claude", "codex", "codex_chatgpt"])
def test_a_client_with_the_password_is_served_and_recorded(lab: None, tmp_path: Path, client: str) -> None:
    result = play(tmp_path, client, "password")
    assert result["answered"] and set(outcomes(tmp_path)) == {"complete"}
    password = result["url"].partition("capture:")[2].partition("@")[0]
    assert password and not any(password.encode() in path.read_bytes() for path in (tmp_path / "log").rglob("*") if path.is_file())


@pytest.mark.row(47)
def test_a_client_without_the_password_is_not_served_and_this_is_said(lab: None, tmp_path: Path) -> None:
    assert not play(tmp_path, "claude", "password", credentials=False)["answered"]
    assert outcomes(tmp_path) == []
    # by its directory, where its process is still to be found when it is told
    assert re.search(r"(work-claude|a client) was refused \(407\)", (tmp_path / "log" / "sse_logger.error").read_text())


@pytest.mark.row(52)
@pytest.mark.parametrize("client", ["claude", "codex", "codex_chatgpt"])
def test_a_client_finishes_its_turn_when_its_proxy_is_killed_and_started_again(
    lab: None,
    tmp_path: Path,
    client: str,
) -> None:
    result = play(tmp_path, client, "killed")
    fell, rose = result["said"]
    assert "started again" in fell and "runs again" in rose
    assert result["answered"] and "complete" in outcomes(tmp_path)
