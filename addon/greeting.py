"""What `capture up` prints when the proxy is ready: where it is, where the log is, what to paste."""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # mitmproxy puts only this file's folder there

from mitmproxy import ctx

from capture.files import FLOWS, default_directory, size_of, whole_lines
from capture.proxy import Proxy, agent_environment, bundle, command_name
from capture.state import password_file


class Greeting:
    """Speaks twice: at the start and at the end."""

    def __init__(self) -> None:
        self._flows = Path()
        self._offset = 0

    def running(self) -> None:
        directory = Path(ctx.options.sse_log_dir) if ctx.options.sse_log_dir else default_directory(dict(os.environ))
        self._flows = directory / FLOWS
        self._offset = size_of(self._flows)
        confdir = Path(ctx.options.confdir).expanduser()
        server = ctx.master.addons.get("proxyserver")  # type: ignore[no-untyped-call]
        addresses = server.listen_addrs()  # none in local mode
        password = password_file() if ctx.options.sse_password else None
        found = Proxy("", addresses[0][1] if addresses else 0, os.getpid(), confdir, None, None, password)
        lines = ["", f"  proxy  {found.url}"] if addresses else [""]
        if web := getattr(ctx.master, "web_url", None):
            lines.append(f"  web    {web}")
        lines += [f"  log    {directory}", f"  CA     {found.ca}", ""]
        lines += self._how_to_use(found) if addresses else ["It takes what the mode you chose brings; agents must trust the CA."]
        print("\n".join([*lines, "", "Ctrl-C ends the proxy."]), flush=True)

    def _how_to_use(self, found: Proxy) -> list[str]:
        lines = ["An agent of your choice, in another terminal:", "", f"  {command_name()} run -- claude", ""]
        if found.password_file:  # not to be printed: a terminal is remembered, and looked at
            return [
                *lines,
                "The proxy asks for a password; `capture run` knows it, and so does a shell after",
                "",
                f'  eval "$({command_name()} env)"',
            ]
        lines += ["or, by hand, paste and start it:", ""]
        lines += [f"  export {name}={value}" for name, value in agent_environment(found, bundle(found.ca)).items()]
        return [*lines, "  unset NO_PROXY no_proxy"]

    def done(self) -> None:
        if self._flows.name:
            count = sum(1 for _ in whole_lines(self._flows, self._offset))
            print(
                f"\nsse-capture: stopped; {count} flow{'' if count == 1 else 's'} recorded: {command_name()} sessions", flush=True
            )


addons = [Greeting()]
