"""How fast the log answers: capture against ripgrep, DuckDB and a plain orjson loop, on a generated log of 2.7 million lines.

    .venv/bin/python bench/batch.py [--dir DIR] [--lines N] [--rounds N] [--only QUESTION] [--quick] [--json]

All contestants answer the same question on the same file by turns, so that what else the machine does hits all of them;
each runs in a process of its own and its output is read to the end. What the figures mean: bench/README.md.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[0] = str(ROOT)  # run as a file, this folder would hide the package `capture` behind bench/capture.py

LINES = 2_700_000
READ = 1 << 20  # bytes of a contestant's output read at once
# modules are compiled once, as where they are installed: a build machine may forbid it, and each start would take twice as long
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
MEMORY = 150.0  # MiB that the first three questions may take
SMALLER = 4  # the second log, for memory, has one line in so many
QUESTIONS = ("prompts", "tokens", "calls", "texts", "kinds")
PATTERNS = {  # ripgrep: the lines that hold the answer, as somebody would ask for them who knows the log
    "prompts": r'^\{"event":"request\.user"',
    "tokens": r'usage(Metadata)?\\": ?\{',  # 20 times as fast as with the quote before it: ripgrep looks for a rare word first
    "calls": "|".join(
        (
            r'input_json_delta|\\"tool_use\\"|_tool_call\\"|\\"tool_calls\\":|functionCall',
            r"(function_call_arguments|custom_tool_call_input)\.delta",
        )
    ),
    "texts": r'\\"text_delta\\"|response\.output_text\.delta|\\"delta\\": ?\{\\"content\\":|\\"parts\\":\[\{\\"text\\":',
}
FROM = """
    (SELECT event, t, sid, flow_id, line[7:] AS p FROM read_json(
        '{lines}', format='newline_delimited', ignore_errors=true, maximum_object_size=67108864,
        columns={{event: 'VARCHAR', t: 'VARCHAR', line: 'VARCHAR', flow_id: 'VARCHAR', sid: 'VARCHAR'}}))
"""
SQL = {  # DuckDB: the same, as far as SQL can say it over the raw lines
    "prompts": "SELECT t, sid, p FROM {lines} WHERE event = 'request.user' ORDER BY t DESC LIMIT 5",
    "tokens": """
        SELECT sid, sum(try_cast(json_extract_string(p, '$.usage.output_tokens') AS BIGINT)) FROM {lines}
        WHERE event IN ('message_delta', 'response.completed') OR (event = 'chat.completion.chunk' AND contains(p, 'usage'))
        GROUP BY sid""",
    "calls": """
        SELECT flow_id, json_extract_string(p, '$.index'), string_agg(json_extract_string(p, '$.delta.partial_json'), '')
        FROM {lines} WHERE event = 'content_block_delta' AND contains(p, 'input_json_delta') GROUP BY ALL""",
    "texts": """
        SELECT flow_id, string_agg(coalesce(json_extract_string(p, '$.delta.text'),
                                            json_extract_string(p, '$.choices[0].delta.content')), '')
        FROM {lines} WHERE event IN ('content_block_delta', 'chat.completion.chunk') GROUP BY flow_id""",
}


@dataclass(frozen=True, slots=True)
class Contestant:
    """One way to an answer. `before` makes its conditions, outside of the clock."""

    question: str
    name: str
    command: tuple[str, ...]
    before: Callable[[], None] = lambda: None
    timed_inside: bool = False  # it prints its own seconds: start-up does not count


@dataclass(frozen=True, slots=True)
class Run:
    seconds: float
    cpu: float  # seconds of processor time, all threads
    rss: float  # MiB at the highest
    bytes: int  # of output


@dataclass(frozen=True, slots=True)
class Goal:
    """What the issue asks for: one contestant's median against a figure, or against another's."""

    question: str
    name: str
    limit: float
    against: str = ""  # another contestant of the question; empty: seconds
    at_least: bool = False  # the ratio of speeds must reach the limit, instead of the ratio of times staying under it


@dataclass(slots=True)
class Results:
    runs: dict[tuple[str, str], list[Run]] = field(default_factory=dict)

    def median(self, question: str, name: str, what: str = "seconds") -> float | None:
        found = [getattr(run, what) for run in self.runs.get((question, name), [])]
        return median(found) if found else None


class Failed(Exception):
    """The measurement could not be made."""


def run(contestant: Contestant) -> Run:
    """Runs it once, reads all it says. Peak memory and processor time are the kernel's figures for that process."""
    contestant.before()
    began = time.perf_counter()
    with tempfile.TemporaryFile() as complaints:
        process = subprocess.Popen(contestant.command, cwd=ROOT, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=complaints)
        assert process.stdout
        size, tail = 0, b""
        while block := process.stdout.read(READ):
            size += len(block)
            tail = block[-200:]
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - began
        process.stdout.close()
        process.returncode = os.waitstatus_to_exitcode(status)
        complaints.seek(0)
        said = complaints.read().decode(errors="replace")
    if process.returncode or (contestant.timed_inside and not size):
        raise Failed(
            f"{contestant.question}, {contestant.name}: exit {process.returncode}: {said.strip()[-300:] or 'said nothing'}"
        )
    if contestant.timed_inside:
        seconds = float(tail.split()[-1])
    return Run(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, size)


# -- who takes part ----------------------------------------------------------------------------------------------------------


def contestants(log: Path, scratch: Path) -> list[Contestant]:
    lines = str(log / "sse_lines.jsonl")
    found: list[Contestant] = []
    for question in QUESTIONS:
        found += ours(question, log, scratch)
        if question in PATTERNS and shutil.which("rg"):
            found.append(Contestant(question, "ripgrep", ("rg", "--no-config", "--text", PATTERNS[question], lines)))
        if question in SQL:
            sql = SQL[question].format(lines=FROM.format(lines=lines))
            found.append(Contestant(question, "DuckDB read_json", (sys.executable, "-m", "bench.rivals", "duckdb", sql)))
        if question in ("prompts", "kinds"):
            found.append(Contestant(question, "orjson, envelope", (sys.executable, "-m", "bench.rivals", "envelope", lines)))
            found.append(Contestant(question, "orjson, payload too", (sys.executable, "-m", "bench.rivals", "payload", lines)))
    return found


def ours(question: str, log: Path, scratch: Path) -> list[Contestant]:
    """The ways in which capture answers: by its command where there is one."""
    at = ("--dir", str(log))
    capture = (sys.executable, "-m", "capture")

    index, aside = log / "sse_lines.jsonl.index", log / "index-aside"
    stats = (*capture, "stats", "--json", *at)

    def without() -> None:
        """The index is put aside with all that is kept beside it, and not replaced by one that was made meanwhile."""
        if index.exists() and aside.exists():
            shutil.rmtree(index)
        elif index.exists():
            index.rename(aside)

    def indexed() -> None:
        if aside.exists():
            shutil.rmtree(index, ignore_errors=True)
            aside.rename(index)
        elif not index.exists():
            subprocess.run(
                (*stats, "--engine", "index"), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True
            )

    def forgotten() -> None:
        """There is an index; what was once worked out by it is not kept."""
        indexed()
        (index / "calls.head").unlink(missing_ok=True)

    def way(name: str, *command: str, before: Callable[[], None] = indexed, inside: bool = False) -> Contestant:
        return Contestant(question, name, command, before, inside)

    match question:
        case "prompts":
            return [
                way("capture", *capture, "prompts", "-n", "5", "--json", *at),
                way("capture, no start-up", sys.executable, "-m", "bench.rivals", "prompts", str(log), inside=True),
            ]
        case "tokens":
            engines = ("rg", "duckdb", "python") if shutil.which("rg") else ("duckdb", "python")
            bare = [way(f"capture, no index, {name}", *stats, "--engine", name, before=without) for name in engines]
            return [
                *bare,
                way("capture, index", *stats, "--engine", "index"),
                way("capture, making it", *stats, "--engine", "index", before=without),
            ]
        case "calls":
            calls = (*capture, "extract", "--kinds", "tool_calls", "--out-dir", "-", *at)
            return [way("capture, index", *calls), way("capture, not kept yet", *calls, before=forgotten)]
        case "texts":
            return [
                way("capture, index", sys.executable, "-m", "bench.rivals", "texts", str(log)),
                way("capture, no index", sys.executable, "-m", "bench.rivals", "texts", str(log), before=without),
            ]
        case _:
            return [way("capture", *capture, "extract", "--kinds", "all", "--out-dir", str(scratch / "kinds"), *at)]


GOALS = (
    Goal("prompts", "capture", 0.1),
    Goal("prompts", "capture, no start-up", 0.1),
    Goal("tokens", "capture, no index, rg", 1.5, "ripgrep"),
    Goal("tokens", "capture, no index, duckdb", 1.5, "ripgrep"),
    Goal("tokens", "capture, index", 0.3, "ripgrep"),
    Goal("calls", "capture, index", 1.2, "ripgrep"),
    Goal("texts", "capture, index", 5.0, "ripgrep"),
    Goal("texts", "capture, no index", 5.0, "ripgrep"),
    Goal("kinds", "capture", 0.6, "orjson, payload too", at_least=True),
)


def measure(log: Path, scratch: Path, questions: tuple[str, ...], rounds: int, results: Results) -> None:
    """All contestants, by turns. What needs an index finds one: it is made, or put aside, outside of the clock."""
    everybody = [each for each in contestants(log, scratch) if each.question in questions]
    for turn in range(rounds + 1):
        order = everybody if turn % 2 else everybody[::-1]
        for contestant in order:
            try:
                found = run(contestant)
            except Failed as problem:
                if turn == 0:
                    print(f"bench: left out: {problem}", file=sys.stderr)
                    everybody = [each for each in everybody if each is not contestant]
                    continue
                raise
            if turn:  # the first round fills the disk cache
                results.runs.setdefault((contestant.question, contestant.name), []).append(found)
        print(f"round {turn} of {rounds}", file=sys.stderr)


# -- what is said ------------------------------------------------------------------------------------------------------------


def verdict(goal: Goal, results: Results) -> dict[str, Any]:
    mine = results.median(goal.question, goal.name)
    other = results.median(goal.question, goal.against) if goal.against else 1.0
    if mine is None or other is None:
        return {**asdict(goal), "figure": None, "met": None}
    figure = (other / mine if goal.at_least else mine / other) if goal.against else mine
    return {**asdict(goal), "figure": figure, "met": figure >= goal.limit if goal.at_least else figure <= goal.limit}


def report(options: argparse.Namespace, big: Results, small: Results, facts: dict[str, Any]) -> dict[str, Any]:
    return {
        **facts,
        "rounds": options.rounds,
        "contestants": [
            {
                "question": question,
                "name": name,
                "seconds": big.median(question, name),
                "spread": [min(run.seconds for run in runs), max(run.seconds for run in runs)],
                "cpu": big.median(question, name, "cpu"),
                "rss_mib": big.median(question, name, "rss"),
                "rss_mib_smaller_log": small.median(question, name, "rss"),
                "output_bytes": runs[-1].bytes,
            }
            for (question, name), runs in sorted(big.runs.items(), key=lambda item: QUESTIONS.index(item[0][0]))
        ],
        "goals": [verdict(goal, big) for goal in GOALS if any(asked == goal.question for asked, _ in big.runs)],
    }


def show(figures: dict[str, Any]) -> None:
    size = f"{figures['lines']:,} lines, {figures['bytes'] / 2**30:.2f} GiB, {figures['flow_records']:,} flows"
    print(f"{size} · {figures['machine']} · load before {figures['load'][0]:.1f}, after {figures['load'][1]:.1f}")
    print(f"medians of {figures['rounds']} rounds; memory of a log of 1/{SMALLER} the size beside it\n")
    titles = f"{'seconds':>9}  {'(least … most)':18}{'CPU s':>8}{'MiB':>7}{'smaller':>9}{'output MB':>11}"
    print(f"{'question':10}{'who':27}{titles}")
    for row in figures["contestants"]:
        smaller = "-" if row["rss_mib_smaller_log"] is None else f"{row['rss_mib_smaller_log']:.0f}"
        spread = f"({row['spread'][0]:.2f} … {row['spread'][1]:.2f})"
        numbers = f"{row['cpu']:8.2f}{row['rss_mib']:7.0f}{smaller:>9}{row['output_bytes'] / 1e6:11.1f}"
        print(f"{row['question']:10}{row['name']:27}{row['seconds']:9.3f}  {spread:18}{numbers}")
    print(f"\n{'goal':10}{'who':27}{'figure':>9}  limit")
    for goal in figures["goals"]:
        unit = f"of {goal['against']}'s {'speed' if goal['at_least'] else 'time'}" if goal["against"] else "s"
        limit = f"{'≥' if goal['at_least'] else '≤'} {goal['limit']:g} {unit}"
        figure = "-" if goal["figure"] is None else f"{goal['figure']:.2f}"
        said = {True: "met", False: "MISSED", None: "not measured"}[goal["met"]]
        print(f"{goal['question']:10}{goal['name']:27}{figure:>9}  {limit:42}{said}")
    for row in figures["contestants"]:
        if row["name"].startswith("capture") and row["question"] in QUESTIONS[:3]:
            said = "met" if row["rss_mib"] <= MEMORY else "MISSED"
            print(f"{row['question']:10}{row['name']:27}{row['rss_mib']:9.0f}  {f'≤ {MEMORY:.0f} MiB':42}{said}")


def machine() -> str:
    import duckdb  # the version only; this process stays small, or its children would inherit its peak memory
    import orjson

    said = (
        subprocess.run(["rg", "--version"], capture_output=True, text=True, check=False).stdout
        if shutil.which("rg")
        else "no ripgrep"
    )
    rg = said.partition("\n")[0]
    return (
        f"Python {platform.python_version()}, orjson {orjson.__version__}, duckdb {duckdb.__version__}, {rg}, {os.cpu_count()} CPUs"
    )


def log_of(folder: Path, lines: int, name: str) -> Path:
    """A generated log; one that is there already is used again."""
    log = folder / name
    if not (log / "truth" / "log.jsonl").exists():
        print(f"generating {lines:,} lines …", file=sys.stderr)
        command = [sys.executable, "-m", "bench.generate", "--out", str(log), "--lines", str(lines)]
        subprocess.run(command, cwd=ROOT, check=True, stderr=subprocess.DEVNULL)
    return log


def facts_of(log: Path) -> dict[str, Any]:
    told = json.loads((log / "truth" / "log.jsonl").read_text())
    with open(log / "sse_flows.jsonl", "rb") as file:
        flows = sum(1 for _ in file)
    return {"lines": told["lines"], "bytes": told["bytes"]["sse_lines.jsonl"], "flow_records": flows}


def main() -> None:
    parser = argparse.ArgumentParser(description="How fast the log answers, against ripgrep, DuckDB and a plain orjson loop.")
    parser.add_argument(
        "--dir", type=Path, help="folder for the logs; they stay there and are used again (default: a temporary one)"
    )
    parser.add_argument("--lines", type=int, default=LINES, help="of the log (default %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="times everybody runs, after one that does not count (default 5)")
    parser.add_argument("--quick", action="store_true", help="300,000 lines, 3 rounds: for a first look")
    parser.add_argument("--only", action="append", choices=QUESTIONS, help="this question only; may be given again")
    parser.add_argument("--json", action="store_true", help="all figures as JSON on stdout")
    options = parser.parse_args()
    if options.quick:
        options.lines, options.rounds = 300_000, 3
    if min(options.lines, options.rounds) < 1:
        parser.error("--lines and --rounds must be at least 1")
    questions = tuple(options.only or QUESTIONS)
    with ExitStack() as stack:
        folder = options.dir or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sse-capture-bench-")))
        log = log_of(folder, options.lines, f"log-{options.lines}")
        smaller = log_of(folder, options.lines // SMALLER, f"log-{options.lines // SMALLER}")
        load = [os.getloadavg()[0]]
        big, small = Results(), Results()
        try:
            measure(smaller, folder, questions, 1, small)
            measure(log, folder, questions, options.rounds, big)
        except Failed as problem:
            sys.exit(f"bench: {problem}")
        load.append(os.getloadavg()[0])
        for left in (log / "index-aside", smaller / "index-aside", folder / "kinds"):
            shutil.rmtree(left, ignore_errors=True)
        figures = report(options, big, small, {**facts_of(log), "machine": machine(), "load": load})
    print(json.dumps(figures)) if options.json else show(figures)


if __name__ == "__main__":
    main()
