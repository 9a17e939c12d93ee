"""What answers took: tokens and cost, summed by what is asked for."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from capture.costs import DIGITS, Price
from capture.events import UsageReported
from capture.scan import Usage

type Row = dict[str, Any]

TOKENS = ("input", "cached", "written", "output", "reasoning")
KEYS: dict[str, tuple[str, Callable[[Usage], str | None]]] = {  # what can be summed by: the name in a row, where it is from
    "session": ("sid", lambda usage: usage.sid),
    "model": ("model", lambda usage: usage.model),
    "directory": ("cwd", lambda usage: usage.cwd),
    "day": ("day", lambda usage: usage.t[:10]),
}


@dataclass(slots=True)
class Sum:
    """What answers took together."""

    t: str  # of the first
    last_t: str
    exchanges: int = 0
    tokens: dict[str, int | None] = field(default_factory=lambda: dict.fromkeys(TOKENS))
    cost: float = 0.0  # of what has a price
    unknown: int = 0  # answers without one

    def add(self, t: str, usage: UsageReported, cost: float | None) -> None:
        self.t, self.last_t = min(self.t, t), max(self.last_t, t)
        self.exchanges += 1
        for name in TOKENS:
            if (value := getattr(usage, name)) is not None:
                self.tokens[name] = (self.tokens[name] or 0) + value
        self.cost += cost or 0.0
        self.unknown += cost is None

    @property
    def row(self) -> Row:
        known = round(self.cost, DIGITS)
        numbers = {"exchanges": self.exchanges, **self.tokens, "cost": None if self.unknown else known, "known_cost": known}
        return {**numbers, "t": self.t, "last_t": self.last_t}


def stats(
    usages: Iterable[Usage], by: Sequence[str], price: Price, within: Callable[[str], bool]
) -> tuple[list[Row], Sum, set[str]]:
    """(a row for each of what is asked for, by when it was first heard of; the sum of all; models without a price)."""
    sums: dict[tuple[str | None, ...], Sum] = {}
    total, strange = Sum("~", ""), set()
    for each in usages:
        if not within(each.t):
            continue
        usage = each.usage
        cost = None if usage.running else price(each.provider or "", each.model, usage, each.t)
        if cost is None:
            strange.add(each.model or "a model that is not named")
        for sums_of in (sums.setdefault(tuple(KEYS[name][1](each) for name in by), Sum(each.t, each.t)), total):
            sums_of.add(each.t, usage, cost)
    order = sorted(sums.items(), key=lambda item: (item[1].t, tuple(map(str, item[0]))))
    names = [KEYS[name][0] for name in by]
    rows = [{"i": i, **dict(zip(names, keys, strict=True)), **found.row} for i, (keys, found) in enumerate(order, 1)]
    return rows, total, strange
