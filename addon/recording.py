"""The queue between the proxy's event loop and the disk, and the one thread behind it.

The loop appends (a job and its arguments) and goes on: about a microsecond. The thread takes all that is there, turns it
into records and writes them with one `write` per file. It looks every TICK while there is work, so a kill loses at most
that much, and sleeps when there is none.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from capture import processes
from capture.recorder import Closed, FlowRecorder, Memory, Opened, Stamp
from capture.records import Entry
from capture.redact import Redactor
from capture.store import LogWriter

TICK = 0.05  # seconds between two looks at a queue with work in it; what a kill can lose (at 0.025 an event costs 3 µs more)
MAX_QUEUED = 128 << 20  # bytes waiting; what comes on top is dropped and counted (about 100 s of 500 busy agents)
MAX_CONNECTIONS = 4096  # connections whose process is remembered
MAX_FAULTS = 1000  # of flows not yet on record that are remembered
LIKELY = 8  # processes that called last are asked first
SLOW = 4.0  # seconds `stop` waits for the thread


class Recording:
    """Records flows in the background. Every method but the thread's own returns at once and may be called from the loop."""

    def __init__(self, writer: LogWriter, redactor: Redactor, inline_limit: int, commented: Callable[[str, str], None]) -> None:
        """`commented(flow_id, text)` is told, from the thread, what is to be seen of a flow in a user interface."""
        self._writer = writer
        self._redactor = redactor
        self._inline_limit = inline_limit
        self._commented = commented
        self._jobs: deque[tuple[Callable[..., Any], tuple[Any, ...]]] = deque()
        self._put_bytes = 0  # written by the loop only
        self._taken_bytes = 0  # written by the thread only: their difference waits in the queue
        self._gaps: dict[str, list[int]] = {}  # flow id → chunks, bytes dropped since the last one queued
        self._asleep = False
        self._wake = threading.Event()
        self._stopping = False
        self._memory = Memory()
        self._flows: dict[str, FlowRecorder] = {}
        self._unknown: dict[str, processes.Ends] = {}  # connections whose process is yet to be found: filled by the loop
        self._connections: dict[str, processes.Process] = {}
        self._faults: dict[str, str] = {}  # flow id → what went wrong before the flow was on record
        self._callers: deque[int] = deque(maxlen=LIKELY)
        self._failing = False  # the last flush failed, and it was said
        self._thread = threading.Thread(target=self._run, name="sse-capture recorder", daemon=True)
        self._thread.start()

    # -- called from the loop ---------------------------------------------------------------------------------------------

    def connected(self, connection: str, client: tuple[str, int], server: tuple[str, int]) -> None:
        self._unknown[connection] = client, server
        self._put(self._look_up)

    def disconnected(self, connection: str) -> None:
        self._put(self._disconnected, connection)

    def opened(self, flow_id: str, make: Callable[[], Opened], connection: str, stamp: Stamp) -> None:
        """A flow begins; `make` gives its facts when the thread gets to it. Said twice, it counts once."""
        self._put(self._opened, flow_id, make, connection, stamp)

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

    def stop(self, stamp: Stamp) -> None:
        """Ends the flows that are still open, writes everything, and stops the thread."""
        self._put(self._end_all, stamp)
        self._stopping = True
        self._wake.set()
        self._thread.join(SLOW)

    def _put(self, job: Callable[..., Any], *arguments: Any) -> None:
        self._jobs.append((job, arguments))
        if self._asleep:
            self._wake.set()

    def _put_data(self, job: Callable[..., Any], flow_id: str, data: bytes, stamp: Stamp, *more: Any) -> None:
        size = len(data)
        if self._put_bytes - self._taken_bytes + size > MAX_QUEUED:
            gap = self._gaps.setdefault(flow_id, [0, 0])
            gap[0] += 1
            gap[1] += size
            return
        if self._gaps and (found := self._gaps.pop(flow_id, None)):
            self._jobs.append((self._gap, (flow_id, found[0], found[1], stamp)))
        self._put_bytes += size
        self._jobs.append((job, (flow_id, data, stamp, *more)))
        if self._asleep:
            self._wake.set()

    # -- the thread -------------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            stopping = self._stopping
            worked = self._work()
            if stopping and not self._jobs:
                break
            if worked:
                time.sleep(TICK)
                continue
            self._asleep = True
            if not self._jobs and not self._stopping:
                self._wake.wait(1.0 if self._failing else None)
            self._asleep = False
            self._wake.clear()
        self._writer.close()

    def _work(self) -> bool:
        """Does all jobs there are now and writes what came of them. False when there was nothing to do."""
        jobs = self._jobs
        waiting = len(jobs)
        for _ in range(waiting):
            job, arguments = jobs.popleft()
            try:
                job(*arguments)
            except Exception as problem:  # the thread's edge: a fault of ours costs one job, and is said
                self._failed(
                    job.__name__,
                    f"{type(problem).__name__}: {problem}",
                    arguments[0] if arguments and isinstance(arguments[0], str) else None,
                )
        if waiting or self._failing:
            self._flush()
        return waiting > 0

    def _flush(self) -> None:
        try:
            self._writer.flush()
            self._failing = False
        except OSError as problem:
            if not self._failing:
                self._failing = True
                self._error(
                    "disk",
                    f"{problem.strerror}",
                    "make room or give the directory back: records wait in memory until then",
                )

    def _error(self, where: str, what: str, do: str, flow_id: str | None = None) -> None:
        with suppress(OSError):  # the disk that cannot take the record cannot take the complaint either
            self._writer.error(where, self._redactor.string(what), do, flow_id)

    def _write(self, entries: list[Entry]) -> None:
        for entry in entries:
            self._writer.write(entry)

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

    def _opened(self, flow_id: str, make: Callable[[], Opened], connection: str, stamp: Stamp) -> None:
        if flow_id in self._flows:
            return
        process = self._connections.get(connection, processes.NOBODY)
        flow = FlowRecorder(make(), process, self._redactor, self._memory, self._inline_limit)
        if fault := self._faults.pop(flow_id, None):
            flow.failed(fault)
        self._flows[flow_id] = flow
        self._write(flow.open(stamp))
        self._commented(flow_id, flow.summary())

    def _chunk(self, flow_id: str, data: bytes, stamp: Stamp) -> None:
        self._taken_bytes += len(data)
        if flow := self._flows.get(flow_id):
            self._write(flow.feed(data, stamp))

    def _message(self, flow_id: str, data: bytes, stamp: Stamp, from_client: bool, text: bool) -> None:
        self._taken_bytes += len(data)
        if flow := self._flows.get(flow_id):
            self._write(flow.message(data, from_client, stamp, text))

    def _gap(self, flow_id: str, chunks: int, size: int, stamp: Stamp) -> None:
        if flow := self._flows.get(flow_id):
            self._write(flow.gap(chunks, size, stamp))

    def _closed(self, flow_id: str, how: Closed, stamp: Stamp, error: str | None, close_code: int | None) -> None:
        if flow := self._flows.pop(flow_id, None):
            if gap := self._gaps.pop(flow_id, None):
                self._write(flow.gap(gap[0], gap[1], stamp))
            self._write(flow.close(how, stamp, error, close_code))
            self._commented(flow_id, flow.summary())

    def _failed(self, where: str, what: str, flow_id: str | None) -> None:
        if flow_id and (flow := self._flows.get(flow_id)):
            flow.failed(what)
        elif flow_id and len(self._faults) < MAX_FAULTS:
            self._faults[flow_id] = what
        self._error(where, what, "the client's stream was not touched; please report this", flow_id)

    def _end_all(self, stamp: Stamp) -> None:
        for flow_id in list(self._flows):
            self._closed(flow_id, Closed.BY_STOP, stamp, None, None)
