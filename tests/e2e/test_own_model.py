"""The README's "Your own model", command by command, as somebody who reads it would type them."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.conftest import Running
from tests.test_readme import COMMAND, README, example

pytestmark = pytest.mark.e2e

SECTION = README.split("\n## Your own model\n")[1].split("\n### ")[0]
PRINTS = {  # what each must print
    "register wine-1 --as live": "golden: reproduced",
    "ask.py": "[1 0 1 1 1 0 0 1 0 2]",
    "feedback wine feedback.json": "accepted: 40",
    "register wine-2 --as shadow": "of ordinary rows are judged strange, with probability 0.95",
    "status": "wine  answers",
    'promote wine --why "agrees on every row"': "live: 2",
    'rollback wine --why "just to show it"': "live: 1",
}


def test_every_command_of_the_readme_s_example_works_in_its_order(
    common: Running, tmp_path: Path
) -> None:
    # But for the address, and the time: a busy machine does not decide who answers.
    declared = example("model.yaml").replace("latency_ms: 50", "latency_ms: 30_000")
    ask = example("ask.py").replace("localhost:8000", common.url.removeprefix("http://"))
    for file, content in (
        ("train.py", example("train.py")),
        ("model.yaml", declared),
        ("ask.py", ask.replace("timeout=50_000", "timeout=30_000_000")),
    ):
        (tmp_path / file).write_text(content)
    run(tmp_path, "train.py")
    said: dict[str, str] = {}
    for line in COMMAND.findall(SECTION):
        typed = line.removeprefix("handrail ").removesuffix(" --state state")
        if typed.startswith("up ") or "MODEL" in typed:
            continue
        if typed.startswith("pack ") and "wine-2" in typed:
            (tmp_path / "model.yaml").write_text(re.sub('version: "."', 'version: "2"', declared))
            run(tmp_path, "train.py")
        if typed.startswith("feedback "):
            said["ask.py"] = run(tmp_path, "ask.py")
        where = ("--state", str(common.state))
        said[typed] = run(tmp_path, "-m", "gateway.cli", *shlex.split(typed), *where)

    for command, shown in PRINTS.items():
        assert shown in said[command], said[command]


def run(directory: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments], cwd=directory, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, (arguments, done.stdout, done.stderr)
    return done.stdout
