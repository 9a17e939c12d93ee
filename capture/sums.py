"""What answers took: tokens and cost, summed by what is asked for."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
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
    input: int = 0
    cached: int | None = None
    written: int | None = None
    output: int | None = None
    reasoning: int | None = None
    cost: float = 0.0  # of what has a price
    unknown: int = 0  # answers without one

    def add(self, t: str, usage: UsageReported, cost: float | None) -> None:
        if t < self.t:
            self.t = t
        if t > self.last_t:
            self.last_t = t
        self.exchanges += 1
        fresh, cached, written, output, reasoning, _, _ = usage
        self.input += (fresh or 0) + (cached or 0) + (written or 0)
        if cached is not None:
            self.cached = (self.cached or 0) + cached
        if written is not None:
            self.written = (self.written or 0) + written
        if output is not None:
            self.output = (self.output or 0) + output
        if reasoning is not None:
            self.reasoning = (self.reasoning or 0) + reasoning
        if cost is None:
            self.unknown += 1
        else:
            self.cost += cost

    def add_all(self, other: "Sum") -> None:
        self.t, self.last_t = min(self.t, other.t), max(self.last_t, other.last_t)
        for name in ("exchanges", *TOKENS, "cost", "unknown"):
            if (number := getattr(other, name)) is not None:
                setattr(self, name, (getattr(self, name) or 0) + number)

    @property
    def row(self) -> Row:
        known = round(self.cost, DIGITS)
        tokens = {name: getattr(self, name) for name in TOKENS} | ({} if self.exchanges else {"input": None})
        numbers = {"exchanges": self.exchanges, **tokens, "cost": None if self.unknown else known, "known_cost": known}
        return {**numbers, "t": self.t, "last_t": self.last_t}


def stats(
    usages: Iterable[Usage], by: Sequence[str], price: Price, within: Callable[[str], bool]
) -> tuple[list[Row], Sum, set[str]]:
    """(a row for each of what is asked for, by when it was first heard of; the sum of all; models without a price)."""
    sums: dict[tuple[str | None, ...], Sum] = {}
    strange, key_of = set(), [KEYS[name][1] for name in by]
    for each in usages:
        if not within(each.t):
            continue
        usage = each.usage
        cost = None if usage.running else price(each.provider or "", each.model, usage, each.t)
        if cost is None:
            strange.add(each.model or "a model that is not named")
        key = tuple([of(each) for of in key_of])
        if (one := sums.get(key)) is None:
            one = sums[key] = Sum(each.t, each.t)
        one.add(each.t, usage, cost)
    total = Sum("~", "")
    for one in sums.values():
        total.add_all(one)
    order = sorted(sums.items(), key=lambda item: (item[1].t, tuple(map(str, item[0]))))
    names = [KEYS[name][0] for name in by]
    rows = [{"i": i, **dict(zip(names, keys, strict=True)), **found.row} for i, (keys, found) in enumerate(order, 1)]
    return rows, total, strange
