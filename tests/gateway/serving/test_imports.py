"""What a replica imports decides how soon it is back after it died."""

import subprocess
import sys

# Each takes longer to import than all of the request path.
HEAVY = ("scipy.stats", "scipy.optimize", "torch", "onnx", "onnxruntime", "duckdb", "deltalake")


def test_a_replica_imports_nothing_that_only_packing_and_judging_need() -> None:
    code = (
        "import sys, ray.serve._private.replica; before = set(sys.modules); import gateway.fleet; "
        "print(*(set(sys.modules) - before))"
    )

    told = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True
    )

    imported = set(told.stdout.split())
    assert "gateway.serving.replica" in imported
    assert not imported.intersection(HEAVY)
