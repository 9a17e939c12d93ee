"""Which proxies write to a log directory now: each holds a locked file in `proxies/`, and a lock ends with its process."""

import fcntl
import json
import os
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from capture import purges
from capture.files import FILES, inside, is_ordinary, moved_away, open_private, records_since, refuse_odd, status_of
from capture.jsonl import Kind, dumps
from capture.rotated import Places, written_since


class Presence:
    """This proxy's file in `proxies/`: locked while the process lives, so that others can tell a live one from a dead one."""

    def __init__(self, directory: Path, facts: dict[str, Any]) -> None:
        self._directory = directory
        self._facts = facts
        self._look()
        self._carried: dict[str, str] = {}  # flow → session, of open flows whose record stands before the offsets
        self._dead: list[tuple[Path, int, dict[str, Any]]] = []
        self.id = f"{os.getpid()}-{time.time_ns() // 1000:x}"
        self.path = directory / "proxies" / f"{self.id}.json"
        with self._gate():
            living = 0
            folder = directory / "proxies"
            for path in sorted([*folder.glob("*.json"), *folder.glob("*.dead")]):
                refuse_odd(path)
                descriptor = _lock(path)
                if descriptor is None:
                    living += 1
                else:
                    dead = path.rename(path.with_suffix(".dead"))  # before it is locked: nobody takes it for a living one's
                    fcntl.flock(descriptor, fcntl.LOCK_EX)
                    self._dead.append((dead, descriptor, _facts(dead)))
            self.alone = not living
            self._begin()

    def _look(self, begun: Collection[Kind] = ()) -> None:
        """Notes where the files end: what this proxy writes stands behind that."""
        found = {kind: status_of(self._directory / name) for kind, name in FILES.items()}
        self._offsets = {kind: 0 if kind in begun else status.st_size for kind, status in found.items()}
        self._inodes = {kind: status.st_ino for kind, status in found.items()}

    @contextmanager
    def _gate(self) -> Iterator[None]:
        """Two starts at once: one after the other."""
        gate = open_private(inside(self._directory / "proxies") / ".lock")
        try:
            fcntl.flock(gate, fcntl.LOCK_EX)
            yield
        finally:
            os.close(gate)

    def _begin(self) -> None:
        self._descriptor = open_private(self.path)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        self.say(self._facts)

    def moved(self) -> bool:
        """Whether this proxy's file was taken away: nobody finds the proxy then, and nobody would end its flows."""
        return moved_away(self.path, self._descriptor)

    def say_again(self, begun: Collection[Kind], flows: Mapping[str, str]) -> None:
        """The same facts, where the file was taken away. Raises OSError, Unusable.

        `begun`: central files that begin anew; `flows`: the open ones with their sessions, to be ended if this proxy is killed.
        What stands in the files so far is of no interest from now on.
        """
        self._look(begun)
        self._carried = dict(flows)
        if not self.moved():
            return self.say(self._facts)
        with self._gate():
            os.close(self._descriptor)
            self._begin()

    def say(self, facts: dict[str, Any]) -> None:
        """Writes what others should know of this proxy (port, web address without token, process)."""
        self._facts = facts
        content = {
            "id": self.id,
            "pid": os.getpid(),
            "started": time.time(),
            "offsets": self._offsets,
            "inodes": self._inodes,
            "carried": self._carried,
            **facts,
        }
        os.ftruncate(self._descriptor, 0)
        os.write(self._descriptor, dumps(content))

    def orphans(self) -> Iterator[tuple[dict[str, Any], Places]]:
        """(flow record, where the lines of its proxy stand) of proxies that are dead, whose end is missing.

        Of a flow that was open when its log was renamed away, or purged, only its ids.
        """
        purged = purges.last(self._directory)
        for path, _, facts in self._dead:
            offsets = facts.get("offsets") or {}
            if purged >= float(facts.get("written") or facts.get("started") or 0):
                offsets = {}  # the files are shorter now
            inodes = facts.get("inodes") or {}
            places = {
                kind: written_since(self._directory / name, inodes.get(kind, 0), offsets.get(kind, 0))
                for kind, name in FILES.items()
            }
            carried = facts.get("carried") or {}
            started: dict[str, dict[str, Any]] = {flow: {"flow_id": flow, "sid": sid} for flow, sid in carried.items()}
            for record in (record for place in places["flows"] for record in records_since(*place)):
                if record.get("proxy") == path.stem:
                    started[record["flow_id"]] = record
            for record in (record for place in places["flow_ends"] for record in records_since(*place)) if started else ():
                started.pop(record.get("flow_id", ""), None)
            yield from ((record, places["lines"]) for record in started.values())

    def forget(self) -> None:
        """Takes the presence files of dead proxies away: their orphans are ended, and on disk."""
        for path, descriptor, _ in self._dead:
            path.unlink(missing_ok=True)
            os.close(descriptor)
        self._dead = []

    def close(self, ended: bool = True) -> None:
        """`ended`: all flows have their end on disk; else the next start ends them."""
        if ended:
            self.path.unlink(missing_ok=True)
        os.close(self._descriptor)


def living(directory: Path) -> list[dict[str, Any]]:
    """What the proxies that write to this directory now say of themselves, the newest last."""
    found = []
    for path in sorted(filter(is_ordinary, (directory / "proxies").glob("*.json")), key=_written):
        descriptor = _lock(path)
        if descriptor is None:
            found.append(_facts(path))
        else:
            os.close(descriptor)
    return [facts for facts in found if facts]


def _written(path: Path) -> float:
    """When (Unix seconds); 0 when the file has gone, with its proxy, since its name was read."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _lock(path: Path) -> int | None:
    """A descriptor that shares the lock of a dead proxy's file; None when its proxy is alive (or a start ends its flows).

    Shared, so that two that look at the same time do not take each other for the proxy.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return descriptor
    except BlockingIOError:
        os.close(descriptor)
        return None


def _facts(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text())
        return value if isinstance(value, dict) else {}
    except (OSError, ValueError):
        return {}
