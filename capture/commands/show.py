"""`capture show`: a conversation as text, its frames as received, a request body as sent."""

import hashlib
import sys
from pathlib import Path
from typing import Any

import click

from capture import catalogue
from capture.commands.base import paint, say
from capture.commands.options import directory_option, from_option, rotated_option
from capture.live.inks import Style
from capture.live.printable import printable
from capture.messages import Message
from capture.reader import LogReader

LONG = 2000  # characters of a tool result or a system prompt that are shown; `--full` shows all


@click.command(short_help="Show a conversation, its frames, or a request.")
@click.argument("name", metavar="[SESSION|FLOW]", default="latest")
@directory_option
@rotated_option
@from_option
@click.option("--raw", is_flag=True, help="The frames as they were received.")
@click.option("--request", "flow_id", metavar="FLOW", help="The request body of one flow, rebuilt as it was sent.")
@click.option("--full", is_flag=True, help="Long tool results and system prompts whole.")
def show(name: str, directory: Path, raw: bool, flow_id: str | None, full: bool) -> None:
    """Show what was said in a session or in one flow.

    SESSION is an id, the beginning of one, or `latest` (the default); FLOW is the beginning or the end of a flow id.
    """
    reader = LogReader(directory)
    try:
        if flow_id:
            _request(reader, flow_id)
        elif raw:
            _frames(reader, name)
        else:
            _conversation(reader, name, full)
    except catalogue.NotFound as problem:
        say(str(problem))
        sys.exit(2)


def _request(reader: LogReader, flow_id: str) -> None:
    flows = catalogue.find(reader, flow_id)
    if len(flows) != 1:
        raise catalogue.NotFound(f"{flow_id} is a session of {len(flows)} flows: give one flow's id (see `capture show --raw`)")
    found = False
    for body, digest in catalogue.bodies(reader, flows[0]):
        found = True
        click.echo(printable(body) if sys.stdout.isatty() else body, nl=sys.stdout.isatty() or digest is None)
        if digest and hashlib.sha256(body.encode()).hexdigest() != digest:
            say(f"this is not what was sent: a part of flow {flows[0]['flow_id']} was changed in the log")
            sys.exit(1)
    if not found:
        raise catalogue.NotFound(f"flow {flow_id} has no request body")


def _frames(reader: LogReader, name: str) -> None:
    for record, payload in catalogue.frames(reader, catalogue.find(reader, name)):
        lines = "\n".join(f"data: {line}" for line in payload.split("\n"))
        text = f"event: {record['event']}\n{lines}\n"
        click.echo(printable(text) if sys.stdout.isatty() else text)


def _conversation(reader: LogReader, name: str, full: bool) -> None:
    flows = catalogue.find(reader, name)
    ends = {end["flow_id"]: end for end in reader.ends()}
    for flow, messages in catalogue.conversation(reader, flows):
        end = ends.get(flow["flow_id"], {})
        _headline(flow, end.get("outcome", "open"))
        for message in messages:
            _message(message, full)
        _footer(flow, end)


def _headline(flow: dict[str, Any], outcome: str) -> None:
    client = flow.get("client")
    agent = client.get("agent_id") if isinstance(client, dict) else None
    words = [str(flow["t"])[:19].replace("T", " "), f"flow {flow['flow_id']}", f"{flow['provider']}/{flow['api']}"]
    if agent:
        words.append(f"sub-agent {agent}")
    click.echo(paint(f"── {' · '.join(words)} ", "quiet") + paint(outcome, "quiet" if outcome == "complete" else "bad"))


def _footer(flow: dict[str, Any], end: dict[str, Any]) -> None:
    """Why a flow did not go as it should."""
    if (flow.get("status") or 0) >= 400:
        _block("status", str(flow["status"]), "bad")
    for what in ("error", "capture_error"):
        if end.get(what) and (end["outcome"] != "complete" or what == "capture_error"):
            _block(what.replace("_", " "), str(end[what]), "bad")
    if end.get("dropped_chunks"):
        _block("not recorded", f"{end['dropped_chunks']:,} chunks, {end['dropped_bytes']:,} bytes", "bad")


def _message(message: Message, full: bool) -> None:
    if message.role in ("system", "developer"):
        _block(message.role, message.text if full else _measured(message.text), "quiet")
        return
    if message.reasoning:
        _block("reasoning", message.reasoning, "reasoning")
    if message.text:
        _block(message.role, message.text, "user" if message.role == "user" else "assistant")
    for call in message.calls:
        _block(f"tool {call.name}", call.arguments, "tool")
    for result in message.results:
        text = result.text if full else _cut(result.text)
        _block("error" if result.is_error else "result", text, "bad" if result.is_error else "value")
    if message.failed:
        _block("failed", message.failed, "bad")


def _block(label: str, text: str, style: Style) -> None:
    first, *rest = printable(text.strip()).split("\n")
    click.echo(paint(f"{label}: ", "strong") + paint(first, style))
    for line in rest:
        click.echo("  " + paint(line, style) if line else "")


def _measured(text: str) -> str:
    return text if len(text) <= 80 else f"{len(text):,} characters (--full shows them)"


def _cut(text: str) -> str:
    return text if len(text) <= LONG else f"{text[:LONG]}\n… {len(text) - LONG:,} characters more (--full shows them)"
