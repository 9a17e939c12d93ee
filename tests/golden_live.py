"""What the live view draws of the sample flows. `python -m tests.golden_live` rewrites the goldens; read the diff.

`sample_flows/<case>/live.txt` is what a pipe gets; `tests/live/<case>.80.txt` and `.120.txt` are what stands in a terminal of so
many columns at the end, a run of one colour as `‹cyan›text‹›`. `interleaved`: four sessions at once.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from capture import samples
from capture.live.render import Look
from capture.live.terminal import Terminal
from capture.live.view import Choice, View
from capture.prices import cost
from tests.emulator import Emulator
from tests.golden_rows import records

DIRECTORY = Path(__file__).parent / "live"
INTERLEAVED = "interleaved"
AT_ONCE = ("anthropic/thinking", "openai_responses/websocket", "openai_chat/tool_calls", "anthropic/text")
COLUMNS = (80, 120)
PLAIN = 0  # columns of a pipe


def cases() -> list[str]:
    return [*samples.names(), INTERLEAVED]


def log(case: str) -> list[dict[str, Any]]:
    """The records of a case, in the order in which they were written."""
    if case != INTERLEAVED:
        return records(case)
    return sorted((record for each in AT_ONCE for record in records(each)), key=lambda record: str(record["t"]))


def view(columns: int, **choice: Any) -> View:
    """A view for a terminal of so many columns; PLAIN: for a pipe."""
    look = choice.pop("look", {})
    terminal = Terminal(lambda: columns or 80, colours=bool(columns), interactive=bool(columns))
    return View(Choice(Look(width=lambda: columns or 80, **look), **choice), terminal, cost)


def drawn(items: Iterable[Any], columns: int, **choice: Any) -> Iterator[str]:
    """What the view writes for each item, and at the end."""
    shown = view(columns, **choice)
    for item in items:
        yield shown.feed([item])
    yield shown.close()


def written(case: str, columns: int) -> str:
    """The golden's text."""
    text = "".join(drawn(log(case), columns))
    return Emulator(columns).feed(text).golden() if columns else text


def path(case: str, columns: int) -> Path:
    if columns:
        return DIRECTORY / f"{case.replace('/', '-')}.{columns}.txt"
    return DIRECTORY / f"{case}.txt" if case == INTERLEAVED else samples.DIRECTORY / case / "live.txt"


def main() -> None:
    DIRECTORY.mkdir(exist_ok=True)
    for case in cases():
        for columns in (PLAIN, *COLUMNS):
            text, place = written(case, columns), path(case, columns)
            as_it_was = place.exists() and place.read_text("utf-8") == text
            place.write_text(text, "utf-8")
            print(f"{case} {columns or 'plain'}: {'as it was' if as_it_was else 'written'}")


if __name__ == "__main__":
    main()
