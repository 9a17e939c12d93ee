"""Lines of JSON: how a record is written and read, whatever it says. What it says: `capture.records`."""

import json
import time
from functools import lru_cache
from typing import Any, Literal, NamedTuple

import orjson

VERSION = 1  # of the log's schema; readers accept every older one
HASH_DIGITS = 16  # hex digits of a part's id

Kind = Literal["flows", "lines", "flow_ends"]
Outcome = Literal["complete", "client_closed", "server_closed", "error", "stopped", "killed"]


class Record(NamedTuple):
    """One line for the log, and which file it belongs to."""

    kind: Kind
    sid: str
    flow_id: str
    fields: dict[str, Any]


class Blob(NamedTuple):
    """A payload too large for a line; stands once in bodies/<sha256>."""

    sha256: str
    data: bytes


type Entry = Record | Blob


def loads(text: bytes | str) -> Any:
    """The JSON value of a payload; a lone surrogate escape (`"\\ud83d"`), which orjson refuses, is one too. Raises ValueError."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        pass
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def dumps(fields: dict[str, Any]) -> bytes:
    """One line of the log, newline and all. A text that is no Unicode (lone surrogates) is written with replacement characters."""
    try:
        return orjson.dumps(fields, option=orjson.OPT_APPEND_NEWLINE)
    except orjson.JSONEncodeError:
        return orjson.dumps(printable(fields), option=orjson.OPT_APPEND_NEWLINE)


def printable(value: Any) -> Any:
    """The value with replacement characters where its texts are no Unicode: what the proxy could not decode, halves of pairs."""
    match value:
        case str():
            return value.encode("utf-8", "surrogatepass").decode("utf-8", "replace")
        case dict():
            return {printable(key): printable(item) for key, item in value.items()}
        case list() | tuple():
            return [printable(item) for item in value]
        case _:
            return value


def local_time(seconds: float) -> str:
    """`2026-11-21T17:07:03.042` of Unix seconds, local time."""
    return _moment(int(seconds * 1000))


@lru_cache(maxsize=64)  # the lines of a chunk have one time, and many chunks come in a millisecond
def _moment(milliseconds: int) -> str:
    return f"{_second(milliseconds // 1000)}.{milliseconds % 1000:03d}"


@lru_cache(maxsize=8)
def _second(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(seconds))
