"""The vocabularies known here, in the order in which they are asked whether a request is theirs."""

from capture.providers import anthropic, claude_log, codex_log, gemini, openai_chat, openai_responses, unknown
from capture.providers.base import End, Json, Provider, Said, member, pieces_of

__all__ = [
    "DIALECTS",
    "PROVIDERS",
    "UNKNOWN",
    "VOCABULARIES",
    "End",
    "Json",
    "Provider",
    "Said",
    "called",
    "of_line",
    "pieces_of",
    "recognise",
]

PROVIDERS: tuple[Provider, ...] = (
    anthropic.PROVIDER,
    openai_responses.PROVIDER,
    openai_chat.PROVIDER,
    gemini.PROVIDER,
)
CLAUDE_LOG = claude_log.speaking(anthropic.PROVIDER)
CODEX_LOG = codex_log.speaking(openai_responses.PROVIDER)
DIALECTS: tuple[Provider, ...] = (CLAUDE_LOG, CODEX_LOG)  # logs that existed before: never on a wire
UNKNOWN = unknown.PROVIDER
VOCABULARIES = (*PROVIDERS, *DIALECTS)
BEGINNINGS = (  # how the events of a vocabulary begin; Gemini's have no names
    ("claude.", CLAUDE_LOG),
    ("codex.", CODEX_LOG),
    ("turn.", CODEX_LOG),
    ("message_", anthropic.PROVIDER),
    ("content_block_", anthropic.PROVIDER),
    ("ping", anthropic.PROVIDER),
    ("response.", openai_responses.PROVIDER),
    ("chat.completion", openai_chat.PROVIDER),
)


def recognise(method: str, path: str) -> Provider | None:
    """The provider whose model this request calls, by method and path (host names are no evidence: anybody imitates); else None."""
    path = path.partition("?")[0].rstrip("/")
    return next((provider for provider in PROVIDERS if provider.recognises(method, path)), None)


def called(name: str, api: str) -> Provider:
    """The provider a log record names."""
    return next((provider for provider in VOCABULARIES if (provider.name, provider.api) == (name, api)), UNKNOWN)


def of_line(event: str, payload: Json, name: str) -> Provider:
    """The vocabulary of a line whose flow has no record. `name`: of the provider, where the line's metadata say it."""
    for beginning, provider in BEGINNINGS:
        if event.startswith(beginning):
            # the codex log has the wire's own events too, without a provider in their metadata
            return CODEX_LOG if provider is openai_responses.PROVIDER and not name else provider
    if name == "openai":  # a request part: messages have a role and no type
        chat = isinstance(payload, dict) and "role" in payload and "type" not in payload
        return openai_chat.PROVIDER if chat else openai_responses.PROVIDER
    if not name and member(payload, "choices") is not None:
        return openai_chat.PROVIDER
    if not name and (member(payload, "candidates") or member(payload, "usageMetadata")):
        return gemini.PROVIDER
    return next((provider for provider in VOCABULARIES if provider.name == name), UNKNOWN)
