"""What the recorder makes of the sample flows. `python -m tests.golden` rewrites every `record.jsonl`.

Clock, ids, salt and time zone are fixed: the same flow gives the same bytes everywhere.
"""

import uuid
from datetime import UTC, datetime
from pathlib import Path
from unittest.mock import patch

from capture import samples
from capture.jsonl import Entry, Record, dumps
from capture.processes import Process
from capture.recorder import Closed, FlowRecorder, Memory, Opened, Stamp
from capture.redact import Redactor
from capture.samples import Said, Sample

STARTED = datetime(2026, 11, 21, 8, 0, tzinfo=UTC).timestamp()
WAITED = 250  # ms from the request to the response headers
LINGERED = 15  # ms from the last byte to the end of the flow
CALLER = Process(1234, "/home/user/project")
SALT = b"golden"


def load(case: str) -> list[str]:
    """The lines of a golden."""
    return path(case).read_text("utf-8").splitlines(keepends=True)


def play(case: str) -> list[Record]:
    """The records of a case, at its pace."""
    sample = samples.load(case)
    return record(sample, sample.said)


def record(sample: Sample, said: list[Said]) -> list[Record]:
    """The records of a sample whose response, or messages, come as `said`."""
    recorder = FlowRecorder(_opened(sample), CALLER, Redactor(SALT), Memory())
    feed = recorder.message if sample.websocket else lambda data, from_client, stamp: recorder.feed(data, stamp)
    at = float(WAITED)
    with patch("capture.recorder.local_time", _utc):
        entries: list[Entry] = recorder.open(_stamp(at))
        for after_ms, data, from_client in said:
            at += after_ms
            entries += feed(data, from_client, _stamp(at))
        how = Closed(sample.end.get("closed", "cleanly"))
        entries += recorder.close(how, _stamp(at + LINGERED), sample.end.get("error"), sample.end.get("close_code"))
    return [entry for entry in entries if isinstance(entry, Record)]


def lines(records: list[Record]) -> list[str]:
    """The records as they stand in `record.jsonl`."""
    return [dumps({"kind": record.kind, "fields": record.fields}).decode() for record in records]


def path(case: str) -> Path:
    return samples.DIRECTORY / case / "record.jsonl"


def _opened(sample: Sample) -> Opened:
    return Opened(
        flow_id=str(uuid.uuid5(uuid.NAMESPACE_URL, sample.name)),
        started=_stamp(0),
        method=sample.method,
        url=sample.url,
        request_headers=tuple(sample.request_headers.items()),
        request_body=sample.request_body,
        client_ip="127.0.0.1",
        status=sample.status,
        response_headers=tuple(sample.response_headers.items()),
        websocket=sample.websocket,
        proxy="golden",
    )


def _stamp(milliseconds: float) -> Stamp:
    return Stamp(STARTED + milliseconds / 1000, milliseconds / 1000)


def _utc(seconds: float) -> str:
    """`local_time` on a machine in Greenwich."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").removesuffix("+00:00")


def main() -> None:
    for case in samples.names():
        written = "".join(lines(play(case)))
        as_it_was = path(case).exists() and path(case).read_text("utf-8") == written
        path(case).write_text(written, "utf-8")
        print(f"{case}: {'as it was' if as_it_was else 'written'}")


if __name__ == "__main__":
    main()
