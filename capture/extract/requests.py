"""What requests set, what clients tell about themselves, how conversations grow."""

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from typing import Any

from capture.extract.base import ExchangeHead, Head, Kind, exchange_head, flow_head, json_line, number, pairs, word
from capture.jsonl import loads
from capture.parts import EACH, WHOLE, WRAPPERS
from capture.providers.base import member
from capture.updates import Asked, Exchange, FlowOpened, PartTold

MAX_FLOWS = 20_000  # whose betas are remembered
MAX_SESSIONS = 512  # whose parts' sizes are remembered
TOLD = (
    """metadata client_metadata user safety_identifier user_prompt_id project""".split()
)  # of a body: about the client, not the request
CLIENTS = ("user-agent", "originator", "version", "baggage")  # headers in which clients speak of themselves …
PREFIXES = tuple(  # … and how they begin
    """x-stainless- x-codex- x-claude- x-app x-client- x-goog-api-client x-msh- x-kimi-
    x-openai- x-dashscope- chatgpt-account-id anthropic-client- x-initiator http-referer x-title""".split()
)
BETAS = ("anthropic-beta", "openai-beta", "x-codex-beta-features")  # headers that ask for features
OWN = """model max_tokens max_output_tokens max_completion_tokens maxOutputTokens temperature top_p topP stream
    tool_choice toolConfig service_tier reasoning_effort""".split()  # of a body: what has a field of its own
BODY = frozenset(  # of a body: what is told elsewhere
    (
        *EACH,
        *WHOLE,
        *WRAPPERS,
        *TOLD,
        *OWN,
        "type",
        "tools",
        "generationConfig",
        "previous_response_id",
        "prompt_cache_key",
        "session_id",
    )
)


class ConfigRow(ExchangeHead):
    max_tokens: int | None
    """the most it may write, by whatever name"""
    temperature: float | None
    """null where the request does not say, here and below"""
    top_p: float | None
    """nucleus sampling"""
    effort: str | None
    """of reasoning: low, medium, high …"""
    thinking: str | None
    """whether and how it may think aloud: enabled, adaptive, disabled; the kind of summary"""
    thinking_budget: int | None
    """tokens for that"""
    tool_choice: Any
    """which tools it may call, or must"""
    stream: bool | None
    """whether the answer comes piece by piece"""
    service_tier: str | None
    """how urgent it is to the provider"""
    betas: list[str]
    """features that its headers ask for"""
    offers_tools: bool
    """whether the request offers any"""
    other: dict[str, Any]
    """all else that it sets, by the provider's names"""


class Config:
    """Requests with what they set. What their headers ask for stands in the flow's record, which comes before."""

    def __init__(self) -> None:
        self._betas: OrderedDict[str, list[str]] = OrderedDict()  # by flow

    def feed(self, update: FlowOpened | Asked) -> Iterable[ConfigRow]:
        if isinstance(update, Asked):
            exchange = update.exchange
            if exchange.request.body:
                yield _config(exchange, self._betas.get(exchange.flow_id, []))
            return
        if betas := _betas(update.flow):
            self._betas[str(update.flow.get("flow_id"))] = betas
            if len(self._betas) > MAX_FLOWS:
                self._betas.popitem(last=False)

    def close(self) -> Iterable[ConfigRow]:
        return ()


def _betas(flow: dict[str, Any]) -> list[str]:
    found = (value for name, value in pairs(flow.get("request_headers")) if name.lower() in BETAS)
    return [beta for value in found for each in value.split(",") if (beta := each.strip())]


def _config(exchange: Exchange, betas: list[str]) -> ConfigRow:
    body = exchange.request.body
    inner = next((body[name] for name in WRAPPERS if isinstance(body.get(name), dict)), body)
    generation = inner.get("generationConfig") or inner.get("generation_config")
    said: dict[str, Any] = {**inner, **generation} if isinstance(generation, dict) else inner
    return {
        **exchange_head(exchange),
        "max_tokens": number(_any(said, "max_tokens", "max_output_tokens", "max_completion_tokens", "maxOutputTokens")),
        "temperature": _real(said.get("temperature")),
        "top_p": _real(_any(said, "top_p", "topP")),
        "effort": word(
            _any(said, "reasoning_effort")
            or member(said, "reasoning", "effort")
            or member(said, "output_config", "effort")
            or member(said, "thinkingConfig", "thinkingLevel")
        ),
        "thinking": word(member(said, "thinking", "type") or member(said, "reasoning", "summary")),
        "thinking_budget": number(
            _any(said, "thinking_budget")
            or member(said, "thinking", "budget_tokens")
            or member(said, "thinkingConfig", "thinkingBudget")
        ),
        "tool_choice": _any(said, "tool_choice", "toolConfig"),
        "stream": stream if isinstance(stream := said.get("stream"), bool) else None,
        "service_tier": word(said.get("service_tier")),
        "betas": betas,
        "offers_tools": exchange.request.tools,
        "other": {name: value for name, value in said.items() if name not in BODY},
    }


def _any(said: dict[str, Any], *names: str) -> Any:
    return next((said[name] for name in names if said.get(name) is not None), None)


def _real(value: object) -> float | None:
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None


class TelemetryRow(Head):
    source: str
    """headers, or body of a request"""
    client: str | None
    """the agent's program"""
    client_version: str | None
    """its version"""
    user_agent: str | None
    """as sent"""
    os: str | None
    """its operating system, as it says"""
    arch: str | None
    """its processor"""
    runtime: str | None
    """what it runs on, with version"""
    device_id: str | None
    """device or installation, as it names it"""
    account_id: str | None
    """account or user, as it names it"""
    told: dict[str, Any]
    """all that it tells about itself, by its own names; JSON within texts is decoded"""


def telemetry(update: FlowOpened | Asked) -> Iterator[TelemetryRow]:
    if isinstance(update, FlowOpened):
        flow = update.flow
        found = {name.lower(): value for name, value in pairs(flow.get("request_headers"))}
        told = {name: _decoded(value) for name, value in found.items() if name in CLIENTS or name.startswith(PREFIXES)}
        client = flow.get("client")
        if told:
            yield _telemetry(flow_head(flow), "headers", client if isinstance(client, dict) else {}, told)
        return
    exchange = update.exchange
    body = exchange.request.body
    inner = next((body[name] for name in WRAPPERS if isinstance(body.get(name), dict)), body)
    told = {name: _decoded(value) for name in TOLD if (value := inner.get(name, body.get(name))) is not None}
    if told:
        yield _telemetry({"t": exchange.t, "sid": exchange.sid, "flow_id": exchange.flow_id}, "body", exchange.client, told)


def _telemetry(head: Head, source: str, client: dict[str, Any], told: dict[str, Any]) -> TelemetryRow:
    names = _flat(told)
    runtime = " ".join(filter(None, (names.get("x-stainless-runtime"), names.get("x-stainless-runtime-version"))))
    return {
        **head,
        "source": source,
        "client": word(client.get("name")),
        "client_version": word(client.get("version")),
        "user_agent": word(client.get("user_agent")) or names.get("user-agent"),
        "os": names.get("x-stainless-os"),
        "arch": names.get("x-stainless-arch"),
        "runtime": runtime or None,
        "device_id": names.get("device_id") or names.get("x-codex-installation-id") or names.get("installation_id"),
        "account_id": names.get("account_uuid") or names.get("account_id") or names.get("chatgpt-account-id"),
        "told": told,
    }


def _flat(told: dict[str, Any], depth: int = 3) -> dict[str, str]:
    """The texts in nested objects by their innermost name; the outer one of several wins."""
    found = {name: value for name, value in told.items() if isinstance(value, str) and value}
    for value in told.values() if depth else ():
        if isinstance(value, dict):
            found = _flat(value, depth - 1) | found
    return found


def _decoded(value: Any, depth: int = 3) -> Any:
    """A value with the JSON objects that stand in its texts decoded (claude's `user_id`, codex's turn metadata)."""
    if isinstance(value, dict) and depth:
        return {name: _decoded(each, depth - 1) for name, each in value.items()}
    if isinstance(value, str) and value.startswith("{"):
        try:
            return loads(value)
        except ValueError:
            return value
    return value


class GrowthRow(ExchangeHead):
    messages: int
    """parts of the conversation in the request; over a WebSocket only those sent with it"""
    new: int
    """of those, parts that the conversation did not have"""
    new_bytes: int
    """their JSON, images and all"""
    new_by: dict[str, int]
    """how many there are of each kind: user, assistant, function_call_output …"""
    prompts: int
    """of those, prompts of the user"""
    results: int
    """results of tools in them"""


class Growth:
    """Exchanges with what is new in their requests. The sizes of parts are remembered: they are told before."""

    def __init__(self) -> None:
        self._sizes: OrderedDict[str, dict[str, int]] = OrderedDict()  # by session and part

    def feed(self, update: PartTold | Asked) -> Iterable[GrowthRow]:
        if isinstance(update, PartTold):
            self._remember(update.part.sid, update.part.id, len(json_line(update.part.value)) - 1)
            return
        exchange = update.exchange
        new_by: dict[str, int] = {}
        for part in exchange.new:
            name = part.event.removeprefix("request.")
            new_by[name] = new_by.get(name, 0) + 1
        yield {
            **exchange_head(exchange),
            "messages": len(exchange.request.said),
            "new": len(exchange.new),
            "new_bytes": sum(self._sizes.get(part.sid, {}).get(part.id, 0) for part in exchange.new),
            "new_by": new_by,
            "prompts": len(exchange.prompts),
            "results": sum(len(part.results) for part in exchange.new),
        }

    def close(self) -> Iterable[GrowthRow]:
        return ()

    def _remember(self, sid: str, part_id: str, size: int) -> None:
        self._sizes.setdefault(sid, {})[part_id] = size
        self._sizes.move_to_end(sid)
        if len(self._sizes) > MAX_SESSIONS:
            self._sizes.popitem(last=False)


KINDS = (
    Kind("config", "What each request sets: model, effort, budget, temperature.", ConfigRow, (FlowOpened, Asked), start=Config),
    Kind("telemetry", "What clients tell about themselves.", TelemetryRow, (FlowOpened, Asked), telemetry),
    Kind("conversation_growth", "What is new in each request.", GrowthRow, (PartTold, Asked), start=Growth),
)
