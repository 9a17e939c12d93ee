"""Where records come from and where they go: one file for each way, `base` is the contract."""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from capture.channels.base import Sink, Source
from capture.channels.directory import FileSource, LogSource
from capture.channels.stdio import StreamSink, StreamSource
from capture.channels.where import SCHEMES
from capture.channels.writing import DirectorySink
from capture.files import Unusable, default_directory


@dataclass(frozen=True, slots=True)
class Channel:
    """A way for records."""

    source: Callable[[str, str], Source]  # (where, start: `now`, `start`, or a time of the log)
    sink: Callable[[str], Sink]


def _directory(where: str, start: str) -> Source:
    path = Path(where).expanduser()
    if start not in ("now", "start"):
        raise Unusable(f"a log directory is followed from its start or from now, not from {start}")
    begin: Literal["now", "start"] = "now" if start == "now" else "start"
    return FileSource(path, begin) if path.is_file() or (path.suffix and not path.exists()) else LogSource(path, begin)


def _stdin(where: str, start: str) -> Source:
    if sys.stdin is None or sys.stdin.isatty():
        raise Unusable("- reads lines of a log from a pipe: try `tail -f sse_lines.jsonl | capture live -`")
    return StreamSource("stdin", sys.stdin.buffer, live=True)


def _from_redis(where: str, start: str) -> Source:
    from capture.channels.redis import RedisSource, where_of  # 0.1 s that only those wait for who use it

    if start == "now" or start == "start":
        return RedisSource(where_of(where), "now" if start == "now" else "start")
    return RedisSource(where_of(where), datetime.fromisoformat(start).timestamp())


def _to_redis(where: str) -> Sink:
    from capture.channels.redis import where_of
    from capture.channels.redis_sink import RedisSink

    return RedisSink(where_of(where))


DIRECTORY = Channel(_directory, lambda where: DirectorySink(Path(where).expanduser()))
STDIO = Channel(_stdin, lambda where: StreamSink("stdout", sys.stdout.buffer))
REDIS = Channel(_from_redis, _to_redis)
CHANNELS = {"": DIRECTORY, "-": STDIO} | dict.fromkeys(SCHEMES, REDIS)  # by URL scheme; "" is a path, or nothing


def source_of(where: str | None, start: str = "now") -> Source:
    """The records that come from a URL, a log directory (None: the usual one), or `-`. Raises Unusable."""
    return channel_of(where).source(where or str(default_directory(dict(os.environ))), start)


def sink_of(where: str | None) -> Sink:
    """What takes records to a URL, a log directory (None: the usual one), or `-`. Raises Unusable."""
    return channel_of(where).sink(where or str(default_directory(dict(os.environ))))


def channel_of(where: str | None) -> Channel:
    """Raises Unusable."""
    if where == "-":
        return CHANNELS["-"]
    scheme, found, _ = (where or "").partition("://")
    if found and scheme not in CHANNELS:
        raise Unusable(f"{scheme}:// is no channel: there are {', '.join(f'{name}://' for name in SCHEMES)}, a path, and -")
    return CHANNELS[scheme if found else ""]
