"""The servers that `peers.py` and `conformance.py` start: how each is set up, begun and ended."""

import fcntl
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import httpx

from gateway.cluster import free_ports

HERE = Path(__file__).parent
GLUE = HERE / "peers"  # our own code that runs inside each peer
PINNED = {
    "mlserver": "mlserver==1.7.1",
    "kserve": "kserve==0.21.0",
    "litserve": "litserve==0.2.19",
    "bentoml": "bentoml==1.4.40",
}
Models = Mapping[str, Path]  # model files by name
Command = Callable[[int, int, Models], list[str]]  # of an HTTP and a gRPC port, and models
START_S = 90.0
END_S = 20.0
QUIET = {"BENTOML_DO_NOT_TRACK": "1", "RAY_USAGE_STATS_ENABLED": "0"}


class NoStartError(Exception):
    """A server did not begin to answer."""

    def __init__(self, server: str, log: str) -> None:
        super().__init__(server, log)
        self.server = server
        self.log = log

    def __str__(self) -> str:
        """Show the end of what it said."""
        return f"{self.server} does not answer: {self.log[-1500:]}"


@dataclass(frozen=True)
class Place:
    """Where a server answers."""

    url: str
    grpc: str | None = None  # host:port
    has_binary: bool = False  # takes binary tensors over HTTP
    has_image: bool = True
    metrics: str | None = None  # URL


@dataclass(frozen=True)
class Peer:
    """A server that runs bare."""

    name: str
    command: Command
    has_binary: bool = False
    has_grpc: bool = False
    has_image: bool = True


def environment_of(name: str) -> Path:
    """Make a peer's virtual environment if it is missing; return its ``bin``.

    Everyone gets the very version of ONNX Runtime that Handrail has, and the fast event loop and
    HTTP parser that uvicorn takes where they are installed.
    """
    home = HERE / ".venvs" / name
    done = home / "complete"
    if not done.exists():
        sys.stdout.write(f"installing {PINNED[name]}\n")
        subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
        runtime = f"onnxruntime=={version('onnxruntime-gpu')}"
        pip = [str(home / "bin" / "python"), "-m", "pip", "install", "--quiet"]
        subprocess.run([*pip, PINNED[name], runtime, "numpy", "uvloop", "httptools"], check=True)
        done.touch()
    return home / "bin"


def peers(wanted: Collection[str]) -> list[Peer]:
    """Make those of `PEERS` that are wanted, with their environments."""
    return [PEERS[name]() for name in PEERS if name in wanted]


def _script(name: str) -> Command:
    python = str(environment_of(name) / "python")
    return lambda http, rpc, _: [python, str(GLUE / f"{name}_onnx.py"), str(http), str(rpc)]


def _mlserver() -> Peer:
    return Peer("mlserver", _script("mlserver"), has_grpc=True)


def _kserve() -> Peer:
    return Peer("kserve", _script("kserve"), has_binary=True, has_grpc=True)


def _litserve() -> Peer:
    return Peer("litserve", _script("litserve"))


def _bentoml() -> Peer:
    bento = [str(environment_of("bentoml") / "bentoml"), "serve", "bentoml_onnx:Onnx"]
    bento += ["--working-dir", str(GLUE), "--host", "127.0.0.1"]
    return Peer("bentoml", lambda http, *_: [*bento, "--port", str(http)])


def _ray_serve() -> Peer:
    script = [sys.executable, str(GLUE / "ray_onnx.py")]
    return Peer("ray serve", lambda http, *_: [*script, str(http)])


def _ray_serve_haproxy() -> Peer:
    """Ray Serve at its best, HAProxy and a raw ASGI application: a gateway that does nothing."""
    bare = [sys.executable, str(HERE / "bare.py"), "serve"]
    return Peer(
        "ray serve haproxy",
        lambda http, _, models: [*bare, str(http), str(models["mlp"])],
        has_image=False,
    )


PEERS: Mapping[str, Callable[[], Peer]] = {
    "mlserver": _mlserver,
    "kserve": _kserve,
    "litserve": _litserve,
    "bentoml": _bentoml,
    "ray serve": _ray_serve,
    "ray serve haproxy": _ray_serve_haproxy,
}


@contextmanager
def locked(path: Path | None) -> Iterator[None]:
    """Hold an exclusive lock on a file, for machines on which others measure too."""
    if path is None:
        yield
        return
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def started(peer: Peer, models: Models, probe: bytes | None) -> Iterator[Place]:
    """Run a peer until the block ends.

    Args:
        peer: The server.
        models: What it serves; it also gets them as ``MODELS`` in the environment.
        probe: A request to the first model; the server is up when it answers that.  None: when
            it says that it is ready.

    Raises:
        NoStartError: it does not come up in `START_S`.
    """
    http, rpc = free_ports(2)
    told = ",".join(f"{name}={path}" for name, path in models.items())
    paths = [str(GLUE), *filter(None, [os.environ.get("PYTHONPATH")])]
    url = f"http://127.0.0.1:{http}"
    with tempfile.TemporaryDirectory() as home, (Path(home) / "log").open("w+b") as log:
        process = subprocess.Popen(
            peer.command(http, rpc, models),
            cwd=home,
            env=os.environ | QUIET | {"MODELS": told, "PYTHONPATH": os.pathsep.join(paths)},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            if not _comes_up(process, url, f"/v2/models/{next(iter(models))}/infer", probe):
                log.seek(0)
                raise NoStartError(peer.name, log.read().decode(errors="replace"))
            yield Place(
                url,
                f"127.0.0.1:{rpc}" if peer.has_grpc else None,
                has_binary=peer.has_binary,
                has_image=peer.has_image,
            )
        finally:
            _end(process)


def _comes_up(process: "subprocess.Popen[bytes]", url: str, path: str, probe: bytes | None) -> bool:
    until_s = time.monotonic() + START_S
    with httpx.Client(base_url=url, headers={"Content-Type": "application/json"}) as client:
        while time.monotonic() < until_s and process.poll() is None:
            with suppress(httpx.HTTPError):
                if probe is None:
                    response = client.get("/v2/health/ready")
                else:
                    response = client.post(path, content=probe)
                if response.status_code == 200:
                    return True
            time.sleep(0.3)
    return False


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Ask it to go, then end whatever is left of its session."""
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout=END_S)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
