"""`handrail up`: one gateway per state directory, in the foreground, until it is told to stop."""

import fcntl
import os
import signal
import socket
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import yaml
from pydantic import ValidationError
from sqlalchemy.exc import SQLAlchemyError

from gateway.cluster import embedded_environment
from gateway.config import Config, load_config
from gateway.running import announce, leave_settings, withdraw

SESSION_VARIABLE = "HANDRAIL_SESSION"  # inherited by everything that is started, so it can be found
SUPERVISE_S = 2.0
KILL_AFTER_S = 5.0


class StartError(Exception):
    """The gateway cannot start; the sentence says why."""

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        self.sentence = sentence

    def __str__(self) -> str:
        """Give the sentence."""
        return self.sentence


class StopSignal(BaseException):
    """SIGTERM or SIGINT came; not an `Exception`, so that nothing on the way swallows it."""


def run(state: Path, *, port: int | None, grpc_port: int | None, config_file: Path | None) -> None:
    """Start everything, say ``ready``, wait for SIGTERM or SIGINT, stop everything.

    Raises:
        StartError: nothing was started, or what was started has been stopped again.
    """
    given = {"port": port, "grpc_port": grpc_port}
    server = {name: value for name, value in given.items() if value is not None}
    config = _read_config(state, server=server, file=config_file)
    with _only_one(config.state):
        _check_address(config)
        os.environ[SESSION_VARIABLE] = uuid.uuid4().hex
        _listen_for_signals()
        try:
            _serve(config)
        except StopSignal:
            pass
        finally:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            withdraw(config.state)
            _end_session(os.environ[SESSION_VARIABLE])


def _read_config(state: Path, *, server: dict[str, int], file: Path | None) -> Config:
    overrides: dict[str, Any] = {"server": server} if server else {}
    try:
        if file is not None and not isinstance(yaml.safe_load(file.read_bytes()) or {}, dict):
            raise StartError(f"{file} must hold sections of settings")
        return load_config(state, file=file, **overrides)
    except OSError as error:
        raise StartError(f"{file} cannot be read: {error.strerror}") from error
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        at = f" at line {where.line + 1}" if where is not None else ""
        raise StartError(f"{file} is not valid YAML{at}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise StartError(f"settings: {where}: {first['msg']}") from error


@contextmanager
def _only_one(state: Path) -> Iterator[None]:
    """Hold the state directory; the kernel lets go of it however this process ends."""
    try:
        state.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(state / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise StartError(f"state directory {state} cannot be used: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise StartError(f"another gateway runs on state directory {state}") from None
    try:
        yield
    finally:
        os.close(lock)


def _check_address(config: Config) -> None:
    host, port = config.server.host, config.server.port
    if host not in ("127.0.0.1", "localhost", "::1") and config.server.open_inference:
        raise StartError(
            f"host {host} is not loopback: set server.open_inference to false, "
            "so that every request needs a key"
        )
    _check_port(host, port, setting="port")
    if config.server.grpc_port == port:
        raise StartError(f"port {port} cannot be both server.port and server.grpc_port")
    if config.server.grpc_port:
        _check_port(host, config.server.grpc_port, setting="gRPC port")


def _check_port(host: str, port: int, *, setting: str) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise StartError(f"{setting} {port} on {host} is taken: {error.strerror}") from error


def _listen_for_signals() -> None:
    def stop(_number: int, _frame: FrameType | None) -> NoReturn:
        raise StopSignal

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)


def _serve(config: Config) -> None:
    if config.ray.address is None:
        os.environ.update(embedded_environment(config))
    # From here on Ray is imported, which reads its environment there and then.
    from ray.exceptions import RayError

    from gateway.app import Gateway
    from gateway.errors import GatewayError
    from models.errors import ModelError

    gateway = Gateway(config)
    try:
        fresh_key = gateway.start()
        _listen_for_signals()  # again: Ray has put its own handlers in the way
        announce(config.state, url=gateway.url, pid=os.getpid())
        leave_settings(config)
        if fresh_key is not None:
            sys.stdout.write(f"admin key (shown once): {fresh_key}\n")
        if config.server.grpc_port:
            sys.stdout.write(f"grpc {config.server.host}:{config.server.grpc_port}\n")
        sys.stdout.write(f"ready {gateway.url}\n")
        sys.stdout.flush()
        while True:
            time.sleep(SUPERVISE_S)
            gateway.supervise()
    except (GatewayError, ModelError, RayError, SQLAlchemyError, OSError) as error:
        raise StartError(f"the gateway did not start: {error}") from error
    finally:
        gateway.stop()


def _end_session(session: str) -> None:
    """Stop what Ray left behind: HAProxy outlives the actor that started it."""
    marker = f"{SESSION_VARIABLE}={session}".encode()
    for number in (signal.SIGTERM, signal.SIGKILL):
        until_s = time.monotonic() + KILL_AFTER_S
        left = _pids_with(marker)
        for pid in left:
            _signal(pid, number)
        while left and time.monotonic() < until_s:
            time.sleep(0.05)
            left = _pids_with(marker)
        if not left:
            return


def _pids_with(marker: bytes) -> list[int]:
    """Find the processes, except this one, that carry ``marker`` in their environment."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        pid = int(entry.name)
        if pid == os.getpid():
            continue
        try:
            if marker in (entry / "environ").read_bytes().split(b"\0"):
                found.append(pid)
        except OSError:  # gone meanwhile, or somebody else's
            continue
    return found


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
