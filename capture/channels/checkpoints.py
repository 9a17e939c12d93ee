"""How far a log was shipped: the checkpoint, and what a shipper remembers beside the log."""

import fcntl
import json
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from capture.channels.directory import Place
from capture.files import Unusable, inside, open_private, prepare, written_whole

type Places = Mapping[str, tuple[Place, ...]]  # by file name: in renamed files that may have more, the oldest first; in the current


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """How far a log was shipped: kept on the server with the records, and here for who looks."""

    number: int = 0  # of the transaction: no two checkpoints of a log are alike
    sent: int = 0  # records
    places: Places = field(default_factory=dict)

    def dump(self) -> bytes:
        places = {name: [[each.offset, each.inode, each.first] for each in found] for name, found in self.places.items()}
        return json.dumps({"number": self.number, "sent": self.sent, "places": places}, separators=(",", ":")).encode()


def loaded(data: bytes | str) -> Checkpoint:
    """The checkpoint that was dumped. Raises ValueError."""
    try:
        given = json.loads(data)
        places = {name: tuple(Place(*each) for each in found) for name, found in given["places"].items()}
        return Checkpoint(given["number"], given["sent"], places)
    except (KeyError, TypeError, AttributeError):
        raise ValueError("no checkpoint") from None


class Memory:
    """`shipping/<target>.json` of a log directory, and the lock beside it: one shipper for a log and a target.

    `log` is the id of this shipping; a copy of the directory elsewhere gets its own.
    """

    def __init__(self, directory: Path, target: str) -> None:
        """Raises Unusable when another process ships this log to this target."""
        folder = inside(prepare(directory) / "shipping")
        name = sha256(target.encode()).hexdigest()[:12]
        self._lock = _locked(folder / f"{name}.lock", target)
        self._path = folder / f"{name}.json"
        self._us = {"host": socket.gethostname(), "directory": str(directory.resolve()), "to": target}
        known = self._read()
        self.log: str = known.get("log") or os.urandom(6).hex()
        self.began: Places | None = loaded(json.dumps(known["began"])).places if "began" in known else None
        self.last = loaded(json.dumps(known["last"])) if "last" in known else Checkpoint()

    def _read(self) -> dict[str, Any]:
        """What was written by us, for this very directory; nothing where that is not so."""
        try:
            known = json.loads(self._path.read_bytes())
            loaded(json.dumps(known["began"])), loaded(json.dumps(known["last"]))
            return known if all(known.get(name) == value for name, value in self._us.items()) else {}
        except (OSError, ValueError, KeyError, TypeError):
            return {}

    def write(self, began: Places, last: Checkpoint) -> None:
        self.began, self.last = began, last
        began_as, last_as = Checkpoint(places=began).dump().decode(), last.dump().decode()
        text = f'{{"log":{json.dumps(self.log)},{json.dumps(self._us)[1:-1]},"began":{began_as},"last":{last_as}}}\n'
        with written_whole(self._path, synced=False) as draft:
            draft.write_text(text)

    def close(self) -> None:
        os.close(self._lock)


def _locked(path: Path, target: str) -> int:
    descriptor = open_private(path)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        process = os.pread(descriptor, 20, 0).decode("ascii", "replace").strip()
        os.close(descriptor)
        raise Unusable(f"this log is shipped to {target} already, by process {process}: stop that one first") from None
    os.ftruncate(descriptor, 0)
    os.write(descriptor, f"{os.getpid()}\n".encode())
    return descriptor
