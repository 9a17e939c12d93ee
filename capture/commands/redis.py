"""`capture redis`: a stream looked at, exported, trimmed, entries deleted."""

from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from capture.commands.base import print_rows, say, table
from capture.commands.options import A_FILE, json_option, stream_argument
from capture.files import Unusable

if TYPE_CHECKING:
    from capture.channels.where import Where

RAW = (b"flows", b"lines", b"flow_ends")
ENTRY = r"\d+(-\d+)?"  # the id of an entry

yes_option = click.option("--yes", is_flag=True, help="Do it; else only say what would be done.")


def _moment(context: click.Context, parameter: click.Parameter, text: str | None) -> int | None:
    """Milliseconds since 1970 of what the user typed."""
    if text is None:
        return None
    from capture.filters import EXAMPLES, moment

    try:
        return int(datetime.fromisoformat(moment(text, datetime.now())).timestamp() * 1000)
    except (ValueError, OverflowError):
        raise click.UsageError(f"{text} is no time for --{parameter.name}: try one of {EXAMPLES}", context) from None


def _where(url: str | None) -> "Where":
    from capture.channels.where import where_of

    return where_of(url)


@click.group(short_help="Look at a Redis stream; export it, trim it.")
def redis() -> None:
    """Look at a Redis stream, export it, trim it, delete entries.

    Without a URL that of $REDIS_URL counts; the password may stand in $REDIS_PASSWORD.
    """


# -- a look --------------------------------------------------------------------------------------------------------------------


@redis.command(short_help="Show a stream's groups, what they have to do, and who ships.")
@json_option
@stream_argument
def info(as_json: bool, url: str | None) -> None:
    """Show how much a stream holds, its groups with what is pending and what they have not read, and the logs shipped to it."""
    from capture.channels import streams

    told = streams.info(_where(url))
    if as_json:
        print_rows([told])
        return
    span = f", from {_time(told['first'])} to {_time(told['last'])}" if told["first"] else ""
    click.echo(f"{told['at']}: {told['entries']:,} entries, {(told['bytes'] or 0) / 1e6:,.1f} MB{span}")
    rows = [
        (each["group"], one["consumer"], f"{one['pending']:,}", f"{one['idle_seconds']:,.0f} s", _count(each["lag"]))
        for each in told["groups"]
        for one in each["consumers"] or [{"consumer": "nobody", "pending": each["pending"], "idle_seconds": 0}]
    ]
    if rows:
        click.echo()
        table(("group", "consumer", "pending", "idle", "not read"), rows, flexible="consumer")
    if told["logs"]:
        click.echo()
        table(("shipped log", "records"), [(each["log"], f"{each['sent']:,}") for each in told["logs"]], flexible="shipped log")


def _count(lag: int | None) -> str:
    return "?" if lag is None else f"{lag:,}"


def _time(entry: str) -> str:
    """When Redis took an entry, by its id."""
    return datetime.fromtimestamp(int(entry.partition("-")[0]) / 1000).isoformat(" ", "seconds")


# -- export --------------------------------------------------------------------------------------------------------------------


@redis.command(short_help="Write a stream's entries as JSONL.")
@click.option("--since", callback=_moment, metavar="WHEN", help="Entries that Redis took from then on: 7d, 2h, today, …")
@click.option("--until", callback=_moment, metavar="WHEN", help="Entries that it took before.")
@click.option("--raw", is_flag=True, help="Only the records, each the line that it is in the log.")
@click.option("-o", "--output", type=A_FILE, help="Write there instead of to stdout.")
@stream_argument
def export(since: int | None, until: int | None, raw: bool, output: Path | None, url: str | None) -> None:
    """Write a stream's entries, of ours or of anybody, as JSON objects, one a line: `{"entry": ID, "fields": {NAME: VALUE}}`.

    A value that is no UTF-8 is `{"base64": …}`. Nothing is taken out of the stream, and no group notices.
    """
    import sys

    from capture.channels import streams
    from capture.files import written_whole

    where = _where(url)
    first, last = str(since or 0), "+" if until is None else f"({until}-0"

    def written(file: IO[bytes]) -> int:
        count = 0
        with streams.existing(where) as client:
            for some in streams.entries(client, where.stream, first, last):
                lines = [line for entry, fields in some for line in (_raw(fields) if raw else _object(entry, fields))]
                file.write(b"".join(lines))
                count += len(lines)
        return count

    if output is None:
        written(sys.stdout.buffer)
        sys.stdout.buffer.flush()
        return
    with written_whole(output) as part, open(part, "wb") as file:
        count = written(file)
    say(f"wrote {count:,} lines to {output}")


def _raw(fields: list[bytes]) -> Iterable[bytes]:
    facts = dict(zip(fields[::2], fields[1::2], strict=True))
    if facts.get(b"k") in RAW and b"d" in facts:
        yield facts[b"d"] + b"\n"


def _object(entry: bytes, fields: list[bytes]) -> Iterable[bytes]:
    from capture.jsonl import dumps

    values = {name.decode("utf-8", "replace"): _value(value) for name, value in zip(fields[::2], fields[1::2], strict=True)}
    yield dumps({"entry": entry.decode(), "fields": values})


def _value(value: bytes) -> str | dict[str, str]:
    from base64 import b64encode

    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"base64": b64encode(value).decode()}


# -- cutting -------------------------------------------------------------------------------------------------------------------


@redis.command(short_help="Cut a stream's oldest entries off.")
@click.option("--maxlen", type=click.IntRange(min=0), metavar="N", help="Keep the newest N.")
@click.option("--before", callback=_moment, metavar="WHEN", help="Keep what Redis took from then on: 7d, 2h, today, …")
@yes_option
@stream_argument
def trim(maxlen: int | None, before: int | None, yes: bool, url: str | None) -> None:
    """Cut a stream's oldest entries off. Says how many, and which groups have not read all of them; does it only with --yes.

    `--maxlen 0` empties it for good; when the stream itself is deleted, shippers send their logs again.
    """
    from capture.channels import streams

    if (maxlen is None) == (before is None):
        raise click.UsageError("what shall stay? Give --maxlen N or --before WHEN")
    where = _where(url)
    told = streams.info(where)
    with streams.existing(where) as client:
        count = max(0, told["entries"] - maxlen) if maxlen is not None else streams.before(client, where.stream, before or 0)
        last = told["last"] if maxlen is not None else min(told["last"] or "0", f"{before}-0", key=streams.number)
        if count and last and (groups := streams.unread(told, last)):
            say(f"not yet read or acknowledged by {', '.join(groups)}: what they lack is lost to them (see `capture redis info`)")
        _do(
            yes,
            count,
            lambda: client.xtrim(where.stream, maxlen=maxlen, approximate=False, minid=None if before is None else f"{before}-0"),
        )


@redis.command(short_help="Delete entries from a stream.")
@click.option("--session", metavar="ID", help="The records of this session.")
@click.option("--flow", metavar="ID", help="The records of this flow.")
@click.option("--group", metavar="NAME", help="Instead, a group that nobody reads any more: shippers wait for it.")
@yes_option
@stream_argument
@click.argument("entry", nargs=-1)
def delete(session: str | None, flow: str | None, group: str | None, yes: bool, url: str | None, entry: tuple[str, ...]) -> None:
    """Delete entries: those with the given ids (1795257000000-0), or the records of a session or a flow; only with --yes.

    What was collected already stays in the logs; payloads of bodies/ stay in the stream until they are trimmed.
    """
    import re

    from capture.channels import streams

    if url is not None and re.fullmatch(ENTRY, url):  # no URL was given
        entry, url = (url, *entry), None
    if not entry and session is None and flow is None and group is None:
        raise click.UsageError("which entries? Give their ids, --session ID or --flow ID")
    if bool(entry) + bool(session or flow) + bool(group) > 1:
        raise click.UsageError("either ids of entries, or --session and --flow, or a --group")
    if wrong := [each for each in entry if not re.fullmatch(ENTRY, each)]:
        raise click.UsageError(f"{wrong[0]} is no id of an entry: it is like 1795257000000-0 (see `capture redis export`)")
    where = _where(url)
    if group is not None:
        return _delete_group(where, group, yes)
    with streams.existing(where) as client:
        ids: list[bytes] = []
        if entry:
            for each in entry:
                ids += [found for some in streams.entries(client, where.stream, each, each) for found, _ in some]
        else:
            ids = streams.of(client, where.stream, session, flow)
        if not ids:
            raise Unusable("there are no such entries: nothing was done")
        _do(yes, len(ids), lambda: streams.delete(client, where.stream, ids))


def _delete_group(where: "Where", group: str, yes: bool) -> None:
    from capture.channels import streams

    told = next((each for each in streams.info(where)["groups"] if each["group"] == group), None)
    if told is None:
        raise Unusable(f"there is no group {group} (see `capture redis info`)")
    idle = min((each["idle_seconds"] for each in told["consumers"]), default=None)
    heard = "nobody ever read in it" if idle is None else f"somebody read in it {idle:,.0f} s ago"
    say(f"group {group}: {told['pending']:,} entries not acknowledged, {_count(told['lag'])} not read; {heard}")
    with streams.opened(where) as client:
        if yes:
            client.xgroup_destroy(where.stream, group)
    say("deleted it; the entries stay" if yes else "nothing was done: add --yes to delete it; the entries would stay")


def _do(yes: bool, count: int, act: Callable[[], Any]) -> None:
    """Says what is done, or would be."""
    words = "1 entry" if count == 1 else f"{count:,} entries"
    if yes:
        done = act() if count else 0
        say(f"deleted {done:,} of {words}" if done != count else f"deleted {words}")
    else:
        say(f"would delete {words}; nothing was done: add --yes to do it" if count else "there is nothing to delete")
