"""What `capture up` prints when the proxy is ready: where it is, where the log is, what to paste."""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # mitmproxy puts only this file's folder there

from mitmproxy import ctx

from capture.proxy import Proxy, agent_environment, bundle, command_name
from capture.store import FLOWS, default_directory, whole_lines


class Greeting:
    """Speaks twice: at the start and at the end."""

    def __init__(self) -> None:
        self._flows = Path()
        self._offset = 0

    def running(self) -> None:
        server = ctx.master.addons.get("proxyserver")  # type: ignore[no-untyped-call]
        address = server.listen_addrs()[0]
        confdir = Path(ctx.options.confdir).expanduser()
        found = Proxy("", address[1], os.getpid(), confdir, None, None)
        directory = Path(ctx.options.sse_log_dir) if ctx.options.sse_log_dir else default_directory(dict(os.environ))
        self._flows = directory / FLOWS
        self._offset = self._flows.stat().st_size if self._flows.exists() else 0
        certificates = bundle(found.ca)
        lines = ["", f"  proxy  {found.url}"]
        if web := getattr(ctx.master, "web_url", None):
            lines.append(f"  web    {web}")
        lines += [f"  log    {directory}", f"  CA     {found.ca}", "", "An agent of your choice, in another terminal:", ""]
        lines += [f"  {command_name()} run -- claude", "", "or, by hand, paste and start it:", ""]
        lines += [f"  export {name}={value}" for name, value in agent_environment(found, certificates).items()]
        lines += ["  unset NO_PROXY no_proxy", "", "Ctrl-C ends the proxy."]
        print("\n".join(lines), flush=True)

    def done(self) -> None:
        if self._flows.name:
            count = sum(1 for _ in whole_lines(self._flows, self._offset))
            print(
                f"\nsse-capture: stopped; {count} flow{'' if count == 1 else 's'} recorded: {command_name()} sessions", flush=True
            )


addons = [Greeting()]
