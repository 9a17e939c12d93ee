"""`capture query`: SQL over the log."""

import csv
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime, time
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click
import orjson

from capture.commands.base import paint, say, table
from capture.commands.options import A_FILE, directory_option, from_option, rotated_option

if TYPE_CHECKING:
    from capture.sql import Answer

FORMATS = ("table", "json", "csv", "parquet")
SHOWN = 1000  # rows of a table: its widths are known when all its rows are
CELL = 200  # characters of a cell on a terminal
WIDE = 1 << 63  # integers beyond it are not orjson's

type Plain = Callable[[Any], Any]


@click.command(short_help="Ask the log with SQL.")
@directory_option
@rotated_option
@from_option
@click.option(
    "--file", "file", help="Instead, one file of line records in any of the three dialects: a path, - for stdin, also .gz and .zst."
)
@click.option(
    "--format", "how", type=click.Choice(FORMATS), help="Default: table on a terminal, json (one object a line) on a pipe."
)
@click.option("-o", "--output", type=A_FILE, help="Write there instead of to stdout.")
@click.argument("sql", required=False)
def query(directory: Path, file: str | None, how: str | None, output: Path | None, sql: str | None) -> None:
    """Ask the log with SQL (DuckDB's). Without SQL: the tables, their columns, an example of each.

    `lines`, `flows` and `ends` are the log's files; `events`, `messages`, `turns`, `tool_calls` and `usage` are what they mean.
    `-` reads the SQL from stdin.
    """
    from capture.scan import Source
    from capture.sql import Database, left_out

    if sql == "-":
        if file == "-":
            raise click.UsageError("stdin cannot be both the SQL and the log")
        sql = sys.stdin.read()
    how = how or ("parquet" if output and output.suffix == ".parquet" else "table" if _terminal(output) else "json")
    if how == "parquet" and not output:
        raise click.UsageError("a Parquet file needs a name: -o FILE")
    if sql is None:
        _show_tables(how)
        return
    with Database(Source(directory, str(Path(file).expanduser()) if file else None)) as database:
        if how == "parquet" and output:
            say(f"wrote {database.copy(sql, output):,} rows to {output}")
        else:
            answer = database.query(sql)
            with _sink(output) as sink:
                WRITERS[how](answer, sink)
        if database.bad:
            say(left_out(database.bad))


def _terminal(output: Path | None) -> bool:
    return output is None and sys.stdout.isatty()


@contextmanager
def _sink(output: Path | None) -> Iterator[IO[bytes]]:
    """Where rows go: stdout, or a file that only we can read and that is whole or not there."""
    from capture.files import written_whole

    if output is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
    else:
        with written_whole(output) as part, open(part, "wb") as file:
            yield file


# -- formats -----------------------------------------------------------------------------------------------------------------


def _write_json(answer: "Answer", sink: IO[bytes]) -> None:
    odd = [(index, PLAIN.get(kind, _plain)) for index, kind in enumerate(answer.types) if kind not in AS_IT_IS]
    for row in answer.rows:
        cells = list(row)
        for index, how in odd:
            if cells[index] is not None:
                cells[index] = how(cells[index])
        sink.write(orjson.dumps(dict(zip(answer.columns, cells, strict=True)), option=orjson.OPT_APPEND_NEWLINE))


def _write_csv(answer: "Answer", sink: IO[bytes]) -> None:
    import io

    text = io.TextIOWrapper(sink, "utf-8", newline="", write_through=True)
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(answer.columns)
    for batch in answer.batches:
        writer.writerows([_text(cell) for cell in row] for row in batch)
    text.detach()


def _write_table(answer: "Answer", sink: IO[bytes]) -> None:
    """At most SHOWN rows, with what is longer than a screen cut short there."""
    rows = answer.rows
    shown = [[_text(cell) for cell in row] for row in islice(rows, SHOWN)]
    if sink is sys.stdout.buffer and sys.stdout.isatty():
        shown = [[_short(cell) for cell in row] for row in shown]
    if answer.columns:
        widths = (
            [max(len(name), *(len(row[index]) for row in shown)) for index, name in enumerate(answer.columns)] if shown else [0]
        )
        table(answer.columns, shown, flexible=answer.columns[widths.index(max(widths))])
    if next(rows, None) is not None:
        say(f"these are the first {SHOWN:,} rows: a LIMIT gives fewer, `--format json` all of them")


WRITERS: dict[str, Callable[["Answer", IO[bytes]], None]] = {"json": _write_json, "csv": _write_csv, "table": _write_table}


# -- values ------------------------------------------------------------------------------------------------------------------

AS_IT_IS = {
    "VARCHAR",
    "BOOLEAN",
    "TINYINT",
    "SMALLINT",
    "INTEGER",
    "BIGINT",
    "UTINYINT",
    "USMALLINT",
    "UINTEGER",
    "UBIGINT",
    "FLOAT",
    "DOUBLE",
}


def _plain(value: Any) -> Any:
    """A value of DuckDB's as orjson takes it, nothing lost: times as in the log, numbers of any size."""
    match value:
        case bool() | None | str() | float():
            return value
        case int():
            return value if -WIDE <= value < WIDE else orjson.Fragment(str(value))
        case datetime() | date() | time():
            return _moment(value)
        case Decimal():
            return orjson.Fragment(format(value, "f"))
        case bytes():
            return value.hex()
        case dict():
            return {str(key): _plain(item) for key, item in value.items()}
        case list() | tuple():
            return [_plain(item) for item in value]
        case _:
            return str(value)


def _moment(value: Any) -> str:
    """A time in the log's form: `2026-11-21T17:07:03.042`; finer where it is finer."""
    if isinstance(value, datetime):
        return value.isoformat(timespec="microseconds" if value.microsecond % 1000 else "milliseconds")
    return str(value.isoformat() if isinstance(value, (date, time)) else value)


def _json(value: str) -> Any:
    """JSON as a part of JSON, on one line; as text where only DuckDB takes it for JSON (NaN, a comma too many, very deep)."""
    try:
        orjson.loads(value)
    except orjson.JSONDecodeError:
        return value
    return orjson.Fragment(value.replace("\n", " ").replace("\r", " "))


PLAIN: dict[str, Plain] = {"JSON": _json, "TIMESTAMP": _moment, "HUGEINT": _plain}


def _text(value: Any) -> str:
    """A value as people read it, and as it stands in CSV."""
    match value:
        case None:
            return ""
        case str():
            return value
        case dict() | list() | tuple():
            return orjson.dumps(_plain(value)).decode()
        case bool():
            return "true" if value else "false"
        case _:
            plain = _plain(value)
            return plain if isinstance(plain, str) else str(value)


def _short(cell: str) -> str:
    """A cell on a terminal: one line, not longer than people read."""
    line = " ".join(cell[: CELL * 4].split()) if "\n" in cell else cell
    return line if len(line) <= CELL else line[: CELL - 1] + "…"


# -- what there is -----------------------------------------------------------------------------------------------------------


def _show_tables(how: str) -> None:
    from capture.tables import TABLES

    for it in TABLES:
        if how == "json":
            columns: Sequence[dict[str, str]] = [{"name": c.name, "type": c.type, "says": c.says} for c in it.columns]
            click.echo(orjson.dumps({"table": it.name, "says": it.says, "columns": columns, "example": it.example}))
            continue
        click.echo(f"{paint(it.name, 'strong')}: {it.says}")
        for column in it.columns:
            click.echo(f"  {paint(column.name.ljust(16), 'key')} {column.type.ljust(9)} {paint(column.says, 'quiet')}")
        click.echo(f'  {paint("try", "quiet")}  capture query "{it.example}"\n')
