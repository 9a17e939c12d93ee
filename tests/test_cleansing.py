"""`capture secrets`: logs that exist already. A log is made with secrets in it, as one written before a rule was known."""

import base64
import gzip
import hashlib
import json
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from capture.cleansing import IN_PIECES, Cleansing
from capture.cli import cli
from capture.jsonl import dumps
from capture.presence import Presence
from tests.test_holding import TEXTS, alike, cut
from tests.test_redact import REDACTOR, SHAPES, leaks


def line(flow: str, count: int, payload: dict[str, Any], direction: str = "in", **more: object) -> bytes:
    """A line record; `more` goes into its metadata."""
    metadata = json.dumps({"ver": "x-1", "provider": "anthropic", "dir": direction, **more})
    return dumps(
        {
            "event": payload.get("type", "message"),
            "t": "2026-11-21T17:07:03.042",
            "line": "data: " + json.dumps(payload),
            "metadata": metadata,
            "flow_id": flow,
            "data_count": count,
            "sid": "s",
        }
    )


def delta(text: str) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}


def texts(lines: list[bytes]) -> dict[str, str]:
    """What the deltas of each flow say."""
    found: dict[str, str] = {}
    for raw in lines:
        record = orjson.loads(raw)
        payload = orjson.loads(record["line"].removeprefix("data: "))
        if "delta" in payload:
            found[record["flow_id"]] = found.get(record["flow_id"], "") + payload["delta"]["text"]
    return found


@given(
    st.lists(st.tuples(st.sampled_from(sorted(TEXTS)), st.lists(st.integers(0, 200), max_size=6)), min_size=1, max_size=4),
    st.randoms(use_true_random=False),
)
def test_secrets_of_flows_that_are_mixed_are_out_and_all_else_is_as_it_was(
    flows: list[tuple[str, list[int]]], chance: random.Random
) -> None:
    said = {f"f{number}": [delta(piece) for piece in cut(TEXTS[name][1], at)] for number, (name, at) in enumerate(flows)}
    raws, counts = [], dict.fromkeys(said, 0)
    while any(said.values()):
        flow = chance.choice([flow for flow, rest in said.items() if rest])
        raws.append(line(flow, counts[flow], said[flow].pop(0)))
        counts[flow] += 1
        if chance.random() < 0.2:
            raws.append(b'{"torn":\n')
    clean = list(Cleansing(REDACTOR).lines(raws))
    assert len(clean) == len(raws)
    found = texts([raw for raw in clean if b"torn" not in raw])
    for number, (name, _) in enumerate(flows):
        secret, text = TEXTS[name]
        assert not leaks(secret, found[f"f{number}"])
        assert alike(found[f"f{number}"]) == alike(REDACTOR.string(text))
    for before, after in zip(raws, clean, strict=True):
        assert after is before or b"hash:" in after or len(after) < len(before)
        old, new = (orjson.loads(each) if b"torn" not in each else {"torn": 1} for each in (before, after))
        assert {**old, "line": ""} == {**new, "line": ""}


def log(folder: Path) -> Path:
    """A log directory with secrets everywhere a log can have them."""
    key, other = SHAPES["anthropic api"], SHAPES["github personal"]
    whole = json.dumps({"role": "user", "content": f"{other} " + "x" * 100}).encode()
    digest = hashlib.sha256(whole).hexdigest()
    lines = [
        line("f", 0, {"role": "user", "content": f"use {key}"}, "out", id="1"),
        line("f", 1, {"role": "user", "content": "long"}, "out", id="2", bytes=len(whole), sha256=digest),
        line("f", 2, delta("it is " + key[:6])),
        line("f", 3, delta(key[6:] + ".")),
        line("f", 4, {"type": "message_stop"}),
    ]
    (folder / "sse_logs" / "s").mkdir(parents=True)
    (folder / "bodies").mkdir()
    (folder / "sse_lines.jsonl").write_bytes(b"".join(lines))
    (folder / "sse_logs" / "s" / "f.jsonl").write_bytes(b"".join(lines))
    (folder / "sse_flows.jsonl").write_bytes(dumps({"flow_id": "f", "sid": "s", "url": f"https://h.example/?q={other}"}))
    (folder / "sse_flow_ends.jsonl").write_bytes(dumps({"flow_id": "f", "sid": "s", "outcome": "complete"}))
    (folder / "sse_logger.error").write_bytes(dumps({"what": f"no {key}"}))
    (folder / "bodies" / digest).write_bytes(whole)
    return folder


def everything(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


def run(*words: object) -> Any:
    return CliRunner().invoke(cli, ["secrets", *map(str, words)])


def test_scan_counts_by_kind_shows_none_and_exits_1(tmp_path: Path) -> None:
    folder = log(tmp_path / "log")
    before = everything(folder)
    result = run("scan", "--dir", folder, "--json")
    assert result.exit_code == 1
    rows = [orjson.loads(row) for row in result.stdout.splitlines()]
    kinds = {(Path(row["file"]).name, row["kind"]): row["count"] for row in rows}
    assert kinds[("sse_lines.jsonl", "anthropic")] == 1
    assert kinds[("sse_lines.jsonl", IN_PIECES)] == 1
    assert kinds[("sse_flows.jsonl", "github")] == 1
    assert kinds[("sse_logger.error", "anthropic")] == 1
    assert not any(leaks(secret, result.output) for secret in SHAPES.values())
    assert everything(folder) == before
    table = run("scan", folder)
    assert table.exit_code == 1
    assert "anthropic" in table.output and not any(leaks(secret, table.output) for secret in SHAPES.values())


def test_redact_takes_out_all_of_them_and_nothing_else(tmp_path: Path) -> None:
    folder = log(tmp_path / "log")
    assert run("redact", "--dir", folder).exit_code == 0
    left = everything(folder)
    assert not any(leaks(secret, left) for secret in SHAPES.values())
    assert run("scan", "--dir", folder).exit_code == 0
    lines = (folder / "sse_lines.jsonl").read_bytes().splitlines(keepends=True)
    assert lines == (folder / "sse_logs" / "s" / "f.jsonl").read_bytes().splitlines(keepends=True)
    assert texts(lines) == {"f": f"it is {REDACTOR.value(SHAPES['anthropic api'])}."}
    (body,) = (folder / "bodies").iterdir()
    assert body.name == hashlib.sha256(body.read_bytes()).hexdigest()
    assert orjson.loads(orjson.loads(lines[1])["metadata"])["sha256"] == body.name
    assert [path.stat().st_mode & 0o777 for path in folder.rglob("sse_lines.jsonl")] == [0o600]
    assert not list(folder.rglob(".*"))
    again = everything(folder)
    assert run("redact", "--dir", folder).exit_code == 0
    assert everything(folder) == again


@pytest.mark.parametrize("pack", [lambda data: data, gzip.compress], ids=["plain", "gz"])
def test_a_single_file_is_rewritten_as_it_was_packed(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    lines = (log(tmp_path / "log") / "sse_lines.jsonl").read_bytes()
    path = tmp_path / ("one.jsonl" if pack(b"") == b"" else "one.jsonl.gz")
    path.write_bytes(pack(lines))
    assert run("redact", path).exit_code == 0
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    assert not leaks(SHAPES["anthropic api"], data)
    assert len(data.splitlines()) == 5


def test_with_a_dash_it_is_a_filter(tmp_path: Path) -> None:
    lines = (log(tmp_path / "log") / "sse_lines.jsonl").read_bytes()
    done = subprocess.run([sys.executable, "-m", "capture", "secrets", "redact", "-"], input=lines, capture_output=True, check=True)
    assert len(done.stdout.splitlines()) == 5
    assert not leaks(SHAPES["anthropic api"], done.stdout)


def test_a_log_that_a_proxy_writes_to_is_refused_and_left_alone(tmp_path: Path) -> None:
    folder = log(tmp_path / "log")
    (folder / "proxies").mkdir(mode=0o700)
    presence = Presence(folder, {})
    before = (folder / "sse_lines.jsonl").read_bytes()
    for where in (folder, folder / "sse_lines.jsonl", folder / "sse_logs" / "s" / "f.jsonl"):
        result = run("redact", where)
        assert result.exit_code != 0
        assert "end it first" in str(result.exception)
    assert (folder / "sse_lines.jsonl").read_bytes() == before
    presence.close(ended=True)
    assert run("redact", folder).exit_code == 0


def test_a_name_that_is_nothing_is_refused(tmp_path: Path) -> None:
    assert "there is no" in str(run("scan", tmp_path / "nothing").exception)


def test_of_a_directory_only_logs_are_touched_wherever_they_are(tmp_path: Path) -> None:
    folder = log(tmp_path / "logs" / "one")
    database = tmp_path / "logs" / "other.db"
    database.write_bytes(b"SQLite\0 " + SHAPES["github personal"].encode())
    before = database.read_bytes()
    result = run("redact", tmp_path / "logs")
    assert result.exit_code == 0
    assert "1 other files are no logs" in result.output
    assert database.read_bytes() == before
    assert not any(leaks(secret, everything(folder)) for secret in SHAPES.values())


def torn(packed: bytes) -> bytes:
    return packed[: len(packed) // 2]


def flipped(packed: bytes) -> bytes:
    return packed[:20] + bytes([packed[20] ^ 0xFF]) + packed[21:]


@pytest.mark.parametrize("damage", [torn, flipped])
def test_a_file_that_cannot_be_read_keeps_no_other_from_being_clean(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    folder = log(tmp_path / "log")
    (folder / "old.jsonl.gz").write_bytes(damage(gzip.compress(random.Random(1).randbytes(100_000).hex().encode())))
    result = run("redact", folder)
    assert result.exit_code == 2
    assert "old.jsonl.gz" in result.output
    assert not leaks(SHAPES["anthropic api"], (folder / "sse_lines.jsonl").read_bytes())


@pytest.mark.parametrize("ending", ["-20261121-124000", ".1", "-20261121.gz"])
def test_what_was_rotated_away_is_looked_into(tmp_path: Path, ending: str) -> None:
    folder = log(tmp_path / "log")
    lines, old = folder / "sse_lines.jsonl", folder / ("sse_lines.jsonl" + ending)
    old.write_bytes(gzip.compress(lines.read_bytes()) if ending.endswith(".gz") else lines.read_bytes())
    lines.write_bytes(b"")
    assert str(old) in {row["file"] for row in map(json.loads, run("scan", "--json", folder).stdout.splitlines())}


def test_a_link_leads_to_the_file_that_is_meant(tmp_path: Path) -> None:
    lines = log(tmp_path / "log") / "sse_lines.jsonl"
    link = tmp_path / "link.jsonl"
    link.symlink_to(lines)
    assert run("redact", link).exit_code == 0
    assert link.is_symlink()
    assert not leaks(SHAPES["anthropic api"], lines.read_bytes())


def test_a_payload_in_base64_is_clean_in_there(tmp_path: Path) -> None:
    payload = b"\xff " + SHAPES["anthropic api"].encode()
    record = line("f", 0, {"a": "b"}, base64=base64.b64encode(payload).decode())
    (clean,) = Cleansing(REDACTOR).lines([record])
    metadata = orjson.loads(orjson.loads(clean)["metadata"])
    assert base64.b64decode(metadata["base64"]) == b"\xff " + REDACTOR.value(SHAPES["anthropic api"]).encode()


def test_what_a_killed_run_left_is_swept_away(tmp_path: Path) -> None:
    folder = log(tmp_path / "log")
    (folder / ".sse_lines.jsonl-99999").write_bytes(SHAPES["anthropic api"].encode())
    assert run("redact", folder).exit_code == 0
    assert not list(folder.glob(".*"))
