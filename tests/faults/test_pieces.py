"""Row 37: secrets that come in pieces, in every vocabulary, cut at every point, through the real proxy."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import batched
from typing import Any, NamedTuple

import orjson
import pytest

from tests.faults.harness import Flow, Origin, Proxy, ask, chunked
from tests.faults.sockets import SocketOrigin, connected
from tests.test_holding import alike
from tests.test_redact import IN_CONTEXT, REDACTOR, SHAPES, leaks

LONGEST = 600  # characters of a text that is cut at every point; tests/test_holding.py cuts the longer ones
TEXTS = [(secret, text) for secret, text in IN_CONTEXT.values() if len(text) < LONGEST]
TEXTS += [(secret, f"export KEY={secret}\nmore") for secret in SHAPES.values()]
ENDED = [
    (secret, text) for secret, text in TEXTS if text.count("PRIVATE") != 1
]  # a private key without its end swallows what follows

type Frame = dict[str, Any]


class Way(NamedTuple):
    """How a vocabulary says pieces of texts; `text` finds the piece in a frame again."""

    path: str
    content_type: bytes
    frame: Callable[[int, str], Frame]  # (which text, piece)
    text: Callable[[Frame], tuple[int, str]]


def _block(frame: Frame) -> tuple[int, str]:
    return frame["index"], next(text for name, text in frame["delta"].items() if name != "type")


WAYS = {
    "anthropic text": Way(
        "/v1/messages",
        b"text/event-stream",
        lambda number, piece: {"type": "content_block_delta", "index": number, "delta": {"type": "text_delta", "text": piece}},
        _block,
    ),
    "anthropic reasoning": Way(
        "/v1/messages",
        b"text/event-stream",
        lambda number, piece: {
            "type": "content_block_delta",
            "index": number,
            "delta": {"type": "thinking_delta", "thinking": piece},
        },
        _block,
    ),
    "anthropic arguments": Way(
        "/v1/messages",
        b"text/event-stream",
        lambda number, piece: {
            "type": "content_block_delta",
            "index": number,
            "delta": {"type": "input_json_delta", "partial_json": piece},
        },
        _block,
    ),
    "responses arguments": Way(
        "/v1/responses",
        b"text/event-stream",
        lambda number, piece: {"type": "response.function_call_arguments.delta", "item_id": f"fc_{number}", "delta": piece},
        lambda frame: (int(frame["item_id"][3:]), frame["delta"]),
    ),
    "chat": Way(
        "/v1/chat/completions",
        b"text/event-stream",
        lambda number, piece: {
            "id": "c",
            "object": "chat.completion.chunk",
            "choices": [{"index": number, "delta": {"content": piece}}],
        },
        lambda frame: (frame["choices"][0]["index"], frame["choices"][0]["delta"]["content"]),
    ),
    "chat arguments": Way(
        "/v1/chat/completions",
        b"text/event-stream",
        lambda number, piece: {
            "object": "chat.completion.chunk",
            "choices": [{"index": 0, "delta": {"tool_calls": [{"index": number, "function": {"arguments": piece}}]}}],
        },
        lambda frame: (
            frame["choices"][0]["delta"]["tool_calls"][0]["index"],
            frame["choices"][0]["delta"]["tool_calls"][0]["function"]["arguments"],
        ),
    ),
    "unknown, by lines": Way(
        "/api/generate",
        b"application/x-ndjson",
        lambda number, piece: {"model": "m", "number": number, "response": piece},
        lambda frame: (frame["number"], frame["response"]),
    ),
}


def pieces(texts: Iterable[str]) -> Iterator[tuple[int, str]]:
    """Each text in two pieces, once for each place where it can be cut, as a text of its own; then what ends it."""
    number = 0
    for text in texts:
        for place in range(1, len(text)):
            yield from ((number, text[:place]), (number, text[place:]), (number, "\n\n"))
            number += 1


def joined(way: Way, payloads: Iterable[bytes]) -> dict[int, str]:
    """Each text as the log has it."""
    found: dict[int, str] = {}
    for payload in payloads:
        number, piece = way.text(orjson.loads(payload))
        found[number] = found.get(number, "") + piece
    return found


def check(flow: Flow, way: Way, texts: Sequence[tuple[str, str]]) -> int:
    """How many texts the log has: each in all its cuts, as it would have it whole."""
    expected = [(secret, text) for secret, text in texts for _ in range(1, len(text))]
    found = joined(way, flow.payloads)
    assert len(found) == len(expected)
    for number, (secret, text) in enumerate(expected):
        assert not leaks(secret, found[number])
        assert alike(found[number]) == alike(REDACTOR.string(text + "\n\n"))
    return len(expected)


def frames_of(way: Way, texts: Sequence[tuple[str, str]]) -> list[bytes]:
    return [json.dumps(way.frame(number, piece)).encode() for number, piece in pieces(text for _, text in texts)]


@pytest.fixture
def sockets() -> Iterator[SocketOrigin]:
    origin = SocketOrigin()
    yield origin
    origin.close()


@pytest.mark.row(37)
@pytest.mark.parametrize("name", WAYS)
def test_a_secret_in_two_pieces_is_nowhere_however_it_is_cut(
    proxy: Proxy,
    origin: Origin,
    name: str,
    times: Callable[[int, int], int],
    record_property: Callable[[str, object], None],
) -> None:
    way, cases = WAYS[name], 0
    lines = way.content_type == b"application/x-ndjson"
    every = times(12, 1 if name == "anthropic text" else 4)
    for texts in batched(ENDED[::every], 8):
        body = [frame + b"\n" if lines else b"data: " + frame + b"\n\n" for frame in frames_of(way, texts)]
        chunks = [b"".join(some) for some in batched(body, 100)]
        url = origin.serve(chunked(chunks, content_type=way.content_type), way.path)
        answer = ask(proxy, url, b'{"model":"m","messages":[]}')
        assert answer.body == b"".join(chunks)
        cases += check(proxy.log.ended(url), way, texts)
    record_property("secrets cut in two", cases)
    record_property("leaks", 0)


@pytest.mark.row(37)
def test_a_secret_in_two_messages_of_a_socket_is_nowhere_however_it_is_cut(
    proxy: Proxy, sockets: SocketOrigin, times: Callable[[int, int], int], record_property: Callable[[str, object], None]
) -> None:
    way, cases = WAYS["responses arguments"], 0
    for texts in batched(ENDED[:: times(12, 4)], 8):
        messages = [frame.decode() for frame in frames_of(way, texts)]
        url = sockets.serve(messages)
        with connected(proxy, url) as client:
            assert [client.recv(20) for _ in messages] == messages
        cases += check(proxy.log.ended(url), way, texts)
    record_property("secrets cut in two", cases)
    record_property("leaks", 0)
