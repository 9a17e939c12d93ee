"""Flow and end records against the schema: what is wrong in them, and what of them can be used."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from capture.jsonl import VERSION
from capture.records import EndRecord, FlowRecord

type Record = Mapping[str, Any]

SOMETIMES = ("kept",)  # fields that stand only where there is something to say


def of_flow(record: Record) -> dict[str, str]:
    """What is wrong in a flow record, by field."""
    wrong = _against(FlowRecord, record)
    if record.get("request") is None and record.get("request_sha256") is not None:
        wrong["request"] = "null, though it has a hash"
    return wrong


def of_end(record: Record) -> dict[str, str]:
    """What is wrong in an end record, by field."""
    return _against(EndRecord, record)


def usable(record: Record, wrong: Mapping[str, str]) -> dict[str, Any]:
    """The fields that are right."""
    return {name: value for name, value in record.items() if name not in wrong}


def _against(model: type[BaseModel], record: Record) -> dict[str, str]:
    """This version writes every field but a few, so each must be there; other versions may have others."""
    written = model.model_fields if record.get("v", VERSION) == VERSION else {}
    wrong = {name: "missing" for name in written if name not in record and name not in SOMETIMES}
    try:
        model.model_validate(record, strict=True)
    except ValidationError as problem:
        for error in problem.errors(include_url=False, include_input=False, include_context=False):
            wrong.setdefault(str(error["loc"][0]), str(error["msg"]))
    return wrong
