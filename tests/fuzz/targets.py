"""The list of targets, and which modules' branches guide atheris in each: few, so that executions stay fast."""

from collections.abc import Callable
from importlib import import_module

from tests.fuzz.base import Target

GUIDES: dict[str, tuple[str, ...]] = {
    "frames": ("capture.wire",),
    "encodings": ("capture.wire.encoding",),
    "redacting": ("capture.redact", "capture.shapes"),
    "held": ("capture.holding", "capture.redact", "capture.shapes"),
    "recorded": ("capture.recorder", "capture.wire", "capture.session"),
    "split": ("capture.parts",),
    "laidout": ("capture.live.jsontext", "capture.live.jsonlexer"),
    "logs": ("capture.reader", "capture.files", "capture.scan", "capture.jsonl"),
}


def target(name: str) -> Target:
    """The target of that name; its modules are imported only now, so that they can be instrumented before."""
    found = import_module(f"tests.fuzz.{name}").TARGET
    assert isinstance(found, Target)
    return found


def checks() -> dict[str, Callable[[bytes], None]]:
    return {name: target(name).check for name in GUIDES}
