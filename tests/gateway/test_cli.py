"""The `handrail` command, as far as it goes without a running gateway."""

import fcntl
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.cluster import free_ports

COMMANDS = [
    "up", "pack", "register", "models", "status", "infer", "feedback", "promote", "rollback",
    "drift", "demo", "contract", "quality", "audit",
]  # fmt: skip


def handrail(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    """Run the command as a user would."""
    return subprocess.run(
        [sys.executable, "-m", "gateway.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str) -> None:
    told = handrail(command, "--help")

    assert told.returncode == 0
    assert "Usage:" in told.stdout


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from gateway.cli import app; heavy = {'ray', 'torch', 'numpy', 'pydantic'}; "
        "print(sorted(heavy & sys.modules.keys()))"
    )

    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert told.stdout.strip() == "[]"


def only_sentence(told: "subprocess.CompletedProcess[str]") -> str:
    """Check that the command said one sentence and nothing else."""
    assert told.returncode == 2, told.stderr
    assert told.stdout == ""
    [line] = told.stderr.splitlines()
    return line


def test_a_second_up_on_one_state_directory_is_refused(tmp_path: Path) -> None:
    lock = os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(lock, fcntl.LOCK_EX)

    told = handrail("up", "--state", tmp_path)

    os.close(lock)
    assert "another gateway runs" in only_sentence(told)


@pytest.mark.parametrize(
    ("option", "other"), [("--port", "--grpc-port"), ("--grpc-port", "--port")]
)
def test_a_taken_port_is_refused(tmp_path: Path, option: str, other: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ports = (option, str(taken.getsockname()[1]), other, str(free_ports(1)[0]))
        told = handrail("up", "--state", tmp_path, *ports)

    assert "is taken" in only_sentence(told)


def test_a_state_directory_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    assert "cannot be used" in only_sentence(handrail("up", "--state", tmp_path / "file"))


def test_an_address_beyond_loopback_is_refused_while_inference_is_open(tmp_path: Path) -> None:
    config = tmp_path / "handrail.yaml"
    config.write_text("server: {host: 0.0.0.0}\n")

    told = handrail("up", "--state", tmp_path / "state", "--config", config)

    assert "not loopback" in only_sentence(told)


@pytest.mark.parametrize(
    "content", ["server: {port: high}\n", "nonsense: 1\n", "server: {\n", "[1]\n", "\x00\n"]
)
def test_settings_that_are_wrong_are_named(tmp_path: Path, content: str) -> None:
    config = tmp_path / "handrail.yaml"
    config.write_text(content)

    only_sentence(handrail("up", "--state", tmp_path / "state", "--config", config))


def test_a_gateway_that_is_not_there_is_one_sentence() -> None:
    told = handrail("models", "--url", "http://127.0.0.1:9")

    assert "no answer from" in only_sentence(told)


def test_a_state_directory_that_is_not_there_is_not_taken_for_the_default_address(
    tmp_path: Path,
) -> None:
    (tmp_path / "file").write_text("")
    for wrong in (tmp_path / "typo", tmp_path / "file"):
        told = handrail("models", "--state", wrong)

        assert f"state directory {wrong} cannot be read" in only_sentence(told)


def test_a_file_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    assert "cannot be read" in only_sentence(handrail("infer", "m", tmp_path / "nothing.npz"))
    assert "cannot be read" in only_sentence(handrail("feedback", "m", tmp_path / "nothing.json"))
