"""Which session a request belongs to, and who sent it: ordered rules, the first answer wins.

Where clients put their ids was seen on the wire (claude-code 2.1.329, codex 0.169.0, gemini-cli 0.61.0, qwen-code 0.24.4,
opencode 1.18.33, pi 0.73.1, kimi-cli 1.51, kimi-code 2.1.0).
"""

import hashlib
import json
import re
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from capture.jsonl import printable
from capture.records import Client

HEADERS = (  # rule 1, in this order; `_` and `-` are the same, case is not seen
    "conversation-id",
    "session-id",
    "x-claude-code-session-id",
    "x-session-id",
    "x-conversation-id",
    "x-session-affinity",
    "thread-id",
)
CACHE_KEY_PREFIXES = ("qwen-code:", "session_")
CACHE_KEY_AGENT = re.compile(r"^([0-9a-fA-F-]{36}):(.+)$")  # qwen: <uuid>:general-purpose-call_…
USER_ID_SESSION = re.compile(r"_session_([0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})")
CLIENT_NAMES = {  # how the product in a user-agent begins, lower case → the name people know
    "claude-cli": "claude-code",
    "codex": "codex",  # codex_exec, codex_cli_rs, codex_vscode, codex-tui
    "geminicli": "gemini-cli",  # GeminiCLI, GeminiCLI-tui
    "qwencode": "qwen-code",
    "kimicli": "kimi-cli",
    "kimicode": "kimi-code",
}
PRODUCT = re.compile(r"^([A-Za-z0-9_.@-]{1,64})/v?([0-9][^\s/;()]{0,63})")
INSTRUCTIONS = ("request.system", "request.developer")  # parts of a request that nobody said
MAX_SID = 200  # characters; a longer value is no id (a header may be a megabyte)
MAX_CONVERSATIONS = 10_000  # histories remembered for requests that nothing else identifies: about 2 MB


@dataclass(frozen=True, slots=True)
class Asked:
    """What the rules look at. Header names lower case, `_` written `-`; `body` None when it is no JSON object."""

    headers: dict[str, str]
    body: dict[str, Any] | None
    body_length: int
    url: str
    client_ip: str
    history: tuple[str, ...]  # ids of what was said so far, in order; empty when nobody has said anything yet


class Session(NamedTuple):
    sid: str
    source: str  # the rule that answered, with the place it looked at


class Conversations:
    """Histories of sessions that only their messages identify: a request whose messages extend a known history belongs to it."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, str] = OrderedDict()  # digest of a whole history → sid

    def continued(self, digests: list[str]) -> str | None:
        """The sid of the longest known history that the one with these digests begins with."""
        found = None
        for digest in digests:
            found = self._known.get(digest, found)
        return found

    def remember(self, digests: list[str], sid: str) -> None:
        if digests:
            whole = digests[-1]
            self._known[whole] = sid
            self._known.move_to_end(whole)
            if len(self._known) > MAX_CONVERSATIONS:
                self._known.popitem(last=False)


def identify(asked: Asked, conversations: Conversations) -> Session:
    """The session of a request. Always answers."""
    for rule in RULES:
        for session in rule(asked):
            if 0 < len(session.sid) <= MAX_SID and session.sid.isprintable():
                return session
    name, _ = client_name(asked.headers.get("user-agent", ""))
    digests = _digests((asked.client_ip, name or "", *asked.history))[2:]  # strangers may say the same
    sid, source = conversations.continued(digests), "history"
    if sid is None:
        sid, source = _fallback(asked), "fallback"
    conversations.remember(digests, sid)
    return Session(sid, source)


def history(parts: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    """What was said so far, out of (event, id) of a request's parts: without tools, and nothing when there are only instructions.

    A program says the same instructions in all its sessions: they tell no session from another.
    """
    said = [(event, part_id) for event, part_id in parts if event != "request.tools"]
    return tuple(part_id for _, part_id in said) if any(event not in INSTRUCTIONS for event, _ in said) else ()


def by_header(asked: Asked) -> Iterator[Session]:
    for name in HEADERS:
        yield Session(asked.headers.get(name, "").strip(), f"header:{name}")


def by_metadata(asked: Asked) -> Iterator[Session]:
    for path in (
        ("metadata", "sessionId"),
        ("metadata", "session_id"),
        ("client_metadata", "session_id"),
        ("request", "session_id"),
    ):
        yield Session(_text(asked.body, *path) or "", "body:" + ".".join(path))


def by_cache_key(asked: Asked) -> Iterator[Session]:
    key = _text(asked.body, "prompt_cache_key") or ""
    yield Session(_cache_key(key)[0], "body:prompt_cache_key")


def by_user_id(asked: Asked) -> Iterator[Session]:
    for path in (("user_id",), ("metadata", "user_id")):
        value = _text(asked.body, *path) or ""
        found = USER_ID_SESSION.search(value)
        yield Session(found[1] if found else _text(_object(value), "session_id") or "", "body:" + ".".join(path))


# each gives the ids it finds, the likeliest first; what is empty, too long or no text is passed over
RULES: tuple[Callable[[Asked], Iterator[Session]], ...] = (by_header, by_metadata, by_cache_key, by_user_id)


def client(asked: Asked, pid: int | None, cwd: str | None, program: str | None = None) -> Client:
    """Who sent a request; for a sub-agent also its id and whose child it is.

    `program`: what the process is called; it names a client whose user-agent names only its library (pi: `Anthropic/JS 0.91.1`).
    """
    user_agent = printable(asked.headers.get("user-agent"))
    name, version = client_name(user_agent or "")
    name = name or program
    agent_id, agent_type, parent_id = printable(_agent(asked))
    return Client(
        name=name,
        version=version,
        user_agent=user_agent,
        pid=pid,
        cwd=printable(cwd),
        agent_id=agent_id,
        agent_type=agent_type,
        parent_id=parent_id,
    )


def client_name(user_agent: str) -> tuple[str | None, str | None]:
    """(name, version) of the first product in a user-agent."""
    found = PRODUCT.match(user_agent)
    if not found:
        return None, None
    product = found[1].lower()
    return next((name for prefix, name in CLIENT_NAMES.items() if product.startswith(prefix)), product), found[2]


def _agent(asked: Asked) -> tuple[str | None, str | None, str | None]:
    """(agent id, agent type, parent id) of a sub-agent; three times None for a main agent."""
    headers = asked.headers
    if agent := headers.get("x-claude-code-agent-id"):
        return (
            agent,
            headers.get("x-claude-code-agent-type"),
            headers.get("x-claude-code-parent-agent-id") or headers.get("x-claude-code-session-id"),
        )
    metadata = _object(headers.get("x-codex-turn-metadata", ""))
    parent = headers.get("x-codex-parent-thread-id") or _text(metadata, "parent_thread_id")
    if parent or headers.get("x-openai-subagent"):
        return headers.get("thread-id"), headers.get("x-openai-subagent"), parent or headers.get("session-id")
    if parent := headers.get("x-parent-session-id"):
        return headers.get("x-session-id"), None, parent
    sid, agent = _cache_key(_text(asked.body, "prompt_cache_key") or "")
    return (agent, None, sid) if agent else (None, None, None)


def _cache_key(key: str) -> tuple[str, str | None]:
    """(session, sub-agent or None) of a prompt_cache_key."""
    for prefix in CACHE_KEY_PREFIXES:
        key = key.removeprefix(prefix)
    found = CACHE_KEY_AGENT.match(key)
    return (found[1], found[2]) if found else (key, None)


def _fallback(asked: Asked) -> str:
    return hashlib.sha256(f"{asked.client_ip}{asked.url}{asked.body_length}".encode("utf-8", "surrogateescape")).hexdigest()[:16]


def _digests(history: tuple[str, ...]) -> list[str]:
    """A digest for each beginning of a history: of its first part, of its first two …"""
    digests, running = [], hashlib.sha256()
    for part in history:
        running.update(part.encode("utf-8", "surrogatepass") + b"\n")
        digests.append(running.hexdigest()[:32])
    return digests


def _text(value: Any, *path: str) -> str | None:
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value if isinstance(value, str) and value else None


def _object(text: str) -> Any:
    try:
        return json.loads(text) if text.startswith("{") else None
    except ValueError:
        return None
