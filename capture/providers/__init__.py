"""The vocabularies known here, in the order in which they are asked whether a request is theirs."""

from capture.providers import anthropic, gemini, openai_chat, openai_responses, unknown
from capture.providers.base import End, Json, Provider

__all__ = ["PROVIDERS", "UNKNOWN", "End", "Json", "Provider", "called", "of_line", "recognise"]

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


def of_line(event: str, payload: Json, name: str) -> Provider:
    """The vocabulary of a line whose flow has no record: by its event, else by the provider its metadata name."""
    if event.startswith(("message_", "content_block_")):
        return anthropic.PROVIDER
    if event.startswith("response."):
        return openai_responses.PROVIDER
    if event.startswith("chat.completion"):
        return openai_chat.PROVIDER
    return next((provider for provider in PROVIDERS if provider.name == name), UNKNOWN)
