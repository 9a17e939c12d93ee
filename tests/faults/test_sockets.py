"""Row 34: WebSockets, message for message."""

import socket
import time
from collections.abc import Callable, Iterator

import pytest
from websockets.exceptions import InvalidStatus

from tests.faults.harness import Origin, Proxy, captures, case_of, until
from tests.faults.sockets import Message, SocketOrigin, connected

MIB = 1 << 20


@pytest.fixture(scope="module", params=[None, "deflate"], ids=["plain", "permessage-deflate"])
def sockets(request: pytest.FixtureRequest) -> Iterator[SocketOrigin]:
    origin = SocketOrigin(compression=request.param)
    yield origin
    origin.close()


def as_bytes(message: Message) -> bytes:
    return message.encode("utf-8", "surrogatepass") if isinstance(message, str) else message


def said(message: object) -> bytes:
    return b"".join(as_bytes(piece) for piece in message) if isinstance(message, list) else as_bytes(message)  # type: ignore[arg-type]


ALL_BYTES = bytes(range(256))
MESSAGES: dict[str, list[Message | list[str] | list[bytes]]] = {
    "text": ['{"type":"response.created"}', '{"type":"response.completed"}'],
    "binary": [ALL_BYTES, b"", b'{"type":"response.created"}'],
    "16 MB": ['{"type":"big","x":"' + "abcdefg\u20ac" * (16 * MIB // 10) + '"}', "after"],
    "16 MB binary": [ALL_BYTES * (16 * MIB // 256), b"after"],
    "fragments": [["one ", "two ", "\u20ac", "\U0001f600"], [b"\x00", b"", b"\xff"], ["", ""]],
    "empty": ["", b""],
    "many lines": ["data: not SSE\n\ndata: at all\n\n"],
    "no JSON": ["{", "\u2028", "null", "[1]"],
}


@pytest.mark.row(34)
@pytest.mark.parametrize("name", MESSAGES)
def test_every_message_reaches_the_client_and_the_log_as_it_was(proxy: Proxy, sockets: SocketOrigin, name: str) -> None:
    messages = MESSAGES[name]
    url = sockets.serve(messages)
    with connected(proxy, url) as client:
        got = [as_bytes(client.recv(20)) for _ in messages]
        until(lambda: client.close_code is not None, "the server to close")
    assert got == [said(message) for message in messages]
    assert proxy.log.ended(url).payloads == got


@pytest.mark.row(34)
def test_ten_thousand_small_messages_in_both_directions_are_all_there(
    proxy: Proxy, sockets: SocketOrigin, record_property: Callable[[str, object], None]
) -> None:
    down = [f'{{"type":"response.output_text.delta","n":{number}}}' for number in range(10_000)]
    up = [f'{{"type":"input.delta","n":{number}}}' for number in range(1_000)]
    url = sockets.serve([*down], echo=True)
    started = time.monotonic()
    with connected(proxy, url) as client:
        got = [client.recv(20) for _ in down]
        seconds = time.monotonic() - started
        for message in up:
            client.send(message)
        echoes = [client.recv(20) for _ in up]
    assert (got, echoes) == (down, up)
    flow = proxy.log.ended(url)
    assert [payload.decode() for payload in flow.payloads] == [*down, *up]
    assert [said.data.decode() for said in flow.heard("out")] == up
    record_property("messages a second", round(len(down) / seconds))


def test_a_request_on_a_socket_and_its_answer_are_in_order(proxy: Proxy, sockets: SocketOrigin) -> None:
    url = sockets.serve([], echo=True)
    sid = f"socket-{case_of(url)}"
    question = '{"type":"message","role":"user","content":"on a socket"}'
    request = f'{{"type":"response.create","input":[{question}],"prompt_cache_key":"{sid}"}}'
    with connected(proxy, url) as client:
        client.send(request)
        assert client.recv(20) == request
        client.send("[1]")
        assert client.recv(20) == "[1]"
    flow = proxy.log.ended(url)
    assert [line["event"] for line in flow.lines] == ["request.user", "response.create", "response.create", "message", "message"]
    assert flow.payloads == [request.encode(), b"[1]"]
    assert flow.record["sid"] == sid


@pytest.mark.row(34)
def test_a_socket_with_nothing_but_pings_has_no_lines(proxy: Proxy, sockets: SocketOrigin) -> None:
    url = sockets.serve([], echo=True)
    with connected(proxy, url) as client:
        for _ in range(20):
            assert client.ping(b"are you there?").wait(20)
    flow = proxy.log.ended(url)
    assert (flow.lines, flow.end["outcome"], flow.end["frames"]) == ([], "complete", 0)


@pytest.mark.row(34)
@pytest.mark.parametrize("reset", [False, True], ids=["fin", "rst"])
def test_a_socket_that_ends_without_a_close_frame_is_1006_and_on_record_up_to_there(
    proxy: Proxy, origin: Origin, sockets: SocketOrigin, reset: bool
) -> None:
    """Normal for codex (WIRE.md): an answer that was complete stays complete."""
    url = sockets.serve(["one", "two"], echo=True)
    with connected(proxy, url, ping_interval=None) as client:
        assert [client.recv(20), client.recv(20)] == ["one", "two"]
        if reset:
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        client.socket.shutdown(socket.SHUT_RDWR)
    flow = proxy.log.ended(url)
    assert flow.payloads == [b"one", b"two"]
    assert (flow.end["close_code"], flow.end["outcome"]) == (1006, "complete")
    captures(proxy, origin)


@pytest.mark.row(34)
def test_an_answer_that_is_cut_on_a_socket_is_not_complete(proxy: Proxy, sockets: SocketOrigin) -> None:
    url = sockets.serve(['{"type":"response.created"}'], echo=True)
    with connected(proxy, url, ping_interval=None) as client:
        client.send('{"type":"response.create","input":[]}')
        assert [client.recv(20), client.recv(20)]
        client.socket.shutdown(socket.SHUT_RDWR)
    assert proxy.log.ended(url).end["outcome"] == "client_closed"


@pytest.mark.row(34)
def test_a_server_that_drops_a_socket_in_an_answer_is_recorded_up_to_there(proxy: Proxy, sockets: SocketOrigin) -> None:
    """The log has the server's 1006; the client is told 1000, which is mitmproxy's doing."""
    url = sockets.serve(['{"type":"response.created"}'], echo=True, drop=True)
    with connected(proxy, url, ping_interval=None) as client:
        client.send('{"type":"response.create","input":[]}')
        assert client.recv(20) == '{"type":"response.created"}'
        until(lambda: client.close_code is not None, "the connection to be gone")
    flow = proxy.log.ended(url)
    assert (flow.payloads, flow.end["outcome"], flow.end["close_code"]) == ([b'{"type":"response.created"}'], "server_closed", 1006)


@pytest.mark.row(22, 34)
def test_a_refused_upgrade_is_recorded_as_an_answer(proxy: Proxy, origin: Origin) -> None:
    """426 sends codex to SSE at once (WIRE.md)."""
    url = origin.serve(
        [b"HTTP/1.1 426 Upgrade Required\r\ncontent-length: 2\r\ncontent-type: application/json\r\n\r\n{}"], "/v1/responses"
    ).replace("http:", "ws:")
    with pytest.raises(InvalidStatus), connected(proxy, url):
        pass
    flow = proxy.log.ended(url)
    assert (flow.record["status"], flow.payloads, flow.end["outcome"]) == (426, [b"{}"], "error")
