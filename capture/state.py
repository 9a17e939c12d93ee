"""Files of this program that are neither log nor setting: the salt, the proxy's password, certificates, started scripts."""

import hashlib
import os
import secrets
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from capture.files import Unusable, is_ordinary, open_private, private_directory, written_whole

SALT_BYTES = 32
PASSWORD_BYTES = 24  # 32 characters
CHOOSE = "set XDG_STATE_HOME to a directory of yours"


def state_directory() -> Path:
    """$XDG_STATE_HOME/sse-capture, else ~/.local/state/sse-capture; private. Raises Unusable."""
    base = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    path = Path(base).expanduser() / "sse-capture"
    try:
        return private_directory(path, ("salt", "*.pem"), CHOOSE)
    except OSError as error:
        raise Unusable(f"cannot write to {path} ({error.strerror}): {CHOOSE}") from None


def kept(name: str, suffix: str, content: bytes) -> Path:
    """A file of ours with this content; it never changes, a running agent or proxy may read it much later. Raises Unusable."""
    path = state_directory() / f"{name}-{hashlib.sha256(content).hexdigest()[:8]}{suffix}"
    if not is_ordinary(path) or path.read_bytes() != content:
        with written_whole(path) as draft:
            draft.write_bytes(content)
    return path


def read_salt() -> bytes:
    """This machine's salt for hashes of guessable secrets: 32 random bytes, 0600, outside the log. Raises Unusable."""
    path = state_directory() / "salt"
    salt = _made_once(path, lambda: secrets.token_bytes(SALT_BYTES))
    if len(salt) != SALT_BYTES:
        raise Unusable(f"{path} is damaged: delete it (hashes of short secrets will differ from those before)")
    return salt


def password_file() -> Path:
    """Where the password of proxies that ask for one stands; 0600, made by the first that asks. Raises Unusable.

    One for all of them, and the same after a restart: the environment of an agent that runs does not change.
    """
    path = state_directory() / "proxy-password"
    _made_once(path, lambda: secrets.token_urlsafe(PASSWORD_BYTES).encode())
    return path


def read_password(path: Path) -> str:
    """The password in such a file. Raises Unusable."""
    try:
        _refuse_foreign(path)
        password = path.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError):
        raise Unusable(f"the proxy's password cannot be read ({path}): start the proxy again") from None
    if len(password) < PASSWORD_BYTES or not password.replace("-", "").replace("_", "").isalnum():
        raise Unusable(f"{path} is damaged: delete it, and start the proxy again")
    return password


def _made_once(path: Path, make: Callable[[], bytes]) -> bytes:
    """What a file holds; `make` says what, where there is none yet. Raises Unusable."""
    if not os.path.lexists(path):
        draft = path.with_name(f".{path.name}-{os.getpid()}")
        draft.unlink(missing_ok=True)
        with open(open_private(draft, choose=CHOOSE), "wb") as file:
            file.write(make())
        with suppress(FileExistsError):  # another start was first: its file is everybody's
            os.link(draft, path)
        draft.unlink()
    _refuse_foreign(path)
    return path.read_bytes()


def _refuse_foreign(path: Path) -> None:
    """Raises Unusable for what is not a file of ours. (A second name is no harm: nothing is written; at birth it has two.)"""
    status = path.lstat()
    if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid():
        raise Unusable(f"{path} is not a file of yours: move it away")
    if status.st_mode & 0o077:
        path.chmod(0o600)
