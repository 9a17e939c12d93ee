"""Rows 43, 44, 46, 47: odd headers, odd names, whose eyes, whose hands."""

import os
import re
import stat
from collections.abc import Callable
from pathlib import Path

import orjson
import psutil
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from capture.own import own
from tests.faults.harness import STOP, Client, Origin, Proxy, ask, captures, chunked, event, named, whatwg

ASKED = b'{"messages":[{"role":"user","content":"hello"}]}'
HASH = re.compile(r"hash:[0-9a-f]{16}")
SSE = [event(0), STOP]

# -- row 43 ------------------------------------------------------------------------------------------------------------------

SECRET = b"s3cr3t-%d-Zx9QwErTyUiOpAsDf"
ODD_HEADERS: dict[str, list[bytes]] = {
    # name: header lines, each with a secret in it
    "twice": [b"set-cookie: a=" + SECRET % 1, b"set-cookie: b=" + SECRET % 2 + b"; Path=/; HttpOnly"],
    "odd case": [b"SeT-cOoKiE: a=" + SECRET % 3, b"X-API-KEY: " + SECRET % 4, b"aUTHORIZATION: Bearer " + SECRET % 5],
    "bytes that are no ASCII": [b"set-cookie: a=\xff\xe9" + SECRET % 6, b"x-api-key: \x80" + SECRET % 7],
    "a megabyte": [b"set-cookie: " + SECRET % 8 + b"x" * 1_000_000],
    "spaces": [b"set-cookie:" + SECRET % 9, b"x-api-key: \t " + SECRET % 10 + b"  "],
    "a thousand": [b"set-cookie: n%d=" % number + SECRET % (100 + number) for number in range(1000)],
    "short": [b"x-api-key: p4ss", b"set-cookie: id=7"],
    "empty": [b"x-api-key:", b"set-cookie: "],
}


@pytest.mark.row(43)
@pytest.mark.parametrize("side", ["response", "request"])
@pytest.mark.parametrize("name", ODD_HEADERS)
def test_no_byte_of_a_secret_header_is_on_disk_however_it_is_written(
    proxy: Proxy, origin: Origin, name: str, side: str, record_property: Callable[[str, object], None]
) -> None:
    lines = ODD_HEADERS[name]
    record_property("secret headers", len(lines))
    url = origin.serve(chunked(SSE, *(lines if side == "response" else [])))
    answer = ask(proxy, url, ASKED, raw=b"".join(line + b"\r\n" for line in lines) if side == "request" else b"")
    assert (answer.body, answer.ended) == (b"".join(SSE), "clean")
    flow = proxy.log.ended(url)
    assert flow.heard() == named(whatwg(answer.body))
    recorded = flow.record["response_headers" if side == "response" else "request_headers"]
    sent = [line.partition(b":")[0].decode() for line in lines]
    values = [value for header, value in recorded if header in sent]
    assert len(values) == len(lines)
    assert all(HASH.fullmatch(value) for value in values)
    if name not in ("short", "empty"):
        assert b"s3cr3t" not in proxy.log.everything()
    if side == "response":
        names = {line.partition(b":")[0].lower() for line in lines}
        assert [value for key, value in answer.headers if key.lower() in names] == [
            line.partition(b":")[2].strip() for line in lines
        ]
    else:
        received = origin.requests[url.split("/")[3]].lower()
        assert all(line.partition(b":")[2].strip().lower() in received for line in lines)


@pytest.mark.row(43)
def test_a_header_that_is_no_header_is_refused_and_harms_nothing(proxy: Proxy, origin: Origin) -> None:
    url = origin.serve([b"HTTP/1.1 200 OK\r\nno colon here\r\ncontent-type: text/event-stream\r\n\r\n"])
    assert ask(proxy, url, ASKED).status == 502
    flow = proxy.log.ended(url)
    assert (flow.end["outcome"], flow.payloads) == ("error", [])
    captures(proxy, origin)


# -- row 44 ------------------------------------------------------------------------------------------------------------------

WORDS = r"""
    ../../../../tmp/evil .. . /etc/passwd a/b a\b C:\x -rf --help ~root CON con.txt nul LPT1 a. .hidden %2e%2e%2f $(id) `id`
    a;b a|b * ? ' " <> a:b A __pycache__ sse_lines.jsonl proxies
"""
NAMES = [*WORDS.split(), "x" * 100, "x" * 101, "x" * 199, "y" * 300, "a b", "e\u0301", "\u00e9"]
BODY_NAMES = ["\x00", "a\x00b", "a\nb", "\u202eabc", "\U0001f600" * 40, "\u0000../x", "\ud800", "../" * 60, "", " "]


def folder_of(proxy: Proxy, origin: Origin, body: bytes, headers: tuple[tuple[str, str], ...] = ()) -> tuple[str, str]:
    """(sid, name of its folder): the one folder that is new or whose flow is."""
    url = origin.serve(chunked(SSE))
    assert ask(proxy, url, body, headers=headers).ended == "clean"
    flow = proxy.log.ended(url)
    (path,) = (proxy.directory / "sse_logs").glob(f"*/{flow.record['flow_id']}.jsonl")
    return flow.record["sid"], path.parent.name


@pytest.mark.row(44)
def test_a_session_name_is_never_a_path(proxy: Proxy, origin: Origin, record_property: Callable[[str, object], None]) -> None:
    found = [folder_of(proxy, origin, ASKED, (("session-id", name),)) for name in NAMES if name.isascii()]
    found += [folder_of(proxy, origin, orjson_dumps({"prompt_cache_key": name})) for name in (*NAMES, *BODY_NAMES)]
    record_property("names by hand", len(found))
    assert_inside(proxy, found)


def orjson_dumps(value: dict[str, str]) -> bytes:
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:
        return b'{"prompt_cache_key":"\\ud800"}'


@pytest.mark.row(44)
@settings(max_examples=60, deadline=None, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
@given(name=st.text(min_size=1, max_size=300))
def test_no_text_at_all_is_a_path(
    shared_proxy: Proxy, origin: Origin, name: str, record_property: Callable[[str, object], None]
) -> None:
    record_property("names generated", 1)
    body = orjson_dumps({"prompt_cache_key": name}) if name.isascii() or name.isprintable() else orjson_dumps({"user_id": name})
    assert_inside(shared_proxy, [folder_of(shared_proxy, origin, body)])


def assert_inside(proxy: Proxy, found: list[tuple[str, str]]) -> None:
    """Each folder is one plain component of at most 100 bytes; different sessions have different folders."""
    for _, folder in found:
        assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", folder)
    folders = dict(found)
    assert len(set(folders.values())) == len(folders)
    top = {path.name for path in proxy.directory.iterdir()}
    assert top <= {"bodies", "proxies", "sse_logs", "sse_lines.jsonl", "sse_flows.jsonl", "sse_flow_ends.jsonl", "sse_logger.error"}
    assert all(len(path.relative_to(proxy.directory / "sse_logs").parts) <= 2 for path in (proxy.directory / "sse_logs").rglob("*"))


# -- rows 46 and 47 ----------------------------------------------------------------------------------------------------------


@pytest.mark.row(46, 47)
def test_files_are_0600_and_directories_0700_and_nothing_listens_to_the_outside(
    tmp_path: Path, origin: Origin, monkeypatch: pytest.MonkeyPatch, record_property: Callable[[str, object], None]
) -> None:
    """umask 000, a log directory and a CA folder of 0777, a payload that goes to bodies/, parents that must be made."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "deep" / "state"))
    monkeypatch.setenv("SSE_LOG_DIR", "/nonexistent")
    directory, confdir = tmp_path / "log", tmp_path / "conf"
    mask = os.umask(0)
    try:
        directory.mkdir(0o777)
        (directory / "sse_logs").mkdir(0o777)
        (directory / "sse_lines.jsonl").touch(0o666)
        confdir.mkdir(0o777)
        with own(directory, confdir, extra=("--set", "ssl_insecure=true")) as proxy:
            url = origin.serve(chunked([event(0, 3 << 20), STOP]))
            with Client(proxy.port) as client:
                assert client.ask(url, ASKED).status == 200
                listening = [
                    connection.laddr.ip
                    for connection in psutil.Process(proxy.pid).net_connections("inet")
                    if connection.status == psutil.CONN_LISTEN or (connection.type.name == "SOCK_DGRAM" and not connection.raddr)
                ]
            assert listening == ["127.0.0.1"]
        assert (directory / "bodies").stat().st_size and list((directory / "bodies").iterdir())
        made = [path for top in (directory, tmp_path / "deep") for path in (top, *top.rglob("*"))]
        assert len([path for path in made if path.is_file()]) >= 6
        odd = {
            str(path): oct(mode)
            for path in made
            if (mode := stat.S_IMODE(path.stat().st_mode)) != (0o700 if path.is_dir() else 0o600)
        }
        assert odd == {}
        record_property("files and directories looked at", len(made))
        record_property("with other rights", len(odd))
        assert stat.S_IMODE(confdir.stat().st_mode) == 0o700
        keys = [path for path in confdir.iterdir() if b"PRIVATE KEY" in path.read_bytes()]
        assert keys
    finally:
        os.umask(mask)


@pytest.mark.row(47)
def test_the_command_line_of_a_proxy_binds_it_to_the_loopback_interface(proxy: Proxy, origin: Origin) -> None:
    sockets = psutil.Process(proxy.process.pid).net_connections("inet")
    listening = {connection.laddr.ip for connection in sockets if connection.status == psutil.CONN_LISTEN}
    assert listening == {"127.0.0.1"}
