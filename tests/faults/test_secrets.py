"""Rows 36 and 38 to 42: secrets of every kind in every place, through the real proxy, then every byte of every sink is searched."""

import base64
import gzip
import hashlib
import hmac
import random
import re
import stat
import string
import subprocess
import sys
import sysconfig
import time
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import orjson
import pytest

from capture.redact import Redactor
from tests.faults.harness import STOP, Client, Origin, Proxy, amazon, ask, chunked, head
from tests.faults.sockets import SocketOrigin, connected
from tests.redis_server import needed, server
from tests.test_redact import IN_CONTEXT, SHAPES, made_up

ALNUM = string.ascii_letters + string.digits
TEXTS = {**{name: (secret, f"use {secret}, it works.") for name, secret in SHAPES.items()}, **IN_CONTEXT}
GATEWAY = made_up("my_gateway/", ALNUM, 30)  # a key without a known shape


def marks(secret: str) -> list[bytes]:
    """Eight characters of it, at four places behind what all of its kind begin with: none may be in any sink."""
    begins = min(10, len(secret) - 8)
    steps = range(begins, len(secret) - 7, max(1, (len(secret) - 8 - begins) // 3))
    return [secret[start : start + 8].encode() for start in steps]


def leaked(sink: bytes, names: dict[str, tuple[str, str]] = TEXTS) -> list[str]:
    """The kinds of which something stands in a sink."""
    return [name for name, (secret, _) in names.items() if any(mark in sink for mark in marks(secret))]


@pytest.fixture
def sockets() -> Iterator[SocketOrigin]:
    origin = SocketOrigin()
    yield origin
    origin.close()


def delta(text: str) -> bytes:
    payload = orjson.dumps({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}})
    return b"event: content_block_delta\ndata: " + payload + b"\n\n"


def body(*texts: str) -> bytes:
    """A request: each text a prompt, and a tool's result."""
    messages: list[object] = [{"role": "user", "content": text} for text in texts]
    messages += [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": text}]} for text in texts]
    return orjson.dumps({"model": "m", "messages": messages})


def test_the_marks_are_found_where_a_secret_stands() -> None:
    for name, (_, text) in TEXTS.items():
        assert name in leaked(text.encode()) or name.endswith("escapes") or "escaped" in name, name


def in_all_places(proxy: Proxy, origin: Origin, sockets: SocketOrigin) -> int:
    """Says each secret in each of 8 places and gives how many that were."""
    texts = [text for _, text in TEXTS.values()]
    url = origin.serve(chunked([*(delta(text + "\n") for text in texts), STOP]))
    ask(proxy, url, body(*texts))  # request bodies, tool results, server-sent events
    flows = [proxy.log.ended(url)]
    for status in (b"401 Unauthorized", b"500 Internal Server Error"):
        error = orjson.dumps({"error": {"message": "refused: " + " / ".join(texts)}})
        url = origin.serve([head(b"content-length: %d" % len(error), status=status, content_type=b"application/json"), error])
        ask(proxy, url, body("hello"))
        flows.append(proxy.log.ended(url))
    messages = [
        orjson.dumps({"type": "response.output_text.delta", "item_id": str(n), "delta": t}).decode() for n, t in enumerate(texts)
    ]
    url = sockets.serve(messages, echo=True)
    with connected(proxy, url) as client:  # both directions of a socket
        for _ in messages:
            client.recv(20)
        for message in messages:
            client.send(message.replace("response.output_text", "input_text"))
            client.recv(20)
    flows.append(proxy.log.ended(url))
    with Client(proxy.port) as client_of_many:
        for secret in SHAPES.values():  # headers of both sides, URL, session name
            answer = [head(b"content-length: 0", b"x-trace: " + secret.encode()), b""]
            url = origin.serve(answer, f"/v1/messages?q={urllib.parse.quote(secret)}")
            asked = (("x-note", secret), ("x-session-id", secret), ("cookie", f"a={secret}"), ("authorization", f"Bearer {secret}"))
            client_of_many.ask(url, body("hi"), headers=asked)
            flows.append(proxy.log.ended(url))
    assert all(flow.end["capture_error"] is None for flow in flows)
    return 4 * len(TEXTS) + 4 * len(SHAPES)


@needed
@pytest.mark.row(36)
def test_no_secret_is_in_any_byte_of_any_sink(
    tmp_path: Path, confdir: Path, origin: Origin, sockets: SocketOrigin, record_property: Callable[[str, object], None]
) -> None:
    """Log directory with the names in it, sse_logger.error, the proxy's console, Redis after `capture ship`."""
    proxy = Proxy(tmp_path / "proxy", confdir)
    seeds = in_all_places(proxy, origin, sockets)
    proxy.end()
    sinks = {"the log directory": proxy.log.everything(), "the console": proxy.output().encode(), "Redis": shipped(proxy, tmp_path)}
    assert {name: leaked(sink) for name, sink in sinks.items()} == {name: [] for name in sinks}
    assert len(sinks["Redis"]) > len(sinks["the log directory"]) // 4
    hashes = set(HASHES.findall(sinks["the log directory"]))
    assert len(hashes) >= len(SHAPES)
    record_property("kinds of secrets", len(TEXTS))
    record_property("seeds", seeds)
    record_property("bytes searched", sum(map(len, sinks.values())))
    record_property("leaks", 0)


HASHES = re.compile(rb"hash:[0-9a-f]{16}")


def shipped(proxy: Proxy, folder: Path) -> bytes:
    """Everything that stands in Redis when the log was shipped."""
    with server(folder / "redis") as running:
        command = [sys.executable, "-m", "capture", "ship", running.stream("sse"), "--dir", str(proxy.directory), "--once"]
        subprocess.run(command, check=True, capture_output=True)
        with running.client() as client:
            entries = cast(list[tuple[bytes, dict[bytes, bytes]]], client.xrange("sse"))
    return b"\n".join(part for _, fields in entries for pair in fields.items() for part in pair)


@pytest.mark.row(36)
def test_a_key_that_no_rule_knows_is_known_by_its_header(proxy: Proxy, origin: Origin) -> None:
    url = origin.serve(chunked([delta(f"your key is {GATEWAY[:20]}"), delta(f"{GATEWAY[20:]}."), STOP]))
    ask(proxy, url, body(f"curl -H 'x-gateway: {GATEWAY}'"), headers=(("x-api-key", GATEWAY),))
    flow = proxy.log.ended(url)
    assert GATEWAY[12:20].encode() not in proxy.log.everything()
    assert b"".join(flow.payloads).count(b"hash:") == 1
    assert "x-gateway: hash:" in "".join(line["line"] for line in flow.lines)


# -- encodings ---------------------------------------------------------------------------------------------------------------


def twice(text: str) -> str:
    """As JSON inside JSON."""
    return orjson.dumps({"arguments": orjson.dumps({"command": text}).decode()}).decode()


ENCODINGS: dict[str, Callable[[str], str]] = {
    "JSON": lambda secret: orjson.dumps({"command": f"export KEY={secret}\nnext"}).decode(),
    "JSON in JSON": lambda secret: twice(f"export KEY={secret}\nnext"),
    "JSON in JSON in JSON": lambda secret: twice(twice(f'{{"key":"{secret}"}}')),
    "characters escaped in JSON": lambda secret: f'{{"url":"https://h.example/?a=1\\u0026key\\u003d{secret}\\u0026b=2"}}',
    "URL": lambda secret: f"https://h.example/?next={urllib.parse.quote('key=' + secret, safe='')}&x=1",
    "form": lambda secret: urllib.parse.urlencode({"a": "b c", "token": secret}),
    "HTML": lambda secret: f"<code>&quot;{secret}&quot;</code>",
    "terminal colours": lambda secret: f"\x1b[32m{secret}\x1b[0m",
    "base64 of user and password": lambda secret: "Authorization: Basic " + base64.b64encode(f"me:{secret}".encode()).decode(),
}


@pytest.mark.row(38)
@pytest.mark.parametrize("packed", ["identity", "gzip", "bedrock"])
def test_no_encoding_of_those_that_are_listed_hides_a_secret(
    proxy: Proxy, origin: Origin, packed: str, record_property: Callable[[str, object], None]
) -> None:
    """In requests and in streams; the answer as it is, compressed, or in Bedrock's base64 frames."""
    texts = [encode(secret) for secret in SHAPES.values() for encode in ENCODINGS.values()]
    frames = [delta(text + "\n") for text in texts]
    if packed == "bedrock":
        payloads = [frame.split(b"data: ", 1)[1].rstrip() for frame in frames]
        pieces = [amazon(orjson.dumps({"bytes": base64.b64encode(payload).decode()})) for payload in payloads]
        script = chunked(pieces, content_type=b"application/vnd.amazon.eventstream")
    elif packed == "gzip":
        script = chunked([gzip.compress(b"".join([*frames, STOP]))], b"content-encoding: gzip")
    else:
        script = chunked([*frames, STOP])
    url = origin.serve(script)
    ask(proxy, url, body(*texts))
    flow = proxy.log.ended(url)
    assert len(flow.payloads) >= len(frames)
    said = b"\n".join([*flow.payloads, *(line["line"].encode() for line in flow.lines), orjson.dumps(flow.record)])
    encoded = {name: (base64.b64encode(f"me:{secret}".encode()).decode(), "") for name, secret in SHAPES.items()}
    assert leaked(said) + leaked(said, encoded) == []
    record_property("encodings", len(ENCODINGS))
    record_property("texts", len(texts))
    record_property("leaks", 0)


@pytest.mark.row(39)
def test_tokens_of_a_login_and_a_refresh_reach_the_client_and_nothing_else(
    proxy: Proxy, origin: Origin, record_property: Callable[[str, object], None]
) -> None:
    """Also where the token endpoint stands behind a path of a model's interface, which is recorded."""
    tokens = {name: made_up("", ALNUM, 50 + len(name)) for name in ("access_token", "refresh_token", "id_token")}
    granted = orjson.dumps({**tokens, "token_type": "bearer", "expires_in": 3600})
    answer = [head(b"content-length: %d" % len(granted), content_type=b"application/json"), granted]
    form = urllib.parse.urlencode({"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"], "code": "x" * 30})
    for path in ("/oauth/token", "/v1/oauth/token", "/v1/messages"):
        got = ask(
            proxy, origin.serve(answer, path), form.encode(), headers=(("content-type", "application/x-www-form-urlencoded"),)
        )
        assert (got.status, got.body) == (200, granted)
        proxy.log.look()
    everything = proxy.log.everything() + proxy.output().encode()
    assert leaked(everything, {name: (token, "") for name, token in tokens.items()}) == []
    record_property("logins", 3)
    record_property("leaks", 0)


# -- what is no secret, and how long it takes ----------------------------------------------------------------------------------


def sources() -> Iterator[str]:
    """Python source with its prose, as agents read and write it."""
    for path in sorted(Path(sysconfig.get_paths()["stdlib"]).rglob("*.py")):
        yield path.read_text("utf-8", "replace")
    for path in sorted(Path(sysconfig.get_paths()["purelib"]).rglob("*.py")):
        yield path.read_text("utf-8", "replace")


@pytest.mark.row(40)
def test_ordinary_text_holds_hardly_a_secret_and_stays_json(
    times: Callable[[int, int], int], record_property: Callable[[str, object], None]
) -> None:
    """Source and prose, base64 images, diffs: as payloads."""
    redactor, dice, size, hits = Redactor(b"salt"), random.Random(40), 0, 0
    for text in sources():
        diff = "\n".join("+" + line for line in text.splitlines())
        for said in (text, diff):
            payload = orjson.dumps({"type": "tool_result", "content": said}) if "\ud800" not in said else b"{}"
            clean = redactor.text(payload)
            orjson.loads(clean)
            size += len(payload)
            hits += clean.count(b"hash:") - payload.count(b"hash:")
        if size > times(4, 50) << 20:
            break
    for _ in range(times(2, 10)):
        image = orjson.dumps({"data": base64.b64encode(dice.randbytes(1 << 20)).decode()})
        assert redactor.text(image) == image
        size += len(image)
    record_property("megabytes", round(size / 2**20))
    record_property("replaced in a megabyte", f"{hits / (size / 2**20):.2f}")
    assert hits / (size / 2**20) < 1


@pytest.mark.row(41)
@pytest.mark.parametrize(
    "unit", ["a", "A_", "sk-", "eyJ", "-----BEGIN ", "Bearer ", "curl -u ", '"access_token":"', "https://a:b", "\\"]
)
def test_no_text_makes_redaction_slow(
    unit: str, times: Callable[[int, int], int], record_property: Callable[[str, object], None]
) -> None:
    """Ten times the text takes about ten times as long: nothing is quadratic."""
    redactor, megabytes = Redactor(b"salt"), times(2, 20)
    seconds = []
    for size in (megabytes << 20) // 10, megabytes << 20:
        text = (unit * (size // len(unit) + 1))[:size].encode() + b" " + SHAPES["anthropic api"].encode()
        started = time.process_time()
        assert not leaked(redactor.text(text), {"the key": (SHAPES["anthropic api"], "")})
        seconds.append(time.process_time() - started)
    record_property("slowest, ms for a megabyte", round(seconds[1] * 1000 / megabytes))
    assert seconds[1] <= 20 * max(seconds[0], 0.001)


@pytest.mark.row(41)
def test_what_cannot_be_redacted_is_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    redactor = Redactor(b"salt")
    monkeypatch.setattr(redactor.shapes, "rules", lambda: 1 / 0)
    text = f"a {SHAPES['anthropic api']}".encode()
    assert orjson.loads(redactor.text(text)) == {"redaction_error": "ZeroDivisionError", "bytes": len(text)}


@pytest.mark.row(42)
def test_a_dictionary_finds_no_password_by_its_hash(
    proxy: Proxy, origin: Origin, times: Callable[[int, int], int], record_property: Callable[[str, object], None]
) -> None:
    """Without the salt, which only its owner may read and which is in no log."""
    words = [
        f"{a}{b}{n}" for a in "sun moon star tree".split() for b in ("", "shine", "light") for n in range(times(4_000, 84_000))
    ]
    password = words[len(words) // 2]
    url = origin.serve(chunked([delta(f"curl -u me:{password} https://h.example"), STOP]))
    ask(proxy, url, body("hi"))
    (payload, *_) = proxy.log.ended(url).payloads
    found = HASHES.search(payload)
    assert found and password.encode() not in payload
    wanted = found[0].removeprefix(b"hash:").decode()
    guesses = (f"me:{word}".encode() for word in words)
    assert not any(
        hashlib.sha256(guess).hexdigest().startswith(wanted) or hmac.new(b"", guess, hashlib.sha256).hexdigest().startswith(wanted)
        for guess in guesses
    )
    (salt,) = proxy.directory.parent.rglob("state/**/salt")
    assert stat.S_IMODE(salt.stat().st_mode) == 0o600
    assert salt.read_bytes() not in proxy.log.everything()
    assert hmac.new(salt.read_bytes(), f"me:{password}".encode(), hashlib.sha256).hexdigest().startswith(wanted)
    record_property("guesses", len(words))
    record_property("matches", 0)
