"""`capture demo`: the main job on built-in parts, to be watched."""

import hashlib
import shutil
import tempfile
import textwrap
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click
import orjson

from capture import providers, proxy, samples
from capture.commands.base import paint, printable, table
from capture.events import Event, Failed, ReasoningDelta, TextDelta, ToolArgumentsDelta, ToolCallStarted, ToolResult
from capture.files import ENDS, FLOWS, LINES, follow
from capture.messages import is_context
from capture.reader import LogReader

SAMPLES = ("anthropic/thinking", "openai_responses/websocket", "openai_chat/tool_calls")
STYLES = {"result": "value", "failed": "bad"}  # of what is not called like its style
WIDTH = 100  # columns at most: longer lines are harder to read


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
        started = stack.enter_context(proxy.own(directory, directory.parent / "mitmproxy"))
        click.echo(f"proxy {started.url} · scripted model on port {upstream_port} · three agents talk at once:\n")
        pool = stack.enter_context(ThreadPoolExecutor(len(played)))
        calls = [pool.submit(upstream.call, sample, upstream_port, started.port) for sample in played]
        _watch(directory, calls)
    shutil.rmtree(directory.parent / "mitmproxy")  # its CA was for this demo only
    _tell(directory, [hashlib.sha256(sample.response).hexdigest() for sample in played], [call.result() for call in calls])


# -- what is said, as it is said ---------------------------------------------------------------------------------------------


def _watch(directory: Path, calls: list[Future[str]]) -> None:
    """Prints what the log says while it is written, until all calls are over and their ends are on record."""
    view = View(_columns())
    reader = LogReader(directory)
    flows: dict[str, dict[str, Any]] = {}

    def over() -> bool:
        if any(call.done() and call.exception() for call in calls):
            return True  # a call's result raises it
        return all(call.done() for call in calls) and sum(1 for _ in reader.ends()) >= len(calls)

    for line in follow(directory / LINES, 0, over):
        record = orjson.loads(line)
        if record["flow_id"] not in flows:
            flows |= {flow["flow_id"]: flow for flow in reader.flows()}
        flow = flows[record["flow_id"]]
        for kind, text in _said(flow, record["event"], reader.value(record)):
            view.show(flow["flow_id"], flow["client"]["name"] or "?", kind, text)
    view.close()


def _columns() -> int:
    return min(shutil.get_terminal_size((80, 24)).columns, WIDTH)


def _said(flow: dict[str, Any], event: str, payload: Any) -> Iterator[tuple[str, str]]:
    provider = providers.called(flow["provider"], flow["api"])
    if not event.startswith("request."):
        events = provider.decode(event, payload)
    elif event in ("request.user", "request.tool", "request.function_call_output", "request.custom_tool_call_output"):
        events = provider.decode_part(event, payload)
    else:
        return
    for said in events:
        yield from _words(said)


def _words(event: Event) -> Iterator[tuple[str, str]]:
    match event:
        case TextDelta(text, role) if not is_context(text):
            yield "user" if role == "user" else "assistant", text
        case ReasoningDelta(text):
            yield "reasoning", text
        case ToolCallStarted(name=name):
            yield "tool", f"\n{name} "
        case ToolArgumentsDelta(text=text):
            yield "tool", text
        case ToolResult(text=text):
            yield "result", text
        case Failed(kind, text):
            yield "failed", f"{kind}: {text}"


class View:
    """Lines of several conversations under each other: one speaker a line, a line when it is full or the speaker changes."""

    def __init__(self, width: int) -> None:
        self._room = max(20, width - 26)
        self._open: dict[str, tuple[str, str, str]] = {}  # flow → client, kind, text not printed yet

    def show(self, flow: str, client: str, kind: str, text: str) -> None:
        _, before, waiting = self._open.get(flow, (client, kind, ""))
        if before != kind and waiting.strip():
            self._print(client, before, waiting)
            waiting = ""
        waiting += printable(text)
        *full, waiting = [line for part in waiting.split("\n") for line in _wrap(part, self._room)] or [""]
        for line in filter(str.strip, full):
            self._print(client, kind, line)
        self._open[flow] = (client, kind, waiting)

    def close(self) -> None:
        for client, kind, text in self._open.values():
            if text.strip():
                self._print(client, kind, text)
        self._open.clear()

    def _print(self, client: str, kind: str, text: str) -> None:
        label = paint(f"{client[:12]:<12}", "strong") + paint(f" {kind:<10} ", "quiet")
        click.echo(label + paint(text.strip(), STYLES.get(kind, kind)))


def _wrap(text: str, room: int) -> list[str]:
    """The text in lines that fit; spaces at its end are kept, for what follows."""
    lines = textwrap.wrap(text, room, drop_whitespace=False, replace_whitespace=False)
    return lines or [text]


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
