"""The tables of `capture query` and `capture export`: their columns, how each is found in a record, what one can ask.

`LOGGED` tables are the log's three files as they are, read by DuckDB itself; the rows of `DERIVED` ones are made in
`capture.rows`. This is the only description of a column: views, files and docs/query.md come from it.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Literal, get_args, get_origin

from capture.files import ENDS, FLOWS, LINES, Unusable
from capture.records import Client, EndRecord, FlowRecord, LineRecord, Metadata, Open


@dataclass(frozen=True, slots=True)
class Column:
    """One column. `sql`: what finds it in a record as it was read; "": a column of that name."""

    name: str
    type: str  # in DuckDB's words
    says: str
    sql: str = ""


@dataclass(frozen=True, slots=True)
class Logged:
    """How a table's records are read from a file of the log: every field as text, so that no odd value costs the others."""

    file: str
    fields: tuple[str, ...]
    needs: tuple[str, ...]  # what lacks one of these is no such record
    inside: str  # SQL of the objects within a record, by the names that columns use


@dataclass(frozen=True, slots=True)
class Table:
    """One table, with a question that it answers. `t` is in all of them: the day a dataset is divided by."""

    name: str
    says: str
    columns: tuple[Column, ...]
    example: str
    logged: Logged | None = None  # None: made by pairing
    keys: tuple[str, ...] = ()  # of a table made by pairing: no two rows have the same


SAYS = {  # what the schema says with an eye on its own page
    "see below": "complete, client_closed, server_closed, error, stopped, killed",
    "the session, always last": "the session",
    "as in the flow record": "whose vocabulary: anthropic, openai, gemini, unknown",
}


def struct(columns: Iterable[Column]) -> str:
    """The DuckDB type of an object with these members."""
    return "STRUCT(" + ", ".join(f'"{column.name}" {column.type}' for column in columns) + ")"


def _of(model: type[Open], inside: str = "") -> Iterator[Column]:
    """The columns of a record, named and typed as the log's schema says; `inside`: the struct they are members of."""
    for name, field in model.model_fields.items():
        kind = "TIMESTAMP" if name == "t" else _type(field.annotation)
        sql = f'{inside}."{name}"' if inside else f'TRY_CAST("{name}" AS {kind})' if kind != "VARCHAR" else ""
        says = " ".join((field.description or "").split())
        yield Column(name, kind, SAYS.get(says, says), sql)


def _type(annotation: Any) -> str:
    options = [option for option in get_args(annotation) if option is not type(None)]
    if get_origin(annotation) is Literal:
        return "VARCHAR"
    if len(options) == 1 and get_origin(annotation) is not list:
        return _type(options[0])
    return {str: "VARCHAR", int: "BIGINT", float: "DOUBLE", bool: "BOOLEAN"}.get(annotation, "JSON")


def _only(columns: Iterable[Column], *names: str) -> Iterator[Column]:
    return (column for column in columns if column.name in names)


def _without(columns: Iterable[Column], *names: str) -> Iterator[Column]:
    return (column for column in columns if column.name not in names)


# -- the log as it is --------------------------------------------------------------------------------------------------------

METADATA, CLIENT = tuple(_of(Metadata, "m")), tuple(_of(Client, "c"))
TEXT = """CASE WHEN starts_with("line", 'data: ') THEN substr("line", 7) ELSE "line" END"""  # a payload without its `data: `
LINE_FIELDS, FLOW_FIELDS, END_FIELDS = (tuple(model.model_fields) for model in (LineRecord, FlowRecord, EndRecord))

LINES_TABLE = Table(
    "lines",
    "a frame, or a part of a request",
    (
        *_only(_of(LineRecord), "event", "t"),
        Column(
            "payload",
            "JSON",
            "the frame; a JSON string where it is no JSON",
            f"coalesce(TRY_CAST({TEXT} AS JSON), to_json({TEXT}))",
        ),
        *_only(_of(LineRecord), "line", "flow_id", "data_count", "sid"),
        Column("round", "BIGINT", "of the codex log: one prompt and all that follows", 'TRY_CAST("round" AS BIGINT)'),
        *METADATA,
        Column("metadata", "JSON", "all of it, also what has no column", "j"),
    ),
    "SELECT event, count(*) AS frames, sum(strlen(line)) AS bytes FROM lines GROUP BY event ORDER BY bytes DESC",
    Logged(
        LINES,
        (*LINE_FIELDS, "round"),
        LINE_FIELDS,
        f'TRY_CAST("metadata" AS JSON) AS j, TRY_CAST(TRY_CAST("metadata" AS JSON) AS {struct(METADATA)}) AS m',
    ),
)
FLOWS_TABLE = Table(
    "flows",
    "an HTTP exchange or a WebSocket",
    (
        *_without(_of(FlowRecord), "client", "request"),
        Column(
            "request", "JSON", "the body with its parts by reference", 'coalesce(TRY_CAST("request" AS JSON), to_json("request"))'
        ),
        *(Column({"name": "client", "version": "client_version"}.get(it.name, it.name), it.type, it.says, it.sql) for it in CLIENT),
    ),
    "SELECT client, provider, status, count(*) AS flows FROM flows WHERE status >= 400 GROUP BY ALL ORDER BY flows DESC",
    Logged(FLOWS, FLOW_FIELDS, ("t", "flow_id"), f'TRY_CAST(TRY_CAST("client" AS JSON) AS {struct(CLIENT)}) AS c'),
)
ENDS_TABLE = Table(
    "ends",
    "how a flow ended",
    tuple(_of(EndRecord)),
    "SELECT outcome, count(*) AS flows, avg(first_event_ms) AS first_ms FROM ends GROUP BY outcome ORDER BY flows DESC",
    Logged(ENDS, END_FIELDS, ("t", "flow_id"), "NULL AS nothing"),
)
LOGGED = (LINES_TABLE, FLOWS_TABLE, ENDS_TABLE)


# -- what it means -----------------------------------------------------------------------------------------------------------


def _columns(text: str) -> tuple[Column, ...]:
    """Columns from lines of `name TYPE what it says`."""
    return tuple(Column(*line.split(maxsplit=2)) for line in text.splitlines() if line)


WHO = """
client VARCHAR what people call it: claude-code, codex, gemini-cli …
client_version VARCHAR of the client
cwd VARCHAR the directory it works in
"""
TOKENS = """
fresh BIGINT tokens read that came from no cache and went into none
cached BIGINT tokens read from the provider's cache
written BIGINT tokens written to the provider's cache
input BIGINT all that the model read: the three together
output BIGINT all that the model wrote, reasoning too
reasoning_tokens BIGINT of the output
"""
WHERE = """
t TIMESTAMP when
sid VARCHAR the session
flow_id VARCHAR the flow
"""

EVENTS_TABLE = Table(
    "events",
    "what a frame means, piece by piece, in words common to all providers",
    _columns(
        f"""{WHERE}
data_count BIGINT of the line in its flow
number BIGINT of the event in its line, from 0
dir VARCHAR `in`: from the server, `out`: from the client
type VARCHAR TextDelta, ToolCallStarted, UsageReported …: see capture/events.py
text VARCHAR text of an answer, of a prompt, of reasoning, of arguments, of a result
name VARCHAR of a tool, a model, or a kind
call_id VARCHAR of a tool call or its result
value JSON all that the event says
"""
    ),
    "SELECT type, count(*) AS events, sum(length(text)) AS characters FROM events GROUP BY type ORDER BY events DESC",
    keys=("flow_id", "data_count", "number"),
)
MESSAGES_TABLE = Table(
    "messages",
    "a part of a conversation: a prompt, tool results, an answer",
    _columns(
        f"""{WHERE}
number BIGINT of an answer in its flow, from 0; null for what a client sent
turn BIGINT number of an answer's turn in the session
role VARCHAR who says it: user, assistant, system, tool …
part VARCHAR of what a client sent: request.user, request.system, request.tools …
part_id VARCHAR its content hash
again BOOLEAN whether the client only sends back what the model has said
human VARCHAR what a human wrote in it
text VARCHAR all its text
reasoning VARCHAR what the model thought aloud
model VARCHAR of an answer
message_id VARCHAR the provider's id of an answer
calls BIGINT tool calls made in it
results BIGINT tool results in it
stopped VARCHAR why the model stopped, in the provider's word
failed VARCHAR what the provider said went wrong
background VARCHAR why no user waited for it: title, quota …; null: somebody did
agent VARCHAR id of the sub-agent that asked; null: the agent itself
{WHO}"""
    ),
    "SELECT t, role, left(text, 60) AS text FROM messages WHERE text ILIKE '%error%' ORDER BY t DESC LIMIT 10",
    keys=("sid", "flow_id", "number", "part", "part_id"),
)
TURNS_TABLE = Table(
    "turns",
    "what a user asked and all that was done until the agent was idle again",
    _columns(
        f"""
t TIMESTAMP when the user asked
sid VARCHAR the session
turn BIGINT its number in the session, from 1
prompt VARCHAR what the user asked
prompts BIGINT how often the user spoke
sure BOOLEAN false where the prompt was not found, or may be an earlier one sent again
answer VARCHAR the last thing the model said
model VARCHAR the model that said it
models VARCHAR[] all models that took part
outcome VARCHAR idle, interrupted, failed, open
failed VARCHAR why the last exchange gave no answer
last_t TIMESTAMP its last record
idle_t TIMESTAMP when the agent was idle again
duration_ms DOUBLE from the prompt to idle
exchanges BIGINT requests to a model
flows BIGINT flows
agents BIGINT sub-agents
calls BIGINT tool calls
{TOKENS}{WHO}"""
    ),
    "SELECT t, cwd, outcome, failed, left(prompt, 60) AS prompt FROM turns WHERE outcome <> 'idle' ORDER BY t DESC LIMIT 10",
    keys=("sid", "t", "prompt"),
)
CALLS_TABLE = Table(
    "tool_calls",
    "a tool call through its life",
    _columns(
        f"""
t TIMESTAMP when it was declared
sid VARCHAR the session
flow_id VARCHAR the flow that made it
call_id VARCHAR what its result refers to
name VARCHAR the tool
arguments VARCHAR their text: JSON for most tools
server BOOLEAN whether the provider runs it
completed_t TIMESTAMP when its arguments were complete
result VARCHAR what the tool said
is_error BOOLEAN whether the tool failed
exit_code BIGINT of a command, where the client says it
result_t TIMESTAMP when the result was sent to the model
result_flow VARCHAR the flow that sent it
results BIGINT results told: 1 is right
duration_ms DOUBLE from the complete call to its result
agent VARCHAR id of the sub-agent that made it; null: the agent itself
{WHO}"""
    ),
    "SELECT name, count(*) AS calls, max(duration_ms) AS slowest_ms FROM tool_calls GROUP BY name ORDER BY slowest_ms DESC",
    keys=("sid", "flow_id", "call_id", "t"),
)
USAGE_TABLE = Table(
    "usage",
    "a request to a model, its tokens, how it went",
    _columns(
        f"""
t TIMESTAMP when it was asked
sid VARCHAR the session
flow_id VARCHAR the flow
number BIGINT of the request in its flow, from 0
turn BIGINT number of its turn in the session; null for what belongs to none
provider VARCHAR whose vocabulary
api VARCHAR which interface of it
model VARCHAR the model that answered, else the one that was asked
{TOKENS}cost DOUBLE US dollars at list prices; null where the price is not known
first_ms DOUBLE to the first frame of the answer
duration_ms DOUBLE to its end
status BIGINT HTTP status
outcome VARCHAR complete, client_closed, server_closed, error, stopped, killed, open
stopped VARCHAR why the model stopped, in the provider's word
failed VARCHAR what the provider said went wrong
calls BIGINT tool calls in the answer
background VARCHAR why no user waited for it: title, quota …; null: somebody did
agent VARCHAR id of the sub-agent that asked; null: the agent itself
{WHO}"""
    ),
    "SELECT CAST(t AS DATE) AS day, model, sum(output) AS output, sum(cost) AS cost FROM usage GROUP BY ALL ORDER BY day",
    keys=("flow_id", "number"),
)
DERIVED = (EVENTS_TABLE, MESSAGES_TABLE, TURNS_TABLE, CALLS_TABLE, USAGE_TABLE)
TABLES = (*LOGGED, *DERIVED)


def chosen(names: str | None) -> tuple[Table, ...]:
    """The tables that a user names, with commas between; all where none is. Raises Unusable with a near match."""
    known = {table.name: table for table in TABLES}
    if names is None:
        return TABLES
    for name in names.split(","):
        if name not in known:
            near = get_close_matches(name, known, 1)
            meant = f", did you mean {near[0]}?" if near else ""
            raise Unusable(f"there is no table {name}{meant} (tables: {', '.join(known)})")
    return tuple(known[name] for name in dict.fromkeys(names.split(",")))
