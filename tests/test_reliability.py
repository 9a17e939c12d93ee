"""docs/reliability.md is what runs wrote, and no row of the fault table is without a test."""

import ast
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.faults.report import HEADLINES, NO_TEST, NOT_RUN, Line, Shown, joined, line_of, lines_in, page_with
from tests.faults.table import NUMBERS, ROWS, chosen

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "reliability.md"
SCRIPT = ROOT / "scripts" / "faults.sh"


def marked() -> Counter[int]:
    """How many tests carry each number."""
    found: Counter[int] = Counter()
    for path in ROOT.glob("tests/**/*.py"):
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.row":
                found.update(ast.literal_eval(argument) for argument in node.args)
    return found


def test_every_row_has_a_test_and_every_number_a_row() -> None:
    assert [row.number for row in ROWS] == list(range(1, 56))
    assert sorted(NUMBERS - set(marked())) == []
    assert sorted(set(marked()) - NUMBERS) == []


def test_the_page_has_all_rows_and_only_what_runs_wrote() -> None:
    page = PAGE.read_text("utf-8")
    assert page.replace(NO_TEST, NOT_RUN) == page_with(page, lines_in(page), NUMBERS)
    assert [number for number, line in lines_in(page).items() if line.passed == "FAILED"] == []


def test_the_headline_figures_are_told_by_the_runs_of_their_rows() -> None:
    lines = lines_in(PAGE.read_text("utf-8"))
    assert [headline for headline in HEADLINES if headline.row in lines and not lines[headline.row].figure(headline.figure)] == []


@pytest.mark.parametrize(
    ("text", "rows"),
    [("7", {7}), ("1,5-9", {1, 5, 6, 7, 8, 9}), ("54 , 55", {54, 55}), ("1-55", set(range(1, 56)))],
)
def test_rows_are_chosen_by_numbers_and_ranges(text: str, rows: set[int]) -> None:
    assert chosen(text) == rows


@pytest.mark.parametrize("text", ["", "x", "0", "56", "1-", "5-1", "1,,2", "-3", "²"])
def test_rows_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="--rows "):
        chosen(text)


def test_figures_of_one_name_become_one() -> None:
    assert joined("kills", 200, 5) == 205
    assert joined("events a second", 900, 1000) == 900
    assert joined("added p99 at 1,000 events a second", "+0.5 ms", "+12.0 ms") == "+12.0 ms"
    assert joined("most bytes queued", 900, 1000) == 1000
    assert joined("peak", "12 MiB", "100 MiB") == "100 MiB"
    assert joined("loss window max", "12.5 ms", "3 ms") == "12.5 ms"
    assert joined("kinds", "gzip", "br") == "gzip, br"
    assert joined("kinds", "gzip, br", "br") == "gzip, br"


def test_a_row_that_failed_says_so_and_one_that_did_not_run_keeps_its_line() -> None:
    shown = Shown()
    shown.add("a", "passed", "", [("runs", 200), ("kills", 200), ("max", "3 ms")])
    shown.add("b", "failed", "", [("kills", 1)])
    shown.add("c", "skipped", "cannot mount a small disk", [])
    line = line_of(shown, "2026-11-21 abc")
    assert line == Line("201", "FAILED", "kills: 201; max: 3 ms; 1 not run here (cannot mount a small disk)", "2026-11-21 abc")
    assert line.figure("kills") == "201"
    before = page_with("<!-- figures -->\n<!-- end -->\n<!-- table -->\n<!-- end -->\n", {6: line}, {6, 7})
    after = page_with(before, lines_in(before) | {11: Line("5", "5", "kills: 5", "2026-11-22 def")}, {6, 7})
    assert lines_in(after)[6] == line
    assert lines_in(after)[11].passed == "5"
    assert after.count("| no test yet |") == 52 and after.count("| not run yet |") == 1


def test_a_run_with_a_report_writes_the_page_of_what_it_has_shown(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("<!-- figures -->\n<!-- end -->\n<!-- table -->\n<!-- end -->\n")
    (tmp_path / "conftest.py").write_text("from tests.conftest import pytest_addoption, pytest_configure\n")
    (tmp_path / "test_it.py").write_text(
        "import pytest\n\n"
        "@pytest.mark.row(3, 4)\ndef test_one(record_property):\n    record_property('streams', 50)\n\n"
        "@pytest.mark.row(4)\ndef test_two():\n    assert False\n\n"
        "@pytest.mark.row(5)\ndef test_other():\n    assert False\n"
    )
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", "/dev/null", "--rootdir", tmp_path, tmp_path]
    run = subprocess.run(
        [*map(str, words), "--rows", "3-4", "--report", str(page)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert run.returncode == 1, run.stdout + run.stderr
    assert "row  3  runs 1  passed 1  streams: 50" in run.stdout
    assert "row  4  runs 2  passed FAILED  streams: 50" in run.stdout
    lines = lines_in(page.read_text())
    assert {number: line.passed for number, line in lines.items()} == {3: "1", 4: "FAILED"}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--rows"], "--rows needs a value"),
        (["--rows", "x"], "--rows x: write numbers and ranges, as in 1,5-9"),
        (["--minutes", "long"], "--minutes long: write a number"),
        (["--fast"], "there is no option --fast"),
    ],
)
def test_wrong_use_of_the_script_is_one_line_and_exit_2(words: list[str], says: str) -> None:
    done = subprocess.run([SCRIPT, *words], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"scripts/faults.sh: {says} (--help says more)\n"


def test_the_script_says_how_it_is_used() -> None:
    done = subprocess.run([SCRIPT, "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert all(word in done.stdout for word in ("--rows", "--minutes", "docs/reliability.md"))
