"""Events put together: what was said by whom, as far as it has been said."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, assert_never

from capture.events import (
    Cited,
    Event,
    Failed,
    IdGiven,
    ImageSeen,
    MessageStarted,
    PromptGiven,
    RateLimited,
    ReasoningDelta,
    ReasoningWhole,
    Sealed,
    Stopped,
    TextDelta,
    TextWhole,
    ToolArgumentsDelta,
    ToolCallEnded,
    ToolCallStarted,
    ToolResult,
    Unknown,
    UsageReported,
    WentIdle,
)

TAGS = (  # what clients put into a user's mouth between tags, closed or not (claude-code, codex, gemini-cli, kimi-code)
    *("system-reminder", "environment_context", "session_context", "permissions instructions", "user_instructions", "INSTRUCTIONS"),
    *("turn_aborted", "local-command-caveat", "local-command-stdout", "local-command-stderr", "command-name", "command-message"),
    *("command-args", "bash-input", "bash-stdout", "bash-stderr", "task-notification", "ide_opened_file", "ide_selection"),
    *("user_shell_command", "subagent_notification", "user-prompt-submit-hook"),
)
CONTEXT = (  # how such texts begin that have no tags
    "# AGENTS.md instructions",
    "[Request interrupted by user",
    "Caveat: The messages below",
    "Stop hook feedback:",
    "This session is being continued from a previous conversation",
    "Another language model started to solve this problem",
)
SUMMARY = (
    "Your task is to create a detailed summary of the conv",
    "You are performing a CONTEXT CHECKPOINT COMPACTION",
)  # compaction
OPENED = re.compile(rf"\s*<({'|'.join(map(re.escape, TAGS))})(?:\s[^>]*)?>")


def joined(pieces: Iterable[str]) -> str:
    """A text from its pieces; a character that was cut into two surrogate escapes is one again."""
    text = "".join(pieces)
    try:
        text.encode()
    except UnicodeEncodeError:
        text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


class Pieces:
    """Texts that arrive in pieces, by block, in the order in which the blocks began. A whole replaces its pieces."""

    __slots__ = ("_blocks",)

    def __init__(self) -> None:
        self._blocks: dict[tuple[int, str], list[str]] = {}  # (retelling, key) → pieces

    def add(self, text: str, key: str = "", again: int = 0) -> None:
        self._blocks.setdefault((again, key), []).append(text)

    def whole(self, text: str, key: str = "", again: int = 0) -> None:
        self._blocks[again, key] = [text]

    def __bool__(self) -> bool:
        return bool(self._blocks)

    @property
    def again(self) -> int:
        """Which telling `text` gives: 0 is first-hand."""
        return min((again for again, _ in self._blocks), default=0)

    @property
    def text(self) -> str:
        told = self.again
        return joined(piece for (again, _), pieces in self._blocks.items() if again == told for piece in pieces)


@dataclass(slots=True)
class ToolCall:
    """A call as the model made it."""

    call_id: str
    name: str
    server: bool = False  # run by the provider
    pieces: list[str] = field(default_factory=list)  # of the arguments
    ended: bool = False

    @property
    def arguments(self) -> str:
        """The text so far: JSON for most tools."""
        return joined(self.pieces)


@dataclass(slots=True)
class Message:
    """One utterance: a prompt, an answer with its reasoning and tool calls, or the results of tools."""

    role: str
    model: str | None = None
    message_id: str | None = None
    texts: Pieces = field(default_factory=Pieces)
    reasonings: Pieces = field(default_factory=Pieces)
    sealed: list[Sealed] = field(default_factory=list)
    calls: list[ToolCall] = field(default_factory=list)
    results: list[ToolResult] = field(default_factory=list)
    citations: list[Any] = field(default_factory=list)
    images: list[ImageSeen] = field(default_factory=list)
    limits: list[Any] = field(default_factory=list)
    ids: list[IdGiven] = field(default_factory=list)
    unknown: list[Unknown] = field(default_factory=list)
    usage: UsageReported | None = None
    stopped: str | None = None
    failed: str | None = None

    @property
    def text(self) -> str:
        return self.texts.text

    @property
    def reasoning(self) -> str:
        return self.reasonings.text

    @property
    def empty(self) -> bool:
        return not (
            self.texts or self.reasonings or self.sealed or self.calls or self.results or self.images or self.failed or self.unknown
        )


class Assembler:
    """Messages of one flow: an event that begins a new one, or another speaker, closes the one before."""

    def __init__(self, role: str = "assistant") -> None:
        self.message = Message(role)
        self._calls: dict[str, ToolCall] = {}

    def feed(self, event: Event) -> Iterator[Message]:
        """The messages that `event` closed."""
        message = self.message
        match event:
            case TextDelta(text, role, key, again):
                if role != message.role:
                    yield from self.close(role)
                self.message.texts.add(text, key, again)
            case ReasoningDelta(text, key, _, again):
                message.reasonings.add(text, key, again)
            case ToolArgumentsDelta(key, text):
                if call := self._calls.get(key):
                    call.pieces.append(text)
            case MessageStarted(message_id, model):
                if message.stopped and not message.empty:
                    yield self._next("assistant")
                self.message.model = model or self.message.model
                self.message.message_id = message_id or self.message.message_id
            case TextWhole(text, key, again):
                message.texts.whole(text, key, again)
            case ReasoningWhole(text, key, _, again):
                message.reasonings.whole(text, key, again)
            case ToolCallStarted(key, call_id, name, server):
                if key not in self._calls or self._calls[key].call_id != call_id:
                    self._calls[key] = ToolCall(call_id, name, server)
                    message.calls.append(self._calls[key])
            case ToolCallEnded(key, arguments):
                if call := self._calls.get(key):
                    call.ended = True
                    if arguments is not None:
                        call.pieces = [arguments]
            case ToolResult():
                _once(message.results, event)
            case UsageReported():
                message.usage = message.usage.newer(event) if message.usage else event
            case Stopped(reason):
                message.stopped = reason
                for call in message.calls:  # Chat Completions says of no call that it is complete
                    call.ended = True
            case Failed(kind, text):
                message.failed = f"{kind}: {text}"
            case Sealed():
                _once(message.sealed, event)
            case Cited(payload):
                _once(message.citations, payload)
            case ImageSeen():
                message.images.append(event)
            case RateLimited(payload):
                message.limits.append(payload)
            case IdGiven():
                _once(message.ids, event)
            case Unknown():
                message.unknown.append(event)
            case PromptGiven() | WentIdle():
                pass  # about a turn, not a message
            case _:
                assert_never(event)

    def close(self, role: str = "assistant") -> Iterator[Message]:
        """The message that was still open."""
        if self.message.empty:
            self.message.role = role
        else:
            yield self._next(role)

    def _next(self, role: str) -> Message:
        done, self.message, self._calls = self.message, Message(role), {}
        return done


def assemble(events: Iterable[Event], role: str = "assistant") -> Iterator[Message]:
    """All messages of a run of events."""
    assembler = Assembler(role)
    for event in events:
        yield from assembler.feed(event)
    yield from assembler.close()


def _once[T](told: list[T], event: T) -> None:
    """Adds what was not told yet: Responses say what they said again in `output_item.done` and in their last frame."""
    if event not in told:
        told.append(event)


def typed(text: str) -> str:
    """What of a user's text a human wrote: without what the client put before it, or nothing."""
    while found := OPENED.match(text):
        _, closed, text = text.partition(f"</{found[1]}>")
        if not closed:
            return ""
    return "" if text.lstrip().startswith((*CONTEXT, *SUMMARY)) else text


def is_context(text: str) -> bool:
    """Whether a user text is what the client put there about itself, not what a human wrote."""
    return bool(text.strip()) and not typed(text).strip()
