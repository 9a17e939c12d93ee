"""Row 8: each single call of the system fails once, for every call there is; and row 13: the power fails between any two."""

import errno
import fcntl
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson
import pytest

from capture.files import ENDS, FLOWS, LINES, Unusable, whole_lines
from capture.jsonl import Blob, Entry
from capture.store import LogWriter
from tests.test_store import end_record, flow_record, line_record

SHORT = -1  # no error: half of what there is to write is written
FAULTS = {"EIO": errno.EIO, "ENOSPC": errno.ENOSPC, "EINTR": errno.EINTR, "a short write": SHORT}
CALLS: tuple[tuple[Any, str], ...] = (
    (os, "write"),
    (os, "open"),
    (os, "fstat"),
    (os, "pread"),
    (os, "mkdir"),
    (os, "rename"),
    (os, "unlink"),
    (os, "ftruncate"),
    (os, "fdatasync"),
    (os, "fsync"),
    (fcntl, "flock"),
)
FLOW_IDS = ("flow-1", "flow-2", "flow-3")


class System:
    """The calls of the operating system: the n-th of them fails, and so do the next ones."""

    def __init__(self, patch: pytest.MonkeyPatch, nth: int = 0, fault: int = 0, times: int = 1) -> None:
        self.called = 0
        self.failed: list[str] = []
        self._nth, self._fault, self._times = nth, fault, times
        for module, name in CALLS:
            patch.setattr(module, name, self._failing(name, getattr(module, name)))

    def _failing(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            self.called += 1
            if not self._nth <= self.called < self._nth + self._times:
                return real(*arguments, **named)
            if self._fault != SHORT:
                self.failed.append(name)
                raise OSError(self._fault, os.strerror(self._fault))
            if name != "write":
                return real(*arguments, **named)
            self.failed.append(name)
            return real(arguments[0], arguments[1][: len(arguments[1]) // 2])

        return call


def story() -> list[list[Entry]]:
    """Rounds of records: three flows with lines and bodies, which end one after the other."""
    rounds: list[list[Entry]] = [[flow_record(flow_id, proxy="p") for flow_id in FLOW_IDS]]
    for number in range(6):
        round_: list[Entry] = [line_record(number, flow_id, text=f"{flow_id} " * 20) for flow_id in FLOW_IDS]
        rounds.append([Blob(f"{number:064d}", b"body %d" % number), *round_] if number % 2 else round_)
    ends: list[list[Entry]] = [[end_record(flow_id)] for flow_id in FLOW_IDS]
    return rounds + ends


class Teller:
    """Writes the story as the recorder's thread does: what fails is tried again with the next round, a moment later."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.clock = 1000.0
        self.raised = 0

    def tell(self) -> None:
        writer = self._start()
        for number, entries in enumerate(story()):
            for entry in entries:
                writer.write(entry)
            self._try(writer.flush)
            if number == 4:
                self._try(lambda: writer.error("here", "what", "do"))
        while writer.waiting:
            self._try(writer.flush)
        with suppress(OSError):
            writer.close()

    def _start(self) -> LogWriter:
        """A start that fails says so in one line; somebody starts again."""
        while True:
            try:
                return LogWriter(self.directory, {}, now=lambda: self.clock)
            except Unusable as problem:
                assert "\n" not in str(problem)

    def _try(self, call: Callable[[], None]) -> None:
        self.clock += 2.0
        try:
            call()
        except OSError:
            self.raised += 1


def records(path: Path) -> tuple[list[dict[str, Any]], int]:
    """(records, lines that are none) of a file, which ends in a newline."""
    assert path.read_bytes().endswith(b"\n")
    found, torn = [], 0
    for line in whole_lines(path):
        try:
            found.append(orjson.loads(line))
        except ValueError:
            torn += bool(line)
    return found, torn


def check(directory: Path, writes_failed: int) -> int:
    """Whether each record of the story is in its files once, in order, and not a line is glued. Returns torn lines."""
    expected = [entry for entries in story() for entry in entries]
    torn = 0
    for name, kind in ((FLOWS, "flows"), (LINES, "lines"), (ENDS, "flow_ends")):
        found, bad = records(directory / name)
        assert found == [entry.fields for entry in expected if not isinstance(entry, Blob) and entry.kind == kind]
        torn += bad
    for flow_id in FLOW_IDS:
        found, bad = records(directory / "sse_logs" / "session-1" / f"{flow_id}.jsonl")
        own = [entry.fields for entry in expected if not isinstance(entry, Blob) and entry.flow_id == flow_id]
        assert sorted(map(orjson.dumps, found)) == sorted(map(orjson.dumps, own))
        assert [record["data_count"] for record in found if "data_count" in record] == list(range(6))
        torn += bad
    for entry in expected:
        if isinstance(entry, Blob):
            assert (directory / "bodies" / entry.sha256).read_bytes() == entry.data
    assert sorted(path.name for path in (directory / "bodies").iterdir()) == [f"{number:064d}" for number in (1, 3, 5)]
    assert torn <= writes_failed
    return torn


@pytest.mark.row(8)
@pytest.mark.parametrize("name", FAULTS)
def test_whatever_call_fails_nothing_is_lost_or_glued_and_what_comes_later_is_on_record(
    tmp_path: Path, name: str, times: Callable[[int, int], int], record_property: Callable[[str, object], None]
) -> None:
    tried = torn = 0
    with pytest.MonkeyPatch.context() as patch:
        system = System(patch)
        Teller(tmp_path / "well").tell()
        calls = system.called
    assert calls >= 200
    for width in (1, 7):
        for nth in range(1, calls + 1, times(3, 1)):
            directory = tmp_path / f"{width}-{nth}"
            with pytest.MonkeyPatch.context() as patch:
                system = System(patch, nth, FAULTS[name], width)
                Teller(directory).tell()
            torn += check(directory, len(system.failed))
            tried += bool(system.failed)
    record_property("calls of the system in one story", calls)
    record_property(f"stories with {name}", tried)
    record_property("torn lines, each on a line of its own", torn)
    record_property("records lost", 0)
    assert tried >= 25
    if name == "a short write":
        assert torn == 0  # what was written of a line is taken back
