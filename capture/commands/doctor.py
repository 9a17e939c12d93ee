"""`capture doctor`: what is set up, what is wrong, what to do."""

import os
import platform
import shutil
import stat
import sys
from collections import Counter, deque
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal, NamedTuple

import click
import orjson
import psutil

from capture import files, presence, proxy
from capture.commands.base import hint, paint, short
from capture.commands.options import confdir_option, directory_option, json_option
from capture.reader import LogReader
from capture.scope import of_facts
from capture.shapes import FAST

RECENT = 100  # flows that are looked at
LOW_DISK = 1 << 30  # bytes


class Finding(NamedTuple):
    """One line: what was found, and what to do about it."""

    state: Literal["ok", "warn", "fail"]
    what: str
    do: str = ""


@click.command(short_help="Check the set-up; say what to do.")
@directory_option
@json_option
@confdir_option
def doctor(directory: Path, as_json: bool, confdir: Path) -> None:
    """Check what capturing needs; each line says what to do. Exit status 1 when something fails."""
    failed = False
    for finding in examine(directory, confdir):
        failed |= finding.state == "fail"
        if as_json:
            click.echo(orjson.dumps(finding._asdict()))
            continue
        mark = {"ok": paint("ok  ", "good"), "warn": paint("warn", "user"), "fail": paint("FAIL", "bad")}[finding.state]
        click.echo(f"{mark} {finding.what}" + (f": {finding.do}" if finding.do else ""))
    sys.exit(1 if failed else 0)


def examine(directory: Path, confdir: Path) -> Iterator[Finding]:
    """All findings, in the order in which a capture needs them."""
    yield from _software()
    yield from _certificates(confdir)
    planted = list(_planted(directory))
    yield from planted or _log(directory)
    yield from _proxies(directory)
    yield from _environment(directory)
    if not planted:
        yield from _captures(directory)


def _planted(directory: Path) -> Iterator[Finding]:
    """What no proxy would write to, and what is not read here either: to open a pipe is to wait."""
    if directory.is_symlink():
        yield Finding("fail", f"log directory {directory} is a symbolic link, which is not followed", files.CHOOSE)
    for name in (*files.FILES.values(), files.ERRORS):
        try:
            files.refuse_odd(directory / name)
        except files.Unusable as problem:
            yield Finding("fail", str(problem))


def _software() -> Iterator[Finding]:
    yield Finding("ok", f"Python {platform.python_version()} ({sys.executable})")
    try:
        mitmproxy = version("mitmproxy")
        fits = mitmproxy.startswith("12.") and mitmproxy not in ("12.0", "12.1")
        yield Finding("ok" if fits else "warn", f"mitmproxy {mitmproxy}", "" if fits else "written for 12.2 and newer, below 13")
    except PackageNotFoundError:
        yield Finding("fail", "mitmproxy is not installed", "pip install 'mitmproxy>=12.2,<13'")
    if not FAST:
        yield Finding("warn", "google-re2 is missing: redaction is slower", "pip install google-re2")


def _certificates(confdir: Path) -> Iterator[Finding]:
    key, certificate = confdir / "mitmproxy-ca.pem", confdir / proxy.CA_FILE
    if not certificate.exists():
        yield Finding("warn", f"no CA yet in {short(str(confdir))}", "it is made when the proxy first starts")
        return
    from cryptography import x509

    until = x509.load_pem_x509_certificate(certificate.read_bytes()).not_valid_after_utc
    if until < datetime.now(UTC):
        yield Finding(
            "fail", f"the CA expired on {until:%Y-%m-%d}", f"move {short(str(confdir))} away; the next start makes a new one"
        )
    mode = stat.S_IMODE(confdir.stat().st_mode)
    if mode & 0o077 or (key.exists() and stat.S_IMODE(key.stat().st_mode) & 0o077):
        yield Finding("fail", f"others can read the CA's private key ({key})", f"chmod 700 {confdir}; chmod 600 {key}")
    else:
        yield Finding("ok", f"CA {short(str(certificate))}, valid until {until:%Y-%m-%d}")


def _log(directory: Path) -> Iterator[Finding]:
    if not directory.exists():
        yield Finding("ok", f"log directory {short(str(directory))} will be made by the first capture")
        return
    try:
        status = directory.stat()
    except OSError as error:
        yield Finding("fail", f"log directory {directory}: {error.strerror}", files.CHOOSE)
        return
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or not os.access(directory, os.W_OK | os.X_OK):
        yield Finding("fail", f"log directory {directory} is not a directory of yours to write to", files.CHOOSE)
        return
    if stat.S_IMODE(status.st_mode) & 0o077:
        yield Finding("warn", f"others can read the log directory {directory}", f"chmod 700 {directory}")
    free = shutil.disk_usage(directory).free
    size = sum((directory / name).stat().st_size for name in files.FILES.values() if (directory / name).exists())
    yield Finding("ok", f"log directory {short(str(directory))}: {size / 1e6:,.1f} MB, {free / 1e9:,.1f} GB free")
    if free < LOW_DISK:
        yield Finding("warn", "the disk is nearly full", "make room: records are lost when it is full")
    for bad in sorted(directory.glob("*.bad")):
        yield Finding(
            "warn", f"{bad.name} holds torn lines of a killed proxy", "nothing else was touched; delete it when you have looked"
        )
    for line in deque(files.whole_lines(directory / files.ERRORS), maxlen=3):
        record = files.parse(line) or {}
        yield Finding("warn", f"{record.get('t')} {record.get('where')}: {record.get('what')}", str(record.get("do")))


def _proxies(directory: Path) -> Iterator[Finding]:
    found = presence.living(directory)
    for facts in found:
        web = f", web on {facts['web_port']}" if facts.get("web_port") else ""
        use = " (of one `capture run`)" if facts.get("owner") else ""
        use += ", asks for a password" if facts.get("password_file") else ""
        listens = facts.get("host")
        if listens not in (None, proxy.HOST, "::1", "localhost"):  # None: local mode listens nowhere
            yield Finding(
                "fail",
                f"the proxy on port {facts.get('port')} can be used from outside ({listens})",
                f"start it with {hint('up', directory)}",
            )
        else:
            where = f"{listens}:{facts.get('port')}" if listens else "no port"
            yield Finding("ok", f"proxy on {where}{web}, process {facts.get('pid')}{use}")
        yield Finding("ok", f"it records {of_facts(facts.get('scope') or {}).words}, to {short(str(directory))}")
    ours = {facts.get("port") for facts in found} | {facts.get("web_port") for facts in found}
    if not found:
        yield Finding("ok", "no proxy runs", f"`capture run` starts one; or start one to stay: {hint('up', directory)}")
    for port in {proxy.PORT, proxy.WEB_PORT} - ours:
        if proxy.free_port(port) != port:
            yield Finding("warn", f"port {port} is taken by {_holder(port)}", "the next free one is used")


def _holder(port: int) -> str:
    try:
        for connection in psutil.net_connections("tcp"):
            if connection.laddr and connection.laddr.port == port and connection.status == psutil.CONN_LISTEN and connection.pid:
                return f"{psutil.Process(connection.pid).name()} ({connection.pid})"
    except psutil.Error:
        pass
    return "another program"


def _environment(directory: Path) -> Iterator[Finding]:
    found = proxy.running(directory)
    set_here = {name: proxy.without_password(os.environ[name]) for name in proxy.PROXY_VARIABLES if os.environ.get(name)}
    for name in proxy.CLEARED_VARIABLES:
        if os.environ.get(name):
            yield Finding("warn", f"{name} is set: agents started here pass the proxy by", f"unset {name} (capture run does it)")
    for value, names in _by_value(set_here):
        if found and value == found.url:
            yield Finding("ok", f"{names} lead{_s(names)} to our proxy")
        elif f"{proxy.HOST}:" in value or "localhost:" in value:
            yield Finding(
                "warn",
                f"{names} lead{_s(names)} to {value}, where no proxy of ours records to this directory",
                f"{hint('up', directory)}, or unset them",
            )
        else:
            yield Finding(
                "warn", f"{names} lead{_s(names)} to another proxy", f"chain it: {hint('up -- --mode upstream:URL', directory)}"
            )
    if set_here and found and os.environ.get("SSL_CERT_FILE") != str(proxy.bundle(found.ca)):
        yield Finding(
            "warn",
            "SSL_CERT_FILE does not name our certificates: agents will refuse the proxy",
            f'eval "$({hint("env", directory)})"',
        )


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _age(t: str) -> str:
    """` of 2026-11-21, 3 days old` of a time of the log."""
    try:
        days = (datetime.now() - datetime.fromisoformat(t)).days
    except (ValueError, TypeError):
        return ""
    return f" of {t[:10]}" + (f", {_counted(days, 'day')} old" if days > 0 else "")


def _s(names: str) -> str:
    return "" if "," in names else "s"


def _by_value(variables: dict[str, str]) -> Iterator[tuple[str, str]]:
    for value in dict.fromkeys(variables.values()):
        yield value, ", ".join(name for name, other in variables.items() if other == value)


def _captures(directory: Path) -> Iterator[Finding]:
    reader = LogReader(directory)
    flows, count, oldest = deque[dict[str, Any]](maxlen=RECENT), 0, "~"
    for flow in reader.flows():
        flows.append(flow)
        count, oldest = count + 1, min(oldest, str(flow.get("t")))
    if not flows:
        yield Finding("ok", "nothing is recorded yet", hint("run -- claude", directory))
        return
    size = sum(path.lstat().st_size for path in directory.rglob("*") if path.is_file())
    what = f"{_counted(count, 'flow')} on record, {size / 1e6:,.1f} MB in all, the oldest{_age(oldest)}"
    yield Finding("ok", what, f"what shall not be kept goes by {hint('purge', directory)}")
    ids = {flow["flow_id"] for flow in flows}
    ends = {end["flow_id"]: end for end in reader.ends() if end["flow_id"] in ids}
    last = flows[-1]
    client = last.get("client") or {}
    yield Finding(
        "ok", f"last capture {last['t'][:19].replace('T', ' ')}: {client.get('name') or 'unknown client'}, session {last['sid']}"
    )
    outcomes = Counter(end["outcome"] for flow in flows if (end := ends.get(flow["flow_id"])))
    for outcome, count in outcomes.most_common():
        if outcome != "complete":
            example = next(flow for flow in reversed(flows) if ends.get(flow["flow_id"], {}).get("outcome") == outcome)
            yield Finding(
                "warn", f"{count} of the last {len(flows)} flows ended {outcome}", hint(f"show {example['flow_id']}", directory)
            )
    dropped = sum(ends[flow["flow_id"]].get("dropped_chunks", 0) for flow in flows if flow["flow_id"] in ends)
    if dropped:
        yield Finding(
            "warn",
            f"{dropped:,} chunks were not recorded: the recorder could not keep up",
            "their flows say so in their end records",
        )
    living = {facts.get("id") for facts in presence.living(directory)}
    orphans = [flow for flow in flows if flow["flow_id"] not in ends and flow.get("proxy") not in living]
    if orphans:
        yield Finding("warn", f"{len(orphans)} flows have no end: their proxy was killed", "the next start of a proxy ends them")
