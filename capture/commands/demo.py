"""`capture demo`: the main job on built-in parts, to be watched."""

import hashlib
import shutil
import sys
import tempfile
import textwrap
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import click
import orjson

from capture import own, proxy, samples
from capture.commands.base import coloured, paint, table
from capture.files import ENDS, FLOWS, LINES
from capture.live.render import Look
from capture.live.terminal import Terminal
from capture.live.view import Choice, View
from capture.prices import cost
from capture.reader import LogReader
from capture.scan.following import following

SAMPLES = ("anthropic/thinking", "openai_responses/websocket", "openai_chat/tool_calls")
WIDTH = 100  # columns at most: longer lines are harder to read
WAIT = 0.05  # seconds between two looks at the log
QUIET = 1.0  # seconds until another agent takes the screen: who watches a demo does not wait long


@click.command(short_help="Show it all in ten seconds.")
def demo() -> None:
    """Show it all in ten seconds: a real proxy, a scripted model, three agents at once.

    Nothing leaves this machine; the recording goes to a temporary directory.
    """
    from capture import upstream  # tornado, imported by nobody else, takes a third of the start of every command

    directory = Path(tempfile.mkdtemp(prefix="sse-capture-demo-")) / "log"
    played = [samples.load(name) for name in SAMPLES]
    with ExitStack() as stack:
        upstream_port = stack.enter_context(upstream.serving(played))
        started = stack.enter_context(own.own(directory, directory.parent / "mitmproxy"))
        click.echo(f"proxy {started.url} · scripted model on port {upstream_port} · three agents talk at once:\n")
        pool = stack.enter_context(ThreadPoolExecutor(len(played)))
        calls = [pool.submit(upstream.call, sample, upstream_port, started.port) for sample in played]
        _watch(directory, calls)
    shutil.rmtree(directory.parent / "mitmproxy")  # its CA was for this demo only
    _tell(directory, [hashlib.sha256(sample.response).hexdigest() for sample in played], [call.result() for call in calls])


# -- what is said, as it is said ---------------------------------------------------------------------------------------------


def _watch(directory: Path, calls: list[Future[str]]) -> None:
    """Shows what the log says while it is written, until all calls are over and their ends are on record."""
    source = following(str(directory), "start")
    look = Look(results=3, width=_columns)
    view = View(Choice(look, guard=QUIET), Terminal(_columns, coloured(sys.stdout), sys.stdout.isatty()), cost)
    ends = 0
    while ends < len(calls):
        items = source.poll(WAIT)
        ends += sum(isinstance(item, dict) and "outcome" in item for item in items or ())
        click.echo(view.feed(items) if items else view.wait(WAIT), nl=False)
        if any(call.done() and call.exception() for call in calls):
            break  # the call's result raises it
    click.echo(view.close(), nl=False)
    source.close()


def _columns() -> int:
    return min(shutil.get_terminal_size((80, 24)).columns, WIDTH)


# -- what was recorded -------------------------------------------------------------------------------------------------------


def _tell(directory: Path, sent: list[str], heard: list[str]) -> None:
    reader = LogReader(directory)
    ends = {end["flow_id"]: end for end in reader.ends()}
    flows = list(reader.flows())
    click.echo(f"\n{paint('Recorded', 'strong')} as it was said, secrets out:\n")
    table(
        ("client", "provider", "over", "frames", "first event", "outcome"),
        [
            (
                f"{flow['client']['name']} {flow['client']['version']}",
                f"{flow['provider']}/{flow['api']}",
                flow["transport"],
                str(ends[flow["flow_id"]]["frames"]),
                f"{ends[flow['flow_id']]['first_event_ms']:,.0f} ms",
                ends[flow["flow_id"]]["outcome"],
            )
            for flow in flows
        ],
        flexible="provider",
        spare=("first event", "over"),
    )
    same = "byte for byte what the model sent" if sent == heard else "NOT WHAT THE MODEL SENT: please report this"
    click.echo(f"\nWhat the agents received: {same}.")
    click.echo(f"\n{paint('The log', 'strong')} in {directory}:\n")
    for name, holds in ((FLOWS, "each flow"), (LINES, "each frame"), (ENDS, "how each ended")):
        size = (directory / name).stat().st_size
        click.echo(f"  {name:<22} {size:>9,} bytes  {holds}")
    click.echo(f"  {'sse_logs/<session>/':<22} {'':>9}        flow by flow")
    click.echo("\nOne line of it:\n")
    example = next(line for line in reader.lines() if "delta" in line["event"])
    text = orjson.dumps(example).decode()
    click.echo(textwrap.indent("\n".join(textwrap.wrap(text, _columns() - 4, break_on_hyphens=False)), "  "))
    click.echo(f"\n{paint('Next', 'strong')}:\n")
    name = proxy.command_name()
    click.echo(f"  {name} sessions --dir {directory}")
    click.echo(f"  {name} show --dir {directory} {flows[0]['sid']}")
    click.echo(f"  {name} run -- claude")
    click.echo("\nThe last one records an agent of your own: claude, codex, gemini …")
