"""What became of a feature contract from one version of a model to the next."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from guards.contract.feature import Feature, TextLimits
from guards.contract.rules import Rule

Severity = Literal["same", "compatible", "widened", "breaking"]
Change = tuple[Severity, str]
SEVERITIES: tuple[Severity, ...] = ("same", "compatible", "widened", "breaking")
INFINITY = float("inf")


@dataclass(frozen=True, slots=True)
class ContractDiff:
    """What became of a feature contract, and how much it matters.

    - same: nothing changed.
    - compatible: some ranges are narrower; the new contract asks nothing of the
      model that the old did not, and callers see more flags at most.
    - widened: it lets values through that the old one questioned.
    - breaking: a row that was fine is refused: other columns, a value that may no
      longer be missing, a category no longer known, another kind or unit, a new rule.
    """

    verdict: Severity
    sentences: tuple[str, ...]


def diff(
    old: Sequence[Feature],
    new: Sequence[Feature],
    *,
    old_rules: Sequence[Rule] = (),
    new_rules: Sequence[Rule] = (),
) -> ContractDiff:
    """Compare two contracts, column by column; the gravest change is the verdict."""
    before = [(feature.name, feature.count) for feature in old]
    after = [(feature.name, feature.count) for feature in new]
    if not old or not new:
        changes = list(_described(old, new))
    elif before != after:
        changes = [("breaking", sentence) for sentence in _layout(before, after)]
    else:
        changes = [change for pair in zip(old, new, strict=True) for change in _changes(*pair)]
    changes += _rules(old_rules, new_rules)
    gravest = max((SEVERITIES.index(severity) for severity, _ in changes), default=0)
    return ContractDiff(SEVERITIES[gravest], tuple(sentence for _, sentence in changes))


def _described(old: Sequence[Feature], new: Sequence[Feature]) -> Iterator[Change]:
    if new:
        yield "compatible", "columns that nobody had described are described now"
    elif old:
        yield "widened", "the columns are no longer described: anything finite passes"


def _layout(old: Sequence[tuple[str, int]], new: Sequence[tuple[str, int]]) -> Iterator[str]:
    """Say how the columns differ in name, width or order."""
    before, after = dict(old), dict(new)
    for name, count in old:
        if name not in after:
            yield f"{name} is gone"
        elif after[name] != count:
            yield f"{name} had {count} columns and has {after[name]}"
    yield from (f"{name} is new" for name, _ in new if name not in before)
    if [name for name, _ in old if name in after] != [name for name, _ in new if name in before]:
        yield "the columns stand in another order"


def _changes(old: Feature, new: Feature) -> Iterator[Change]:
    """Say what changed in one feature, with what it amounts to."""
    name = old.name
    if old.kind != new.kind and "category" not in (old.kind, new.kind):
        is_wider = (old.kind, new.kind) in (("integer", "number"), ("boolean", "number"))
        yield ("widened" if is_wider else "breaking"), f"{name} was {old.kind} and is {new.kind}"
    if old.unit != new.unit:
        yield "breaking", f"{name} was in {old.unit or 'no unit'} and is in {new.unit or 'no unit'}"
    if old.environments != new.environments:
        places = [" and ".join(one.environments) for one in (old, new)]
        yield "breaking", f"{name} was there in {places[0]} and is in {places[1]}"
    if old.missing != new.missing:
        yield (
            ("widened", f"{name} may be missing now")
            if new.missing
            else ("breaking", f"{name} may no longer be missing")
        )
    yield from _least(name, "low", old.low, new.low)
    yield from _most(name, "high", old.high, new.high)
    yield from _least(name, "contrast", old.contrast, new.contrast)
    if old.categories != new.categories:
        yield from _categories(old, new)
    if old.text != new.text:
        yield from _text(name, old.text or TextLimits(), new.text or TextLimits())
    if old.default != new.default:
        yield "compatible", f"{name}: the default is {new.default} instead of {old.default}"


def _least(name: str, end: str, old: float | None, new: float | None) -> Iterator[Change]:
    """Say whether a lower limit moved; none is as low as can be."""
    before, after = (-INFINITY if limit is None else limit for limit in (old, new))
    if before != after:
        yield _moved(name, end, before, after, is_outward=after < before)


def _most(name: str, end: str, old: float | None, new: float | None) -> Iterator[Change]:
    """Say whether an upper limit moved; none is as high as can be."""
    before, after = (INFINITY if limit is None else limit for limit in (old, new))
    if before != after:
        yield _moved(name, end, before, after, is_outward=after > before)


def _moved(name: str, end: str, before: float, after: float, *, is_outward: bool) -> Change:
    way = "out" if is_outward else "in"
    sentence = f"{name}: {end} moved {way} from {before:g} to {after:g}"
    return ("widened" if is_outward else "compatible"), sentence


def _text(name: str, old: TextLimits, new: TextLimits) -> Iterator[Change]:
    yield from _least(name, "shortest", old.shortest, new.shortest)
    yield from _most(name, "longest", old.longest, new.longest)
    yield from _most(name, "foreign", old.foreign, new.foreign)
    yield from _most(name, "repetition", old.repetition, new.repetition)
    if old.scripts == new.scripts:
        return
    if new.scripts is None:
        yield "widened", f"{name}: any script will do now"
    elif old.scripts is None:
        yield "compatible", f"{name}: only {_listed(new.scripts)} will do now"
    else:
        yield from _sets(f"{name}: script", old.scripts, new.scripts, loss="compatible")


def _categories(old: Feature, new: Feature) -> Iterator[Change]:
    """Say which categories came and went."""
    if new.categories is None:
        yield "widened", f"{old.name}: any value is a category now"
    elif old.categories is None:
        yield "breaking", f"{old.name}: only {_listed(new.categories)} are categories now"
    else:
        yield from _sets(f"{old.name}:", old.categories, new.categories, loss="breaking")


def _sets(what: str, old: Sequence[Any], new: Sequence[Any], *, loss: Severity) -> Iterator[Change]:
    before, after = set(old), set(new)
    if before - after:
        yield loss, f"{what} {_listed(before - after)} no longer known"
    if after - before:
        yield "widened", f"{what} {_listed(after - before)} known now"


def _rules(old: Sequence[Rule], new: Sequence[Rule]) -> Iterator[Change]:
    """Rules have no names: one that changed is one that went and one that came."""
    yield from (("widened", f"no longer: {rule}") for rule in old if rule not in new)
    yield from (("breaking", f"new rule: {rule}") for rule in new if rule not in old)


def _listed(values: Sequence[Any] | set[Any]) -> str:
    told = [value if isinstance(value, str) else f"{value:g}" for value in sorted(values)]
    return ", ".join(told)
