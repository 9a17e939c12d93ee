"""Makes the pictures of the docs from sample flows. `python -m docs.screenshots`; a test compares."""

import io
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

from tests import golden_live, golden_top
from tests.emulator import Emulator

HERE = Path(__file__).resolve().parent
COLUMNS = 100
ROWS = 40
THEME = TerminalTheme(  # the sixteen colours on a dark ground; names in the order of ECMA-48
    (24, 26, 31),
    (214, 219, 227),
    [
        (40, 44, 52),
        (224, 108, 117),
        (126, 190, 110),
        (229, 192, 123),
        (97, 175, 239),
        (206, 130, 226),
        (86, 182, 194),
        (190, 196, 206),
    ],
    [
        (110, 118, 132),
        (240, 113, 120),
        (152, 209, 134),
        (255, 221, 120),
        (130, 196, 255),
        (222, 155, 240),
        (120, 205, 216),
        (255, 255, 255),
    ],
)


def live() -> str:
    """`capture live` of four agents at once, as SVG."""
    text = "".join(golden_live.drawn(golden_live.log(golden_live.INTERLEAVED), COLUMNS))
    return svg(Emulator(COLUMNS, ROWS).feed(text), "capture live")


def svg(emulator: Emulator, title: str) -> str:
    """What stands in a terminal, as SVG; the same for the same text everywhere."""
    console = Console(
        record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True, color_system="standard", legacy_windows=False
    )
    for row in emulator.rows()[:ROWS]:
        console.print(Text.assemble(*((text, colour) for text, colour in row)), soft_wrap=True)
    return console.export_svg(title=title, theme=THEME, unique_id="sse-capture")


PICTURES = {"live.svg": live, "top.svg": golden_top.picture}


def main() -> None:
    for name, picture in PICTURES.items():
        (HERE / name).write_text(picture(), "utf-8")
        print(f"docs/{name}")


if __name__ == "__main__":
    main()
