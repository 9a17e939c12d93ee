"""What turns cost, added up from their exchanges."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from capture.events import UsageReported

if TYPE_CHECKING:
    from capture.updates import Exchange, Turn

type Price = Callable[[str, str | None, UsageReported, str], float | None]  # as `prices.cost`

DIGITS = 9  # decimals of a dollar: a token may cost a ten-millionth


class Costs:
    """What the exchanges of open turns cost: each by itself, since prices depend on the size of a request."""

    def __init__(self, price: Price) -> None:
        self._price = price
        self._flows: dict[tuple[str, int], float | None] = {}  # by flow and number of the turn

    def add(self, exchange: "Exchange") -> None:
        usage = exchange.answer.usage
        if exchange.turn is None or usage is None:
            return
        key = (exchange.flow_id, exchange.turn)
        before = self._flows.get(key, 0.0)
        cost = self._price(exchange.provider, exchange.model, usage, exchange.t)
        self._flows[key] = None if before is None or cost is None else before + cost

    def so_far(self, turn: "Turn") -> float | None:
        """What a turn cost until now; None when a part of that is not known."""
        costs = [self._flows.get((flow_id, turn.number), 0.0) for flow_id in turn.flows]
        known = [cost for cost in costs if cost is not None]
        return round(sum(known), DIGITS) if len(known) == len(costs) else None

    def of(self, turn: "Turn") -> float | None:
        """What a turn that is over cost, which is then forgotten."""
        cost = self.so_far(turn)
        for flow_id in turn.flows:
            self._flows.pop((flow_id, turn.number), None)
        return cost
