"""The rows of each kind over all sample flows. `python -m tests.golden_rows` rewrites `tests/rows/<kind>.jsonl`; read the diff."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from capture import samples
from capture.extract import KINDS, Row, extract, json_line
from capture.turns import run
from capture.updates import Update
from tests import golden

DIRECTORY = Path(__file__).parent / "rows"


def records(case: str) -> list[dict[str, Any]]:
    """The records of a sample flow as a reader merges the files: the flow's record first."""
    found = [json.loads(line)["fields"] for line in golden.load(case)]
    return sorted(found, key=lambda record: "request_headers" not in record)


def updates() -> Iterator[Update]:
    """What pairing tells of all sample flows, one after the other."""
    for case in samples.names():
        yield from run(records(case))


def rows() -> dict[str, list[Row]]:
    """The rows of each kind."""
    found: dict[str, list[Row]] = {kind.name: [] for kind in KINDS}
    for name, row in extract(updates(), KINDS):
        found[name].append(row)
    return found


def path(kind: str) -> Path:
    return DIRECTORY / f"{kind}.jsonl"


def main() -> None:
    for kind, found in rows().items():
        written = b"".join(map(json_line, found))
        as_it_was = path(kind).exists() and path(kind).read_bytes() == written
        path(kind).write_bytes(written)
        print(f"{kind}: {len(found)} rows, {'as they were' if as_it_was else 'written'}")


if __name__ == "__main__":
    main()
