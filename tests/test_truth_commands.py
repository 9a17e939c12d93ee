"""What the commands say of a made-up log is what its story says: the questions, the kinds, the check. Stories: bench/story.py."""

import errno
import gzip
import json
import re
import shutil
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import click
import pytest
import zstandard
from click.testing import CliRunner, Result

from bench.generate import FILES, Wanted, generate
from bench.telling import ENDS, FLOWS, LINES, load
from capture import rotated, rotating
from capture.cli import cli
from tests.test_truth import SESSIONS, SMALL

ENGINES = ("auto", "index", "rg", "duckdb", "python")
EVERYTHING = "100000"
BY = {"session": "sid", "model": "model", "directory": "cwd", "day": "day"}  # what `stats --by` takes, and its name in the truth


@pytest.fixture(scope="module", params=tuple(FILES))
def log(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp(request.param)
    generate(Wanted(out, request.param, sessions=SESSIONS[request.param], nasty=True, scale=SMALL))
    return out


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log in which nothing went wrong."""
    out = tmp_path_factory.mktemp("clean")
    generate(Wanted(out, sessions=8, scale=SMALL))
    return out


def capture(log: Path, *words: str) -> Result:
    where = ("--dir", str(log)) if (log / FLOWS).exists() else ("--file", str(log / LINES))
    return CliRunner().invoke(cli, [*words, *where], prog_name="capture")


def ask(log: Path, *words: str) -> list[dict[str, Any]]:
    result = capture(log, *words, "--json")
    assert result.exit_code == 0, result.output[-500:]
    return [json.loads(line) for line in result.stdout.split("\n") if line]  # texts hold other line ends


def only(rows: Iterable[dict[str, Any]], *names: str) -> list[dict[str, Any]]:
    return [{name: row[name] for name in names} for row in rows]


def ordered(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(rows, key=lambda row: json.dumps(row, sort_keys=True))


# -- questions ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("count", ("5", EVERYTHING))
def test_prompts_lists_the_last_prompts(log: Path, count: str, engine: str) -> None:
    found = ask(log, "prompts", "-n", count, "--engine", engine)
    assert only(load(log, "prompts"), "t", "sid", "text")[-int(count) :] == only(found, "t", "sid", "text")
    assert [row["i"] for row in found] == list(range(1, len(found) + 1))


@pytest.mark.parametrize("count", ("3", EVERYTHING))
def test_idle_lists_when_agents_went_idle(log: Path, count: str) -> None:
    found = ask(log, "idle", "-n", count)
    assert only(load(log, "idle"), "t", "sid")[-int(count) :] == only(found, "t", "sid")


@pytest.mark.parametrize("mode", ("all", "paired"))
def test_turns_lists_what_came_of_each_prompt(log: Path, mode: str) -> None:
    found = ask(log, "turns", "--mode", mode, "-n", EVERYTHING)
    truth = [turn(row) for row in load(log, "turns") if mode == "all" or row["idle_t"]]
    assert ordered(truth) == ordered(only(found, *truth[0]))


def turn(row: dict[str, Any]) -> dict[str, Any]:
    usage = row["usage"]
    return {
        "sid": row["sid"],
        "t": row["t"],
        "idle_t": row["idle_t"],
        "duration_ms": row["duration_ms"] and float(row["duration_ms"]),
        "outcome": row["outcome"],
        "prompt": row["text"],
        "exchanges": row["exchanges"],
        **tokens([usage]),
    }


def tokens(usages: Iterable[dict[str, Any]]) -> dict[str, int | None]:
    """Sums in the words of the commands: `input` is all that was read; null what nobody says."""
    found = list(usages)
    sums = {
        name: sum(each[name] or 0 for each in found) if any(each[name] is not None for each in found) else None
        for name in ("cached", "written", "output", "reasoning")
    }
    return {"input": sum((each["fresh"] or 0) + (each["cached"] or 0) + (each["written"] or 0) for each in found), **sums}


def test_pairs_gives_the_last_answer_to_each_prompt(log: Path) -> None:
    found = ask(log, "pairs", "-n", EVERYTHING)
    truth = [{"sid": row["sid"], "t": row["t"], "prompt": row["text"], "reply": row["answer"]} for row in load(log, "turns")]
    assert ordered(truth) == ordered(only(found, *truth[0]))


def test_deltas_gives_the_text_of_a_flow_by_the_end_of_its_id(log: Path) -> None:
    for flow in load(log, "flows")[::7]:
        found = ask(log, "deltas", flow["flow_id"][-12:])
        assert flow["text"] == "".join(row["text"] for row in found if row["channel"] == "text")


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("by", tuple(BY))
def test_stats_adds_up_all_tokens(log: Path, by: str, engine: str) -> None:
    found = ask(log, "stats", "--by", by, "--engine", engine)
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in load(log, "exchanges"):
        if any(value is not None for value in row["usage"].values()):
            groups.setdefault((row | {"day": row["t"][:10]})[BY[by]], []).append(row["usage"])
    truth = [{"by": name, **tokens(usages)} for name, usages in groups.items()]
    got = [{"by": row["sid" if by == "session" else "cwd" if by == "directory" else by]} | row for row in found]
    assert ordered(truth) == ordered(only([row for row in got if row["output"] is not None], *truth[0]))


def test_bad_lines_are_said_on_stderr_with_the_place_of_the_first(log: Path) -> None:
    """Those that were looked at: lines that begin like some that hold nothing of a question need not be."""
    said = capture(log, "prompts", "-n", EVERYTHING).stderr.replace(",", "")
    first = min(row["offset"] for row in load(log, "bad") if row["file"] == LINES)
    assert re.search(rf"(\d+) lines were skipped the first at byte {first} of \S+{LINES}", said), said


# -- kinds -------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def kinds(log: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, Any]]]:
    """The rows of every kind."""
    out = tmp_path_factory.mktemp("kinds")
    result = capture(log, "extract", "--out-dir", str(out))
    assert result.exit_code == 0, result.output[-500:]
    return {path.stem: [json.loads(line) for line in path.read_bytes().splitlines()] for path in out.glob("*.jsonl")}


def test_user_prompts_are_those_of_the_story(log: Path, kinds: dict[str, list[dict[str, Any]]]) -> None:
    assert ordered(only(kinds["user_prompts"], "t", "sid", "text")) == ordered(only(load(log, "prompts"), "t", "sid", "text"))


def test_exchanges_are_those_of_the_story(log: Path, kinds: dict[str, list[dict[str, Any]]]) -> None:
    names = ("sid", "flow_id", "number", "t", "model", "cwd", "agent", "turn")
    assert ordered(only(kinds["call_index"], *names)) == ordered(only(load(log, "exchanges"), *names))
    marked = {(row["flow_id"], row["number"]): row["background"] is not None for row in load(log, "exchanges")}
    if (log / FLOWS).exists():  # only a request says that nobody waits for it
        assert marked == {(row["flow_id"], row["number"]): row["background"] is not None for row in kinds["call_index"]}


def test_answers_stops_and_reasoning_are_those_of_the_story(log: Path, kinds: dict[str, list[dict[str, Any]]]) -> None:
    truth = load(log, "exchanges")
    where = ("flow_id", "number")
    said = [row for row in kinds["assistant_messages"] if row["text"]]
    assert ordered(only(said, *where, "text")) == ordered(only([row for row in truth if row["text"]], *where, "text"))
    stopped = [{"flow_id": row["flow_id"], "number": row["number"], "stop": row["stopped"]} for row in kinds["stop_reasons"]]
    assert ordered(stopped) == ordered(only(truth, *where, "stop"))
    thought = {(row["flow_id"], row["number"]): row["reasoning_chars"] for row in kinds["reasoning_presence"]}
    assert all(thought[row["flow_id"], row["number"]] == len(row["reasoning"]) for row in truth if row["reasoning"])


def test_tokens_are_those_of_the_story(log: Path, kinds: dict[str, list[dict[str, Any]]]) -> None:
    truth = [row for row in load(log, "exchanges") if any(count is not None for count in row["usage"].values())]
    counts = tuple(truth[0]["usage"])
    expected = [{"flow_id": row["flow_id"], "number": row["number"]} | row["usage"] for row in truth]
    assert ordered(only(kinds["token_usage"], "flow_id", "number", *counts)) == ordered(expected)


def test_calls_and_results_are_those_of_the_story(log: Path, kinds: dict[str, list[dict[str, Any]]]) -> None:
    truth = load(log, "calls")
    assert ordered([_made(row) for row in kinds["tool_calls"]]) == ordered([_made(row) for row in truth])
    strays = Counter(row["text"] for row in kinds["function_call_errors"] if row["problem"] == "stray_result")
    results = Counter(row["result"] for row in truth if row["result"] is not None)
    assert Counter(row["text"] for row in kinds["tool_results"]) == results + strays


def _made(row: dict[str, Any]) -> dict[str, Any]:
    arguments = row["arguments"]
    if isinstance(arguments, str):
        with suppress(ValueError):
            arguments = json.loads(arguments)
    return {"sid": row["sid"], "flow_id": row["flow_id"], "name": row["name"], "arguments": arguments, "agent": row["agent"]}


def test_sub_agents_and_errors_are_those_of_the_story(log: Path, kinds: dict[str, list[dict[str, Any]]]) -> None:
    if not (log / FLOWS).exists():
        return  # the older logs name neither
    agents = [{"agent": row["agent"], "turn": row["turn"], "exchanges": row["exchanges"]} for row in load(log, "agents")]
    assert ordered(only(kinds["subagents"], "agent", "turn", "exchanges")) == ordered(agents)
    refused = [row for row in load(log, "errors") if row["status"] >= 400]
    assert ordered(only(refused, "flow_id", "status")) == ordered(only(kinds["http_errors"], "flow_id", "status"))


# -- a log that was rotated --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def parts(clean: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same log, rotated away twice while it was written; the file of lines in the middle ends in what a kill has torn."""
    out = tmp_path_factory.mktemp("parts")
    times = [json.loads(line)["t"] for line in (clean / LINES).read_bytes().splitlines()]
    first, second = times[len(times) // 3], times[2 * len(times) // 3]
    for name in (FLOWS, LINES, ENDS):
        for line in (clean / name).read_bytes().splitlines(keepends=True):
            t = json.loads(line)["t"]
            ending = "-20261121-124000" if t < first else "-20261121-130000" if t < second else ""
            with open(out / (name + ending), "ab") as file:
                file.write(line)
    with open(out / f"{LINES}-20261121-130000", "ab") as file:
        file.write(b'{"event":"message_st')
    if (clean / "bodies").is_dir():
        shutil.copytree(clean / "bodies", out / "bodies")
    return out


@pytest.mark.parametrize(
    "words",
    [
        ("prompts", "-n", EVERYTHING),
        ("turns", "--mode", "all", "-n", EVERYTHING),
        ("pairs", "-n", EVERYTHING),
        ("stats", "--by", "session,model"),
        ("sessions",),
        ("extract", "-", "--kinds", "all"),
        ("query", "SELECT name, count(*) AS n FROM tool_calls GROUP BY name ORDER BY name", "--format", "json"),
    ],
    ids=lambda words: words[0],
)
def test_with_what_was_rotated_away_the_answers_are_those_of_the_whole_log(
    clean: Path, parts: Path, words: tuple[str, ...]
) -> None:
    whole, joined, rest = capture(clean, *words), capture(parts, *words, "--rotated"), capture(parts, *words)
    assert joined.exit_code == whole.exit_code == 0
    assert joined.stdout == whole.stdout
    assert rest.stdout != whole.stdout and "2 older parts of this log are not read: --rotated reads all of it" in rest.stderr
    assert "older part" not in joined.stderr and "older part" not in whole.stderr


def test_check_finds_nothing_missing_that_was_rotated_away(clean: Path, parts: Path) -> None:
    def findings(result: Result) -> list[str]:
        return [row["finding"] for row in map(json.loads, result.stdout.splitlines()) if "finding" in row]

    whole, rest, joined = (capture(log, "check", "--json", *more) for log, *more in ((clean,), (parts,), (parts, "--rotated")))
    assert "part_missing" in findings(rest) and "part_missing" not in findings(joined)
    assert Counter(findings(joined)) - Counter(findings(whole)) == Counter(["bad_line"])  # the torn line


@pytest.fixture
def packed(parts: Path, tmp_path: Path) -> Path:
    """The same, its first parts compressed as `logrotate` does it, the next ones with zstd."""
    out = tmp_path / "packed"
    shutil.copytree(parts, out, symlinks=True)
    for name in (FLOWS, LINES, ENDS):
        for ending, suffix, pack in (("-20261121-124000", ".gz", gzip.compress), ("-20261121-130000", ".zst", zstandard.compress)):
            plain = out / (name + ending)
            (out / (plain.name + suffix)).write_bytes(pack(plain.read_bytes()))
            plain.unlink()
    return out


def test_parts_that_were_compressed_are_parts(clean: Path, packed: Path) -> None:
    words = ("turns", "--mode", "all", "-n", EVERYTHING)
    whole, joined, rest = capture(clean, *words), capture(packed, *words, "--rotated"), capture(packed, *words)
    assert joined.stdout == whole.stdout and "older part" not in joined.stderr
    assert "2 older parts of this log are not read" in rest.stderr


def test_a_part_that_is_being_compressed_is_read_once(clean: Path, parts: Path, tmp_path: Path) -> None:
    out = tmp_path / "parts"
    shutil.copytree(parts, out, symlinks=True)
    for name in (FLOWS, LINES, ENDS):
        packed = gzip.compress((out / f"{name}-20261121-124000").read_bytes())
        (out / f"{name}-20261121-124000.gz").write_bytes(packed[: len(packed) // 2])
    words = ("prompts", "-n", EVERYTHING)
    assert capture(out, *words, "--rotated").stdout == capture(clean, *words).stdout


def test_what_is_rotated_while_it_is_copied_is_copied_once_more(
    clean: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, real, waiting = tmp_path / "log", rotated.parts, ["once"]
    shutil.copytree(clean, log, symlinks=True)

    def late(directory: Path, name: str) -> list[Path]:
        found = real(directory, name)
        if name == LINES and waiting:
            waiting.clear()
            (directory / LINES).rename(directory / f"{LINES}-20261121")
        return found

    monkeypatch.setattr(rotating, "parts", late)
    words = ("prompts", "-n", EVERYTHING)
    assert capture(log, *words, "--rotated").stdout == capture(clean, *words).stdout


def test_of_a_compressed_part_that_is_damaged_counts_what_can_be_read(clean: Path, packed: Path) -> None:
    path = packed / f"{LINES}-20261121-124000.gz"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    result = capture(packed, "prompts", "-n", EVERYTHING, "--rotated")
    assert result.exit_code == 0
    assert f"{path} cannot be read any further: " in result.stderr.replace("\n", " ")
    whole = {json.loads(line)["text"] for line in capture(clean, "prompts", "-n", EVERYTHING).stdout.splitlines()}
    said = {json.loads(line)["text"] for line in result.stdout.splitlines()}
    assert said < whole and said


def test_what_was_rotated_away_is_of_one_log(parts: Path) -> None:
    result = capture(parts, "prompts", "--rotated", "--from", "redis://127.0.0.1/0?stream=x")
    assert isinstance(result.exception, click.UsageError) or result.exit_code == 2


def test_without_room_for_a_copy_one_line_says_so(parts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("capture.rotating._pieces", full)
    assert "set TMPDIR" in str(capture(parts, "prompts", "--rotated").exception)


# -- logs of several machines, collected into one ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    logs = [tmp_path_factory.mktemp("machine") for _ in range(2)]
    for seed, log in enumerate(logs, 1):
        generate(Wanted(log, sessions=8, scale=SMALL, seed=seed))
    return logs


@pytest.fixture(scope="module", params=(0, 30, 5000, -700))
def collected(request: pytest.FixtureRequest, machines: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both logs in the order in which they came, those of the second so many seconds late."""
    out = tmp_path_factory.mktemp("collected")
    for name in (FLOWS, LINES, ENDS):
        came: list[tuple[float, int, bytes]] = []
        for machine, log in enumerate(machines):
            latest = 0.0
            for line in (log / name).read_bytes().splitlines(keepends=True):
                latest = max(latest, datetime.fromisoformat(json.loads(line)["t"]).timestamp() + machine * request.param)
                came.append((latest, machine, line))
        (out / name).write_bytes(b"".join(line for _, _, line in sorted(came, key=lambda each: each[:2])))
    return out


@pytest.mark.parametrize(
    "words",
    [
        *(("turns", "--mode", "all", "-n", EVERYTHING, "--engine", engine) for engine in ENGINES),
        ("prompts", "-n", EVERYTHING),
        ("pairs", "-n", EVERYTHING),
        ("idle", "-n", EVERYTHING),
        ("stats", "--by", "session"),
        ("extract", "-"),
        ("query", "SELECT * FROM turns", "--format", "json"),
        ("query", "SELECT * FROM tool_calls", "--format", "json"),
    ],
    ids=" ".join,
)
def test_a_machine_that_lags_behind_changes_no_answer(machines: list[Path], collected: Path, words: tuple[str, ...]) -> None:
    def rows(log: Path) -> list[dict[str, Any]]:
        lines = capture(log, *words, *(() if words[0] in ("query", "extract") else ("--json",))).stdout.split("\n")
        return [{name: value for name, value in json.loads(line).items() if name != "i"} for line in lines if line]

    assert ordered(rows(collected)) == ordered([row for log in machines for row in rows(log)])


def test_a_machine_that_lags_behind_changes_nothing_for_processes_that_share_a_pass(
    collected: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = [json.loads(line) for line in capture(collected, "extract", "-").stdout.split("\n") if line]
    monkeypatch.setattr("capture.extract.sharing.processes", lambda *_: 3)
    shared = [json.loads(line) for line in capture(collected, "extract", "-").stdout.split("\n") if line]
    assert ordered(shared) == ordered(alone) != []


def test_a_session_of_a_machine_that_lags_behind_is_what_it_is_alone(machines: list[Path], collected: Path) -> None:
    for log in machines:
        for sid in sorted({json.loads(line)["sid"] for line in (log / FLOWS).read_bytes().splitlines()})[::2]:
            words = ("turns", "--mode", "all", "-n", EVERYTHING, "--session", sid)
            for engine in ("auto", "index"):
                assert ask(collected, *words, "--engine", engine) == ask(log, *words)


def test_a_machine_that_lags_behind_is_no_finding(machines: list[Path], collected: Path) -> None:
    def found(log: Path) -> Counter[str]:
        rows = map(json.loads, capture(log, "check", "--json").stdout.splitlines())
        return Counter(row["finding"] for row in rows if "finding" in row)

    assert found(collected) == found(machines[0]) + found(machines[1])
