"""What another policy would have earned, estimated from the decisions of this one.

`logged` holds the rows, `importance`, `doubly_robust` and `slate_estimators` turn them
into an `Estimate`, `asymptotic`, `bernstein`, `anytime` and `betting` into an interval,
`diagnostics` says how far to trust it, and `comparison` decides or refuses to.
"""
