"""Anthropic Messages. https://docs.anthropic.com/en/api/messages-streaming"""

import re
from collections.abc import Iterator

from capture.events import (
    Cited,
    Event,
    Failed,
    IdGiven,
    MessageStarted,
    RateLimited,
    ReasoningDelta,
    Sealed,
    Stopped,
    TextDelta,
    ToolArgumentsDelta,
    ToolCallEnded,
    ToolCallStarted,
    ToolResult,
    Unknown,
    UsageReported,
)
from capture.providers.base import (
    FIXED,
    End,
    Holds,
    Json,
    Provider,
    Said,
    Shape,
    any_pieces,
    image,
    items,
    json_text,
    member,
    number,
    positive,
    text_of,
    word,
)

FAILED = re.compile(r"Exit code (\d+)(?:\n|$)")  # how Claude Code begins the result of a command that failed
ASIDE = ("stop_sequence", "stop_details", "context_management")  # said at the end of an answer, seldom
NOTHING: tuple[Json, ...] = ({"applied_edits": []},)  # what `context_management` says in each answer where nothing was edited
TOOLS = {"tool_use": False, "server_tool_use": True, "mcp_tool_use": True}  # blocks that are calls → run by the provider?

SHAPES = (
    Shape("content_block_delta", Holds.TEXT, ',"delta":{"type":"text_delta",'),
    Shape("content_block_delta", Holds.ARGUMENTS, ',"delta":{"type":"input_json_delta",'),
    Shape("content_block_delta", Holds.REASONING, ',"delta":{"type":"thinking_delta",'),
    Shape("content_block_delta", Holds.OTHER, ',"delta":{"type":"signature_delta",'),
    Shape("content_block_delta", Holds.OTHER, ',"delta":{"type":"citations_delta",'),
    Shape("content_block_delta", Holds.TEXT | Holds.REASONING | Holds.ARGUMENTS | Holds.OTHER),
    Shape("content_block_start", Holds.OTHER, ',"content_block":{"type":"text","text":""'),
    Shape("content_block_start", Holds.OTHER, ',"content_block":{"type":"thinking","thinking":""'),
    Shape("content_block_start", Holds.TEXT | Holds.REASONING | Holds.ARGUMENTS | Holds.CALL | Holds.OTHER),
    Shape("content_block_stop", Holds.CALL),
    Shape("message_start", Holds.USAGE | Holds.BOUND | Holds.OTHER, ',"content":[],'),
    Shape("message_delta", Holds.USAGE | Holds.BOUND | Holds.OTHER),
    Shape("message_stop", Holds.BOUND),
    Shape("error", Holds.BOUND | Holds.OTHER),
    Shape("ping", Holds.OTHER),
)


def recognises(method: str, path: str) -> bool:
    return method == "POST" and path.endswith(
        ("/v1/messages", "/messages:streamRawPredict", ":streamRawPredict", "/invoke-with-response-stream")
    )


def end(event: str, payload: bytes) -> End:
    if event == "message_stop":
        return End.COMPLETE
    return End.FAILED if event == "error" else End.OPEN


def decode(event: str, payload: Json) -> Iterator[Event]:
    """Pieces first: nearly all frames are pieces, and a generator costs as much as the rest of it."""
    if isinstance(payload, dict) and payload.get("type") == "content_block_delta" and (piece := _piece(payload)):
        return iter((piece,))
    return _frame(event, payload)


def _piece(payload: dict[str, Json]) -> Event | None:
    """What a delta adds to its block; None when it says anything else."""
    delta, key = payload.get("delta"), str(payload.get("index"))
    if not isinstance(delta, dict):
        return None
    kind = delta.get("type")
    if kind == "text_delta" and isinstance(text := delta.get("text"), str):
        return TextDelta(text, "assistant", key)
    if kind == "input_json_delta" and isinstance(text := delta.get("partial_json"), str):
        return ToolArgumentsDelta(key, text)
    if kind == "thinking_delta" and isinstance(text := delta.get("thinking"), str):
        return ReasoningDelta(text, key)
    return None


def _frame(event: str, payload: Json) -> Iterator[Event]:
    match payload:
        case {"type": "content_block_delta", "index": index, "delta": {"type": "signature_delta", "signature": str(data)}}:
            yield Sealed("signature", data, str(index))
        case {"type": "content_block_delta", "delta": {"type": "citations_delta", "citation": citation}}:
            yield Cited(citation)
        case {
            "type": "content_block_start",
            "index": index,
            "content_block": {"type": str(kind), "id": str(), "name": str()} as block,
        } if kind in TOOLS:
            yield ToolCallStarted(str(index), block["id"], block["name"], TOOLS[kind])
            if given := block.get("input"):
                yield ToolArgumentsDelta(str(index), json_text(given))
        case {"type": "content_block_start", "index": index, "content_block": block}:
            yield from _block(str(index), block, "assistant")
        case {"type": "content_block_stop", "index": index}:
            yield ToolCallEnded(str(index))  # of any block: the frame does not say which kind it ends
        case {"type": "message_start", "message": dict(message)}:
            yield MessageStarted(word(message.get("id")), word(message.get("model")))
            for index, block in enumerate(items(message.get("content"))):
                yield from _block(str(index), block, "assistant")
            yield from _around(message)
            yield from _around(payload)
            yield from _request(payload)
        case {"type": "message_delta", "delta": dict(delta)}:
            yield from _around({**payload, **delta})
        case {"error": dict(error)}:
            yield from _around(payload)
            yield from _request(payload)
            yield Failed(str(error.get("type")), str(error.get("message")))
        case {"type": "message", "content": list(blocks)}:
            yield MessageStarted(word(payload.get("id")), word(payload.get("model")))
            for index, block in enumerate(blocks):
                yield from _block(str(index), block, "assistant")
            yield from _around({"stop_reason": "", **payload})
        case {"type": "message_stop" | "ping"}:
            pass
        case _:
            yield Unknown(event, payload)


def pieces(payload: Json) -> list[Said]:
    delta = (
        payload.get("delta", payload.get("content_block")) if isinstance(payload, dict) else None
    )  # a text may begin in its block
    if not isinstance(delta, dict):
        return any_pieces(payload)
    block = payload.get("index")
    return [((block, name), name, text) for name, text in delta.items() if isinstance(text, str) and name not in FIXED]


def decode_part(event: str, part: Json) -> Iterator[Event]:
    match part:
        case _ if event == "request.tools":
            pass
        case {"role": str(role), "content": list(blocks)}:
            for index, block in enumerate(blocks):
                yield from _block(str(index), block, role)
        case {"role": str(role), "content": str(text)}:
            yield TextDelta(text, role)
        case str() | list() if event == "request.system":
            yield TextDelta(text_of(part), "system")
        case _:
            yield Unknown(event, part)


def _block(key: str, block: Json, role: str) -> Iterator[Event]:
    match block:
        case {"type": "text", "text": str(text)}:
            if text:
                yield TextDelta(text, role, key)
            for citation in items(block.get("citations")):
                yield Cited(citation)
        case {"type": "thinking", "thinking": str(text)}:
            if text:
                yield ReasoningDelta(text, key)
            if signature := word(block.get("signature")):
                yield Sealed("signature", signature, key)
        case {"type": "redacted_thinking", "data": str(data)}:
            yield Sealed("redacted", data, key)
        case {"type": str(kind), "id": str(call_id), "name": str(name)} if kind in TOOLS:
            yield ToolCallStarted(key, call_id, name, TOOLS[kind])
            yield ToolCallEnded(key, json_text(block.get("input")))
        case {"type": str(kind), "tool_use_id": str(call_id)} if kind.endswith("tool_result"):
            yield from _result(call_id, block, role)
        case {"type": "image" | "document" as kind, "source": dict(source)}:
            where = source.get("url") or source.get("file_id")
            yield image(source.get("media_type") or kind, where, role, source.get("data"))
        case {"type": "container_upload", "file_id": str(file_id)}:
            yield image("file", file_id, role)
        case _:
            yield Unknown("block", block)


def _result(call_id: str, block: dict[str, Json], role: str) -> Iterator[Event]:
    """What a tool said; what of it is no text, in the provider's own form."""
    content = block.get("content")
    seen = [each for each in items(content) if each.get("type") in ("image", "document")]
    code = number(member(content, "return_code"))
    failed = bool(block.get("is_error") or code) or str(member(content, "type")).endswith("_error")
    text = _result_text(content)
    if failed and code is None and (found := FAILED.match(text)):
        code = int(found[1])
    yield ToolResult(call_id, text, failed, exit_code=code)
    for each in seen:
        yield from _block("", each, role)


def _result_text(content: Json) -> str:
    """Texts as they are; objects of another kind (a page that was found, the name of a tool) as JSON."""
    if isinstance(content, dict):
        return text_of(content) or (json_text(content) if content else "")
    if not isinstance(content, list):
        return text_of(content)
    other = [each for each in content if not text_of(each) and member(each, "type") not in ("text", "image", "document")]
    return "\n".join(filter(None, (text_of(content), json_text(other) if other else "")))


def _around(said: dict[str, Json]) -> Iterator[Event]:
    """What stands beside the content: tokens, limits, ids, why it stopped."""
    usage = said.get("usage")
    if isinstance(usage, dict):
        yield UsageReported(
            positive(usage.get("input_tokens")),
            positive(usage.get("cache_read_input_tokens")),
            positive(usage.get("cache_creation_input_tokens")),
            positive(usage.get("output_tokens")),
        )
    if isinstance(limits := said.get("rate_limits"), (dict, list)):
        yield RateLimited(limits)
    if container := word(member(said, "container", "id")):
        yield IdGiven("container", container)
    for name in ASIDE:
        if (aside := said.get(name)) and aside not in NOTHING:
            yield Unknown(name, aside)
    if isinstance(reason := said.get("stop_reason"), str):
        yield Stopped(reason)


def _request(said: dict[str, Json]) -> Iterator[Event]:
    """The request's id: the claude log has it in every frame, once is enough."""
    if request := word(said.get("request_id")):
        yield IdGiven("request", request)


PROVIDER = Provider("anthropic", "messages", recognises, end, decode, decode_part, shapes=SHAPES, pieces=pieces)
