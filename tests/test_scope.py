"""Which hosts are recorded, and how much of what is said to them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capture import scope
from capture.files import Unusable
from capture.jsonl import Blob, Entry, Record

LABEL = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True)
NAME = st.lists(LABEL, min_size=2, max_size=4).map(".".join)


@given(NAME, LABEL, st.integers(1, 65535))
def test_a_name_means_itself_and_what_is_below_it_and_nothing_that_only_ends_like_it(name: str, label: str, port: int) -> None:
    only, skip = scope.scope_of(name, "", False), scope.scope_of("", name.upper(), False)
    for within in (name, f"{label}.{name}", f"{name.upper()}.", f"x.{label}.{name}"):
        assert only.covers((within,), port) and not skip.covers((within,), port)
    for without in (f"{label}{name}", f"{name}.{label}-not", f"{label}-{name}", label):
        assert not only.covers((without,), port) and skip.covers((without,), port)


@pytest.mark.parametrize(
    ("pattern", "names", "port", "meant"),
    [
        ("api.example:8443", ("api.example",), 8443, True),
        ("api.example:8443", ("api.example",), 443, False),
        ("*.example", ("api.example",), 443, True),
        (".example", ("api.example",), 443, True),
        ("127.0.0.1", ("127.0.0.1",), 1, True),
        ("127.0.0.1:9", ("127.0.0.1",), 9, True),
        ("127.0.0.1", ("1.127.0.0",), 9, False),
        ("[::1]:9", ("::1",), 9, True),
        ("[::1]", ("[::1]",), 9, True),
        ("[::1]:9", ("::1",), 8, False),
        ("a.example, b.example", ("10.0.0.1", "b.example"), 443, True),
        ("a.example", ("10.0.0.1", None), 443, False),
        ("a.example", ("",), 443, False),
    ],
)
def test_hosts_are_known_by_any_of_their_names(pattern: str, names: tuple[str | None, ...], port: int, meant: bool) -> None:
    assert scope.scope_of(pattern, "", False).covers(names, port) is meant
    assert scope.scope_of("", pattern, False).covers(names, port) is not meant


def test_what_is_left_alone_is_so_also_where_it_is_among_those_that_are_recorded() -> None:
    both = scope.scope_of("example", "private.example", False)
    assert both.covers(("api.example",), 443)
    assert not both.covers(("private.example",), 443)
    assert not both.covers(("api.example", "private.example"), 443)


@pytest.mark.parametrize(
    "text", ["https://api.example", "a b", "a/b", "*", "a.example:0", "a.example:70000", ",", "exa*mple", "é.example"]
)
def test_what_is_no_host_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(Unusable, match=r"--only-hosts.*api\.anthropic\.com"):
        scope.scope_of(text, "", False)
    with pytest.raises(Unusable, match="--skip-hosts"):
        scope.scope_of("", text, False)


def test_without_bodies_flows_ends_and_counts_stay_and_nothing_that_was_said() -> None:
    said: list[Entry] = [
        Blob("00", b"secret"),
        Record("lines", "s", "f", {"line": "data: secret"}),
        Record("flows", "s", "f", {"url": "u", "request": "secret", "request_sha256": "secret", "v": 1}),
        Record("flow_ends", "s", "f", {"lines": 7, "frames": 7, "sha256": "secret", "v": 1}),
    ]
    kept = scope.Scope(headers_only=True).kept(list(said))
    assert [dict(record.fields) for record in kept if isinstance(record, Record)] == [
        {"url": "u", "request": None, "request_sha256": None, "kept": "headers", "v": 1},
        {"lines": 0, "frames": 7, "sha256": None, "v": 1},
    ]
    assert len(kept) == 2
    assert scope.ALL.kept(list(said)) == said


@given(st.lists(NAME), st.lists(NAME), st.booleans(), st.sampled_from(["", "30d"]), st.sampled_from(["", "5GB"]))
def test_another_process_reads_the_same_scope(
    only: list[str], skip: list[str], headers_only: bool, max_age: str, max_size: str
) -> None:
    found = scope.scope_of(",".join(only), ",".join(skip), headers_only, max_age, max_size)
    assert scope.of_facts(found.facts) == found


@pytest.mark.parametrize(("text", "size"), [("5GB", 5e9), ("500M", 5e8), ("1.5 kb", 1500), ("7", 7), ("2T", 2e12)])
def test_a_size_is_read_as_people_write_it(text: str, size: float) -> None:
    assert scope.bytes_of(text) == size


@pytest.mark.parametrize(
    ("age", "size"), [("soon", ""), ("30", ""), ("0d", ""), ("-1d", ""), ("", "big"), ("", "0GB"), ("", "5XB")]
)
def test_a_limit_that_is_none_is_refused_with_an_example(age: str, size: str) -> None:
    with pytest.raises(Unusable, match=r"--max-age 30d .*--max-size 5GB"):
        scope.scope_of("", "", False, age, size)


def test_an_age_is_read_as_people_write_it() -> None:
    assert [scope.seconds_of(text) for text in ("12h", "30d", "2w")] == [43_200, 2_592_000, 1_209_600]


def test_a_scope_is_told_in_words() -> None:
    assert scope.ALL.words == "all hosts, with bodies"
    assert scope.scope_of("a.example,b.example", "c.b.example", True).words == (
        "only a.example, b.example but c.b.example, headers and counts only"
    )
    assert scope.scope_of("", "", False, "30d", "5GB").words == "all hosts, with bodies, for 30d, 5GB at most"
