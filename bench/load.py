"""Closed-loop load by C programs, so that the generator is not what is measured.

`wrk` for HTTP, and `h2load` of nghttp2 for gRPC, which is a POST over HTTP/2.
"""

import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np

_UNITS_MS = {"us": 1e-3, "ms": 1.0, "s": 1e3}
_LIMIT_S = 30  # beyond the duration, for the generator itself
JSON: Mapping[str, str] = MappingProxyType({"Content-Type": "application/json"})


@dataclass(frozen=True)
class Load:
    """What one run saw."""

    requests_per_s: float
    p50_ms: float
    p99_ms: float
    failed: int  # answers that are not 2xx, and socket errors


def run_wrk(
    url: str, body: bytes, *, connections: int, duration_s: int, headers: Mapping[str, str] = JSON
) -> Load:
    """Send ``body`` again and again over ``connections`` connections.

    Raises:
        SystemExit: wrk is not installed.
        CalledProcessError: nobody answers.
    """
    _demand("wrk", "wrk")
    with tempfile.TemporaryDirectory() as scratch:
        script, content = Path(scratch) / "post.lua", Path(scratch) / "body"
        content.write_bytes(body)
        told = "".join(f'wrk.headers["{name}"] = "{value}"\n' for name, value in headers.items())
        script.write_text(
            f'wrk.method = "POST"\nwrk.body = io.open("{content}", "rb"):read("*a")\n{told}'
        )
        command = ["wrk", "-t1", f"-c{connections}", f"-d{duration_s}s", "--latency"]
        printed = _run([*command, "-s", str(script), url], duration_s)
    return _parse_wrk(printed)


def run_h2load(
    url: str, message: bytes, *, answer_bytes: int, connections: int, duration_s: int
) -> Load:
    """Call a unary gRPC method again and again, one call at a time on each connection.

    The status of a call is in the trailers, which h2load does not read: answers that are much
    shorter than ``answer_bytes``, the length of a right one, count as failed, all together.

    Raises:
        SystemExit: h2load is not installed.
        CalledProcessError: nobody answers.
    """
    _demand("h2load", "nghttp2-client")
    with tempfile.TemporaryDirectory() as scratch:
        content, log = Path(scratch) / "body", Path(scratch) / "log"
        content.write_bytes(b"\0" + len(message).to_bytes(4, "big") + message)
        command = ["h2load", "-t1", "-m1", f"-c{connections}", f"-D{duration_s}"]
        told = ["-H", "content-type: application/grpc", "-H", "te: trailers"]
        printed = _run([*command, *told, f"-d{content}", f"--log-file={log}", url], duration_s)
        lines = [line.split("\t") for line in log.read_text().splitlines()]
    return _parse_h2load(printed, lines, answer_bytes=answer_bytes, duration_s=duration_s)


def _demand(program: str, package: str) -> None:
    if shutil.which(program) is None:
        raise SystemExit(
            f"this benchmark needs {program} (Debian and Ubuntu: apt-get install {package})"
        )


def _run(command: list[str], duration_s: int) -> str:
    return subprocess.run(
        command, capture_output=True, text=True, check=True, timeout=duration_s + _LIMIT_S
    ).stdout


def _parse_wrk(printed: str) -> Load:
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


def _parse_h2load(
    printed: str, log: list[list[str]], *, answer_bytes: int, duration_s: int
) -> Load:
    """Read the totals from what was printed, the latencies in us from the log's third column."""
    took_ms = np.array([float(us) / 1000 for _, status, us in log if status == "200"])
    received = re.search(r"headers.*, (?:[\d.]+\w+) \((\d+)\) data", printed)
    assert received is not None, printed
    assert len(took_ms), printed
    failed = len(log) - len(took_ms)
    if int(received[1]) < 0.9 * answer_bytes * len(took_ms):
        failed += len(took_ms)
    p50_ms, p99_ms = np.quantile(took_ms, [0.5, 0.99])
    return Load(len(took_ms) / duration_s, float(p50_ms), float(p99_ms), failed)
