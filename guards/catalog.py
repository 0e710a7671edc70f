"""Every guard there is, by the name a manifest uses; written out, nothing is discovered."""

from guards.outlier.guard import OutlierGuard
from guards.output.guard import OutputGuard
from guards.schema import SchemaGuard
from guards.verdict import Guard

GUARDS: dict[str, type[Guard]] = {
    SchemaGuard.name: SchemaGuard,
    OutlierGuard.name: OutlierGuard,
    OutputGuard.name: OutputGuard,
}
