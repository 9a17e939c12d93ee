"""Request bodies: any text is rebuilt from its parts to the byte; what is an object means the same as before."""

import hashlib
import json

import orjson

from capture import parts
from tests.fuzz.base import Choices, Target

WORDS = (
    *'{}[]:, "\\',
    *('"messages":[', '"input":[', '"contents":[', '"system":', '"tools":[', '"request":{', '"instructions":"', '"prompt":'),
    *('{"role":"user","content":"a"}', '"content":[{"type":"text","text":"', '"}]', '"cache_control":{"type":"ephemeral"}'),
    *(',"cache_control":null', "x-anthropic-billing-header: cch=1;", '{"$part":', '"a":1', "null", "true", "1e5", "NaN", "\n", "é"),
    *("\\ud83d", '"}', '"},', "]}", '"role":7', "\u2028"),
)


def check(data: bytes) -> None:
    choices = Choices(data)
    if choices.number(2):
        text = choices.words(WORDS)
    else:
        text = choices.rest().decode("utf-8", "replace")
    request = parts.split(text)
    texts = {part.id: part.text for part in request.parts}
    assert parts.join(request.template, texts.__getitem__) == text
    assert [part.id for part in request.parts if part.id not in parts.references(request.template)] == []
    if text:
        assert request.sha256 == hashlib.sha256(text.encode()).hexdigest()
        orjson.loads(f"[{request.template}]")
    if request.body is not None:
        assert isinstance(json.loads(text), dict)
        for name in request.body:
            member = parts.member(text, name)
            assert member is not None and member in text


TARGET = Target(
    "split",
    check,
    (
        b'\0{"model":"m","system":[{"type":"text","text":"x-anthropic-billing-header: cch=1;","cache_control":{"type":"x"}}],'
        b'"messages":[{"role":"user","content":[{"type":"text","text":"a","cache_control":{"type":"ephemeral"}}]}]}',
        b'\0{"request":{"contents":[{"role":"user","parts":[]}],"systemInstruction":{}},"tools":[1,{}], "prompt" : "x"}',
        b'\0{"type":"response.create","input":[{"type":"function_call_output","output":"\\ud83d"},7,"x"],"instructions":""}',
        b"\1\x20" + bytes(range(32)),
        b"\1\x30" + bytes(range(40, -1, -1)),
    ),
)
