"""Known tool calls, recognised while their arguments stream: one entry each, in one table.

What was said of the arguments, without quotes, blanks and line ends, is searched for a shape. Only the first LOOK characters
count, and the shape that is complete first wins: so what is found does not depend on how the text was cut.
A pattern says yes (`recognised`), no (another opening: `hopeless` when all say so), or not yet.
"""

import re
from dataclasses import dataclass

from capture.toolcalls import SHELL_FLAGS, SORTS, Sort

LOOK = 200  # stripped characters of the arguments in which a shape is looked for
READ = 4 * LOOK  # characters of which these are taken: what is indented more deeply than that is nothing we know
STRIPPED = "\"'\\ \n\r\t"
OBJECT = re.compile(r"\A\{")
SHELL = r"(?:[^,\[\]{}]*/)?(?:(?:ba|z|da|k|fi)?sh|(?:powershell|pwsh|cmd)(?:\.exe)?)"
FLAGS = "|".join(map(re.escape, SHELL_FLAGS))
TEXT = re.compile(r"\A[^{]")


@dataclass(frozen=True, slots=True)
class Pattern:
    """A call that is known. `tools`: what the tool is for, by its name; None: any tool.

    The shape matches nothing that does not begin with the opening.
    """

    name: str
    tools: Sort | None
    shape: re.Pattern[str]
    sort: Sort | None  # how it is drawn; None: as the text that it is
    opening: str = "{"

    def suits(self, tool: str) -> bool:
        return self.tools is None or SORTS.get(tool.lower()) == self.tools

    def may_come(self, beginning: str) -> bool:
        return self.opening.startswith(beginning[: len(self.opening)])


PATTERNS = (
    Pattern("patch", "edit", re.compile(r"\A\*\*\*BeginPatch"), "edit", "***BeginPatch"),  # codex apply_patch, a custom tool
    Pattern("script", "shell", TEXT, None, ""),  # codex exec: JavaScript
    Pattern("shell", "shell", OBJECT, "shell"),  # claude Bash, codex exec_command, gemini run_shell_command
    Pattern("edit", "edit", OBJECT, "edit"),
    Pattern("read", "read", OBJECT, "read"),
    Pattern("search", "search", OBJECT, "search"),
    Pattern("web", "web", OBJECT, "web"),
    Pattern("agent", "agent", OBJECT, "agent"),
    Pattern("plan", "plan", OBJECT, "plan"),
    Pattern(
        "bash -lc",  # codex shell, under whatever name
        None,
        re.compile(rf"\A\{{(?:.*[,{{])?(?:command|cmd):\[{SHELL},(?:{FLAGS})"),
        "shell",
    ),
)


def stripped(text: str) -> str:
    """What of a text shapes are looked for in."""
    text = text[:READ]
    for char in STRIPPED:
        text = text.replace(char, "")
    return text[:LOOK]


def recognised(tool: str, beginning: str) -> Pattern | None:
    """The call that a stripped beginning shows; None: none so far."""
    found = [
        (match.end(), place) for place, each in enumerate(PATTERNS) if each.suits(tool) and (match := each.shape.search(beginning))
    ]
    return PATTERNS[min(found)[1]] if found else None


def hopeless(tool: str, beginning: str) -> bool:
    """Whether no call that is known begins like this, whatever follows."""
    return not any(each.suits(tool) and each.may_come(beginning) for each in PATTERNS)
