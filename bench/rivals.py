"""What bench/batch.py runs in processes of their own: a plain orjson loop, DuckDB, and what capture has no command for.

python -m bench.rivals envelope|payload FILE · duckdb SQL · prompts DIR · texts DIR
"""

import sys
import time
from pathlib import Path


def envelope(file: str) -> None:
    """Every line parsed, nothing done with it."""
    import orjson

    count = 0
    with open(file, "rb") as lines:
        for line in lines:
            count += len(orjson.loads(line))
    print(count)


def payload(file: str) -> None:
    """Every line parsed, and what it carries where that is JSON."""
    import orjson

    count = 0
    with open(file, "rb") as lines:
        for line in lines:
            text = orjson.loads(line)["line"][6:]
            if text != "[DONE]":
                count += len(orjson.loads(text))
    print(count)


def duckdb(sql: str) -> None:
    import duckdb as engine

    for row in engine.execute(sql).fetchall():
        print(row)


def prompts(directory: str) -> None:
    """The last 5 prompts; the seconds they took once everything is imported."""
    from capture import questions, scan

    began = time.perf_counter()
    windows = scan.windows(scan.Source(Path(directory), None), questions.PROMPTS.holds)
    found = questions.last(windows, questions.PROMPTS, 5, lambda t: True)
    print(len(found), time.perf_counter() - began)


def texts(directory: str) -> None:
    """The text of every flow."""
    from capture import scan
    from capture.events import TextDelta
    from capture.providers.base import Holds
    from capture.updates import Deltas

    found: dict[str, list[str]] = {}
    for item in scan.read(scan.Source(Path(directory), None), Holds.TEXT):
        if isinstance(item, Deltas) and isinstance(item.event, TextDelta):
            found.setdefault(item.flow_id, []).append(item.event.text)
    for flow_id, pieces in found.items():
        print(flow_id, len("".join(pieces)))


if __name__ == "__main__":
    {"envelope": envelope, "payload": payload, "duckdb": duckdb, "prompts": prompts, "texts": texts}[sys.argv[1]](sys.argv[2])
