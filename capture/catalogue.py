"""What a log directory holds: sessions, flows, conversations, request bodies. Reads only."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson

from capture import parts, providers
from capture.events import Event, TextDelta
from capture.messages import Assembler, Message, assemble, is_context
from capture.reader import LogReader
from capture.requests import SAID_BEFORE, request_of


class NotFound(LookupError):
    """No session or flow goes by that name, or several do; the message says what to do."""


@dataclass(slots=True)
class SessionRow:
    """One session as `capture sessions` lists it."""

    sid: str
    client: str | None = None
    models: list[str] = field(default_factory=list)
    cwd: str | None = None
    flows: int = 0
    bad: int = 0  # flows whose end is not `complete`
    open: int = 0  # flows without an end
    first: str = ""
    last: str = ""
    parent: str | None = None


def sessions(reader: LogReader) -> list[SessionRow]:
    """All sessions, the one last spoken in at the end."""
    outcomes = {end["flow_id"]: end for end in reader.ends()}
    rows: dict[str, SessionRow] = {}
    for flow in reader.flows():
        row = rows.setdefault(flow["sid"], SessionRow(flow["sid"], first=flow["t"]))
        client = flow.get("client") or {}
        row.client = row.client or _join(client.get("name"), client.get("version"))
        row.cwd = row.cwd or client.get("cwd")
        row.parent = row.parent or (client.get("parent_id") if client.get("parent_id") != flow["sid"] else None)
        row.flows += 1
        end = outcomes.get(flow["flow_id"])
        row.open += end is None
        row.bad += end is not None and end["outcome"] != "complete"
        row.last = max(row.last, flow["t"], end["t"] if end else "")
        model = model_of(reader, flow)
        if model and model not in row.models:
            row.models.append(model)
    return sorted(rows.values(), key=lambda row: row.last)


def model_of(reader: LogReader, flow: dict[str, Any]) -> str | None:
    """The model a flow's request asks for: in the body, in the path (Gemini), or in a socket's first request."""
    if model := request_of(flow).model:
        return model
    if flow.get("transport") == "websocket":
        for record in reader.flow_lines(flow["sid"], flow["flow_id"]):
            payload = reader.value(record)
            if isinstance(payload, dict) and isinstance(payload.get("model"), str):
                return str(payload["model"])
    return None


def find(reader: LogReader, name: str) -> list[dict[str, Any]]:
    """The flow records a name means, in order.

    A session by its id, the beginning of it, or `latest`; a flow by the beginning or the end of its id. Raises NotFound.
    """
    flows = list(reader.flows())
    if not flows:
        raise NotFound(f"nothing is recorded in {reader.directory} yet")
    if name == "latest":
        sids = {sessions(reader)[-1].sid}
    else:
        sids = {flow["sid"] for flow in flows if flow["sid"] == name} or {
            flow["sid"] for flow in flows if flow["sid"].startswith(name)
        }
    if len(sids) == 1:
        return [flow for flow in flows if flow["sid"] in sids]
    if sids:
        raise NotFound(f"{len(sids)} sessions begin with {name}: give more of the id (see `capture sessions`)")
    ids = [flow for flow in flows if flow["flow_id"].startswith(name) or flow["flow_id"].endswith(name)]
    if len(ids) == 1:
        return ids
    if ids:
        raise NotFound(f"{len(ids)} flows begin or end with {name}: give more of the id")
    raise NotFound(f"no session and no flow goes by {name}: see `capture sessions`")


def conversation(reader: LogReader, flows: Iterable[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], Iterator[Message]]]:
    """(flow, all that was said in it) in order. What a client only sends back is left out after the first flow."""
    for index, flow in enumerate(flows):
        yield flow, _said(reader, flow, frozenset() if index == 0 else SAID_BEFORE)


def _said(reader: LogReader, flow: dict[str, Any], without: frozenset[str]) -> Iterator[Message]:
    provider = providers.called(flow.get("provider", ""), flow.get("api", ""))
    answer = Assembler()
    for record in reader.flow_lines(flow["sid"], flow["flow_id"]):
        event, payload = record["event"], reader.value(record)
        outgoing = orjson.loads(record["metadata"]).get("dir") == "out"
        if not outgoing:
            for said in provider.decode(event, payload):
                yield from answer.feed(said)
        elif event.startswith("request.") and event not in without:
            yield from answer.close()
            yield from assemble(_human(provider.decode_part(event, payload)), _role(event))
    yield from answer.close()


def frames(reader: LogReader, flows: Iterable[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], str]]:
    """(record, payload) of every frame from the server, as received."""
    for flow in flows:
        for record in reader.flow_lines(flow["sid"], flow["flow_id"]):
            if orjson.loads(record["metadata"]).get("dir") == "in":
                yield record, reader.payload(record)


def bodies(reader: LogReader, flow: dict[str, Any]) -> Iterator[tuple[str, str | None]]:
    """(request body rebuilt, its SHA-256 when it was recorded): one for an HTTP flow, one for each request of a socket.

    Raises NotFound when a part is missing.
    """
    written: dict[str, str] = {}
    for record, metadata in reader.parts(flow["sid"]):
        written.setdefault(metadata["id"], reader.payload(record))

    def text(part_id: str) -> str:
        if part_id not in written:
            raise NotFound(f"part {part_id} of flow {flow['flow_id']} is not in the log")
        return written[part_id]

    line = reader.raw_flow(flow["flow_id"]) or b"{}"
    request = parts.member(line.decode(), "request")
    if request and request != "null":
        template = orjson.loads(request) if request.startswith('"') else request
        yield parts.join(template, text), flow.get("request_sha256")
    for record in reader.flow_lines(flow["sid"], flow["flow_id"]):
        if not record["event"].startswith("request.") and orjson.loads(record["metadata"]).get("dir") == "out":
            yield parts.join(reader.payload(record), text), None


def _human(events: Iterable[Event]) -> Iterator[Event]:
    """A prompt's events without what the client put in about itself."""
    for event in events:
        if not (isinstance(event, TextDelta) and event.role == "user" and is_context(event.text)):
            yield event


def _role(event: str) -> str:
    return {"request.model": "assistant"}.get(event, event.removeprefix("request."))


def _join(name: str | None, version: str | None) -> str | None:
    return " ".join(filter(None, (name, version))) or None
