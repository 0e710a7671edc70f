"""Build the parts from a config and wire them together.  START here: the only wiring.

`Gateway.start` brings up, in this order: Ray, Serve, the evaluator, a recorder and a gRPC front
per node, the root application (``/v2``, ``/api/v1``) and one application per registered model.
"""

import logging
import shutil
import sys
import tempfile
import time
from functools import partial
from typing import Any

import httpx
import ray
from ray import serve
from ray.serve.config import HTTPOptions
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from starlette.types import ASGIApp

from gateway.api.app import build_api
from gateway.cluster import free_ports, own_ports
from gateway.config import Config
from gateway.errors import NotReadyError
from gateway.evaluate.asked import AskedLog
from gateway.evaluate.auditor import Auditor
from gateway.evaluate.evaluator import Evaluator
from gateway.evaluate.report import report
from gateway.fleet import (
    EVALUATOR,
    MODEL_READY_S,
    NAMESPACE,
    QUIET,
    ServeFleet,
    front_name,
    recorder_name,
    run_models,
)
from gateway.front.server import Front
from gateway.record.evidence import Evidence
from gateway.record.recorder import Recorder
from gateway.registry.artifacts import ArtifactStore
from gateway.registry.database import open_database
from gateway.registry.deaths import Deaths
from gateway.registry.drift import DriftStore
from gateway.registry.keys import (
    ApiKeys,
    ensure_admin,
    exploration_salt,
    local_signing_key,
    trusted_keys,
)
from gateway.registry.loop import LoopStore
from gateway.registry.quality import QualityStore
from gateway.registry.registry import Registry
from gateway.serving.edge import ShortWay

log = logging.getLogger(__name__)

ROOT_APP = "gateway"
# Ray takes 127.0.0.1 for a mistake and puts the machine's own address in its place.
LOOPBACK = "127.0.0.2" if sys.platform == "linux" else "127.0.0.1"
LIGHT_CPUS = 0.05  # scheduling shares of processes that mostly wait
IMMORTAL: dict[str, Any] = {
    "namespace": NAMESPACE,
    "max_restarts": -1,
    "max_task_retries": -1,
    "num_cpus": LIGHT_CPUS,
}


def open_registry(config: Config) -> Registry:
    """Open registry and artifact store as any process of the gateway does."""
    return Registry(open_database(config.database_url), ArtifactStore(config.artifacts_url))


class Root:
    """The root application: server endpoints of the protocol, management API."""

    def __init__(self, config: Config, salt: bytes) -> None:
        engine = open_database(config.database_url)
        registry = Registry(engine, ArtifactStore(config.artifacts_url))
        evidence = Evidence(config.evidence_url)
        open_bundle = partial(registry.artifacts.open_bundle, cache_dir=config.bundle_cache_dir)
        self._app = build_api(
            registry=registry,
            keys=ApiKeys(engine),
            fleet=ServeFleet(config, salt),
            config=config,
            trusted=lambda: trusted_keys(config.keys_dir),
            report=lambda model: report(
                engine, registry, model, alpha=config.evaluate.alpha
            ).model_dump(mode="json"),
            log=AskedLog(engine, registry, evidence, alpha=config.evaluate.alpha),
            auditor=Auditor(engine, registry, evidence, open_bundle),
        )

    def __serve_build_asgi_app__(self) -> ASGIApp:
        """Give Serve the application; called once, after the constructor."""
        ShortWay.open("/", self._app)
        return self._app


class Gateway:
    """Everything that `handrail up` started, and how to stop it."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._evaluator: Any = None
        self._recorders: dict[str, Any] = {}  # by node
        self._fronts: dict[str, Any] = {}  # by node
        # Chosen once: what Ray restarts is found again where it was.
        *self._evaluator_ports, metrics = free_ports(3, besides=own_ports(config))
        self._metrics_port = config.record.metrics_port or metrics
        self._ray_dir: str | None = None

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
        self._ray_dir = start_ray(config)
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
        """Evaluator, recorder and front on every node: restarted by Ray whenever they die."""
        grpc_port, http_port = self._evaluator_ports
        self._evaluator = (
            ray.remote(Evaluator)
            .options(name=EVALUATOR, max_concurrency=64, **IMMORTAL)
            .remote(self._config, grpc_port=grpc_port, http_port=http_port, in_background=True)
        )
        self._start_on_nodes()

    def _start_on_nodes(self) -> None:
        """Put a recorder and a front on every node that has none yet."""
        for node in ray.nodes():  # type: ignore[no-untyped-call]  # Ray annotates little
            node_id = node["NodeID"]
            if not node["Alive"] or node_id in self._recorders:
                continue
            here = NodeAffinitySchedulingStrategy(node_id, soft=False)
            self._recorders[node_id] = self._recorder(node_id, here)
            if self._config.server.grpc_port:
                self._fronts[node_id] = (
                    ray.remote(Front)
                    .options(name=front_name(node_id), scheduling_strategy=here, **IMMORTAL)
                    .remote(self._config, port=self._config.server.grpc_port)
                )

    def _recorder(self, node_id: str, here: NodeAffinitySchedulingStrategy) -> Any:
        config = self._config
        return (
            ray.remote(Recorder)
            .options(name=recorder_name(node_id), scheduling_strategy=here, **IMMORTAL)
            .remote(
                config.record.model_copy(update={"metrics_port": self._metrics_port}),
                journal_dir=config.journal_dir,
                evidence_url=config.evidence_url,
                # On another node than the evaluator's nobody listens there: the reconciler
                # finds what those spans would have told.
                evaluator_endpoint=f"http://127.0.0.1:{self._evaluator_ports[0]}",
                deaths=Deaths(config.database_url),
                traffic=DriftStore(config.database_url),
                loops=LoopStore(config.database_url),
                expectations=QualityStore(config.database_url),
                in_background=True,
            )
        )

    def _started(self) -> list[Any]:
        """Tell evaluator and fronts to start what a restart left standing; they answer once up."""
        return [actor.start.remote() for actor in (self._evaluator, *self._fronts.values())]

    def _wait_until_ready(self) -> None:
        recording = [recorder.status.remote() for recorder in self._recorders.values()]
        ray.get([*self._started(), *recording])
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
        """Look after what Ray does not do by itself; called every few seconds.

        A node that joined needs a recorder and a front, and an evaluator or front that Ray
        restarted has an empty event loop until it is told to start.
        """
        try:
            self._start_on_nodes()
            ray.get(self._started(), timeout=10)
        except ray.exceptions.RayError as error:
            log.warning("evaluator or gRPC front do not answer: %s", type(error).__name__)

    def stop(self) -> None:
        """Flush what is recorded and stop everything that was started."""
        if self._recorders:
            time.sleep(5 * self._config.record.commit_ms / 1000)  # the last answers' records
            try:
                ray.get(
                    [recorder.flush.remote() for recorder in self._recorders.values()], timeout=10
                )
            except ray.exceptions.RayError as error:
                log.warning("the recorder did not flush: %s", type(error).__name__)
        if self._config.ray.address is not None and ray.is_initialized():
            serve.shutdown()  # type: ignore[no-untyped-call]
            for actor in (*self._recorders.values(), *self._fronts.values(), self._evaluator):
                ray.kill(actor)
        ray.shutdown()
        if self._ray_dir is not None:
            shutil.rmtree(self._ray_dir, ignore_errors=True)


def root_app(config: Config, salt: bytes) -> serve.Application:
    """Describe the Serve application at ``/``."""
    deployment = serve.deployment(
        name="Root",
        max_ongoing_requests=1000,
        ray_actor_options={"num_cpus": LIGHT_CPUS},
        logging_config=QUIET,
    )(serve.ingress()(Root))
    return deployment.bind(config, salt)


def start_ray(config: Config) -> str | None:
    """Start a small Ray on loopback, or join the cluster of the config.

    Its environment, `embedded_environment`, was set before Ray was imported.

    Returns:
        The directory of an embedded Ray's sessions; short, because the paths of unix sockets
        below it must stay under 107 bytes.
    """
    if config.ray.address is not None:
        ray.init(address=config.ray.address, namespace=NAMESPACE, log_to_driver=False)
        return None
    directory = tempfile.mkdtemp(prefix="handrail-")
    ray.init(
        num_cpus=config.ray.num_cpus,
        object_store_memory=config.ray.object_store_bytes,
        include_dashboard=False,
        namespace=NAMESPACE,
        log_to_driver=False,
        configure_logging=False,
        _node_ip_address=LOOPBACK,
        _temp_dir=directory,
    )
    return directory
