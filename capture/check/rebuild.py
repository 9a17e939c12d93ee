"""Request bodies rebuilt from the central log and compared with what was sent, and payloads in bodies/ with their names."""

from collections.abc import Iterator, Mapping
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import IO

import orjson

from capture import parts
from capture.check.findings import Finding
from capture.files import FLOWS, LINES, parse, whole_lines
from capture.reader import LogReader

CACHED = 1024  # parts kept in memory: a session's requests say the same ones again and again


def deep(log: Path, told: Mapping[str, Mapping[int, int]]) -> Iterator[Finding]:
    """What is not as it was. `told`: by session, where in the lines file the line of each part stands, by its id."""
    lines = log / LINES
    if lines.exists():
        with open(lines, "rb") as file:
            yield from _requests(log, told, file)
    for path in sorted((log / "bodies").glob("[0-9a-f]*")):
        if _digest(path) != path.name:
            yield Finding("body_differs", f"bodies/{path.name}")


def _requests(log: Path, told: Mapping[str, Mapping[int, int]], file: IO[bytes]) -> Iterator[Finding]:
    reader = LogReader(log)

    @lru_cache(maxsize=CACHED)
    def text(offset: int) -> str:
        file.seek(offset)
        return reader.payload(parse(file.readline()) or {"line": "", "metadata": "{}"})

    for raw in whole_lines(log / FLOWS):
        flow = parse(raw)
        if not flow or not flow.get("request_sha256") or flow.get("request") is None or flow.get("sid") not in told:
            continue
        known = told[flow["sid"]]
        if any(number(part_id) not in known for part_id in parts.references(flow["request"])):
            continue  # found already: `part_missing`
        template = parts.member(raw.decode("utf-8", "replace"), "request") or ""
        if template.startswith('"'):
            template = orjson.loads(template)
        body = parts.join(template, lambda part_id, known=known: text(known[number(part_id)]))  # type: ignore[misc]
        if sha256(body.encode("utf-8", "surrogatepass")).hexdigest() != flow["request_sha256"]:
            yield Finding("request_differs", f"{len(body):,} characters", flow["flow_id"], flow["sid"], flow.get("t"))


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        digest = sha256()
        while data := file.read(1 << 20):
            digest.update(data)
    return digest.hexdigest()


def number(part_id: str) -> int:
    """A part's id in eight bytes."""
    try:
        return int(part_id, 16)
    except ValueError:
        return hash(part_id)
