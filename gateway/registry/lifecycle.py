"""The life of a version: what may follow what, and what each change does to the others.

Pure: a `Snapshot` of one model goes in, a `Plan` comes out; `registry` carries it out.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from gateway.errors import ConflictError, UnknownModelError
from gateway.registry.routing import RoutingTable, VersionRef
from models.manifest import Manifest, VersionRung

State = Literal["registered", "shadow", "canary", "live", "unloaded", "retired", "rejected"]

# None: not registered yet.  A rejected version may be registered again, with the same content.
TRANSITIONS: Mapping[State | None, frozenset[State]] = {
    None: frozenset({"registered"}),
    "registered": frozenset({"shadow", "canary", "live", "rejected"}),
    "shadow": frozenset({"canary", "live", "retired", "rejected"}),
    "canary": frozenset({"live", "retired", "rejected"}),
    "live": frozenset({"unloaded", "retired", "rejected"}),
    "unloaded": frozenset({"live", "rejected"}),  # the live version of a model that is off
    "retired": frozenset({"shadow", "live", "rejected"}),
    "rejected": frozenset({"registered"}),
}


@dataclass(frozen=True, slots=True)
class VersionRow:
    """One registered version."""

    model: str
    version: str
    digest: str
    state: State
    trust_code: bool
    manifest: Manifest
    registered_at_s: float  # Unix


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One model as it is now."""

    model: str
    revision: int = 0
    table: RoutingTable | None = None  # None: no live version
    versions: Mapping[str, VersionRow] = field(default_factory=dict)

    def check_known(self) -> None:
        """Raise UnknownModelError if nothing was ever registered under this name."""
        if not self.versions:
            raise UnknownModelError(self.model)

    def check_loaded(self) -> None:
        """Raise ConflictError if the model is off the data plane: it comes back as it went."""
        if self.table is not None and not self.table.loaded:
            raise ConflictError(f"model {self.model!r} is unloaded; load it first")

    def row(self, version: str) -> VersionRow:
        """Find a version.

        Raises:
            UnknownModelError: it was never registered.
        """
        row = self.versions.get(version)
        if row is None:
            raise UnknownModelError(self.model, version)
        return row


@dataclass(frozen=True, slots=True)
class Move:
    """One version changes its state."""

    version: str
    to: State


@dataclass(frozen=True, slots=True)
class Step:
    """A move that is allowed, with where it starts."""

    version: str
    from_state: State | None
    to: State


@dataclass(frozen=True, slots=True)
class Plan:
    """What a change does: the moves in order, and who stands where afterwards."""

    moves: tuple[Move, ...]
    live: str | None
    shadow: str | None
    previous: str | None
    arrival: VersionRow | None = None  # a version that was not there before
    confirms: str | None = None  # a guard that may act from now on
    loaded: bool = True


def plan_registration(
    snapshot: Snapshot, candidate: VersionRow, *, as_: Literal["live", "shadow"]
) -> Plan | None:
    """Bring a candidate in; None if it already stands where it should.

    ``candidate.state`` is "registered".

    Raises:
        ConflictError: another content has this version, it does not fit the live version, or the
            model is unloaded.
    """
    snapshot.check_loaded()
    known = snapshot.versions.get(candidate.version)
    if known is not None and known.digest != candidate.digest:
        raise ConflictError(
            f"version {candidate.version!r} of {snapshot.model!r} is registered with another "
            f"content ({known.digest}); versions never change"
        )
    if known is not None and known.state == as_:
        return None
    place = place_live if as_ == "live" else _place_shadow
    if known is not None and known.state != "rejected":
        return place(snapshot, known.version)
    plan = place(_with(snapshot, candidate), candidate.version)
    return replace(
        plan,
        moves=(Move(candidate.version, "registered"), *plan.moves),
        arrival=candidate if known is None else None,
    )


def plan_promotion(snapshot: Snapshot, version: str | None) -> Plan | None:
    """Make a version live, the shadow if none is named; None if it is live already."""
    snapshot.check_known()
    snapshot.check_loaded()
    if version is None:
        if snapshot.table is None or snapshot.table.shadow is None:
            raise ConflictError(f"model {snapshot.model!r} has no shadow version; name a version")
        version = snapshot.table.shadow
    if snapshot.row(version).state == "live":
        return None
    return place_live(snapshot, version)


def plan_rollback(snapshot: Snapshot) -> Plan:
    """Return to the previous version.

    Nothing is previous afterwards: a second rollback must not bring back what the first
    one took away.
    """
    snapshot.check_known()
    snapshot.check_loaded()
    table = snapshot.table
    if table is None or table.previous is None:
        raise ConflictError(f"model {snapshot.model!r} has no previous version to return to")
    return Plan(
        (Move(table.live, "retired"), Move(table.previous, "live")),
        live=table.previous,
        shadow=table.shadow if table.shadow != table.previous else None,
        previous=None,
    )


def plan_rejection(snapshot: Snapshot, version: str) -> Plan | None:
    """Take a version out of every place it stands in; None if it is rejected already.

    If it was live, the previous version answers again; nobody without one, or if unloaded.
    """
    snapshot.check_known()
    if snapshot.row(version).state == "rejected":
        return None
    table = snapshot.table
    rejected = (Move(version, "rejected"),)
    if table is None:
        return Plan(rejected, live=None, shadow=None, previous=None)
    if version != table.live:
        return Plan(
            rejected,
            live=table.live,
            shadow=table.shadow if table.shadow != version else None,
            previous=table.previous if table.previous != version else None,
            loaded=table.loaded,
        )
    if table.previous is not None and table.loaded:
        back = plan_rollback(snapshot)
        return replace(back, moves=(*rejected, Move(table.previous, "live")))
    shadow = () if table.shadow is None else (Move(table.shadow, "retired"),)
    return Plan((*rejected, *shadow), live=None, shadow=None, previous=None)


def allowed_steps(snapshot: Snapshot, plan: Plan) -> list[Step]:
    """Say where each move of a plan starts.

    Raises:
        ConflictError: `TRANSITIONS` lacks one of them.
    """
    states: dict[str, State | None] = {v: row.state for v, row in snapshot.versions.items()}
    steps = []
    if plan.confirms is not None and plan.live is not None:
        return [Step(plan.live, states[plan.live], "live")]
    for move in plan.moves:
        state = states.get(move.version)
        if move.to not in TRANSITIONS[state]:
            raise ConflictError(
                f"version {move.version!r} is {state or 'new'} and cannot become {move.to}"
            )
        steps.append(Step(move.version, state, move.to))
        states[move.version] = move.to
    return steps


def build_table(snapshot: Snapshot, plan: Plan) -> RoutingTable | None:
    """Build the routing table that follows; None if nobody is live then."""
    if plan.live is None:
        return None
    if plan.arrival is not None:
        snapshot = _with(snapshot, plan.arrival)
    old = snapshot.table
    placed = [v for v in (plan.live, plan.previous, plan.shadow) if v is not None]
    rungs = [rung for version in placed for rung in rung_versions(snapshot.row(version).manifest)]
    confirmed = () if old is None else old.confirmed
    if plan.confirms is not None:
        confirmed = (*confirmed, plan.confirms)
    to_confirm = snapshot.row(plan.live).manifest.guards.to_confirm
    return RoutingTable(
        model=snapshot.model,
        revision=snapshot.revision + 1,
        live=plan.live,
        versions=tuple(_refs(snapshot, [*placed, *rungs])),
        shadow=plan.shadow,
        previous=plan.previous,
        dry_run=tuple(guard for guard in to_confirm if guard not in confirmed),
        confirmed=confirmed,
        loaded=plan.loaded,
    )


def rung_versions(manifest: Manifest) -> list[str]:
    """Other versions that a ladder falls back to."""
    return [rung.version for rung in manifest.fallback if isinstance(rung, VersionRung)]


def place_live(snapshot: Snapshot, version: str) -> Plan:
    """Let a version answer; the one that did so far stays warm as the previous one."""
    _check_fits(snapshot, snapshot.row(version))
    table = snapshot.table
    if table is None:
        return Plan((Move(version, "live"),), live=version, shadow=None, previous=None)
    return Plan(
        (Move(table.live, "retired"), Move(version, "live")),
        live=version,
        shadow=table.shadow if table.shadow != version else None,
        previous=table.live,
    )


def _place_shadow(snapshot: Snapshot, version: str) -> Plan:
    """Let a version see copies of the requests, in place of any other shadow."""
    table = snapshot.table
    if table is None:
        raise ConflictError(
            f"model {snapshot.model!r} has no live version that a shadow could follow; "
            "register one as live first"
        )
    _check_fits(snapshot, snapshot.row(version))
    moves: tuple[Move, ...] = (Move(version, "shadow"),)
    if table.shadow is not None:
        moves = (Move(table.shadow, "retired"), *moves)
    return Plan(moves, live=table.live, shadow=version, previous=table.previous)


def _with(snapshot: Snapshot, row: VersionRow) -> Snapshot:
    return replace(snapshot, versions={**snapshot.versions, row.version: row})


def _refs(snapshot: Snapshot, versions: Iterable[str]) -> Iterable[VersionRef]:
    for version in dict.fromkeys(versions):  # once each, in order
        row = snapshot.row(version)
        yield VersionRef(version, row.digest, row.trust_code)


def _check_fits(snapshot: Snapshot, row: VersionRow) -> None:
    """A version takes and gives what the live one does, and its ladder leads somewhere."""
    if snapshot.table is not None:
        _check_signature(row, snapshot.row(snapshot.table.live), "the live version")
    for version in rung_versions(row.manifest):
        rung = snapshot.versions.get(version)
        if rung is None or rung.state == "rejected":
            raise ConflictError(
                f"version {row.version!r} falls back to version {version!r}, "
                f"which is {'rejected' if rung else 'not registered'}"
            )
        if version == row.version:
            raise ConflictError(f"version {version!r} falls back to itself")
        _check_signature(row, rung, "its fallback")


def _check_signature(row: VersionRow, other: VersionRow, what: str) -> None:
    ours, theirs = row.manifest.signature, other.manifest.signature
    if ours != theirs:
        side = "inputs" if ours.inputs != theirs.inputs else "outputs"
        raise ConflictError(
            f"the {side} of version {row.version!r} differ from those of {what}, "
            f"{other.version!r}; a new signature needs a new model name"
        )
