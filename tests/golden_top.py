"""What `capture top` shows of four sessions at once. `python -m tests.golden_top` rewrites the goldens; read the diff.

`tests/live/top.<view>.txt` is the screen, a run of one style as `‹reasoning›text‹›`; where the ground is another one, its name
follows: `‹strong on chosen›`.
"""

import asyncio
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

from rich.style import Style
from textual.pilot import Pilot

from capture.live.desk import Desk
from capture.live.panes import BAR, BASE, CHOSEN, CHOSEN_AWAY, COLOURS, look_of
from capture.live.top import Top
from capture.live.watch import Watch
from capture.prices import cost
from capture.scan import Item
from tests.golden_live import INTERLEAVED, log

DIRECTORY = Path(__file__).parent / "live"
GROUNDS = {BASE: "", BAR: " on bar", CHOSEN: " on chosen", CHOSEN_AWAY: " on away"}
NAMES = {
    look_of(name, ground): name + GROUNDS[ground] for ground in reversed(GROUNDS) for name in reversed(COLOURS)
}  # of two that look alike the first
VIEWS: dict[str, tuple[tuple[int, int], tuple[str, ...]]] = {  # size, keys
    "usual": ((100, 30), ()),
    "narrow": ((60, 24), ("j",)),
    "tall": ((60, 50), ("j", "j")),
    "wide": ((180, 30), ("j",)),
    "full": ((100, 20), ("j", "enter", "pageup")),
    "search": ((100, 24), ("slash", *"the", "enter", "N")),
    "filter": ((100, 24), ("f", *"claude")),
    "help": ((100, 34), ("question_mark",)),
}


@dataclass
class Source:
    """What comes at each look; at the end nothing, or None where the source ends."""

    batches: list[Sequence[Item]] = field(default_factory=list)
    ends: bool = False
    behind: bool = False

    def poll(self, wait: float = 0.0) -> list[Item] | None:
        if self.batches:
            return list(self.batches.pop(0))
        return None if self.ends else []

    def close(self) -> list[Item]:
        return []


def application(source: Source, now: str = "2026-11-21T08:00:04.000", clock: Callable[[], float] = lambda: 0.0) -> Top:
    """The application, which looks only when it is told, at a time that stands still."""
    return Top(source, Desk(Watch(cost), "~/logs", "/home/user", lambda: now), frames=0, clock=clock)


def run(app: Top, size: tuple[int, int], *steps: str | Callable[[Pilot[str]], Any]) -> str:
    """The screen after keys were pressed and steps done, each on a screen that was drawn."""

    async def told() -> str:
        async with app.run_test(size=size) as pilot:
            await settled(app, pilot)
            for together, group in groupby(steps, lambda step: isinstance(step, str)):
                some = list(group)
                if together:
                    await pilot.press(*map(str, some))
                    await settled(app, pilot)
                for step in some:
                    if not isinstance(step, str):
                        if (waits := step(pilot)) is not None:
                            await waits
                        await settled(app, pilot)
            return screen(app)

    return asyncio.run(told())


async def settled(app: Top, pilot: Pilot[str]) -> None:
    await pilot.pause()
    if app.is_running:
        app.look()
    await pilot.pause()


def screen(app: Top) -> str:
    """All lines of the screen, with their styles."""
    return "".join(_line(strip) + "\n" for strip in app.screen._compositor.render_strips())


def plain(text: str) -> str:
    """A screen without its styles."""
    return re.sub("‹[^›]*›", "", text)


def _line(segments: Iterable[Any]) -> str:
    runs: list[list[str]] = []
    for text, style, _ in segments:
        name = _name(style)
        if runs and runs[-1][0] == name:
            runs[-1][1] += text
        else:
            runs.append([name, text])
    return "".join(text if name == "plain" else f"‹{name}›{text}‹›" for name, text in runs).rstrip()


def _name(style: Style | None) -> str:
    """What we call a style; how it looks, for Textual's own."""
    style = style or Style()
    wanted = Style(color=style.color, bgcolor=style.bgcolor, bold=style.bold or None)
    return NAMES.get(wanted, "other")


def shot(view: str) -> str:
    size, keys = VIEWS[view]
    return run(application(Source([log(INTERLEAVED)])), size, *keys)


def path(view: str) -> Path:
    return DIRECTORY / f"top.{view}.txt"


def picture() -> str:
    """An SVG for the docs: agents in every state."""
    working = [record for record in log("anthropic/parallel_tools") if "outcome" not in record][:-12]
    records = sorted((*log(INTERLEAVED), *log("anthropic/error_mid_stream"), *working), key=lambda record: str(record["t"]))
    app = application(Source([records]))
    found: list[str] = []
    run(app, (120, 32), *"jjjj", lambda pilot: found.append(app.export_screenshot(title="capture top")))
    return found[0]


def main() -> None:
    DIRECTORY.mkdir(exist_ok=True)
    for view in VIEWS:
        text, place = shot(view), path(view)
        as_it_was = place.exists() and place.read_text("utf-8") == text
        place.write_text(text, "utf-8")
        print(f"{view}: {'as it was' if as_it_was else 'written'}")


if __name__ == "__main__":
    main()
