"""A stream of a provider not known here: recorded all the same, and understood as little as that."""

from collections.abc import Iterator

from capture.events import Event, Unknown
from capture.providers.base import End, Json, Provider, any_pieces


def decode(event: str, payload: Json) -> Iterator[Event]:
    yield Unknown(event, payload)


PROVIDER = Provider(
    "unknown", "unknown", lambda method, path: False, lambda event, payload: End.OPEN, decode, decode, pieces=any_pieces
)
