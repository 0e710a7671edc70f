"""What the README says exists: settings, files, functions, tests, commands, metrics, columns."""

import ast
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from gateway.cli import app
from gateway.record.columns import SCHEMA
from gateway.record.metrics import Metrics
from gateway.settings_table import insert_table

ROOT = Path(__file__).parents[1]
DOCUMENTS = (ROOT / "README.md", ROOT / "bench" / "README.md")
README = DOCUMENTS[0].read_text()

LINK = re.compile(r"\[([^\]]+)\]\(([^)\s]+)\)")
TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
COMMAND = re.compile(r"(?:^\$ |`)(handrail [^`\n]*)", re.MULTILINE)
BLOCK = re.compile(r"^```(\w+)(?: ([\w.]+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def links(document: Path) -> list[tuple[str, Path]]:
    """List text and file of every relative link."""
    found = LINK.findall(document.read_text())
    return [(text, document.parent / to) for text, to in found if not to.startswith(("#", "http"))]


def names(source: Path) -> set[str]:
    """Name the functions and classes of a file, and the methods as ``Class.method``."""
    found = set()
    for node in ast.parse(source.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        if isinstance(node, ast.ClassDef):
            inside = (ast.FunctionDef, ast.AsyncFunctionDef)
            found |= {f"{node.name}.{m.name}" for m in node.body if isinstance(m, inside)}
    return found


def example(file: str) -> str:
    """Find the block of the README that is to be saved as ``file``."""
    [body] = [block[3] for block in BLOCK.finditer(README) if block[2] == file]
    return body


def test_the_table_of_settings_is_the_generated_one() -> None:
    # On Linux: one default differs elsewhere, as the README says.
    if sys.platform == "linux":
        assert insert_table(README) == README


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_to_a_file_and_to_the_function_it_names(document: Path) -> None:
    assert links(document)
    for text, file in links(document):
        assert file.exists(), file
        named = text.strip("`")
        if text != named and file.suffix == ".py" and not named.startswith("gateway."):
            assert named in names(file), f"{named} is not in {file.relative_to(ROOT)}"


def test_every_heading_that_is_linked_to_exists() -> None:
    headings = re.findall(r"^#+ (.+)$", README, re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}

    assert {to[1:] for _, to in LINK.findall(README) if to.startswith("#")} <= anchors


def test_every_guarantee_names_a_test_that_exists() -> None:
    guarantees = README.split("\n## Guarantees\n")[1].split("\n## ")[0]
    promises = guarantees.split("**Not guaranteed")[0].split("\n- ")[1:]

    assert len(promises) > 10
    assert [promise for promise in promises if not TEST.search(promise)] == []
    for file, test in TEST.findall(README):
        assert test in names(ROOT / file), f"{file}::{test}"


def commands_of(group: Any, *before: str) -> dict[tuple[str, ...], Any]:
    """List the commands by the words that call them; those of a group inside too."""
    found = {}
    for name, command in group.commands.items():
        words = (*before, name)
        found |= commands_of(command, *words) if hasattr(command, "commands") else {words: command}
    return found


def test_every_command_and_option_exists() -> None:
    commands = commands_of(get_command(app))
    shown = [tuple(shlex.split(line, comments=True)[1:]) for line in COMMAND.findall(README)]
    groups = {command[:1] for command in commands if len(command) > 1}
    called = {
        words: next(c for c in commands if words[: len(c)] == c)
        for words in shown
        if words not in groups
    }

    assert set(called.values()) >= set(commands) - {("demo",)}
    for words, command in called.items():
        known = {option for param in commands[command].params for option in param.opts}
        assert {word for word in words if word.startswith("--")} <= known, command
    everywhere = {o for c in commands.values() for param in c.params for o in param.opts}
    assert set(re.findall(r"`(--[\w-]+)`", README)) - {"--help"} <= everywhere


def test_every_make_target_exists() -> None:
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)

    assert set(re.findall(r"(?:^\$ |`)make (\w+)", README, re.MULTILINE)) <= set(targets)


def test_every_metric_and_every_column_is_listed() -> None:
    metrics = {
        metric.name + ("_total" if metric.type == "counter" else "")
        for metric in Metrics(lag_s=lambda: 0.0).registry.collect()
    }
    evidence = README.split("**Evidence.**")[1].split("```")[0].split("Columns")[1]

    assert set(re.findall(r"`(handrail_\w+)`", README)) == metrics
    assert [name for name in re.findall(r"`(\w+)`", evidence) if name != "Decision"] == SCHEMA.names


def test_every_attribute_of_a_span_is_listed() -> None:
    source = (ROOT / "gateway" / "record" / "spans.py").read_text()
    spans = README.split("**Spans.**")[1].split("**Metrics**")[0]

    assert set(re.findall(r"`(handrail\.[\w.]+)`", spans)) == set(
        re.findall(r'"(handrail\.[\w.]+)"', source)
    )


def test_the_example_trains_and_packs_as_it_stands(tmp_path: Path) -> None:
    for file in ("train.py", "model.yaml"):
        (tmp_path / file).write_text(example(file))
    pack, _ = [line for line in COMMAND.findall(README) if line.startswith("handrail pack ")]

    for arguments in (["train.py"], ["-m", "gateway.cli", *shlex.split(pack)[1:]]):
        done = subprocess.run(
            [sys.executable, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    assert yaml.safe_load((tmp_path / "wine-1" / "model.yaml").read_text())["name"] == "wine"
    compile(example("ask.py"), "ask.py", "exec")
