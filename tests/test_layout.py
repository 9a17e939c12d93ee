"""The floor plan of docs/design.md, read from the imports."""

import ast
import functools
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FLOORS = (  # from the ground up; a folder stands for all that is in it
    ("capture.jsonl", "capture.events", "capture.openings", "capture.syncing", "capture.packed"),
    (
        "capture.wire",
        "capture.records",
        "capture.processes",
        "capture.samples",
        "capture.prices",
        "capture.toolcalls",
        "capture.shapes",
    ),
    ("capture.providers", "capture.redact", "capture.files"),
    ("capture.purges", "capture.appending", "capture.rotated"),
    (
        "capture.session",
        "capture.messages",
        "capture.parts",
        "capture.holding",
        "capture.presence",
        "capture.state",
        "capture.scope",
        "capture.reader",
        "capture.tables",
    ),
    ("capture.requests",),
    ("capture.recorder", "capture.store", "capture.catalogue", "capture.proxy", "capture.updates"),
    (
        "capture.upstream",
        "capture.cleansing",
        "capture.purging",
        "capture.own",
        "capture.dialogue",
        "capture.channels",
        "capture.costs",
    ),
    ("capture.scan", "capture.turns", "capture.watching", "capture.quota", "capture.rotating"),
    ("capture.rows", "capture.questions", "capture.blocks", "capture.sums", "capture.filters", "capture.extract", "capture.live"),
    ("capture.sql", "capture.check"),
    ("capture.dataset",),
    ("addon", "capture.commands", "capture.cli", "capture.__main__"),
)
STAIRS = {  # the floors within a folder that is a pipeline, not a list of siblings
    "capture.channels": (
        ("base", "cutting", "where", "entries"),
        ("directory", "stdio", "writing", "redis"),
        ("checkpoints", "redis_sink"),
        ("pieces", "resuming"),
        ("shipping",),
        ("flow_files", "payloads", "turn"),
        ("collected", "groups"),
        ("collecting", "streams"),
        ("",),
    ),
    "capture.extract": (
        ("base",),
        ("agents", "answers", "calls", "context", "flows", "prompts", "requests", "sharing"),
        ("keeping",),
        ("",),
    ),
    "capture.live": (
        ("items", "inks", "printable", "jsonlexer", "cards", "clock", "spans", "board"),
        ("patterns", "jsontext", "lines", "screen", "terminal", "document", "listing"),
        ("drawing", "pager"),
        ("arguments",),
        ("render",),
        ("telling",),
        ("view", "conversation"),
        ("watch",),
        ("desk",),
        ("panes",),
        ("top",),
        ("",),
    ),
    "capture.commands": (("base",), ("options",), ("answers",), ("*",), ("",)),
    "capture.check": (("findings", "fields"), ("lives", "seen", "rebuild"), ("whole",), ("",)),
    "capture.scan": (
        ("kinds", "pieces", "templates"),
        ("base",),
        ("python", "rg", "beside", "index"),
        ("vectorised", "reading"),
        ("following",),
        ("usage",),
        ("facts",),
        ("",),
    ),
}
LIBRARIES = {  # a library that only some may import, and who
    "mitmproxy": ("addon", "capture.commands.up"),
    "rich": ("capture.commands.base", "capture.live.spans", "capture.live.panes"),
    "textual": ("capture.live.panes", "capture.live.top"),
    "click": ("capture.commands", "capture.cli"),
    "tornado": ("capture.upstream", "addon.doorkeeper"),
    "websockets": ("capture.upstream",),
    "duckdb": ("capture.sql", "capture.scan.vectorised"),
    "genai_prices": ("capture.prices",),
    "redis": ("capture.channels.redis",),
    "psutil": ("capture.processes", "capture.commands"),
    "wcwidth": ("capture.live.terminal", "capture.live.render"),
}


@functools.cache
def modules() -> dict[str, ast.Module]:
    """Every module of the product by its dotted name."""
    files = [*ROOT.glob("capture/**/*.py"), *ROOT.glob("addon/*.py")]
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): ast.parse(path.read_bytes())
        for path in files
    }


def imports(module: str, tree: ast.Module) -> set[str]:
    """What a module imports, also inside its functions, as dotted names of modules."""
    known = modules().keys()
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively"
            base = node.module or ""
            found |= {name if (name := f"{base}.{alias.name}") in known else base for alias in node.names}
    return found


def floor(module: str) -> int | None:
    """The floor a module stands on; None for what is not ours, and for `capture` itself."""
    return next((index for index, rooms in enumerate(FLOORS) for room in rooms if _in(module, room)), None)


def _step(stairs: tuple[tuple[str, ...], ...], name: str) -> int:
    """Which of the stairs a module of a folder stands on; `*`: all others. Raises StopIteration for one that stands on none."""
    return next(step for step, rooms in enumerate(stairs) if name.removeprefix(".") in rooms or "*" in rooms)


def _in(module: str, room: str) -> bool:
    return module == room or module.startswith(room + ".")


def test_every_module_stands_on_a_floor() -> None:
    assert [module for module in modules() if floor(module) is None and module != "capture"] == []


def test_imports_point_down() -> None:
    wrong = []
    for module, tree in modules().items():
        here = floor(module)
        for imported in imports(module, tree):
            there = floor(imported)
            if here is not None and there is not None and there >= here and not _neighbours(module, imported):
                wrong.append(f"{module} (floor {here}) imports {imported} (floor {there})")
    assert wrong == []


def _neighbours(module: str, imported: str) -> bool:
    """Who may see each other on one floor: siblings their `base`, `__init__` siblings, the addon's files, `cli` the commands."""
    folder, _, _ = imported.rpartition(".")
    for house, stairs in STAIRS.items():
        if _in(module, house) and _in(imported, house):
            return _step(stairs, imported.removeprefix(house)) < _step(stairs, module.removeprefix(house))
    if _in(module, "addon") and _in(imported, "addon"):
        return True
    if module in ("capture.cli", "capture.__main__"):
        return imported in ("capture.cli", "capture.commands") or folder == "capture.commands"
    return (imported.endswith(".base") and _in(module, folder)) or folder == module


def test_libraries_are_imported_where_they_belong() -> None:
    wrong = []
    for module, tree in modules().items():
        for imported in imports(module, tree):
            allowed = LIBRARIES.get(imported.partition(".")[0])
            if allowed and not any(_in(module, room) for room in allowed):
                wrong.append(f"{module} imports {imported}")
    assert wrong == []


def test_the_writing_half_and_the_reading_half_do_not_know_each_other() -> None:
    found = {module: imports(module, tree) for module, tree in modules().items()}
    assert "capture.catalogue" not in found["capture.recorder"]
    assert "capture.recorder" not in found["capture.catalogue"]


def test_the_floor_plan_in_the_docs_is_this_one() -> None:
    plan = re.search(r"```floors\n(.*?)```", (ROOT / "docs" / "design.md").read_text("utf-8"), re.DOTALL)
    assert plan, "docs/design.md has no ```floors block"
    drawn = [tuple(re.findall(r"(?:capture|addon)[\w.]*", line)) for line in plan[1].splitlines() if line.strip()]
    assert [set(rooms) for rooms in reversed(drawn)] == [set(rooms) for rooms in FLOORS]


def test_the_broad_except_stands_only_at_the_edges() -> None:
    """`except Exception` swallows our own bugs: it is allowed where a bug must not reach the client or let a secret through."""
    allowed = {"addon.sse_logger", "addon.recording", "capture.redact"}
    found = {
        module
        for module, tree in modules().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or getattr(node.type, "id", "") in ("Exception", "BaseException"))
    }
    assert found <= allowed
