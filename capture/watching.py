"""Whether the proxy of a run still lives: its death is told at once, and one of our own is started again."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from capture.files import Unusable
from capture.own import Own
from capture.proxy import Proxy, lives, running

LOOK = 0.2  # seconds between two looks
TRIES = 5  # starts in a row before it is given up
STEADY = 60.0  # seconds a proxy must have lived for its next death to count as the first


class Watch:
    """A thread that looks at the proxy until it is stopped."""

    def __init__(self, proxy: Proxy, own: Own, directory: Path, tell: Callable[[str], None]) -> None:
        """`tell` is called from the thread."""
        self.ids = {proxy.id}  # of all proxies that recorded for this run
        self.up = True
        self._proxy, self._own, self._directory, self._tell = proxy, own, directory, tell
        self._died = 0.0  # when (monotonic), while it is not up
        self._began = time.monotonic()
        self._down = 0.0
        self._tries = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="watch of the proxy")
        self._thread.start()

    @property
    def down(self) -> float:
        """Seconds in which nothing was recorded."""
        return self._down + (0.0 if self.up else time.monotonic() - self._died)

    def stop(self) -> None:
        """Looks a last time; a proxy that is dead then is not started again."""
        self._stop.set()
        if not self.up and self._proxy.owner:
            self._own.end()  # it may be starting
        self._thread.join()
        if self.up and not self._alive():
            self._fell("")

    def _run(self) -> None:
        while not self._stop.wait(LOOK):
            if self.up and not self._alive():
                self._fell(self._advice())
            if not self.up:
                self._rise()

    def _alive(self) -> bool:
        return self._own.alive() if self._proxy.owner else lives(self._proxy, self._directory)

    def _advice(self) -> str:
        if self._proxy.owner:
            return "; it is started again"
        return f": start it again with `capture up --port {self._proxy.port}`"

    def _fell(self, advice: str) -> None:
        self.up, self._died = False, time.monotonic()
        self._tries = 0 if self._died - self._began > STEADY else self._tries
        self._tell(f"the proxy ended before the command did: nothing is recorded{advice}")

    def _rise(self) -> None:
        if not self._proxy.owner:
            found = running(self._directory)
            if found and found.port == self._proxy.port:
                self._rose(found)
        elif self._tries < TRIES:
            self._tries += 1
            try:
                self._rose(self._own.start(self._proxy.port, exact=True))
            except Unusable as problem:
                if not self._stop.is_set():
                    self._tell(str(problem))
        elif self._tries == TRIES:
            self._tries += 1
            self._tell("the proxy is not started again: the command cannot reach its model any more")

    def _rose(self, proxy: Proxy) -> None:
        self._proxy, self._began = proxy, time.monotonic()
        self._down += self._began - self._died
        self.ids.add(proxy.id)
        self.up = True
        self._tell(f"the proxy runs again, after {self._began - self._died:.1f} s")


@contextmanager
def watching(proxy: Proxy, own: Own, directory: Path, tell: Callable[[str], None]) -> Iterator[Watch]:
    """A watch that ends with the context."""
    watch = Watch(proxy, own, directory, tell)
    try:
        yield watch
    finally:
        watch.stop()
