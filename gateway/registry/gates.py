"""What a bundle must pass before it is registered.

The artifact runs for the first time in a process of its own, without this one's secrets
in its environment: whatever it does there, the gateway goes on and knows why it was refused.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

from gateway.errors import BundleRefusedError
from models.bundle import Bundle
from models.errors import BundleError, ModelError
from models.opening import open_bundle, open_verified
from models.parity import check_golden
from models.runtime.catalog import open_runtime
from models.signing import TrustedKeys

TRIAL_S = 120.0  # importing torch and starting CUDA on a busy machine took up to 30 s
MAX_PROBLEM_CHARS = 1000

# What a framework needs to find its libraries and devices; nothing that opens a door.
KEPT_ENVIRONMENT = frozenset(
    {"CUDA_VISIBLE_DEVICES", "HOME", "LANG", "LD_LIBRARY_PATH", "PATH", "TMPDIR", "TZ"}
)


def admit(
    path: Path, trusted: TrustedKeys, *, trust_code: bool = False, trial_s: float = TRIAL_S
) -> Bundle:
    """Verify a bundle, and see its golden rows reproduced in a separate process.

    Raises:
        BundleRefusedError: with the first thing that is wrong.
    """
    try:
        bundle = open_bundle(path, trusted, trust_code=trust_code)
    except BundleError as error:
        raise BundleRefusedError(error.problem) from error
    problem = _try_elsewhere(bundle, trial_s)
    if problem is not None:
        raise BundleRefusedError(problem[:MAX_PROBLEM_CHARS])
    return bundle


def _try_elsewhere(bundle: Bundle, trial_s: float) -> str | None:
    """Run `_try_here` in a child; None if all is well."""
    command = [sys.executable, "-P", "-m", __name__, str(bundle.path), bundle.digest]
    environment = {name: value for name, value in os.environ.items() if name in KEPT_ENVIRONMENT}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    try:
        child = subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=trial_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"the model did not answer its golden rows within {trial_s:g} s"
    if child.returncode < 0:
        return f"the model crashed on its golden rows (signal {-child.returncode})"
    # The last line: frameworks, and the model itself, may print before it.
    report = child.stdout.decode(errors="replace").strip().rpartition("\n")[2]
    try:
        problem = json.loads(report)["problem"]
    except (ValueError, KeyError, TypeError):
        return f"the model ended its trial without a result (exit code {child.returncode})"
    return None if problem is None else str(problem)


def _try_here(path: Path, digest: str) -> str | None:
    try:
        bundle = open_verified(path, digest)
        for model in (bundle, *bundle.rungs):
            check_golden(model, open_runtime(model))
    except BundleError as error:
        return error.problem
    except ModelError as error:
        return str(error)
    return None


def main() -> None:
    """Try the bundle at PATH with digest DIGEST, and print the problem as JSON."""
    parser = argparse.ArgumentParser(prog="python -m gateway.registry.gates")
    parser.add_argument("path", type=Path)
    parser.add_argument("digest")
    arguments = parser.parse_args()
    print(json.dumps({"problem": _try_here(arguments.path, arguments.digest)}), flush=True)


if __name__ == "__main__":
    main()
