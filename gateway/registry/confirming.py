"""Let a guard of a model act: nothing moves, but from then on it may stop rows."""

from gateway.errors import ConflictError
from gateway.registry.lifecycle import Plan, Snapshot


def plan_confirmation(snapshot: Snapshot, guard: str, *, version: str) -> Plan | None:
    """Take a guard out of its dry run; None if it may act already.

    It stays confirmed for the versions to come, as the model is no new one then.

    Raises:
        UnknownModelError: there is no such model.
        ConflictError: ``version`` is not live, or its guard waits for nothing.
    """
    snapshot.check_known()
    snapshot.check_loaded()
    table = snapshot.table
    if table is None or table.live != version:
        raise ConflictError(f"version {version!r} of model {snapshot.model!r} is not live")
    if guard in table.confirmed:
        return None
    if guard not in table.dry_run:
        raise ConflictError(f"guard {guard!r} of model {snapshot.model!r} waits for nothing")
    return Plan((), live=table.live, shadow=table.shadow, previous=table.previous, confirms=guard)
