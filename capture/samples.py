"""Sample flows: recorded exchanges on disk, as values that can be played. What the files hold: sample_flows/README.md."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

DIRECTORY = Path(__file__).resolve().parent.parent / "sample_flows"


class Said(NamedTuple):
    """Bytes on the wire: a piece of the response body, or a WebSocket message."""

    after_ms: float  # since what was said before
    data: bytes
    from_client: bool = False


@dataclass(frozen=True, slots=True)
class Sample:
    """One exchange. `said` is the response piece by piece, for a WebSocket the messages of both sides."""

    name: str
    method: str
    url: str
    request_headers: dict[str, str]
    request_body: bytes
    status: int
    response_headers: dict[str, str]
    websocket: bool
    said: list[Said]
    end: dict[str, Any]  # `closed`, `error`, `close_code`, where the end is not a clean one

    @property
    def path(self) -> str:
        """Path and query."""
        parts = urlsplit(self.url)
        return parts.path + (f"?{parts.query}" if parts.query else "")

    @property
    def response(self) -> bytes:
        """All bytes from the server."""
        return b"".join(said.data for said in self.said if not said.from_client)


def names() -> list[str]:
    """All samples, as `provider/case`."""
    return sorted(path.parent.relative_to(DIRECTORY).as_posix() for path in DIRECTORY.glob("*/*/request.json"))


def load(name: str) -> Sample:
    """One sample. Raises FileNotFoundError."""
    directory = DIRECTORY / name
    request = json.loads((directory / "request.json").read_bytes())
    response = request["response"]
    frames = directory / "frames.jsonl"
    return Sample(
        name=name,
        method=request["method"],
        url=request["url"],
        request_headers=request["headers"],
        request_body=b"" if request["body"] is None else _compact(request["body"]),
        status=response["status"],
        response_headers=response["headers"],
        websocket=frames.exists(),
        said=list(_messages(frames) if frames.exists() else _body(directory / "response.sse", response["pace_ms"])),
        end=response.get("end", {}),
    )


def _compact(body: Any) -> bytes:
    """JSON as the agents' JavaScript writes it."""
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


def _messages(path: Path) -> Iterator[Said]:
    for line in path.read_bytes().splitlines():
        frame = json.loads(line)
        yield Said(frame["after_ms"], _compact(frame["data"]), frame["dir"] == "out")


def _body(path: Path, pace_ms: float | list[float]) -> Iterator[Said]:
    """One chunk per event; what is no event stream comes line by line."""
    body = path.read_bytes()
    mark = b"\n" if body.startswith(b"[") else b"\n\n"
    paces = cycle(pace_ms if isinstance(pace_ms, list) else [pace_ms])
    for piece in body.split(mark)[:-1]:
        yield Said(next(paces), piece + mark)
    if rest := body.rpartition(mark)[2]:
        yield Said(next(paces), rest)
