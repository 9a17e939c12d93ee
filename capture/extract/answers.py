"""What is said of each exchange and of its answer."""

from collections.abc import Iterator

from capture.events import UsageReported
from capture.extract.base import ExchangeHead, Kind, exchange_head
from capture.prices import cost
from capture.updates import Answered, Exchange, between


class CallIndexRow(ExchangeHead):
    provider: str
    """whose vocabulary: anthropic, openai, gemini, or the dialect of an older log"""
    api: str
    """which interface of it"""
    client: str | None
    """the agent's program"""
    client_version: str | None
    """its version"""
    cwd: str | None
    """the working directory of its process"""
    parent: str | None
    """the session or agent that started a sub-agent"""
    status: int | None
    """HTTP status; null when no answer came, or the log does not say"""
    outcome: str
    """as in the flow's end record; `complete` as soon as the provider has said its last word; `open` where the log ends"""
    ended_t: str | None
    """when the answer was over"""
    duration_ms: float | None
    """from the request to then"""
    messages: int
    """parts of the conversation in the request: messages, input items, contents"""
    calls: int
    """tool calls in the answer"""


def call_index(update: Answered) -> Iterator[CallIndexRow]:
    exchange = update.exchange
    client = exchange.client
    yield {
        **exchange_head(exchange),
        "provider": exchange.provider,
        "api": exchange.api,
        "client": client.get("name"),
        "client_version": client.get("version"),
        "cwd": client.get("cwd"),
        "parent": exchange.parent,
        "status": exchange.status,
        "outcome": exchange.outcome,
        "ended_t": exchange.ended_t,
        "duration_ms": exchange.duration_ms,
        "messages": len(exchange.request.said),
        "calls": len(exchange.calls),
    }


class AssistantMessageRow(ExchangeHead):
    message_id: str | None
    """the provider's id"""
    text: str
    """what the model said to its reader: no reasoning, no tool calls"""
    chars: int
    """of that"""
    citations: int
    """sources that it named"""
    calls: int
    """tool calls that came with it"""
    stopped: str | None
    """why it stopped, in the provider's word"""


def assistant_messages(update: Answered) -> Iterator[AssistantMessageRow]:
    exchange = update.exchange
    answer = exchange.answer
    if text := answer.text:
        yield {
            **exchange_head(exchange),
            "message_id": answer.message_id,
            "text": text,
            "chars": len(text),
            "citations": len(answer.citations),
            "calls": len(answer.calls),
            "stopped": answer.stopped,
        }


class ReasoningRow(ExchangeHead):
    reasoning_chars: int
    """of reasoning, or of a summary of it, that the provider showed"""
    signatures: int
    """signatures that a client must send back"""
    encrypted: int
    """blocks of encrypted reasoning"""
    redacted: int
    """blocks of redacted reasoning"""
    sealed_chars: int
    """of all three"""
    reasoning_tokens: int | None
    """as the provider counts them; null where it does not say"""


def reasoning_presence(update: Answered) -> Iterator[ReasoningRow]:
    exchange = update.exchange
    answer = exchange.answer
    tokens = answer.usage.reasoning if answer.usage else None
    if answer.reasonings or answer.sealed or tokens:
        kinds = [sealed.kind for sealed in answer.sealed]
        yield {
            **exchange_head(exchange),
            "reasoning_chars": len(answer.reasoning),
            "signatures": kinds.count("signature"),
            "encrypted": kinds.count("encrypted"),
            "redacted": kinds.count("redacted"),
            "sealed_chars": sum(len(sealed.data) for sealed in answer.sealed),
            "reasoning_tokens": tokens,
        }


class TokenUsageRow(ExchangeHead):
    fresh: int | None
    """input that came from no cache and went into none; null where the provider does not say, here and below"""
    cached: int | None
    """input read from the provider's cache"""
    written: int | None
    """input written to the provider's cache"""
    output: int | None
    """all that the model wrote, reasoning too"""
    reasoning: int | None
    """of the output"""
    input: int
    """all that the model read: fresh, cached and written"""
    total: int
    """input and output"""


def token_usage(update: Answered) -> Iterator[TokenUsageRow]:
    exchange = update.exchange
    if usage := _usage(exchange):
        yield {
            **exchange_head(exchange),
            "fresh": usage.fresh,
            "cached": usage.cached,
            "written": usage.written,
            "output": usage.output,
            "reasoning": usage.reasoning,
            "input": usage.input,
            "total": usage.input + (usage.output or 0),
        }


class CostRow(ExchangeHead):
    input: int
    """tokens read"""
    output: int | None
    """tokens written"""
    cost: float | None
    """US dollars at list prices; null when the price is not known"""


def costs(update: Answered) -> Iterator[CostRow]:
    exchange = update.exchange
    if usage := _usage(exchange):
        yield {
            **exchange_head(exchange),
            "input": usage.input,
            "output": usage.output,
            "cost": cost(exchange.provider, exchange.model, usage, exchange.t),
        }


class StopReasonRow(ExchangeHead):
    stopped: str | None
    """why the model stopped, in the provider's word: end_turn, tool_calls, completed, STOP …"""
    failed: str | None
    """what the provider said went wrong"""
    outcome: str
    """how the exchange ended: complete, client_closed, server_closed, error, stopped, killed, open"""


def stop_reasons(update: Answered) -> Iterator[StopReasonRow]:
    exchange = update.exchange
    yield {
        **exchange_head(exchange),
        "stopped": exchange.answer.stopped,
        "failed": exchange.answer.failed,
        "outcome": exchange.outcome,
    }


class LatencyRow(ExchangeHead):
    first_ms: float | None
    """from the request to the first event of the answer; to the first byte: see `envelope`"""
    duration_ms: float | None
    """from the request to the end of the answer"""
    output: int | None
    """tokens written"""
    tokens_per_second: float | None
    """while it wrote: from the first event to the end; null where that took no time"""


def latency(update: Answered) -> Iterator[LatencyRow]:
    exchange = update.exchange
    usage = _usage(exchange)
    output = usage.output if usage else None
    first, duration = between(exchange.t, exchange.first_t), exchange.duration_ms
    wrote = duration - first if first is not None and duration is not None else 0
    yield {
        **exchange_head(exchange),
        "first_ms": first,
        "duration_ms": duration,
        "output": output,
        "tokens_per_second": round(output * 1000 / wrote, 1) if output and wrote > 0 else None,
    }


def _usage(exchange: Exchange) -> UsageReported | None:
    """The tokens of one answer; None where none are told."""
    usage = exchange.answer.usage
    return None if usage is None or usage.running else usage


KINDS = (
    Kind("call_index", "Every exchange with a model, in the order in which they ended.", CallIndexRow, (Answered,), call_index),
    Kind("assistant_messages", "What models said.", AssistantMessageRow, (Answered,), assistant_messages),
    Kind("reasoning_presence", "How much models reasoned, and in what form.", ReasoningRow, (Answered,), reasoning_presence),
    Kind("token_usage", "Tokens of each exchange.", TokenUsageRow, (Answered,), token_usage),
    Kind("costs", "What each exchange cost.", CostRow, (Answered,), costs),
    Kind("stop_reasons", "Why answers stopped.", StopReasonRow, (Answered,), stop_reasons),
    Kind("latency", "How long answers took to begin and to end.", LatencyRow, (Answered,), latency),
)
