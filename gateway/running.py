"""How a command finds the gateway that runs on a state directory."""

import json
from pathlib import Path

DEFAULT_URL = "http://127.0.0.1:8000"


def announce(state: Path, *, url: str, pid: int) -> None:
    """Leave the address of a running gateway in its state directory."""
    (state / "gateway.json").write_text(json.dumps({"url": url, "pid": pid}))


def withdraw(state: Path) -> None:
    """Remove the address when the gateway stops."""
    (state / "gateway.json").unlink(missing_ok=True)


def address_of(state: Path | None) -> str:
    """Find the address: of the gateway on ``state``, or the default one.

    Raises:
        OSError: the state directory cannot be read.
    """
    file = None if state is None else state / "gateway.json"
    if file is None or not file.exists():
        return DEFAULT_URL
    return str(json.loads(file.read_text())["url"])


def key_of(state: Path | None) -> str | None:
    """Find the admin key that the first start left in ``state``; None without a state.

    Raises:
        OSError: the key cannot be read.
    """
    file = None if state is None else state / "keys" / "admin.key"
    return file.read_text().strip() if file is not None and file.exists() else None
