"""Build the parts from a config and wire them together.  START here: the only wiring.

`Gateway.start` brings up, in this order: Ray, Serve, the recorder, the evaluator, the root
application (``/v2``, ``/api/v1``) and one application per registered model.
"""

import asyncio
import logging
import os
import secrets
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import msgspec
import ray
from ray import serve
from ray.serve.config import HTTPOptions
from ray.serve.schema import LoggingConfig
from starlette.types import ASGIApp

from gateway.api.app import build_api
from gateway.cluster import free_ports
from gateway.config import Config
from gateway.errors import NotReadyError
from gateway.evaluate.evaluator import Evaluator
from gateway.evaluate.feedback import FeedbackSink
from gateway.evaluate.report import report
from gateway.record.recorder import Recorder
from gateway.registry.artifacts import ArtifactStore
from gateway.registry.database import open_database
from gateway.registry.keys import ApiKeys, ensure_admin, local_signing_key, trusted_keys
from gateway.registry.registry import Registry
from gateway.registry.routing import RoutingTable
from gateway.serving.replica import Replica

log = logging.getLogger(__name__)

NAMESPACE = "handrail"
ROOT_APP = "gateway"
RECORDER, EVALUATOR = "recorder", "evaluator"
MODEL_READY_S = 60.0
PUSH_S = 30.0
LIGHT_CPUS = 0.05  # scheduling shares of processes that mostly wait
QUIET = LoggingConfig(log_level="WARNING", enable_access_log=False)


def app_name(model: str) -> str:
    """Name of a model's Serve application; the prefix keeps models away from `ROOT_APP`."""
    return f"model-{model}"


def open_registry(config: Config) -> Registry:
    """Open registry and artifact store as any process of the gateway does."""
    return Registry(open_database(config.database_url), ArtifactStore(config.artifacts_url))


def model_app(model: str, config: Config, salt: bytes) -> serve.Application:
    """Describe the Serve application of one model."""
    deployment = serve.deployment(
        name="Replica",
        num_replicas=config.serving.replicas,
        max_ongoing_requests=100_000,  # admission is ours; Serve's semaphore must never bind
        ray_actor_options={"num_cpus": config.serving.replica_cpus},
        health_check_period_s=2,
        health_check_timeout_s=5,
        max_constructor_retry_count=3,
        logging_config=QUIET,
    )(serve.ingress()(Replica))
    return deployment.bind(
        model, config, feedback=FeedbackSink(config.database_url, model), salt=salt
    )


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
        if not await self.ready(model):
            await asyncio.to_thread(run_models, [model], self._config, self._salt)
        until_s = time.monotonic() + MODEL_READY_S
        while not await self.ready(model):
            if time.monotonic() > until_s:
                raise NotReadyError(f"model {model} does not answer after {MODEL_READY_S:.0f} s")
            await asyncio.sleep(0.1)

    async def push(self, table: RoutingTable) -> int:
        """Send a routing table to every replica; return how many serve it now."""
        handle = serve.get_app_handle(app_name(table.model))
        response = handle.broadcast("route", msgspec.json.encode(table))
        revisions = await response.results_async(timeout_s=PUSH_S, return_exceptions=True)
        failed = [result for result in revisions if not isinstance(result, int)]
        for error in failed:
            log.error("a replica of %s did not take revision %d: %s", *_told(table, error))
        return len(revisions) - len(failed)

    async def ready(self, model: str) -> bool:
        """Ask the model as a client would."""
        try:
            response = await self._http.get(f"{self._url}/v2/models/{model}/ready")
        except httpx.HTTPError:
            return False
        return response.status_code == 200

    async def shadow_changed(self) -> None:
        """Tell the evaluator to read the registry again."""
        evaluator = ray.get_actor(EVALUATOR, namespace=NAMESPACE)
        evaluator.reload.remote()  # it also looks by itself, so nobody waits for it

    async def processes(self) -> dict[str, Any]:
        """Ask recorder and evaluator how they are; None for one that does not answer."""
        told: dict[str, Any] = {}
        for name in (RECORDER, EVALUATOR):
            try:
                actor = ray.get_actor(name, namespace=NAMESPACE)
                told[name] = await asyncio.wait_for(actor.status.remote(), timeout=2.0)
            except (ValueError, TimeoutError, ray.exceptions.RayError):
                told[name] = None
        return told


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


class Root:
    """The root application: server endpoints of the protocol, management API."""

    def __init__(self, config: Config, salt: bytes) -> None:
        engine = open_database(config.database_url)
        registry = Registry(engine, ArtifactStore(config.artifacts_url))
        self._app = build_api(
            registry=registry,
            keys=ApiKeys(engine),
            fleet=ServeFleet(config, salt),
            config=config,
            trusted=lambda: trusted_keys(config.keys_dir),
            report=lambda model: report(
                engine, registry, model, alpha=config.evaluate.alpha
            ).model_dump(mode="json"),
        )

    def __serve_build_asgi_app__(self) -> ASGIApp:
        """Give Serve the application; called once, after the constructor."""
        return self._app


class Gateway:
    """Everything that `handrail up` started, and how to stop it."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._evaluator: Any = None
        self._recorder: Any = None

    @property
    def url(self) -> str:
        """Where clients ask."""
        return f"http://{self._config.server.host}:{self._config.server.port}"

    def start(self) -> str | None:
        """Bring everything up and wait until every registered model answers.

        Returns:
            The admin key, if this was the first start; it is shown once.

        Raises:
            NotReadyError: something does not answer within a minute.
        """
        config = self._config
        salt = exploration_salt(config.keys_dir)
        keys = ApiKeys(open_database(config.database_url))
        fresh_key = ensure_admin(keys, config.keys_dir)
        local_signing_key(config.keys_dir)
        start_ray(config)
        serve.start(
            http_options=HTTPOptions(host=config.server.host, port=config.server.port),
            logging_config=QUIET,
        )
        self._start_actors()
        models = [table.model for table in open_registry(config).tables()]
        serve.run_many(
            [
                serve.RunTarget(
                    target=root_app(config, salt),
                    name=ROOT_APP,
                    route_prefix="/",
                    logging_config=QUIET,
                )
            ],
            wait_for_applications_running=False,
        )
        if models:
            run_models(models, config, salt)
        self._wait_until_ready()
        return fresh_key

    def _start_actors(self) -> None:
        """Recorder and evaluator: restarted by Ray whenever they die."""
        config = self._config
        grpc_port, http_port = free_ports(2)
        immortal = {"namespace": NAMESPACE, "max_restarts": -1, "max_task_retries": -1}
        self._evaluator = (
            ray.remote(Evaluator)
            .options(name=EVALUATOR, num_cpus=LIGHT_CPUS, max_concurrency=64, **immortal)
            .remote(config, grpc_port=grpc_port, http_port=http_port)
        )
        self._recorder = (
            ray.remote(Recorder)
            .options(name=RECORDER, num_cpus=LIGHT_CPUS, **immortal)
            .remote(
                config.record,
                journal_dir=config.journal_dir,
                evidence_url=config.evidence_url,
                evaluator_endpoint=f"http://127.0.0.1:{grpc_port}",
            )
        )

    def _wait_until_ready(self) -> None:
        ray.get([self._evaluator.start.remote(), self._recorder.status.remote()])
        until_s = time.monotonic() + MODEL_READY_S
        waiting_for = "the data plane"
        while time.monotonic() < until_s:
            try:
                response = httpx.get(f"{self.url}/v2/health/ready", timeout=5.0)
                if response.status_code == 200:
                    return
                waiting_for = response.text[:500]
            except httpx.HTTPError as error:
                waiting_for = str(error)
            time.sleep(0.1)
        raise NotReadyError(waiting_for)

    def supervise(self) -> None:
        """Look after what Ray does not restart by itself; called every few seconds.

        An evaluator that Ray restarted has an empty event loop until it is told to start.
        """
        try:
            ray.get(self._evaluator.start.remote(), timeout=10)
        except ray.exceptions.RayError as error:
            log.warning("the evaluator does not answer: %s", type(error).__name__)

    def stop(self) -> None:
        """Flush what is recorded and stop every process that was started."""
        if self._recorder is not None:
            time.sleep(5 * self._config.record.commit_ms / 1000)  # the last answers' records
            try:
                ray.get(self._recorder.flush.remote(), timeout=10)
            except ray.exceptions.RayError as error:
                log.warning("the recorder did not flush: %s", type(error).__name__)
        ray.shutdown()


def root_app(config: Config, salt: bytes) -> serve.Application:
    """Describe the Serve application at ``/``."""
    deployment = serve.deployment(
        name="Root",
        max_ongoing_requests=1000,
        ray_actor_options={"num_cpus": LIGHT_CPUS},
        logging_config=QUIET,
    )(serve.ingress()(Root))
    return deployment.bind(config, salt)


def start_ray(config: Config) -> None:
    """Start a small Ray on loopback, or join the cluster of the config.

    Its environment, `embedded_environment`, was set before Ray was imported.
    """
    if config.ray.address is not None:
        ray.init(address=config.ray.address, namespace=NAMESPACE, log_to_driver=False)
        return
    ray.init(
        num_cpus=config.ray.num_cpus,
        object_store_memory=config.ray.object_store_bytes,
        include_dashboard=False,
        namespace=NAMESPACE,
        log_to_driver=False,
        configure_logging=False,
        _node_ip_address="127.0.0.1",
        # Short, because the paths of unix sockets below it must stay under 107 bytes.
        _temp_dir=tempfile.mkdtemp(prefix="handrail-"),
    )


def exploration_salt(keys_dir: Path) -> bytes:
    """Read the secret of the exploration draws; made once, so that replays stay possible."""
    path = keys_dir / "explore.salt"
    if not path.exists():
        keys_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
            file.write(secrets.token_bytes(32))
    return path.read_bytes()
