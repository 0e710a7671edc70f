"""A guard that stops rows by chance may not, until somebody confirmed its false alarms."""

from pathlib import Path

import pytest

from gateway.errors import ConflictError
from gateway.registry.registry import Registry
from gateway.registry.routing import RoutingTable
from tests.gateway.registry.bundles import make_bundle


def arrive(registry: Registry, root: Path, version: str = "1", **outlier: object) -> RoutingTable:
    bundle = make_bundle(root / version, version, outlier={"alpha": 0.05, **outlier})
    return registry.register(bundle, as_="live", trust_code=False, who="ann")


@pytest.mark.parametrize(
    ("outlier", "dry"),
    [
        ({"action": "reject"}, ("outlier",)),
        ({"action": "fallback"}, ("outlier",)),
        ({"action": "flag"}, ()),  # changes nobody's answer
        ({"action": "reject", "dry_run": False}, ()),  # asked for
    ],
)
def test_a_guard_of_a_new_model_that_stops_rows_begins_in_dry_run(
    registry: Registry, tmp_path: Path, outlier: dict[str, object], dry: tuple[str, ...]
) -> None:
    assert arrive(registry, tmp_path, **outlier).dry_run == dry


def test_once_confirmed_it_acts_also_in_versions_to_come(
    registry: Registry, tmp_path: Path
) -> None:
    before = arrive(registry, tmp_path, action="reject")
    after = registry.confirm("toy", "outlier", version="1", who="bob", why="0.003 of 5,000")
    later = arrive(registry, tmp_path, "2", action="reject")

    assert (after.revision, after.dry_run) == (before.revision + 1, ())
    assert later.dry_run == ()
    assert registry.rollback("toy", who="bob", why="").dry_run == ()
    entry = registry.audit("toy")[2]
    assert (entry.who, entry.why, entry.from_state, entry.to_state) == (
        "bob", "0.003 of 5,000", "live", "live",
    )  # fmt: skip


def test_confirming_again_changes_nothing(registry: Registry, tmp_path: Path) -> None:
    arrive(registry, tmp_path, action="reject")
    once = registry.confirm("toy", "outlier", version="1", who="bob", why="")

    assert registry.confirm("toy", "outlier", version="1", who="bob", why="") == once


def test_figures_of_another_version_confirm_nothing(registry: Registry, tmp_path: Path) -> None:
    arrive(registry, tmp_path, action="reject")
    arrive(registry, tmp_path, "2", action="reject")

    with pytest.raises(ConflictError, match="'1' of model 'toy' is not live"):
        registry.confirm("toy", "outlier", version="1", who="bob", why="")


def test_a_guard_that_stops_nothing_waits_for_nothing(registry: Registry, tmp_path: Path) -> None:
    arrive(registry, tmp_path, action="flag")

    with pytest.raises(ConflictError, match="waits for nothing"):
        registry.confirm("toy", "outlier", version="1", who="bob", why="")
