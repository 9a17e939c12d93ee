"""One flow in the records of our own recorder, and records damaged in ways that `check` must find."""

import hashlib
import json
from typing import Any

import orjson

from bench.story import Agent, Session
from bench.telling import ENDS, FLOWS, LINES, Line, Truth, local, unix
from bench.wording import dumps, quote, short
from capture import parts as parts_of

INLINE = 1 << 20  # bytes of a part that stands in a line; a longer one goes to bodies/
HUGE = 20 << 20  # characters of a line that is as it should not be, but was in older logs
PROVIDERS = {
    "anthropic": ("anthropic", "messages"),
    "responses": ("openai", "responses"),
    "chat": ("openai", "chat"),
    "gemini": ("gemini", "generate_content"),
}


class Journal:
    """The records of one session, and which parts it has on record."""

    def __init__(self, session: Session, nasty: bool) -> None:
        self.session, self.nasty = session, nasty
        self.lines: list[Line] = []
        self.written: set[str] = set()
        self.bodies: dict[str, bytes] = {}  # payloads over INLINE, by their hash

    def put(self, at: int, file: str, text: str) -> None:
        self.lines.append(Line(at, len(self.lines), file, text))


class Flow:
    """One flow while it is told."""

    def __init__(self, journal: Journal, flow_id: str, at: int, agent: Agent | None = None) -> None:
        self.journal, self.flow_id, self.began, self.agent = journal, flow_id, at, agent
        self.lines = self.frames = self.bytes = 0
        self.first: int | None = None
        client, session = journal.session.client, journal.session
        shared = {
            "ver": client.ver,
            "pid": session.pid,
            "cwd": session.cwd,
            "provider": PROVIDERS[client.vocabulary][0],
            "host": client.url.split("/")[2],
        }
        self._metadata = quote(dumps(shared)[:-1])[:-1] + ',\\"dir\\":\\"'
        self._tail = f',"sid":"{session.sid}"}}'

    def line(self, event: str, payload: str, at: int, direction: str = "in", extra: str = "") -> None:
        us = (at - self.began) * 1000
        more = quote("," + extra[1:-1])[1:-1] if extra else ""
        if direction == "in":
            self.bytes += len(payload)
            self.first = at if self.first is None else self.first
        self.frames += not event.startswith("request.")
        self.journal.put(
            at,
            LINES,
            f'{{"event":"{event}","t":"{local(at)}","line":{quote("data: " + payload)},"metadata":{self._metadata}{direction}\\",'
            f'\\"us\\":{us}{more}}}","flow_id":"{self.flow_id}","data_count":{self.lines}{self._tail}',
        )
        self.lines += 1

    def parts(self, parts: list[parts_of.Part], at: int) -> None:
        for part in parts:
            if part.id not in self.journal.written:
                self.journal.written.add(part.id)
                self._part(part, part.text.encode(), at)

    def _part(self, part: parts_of.Part, data: bytes, at: int) -> None:
        if not INLINE < len(data) < HUGE:
            self.line(part.event, part.text, at, "out", f'{{"id":"{part.id}"}}')
            return
        digest = hashlib.sha256(data).hexdigest()
        self.journal.bodies[digest] = data
        extra = f'{{"id":"{part.id}","bytes":{len(data)},"sha256":"{digest}"}}'
        self.line(part.event, data[: 64 << 10].decode("utf-8", "replace"), at, "out", extra)

    def opened(self, template: str | None, sha256: str | None, at: int, *, status: int = 200, small: bool = False) -> None:
        client, session = self.journal.session.client, self.journal.session
        name, api = PROVIDERS[client.vocabulary]
        agent = self.agent
        headers = [["Host", client.url.split("/")[2]], ["User-Agent", client.agent]]
        source = {"anthropic": "header:x-claude-code-session-id", "chat": "body:prompt_cache_key", "gemini": "fallback"}
        if client.name == "claude-code":
            kind = "subagent" if agent else "auxiliary" if small else "main"
            headers += [["X-Claude-Code-Session-Id", session.sid], ["x-claude-code-request-class", kind]]
            headers += [["x-claude-code-agent-id", agent.agent_id], ["x-claude-code-agent-type", agent.kind]] if agent else []
        if client.name == "codex":
            headers.append(["session-id", session.sid])
        plain = status != 200
        transport = "websocket" if client.socket and not plain else "json" if plain else "sse"
        fields: dict[str, Any] = {
            "t": local(at),
            "started": unix(self.began),
            "flow_id": self.flow_id,
            "sid": session.sid,
            "sid_source": source.get(client.vocabulary, "header:session-id"),
            "provider": name,
            "api": api,
            "transport": transport,
            "client": {
                "name": client.name,
                "version": client.version,
                "user_agent": client.agent,
                "pid": session.pid,
                "cwd": session.cwd,
                "agent_id": agent.agent_id if agent else None,
                "agent_type": agent.kind if agent else None,
                "parent_id": session.sid if agent else None,
            },
            "method": "GET" if transport == "websocket" else "POST",
            "url": client.url,
            "request_headers": headers,
            "request": orjson.Fragment(template) if template else None,
            "request_sha256": sha256,
            "status": 101 if transport == "websocket" else status,
            "response_headers": [
                ["content-type", "application/json" if plain else "text/event-stream"],
                ["request-id", short(self.flow_id)],
            ],
            "proxy": "made up",
            "v": 1,
        }
        if self.journal.nasty:
            fields["unheard_of"] = {"field": True}
        self.journal.put(at, FLOWS, dumps(fields))

    def ended(self, at: int, outcome: str, terminal: str | None) -> None:
        fields = {
            "t": local(at),
            "flow_id": self.flow_id,
            "sid": self.journal.session.sid,
            "outcome": outcome,
            "terminal_event": terminal,
            "lines": self.lines,
            "frames": self.frames,
            "wire_bytes": self.bytes,
            "decoded_bytes": self.bytes,
            "sha256": hashlib.sha256(self.flow_id.encode()).hexdigest(),
            "first_byte_ms": None if self.first is None else float(self.first - self.began),
            "first_event_ms": None if self.first is None else float(self.first - self.began),
            "duration_ms": float(at - self.began),
            "dropped_chunks": 0,
            "dropped_bytes": 0,
            "close_code": 1006 if self.journal.session.client.socket else None,
            "error": None,
            "capture_error": None,
            "v": 1,
        }
        self.journal.put(at, ENDS, dumps(fields))


def damaged(lines: list[Line], truth: Truth) -> list[Line]:
    """The records of a session with damage that loses nothing a user asks for; what was done stands in the truth."""
    flows = [json.loads(line.text) for line in lines if line.file == FLOWS]
    gap, unended, unresolved, shrinking = (flow["flow_id"] for flow in flows[1:5])
    kept = []
    for line in lines:
        flow_id, text = json.loads(line.text)["flow_id"], line.text
        if (flow_id == gap and text.startswith('{"event":"ping"')) or (flow_id == unended and line.file == ENDS):
            continue
        if flow_id == unresolved and line.file == FLOWS:
            known = text.index('"system":{"$part":"') + len('"system":{"$part":"')
            text = text[:known] + "deadbeefdeadbeef" + text[known + 16 :]
        if flow_id == shrinking and text.startswith('{"event":"message_start"'):
            text = text.replace('\\"output_tokens\\":1}', '\\"output_tokens\\":999999}')
        kept.append(line._replace(text=text))
    for defect, flow_id in (("gap", gap), ("no_end", unended), ("missing_part", unresolved), ("usage_shrinks", shrinking)):
        truth.add("defects", defect=defect, sid=flows[0]["sid"], flow_id=flow_id)
    return kept
