"""What stands in a log directory, as records."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from capture.files import ENDS, FLOWS, LINES, parse, records_since, safe_name, whole_lines
from capture.jsonl import loads


class LogReader:
    """Reads a log directory. Records come as dictionaries: unknown fields are kept."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def flows(self) -> Iterator[dict[str, Any]]:
        return records_since(self.directory / FLOWS, 0)

    def ends(self) -> Iterator[dict[str, Any]]:
        return records_since(self.directory / ENDS, 0)

    def lines(self) -> Iterator[dict[str, Any]]:
        return records_since(self.directory / LINES, 0)

    def flow_lines(self, sid: str, flow_id: str) -> Iterator[dict[str, Any]]:
        """The line records of one flow, from its own file."""
        path = self.directory / "sse_logs" / safe_name(sid) / (safe_name(flow_id) + ".jsonl")
        return (record for record in records_since(path, 0) if "data_count" in record)

    def parts(self, sid: str) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
        """(record, metadata) of the request parts of a session. An id that stands twice has the same text twice."""
        folder = self.directory / "sse_logs" / safe_name(sid)
        for path in sorted(folder.glob("*.jsonl")):
            for record in records_since(path, 0):
                if str(record.get("event", "")).startswith("request."):
                    metadata = orjson.loads(record["metadata"])
                    if metadata.get("id"):
                        yield record, metadata

    def raw_flow(self, flow_id: str) -> bytes | None:
        """A flow's record exactly as it stands in the log."""
        needle = b'"flow_id":"%s"' % flow_id.encode()
        return next(
            (
                line
                for line in whole_lines(self.directory / FLOWS)
                if needle in line and (parse(line) or {}).get("flow_id") == flow_id
            ),
            None,
        )

    def payload(self, record: dict[str, Any]) -> str:
        """A line record's payload whole, also when it stands in bodies/."""
        metadata = orjson.loads(record["metadata"])
        body = self.directory / "bodies" / safe_name(str(metadata.get("sha256")))
        if "sha256" in metadata and body.exists():
            return body.read_text("utf-8", "replace")
        return str(record["line"]).removeprefix("data: ")

    def value(self, record: dict[str, Any]) -> Any:
        """The payload's JSON value, or its text where it is no JSON (`[DONE]`)."""
        text = self.payload(record)
        try:
            return loads(text)
        except ValueError:
            return text
