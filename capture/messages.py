"""Events put together: what was said by whom, as far as it has been said."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import assert_never

from capture.events import (
    Event,
    Failed,
    MessageStarted,
    ReasoningDelta,
    Stopped,
    TextDelta,
    ToolArgumentsDelta,
    ToolCallEnded,
    ToolCallStarted,
    ToolResult,
    Unknown,
    UsageReported,
)

CONTEXT = ("<system-reminder>", "<environment_context>", "<session_context>", "<permissions instructions>", "<user_instructions>")


@dataclass(slots=True)
class ToolCall:
    """A call as the model made it. `arguments`: the text so far, JSON for most tools."""

    call_id: str
    name: str
    arguments: str = ""


@dataclass(slots=True)
class Message:
    """One utterance: a prompt, an answer with its reasoning and tool calls, or the results of tools."""

    role: str
    text: str = ""
    reasoning: str = ""
    model: str | None = None
    calls: list[ToolCall] = field(default_factory=list)
    results: list[ToolResult] = field(default_factory=list)
    usage: UsageReported | None = None
    stopped: str | None = None
    failed: str | None = None

    @property
    def empty(self) -> bool:
        return not (self.text or self.reasoning or self.calls or self.results or self.failed)


class Assembler:
    """Messages of one flow: an event that begins a new one, or another speaker, closes the one before."""

    def __init__(self, role: str = "assistant") -> None:
        self.message = Message(role)
        self._calls: dict[str, ToolCall] = {}

    def feed(self, event: Event) -> Iterator[Message]:
        """The messages that `event` closed."""
        match event:
            case MessageStarted(model=model):
                if not self.message.empty and self.message.stopped:
                    yield self._next("assistant")
                self.message.model = model or self.message.model
            case TextDelta(text, role):
                if role != self.message.role:
                    yield from self.close(role)
                self.message.text += text
            case ReasoningDelta(text):
                self.message.reasoning += text
            case ToolCallStarted(key, call_id, name):
                self._calls[key] = ToolCall(call_id, name)
                self.message.calls.append(self._calls[key])
            case ToolArgumentsDelta(key, text):
                if call := self._calls.get(key):
                    call.arguments += text
            case ToolCallEnded(key, arguments):
                if arguments is not None and (call := self._calls.get(key)):
                    call.arguments = arguments
            case ToolResult():
                self.message.results.append(event)
            case UsageReported():
                self.message.usage = _newer(self.message.usage, event)
            case Stopped(reason):
                self.message.stopped = reason
            case Failed(kind, text):
                self.message.failed = f"{kind}: {text}"
            case Unknown():
                pass
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


def is_context(text: str) -> bool:
    """Whether a user text is what the client put there about itself, not what a human wrote."""
    return text.lstrip().startswith(CONTEXT)


def _newer(old: UsageReported | None, new: UsageReported) -> UsageReported:
    """The last report wins, number by number."""
    if old is None:
        return new
    return UsageReported(
        input=new.input if new.input is not None else old.input,
        output=new.output if new.output is not None else old.output,
        cached=new.cached if new.cached is not None else old.cached,
        reasoning=new.reasoning if new.reasoning is not None else old.reasoning,
    )
