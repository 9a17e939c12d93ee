"""What exchanges cost: by hand for three models, by the library for all."""

import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from genai_prices import Usage, calc_price
from genai_prices.data_snapshot import get_snapshot

from capture import prices
from capture.events import UsageReported

T = "2026-11-21T17:07:03.042"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A cache directory that nothing was kept in yet; nothing is known from before."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    forget()
    yield tmp_path / "sse-capture"
    forget()


def forget() -> None:
    """As if the process were a new one."""
    for known in (prices._place, prices._kept, prices._changes, prices._price):
        known.cache_clear()


def test_a_claude_model_by_hand() -> None:
    """claude-haiku-4-5: input $1, cache write $1.25, cache read $0.10, output $5 for a million tokens."""
    usage = UsageReported(fresh=1_000, cached=200_000, written=30_000, output=4_000, reasoning=1_500)
    expected = 1_000 * 1e-6 + 200_000 * 0.1e-6 + 30_000 * 1.25e-6 + 4_000 * 5e-6
    assert prices.cost("anthropic", "claude-haiku-4-5-20251001", usage, T) == pytest.approx(expected, rel=1e-12)
    assert expected == pytest.approx(0.0785)


def test_a_gpt_model_by_hand() -> None:
    """gpt-5.1: input $1.25, cache read $0.125, output $10; reasoning is part of the output."""
    usage = UsageReported(fresh=10_000, cached=50_000, output=2_000, reasoning=1_800)
    assert prices.cost("openai", "gpt-5.1-codex", usage, T) == pytest.approx(0.0125 + 0.00625 + 0.02, rel=1e-12)


def test_a_gemini_model_by_hand() -> None:
    """gemini-2.5-pro: input $1.25, cache read $0.125, output $10; above 200,000 tokens of input $2.50, $0.25, $15."""
    small = UsageReported(fresh=100_000, cached=100_000, output=1_000)
    assert prices.cost("gemini", "gemini-2.5-pro", small, T) == pytest.approx(0.125 + 0.0125 + 0.01, rel=1e-12)
    large = UsageReported(fresh=100_000, cached=100_001, output=1_000)
    assert prices.cost("gemini", "gemini-2.5-pro", large, T) == pytest.approx(0.25 + 0.02500025 + 0.015, rel=1e-12)


def test_two_requests_cost_what_each_costs_not_what_their_sum_would() -> None:
    each = UsageReported(fresh=150_000, output=0)
    both = UsageReported(fresh=300_000, output=0)
    one = prices.cost("gemini", "gemini-2.5-pro", each, T)
    assert one is not None
    assert prices.cost("gemini", "gemini-2.5-pro", both, T) == pytest.approx(4 * one)


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("openai", "kimi-k2-0905-preview"),  # by their own hosts, in OpenAI's vocabulary
        ("openai", "deepseek-chat"),
        ("anthropic", "MiniMax-M2"),
        ("openai", "anthropic/claude-sonnet-4.5"),
        ("anthropic", "us.anthropic.claude-sonnet-4-5-20250929-v1:0"),
        ("unknown", "gpt-5.1"),
    ],
)
def test_the_name_of_a_model_decides_whoever_serves_it(provider: str, model: str) -> None:
    found = prices.cost(provider, model, UsageReported(fresh=1000, output=10), T)
    assert found is not None
    assert found > 0


@pytest.mark.parametrize("model", [None, "", "mock-model", "claude-of-tomorrow", "gpt-9"])
def test_a_price_that_is_not_known_is_none_not_zero(model: str | None) -> None:
    assert prices.cost("anthropic", model, UsageReported(fresh=1000, output=10), T) is None
    assert prices.cost("nobody", model, UsageReported(fresh=1000, output=10), T) is None


def test_a_time_that_is_none_gives_no_price_where_the_price_depends_on_it() -> None:
    assert prices.cost("openai", "deepseek-chat", UsageReported(fresh=1000), "never") is None
    assert prices.cost("openai", "gpt-5.1", UsageReported(fresh=1000), "never") is not None


USAGES = (
    UsageReported(fresh=1, output=1),
    UsageReported(fresh=1_000, cached=90_000, written=3_000, output=700, reasoning=600),
    UsageReported(fresh=250_000, cached=50_000, written=1_000, output=9_000, reasoning=10),
    UsageReported(cached=1_100_000, output=1),
)


NOW = datetime.fromisoformat(T[:16]).astimezone()


@pytest.mark.parametrize("provider", get_snapshot().providers, ids=lambda provider: str(provider.id))
def test_every_model_costs_what_the_library_says(provider: Any, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the first time and when it was kept; before, on and after each day on which a price changes."""
    by_name = {info.id: info for info in provider.models}
    monkeypatch.setattr(prices, "_found", lambda _, model: (provider, by_name[model]))
    monkeypatch.setattr(prices, "LONGEST", 1000)
    for _ in range(2):
        for info in provider.models:
            for when in times_of(info):
                for usage in USAGES:
                    check(provider, info, usage, when)
        monkeypatch.setattr(prices, "_found", lambda _, model: None if tabled(by_name[model]) else (provider, by_name[model]))
        forget()
    assert list(cache.glob("prices-*.json"))


def tabled(info: Any) -> bool:
    """Whether all that is to be known of a model's price can be kept."""
    return prices._tables(info) != prices.LIBRARY


def times_of(info: Any) -> list[datetime]:
    if not isinstance(info.prices, list):
        return [NOW]
    days = [each.constraint.start_date for each in info.prices if hasattr(each.constraint, "start_date")]
    noons = [datetime(day.year, day.month, day.day, tzinfo=UTC) for day in days]
    return [NOW, *(noon + timedelta(hours=hours) for noon in noons for hours in (-30, -1, 0, 1, 30))]


def check(provider: Any, info: Any, usage: UsageReported, when: datetime) -> None:
    counted = Usage(
        input_tokens=usage.input,
        cache_read_tokens=usage.cached,
        cache_write_tokens=usage.written,
        output_tokens=usage.output,
        output_reasoning_tokens=usage.reasoning,
    )
    expected = float(info.calc_price(counted, provider, genai_request_timestamp=when).total_price)
    found = prices.cost("any", info.id, usage, when.astimezone().replace(tzinfo=None).isoformat(timespec="milliseconds"))
    if found is None:  # it has no price for some of these tokens, and the library takes none for nothing
        priced = info.get_prices(when)
        assert priced.input_mtok is None or priced.output_mtok is None
    else:
        assert found == pytest.approx(expected, rel=1e-9, abs=1e-15), info.id


# -- kept from run to run ------------------------------------------------------------------------------------------------------

SOME = UsageReported(fresh=1_000, cached=90_000, written=3_000, output=700)
NAMES = ("claude-haiku-4-5", "gpt-5.1", "gemini-2.5-pro", "claude-sonnet-4-6", "no such model")


def test_what_the_library_said_is_kept_and_it_is_not_imported_again(cache: Path) -> None:
    code = (
        "import sys\n"
        "from capture import prices\n"
        "from capture.events import UsageReported\n"
        "usage = UsageReported(fresh=1_000, cached=90_000, written=3_000, output=700)\n"
        f"print([prices.cost('anthropic', name, usage, {T!r}) for name in {NAMES!r}])\n"
        "print('genai_prices' in sys.modules)\n"
    )
    first, second = (subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True) for _ in range(2))
    assert first.stdout.splitlines() == [str([prices.cost("anthropic", name, SOME, T) for name in NAMES]), "True"]
    assert second.stdout.splitlines() == [first.stdout.splitlines()[0], "False"]
    (kept,) = cache.iterdir()
    assert kept.stat().st_mode & 0o777 == 0o600


def test_a_damaged_file_counts_for_nothing(cache: Path) -> None:
    expected = prices.cost("anthropic", "claude-haiku-4-5", SOME, T)
    (kept,) = cache.iterdir()
    for damaged in (b"", b"garbage", kept.read_bytes()[:-10], kept.read_bytes().replace(b"5.0", b"6.0"), b"00000000\n"):
        kept.write_bytes(damaged)
        forget()
        assert prices.cost("anthropic", "claude-haiku-4-5", SOME, T) == expected
    forget()
    assert prices._kept(), "it was written anew"


def test_another_version_of_the_library_has_a_file_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    before = prices._place()
    monkeypatch.setattr(prices, "SOURCES", prices.SOURCES[1:])
    prices._place.cache_clear()
    assert prices._place() not in (None, before)


def test_without_a_place_for_the_file_prices_are_the_same(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = prices.cost("anthropic", "claude-haiku-4-5", SOME, T)
    (tmp_path / "file").write_bytes(b"")
    for place in (str(tmp_path / "file"), "not/absolute"):
        monkeypatch.setenv("XDG_CACHE_HOME", place)
        forget()
        assert prices.cost("anthropic", "claude-haiku-4-5", SOME, T) == expected


def test_names_that_somebody_makes_up_are_not_all_kept(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prices, "MOST", 5)
    for name in ("x" * 500, "two\nlines", *(f"model {number}" for number in range(9))):
        assert prices.cost("anthropic", name, SOME, T) is None
    forget()
    assert all(len(name) < 50 and name.count("\n") == 1 for name in prices._kept())
    assert 1 <= len(prices._kept()) <= 5


def test_a_price_of_the_day_is_the_one_of_its_time() -> None:
    usage = UsageReported(fresh=1_000_000, output=0)
    for t in ("2026-11-21T00:07:00.000", "2026-11-21T06:07:00.000", "2026-11-21T12:07:00.000", "2026-11-21T18:07:00.000"):
        library = calc_price(
            Usage(input_tokens=1_000_000, output_tokens=0),
            "deepseek-chat",
            provider_id="deepseek",
            genai_request_timestamp=datetime.fromisoformat(t).astimezone(),
        )
        assert prices.cost("openai", "deepseek-chat", usage, t) == pytest.approx(float(library.total_price))


def test_no_price_comes_from_the_network() -> None:
    code = (
        "import socket\n"
        "def refuse(*_, **__): raise AssertionError('network')\n"
        "socket.socket.connect = socket.getaddrinfo = refuse\n"
        "from capture import prices\n"
        "from capture.events import UsageReported\n"
        "assert prices.cost('anthropic', 'claude-haiku-4-5', UsageReported(fresh=1), '')\n"
        "assert prices.cost('anthropic', 'no such model', UsageReported(fresh=1), '') is None\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_prices_of_15_000_exchanges_take_a_tenth_of_a_second() -> None:
    """Allowed is three times that, for a busy machine."""
    usage = UsageReported(fresh=1_000, cached=90_000, written=3_000, output=700)
    prices.cost("anthropic", "claude-sonnet-4-5", usage, T)
    began = time.perf_counter()
    for number in range(15_000):
        prices.cost("anthropic", "claude-sonnet-4-5", usage, f"2026-11-21T17:{number % 60:02}:03.042")
    assert time.perf_counter() - began < 0.3
