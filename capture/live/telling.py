"""What pairing tells → what cards show: each thing once, as soon as it is said.

Where one thing is told several ways, the first-hand telling is shown as it streams; a retelling (the codex log has each answer up
to four times) only when its answer is over and nothing else told it. A whole that comes after its pieces adds what they lacked.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, assert_never

from capture.costs import Costs, Price
from capture.events import (
    Cited,
    Event,
    Failed,
    IdGiven,
    ImageSeen,
    MessageStarted,
    PromptGiven,
    RateLimited,
    ReasoningDelta,
    ReasoningWhole,
    Sealed,
    Stopped,
    TextDelta,
    TextWhole,
    ToolArgumentsDelta,
    ToolCallEnded,
    ToolCallStarted,
    ToolResult,
    Unknown,
    UsageReported,
    WentIdle,
)
from capture.live.items import ArgumentsPiece, CallBegun, CallComplete, Item, Prompted, Remark, Resulted, Spoken, TurnOver, Voice
from capture.messages import joined
from capture.toolcalls import about
from capture.updates import (
    Answered,
    Asked,
    Call,
    CallClosed,
    CallMade,
    Exchange,
    FlowEnded,
    FlowOpened,
    PartTold,
    Said,
    StrayResult,
    Turn,
    TurnClosed,
    TurnIdle,
    TurnStarted,
    Update,
)

PROMPTS = "prompts:"  # begins the key of the card that holds the prompts of a session
ABOUT = 200  # characters that say what a call was about
NEARLY = 90  # percent of a rate limit from which on it is worth a line
ODD_STOPS = (
    "max_tokens",
    "length",
    "MAX_TOKENS",
    "refusal",
    "content_filter",
    "SAFETY",
    "incomplete",
    "model_context_window_exceeded",
)
WENT_WRONG = {  # outcomes of exchanges
    "client_closed": "the agent hung up before the answer was over",
    "server_closed": "cut: the server closed the stream before the answer was over",
    "error": "the answer was not given",
    "stopped": "the proxy was stopped before the answer was over",
    "killed": "the proxy was killed before the answer was over",
}


@dataclass(slots=True)
class Told:
    """An item for a card."""

    key: str  # of the card: a flow id, or PROMPTS and the session
    sid: str
    t: str
    item: Item


@dataclass(slots=True)
class Over:
    """A card's answer is over. Another may begin on it (a socket has many)."""

    key: str
    sid: str
    t: str


@dataclass(slots=True)
class _Open:
    """An exchange while it is answered: what of it was told."""

    told: dict[tuple[Voice, str], int] = field(default_factory=dict)  # characters of each block
    calls: dict[str, list[Any]] = field(default_factory=dict)  # by key: [call, characters of its arguments]
    halves: dict[tuple[str, str], str] = field(default_factory=dict)  # of a character that was cut between two pieces
    preface: list[str] = field(default_factory=list)  # what is said before its first word
    failed: bool = False


def no_price(provider: str, model: str | None, usage: UsageReported, t: str) -> float | None:
    """Nothing has a price."""
    return None


class Telling:
    """Feeds on updates; see the module. `context`: tokens in the window of each session's conversation, as last told."""

    def __init__(self, price: Price = no_price) -> None:
        self.context: dict[str, int] = {}
        self._open: dict[tuple[str, int], _Open] = {}
        self._costs = Costs(price)
        self._models: dict[str, str | None] = {}  # of the sessions that were introduced: the model that answers, as last told

    def feed(self, update: Update) -> Iterator[Told | Over]:
        """What an update tells, in the order in which it is to be shown."""
        match update:
            case Said(exchange, event, t, deltas):
                yield from self._said(exchange, event, t, deltas)
            case Asked(exchange):
                yield from self._asked(exchange)
            case CallMade(call):
                yield from self._made(call)
            case CallClosed(call):
                yield from self._closed(call)
            case Answered(exchange):
                yield from self._answered(exchange)
            case TurnStarted(turn):
                yield from self._prompted(turn)
            case TurnIdle(turn, t, flow_id):
                yield Told(flow_id, turn.sid, t, self._over(turn, "idle"))
                yield Over(flow_id, turn.sid, t)  # once more: that was another word on its card
            case TurnClosed(turn):
                yield from self._left(turn)
            case StrayResult(result, exchange, _, second):
                if not second:
                    yield Told(exchange.flow_id, exchange.sid, exchange.t, _result(result, result.name or "tool", ""))
            case FlowEnded(end):
                for key in [key for key in self._open if key[0] == end.get("flow_id")]:
                    del self._open[key]
            case FlowOpened(flow):
                client = flow.get("client")
                yield from self._introduced(str(flow["sid"]), client if isinstance(client, dict) else {}, str(flow.get("t")))
            case PartTold():
                pass
            case _:
                assert_never(update)

    # -- what is asked ------------------------------------------------------------------------------------------------------

    def _introduced(self, sid: str, client: dict[str, Any], t: str) -> Iterator[Told]:
        """Who a session is, when it is first heard of."""
        if sid not in self._models:
            self._models[sid] = None
            name = " ".join(str(word) for word in (client.get("name"), client.get("version")) if word)
            if words := [str(word) for word in (name, client.get("cwd")) if word]:
                yield Told(PROMPTS + sid, sid, t, Remark(" · ".join(words)))

    def _prompted(self, turn: Turn) -> Iterator[Told]:
        yield from self._introduced(turn.sid, turn.client, turn.t)
        for prompt in turn.prompts:
            if prompt.text:
                yield Told(PROMPTS + turn.sid, turn.sid, prompt.t, Prompted(prompt.text))

    def _asked(self, exchange: Exchange) -> Iterator[Told]:
        yield from self._introduced(exchange.sid, exchange.client, exchange.t)
        preface = self._of(exchange).preface
        if exchange.background:
            preface.append(" · ".join(("in the background", exchange.background, exchange.model or "no model named")))
        elif exchange.agent:
            preface += [f"sub-agent: {_one_line(part.human)}" for part in exchange.new if part.human][:1]
        elif exchange.model and self._models[exchange.sid] != exchange.model:
            self._models[exchange.sid] = exchange.model
            preface.append(f"model: {exchange.model}")

    # -- what is answered ---------------------------------------------------------------------------------------------------

    def _said(self, exchange: Exchange, event: Event, t: str, deltas: int) -> Iterator[Told]:
        item: Item | None = None
        match event:
            case TextDelta(text, "assistant", key, 0):
                item = self._piece(exchange, "assistant", text, key, deltas)
            case ReasoningDelta(text, key, _, 0):
                item = self._piece(exchange, "reasoning", text, key, deltas)
            case TextWhole(text, key, 0):
                item = self._rest(exchange, "assistant", text, key)
            case ReasoningWhole(text, key, _, 0):
                item = self._rest(exchange, "reasoning", text, key)
            case ToolCallStarted(key, call_id):
                item = self._begun(exchange, key, call_id)
            case ToolArgumentsDelta(key, text):
                if told := self._of(exchange).calls.get(key):
                    told[1] += len(text)
                    item = ArgumentsPiece(key, self._mended(exchange, ("arguments", key), text), deltas)
            case UsageReported():
                self._counted(exchange)
            case Failed(kind, text):
                self._of(exchange).failed = True
                item = Remark(f"{kind}: {text}" if text else kind, bad=True)
            case Stopped(reason) if reason in ODD_STOPS:
                item = Remark(f"stopped: {reason}", bad=True)
            case RateLimited(payload):
                item = _limit(payload)
            case Sealed(kind="redacted"):
                item = Remark("reasoning that only the provider can read")
            case ImageSeen(media_type, source, "assistant"):
                item = Remark(f"{media_type or 'image'}: {source}")
            case Cited(payload):
                item = _citation(payload)
            case TextDelta() | ReasoningDelta() | TextWhole() | ReasoningWhole() | ImageSeen() | Sealed() | Stopped():
                pass  # retellings, what clients say themselves, the usual end
            case MessageStarted() | ToolCallEnded() | ToolResult() | IdGiven() | PromptGiven() | WentIdle() | Unknown():
                pass  # told by other updates, or of no interest to who watches
            case _:
                assert_never(event)
        if item is not None:
            preface = self._of(exchange).preface
            while preface:
                yield Told(exchange.flow_id, exchange.sid, t, Remark(preface.pop(0)))
            yield Told(exchange.flow_id, exchange.sid, t, item)

    def _of(self, exchange: Exchange) -> _Open:
        key = (exchange.flow_id, exchange.number)
        found = self._open.get(key)
        if found is None:
            found = self._open[key] = _Open()
        return found

    def _piece(self, exchange: Exchange, voice: Voice, text: str, key: str, deltas: int) -> Item:
        told = self._of(exchange).told
        told[voice, key] = told.get((voice, key), 0) + len(text)
        return Spoken(voice, self._mended(exchange, (voice, key), text), key, deltas)

    def _mended(self, exchange: Exchange, block: tuple[str, str], text: str) -> str:
        """A piece whose characters are whole: half of one at its end waits for the next piece of its block."""
        halves = self._of(exchange).halves
        if not halves and text.isascii():
            return text
        text = halves.pop(block, "") + text
        if "\ud800" <= text[-1:] <= "\udbff":
            text, halves[block] = text[:-1], text[-1]
        return joined((text,))

    def _rest(self, exchange: Exchange, voice: Voice, whole: str, key: str) -> Item | None:
        """What of a whole its pieces had not told."""
        told = self._of(exchange).told
        before = told.get((voice, key), 0)
        told[voice, key] = max(before, len(whole))
        return Spoken(voice, whole[before:], key) if len(whole) > before else None

    def _counted(self, exchange: Exchange) -> None:
        usage = exchange.answer.usage
        if usage and not usage.running and not exchange.background and not exchange.agent:
            self.context[exchange.sid] = usage.input + (usage.output or 0)

    def _answered(self, exchange: Exchange) -> Iterator[Told | Over]:
        key, sid, t = exchange.flow_id, exchange.sid, exchange.ended_t or exchange.t
        self._counted(exchange)
        self._costs.add(exchange)
        for item in (*self._cut(exchange), *self._untold(exchange)):
            yield Told(key, sid, t, item)
        yield Over(key, sid, t)
        self._open.pop((exchange.flow_id, exchange.number), None)

    def _cut(self, exchange: Exchange) -> Iterator[Item]:
        """The ends of calls whose arguments never came whole: they are shown as far as they came."""
        for key, (call, _) in self._of(exchange).calls.items():
            if call.completed_t is None:
                yield CallComplete(key)

    def _untold(self, exchange: Exchange) -> Iterator[Item]:
        """What only retellings told; what went wrong."""
        answer = exchange.answer
        if answer.reasonings.again:
            yield Spoken("reasoning", answer.reasoning)
        if answer.texts.again:
            yield Spoken("assistant", answer.text)
        if exchange.outcome in WENT_WRONG and not self._of(exchange).failed:
            status = f"HTTP {exchange.status}: " if exchange.status and exchange.status >= 400 else ""
            yield Remark(status + (answer.failed or WENT_WRONG[exchange.outcome]), bad=True)

    # -- calls and turns ----------------------------------------------------------------------------------------------------

    def _begun(self, exchange: Exchange, key: str, call_id: str) -> Item | None:
        """A call, unless it is another telling of one that was shown."""
        calls = self._of(exchange).calls
        call = next((call for call in reversed(exchange.calls) if call.call_id == call_id), None)
        if call is None or any(told is call for told, _ in calls.values()):
            return None
        calls[key] = [call, 0]
        return CallBegun(key, call.name, call.server)

    def _made(self, call: Call) -> Iterator[Told]:
        for (flow_id, _), answer in list(self._open.items()):
            for key, (told, count) in answer.calls.items():
                if told is call:
                    t = call.completed_t or call.t
                    if len(call.arguments) > count:
                        yield Told(flow_id, call.sid, t, ArgumentsPiece(key, call.arguments[count:]))
                    yield Told(flow_id, call.sid, t, CallComplete(key))
                    return

    def _closed(self, call: Call) -> Iterator[Told]:
        if call.result is not None:
            subject = about(call.name, call.arguments)[:ABOUT]
            item = _result(call.result, call.name, subject, call.duration_ms)
            yield Told(call.result_flow or call.flow_id, call.sid, call.result_t or call.t, item)

    def _over(self, turn: Turn, outcome: str) -> TurnOver:
        usage = turn.usage
        cost = self._costs.so_far(turn)
        return TurnOver(turn.duration_ms, usage.input if turn.usages else None, usage.output, cost, len(turn.calls), outcome)

    def _left(self, turn: Turn) -> Iterator[Told | Over]:
        """A turn that ended without going idle."""
        flow_id = next(reversed(turn.flows), None)
        if flow_id and turn.outcome in ("interrupted", "failed"):
            yield Told(flow_id, turn.sid, turn.last_t, self._over(turn, turn.outcome))
            yield Over(flow_id, turn.sid, turn.last_t)
        self._costs.of(turn)


def _result(result: ToolResult, name: str, subject: str, ms: float | None = None) -> Resulted:
    return Resulted(name, subject, result.text, result.is_error or bool(result.exit_code), result.exit_code, ms)


def _limit(payload: Any) -> Remark | None:
    """A line about a rate limit that is nearly used up."""
    used = [percent for percent in _numbers(payload, "used_percent") if percent >= NEARLY]
    return Remark(f"rate limit: {max(used):.0f} % used", bad=True) if used else None


def _numbers(value: Any, name: str) -> Iterator[float]:
    """All numbers of a name, however deep."""
    if isinstance(value, dict):
        for key, each in value.items():
            if key == name and isinstance(each, (int, float)):
                yield each
            else:
                yield from _numbers(each, name)


def _citation(payload: Any) -> Remark | None:
    """A line about a source that has an address or a title."""
    fields: dict[str, Any] = payload if isinstance(payload, dict) else {}
    if isinstance(inner := fields.get("url_citation"), dict):
        fields = inner
    named = next((str(fields[name]) for name in ("url", "uri", "title", "document_title", "filename") if fields.get(name)), None)
    return Remark(f"source: {named}") if named else None


def _one_line(text: str) -> str:
    line = " ".join(text[: ABOUT * 4].split())
    return line if len(line) <= ABOUT else line[: ABOUT - 1] + "…"


type Only = Callable[[Item], bool]

GROUPS: dict[str, tuple[type, ...]] = {  # what `--only` may name
    "text": (),
    "reasoning": (),
    "tools": (CallBegun, ArgumentsPiece, CallComplete),
    "prompts": (Prompted,),
    "results": (Resulted,),
    "usage": (TurnOver,),
}


def only(groups: frozenset[str]) -> Only:
    """Whether an item is of the groups that are wanted; what is bad always is."""
    kinds = tuple(kind for group in groups for kind in GROUPS[group])
    voices = {voice for voice, group in (("assistant", "text"), ("reasoning", "reasoning")) if group in groups}

    def wanted(item: Item) -> bool:
        if isinstance(item, Spoken):
            return item.voice in voices
        return item.bad if isinstance(item, Remark) else isinstance(item, kinds)

    return wanted
