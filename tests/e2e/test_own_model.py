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
PRINTS = {  # what the README shows of them
    "register wine-1": "golden: reproduced",
    "feedback wine": "accepted: 40",
    "register wine-2": "of ordinary rows are judged strange, with probability 0.95",
    "status": "wine  answers",
    "promote wine": "live: 2",
    "rollback wine": "live: 1",
}


def test_every_command_of_the_readme_s_example_works_in_its_order(
    common: Running, tmp_path: Path
) -> None:
    for file in ("train.py", "model.yaml"):
        (tmp_path / file).write_text(example(file))
    ask = example("ask.py").replace("localhost:8000", common.url.removeprefix("http://"))
    (tmp_path / "ask.py").write_text(ask)
    said = {"train": run(tmp_path, "train.py")}
    for line in COMMAND.findall(SECTION):
        words = shlex.split(line)[1:]
        if words[0] == "up" or "MODEL" in words:
            continue
        if "wine-2" in words:
            declared = (tmp_path / "model.yaml").read_text()
            (tmp_path / "model.yaml").write_text(re.sub('version: "."', 'version: "2"', declared))
        if words[0] == "feedback":
            said["ask"] = run(tmp_path, "ask.py")
        words = [str(common.state) if word == "state" else word for word in words]
        if "--state" not in words:
            words += ["--state", str(common.state)]
        said[" ".join(words[:2]) if len(words) > 3 else words[0]] = run(
            tmp_path, "-m", "gateway.cli", *words
        )

    assert "[1 0 1 1 1 0 0 1 0 2]" in said["ask"]
    for command, shown in PRINTS.items():
        assert shown in said[command], said[command]


def run(directory: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments], cwd=directory, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, (arguments, done.stdout, done.stderr)
    return done.stdout
