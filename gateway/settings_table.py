"""The configuration table of the README, rendered from the settings themselves.

``python -m gateway.settings_table README.md`` writes it between its two markers.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gateway.config import MIB, Config
from guards.settings import Settings

BEGIN = "<!-- settings: written by python -m gateway.settings_table README.md -->"
END = "<!-- end of settings -->"
HEAD = "| setting | default | environment variable | meaning |\n|---|---|---|---|"


def settings_table() -> str:
    """Render every setting of every section as one Markdown table."""
    return "\n".join([HEAD, *_rows()])


def insert_table(text: str) -> str:
    """Replace what stands between the markers.

    Raises:
        ValueError: a marker is missing, or there are several.
    """
    before, old = text.split(BEGIN)
    _, after = old.split(END)
    return f"{before}{BEGIN}\n\n{settings_table()}\n\n{END}{after}"


def _rows() -> Iterator[str]:
    prefix = str(Config.model_config["env_prefix"])
    for section, field in Config.model_fields.items():
        if not isinstance(field.default, Settings):  # `state`, which only the command line gives
            continue
        for name, setting in type(field.default).model_fields.items():
            variable = f"{prefix}{section}__{name}".upper()
            default = _default(name, setting.default)
            cells = (f"`{section}.{name}`", default, f"`{variable}`", setting.description or "")
            yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _default(name: str, value: Any) -> str:
    """Write a default as the environment variable takes it."""
    if value is None:
        return "none"
    written = value if isinstance(value, str) else json.dumps(value)
    size = f" ({value // MIB} MiB)" if name.endswith("_bytes") else ""
    return f"`{written}`{size}"


if __name__ == "__main__":
    readme = Path(sys.argv[1])
    readme.write_text(insert_table(readme.read_text()))
