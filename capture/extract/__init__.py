"""The kinds of facts that `capture extract` finds: the list one can see."""

from collections.abc import Callable, Iterable, Iterator

from capture.extract import agents, answers, calls, context, flows, prompts, requests
from capture.extract.base import Field, Kind, Pass, Row, fields_of, json_line, model_of, type_name
from capture.files import Unusable
from capture.providers.base import Holds
from capture.updates import Update

__all__ = [
    "KINDS",
    "Field",
    "Kind",
    "Pass",
    "Row",
    "chosen",
    "extract",
    "fields_of",
    "holds_of",
    "json_line",
    "model_of",
    "type_name",
]

ORDER = """config call_index system_prompts user_prompts tools_defined tool_calls tool_results telemetry token_usage
    reminders_policies paths_repo_hints model_identity_cutoff assistant_messages reasoning_presence headers envelope
    conversation_growth call_linkage function_call_errors tool_usage_stats
    costs rate_limits stop_reasons latency subagents shell_commands file_edits http_errors""".split()
SUBJECTS = (requests, answers, prompts, context, calls, flows, agents)
_known = {kind.name: kind for subject in SUBJECTS for kind in subject.KINDS}
KINDS: tuple[Kind, ...] = tuple(_known[name] for name in ORDER)


def chosen(names: str) -> tuple[Kind, ...]:
    """The kinds of a list with commas, or `all`, in the order of KINDS. Raises Unusable for one that there is not."""
    wanted = [name for each in names.split(",") if (name := each.strip())]
    for name in wanted:
        if name not in _known and name != "all":
            raise Unusable(f"there is no kind {name}{_near(name)} (see `capture kinds`)")
    if not wanted:
        raise Unusable("name at least one kind (see `capture kinds`), or all")
    return tuple(kind for kind in KINDS if "all" in wanted or kind.name in wanted)


def _near(name: str) -> str:
    from difflib import get_close_matches

    found = get_close_matches(name.lower(), [*_known, "all"], 1)
    return f": did you mean {found[0]}?" if found else ""


def holds_of(kinds: Iterable[Kind]) -> Holds:
    """What of a log some kinds need."""
    holds = Holds(0)
    for kind in kinds:
        holds |= kind.holds
    return holds


def extract(
    updates: Iterable[Update], kinds: Iterable[Kind], within: Callable[[str], bool] | None = None
) -> Iterator[tuple[str, Row]]:
    """(kind, row) of all that some kinds find, in one pass."""
    one = Pass(kinds, within)
    for update in updates:
        yield from one.feed(update)
    yield from one.close()
