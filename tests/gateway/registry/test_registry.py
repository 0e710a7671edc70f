import threading
from multiprocessing import get_context
from pathlib import Path

import pytest
from sqlalchemy import update
from sqlalchemy.exc import IntegrityError

from gateway.errors import ConflictError, UnknownModelError
from gateway.registry import registry as registry_module
from gateway.registry import tables
from gateway.registry.artifacts import ArtifactStore
from gateway.registry.database import open_database
from gateway.registry.lifecycle import Snapshot
from gateway.registry.registry import Registry
from gateway.registry.routing import RoutingTable
from models.bundle import Bundle
from tests.gateway.registry.bundles import make_bundle


def live(registry: Registry, bundle: Bundle) -> RoutingTable:
    return registry.register(bundle, as_="live", trust_code=False, who="ann")


def shadow(registry: Registry, bundle: Bundle) -> RoutingTable:
    return registry.register(bundle, as_="shadow", trust_code=False, who="ann")


def states(registry: Registry) -> dict[str, str]:
    return {row.version: row.state for row in registry.versions("toy")}


def warm(table: RoutingTable) -> list[str]:
    return [ref.version for ref in table.versions]


def test_the_first_live_version_answers(registry: Registry, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "1")

    table = live(registry, bundle)

    assert (table.revision, table.live, table.shadow, table.previous) == (1, "1", None, None)
    assert table.versions[0].digest == bundle.digest
    assert registry.table("toy") == table
    assert registry.tables() == [table]
    assert registry.models() == ["toy"]
    assert registry.versions("toy")[0].manifest == bundle.manifest


def test_registering_the_same_content_again_changes_nothing(
    registry: Registry, tmp_path: Path
) -> None:
    bundle = make_bundle(tmp_path / "1")
    first = live(registry, bundle)

    assert live(registry, bundle) == first
    assert len(registry.audit("toy")) == 2


def test_a_version_never_changes_its_content(registry: Registry, tmp_path: Path) -> None:
    live(registry, make_bundle(tmp_path / "1"))

    with pytest.raises(ConflictError, match="versions never change"):
        live(registry, make_bundle(tmp_path / "other", value=0.7))

    assert registry.table("toy").revision == 1  # type: ignore[union-attr]


def test_a_second_live_version_keeps_the_first_warm(registry: Registry, tmp_path: Path) -> None:
    live(registry, make_bundle(tmp_path / "1"))

    table = live(registry, make_bundle(tmp_path / "2", "2"))

    assert (table.revision, table.live, table.previous) == (2, "2", "1")
    assert warm(table) == ["2", "1"]
    assert states(registry) == {"1": "retired", "2": "live"}


def test_promotion_makes_the_shadow_live(registry: Registry, tmp_path: Path) -> None:
    live(registry, make_bundle(tmp_path / "1"))
    assert warm(shadow(registry, make_bundle(tmp_path / "2", "2"))) == ["1", "2"]

    table = registry.promote("toy", None, who="bob", why="it agrees")

    assert (table.live, table.shadow, table.previous) == ("2", None, "1")
    assert states(registry) == {"1": "retired", "2": "live"}
    last = registry.audit("toy")[-1]
    assert (last.version, last.from_state, last.to_state) == ("2", "shadow", "live")
    assert (last.who, last.why, last.revision) == ("bob", "it agrees", 3)


def test_promoting_the_live_version_again_changes_nothing(
    registry: Registry, tmp_path: Path
) -> None:
    table = live(registry, make_bundle(tmp_path / "1"))

    assert registry.promote("toy", "1", who="bob", why="") == table


def test_rollback_returns_once_and_never_to_what_was_left(
    registry: Registry, tmp_path: Path
) -> None:
    live(registry, make_bundle(tmp_path / "1"))
    live(registry, make_bundle(tmp_path / "2", "2"))

    table = registry.rollback("toy", who="bob", why="wrong answers")

    assert (table.revision, table.live, table.previous) == (3, "1", None)
    assert states(registry) == {"1": "live", "2": "retired"}
    with pytest.raises(ConflictError, match="no previous version"):
        registry.rollback("toy", who="bob", why="again")
    assert registry.promote("toy", "2", who="bob", why="a mistake").previous == "1"


def test_a_new_shadow_takes_the_place_of_the_old_one(registry: Registry, tmp_path: Path) -> None:
    live(registry, make_bundle(tmp_path / "1"))
    shadow(registry, make_bundle(tmp_path / "2", "2"))

    table = shadow(registry, make_bundle(tmp_path / "3", "3"))

    assert (table.live, table.shadow) == ("1", "3")
    assert states(registry) == {"1": "live", "2": "retired", "3": "shadow"}


def test_a_previous_version_may_be_the_shadow_until_it_is_live_again(
    registry: Registry, tmp_path: Path
) -> None:
    first = make_bundle(tmp_path / "1")
    live(registry, first)
    live(registry, make_bundle(tmp_path / "2", "2"))

    both = shadow(registry, first)
    assert (both.live, both.shadow, both.previous) == ("2", "1", "1")

    table = registry.rollback("toy", who="bob", why="")
    assert (table.live, table.shadow, table.previous) == ("1", None, None)
    assert states(registry) == {"1": "live", "2": "retired"}


def test_a_rejected_live_version_gives_way_to_the_previous_one(
    registry: Registry, tmp_path: Path
) -> None:
    live(registry, make_bundle(tmp_path / "1"))
    second = make_bundle(tmp_path / "2", "2")
    live(registry, second)

    table = registry.reject("toy", "2", who="gateway", why="did not start")

    assert table is not None
    assert (table.live, table.previous) == ("1", None)
    assert states(registry) == {"1": "live", "2": "rejected"}
    with pytest.raises(ConflictError, match="rejected and cannot become live"):
        registry.promote("toy", "2", who="bob", why="")
    assert live(registry, second).live == "2"


def test_without_a_previous_version_a_rejection_leaves_nobody(
    registry: Registry, tmp_path: Path
) -> None:
    bundle = make_bundle(tmp_path / "1")
    live(registry, bundle)
    shadow(registry, make_bundle(tmp_path / "2", "2"))

    assert registry.reject("toy", "1", who="gateway", why="did not start") is None
    assert registry.table("toy") is None
    assert registry.tables() == []
    assert states(registry) == {"1": "rejected", "2": "retired"}
    assert live(registry, bundle).revision == 4


def test_a_shadow_needs_somebody_to_follow(registry: Registry, tmp_path: Path) -> None:
    with pytest.raises(ConflictError, match="no live version"):
        shadow(registry, make_bundle(tmp_path / "1"))
    assert registry.models() == []


def test_the_live_version_cannot_become_a_shadow(registry: Registry, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "1")
    live(registry, bundle)

    with pytest.raises(ConflictError, match="is live and cannot become shadow"):
        shadow(registry, bundle)


@pytest.mark.parametrize("as_", ["live", "shadow"])
def test_another_signature_is_refused(registry: Registry, tmp_path: Path, as_: str) -> None:
    live(registry, make_bundle(tmp_path / "1"))
    wider = make_bundle(tmp_path / "2", "2", width=3)

    with pytest.raises(ConflictError, match="the inputs of version '2' differ"):
        registry.register(wider, as_=as_, trust_code=False, who="ann")  # type: ignore[arg-type]


def test_a_ladder_must_lead_to_registered_versions(registry: Registry, tmp_path: Path) -> None:
    live(registry, make_bundle(tmp_path / "1"))

    with pytest.raises(ConflictError, match="falls back to version '9', which is not registered"):
        live(registry, make_bundle(tmp_path / "2", "2", falls_back_to=("1", "9")))
    with pytest.raises(ConflictError, match="falls back to itself"):
        live(registry, make_bundle(tmp_path / "3", "3", falls_back_to=("3",)))


def test_versions_on_a_ladder_stay_warm(registry: Registry, tmp_path: Path) -> None:
    live(registry, make_bundle(tmp_path / "1"))
    live(registry, make_bundle(tmp_path / "2", "2"))
    live(registry, make_bundle(tmp_path / "3", "3"))

    table = live(registry, make_bundle(tmp_path / "4", "4", falls_back_to=("1", "3")))

    assert warm(table) == ["4", "3", "1"]


def test_unknown_names_are_told_apart(registry: Registry, tmp_path: Path) -> None:
    for ask in (
        lambda: registry.versions("toy"),
        lambda: registry.promote("toy", None, who="bob", why=""),
        lambda: registry.rollback("toy", who="bob", why=""),
        lambda: registry.reject("toy", "1", who="bob", why=""),
    ):
        with pytest.raises(UnknownModelError, match="unknown model 'toy'"):
            ask()
    live(registry, make_bundle(tmp_path / "1"))
    with pytest.raises(UnknownModelError, match="no version '7'"):
        registry.promote("toy", "7", who="bob", why="")


def test_the_audit_trail_is_append_only(registry: Registry, tmp_path: Path) -> None:
    live(registry, make_bundle(tmp_path / "1"))

    for statement in (update(tables.audit).values(who="nobody"), tables.audit.delete()):
        with (
            pytest.raises(IntegrityError, match="append-only"),
            registry._engine.begin() as connection,
        ):
            connection.execute(statement)


def test_a_change_to_a_model_that_moved_on_is_lost(registry: Registry, tmp_path: Path) -> None:
    live(registry, make_bundle(tmp_path / "1"))

    with (
        pytest.raises(registry_module._LostRaceError),
        registry._engine.begin() as connection,
    ):
        registry_module._claim(connection, Snapshot("toy", revision=7), None)


def test_a_change_starts_over_when_another_writer_was_first(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    live(registry, make_bundle(tmp_path / "1"))
    live(registry, make_bundle(tmp_path / "2", "2"))
    read, stale = registry_module._read, [0]

    def read_stale_once(*args: object) -> Snapshot:
        snapshot = read(*args)  # type: ignore[arg-type]
        stale[0] += 1
        return Snapshot("toy", 1, snapshot.table, snapshot.versions) if stale[0] == 1 else snapshot

    monkeypatch.setattr(registry_module, "_read", read_stale_once)
    assert registry.rollback("toy", who="bob", why="").revision == 3
    assert stale == [2]


def alternate(registry: Registry, rounds: int) -> None:
    for turn in range(rounds):
        registry.promote("toy", str(turn % 3 + 1), who="writer", why=str(turn))


def prepare(tmp_path: Path) -> tuple[str, str]:
    urls = (f"sqlite:///{tmp_path}/handrail.db", f"file://{tmp_path}/artifacts")
    registry = Registry(open_database(urls[0]), ArtifactStore(urls[1]))
    for version in ("1", "2", "3"):
        live(registry, make_bundle(tmp_path / version, version))
    return urls


def check_nothing_was_lost(urls: tuple[str, str]) -> None:
    registry = Registry(open_database(urls[0]), ArtifactStore(urls[1]))
    table = registry.table("toy")
    assert table is not None
    entries = registry.audit("toy")
    assert {entry.revision for entry in entries} == set(range(1, table.revision + 1))
    history: dict[str, str | None] = {}
    for entry in entries:
        assert history.get(entry.version) == entry.from_state
        history[entry.version] = entry.to_state
    assert [version for version, state in history.items() if state == "live"] == [table.live]


def test_threads_that_write_at_once_lose_no_change(tmp_path: Path) -> None:
    urls = prepare(tmp_path)
    registry = Registry(open_database(urls[0]), ArtifactStore(urls[1]))
    threads = [threading.Thread(target=alternate, args=(registry, 10)) for _ in range(4)]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    check_nothing_was_lost(urls)


def write_from_another_process(urls: tuple[str, str]) -> None:
    alternate(Registry(open_database(urls[0]), ArtifactStore(urls[1])), 10)


def test_processes_that_write_at_once_lose_no_change(tmp_path: Path) -> None:
    urls = prepare(tmp_path)
    context = get_context("spawn")
    writers = [context.Process(target=write_from_another_process, args=(urls,)) for _ in range(3)]

    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()

    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    check_nothing_was_lost(urls)
