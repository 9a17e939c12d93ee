"""Frames that say nothing but a piece of a block, recognised without looking at all a frame can be.

Only speed: what such a frame means is said by its vocabulary's `decode`. Here stand, by event name, what must be the same
for two pieces to belong together, and where their text is. A frame with anything else in it is no piece (None).
"""

from collections.abc import Callable

from capture.providers.base import Json

type Block = tuple[object, ...]
type Piece = tuple[Block, str] | None  # (what names the block, the text)

CHUNK = frozenset(  # what a Chat Completions chunk says that is the same for all of an answer, or nothing
    """id object created model choices usage system_fingerprint service_tier provider obfuscation""".split()
)
CHOICE = frozenset(("index", "delta", "finish_reason", "logprobs"))


COUNTS = "counts"  # first in the name of a block whose pieces also count tokens: the last one is given whole
GEMINI = frozenset(("candidates", "usageMetadata", "modelVersion", "responseId", "createTime"))
CANDIDATE = frozenset(("content", "index", "avgLogprobs"))
PART = frozenset(("text", "thought"))
NUMBERS = (int, list).__contains__  # what counts may consist of


def anthropic(payload: Json) -> Piece:
    if len(payload) != 3 or payload["type"] != "content_block_delta":
        return None
    delta = payload["delta"]
    kind = delta["type"]
    field = FIELDS.get(kind)
    if field is None or len(delta) != 2:
        return None
    return (payload["index"], kind), delta[field]


FIELDS = {"text_delta": "text", "thinking_delta": "thinking", "input_json_delta": "partial_json"}


def claude_log(payload: Json) -> Piece:
    inner = payload["payload"]
    delta = inner["delta"]
    kind = delta["type"]
    field = FIELDS.get(kind)
    if field is None or len(delta) != 2 or inner["type"] != "content_block_delta":
        return None
    return (inner["index"], kind, inner.get("request_id"), payload["type"]), delta[field]


def responses(payload: Json) -> Piece:
    get = payload.get
    block = (payload["type"], get("item_id"), get("output_index"), get("content_index"), get("summary_index"))
    return block, payload["delta"]


def codex_log(payload: Json) -> Piece:
    inner = payload["payload"]
    return (payload["type"], *(inner[name] for name in inner if name != "delta")), inner["delta"]


def message(payload: Json) -> Piece:
    """Events without a name: chunks of Gemini, which also count tokens, and of Chat's imitators."""
    return gemini(payload) if "candidates" in payload or "response" in payload else chat(payload)


def gemini(payload: Json) -> Piece:
    said = payload.get("response", payload)
    if not said.keys() <= GEMINI:
        return None
    (candidate,) = said["candidates"]
    content = candidate["content"]
    (part,) = content["parts"]
    if not candidate.keys() <= CANDIDATE or candidate.get("finishReason") or not part.keys() <= PART or not part["text"]:
        return None
    counts = said.get("usageMetadata", {})
    if not all(map(NUMBERS, map(type, counts.values()))):
        return None  # a later one replaces an earlier one only where it says as much
    return (COUNTS, part.get("thought"), said.get("responseId"), said.get("modelVersion"), *counts), part["text"]


def chat(payload: Json) -> Piece:
    if not payload.keys() <= CHUNK or payload.get("usage"):
        return None
    (choice,) = payload["choices"]
    if choice.get("finish_reason") or not choice.keys() <= CHOICE:
        return None
    said = [(name, value) for name, value in choice["delta"].items() if value]
    if len(said) != 1:
        return None
    (name, value), key = said[0], None
    if name == "tool_calls":
        (call,) = value
        function = call["function"]
        if call.get("id") or function.get("name") or "index" not in call:
            return None
        key, value = call["index"], function["arguments"]
    return (name, choice.get("index"), key, payload.get("id"), payload.get("model")), value


PIECES: dict[str, Callable[[Json], Piece]] = {
    "content_block_delta": anthropic,
    "claude.content_block_delta": claude_log,
    "chat.completion.chunk": chat,
    "message": message,
    "turn.agent_message.delta": codex_log,
    "turn.response.delta": codex_log,
    "response.output_text.delta": responses,
    "response.refusal.delta": responses,
    "response.reasoning_text.delta": responses,
    "response.reasoning_summary_text.delta": responses,
    "response.function_call_arguments.delta": responses,
    "response.custom_tool_call_input.delta": responses,
}


def piece(event: str, payload: Json) -> Piece:
    """What a frame adds to which block, when it does nothing else."""
    try:
        found = PIECES[event](payload)
    except (LookupError, TypeError, ValueError, AttributeError):
        return None
    return found if found and isinstance(found[1], str) else None
