"""A proxy whose event loop is felt while it works, and a bare one beside it: what recording does to the agents' streams."""

import os
import socket
import subprocess
import sys
from pathlib import Path

from capture import proxy as proxies
from tests.faults.harness import Proxy, free_of_listeners, until

HERE = Path(__file__).parent
NOOP = HERE.parent.parent / "bench" / "noop.py"


def beating(base: Path) -> tuple[str, ...]:
    """Options of a proxy that has a heartbeat; `base` is where its socket is."""
    base.mkdir(parents=True, exist_ok=True)
    return ("-s", str(HERE / "heartbeat.py"), "--set", f"heartbeat_socket={base / 'pulse'}")


class Pulse:
    """The event loop of a proxy that was started with `beating`."""

    def __init__(self, base: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        until(lambda: self._connected(str(base / "pulse")), "the heartbeat")

    def _connected(self, path: str) -> bool:
        try:
            self._socket.connect(path)
        except OSError:
            return False
        return True

    def longest(self) -> float:
        """The longest stall since the last time this was asked, in seconds."""
        self._socket.sendall(b"?\n")
        return float(self._socket.recv(100))

    def close(self) -> None:
        self._socket.close()


class Bare:
    """A mitmdump that streams event streams and records nothing, with a heartbeat."""

    def __init__(self, base: Path, confdir: Path) -> None:
        self.port = free_of_listeners()
        options = dict(proxies.SAFE_OPTIONS, listen_port=str(self.port), confdir=str(confdir), ssl_insecure="true")
        settings = [word for name, value in options.items() for word in ("--set", f"{name}={value}")]
        command = [sys.executable, "-c", "from mitmproxy.tools.main import mitmdump; mitmdump()", "-q", *settings]
        self.process = subprocess.Popen(
            [*command, *beating(base), "-s", str(NOOP)], stdin=subprocess.DEVNULL, start_new_session=True
        )
        self.pulse = Pulse(base)

    def memory(self) -> tuple[int, int]:
        return memory(self.process.pid)

    def end(self) -> None:
        self.pulse.close()
        self.process.terminate()
        self.process.wait(20)


def memory(pid: int) -> tuple[int, int]:
    """(now, peak) resident bytes of a process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    found = {name: int(value.split()[0]) << 10 for name, _, value in (line.partition(":") for line in lines) if "kB" in value}
    return found["VmRSS"], found["VmHWM"]


def forget_peak(proxy: Proxy | Bare) -> int:
    """Resident bytes now; the peak is counted from here on, where the system allows it (Linux, our own process)."""
    path = Path(f"/proc/{proxy.process.pid}/clear_refs")
    if os.access(path, os.W_OK):
        path.write_text("5")  # https://www.kernel.org/doc/html/latest/filesystems/proc.html: resets VmHWM
    return memory(proxy.process.pid)[0]
