"""Which process of this machine is at the other end of a connection."""

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import psutil


class Process(NamedTuple):
    pid: int | None
    cwd: str | None
    name: str | None = None  # of the program: `pi` of `node /usr/bin/pi`


NOBODY = Process(None, None)
INTERPRETERS = re.compile(r"(node|nodejs|bun|deno|python[0-9.]*|ruby|java|sh|bash)$")  # the program is their first argument
CODE = ("-c", "-e", "--eval", "-p")  # what follows is code, not the name of a program
NAME = re.compile(r"[A-Za-z0-9@._-]{1,64}$")
NAMELESS = ("index", "main", "cli", "__main__", "app", "bin", "dist")  # files named so are named by their folder

type Ends = tuple[tuple[str, int], tuple[str, int]]  # of a connection: (ip, port) of the client, and of the server


def behind(connections: list[Ends], candidates: list[int]) -> dict[Ends, Process]:
    """The client processes of some connections, in one look; one that is not of this machine, or gone already, is not in it.

    `candidates`: pids to ask first, the likeliest first. Agents open many connections, often at once, and asking one
    process takes 1-3 ms, asking all of them 5-50.
    """
    found: dict[Ends, Process] = {}
    wanted = {(_plain(*client), _plain(*server)): (client, server) for client, server in connections}
    for pid in (*candidates, None):
        if not wanted:
            break
        for ends, holder in _held(pid):
            if ends in wanted:
                found[wanted.pop(ends)] = _process(holder)
    return found


def _held(pid: int | None) -> Iterator[tuple[Ends, int]]:
    """(ends, pid) of the connections a process holds; None: of all processes."""
    try:
        for connection in psutil.Process(pid).net_connections("tcp") if pid else psutil.net_connections("tcp"):
            holder, ends = pid or getattr(connection, "pid", None), _ends(connection)
            if holder and ends:
                yield ends, holder
    except (psutil.Error, OSError):
        return  # it is gone; or macOS, which wants root to see other users' sockets


def _ends(connection: object) -> Ends | None:
    local, remote = getattr(connection, "laddr", None), getattr(connection, "raddr", None)
    return (_plain(*local), _plain(*remote)) if local and remote else None


def _plain(ip: str, port: int) -> tuple[str, int]:
    """The address without the prefix it has on a socket for both versions of IP."""
    return ip.removeprefix("::ffff:"), port


def _process(pid: int) -> Process:
    cwd = name = None
    with suppress(psutil.Error, OSError):
        process = psutil.Process(pid)
        cwd = process.cwd()
        name = program(process.cmdline())
    return Process(pid, cwd, name)


def program(command: list[str]) -> str | None:
    """What people call the program of a command line; None where it is a piece of code, or nothing one could call by name."""
    words = list(command)
    if words and INTERPRETERS.match(Path(words[0]).name):
        words = [word for word in words[1:] if not word.startswith("-") or word in CODE] or words
    if not words or words[0] in CODE:
        return None
    path = Path(words[0])
    while path.stem in NAMELESS and path.parent.name:
        path = path.parent
    return path.stem if NAME.match(path.stem) else None
