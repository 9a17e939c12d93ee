"""The last rows that answer a question, and what is said of lines that are no records."""

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from capture.commands.base import print_rows, say, short
from capture.commands.options import Asked
from capture.files import Unusable

if TYPE_CHECKING:
    from capture.questions import Question, Windows
    from capture.scan import Notes, Source


def answer(asked: Asked, question: "Question", last: int) -> list[dict[str, Any]]:
    """The last rows (0: all) that answer a question, for a table; on a pipe they are printed, and none are left to show."""
    from capture import filters, questions, scan

    notes = scan.Notes()
    with filters.rereadable(asked.source) if asked.filter.session else nullcontext(asked.source) as source:
        chosen = filters.sids(source, asked.filter.session)
        windows = scan.windows(source, question.holds, engine=asked.engine, sids=chosen, notes=notes)
        rows = questions.last(_each_with_its_own(notes, windows), question, last or None, asked.filter.within, asked.filter.since)
    if not asked.for_people:
        print_rows(rows)
    heard(asked, notes, bool(rows))
    if asked.for_people and not rows:
        say("there is nothing of that kind")
    return rows if asked.for_people else []


def _each_with_its_own(notes: "Notes", windows: "Windows") -> "Windows":
    """The windows; what was noted in one that did not do is forgotten."""
    for items, whole in windows:
        notes.bad.clear()
        notes.count = 0
        yield items, whole


def heard(asked: Asked, notes: "Notes", something: bool) -> None:
    """Says what was no record and therefore left out: no failure, the exit status stays. Raises Unusable where nothing is one."""
    if not notes.count:
        return
    first, name = notes.bad[0], "stdin" if asked.source.file == "-" else short(notes.bad[0].file)
    if not something and asked.source.file is not None and not _has_record(asked.source):
        raise Unusable(f"{name} is no log: none of its lines is a record ({first.why})")
    lines = "1 line was" if notes.count == 1 else f"{notes.count:,} lines were"
    say(f"{lines} skipped, the first at byte {first.offset} of {name}: {first.why}")


def _has_record(source: "Source") -> bool:
    from capture.scan import read

    return source.plain and next(read(source), None) is not None
