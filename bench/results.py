"""What every benchmark writes: its figures, with all that is needed to run it again."""

import json
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).with_name("results")
LIBRARIES = ("ray", "onnxruntime-gpu", "torch", "numpy", "uvicorn")


def write(script: str, *, seed: int, figures: dict[str, Any]) -> Path:
    """Write ``bench/results/<script name>.json`` and return its path."""
    path = RESULTS / f"{Path(script).stem}.json"
    path.parent.mkdir(exist_ok=True)
    told = {
        "command": " ".join(["python", *sys.argv]),
        "commit": _git("rev-parse", "HEAD") + ("+changes" if _git("status", "--porcelain") else ""),
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "seed": seed,
        "machine": {
            "cpu": _cpu(),
            "cores": len(_allowed_cores()),
            "system": platform.platform(),
            "python": platform.python_version(),
            **{name: version(name) for name in LIBRARIES},
        },
        **figures,
    }
    path.write_text(json.dumps(told, indent=1) + "\n")
    return path


def _git(*arguments: str) -> str:
    return subprocess.run(
        ["git", *arguments], capture_output=True, text=True, check=True, cwd=RESULTS.parent
    ).stdout.strip()


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


def _allowed_cores() -> set[int]:
    import os

    return os.sched_getaffinity(0)
