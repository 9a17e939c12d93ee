"""`capture check`: proof that a capture is complete, or where it is not."""

import sys
from contextlib import nullcontext
from itertools import groupby
from typing import TYPE_CHECKING, Any

import click

from capture.commands.base import one_line, paint, print_rows, say, seconds, table, when
from capture.commands.options import Asked, source_options
from capture.files import Unusable
from capture.live.inks import Style
from capture.live.printable import printable

if TYPE_CHECKING:
    from capture.check.findings import Finding, Kind, Report

FEW = 5  # findings of a kind that are shown one by one
STYLES: dict[str, Style] = {"error": "bad", "warning": "user", "note": "quiet"}


@click.command(short_help="Prove that a capture is complete.")
@source_options
@click.option("--deep", is_flag=True, help="Also rebuild every request and compare it, and every payload in bodies/.")
@click.option("--calls", is_flag=True, help="Show the state of every tool call.")
@click.option("--strict", is_flag=True, help="Exit 1 on warnings too.")
@click.option("--all", "everything", is_flag=True, help=f"Show all findings, not {FEW} of a kind.")
def check(asked: Asked, deep: bool, calls: bool, strict: bool, everything: bool) -> None:
    """Prove that a capture is complete: nothing is missing, and what was lost was counted.

    Looks at every record: each flow has one end and all its lines, each stream its last word, each request its parts, each tool
    call its life. An error means that something is missing or contradicts itself, a warning that a loss was counted or
    something odd was said. What each finding means and what to do: docs/check.md.

    Exit status: 0 complete, 1 not complete (with --strict also on warnings), 2 wrong usage.
    """
    from capture import check as checking
    from capture.check.findings import Severity

    with _readable(asked) as source:
        report, rows = checking.checked(source, asked.filter, asked.engine, deep=deep, calls=calls)
        if source.file is not None and not report.lines and report.counts["bad_line"]:
            raise Unusable(f"{source.name} is no log: none of its lines is a record")
    if asked.for_people:
        _show(report, rows, None if everything else FEW)
    else:
        print_rows([*rows, *(finding.row for finding in report.findings), report.row])
    if not report.complete or (strict and report.number(Severity.WARNING)):
        sys.exit(1)


def _readable(asked: Asked) -> Any:
    """The source; stdin as a file where it must be read twice."""
    from capture import filters

    return filters.rereadable(asked.source) if asked.filter.session else nullcontext(asked.source)


# -- for people ----------------------------------------------------------------------------------------------------------------


def _show(report: "Report", rows: list[dict[str, Any]], most: int | None) -> None:
    from capture.check.findings import KINDS

    if rows:
        _table(rows)
        click.echo()
    for name, found in groupby(report.findings, key=lambda finding: finding.kind):
        _group(KINDS[name], list(found), report.counts[name], most)
    for words in report.unchecked:
        say(f"not checked: {words}")
    click.echo(paint(report.sentence, "good" if report.complete else "bad"))


def _group(kind: "Kind", found: "list[Finding]", count: int, most: int | None) -> None:
    """One kind of finding: what it means, what to do, where."""
    click.echo(f"{paint(kind.severity, STYLES[kind.severity])}  {paint(kind.id, 'strong')}  {kind.says}: {count:,}")
    shown = found if most is None else found[:most]
    for finding in shown:
        click.echo("    " + printable(_where(finding)))
    if count > len(shown):
        more = f"and {count - len(shown):,} more" + (" (--all shows them)" if most is not None else "")
        click.echo("    " + paint(more, "quiet"))
    click.echo("    " + paint(f"→ {kind.do}", "quiet"))


def _where(finding: "Finding") -> str:
    line = None if finding.data_count is None else f"line {finding.data_count}"
    byte = None if finding.offset is None else f"byte {finding.offset}"
    flow = finding.flow_id and f"flow {finding.flow_id[-12:]}"
    call = finding.call_id if finding.call_id and finding.call_id != finding.what else None
    session = finding.sid and f"session {finding.sid[:8]}"
    return "  ".join(filter(None, (one_line(finding.what, 80), call, flow, finding.file, line, byte, session)))


def _table(rows: list[dict[str, Any]]) -> None:
    """The state table of calls."""
    cells = [
        (
            r["call_id"],
            r["tool"],
            when(r["declared"]),
            f"{r['arguments']:,}" + ("" if r["json"] else " no JSON"),
            "yes" if r["complete"] else "no",
            ("failed" if r["failed"] else "yes") if r["result"] else "no",
            seconds(r["duration_ms"]),
            r["verdict"],
        )
        for r in rows
    ]
    columns = ("call id", "tool", "declared", "arguments", "complete", "result", "duration", "verdict")
    table(columns, cells, flexible="call id", spare=("declared", "arguments", "duration", "complete"))
