"""What models are told: system prompts, users' prompts, tools, and what clients put beside them."""

import re
from collections.abc import Iterator
from typing import Any

from capture.extract.base import MADE, TOOLS, Head, Kind, PartHead, PartRead, digest, part_head, word
from capture.providers.base import Holds, items
from capture.updates import PartTold, TurnStarted

INSTRUCTIONS = ("request.system", "request.developer")
POLICIES = (  # tags of what claude-code 2.1.329, codex 0.169.0, kimi-code 2.1.0, opencode 1.18.33 put beside a user's words
    "system-reminder",
    "system_reminder",
    "permissions instructions",
    "user_instructions",
    "INSTRUCTIONS",
    "collaboration_mode",
    "multi_agent_mode",
    "multi_agent_role",
    "skills_instructions",
    "apps_instructions",
    "personality_spec",
    "turn_aborted",
    "local-command-caveat",
    "user-prompt-submit-hook",
)
TAG = re.compile(f"<({'|'.join(map(re.escape, POLICIES))})>")
OTHERS = {"# AGENTS.md instructions": "AGENTS.md", "[Request interrupted by user": "interrupted"}  # without a tag: how they begin
DESCRIBED = ("parameters", "input_schema", "parametersJsonSchema", "inputSchema", "format")  # where a tool's schema may stand
DEPTH = 3  # tools within tools: namespaces, Gemini's lists of declarations


class SystemPromptRow(PartHead):
    role: str
    """system or developer"""
    chars: int
    """of the text"""
    sha256: str
    """of the text"""
    text: str
    """what it says"""


def system_prompts(read: PartRead) -> Iterator[SystemPromptRow]:
    if read.part.event not in INSTRUCTIONS:
        return
    for role in ("system", "developer"):
        if text := "\n".join(each.text for each in read.texts if each.role == role):
            yield {**part_head(read.part), "role": role, "chars": len(text), "sha256": digest(text), "text": text}


class UserPromptRow(Head):
    turn: int
    """that it began, from 1 in its session"""
    client: str | None
    """the agent's program"""
    cwd: str | None
    """the working directory of its process"""
    chars: int
    """of the text"""
    sure: bool
    """false where it may be an earlier prompt that was sent again: the log begins too late to know"""
    text: str
    """what the user wrote"""


def user_prompts(update: TurnStarted) -> Iterator[UserPromptRow]:
    turn = update.turn
    for prompt in turn.prompts:
        if prompt.text:
            yield {
                "t": prompt.t,
                "sid": prompt.sid,
                "flow_id": prompt.flow_id,
                "turn": turn.number,
                "client": turn.client.get("name"),
                "cwd": turn.client.get("cwd"),
                "chars": len(prompt.text),
                "sure": prompt.sure,
                "text": prompt.text,
            }


class ToolDefinedRow(PartHead):
    name: str
    """of the tool; its type where it has no name (tools that the provider runs)"""
    type: str | None
    """function, custom, web_search …; null where the provider does not say"""
    namespace: str | None
    """the group it stands in"""
    description: str | None
    """what the model is told about it"""
    parameters: Any
    """the schema of its arguments, in the provider's form"""


def tools_defined(update: PartTold) -> Iterator[ToolDefinedRow]:
    part = update.part
    if part.event in TOOLS:
        value = part.value.get("tools") if isinstance(part.value, dict) else part.value
        yield from _tools(part_head(part), value, None, DEPTH)


def _tools(head: PartHead, value: object, namespace: str | None, depth: int) -> Iterator[ToolDefinedRow]:
    for tool in items(value) if depth else ():
        if isinstance(inner := tool.get("functionDeclarations") or tool.get("function_declarations"), list):
            yield from _tools(head, inner, namespace, depth - 1)
        elif isinstance(tool.get("tools"), list):
            yield from _tools(head, tool["tools"], word(tool.get("name")), depth - 1)
        else:
            yield _tool(head, tool, namespace)


def _tool(head: PartHead, tool: dict[str, Any], namespace: str | None) -> ToolDefinedRow:
    said = tool["function"] if isinstance(tool.get("function"), dict) else tool
    kind = word(tool.get("type"))
    return {
        **head,
        "name": word(said.get("name")) or kind or next(iter(tool), ""),
        "type": kind,
        "namespace": namespace,
        "description": word(said.get("description")),
        "parameters": next((said[name] for name in DESCRIBED if said.get(name) is not None), None),
    }


class ReminderRow(PartHead):
    role: str
    """in whose name it is said: user, system, developer; tool: inside a tool's result"""
    tag: str
    """what it is called: system-reminder, permissions instructions …; `developer` for a developer message without a tag"""
    chars: int
    """of the text"""
    text: str
    """what it says"""


def reminders_policies(read: PartRead) -> Iterator[ReminderRow]:
    for role, text in read.texts:
        found = list(_policies(text))
        if not found and role == "developer":
            found = [(role, text)]
        for tag, said in found:
            yield {**part_head(read.part), "role": role, "tag": tag, "chars": len(said), "text": said}


def _policies(text: str) -> Iterator[tuple[str, str]]:
    """(tag, text) of the policies in a text."""
    for beginning, name in OTHERS.items():
        if text.startswith(beginning):
            yield name, text
            return
    for found in TAG.finditer(text):
        end = text.find(f"</{found[1]}>", found.end())
        if end >= 0 and text[found.start() - 1 : found.start()] != "`":  # a system prompt that explains the tag is none
            yield found[1], text[found.end() : end].strip()
        elif found.start() == 0:
            yield found[1], text[found.end() :].strip()


KINDS = (
    Kind(
        "system_prompts",
        "System prompts, developer messages, instructions.",
        SystemPromptRow,
        (PartRead,),
        system_prompts,
        holds=Holds.REQUEST,
    ),
    Kind("user_prompts", "What users asked.", UserPromptRow, (TurnStarted,), user_prompts, holds=MADE),
    Kind("tools_defined", "Tools that models are offered.", ToolDefinedRow, (PartTold,), tools_defined, holds=Holds.REQUEST),
    Kind(
        "reminders_policies",
        "Reminders, permissions and policies that clients put into messages.",
        ReminderRow,
        (PartRead,),
        reminders_policies,
        holds=Holds.REQUEST,
    ),
)
