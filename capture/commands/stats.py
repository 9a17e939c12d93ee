"""`capture stats`: tokens and cost."""

from typing import TYPE_CHECKING, Any

import click

from capture.commands.answers import heard
from capture.commands.base import distinct, dollars, print_rows, say, short, table, when
from capture.commands.options import Asked, source_options

if TYPE_CHECKING:
    from capture.sums import Sum

BY = ("session", "model", "directory", "day")
TOKENS = ("input", "cached", "written", "output", "reasoning")


def _by(context: click.Context, parameter: click.Parameter, text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    for name in names:
        if name not in BY:
            from capture.filters import near

            raise click.UsageError(f"nothing can be summed by {name}, only by {', '.join(BY)}{near(name, BY)}", context)
    if not names:
        raise click.UsageError(f"--by needs a name: {', '.join(BY)}", context)
    return names


@click.command(short_help="Add up tokens and cost.")
@click.option(
    "--by",
    callback=_by,
    default="day,model",
    show_default=True,
    metavar="WHAT",
    help="What to sum by: session, model, directory, day; several with commas between.",
)
@source_options
def stats(asked: Asked, by: tuple[str, ...]) -> None:
    """Add up the tokens that all answers took, background calls too, and what they cost.

    `input` is all that was read: `cached` of it came from the provider's cache, `written` went into it. `output` is all that
    was written, `reasoning` too. `cost` is in US dollars at list prices, whatever your plan says; null when a part of it has
    no known price: then `known_cost` is the rest, which a terminal shows with a `+`.
    """
    from capture import filters, scan, sums
    from capture.prices import cost

    notes = scan.Notes()
    with filters.rereadable(asked.source) as source:
        chosen = filters.sids(source, asked.filter.session) if asked.filter.session else None
        usages = scan.usages(source, engine=asked.engine, sids=chosen, notes=notes)
        rows, total, strange = sums.stats(usages, by, cost, asked.filter.within)
    if asked.for_people:
        _table(by, rows, total)
    else:
        print_rows(rows)
    heard(asked, notes, bool(rows))
    if strange:
        say(f"no price is known for {', '.join(sorted(strange))}: the cost of that is not in the sums")


def _table(by: tuple[str, ...], rows: list[dict[str, Any]], total: "Sum") -> None:
    length = distinct([row["sid"] for row in rows]) if "session" in by else 0
    cells = [(*(_key(row, name, length) for name in by), *_numbers(row)) for row in rows]
    if len(rows) > 1:
        cells.append(("total", *[""] * (len(by) - 1), *_numbers(total.row)))
    columns = (*by, "exchanges", *TOKENS, "cost")
    spare = ("reasoning", "written", "exchanges", "cached")
    table(columns, cells, flexible="directory" if "directory" in by else by[-1], spare=spare)


def _key(row: dict[str, Any], name: str, length: int) -> str:
    match name:
        case "session":
            return f"{row['sid'][:length]} {when(row['last_t'])}"
        case "directory":
            return short(row["cwd"]) or "?"
        case _:
            return row[name] or "?"


def _numbers(row: dict[str, Any]) -> tuple[str, ...]:
    cost = dollars(row["known_cost"]) + ("" if row["cost"] is not None else "+")
    return (f"{row['exchanges']:,}", *("" if row[name] is None else f"{row[name]:,}" for name in TOKENS), cost)
