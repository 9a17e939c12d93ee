"""`capture run -- CMD`: an agent, captured."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import click
import psutil

from capture import catalogue, proxy
from capture.commands.base import hint, paint, say, short
from capture.commands.options import confdir_option, directory_option, password_option, scope_options
from capture.files import ENDS, FLOWS, Unusable, prepare, records_since, size_of
from capture.own import Own
from capture.reader import LogReader
from capture.scope import ALL, Scope
from capture.watching import watching

NOT_FOUND = 127  # what a shell says of a command that is not there
NOT_EXECUTABLE = 126
LOOK = 0.5  # seconds between two looks at which processes belong to the command
SETTLE = 2.0  # seconds a shared proxy has at most to write the last records
AT_LEAST = 0.2  # seconds it has in any case: the last flow may not be on record yet


@click.command(short_help="Run an agent and record it.")
@directory_option
@click.option(
    "--port", type=click.IntRange(1, 65535), default=proxy.PORT, show_default=True, help="Of the proxy, if one is started."
)
@password_option
@scope_options
@click.option("--fail-open", is_flag=True, help="Run the command all the same when no proxy can be started: NOT RECORDED.")
@confdir_option
@click.argument("command", nargs=-1, required=True, metavar="-- CMD [ARG …]")
def run(directory: Path, port: int, password: bool, scope: Scope, fail_open: bool, confdir: Path, command: tuple[str, ...]) -> None:
    """Run an agent and record what it says to its model and hears from it.

    Uses the proxy that records to the log directory, or starts one for this run. The command keeps its terminal;
    its exit status is passed on. At the end one line on stderr says what was recorded.

    When no proxy can be started, the command is not either (exit status 2), unless --fail-open is given. A proxy that dies
    is told of at once; one that this run has started is started again.
    """
    program = _program(command[0])
    with ExitStack() as stack:
        try:
            prepare(directory)
            before = Before(size_of(directory / FLOWS), size_of(directory / ENDS))
            own = Own(directory, confdir, (*proxy.asking(password), *proxy.recording(scope)), say)
            found = _proxy(directory, own, port, scope, stack)
            environment = _environment(found)
        except Unusable as problem:
            if not fail_open:
                raise Unusable(f"{problem}; {command[0]} was not started (--fail-open starts it unrecorded)") from None
            sys.exit(_unrecorded(program, command, problem))
        _warn_of_other(found, directory)
        watch = stack.enter_context(watching(found, own, directory, _loudly))
        status, family = _run(program, command, environment)
        stack.pop_all().close()  # the proxy has written all there is
        ours = Ours(watch.ids, found.owner is not None, family)
        if not ours.alone and watch.up:
            _settle(directory, before, ours)
    if family:
        if watch.down:
            _loudly(f"the proxy was down for {watch.down:.1f} s: what {command[0]} asked in that time is not recorded")
        _tell(directory, before, ours, command[0])
    sys.exit(status)


def _loudly(words: str) -> None:
    say(paint(words, "bad", sys.stderr))


def _proxy(directory: Path, own: Own, port: int, scope: Scope, stack: ExitStack) -> proxy.Proxy:
    """The one that records to the directory, else our own, which ends with the stack. Raises Unusable.

    Where less shall be recorded than one that runs records, it is not used.
    """
    found = proxy.running(directory)
    if found and proxy.answers(found.port) and scope in (ALL, found.scope):
        if found.scope != scope:
            say(f"the proxy that runs records {found.scope.words}")
        return found
    stack.callback(own.end)
    return own.start(port)


def _unrecorded(program: str, command: tuple[str, ...], problem: Unusable) -> int:
    """Exit status of a command that runs without us."""
    _loudly(f"NOT RECORDED: {problem}")
    status, _ = _run(program, command, _unproxied())
    _loudly(f"NOT RECORDED: {command[0]} ran without the proxy")
    return status


def _unproxied() -> dict[str, str]:
    """Our environment, without what would lead to a proxy of ours that does not run."""
    return {
        name: value for name, value in os.environ.items() if name not in proxy.PROXY_VARIABLES or not proxy.leads_nowhere(value)
    }


def _warn_of_other(found: proxy.Proxy, directory: Path) -> None:
    inherited = {name: os.environ[name] for name in proxy.PROXY_VARIABLES if name in os.environ}
    if any(proxy.without_password(value) != found.url for value in inherited.values()):
        chain = hint("up -- --mode upstream:URL", directory)
        say(f"{next(iter(inherited))} was set to another proxy, the agent now uses ours: to chain them, {chain}")


class Before(NamedTuple):
    """Sizes of the central files when the run began: what is in them is not of this run, and is not read."""

    flows: int
    ends: int


class Ours(NamedTuple):
    """Tells the flows of this run from others in the same log."""

    proxies: set[str]  # ids: one that is started again is another one
    alone: bool  # no other agent uses them
    family: set[int]  # pids of the command and its children

    def has(self, flow: dict[str, Any]) -> bool:
        """All flows of a proxy that is ours alone; of a shared one those of the command's processes."""
        if flow.get("proxy") not in self.proxies:
            return False
        return self.alone or (flow.get("client") or {}).get("pid") in self.family


def _program(name: str) -> str:
    found = shutil.which(name)
    if found:
        return found
    exists = Path(name).is_file()
    say(f"{name} is not executable" if exists else f"command not found: {name} (is it installed, and on PATH?)")
    sys.exit(NOT_EXECUTABLE if exists else NOT_FOUND)


def _environment(found: proxy.Proxy) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in proxy.CLEARED_VARIABLES}
    return kept | proxy.agent_environment(found, proxy.bundle(found.ca))


def _run(program: str, command: tuple[str, ...], environment: dict[str, str]) -> tuple[int, set[int]]:
    """(exit status, pids of the command and of its children that were seen). Signals sent to us alone are passed on."""
    try:
        process = subprocess.Popen(command, executable=program, env=environment)
    except OSError as error:  # no interpreter, no shebang, the wrong machine
        say(f"{command[0]} cannot be executed ({error.strerror})")
        return NOT_EXECUTABLE, set()
    kept = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGQUIT)}
    for number in (signal.SIGTERM, signal.SIGHUP):
        kept[number] = signal.signal(number, lambda number, _: process.send_signal(number))
    family = {process.pid}
    pause = 0.05
    try:
        while True:
            try:
                status = process.wait(pause)
                break
            except subprocess.TimeoutExpired:
                family |= _children(process.pid)
                pause = min(LOOK, pause * 2)
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
    return (status if status >= 0 else 128 - status), family


def _children(pid: int) -> set[int]:
    try:
        return {child.pid for child in psutil.Process(pid).children(recursive=True)}
    except psutil.Error:
        return set()


def _recorded(directory: Path, before: Before, ours: Ours) -> list[dict[str, Any]]:
    """The flows of this run."""
    return [flow for flow in records_since(directory / FLOWS, before.flows) if ours.has(flow)]


def _outcomes(directory: Path, before: Before) -> dict[str, str]:
    """How each flow ended that did since the run began, by its id."""
    return {end["flow_id"]: end["outcome"] for end in records_since(directory / ENDS, before.ends)}


def _settle(directory: Path, before: Before, ours: Ours) -> None:
    """Waits until each flow of the command has its end on record: the proxy goes on, so nothing else tells."""
    begun = time.monotonic()
    while time.monotonic() < begun + SETTLE:
        open_flows = {flow["flow_id"] for flow in _recorded(directory, before, ours)}
        if open_flows:
            open_flows -= _outcomes(directory, before).keys()
        if not open_flows and time.monotonic() > begun + AT_LEAST:
            return
        time.sleep(0.05)


def _tell(directory: Path, before: Before, ours: Ours, name: str) -> None:
    flows = _recorded(directory, before, ours)
    if not flows:
        nothing = paint("NOTHING WAS CAPTURED", "bad", sys.stderr)
        say(f"{nothing}: {name} made no call to a model through the proxy: {hint('doctor', directory)}")
        return
    reader = LogReader(directory)
    ends = _outcomes(directory, before)
    outcomes = Counter(ends.get(flow["flow_id"], "open") for flow in flows)
    said = ", ".join(f"{count} {outcome}" for outcome, count in outcomes.most_common())
    sids = list(dict.fromkeys(flow["sid"] for flow in flows))
    models = ", ".join(dict.fromkeys(model for flow in flows if (model := catalogue.model_of(reader, flow))))
    where = f"in {short(str(directory))}"
    sessions = f"session {sids[0]}" if len(sids) == 1 else f"{len(sids)} sessions"
    asked = f", {models}" if models else ""
    count = _plural(len(flows), "flow")
    say(f"captured {count} ({said}) of {sessions}{asked} {where}: {hint(f'show {sids[-1]}', directory)}")


def _plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
