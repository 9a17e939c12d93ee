"""Secrets in pieces as odd servers send them: which pieces are of one text, what ends it, and what does not."""

import json
from typing import Any

import orjson
import pytest

from capture.processes import NOBODY
from capture.recorder import Closed, FlowRecorder, Memory, Opened, Stamp
from tests.test_redact import PASSWORD, REDACTOR, SHAPES, leaks

KEY = SHAPES["anthropic api"]
HEAD, TAIL = f"it is {KEY[:20]}", f"{KEY[20:]} ok"
BEGAN = Stamp(1_000_000.0, 100.0)
MESSAGES, RESPONSES, CHAT = "/v1/messages", "/v1/responses", "/v1/chat/completions"
GEMINI, OTHER = "/v1beta/models/g:streamGenerateContent", "/api/generate"


def recorder(path: str) -> FlowRecorder:
    headers = (("content-type", "text/event-stream"),)
    facts = Opened("f", BEGAN, "POST", f"http://127.0.0.1{path}", (), b"{}", "127.0.0.1", 200, headers)
    flow = FlowRecorder(facts, NOBODY, REDACTOR, Memory())
    flow.open(BEGAN)
    return flow


def recorded(path: str, *payloads: Any, pauses: float = 0.0) -> list[str]:
    """The payloads on record of frames (bytes: as they are); `pauses`: seconds between them."""
    flow, at, entries = recorder(path), BEGAN, list[Any]()
    for payload in payloads:
        at = Stamp(at.wall + pauses, at.mono + pauses)
        entries += flow.due(at.mono)
        data = payload if isinstance(payload, bytes) else orjson.dumps(payload)
        entries += flow.feed(b"data: " + data + b"\n\n", at)
    entries += flow.close(Closed.CLEANLY, at)
    return [entry.fields["line"].removeprefix("data: ") for entry in entries if entry.kind == "lines"]


def block(text: str, index: int = 0) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": {"type": "text_delta", "text": text}}


def tool(piece: str, index: int = 1) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": {"type": "input_json_delta", "partial_json": piece}}


def response(text: str, item: str = "m") -> dict[str, Any]:
    return {"type": "response.output_text.delta", "item_id": item, "output_index": 0, "content_index": 0, "delta": text}


def chat(index: int = 0, **delta: Any) -> dict[str, Any]:
    return {"object": "chat.completion.chunk", "choices": [{"index": index, "delta": delta}]}


def gemini(text: str, **more: Any) -> dict[str, Any]:
    return {"candidates": [{"content": {"parts": [{"text": text}]}, **more}]}


def partial(text: str) -> dict[str, Any]:
    arguments = [{"jsonPath": "$.a", "stringValue": text}]
    return {"candidates": [{"content": {"parts": [{"functionCall": {"name": "f", "partialArgs": arguments}}]}}]}


STREAMS: dict[str, tuple[str, list[Any]]] = {
    "an id of its own for each event": (RESPONSES, [response(HEAD, "a"), response(TAIL, "b")]),
    "another block ends between": (MESSAGES, [block(HEAD), {"type": "content_block_stop", "index": 1}, block(TAIL)]),
    "another item is done between": (RESPONSES, [response(HEAD), {"type": "response.output_item.done"}, response(TAIL)]),
    "a finish reason in every chunk": (GEMINI, [gemini(HEAD, finishReason="STOP"), gemini(TAIL, finishReason="STOP")]),
    "the role beside the first piece": (CHAT, [chat(role="assistant", content=HEAD), chat(content=TAIL)]),
    "the role beside the second piece": (CHAT, [chat(content=HEAD), chat(role="assistant", content=TAIL)]),
    "the first piece opens the block": (
        MESSAGES,
        [{"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": HEAD}}, block(TAIL)],
    ),
    "the first piece opens the part": (
        RESPONSES,
        [
            {"type": "response.content_part.added", "output_index": 0, "content_index": 0, "part": {"text": HEAD}},
            response(TAIL),
        ],
    ),
    "another place in the list of parts": (
        GEMINI,
        [gemini(HEAD), {"candidates": [{"content": {"parts": [{"thought": True, "text": "hm"}, {"text": TAIL}]}}]}],
    ),
    "partial arguments": (GEMINI, [partial(HEAD), partial(TAIL)]),
    "two choices by turns": (CHAT, [chat(0, content=HEAD), chat(1, content="and sk-"), chat(0, content=TAIL)]),
    "frames that are strings": (OTHER, [HEAD, TAIL]),
    "pieces in lists": (OTHER, [{"c": [HEAD]}, {"c": [TAIL]}]),
    "text without JSON": (OTHER, [HEAD.encode(), TAIL.encode()]),
    "bytes that are no UTF-8 beside it": (
        OTHER,
        [b'{"x":"\xff","response":"%s"}' % HEAD.encode(), b'{"x":"\xff","response":"%s"}' % TAIL.encode()],
    ),
    "empty pieces between": (CHAT, [chat(content=HEAD), chat(content=""), chat(content=""), chat(content=TAIL)]),
    "a curl over two lines": (MESSAGES, [block("curl -X POST \\\n  -u me:"), block(f"{PASSWORD} \\\n"), block("  https://h")]),
}


@pytest.mark.row(37)
@pytest.mark.parametrize("pauses", [0.0, 2.5], ids=["at once", "with pauses"])
@pytest.mark.parametrize("name", STREAMS)
def test_the_pieces_of_a_text_are_known_and_what_follows_it_ends_nothing(name: str, pauses: float) -> None:
    path, payloads = STREAMS[name]
    lines = recorded(path, *payloads, pauses=pauses)
    assert len(lines) == len(payloads)
    told = "".join(lines)
    assert "hash:" in told
    assert not leaks(KEY, told) and not leaks(PASSWORD, told)
    assert not any(KEY[start : start + 8] in told for start in range(20, len(KEY) - 8))


def test_a_gap_inside_a_secret_shows_nothing_of_the_rest() -> None:
    flow = recorder(MESSAGES)
    entries = flow.feed(b"data: " + orjson.dumps(block(HEAD)) + b"\n\n", BEGAN)
    entries += flow.gap(1, 10, BEGAN)
    entries += flow.feed(b"data: " + orjson.dumps(block(TAIL)) + b"\n\n", BEGAN)
    told = "".join(str(entry.fields["line"]) for entry in entries if entry.kind == "lines")  # type: ignore[union-attr]
    assert not any(KEY[start : start + 8] in told for start in range(10, len(KEY) - 8))


ORDINARY = (
    "See https://docs.example.com",
    "open http://localhost:8080",
    "the Bearer authentication-scheme",
    "import secret_manager",
    "git clone sk-learn-contrib",
    "together-we-can-change-the-world-2024",
    "rt_thread_create_with_attributes(",
    "for(;k<n;key=document.getElementById(",
)


@pytest.mark.row(40)
@pytest.mark.parametrize("text", ORDINARY)
@pytest.mark.parametrize("pauses", [0.0, 2.5], ids=["at once", "with pauses"])
def test_what_only_looks_like_the_beginning_of_a_secret_stays(text: str, pauses: float) -> None:
    pieces = [text[start : start + 5] for start in range(0, len(text), 5)]
    lines = recorded(OTHER, *({"response": piece} for piece in pieces), pauses=pauses)
    assert "".join(orjson.loads(line)["response"] for line in lines) == text


@pytest.mark.parametrize("quote", ["\\u0022", "\\u0027"])
def test_quotes_as_dot_net_writes_them_are_quotes(quote: str) -> None:
    for text in (f"{quote}access_token{quote}:{quote}{PASSWORD}{quote}", f"curl -u {quote}me:{PASSWORD}{quote} h"):
        if "access" in text and quote == "\\u0027":
            continue
        clean = REDACTOR.text(f'{{"content":"{text}"}}'.encode())
        assert not leaks(PASSWORD, clean)
        assert orjson.loads(clean)["content"].endswith(("h", '"'))


OPAQUE = "Kl4Evx54rvXXPOEDcTkMStjLDGH6VD4UN5FAEW2P"
ARGUMENTS = [tool(piece) for piece in ('{"', 'access_token":"' + OPAQUE[:8], OPAQUE[8:] + '"}')]
BETWEEN: dict[str, Any] = {"a ping": {"type": "ping"}, "another block": block("hello", 7), "nothing said": tool("")}


@pytest.mark.row(37)
@pytest.mark.parametrize("name", BETWEEN)
@pytest.mark.parametrize("pauses", [0.0, 2.5], ids=["at once", "with pauses"])
def test_a_quote_that_stands_frames_before_is_a_quote(name: str, pauses: float) -> None:
    first, *others = ARGUMENTS
    assert OPAQUE[8:] not in "".join(recorded(MESSAGES, first, BETWEEN[name], *others, pauses=pauses))


def test_a_quote_of_another_choice_is_none_of_this_one() -> None:
    contents = ['{"', 'access_token":"' + OPAQUE[:8], OPAQUE[8:] + '"}']
    frames = [frame for content in contents for frame in (chat(0, content=content), chat(1, content="name"))]
    assert OPAQUE[8:] not in "".join(recorded(CHAT, *frames))


@pytest.mark.row(37)
@pytest.mark.parametrize("letter, rest", [("a", "ccess_token"), ("i", "d_token"), ("r", "efresh_token"), ("c", "lient_secret")])
@pytest.mark.parametrize("before", [" ", "\n", "'", "&"])
@pytest.mark.parametrize("shape", ['{"c":[%s]}', '{"c":  %s}', '{"c":[1, %s]}', "%s"])
def test_a_field_cut_behind_its_first_letter_is_seen_wherever_its_string_stands(
    letter: str, rest: str, before: str, shape: str
) -> None:
    frames = [(shape % json.dumps(text)).encode() for text in (f"set{before}{letter}", f"{rest}={OPAQUE}")]
    assert OPAQUE not in "".join(recorded(OTHER, *frames))


@pytest.mark.row(38)
@pytest.mark.parametrize(
    "text",
    [
        "access_token=ab/" + OPAQUE,
        f"https://h.example/?token=a/{OPAQUE}",
        f"aws_secret_access_key = {OPAQUE[:20]}/{OPAQUE[:19]}",
    ],
)
@pytest.mark.parametrize("waiting", [True, False], ids=["while a frame waits", "alone"])
def test_slashes_as_some_servers_write_them_are_slashes(text: str, waiting: bool) -> None:
    frame = orjson.dumps(chat(0, content=text)).replace(b"/", b"\\/")
    assert OPAQUE[:19] not in "".join(recorded(CHAT, *([chat(1, content="and sk-")] if waiting else []), frame))
    body = orjson.dumps({"text": text}).replace(b"/", b"\\/")
    assert OPAQUE[:19].encode() not in REDACTOR.text(body)


@pytest.mark.row(40)
@pytest.mark.parametrize(
    "pieces", [("eos_token=a, en", "d_token=tokenizer.something"), ("&a", "d_token=campaign2024, "), ("cd_token=tokenizer_of_it ",)]
)
def test_names_that_end_like_a_field_are_no_field(pieces: tuple[str, ...]) -> None:
    assert "hash:" not in "".join(recorded(CHAT, *(chat(0, content=piece) for piece in pieces)))
