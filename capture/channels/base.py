"""The contract of a channel: where records come from and where they go.

Records travel as the raw lines of the log's three files, so that what arrives is byte for byte what was written.
"""

from dataclasses import dataclass, field
from typing import Protocol

from capture.jsonl import Kind


@dataclass(slots=True)
class Batch:
    """What has come since the last look: raw lines of JSON, with their newline, of each file in its order.

    An end that is given had all its flow's lines before it, in this batch or an earlier one, unless `behind`.
    """

    flows: list[bytes] = field(default_factory=list)
    lines: list[tuple[int, bytes]] = field(default_factory=list)  # (byte offset in its file, raw line)
    ends: list[bytes] = field(default_factory=list)
    behind: bool = False  # there is more already: what is given is not the newest

    def __bool__(self) -> bool:
        return bool(self.flows or self.lines or self.ends)


class Source(Protocol):
    """Where records come from, as they come."""

    name: str  # for people; without passwords

    def poll(self, wait: float = 0.0) -> Batch | None:
        """What has come, a few MiB at most; waits up to `wait` seconds for something.

        An empty batch: nothing yet. None: there will be no more.
        """
        ...

    def close(self) -> None: ...


class Sink(Protocol):
    """Where records go."""

    name: str

    def add(self, kind: Kind, raw: bytes) -> None:
        """Takes one record: its raw line with its newline."""
        ...

    def flush(self) -> None:
        """All records taken are where they belong."""
        ...

    def close(self) -> None: ...
