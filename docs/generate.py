"""Writes the parts of the docs that come from the code: tables of fields, `--help`. `python docs/generate.py`; a test compares."""

import re
import sys
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from click.testing import CliRunner  # noqa: E402 (the path is set above)

from capture import extract, records, tables  # noqa: E402
from capture.cli import COMMANDS, cli  # noqa: E402

LOG, COMMANDS_PAGE = ROOT / "docs" / "log.md", ROOT / "docs" / "commands.md"
QUERY, KINDS = ROOT / "docs" / "query.md", ROOT / "docs" / "kinds.md"
KINDS_HEAD = """# Kinds

What `capture extract` finds: one file `<kind>.jsonl` for each kind, a row a line, all in one pass over the log.
`capture kinds --schema KIND` gives the JSON Schema of its rows. Made by `python docs/generate.py`.

Rows stand in the order in which they became known: of an exchange when it ended, of a call when it was answered. Fields are null
where the log, or the provider, does not say. What only tells again what was told before (a retried call, a part that is sent
with every request, the codex log's retellings) makes no second row.
"""


def log_page(text: str) -> str:
    """docs/log.md with its tables of fields as the models are now."""
    return re.sub(
        r"<!-- fields (\w+) -->\n.*?<!-- end -->",
        lambda found: f"<!-- fields {found[1]} -->\n{_table(found[1])}<!-- end -->",
        text,
        flags=re.DOTALL,
    )


def commands_page() -> str:
    """docs/commands.md: the help of every command."""
    parts = ["# Commands\n\nWhat `--help` says. Made by `python docs/generate.py`.\n"]
    for words in ([], *([name] for name in COMMANDS)):
        result = CliRunner(env={"COLUMNS": "100"}).invoke(cli, [*words, "--help"], prog_name="capture", terminal_width=100)
        parts.append(f"## {' '.join(['capture', *words])}\n\n```text\n{result.output.rstrip()}\n```\n")
    return "\n".join(parts)


def query_page(text: str) -> str:
    """docs/query.md with the tables of `capture query` as they are now."""
    told = "\n".join(_columns(table) for table in tables.TABLES)
    return re.sub(r"<!-- tables -->\n.*?<!-- end -->", lambda found: f"<!-- tables -->\n{told}<!-- end -->", text, flags=re.DOTALL)


def kinds_page() -> str:
    """docs/kinds.md: every kind with the fields of its rows."""
    contents = [f"| [`{kind.name}`](#{kind.name}) | {kind.help} |" for kind in extract.KINDS]
    head = [KINDS_HEAD, "| kind | |", "| --- | --- |", *contents, ""]
    return "\n".join([*head, *(_kind(kind) for kind in extract.KINDS)])


def _kind(kind: extract.Kind) -> str:
    fields = [f"| `{field.name}` | {extract.type_name(field.annotation)} | {field.says} |" for field in extract.fields_of(kind)]
    return "\n".join([f"## {kind.name}", "", kind.help, "", "| field | type | |", "| --- | --- | --- |", *fields, ""])


def _columns(table: tables.Table) -> str:
    source = f"`{table.logged.file}`" if table.logged else f"made by pairing; keys: {', '.join(f'`{key}`' for key in table.keys)}"
    rows = [f"| `{column.name}` | {column.type} | {column.says} |" for column in table.columns]
    head = [f"### {table.name}", "", f"A row: {table.says} ({source}).", "", "| column | type | |", "| --- | --- | --- |"]
    return "\n".join([*head, *rows, "", f"```sql\n{table.example};\n```", ""])


def _table(model: str) -> str:
    fields = getattr(records, model).model_fields
    rows = [f"| `{name}` | {_type(field.annotation)} | {field.description} |" for name, field in fields.items()]
    return "\n".join(["| field | type | |", "| --- | --- | --- |", *rows, ""])


def _type(annotation: Any) -> str:
    """A type in JSON's words."""
    options = get_args(annotation)
    if get_origin(annotation) is Literal:
        return " or ".join("null" if option is None else f"`{option}`" for option in options)
    if get_origin(annotation) is list:
        return "array"
    if options:
        return " or ".join(_type(option) for option in options)
    names = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null", Any: "any"}
    return names.get(annotation, "object")


def main() -> None:
    LOG.write_text(log_page(LOG.read_text("utf-8")), "utf-8")
    QUERY.write_text(query_page(QUERY.read_text("utf-8")), "utf-8")
    COMMANDS_PAGE.write_text(commands_page(), "utf-8")
    KINDS.write_text(kinds_page(), "utf-8")


if __name__ == "__main__":
    main()
