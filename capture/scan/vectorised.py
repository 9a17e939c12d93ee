"""DuckDB reads the log as lines of text, on all processors; what it lets through is looked up in the file, and looked at once more.

It takes each line for a text of one column: also one with NUL bytes, also one that is no JSON. What is no UTF-8 it refuses and
says where that stands. Lines over 256 MiB it drops (the largest seen in a log: 96 MB).
"""

import heapq
import mmap
from collections.abc import Iterator

from capture.scan import python, rg
from capture.scan.base import Lines, Notes, Source
from capture.scan.kinds import Wanted

MAX_LINE = 256 << 20  # bytes; a buffer must be larger
ROWS = 10_000  # lines taken over at once
TEXTS = f"""
    read_csv(?, columns = {{'line': 'VARCHAR'}}, header = false, delim = '\x01', quote = '', escape = '', comment = '',
             auto_detect = false, strict_mode = false, store_rejects = true, rejects_limit = 0, encoding = 'utf-8',
             max_line_size = {MAX_LINE}, buffer_size = {MAX_LINE + 1})
"""
REFUSED = "SELECT DISTINCT line_byte_position FROM reject_errors ORDER BY ALL"


def lines(source: Source, wanted: Wanted, notes: Notes) -> Lines:
    """The lines that may hold what is wanted."""
    import duckdb  # 60 ms, and only this engine needs it

    path = source.lines
    notes.total = source.size
    if path is None or not source.size:
        return
    with duckdb.connect() as database, open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as log:
        try:
            found = database.execute(f"SELECT line FROM {TEXTS} WHERE NOT regexp_matches(line, ?)", [str(path), rg.pattern(wanted)])
            texts: Iterator[str] = (text for rows in iter(lambda: found.fetchmany(ROWS), []) for (text,) in rows if text)
            refused = [place for (place,) in database.cursor().execute(REFUSED).fetchall() if place is not None]
        except duckdb.Error:
            yield from python.lines(source, wanted, notes)  # whatever it does not like in this file: no answer may depend on it
            return
        for offset in heapq.merge(places(log, texts), refused):
            raw = log[offset : (log.find(b"\n", offset) + 1) or len(log)]
            notes.read = offset
            if wanted.line(raw):
                yield offset, raw
    notes.read = notes.total


def places(log: mmap.mmap, texts: Iterator[str]) -> Iterator[int]:
    """Where the lines begin that are these texts, in order."""
    at = 0
    for text in texts:
        line = text.encode()
        at = log.find(line, at)
        while at > 0 and log[at - 1] != 10:
            at = log.find(line, log.find(b"\n", at) + 1)
        if at < 0:
            return
        yield at
        at += len(line)
