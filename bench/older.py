"""A story in the two dialects that existed before our recorder: one file each, no requests, no flow records. Contract: WIRE.md."""

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import cycle
from typing import Any

from bench import wording
from bench.flows import HUGE, Journal
from bench.ours import GAPS, WAIT
from bench.story import Call, Exchange, Session, Turn, Usage
from bench.telling import LINES, Line, Told, Truth, added, local, unix
from bench.wording import dumps, quote, short


class Older:
    """What both dialects share: lines counted by flow, turns told one after another."""

    def __init__(self, session: Session, at: int, truth: Truth, nasty: bool, huge: bool = False, defective: bool = False) -> None:
        self.session, self.client, self.truth, self.nasty, self.huge = session, session.client, truth, nasty, huge
        self.at = at
        self.journal = Journal(session, nasty)
        self._counts: dict[str, int] = {}
        self._gaps = cycle(GAPS)
        self._flows = 0
        self.turn = 0
        self._beside: list[Told] = []  # exchanges of the turn beside its own

    def put(self, event: str, payload: str, at: int, flow_id: str, metadata: str, more: str = "") -> None:
        count = self._counts.get(flow_id, 0)
        self._counts[flow_id] = count + 1
        text = f'{{"event":"{event}","t":"{local(at)}","line":{quote("data: " + payload)},"metadata":{metadata}{more}'
        text += f',"flow_id":"{flow_id}","data_count":{count},"sid":"{self.session.sid}"}}'
        self.journal.put(at, LINES, text)

    def tell(self) -> Iterator[Line]:
        self.begin()
        for number, turn in enumerate(self.session.turns, 1):
            self.turn = number
            self.at += turn.pause
            self._turn(turn)
        self.end()
        return iter(sorted(self.journal.lines))

    def begin(self) -> None:
        pass

    def end(self) -> None:
        pass

    def asked(self, turn: Turn) -> None:
        raise NotImplementedError

    def exchange(self, exchange: Exchange) -> Told:
        raise NotImplementedError

    def idle(self) -> int:
        """Says that the agent waits for its user; when."""
        raise NotImplementedError

    def answered(self, call: Call) -> None:
        """A call has its result."""

    def _turn(self, turn: Turn) -> None:
        began, sid = self.at, self.session.sid
        self.asked(turn)
        told, self._beside = self._beside, []
        calls: list[Call] = []
        for exchange in turn.exchanges:
            if exchange.end == "limited":
                continue
            done = self.exchange(exchange)
            told.append(done)
            self.truth.exchange(self.session, done, turn=self.turn)
            calls += [call for call in exchange.calls if call.complete]
            for call in exchange.calls if exchange.end == "complete" else []:
                if call.result is not None:
                    self.at += round(1000 * call.seconds)
                    self.answered(call)
        outcome = {"complete": "idle", "interrupted": "interrupted", "broken": "failed"}[told[-1].exchange.end]
        if self.session.left and self.turn == len(self.session.turns):
            outcome = "open"
        idle = self.idle() if outcome == "idle" else None
        self.truth.add("prompts", t=local(began), sid=sid, text=turn.prompt)
        self.truth.add(
            "turns",
            sid=sid,
            number=self.turn,
            t=local(began),
            text=turn.prompt,
            plot=turn.plot,
            idle_t=local(idle) if idle else None,
            duration_ms=idle - began if idle else None,
            outcome=outcome,
            answer=next(each.exchange.text for each in reversed(told) if each.exchange.texts),
            usage=added(self.reported(each.exchange) for each in told),
            exchanges=len(told),
            calls=[call.call_id for call in calls],
        )
        if idle:
            self.truth.add("idle", t=local(idle), sid=sid)

    def reported(self, exchange: Exchange) -> Usage:
        return wording.reported(self.client.vocabulary, exchange)


class ClaudeLog(Older):
    """`claude.*`: the events of Anthropic in an envelope of their own, and what the client knows of its session."""

    def __init__(self, session: Session, at: int, truth: Truth, nasty: bool, huge: bool = False, defective: bool = False) -> None:
        super().__init__(session, at, truth, nasty, huge, defective)
        self._metadata = quote(dumps({"ver": f"claude-code-{self.client.version}", "pid": session.pid, "cwd": session.cwd}))
        self._flow = ""
        for turn in session.turns:  # this log has no results
            for exchange in turn.exchanges:
                for call in exchange.calls:
                    call.result, call.agent = None, None

    def _say(self, kind: str, payload: str, at: int, flow_id: str) -> None:
        """`payload`: the members of an object, as text."""
        stamp = datetime.fromtimestamp(unix(at), UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        text = f'{{"timestamp":"{stamp}","type":"event_msg","payload":{payload}}}'
        self.put(f"claude.{kind}", text, at, flow_id, self._metadata, f',"round":"round-{self.turn}"' if self.nasty else "")

    def _own(self, kind: str, **payload: Any) -> None:
        self._say(kind, dumps({"type": kind} | payload), self.at, self.session.sid)

    def begin(self) -> None:
        self._own("session_start", source="startup")
        self.at += 5

    def end(self) -> None:
        if not self.session.left:
            self.at += 1000
            self._own("session_end", reason="prompt_input_exit")

    def asked(self, turn: Turn) -> None:
        self._own("user_prompt", prompt=turn.prompt)
        if self.turn == 1 and self.session.title:
            now = self.at
            self.at += 10
            self._beside = [self.exchange(self.session.title)]  # nothing tells that no user waits for it
            self.truth.exchange(self.session, self._beside[0], turn=1)
            self.at = now
        if self.huge and self.turn == 1:
            turn.exchanges[0].calls[0].pieces = ['{"content": "', "\\\\" * 1536 + "x" * HUGE, '"}']

    def idle(self) -> int:
        self.at += 3
        self._own("stop", stop_hook_active=False)
        return self.at

    def exchange(self, exchange: Exchange) -> Told:
        self._flows += 1
        key = f"{self.session.sid}/{self._flows}"
        flow_id, request = "msg_01" + short(key), "req_" + short(key + "r")
        self.at += WAIT
        told, at = Told(exchange, flow_id, 0, self.at), self.at
        for event, payload in wording.answer(self.client, exchange, key, self.nasty):
            at += next(self._gaps)
            told.first = told.asked = told.first or at  # nothing tells when it was asked
            self._say(event, f'{payload[:-1]},"request_id":"{request}"}}', at, flow_id)
        told.ended = self.at = at
        self.truth.add("flows", sid=self.session.sid, flow_id=flow_id, text=exchange.text)
        return told


class CodexLog(Older):
    """`response.*` as on the wire, and the same things again as `turn.*` and `codex.*`."""

    def _metadata(self) -> str:
        facts = {"turn_id": str(self.turn), "ver": f"codex-{self.client.version}", "pid": self.session.pid, "cwd": self.session.cwd}
        return quote(dumps(facts))

    @property
    def _turn_flow(self) -> str:
        return f"{self.session.sid}__turn_{self.turn}"

    def _say(self, kind: str, payload: str, at: int | None = None) -> None:
        """`payload`: an object, as text, or the members that follow the type."""
        inner = f',"payload":{payload}' if payload.startswith("{") else payload
        self._raw(kind, f'{{"type":"{kind}"{inner}}}', self.at if at is None else at, self._turn_flow)

    def _raw(self, event: str, payload: str, at: int, flow_id: str) -> None:
        self.put(event, payload, at, flow_id, self._metadata(), f',"round":"{short(self._turn_flow)}"')

    def end(self) -> None:
        if not self.session.left:
            self.at += 500
            self._say("turn.shutdown_complete", "{}")

    def asked(self, turn: Turn) -> None:
        self._say("codex.user_prompt", f',"text":{quote(turn.prompt)}')
        self._say("turn.user_message", dumps({"message": turn.prompt, "images": None}), self.at + 1)
        if self.huge and self.turn == 1:
            turn.exchanges[0].calls[0].result = "\\" * 3072 + '"x" ' * (HUGE // 4)

    def idle(self) -> int:
        self.at += 4
        self._say("codex.idle", "")
        return self.at

    def exchange(self, exchange: Exchange) -> Told:
        self._flows += 1
        key = f"{self.session.sid}/{self._flows}"
        flow_id = wording.response_id(key)
        self.at += WAIT
        told, at = Told(exchange, flow_id, 0, self.at), self.at
        for event, payload in wording.answer(self.client, exchange, key, self.nasty):
            at += next(self._gaps)
            told.first = told.asked = told.first or at
            self._raw(event, payload, at, flow_id)
            if event == "response.output_text.delta":
                delta = "{" + payload[payload.index('"delta":') :]  # the last member, and ids hold no quotes
                self._say("turn.response.delta", delta, at)
                self._say("turn.agent_message.delta", delta, at)
        told.ended = self.at = at
        if exchange.end == "complete":
            self._items(exchange, key)
        self.truth.add("flows", sid=self.session.sid, flow_id=flow_id, text=exchange.text)
        return told

    def _items(self, exchange: Exchange, key: str) -> None:
        """The answer once more, item by item, then its tokens."""
        items = [
            wording.reasoning_item(exchange, key),
            wording.message_item(exchange, key),
            *map(wording.call_item, exchange.calls),
        ]
        for item in items:
            self._say("turn.raw_response_item", dumps({name: value for name, value in item.items() if name != "id"}))
        self._tokens(exchange)

    _total = (0, 0, 0, 0)

    def _tokens(self, exchange: Exchange) -> None:
        usage = exchange.usage
        last = ((usage.fresh or 0) + (usage.cached or 0), usage.cached or 0, usage.output or 0, usage.reasoning or 0)
        self._total = tuple(a + b for a, b in zip(self._total, last, strict=True))  # type: ignore[assignment]
        names = ("input_tokens", "cached_input_tokens", "output_tokens", "reasoning_output_tokens")
        info: dict[str, Any] = {
            "total_token_usage": dict(zip(names, self._total, strict=True)) | {"total_tokens": self._total[0] + self._total[2]},
            "last_token_usage": dict(zip(names, last, strict=True)) | {"total_tokens": last[0] + last[2]},
            "model_context_window": 272000,
        }
        limits = {"primary": {"used_percent": 12.5, "window_minutes": 300}}
        self._say("codex.token_count", dumps({"info": info, "rate_limits": limits}))
        self._say("turn.token_count", dumps({"info": info, "rate_limits": limits}))

    def answered(self, call: Call) -> None:
        text = call.result or ""
        whole, nanos = divmod(round(call.seconds * 1e9), 10**9)
        code = 1 if call.failed else 0
        end = {"call_id": call.call_id, "stdout": text, "stderr": "", "aggregated_output": text, "exit_code": code}
        if call.name == "shell":
            self._say("turn.exec.end", dumps(end | {"duration": {"secs": whole, "nanos": nanos}, "formatted_output": text}))
        kind = "custom_tool_call_output" if call.free else "function_call_output"
        self._say("turn.raw_response_item", dumps({"type": kind, "call_id": call.call_id, "output": text}), self.at + 1)
        self.at += 1
