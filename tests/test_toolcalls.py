"""Calls of the clients' own tools: the command that they run, the files that they change."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capture.toolcalls import SORTS, TOOLS, FileEdit, file_edits, parsed, patch, shell_command, sort_of
from tests.odd import JSON

PATCH = """*** Begin Patch
*** Add File: src/new.py
+one
+two
*** Update File: src/old.py
*** Move to: src/moved.py
@@ def f():
-    return 1
+    return 2
+    # why
*** Delete File: src/gone.py
*** End Patch
"""
PATCHED = [
    FileEdit("src/new.py", "add", 2, 0),
    FileEdit("src/old.py", "move", 2, 1),
    FileEdit("src/gone.py", "delete", 0, 0),
]


@pytest.mark.parametrize(
    ("name", "arguments", "command"),
    [
        ("Bash", {"command": "ls -la", "description": "List"}, "ls -la"),
        ("bash", {"command": "ls"}, "ls"),
        ("shell", {"command": ["bash", "-lc", "ls | wc -l"]}, "ls | wc -l"),
        ("shell", {"command": ["git", "commit", "-m", "a message"]}, "git commit -m 'a message'"),
        ("shell", {"commands": ["cd a", "ls"]}, "cd a\nls"),
        ("local_shell", {"type": "exec", "command": ["ls"]}, "ls"),
        ("exec_command", {"cmd": "ls", "yield_time_ms": 5}, "ls"),
        ("run_shell_command", {"command": "ls", "directory": "a"}, "ls"),
        ("exec", 'const r = await tools.exec_command({cmd: "echo \\"hello\\""}); text(r);', 'echo "hello"'),
        ("exec", "tools.exec_command({cmd: 'one'}); tools.exec_command({ cmd : `two` })", "one\ntwo"),
        ("exec", "cd letters && ls", "cd letters && ls"),
        ("Bash", {}, None),
        ("Bash", {"command": ["ls", 5]}, None),
        ("Read", {"command": "ls"}, None),
        ("str_replace_editor", {"command": "view", "path": "a"}, None),
        ("mcp__tool", {"command": "ls"}, None),
    ],
)
def test_a_command_is_as_one_would_type_it(name: str, arguments: Any, command: str | None) -> None:
    assert shell_command(name, arguments) == command


@pytest.mark.parametrize(
    ("name", "arguments", "edits"),
    [
        ("Edit", {"file_path": "a.py", "old_string": "x\ny", "new_string": "z"}, [FileEdit("a.py", "edit", 1, 2)]),
        ("Edit", {"file_path": "a.py", "old_string": "x", "new_string": ""}, [FileEdit("a.py", "edit", 0, 1)]),
        ("edit", {"filePath": "a.py", "oldString": "x", "newString": "y\nz\n"}, [FileEdit("a.py", "edit", 2, 1)]),
        ("Write", {"file_path": "a.py", "content": "1\n2\n3"}, [FileEdit("a.py", "write", 3, 0)]),
        ("write_file", {"file_path": "a.py", "content": ""}, [FileEdit("a.py", "write", 0, 0)]),
        (
            "MultiEdit",
            {"file_path": "a.py", "edits": [{"old_string": "x", "new_string": "y"}, {"old_string": "1\n2", "new_string": ""}]},
            [FileEdit("a.py", "edit", 1, 3)],
        ),
        ("StrReplaceFile", {"path": "a.py", "edit": {"old": "x", "new": "y"}}, [FileEdit("a.py", "edit", 1, 1)]),
        ("NotebookEdit", {"notebook_path": "a.ipynb", "new_source": "x"}, [FileEdit("a.ipynb", "edit", 1, 0)]),
        ("str_replace_based_edit_tool", {"command": "create", "path": "a", "file_text": "x"}, [FileEdit("a", "write", 1, 0)]),
        ("str_replace_based_edit_tool", {"command": "view", "path": "a"}, []),
        ("apply_patch", PATCH, PATCHED),
        ("apply_patch", {"input": PATCH}, PATCHED),
        ("apply_patch", {"type": "update_file", "path": "a.py", "diff": "@@\n-x\n+y\n"}, [FileEdit("a.py", "edit", 1, 1)]),
        ("apply_patch", {"type": "delete_file", "path": "a.py"}, [FileEdit("a.py", "delete", 0, 0)]),
        ("shell", {"command": ["bash", "-lc", f"apply_patch <<'EOF'\n{PATCH}EOF"]}, PATCHED),
        ("exec", f"await tools.apply_patch({json.dumps(PATCH)});", PATCHED),
        ("Bash", {"command": "rm a.py"}, []),
        ("Read", {"file_path": "a.py"}, []),
        ("Edit", {"old_string": "x"}, []),
    ],
)
def test_edits_are_the_files_that_a_call_changes(name: str, arguments: Any, edits: list[FileEdit]) -> None:
    assert file_edits(name, arguments) == edits


def test_a_line_of_a_patch_that_looks_like_a_separator_is_one_line() -> None:
    assert patch("*** Begin Patch\n*** Add File: a\n+one\u2028two\x0c\n*** End Patch") == [FileEdit("a", "add", 1, 0)]


def test_a_name_stands_for_one_sort() -> None:
    assert len(SORTS) == sum(len(names.split()) for names in TOOLS.values())
    assert all(name == name.lower() for name in SORTS)
    assert (sort_of("Bash"), sort_of("Grep"), sort_of("mcp__x")) == ("shell", "search", None)


def test_arguments_that_are_no_json_are_their_text() -> None:
    assert [parsed(""), parsed('{"a":1}'), parsed('{"a":')] == [{}, {"a": 1}, '{"a":']


@given(st.sampled_from(sorted(SORTS)), JSON)
def test_odd_arguments_never_raise(name: str, arguments: Any) -> None:
    command = shell_command(name, arguments)
    assert command is None or isinstance(command, str)
    assert all(isinstance(edit.path, str) for edit in file_edits(name, arguments))
