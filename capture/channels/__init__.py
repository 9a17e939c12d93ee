"""Where records come from and where they go: one file for each way, `base` is the contract."""

import sys
from collections.abc import Callable

from capture.channels.base import Source
from capture.channels.stdio import StreamSource
from capture.files import Unusable

type Opener = Callable[[str, str], Source]  # (where, start: `now`, `start`, or a time of the log)


def _stdin(where: str, start: str) -> Source:
    if sys.stdin.isatty():
        raise Unusable("- reads lines of a log from a pipe: try `tail -f sse_lines.jsonl | capture live -`")
    return StreamSource("stdin", sys.stdin.buffer, live=True)


CHANNELS: dict[str, Opener] = {"-": _stdin}  # by URL scheme; `-` is stdin


def source_of(where: str, start: str = "now") -> Source:
    """The records that come from a URL, or `-`. Raises Unusable."""
    scheme, found, _ = where.partition("://")
    if scheme not in CHANNELS:
        known = ", ".join(f"{name}://" for name in CHANNELS if name != "-") or "none yet"
        raise Unusable(f"{scheme + '://' if found else where} is no channel: there are {known}, and - for stdin")
    return CHANNELS[scheme](where, start)
