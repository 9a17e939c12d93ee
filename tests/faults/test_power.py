"""Row 13: the power fails. All writes are noted, and replayed up to each; of what no sync had reached anything may be gone."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import orjson
import pytest

from capture import syncing
from capture.files import ENDS, FLOWS, LINES, whole_lines
from capture.jsonl import Entry
from capture.reader import LogReader
from capture.store import LogWriter
from tests.test_store import end_record, errors, flow_record, line_record

TICK = 0.05  # seconds between two writes of the recorder's thread
FLOW_IDS = ("flow-1", "flow-2")


class Op(NamedTuple):
    """A write, or (without data) a sync."""

    path: str  # inside the log directory
    data: bytes | None
    at: float


class Disk:
    """Notes what is written and synced under a directory, in its order."""

    def __init__(self, directory: Path, patch: pytest.MonkeyPatch) -> None:
        self.ops: list[Op] = []
        self.clock = 1000.0
        self._directory, self._write, self._sync = directory, os.write, syncing.fdatasync
        patch.setattr(os, "write", self.write)
        patch.setattr(syncing, "fdatasync", self.fdatasync)
        patch.setattr("capture.syncing.threading.Thread", AtOnce)

    def write(self, descriptor: int, data: bytes) -> int:
        written = self._write(descriptor, data)
        self._note(descriptor, bytes(data[:written]))
        return written

    def fdatasync(self, descriptor: int) -> None:
        self._sync(descriptor)
        self._note(descriptor, None)

    def _note(self, descriptor: int, data: bytes | None) -> None:
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        self.ops.append(Op(os.path.relpath(path, self._directory), data, self.clock))


class AtOnce:
    """A thread that has done its work when it is started."""

    def __init__(self, target: Callable[..., None], args: tuple[object, ...], **named: object) -> None:
        self._target, self._args = target, args

    def start(self) -> None:
        self._target(*self._args)


def tell(writer: LogWriter, disk: Disk, seconds: float) -> None:
    def flush(*entries: Entry) -> None:
        for entry in entries:
            writer.write(entry)
        disk.clock += TICK
        writer.flush()

    flush(*(flow_record(flow_id, proxy=writer.presence.id) for flow_id in FLOW_IDS))
    for number in range(round(seconds / TICK)):
        flush(*(line_record(number, flow_id, text="é" * 20) for flow_id in FLOW_IDS))
    flush(end_record(FLOW_IDS[0]))


def left(ops: list[Op], keep: str) -> dict[str, bytes]:
    """What is on the disk after these writes. Of those that no sync reached, `keep` says what is left."""
    files: dict[str, bytes] = {}
    for path in dict.fromkeys(op.path for op in ops):
        mine = [op for op in ops if op.path == path]
        synced = max((number for number, op in enumerate(mine) if op.data is None), default=0)
        if path.startswith("proxies"):
            synced = len(mine)
        sure = b"".join(op.data or b"" for op in mine[:synced])
        unsure = b"".join(op.data or b"" for op in mine[synced:])
        match keep:
            case "nothing":
                unsure = b""
            case "half of it":
                unsure = unsure[: len(unsure) // 2]
            case "zeros":
                unsure = bytes(len(unsure))
            case "half of it, then zeros":
                unsure = unsure[: len(unsure) // 2] + bytes(len(unsure) - len(unsure) // 2)
            case "the lines only":
                unsure = unsure if path == LINES else b""
            case "all but the lines":
                unsure = b"" if path == LINES else unsure
        files[path] = sure + unsure
    return files


KEPT = ("everything", "nothing", "half of it", "zeros", "half of it, then zeros", "the lines only", "all but the lines")


@pytest.mark.row(13)
@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="names of open files are read from /proc")
@pytest.mark.parametrize("keep", KEPT)
def test_after_a_power_failure_a_prefix_is_on_record_and_a_start_repairs_the_rest(
    tmp_path: Path, keep: str, times: Callable[[int, int], int], record_property: Callable[[str, object], None]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        disk = Disk(tmp_path / "log", patch)
        writer = LogWriter(tmp_path / "log", {}, now=lambda: disk.clock)
        tell(writer, disk, 3.0)
    oldest, cuts, lost, repaired = 0.0, 0, 0, 0
    for end in range(1, len(disk.ops) + 1, times(3, 1)):
        before, cuts = disk.ops[:end], cuts + 1
        directory = tmp_path / f"cut-{end}"
        for path, data in left(before, keep).items():
            (directory / path).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            (directory / path).write_bytes(data)
        LogWriter(directory, {}).close()
        missing = check(directory, before)
        lost += len(missing)
        oldest = max(oldest, *(before[-1].at - at for at in missing), 0.0)
        repaired += len(list(directory.glob("*.bad")))
    writer.close()
    record_property("cuts", cuts)
    record_property("records lost over all cuts", lost)
    record_property("torn tails repaired", repaired)
    record_property("max age of lost data", f"{oldest:.2f} s")
    assert oldest <= 1.0 + 2 * TICK
    assert (lost > 0) == (keep != "everything")


def check(directory: Path, ops: list[Op]) -> list[float]:
    """When the central records were written that are missing. What is there is a prefix of each file, and each flow has an end."""
    missing: list[float] = []
    flows, ends = set(), set()
    for name in (FLOWS, LINES, ENDS):
        written = [(line, op.at) for op in ops if op.path == name and op.data for line in op.data.splitlines()]
        path = directory / name
        found = list(whole_lines(path)) if path.exists() else []
        records = [orjson.loads(line) for line in found]  # not a line that is none
        ours = [line for line, record in zip(found, records, strict=True) if record.get("outcome") != "killed"]
        assert ours == [line for line, _ in written[: len(ours)]]
        missing += [at for _, at in written[len(ours) :]]
        if name == FLOWS:
            flows = {record["flow_id"] for record in records}
        if name == ENDS:
            ends = {record["flow_id"] for record in records}
    assert flows <= ends
    return missing


@pytest.mark.row(8, 13)
def test_a_disk_that_fails_to_sync_is_told_of_and_its_files_are_opened_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [1000.0]
    monkeypatch.setattr("capture.syncing.threading.Thread", AtOnce)
    writer = LogWriter(tmp_path, {}, now=lambda: clock[0])

    def flush(number: int) -> None:
        clock[0] += syncing.EVERY
        writer.write(line_record(number))
        writer.flush()

    flush(0)
    before = writer._central["lines"].descriptor
    synced: list[int] = []
    monkeypatch.setattr(syncing, "fdatasync", broken)
    flush(1)
    monkeypatch.setattr(syncing, "fdatasync", synced.append)
    flush(2)
    assert writer._central["lines"].descriptor == -1 != before  # what comes next is written to the file as it is found then
    flush(3)
    writer.close()
    assert [line["data_count"] for line in LogReader(tmp_path).lines()] == [0, 1, 2, 3]
    assert synced
    [said] = [error for error in errors(tmp_path) if error["where"] == "disk"]
    assert said["what"] == "Input/output error: records may not be on the disk"


def broken(descriptor: int) -> None:
    raise OSError(errno.EIO, os.strerror(errno.EIO))


def test_a_writer_with_nothing_new_leaves_the_disk_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, synced = [1000.0], list[int]()
    monkeypatch.setattr("capture.syncing.threading.Thread", AtOnce)
    monkeypatch.setattr(syncing, "fdatasync", synced.append)
    writer = LogWriter(tmp_path, {}, now=lambda: clock[0])
    writer.write(line_record(0))
    writer.flush()
    assert (writer.unsynced, synced) == (True, [])  # not yet a second
    for _ in range(5):
        clock[0] += syncing.EVERY
        writer.flush()
    assert (writer.unsynced, len(synced)) == (False, 3)
    writer.close()


def test_where_no_thread_can_be_started_the_sync_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    syncer = syncing.Syncer(lambda: clock[0])
    clock[0] += syncing.EVERY

    def refuse(self: object) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr("threading.Thread.start", refuse)
        with pytest.raises(RuntimeError):
            syncer.sync([1])
    assert syncer.due
