"""Row 53: logs of older and of newer formats."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import CliRunner

from bench.generate import FILES, Wanted, generate
from capture.cli import cli
from capture.files import ENDS, FLOWS, LINES, whole_lines
from capture.jsonl import VERSION
from capture.reader import LogReader
from tests.faults.harness import STOP, Origin, Proxy, ask, chunked, event
from tests.test_truth import SESSIONS, SMALL

QUESTIONS = {
    "prompts": ["prompts", "-n", "100000", "--json"],
    "turns": ["turns", "-n", "100000", "--json"],
    "pairs": ["pairs", "-n", "100000", "--json"],
    "idle": ["idle", "-n", "100000", "--json"],
    "stats": ["stats", "--by", "model", "--json"],
    "check": ["check", "--json"],
}
NEW: dict[str, Any] = {"zz_new": {"deep": [1, None, "x"]}, "round": 7}  # fields that nobody knows yet


def newer(record: dict[str, Any]) -> dict[str, Any]:
    """The record as a later version may write it: unknown fields where they may stand, also in its parts; a higher `v`."""
    fields: dict[str, Any] = {}
    for name, value in record.items():
        if name == "metadata":
            fields |= NEW  # between `line` and `metadata`
            value = json.dumps(json.loads(value) | {"zz_more": [1]})
        elif name == "client":
            value = value | {"zz_shell": "fish"}
        elif name == "v":
            value = VERSION + 1
        fields[name] = value
    return fields if "metadata" in record else NEW | fields if "request_headers" not in record else fields | NEW


def rewritten(log: Path, out: Path, change: Callable[[dict[str, Any]], dict[str, Any]], names: tuple[str, ...]) -> Path:
    for name in names:
        records = [orjson.loads(line) for line in whole_lines(log / name)]
        (out / name).write_bytes(b"".join(orjson.dumps(change(record)) + b"\n" for record in records))
    return out


@pytest.fixture(scope="module", params=tuple(FILES))
def log(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    out = tmp_path_factory.mktemp(request.param)
    generate(Wanted(out, request.param, sessions=SESSIONS[request.param], scale=SMALL))
    return request.param, out


def answer(log: Path, words: list[str]) -> str:
    where = ["--dir", str(log)] if (log / FLOWS).exists() else ["--file", str(log / LINES)]
    done = CliRunner().invoke(cli, [*words, *where], prog_name="capture")
    assert done.exit_code in (0, 1), done.output
    return done.stdout


@pytest.mark.row(53)
def test_logs_of_later_versions_and_of_the_older_dialects_are_answered_as_todays(
    log: tuple[str, Path], tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """That the two older dialects are read right is told by tests/test_truth_commands.py."""
    dialect, whole = log
    other = rewritten(whole, tmp_path, newer, FILES[dialect])
    for name, words in QUESTIONS.items():
        assert answer(other, words) == answer(whole, words), name
    record_property("formats", f"{dialect}, {dialect} of a later version")


@pytest.mark.row(53)
def test_fields_that_nobody_knows_are_kept_by_readers(log: tuple[str, Path], tmp_path: Path) -> None:
    dialect, whole = log
    other = rewritten(whole, tmp_path, newer, FILES[dialect])
    reader = LogReader(other)
    for name, read in ((LINES, reader.lines), (FLOWS, reader.flows), (ENDS, reader.ends)):
        if name in FILES[dialect]:
            assert list(read()) == [newer(orjson.loads(line)) for line in whole_lines(whole / name)]


@pytest.mark.row(53)
def test_a_proxy_of_today_goes_on_with_a_log_of_another_version(
    tmp_path: Path, confdir: Path, origin: Origin, log: tuple[str, Path]
) -> None:
    """Nothing that stands there is touched."""
    dialect, whole = log
    directory = tmp_path / "log"
    directory.mkdir(mode=0o700)
    rewritten(whole, directory, newer, FILES[dialect])
    before = {name: (directory / name).read_bytes() for name in FILES[dialect]}
    proxy = Proxy(tmp_path, confdir)
    url = origin.serve(chunked([event(0), STOP]))
    prompt = b'{"messages":[{"role":"user","content":"written by a later proxy"}]}'
    assert ask(proxy, url, prompt).ended == "clean"
    assert proxy.log.ended(url).end["outcome"] == "complete"
    proxy.end()
    assert proxy.log.errors() == []
    assert all((directory / name).read_bytes().startswith(content) for name, content in before.items())
    assert "written by a later proxy" in answer(directory, ["prompts", "-n", "3", "--json"])
