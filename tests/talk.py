"""Conversations as the recorder writes them: what tests of readers feed on. Anthropic's vocabulary, one clock."""

import json
from dataclasses import dataclass, field
from typing import Any

from capture.jsonl import Record, dumps, loads
from capture.processes import Process
from capture.recorder import Closed, FlowRecorder, Memory, Opened, Stamp
from capture.redact import Redactor

SYSTEM = "You are an agent."
START = 1_795_248_000.0
CLAUDE = {"user-agent": "claude-cli/2.1.329 (external, cli)", "content-type": "application/json"}


def user(*blocks: Any) -> dict[str, Any]:
    """A message of a user: texts, or blocks."""
    return {"role": "user", "content": [{"type": "text", "text": b} if isinstance(b, str) else b for b in blocks]}


def result(call_id: str, text: str = "done", error: bool = False) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": call_id, "content": text, "is_error": error}


def call(call_id: str, name: str = "Bash", **arguments: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": call_id, "name": name, "input": arguments}


def says(*blocks: Any) -> dict[str, Any]:
    """A message of the model: texts, or calls."""
    return {"role": "assistant", "content": [{"type": "text", "text": b} if isinstance(b, str) else b for b in blocks]}


@dataclass
class Wire:
    """Plays exchanges one after the other; `records` is the log so far, in the order of its files' writing."""

    sid: str = "11111111-2222-4333-8444-555555555555"
    records: list[dict[str, Any]] = field(default_factory=list)
    memory: Memory = field(default_factory=Memory)
    clock: float = START
    flows: int = 0

    def exchange(
        self,
        messages: list[dict[str, Any]],
        answer: dict[str, Any] | None,
        *,
        model: str = "claude-opus-5-5",
        tools: tuple[str, ...] = ("Bash", "Task"),
        headers: dict[str, str] | None = None,
        sid: str | None = None,
        cut: bool = False,
        status: int = 200,
    ) -> str:
        """One request and its answer; `cut`: the stream ends before its last event. Gives the flow's id."""
        self.flows += 1
        body = {
            "model": model,
            "stream": True,
            "system": [{"type": "text", "text": SYSTEM}],
            "tools": [{"name": name, "input_schema": {"type": "object"}} for name in tools],
            "messages": messages,
        }
        opened = Opened(
            flow_id=f"flow-{self.flows:04d}",
            started=self._stamp(),
            method="POST",
            url="https://api.anthropic.com/v1/messages?beta=true",
            request_headers=tuple((CLAUDE | {"x-claude-code-session-id": sid or self.sid} | (headers or {})).items()),
            request_body=json.dumps(body).encode(),
            client_ip="127.0.0.1",
            status=status,
            response_headers=(("content-type", "text/event-stream" if status == 200 else "application/json"),),
            websocket=False,
            proxy="test",
        )
        recorder = FlowRecorder(opened, Process(7, "/home/user/shop"), Redactor(b"salt"), self.memory)
        entries = recorder.open(self._stamp())
        frames = list(_frames(self.flows, model, answer)) if answer else []
        if status != 200:
            error = {"type": "error", "error": {"type": "rate_limit_error", "message": "slow down"}}
            entries += recorder.feed(json.dumps(error).encode(), self._stamp())
        for frame in frames[:-2] if cut else frames:
            entries += recorder.feed(f"event: {frame['type']}\ndata: {json.dumps(frame)}\n\n".encode(), self._stamp())
        entries += recorder.close(Closed.BY_SERVER if cut else Closed.CLEANLY, self._stamp(), None, None)
        written = [loads(dumps(entry.fields)) for entry in entries if isinstance(entry, Record)]
        self.records += sorted(written, key=lambda record: "request_headers" not in record)  # as a reader merges the files
        return opened.flow_id

    def _stamp(self) -> Stamp:
        self.clock += 0.1
        return Stamp(self.clock, self.clock - START)


def _frames(number: int, model: str, answer: dict[str, Any]) -> list[dict[str, Any]]:
    usage = {"input_tokens": 10, "cache_read_input_tokens": 100, "cache_creation_input_tokens": 5, "output_tokens": 1}
    frames: list[dict[str, Any]] = [{"type": "message_start", "message": {"id": f"msg_{number}", "model": model, "usage": usage}}]
    stop = "end_turn"
    for index, block in enumerate(answer["content"]):
        if block["type"] == "text":
            deltas = [{"type": "text_delta", "text": piece} for piece in _halves(block["text"])]
            start: dict[str, Any] = {"type": "text", "text": ""}
        else:
            stop = "tool_use"
            deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in _halves(json.dumps(block["input"]))]
            start = {**block, "input": {}}
        frames.append({"type": "content_block_start", "index": index, "content_block": start})
        frames += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
        frames.append({"type": "content_block_stop", "index": index})
    frames.append({"type": "message_delta", "delta": {"stop_reason": stop}, "usage": {"output_tokens": 20}})
    return [*frames, {"type": "message_stop"}]


def _halves(text: str) -> list[str]:
    return [text[: len(text) // 2], text[len(text) // 2 :]]
