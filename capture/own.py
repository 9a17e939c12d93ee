"""A proxy of one's own: it ends with the process that started it, however that ends, and can be started again."""

import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from capture.files import Unusable
from capture.proxy import PORT, Proxy, arguments, free_port, proxy_environment, started_by, starting
from capture.state import read_salt

PROGRAM = (sys.executable, "-c", "from mitmproxy.tools.main import mitmdump; mitmdump()")
START_TIMEOUT = 30.0  # seconds until a started proxy must be listening (1-2 s is usual)
SLOW = 1.5  # seconds after which its start is worth a word
EMPTY = "Error logged during startup"  # mitmproxy says this last; what was wrong stands before it
POLL = 0.02  # seconds between two looks whether it listens


class Own:
    """A mitmdump of this process alone."""

    def __init__(
        self, directory: Path, confdir: Path, extra: tuple[str, ...] = (), slow: Callable[[str], None] = lambda words: None
    ) -> None:
        """`extra`: options of mitmproxy; `slow` is told, in words, that a start takes long."""
        self._directory, self._confdir, self._extra, self._slow = directory, confdir, extra, slow
        self._process: subprocess.Popen[bytes] | None = None
        self._lifeline = -1  # its other end is the proxy's, which ends when this one is closed
        self._ending = False

    def start(self, port: int = PORT, exact: bool = False) -> Proxy:
        """Starts it, and waits until it listens: on the port or the next that is free. Raises Unusable."""
        read_salt()  # what it would not start without is said sooner so
        owner = f"{os.getpid()}-{secrets.token_hex(4)}"
        try:
            with starting(self._confdir), tempfile.TemporaryFile() as words:  # a pipe nobody reads would fill, and block the proxy
                self._spawn(port if exact else free_port(port), owner, words)
                return self._wait(words, owner)
        except OSError as error:
            raise Unusable(f"the proxy cannot be started ({error.strerror or error})") from None

    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def end(self) -> None:
        """Ends it in good order: its flows have their ends then. A start that another thread waits for is given up."""
        self._ending = True
        if self._process:
            self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._cut()

    def _spawn(self, port: int, owner: str, words: IO[bytes]) -> None:
        self._cut()
        theirs, self._lifeline = os.pipe()
        options = ("--set", f"sse_lifeline={theirs}", "--set", f"sse_owner={owner}", "-q", *self._extra)
        try:
            self._process = subprocess.Popen(
                [*PROGRAM, *arguments(self._directory, port, None, self._confdir, options)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=words,
                pass_fds=(theirs,),
                start_new_session=True,
                env=proxy_environment(),
            )
        finally:
            os.close(theirs)

    def _wait(self, words: IO[bytes], owner: str) -> Proxy:
        assert self._process
        begun, said = time.monotonic(), False
        while (waited := time.monotonic() - begun) < START_TIMEOUT and not self._ending:
            if proxy := started_by(self._directory, owner):
                return proxy
            if self._process.poll() is not None:
                raise Unusable(f"the proxy did not start: {_last_line(words) or f'exit status {self._process.returncode}'}")
            if waited > SLOW and not said:
                self._slow(f"waiting for the proxy to start, {START_TIMEOUT:.0f} s at most")
                said = True
            time.sleep(POLL)
        self._process.kill()
        raise Unusable(f"the proxy was not listening after {waited:.0f} s: look into it with `capture up --no-web`")

    def _cut(self) -> None:
        if self._lifeline >= 0:
            os.close(self._lifeline)
            self._lifeline = -1


@contextmanager
def own(directory: Path, confdir: Path, port: int = PORT, extra: tuple[str, ...] = ()) -> Iterator[Proxy]:
    """A proxy for the caller alone: it ends with the context, and when the caller is killed. Raises Unusable."""
    started = Own(directory, confdir, extra)
    try:
        yield started.start(port)
    finally:
        started.end()


def _last_line(words: IO[bytes]) -> str:
    """The last thing a process said."""
    words.seek(0)
    said = [line for line in words.read().decode("utf-8", "replace").splitlines() if line.strip() and not line.startswith(EMPTY)]
    return said[-1].removeprefix("sse-capture: ") if said else ""
