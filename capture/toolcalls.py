"""What a tool call does, told from its name and its arguments: which command it runs, which files it changes.

Names and arguments are those of the clients' own tools: claude-code 2.1.329, codex-cli 0.169.0 (and its older `shell`),
gemini-cli 0.61.0, qwen-code 0.24.4, opencode 1.18.33, pi 0.73.1, kimi-cli 1.51. Tools of MCP servers are not known here.
"""

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from capture.jsonl import loads

type Sort = Literal["shell", "edit", "read", "search", "web", "agent", "plan"]
type Action = Literal["add", "write", "edit", "delete", "move"]
type Arguments = Any  # a JSON value, or the text of a custom tool

TOOLS: dict[Sort, str] = {  # what a tool is for → its names, in lower case
    "shell": "bash shell exec_command exec container.exec local_shell unified_exec run_shell_command execute_command run_command",
    "edit": """edit write multiedit notebookedit apply_patch patch replace write_file edit_file strreplacefile writefile
        str_replace str_replace_editor str_replace_based_edit_tool create_file""",
    "read": "read readfile read_file read_many_files readmediafile view_image notebookread",
    "search": "grep glob ls search_file_content grep_search list_directory find list codesearch file_search toolsearch",
    "web": "webfetch websearch web_fetch web_search google_web_search fetchurl searchweb fetch",
    "agent": "task agent spawn_agent send_input followup_task codebase_investigator",
    "plan": "todowrite todoread update_plan write_todos todo_write settodolist exitplanmode exit_plan_mode",
}
SORTS: dict[str, Sort] = {name: sort for sort, names in TOOLS.items() for name in names.split()}

COMMAND = ("command", "cmd", "script")  # where a shell tool's command may stand
PATH = ("file_path", "filePath", "path", "notebook_path", "absolute_path", "filename")
ABOUT = (*PATH, "pattern", "query", "url", "description", "prompt", "name")  # what a call is about, the most telling first
OLD = ("old_string", "oldString", "old_str", "oldText", "old")
NEW = ("new_string", "insert_text", "newString", "new_str", "newText", "new", "new_source")
CONTENT = ("content", "file_text", "contents", "text")
PATCH = ("input", "patch", "patchText", "diff")
EDITS = ("edits", "edit")  # several edits of one file; Kimi's `edit` may be one
SHELL_FLAGS = ("-c", "-lc", "-ic", "-Command", "/c")  # of a shell: the next word is the command

NESTED = re.compile(
    r"\bcmd\s*:\s*(\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'|`(?:[^`\\]|\\.)*`)"
)  # codex `exec`: JavaScript that runs it
PATCHED = re.compile(r"^\*\*\* (Add|Update|Delete) File: (.+)$")
MOVED = "*** Move to: "
BEGIN = "*** Begin Patch"
OPERATIONS: dict[str, Action] = {
    "create_file": "add",
    "update_file": "edit",
    "delete_file": "delete",
}  # of OpenAI's own `apply_patch`
WORDS: dict[str, Action] = {"Add": "add", "Update": "edit", "Delete": "delete"}


@dataclass(frozen=True, slots=True)
class FileEdit:
    """One file that a call changes. Lines are those the call speaks of: of a file that is written whole, all."""

    path: str
    action: Action
    added: int  # lines
    removed: int


def parsed(arguments: str) -> Arguments:
    """The JSON value of a call's arguments; the text itself where it is none."""
    if not arguments:
        return {}
    try:
        return loads(arguments)
    except ValueError:
        return arguments


def sort_of(name: str) -> Sort | None:
    """What a tool is for; None for one that is not known."""
    return SORTS.get(name.lower())


def shell_command(name: str, arguments: Arguments) -> str | None:
    """The command that a call runs, as one would type it; None when it runs none."""
    if sort_of(name) != "shell":
        return None
    if isinstance(arguments, str):
        return _nested(arguments)
    if isinstance(arguments, dict):
        return next((line for key in COMMAND if (line := _line(arguments.get(key)))), None) or _lines_of_commands(arguments)
    return None


def file_edits(name: str, arguments: Arguments) -> list[FileEdit]:
    """The files that a call changes, in the order in which it speaks of them; also through `apply_patch` in a shell."""
    match sort_of(name):
        case "shell":
            text = arguments if isinstance(arguments, str) else shell_command(name, arguments)
            return patch(text) if text and BEGIN in text else []
        case "edit" if isinstance(arguments, str):
            return patch(arguments)
        case "edit" if isinstance(arguments, dict):
            return list(_edits(arguments))
        case _:
            return []


def about(name: str, arguments: str) -> str:
    """What a call is about, on one line: its command, the files it changes, else the first thing that its arguments name."""
    value = parsed(arguments)
    if edits := file_edits(name, value):
        return ", ".join(dict.fromkeys(edit.path for edit in edits))
    if command := shell_command(name, value):
        return " ".join(command.split())
    named = next((text for key in ABOUT if isinstance(value, dict) and isinstance(text := value.get(key), str) and text), "")
    return " ".join(named.split())


def patch(text: str) -> list[FileEdit]:
    """The files of a patch in the form of Codex (`*** Update File: …`), also of one that stands in a line of a script."""
    found: list[FileEdit] = []
    if BEGIN in text and f"{BEGIN}\n" not in text:
        text = text.replace("\\n", "\n")
    for line in text.split("\n"):
        if heading := PATCHED.match(line):
            found.append(FileEdit(heading[2].strip(), WORDS[heading[1]], 0, 0))
        elif not found:
            continue
        elif line.startswith(MOVED):
            found[-1] = replace(found[-1], action="move")
        elif line.startswith("*** End Patch"):
            break
        elif line.startswith("+"):
            found[-1] = replace(found[-1], added=found[-1].added + 1)
        elif line.startswith("-"):
            found[-1] = replace(found[-1], removed=found[-1].removed + 1)
    return found


# -- commands ----------------------------------------------------------------------------------------------------------------


def _line(command: Any) -> str | None:
    """A command that may be a line, or words: of `bash -lc LINE` the line."""
    if isinstance(command, str):
        return command or None
    if not isinstance(command, list) or not command or not all(isinstance(word, str) for word in command):
        return None
    if len(command) >= 3 and command[1] in SHELL_FLAGS:
        return str(command[2])
    return shlex.join(command)


def _lines_of_commands(arguments: dict[str, Any]) -> str | None:
    """The lines of OpenAI's own `shell` tool, which runs several one after the other."""
    several = arguments.get("commands")
    return "\n".join(each for each in several if isinstance(each, str)) or None if isinstance(several, list) else None


def _nested(script: str) -> str | None:
    """The commands that a script of Codex runs through `tools.exec_command({cmd: …})`; else the script is the command."""
    found = [_unquoted(each) for each in NESTED.findall(script)]
    return "\n".join(found) or script or None


def _unquoted(text: str) -> str:
    if text.startswith('"'):
        try:
            return str(loads(text))
        except ValueError:
            pass
    return text[1:-1]


# -- edits -------------------------------------------------------------------------------------------------------------------


def _edits(arguments: dict[str, Any]) -> Iterator[FileEdit]:
    text = _first(arguments, PATCH, str)
    if text is not None and BEGIN in text:
        yield from patch(text)
        return
    path = _first(arguments, PATH, str)
    if path is None:
        return
    if (action := OPERATIONS.get(str(arguments.get("type")))) is not None:
        yield from (replace(each, path=path, action=action) for each in patch(f"*** Update File: {path}\n{text or ''}"))
        return
    several: Any = next((arguments[key] for key in EDITS if isinstance(arguments.get(key), (list, dict))), None)
    content = _first(arguments, CONTENT, str)
    if several is not None:
        pairs = [each for each in (several if isinstance(several, list) else [several]) if isinstance(each, dict)]
        yield FileEdit(path, "edit", sum(_lines(each, NEW) for each in pairs), sum(_lines(each, OLD) for each in pairs))
    elif _first(arguments, NEW, str) is not None or _first(arguments, OLD, str) is not None:
        yield FileEdit(path, "edit", _lines(arguments, NEW), _lines(arguments, OLD))
    elif content is not None:
        yield FileEdit(path, "write", lines_of(content), 0)


def _first[T](arguments: dict[str, Any], names: Sequence[str], kind: type[T]) -> T | None:
    return next((value for name in names if isinstance(value := arguments.get(name), kind)), None)


def _lines(arguments: dict[str, Any], names: Sequence[str]) -> int:
    return lines_of(_first(arguments, names, str) or "")


def lines_of(text: str) -> int:
    """How many lines a text has; a last one without a newline counts."""
    return text.count("\n") + (not text.endswith("\n")) if text else 0
