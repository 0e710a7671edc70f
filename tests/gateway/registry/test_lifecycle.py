"""Whatever is asked of a registry, in whatever order, it stays consistent."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from gateway.errors import ConflictError, UnknownModelError
from gateway.registry.artifacts import ArtifactStore
from gateway.registry.database import open_database
from gateway.registry.lifecycle import TRANSITIONS, State, rung_versions
from gateway.registry.registry import Registry
from gateway.registry.routing import RoutingTable
from models.bundle import Bundle
from tests.gateway.registry.bundles import make_bundle

VERSIONS = ("1", "2", "3", "4", "5")
versions = st.sampled_from(VERSIONS)


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Bundle]:
    """Versions 4 and 5 have ladders; ``other`` is version 1 with another content."""
    root = tmp_path_factory.mktemp("bundles")
    ladders = {"4": ("1",), "5": ("2", "4")}
    made = {v: make_bundle(root / v, v, falls_back_to=ladders.get(v, ())) for v in VERSIONS}
    return made | {
        "other": make_bundle(root / "other", "1", value=0.9),
        "wide": make_bundle(root / "wide", "6", width=3),
    }


def test_no_sequence_of_calls_makes_the_registry_inconsistent(
    bundles: dict[str, Bundle], tmp_path: Path
) -> None:
    class Life(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            self.root = tempfile.TemporaryDirectory()
            engine = open_database(f"sqlite:///{self.root.name}/handrail.db")
            # What is stored by digest may be shared: nothing in it ever changes.
            self.registry = Registry(engine, ArtifactStore(f"file://{tmp_path}/artifacts"))
            self.revision = 0
            self.entries = 0

        def teardown(self) -> None:
            self.registry._engine.dispose()
            self.root.cleanup()

        def attempt(self, call: Callable[[], Any]) -> None:
            """Call; a refusal must leave everything as it was."""
            before = self.registry.table("toy"), self.registry.audit("toy")
            try:
                call()
            except (ConflictError, UnknownModelError):
                assert (self.registry.table("toy"), self.registry.audit("toy")) == before

        @rule(version=st.sampled_from([*VERSIONS, "other", "wide"]), live=st.booleans())
        def register(self, version: str, live: bool) -> None:
            as_: Any = "live" if live else "shadow"
            bundle = bundles[version]
            self.attempt(
                lambda: self.registry.register(bundle, as_=as_, trust_code=False, who="ann")
            )

        @rule(version=st.none() | versions)
        def promote(self, version: str | None) -> None:
            self.attempt(lambda: self.registry.promote("toy", version, who="bob", why="better"))

        @rule()
        def rollback(self) -> None:
            self.attempt(lambda: self.registry.rollback("toy", who="bob", why="worse"))

        @rule(version=versions)
        def reject(self, version: str) -> None:
            self.attempt(lambda: self.registry.reject("toy", version, who="gate", why="broken"))

        @rule()
        def load(self) -> None:
            self.attempt(lambda: self.registry.load("toy", who="bob"))

        @rule()
        def unload(self) -> None:
            before = self.registry.table("toy")
            self.attempt(lambda: self.registry.unload("toy", who="bob"))
            after = self.registry.table("toy")
            if before is not None:
                assert after is not None
                assert not after.loaded
                assert (after.live, after.shadow) == (before.live, before.shadow)
                assert (after.previous, after.versions) == (before.previous, before.versions)

        @invariant()
        def the_audit_explains_every_state(self) -> None:
            entries = self.registry.audit("toy")
            history: dict[str, State] = {}
            for entry in entries:
                assert history.get(entry.version) == entry.from_state
                assert entry.to_state in TRANSITIONS[entry.from_state]
                history[entry.version] = entry.to_state
            rows = self.registry.versions("toy") if entries else []
            assert history == {row.version: row.state for row in rows}
            revisions = [entry.revision for entry in entries]
            assert revisions == sorted(revisions)
            assert set(revisions) == set(range(1, max(revisions, default=0) + 1))

        @invariant()
        def the_revision_grows_with_every_change(self) -> None:
            entries = self.registry.audit("toy")
            assert len(entries) >= self.entries
            revision = entries[-1].revision if entries else 0
            assert (revision > self.revision) == (len(entries) > self.entries)
            table = self.registry.table("toy")
            assert table is None or table.revision == revision
            self.revision, self.entries = revision, len(entries)

        @invariant()
        def the_table_says_what_the_states_say(self) -> None:
            table = self.registry.table("toy")
            rows = {row.version: row for row in self._rows()}
            places = {
                state: [v for v, row in rows.items() if row.state == state] for state in STATES
            }
            if table is None:
                assert not places["live"]
                assert not places["unloaded"]
                assert not places["shadow"]
                return
            assert places["live"] == ([table.live] if table.loaded else [])
            assert places["unloaded"] == ([] if table.loaded else [table.live])
            assert self.registry.tables() == ([table] if table.loaded else [])
            assert places["shadow"] == ([table.shadow] if table.shadow else [])
            if table.previous is not None:
                assert rows[table.previous].state in ("retired", "shadow")
                assert table.previous != table.live
            check_warm(table, rows)

        def _rows(self) -> list[Any]:
            return self.registry.versions("toy") if self.registry.models() else []

    run_state_machine_as_test(
        Life,
        settings=settings(
            max_examples=60,
            stateful_step_count=20,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )


STATES: tuple[State, ...] = get_args(State)


def check_warm(table: RoutingTable, rows: dict[str, Any]) -> None:
    placed = {v for v in (table.live, table.previous, table.shadow) if v is not None}
    rungs = {rung for version in placed for rung in rung_versions(rows[version].manifest)}
    warm = [ref.version for ref in table.versions]
    assert sorted(warm) == sorted(placed | rungs)
    assert all(ref.digest == rows[ref.version].digest for ref in table.versions)
