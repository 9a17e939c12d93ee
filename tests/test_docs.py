"""What the docs say is what the program does."""

import re
import runpy
from pathlib import Path

import pytest

from capture.cli import COMMANDS, command
from docs.screenshots import PICTURES

ROOT = Path(__file__).resolve().parent.parent
GENERATE = runpy.run_path(str(ROOT / "docs" / "generate.py"))


def test_the_page_of_commands_is_what_help_says() -> None:
    assert (ROOT / "docs" / "commands.md").read_text("utf-8") == GENERATE["commands_page"]()


def test_the_tables_of_fields_are_the_models() -> None:
    page = (ROOT / "docs" / "log.md").read_text("utf-8")
    assert page == GENERATE["log_page"](page)


def test_the_page_of_kinds_is_the_list() -> None:
    assert (ROOT / "docs" / "kinds.md").read_text("utf-8") == GENERATE["kinds_page"]()


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_told_of_in_the_readme(name: str) -> None:
    assert f"capture {name}" in (ROOT / "README.md").read_text("utf-8")


def test_the_list_of_commands_has_every_file_and_says_what_the_commands_say() -> None:
    files = {path.stem for path in (ROOT / "capture" / "commands").glob("*.py")} - {"__init__", "base", "options", "answers"}
    assert files == set(COMMANDS)
    assert {name: command(name).short_help for name in COMMANDS} == COMMANDS


def test_every_option_has_help() -> None:
    bare = [
        f"{name} {parameter.name}"
        for name in COMMANDS
        for parameter in command(name).params
        if parameter.param_type_name == "option" and not getattr(parameter, "help", None)
    ]
    assert bare == []


def test_links_between_pages_lead_somewhere() -> None:
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("bench/*.md")]
    lost = [
        f"{page.name}: {target}"
        for page in pages
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text("utf-8"))
        if not (page.parent / target).exists()
    ]
    assert lost == []


def test_pins_are_names_and_versions_only() -> None:
    """A lock file with download addresses would name the machine it was made on."""
    files = list(ROOT.glob("constraints*.txt"))
    assert len(files) == 2
    lines = [line for file in files for line in file.read_text().splitlines()]
    assert [line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.+!]*", line)] == []


def test_the_pictures_are_what_the_commands_draw() -> None:
    for name, picture in PICTURES.items():
        assert (ROOT / "docs" / name).read_text("utf-8") == picture(), f"python -m docs.screenshots makes {name} anew"
