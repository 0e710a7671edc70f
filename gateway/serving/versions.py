"""The versions a replica keeps warm, and the routing table that says which one answers."""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NoReturn, Protocol

import numpy as np

from gateway.dying import end_process
from gateway.errors import GatewayError, NotReadyError, UnknownModelError
from gateway.registry.routing import RoutingTable, VersionRef
from gateway.serving.answer_cache import AnswerCache
from gateway.serving.chain import GuardChain
from gateway.serving.chooser import Chooser
from gateway.serving.cost import BatchCost
from gateway.serving.traffic import TrafficCounts
from models.bundle import Bundle, load_golden, load_guards, load_watched
from models.errors import ModelError, StickyDeviceError
from models.features import feature_rows, text_tensors
from models.manifest import Manifest, TensorSpec
from models.opening import open_verified
from models.output_rows import output_rows
from models.parity import check_golden
from models.runtime.catalog import open_runtime
from models.runtime.fitting import RowLimit, predict_fitting
from models.runtime.protocol import Runtime, Tensors

log = logging.getLogger(__name__)

WARM_ROWS = tuple(2**k for k in range(9))  # batch sizes timed before the first request
TIMED_ROWS = 32  # of the batch whose time says how quick the model is
NS_PER_MS = 1_000_000

Die = Callable[[Exception], NoReturn]
WARM_ROUNDS = 7  # of each, or at least two: the first may load kernels
WARM_NS = 250_000_000  # what rounds of one size may take together; a start should be quick


@dataclass(frozen=True, slots=True)
class LoadedVersion:
    """One version, ready to answer.  Only what it learns and its cache ever change."""

    ref: VersionRef
    manifest: Manifest
    runtime: Runtime
    chain: GuardChain
    chooser: Chooser | None  # None: the answer is no choice
    judged_output: TensorSpec  # the output that the output guard and the report look at
    cost: BatchCost
    limit: RowLimit  # rows that fit into one call
    model_ns: float  # of the model alone, at `TIMED_ROWS`, or at the most that are in time
    golden: Tensors  # inputs of one row that it is known to answer
    rungs: "Mapping[str, LoadedVersion]" = field(default_factory=dict)  # models of the ladder
    cache: AnswerCache | None = None  # where the ladder has such a rung
    traffic: TrafficCounts | None = None  # None: a rung, or a bundle that says not what traffic was


@dataclass(frozen=True, slots=True)
class View:
    """A routing table and the versions it names: one value, so no request sees half a switch."""

    table: RoutingTable
    loaded: dict[str, LoadedVersion]

    @property
    def live(self) -> LoadedVersion:
        """The version that answers when the client names none."""
        return self.loaded[self.table.live]

    def version(self, name: str | None) -> LoadedVersion:
        """Find the version a client asked for.

        Raises:
            UnknownModelError: it is not warm here, or it is a shadow, which never answers.
            NotReadyError: the model is unloaded.
        """
        if not self.table.loaded:
            raise NotReadyError(f"model {self.table.model!r} is unloaded")
        if name is None:
            return self.live
        if name not in self.loaded or (name == self.table.shadow and name != self.table.live):
            raise UnknownModelError(self.table.model, name)
        return self.loaded[name]


class Load(Protocol):
    """Makes a version of an unpacked bundle."""

    def __call__(self, ref: VersionRef, path: Path, *, salt: bytes, replicas: int) -> LoadedVersion:
        """Load it, or raise a `ModelError`."""


class Versions:
    """Follows the routing table; keeps the last one when nobody sends a new one."""

    def __init__(
        self,
        fetch: Callable[[str], Path],
        *,
        salt: bytes,
        replicas: int = 1,
        die: Die = end_process,
        load: "Load | None" = None,
    ) -> None:
        self._fetch = fetch  # bundle digest -> verified local directory
        self._salt = salt
        self._replicas = replicas  # that share the budgets of exploration
        self._load_version = load or load_version
        self._die = die  # when the device is lost, which no other version can use either
        self._view: View | None = None
        self._switching = asyncio.Lock()

    @property
    def view(self) -> View:
        """What serves now.

        Raises:
            NotReadyError: no table was ever applied.
        """
        if self._view is None:
            raise NotReadyError("no version is loaded")
        return self._view

    async def apply(self, table: RoutingTable) -> int:
        """Switch to ``table`` and return the revision that serves afterwards.

        The live version switches first and at once when it is warm already; the
        others are loaded after it, on a thread, while requests go on.

        Raises:
            ModelError: the new live version does not load; the old table goes on.
        """
        async with self._switching:
            if self._view is not None and table.revision <= self._view.table.revision:
                return self._view.table.revision
            kept = {} if self._view is None else self._view.loaded
            live = await self._load(table, table.live, kept)
            kept = {ref.version: kept[ref.version] for ref in table.versions if _is_kept(ref, kept)}
            self._view = View(table, kept | {table.live: live})
            for ref in table.versions:
                await self._warm_up(table, ref)
            return table.revision

    async def _warm_up(self, table: RoutingTable, ref: VersionRef) -> None:
        """Load a version that may be needed later; its failure must not hurt the live one."""
        if ref.version in self.view.loaded:
            return
        try:
            loaded = await self._load(table, ref.version, {})
        except (ModelError, GatewayError, OSError) as error:
            log.warning("version %s of %s is not warm: %s", ref.version, table.model, error)
        else:
            self._view = View(table, self.view.loaded | {ref.version: loaded})

    async def _load(
        self, table: RoutingTable, version: str, kept: dict[str, LoadedVersion]
    ) -> LoadedVersion:
        ref = table.ref(version)
        if ref is None:
            raise UnknownModelError(table.model, version)
        if _is_kept(ref, kept):
            return kept[version]
        return await asyncio.to_thread(self._open, ref)

    def _open(self, ref: VersionRef) -> LoadedVersion:
        try:
            path = self._fetch(ref.digest)
            return self._load_version(ref, path, salt=self._salt, replicas=self._replicas)
        except StickyDeviceError as error:
            self._die(error)


def _is_kept(ref: VersionRef, kept: dict[str, LoadedVersion]) -> bool:
    return ref.version in kept and kept[ref.version].ref.digest == ref.digest


def load_version(ref: VersionRef, path: Path, *, salt: bytes, replicas: int = 1) -> LoadedVersion:
    """Load, check against its golden rows, and time a version and the models of its ladder.

    Raises:
        ModelError: the bundle is not what was registered, or does not reproduce its golden rows.
    """
    bundle = open_verified(path, ref.digest)
    chain = GuardChain(load_guards(bundle), bundle.manifest.guards)
    manifest, cache = bundle.manifest, bundle.manifest.cache_rung
    is_choice = manifest.explore.kind != "none"
    watched = load_watched(bundle)
    return replace(
        _load_model(ref, bundle, chain),
        chooser=Chooser(manifest, salt, replicas=replicas) if is_choice else None,
        rungs={rung.rung: _load_model(ref, rung, chain) for rung in bundle.rungs},
        cache=AnswerCache(entries=cache.entries, max_age_s=cache.max_age_s) if cache else None,
        traffic=TrafficCounts(watched, bundle.manifest) if watched else None,
    )


def _load_model(ref: VersionRef, bundle: Bundle, chain: GuardChain) -> LoadedVersion:
    """Load one model of a bundle: its own, or that of a rung.

    To the batcher, a rung is a version like any other; it has no ladder, so none is followed.
    """
    runtime = open_runtime(bundle)
    check_golden(bundle, runtime)
    cost, limit = BatchCost(), RowLimit(bundle.manifest.name)
    model_ns = _time(bundle, runtime, chain, cost=cost, limit=limit)
    return LoadedVersion(
        ref,
        bundle.manifest,
        runtime,
        chain,
        None,
        bundle.manifest.signature.answer,
        cost,
        limit,
        model_ns,
        {name: array[:1] for name, array in load_golden(bundle).inputs.items()},
    )


def _time(
    bundle: Bundle, runtime: Runtime, chain: GuardChain, *, cost: BatchCost, limit: RowLimit
) -> float:
    """Seed ``cost`` with real batches of golden rows, and return the model's own share in ns.

    Every power of two of rows that can be in time: a GPU chooses and loads kernels, and captures
    graphs, when it first sees a batch size, and no request may wait for that.
    The quickest of a few rounds counts: what else the machine does only ever adds.
    """
    golden, signature = load_golden(bundle).inputs, bundle.manifest.signature
    available = len(next(iter(golden.values())))
    budget_ns = bundle.manifest.expectations.latency_ms * NS_PER_MS
    model_ns = 0.0
    for rows in WARM_ROWS:
        pick = np.arange(rows) % available
        inputs = {name: array[pick] for name, array in golden.items()}
        guard_ns, predict_ns = [], []
        for _ in range(WARM_ROUNDS):
            began_ns = time.perf_counter_ns()
            rows_judged = feature_rows(inputs, signature)
            chain.check_schema(rows_judged, text_tensors(inputs, signature), ())
            chain.check_inputs(rows_judged, ())
            guarded_ns = time.perf_counter_ns()
            outputs = predict_fitting(runtime, inputs, limit=limit)
            if chain.reads_outputs and not bundle.rung:
                chain.check_output_rows(output_rows(outputs, signature), ())
            predict_ns.append(time.perf_counter_ns() - guarded_ns)
            guard_ns.append(guarded_ns - began_ns)
            if sum(predict_ns) > WARM_NS and len(predict_ns) > 1:
                break
        cost.guards.observe(rows, min(guard_ns))
        cost.model.observe(rows, min(predict_ns))
        if rows <= TIMED_ROWS:
            model_ns = min(predict_ns)
        if rows >= (limit.rows or rows + 1) or min(predict_ns) > budget_ns:
            break
    return model_ns
