"""Rows 18, 19, 22: all the ways in which an exchange can end."""

import time
from collections.abc import Callable

import pytest

from tests.faults.harness import (
    CHUNKED,
    END_OF_CHUNKS,
    STOP,
    Act,
    Client,
    Origin,
    Proxy,
    Step,
    ask,
    captures,
    chunk,
    chunked,
    event,
    free_of_listeners,
    head,
    named,
    until,
    whatwg,
)

ASKED = b'{"model":"m","stream":true,"messages":[{"role":"user","content":"hello"}]}'
EVENTS = [event(number) for number in range(5)]


@pytest.mark.row(18)
@pytest.mark.parametrize("reset", [False, True], ids=["fin", "rst"])
@pytest.mark.parametrize("after", [1, 3, 5])
def test_a_client_that_hangs_up_is_recorded_up_to_there_and_upstream_is_closed(
    proxy: Proxy, origin: Origin, after: int, reset: bool, record_property: Callable[[str, object], None]
) -> None:
    url = origin.serve([head(CHUNKED), *(chunk(piece) for piece in EVENTS[:after]), Act.HOLD])
    client = Client(proxy.port)
    sent, got = b"".join(EVENTS[:after]), b""
    for data in client.open(url, ASKED):
        got += data
        if got == sent:
            break
    client.close(reset)
    left = time.monotonic()
    flow = proxy.log.ended(url)
    assert flow.heard() == named(whatwg(sent))
    assert flow.end["outcome"] == "client_closed"
    assert flow.end["wire_bytes"] == len(sent)
    gone = until(lambda: origin.gone.get(url.split("/")[3]), "upstream to be closed")
    assert gone - left < 1.0
    record_property("upstream closed after, max", f"{max(0.0, gone - left) * 1e3:.0f} ms")
    captures(proxy, origin)


@pytest.mark.row(18)
def test_a_client_that_hangs_up_after_the_terminal_event_has_had_it_all(proxy: Proxy, origin: Origin) -> None:
    """codex and kimi do not wait for the end of the body (WIRE.md)."""
    url = origin.serve([head(CHUNKED), chunk(EVENTS[0]), chunk(STOP), Act.HOLD])
    client, got = Client(proxy.port), b""
    for data in client.open(url, ASKED):
        got += data
        if got.endswith(STOP):
            break
    client.close()
    flow = proxy.log.ended(url)
    assert (flow.end["outcome"], flow.end["terminal_event"]) == ("complete", "message_stop")
    assert flow.heard() == named(whatwg(got))


BODY = b"".join(EVENTS)
HALF = EVENTS[4][:40]  # a piece of an event: the stream ends inside it
CUTS: dict[str, tuple[list[Step], bytes, str, str]] = {
    # name: (script, body the client gets, how it ends for the client, outcome)
    "reset": ([head(CHUNKED), chunk(BODY), 0.2, Act.RESET], BODY, "truncated", "server_closed"),
    "reset inside an event": ([head(CHUNKED), chunk(BODY + HALF), 0.2, Act.RESET], BODY + HALF, "truncated", "server_closed"),
    "closed without the last chunk": ([head(CHUNKED), chunk(BODY), Act.CLOSE], BODY, "truncated", "server_closed"),
    "closed inside a chunk": ([head(CHUNKED), b"ffff\r\n" + BODY, Act.CLOSE], BODY, "truncated", "server_closed"),
    "chunk size that is no number": ([head(CHUNKED), chunk(BODY), b"zz\r\n", Act.CLOSE], BODY, "truncated", "server_closed"),
    "less than content-length": (
        [head(b"content-length: %d" % (len(BODY) + 9)), BODY, Act.CLOSE],
        BODY,
        "truncated",
        "server_closed",
    ),
    "more than content-length": (
        [head(b"content-length: %d" % len(BODY)), BODY + b"data: smuggled\n\n", Act.CLOSE],
        BODY,
        "clean",
        "server_closed",
    ),
    "clean end without terminal event": ([head(CHUNKED), chunk(BODY), END_OF_CHUNKS], BODY, "clean", "server_closed"),
    "body until the connection closes": ([head(b"connection: close"), BODY + STOP, Act.CLOSE], BODY + STOP, "clean", "complete"),
}


@pytest.mark.row(19)
@pytest.mark.parametrize("name", CUTS)
def test_the_client_sees_how_the_server_ended_and_the_end_record_says_it(proxy: Proxy, origin: Origin, name: str) -> None:
    script, body, ended, outcome = CUTS[name]
    url = origin.serve(script)
    answer = ask(proxy, url, ASKED)
    assert (answer.status, answer.body, answer.ended) == (200, body, ended)
    flow = proxy.log.ended(url)
    assert flow.heard() == named(whatwg(body))
    assert flow.end["outcome"] == outcome
    assert flow.end["wire_bytes"] == len(body)
    assert (flow.end["error"] is None) == (ended == "clean")
    captures(proxy, origin)


OVERLOADED = b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}'


def plain(status: bytes, body: bytes, content_type: bytes | None = b"application/json") -> list[Step]:
    return [head(b"content-length: %d" % len(body), status=status, content_type=content_type) + body]


BARE: dict[str, tuple[str, list[Step], int, bytes, list[bytes], str]] = {
    # name: (method, script, status, body the client gets, payloads recorded, outcome)
    "429": ("POST", plain(b"429 Too Many Requests", OVERLOADED), 429, OVERLOADED, [OVERLOADED], "error"),
    "529": ("POST", plain(b"529 ", OVERLOADED), 529, OVERLOADED, [OVERLOADED], "error"),
    "500 without a body": ("POST", plain(b"500 Internal Server Error", b""), 500, b"", [], "error"),
    "502 as HTML": (
        "POST",
        plain(b"502 Bad Gateway", b"<h1>no</h1>", b"text/html"),
        502,
        b"<h1>no</h1>",
        [b"<h1>no</h1>"],
        "error",
    ),
    "200 that is no stream": (
        "POST",
        plain(b"200 OK", b'{"type":"message"}'),
        200,
        b'{"type":"message"}',
        [b'{"type":"message"}'],
        "complete",
    ),
    "empty stream, chunked": ("POST", chunked([]), 200, b"", [], "server_closed"),
    "empty stream, length 0": ("POST", [head(b"content-length: 0")], 200, b"", [], "server_closed"),
    "204": ("POST", [head(status=b"204 No Content")], 204, b"", [], "complete"),
    "304": ("POST", [head(b'etag: "x"', status=b"304 Not Modified")], 304, b"", [], "complete"),
    "HEAD of a stream": ("HEAD", [head(CHUNKED)], 200, b"", [], "complete"),
    "stream with an error status": (
        "POST",
        [head(CHUNKED, status=b"400 Bad Request"), chunk(BODY), END_OF_CHUNKS],
        400,
        BODY,
        [said.data for said in whatwg(BODY)],
        "error",
    ),
}


@pytest.mark.row(22)
@pytest.mark.parametrize("name", BARE)
def test_an_answer_with_little_or_no_body_is_recorded_as_it_is(proxy: Proxy, origin: Origin, name: str) -> None:
    method, script, status, body, payloads, outcome = BARE[name]
    url = origin.serve(script)
    answer = ask(proxy, url, ASKED if method == "POST" else b"", method)
    assert (answer.status, answer.body, answer.ended) == (status, body, "clean")
    flow = proxy.log.ended(url)
    assert (flow.record["status"], flow.record["method"]) == (status, method)
    assert flow.payloads == payloads
    assert (flow.end["outcome"], flow.end["wire_bytes"]) == (outcome, len(body))


@pytest.mark.row(22)
@pytest.mark.parametrize("status", [b"100 Continue", b"103 Early Hints"])
def test_an_interim_response_is_passed_on_and_recorded_as_an_answer_that_failed(
    proxy: Proxy, origin: Origin, status: bytes
) -> None:
    """mitmproxy 12.2.3, also without the addon, takes it for the answer and drops the stream behind it ("Unexpected data")."""
    url = origin.serve([b"HTTP/1.1 " + status + b"\r\nlink: </x>\r\n\r\n", *chunked([*EVENTS, STOP])])
    with Client(proxy.port, patience=0.2) as client:
        stream = client.open(url, ASKED)
    assert (stream.informational, stream.ended) == ([int(status[:3])], "silent")
    flow = proxy.log.ended(url)
    assert (flow.record["status"], flow.payloads, flow.end["outcome"]) == (int(status[:3]), [], "error")
    captures(proxy, origin)


@pytest.mark.row(21)
def test_an_upstream_that_cannot_be_reached_is_recorded_with_its_host(proxy: Proxy, origin: Origin) -> None:
    port = free_of_listeners()
    url = origin.serve([]).replace(str(origin.port), str(port))
    answer = ask(proxy, url, b'{"messages":[{"role":"user","content":"is anybody there?"}]}')
    assert answer.status == 502
    flow = proxy.log.ended(url)
    assert (flow.record["status"], flow.record["transport"]) == (None, "none")
    assert flow.end["outcome"] == "error"
    assert str(port) in flow.end["error"]
    assert [line["event"] for line in flow.lines] == ["request.user"]
    captures(proxy, origin)
