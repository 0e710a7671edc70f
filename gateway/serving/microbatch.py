"""Steps 4 to 8 on a micro-batch, as one array program: guard, infer, guard, explore.

Pure apart from the clock it is given.  Every request keeps its own verdict, and a
row that makes the model fail never fails its batch mates: the batch is bisected.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gateway.registry.routing import RoutingTable
from gateway.serving.bisection import Arrays, Bisection, scatter
from gateway.serving.chooser import Decided
from gateway.serving.item import Item, Judged, Stamps
from gateway.serving.traffic import Seen
from gateway.serving.versions import LoadedVersion
from guards.verdict import Action, Verdict
from models.features import feature_rows, text_tensors
from models.imputation import impute
from models.output_layout import lay_out
from models.output_rows import output_rows
from models.prediction import predicted


@dataclass(frozen=True, slots=True)
class _Stop:
    """Why one item has no answer of its own."""

    why: str
    is_rejected: bool = False
    is_after: bool = False  # the model had answered


class Microbatch:
    """Some requests for one version, side by side.  Used once, by one thread."""

    def __init__(
        self,
        version: LoadedVersion,
        items: Sequence[Item],
        table: RoutingTable,
        *,
        deadline_ns: int,
        now_ns: Callable[[], int],
    ) -> None:
        self._version = version
        self._items = list(items)
        self._table = table
        self._deadline_ns = deadline_ns  # of the last item; no call of the model begins after it
        self._now_ns = now_ns
        self._stops = list(accumulate(item.rows for item in items))
        self.rows: int = self._stops[-1]
        self._is_fallback = items[0].is_fallback
        self._verdicts: list[Verdict] = []
        self._stopped: dict[int, _Stop] = {}  # by item
        self._outputs: Arrays | None = None
        self._is_whole = False
        self._decided: dict[int, Decided] = {}  # by item
        self._skipped_guards: tuple[str, ...] = ()

    def run(self, *, closed: str | None, is_hurried: bool) -> list[Judged]:
        """Judge and answer the batch; one `Judged` per item, in order.

        Args:
            closed: Why exploration is closed for the whole batch; None when it is open.
            is_hurried: Leave out the guards that are optional.
        """
        now_ns = self._now_ns
        dequeued_ns = now_ns()
        came = inputs = self._stack(range(len(self._items)))
        guarded_ns = 0
        if not self._is_fallback:
            inputs = self._guard_inputs(came, is_hurried=is_hurried)
            guarded_ns = now_ns()
        self._infer(inputs)
        self._guard_outputs()
        inferred_ns = now_ns()
        self._note_traffic(came, inferred_ns)
        self._explore(closed)
        explored_ns = now_ns() if self._decided else 0
        return self._split(
            Stamps(self.rows, dequeued_ns, guarded_ns, inferred_ns, explored_ns, self._is_whole)
        )

    def _stack(self, picked: Sequence[int]) -> Arrays:
        """Put the inputs of some items on top of each other."""
        items = [self._items[i] for i in picked]
        if len(items) == 1:
            return items[0].inputs
        names = items[0].inputs
        return {name: np.concatenate([item.inputs[name] for item in items]) for name in names}

    def _guard_inputs(self, inputs: Arrays, *, is_hurried: bool) -> Arrays:
        """Judge the inputs; give them back as the model gets them, violations repaired."""
        chain, signature = self._version.chain, self._version.manifest.signature
        dry_run = self._table.dry_run
        self._skipped_guards = chain.optional if is_hurried else ()
        rows = feature_rows(inputs, signature)
        schema = chain.check_schema(rows, text_tensors(inputs, signature), dry_run)
        if schema.repairs:
            inputs = impute(inputs, schema.repairs, signature)
            rows = feature_rows(inputs, signature)
            self._take_repaired(inputs)
        others = chain.check_inputs(rows, dry_run, skip=self._skipped_guards)
        self._verdicts = [schema, *others]
        for verdict in self._verdicts:
            self._stop_items(verdict)
        return inputs

    def _take_repaired(self, inputs: Arrays) -> None:
        """Let every item go on with its rows of the repaired tensors."""
        for i, (start, stop) in enumerate(self._bounds()):
            own = {name: array[start:stop] for name, array in inputs.items()}
            self._items[i] = replace(self._items[i], inputs=own)

    def _stop_items(self, verdict: Verdict) -> None:
        """Take requests with a row that must not be answered out of the batch."""
        if verdict.is_clear or verdict.actions.max() < Action.FALLBACK:
            return
        is_after = self._outputs is not None
        for i, (start, stop) in enumerate(self._bounds()):
            worst = verdict.actions[start:stop].max()
            if worst == Action.REJECT:
                self._stopped[i] = _Stop(verdict.guard, is_rejected=True, is_after=is_after)
            elif worst == Action.FALLBACK:
                self._stopped.setdefault(i, _Stop(verdict.guard, is_after=is_after))

    def _bounds(self) -> list[tuple[int, int]]:
        """First row of each item, and the row after its last."""
        starts = [0, *self._stops[:-1]]
        return list(zip(starts, self._stops, strict=True))

    def _infer(self, inputs: Arrays) -> None:
        """Ask the model about every item that no guard stopped."""
        going = [i for i in range(len(self._items)) if i not in self._stopped]
        if not going:
            return
        bisection = Bisection(
            self._version, self._stack, deadline_ns=self._deadline_ns, now_ns=self._now_ns
        )
        are_all = len(going) == len(self._items)
        answers = bisection.ask(going, inputs if are_all else self._stack(going))
        self._stopped.update((i, _Stop(why)) for i, why in bisection.failed.items())
        if len(answers) == 1 and len(answers[0][0]) == len(self._items):
            self._outputs = answers[0][1]  # the ordinary case: one call answered everything
            self._is_whole = True
        elif answers:
            self._outputs = scatter(answers, self._bounds())

    def _guard_outputs(self) -> None:
        """Judge what the model answered; as an outlier only if it is the version's own model."""
        if self._outputs is None:
            return
        chain, manifest, verdicts = self._version.chain, self._version.manifest, list[Verdict]()
        rows = lay_out(self._outputs, manifest.signature, manifest.guards.output)
        if rows.shape[1]:  # nothing where the answer is text, and no other output has a range
            verdicts.append(chain.check_outputs(rows, self._table.dry_run))
        if chain.reads_outputs and not self._is_fallback:
            rows = output_rows(self._outputs, manifest.signature)
            verdicts += chain.check_output_rows(
                rows, self._table.dry_run, skip=self._skipped_guards
            )
        # All before the first of them stops anybody: each has seen the same answers.
        answered = [self._of_answered(verdict) for verdict in verdicts]
        for verdict in answered:
            self._verdicts.append(verdict)
            self._stop_items(verdict)

    def _of_answered(self, verdict: Verdict) -> Verdict:
        """Leave out rows that the model was never asked about: what stands there is no answer."""
        if not self._stopped:
            return verdict
        p_values = None if verdict.p_values is None else verdict.p_values.copy()
        actions, reasons = verdict.actions.copy(), dict(verdict.reasons)
        bounds = self._bounds()
        for start, stop in (bounds[i] for i in self._stopped):
            actions[start:stop] = Action.ALLOW
            if p_values is not None:
                p_values[start:stop] = np.nan
            for row in range(start, stop):
                reasons.pop(row, None)
        return replace(verdict, actions=actions, reasons=reasons, p_values=p_values)

    def _explore(self, closed: str | None) -> None:
        """Choose what each answered item is served; any veto is known before the draw."""
        chooser = self._version.chooser
        if chooser is None or self._outputs is None or self._is_fallback:
            return
        going, parts = [], []
        for i, (start, stop) in enumerate(self._bounds()):
            if i in self._stopped:
                continue
            item = self._items[i]
            part = chooser.part(
                item.prediction_id,
                item.asked,
                item.inputs,
                {name: array[start:stop] for name, array in self._outputs.items()},
                guarded=self._guarded(start, stop),
                closed=closed,
            )
            if part is None:
                self._stopped[i] = _Stop("nothing_to_serve")
            else:
                going.append(i)
                parts.append(part)
        if parts:
            self._decided = dict(zip(going, chooser.choose(parts), strict=True))

    def _guarded(self, start: int, stop: int) -> NDArray[np.bool_] | None:
        """Mark the rows of an item that a guard did not simply allow; None: there are none."""
        said = [verdict for verdict in self._verdicts if not verdict.is_clear]
        if not said:
            return None
        return np.asarray(sum(verdict.actions[start:stop] for verdict in said) > 0)

    def _note_traffic(self, inputs: Arrays, now_ns: int) -> None:
        """Leave every row for the monitors, as it came, whatever became of it."""
        traffic = self._version.traffic
        if traffic is None or self._is_fallback:
            return
        strange = next((v.reasons for v in self._verdicts if v.guard == "schema"), {})
        asked, p_values = self._asked(), self._p_values()
        if p_values is not None and self._version.chain.reads_outputs:
            p_values = p_values[asked]  # no answer, nothing to find strange
        outputs = None
        if self._outputs is not None:
            name = self._version.judged_output.name
            outputs = {name: self._outputs[name][asked]}
        traffic.observe(Seen(inputs, strange, p_values, outputs), now_ns=now_ns)

    def _asked(self) -> NDArray[np.bool_] | slice:
        """Rows that the model has answered, whatever was thought of its answers."""
        unasked = [i for i, stop in self._stopped.items() if not stop.is_after]
        if not unasked:
            return slice(None)
        asked, bounds = np.ones(self.rows, np.bool_), self._bounds()
        for i in unasked:
            asked[slice(*bounds[i])] = False
        return asked

    def _p_values(self) -> NDArray[Any] | None:
        return next((v.p_values for v in self._verdicts if v.p_values is not None), None)

    def _split(self, stamps: Stamps) -> list[Judged]:
        """Give every item its own rows."""
        said = [verdict for verdict in self._verdicts if not verdict.is_clear]
        p_values = self._p_values()
        classes = None
        if self._outputs is not None:
            classes = predicted(self._outputs, self._version.manifest.signature)
        judged = []
        for i, (start, stop) in enumerate(self._bounds()):
            halt = self._stopped.get(i)
            outputs = None
            if halt is None and self._outputs is not None:
                outputs = {name: array[start:stop] for name, array in self._outputs.items()}
            judged.append(
                Judged(
                    stamps,
                    outputs=outputs,
                    predicted=None if outputs is None or classes is None else classes[start:stop],
                    verdicts=tuple(v.rows(start, stop) for v in said),
                    p_values=None if p_values is None else p_values[start:stop],
                    decided=self._decided.get(i),
                    stop="" if halt is None else halt.why,
                    is_rejected=halt is not None and halt.is_rejected,
                    skipped_guards=self._skipped_guards,
                    is_judged_after=halt is not None and halt.is_after,
                )
            )
        return judged
