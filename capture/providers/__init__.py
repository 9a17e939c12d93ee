"""The vocabularies known here, in the order in which they are asked whether a request is theirs."""

from capture.providers import anthropic, gemini, openai_chat, openai_responses, unknown
from capture.providers.base import End, Json, Provider

__all__ = ["PROVIDERS", "UNKNOWN", "End", "Json", "Provider", "called", "recognise"]

PROVIDERS: tuple[Provider, ...] = (
    anthropic.PROVIDER,
    openai_responses.PROVIDER,
    openai_chat.PROVIDER,
    gemini.PROVIDER,
)
UNKNOWN = unknown.PROVIDER


def recognise(method: str, path: str) -> Provider | None:
    """The provider whose model this request calls, by method and path (host names are no evidence: anybody imitates); else None."""
    path = path.partition("?")[0].rstrip("/")
    return next((provider for provider in PROVIDERS if provider.recognises(method, path)), None)


def called(name: str, api: str) -> Provider:
    """The provider a log record names."""
    return next((provider for provider in PROVIDERS if (provider.name, provider.api) == (name, api)), UNKNOWN)
