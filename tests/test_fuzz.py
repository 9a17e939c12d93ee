"""Row 55: what scripts/fuzz.sh runs for hours, for seconds; and all that it ever found."""

import re
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from tests.fuzz.base import Choices, cut
from tests.fuzz.redacting import seeded
from tests.fuzz.targets import GUIDES, target
from tests.test_redact import PASSWORD, SHAPES

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "scripts" / "fuzz.sh"
ROUND = 25  # executions between two looks at the time
PINNED: dict[str, tuple[str, bytes]] = {  # what was found once: (target, bytes)
    "what stands behind an object is left in the template, and the flow record is no JSON": (
        "split",
        b'\0{"type":"r","inputinputty":"3d"},0,"xutput",5',
    ),
    "the name of an encoding that is no UTF-8 is told in the log": (
        "recorded",
        b"\x03\x01\x01\x03\x00\x00\x01\x01\x05\x87\x01\x00\x008\x00\x00\xff\xfe\xfe\xf9\xff\xff\xff\x00\x00\x00",
    ),
}

KEY = "-----BEGIN " + "PRIVATE KEY-----"
FOUND: dict[str, tuple[str, str]] = {  # by the fuzzer, and settled: (secret, text)
    "a private key without its end takes the beginning of the next secret, and the rest of that is seen by no rule": (
        SHAPES["stripe restricted"],
        f"{KEY}\nMIIE\nname\t{SHAPES['stripe restricted']}\tend",
    ),
    "the word behind `Bearer` on the next line is taken for its token, which hides `Authorization: Basic`": (
        PASSWORD,
        f"bearer+\nProxy-Authorization: Basic {PASSWORD}==",
    ),
    "the backslash of an escape is taken for a quote, and the JSON is none any more": (PASSWORD, f"curl -u \nme:{PASSWORD} h"),
}


def changed(data: bytes, changes: list[tuple[int, bytes]]) -> bytes:
    """The bytes with some of them replaced."""
    for at, new in changes:
        at %= len(data) + 1
        data = data[:at] + new + data[at + len(new) :]
    return data


def like(seeds: tuple[bytes, ...]) -> st.SearchStrategy[bytes]:
    """Any bytes, and those that lead far into a target with some of them changed."""
    changes = st.lists(st.tuples(st.integers(0, 400), st.binary(min_size=1, max_size=6)), max_size=6)
    return st.binary(max_size=300) | st.builds(changed, st.sampled_from(seeds), changes)


@pytest.mark.row(55)
@pytest.mark.parametrize("name", GUIDES)
def test_no_bytes_break_a_property(
    name: str, times: Callable[[int, int], int], record_property: Callable[[str, object], None]
) -> None:
    found, executions, began, rounds = target(name), 0, time.process_time(), 0

    def count(data: bytes) -> None:
        nonlocal executions
        executions += 1
        found.check(data)

    while time.process_time() - began < times(4, 45) / 10:
        rounds += 1
        few = settings(max_examples=ROUND, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        seed(rounds)(few(given(like(found.seeds))(count)))()
    record_property("executions", executions)
    record_property("CPU seconds", round(time.process_time() - began, 1))


@pytest.mark.row(55)
@pytest.mark.parametrize("name", GUIDES)
def test_what_fuzzing_begins_with_holds(name: str) -> None:
    found = target(name)
    assert found.name == name
    for data in found.seeds:
        found.check(data)


@pytest.mark.row(55)
@pytest.mark.parametrize(("name", "data"), PINNED.values(), ids=PINNED.keys())
def test_what_fuzzing_found_once_holds_now(name: str, data: bytes) -> None:
    target(name).check(data)


@pytest.mark.parametrize(("secret", "text"), FOUND.values(), ids=FOUND.keys())
def test_a_secret_that_fuzzing_found_is_seen(secret: str, text: str) -> None:
    seeded(secret, text)


def test_choices_without_bytes_are_the_first_and_empty() -> None:
    choices = Choices(b"\x03abc\x07")
    assert (choices.piece(), choices.pick("ab"), choices.left) == (b"abc", "b", False)
    assert (choices.piece(), choices.number(5), choices.positions(), choices.rest()) == (b"", 0, [], b"")


@given(st.binary(max_size=50), st.lists(st.integers(0, 100), max_size=9))
def test_pieces_are_the_whole(data: bytes, at: list[int]) -> None:
    assert b"".join(cut(data, at)) == data
    assert len(cut(data, at)) == len(at) + 1


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "say for how many minutes"),
        (["long"], "long is no number of minutes"),
        (["0"], "0 is no number of minutes"),
        (["1", "all"], "there is no target all: choose one of frames"),
        (["1", "frames", "held"], "write MINUTES and at most one TARGET"),
        (["--fast"], "there is no option --fast"),
    ],
)
def test_wrong_use_of_the_script_is_one_line_and_exit_2(words: list[str], says: str) -> None:
    done = subprocess.run([SCRIPT, *words], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith(f"scripts/fuzz.sh: {says}")


def test_the_script_says_how_it_is_used_and_names_every_target() -> None:
    done = subprocess.run([SCRIPT, "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert re.search(r"one of: (.*)", done.stdout)[1].split() == list(GUIDES)  # type: ignore[index]


def test_where_atheris_cannot_be_installed_one_line_says_so_and_what_to_do(tmp_path: Path) -> None:
    """An interpreter without a wheel for it: a stand-in that refuses the extra and does everything else."""
    shutil.copytree(ROOT / "scripts", tmp_path / "scripts")
    wanted = b""
    for file in (ROOT / "pyproject.toml", *sorted(ROOT.glob("constraints*.txt"))):
        shutil.copy(file, tmp_path)
        wanted += file.read_bytes()
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\ncase "$*" in *"[fuzz]"*) echo no wheel; exit 1 ;; -V) echo Python 3.15.0 ;; esac\n')
    python.chmod(0o755)
    ready = subprocess.run("cksum", input=wanted, capture_output=True, check=True).stdout
    (tmp_path / ".venv" / ".ready-dev").write_bytes(ready)
    done = subprocess.run([tmp_path / "scripts" / "fuzz.sh", "1"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
    assert "atheris cannot be installed for Python 3.15.0: remove .venv, set PYTHON to a Python 3.12 or 3.13" in done.stderr


def test_nothing_that_fuzzing_makes_is_committed() -> None:
    assert ".fuzz/" in (ROOT / ".gitignore").read_text().splitlines()
