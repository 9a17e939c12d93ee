"""A made-up story: who asked what, what models said and called, what went wrong. Plain data, from a seed.

No wire format is known here. `bench.generate` tells a story in the words of a dialect, and writes down what is true of it:
so no answer is ever decoded.
"""

import json
from dataclasses import dataclass, field
from random import Random
from typing import Any

PLOTS = (  # what happens in a turn of a nasty story, in this order
    "plain",
    "repeated",  # the same prompt is typed twice
    "repeated",
    "retried",  # a stream is cut, the request sent again
    "interrupted",  # the user stops the model in mid-sentence
    "decoy",  # prompt and tool result quote log lines
    "parallel",  # several calls at once, one with arguments that are no JSON
    "agent",  # a sub-agent works
    "limited",  # a 429, then an answer
    "broken",  # an error in mid-stream, then an answer
    "cut_call",  # a stream is cut within a call's arguments, the request sent again
    "failed",  # an error, and the client gives up
)
DECOY = (
    '{"event":"codex.user_prompt","t":"2026-11-21T08:00:00.000","line":"data: {\\"type\\":\\"codex.user_prompt\\",\\"text\\":'
    '\\"not a prompt\\"}","metadata":"{}","flow_id":"decoy","data_count":0,"sid":"decoy"}\n'
    '{"event":"request.user","t":"2026-11-21T08:00:00.000","line":"data: {\\"role\\":\\"user\\",\\"content\\":\\"nor this\\"}",'
    '"metadata":"{\\"id\\":\\"0123456789abcdef\\"}","flow_id":"decoy","data_count":1,"sid":"decoy"}\n'
    '{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"nor \\\\\\"that\\\\\\""}}'
)
WORDS = [
    *" the of and to a in that is was for on with as at by an be this from or which one had not but what all were when we".split(),
    *"def return import class self None True False print open read file path list dict json test assert error value line".split(),
]
ODD = [*'é ü ß 猫 日本語 🦀 👩 👧 e " \\ \\n <b> …'.split(" "), "\u200d", "\u0301", "\u2028", "\u0085", "\n", "\t"]
PIECES = [
    *(" " + word for word in WORDS),
    *(" " + a + " " + b for a, b in zip(WORDS, WORDS[7:], strict=False)),
    *ODD,
    ".\n",
    ", ",
    "()",
]
PROMPTS = (
    "Why does the build fail?",
    "Add a test for the parser.",
    "Explain löschen() 🧹 to me",
    "Make it faster\nand say by how much",
)


@dataclass(frozen=True, slots=True)
class Scale:
    """How long things are."""

    turns: int = 6  # of a session
    exchanges: int = 15  # of a turn, on the average
    deltas: int = 170  # of an exchange, on the average: half text, a third arguments, the rest reasoning
    result: int = 900  # characters of a tool result, on the average


@dataclass(frozen=True, slots=True)
class Client:
    """An agent command line, and the vocabulary it speaks."""

    name: str
    version: str
    vocabulary: str  # anthropic, responses, chat, gemini
    url: str
    agent: str  # user-agent
    model: str
    small: str  # model of background calls and sub-agents
    tools: tuple[str, str, str, str]  # shell, read, edit, write
    socket: bool = False
    spaced: bool = False  # its server writes JSON with blanks after commas and colons

    @property
    def ver(self) -> str:
        return f"{self.name}-{self.version}"


_CLAUDE = (
    "claude-code",
    "2.1.329",
    "anthropic",
    "https://api.anthropic.com/v1/messages?beta=true",
    "claude-cli/2.1.329 (external, cli)",
)
_CLAUDE_TOOLS = ("Bash", "Read", "Edit", "Write")
_CODEX_AGENT = "codex_exec/0.169.0 (Debian 12.0.0; x86_64) dumb (codex_exec; 0.169.0)"
_CODEX_URL = "https://api.openai.com/v1/responses"
_CODEX_TOOLS = ("shell", "view_image", "apply_patch", "update_plan")
CLAUDE = Client(*_CLAUDE, "claude-sonnet-4-5", "claude-haiku-4-5", _CLAUDE_TOOLS)
CODEX = Client("codex", "0.169.0", "responses", _CODEX_URL, _CODEX_AGENT, "gpt-5.1-codex", "gpt-5-mini", _CODEX_TOOLS, socket=True)
CODEX_SSE = Client("codex", "0.169.0", "responses", _CODEX_URL, _CODEX_AGENT, "gpt-5.1", "gpt-5-mini", _CODEX_TOOLS)
KIMI = Client(
    *("kimi-cli", "1.51", "chat", "https://api.kimi.com/coding/v1/chat/completions", "KimiCLI/1.51", "kimi-k2", "kimi-k2"),
    ("Shell", "ReadFile", "StrReplaceFile", "WriteFile"),
)
QWEN = Client(
    *(
        "qwen-code",
        "0.24.4",
        "chat",
        "https://dashscope.example/v1/chat/completions",
        "QwenCode/0.24.4 (linux; x64)",
        "qwen3-coder-plus",
    ),
    *("qwen3-coder-flash", ("run_shell_command", "read_file", "edit", "write_file")),
    spaced=True,
)
GEMINI = Client(
    *("gemini-cli", "0.61.0", "gemini"),
    "https://generativelanguage.googleapis.com/v1beta/models/gemini-2.5-pro:streamGenerateContent?alt=sse",
    *("GeminiCLI/0.61.0/gemini-2.5-pro (linux; x64)", "gemini-2.5-pro", "gemini-2.5-flash-lite"),
    ("run_shell_command", "read_file", "replace", "write_file"),
)
CLIENTS = (CLAUDE, CODEX, CLAUDE, KIMI, CODEX_SSE, CLAUDE, GEMINI, QWEN)


@dataclass(slots=True)
class Usage:
    """Tokens in the words of capture.events.UsageReported; None: the provider does not say."""

    fresh: int | None
    cached: int | None
    written: int | None
    output: int | None
    reasoning: int | None


def joined(pieces: list[str]) -> str:
    """The text that pieces make: halves of a surrogate pair in two of them are one character."""
    return "".join(pieces).encode("utf-16", "surrogatepass").decode("utf-16")


@dataclass(slots=True)
class Call:
    call_id: str
    name: str
    pieces: list[str]
    result: str | None
    failed: bool = False
    seconds: float = 0.25
    free: bool = False  # its arguments are text, not JSON
    agent: "Agent | None" = None  # the sub-agent that does it
    complete: bool = True

    @property
    def arguments(self) -> str:
        return "".join(self.pieces)


@dataclass(slots=True)
class Exchange:
    """A request and its answer. `end`: complete, cut, interrupted, broken (an error in mid-stream), limited (429)."""

    model: str
    usage: Usage
    reasoning: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    end: str = "complete"
    interleaved: bool = False  # pieces of its calls come by turns, where the vocabulary can say so

    @property
    def text(self) -> str:
        return joined(self.texts)

    @property
    def thought(self) -> str:
        return "".join(self.reasoning)


@dataclass(slots=True)
class Agent:
    agent_id: str
    kind: str
    prompt: str
    exchanges: list[Exchange]


@dataclass(slots=True)
class Turn:
    prompt: str
    plot: str
    exchanges: list[Exchange]
    pause: int  # ms since the turn before


@dataclass(slots=True)
class Session:
    sid: str
    client: Client
    cwd: str
    pid: int
    system: str
    turns: list[Turn]
    title: Exchange | None  # a background call beside the first turn
    left: bool = False  # ends within a turn: the log is over


class Author:
    """Makes up sessions, the same ones from the same seed."""

    def __init__(self, seed: int, scale: Scale, nasty: bool) -> None:
        self.random = Random(seed)
        self.scale, self.nasty = scale, nasty
        self._ids = 0

    def session(self, number: int, client: Client) -> Session:
        sid = self.uuid() if client.vocabulary != "gemini" else self.hex(16)
        plots = PLOTS if self.nasty else tuple("plain" for _ in range(self.scale.turns))
        turns = [self.turn(client, plot, index) for index, plot in enumerate(plots)]
        left = self.nasty and number % 2 == 1
        if left:
            last = turns[-1] = self.turn(client, "plain", len(turns))
            last.exchanges = last.exchanges[:1]
            for call in last.exchanges[0].calls:
                call.result = None
        return Session(
            sid=sid,
            client=client,
            cwd=f"/home/user/{('garden', 'kitchen', 'träume')[number % 3]}",
            pid=1000 + number,
            system=f"You help in a terminal. Session {number}.\nWorking directory: /home/user\n" + self.prose(40),
            turns=turns,
            title=self.answer(client.small, 3, calls=0) if client.name == "claude-code" else None,
            left=left,
        )

    def turn(self, client: Client, plot: str, index: int) -> Turn:
        count = max(2, round(self.random.gauss(self.scale.exchanges, self.scale.exchanges / 4)))
        exchanges = [self.answer(client.model, self.scale.deltas, 1 + (at % 5 == 4), client) for at in range(count - 1)]
        exchanges.append(self.answer(client.model, self.scale.deltas // 2, 0, client))
        if len(exchanges[0].calls) == 0:
            exchanges[0].calls = [self.call(client, 8)]
        turn = Turn(self.prompt(plot, index), plot, exchanges, self.random.randrange(20_000, 1_200_000))
        getattr(self, "_" + plot, lambda turn, client: None)(turn, client)
        return turn

    # -- what happens -------------------------------------------------------------------------------------------------------

    def _retried(self, turn: Turn, client: Client) -> None:
        cut = self.answer(client.model, self.scale.deltas, 0, client)
        cut.end = "cut"
        turn.exchanges.insert(1, cut)

    def _cut_call(self, turn: Turn, client: Client) -> None:
        cut = self.answer(client.model, self.scale.deltas, 1, client)
        cut.end = "cut"
        if client.vocabulary == "gemini":  # its calls come whole, with the last frame
            cut.calls = []
        for call in cut.calls:
            call.complete, call.result = False, None
            call.pieces = call.pieces[: len(call.pieces) // 2]
        turn.exchanges.insert(0, cut)

    def _interrupted(self, turn: Turn, client: Client) -> None:
        turn.exchanges[-1].end = "interrupted"

    def _broken(self, turn: Turn, client: Client) -> None:
        broken = self.answer(client.model, self.scale.deltas // 2, 0, client)
        broken.end = "broken"
        turn.exchanges.insert(1, broken)

    def _failed(self, turn: Turn, client: Client) -> None:
        turn.exchanges[-1].end = "broken"

    def _limited(self, turn: Turn, client: Client) -> None:
        if client.socket:  # its requests have no status of their own
            return
        turn.exchanges.insert(0, Exchange(client.model, Usage(None, None, None, None, None), end="limited"))

    def _decoy(self, turn: Turn, client: Client) -> None:
        turn.exchanges[-1].texts += [" half \ud83e", "\udd80 and half"]  # a crab, cut where UTF-16 cuts it
        turn.exchanges[0].calls[0].result = f"{DECOY}\n\x00 and a NUL, and \x1b[31mred\x1b[0m"

    def _parallel(self, turn: Turn, client: Client) -> None:
        first = turn.exchanges[0]
        first.calls = [self.call(client, 6, which) for which in (0, 1, 3)]
        first.interleaved = True
        if client.vocabulary != "gemini":  # its arguments are never text
            first.calls[1].pieces = ['{"path": "/home', "/user/a.txt", '", "broken": ']
            first.calls[1].result, first.calls[1].failed = "arguments are no JSON", True
            first.calls[1].free = False

    def _agent(self, turn: Turn, client: Client) -> None:
        if client.name != "claude-code":
            return
        task = Call(self.call_id(client), "Task", [], "The agent found three places.", seconds=3.0)
        task.pieces = self.cut(json.dumps({"description": "look", "prompt": "Find all uses.", "subagent_type": "general-purpose"}))
        work = [
            self.answer(client.small, self.scale.deltas // 2, 1, client),
            self.answer(client.small, self.scale.deltas // 4, 0, client),
        ]
        task.agent = Agent("agent-" + self.hex(8), "general-purpose", "Find all uses.", work)
        turn.exchanges[0].calls.append(task)

    # -- what is said -------------------------------------------------------------------------------------------------------

    def answer(self, model: str, deltas: int, calls: int = 0, client: Client = CLAUDE) -> Exchange:
        spread = max(2, round(deltas * self.random.uniform(0.6, 1.4)))
        exchange = Exchange(model, self.usage(client.vocabulary))
        exchange.reasoning = self.random.choices(PIECES, k=max(1, spread // 5))
        exchange.texts = ["So", *self.random.choices(PIECES, k=spread // 2 if calls else spread)]
        exchange.calls = [self.call(client, max(2, spread * 3 // 10 // calls)) for _ in range(calls)]
        return exchange

    def call(self, client: Client, pieces: int, which: int | None = None) -> Call:
        which = self.random.choices((0, 1, 2, 3), (5, 3, 2, 2))[0] if which is None else which
        name, body = client.tools[which], self.prose(max(1, pieces - 4))
        path = f"/home/user/src/{self.random.choice(('main', 'été', 'tests/a b'))}.py"
        arguments: dict[str, Any] = {
            0: {"command": f"echo {json.dumps(body)} | wc -c", "description": "Count"},
            1: {PATHS.get(name, "path"): path},
            2: {PATHS.get(name, "file_path"): path, "old_string": body[:20], "new_string": body},
            3: {PATHS.get(name, "file_path"): path, "content": body},
        }[which]
        free = name == "apply_patch"
        text = json.dumps(arguments, ensure_ascii=self.random.random() < 0.3)
        if free:
            text = f"*** Begin Patch\n*** Update File: {path}\n@@\n-{body[:20]!r}\n+{body!r}\n*** End Patch"
        elif name == "shell":
            text = json.dumps({"command": ["bash", "-lc", arguments["command"]]})
        elif name == "update_plan":
            text = json.dumps({"plan": [{"step": body, "status": "pending"}]})
        failed = self.random.random() < 0.05
        result = ("Error: " if failed else "") + self.prose(max(1, round(self.scale.result * self.random.random() / 3)))
        return Call(self.call_id(client), name, self.cut(text), result, failed, round(self.random.uniform(0.05, 4), 3), free)

    def prompt(self, plot: str, index: int) -> str:
        if plot == "repeated":
            return "continue"
        if plot == "decoy":
            return f"What does this line of a log mean?\n{DECOY}"
        return f"{PROMPTS[index % len(PROMPTS)]} ({index}, {self.hex(4)})"

    def prose(self, pieces: int) -> str:
        return "".join(self.random.choices(PIECES, k=pieces)).strip() or "so"

    def cut(self, text: str) -> list[str]:
        """A text in pieces of 1 to 17 characters, cut anywhere: also within an escape."""
        pieces, at = [], 0
        for length in self.random.choices(range(1, 18), k=len(text) // 9 + 2):
            pieces.append(text[at : at + length])
            at += length
        return [piece for piece in (*pieces, text[at:]) if piece]

    def usage(self, vocabulary: str) -> Usage:
        draw = self.random.randrange
        fresh, cached, output = draw(3, 9000), draw(0, 90000), draw(20, 3000)
        written = draw(0, 4000) if vocabulary == "anthropic" else None
        reasoning = None if vocabulary == "anthropic" else draw(0, output)
        return Usage(fresh, cached, written, output, reasoning)

    # -- names --------------------------------------------------------------------------------------------------------------

    def call_id(self, client: Client) -> str:
        self._ids += 1
        prefix = {"anthropic": "toolu_01", "responses": "call_", "chat": "call_", "gemini": "gem_"}[client.vocabulary]
        return f"{prefix}{self._ids:08d}{self.hex(8)}"

    def hex(self, digits: int) -> str:
        return f"{self.random.getrandbits(digits * 4):0{digits}x}"

    def uuid(self) -> str:
        text = self.hex(32)
        return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-8{text[17:20]}-{text[20:]}"


PATHS = dict.fromkeys(("Read", "Edit", "Write", "replace", "write_file", "edit"), "file_path")  # how a tool calls its path
