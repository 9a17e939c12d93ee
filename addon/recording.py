"""The queue between the proxy's event loop and the disk, and the one thread behind it.

The loop appends (a job and its arguments) and goes on: about a microsecond. The thread takes all that is there, turns it
into records and writes them with one `write` per file. It looks every TICK while there is work, so a kill loses at most
that much, and sleeps when there is none.

What the disk does not take waits in the writer; when that is full, chunks are not recorded: they are counted, and said in
their place (`capture.gap`) as soon as there is room. The thread outlives whatever is raised in it.
"""

import logging
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from capture import processes
from capture.files import Unusable
from capture.jsonl import Entry, Record
from capture.recorder import Closed, FlowRecorder, Memory, Opened, Stamp
from capture.redact import Redactor
from capture.scope import ALL, Scope
from capture.store import MAX_WAITING, LogWriter

TICK = 0.05  # seconds between two looks at a queue with work in it; what a kill can lose (at 0.025 an event costs 3 µs more)
MAX_QUEUED = 24 << 20  # bytes waiting; chunks on top are dropped and counted (some 20 s of 50 busy agents while the disk hangs)
MAX_OPENED = 256 << 20  # bytes of requests waiting; flows that begin on top are not recorded (the thread hangs)
HURRY = 4 << 20  # bytes waiting that the thread does not let wait for its next look
ITEM = 400  # bytes of memory that a job takes beside its payload (tuples, stamp, ids)
ROUND = 8 << 20  # bytes of records collected for one write
MAX_CONNECTIONS = 4096  # connections whose process is remembered
MAX_FAULTS = 1000  # of flows not yet on record that are remembered
LIKELY = 8  # processes that called last are asked first
HELD_LOOK = 0.25  # seconds between two looks, where nothing comes, whether frames have waited long enough
SLOW = 4.0  # seconds `stop` waits for the thread
REPORT = "the client's stream was not touched; please report this"
NO_ROOM = "the disk was full: records of this flow are missing"


class Recording:
    """Records flows in the background. Every method but the thread's own returns at once and may be called from the loop."""

    def __init__(
        self,
        writer: LogWriter,
        redactor: Redactor,
        inline_limit: int,
        commented: Callable[[str, str], None],
        scope: Scope = ALL,
    ) -> None:
        """`commented(flow_id, text)` is told, from the thread, what is to be seen of a flow in a user interface."""
        self._scope = scope
        self._writer = writer
        self._redactor = redactor
        self._inline_limit = inline_limit
        self._commented = commented
        self._jobs: deque[tuple[Callable[..., Any], tuple[Any, ...], int]] = deque()  # what to do, and the bytes it takes
        self._put_bytes = self._put_requests = 0  # written by the loop only
        self._taken_bytes = self._taken_requests = 0  # written by the thread only: their differences wait in the queue
        self._gaps: dict[str, list[int]] = {}  # flow id → chunks, bytes dropped since the last one queued
        self._missed: dict[str, list[int]] = {}  # the same since the writer is full: the thread's
        self._unrecorded = 0  # flows that began when there was no room left
        self._asleep = False
        self._wake = threading.Event()
        self._stopping = False
        self._memory = Memory()
        self._flows: dict[str, FlowRecorder] = {}
        self._holding: set[str] = set()  # flows with frames that wait, lest they hold the beginning of a secret
        self._unknown: dict[str, processes.Ends] = {}  # connections whose process is yet to be found: filled by the loop
        self._connections: dict[str, processes.Process] = {}
        self._faults: dict[str, str] = {}  # flow id → what went wrong before the flow was on record
        self._callers: deque[int] = deque(maxlen=LIKELY)
        self._failing = False  # the last flush failed, and it was said
        self._lost = 0  # records of which the writer took none since
        self._stumbles: set[str] = set()  # places in our code where the thread raised, each said once
        self._thread = threading.Thread(target=self._run, name="sse-capture recorder", daemon=True)
        self._thread.start()

    # -- called from the loop ---------------------------------------------------------------------------------------------

    def connected(self, connection: str, client: tuple[str, int], server: tuple[str, int]) -> None:
        self._unknown[connection] = client, server
        self._put(self._look_up)

    def disconnected(self, connection: str) -> None:
        self._put(self._disconnected, connection)

    def opened(self, flow_id: str, make: Callable[[], Opened], connection: str, stamp: Stamp, size: int = 0) -> None:
        """A flow begins; `make` gives its facts when the thread gets to it, `size` bytes of them. Said twice, it counts once."""
        if self._put_requests - self._taken_requests + size > MAX_OPENED and self._put_requests > self._taken_requests:
            self._unrecorded += 1
        else:
            self._put_requests += size + ITEM
            self._put(self._opened, flow_id, make, connection, stamp, size + ITEM)

    def chunk(self, flow_id: str, data: bytes, stamp: Stamp) -> None:
        self._put_data(self._chunk, flow_id, data, stamp)

    def message(self, flow_id: str, data: bytes, from_client: bool, text: bool, stamp: Stamp) -> None:
        self._put_data(self._message, flow_id, data, stamp, from_client, text)

    def closed(self, flow_id: str, how: Closed, stamp: Stamp, error: str | None = None, close_code: int | None = None) -> None:
        self._put(self._closed, flow_id, how, stamp, error, close_code)

    def failed(self, where: str, problem: BaseException, flow_id: str | None = None) -> None:
        """Something of ours raised; said in sse_logger.error and in the flow's end."""
        self._put(self._failed, where, f"{type(problem).__name__}: {problem}", flow_id)

    def missed(self, flow_id: str, size: int, stamp: Stamp) -> None:
        """A chunk may not have been recorded: what follows is not to be glued to what came before."""
        if size:
            self._put(self._gap, flow_id, 1, size, stamp)

    def refused(self, connection: str) -> None:
        """A client did not know the proxy's password."""
        self._put(self._refused, connection)

    def distrusted(self, connection: str, host: str) -> None:
        """A client did not accept our certificate for a host."""
        self._put(self._distrusted, connection, host)

    def stop(self, stamp: Stamp) -> None:
        """Ends the flows that are still open, writes everything, and stops the thread."""
        self._put(self._end_all, stamp)
        self._stopping = True
        self._wake.set()
        self._thread.join(SLOW)
        if self._thread.is_alive():
            events, records = len(self._jobs), self._writer.unwritten
            _tell(logging.ERROR, f"the disk is too slow: {events} events and {records} records may be missing from the log")

    def _put(self, job: Callable[..., Any], *arguments: Any) -> None:
        self._put_bytes += ITEM
        self._jobs.append((job, arguments, ITEM))
        if self._asleep:
            self._wake.set()

    def _put_data(self, job: Callable[..., Any], flow_id: str, data: bytes, stamp: Stamp, *more: Any) -> None:
        size, waiting = len(data) + ITEM, self._put_bytes - self._taken_bytes
        if waiting + size > MAX_QUEUED and waiting > MAX_QUEUED // 8:  # a message larger than all is taken when little waits
            gap = self._gaps.setdefault(flow_id, [0, 0])
            gap[0] += 1
            gap[1] += len(data)
            return
        if self._gaps and (found := self._gaps.pop(flow_id, None)):
            self._put(self._gap, flow_id, found[0], found[1], stamp)
        self._put_bytes += size
        self._jobs.append((job, (flow_id, data, stamp, *more), size))
        if self._asleep or waiting > HURRY:
            self._wake.set()

    # -- the thread -------------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            stopping = self._stopping
            try:
                worked = self._work()
            except BaseException as problem:  # the thread's edge: without it nothing more would be recorded, and the queue be full
                worked = True
                self._stumbled(problem)
            if stopping and not self._jobs:
                break
            if worked:
                self._wake.wait(TICK)
                self._wake.clear()
                continue
            self._asleep = True
            if not self._jobs and not self._stopping:
                again = 1.0 if self._failing or self._writer.unsynced or self._writer.waiting else None
                self._wake.wait(HELD_LOOK if self._holding else again)
            self._asleep = False
            self._wake.clear()
        try:
            self._writer.close()
        except Exception as problem:
            lost = self._writer.unwritten + self._lost
            _tell(logging.ERROR, f"{lost} records are missing from {self._writer.directory} ({_reason(problem)})")

    def _work(self) -> bool:
        """Does all jobs there are now and writes what came of them. False when there was nothing to do."""
        jobs = self._jobs
        waiting = len(jobs)
        for _ in range(waiting):
            job, arguments, size = jobs.popleft()
            try:
                job(*arguments)
            except BaseException as problem:  # a fault of ours costs one job, and is said
                self._spoiled(job, arguments, problem)
            finally:
                self._taken_bytes += size
            self._relieve()
        if self._holding:
            self._release(time.monotonic())
        if waiting or self._failing or self._writer.waiting or self._writer.unsynced:
            self._flush()
        return waiting > 0

    def _release(self, mono: float) -> None:
        """Writes what has waited long enough."""
        for flow_id in list(self._holding):
            flow = self._flows.get(flow_id)
            if flow is not None and (entries := flow.due(mono)):
                self._write(entries)
            if flow is None or not flow.holds:
                self._holding.discard(flow_id)

    def _spoiled(self, job: Callable[..., Any], arguments: tuple[Any, ...], problem: BaseException) -> None:
        """A job raised: of what was said in it nothing may be on record, so it counts as missing."""
        flow_id = arguments[0] if arguments and isinstance(arguments[0], str) else None
        if flow_id in self._flows and job in (self._chunk, self._message):
            self._miss(flow_id, 1, len(arguments[1]))
        self._failed(job.__name__, f"{type(problem).__name__}: {problem}", flow_id)

    def _relieve(self) -> None:
        """Writes what has come together when it is much."""
        if self._writer.waiting > ROUND and not self._failing:
            self._flush()

    def _flush(self) -> None:
        try:
            self._writer.flush()
        except OSError as problem:
            if not self._failing:
                self._failing = True
                do = "make room or give the directory back: records wait in memory until then"
                _tell(logging.ERROR, f"cannot write to {self._writer.directory} ({_reason(problem)}): {do}")
                self._error("disk", _reason(problem), do)
            return
        if self._unrecorded:
            count, self._unrecorded = self._unrecorded, 0
            self._error("queue", f"{count} flows were not recorded: the disk hung", "use a faster disk for the log")
        if self._failing:
            self._failing = False
            lost, self._lost = self._lost, 0
            _tell(logging.WARNING, f"the log is written again; {lost or 'no'} records are missing, gaps in streams are marked")
            if lost:
                self._error(
                    "disk", f"{lost} records are missing: there was no room for them", "see capture_error of the flows' ends"
                )

    def _error(self, where: str, what: str, do: str, flow_id: str | None = None) -> None:
        with suppress(OSError, Unusable):  # the disk that cannot take the record cannot take the complaint either
            self._writer.error(where, self._redactor.string(what), do, flow_id)

    def _stumbled(self, problem: BaseException) -> None:
        """Something of ours raised where no job is to blame: said once for each place, with its kind only (no payload)."""
        self._failing = True  # what waits is tried again, also when nothing more comes
        last = traceback.extract_tb(problem.__traceback__)[-1]
        what = f"{type(problem).__name__} in {Path(last.filename).name}:{last.lineno}"
        if what not in self._stumbles:
            self._stumbles.add(what)
            _tell(logging.ERROR, f"{what}: recording goes on, the agents are not touched; please report this")

    def _write(self, entries: list[Entry]) -> bool:
        """Whether the writer took all of them: it takes only flow and end records when it is full, and none when they fill it."""
        taken = entries = self._scope.kept(entries)
        if self._writer.full:
            room = self._writer.waiting < 2 * MAX_WAITING
            taken = [entry for entry in entries if room and isinstance(entry, Record) and entry.kind != "lines"]
            self._lost += len(entries) - len(taken)
        for entry in taken:
            self._writer.write(entry)
        return len(taken) == len(entries)

    def _hearing(self, flow_id: str, size: int, stamp: Stamp) -> FlowRecorder | None:
        """The flow whose words these are; None when it is unknown, or when there is no room for them: then they are counted."""
        flow = self._flows.get(flow_id)
        if flow and self._writer.full:
            self._miss(flow_id, 1, size)
            return None
        if flow and self._missed and (missed := self._missed.get(flow_id)):
            self._write(flow.gap(missed[0], missed[1], stamp))
            del self._missed[flow_id]
        return flow

    def _miss(self, flow_id: str, chunks: int, size: int) -> None:
        missed = self._missed.setdefault(flow_id, [0, 0])
        missed[0] += chunks
        missed[1] += size

    def _look_up(self) -> None:
        """Finds the processes of all connections that are new: one look for as many agents as start at once."""
        new = {connection: self._unknown.pop(connection) for connection in list(self._unknown)}
        found = processes.behind(list(new.values()), list(self._callers)) if new else {}
        for connection, ends in new.items():
            self._connections[connection] = process = found.get(ends, processes.NOBODY)
            if process.pid and process.pid not in self._callers:
                self._callers.appendleft(process.pid)
        while len(self._connections) > MAX_CONNECTIONS:
            del self._connections[next(iter(self._connections))]

    def _disconnected(self, connection: str) -> None:
        self._connections.pop(connection, None)

    def _opened(self, flow_id: str, make: Callable[[], Opened], connection: str, stamp: Stamp, size: int) -> None:
        self._taken_requests += size
        if flow_id in self._flows:
            return
        self._heed()
        process = self._connections.get(connection, processes.NOBODY)
        flow = FlowRecorder(make(), process, self._redactor, self._memory, self._inline_limit)
        if fault := self._faults.pop(flow_id, None):
            flow.failed(fault)
        self._flows[flow_id] = flow
        if not self._write(flow.open(stamp)):
            self._memory.forget(flow.session.sid)
            flow.failed(NO_ROOM)
        self._commented(flow_id, flow.summary())

    def _heed(self) -> None:
        """What was purged is not taken for said: the next request of such a session stands on record whole."""
        self._writer.heed()
        while self._writer.forgotten:
            notice = self._writer.forgotten.pop()
            for sid in list(self._memory.written):
                if notice.covers(sid):
                    self._memory.forget(sid)

    def _chunk(self, flow_id: str, data: bytes, stamp: Stamp) -> None:
        if flow := self._hearing(flow_id, len(data), stamp):
            if flow.inflates:
                for entries in flow.hear(data, stamp):
                    self._write(entries)
                    self._relieve()
            else:
                self._write(flow.feed(data, stamp))
            if flow.holds:
                self._holding.add(flow_id)

    def _message(self, flow_id: str, data: bytes, stamp: Stamp, from_client: bool, text: bool) -> None:
        if flow := self._hearing(flow_id, len(data), stamp):
            self._write(flow.message(data, from_client, stamp, text))
            if flow.holds:
                self._holding.add(flow_id)

    def _gap(self, flow_id: str, chunks: int, size: int, stamp: Stamp) -> None:
        if flow := self._flows.get(flow_id):
            if self._writer.full:
                self._miss(flow_id, chunks, size)
            else:
                self._write(flow.gap(chunks, size, stamp))

    def _closed(self, flow_id: str, how: Closed, stamp: Stamp, error: str | None, close_code: int | None) -> None:
        flow = self._flows.pop(flow_id, None)
        missing = [found for gaps in (self._missed, self._gaps) if (found := gaps.pop(flow_id, None))]
        if flow is None:
            return
        try:
            for chunks, size in missing:
                self._write(flow.gap(chunks, size, stamp))
            if self._writer.full:
                flow.failed(NO_ROOM)
            entries = flow.close(how, stamp, error, close_code)
        except BaseException as problem:  # each flow has an end on record, whatever its recorder raises
            what = f"{type(problem).__name__}: {problem}"
            entries = flow.broken(what, stamp)
            self._error("close", what, REPORT, flow_id)
        self._write(entries)
        self._commented(flow_id, flow.summary())

    def _failed(self, where: str, what: str, flow_id: str | None) -> None:
        if flow_id and (flow := self._flows.get(flow_id)):
            flow.failed(what)
        elif flow_id and len(self._faults) < MAX_FAULTS:
            self._faults[flow_id] = what
        self._error(where, what, REPORT, flow_id)

    def _who(self, connection: str) -> str:
        process = self._connections.get(connection, processes.NOBODY)
        return f"process {process.pid} in {process.cwd}" if process.pid else "a client"

    def _distrusted(self, connection: str, host: str) -> None:
        do = f"it does not know our CA (see `capture env`), or takes its own only: --skip-hosts {host} leaves it alone, unrecorded"
        self._error("tls", f"{self._who(connection)} did not accept the proxy's certificate for {host}", do)

    def _refused(self, connection: str) -> None:
        who = self._who(connection)
        do = 'start it with `capture run`, or in a shell after `eval "$(capture env)"`'
        self._error("access", f"{who} was refused (407): it did not give the proxy's password", do)

    def _end_all(self, stamp: Stamp) -> None:
        for flow_id in list(self._flows):
            self._closed(flow_id, Closed.BY_STOP, stamp, None, None)


def _reason(problem: Exception) -> str:
    """What the system calls it; of other faults the kind only: their text may quote a payload."""
    return str((isinstance(problem, OSError) and problem.strerror) or type(problem).__name__)


def _tell(level: int, text: str) -> None:
    """Says it in mitmproxy's log, for the full disk may be ours. (Where mitmproxy cannot print, its log raises SystemExit.)"""
    with suppress(Exception, SystemExit):
        logging.log(level, f"sse-capture: {text}")
