"""What a recorded request asks for: its model, the parts it refers to, whether a user waits for the answer.

A request is what `sse_flows.jsonl` holds under `request`, or a WebSocket frame of the client: JSON with `{"$part": id}` in the
place of each part. What clients send was seen on the wire (claude-code 2.1.329, codex 0.169.0,
gemini-cli 0.61.0, opencode 1.18.33).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from capture.jsonl import loads
from capture.parts import EACH, WRAPPERS

SAID_BEFORE = frozenset(  # parts in which a client sends back what the model has said
    f"request.{name}"
    for name in (
        "assistant",
        "model",
        "function_call",
        "custom_tool_call",
        "local_shell_call",
        "computer_call",
        "mcp_call",
        "reasoning",
        "web_search_call",
        "item_reference",
    )
)


@dataclass(frozen=True, slots=True)
class Request:
    """One request, its parts by reference."""

    body: dict[str, Any]  # what is not a part, as sent; {} when there was none
    model: str | None = None
    said: tuple[str, ...] = ()  # ids of the conversation's parts, in order: messages, input items, contents
    other: tuple[str, ...] = ()  # ids of its other parts: system prompt, tools
    tools: bool = False  # whether it offers any
    previous: str | None = None  # id of the response it continues (empty: not known): then `said` is only what is new
    background: str | None = None  # why no user waits for it: title, router, prewarm, quota …; None: somebody does


def request_of(flow: dict[str, Any]) -> Request:
    """What the request of a flow record asks for."""
    body = flow.get("request")
    if isinstance(body, str):
        try:
            body = loads(body)
        except ValueError:
            body = None
    return _request(body if isinstance(body, dict) else {}, flow)


def request_in(flow: dict[str, Any], frame: dict[str, Any]) -> Request:
    """What a client's WebSocket frame asks for."""
    return _request(frame, flow)


def headers(flow: dict[str, Any]) -> dict[str, str]:
    """The request headers of a flow record by lower-case name; the first of several wins."""
    found: dict[str, str] = {}
    pairs = flow.get("request_headers")
    for pair in pairs if isinstance(pairs, list) else ():
        if isinstance(pair, list) and len(pair) == 2:
            found.setdefault(str(pair[0]).lower(), str(pair[1]))
    return found


def model_in(url: str) -> str | None:
    """The model that a URL names (Gemini, Vertex, Bedrock)."""
    for mark in ("/models/", "/model/"):
        _, _, rest = url.partition(mark)
        if rest:
            return rest.partition(":")[0].partition("/")[0].partition("?")[0]
    return None


def _request(body: dict[str, Any], flow: dict[str, Any]) -> Request:
    inner = next((body[name] for name in WRAPPERS if isinstance(body.get(name), dict)), body)
    said: list[str] = []
    other: list[str] = []
    for name, value in inner.items():
        if name in EACH:
            said += _references(value)
        elif isinstance(value, (dict, list)):
            other += _references(value)
    model = inner.get("model") or body.get("model")
    request = Request(
        body=body,
        model=model if isinstance(model, str) else model_in(str(flow.get("url", ""))),
        said=tuple(said),
        other=tuple(other),
        tools=bool(inner.get("tools")),
        previous=previous if isinstance(previous := inner.get("previous_response_id"), str) else None,
    )
    why = next((why for rule in BACKGROUND if (why := rule(flow, request))), None)
    return request if why is None else _with_background(request, why)


def _with_background(request: Request, why: str) -> Request:
    return Request(request.body, request.model, request.said, request.other, request.tools, request.previous, why)


def _references(value: Any) -> list[str]:
    """Ids of the parts that a field refers to: it is one reference, or a list of them."""
    listed = value if isinstance(value, list) else [value]
    return [found for item in listed if isinstance(item, dict) and isinstance(found := item.get("$part"), str)]


# -- calls that no user waits for --------------------------------------------------------------------------------------------


def _told_by_class(flow: dict[str, Any], request: Request) -> str | None:
    """claude: `x-claude-code-request-class: auxiliary`; its sub-agents and main calls say `subagent`, `main` …"""
    return "auxiliary" if headers(flow).get("x-claude-code-request-class") == "auxiliary" else None


def _quota(flow: dict[str, Any], request: Request) -> str | None:
    """claude asks for one token to see whether the account may."""
    return "quota" if request.body.get("max_tokens") == 1 else None


def _prewarm(flow: dict[str, Any], request: Request) -> str | None:
    """codex opens its socket with a request that asks for no answer."""
    return "prewarm" if request.body.get("generate") is False else None


def _title(flow: dict[str, Any], request: Request) -> str | None:
    """claude (with a custom base URL: no class header) and opencode name a session with a call that offers no tools."""
    client = _client(flow)
    if request.tools or not request.said:
        return None
    return "title" if client == "opencode" or (client == "claude-code" and "haiku" in (request.model or "")) else None


def _router(flow: dict[str, Any], request: Request) -> str | None:
    """gemini asks a flash-lite model which model shall answer."""
    plain = str(flow.get("url", "")).partition("?")[0].endswith(":generateContent")
    return "router" if plain and not request.tools and _client(flow) == "gemini-cli" else None


def _client(flow: dict[str, Any]) -> str | None:
    client = flow.get("client")
    return client.get("name") if isinstance(client, dict) else None


BACKGROUND: tuple[Callable[[dict[str, Any], Request], str | None], ...] = (_told_by_class, _quota, _prewarm, _title, _router)
