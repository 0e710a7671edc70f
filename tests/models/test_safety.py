"""What must be true of the code itself: nothing is unpickled, and importing stays light."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted(
    path for package in ("gateway", "guards", "models") for path in (ROOT / package).rglob("*.py")
)
FORBIDDEN_MODULES = {"pickle", "cloudpickle", "joblib", "dill", "marshal", "shelve"}
FORBIDDEN_CALLS = {"torch.load", "joblib.load", "pd.read_pickle", "pandas.read_pickle"}


def calls(tree: ast.AST) -> Iterator[ast.Call]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_is_ever_unpickled(path: Path) -> None:
    tree = ast.parse(path.read_text())
    imported = {
        name.split(".")[0]
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    called = {ast.unparse(call.func) for call in calls(tree)}

    assert not imported & FORBIDDEN_MODULES
    assert not called & FORBIDDEN_CALLS
    for call in calls(tree):
        if ast.unparse(call.func) in ("np.load", "numpy.load"):
            given = {word.arg: ast.unparse(word.value) for word in call.keywords}
            assert given.get("allow_pickle") == "False"


HEAVY = ("torch", "onnx", "onnxruntime", "sklearn", "skl2onnx", "ray", "fastapi")


@pytest.mark.parametrize(
    "module",
    [
        "models.manifest",
        "models.bundle",
        "models.opening",
        "models.pack",
        "models.parity",
        "models.runtime.catalog",
        "models.weights",
    ],
)
def test_importing_loads_no_framework(module: str) -> None:
    code = f"import sys, {module}; print([name for name in {HEAVY} if name in sys.modules])"

    found = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "[]"
