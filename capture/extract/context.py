"""What prompts say about the place an agent works in and about the model itself."""

import re
from collections.abc import Iterator

from capture.extract.base import Kind, PartHead, PartRead, part_head
from capture.providers.base import Holds

MAX_HINT = 400  # characters of one hint
MAX_PATHS = 50  # of one part
CONTEXT = (  # marks of texts in which clients describe their surroundings
    "<env>",
    "<environment_context>",
    "<session_context>",
    "# Environment",
    "# gitStatus",
    "gitStatus:",
    "orking directory",
    "urrent directory",
    "<cwd>",
)
PLACES = {  # field → how clients say it (claude-code 2.1.329, codex 0.169.0, gemini-cli 0.61.0, opencode 1.18.33, kimi-cli 1.51)
    "cwd": (
        r"<cwd>([^<\n]+)</cwd>",
        r"(?:Primary w|W|w)orking directory(?: is)?:? +`?([^\n`]+)",
        r"[Cc]urrent (?:working )?directory(?: is)?:? +`?([^\n`]+)",
        r"I'm currently working in the directory: +([^\n]+)",
    ),
    "git_repo": (r"[Ii]s (?:a |directory a )?git repo(?:sitory)?: *(\w+)",),
    "git_branch": (r"Current branch: *([^\n]+)", r"<branch>([^<\n]+)</branch>"),
    "main_branch": (r"Main branch[^:\n]*: *([^\n]+)",),
    "platform": (r"Platform: *([^\n]+)", r"My operating system is: *([^\n]+)", r"<platform>([^<\n]+)</platform>"),
    "os_version": (r"OS Version: *([^\n]+)",),
    "shell": (r"<shell>([^<\n]+)</shell>", r"(?m)^[ \-*]*Shell: *([^\n]+)"),
}
PLACE = {field: tuple(re.compile(pattern) for pattern in patterns) for field, patterns in PLACES.items()}
ROOTS = re.compile(r"<root>([^<\n]+)</root>|(?m:^[ \-*]*Additional working directories: *([^\n]+))")
A_PATH = re.compile(r"(?<![\w/<.:~])(?:~|[A-Za-z]:)?[/\\][\w.@+\-]+(?:[/\\][\w.@+\-]+)+")
BLOCK = re.compile(r"<(env|environment_context|session_context)>(.*?)(?:</\1>|\Z)", re.DOTALL)

MODEL = {
    "model_name": (
        r"powered by the model named ([^\n]+?)\.(?:\s|$)",
        r"[Yy]ou are powered by the model ([^\n]+?)\.(?:\s|$)",
        r"based on (GPT-[\w.\-]*\w)",
    ),
    "model_id": (r"exact model ID is ([\w.\-:/\[\]]+?)\.?(?:\s|$)",),
    "cutoff": (r"knowledge cutoff(?: date)?(?: is|:)? +([^\n.]+)", r"Knowledge cutoff: *([^\n]+)"),
    "date": (
        r"<current_date>([^<\n]+)</current_date>",
        r"[Tt]oday's date(?: is)?:? +([^\n.(]+)",
        r"[Cc]urrent date(?: and time)?(?: is)?:? +([^\n.(]+)",
    ),
}
IDENTITY = {field: tuple(re.compile(pattern) for pattern in patterns) for field, patterns in MODEL.items()}
IDENTIFIES = re.compile(
    r"powered by the model|based on GPT-|exact model ID|knowledge cutoff|Knowledge cutoff|[Cc]urrent[ _]date|oday's date"
)


class PathsRow(PartHead):
    client_cwd: str | None
    """the working directory of the client's process; null for one on another machine"""
    cwd: str | None
    """the working directory, as the text says"""
    git_repo: bool | None
    """whether that is a git repository, as the text says"""
    git_branch: str | None
    """the branch it is on"""
    main_branch: str | None
    """the branch that pull requests go to"""
    platform: str | None
    """linux, darwin …"""
    os_version: str | None
    """of the operating system"""
    shell: str | None
    """the user's"""
    paths: list[str]
    """file paths in the blocks that describe the environment, each once"""


def paths_repo_hints(read: PartRead) -> Iterator[PathsRow]:
    text = _described(read)
    if not text:
        return
    found = {field: _first(patterns, text) for field, patterns in PLACE.items()}
    paths = _paths(text)
    if not paths and not any(found.values()):
        return
    client = read.flow.get("client")
    repo = found["git_repo"]
    yield {
        **part_head(read.part),
        "client_cwd": client.get("cwd") if isinstance(client, dict) else None,
        "cwd": found["cwd"],
        "git_repo": None if repo is None else repo.lower() in ("yes", "true"),
        "git_branch": found["git_branch"],
        "main_branch": found["main_branch"],
        "platform": found["platform"],
        "os_version": found["os_version"],
        "shell": found["shell"],
        "paths": paths,
    }


def _described(read: PartRead) -> str:
    """The texts of a part that describe an environment; what a user or a tool says is none, unless the client says so by a tag."""
    found = []
    for role, text in read.texts:
        if role == "tool":
            continue
        if role == "user" and not text.lstrip().startswith("<"):
            continue
        if any(mark in text for mark in CONTEXT):
            found.append(text)
    return "\n".join(found)


def _paths(text: str) -> list[str]:
    """Paths in blocks of an environment, and roots that are named so, each once."""
    roots = [one or other for one, other in ROOTS.findall(text)]
    inside = [path for _, block in BLOCK.findall(text) for path in A_PATH.findall(block)]
    return list(dict.fromkeys((*roots, *inside)))[:MAX_PATHS]


def _first(patterns: tuple[re.Pattern[str], ...], text: str) -> str | None:
    for pattern in patterns:
        if found := pattern.search(text):
            return found[1].strip()[:MAX_HINT] or None
    return None


class IdentityRow(PartHead):
    role: str
    """who says it: system, developer, user (in a block that the client put there)"""
    model_name: str | None
    """the model's name, as the prompt says"""
    model_id: str | None
    """its exact id"""
    cutoff: str | None
    """until when it knows the world"""
    date: str | None
    """the day, as the prompt says"""
    text: str
    """the lines that say so"""


def model_identity_cutoff(read: PartRead) -> Iterator[IdentityRow]:
    for role, text in read.texts:
        if role == "tool" or (role == "user" and not text.lstrip().startswith("<")) or not IDENTIFIES.search(text):
            continue
        found = {field: _first(patterns, text) for field, patterns in IDENTITY.items()}
        if any(found.values()):
            lines = (line.strip() for line in text.split("\n") if IDENTIFIES.search(line))
            yield {
                **part_head(read.part),
                "role": role,
                "model_name": found["model_name"],
                "model_id": found["model_id"],
                "cutoff": found["cutoff"],
                "date": found["date"],
                "text": "\n".join(line[:MAX_HINT] for line in lines),
            }


KINDS = (
    Kind(
        "paths_repo_hints",
        "Working directory, branch, platform, as clients tell their models.",
        PathsRow,
        (PartRead,),
        paths_repo_hints,
        holds=Holds.REQUEST,
    ),
    Kind(
        "model_identity_cutoff",
        "What prompts say about the model: name, id, knowledge cutoff, date.",
        IdentityRow,
        (PartRead,),
        model_identity_cutoff,
        holds=Holds.REQUEST,
    ),
)
