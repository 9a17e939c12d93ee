"""What a run of the fault tests has shown, row by row: on the terminal, and in docs/reliability.md (`--report`).

A test that shows rows carries `@pytest.mark.row(1, 2)` and tells its figures with pytest's `record_property(name, value)`:

    numbers add up over the tests of a row; what has a unit ("12 ms") keeps its largest; a name with a word like "max", "peak",
    "slowest", "p99" in it means the largest, else one with "a second" or "least" the least; of other texts each stands once.
    `runs` says how often a test made its fault (else once).

A row that did not run keeps its line, with the date and commit of the run that made it.
"""

import re
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import pytest

from tests.faults.table import ROWS, Row, chosen

ROOT = Path(__file__).resolve().parent.parent.parent
BEGIN, END = "<!-- {} -->\n", "<!-- end -->\n"
HEAD = "| # | fault | what must hold | runs | passed | figures | run |\n| --- | --- | --- | --- | --- | --- | --- |\n"
NO_TEST, NOT_RUN = "no test yet", "not run yet"
LARGEST = re.compile(r"\b(max|most|peak|slowest|largest|longest|p50|p99|slope)\b")
LEAST = re.compile(r"\b(a second|least)\b")
WITH_UNIT = re.compile(r"([+-]?\d+(?:\.\d+)?) (\S.*)")

type Value = int | float | str


@dataclass(frozen=True, slots=True)
class Headline:
    """A figure that is told above the table: whose it is, and by what name."""

    says: str
    row: int
    figure: str


HEADLINES = (
    Headline("events a second at which no client waits longer than without us", 33, "events a second at which nobody waits"),
    Headline("added latency p99 at 1,000 events a second", 33, "added p99 at 1,000 events a second"),
    Headline("added latency max at 1,000 events a second", 33, "added max at 1,000 events a second"),
    Headline("kills under 1,000 events a second", 11, "kills"),
    Headline("lost at a kill: what came in its last", 11, "loss window max"),
    Headline("lost at a power cut: data of at most", 13, "max age of lost data"),
    Headline("secrets sown in every place", 36, "seeds"),
    Headline("of these found in any byte of the log, Redis, the console", 36, "leaks"),
    Headline("secrets cut in two, at every point", 37, "secrets cut in two"),
    Headline("of these found", 37, "leaks"),
    Headline("soak: faults survived", 54, "faults survived"),
    Headline("soak: events", 54, "events"),
    Headline("soak: lost and not counted", 54, "losses"),
    Headline("soak: memory slope", 54, "memory slope"),
    Headline("fuzz executions", 55, "executions"),
)


@dataclass(slots=True)
class Shown:
    """What the tests of one row have shown so far."""

    runs: int = 0
    passed: int = 0
    failed: list[str] = field(default_factory=list)  # tests
    skipped: list[str] = field(default_factory=list)  # reasons
    figures: dict[str, Value] = field(default_factory=dict)

    def add(self, name: str, outcome: str, reason: str, figures: Sequence[tuple[str, object]]) -> None:
        """One test's end: passed, failed or skipped."""
        if outcome == "skipped":
            self.skipped.append(reason)
            return
        runs = sum(value for name, value in figures if name == "runs" and isinstance(value, int)) or 1
        self.runs += runs
        if outcome == "passed":
            self.passed += runs
        else:
            self.failed.append(name)
        for name, value in figures:
            if name != "runs":
                new: Value = value if isinstance(value, int | float | str) else str(value)
                self.figures[name] = joined(name, self.figures[name], new) if name in self.figures else new


def joined(name: str, one: Value, other: Value) -> Value:
    """One figure of two of the same name."""
    if isinstance(one, int | float) and isinstance(other, int | float):
        if LARGEST.search(name):
            return max(one, other)
        return min(one, other) if LEAST.search(name) else one + other
    left, right = WITH_UNIT.fullmatch(str(one)), WITH_UNIT.fullmatch(str(other))
    if left and right and left[2] == right[2]:
        wants_least = bool(LEAST.search(name)) and not LARGEST.search(name)
        return one if (float(left[1]) >= float(right[1])) != wants_least else other
    return one if str(other) in str(one).split(", ") else f"{one}, {other}"


@dataclass(frozen=True, slots=True)
class Line:
    """What the table says of a row, as it stands in the page."""

    runs: str = ""
    passed: str = ""
    figures: str = ""
    run: str = ""

    def figure(self, name: str) -> str | None:
        found = re.search(rf"(?:^|; ){re.escape(name)}: (.*?)(?:;|$)", self.figures)
        return found[1] if found else None


def line_of(shown: Shown, run: str) -> Line:
    """The line of a row that ran."""
    figures = [f"{name}: {_number(value)}" for name, value in shown.figures.items()]
    reasons = sorted(set(shown.skipped))
    figures += [f"{len(shown.skipped)} not run here ({', '.join(reasons)})"] if reasons else []
    passed = "FAILED" if shown.failed else _number(shown.passed) if shown.runs else "not run"
    return Line(_number(shown.runs), passed, "; ".join(figures).replace("|", "/").replace("\n", " "), run)


def _number(value: Value) -> str:
    """`12,345`; a fraction with what of it matters."""
    match value:
        case bool() | str():
            return str(value)
        case int():
            return f"{value:,}"
        case float():
            return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def lines_in(page: str) -> dict[int, Line]:
    """The lines of rows that a page has, of earlier runs."""
    found = {}
    for text in _block(page, "table").splitlines()[2:]:
        number, _, _, *rest = (cell.strip() for cell in text.strip().strip("|").split("|"))
        found[int(number)] = Line(*rest)
    return {number: line for number, line in found.items() if line.run}


def _block(page: str, name: str) -> str:
    return page.partition(BEGIN.format(name))[2].partition(END)[0]


def _filled(page: str, name: str, content: str) -> str:
    begin = BEGIN.format(name)
    before, _, rest = page.partition(begin)
    return before + begin + content + END + rest.partition(END)[2]


def page_with(page: str, lines: dict[int, Line], tested: Iterable[int]) -> str:
    """The page with these lines in its table, and the figures above it. Rows without a line say whether tests show them."""
    missing = {row.number: Line(passed=NOT_RUN if row.number in tested else NO_TEST) for row in ROWS}
    table = HEAD + "".join(_row(row, (missing | lines)[row.number]) for row in ROWS)
    return _filled(_filled(page, "figures", figures_of(lines)), "table", table)


def _row(row: Row, line: Line) -> str:
    holds = f"{row.holds} ({row.limits})" if row.limits else row.holds
    cells = (str(row.number), row.fault, holds, line.runs, line.passed, line.figures, line.run)
    return "| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |\n"


def figures_of(lines: dict[int, Line]) -> str:
    """The headline figures, from the table's lines."""
    ran = [line for line in lines.values() if line.runs]
    total = sum(int(line.runs.replace(",", "")) for line in ran)
    failed = sum(line.passed == "FAILED" for line in ran)
    told = [("rows with figures or tests", f"{len(ran)} of {len(ROWS)}, {failed} failed"), ("faults made, all runs", f"{total:,}")]
    for headline in HEADLINES:
        line = lines.get(headline.row)
        value = line.figure(headline.figure) if line else None
        told.append((f"{headline.says} (row {headline.row})", value or "not measured yet"))
    return "| figure | |\n| --- | --- |\n" + "".join(f"| {says} | {value} |\n" for says, value in told)


# -- pytest ------------------------------------------------------------------------------------------------------------------


def rows_of(item: pytest.Item) -> frozenset[int]:
    return frozenset(number for mark in item.iter_markers("row") for number in mark.args)


class Report:
    """A pytest plugin: runs the rows that are asked for, and tells what they have shown."""

    def __init__(self, rows: frozenset[int] | None, page: Path | None, long: bool) -> None:
        self._rows, self._page, self._long = rows, page, long
        self._of: dict[str, frozenset[int]] = {}  # test → its rows
        self._tested: set[int] = set()  # rows with a test
        self._ended: dict[str, tuple[str, str]] = {}  # test → (outcome, reason)
        self.shown: dict[int, Shown] = {}

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        self._of = {item.nodeid: rows_of(item) & (self._rows or rows_of(item)) for item in items}
        self._tested = {number for item in items for number in rows_of(item)}
        if self._rows is not None:
            config.hook.pytest_deselected(items=[item for item in items if not self._of[item.nodeid]])
            items[:] = [item for item in items if self._of[item.nodeid]]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        outcome, reason = self._ended.get(report.nodeid, ("passed", ""))
        if report.outcome == "failed" or outcome == "failed":
            outcome = "failed"
        elif report.outcome == "skipped":
            outcome, reason = "skipped", _reason(report)
        self._ended[report.nodeid] = outcome, reason
        if report.when == "teardown":
            for number in self._of.get(report.nodeid, ()):
                self.shown.setdefault(number, Shown()).add(report.nodeid, outcome, reason, report.user_properties)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        run = f"{date.today()} {commit()}" + ("" if self._long else ", short")
        lines = {number: line_of(shown, run) for number, shown in sorted(self.shown.items())}
        if self._rows is not None:
            for told in spoken(self._rows, lines):
                terminalreporter.write_line(told)
        if self._page is not None:
            page = self._page.read_text("utf-8")
            self._page.write_text(page_with(page, lines_in(page) | lines, self._tested), "utf-8")
            terminalreporter.write_line(f"{self._page} has the table of this run")


def spoken(rows: Iterable[int], lines: dict[int, Line]) -> Iterator[str]:
    """A line for each row: runs, passes, figures."""
    for number in sorted(rows):
        line = lines.get(number)
        if line is None:
            yield f"row {number:2}  {NO_TEST}"
        else:
            yield f"row {number:2}  runs {line.runs}  passed {line.passed}  {line.figures}".rstrip()


def _reason(report: pytest.TestReport) -> str:
    text = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return text.removeprefix("Skipped: ")


def commit() -> str:
    """The commit of the checkout, with a `+` when what is tested is not what was committed; `?` outside of one."""
    try:
        name = _git("rev-parse", "--short", "HEAD")
        return name + ("+" if _git("status", "--porcelain", "--", "addon", "capture", "tests") else "")
    except (OSError, subprocess.CalledProcessError):
        return "?"


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


def add_options(parser: pytest.Parser) -> None:
    """The options of the fault tests; tests/conftest.py asks for them."""
    parser.addoption("--long", action="store_true", help="faults as often as for docs/reliability.md (scripts/faults.sh)")
    parser.addoption("--rows", metavar="1,5-9", help="only the tests that show these rows of docs/reliability.md")
    parser.addoption("--report", metavar="FILE", help="the page whose table is written anew with what the run has shown")
    parser.addoption("--minutes", type=float, metavar="N", help="how long the soak (row 54) runs; else some seconds")


def register(config: pytest.Config) -> None:
    """The plugin, where rows or a report are asked for. Raises pytest.UsageError."""
    rows, page = config.getoption("--rows"), config.getoption("--report")
    if rows is None and page is None:
        return
    try:
        wanted = chosen(rows) if rows is not None else None
    except ValueError as problem:
        raise pytest.UsageError(str(problem)) from None
    if page is not None and not Path(page).is_file():
        raise pytest.UsageError(f"--report {page}: there is no such page; copy docs/reliability.md")
    config.pluginmanager.register(Report(wanted, Path(page) if page else None, config.getoption("--long")), "rows")
