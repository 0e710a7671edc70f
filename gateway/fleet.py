"""The serving layer as the API sees it: model applications on Ray Serve, found and told by name."""

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any

import httpx
import msgspec
import ray
from ray import serve
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle
from ray.serve.schema import ApplicationStatus, LoggingConfig
from starlette.types import ASGIApp

from gateway.api.access import Access
from gateway.api.fleet import Movement
from gateway.config import Config
from gateway.errors import NotReadyError
from gateway.evaluate.sink import FeedbackSink
from gateway.registry.database import open_database
from gateway.registry.keys import ApiKeys, Right
from gateway.registry.routing import RoutingTable
from gateway.registry.switches import Switch
from gateway.serving.replica import Replica
from gateway.serving.statistics import VersionStats

log = logging.getLogger(__name__)

RUNNING, DEPLOYING = ApplicationStatus.RUNNING, ApplicationStatus.DEPLOYING
MOVEMENTS: Mapping[ApplicationStatus, Movement] = {
    ApplicationStatus.DEPLOYING: "LOADING",
    ApplicationStatus.DELETING: "UNLOADING",
}
NAMESPACE = "handrail"
EVALUATOR = "evaluator"
MODEL_READY_S = 60.0
PUSH_S = 30.0
WHY_S = 5.0  # that Serve is asked for a reason
COUNTS_S = 1.5  # below the time limit of `ServeFleet`'s own questions
QUIET = LoggingConfig(log_level="WARNING", enable_access_log=False)


def recorder_name(node_id: str) -> str:
    """Name of the recorder of one node."""
    return f"recorder-{node_id[:12]}"


def front_name(node_id: str) -> str:
    """Name of the gRPC front of one node."""
    return f"front-{node_id[:12]}"


def app_name(model: str) -> str:
    """Name of a model's Serve application; the prefix keeps models away from `ROOT_APP`."""
    return f"model-{model}"


def model_app(model: str, config: Config, salt: bytes) -> serve.Application:
    """Describe the Serve application of one model."""
    deployment = serve.deployment(
        name="Replica",
        num_replicas=config.serving.replicas,
        max_ongoing_requests=100_000,  # admission is ours; Serve's semaphore must never bind
        ray_actor_options={
            "num_cpus": config.serving.replica_cpus,
            "num_gpus": config.serving.replica_gpus,
        },
        health_check_period_s=0.25,  # how long a dead replica may go unnoticed; a call of 1 ms
        health_check_timeout_s=5,
        max_constructor_retry_count=3,
        logging_config=QUIET,
    )(serve.ingress()(Replica))
    return deployment.bind(
        model,
        config,
        feedback=FeedbackSink(
            model, database_url=config.database_url, artifacts_url=config.artifacts_url
        ),
        counts=CountsByReplica(model),
        protect=None if config.server.open_inference else KeyNeeded(config),
        salt=salt,
    )


class CountsByReplica:
    """What each replica of one model has counted; goes to replicas, which ask each other."""

    def __init__(self, model: str) -> None:
        self._app = app_name(model)
        self._handle: DeploymentHandle[Any] | None = None

    async def __call__(self) -> list[list[VersionStats]]:
        """Ask all of them at once; those that answer in time are in the list."""
        try:
            if self._handle is None:
                self._handle = await asyncio.to_thread(serve.get_app_handle, self._app)
            asked = self._handle.broadcast("statistics")
            told = await asked.results_async(timeout_s=COUNTS_S, return_exceptions=True)
        except (RayServeException, ray.exceptions.RayError, TimeoutError) as error:
            log.warning("replicas of %s do not answer: %s", self._app, type(error).__name__)
            return []
        return [counts for counts in told if isinstance(counts, list)]


class KeyNeeded:
    """Puts the check of keys in front of a model; goes to replicas, which connect by themselves."""

    def __init__(self, config: Config) -> None:
        self._config = config

    def __call__(self, app: ASGIApp) -> ASGIApp:
        """Let in whoever may infer or, for feedback, may send feedback."""
        keys = ApiKeys(open_database(self._config.database_url))
        hosts = self._config.server.allowed_hosts
        return Access(app, hosts, keys=keys, right_for=_right_for)


def _right_for(method: str, path: str) -> Right | None:
    """Reading metadata and readiness needs no key, as on the root application; all else does."""
    if method in ("GET", "HEAD", "OPTIONS"):
        return None
    return "feedback" if path.rstrip("/").endswith("/feedback") else "infer"


class ServeFleet:
    """What the API asks of the serving layer, answered with Ray Serve."""

    def __init__(self, config: Config, salt: bytes) -> None:
        self._config = config
        self._salt = salt
        self._url = f"http://{config.server.host}:{config.server.port}"
        self._http = httpx.AsyncClient(timeout=2.0)

    async def deploy(self, model: str) -> None:
        """Make sure the application of ``model`` runs and answers.

        Raises:
            NotReadyError: it does not answer within a minute.
        """
        found = (await asyncio.to_thread(serve.status)).applications.get(app_name(model))
        if found is None or found.status not in (RUNNING, DEPLOYING):
            await asyncio.to_thread(run_models, [model], self._config, self._salt)
        until_s = time.monotonic() + MODEL_READY_S
        while not await self.ready(model):
            if time.monotonic() > until_s:
                waited = f"model {model} does not answer after {MODEL_READY_S:.0f} s"
                raise NotReadyError(waited + await _why_not(model))
            await asyncio.sleep(0.1)

    async def remove(self, model: str) -> None:
        """Take a model off the data plane; replicas end what they have begun."""
        await asyncio.to_thread(serve.delete, app_name(model), _blocking=False)

    async def push(self, table: RoutingTable) -> int:
        """Send a routing table to every replica; return how many serve it now.

        Raises:
            NotReadyError: the model has no application, or it does not say in half a minute.
        """
        revisions = await _broadcast(table.model, "route", msgspec.json.encode(table))
        failed = [result for result in revisions if not isinstance(result, int)]
        for error in failed:
            log.error("a replica of %s did not take revision %d: %s", *_told(table, error))
        return len(revisions) - len(failed)

    async def explore(self, model: str, switch: Switch) -> int:
        """Tell every replica whether it may explore; return how many heard it.

        Raises:
            NotReadyError: the model has no application, or it does not say in half a minute.
        """
        told = await _broadcast(model, "explore", msgspec.json.encode(switch))
        return sum(isinstance(revision, int) for revision in told)

    async def statistics(self, model: str) -> list[dict[str, Any]]:
        """Ask the model as a client would; one of its replicas adds up what all have counted."""
        told = await self._ask(f"{model}/stats")
        return [] if told is None else list(told["model_stats"])

    async def answering(self, model: str) -> list[str]:
        """Ask the model as a client would."""
        told = await self._ask(model)
        return [] if told is None else list(told["versions"])

    async def moving(self) -> Mapping[str, Movement]:
        """Ask Serve which applications it is starting or stopping."""
        applications = (await asyncio.to_thread(serve.status)).applications
        return {
            name.removeprefix(app_name("")): MOVEMENTS[found.status]
            for name, found in applications.items()
            if found.status in MOVEMENTS
        }

    async def ready(self, model: str) -> bool:
        """Ask the model as a client would."""
        return await self._ask(f"{model}/ready") is not None

    async def _ask(self, path: str) -> dict[str, Any] | None:
        """Ask the data plane about a model; None unless it answers with 200."""
        try:
            response = await self._http.get(f"{self._url}/v2/models/{path}")
        except httpx.HTTPError:
            return None
        return response.json() if response.status_code == 200 else None

    async def shadow_changed(self) -> None:
        """Tell the evaluator to read the registry again."""
        evaluator = ray.get_actor(EVALUATOR, namespace=NAMESPACE)
        evaluator.reload.remote()  # it also looks by itself, so nobody waits for it

    async def processes(self) -> dict[str, Any]:
        """Ask recorder and evaluator how they are; None for one that does not answer."""
        nodes = {node["NodeID"]: node["NodeManagerAddress"] for node in await alive_nodes()}
        recorders = {ip: await _status(recorder_name(node)) for node, ip in nodes.items()}
        return {"evaluator": await _status(EVALUATOR), "recorders": recorders}


async def _why_not(model: str) -> str:
    """Ask Serve why a model does not answer; "" where it has nothing to say, or is ill itself."""
    try:
        status = await asyncio.wait_for(asyncio.to_thread(serve.status), timeout=WHY_S)
    except (TimeoutError, RayServeException, ray.exceptions.RayError):
        return ""
    found = status.applications.get(app_name(model))
    if found is None:
        return ""
    told = [one.message for one in found.deployments.values() if one.message] or [found.message]
    return "".join(f"; Serve says: {_in_one_line(message)}" for message in told if message)


def _in_one_line(message: str) -> str:
    """Shorten what Serve says; of a traceback, what stands behind its last frame."""
    lines = message.splitlines()
    frames = [at for at, line in enumerate(lines) if line.lstrip().startswith('File "')]
    last = frames[-1] if frames else len(lines)
    behind = (line for line in lines[last + 1 :] if line and not line.startswith(" "))
    return next(behind, " ".join(message.split()))


async def _broadcast(model: str, method: str, message: bytes) -> list[Any]:
    """Call every replica of a model; an error stands where its answer would."""
    try:
        handle = serve.get_app_handle(app_name(model))
        response = handle.broadcast(method, message)
        return list(await response.results_async(timeout_s=PUSH_S, return_exceptions=True))
    except (RayServeException, TimeoutError) as silence:
        raise NotReadyError(f"the replicas of model {model!r}") from silence


async def _status(name: str) -> dict[str, Any] | None:
    try:
        actor = ray.get_actor(name, namespace=NAMESPACE)
        told: dict[str, Any] = await asyncio.wait_for(actor.status.remote(), timeout=2.0)
    except (ValueError, TimeoutError, ray.exceptions.RayError):
        return None
    return told


async def alive_nodes() -> list[dict[str, Any]]:
    """List the nodes of the cluster that are up."""
    return [node for node in await asyncio.to_thread(ray.nodes) if node["Alive"]]


def _told(table: RoutingTable, error: Any) -> tuple[str, int, str]:
    return table.model, table.revision, str(error)


def run_models(models: Sequence[str], config: Config, salt: bytes) -> None:
    """Deploy several models at once, without waiting: one HAProxy reload, not one each."""
    targets = [
        serve.RunTarget(
            target=model_app(model, config, salt),
            name=app_name(model),
            route_prefix=f"/v2/models/{model}",
            logging_config=QUIET,
        )
        for model in models
    ]
    serve.run_many(targets, wait_for_applications_running=False)
