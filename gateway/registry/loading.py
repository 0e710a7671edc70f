"""Take a model off the data plane and bring it back: what each does to its versions.

The routing table of an unloaded model stays as it was, so that it comes back as it went.
"""

from gateway.errors import ConflictError
from gateway.registry.lifecycle import TRANSITIONS, Move, Plan, Snapshot, place_live


def plan_load(snapshot: Snapshot) -> Plan | None:
    """Let the live version answer again, or the newest one if none is live; None if one does.

    Raises:
        ConflictError: none is live, and all are rejected.
    """
    snapshot.check_known()
    table = snapshot.table
    if table is None:
        return place_live(snapshot, _newest(snapshot))
    if table.loaded:
        return None
    moves = (Move(table.live, "live"),)
    return Plan(moves, live=table.live, shadow=table.shadow, previous=table.previous)


def plan_unload(snapshot: Snapshot) -> Plan | None:
    """Take a model off the data plane as it is; None if nobody answers anyway."""
    snapshot.check_known()
    table = snapshot.table
    if table is None or not table.loaded:
        return None
    return Plan(
        (Move(table.live, "unloaded"),),
        live=table.live,
        shadow=table.shadow,
        previous=table.previous,
        loaded=False,
    )


def _newest(snapshot: Snapshot) -> str:
    """Find the version that was registered last and may answer."""
    rows = [row for row in snapshot.versions.values() if "live" in TRANSITIONS[row.state]]
    if not rows:
        raise ConflictError(f"every version of model {snapshot.model!r} is rejected")
    return max(rows, key=lambda row: row.registered_at_s).version
