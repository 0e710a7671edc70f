"""NVIDIA's load generator, unchanged; only where ``perf_analyzer`` is on the path.

``pip install perf-analyzer`` brings it where glibc is 2.38 or newer.
"""

import shutil
import subprocess

import pytest

from tests.conformance.conftest import Target

PERF_ANALYZER = shutil.which("perf_analyzer")
LIMIT_S = 120


@pytest.mark.skipif(PERF_ANALYZER is None, reason="perf_analyzer is not on the path")
@pytest.mark.parametrize("protocol", ["http", "grpc"])
@pytest.mark.parametrize("rows", [1, 8])
def test_perf_analyzer_measures_every_stage(target: Target, protocol: str, rows: int) -> None:
    address = target.url.removeprefix("http://") if protocol == "http" else str(target.grpc)
    command = [
        str(PERF_ANALYZER), "-m", "half", "-u", address, "-i", protocol, "-b", str(rows),
        "--input-data", "zero", "--concurrency-range", "2", "-p", "1000", "-r", "5", "-s", "50",
    ]  # fmt: skip
    ran = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)

    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "Throughput:" in ran.stdout
    # From the server's statistics, and only there when `config` and `stats` could be read.
    assert "Inference count:" in ran.stdout
    assert "Execution count:" in ran.stdout
    assert "compute infer" in ran.stdout
