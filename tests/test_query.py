"""SQL over the log, and the log as a dataset: what DuckDB says is what the readers of Python say."""

import csv
import gzip
import io
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import duckdb
import pytest
import zstandard
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st

from capture import dataset, samples, scan
from capture.cli import cli
from capture.dataset import export, whole_to
from capture.files import ENDS, FLOWS, LINES, Unusable
from capture.jsonl import Record
from capture.rows import write
from capture.scan import Notes, Source
from capture.sql import BLOCK, Database, bare, longest_line, named, place, unlike
from capture.store import LogWriter
from capture.tables import DERIVED, LOGGED, TABLES, Table, chosen
from tests import golden

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "query.md").read_text("utf-8")
PACKINGS: dict[str, Callable[[bytes], bytes]] = {"": bytes, ".gz": gzip.compress, ".zst": zstandard.compress}
NOT_RECORDS = (
    b"no JSON",
    b"\0" * 40,
    b"\0\0" + b'{"event":"x"}',
    b"[1, 2]",
    b"null",
    b'{"event":"x","t":"2026-11-21T08:00:00.000","line":"data: 1","metadata":"{}","flow_id":"f","data_count":0}',  # no session
    b'{"event":"\xff","t":"2026-11-21T08:00:00.000","line":"data: 1","metadata":"{}","flow_id":"f","data_count":0,"sid":"s"}',
    b'{"event":"torn","t":"2026-11-21T08:0',
)
PAYLOADS = (
    '{"a":1}',
    "[DONE]",
    "",
    '{"half":"\\ud83d"}',
    '{"n":123456789012345678901234567890}',
    "[" * 900 + "]" * 900,
    '{"nul":"a\\u0000b"}',
    '{\n"lines": 2\n}',
    '"\u2028 \u0085 \U0001f600"',
    '{"a":NaN}',
    "data: data: twice",
)


def record(number: int, payload: str, **more: Any) -> dict[str, Any]:
    metadata = {
        "ver": "agent-1.0",
        "pid": 7,
        "cwd": "/work",
        "provider": "openai",
        "host": "h",
        "dir": "in",
        "us": number,
        "new": 1,
    }
    return {
        "event": "message",
        "t": f"2026-11-{20 + number % 3}T08:00:00.{number % 1000:03d}",
        "line": f"data: {payload}",
        **more,
        "metadata": json.dumps(metadata),
        "flow_id": f"f{number // 5}",
        "data_count": number % 5,
        "sid": "s",
    }


def line(fields: dict[str, Any]) -> bytes:
    return json.dumps(fields, ensure_ascii=False).encode("utf-8", "surrogatepass")


@pytest.fixture(scope="module")
def nasty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log with all that must not stop a query: records are numbered by their `us`."""
    directory = tmp_path_factory.mktemp("nasty [*]")
    lines = [line(record(number, payload)) for number, payload in enumerate(PAYLOADS)]
    lines.append(line(record(100, json.dumps("x" * 20_000_000))))
    lines.append(line(record(101, "{}", round=3, unknown={"deep": [1]})))
    lines.append(json.dumps(record(102, '"\ud83d"')).encode())  # a half character that is not inside the payload's escapes
    lines.append(b"  " + line(record(103, "{}")) + b" \r")
    lines.append(b"")
    lines += NOT_RECORDS
    random.Random(1).shuffle(lines)
    (directory / LINES).write_bytes(b"\n".join(lines) + b"\n" + b'{"event":"torn at the end')
    flow = {
        "t": "2026-11-21T08:00:00.000",
        "flow_id": "f0",
        "sid": "s",
        "started": 1795248000.123456,
        "client": {"name": "codex", "pid": 7},
    }
    (directory / FLOWS).write_bytes(
        line(flow | {"request": '{"model":\n"m"}', "status": 429, "request_headers": [["a", "b"]]}) + b"\n"
    )
    (directory / ENDS).write_bytes(b'{"t":"2026-11-21T08:00:01.000","flow_id":"f0","sid":"s","outcome":"error","lines":5}\nbad\n')
    return directory


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log with every sample flow in it."""
    directory = tmp_path_factory.mktemp("log")
    writer = LogWriter(directory, {})
    for name in samples.names():
        for entry in golden.play(name):
            writer.write(entry)
    writer.close()
    return directory


def ask(directory: Path, sql: str) -> list[tuple[Any, ...]]:
    with Database(Source(directory)) as database:
        return list(database.query(sql).rows)


def query(*words: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(cli, ["query", *words], input=stdin)


def rows(*words: str) -> list[dict[str, Any]]:
    result = query(*words)
    assert result.exit_code == 0, result.output
    return [json.loads(row) for row in result.stdout.splitlines()]


# -- lines, flows, ends ------------------------------------------------------------------------------------------------------


def test_every_line_that_python_reads_is_a_row_and_no_other(nasty: Path) -> None:
    notes = Notes()
    read = [item for item in scan.read(Source(nasty), notes=notes, join=False) if isinstance(item, dict) and "data_count" in item]
    with Database(Source(nasty)) as database:
        found = list(
            database.query("SELECT event, strftime(t, '%Y-%m-%dT%H:%M:%S.%g'), line, flow_id, data_count, sid FROM lines").rows
        )
        assert database.bad == len(NOT_RECORDS) + 1  # and the torn tail
    expected = [(r["event"], r["t"], fixed(r["line"]), r["flow_id"], r["data_count"], r["sid"]) for r in read]
    assert sorted(expected) == sorted(found)
    assert len(found) == len(PAYLOADS) + 4
    assert notes.count == len(NOT_RECORDS) + 2  # and the bad line of the ends


def fixed(text: str) -> str:
    return re.sub("[\ud800-\udfff]", "\ufffd" * 3, text)


def test_metadata_is_columns_and_nothing_of_it_is_lost(nasty: Path) -> None:
    found = ask(nasty, "SELECT DISTINCT ver, pid, cwd, provider, host, dir, cut, metadata->>'$.new' FROM lines")
    assert found == [("agent-1.0", 7, "/work", "openai", "h", "in", None, "1")]


@pytest.mark.parametrize(("number", "payload"), list(enumerate(PAYLOADS)))
def test_a_payload_is_json_or_a_json_string(nasty: Path, number: int, payload: str) -> None:
    ((found,),) = ask(nasty, f"SELECT payload FROM lines WHERE us = {number} AND us < 100")
    if payload in ("", "[DONE]", "data: data: twice", '{"half":"\\ud83d"}'):
        assert json.loads(found) == payload
    else:
        assert found == payload


def test_fields_that_are_not_in_every_record_are_columns_too(nasty: Path) -> None:
    assert ask(nasty, "SELECT round, length(line) FROM lines WHERE us IN (100, 101) ORDER BY us") == [(None, 20_000_008), (3, 8)]


def test_flows_and_ends_are_unpacked(nasty: Path) -> None:
    sql = "SELECT client, pid, client_version, request->>'$.model', status, started, request_headers FROM flows"
    assert ask(nasty, sql) == [("codex", 7, None, "m", 429, 1795248000.123456, '[["a","b"]]')]
    assert ask(nasty, "SELECT outcome, lines, error, f.status FROM ends JOIN flows f USING (flow_id)") == [("error", 5, None, 429)]


def test_a_log_of_the_recorder_is_all_there(log: Path) -> None:
    for table in LOGGED:
        assert table.logged
        written = [json.loads(each) for each in (log / table.logged.file).read_bytes().splitlines()]
        plain = [
            c.name
            for c in table.columns
            if c.name in written[0] and c.type in ("VARCHAR", "BIGINT", "DOUBLE") and c.name not in ("client", "metadata")
        ]
        found = ask(log, f"SELECT {', '.join(plain)} FROM {table.name}")
        assert [tuple(each.get(name) for name in plain) for each in written] == found


def test_a_file_that_is_compressed_or_comes_from_stdin_is_read_too(log: Path, tmp_path: Path) -> None:
    import gzip

    import zstandard

    raw = (log / LINES).read_bytes()
    (tmp_path / "a.gz").write_bytes(gzip.compress(raw))
    (tmp_path / "a.zst").write_bytes(zstandard.compress(raw))
    (tmp_path / "plain.jsonl").write_bytes(raw)
    expected = [{"n": raw.count(b"\n")}]
    for name in ("a.gz", "a.zst", "plain.jsonl"):
        assert rows("--file", str(tmp_path / name), "SELECT count(*) AS n FROM lines") == expected
    result = subprocess.run([*capture(), "query", "--file", "-", "SELECT count(*) AS n FROM lines"], input=raw, capture_output=True)
    assert json.loads(result.stdout) == expected[0]


def capture() -> list[str]:
    return [sys.executable, "-m", "capture"]


def test_the_longest_line_is_known_without_reading_the_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for length in (0, 1, BLOCK - 1, BLOCK, 3 * BLOCK, 3 * BLOCK + 5):
        path.write_bytes(b"a\n" * 3 + b"x" * length + b"\n" + b"b\n")
        assert length <= longest_line(path) <= length + 3 * BLOCK


# -- SQL ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sql", "says"),
    [
        ("SELECT * FROM linez", "there is no table linez, did you mean lines? (tables: lines, flows, ends,"),
        ("SELECT * FROM nothing_like_it", "there is no table nothing_like_it (tables: lines,"),
        ("SELECT sdi FROM flows", 'Referenced column "sdi" not found in FROM clause! Candidate bindings: '),
        ("SELECT 1,\n  'é', nofun(1)", "(line 2, column 8)"),
        ("SELEC 1", 'syntax error at or near "SELEC" (line 1, column 1)'),
        ("SELECT 'a'::INT", "Could not convert string 'a' to INT32 (line 1, column 11)"),
        ("", "there is no SQL to run"),
        ("INSERT INTO lines VALUES (1)", "lines is not"),
        ("FROM 'no such file.csv'", "no such file.csv"),
        ("SELECT json_extract(line, '$.a') FROM lines", "Malformed JSON"),
    ],
)
def test_bad_sql_is_one_line_and_exit_2(log: Path, sql: str, says: str) -> None:
    result = subprocess.run([*capture(), "query", "--dir", str(log), sql], capture_output=True, text=True)
    assert result.returncode == 2
    assert says in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert result.stdout == ""


def test_a_directory_without_a_log_says_so(tmp_path: Path) -> None:
    assert "there is no log in" in str(query("--dir", str(tmp_path), "FROM lines").exception)


@pytest.mark.parametrize(
    ("sql", "names"),
    [
        ('SELECT * FROM Turns t JOIN "usage" u USING (sid)', {"turns", "usage"}),
        ("WITH turns AS (FROM turns) FROM turns", {"turns"}),
        ("SELECT 'turns' FROM lines", {"lines"}),
        ("FROM main.turns; FROM ends", {"turns", "ends"}),
        ("SELECT (SELECT count(*) FROM turns)", {"turns"}),
    ],
)
def test_the_tables_of_a_query_are_known(sql: str, names: set[str]) -> None:
    assert named(sql) - {""} == names


@pytest.mark.parametrize(
    "sql",
    [
        "SET threads = 1; FROM turns",
        "PIVOT turns ON outcome USING count(*)",
        "COPY (FROM turns) TO 'x'",
        "EXPLAIN FROM turns",
        'FROM "turns"; SELECT 1',
    ],
)
def test_where_the_parser_does_not_tell_every_word_may_be_a_table(sql: str) -> None:
    assert "turns" in named(sql)


def test_several_statements_give_what_the_last_one_gives(log: Path) -> None:
    assert ask(log, "CREATE TABLE t AS SELECT 1 AS a; SELECT a + 1 FROM t; -- done") == [(2,)]
    assert ask(log, "SHOW TABLES")[0] == ("ends",)
    assert ask(log, "DESCRIBE ends")[0][:2] == ("t", "TIMESTAMP")


def test_times_with_a_zone_are_local(log: Path) -> None:
    ((zoned, order),) = ask(log, "SELECT TIMESTAMPTZ '2026-11-21 08:00:00+00' AS t, 1 AS one ORDER BY t -- end\n;")
    assert zoned.tzinfo is None
    assert zoned.timestamp() == 1795248000
    assert order == 1


def test_duckdb_sees_no_variable_of_ours_loads_nothing_and_spills_to_our_folder(log: Path) -> None:
    off = ("python_enable_replacements", "autoinstall_known_extensions", "autoload_known_extensions", "allow_community_extensions")
    with Database(Source(log)) as database:
        values = list(database.query(f"SELECT name, value FROM duckdb_settings() WHERE name IN {off}").rows)
        assert sorted(values) == sorted((name, "false") for name in off)
        ((spill,),) = database.query("SELECT current_setting('temp_directory')").rows
        assert Path(spill).parent == database.scratch
        assert database.scratch.stat().st_mode & 0o777 == 0o700


def test_a_query_leaves_nothing_behind(log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {path: path.read_bytes() for path in log.rglob("*") if path.is_file()}
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    ask(log, "FROM lines ORDER BY line")
    with pytest.raises(Unusable):
        ask(log, "FROM nothing")
    assert list(tmp_path.iterdir()) == []
    assert {path: path.read_bytes() for path in log.rglob("*") if path.is_file()} == before


def test_bare_takes_off_semicolons_and_comments_only() -> None:
    assert bare("SELECT ';' -- x\n ; /* y */ ;\n").rstrip() == "SELECT ';'"
    assert bare("SELECT 'é;'") == "SELECT 'é;'"


def test_places_are_counted_in_characters() -> None:
    assert place("SELECT 'é',\n 'ü', x", len("SELECT 'é',\n 'ü', ".encode())) == "line 2, column 7"


def test_columns_of_one_name_are_told_apart() -> None:
    assert unlike(["a", "b", "a", "a_1", "a"]) == ["a", "b", "a_1", "a_1_1", "a_2"]


# -- formats -----------------------------------------------------------------------------------------------------------------

VALUES = """
    SELECT TIMESTAMP '2026-11-21 08:00:00.042' AS t, 'NaN'::DOUBLE AS nan, 1.50 AS exact, [1, NULL] AS list, MAP {1: 'x'} AS map,
        170141183460469231731687303715884105727::HUGEINT AS big, 'ab'::BLOB AS blob, NULL AS nothing, true AS yes,
        {'at': DATE '2026-11-21', 'big': 9223372036854775808::HUGEINT} AS struct,
        '{"a":\n1}'::JSON AS json, '{"a":NaN}'::JSON AS odd, 'a\x1b[2J,"b"' AS text, 1 AS text
"""


def test_json_loses_nothing(log: Path) -> None:
    (row,) = query("--dir", str(log), VALUES).stdout.splitlines()
    assert json.loads(row, parse_float=str) == {
        "t": "2026-11-21T08:00:00.042",
        "nan": None,
        "big": 170141183460469231731687303715884105727,
        "exact": "1.50",
        "list": [1, None],
        "struct": {"at": "2026-11-21", "big": 9223372036854775808},
        "map": {"1": "x"},
        "blob": "6162",
        "json": {"a": 1},
        "odd": '{"a":NaN}',
        "nothing": None,
        "yes": True,
        "text": 'a\x1b[2J,"b"',
        "text_1": 1,
    }


def test_csv_is_what_csv_readers_read(log: Path) -> None:
    header, row = csv.reader(io.StringIO(query("--dir", str(log), "--format", "csv", VALUES).stdout))
    found = dict(zip(header, row, strict=True))
    assert found["t"] == "2026-11-21T08:00:00.042"
    assert found["text"] == 'a\x1b[2J,"b"'
    assert found["list"] == "[1,null]"
    assert found["nothing"] == ""
    assert found["big"] == "170141183460469231731687303715884105727"


def test_a_table_commands_no_terminal_and_says_when_it_is_not_all(log: Path) -> None:
    assert "\x1b[2J" not in query("--dir", str(log), "--format", "table", VALUES).stdout
    result = query("--dir", str(log), "--format", "table", "SELECT range AS n FROM range(1001)")
    assert "the first 1,000 rows" in result.stderr
    assert query("--dir", str(log), "--format", "table", "SELECT range FROM range(1000)").stderr == ""
    assert query("--dir", str(log), "--format", "table", "SELECT 1 AS a WHERE false").stdout.split() == ["a"]


def test_a_file_is_private_and_whole_or_not_there(log: Path, tmp_path: Path) -> None:
    for name, how in (("a.parquet", None), ("b.csv", "csv"), ("c.json", "json")):
        words = [
            "--dir",
            str(log),
            "-o",
            str(tmp_path / name),
            *(["--format", how] if how else []),
            "SELECT sid, t FROM ends ORDER BY ALL;",
        ]
        assert query(*words).exit_code == 0
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o600
    assert duckdb.execute(f"FROM '{tmp_path}/a.parquet'").fetchall() == ask(log, "SELECT sid, t FROM ends ORDER BY ALL")
    before = sorted(tmp_path.iterdir())
    assert query(
        "--dir", str(log), "-o", str(tmp_path / "d.json"), "SELECT if(range > 90000, error('late'), 1) FROM range(100000)"
    ).exception
    assert query("--dir", str(log), "-o", str(tmp_path / "d.parquet"), "SELECT error('late')").exception
    assert sorted(tmp_path.iterdir()) == before


def test_a_format_that_cannot_be_is_refused(log: Path) -> None:
    assert "-o FILE" in query("--dir", str(log), "--format", "parquet", "FROM ends").stderr
    assert query("--file", "-", "-").exit_code == 2


def test_sql_comes_from_stdin(log: Path) -> None:
    assert json.loads(query("--dir", str(log), "-", stdin="SELECT 1 AS a").stdout) == {"a": 1}


def test_a_reader_that_has_seen_enough_ends_the_query_quietly(log: Path) -> None:
    command = " ".join([*capture(), "query", "--dir", str(log), "'SELECT range FROM range(10000000)'", "| head -1"])
    result = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert (result.stdout, result.stderr) == ('{"range":0}\n', "")


def test_large_results_stream(log: Path) -> None:
    """A hundred million rows begin to come at once, and are not kept."""
    with Database(Source(log)) as database:
        answer = database.query("SELECT range, repeat('x', 100) FROM range(100000000)")
        assert sum(1 for _, _ in zip(range(5000), answer.rows, strict=False)) == 5000


def test_without_sql_the_tables_are_listed(log: Path) -> None:
    listed = rows("--dir", str(log))
    assert [row["table"] for row in listed] == [table.name for table in TABLES]
    text = query("--dir", str(log), "--format", "table").stdout
    assert all(column.name in text and table.example in text for table in TABLES for column in table.columns)


def test_other_commands_do_not_pay_for_duckdb() -> None:
    code = "import sys; from capture.cli import cli; cli.main(['query', '--help'], standalone_mode=False); print(*sys.modules)"
    imported = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.split()
    assert "capture.cli" in imported
    assert {"duckdb", "capture.sql", "capture.tables", "pydantic"}.isdisjoint(imported)


# -- documentation -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("table", TABLES, ids=lambda table: str(table.name))
def test_the_docs_have_every_table_and_column(table: Table) -> None:
    import runpy

    assert runpy.run_path(str(ROOT / "docs" / "generate.py"))["query_page"](PAGE) == PAGE
    assert f"### {table.name}" in PAGE


def examples() -> Iterator[str]:
    for block in re.findall(r"```sql\n(.*?)```", PAGE, re.DOTALL):
        yield from (statement for statement in re.split(r";\n", block) if statement.strip())


@pytest.mark.parametrize("sql", list(examples()))
def test_every_question_of_the_docs_can_be_asked(log: Path, sql: str) -> None:
    with Database(Source(log)) as database:
        answer = database.query(sql)
        assert answer.columns
        list(answer.rows)


# -- datasets ----------------------------------------------------------------------------------------------------------------


def run(directory: Path, target: Path, tables: tuple[Table, ...] = LOGGED, final: bool = False) -> dict[str, dataset.Written]:
    with Database(Source(directory)) as database:
        return {done.table: done for done in export(database, target, tables, final)}


def stored(target: Path, table: Table) -> list[str]:
    """The rows of a table in a dataset, as text, in an order of their own."""
    if not any((target / table.name).glob("*/*.parquet")):
        return []
    with duckdb.connect() as connection:
        found = connection.execute(
            f"SELECT CAST(({all_of(table)}) AS VARCHAR) FROM read_parquet('{target}/{table.name}/*/*.parquet')"
        )
        return sorted(row for (row,) in found.fetchall())


def grown(log: Path, directory: Path, share: float) -> None:
    """A log directory as it was when so much of each file was written, half lines and all."""
    directory.mkdir(exist_ok=True)
    for name in (LINES, FLOWS, ENDS):
        data = (log / name).read_bytes()
        (directory / name).write_bytes(data[: round(len(data) * share)])


@pytest.fixture(scope="module")
def at_once(log: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("datasets") / "at once"
    run(log, target)
    return target


def test_a_dataset_has_the_rows_of_the_log_by_day(log: Path, at_once: Path) -> None:
    for table in LOGGED:
        days = {str(day) for (day,) in ask(log, f"SELECT DISTINCT CAST(t AS DATE) FROM {table.name}")}
        assert {path.name for path in (at_once / table.name).iterdir()} == {f"date={day}" for day in days}
        assert stored(at_once, table) == sorted(
            row for (row,) in ask(log, f"SELECT CAST(({all_of(table)}) AS VARCHAR) FROM {table.name}")
        )


def all_of(table: Table) -> str:
    return ", ".join(f'"{column.name}"' for column in table.columns)


def test_a_dataset_is_private(at_once: Path) -> None:
    assert {path.stat().st_mode & 0o777 for path in at_once.rglob("*") if path.is_file()} == {0o600}
    assert {path.stat().st_mode & 0o777 for path in [at_once, *at_once.rglob("*")] if path.is_dir()} == {0o700}


def test_bad_lines_are_left_out_and_counted_and_odd_ones_are_not(nasty: Path, tmp_path: Path) -> None:
    done = run(nasty, tmp_path / "out")
    assert (done["lines"].rows, done["lines"].bad) == (len(PAYLOADS) + 4, len(NOT_RECORDS))
    assert (done["ends"].rows, done["ends"].bad) == (1, 1)


@settings(max_examples=8)
@given(shares=st.lists(st.floats(0, 1), min_size=1, max_size=4), step=st.sampled_from([1, 5_000, 100_000, 1 << 30]))
def test_a_dataset_grown_in_steps_is_the_one_written_at_once(log: Path, at_once: Path, shares: list[float], step: int) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(dataset, "STEP", max(step, (log / LINES).stat().st_size // 6))
        directory, target = Path(folder, "log"), Path(folder, "out")
        for share in [*sorted(shares), 1.0]:
            grown(log, directory, share)
            run(directory, target)
        assert sum(done.rows for done in run(directory, target).values()) == 0
        for table in LOGGED:
            assert stored(target, table) == stored(at_once, table)


KILLED = """
import os, signal, sys
from pathlib import Path
from capture import dataset
from capture.scan import Source
from capture.sql import Database
from capture.tables import chosen

left = int(sys.argv[3])

def count(name):
    real = getattr(dataset, name)
    def counted(*words):
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*words)
    setattr(dataset, name, counted)

for name in ("_sync", "_digest", "_copy", "written_whole", "private_directory", "_take_back"):
    count(name)
dataset.STEP = int(sys.argv[4])
with Database(Source(Path(sys.argv[1]))) as database:
    for done in dataset.export(database, Path(sys.argv[2]), chosen(sys.argv[5])):
        pass
"""


def killed_at(step: int, log: Path, target: Path, tables: str) -> bool:
    """Whether an export in a process of its own was killed (as `kill -9` does) at its so manieth step."""
    size = str((log / LINES).stat().st_size // 3)
    words = [sys.executable, "-c", KILLED, str(log), str(target), str(step), size, tables]
    result = subprocess.run(words, capture_output=True, text=True, env=os.environ | {"TMPDIR": str(target.parent)})
    assert result.returncode in (0, -signal.SIGKILL), result.stderr
    return result.returncode != 0


def test_a_killed_export_loses_nothing_and_doubles_nothing(log: Path, at_once: Path, tmp_path: Path) -> None:
    kills = 0
    for step in range(1, 200, 3):
        target = tmp_path / f"out{step}"
        if not killed_at(step, log, target, "lines,flows,ends"):
            break
        kills += 1
        killed_at(step // 2, log, target, "lines,flows,ends")  # and the one after it somewhere else
        run(log, target)
        for table in LOGGED:
            assert stored(target, table) == stored(at_once, table), step
    assert kills > 10


def test_what_a_killed_export_left_is_taken_away_also_when_less_is_written_then(log: Path, at_once: Path, tmp_path: Path) -> None:
    """A file of the same offset is written over; one of a day that the same offset does not have now is removed."""
    target = tmp_path / "out"
    stray = target / "lines" / "date=1999-01-01" / "part-0000-000000000000-7.parquet"
    target.mkdir(0o700)
    (target / dataset.LOCK).touch()
    stray.parent.mkdir(parents=True)
    stray.write_bytes(next(at_once.glob("lines/*/*.parquet")).read_bytes())
    run(log, target)
    assert not stray.exists()
    assert stored(target, LOGGED[0]) == stored(at_once, LOGGED[0])


def test_a_replaced_log_is_noticed_and_read_from_its_beginning(log: Path, tmp_path: Path) -> None:
    directory, target = tmp_path / "log", tmp_path / "out"
    grown(log, directory, 1)
    first = run(directory, target)["lines"]
    size = (directory / LINES).stat().st_size
    (directory / LINES).write_bytes(line(record(1, "{}")) + b"\n")
    done = run(directory, target)["lines"]
    assert (done.rows, done.replaced) == (1, size)
    assert run(directory, target)["lines"] == dataset.Written("lines", 0)
    assert len(stored(target, LOGGED[0])) == first.rows + 1
    longer = line(record(2, '"' + "y" * 200 + '"')) + b"\n"
    (directory / LINES).write_bytes(longer * 3)  # longer than the one before, and another
    assert run(directory, target)["lines"].rows == 3


def test_a_log_replaced_by_one_that_begins_alike_is_noticed_too(tmp_path: Path) -> None:
    same = line(record(1, json.dumps("y" * 2 * dataset.MARK))) + b"\n"
    (tmp_path / LINES).write_bytes(same + line(record(2, "{}")) + b"\n")
    run(tmp_path, tmp_path / "out")
    (tmp_path / LINES).write_bytes(same + line(record(3, "{}")) + b"\n")
    done = run(tmp_path, tmp_path / "out")["lines"]
    assert (done.rows, done.replaced) == (2, len(same + line(record(2, "{}"))) + 1)


def exported(directory: Path, target: Path, *words: str) -> str:
    """What `capture export` says."""
    result = CliRunner().invoke(cli, ["export", "parquet", str(target), "--dir", str(directory), *words])
    assert result.exit_code == 0, result.exception
    return result.stderr


@pytest.mark.parametrize("packings", [("", "", ""), (".gz", ".zst", "")], ids=["plain", "compressed"])
@pytest.mark.parametrize("first", [0, 1, 3], ids=lambda first: f"first run after {first} rotations")
def test_a_dataset_of_a_log_that_is_rotated_is_that_of_the_whole_log(tmp_path: Path, packings: tuple[str, ...], first: int) -> None:
    """Three times: once between two runs, and twice."""
    whole, directory, rotations = tmp_path / "whole", tmp_path / "log", 0
    for step, entries in enumerate(in_steps(8)):
        for folder in (whole, directory):
            writer = LogWriter(folder, {})
            for entry in entries:
                writer.write(entry)
            writer.close()
        if rotations >= first and step != 2:
            exported(directory, tmp_path / "out")
        if step in (1, 2, 5):
            for name in (LINES, FLOWS, ENDS):
                old = directory / f"{name}-2026112{rotations}{packings[rotations]}"
                old.write_bytes(PACKINGS[packings[rotations]]((directory / name).read_bytes()))
                (directory / name).unlink()
            rotations += 1
    exported(whole, tmp_path / "expected", "--final")
    exported(directory, tmp_path / "out", "--final")
    said = exported(directory, tmp_path / "out", "--final")
    assert re.findall(r"(\w+): (\d+) new", said) == [(table.name, "0") for table in TABLES]
    for table in TABLES:
        assert stored(tmp_path / "out", table) == stored(tmp_path / "expected", table), table.name


def test_parts_are_exported_also_where_the_file_that_was_read_last_is_gone(tmp_path: Path) -> None:
    """And none that was exported before is exported again."""
    directory, target, steps = tmp_path / "log", tmp_path / "out", list(in_steps(5))

    def write_step(number: int) -> None:
        writer = LogWriter(directory, {})
        for entry in steps[number]:
            writer.write(entry)
        writer.close()

    def rotate(number: int) -> None:
        for name in (LINES, FLOWS, ENDS):
            (directory / name).rename(directory / f"{name}-2026112{number}")

    write_step(0)
    rotate(0)
    write_step(1)
    exported(directory, target, "--tables", "lines")
    rotate(1)
    write_step(2)
    rotate(2)
    write_step(3)
    (directory / f"{LINES}-20261121").unlink()
    said = exported(directory, target, "--tables", "lines")
    assert "another one" in said
    kept = sum(len((directory / name).read_bytes().splitlines()) for name in (f"{LINES}-20261120", f"{LINES}-20261122", LINES))
    assert len(stored(target, LOGGED[0])) == kept + sum(entry.kind == "lines" for entry in steps[1])
    assert "lines: 0 new" in exported(directory, target, "--tables", "lines")


def in_steps(count: int) -> Iterator[list[Record]]:
    """The records of all samples, an hour between two steps.

    A proxy writes the flow records of a round before its lines: no log has lines of a flow that it does not know.
    """
    entries = [entry for name in samples.names() for entry in sorted(golden.play(name), key=lambda entry: entry.kind != "flows")]
    cuts = sorted(random.Random(3).sample(range(len(entries)), count - 1))
    for step, (start, end) in enumerate(pairwise([0, *cuts, len(entries)])):
        yield [
            each._replace(fields={**each.fields, "t": each.fields["t"].replace("T08", f"T{8 + step:02}")})
            for each in entries[start:end]
        ]


def test_a_part_that_is_damaged_is_said_and_the_dataset_stays(log: Path, tmp_path: Path) -> None:
    grown(log, tmp_path / "log", 0.5)
    exported(tmp_path / "log", tmp_path / "out")
    before = stored(tmp_path / "out", LOGGED[0])
    data = gzip.compress((log / LINES).read_bytes())
    (tmp_path / "log" / f"{LINES}.1.gz").write_bytes(data[: len(data) // 2])
    (tmp_path / "log" / LINES).write_bytes(b"")
    result = CliRunner().invoke(cli, ["export", "parquet", str(tmp_path / "out"), "--dir", str(tmp_path / "log")])
    assert isinstance(result.exception, Unusable) and f"{LINES}.1.gz cannot be read" in str(result.exception)
    assert stored(tmp_path / "out", LOGGED[0]) == before


def test_two_exports_do_not_write_at_once(log: Path, tmp_path: Path) -> None:
    with dataset.dataset(tmp_path / "out"), pytest.raises(Unusable, match="another export"):
        run(log, tmp_path / "out")


def test_a_directory_that_is_used_for_other_things_is_refused(log: Path, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(Unusable, match="used for other things"):
        run(log, tmp_path)
    assert tmp_path.stat().st_mode & 0o777 == 0o755


def test_a_state_that_is_not_ours_is_refused(log: Path, tmp_path: Path) -> None:
    run(log, tmp_path / "out")
    (tmp_path / "out" / dataset.STATE).write_text('{"version": 99}')
    with pytest.raises(Unusable, match="not of this version"):
        run(log, tmp_path / "out")


def test_export_says_what_it_wrote(log: Path, tmp_path: Path) -> None:
    words = ["export", "parquet", str(tmp_path / "out"), "--dir", str(log), "--tables"]
    result = CliRunner().invoke(cli, [*words, "ends"])
    assert result.stderr == f"capture: ends: {len(samples.names())} new rows\n"
    assert [path.name for path in sorted((tmp_path / "out").iterdir())] == [".lock", "ends", "export.json"]
    assert "did you mean ends?" in str(CliRunner().invoke(cli, [*words, "emds"]).exception)


def test_tables_are_chosen_by_name() -> None:
    assert chosen(None) == TABLES
    assert [table.name for table in chosen("turns,lines,turns")] == ["turns", "lines"]


@given(st.binary().map(lambda data: data.replace(b"a", b"\n")), st.integers(1, 20))
def test_slices_of_a_log_are_whole_lines_and_all_of_them(data: bytes, step: int) -> None:
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        offset, found = 0, []
        while (end := whole_to(file, offset, step)) > offset:
            found.append(data[offset:end])
            offset = end
    assert all(each.endswith(b"\n") for each in found)
    assert b"".join(found) == data[: data.rfind(b"\n") + 1]


# -- tables made by pairing --------------------------------------------------------------------------------------------------


def test_rows_have_the_columns_of_their_table_and_each_column_is_told(log: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        told = [table.name for table in DERIVED]
        write(Source(log), told, Path(folder), Notes())
        for table in DERIVED:
            rows_ = [json.loads(each) for each in Path(folder, f"{table.name}.jsonl").read_bytes().splitlines()]
            assert {name for row in rows_ for name in row} == {column.name for column in table.columns} | {"settled", "position"}
            keys = [tuple(row.get(key) for key in table.keys) for row in rows_]
            assert len(keys) == len(set(keys)), table.name


def test_every_request_of_the_samples_is_a_row_of_usage(log: Path) -> None:
    found = {flow for (flow,) in ask(log, "SELECT DISTINCT flow_id FROM usage")}
    assert {flow for (flow,) in ask(log, "SELECT flow_id FROM flows WHERE provider <> 'unknown'")} <= found


@pytest.mark.parametrize("name", samples.names())
def test_the_answer_of_a_sample_is_in_messages_and_events(log: Path, name: str) -> None:
    expected = json.loads((samples.DIRECTORY / name / "expected.json").read_bytes())
    flow = json.loads(golden.load(name)[-1])["fields"]["flow_id"]
    with Database(Source(log)) as database:
        answers = list(
            database.query(f"SELECT text, reasoning FROM messages WHERE flow_id = '{flow}' AND part IS NULL ORDER BY number").rows
        )
        deltas = f"FROM events WHERE flow_id = '{flow}' AND dir = 'in' AND type = 'TextDelta'"
        ((pieces,),) = database.query(f"SELECT string_agg(text, '' ORDER BY data_count, number) {deltas}").rows
    assert "".join(text for text, _ in answers) == expected["text"]
    assert "".join(reasoning for _, reasoning in answers) == expected["reasoning"]
    assert (pieces or "") in ("", expected["text"])


def test_derived_tables_grown_in_steps_are_those_written_at_once(tmp_path: Path) -> None:
    for entries in in_steps(6):
        writer = LogWriter(tmp_path / "log", {})
        for entry in entries:
            writer.write(entry)
        writer.close()
        run(tmp_path / "log", tmp_path / "steps", DERIVED)
    run(tmp_path / "log", tmp_path / "steps", DERIVED, final=True)
    run(tmp_path / "log", tmp_path / "at once", DERIVED, final=True)
    assert all(done.rows == 0 for done in run(tmp_path / "log", tmp_path / "steps", DERIVED, final=True).values())
    for table in DERIVED:
        assert stored(tmp_path / "steps", table) == stored(tmp_path / "at once", table), table.name
        assert stored(tmp_path / "steps", table), table.name


def test_a_killed_export_of_derived_tables_loses_nothing_and_doubles_nothing(log: Path, tmp_path: Path) -> None:
    run(log, tmp_path / "whole", DERIVED)
    names = ",".join(table.name for table in DERIVED)
    for step in (2, 5, 8, 11):
        assert killed_at(step, log, tmp_path / f"{step}", names)
        run(log, tmp_path / f"{step}", DERIVED)
        for table in DERIVED:
            assert stored(tmp_path / f"{step}", table) == stored(tmp_path / "whole", table), (step, table.name)


def test_what_is_open_waits_until_it_is_over_or_old(log: Path, tmp_path: Path) -> None:
    """The same log, with its last record a week later: all that was open before is settled."""
    (turns,) = [table for table in DERIVED if table.name == "turns"]
    everything = ask(log, "SELECT count(*) FROM turns")[0][0]
    assert run(log, tmp_path / "out", (turns,))["turns"].rows < everything
    grown(log, tmp_path / "log", 1)
    with open(tmp_path / "log" / LINES, "ab") as lines:
        lines.write(line(record(1, "{}", t="2027-11-21T08:00:00.000", flow_id="late")) + b"\n")
    assert run(tmp_path / "log", tmp_path / "out", (turns,))["turns"].rows > 0
    assert len(stored(tmp_path / "out", turns)) == everything
