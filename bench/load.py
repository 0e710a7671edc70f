"""Closed-loop load by `wrk`: a C program, so that the generator is not what is measured."""

import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

_UNITS_MS = {"us": 1e-3, "ms": 1.0, "s": 1e3}


@dataclass(frozen=True)
class Load:
    """What one run of wrk saw."""

    requests_per_s: float
    p50_ms: float
    p99_ms: float
    failed: int  # answers that are not 2xx, and socket errors


def run_wrk(url: str, body: bytes, *, connections: int, duration_s: int) -> Load:
    """Send ``body`` again and again over ``connections`` connections.

    Raises:
        SystemExit: wrk is not installed.
    """
    if shutil.which("wrk") is None:
        raise SystemExit("this benchmark needs wrk (Debian and Ubuntu: apt-get install wrk)")
    with tempfile.TemporaryDirectory() as scratch:
        script = Path(scratch) / "post.lua"
        quoted = "".join(f"\\{byte:03d}" for byte in body)
        script.write_text(
            f'wrk.method = "POST"\nwrk.body = "{quoted}"\n'
            'wrk.headers["Content-Type"] = "application/json"\n'
        )
        command = ["wrk", "-t1", f"-c{connections}", f"-d{duration_s}s", "--latency"]
        printed = subprocess.run(
            [*command, "-s", str(script), url], capture_output=True, text=True, check=True
        ).stdout
    return _parse(printed)


def _parse(printed: str) -> Load:
    rate = re.search(r"Requests/sec:\s+([\d.]+)", printed)
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", printed)
    errors = re.search(
        r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", printed
    )
    assert rate is not None, printed
    failed = int(refused[1]) if refused else 0
    failed += sum(int(count) for count in errors.groups()) if errors else 0
    return Load(float(rate[1]), _percentile(printed, 50), _percentile(printed, 99), failed)


def _percentile(printed: str, percent: int) -> float:
    found = re.search(rf"^\s+{percent}%\s+([\d.]+)(us|ms|s)", printed, re.MULTILINE)
    assert found is not None, printed
    return float(found[1]) * _UNITS_MS[found[2]]
