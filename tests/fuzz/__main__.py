"""`python -m tests.fuzz MINUTES [TARGET]` (scripts/fuzz.sh): each target for its share of the time; what it took, what it found."""

import re
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from tests.fuzz.targets import GUIDES

FOLDER = Path(__file__).resolve().parent.parent.parent / ".fuzz"  # not committed: what a run learned, for the next one
OPTIONS = ("-print_final_stats=1", "-timeout=20", "-rss_limit_mb=1500", "-max_len=2048", "-len_control=20")
MAX_FINDINGS = 5  # of one target; then its time is over
EXECUTED = re.compile(r"stat::number_of_executed_units:\s*(\d+)|^#(\d+)\s", re.MULTILINE)
RAISED = re.compile(r"=== Uncaught Python exception: ===\n(.*?)(?=\n==|\n\n|\Z)", re.DOTALL)


class Run(NamedTuple):
    """What one start of a target did."""

    executions: int
    cpu: float  # seconds
    finding: str | None  # what it raised, and the file with the bytes


def run(name: str, seconds: float) -> Run:
    """Runs one target until it finds something, for `seconds` at most."""
    corpus, findings = FOLDER / name, FOLDER / "findings"
    corpus.mkdir(parents=True, exist_ok=True)
    findings.mkdir(exist_ok=True)
    limits = (f"-max_total_time={max(1, round(seconds))}", f"-artifact_prefix={findings}/{name}-")
    before = _cpu()
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.one", name, str(corpus), *limits, *OPTIONS],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    said = done.stdout
    executions = max((int(final or count) for final, count in EXECUTED.findall(said)), default=0)
    finding = _finding(said) if done.returncode else None
    return Run(executions, _cpu() - before, finding)


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _finding(said: str) -> str:
    raised = RAISED.search(said)
    file = re.search(r"Test unit written to (\S+)", said)
    return f"{raised[1].strip() if raised else said[-2000:]}\n  bytes: {file[1] if file else 'not kept'}"


def fuzz(name: str, seconds: float) -> bool:
    """Runs one target for `seconds`, says what it did; whether it found nothing."""
    until, runs = time.monotonic() + seconds, list[Run]()
    while (left := until - time.monotonic()) > (1 if runs else 0) and sum(each.finding is not None for each in runs) < MAX_FINDINGS:
        runs.append(run(name, left))
    found = list(dict.fromkeys(each.finding for each in runs if each.finding))
    executions, cpu = sum(each.executions for each in runs), sum(each.cpu for each in runs)
    print(f"{name:10} {executions:>12,} executions {cpu:>8.1f} CPU seconds {len(found):>3} findings", flush=True)
    for finding in found:
        print("  " + finding.replace("\n", "\n  "), flush=True)
    return not found


def main(minutes: float, names: list[str]) -> int:
    results = [fuzz(name, minutes * 60 / len(names)) for name in names]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), sys.argv[2:] or list(GUIDES)))
