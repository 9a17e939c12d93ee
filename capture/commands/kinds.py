"""`capture kinds`: what `capture extract` finds."""

import json
import sys
from typing import TYPE_CHECKING, Any

import click

from capture.commands.base import print_rows, table
from capture.commands.options import json_option

if TYPE_CHECKING:
    from capture.extract import Kind


@click.command(short_help="List what extract finds, with its fields.")
@click.option("--schema", is_flag=True, help="As JSON Schema: of KIND, or of all, by name.")
@json_option
@click.argument("name", required=False, metavar="[KIND]")
def kinds(name: str | None, schema: bool, as_json: bool) -> None:
    """List the kinds of facts that `capture extract` finds, or the fields of one KIND."""
    from capture.extract import KINDS, chosen

    found = chosen(name) if name else KINDS
    if schema:
        click.echo(json.dumps(_schemas(found), indent=2, ensure_ascii=False))
    elif as_json or not sys.stdout.isatty():
        print_rows(_fields(found[0]) if len(found) == 1 else [_listed(kind) for kind in found])
    elif len(found) == 1:
        rows = [(field["name"], field["type"], field["says"]) for field in _fields(found[0])]
        table(("field", "type", "says"), rows, flexible="")
    else:
        rows = [(kind.name, kind.help, ", ".join(field["name"] for field in _fields(kind))) for kind in found]
        table(("kind", "finds", "fields"), rows, flexible="", spare=("fields",))


def _schemas(kinds: "tuple[Kind, ...]") -> dict[str, Any]:
    from capture.extract import model_of

    found = {kind.name: model_of(kind).model_json_schema() for kind in kinds}
    return next(iter(found.values())) if len(found) == 1 else found


def _listed(kind: "Kind") -> dict[str, Any]:
    return {"name": kind.name, "help": kind.help, "fields": _fields(kind)}


def _fields(kind: "Kind") -> list[dict[str, str]]:
    from capture.extract import fields_of, type_name

    return [{"name": field.name, "type": type_name(field.annotation), "says": field.says} for field in fields_of(kind)]
