"""How each vocabulary says an answer, frame by frame. Nothing is decoded here.

A frame is (event name, payload). Payloads are put together as text: a big log has millions of them.
"""

import json
from collections.abc import Iterator
from hashlib import sha256
from itertools import zip_longest
from typing import Any

import orjson

from bench.story import Call, Client, Exchange, Usage

type Frame = tuple[str, str]
ERRORS = {
    "anthropic": ("overloaded_error", "Overloaded"),
    "responses": ("server_error", "The server had an error"),
    "chat": ("server_error", "The engine is overloaded"),
    "gemini": ("UNAVAILABLE", "The model is overloaded"),
}
LIMITED = {
    "anthropic": "rate_limit_error",
    "responses": "rate_limit_exceeded",
    "chat": "rate_limit_reached",
    "gemini": "RESOURCE_EXHAUSTED",
}
FUTURE = "vendor.future_thing"  # an event nobody knows


def quote(text: str) -> str:
    """JSON of a text; a half of a surrogate pair is escaped."""
    try:
        return orjson.dumps(text).decode()
    except orjson.JSONEncodeError:
        return json.dumps(text)


def dumps(value: Any) -> str:
    return orjson.dumps(value).decode()


def wordy(payload: str) -> str:
    """The same JSON with blanks, as Python servers write it."""
    return json.dumps(json.loads(payload), ensure_ascii="\\ud8" in payload) if payload.startswith("{") else payload


def short(name: str, digits: int = 24) -> str:
    """An id that follows from another one."""
    return sha256(name.encode()).hexdigest()[:digits]


def answer(client: Client, exchange: Exchange, key: str, nasty: bool) -> Iterator[Frame]:
    """The frames of an answer, as far as it comes. `key` names it: ids are made of it."""
    frames = WORDS[client.vocabulary](exchange, key, client)
    if nasty:
        frames = _with_future(frames)
    if exchange.end in ("cut", "interrupted", "broken"):
        frames = _cut(list(frames), exchange, client)
    if client.spaced:
        return ((event, wordy(payload)) for event, payload in frames)
    return frames


def _with_future(frames: Iterator[Frame]) -> Iterator[Frame]:
    for number, frame in enumerate(frames):
        yield frame
        if number == 1:
            yield FUTURE, f'{{"type":"{FUTURE}","new":true}}'


def _cut(frames: list[Frame], exchange: Exchange, client: Client) -> Iterator[Frame]:
    """What comes before the stream breaks: all deltas, nothing that ends an answer, then an error where there is one."""
    last = max(number for number, (event, payload) in enumerate(frames) if _is_delta(client.vocabulary, event, payload))
    yield from frames[: last + 1]
    if exchange.end == "broken":
        yield error(client.vocabulary)


def _is_delta(vocabulary: str, event: str, payload: str) -> bool:
    match vocabulary:
        case "anthropic":
            return event == "content_block_delta" and "signature" not in payload
        case "responses":
            return event.endswith(".delta")
        case "chat":
            return '"finish_reason":null' in payload
        case _:
            return '"finishReason"' not in payload


def error(vocabulary: str) -> Frame:
    kind, message = ERRORS[vocabulary]
    match vocabulary:
        case "anthropic":
            return "error", dumps({"type": "error", "error": {"type": kind, "message": message}})
        case "responses":
            return "error", dumps({"type": "error", "error": {"type": kind, "code": kind, "message": message, "param": None}})
        case "chat":
            return "message", dumps({"error": {"message": message, "type": kind, "code": kind}})
        case _:
            return "message", dumps({"error": {"code": 503, "message": message, "status": kind}})


def limited(vocabulary: str) -> Frame:
    """The body of a 429."""
    kind, message = LIMITED[vocabulary], "Too many requests"
    match vocabulary:
        case "anthropic":
            return "error", dumps({"type": "error", "error": {"type": kind, "message": message}})
        case "gemini":
            return "message", dumps({"error": {"code": 429, "message": message, "status": kind}})
        case _:
            return "message", dumps({"error": {"message": message, "type": kind, "code": kind}})


# -- Anthropic ---------------------------------------------------------------------------------------------------------------


def anthropic(exchange: Exchange, key: str, client: Client) -> Iterator[Frame]:
    usage = exchange.usage
    start = {
        "type": "message_start",
        "message": {
            "id": "msg_01" + short(key),
            "type": "message",
            "role": "assistant",
            "model": exchange.model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {
                "input_tokens": usage.fresh,
                "cache_creation_input_tokens": usage.written,
                "cache_read_input_tokens": usage.cached,
                "output_tokens": 1,
            },
        },
    }
    yield "message_start", dumps(start)
    yield "ping", '{"type":"ping"}'
    index = 0
    if exchange.reasoning:
        yield from _block(
            index, '{"type":"thinking","thinking":"","signature":""}', "thinking_delta", "thinking", exchange.reasoning, key
        )
        index += 1
    yield from _block(index, '{"type":"text","text":""}', "text_delta", "text", exchange.texts)
    for call in exchange.calls:
        index += 1
        block = f'{{"type":"tool_use","id":"{call.call_id}","name":"{call.name}","input":{{}}}}'
        yield from _block(index, block, "input_json_delta", "partial_json", ["", *call.pieces])
    end = {
        "type": "message_delta",
        "delta": {"stop_reason": stop("anthropic", exchange), "stop_sequence": None},
        "usage": {"output_tokens": usage.output},
    }
    yield "message_delta", dumps(end)
    yield "message_stop", '{"type":"message_stop"}'


def _block(index: int, block: str, kind: str, name: str, pieces: list[str], signed: str = "") -> Iterator[Frame]:
    yield "content_block_start", f'{{"type":"content_block_start","index":{index},"content_block":{block}}}'
    head = f'{{"type":"content_block_delta","index":{index},"delta":{{"type":"{kind}","{name}":'
    for piece in pieces:
        yield "content_block_delta", f"{head}{quote(piece)}}}}}"
    if signed:
        sign = f'{{"type":"signature_delta","signature":"{short(signed, 40)}"}}'
        yield "content_block_delta", f'{{"type":"content_block_delta","index":{index},"delta":{sign}}}'
    yield "content_block_stop", f'{{"type":"content_block_stop","index":{index}}}'


def stop(vocabulary: str, exchange: Exchange) -> str:
    """The provider's word for why it stopped."""
    calls = bool(exchange.calls)
    return {
        "anthropic": "tool_use" if calls else "end_turn",
        "responses": "completed",
        "chat": "tool_calls" if calls else "stop",
        "gemini": "STOP",
    }[vocabulary]


# -- OpenAI Responses --------------------------------------------------------------------------------------------------------


def response_id(key: str) -> str:
    return "resp_" + short(key)


def responses(exchange: Exchange, key: str, client: Client) -> Iterator[Frame]:
    base: dict[str, Any] = {
        "id": response_id(key),
        "object": "response",
        "status": "in_progress",
        "model": exchange.model,
        "output": [],
        "usage": None,
    }
    yield "response.created", dumps({"type": "response.created", "response": base})
    yield "response.in_progress", dumps({"type": "response.in_progress", "response": base})
    items: list[dict[str, Any]] = []
    if exchange.reasoning:
        items.append(reasoning_item(exchange, key))
        yield from _reasoning(items[-1], len(items) - 1, exchange)
    if exchange.texts:
        items.append(message_item(exchange, key))
        yield from _message(items[-1], len(items) - 1, exchange)
    for call in exchange.calls:
        items.append(call_item(call))
        yield from _call(items[-1], len(items) - 1, call)
    usage = {
        "input_tokens": (exchange.usage.fresh or 0) + (exchange.usage.cached or 0),
        "input_tokens_details": {"cached_tokens": exchange.usage.cached},
        "output_tokens": exchange.usage.output,
        "output_tokens_details": {"reasoning_tokens": exchange.usage.reasoning},
        "total_tokens": (exchange.usage.fresh or 0) + (exchange.usage.cached or 0) + (exchange.usage.output or 0),
    }
    done = base | {"status": "completed", "output": items, "usage": usage}
    yield "response.completed", dumps({"type": "response.completed", "response": done})


def reasoning_item(exchange: Exchange, key: str) -> dict[str, Any]:
    summary = [{"type": "summary_text", "text": exchange.thought}]
    return {"id": "rs_" + short(key), "type": "reasoning", "summary": summary, "encrypted_content": short(key, 64)}


def message_item(exchange: Exchange, key: str) -> dict[str, Any]:
    content = [{"type": "output_text", "text": exchange.text, "annotations": []}]
    return {"id": "msg_" + short(key), "type": "message", "status": "completed", "role": "assistant", "content": content}


def call_item(call: Call) -> dict[str, Any]:
    said = {"input": call.arguments} if call.free else {"arguments": call.arguments}
    kind, prefix = ("custom_tool_call", "ctc_") if call.free else ("function_call", "fc_")
    item = {"id": prefix + short(call.call_id), "type": kind, "status": "completed", "call_id": call.call_id, "name": call.name}
    return item | said


def _pair(kind: str, item_id: str, place: str, pieces: list[str], whole: str, name: str) -> Iterator[Frame]:
    """The deltas of a text, and the text once more."""
    head = f'{{"type":"{kind}.delta","item_id":"{item_id}",{place},"delta":'
    for piece in pieces:
        yield f"{kind}.delta", f"{head}{quote(piece)}}}"
    yield f"{kind}.done", f'{{"type":"{kind}.done","item_id":"{item_id}",{place},"{name}":{quote(whole)}}}'


def _item(kind: str, index: int, item: dict[str, Any]) -> Frame:
    name = f"response.output_item.{kind}"
    return name, dumps({"type": name, "output_index": index, "item": item})


def _reasoning(item: dict[str, Any], index: int, exchange: Exchange) -> Iterator[Frame]:
    place = f'"output_index":{index},"summary_index":0'
    yield _item("added", index, item | {"summary": []})
    for step in ("added", "done"):
        name, text = f"response.reasoning_summary_part.{step}", "" if step == "added" else exchange.thought
        if step == "done":
            name_of = "response.reasoning_summary_text"
            yield from _pair(name_of, item["id"], place, exchange.reasoning, exchange.thought, "text")
        yield name, f'{{"type":"{name}","item_id":"{item["id"]}",{place},"part":{{"type":"summary_text","text":{quote(text)}}}}}'
    yield _item("done", index, item)


def _message(item: dict[str, Any], index: int, exchange: Exchange) -> Iterator[Frame]:
    place = f'"output_index":{index},"content_index":0'
    yield _item("added", index, item | {"status": "in_progress", "content": []})
    for step in ("added", "done"):
        name, text = f"response.content_part.{step}", "" if step == "added" else exchange.text
        if step == "done":
            yield from _pair("response.output_text", item["id"], place, exchange.texts, exchange.text, "text")
        part = f'{{"type":"output_text","text":{quote(text)},"annotations":[]}}'
        yield name, f'{{"type":"{name}","item_id":"{item["id"]}",{place},"part":{part}}}'
    yield _item("done", index, item)


def _call(item: dict[str, Any], index: int, call: Call) -> Iterator[Frame]:
    said = "input" if call.free else "arguments"
    kind = "response.custom_tool_call_input" if call.free else "response.function_call_arguments"
    yield _item("added", index, item | {"status": "in_progress", said: ""})
    yield from _pair(kind, item["id"], f'"output_index":{index}', call.pieces, call.arguments, said)
    yield _item("done", index, item)


# -- OpenAI Chat -------------------------------------------------------------------------------------------------------------


def chat(exchange: Exchange, key: str, client: Client) -> Iterator[Frame]:
    name = "chat.completion.chunk"
    head = f'{{"id":"chatcmpl-{short(key)}","object":"{name}","created":1795248000,"model":"{exchange.model}","choices":['
    more, last = ',"finish_reason":null}]}', "]}"
    yield name, f'{head}{{"index":0,"delta":{{"role":"assistant","content":""}}{more}'
    for piece in exchange.reasoning:
        yield name, f'{head}{{"index":0,"delta":{{"reasoning_content":{quote(piece)}}}{more}'
    for piece in exchange.texts:
        yield name, f'{head}{{"index":0,"delta":{{"content":{quote(piece)}}}{more}'
    for delta in _calls_by_index(exchange):
        yield name, f'{head}{{"index":0,"delta":{{"tool_calls":[{delta}]}}{more}'
    yield name, f'{head}{{"index":0,"delta":{{}},"finish_reason":"{stop("chat", exchange)}"}}]}}'
    usage = {
        "prompt_tokens": (exchange.usage.fresh or 0) + (exchange.usage.cached or 0),
        "completion_tokens": exchange.usage.output,
        "prompt_tokens_details": {"cached_tokens": exchange.usage.cached},
        "completion_tokens_details": {"reasoning_tokens": exchange.usage.reasoning},
    }
    yield name, f'{head}{last[:-1]},"usage":{dumps(usage)}}}'
    yield "message", "[DONE]"


def _calls_by_index(exchange: Exchange) -> Iterator[str]:
    runs = []
    for index, call in enumerate(exchange.calls):
        start = f'{{"index":{index},"id":"{call.call_id}","type":"function","function":{{"name":"{call.name}","arguments":""}}}}'
        runs.append([start, *(f'{{"index":{index},"function":{{"arguments":{quote(piece)}}}}}' for piece in call.pieces)])
    if exchange.interleaved:
        yield from (delta for row in zip_longest(*runs) for delta in row if delta)
    else:
        yield from (delta for run in runs for delta in run)


# -- Gemini ------------------------------------------------------------------------------------------------------------------


def gemini(exchange: Exchange, key: str, client: Client) -> Iterator[Frame]:
    usage = exchange.usage
    tokens = {
        "promptTokenCount": (usage.fresh or 0) + (usage.cached or 0),
        "candidatesTokenCount": (usage.output or 0) - (usage.reasoning or 0),
        "cachedContentTokenCount": usage.cached,
        "thoughtsTokenCount": usage.reasoning,
    }
    tail = f'"modelVersion":"{exchange.model}","responseId":"{short(key)}"}}'
    said = f'"index":0}}],"usageMetadata":{{"promptTokenCount":{tokens["promptTokenCount"]},"candidatesTokenCount":1}},{tail}'
    head, role = '{"candidates":[{"content":{"parts":[', '],"role":"model"},'
    for piece in exchange.reasoning:
        yield "message", f'{head}{{"text":{quote(piece)},"thought":true}}{role}{said}'
    for piece in exchange.texts:
        yield "message", f'{head}{{"text":{quote(piece)}}}{role}{said}'
    calls = ",".join(f'{{"functionCall":{{"name":"{call.name}","args":{call.arguments}}}}}' for call in exchange.calls)
    last = calls or '{"text":""}'
    yield "message", f'{head}{last}{role}"finishReason":"STOP","index":0}}],"usageMetadata":{dumps(tokens)},{tail}'


WORDS = {"anthropic": anthropic, "responses": responses, "chat": chat, "gemini": gemini}


def reported(vocabulary: str, exchange: Exchange) -> Usage:
    """The tokens that the provider got to tell of, as far as the answer came."""
    usage, nothing = exchange.usage, Usage(None, None, None, None, None)
    if exchange.end == "complete":
        return usage
    if exchange.end == "limited":
        return nothing
    match vocabulary:
        case "anthropic":
            return Usage(usage.fresh, usage.cached, usage.written, 1, None)
        case "gemini":
            return Usage((usage.fresh or 0) + (usage.cached or 0), None, None, 1, None)
        case _:
            return nothing
