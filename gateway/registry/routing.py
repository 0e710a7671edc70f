"""The routing table of one model: what the registry pushes and every replica obeys."""

import msgspec


class VersionRef(msgspec.Struct, frozen=True):
    """One version that replicas keep warm."""

    version: str
    digest: str  # of its bundle in the artifact store
    trust_code: bool = False  # the registrar accepted that this bundle holds code


class RoutingTable(msgspec.Struct, frozen=True):
    """Who answers for one model.  Replicas keep the last table when nobody sends a new one."""

    model: str
    revision: int  # grows by one with every change; an older table is ignored
    live: str
    versions: tuple[VersionRef, ...]  # all to keep warm: live, previous, shadow, ladder rungs
    shadow: str | None = None  # runs in the evaluator only
    previous: str | None = None  # what `rollback` returns to
    dry_run: tuple[str, ...] = ()  # guards that judge and record but never act
    confirmed: tuple[str, ...] = ()  # guards that may act: their false alarms were confirmed
    loaded: bool = True  # False: taken off the data plane; the rest says what comes back

    def ref(self, version: str) -> VersionRef | None:
        """Find a version that this table keeps warm."""
        return next((ref for ref in self.versions if ref.version == version), None)
