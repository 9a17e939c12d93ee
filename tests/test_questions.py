"""The customer's questions: rows from logs in three dialects, by whatever engine, from a log's end as from the whole of it."""

import gzip
import json
import os
import pty
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from bench.generate import FILES, Wanted, generate
from bench.story import Scale
from bench.telling import FLOWS, LINES, load
from capture import filters, prices, questions, samples, scan, sums
from capture.cli import cli
from capture.events import UsageReported
from capture.questions import Found, Question, last
from capture.scan import ENGINES, Holds, Source
from capture.store import LogWriter
from capture.updates import Deltas
from tests import golden

type Row = dict[str, Any]

SMALL = Scale(exchanges=2, deltas=8, result=60)
QUESTIONS = {
    "prompts": questions.PROMPTS,
    "idle": questions.IDLE,
    "turns": questions.turns(prices.cost, paired=True),
    "all turns": questions.turns(prices.cost, paired=False),
    "pairs": questions.PAIRS,
}
COMMANDS = (
    ["prompts", "-n", "5"],
    ["prompts", "-n", "0"],
    ["idle", "-n", "7"],
    ["turns", "-n", "0"],
    ["turns", "--mode", "all", "-n", "4"],
    ["pairs", "-n", "0"],
    ["stats"],
    ["stats", "--by", "session,model"],
    ["stats", "--by", "directory"],
)


@pytest.fixture(scope="module", params=tuple(FILES))
def log(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A nasty log in each dialect."""
    out = tmp_path_factory.mktemp(request.param)
    generate(Wanted(out, request.param, sessions=6 if request.param == "ours" else 3, nasty=True, scale=SMALL))
    return out


def source(log: Path) -> Source:
    return Source(log, None) if (log / FLOWS).exists() else Source(None, str(log / LINES))


def where(log: Path) -> list[str]:
    return ["--dir", str(log)] if (log / FLOWS).exists() else ["--file", str(log / LINES)]


def always(t: str) -> bool:
    return True


def whole(log: Path, question: Question, holds: Holds | None = None) -> list[Row]:
    return last([(scan.read(source(log), question.holds if holds is None else holds), True)], question, None, always)


def capture(*words: str, data: bytes | None = None) -> Result:
    return CliRunner().invoke(cli, list(words), prog_name="capture", input=data)


def rows(result: Result) -> list[Row]:
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.split("\n") if line]  # texts may hold U+2028 and U+0085


# -- the truth ---------------------------------------------------------------------------------------------------------------


def test_prompts_are_what_users_asked(log: Path) -> None:
    found = rows(capture("prompts", "-n", "0", *where(log)))
    assert [(row["t"], row["sid"], row["text"]) for row in load(log, "prompts")] == [
        (row["t"], row["sid"], row["text"]) for row in found
    ]
    assert [row["i"] for row in found] == list(range(1, len(found) + 1))
    assert rows(capture("prompts", "-n", "3", *where(log))) == [{**row, "i": number} for number, row in enumerate(found[-3:], 1)]


def test_idle_events_are_those_that_happened(log: Path) -> None:
    found = rows(capture("idle", "-n", "0", *where(log)))
    assert [(row["t"], row["sid"]) for row in load(log, "idle")] == [(row["t"], row["sid"]) for row in found]


def test_turns_have_the_times_the_outcomes_and_the_tokens_of_the_truth(log: Path) -> None:
    truth = [
        {
            "sid": row["sid"],
            "t": row["t"],
            "prompt": row["text"],
            "outcome": row["outcome"],
            "idle_t": row["idle_t"],
            "duration_ms": row["duration_ms"],
            "exchanges": row["exchanges"],
            "calls": len(row["calls"]),
            "output": row["usage"]["output"],
        }
        for row in load(log, "turns")
    ]
    every = rows(capture("turns", "--mode", "all", "-n", "0", *where(log)))
    assert truth == [{name: row[name] for name in truth[0]} for row in every]
    paired = rows(capture("turns", "-n", "0", *where(log)))
    assert [row for row in truth if row["idle_t"]] == [{name: row[name] for name in truth[0]} for row in paired]


def test_pairs_have_the_last_answer(log: Path) -> None:
    truth = [(row["sid"], row["t"], row["text"], row["answer"] or None) for row in load(log, "turns")]
    found = rows(capture("pairs", "-n", "0", *where(log)))
    assert truth == [(row["sid"], row["t"], row["prompt"], row["reply"]) for row in found]


def test_stats_add_up_what_every_answer_took(log: Path) -> None:
    truth: dict[str, list[int]] = {}
    for row in load(log, "exchanges"):
        usage = row["usage"]
        if usage["output"] is not None or usage["fresh"] is not None:
            sums_of = truth.setdefault(row["sid"], [0, 0, 0])
            sums_of[0] += sum(usage[name] or 0 for name in ("fresh", "cached", "written"))
            sums_of[1] += usage["cached"] or 0
            sums_of[2] += usage["output"] or 0
    found = rows(capture("stats", "--by", "session", *where(log)))
    assert truth == {row["sid"]: [row["input"], row["cached"], row["output"]] for row in found}


def test_the_cost_of_turns_is_part_of_the_cost_that_stats_say(log: Path) -> None:
    turns = rows(capture("turns", "--mode", "all", "-n", "0", *where(log)))
    by_session = {row["sid"]: row["known_cost"] for row in rows(capture("stats", "--by", "session", *where(log)))}
    for sid, cost in by_session.items():
        assert sum(row["cost"] or 0 for row in turns if row["sid"] == sid) <= cost + 1e-6


def test_deltas_tell_the_text_of_each_flow(log: Path) -> None:
    flows = [row for row in load(log, "flows") if row["text"]]
    texts: dict[str, str] = {}
    for row in flows:
        texts[row["flow_id"]] = texts.get(row["flow_id"], "") + row["text"]
    for flow_id in random.Random(3).sample(sorted(texts), 6):
        found = rows(capture("deltas", flow_id[-20:] if flow_id[-20:].isalnum() else flow_id, *where(log)))
        assert texts[flow_id] == "".join(row["text"] for row in found if row["channel"] == "text")
        assert {row["flow_id"] for row in found} == {flow_id}


# -- one answer, whatever the way --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", QUESTIONS)
def test_a_question_needs_no_more_of_the_log_than_it_says(log: Path, name: str) -> None:
    question = QUESTIONS[name]
    assert whole(log, question, Holds.ALL) == whole(log, question)


@pytest.mark.parametrize("name", QUESTIONS)
def test_the_end_of_a_log_answers_as_the_whole_does(log: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    question, size = QUESTIONS[name], source(log).size
    everything = whole(log, question)
    chance, tails = random.Random(name), 0
    for _ in range(12):
        count = chance.choice((1, 2, 5))
        monkeypatch.setattr(scan, "WINDOWS", (chance.randrange(1, size),))
        windows = Counted(scan.windows(source(log), question.holds))
        found = last(windows, question, count, always)
        assert [{**row, "i": 0} for row in everything[-count:]] == [{**row, "i": 0} for row in found]
        tails += windows.given == 1
    assert tails > 2  # else nothing was tested


@pytest.mark.parametrize("name", QUESTIONS)
def test_a_stretch_of_time_is_answered_from_the_end_too(log: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    question, size = QUESTIONS[name], source(log).size
    everything = whole(log, question)
    since = everything[-4]["t"]
    expected = [{**row, "i": 0} for row in everything if row["t"] >= since]
    for share in (0.2, 0.5, 0.9):
        monkeypatch.setattr(scan, "WINDOWS", (round(size * share),))
        windows = Counted(scan.windows(source(log), question.holds))
        found = last(windows, question, 100, lambda t: t >= since, since)
        assert expected == [{**row, "i": 0} for row in found]


class Counted:
    """Windows that count how many were asked for."""

    def __init__(self, windows: Iterator[Any]) -> None:
        self._windows = windows
        self.given = 0

    def __iter__(self) -> Iterator[Any]:
        for window in self._windows:
            self.given += 1
            yield window


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_engine_gives_the_same_answer(log: Path, words: list[str]) -> None:
    said = {engine: capture(*words, *where(log), "--engine", engine) for engine in ("auto", *ENGINES)}
    assert {result.exit_code for result in said.values()} == {0}
    assert said["python"].stdout
    assert dict.fromkeys(said, said["python"].stdout) == {engine: result.stdout for engine, result in said.items()}


def test_every_engine_tells_the_same_text_of_a_flow(log: Path) -> None:
    flow_id = next(row["flow_id"] for row in load(log, "flows") if row["text"])
    said = {engine: capture("deltas", flow_id, *where(log), "--engine", engine).stdout for engine in ("auto", *ENGINES)}
    assert said["python"]
    assert len(set(said.values())) == 1


def test_a_packed_file_and_stdin_say_what_the_file_says(log: Path, tmp_path: Path) -> None:
    plain = log / LINES
    packed = tmp_path / "lines.jsonl.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    alone = shutil.copy(plain, tmp_path / "alone.jsonl")
    for words in (["prompts"], ["stats"], ["prompts", "--session", "latest"]):
        expected = capture(*words, "--file", str(alone)).stdout
        assert expected == capture(*words, "--file", str(packed)).stdout
        assert expected == capture(*words, "--file", "-", data=plain.read_bytes()).stdout


# -- windows that are made up ------------------------------------------------------------------------------------------------


def prompted(*times: int, unsure: int | None = None) -> Question:
    """A question whose rows are at these seconds of a log."""

    def answered(updates: Iterator[Any]) -> Iterator[Found]:
        seen = {str(update.flow["t"]) for update in updates if hasattr(update, "flow") and update.flow}
        for second in times:
            if at(second) in seen:
                yield Found(at(second), {"t": at(second)}, second != unsure)

    return Question(Holds.ALL, answered)


def at(second: int) -> str:
    return f"2026-11-21T17:{second // 60:02}:{second % 60:02}.000"


def window(first: int, after: int = 1000) -> Iterator[Any]:
    """Items of a log from a second on: a line, then a flow record every second."""
    yield Deltas("f", "s", at(first), at(first), 1, UsageReported())
    for second in range(first, after):
        yield {"flow_id": f"f{second}", "sid": "s", "t": at(second), "transport": "websocket", "client": {}}


def seconds_of(found: list[Row]) -> list[str]:
    return [row["t"] for row in found]


def test_a_window_that_is_sure_and_full_is_enough() -> None:
    question = prompted(100, 800, 900)
    windows = Counted(iter([(window(700), False), (window(0), True)]))
    assert seconds_of(last(windows, question, 2, always)) == [at(800), at(900)]
    assert windows.given == 1


@pytest.mark.parametrize(
    ("question", "why"),
    [
        (prompted(100, 900), "it has too few"),
        (prompted(800, 900, unsure=800), "one of its rows is not sure"),
        (prompted(100, 730, 900), "a row stands so near its beginning that one before it may be missing"),
    ],
)
def test_a_window_is_not_enough_when(question: Question, why: str) -> None:
    windows = Counted(iter([(window(700), False), (window(0), True)]))
    assert len(last(windows, question, 2, always)) == 2
    assert windows.given == 2, why


def test_what_is_doubtful_before_the_last_rows_does_not_matter() -> None:
    question = prompted(770, 800, 900, unsure=770)
    windows = Counted(iter([(window(700), False), (window(0), True)]))
    assert seconds_of(last(windows, question, 2, always)) == [at(800), at(900)]
    assert windows.given == 1


# -- samples -----------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sampled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log directory with every sample flow in it."""
    directory = tmp_path_factory.mktemp("samples")
    writer = LogWriter(directory, {})
    for name in samples.names():
        for record in golden.play(name):
            writer.write(record)
    writer.close()
    return directory


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_engine_says_the_same_of_the_samples(sampled: Path, words: list[str]) -> None:
    said = [capture(*words, "--dir", str(sampled), "--engine", engine) for engine in ("auto", *ENGINES)]
    assert {(result.exit_code, result.stdout) for result in said} == {(0, said[0].stdout)}
    assert said[0].stdout


@pytest.mark.parametrize("name", samples.names())
def test_deltas_tell_the_text_and_the_reasoning_of_a_sample(sampled: Path, name: str) -> None:
    expected = json.loads((samples.DIRECTORY / name / "expected.json").read_bytes())
    flow_id = str(json.loads(golden.load(name)[-1])["fields"]["flow_id"])
    found = rows(capture("deltas", flow_id, "--dir", str(sampled)))
    for channel in ("text", "reasoning"):
        assert expected[channel] == "".join(row["text"] for row in found if row["channel"] == channel)


# -- hand-made logs ----------------------------------------------------------------------------------------------------------


def line(event: str, t: str, payload: Any, flow_id: str, count: int, sid: str, **metadata: Any) -> bytes:
    record = {
        "event": event,
        "t": t,
        "line": "data: " + json.dumps(payload, separators=(",", ":"), ensure_ascii=False),
        "metadata": json.dumps(metadata),
        "flow_id": flow_id,
        "data_count": count,
        "sid": sid,
    }
    return json.dumps(record, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"


def claude(count: int, kind: str, second: int, flow_id: str, sid: str = "claude-1", **payload: Any) -> bytes:
    wrapped = {"timestamp": "2025-11-15T05:11:37.546Z", "type": "event_msg", "payload": {"type": kind, **payload}}
    return line(f"claude.{kind}", at(second), wrapped, flow_id, count, sid, ver="claude-code-2.0.42", pid=1, cwd="/home/me/shop")


CLAUDE = b"".join(
    (
        claude(0, "user_prompt", 1, "p1", prompt="Why?"),
        claude(
            0,
            "message_start",
            2,
            "msg_1",
            message={
                "id": "msg_1",
                "model": "claude-haiku-4-5",
                "role": "assistant",
                "usage": {"input_tokens": 1000, "output_tokens": 1},
            },
        ),
        claude(1, "content_block_start", 2, "msg_1", index=0, content_block={"type": "text", "text": ""}),
        claude(2, "content_block_delta", 3, "msg_1", index=0, delta={"type": "text_delta", "text": "There"}),
        b"no record\n",
        claude(3, "content_block_delta", 4, "msg_1", index=0, delta={"type": "text_delta", "text": "fore."}),
        claude(4, "content_block_stop", 4, "msg_1", index=0),
        claude(5, "message_delta", 5, "msg_1", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 100}),
        claude(6, "message_stop", 5, "msg_1"),
        claude(1, "stop", 6, "p1"),
    )
)


def test_a_claude_log_by_hand(tmp_path: Path) -> None:
    file = tmp_path / "claude.jsonl"
    file.write_bytes(CLAUDE)
    (prompt,) = rows(capture("prompts", "--file", str(file)))
    assert prompt == {
        "i": 1,
        "t": at(1),
        "sid": "claude-1",
        "flow_id": "p1",
        "client": "claude-code 2.0.42",
        "cwd": "/home/me/shop",
        "text": "Why?",
    }
    (idle,) = rows(capture("idle", "--file", str(file)))
    assert (idle["t"], idle["turn_t"], idle["duration_ms"]) == (at(6), at(1), 5000)
    (pair,) = rows(capture("pairs", "--file", str(file)))
    assert (pair["prompt"], pair["reply"], pair["model"], pair["idle_t"]) == ("Why?", "Therefore.", "claude-haiku-4-5", at(6))
    (turn,) = rows(capture("turns", "--file", str(file)))
    assert (turn["input"], turn["output"], turn["outcome"], turn["exchanges"]) == (1000, 100, "idle", 1)
    assert turn["cost"] == pytest.approx(1000 * 1e-6 + 100 * 5e-6)
    (sum_of,) = rows(capture("stats", "--file", str(file), "--by", "model,day"))
    assert (sum_of["model"], sum_of["day"], sum_of["cost"]) == ("claude-haiku-4-5", "2026-11-21", turn["cost"])
    (block,) = rows(capture("deltas", "g_1", "--file", str(file)))
    assert (block["channel"], block["text"], block["t"], block["i"]) == ("text", "Therefore.", at(3), 1)


def test_a_line_that_is_no_record_is_skipped_and_said_and_no_failure(tmp_path: Path) -> None:
    file = tmp_path / "claude.jsonl"
    file.write_bytes(CLAUDE)
    result = capture("prompts", "--file", str(file))
    assert result.exit_code == 0
    assert result.stderr == f"capture: 1 line was skipped, the first at byte {CLAUDE.index(b'no record')} of {file}: no JSON\n"


def codex(count: int, kind: str, second: int, flow_id: str, payload: Any) -> bytes:
    return line(kind, at(second), payload, flow_id, count, "codex-1", ver="codex-0.55.0", pid=1, cwd="/home/me/shop")


CODEX = b"".join(
    (
        codex(0, "codex.user_prompt", 1, "codex-1__turn_1", {"type": "codex.user_prompt", "text": "List them"}),
        codex(0, "response.created", 2, "resp_1", {"type": "response.created", "response": {"id": "resp_1", "model": "gpt-5.1"}}),
        codex(
            1,
            "response.output_text.delta",
            3,
            "resp_1",
            {"type": "response.output_text.delta", "item_id": "m", "output_index": 0, "content_index": 0, "delta": "Two."},
        ),
        codex(
            2,
            "response.completed",
            4,
            "resp_1",
            {
                "type": "response.completed",
                "response": {
                    "id": "resp_1",
                    "model": "gpt-5.1",
                    "usage": {
                        "input_tokens": 2000,
                        "input_tokens_details": {"cached_tokens": 1000},
                        "output_tokens": 10,
                        "output_tokens_details": {"reasoning_tokens": 4},
                    },
                },
            },
        ),
        codex(1, "codex.idle", 5, "codex-1__turn_1", {"type": "codex.idle"}),
        codex(0, "codex.user_prompt", 9, "codex-1__turn_2", {"type": "codex.user_prompt", "text": "And now?"}),
    )
)


def test_a_codex_log_by_hand(tmp_path: Path) -> None:
    file = tmp_path / "codex.jsonl"
    file.write_bytes(CODEX)
    assert [row["text"] for row in rows(capture("prompts", "--file", str(file)))] == ["List them", "And now?"]
    assert [(row["t"], row["duration_ms"]) for row in rows(capture("idle", "--file", str(file)))] == [(at(5), 4000)]
    (turn,) = rows(capture("turns", "--file", str(file)))
    assert (turn["input"], turn["cached"], turn["output"], turn["reasoning"]) == (2000, 1000, 10, 4)
    assert turn["cost"] == pytest.approx((1000 * 1.25 + 1000 * 0.125 + 10 * 10) / 1e6)
    assert [row["outcome"] for row in rows(capture("turns", "--mode", "all", "--file", str(file)))] == ["idle", "open"]
    assert [row["reply"] for row in rows(capture("pairs", "--file", str(file)))] == ["Two.", None]


# -- what part of a log ------------------------------------------------------------------------------------------------------

NOW = datetime(2026, 11, 21, 17, 7, 3)


@pytest.mark.parametrize(
    ("text", "since", "until"),
    [
        ("7d", "2026-11-14T17:07:03.000", "2026-11-14T17:07:03.000"),
        ("2h", "2026-11-21T15:07:03.000", "2026-11-21T15:07:03.000"),
        ("90 m", "2026-11-21T15:37:03.000", "2026-11-21T15:37:03.000"),
        ("today", "2026-11-21T00:00:00.000", "2026-11-22T00:00:00.000"),
        ("yesterday", "2026-11-20T00:00:00.000", "2026-11-21T00:00:00.000"),
        ("2026-11-19", "2026-11-19T00:00:00.000", "2026-11-20T00:00:00.000"),
        ("2026-11-19T08:30", "2026-11-19T08:30:00.000", "2026-11-19T08:30:00.000"),
        ("2026-11-19 08:30:01.5", "2026-11-19T08:30:01.500", "2026-11-19T08:30:01.500"),
    ],
)
def test_a_time_is_what_people_mean_by_it(text: str, since: str, until: str) -> None:
    assert filters.moment(text, NOW) == since
    assert filters.moment(text, NOW, end=True) == until


def test_a_time_with_a_zone_is_told_in_local_time() -> None:
    local = datetime.fromisoformat("2026-11-19T08:30:00+00:00").astimezone().replace(tzinfo=None)
    assert filters.moment("2026-11-19T08:30:00Z", NOW) == local.isoformat(timespec="milliseconds")


def test_since_and_until_take_rows_by_their_time(tmp_path: Path) -> None:
    file = tmp_path / "codex.jsonl"
    file.write_bytes(CODEX)
    at_file = ("--file", str(file))
    assert [row["text"] for row in rows(capture("prompts", *at_file, "--since", at(2)))] == ["And now?"]
    assert [row["text"] for row in rows(capture("prompts", *at_file, "--until", at(9)))] == ["List them"]
    assert [row["i"] for row in rows(capture("prompts", *at_file, "--since", at(2)))] == [1]
    assert rows(capture("stats", *at_file, "--since", at(8))) == []


def test_a_session_is_meant_by_its_beginning_and_latest_is_the_one_last_heard_of(tmp_path: Path) -> None:
    file = tmp_path / "both.jsonl"
    file.write_bytes(CLAUDE + CODEX)
    at_file = ("--file", str(file))
    assert {row["sid"] for row in rows(capture("prompts", *at_file, "--session", "cl"))} == {"claude-1"}
    assert {row["sid"] for row in rows(capture("prompts", *at_file, "--session", "latest"))} == {"codex-1"}


def test_the_sessions_of_sub_agents_belong_to_the_session_that_started_them() -> None:
    known = filters.Sessions()
    known.see([{"sid": sid, "t": "", "client": {"parent_id": parent}} for sid, parent in (("b", "a"), ("c", "b"), ("d", "x"))])
    assert known.family("a") == {"a", "b", "c"}


# -- what is typed wrong -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["prompts", "--session", "codec"], "no session goes by codec: did you mean codex-1?"),
        (["prompts", "--session", "c"], "2 sessions begin or end with c: claude-1, codex-1: give more of the id"),
        (["prompts", "--engine", "grep"], "'grep' is not one of"),
        (["prompts", "--since", "yersterday"], "yersterday is no time for --since: try one of 7d, 2h"),
        (["turns", "--mode", "unpaired"], "'unpaired' is not one of"),
        (["stats", "--by", "modle"], "nothing can be summed by modle, only by session, model, directory, day: did you mean model?"),
        (["deltas", "msg_2"], "no flow goes by msg_2: did you mean msg_1?"),
        (["deltas", "_1"], "3 flows begin or end with _1: "),
        (["prompst"], "no such command: prompst: did you mean prompts?"),
    ],
)
def test_what_is_typed_wrong_is_answered_in_one_line(tmp_path: Path, words: list[str], says: str) -> None:
    file = tmp_path / "both.jsonl"
    file.write_bytes(CLAUDE + CODEX)
    done = run(*words, *([] if words == ["prompst"] else ["--file", str(file)]))
    assert (done.returncode, done.stdout) == (2, "")
    assert says in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_file_that_is_missing_or_no_log_is_answered_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "some.txt").write_text("words\n" * 9)
    (tmp_path / "image.png").write_bytes(bytes(range(256)) * 9)
    for name, says in (("none", "there is no file"), ("some.txt", "is no log"), ("image.png", "is no log"), (".", "--dir")):
        for command in ("prompts", "stats", "turns"):
            done = run(command, "--file", str(tmp_path / name))
            assert (done.returncode, done.stdout) == (2, "")
            assert says in done.stderr
            assert len(done.stderr.splitlines()) == 1
    done = run("prompts", "--dir", str(tmp_path))
    assert done.returncode == 2
    assert "there is no log in" in done.stderr


def test_an_empty_file_holds_nothing_and_that_is_no_mistake(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    done = run("prompts", "--file", str(tmp_path / "empty"))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def run(*words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-m", "capture", *words], capture_output=True, text=True, check=False)


# -- tokens and cost ---------------------------------------------------------------------------------------------------------


def fact(second: int, model: str | None, cost_of: int, sid: str = "s") -> scan.Usage:
    return scan.Usage("f", sid, at(second), "any", model, "/home/me", UsageReported(fresh=cost_of, output=1))


def priced(provider: str, model: str | None, usage: UsageReported, t: str) -> float | None:
    return None if model is None or model == "strange" else (usage.fresh or 0) / 4


def test_a_part_without_a_price_makes_the_cost_unknown_and_what_is_known_is_said() -> None:
    found, total, strange = sums.stats(
        [fact(3, "plain", 4), fact(1, "strange", 8), fact(2, "plain", 4), fact(4, None, 4)], ("model",), priced, always
    )
    assert [(row["i"], row["model"], row["exchanges"], row["input"], row["cost"], row["known_cost"]) for row in found] == [
        (1, "strange", 1, 8, None, 0.0),
        (2, "plain", 2, 8, 2.0, 2.0),
        (3, None, 1, 4, None, 0.0),
    ]
    assert (found[1]["t"], found[1]["last_t"]) == (at(2), at(3))
    assert (total.row["cost"], total.row["known_cost"], total.row["output"]) == (None, 2.0, 4)
    assert strange == {"strange", "a model that is not named"}


def test_models_without_a_price_are_named_once_on_stderr(tmp_path: Path) -> None:
    file = tmp_path / "claude.jsonl"
    file.write_bytes(CLAUDE.replace(b"claude-haiku-4-5", b"claude-of-tomorrow"))
    result = capture("stats", "--file", str(file))
    assert result.stderr.count("claude-of-tomorrow") == 1
    assert [(row["cost"], row["known_cost"], row["output"]) for row in rows(result)] == [(None, 0.0, 100)]
    (turn,) = rows(capture("turns", "--file", str(file)))
    assert turn["cost"] is None


# -- on a terminal -----------------------------------------------------------------------------------------------------------


def on_a_terminal(*words: str) -> str:
    """What a command prints where stdout is a terminal of 120 columns."""
    main, side = pty.openpty()
    environment = {**os.environ, "COLUMNS": "120", "TERM": "xterm-256color"}
    environment.pop("NO_COLOR", None)
    done = subprocess.Popen([sys.executable, "-m", "capture", *words], stdout=side, stderr=subprocess.DEVNULL, env=environment)
    os.close(side)
    said = b""
    try:
        while data := os.read(main, 1 << 16):
            said += data
    except OSError:  # Linux says so that the other end is closed
        pass
    os.close(main)
    assert done.wait() == 0
    return said.decode()


def test_people_get_tables_and_programs_rows(tmp_path: Path) -> None:
    file = tmp_path / "both.jsonl"
    file.write_bytes(CLAUDE + CODEX)
    shown = on_a_terminal("prompts", "--file", str(file))
    assert "prompt" in shown.splitlines()[0]
    assert "List them" in shown
    assert "{" not in shown
    told = on_a_terminal("prompts", "--json", "--file", str(file))
    assert [json.loads(line)["text"] for line in told.splitlines()] == ["Why?", "List them", "And now?"]


def test_a_terminal_shows_totals_separators_and_what_is_not_known(tmp_path: Path) -> None:
    file = tmp_path / "both.jsonl"
    file.write_bytes(CLAUDE.replace(b"claude-haiku-4-5", b"claude-of-tomorrow") + CODEX)
    *_, first, second, total = on_a_terminal("stats", "--file", str(file)).splitlines()
    assert first.split()[-5:] == ["claude-of-tomorrow", "1", "1,000", "100", "$0.00+"]
    assert second.split()[-1] == "$0.0015"
    assert total.split() == ["total", "2", "3,000", "1,000", "110", "4", "$0.0015+"]


def test_a_terminal_shows_a_flow_as_text_in_colours(tmp_path: Path) -> None:
    file = tmp_path / "claude.jsonl"
    file.write_bytes(CLAUDE)
    assert "\x1b[35mTherefore.\x1b[0m" in on_a_terminal("deltas", "msg_1", "--file", str(file))


# -- start-up ----------------------------------------------------------------------------------------------------------------

HEAVY = ("pydantic", "mitmproxy", "tornado", "duckdb", "rich", "genai_prices", "psutil", "re2", "ssl", "asyncio")


def test_a_question_on_a_pipe_imports_nothing_heavy(tmp_path: Path) -> None:
    file = tmp_path / "codex.jsonl"
    file.write_bytes(CODEX)
    code = (
        "import sys\n"
        "from capture.cli import cli\n"
        f"cli.main(['prompts', '--file', {str(file)!r}], standalone_mode=False)\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "[]\n"
    assert len(done.stdout.splitlines()) == 2


def test_a_question_about_a_small_log_is_answered_in_a_quarter_of_a_second(tmp_path: Path) -> None:
    """A tenth is usual; the best of three, for a busy machine."""
    file = tmp_path / "codex.jsonl"
    file.write_bytes(CODEX)
    assert min(timed(lambda: run("prompts", "--file", str(file))) for _ in range(3)) < 0.25


def timed(what: Callable[[], object]) -> float:
    began = time.perf_counter()
    what()
    return time.perf_counter() - began
