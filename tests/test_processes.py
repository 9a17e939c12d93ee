"""Which process of this machine is at the other end of a connection."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psutil
import pytest

from capture import processes
from capture.processes import NOBODY

type Address = tuple[str, int]


def at(client: Address, server: Address, candidates: list[int]) -> tuple[int | None, str | None]:
    """(pid, working directory)"""
    return processes.behind([(client, server)], candidates).get((client, server), NOBODY)[:2]


CLIENT = """
import socket, sys
with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as client:
    client.recv(1)
"""


@contextmanager
def connection(family: socket.AddressFamily = socket.AF_INET, host: str = "127.0.0.1") -> Iterator[tuple[Address, Address]]:
    """A connection of this process to itself: the addresses of client and server, as the server sees them."""
    with socket.socket(family) as server:
        if family == socket.AF_INET6:
            server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        server.bind((host, 0))
        server.listen()
        address = "127.0.0.1" if host == "::" else host
        with socket.create_connection((address, server.getsockname()[1])):
            accepted, _ = server.accept()
            with closing(accepted):
                yield accepted.getpeername()[:2], accepted.getsockname()[:2]


ME = (os.getpid(), str(Path.cwd()))


@pytest.mark.parametrize(
    "candidates", [[os.getpid()], [], [1, os.getpid()], [2**22 - 1]], ids=["asked first", "not asked", "second", "gone"]
)
def test_the_process_of_a_socket_is_found_with_its_working_directory(candidates: list[int]) -> None:
    with connection() as (client, server):
        assert at(client, server, candidates) == ME


def test_the_process_of_a_socket_over_ipv6_is_found() -> None:
    try:
        with connection(socket.AF_INET6, "::1") as (client, server):
            assert at(client, server, []) == ME
    except OSError:
        pytest.skip("no IPv6 here")


def test_a_client_is_found_that_comes_over_ipv4_to_a_socket_for_both() -> None:
    try:
        with connection(socket.AF_INET6, "::") as (client, server):
            assert client[0] == "::ffff:127.0.0.1"
            assert at(client, server, []) == ME
            assert at(client, server, [os.getpid()]) == ME
    except OSError:
        pytest.skip("no IPv6 here")


def test_another_process_is_found_with_its_own_directory_and_not_the_one_that_listens(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        child = subprocess.Popen([sys.executable, "-c", CLIENT, str(server.getsockname()[1])], cwd=tmp_path)
        accepted, client = server.accept()
        with closing(accepted):
            for candidates in ([], [os.getpid()], [child.pid]):
                assert at(client, accepted.getsockname(), candidates) == (child.pid, str(tmp_path.resolve()))
        assert child.wait(30) == 0


def test_a_connection_that_is_over_or_of_another_machine_is_nobodys() -> None:
    with connection() as (client, server):
        assert at(("192.0.2.1", client[1]), server, [os.getpid()]) == NOBODY[:2]
        assert at(server, ("192.0.2.1", client[1]), []) == NOBODY[:2]
    assert at(client, server, [os.getpid()]) == NOBODY[:2]


def test_several_connections_are_found_in_one_look() -> None:
    with connection() as one, connection() as other:
        nobodys = (("192.0.2.1", 1), ("192.0.2.1", 2))
        for candidates in ([os.getpid()], []):
            found = processes.behind([one, nobodys, other], candidates)
            assert {ends: process[:2] for ends, process in found.items()} == {one: ME, other: ME}
        assert processes.behind([], []) == {}


def test_a_system_that_does_not_tell_gives_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(kind: str) -> None:
        raise psutil.AccessDenied

    monkeypatch.setattr(psutil, "net_connections", refused)
    with connection() as (client, server):
        assert at(client, server, []) == NOBODY[:2]
        assert at(client, server, [os.getpid()]) == ME


def test_a_process_that_hides_its_directory_is_known_by_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(process: psutil.Process) -> str:
        raise psutil.AccessDenied

    monkeypatch.setattr(psutil.Process, "cwd", refused)
    with connection() as (client, server):
        assert at(client, server, [os.getpid()]) == (os.getpid(), None)


@pytest.mark.parametrize(
    ("command", "name"),
    [
        (["node", "/usr/lib/node_modules/.bin/pi", "--provider", "x"], "pi"),
        (["/usr/bin/node", "--no-warnings", "/opt/agent/dist/index.js"], "agent"),
        (["/opt/codex/bin/codex", "exec"], "codex"),
        (["/usr/bin/python3.13", "-u", "/home/me/bot.py"], "bot"),
        (["claude"], "claude"),
        (["python3", "-c", "import agent; agent.run()"], None),
        (["python3"], "python3"),
        ([], None),
    ],
)
def test_a_program_is_called_what_people_call_it(command: list[str], name: str | None) -> None:
    assert processes.program(command) == name
