"""What an exchange costs: US dollars at list prices, by the price library's data as it was installed; never from the network.

Prices depend on the model, for some on the time of day, and for many on the size of the request (long contexts cost more):
what many exchanges cost is the sum of what each costs, not the price of the sum of their tokens. Cache writes are taken for
those that live five minutes: `UsageReported` does not tell them from longer ones.
"""

from collections.abc import Callable, Iterator
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING

from capture.events import UsageReported

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, ModelPrice, Provider, TieredPrices

OWNERS = {"anthropic": "anthropic", "openai": "openai", "gemini": "google"}  # vocabulary → whose models its names are first
PER = 1_000_000  # tokens a price is for

type Price = Callable[[UsageReported], float | None]  # dollars for one request


def cost(provider: str, model: str | None, usage: UsageReported, t: str) -> float | None:
    """Dollars for one exchange at a time of the log; None where the price is not known. `provider`: whose vocabulary it speaks."""
    if model is None:
        return None
    price = _price(provider, model, t[:16] if _changes(provider, model) else "")
    return price(usage) if price else None


def load() -> None:
    """Reads the prices now, rather than in the middle of something: it takes 0.1 s."""
    from genai_prices.data_snapshot import get_snapshot

    get_snapshot()


@lru_cache(maxsize=4096)
def _found(provider: str, model: str) -> "tuple[Provider, ModelInfo] | None":
    """Who sells a model, and the model: everybody imitates a few vocabularies, so the model's name decides."""
    from genai_prices.data_snapshot import get_snapshot  # 100 ms, only where a price is asked for

    for seller in _sellers(provider, model):
        try:
            return get_snapshot().find_provider_model(model, None, seller, None)
        except LookupError:
            continue
    return None


def _sellers(provider: str, model: str) -> Iterator[str | None]:
    if provider in OWNERS:
        yield OWNERS[provider]
    yield None  # whoever the name speaks of
    if "/" in model:
        yield "openrouter"  # `anthropic/claude-sonnet-4.5`
    if "." in model:
        yield "aws"  # `us.anthropic.claude-sonnet-4-5-20250929-v1:0`


def _changes(provider: str, model: str) -> bool:
    """Whether a model's price depends on the time."""
    found = _found(provider, model)
    return found is not None and isinstance(found[1].prices, list)


@lru_cache(maxsize=4096)
def _price(provider: str, model: str, minute: str) -> Price | None:
    found = _found(provider, model)
    if found is None:
        return None
    owner, info = found
    try:
        when = datetime.fromisoformat(minute).astimezone() if minute else datetime.now().astimezone()
    except ValueError:
        return None
    prices = info.get_prices(when)
    if prices.requests_kcount is not None or prices.output_reasoning_mtok is not None:
        return lambda usage: _by_library(owner, info, when, usage)
    return _by_tokens(prices)


def _by_tokens(prices: "ModelPrice") -> Price:
    """A price from the four that matter: what the library would say (a test compares), 30 times as fast."""
    fresh, output = _steps(prices.input_mtok), _steps(prices.output_mtok)
    cached, written = _steps(prices.cache_read_mtok) or fresh, _steps(prices.cache_write_mtok) or fresh

    def price(usage: UsageReported) -> float | None:
        total, size = 0.0, usage.input
        for tokens, steps in ((usage.fresh, fresh), (usage.cached, cached), (usage.written, written), (usage.output, output)):
            if tokens:
                if not steps:
                    return None
                total += tokens * next(dollars for above, dollars in steps if size > above)
        return total / PER

    return price


def _steps(price: "Decimal | TieredPrices | None") -> tuple[tuple[int, float], ...]:
    """(tokens of a request above which it holds, dollars for PER tokens), the highest first; none where there is no price."""
    if price is None:
        return ()
    if isinstance(price, Decimal):
        return ((-1, float(price)),)
    return (*((tier.start, float(tier.price)) for tier in reversed(price.tiers)), (-1, float(price.base)))


def _by_library(owner: "Provider", info: "ModelInfo", when: datetime, usage: UsageReported) -> float | None:
    from genai_prices import Usage

    counted = Usage(
        input_tokens=usage.input,
        cache_read_tokens=usage.cached,
        cache_write_tokens=usage.written,
        output_tokens=usage.output or 0,
        output_reasoning_tokens=usage.reasoning,
    )
    return float(info.calc_price(counted, owner, genai_request_timestamp=when).total_price)
