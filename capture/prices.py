"""What an exchange costs: US dollars at list prices, by the price library's data as it was installed; never from the network.

Prices depend on the model, for some on the time, and for many on the size of the request (long contexts cost more):
what many exchanges cost is the sum of what each costs, not the price of the sum of their tokens. Cache writes are taken for
those that live five minutes: `UsageReported` does not tell them from longer ones.

To import the library takes longer than all else that `capture stats` does. What it said of a model is therefore kept in a file
of the user's cache directory, which holds as long as the library's files are the same.
"""

import os
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache, lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from capture.events import UsageReported

if TYPE_CHECKING:
    from genai_prices.types import ConditionalPrice, ModelInfo, ModelPrice, Provider, TieredPrices

OWNERS = {"anthropic": "anthropic", "openai": "openai", "gemini": "google"}  # vocabulary → whose models its names are first
PER = 1_000_000  # tokens a price is for
FORMAT = 1  # of the kept file, and of the rules here by which a model is found
MOST = 2_000  # models kept: their names come from logs
LONGEST = 200  # characters of a name that is kept
SOURCES = ("data.py", "data_snapshot.py", "types.py")  # of the library: all that its answers depend on
LIBRARY = "library"  # a price that it must work out itself

type Price = Callable[[UsageReported], float | None]  # dollars for one request
# [tokens of a request above which it holds, dollars for PER tokens], the highest first; none: no price
type Steps = list[list[float]]
type Table = list[Steps]  # for tokens that are fresh, cached, written, output
type Known = list[tuple[str, Table]] | str | None  # (day of UTC from which on it holds, "" always; the last one that does), LIBRARY


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
def _changes(provider: str, model: str) -> bool:
    """Whether a model's price depends on the time."""
    known = _known(provider, model)
    return known == LIBRARY or (known is not None and len(known) > 1)


@lru_cache(maxsize=4096)
def _price(provider: str, model: str, minute: str) -> Price | None:
    """What a model costs at a time (local; none where that makes no difference); None where that is not known."""
    known = _known(provider, model)
    if known is None:
        return None
    try:
        when = datetime.fromisoformat(minute).astimezone() if minute else datetime.now().astimezone()
    except ValueError:
        return None
    if isinstance(known, str):
        return _by_library(provider, model, when)
    day = when.astimezone(UTC).date().isoformat()
    return _by_tokens(next((table for since, table in reversed(known) if since <= day), known[0][1]))


def _by_tokens(table: Table) -> Price:
    """A price from the four that matter: what the library would say (a test compares), 100 times as fast."""
    missing = [at for at, steps in enumerate(table) if not steps]
    sizes = sorted({-1, *(above for steps in table for above, _ in steps)}, reverse=True)
    bands = [(size, *(next((dollars for above, dollars in steps if above <= size), 0.0) for steps in table)) for size in sizes]

    def price(usage: UsageReported) -> float | None:
        tokens = fresh, cached, written, output = usage.fresh or 0, usage.cached or 0, usage.written or 0, usage.output or 0
        if missing and any(tokens[at] for at in missing):
            return None
        size = fresh + cached + written
        for band in bands:
            if size > band[0]:
                break
        _, of_fresh, of_cached, of_written, of_output = band
        return (fresh * of_fresh + cached * of_cached + written * of_written + output * of_output) / PER

    return price


# -- what the library says -----------------------------------------------------------------------------------------------------


@lru_cache(maxsize=4096)
def _found(provider: str, model: str) -> "tuple[Provider, ModelInfo] | None":
    """Who sells a model, and the model: everybody imitates a few vocabularies, so the model's name decides."""
    from genai_prices.data_snapshot import get_snapshot  # 100 ms, only where a price is asked for that is not kept

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


def _tables(info: "ModelInfo") -> Known:
    """A model's prices, where a table can say them."""
    if not isinstance(info.prices, list):
        return LIBRARY if _needs_library(info.prices) else [("", _table(info.prices))]
    days = [_day(each) for each in info.prices]
    if None in days or any(_needs_library(each.prices) for each in info.prices):
        return LIBRARY
    return [(day or "", _table(each.prices)) for day, each in zip(days, info.prices, strict=True)]


def _day(price: "ConditionalPrice") -> str | None:
    """From which day on it holds; empty: always; None when that is no matter of days."""
    if price.constraint is None:
        return ""
    start = getattr(price.constraint, "start_date", None)
    return start.isoformat() if start else None


def _needs_library(prices: "ModelPrice") -> bool:
    """Whether more counts than the four kinds of tokens."""
    return prices.requests_kcount is not None or prices.output_reasoning_mtok is not None


def _table(prices: "ModelPrice") -> Table:
    fresh, output = _steps(prices.input_mtok), _steps(prices.output_mtok)
    return [fresh, _steps(prices.cache_read_mtok) or fresh, _steps(prices.cache_write_mtok) or fresh, output]


def _steps(price: "Decimal | TieredPrices | None") -> Steps:
    if price is None:
        return []
    if isinstance(price, Decimal):
        return [[-1, float(price)]]
    return [*([tier.start, float(tier.price)] for tier in reversed(price.tiers)), [-1, float(price.base)]]


def _by_library(provider: str, model: str, when: datetime) -> Price | None:
    found = _found(provider, model)
    if found is None:
        return None
    from genai_prices import Usage

    owner, info = found

    def price(usage: UsageReported) -> float | None:
        counted = Usage(
            input_tokens=usage.input,
            cache_read_tokens=usage.cached,
            cache_write_tokens=usage.written,
            output_tokens=usage.output or 0,
            output_reasoning_tokens=usage.reasoning,
        )
        return float(info.calc_price(counted, owner, genai_request_timestamp=when).total_price)

    prices = info.get_prices(when)
    return price if _needs_library(prices) else _by_tokens(_table(prices))


# -- kept from run to run ------------------------------------------------------------------------------------------------------


def _known(provider: str, model: str) -> Known:
    """What the library says of a model; asked once for all runs."""
    name, kept = f"{provider}\n{model}", _kept()
    if name in kept:
        return kept[name]
    found = _found(provider, model)
    known = _tables(found[1]) if found else None
    if len(name) <= LONGEST and len(kept) < MOST and (provider + model).isprintable():
        kept[name] = known
        _keep(kept)
    return known


@cache
def _kept() -> dict[str, Known]:
    """What was kept, by vocabulary and model. Empty when it is damaged."""
    try:
        checksum, _, data = (_place() or Path(os.devnull)).read_bytes().partition(b"\n")
        return dict(orjson.loads(data)) if checksum == b"%08x" % zlib.crc32(data) else {}
    except (OSError, ValueError):
        return {}


def _keep(kept: dict[str, Known]) -> None:
    """Writes it for later runs, where that can be; whoever is last to write stays."""
    place = _place()
    if place is None:
        return
    temporary = place.with_name(f".{place.name}.{os.getpid()}")
    with suppress(OSError):
        place.parent.mkdir(0o700, parents=True, exist_ok=True)
        data = orjson.dumps(kept)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(b"%08x\n" % zlib.crc32(data) + data)
        temporary.replace(place)


@cache
def _place() -> Path | None:
    """The file of what the library, as it is installed now, said; None where there is no place for one."""
    spec = find_spec("genai_prices")  # finds it, does not import it
    if spec is None or spec.origin is None:
        return None
    try:
        said = 0
        for name in SOURCES:
            said = zlib.crc32(Path(spec.origin).with_name(name).read_bytes(), said)
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except (OSError, RuntimeError):
        return None
    return home / "sse-capture" / f"prices-{FORMAT}-{said:08x}.json" if home.is_absolute() else None
