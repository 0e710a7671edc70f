"""How others find the gateway that runs on a state directory, and its settings."""

import json
import os
from pathlib import Path

from gateway.config import Config

DEFAULT_URL = "http://127.0.0.1:8000"


def announce(state: Path, *, url: str, pid: int) -> None:
    """Leave the address of a running gateway in its state directory."""
    (state / "gateway.json").write_text(json.dumps({"url": url, "pid": pid}))


def leave_settings(config: Config) -> None:
    """Leave all settings for processes that are not started by us; there may be a password."""
    file = _settings_file(config.state)
    file.unlink(missing_ok=True)
    with os.fdopen(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as opened:
        opened.write(config.model_dump_json())


def left_settings(state: Path) -> Config:
    """Read the settings of the gateway on ``state``.

    Raises:
        OSError: no gateway has run on it yet.
    """
    return Config.model_validate_json(_settings_file(state).read_bytes())


def withdraw(state: Path) -> None:
    """Remove address and settings when the gateway stops."""
    (state / "gateway.json").unlink(missing_ok=True)
    _settings_file(state).unlink(missing_ok=True)


def address_of(state: Path | None) -> str:
    """Find the address: of the gateway that runs on ``state``, or the default one.

    Raises:
        OSError: the state directory is none, or cannot be read.
    """
    if state is None:
        return DEFAULT_URL
    file = state / "gateway.json"
    if not file.exists():
        os.scandir(state).close()  # a typo must not ask the gateway of the default address
        return DEFAULT_URL
    return str(json.loads(file.read_text())["url"])


def key_of(state: Path | None) -> str | None:
    """Find the admin key that the first start left in ``state``; None without a state.

    Raises:
        OSError: the key cannot be read.
    """
    file = None if state is None else state / "keys" / "admin.key"
    return file.read_text().strip() if file is not None and file.exists() else None


def _settings_file(state: Path) -> Path:
    return state / "settings.json"
