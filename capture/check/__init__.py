"""One source checked: the reading, the check and what is around them put together."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from capture import filters, presence
from capture.check.findings import Report
from capture.check.rebuild import deep as compared
from capture.check.whole import Check, note_bad_lines
from capture.filters import Filter
from capture.providers.base import Holds
from capture.scan import ENGINES, Notes, Source, chosen
from capture.scan.beside import Log, Nothing
from capture.scan.kinds import Wanted
from capture.scan.reading import Reading

type Rows = list[dict[str, Any]]

NO_RECORDS = (
    "one file of lines has no flow records and no ends: whether each flow has its end, its last lines and its request's parts"
)
NO_RESULTS = "the claude log tells no results of tools: whether each call was answered"


def checked(source: Source, asked: Filter, engine: str = "auto", *, deep: bool = False, calls: bool = False) -> tuple[Report, Rows]:
    """(all that was found, the calls where they are wanted). Raises Unusable."""
    source.check()
    sids = filters.sids(source, asked.session)
    notes, log = Notes(), source.log
    living = frozenset(str(facts.get("id")) for facts in presence.living(log)) if log else frozenset()
    report = Report(asked.within)
    check = Check(report, log, living, calls)
    raw = check.lines(ENGINES[chosen(source, Holds.ALL, engine)](source, Wanted(Holds.ALL), notes), notes, source.name, sids)
    check.run(Reading(source.name, log, Log(log, notes, sids=sids) if log else Nothing(), notes, sids).items(raw))
    whole = not (asked.session or asked.since or asked.until)
    note_bad_lines(report, notes, bool(living), whole)
    if deep and log:
        for finding in compared(log, check.parts):
            report.add(finding)
    report.unchecked += _unchecked(log, deep, check)
    return report, check.lives.rows or []


def _unchecked(log: Path | None, deep: bool, check: Check) -> Iterator[str]:
    if log is None:
        yield NO_RECORDS
        if deep:
            yield "--deep needs a log directory: whether requests and payloads are as they were sent"
    if check.lives.resultless:
        yield NO_RESULTS
