"""`capture purge`: sessions taken out of the log for good."""

import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click
import orjson

from capture.commands.base import say, table
from capture.commands.options import directory_option, json_option
from capture.files import FLOWS, Unusable
from capture.rotated import strangers

if TYPE_CHECKING:
    from capture.purging import Held


@click.command(short_help="Take sessions out of the log for good.")
@directory_option
@click.option("--session", "names", multiple=True, metavar="ID", help="This one, with its sub-agents: id, part of it, or latest.")
@click.option("--older-than", metavar="AGE", help="Sessions nothing was said in since then: 30d, 2w, 2026-11-01.")
@click.option("--down-to", metavar="SIZE", help="The oldest sessions, so that the log is no larger: 5GB, 500MB.")
@click.option("--all", "everything", is_flag=True, help="All there is.")
@click.option("--yes", is_flag=True, help="Do it; without this nothing is changed.")
@json_option
def purge(
    directory: Path,
    names: tuple[str, ...],
    older_than: str | None,
    down_to: str | None,
    everything: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Take sessions out of the log for good: records, files, bodies, index, torn lines, errors.

    Without --yes it says what would go. Proxies may go on writing; what else is on record stays as it is, to the byte. A
    connection of such a session that is open is not recorded further, its next one is. What was sent to Redis, exported or
    backed up is not reached.
    """
    from capture import purging

    if bool(names) + bool(older_than) + bool(down_to) + everything != 1:
        raise click.UsageError("say what: one of --session ID (or several), --older-than 30d, --down-to 5GB, --all")
    if not directory.is_dir():
        raise Unusable(f"there is no log in {directory}: name it with --dir")
    if yes:
        purging.finish(directory)
    there = purging.held(directory)
    wanted = _oldest(directory, down_to, there) if down_to else _chosen(directory, names, older_than, there)
    chosen = there if everything else {sid: there[sid] for sid in wanted if sid in there}
    if not chosen and not everything:
        say("nothing of that kind is on record: nothing to purge")
        return
    if yes:
        flows = frozenset(flow for each in chosen.values() for flow in each.flows)
        counts = purging.total(directory, chosen, everything)
        purging.purge(directory, None if everything else frozenset(chosen), flows)
    else:
        counts = purging.total(directory, chosen, everything)
    rows = [
        {"session": sid, "flows": len(each.flows), "records": each.records, "bytes": each.bytes, "last": each.last}
        for sid, each in sorted(chosen.items(), key=lambda item: item[1].last)
    ]
    if as_json:
        for row in rows:
            click.echo(orjson.dumps({**row, "purged": yes}))
        click.echo(orjson.dumps({"total": counts, "purged": yes}))
        return
    table(
        ("session", "flows", "records", "bytes", "last"),
        [
            (str(row["session"]), f"{row['flows']:,}", f"{row['records']:,}", f"{row['bytes']:,}", str(row["last"])[:19])
            for row in rows
        ],
        flexible="session",
    )
    if others := ", ".join(path.name for path in strangers(directory)):
        say(f"not looked into: {others}")
    words = ", ".join(f"{count:,} {name.removesuffix('s') if count == 1 else name}" for name, count in counts.items())
    sys.stdout.flush()
    say(f"purged {words}" if yes else f"would purge {words}: nothing is changed yet, add --yes to do it")


def _chosen(directory: Path, names: tuple[str, ...], older_than: str | None, there: "dict[str, Held]") -> frozenset[str]:
    """The sessions that are meant. Raises Unusable, UsageError."""
    from capture import filters
    from capture.rotated import lines_of, parts

    if older_than is None:
        known = filters.Sessions({sid: each.last for sid, each in there.items()})
        for part in parts(directory, FLOWS):
            known.see(filters.heads(lines_of(part)))
        return frozenset(sid for name in names for sid in known.named(name))
    try:
        before = filters.moment(older_than, datetime.now())
    except (ValueError, OverflowError):
        raise click.UsageError(f"{older_than} is no age for --older-than: try 30d, 2w, 2026-11-01") from None
    return frozenset(sid for sid, each in there.items() if each.last < before)


def _oldest(directory: Path, down_to: str, there: "dict[str, Held]") -> frozenset[str]:
    """Sessions that make a log too large; those of the last hour stay, agents may be at work in them. Raises UsageError."""
    from capture import filters, quota
    from capture.scope import bytes_of

    try:
        most = bytes_of(down_to)
    except ValueError:
        raise click.UsageError(f"{down_to} is no size for --down-to: try 5GB, 500MB") from None
    now, sizes = quota.size(directory), quota.sizes(directory, there)
    chosen = quota.oldest(there, sizes, now - most, filters.moment("1h", datetime.now()))
    left = now - sum(sizes[sid] for sid in chosen)
    if left > most:
        say(f"{left / 1e6:,.1f} MB stay: sessions of the last hour are not taken out so")
    return frozenset(chosen)
