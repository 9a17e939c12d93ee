"""DuckDB over the log: its files as views, what pairing makes of them as tables; in memory, read only, without network."""

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from types import TracebackType
from typing import Any

import duckdb

from capture import rows
from capture.files import Unusable, parse, written_whole
from capture.jsonl import dumps, loads
from capture.packed import DAMAGED
from capture.scan import Notes, Source
from capture.tables import LINES_TABLE, TABLES, Logged, Table

SETTINGS: dict[
    str, str | bool | int | float | list[str]
] = {  # no look at Python's variables, no download, no reading of anybody's start-up file
    "python_enable_replacements": False,
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "allow_community_extensions": False,
    "errors_as_json": True,
}
THREADS = 8  # more only fight over one file
BLOCK = 8 << 20  # bytes: how closely the longest line is measured; DuckDB's buffers are two of the bound, for each thread
LOOK = 64 << 10  # bytes read at once in search of a newline
BATCH = 1000  # rows fetched at once
ZONED = "TIMESTAMP WITH TIME ZONE"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a query gives: columns with their types, rows as they come."""

    columns: tuple[str, ...]
    types: tuple[str, ...]
    batches: Iterator[list[tuple[Any, ...]]]

    @property
    def rows(self) -> Iterator[tuple[Any, ...]]:
        return (row for batch in self.batches for row in batch)


class Database:
    """A database in memory, with a private folder for what does not fit; both go when it is closed."""

    def __init__(self, source: Source) -> None:
        source.check()
        self._folder = tempfile.TemporaryDirectory(prefix="capture-")
        self.scratch = Path(self._folder.name)
        self._source = source if source.plain or source.log else Source(file=str(self._spooled(source)))
        self.tables = {table.name: table for table in TABLES if source.log or table.logged in (None, LINES_TABLE.logged)}
        self._made: set[str] = set()  # tables that are there with all their rows
        self.bad = 0  # lines of the tables asked for that are no records, and in none of their rows
        self._connection = connect(self.scratch)
        for table in self.tables.values():
            if table.logged:
                self._view(table.name, self.records(table.name, self.path(table.name)))

    def __enter__(self) -> "Database":
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None) -> None:
        self._connection.close()
        self._folder.cleanup()

    def query(self, sql: str) -> Answer:
        """What the last statement gives; those before it are run. Raises Unusable with DuckDB's reason in one line."""
        with self._one_line(sql):
            statements = self._connection.extract_statements(sql)
            if not statements:
                raise Unusable("there is no SQL to run: `capture query` alone shows the tables, with an example of each")
            self.prepare(named(sql))
            for statement in statements[:-1]:
                self._connection.execute(statement)
            described = self._connection.execute(statements[-1]).description or []
            if statements[-1].type == duckdb.StatementType.SELECT and any(str(column[1]) == ZONED for column in described):
                described = self._connection.execute(without_zones(statements[-1].query, described)).description or []
        return Answer(tuple(unlike([str(c[0]) for c in described])), tuple(str(c[1]) for c in described), self._batches(sql))

    def copy(self, sql: str, path: Path) -> int:
        """Rows of a query, written to a Parquet file that only we can read; the file is whole or not there."""
        with self._one_line(sql):
            statements = self._connection.extract_statements(sql)
            if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
                raise Unusable("only what one SELECT gives can become a Parquet file")
            self.prepare(named(sql))
            with written_whole(path) as part:
                to = text(str(part))
                found = self._connection.execute(
                    f"COPY ({bare(sql)}\n) TO {to} (FORMAT parquet, COMPRESSION zstd, USE_TMP_FILE false)"
                ).fetchone()
        return int(found[0]) if found else 0

    def prepare(self, names: Iterable[str]) -> None:
        """Makes the tables among `names` whole: what pairing says is worked out, what DuckDB cannot read is read for it."""
        new = [self.tables[name] for name in names if name in self.tables and name not in self._made]
        for table in new:
            if table.logged:
                odd, bad = self.odd(table.name, self.path(table.name))
                self._view(table.name, self.records(table.name, self.path(table.name), odd))
                self.bad += bad
        if derived := [table.name for table in new if not table.logged]:
            notes = Notes()
            rows.write(self._source, derived, self.scratch, notes)
            for name in derived:
                self._view(name, f"SELECT * EXCLUDE (settled, position) FROM {self.rows(name)}")
            self.bad = max(self.bad, notes.count)
        self._made |= {table.name for table in new}

    def path(self, name: str) -> Path:
        """The log file of a table, by a name that DuckDB takes as it is (it reads `*` and `[` as patterns)."""
        logged = self._logged(name)
        link = self.scratch / logged.file
        if not link.is_symlink():
            real = self._source.lines if logged is LINES_TABLE.logged else (self._source.log or Path()) / logged.file
            link.symlink_to(real.absolute() if real and real.exists() else "/dev/null")
        return link

    def records(self, name: str, path: Path, odd: Path | None = None) -> str:
        """SQL: a logged table's rows from a file; `odd`: and from the file of what was written anew for DuckDB."""
        found = select(self.tables[name], self._raw(name, path))
        return f"{found} UNION ALL {select(self.tables[name], self._raw(name, odd))}" if odd else found

    def odd(self, name: str, path: Path) -> tuple[Path | None, int]:
        """Records that DuckDB does not take for JSON but we do, written so that it does; how many lines are no records.

        Those are lone surrogates (`"\\ud83d"`) outside the payload: of clients that write their log themselves.
        """
        logged = self._logged(name)
        sql = f"SELECT count(*) FROM {self._raw(name, path)} WHERE NOT ({is_record(logged)})"
        bad = int((self._connection.execute(sql).fetchone() or (0,))[0])
        if not bad:
            return None, 0
        out = self.scratch / f"odd-{name}.jsonl"
        with open(path, "rb") as lines, open(out, "wb") as file:
            for line in lines:
                if b"\\u" in line and (record := whole(line, logged.needs)) is not None:
                    bad -= 1
                    file.write(dumps(record))
        return out, bad

    def rows(self, name: str) -> str:
        """SQL: a derived table's rows as they were written, with `settled` and `position`."""
        columns = {column.name: column.type for column in self.tables[name].columns}
        return json_lines(self.scratch / f"{name}.jsonl", columns | {"settled": "BOOLEAN", "position": "BIGINT"})

    def divide(self, sql: str, folder: Path, name: str) -> int:
        """Rows of a query as Parquet files in a folder for each day; how many."""
        dated = f"SELECT *, CAST(t AS DATE) AS date FROM ({sql})"
        how = f"FORMAT parquet, COMPRESSION zstd, PARTITION_BY (date), FILENAME_PATTERN {text(name)}, OVERWRITE_OR_IGNORE"
        found = self._connection.execute(f"COPY ({dated}) TO {text(str(folder))} ({how})").fetchone()
        return int(found[0]) if found else 0

    def _view(self, name: str, sql: str) -> None:
        self._connection.execute(f"CREATE OR REPLACE VIEW {quoted(name)} AS {sql}")

    def _logged(self, name: str) -> Logged:
        logged = self.tables[name].logged
        assert logged
        return logged

    def _raw(self, name: str, path: Path) -> str:
        return json_lines(path, dict.fromkeys(self._logged(name).fields, "VARCHAR"))

    def _spooled(self, source: Source) -> Path:
        """What comes from stdin, or is compressed, as a file that can be read often."""
        path = self.scratch / "spooled.jsonl"
        with source.open() as packed, open(path, "wb") as plain:
            try:
                shutil.copyfileobj(packed, plain, 1 << 20)
            except DAMAGED as error:
                raise Unusable(f"{source.name} cannot be read: {error}") from None
        return path

    def _batches(self, sql: str) -> Iterator[list[tuple[Any, ...]]]:
        while True:
            with self._one_line(sql):
                batch = self._connection.fetchmany(BATCH)
            if not batch:
                return
            yield batch

    @contextmanager
    def _one_line(self, sql: str) -> Iterator[None]:
        """Turns what DuckDB says about a query into one line, with the place and a near match where there is one."""
        try:
            yield
        except duckdb.Error as error:
            raise Unusable(reason(str(error), sql, self.tables)) from None


def left_out(bad: int) -> str:
    """What a user must know about lines that are in no row."""
    lines = "1 line is no record and was" if bad == 1 else f"{bad:,} lines are no records and were"
    return f"{lines} left out (`capture check` says where)"


def connect(scratch: Path) -> duckdb.DuckDBPyConnection:
    """A database in memory that spills to `scratch` and nowhere else."""
    threads = max(1, min(THREADS, os.cpu_count() or 1))
    return duckdb.connect(config=SETTINGS | {"temp_directory": str(scratch / "spill"), "threads": threads})


def named(sql: str) -> set[str]:
    """Names of tables in a query, in lower case; every word that could be one where DuckDB's parser shows no tree."""
    with duckdb.connect(config=SETTINGS) as parser:
        found = parser.execute("SELECT json_serialize_sql(?)", [sql]).fetchone()
    tree = loads(found[0]) if found else {}
    if not tree.get("error"):
        return set(_tables_in(tree))
    raw, tokens = sql.encode(), duckdb.tokenize(sql)  # EXPLAIN, PIVOT, COPY, SET …
    ends = [offset for offset, _ in tokens[1:]] + [len(raw)]
    return {raw[start:end].decode().strip(' \n\t"').lower() for (start, _), end in zip(tokens, ends, strict=True)}


def _tables_in(tree: Any) -> Iterator[str]:
    """Names of tables in a parsed query. One that a WITH defines is among them: it may be made from the table of its name."""
    if isinstance(tree, dict):
        if isinstance(name := tree.get("table_name"), str):
            yield name.lower()
        tree = list(tree.values())
    if isinstance(tree, list):
        for item in tree:
            yield from _tables_in(item)


def bare(query: str) -> str:
    """A statement without the semicolon and the comments at its end, so that it can stand in another."""
    raw, end = query.encode(), len(query.encode())
    for offset, kind in reversed(duckdb.tokenize(query)):
        if kind != duckdb.token_type.comment and raw[offset : offset + 1] != b";":
            break
        end = offset
    return raw[:end].decode()


def without_zones(query: str, described: Sequence[Sequence[Any]]) -> str:
    """The query with local times where it gives times with a zone (Python gets those only with one library more)."""
    columns = [f"CAST(#{i} AS TIMESTAMP)" if str(column[1]) == ZONED else f"#{i}" for i, column in enumerate(described, 1)]
    names = [quoted(name) for name in unlike(str(column[0]) for column in described)]
    chosen = ", ".join(f"{column} AS {name}" for column, name in zip(columns, names, strict=True))
    return f"SELECT {chosen} FROM ({bare(query)}\n)"


def select(table: Table, raw: str) -> str:
    """The SQL of a view: a table's columns from records as they were read."""
    assert table.logged
    columns = ", ".join(f"{column.sql or quoted(column.name)} AS {quoted(column.name)}" for column in table.columns)
    return f"SELECT {columns} FROM (SELECT *, {table.logged.inside} FROM {raw} WHERE {is_record(table.logged)})"


def is_record(logged: Logged) -> str:
    """SQL: whether a line was a record (DuckDB makes a row of nulls of one that is none)."""
    return " AND ".join(f"{quoted(name)} IS NOT NULL" for name in logged.needs)


def json_lines(path: Path, columns: Mapping[str, str]) -> str:
    """SQL: the records of a file."""
    types = ", ".join(f"{text(name)}: {text(kind)}" for name, kind in columns.items())
    how = f"format = 'newline_delimited', records = true, ignore_errors = true, maximum_object_size = {longest_line(path)}"
    return f"read_json({text(str(path))}, {how}, columns = {{{types}}})"


def quoted(name: str) -> str:
    """A name in SQL."""
    return '"' + name.replace('"', '""') + '"'


def text(value: str) -> str:
    """A text in SQL."""
    return "'" + value.replace("'", "''") + "'"


def unlike(names: Iterable[str]) -> list[str]:
    """Names of columns, each one once: `sid`, `sid_1`."""
    seen: list[str] = []
    for name in names:
        number = 0
        while (chosen := f"{name}_{number}" if number else name) in seen:
            number += 1
        seen.append(chosen)
    return seen


def reason(error: str, sql: str, tables: Iterable[str]) -> str:
    """Why DuckDB refused a query, where, and what may have been meant, in one line."""
    kind, _, rest = error.partition(": ")
    told = parse(rest.encode())
    if told is None:
        return " ".join(error.split())
    said = " ".join(str(told.get("exception_message", "")).split())
    if told.get("type") == "Table" and told.get("error_subtype") == "MISSING_ENTRY":
        near = get_close_matches(str(told.get("name", "")).lower(), tables, 1)
        meant = f", did you mean {near[0]}?" if near else ""
        return f"there is no table {told.get('name')}{meant} (tables: {', '.join(tables)})"
    at = told.get("position")
    where = f" ({place(sql, int(at))})" if isinstance(at, str) and at.isdigit() else ""
    return f"{kind}: {said}{where}"


def place(sql: str, position: int) -> str:
    """`line 2, column 5`: a byte of the query as people count."""
    before = sql.encode()[:position].decode("utf-8", "replace")
    return f"line {before.count(chr(10)) + 1}, column {len(before) - before.rfind(chr(10))}"


def longest_line(path: Path) -> int:
    """Bytes that no line of a file exceeds, without reading the file: a block without a newline lies inside one line."""
    longest = run = 0
    with open(path, "rb", buffering=0) as file:
        for start in range(0, os.fstat(file.fileno()).st_size, BLOCK):
            run = 0 if _has_newline(file.fileno(), start) else run + 1
            longest = max(longest, run)
    return (longest + 2) * BLOCK


def _has_newline(descriptor: int, start: int) -> bool:
    """Whether a block holds a newline: mostly its first bytes say so."""
    return any(b"\n" in os.pread(descriptor, LOOK, at) for at in range(start, start + BLOCK, LOOK))


def whole(line: bytes, needs: Sequence[str]) -> dict[str, Any] | None:
    """The record of a line that only a patient reader takes for JSON; None for what is none, or is for everybody."""
    if parse(line) is not None:
        return None
    try:
        record = loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) and all(record.get(name) is not None for name in needs) else None
