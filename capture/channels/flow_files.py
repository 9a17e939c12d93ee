"""What a collected log has of each flow, as it stands in the flow's own file: the memory by which repeats are known.

It lies on the disk, so it is as long as the log; of flows that are open only a few numbers are kept in memory.
"""

import errno
import os
from collections import OrderedDict
from collections.abc import Callable, Iterable
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, NamedTuple

from capture.channels.entries import FLOW_ID
from capture.files import inside, open_private, parse, safe_name

type Raw = list[Any]  # an entry as the server gives it: [id, [name, value, …]]; None instead of the fields of one that was deleted

FLOW: Final = -1  # instead of a data_count: the flow's record
END: Final = -2  # its end
MAX_OPEN = 256  # files kept open
MAX_KNOWN = 4096  # flows kept in mind; of others the file is read again
MAX_ODD = 10_000  # lines that are no records kept in mind: 100 bytes each


class Named(NamedTuple):
    """Which record a line is."""

    sid: bytes
    flow: bytes
    what: int  # data_count, FLOW, END


def named(raw: bytes) -> Named | None:
    """Which record a line is; None for one that is none. 0.6 µs for a line record, where parsing takes 2."""
    words = raw.rpartition(FLOW_ID)[2].split(b'"', 8)
    if len(words) == 8 and words[2] == b"data_count" and words[4] == b"sid" and raw.startswith(b"{"):
        flow, count, sid = words[0], words[3][1:-1], words[6]
        if count.isdigit() and sid.find(b"\\") < 0 and flow.find(b"\\") < 0:
            return Named(sid, flow, int(count))
    return _named(parse(raw) or {})


def _named(record: dict[str, object]) -> Named | None:
    flow, sid = record.get("flow_id"), record.get("sid")
    what = record.get("data_count", END if "outcome" in record or "lines" in record else FLOW)
    if isinstance(flow, str) and isinstance(sid, str) and type(what) is int and what >= END:
        return Named(sid.encode(), flow.encode(), what)
    return None


class FlowFile:
    """One flow: which of its records are there, and its own file, to which those that are taken are added."""

    __slots__ = ("_descriptor", "_ends", "_path", "_size", "beyond", "head", "next", "tail", "turn", "waiting")

    def __init__(self, path: Path, sid: bytes = b"", flow: bytes = b"") -> None:
        self._path = path
        self.head = b'"flow_id":"%b","data_count":' % flow  # how its lines end, where its names have no escapes
        self.tail = b',"sid":"%b"}\n' % sid
        self.next = 0  # all lines before this one are there
        self.beyond: set[int] = set()  # lines that are there behind a gap
        self._ends = {FLOW: False, END: False}
        self._size = 0  # bytes of the file that we know
        self._descriptor = -1
        self.waiting: list[bytes] = []
        self.turn = -1  # at which we looked last

    def take(self, what: int, raw: bytes) -> bool:
        """Whether it was not there; it is now, with the next `write`."""
        if what < 0:
            if self._ends[what]:
                return False
            self._ends[what] = True
        elif what == self.next and not self.beyond:
            self.next += 1
        elif not self._beyond_taken(what):
            return False
        self.waiting.append(raw)
        return True

    def _beyond_taken(self, what: int) -> bool:
        if what < self.next or what in self.beyond:
            return False
        self.beyond.add(what)
        while self.next in self.beyond:
            self.beyond.remove(self.next)
            self.next += 1
        return True

    def look(self) -> None:
        """Reads what another collector has added; what a killed one left torn is cut off: no record of it was acknowledged.

        A file that was deleted begins anew; what it had is known until this flow is forgotten.
        """
        try:
            status = os.lstat(self._path)
        except (FileNotFoundError, NotADirectoryError):
            self.close()
            self._size = 0
            return
        if self._descriptor >= 0 and not os.path.samestat(status, os.fstat(self._descriptor)):
            self.close()
            self._size = 0
        if status.st_size != self._size:
            self._read(0 if status.st_size < self._size else self._size)

    def write(self) -> None:
        """Raises OSError, Unusable; what was not written waits."""
        if not self.waiting:
            return
        if self._descriptor < 0:
            try:
                self._descriptor = open_private(self._path)
            except FileNotFoundError:  # to look first would take longer than to write
                self._descriptor = open_private(inside(self._path.parent) / self._path.name)
        data = b"".join(self.waiting)
        written = os.write(self._descriptor, data)
        if written < len(data):
            os.ftruncate(self._descriptor, self._size)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._size += written
        self.waiting.clear()

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _read(self, offset: int) -> None:
        with open(self._path, "rb") as file:
            self._size = file.seek(offset)
            for raw in file:
                if not raw.endswith(b"\n"):
                    os.truncate(self._path, self._size)
                    return
                self._size += len(raw)
                if (name := named(raw)) and self.take(name.what, raw):
                    self.waiting.pop()


class FlowFiles:
    """The flows of a collected log, of which a bounded number is kept in mind."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: OrderedDict[tuple[bytes, bytes], FlowFile] = OrderedDict()  # the least recently touched first
        self._open: OrderedDict[tuple[bytes, bytes], FlowFile] = OrderedDict()  # of these, likewise
        self._touched: dict[tuple[bytes, bytes], FlowFile] = {}  # since the last `write`
        self.turn = 0  # raised when somebody else may have written

    def take(self, name: Named, raw: bytes) -> bool:
        """Whether a record was not there; it is now, with the next `write`. Raises OSError."""
        return self._file(name[:2]).take(name.what, raw)

    def take_lines(self, raws: Iterable[bytes], odd: Callable[[bytes], bool]) -> list[bytes]:
        """Of line records those that were not there. As `named` and `take` for each, in half of the time: 1 µs. Raises OSError."""
        new: list[bytes] = []
        touched, add, last = self._touched, new.append, None
        for raw in raws:
            if last and raw.endswith(b"%b%d%b" % (last.head, last.next, last.tail)) and raw.startswith(b"{"):
                last.next += 1  # the usual case: it goes on as the line before it
                last.waiting.append(raw)
                add(raw)
                continue
            words = raw.rpartition(FLOW_ID)[2].split(b'"', 8)
            if len(words) == 8 and words[2] == b"data_count" and words[4] == b"sid":
                flow, count, sid = words[0], words[3][1:-1], words[6]
                file = touched.get((sid, flow)) if sid.find(b"\\") < 0 and flow.find(b"\\") < 0 else None
                if file and count.isdigit() and file.next == int(count) and not file.beyond and raw.startswith(b"{"):
                    file.next += 1
                    file.waiting.append(raw)
                    add(raw)
                    last = file
                    continue
            last = None
            name = named(raw)
            if self.take(name, raw) if name else odd(raw):
                add(raw)
        return new

    def _file(self, key: tuple[bytes, bytes]) -> FlowFile:
        file = self._touched.get(key)
        if file is None:
            file = self._touched[key] = self._of(key)
        return file

    def write(self) -> None:
        """Raises OSError, Unusable; what was not written waits."""
        while self._touched:
            key, file = next(iter(self._touched.items()))
            file.write()
            del self._touched[key]
            for kept in (self._known, self._open):
                kept[key] = file
                kept.move_to_end(key)
            if len(self._open) > MAX_OPEN:
                self._open.popitem(last=False)[1].close()
        while len(self._known) > MAX_KNOWN:
            del self._known[next(iter(self._known))]

    @property
    def waiting(self) -> bool:
        return bool(self._touched)

    def forget(self) -> None:
        """All is read again; what waits is not written."""
        for file in (*self._open.values(), *self._touched.values()):
            file.close()
        for kept in (self._open, self._known, self._touched):
            kept.clear()

    def _of(self, key: tuple[bytes, bytes]) -> FlowFile:
        file = self._known.get(key)
        if file is None:
            sid, flow = (part.decode("utf-8", "replace") for part in key)
            file = FlowFile(self._folder / safe_name(sid) / f"{safe_name(flow)}.jsonl", *key)
        if file.turn != self.turn:
            file.look()
            file.turn = self.turn
        return file


class Odd:
    """Lines that are no records, known by their hash: the newest of them."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[bytes, None] = {}
        self._waiting: list[bytes] = []
        self._size = 0

    def take(self, raw: bytes) -> bool:
        """Whether it was not there."""
        digest = sha256(raw).hexdigest().encode() + b"\n"
        if digest in self._known:
            return False
        self._known[digest] = None
        self._waiting.append(digest)
        return True

    def look(self) -> None:
        """Reads what another collector has added."""
        if not self._path.exists():
            return
        with open(self._path, "rb") as file:
            file.seek(self._size)  # of a file that was deleted and begun anew, what is behind: the rest is known
            self._known |= dict.fromkeys(line for line in file if len(line) == 65)
            self._size = file.tell() // 65 * 65
        while len(self._known) > MAX_ODD:
            del self._known[next(iter(self._known))]

    def forget(self) -> None:
        """All is read again; what waits is not written."""
        self._known.clear()
        self._waiting.clear()
        self._size = 0

    def write(self) -> None:
        """Raises OSError, Unusable; what was not written waits."""
        if self._waiting:
            with open(open_private(self._path), "ab") as file:
                file.truncate(self._size)
                file.write(b"".join(self._waiting))
                self._size += 65 * len(self._waiting)
            self._waiting.clear()
