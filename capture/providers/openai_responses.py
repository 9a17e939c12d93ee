"""OpenAI Responses, over SSE and over WebSocket: the same events. https://platform.openai.com/docs/api-reference/responses-streaming"""

from collections.abc import Iterator

from capture.events import (
    Cited,
    Event,
    Failed,
    IdGiven,
    MessageStarted,
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
)
from capture.providers.base import (
    End,
    Holds,
    Json,
    Provider,
    Said,
    Shape,
    any_pieces,
    command_result,
    image,
    image_url,
    items,
    json_text,
    less,
    member,
    positive,
    text_of,
    word,
)

ENDS = {
    "response.completed": End.COMPLETE,
    "response.incomplete": End.COMPLETE,
    "response.failed": End.FAILED,
    "error": End.FAILED,
}
TEXTS = ("response.output_text.delta", "response.refusal.delta")  # pieces, the commonest frames first
ARGUMENTS = (
    "response.function_call_arguments.delta",
    "response.custom_tool_call_input.delta",
    "response.mcp_call_arguments.delta",
    "response.code_interpreter_call_code.delta",
)
REASONINGS = ("response.reasoning_summary_text.delta", "response.reasoning_text.delta")
SERVER_CALLS = {  # items that are calls of the provider's own tools → what the tool is called
    "web_search_call": "web_search",
    "file_search_call": "file_search",
    "code_interpreter_call": "code_interpreter",
    "image_generation_call": "image_generation",
    "tool_search_call": "tool_search",
    "mcp_call": "mcp",
    "mcp_list_tools": "mcp_list_tools",
}
QUIET = frozenset(  # they announce what other events say
    """response.in_progress response.queued response.content_part.added response.content_part.done
    response.reasoning_summary_part.added response.reasoning_summary_part.done keepalive
    response.web_search_call.in_progress response.web_search_call.searching response.web_search_call.completed
    response.file_search_call.in_progress response.file_search_call.searching response.file_search_call.completed
    response.code_interpreter_call.in_progress response.code_interpreter_call.interpreting
    response.code_interpreter_call.completed
    response.image_generation_call.in_progress response.image_generation_call.generating
    response.image_generation_call.completed response.image_generation_call.partial_image
    response.mcp_call.in_progress response.mcp_call.completed response.mcp_call.failed
    response.mcp_list_tools.in_progress response.mcp_list_tools.completed""".split()
)
SHAPES = (
    Shape("response.output_text.delta", Holds.TEXT),
    Shape("response.output_text.done", Holds.TEXT),
    Shape("response.refusal.delta", Holds.TEXT),
    Shape("response.refusal.done", Holds.TEXT),
    Shape("response.reasoning_*", Holds.REASONING | Holds.OTHER),
    Shape("response.function_call_arguments.delta", Holds.ARGUMENTS),
    Shape("response.custom_tool_call_input.delta", Holds.ARGUMENTS),
    Shape("response.function_call_arguments.done", Holds.CALL),
    Shape("response.custom_tool_call_input.done", Holds.CALL),
    Shape("response.output_item.added", Holds.TEXT | Holds.REASONING | Holds.CALL | Holds.OTHER),
    Shape("response.output_item.done", Holds.TEXT | Holds.REASONING | Holds.CALL | Holds.OTHER),
    Shape("response.content_part.*", Holds.OTHER),
    Shape("response.created", Holds.USAGE | Holds.BOUND | Holds.OTHER),
    Shape("response.in_progress", Holds.OTHER),
    Shape("response.create", Holds.REQUEST),
)


def recognises(method: str, path: str) -> bool:
    return method in ("POST", "GET") and path.endswith("/responses")


def opens(body: Json) -> bool:
    return isinstance(body, dict) and body.get("type") == "response.create"


def end(event: str, payload: bytes) -> End:
    return ENDS.get(event, End.OPEN)


def decode(event: str, payload: Json) -> Iterator[Event]:
    """Pieces first: nearly all frames are pieces, and a generator costs as much as the rest of it."""
    if isinstance(payload, dict):
        kind = str(payload.get("type", event))
        if isinstance(text := payload.get("delta"), str) and (piece := _piece(kind, payload, text)):
            return iter((piece,))
        return _frame(kind, payload)
    return iter(() if payload == "[DONE]" else (Unknown(event, payload),))  # some imitators end as Chat Completions does


def _piece(kind: str, payload: dict[str, Json], text: str) -> Event | None:
    """What a delta adds to its block; None when it is of a kind not known here."""
    if kind in TEXTS:
        return TextDelta(text, "assistant", _block(payload))
    if kind in ARGUMENTS:
        return ToolArgumentsDelta(_item_id(payload), text)
    if kind in REASONINGS:
        return ReasoningDelta(text, _thought(payload), "summary_index" in payload)
    return None


def _frame(kind: str, payload: dict[str, Json]) -> Iterator[Event]:
    match kind, payload:
        case "response.output_text.done", {"text": str(text)}:
            yield TextWhole(text, _block(payload))
        case "response.refusal.done", {"refusal": str(text)}:
            yield TextWhole(text, _block(payload))
        case "response.reasoning_summary_text.done" | "response.reasoning_text.done", {"text": str(text)}:
            yield ReasoningWhole(text, _thought(payload), "summary_index" in payload)
        case (
            (
                "response.function_call_arguments.done"
                | "response.custom_tool_call_input.done"
                | "response.mcp_call_arguments.done"
                | "response.code_interpreter_call_code.done"
            ),
            _,
        ):
            told = (word(payload.get(name)) for name in ("arguments", "input", "code"))
            yield ToolCallEnded(_item_id(payload), next((each for each in told if each is not None), None))
        case "response.output_item.added" | "response.output_item.done", {"item": dict(item)}:
            yield from _item(item, done=kind.endswith("done"), index=payload.get("output_index"))
        case "response.output_text.annotation.added", {"annotation": annotation}:
            yield Cited(annotation)
        case "response.created", {"response": dict(response)}:
            yield MessageStarted(word(response.get("id")), word(response.get("model")))
            yield from _ids(response)
        case "response.completed" | "response.incomplete" | "response.failed", {"response": dict(response)}:
            yield from _whole(response, kind.removeprefix("response."))
        case "error", _:
            error = payload["error"] if isinstance(payload.get("error"), dict) else payload
            yield Failed(str(error.get("code") or error.get("type")), str(error.get("message")))
        case _, {"object": "response", "output": list()}:
            yield MessageStarted(word(payload.get("id")), word(payload.get("model")))
            yield from _ids(payload)
            yield from _whole(payload, "")
        case _, {"rate_limits": dict() | list() as limits}:
            yield RateLimited(limits)
            if rest := {name: said for name, said in payload.items() if said and name not in ("type", "rate_limits")}:
                yield Unknown(kind, rest)  # codex: the plan, the credits
        case _, {"error": dict(error)}:
            yield Failed(str(error.get("code") or error.get("type")), str(error.get("message")))
        case _ if kind in QUIET:
            pass
        case _:
            yield Unknown(kind, payload)


def pieces(payload: Json) -> list[Said]:
    """By place, not by `item_id`: some servers give each event an id of its own."""
    if not isinstance(payload, dict):
        return any_pieces(payload)
    item = payload.get("output_index")
    said = (payload.get("item_id") if item is None else item, payload.get("content_index"), payload.get("summary_index"))
    if isinstance(text := payload.get("delta"), str):
        return [(said, "delta", text)]
    if isinstance(text := member(payload, "part", "text"), str) and str(payload.get("type")).endswith(".added"):
        return [(said, "text", text)]  # the text may begin here
    return any_pieces(payload)


def decode_part(event: str, part: Json) -> Iterator[Event]:
    match part:
        case _ if event in ("request.tools", "request.additional_tools"):
            pass
        case str() | list() if event == "request.system":
            yield TextDelta(text_of(part), "system")
        case str():
            yield TextDelta(part, "user")
        case {"role": str(role), "content": content}:
            yield from _content(content, role)
        case _:
            yield from _item(part)


def _item(item: Json, done: bool = True, index: Json = None) -> Iterator[Event]:
    """An output item, or an item of a history. One that is only announced has no content yet."""
    kind = str(item.get("type")) if isinstance(item, dict) else ""
    key = (word(item.get("id")) or word(item.get("call_id")) or str(index)) if isinstance(item, dict) else ""
    match item:
        case {"type": "function_call" | "custom_tool_call", "call_id": str(call_id), "name": str(name)}:
            yield ToolCallStarted(key, call_id, name)
            if done:
                yield ToolCallEnded(key, word(item.get("arguments", item.get("input"))))
        case {"type": "local_shell_call" | "computer_call" | "shell_call" | "apply_patch_call"}:
            yield ToolCallStarted(key, word(item.get("call_id")) or key, kind.removesuffix("_call"))
            if done:
                yield ToolCallEnded(key, json_text(item.get("action") or item.get("operation") or {}))
        case {"type": str()} if kind in SERVER_CALLS:
            yield ToolCallStarted(key, key, word(item.get("name")) or SERVER_CALLS[kind], server=True)
            if done:
                yield from _server_call(key, item)
        case {"type": str(), "call_id": str(call_id)} if kind.endswith("_output"):
            yield command_result(call_id, item.get("output"))
            yield from _images(item.get("output"))
        case {"type": "reasoning"} if done:
            yield from _reasoning(item, key)
        case {"type": "message"} if not done:
            pass
        case {"type": "message", "role": "assistant", "content": list(content)}:
            for place, each in enumerate(content):
                yield from _told(each, f"{key}:{place}")
        case {"type": "compaction" | "context_compaction", "encrypted_content": str(data)} if done:
            yield Sealed("encrypted", data, key)
        case {"role": str(role), "content": content}:
            yield from _content(content, role)
        case {"type": "reasoning" | "compaction" | "context_compaction"} | {"type": "item_reference"}:
            pass  # told when it is done; an item of an earlier answer, by its id
        case _:
            yield Unknown(kind or "item", item)


def _whole(response: dict[str, Json], ended: str) -> Iterator[Event]:
    """The last word of an answer: everything once more, then what it took and why it stopped."""
    for index, item in enumerate(items(response.get("output"))):
        yield from _item(item, index=index)
    yield from _usage(response.get("usage"))
    if isinstance(error := response.get("error"), dict):
        yield Failed(str(error.get("code")), str(error.get("message")))
    reason = word(member(response, "incomplete_details", "reason"))
    yield Stopped(reason or word(response.get("status")) or ended)


def _told(content: Json, key: str) -> Iterator[Event]:
    """A finished piece of content of an answer."""
    match content:
        case {"type": "output_text" | "text", "text": str(text)}:
            yield TextWhole(text, key)
            for annotation in items(content.get("annotations")):
                yield Cited(annotation)
        case {"type": "refusal", "refusal": str(text)}:
            yield TextWhole(text, key)
        case _:
            yield Unknown("content", content)


def _content(content: Json, role: str) -> Iterator[Event]:
    """What stands in a message of a history."""
    if text := text_of(content):
        yield TextDelta(text, role)
    for each in items(content):
        if each.get("type") == "refusal":
            yield TextDelta(word(each.get("refusal")) or "", role)
    yield from _images(content, role)


def _images(content: Json, role: str = "user") -> Iterator[Event]:
    for each in items(content):
        match each:
            case {"type": "input_audio"}:
                yield image("audio", None, role, member(each, "input_audio", "data"))
            case {"type": "input_image" | "output_image" | "computer_screenshot"}:
                url = each.get("image_url")
                yield image_url(url, role) if url else image(None, each.get("file_id"), role)
            case {"type": "input_file"}:
                yield image("file", each.get("file_id") or each.get("filename"), role, each.get("file_data"))


def _reasoning(item: dict[str, Json], key: str) -> Iterator[Event]:
    for place, each in enumerate(items(item.get("summary"))):
        if text := text_of(each):
            yield ReasoningWhole(text, f"{key}:{place}", summary=True)
    for place, each in enumerate(items(item.get("content"))):
        if text := text_of(each):
            yield ReasoningWhole(text, f"{key}:text:{place}")
    if data := word(item.get("encrypted_content")):
        yield Sealed("encrypted", data, key)


def _server_call(key: str, item: dict[str, Json]) -> Iterator[Event]:
    """What the provider's own tool was asked and what it said."""
    asked: Json = next((item[name] for name in ("arguments", "action", "queries", "code") if item.get(name) is not None), {})
    yield ToolCallEnded(key, asked if isinstance(asked, str) else json_text(asked))
    said: Json = next((item[name] for name in ("output", "results", "outputs", "tools") if item.get(name) is not None), None)
    error = item.get("error")
    if said is not None or error:
        text = said if isinstance(said, str) else text_of(error) or json_text(said)
        yield ToolResult(key, text, is_error=bool(error))
    if data := word(item.get("result")):
        yield image(word(item.get("output_format")) or "image", None, "assistant", data)


def _item_id(payload: dict[str, Json]) -> str:
    """What names an item in the frames that tell pieces of it."""
    item = payload.get("item_id")
    return item if isinstance(item, str) else str(payload.get("output_index"))


def _block(payload: dict[str, Json]) -> str:
    """What a delta and its whole have in common: the item, and which part of it."""
    return f"{_item_id(payload)}:{payload.get('content_index', 0)}"


def _thought(payload: dict[str, Json]) -> str:
    """The same for reasoning, whose summaries are numbered apart from its texts."""
    item = _item_id(payload)
    if "summary_index" in payload:
        return f"{item}:{payload['summary_index']}"
    return f"{item}:text:{payload.get('content_index', 0)}"


def _ids(response: dict[str, Json]) -> Iterator[Event]:
    if previous := word(response.get("previous_response_id")):
        yield IdGiven("previous_response", previous)
    conversation = response.get("conversation")
    if found := word(conversation) or word(member(conversation, "id")):
        yield IdGiven("conversation", found)


def _usage(usage: Json) -> Iterator[Event]:
    if isinstance(usage, dict):
        cached = positive(member(usage, "input_tokens_details", "cached_tokens"))
        yield UsageReported(
            fresh=less(usage.get("input_tokens"), cached),
            cached=cached,
            output=positive(usage.get("output_tokens")),
            reasoning=positive(member(usage, "output_tokens_details", "reasoning_tokens")),
        )


PROVIDER = Provider("openai", "responses", recognises, end, decode, decode_part, opens=opens, shapes=SHAPES, pieces=pieces)
