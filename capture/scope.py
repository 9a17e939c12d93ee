"""What is recorded: which hosts, how much of what is said to them, and for how long it is kept."""

import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from capture.files import Unusable
from capture.jsonl import Entry, Record

HOST = re.compile(r"(?:\*?\.)?([A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?|\[[0-9A-Fa-f:.]+\])(?::(\d{1,5}))?")
EXAMPLE = "api.anthropic.com,openai.com or 127.0.0.1:11434"
SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kMGT]?)B?", re.IGNORECASE)
SIZES = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
AGE = re.compile(r"(\d+)\s*([hdw])")
AGES = {"h": 3600.0, "d": 86400.0, "w": 7 * 86400.0}
HEADERS = "headers"  # what the flow record of a flow says whose bodies are not kept


@dataclass(frozen=True, slots=True)
class Scope:
    """Hosts are `name`, which means all names below it as well, or `name:port`; none given: all hosts."""

    only: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()
    headers_only: bool = False
    max_age: str = ""  # `30d`: sessions that nothing was said in for so long go
    max_size: str = ""  # `5GB`: the oldest sessions go when the log is larger

    def covers(self, names: Iterable[str | None], port: int) -> bool:
        """Whether a host is recorded that is known by these names: the address asked for, the one inside TLS."""
        known = [name.lower().strip("[]").removesuffix(".") for name in names if name]
        if any(_means(pattern, known, port) for pattern in self.skip):
            return False
        return not self.only or any(_means(pattern, known, port) for pattern in self.only)

    def kept(self, entries: list[Entry]) -> list[Entry]:
        """What goes on record of a flow's records: all, or all but what was said."""
        if not self.headers_only:
            return entries
        return [_outline(entry) for entry in entries if isinstance(entry, Record) and entry.kind != "lines"]

    @property
    def facts(self) -> dict[str, Any]:
        """For the presence file; `of_facts` reads it."""
        return {name: value for name, value in asdict(self).items() if value}

    @property
    def words(self) -> str:
        """`all hosts, whole bodies`."""
        hosts = f"only {', '.join(self.only)}" if self.only else "all hosts"
        but = f" but {', '.join(self.skip)}" if self.skip else ""
        age = f", for {self.max_age}" if self.max_age else ""
        size = f", {self.max_size} at most" if self.max_size else ""
        return f"{hosts}{but}, {'headers and counts only' if self.headers_only else 'with bodies'}{age}{size}"


ALL = Scope()


def scope_of(only: str, skip: str, headers_only: bool, max_age: str = "", max_size: str = "") -> Scope:
    """A scope from options as they are typed: hosts with commas between. Raises Unusable."""
    try:
        seconds_of(max_age or "1d")
        bytes_of(max_size or "1GB")
    except ValueError as problem:
        raise Unusable(f"{problem}: write --max-age 30d (h, d, w), --max-size 5GB (k, M, G, T)") from None
    return Scope(_hosts("only-hosts", only), _hosts("skip-hosts", skip), headers_only, max_age, max_size)


def seconds_of(text: str) -> float:
    """`30d`, `12h`, `2w` in seconds. Raises ValueError."""
    found = AGE.fullmatch(text.strip())
    if not found or not int(found[1]):
        raise ValueError(f"{text} is no age")
    return int(found[1]) * AGES[found[2]]


def bytes_of(text: str) -> int:
    """`5GB`, `500M`, `1.5 GB` in bytes. Raises ValueError."""
    found = SIZE.fullmatch(text.strip())
    if not found or not (size := int(float(found[1]) * SIZES[found[2].lower()])):
        raise ValueError(f"{text} is no size")
    return size


def bytes_of_option(name: str, text: str) -> int:
    """What an option says that is a size, in bytes; 0 for nothing. Raises Unusable."""
    try:
        return bytes_of(text) if text else 0
    except ValueError as problem:
        raise Unusable(f"{problem}: write {name}=1GB (k, M, G, T)") from None


def of_facts(facts: dict[str, Any]) -> Scope:
    """The scope of a proxy, from its presence file."""
    only, skip = (tuple(map(str, facts.get(name) or ())) for name in ("only", "skip"))
    return Scope(only, skip, bool(facts.get("headers_only")), str(facts.get("max_age") or ""), str(facts.get("max_size") or ""))


def _hosts(option: str, text: str) -> tuple[str, ...]:
    found = []
    for word in filter(None, (word.strip() for word in text.split(","))):
        host = HOST.fullmatch(word)
        if not host or (host[2] and not 0 < int(host[2]) < 65536):
            raise Unusable(f"{word} is no host for --{option}: write names with commas between, such as {EXAMPLE}")
        found.append(host[1].lower() + (f":{host[2]}" if host[2] else ""))
    if text.strip() and not found:
        raise Unusable(f"--{option} names no host: write names with commas between, such as {EXAMPLE}")
    return tuple(dict.fromkeys(found))


def _means(pattern: str, names: list[str], port: int) -> bool:
    found = HOST.fullmatch(pattern)
    if not found or (found[2] and int(found[2]) != port):
        return False
    host = found[1].strip("[]")
    return any(name == host or name.endswith(f".{host}") for name in names)


def _outline(record: Record) -> Record:
    """A flow or end record without what was said; the number of frames stays."""
    if record.kind == "flows":
        before = {name: value for name, value in record.fields.items() if name != "v"}
        gone = {"request": None, "request_sha256": None, "kept": HEADERS, "v": record.fields["v"]}
        return record._replace(fields=before | gone)
    return record._replace(fields=record.fields | {"lines": 0, "sha256": None})
