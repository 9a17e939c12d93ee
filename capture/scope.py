"""What is recorded: which hosts, and how much of what is said to them."""

import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from capture.files import Unusable
from capture.jsonl import Entry, Record

HOST = re.compile(r"(?:\*?\.)?([A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?|\[[0-9A-Fa-f:.]+\])(?::(\d{1,5}))?")
EXAMPLE = "api.anthropic.com,openai.com or 127.0.0.1:11434"
HEADERS = "headers"  # what the flow record of a flow says whose bodies are not kept


@dataclass(frozen=True, slots=True)
class Scope:
    """Hosts are `name`, which means all names below it as well, or `name:port`; none given: all hosts."""

    only: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()
    headers_only: bool = False

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
        return f"{hosts}{but}, {'headers and counts only' if self.headers_only else 'with bodies'}"


ALL = Scope()


def scope_of(only: str, skip: str, headers_only: bool) -> Scope:
    """A scope from options as they are typed: hosts with commas between. Raises Unusable."""
    return Scope(_hosts("only-hosts", only), _hosts("skip-hosts", skip), headers_only)


def of_facts(facts: dict[str, Any]) -> Scope:
    """The scope of a proxy, from its presence file."""
    only, skip = (tuple(map(str, facts.get(name) or ())) for name in ("only", "skip"))
    return Scope(only, skip, bool(facts.get("headers_only")))


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
