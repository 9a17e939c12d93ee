"""`capture live`: what agents say, as they say it."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from capture.commands.base import coloured, end_in_order, say, short
from capture.commands.options import A_FILE, Followed, Seconds, follow_options
from capture.files import Unusable

if TYPE_CHECKING:
    from capture.live.screen import Switch
    from capture.live.telling import Only
    from capture.live.view import View
    from capture.scan.following import Following

FRAME = 0.05  # seconds between two looks at a log in which nothing happens
PIPED = 80  # columns of what is no terminal


def _groups(context: click.Context, parameter: click.Parameter, text: str | None) -> frozenset[str] | None:
    """What `--only` names."""
    if text is None:
        return None
    from capture.filters import near
    from capture.live.telling import GROUPS

    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise click.UsageError(f"--only names nothing: there are {', '.join(GROUPS)}", context)
    for name in names:
        if name not in GROUPS:
            raise click.UsageError(
                f"--only knows no {name}{near(name, GROUPS).rstrip('?')}: there are {', '.join(GROUPS)}", context
            )
    return frozenset(names)


SECONDS = Seconds(min=0)


@click.command(short_help="Watch what agents say, as they say it.")
@follow_options
@click.option("--only", callback=_groups, metavar="WHAT", help="Of text,reasoning,tools,prompts,results,usage only these.")
@click.option("--function-only", is_flag=True, help="Only tool calls: --only tools.")
@click.option("--no-follow", is_flag=True, help="Stop at the end of what is there.")
@click.option("--results", type=click.IntRange(min=0), default=5, show_default=True, help="Lines shown of a tool's result.")
@click.option("--indent", type=click.IntRange(0, 8), default=2, show_default=True, help="Columns for each level of JSON.")
@click.option("--show-time", is_flag=True, help="The time before each block.")
@click.option("--show-flow-id", is_flag=True, help="The flow's id before each block.")
@click.option("--show-deltas", is_flag=True, help="The gap before each delta; nothing is joined.")
@click.option(
    "--compact-ids", type=click.IntRange(min=1), default=5, show_default=True, help="Characters shown of an id; over 10: all."
)
@click.option(
    "--session-guard",
    type=click.IntRange(min=0),
    default=2000,
    show_default=True,
    metavar="MS",
    help="How long a session is quiet before another takes the screen.",
)
@click.option(
    "--flush-interval",
    type=SECONDS,
    default=0.5,
    show_default=True,
    metavar="S",
    help="How often what waits is looked at.",
)
@click.option(
    "--dead-after",
    type=SECONDS,
    default=5.0,
    show_default=True,
    metavar="S",
    help="How long without a delta until a stream counts as dead.",
)
@click.option(
    "--args-sub-deltas",
    type=click.IntRange(min=8),
    default=8,
    show_default=True,
    help="Deltas of a tool call's arguments that are looked at to know what it is.",
)
@click.option(
    "--delay-ms", type=click.IntRange(min=0), default=0, metavar="MS", help="Wait after each delta, to watch a recording."
)
@click.option("--show-fsm", is_flag=True, help="Say when a tool call is recognised.")
@click.option("--log-decisions", type=A_FILE, help="Write here why what took the screen.")
def live(
    followed: Followed,
    only: frozenset[str] | None,
    function_only: bool,
    no_follow: bool,
    delay_ms: int,
    show_deltas: bool,
    log_decisions: Path | None,
    **how: Any,
) -> None:
    """Watch many agents at once: prompts, reasoning, answers, tool calls with their results, what it cost.

    SOURCE is a log directory (the default is that of --dir), a file of lines in any of the three dialects, also compressed, or -
    for lines on stdin. What is not there yet is waited for. One flow has the screen; others wait until it is quiet.
    """
    from capture.prices import load
    from capture.scan.following import following

    if function_only and only is not None:
        raise click.UsageError("either --only or --function-only")
    if no_follow:
        followed.check()
    source = following(followed.where, followed.start, join=not (show_deltas or delay_ms))
    groups = frozenset(["tools"]) if function_only else only
    with ExitStack() as stack:
        decided = stack.enter_context(_decisions(log_decisions)) if log_decisions else None
        view = _view(followed, groups, show_deltas, decided, how)
        if followed.missing():
            say(f"{short(followed.where)} is not there yet: waiting for it, Ctrl-C ends")
        elif sys.stderr.isatty() and followed.start == "now" and followed.where != "-":
            say(f"watching {short(source.source.name)} from now on; --from start shows what is there, Ctrl-C ends")
        end_in_order(143)  # so that the terminal is left as it was
        if not no_follow:
            load()
        try:
            _watch(source, view, no_follow, delay_ms / 1000)
        finally:
            _write(view.close())
    if count := source.notes.count:
        lines = "1 line was" if count == 1 else f"{count:,} lines were"
        say(f"{lines} skipped, the first for this: {source.notes.bad[0].why} (`capture check` looks at them)")


def _watch(source: "Following", view: "View", no_follow: bool, delay: float) -> None:
    """Draws what comes until nothing more comes, or somebody ends it."""
    looked = time.monotonic()
    while (items := source.poll(0.0 if no_follow else FRAME)) is not None:
        if delay:
            for item in items:
                if text := view.feed([item]):
                    _write(text)
                    time.sleep(delay)
        elif items:
            _write(view.feed(items))
        elif not source.behind:
            if no_follow:
                break
            _write(view.wait(time.monotonic() - looked))
        looked = time.monotonic()
    _write(view.feed(source.close()))


def _view(
    followed: Followed,
    groups: frozenset[str] | None,
    show_deltas: bool,
    decided: "Callable[[Switch], None] | None",
    how: dict[str, Any],
) -> "View":
    from capture.live.render import Look
    from capture.live.telling import only
    from capture.live.terminal import Terminal
    from capture.live.view import Choice, View
    from capture.prices import cost

    interactive = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
    wanted: Only | None = only(groups) if groups is not None else None
    look = Look(
        args_sub_deltas=how["args_sub_deltas"],
        indent=how["indent"],
        results=how["results"],
        show_fsm=how["show_fsm"],
        show_time=how["show_time"],
        show_flow_id=how["show_flow_id"],
        show_deltas=show_deltas,
        width=_columns,
    )
    choice = Choice(
        look, how["session_guard"] / 1000, how["flush_interval"], how["dead_after"], how["compact_ids"], wanted, followed.mine()
    )
    return View(choice, Terminal(_columns, coloured(sys.stdout), interactive), cost, decided)


def _columns() -> int:
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or PIPED
    except OSError:
        return PIPED


def _write(text: str) -> None:
    if text:
        sys.stdout.buffer.write(text.encode("utf-8", "replace"))
        sys.stdout.buffer.flush()


@contextmanager
def _decisions(path: Path) -> "Iterator[Callable[[Switch], None]]":
    """A file that is told why what took the screen: one JSON object a line."""
    from dataclasses import asdict

    from capture.jsonl import dumps

    try:
        file = open(path, "wb", buffering=0)  # noqa: SIM115 (closed by the `with` below)
    except OSError as error:
        raise Unusable(f"cannot write to {path} ({error.strerror}): choose another file for --log-decisions") from None
    with file:
        yield lambda switch: (file.write(dumps(asdict(switch))), None)[1]
