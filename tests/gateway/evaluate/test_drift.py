"""From the rows that replicas count to what the report says, without Ray."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Engine

from gateway.config import RecordSettings
from gateway.evaluate.drift import DriftWatch, dump_state
from gateway.evaluate.report import report
from gateway.record.journal import Journal
from gateway.record.recorder import Recorder
from gateway.record.traffic import TrafficRecord, TrafficTotal, encode_traffic, unpack_counts
from gateway.registry.artifacts import ArtifactStore
from gateway.registry.drift import DriftStore
from gateway.registry.registry import Registry
from gateway.serving.chain import GuardChain
from gateway.serving.traffic import Seen, TrafficCounts
from guards.drift.monitor import DriftSettings, Monitor
from models.bundle import Bundle, load_guards, load_watched
from models.examples import mlp
from models.runtime.catalog import open_runtime
from models.signing import SigningKey

TICK_ROWS = 40


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return mlp.build_mlp(tmp_path_factory.mktemp("mlp"), SigningKey.create())


class Replica:
    """What of a replica counts rows: guards, model and counts, but no requests."""

    def __init__(self, bundle: Bundle, writer: str) -> None:
        watched = load_watched(bundle)
        assert watched is not None
        self.writer, self._bundle = writer, bundle
        self._chain = GuardChain(load_guards(bundle), bundle.manifest.guards)
        self._runtime = open_runtime(bundle)
        self._traffic = TrafficCounts(watched, bundle.manifest)

    def take(self, rows: np.ndarray) -> None:
        schema = self._chain.check_schema(rows, {}, ())
        [outlier] = self._chain.check_inputs(rows, ())
        outputs = self._runtime.predict({"features": rows})
        seen = Seen({"features": rows}, schema.reasons, outlier.p_values, outputs)
        self._traffic.observe(seen, now_ns=0)

    def record(self) -> TrafficRecord | None:
        return self._traffic.record("mlp", "1", self._bundle.digest)

    def total(self) -> TrafficTotal:
        record = self.record()
        assert record is not None
        return TrafficTotal(self.writer, record)


class Service:
    """A database, an evaluator's drift watch and a clock that goes ten seconds a tick."""

    def __init__(self, database_url: str, bundle: Bundle) -> None:
        self.store = DriftStore(database_url)
        self.bundle = bundle
        self.now_s = 1_000_000.0
        self.watch = self.restart()

    def restart(self) -> DriftWatch:
        self.watch = DriftWatch(
            self.store, lambda _: self.bundle, tick_s=10.0, clock_s=lambda: self.now_s
        )
        return self.watch

    def tick(self, *totals: TrafficTotal) -> None:
        self.store.enter(totals)
        self.now_s += 10
        self.watch.tick()


@pytest.fixture
def service(database_url: str, engine: Engine, bundle: Bundle) -> Service:
    return Service(database_url, bundle)


@pytest.fixture
def told(engine: Engine, tmp_path: Path, bundle: Bundle) -> Callable[[], Any]:
    """Read the drift of the live version from the report."""
    registry = Registry(engine, ArtifactStore(f"file://{tmp_path}/artifacts"))
    registry.register(bundle, as_="live", trust_code=False, who="test")

    def read() -> Any:
        drift = report(engine, registry, "mlp", alpha=0.05).drift
        return None if drift is None else {found.monitor: found for found in drift.monitors}

    return read


def _batches(ticks: int, seed: int = 0) -> Iterator[np.ndarray]:
    rng = np.random.default_rng(seed)
    return (mlp.ordinary_rows(TICK_ROWS, rng) for _ in range(ticks))


def test_ordinary_traffic_is_quiet_and_wholly_counted(service: Service, told: Any) -> None:
    assert told() is None
    replicas = [Replica(service.bundle, f"mlp~{i}") for i in range(2)]
    for rows in _batches(20):
        for replica, part in zip(replicas, np.split(rows, 2), strict=True):
            replica.take(part)
        service.tick(*(replica.total() for replica in replicas))

    found = told()

    assert list(found) == ["reject_rate", "outputs", "features"]
    for monitor in found.values():
        assert (monitor.state, monitor.ticks) == ("quiet", 20)
        assert monitor.values == 20 * TICK_ROWS
        assert not any(channel.named for channel in monitor.channels)
    assert [monitor.pages for monitor in found.values()] == [True, False, False]


def test_strangers_raise_the_alarm_that_pages(service: Service, told: Any) -> None:
    replica = Replica(service.bundle, "mlp~1")
    for i, rows in enumerate(_batches(30)):
        replica.take(rows * (3 if i >= 20 else 1))
        service.tick(replica.total())

    rejects = told()["reject_rate"]

    assert (rejects.state, rejects.pages) == ("alarm", True)
    assert rejects.alarmed_s == pytest.approx(1_000_000 + 210, abs=20)
    assert rejects.since_s == pytest.approx(1_000_000 + 210, abs=20)
    assert rejects.channels[0].name == "p_value"


def test_a_field_that_is_gone_is_named_with_its_distances(service: Service, told: Any) -> None:
    replica = Replica(service.bundle, "mlp~1")
    for i, rows in enumerate(_batches(30)):
        if i >= 10:
            rows[:, 7] = np.nan
        replica.take(rows)
        service.tick(replica.total())

    first = told()["features"].channels[0]

    assert told()["features"].state == "alarm"
    assert (first.name, first.how, first.named) == ("feature_7", "more missing", True)
    assert first.missing_share == pytest.approx(2 / 3)
    assert first.psi > 1


def test_an_evaluator_that_died_goes_on_as_if_nothing_had_happened(
    tmp_path: Path, engine: Engine, bundle: Bundle
) -> None:
    steady, restarted = (
        Service(f"sqlite:///{tmp_path}/{name}.db", bundle) for name in ("steady", "restarted")
    )
    replica = Replica(bundle, "mlp~1")
    for i, rows in enumerate(_batches(25)):
        replica.take(rows + (0.5 if i >= 10 else 0))
        total = replica.total()
        if i % 4 == 3:
            restarted.restart()
        for service in (steady, restarted):
            service.tick(total)

    for name in ("reject_rate", "outputs", "features"):
        assert restarted.store.state("mlp", "1", name) == steady.store.state("mlp", "1", name)


def test_the_ticks_that_are_kept_give_the_state_again(service: Service) -> None:
    replica = Replica(service.bundle, "mlp~1")
    for rows in _batches(15):
        replica.take(rows * 1.3)
        service.tick(replica.total())
    watched = load_watched(service.bundle)
    assert watched is not None

    settings = DriftSettings(run_length_ticks=365 * 86_400 / 10)
    for name, reference in watched.references.items():
        monitor = Monitor(reference, settings, weights=watched.weights[name].tolist())
        state = monitor.begin()
        for tick in service.store.ticks("mlp", "1", name, last=100):
            state = monitor.advance(state, unpack_counts(tick.counts))
        assert dump_state(state) == service.store.state("mlp", "1", name)


def test_late_and_repeated_totals_change_nothing(service: Service, told: Any) -> None:
    replica, totals = Replica(service.bundle, "mlp~1"), []
    for rows in _batches(5):
        replica.take(rows)
        totals.append(replica.total())
        service.tick(totals[-1])
    before = told()

    service.tick(*totals[::-1], totals[0])

    assert told() == before


def test_what_a_dead_replica_counted_stays_and_its_successor_begins_at_nothing(
    service: Service, told: Any
) -> None:
    batches = list(_batches(6))
    for writer in ("mlp~1", "mlp~2"):
        replica = Replica(service.bundle, writer)
        for rows in batches[:3]:
            replica.take(rows)
            service.tick(replica.total())

    assert told()["features"].values == 6 * TICK_ROWS
    assert told()["features"].ticks == 6


def test_through_journal_and_recorder_all_of_it_arrives(
    service: Service, told: Any, tmp_path: Path, database_url: str
) -> None:
    class Nobody:
        def add(self, *_: Any, **__: Any) -> list[bytes]:
            return []

    settings = RecordSettings(poll_ms=3_600_000)
    journal = Journal(tmp_path / "journal", writer="mlp~1", settings=settings)
    recorder = Recorder(
        settings,
        journal_dir=tmp_path / "journal",
        evidence_url=str(tmp_path / "evidence"),
        evaluator_endpoint=None,
        deaths=Nobody(),
        traffic=DriftStore(database_url),
    )
    try:
        replica = Replica(service.bundle, "mlp~1")
        for rows in _batches(12):
            replica.take(rows + 1)
            record = replica.record()
            assert record is not None
            journal.append(encode_traffic(record))
            journal.commit()
            recorder.flush()
            service.tick()
        journal.append(encode_traffic(record))
        journal.commit()
        recorder.flush()
        labels = {"model": "mlp", "version": "1", "monitor": "features"}
        alarm = recorder._metrics.registry.get_sample_value("handrail_drift_alarm", labels)
    finally:
        recorder.stop()
        journal.close()

    assert told()["features"].values == 12 * TICK_ROWS
    assert told()["features"].state == "alarm"
    assert alarm == 1


def test_a_bundle_from_before_has_no_monitors(service: Service, told: Any) -> None:
    replica = Replica(service.bundle, "mlp~1")
    replica.take(next(_batches(1)))
    digests = {name: d for name, d in service.bundle.digests.items() if name != "drift.npz"}
    whole = service.bundle
    service.bundle = Bundle(whole.path, whole.manifest, whole.digest, digests)

    service.tick(replica.total())

    assert told() is None
