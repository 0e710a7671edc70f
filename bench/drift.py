"""How often the drift monitor cries wolf, how soon it finds real drift, and how river compares.

    python bench/drift.py --seed 0            # about 5 minutes

T8: streams without drift; T9: delays; T12: merging; two real streams; and a comparison with
ADWIN, Page-Hinkley and KSWIN, each tuned on streams without drift to the same false-alarm budget.
"""

import argparse
import csv
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from results import write
from river.drift import ADWIN, KSWIN, PageHinkley

from gateway.serving.traffic import FOLD_ROWS, Seen, TrafficCounts
from guards.drift.bets import Bets
from guards.drift.cells import CELLS, count, text_codes
from guards.drift.counts import Ledger
from guards.drift.eprocess import Wealth, mixture
from guards.drift.monitor import DriftSettings, Monitor
from guards.drift.polya import polya_evidence
from guards.drift.reference import Channel, Reference
from models.bundle import load_watched
from models.examples.mlp import build_mlp, ordinary_rows
from models.signing import SigningKey

DATA = Path("../shared/data")
N_REF, FEATURES, DELTA = 5000, 32, 0.05
Rows = NDArray[np.float64]
Change = Callable[[Rows, np.random.Generator], Rows]


def _gross(values: Rows, rng: np.random.Generator, *, both: bool) -> Rows:
    """Replace 5 % by errors of 4 standard deviations, above or to both sides."""
    wrong = rng.random(values.shape) < 0.05
    sign = rng.choice([-1.0, 1.0], values.shape) if both else 1.0
    return np.where(wrong, 4.0 * sign, values)


CHANGES: dict[str, tuple[Change, int]] = {  # and the target of T9
    "shift by 1 sigma": (lambda x, rng: x + 1, 60),
    "shift by 0.5 sigma": (lambda x, rng: x + 0.5, 250),
    "scale x 1.5": (lambda x, rng: x * 1.5, 260),
    "5 % at +4 sigma": (lambda x, rng: _gross(x, rng, both=False), 150),
    "5 % at -4 or +4 sigma": (lambda x, rng: _gross(x, rng, both=True), 150),
}


def _columns(n: int, rng: np.random.Generator) -> Rows:
    """32 features: 24 correlated numbers, 4 with 5 % missing, 4 small whole numbers."""
    rows = 0.6 * rng.normal(size=(n, 1)) + 0.8 * rng.normal(size=(n, FEATURES))
    rows[:, 24:28][rng.random((n, 4)) < 0.05] = np.nan
    rows[:, 28:] = np.floor(rng.exponential(2, size=(n, 4)))
    return rows


def _reference(rows: Rows) -> Reference:
    return Reference.fit([Channel(f"x{j}", column) for j, column in enumerate(rows.T)])


def null_streams(streams: int, rng: np.random.Generator) -> dict[str, Any]:
    """T8: streams of 1e5 events in ticks of 100; the run length is 1e6 events = 1e4 ticks."""
    events, tick, run_length = 100_000, 100, 1e6
    alarms = dict.fromkeys(("exact bounds", "slack 0.02"), 0)
    ever = dict.fromkeys(alarms, 0)
    named = 0
    for _ in range(streams):
        reference = _reference(_columns(N_REF, rng))
        monitors = {
            "exact bounds": _monitor(reference, run_length / tick),
            "slack 0.02": _monitor(reference, run_length / tick, slack=0.02),
        }
        counts = _ticks(reference, _columns(events, rng), tick)
        for name, monitor in monitors.items():
            state, alarmed = monitor.begin(), False
            for counted in counts:
                state = monitor.advance(state, counted)
                alarmed |= state.alarmed is not None
            alarms[name] += alarmed
            finding = monitor.finding(state)
            ever[name] += bool(finding.ever)
            named += any(channel.named for channel in finding.channels)
    return {
        "streams": streams,
        "events": events,
        "features": FEATURES,
        "reference_rows": N_REF,
        "run_length_events": run_length,
        "share_with_alarm": {name: n / streams for name, n in alarms.items()},
        "share_ever_1_over_alpha": {name: n / streams for name, n in ever.items()},
        "share_naming_a_channel_at_the_end": named / streams / len(alarms),
        "target": {"exact bounds": 0.1, "slack 0.02": 0.0},
    }


def _monitor(reference: Reference, run_length: float, *, slack: float = 0.0) -> Monitor:
    settings = DriftSettings(run_length_ticks=run_length, slack=slack, delta=DELTA)
    return Monitor(reference, settings)


def _ticks(reference: Reference, rows: Rows, tick: int) -> NDArray[np.int64]:
    """Counts of every tick, shape (ticks, channels, CELLS)."""
    codes = reference.layout.codes(rows)
    ticks, channels = len(rows) // tick, codes.shape[1]
    place = (np.arange(ticks * tick) // tick)[:, None] * channels + np.arange(channels)
    flat = np.bincount(
        (place * CELLS + codes[: ticks * tick]).ravel(), minlength=ticks * channels * CELLS
    )
    return flat.reshape(ticks, channels, CELLS)


def naive_streams(streams: int, rng: np.random.Generator) -> dict[str, float]:
    """What becomes of T8 without bounds: bets that take the reference for the truth."""
    found = {}
    for n_ref in (200, 1000, 5000):
        alarms = 0
        for _ in range(streams):
            reference = Reference.fit([Channel("x", rng.normal(size=n_ref))])
            bets = Bets.on(reference, delta=CELLS * 2 * 0.5)  # medians instead of bounds
            counts = _ticks(reference, rng.normal(size=(6000, 1)), 10).cumsum(axis=0)
            process = mixture(bets.log_stakes, bets.gains(counts))
            alarms += bool(process.max() >= np.log(1 / 0.05))
        found[f"reference of {n_ref}"] = alarms / streams
    return found


def delays(rng: np.random.Generator, *, repetitions: int) -> dict[str, Any]:
    """T9: one of 32 features changes; every event is a tick, the run length 1e5 events."""
    found: dict[str, Any] = {}
    for name, (change, target) in CHANGES.items():
        taken, early = _delays(change, rng, repetitions)
        found[name] = _summary(taken) | {"false_alarms_before": early, "target": target}
    return found


def _delays(
    change: Change, rng: np.random.Generator, repetitions: int, *, before: int = 200
) -> tuple[Rows, int]:
    """Events from the change to the alarm, for ten references with a tenth of the streams each."""
    after, streams = 800, repetitions // 10
    taken: list[Rows] = []
    early = 0
    for _ in range(10):
        reference = _reference(rng.normal(size=(N_REF, FEATURES)))
        bets = Bets.on(reference, delta=DELTA)
        rows = rng.normal(size=(before + after, streams, FEATURES))
        rows[before:, :, 0] = change(rows[before:, :, 0], rng)
        codes = reference.layout.codes(rows.reshape(-1, FEATURES)).reshape(rows.shape)
        alarm = _first_alarm(bets, codes, np.log(1e5))
        early += int((alarm < before).sum())
        taken.append(np.where(alarm < before, np.nan, alarm - before + 1))
    return np.concatenate(taken), early


def _first_alarm(bets: Bets, codes: NDArray[np.intp], threshold: float) -> Rows:
    """Index of the event that raised the alarm, by stream; inf where none did.

    ``codes`` has shape (events, streams, channels).
    """
    channels = np.arange(codes.shape[2])
    wealth = Wealth.begin((codes.shape[1], *bets.log_stakes.shape))
    alarm = np.full(codes.shape[1], np.inf)
    for event, now in enumerate(codes):
        wealth = wealth.grow(bets.log_payoffs[channels, now])
        each = mixture(bets.log_stakes, wealth.log_detector)
        together = np.logaddexp.reduce(each, axis=1) - np.log(len(channels))
        alarm[(together >= threshold) & np.isinf(alarm)] = event
        if np.isfinite(alarm).all():
            break
    return alarm


def _summary(taken: Rows) -> dict[str, float | None]:
    clean = taken[~np.isnan(taken)]
    middle = float(np.median(clean))
    return {
        "median": middle if np.isfinite(middle) else None,
        "p90": _finite(np.quantile(clean, 0.9, method="higher")),
        "detected_share": float(np.isfinite(clean).mean()),
    }


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def ville_delay(rng: np.random.Generator, *, repetitions: int) -> dict[str, Any]:
    """One feature, alpha = 0.05 since the beginning, shift by 1 sigma from the first event on."""
    taken = []
    for _ in range(repetitions):
        reference = Reference.fit([Channel("x", rng.normal(size=N_REF))])
        bets = Bets.on(reference, delta=DELTA)
        codes = reference.layout.codes(rng.normal(1, 1, size=(300, 1)))[:, 0]
        process = mixture(bets.log_stakes, bets.log_payoffs[0][codes].cumsum(axis=0))
        hit = np.flatnonzero(process >= np.log(20))
        taken.append(hit[0] + 1 if len(hit) else np.inf)
    return _summary(np.array(taken)) | {"target": 20}


def merging(rng: np.random.Generator) -> dict[str, Any]:
    """T12: 200 random partitions, orders and repetitions give one state."""
    rows = _columns(1000, rng)
    reference = _reference(rows)
    codes = reference.layout.codes(_columns(1000, rng))
    monitor = _monitor(reference, 1e4)
    states = set()
    for _ in range(200):
        parts = rng.integers(0, 5, len(codes))
        reports = []
        for part in range(5):
            own = codes[parts == part]
            for cut in sorted({*rng.integers(0, len(own) + 1, 4).tolist(), len(own)}):
                reports.append(((f"replica-{part}", "0"), count(own[:cut])))
        ledger = Ledger(FEATURES)
        for place in (
            rng.integers(0, len(reports), 40).tolist() + rng.permutation(len(reports)).tolist()
        ):
            ledger = ledger.report(*reports[place])
        state = monitor.advance(monitor.begin(), ledger.total())
        states.add(ledger.total().tobytes() + state.wealth.log_detector.tobytes())
    return {"trials": 200, "distinct_states": len(states), "target": 1}


def small_reference(rng: np.random.Generator, *, repetitions: int) -> dict[str, Any]:
    """The Pólya martingale beside the bounds, reference of 200, 1 sigma, alpha = 0.05."""
    found: dict[str, Any] = {}
    for shift in (0.0, 1.0):
        urn, bound = [], []
        for _ in range(repetitions):
            reference = Reference.fit([Channel("x", rng.normal(size=200))])
            bets = Bets.on(reference, delta=DELTA)
            counts = _ticks(reference, rng.normal(shift, 1, size=(1000, 1)), 5).cumsum(axis=0)
            evidence = [polya_evidence(reference, total[0], channel=0) for total in counts]
            bounded = mixture(bets.log_stakes, bets.gains(counts))[:, 0]
            for log_e, taken in ((np.array(evidence), urn), (bounded, bound)):
                hit = np.flatnonzero(log_e >= np.log(20))
                taken.append(5 * (hit[0] + 1) if len(hit) else np.inf)
        kind = "alarms without drift" if shift == 0 else "delay at 1 sigma"
        for name, taken in (("urn", urn), ("bounds", bound)):
            value: Any = (
                float(np.isfinite(taken).mean()) if shift == 0 else _summary(np.array(taken))
            )
            found.setdefault(name, {})[kind] = value
    return found


# --- beside river -----------------------------------------------------------------------------

BUDGET_EVENTS, BUDGET_SHARE = 10_000, 0.1  # at most a tenth of null streams this long may alarm
WARM_UP = 1000  # events before the change; river's detectors have no reference to begin with
GRIDS: dict[str, tuple[Callable[[float], Any], tuple[float, ...]]] = {
    "ADWIN": (lambda v: ADWIN(delta=v), (2e-1, 5e-2, 1e-2, 2e-3, 5e-4, 1e-4, 1e-5, 1e-6)),
    "Page-Hinkley": (
        lambda v: PageHinkley(threshold=v, delta=0.005, min_instances=30),
        (20.0, 40.0, 60.0, 80.0, 120.0, 160.0, 240.0, 320.0),
    ),
    "Page-Hinkley, delta 0.25": (
        lambda v: PageHinkley(threshold=v, delta=0.25, min_instances=30),
        (8.0, 12.0, 16.0, 20.0, 25.0, 30.0, 35.0, 40.0, 50.0),
    ),
    "KSWIN": (lambda v: KSWIN(alpha=v, seed=1), (1e-4, 1e-5, 1e-6, 1e-7, 1e-8)),
}
STREAMS = {"KSWIN": (20, 30)}  # 145 us an event: fewer streams (null, changed)
KSWIN_EVENTS = 5000  # of a null stream; its budget shrinks in proportion


def beside_river(rng: np.random.Generator) -> dict[str, Any]:
    """One feature, the most sensitive setting of each within the budget, then delays."""
    null = rng.normal(size=(100, BUDGET_EVENTS))
    reference = [Reference.fit([Channel("x", rng.normal(size=N_REF))]) for _ in range(10)]
    changed = {name: _changed(change, rng) for name, (change, _) in CHANGES.items()}
    found: dict[str, Any] = {
        "budget": f"{BUDGET_SHARE:.0%} of streams of {BUDGET_EVENTS} events without drift",
        "handrail": _ours(reference, null, changed),
    }
    for name, (make, settings) in GRIDS.items():
        nulls, streams = STREAMS.get(name, (len(null), 100))
        short = null[:nulls, : KSWIN_EVENTS if name == "KSWIN" else BUDGET_EVENTS]
        budget = BUDGET_SHARE * short.shape[1] / BUDGET_EVENTS
        setting, share = _tune(make, settings, short, budget)
        found[name] = {
            "setting": setting,
            "share_of_null_streams_with_alarm": share,
            "null_streams": nulls,
            "events_per_null_stream": short.shape[1],
            "delay": {
                change: _summary(_river_delays(lambda m=make, s=setting: m(s), rows[:streams]))
                for change, rows in changed.items()
            },
        }
    return found


def _changed(change: Change, rng: np.random.Generator) -> Rows:
    rows = rng.normal(size=(100, WARM_UP + 800))
    rows[:, WARM_UP:] = change(rows[:, WARM_UP:], rng)
    return rows


def _ours(references: Sequence[Reference], null: Rows, changed: dict[str, Rows]) -> dict[str, Any]:
    def alarms(rows: Rows) -> Rows:
        share = len(rows) // len(references)
        found = []
        for i, reference in enumerate(references):
            bets = Bets.on(reference, delta=DELTA)
            own = rows[i * share : (i + 1) * share]
            codes = reference.layout.codes(own.reshape(-1, 1)).reshape(*own.shape, 1)
            found.append(_first_alarm(bets, codes.swapaxes(0, 1), np.log(1e5)))
        return np.concatenate(found)

    return {
        "setting": "run length 1e5 events",
        "share_of_null_streams_with_alarm": float(np.isfinite(alarms(null)).mean()),
        "null_streams": len(null),
        "events_per_null_stream": null.shape[1],
        "delay": {name: _summary(_since(alarms(rows))) for name, rows in changed.items()},
    }


def _since(alarm: Rows) -> Rows:
    return np.where(alarm < WARM_UP, np.nan, alarm - WARM_UP + 1)


def _tune(
    make: Callable[[float], Any], settings: Sequence[float], null: Rows, budget: float
) -> tuple[float, float]:
    """Take the first setting, from sensitive to dull, that keeps the budget; else the dullest."""
    share = 1.0
    for setting in settings:
        alarms = [_river_alarm(make(setting), stream) for stream in null]
        share = float(np.isfinite(alarms).mean())
        if share <= budget:
            break
    return setting, share


def _river_alarm(detector: Any, stream: Rows) -> float:
    for event, value in enumerate(stream.tolist()):
        detector.update(value)
        if detector.drift_detected:
            return event
    return np.inf


def _river_delays(make: Callable[[], Any], rows: Rows) -> Rows:
    return _since(np.array([_river_alarm(make(), stream) for stream in rows]))


# --- real streams -----------------------------------------------------------------------------


def real_streams() -> dict[str, Any]:
    if not DATA.exists():
        return {"skipped": "no ../shared/data"}
    return {"adult, training against test rows": _adult(), "elec": _elec()}


def _adult() -> dict[str, Any]:
    """No drift: the test rows were split off at random."""
    train, test = _read_adult("adult-train.csv"), _read_adult("adult-test.csv")
    numeric = [_is_number(column) for column in train]
    reference = Reference.fit(
        [
            Channel(
                f"column {i}", _values(column, is_number), "numeric" if is_number else "categorical"
            )
            for i, (column, is_number) in enumerate(zip(train, numeric, strict=True))
        ]
    )
    rows = np.column_stack([_values(c, n) for c, n in zip(test, numeric, strict=True)])
    monitor = _monitor(reference, 1e5 / 100)
    state, alarmed = monitor.begin(), False
    for counts in _ticks(reference, rows, 100):
        state = monitor.advance(state, counts)
        alarmed |= state.alarmed is not None
    return {"rows": len(rows), "alarm": alarmed, "expected_alarm": False}


def _read_adult(name: str) -> list[list[str]]:
    with (DATA / name).open() as file:
        rows = [row for row in csv.reader(file, skipinitialspace=True) if len(row) == 15]
    return [list(column) for column in zip(*rows, strict=True)][:14]


def _is_number(column: list[str]) -> bool:
    return all(text == "?" or text.lstrip("-").isdigit() for text in column)


def _values(column: list[str], is_number: bool) -> Rows:
    known = [None if text == "?" else text for text in column]
    if is_number:
        return np.array([np.nan if text is None else float(text) for text in known])
    return text_codes(known)


def _elec() -> dict[str, Any]:
    """Real drift, daily seasons and autocorrelation: half-hourly prices over 2.7 years.

    The reference are the first 100 days; its order gives the design effect.
    """
    with (DATA / "elec.csv").open() as file:
        names, *lines = csv.reader(file)
    rows = np.array(lines, float)[:, 1:-1]
    names = names[1:-1]
    day, ordinary = 48, 4800
    found: dict[str, Any] = {"reference_rows": ordinary, "ticks": "days"}
    for ordered in (False, True):
        reference = Reference.fit(
            [Channel(n, rows[:ordinary, j]) for j, n in enumerate(names)], time_ordered=ordered
        )
        monitor = _monitor(reference, 1e5 / day)
        state = monitor.begin()
        first = None
        for counts in _ticks(reference, rows[ordinary:], day):
            state = monitor.advance(state, counts)
            if first is None and state.alarmed is not None:
                first = monitor.finding(state)
        found["with design effect" if ordered else "as if independent"] = {
            "design_effect": dict(zip(names, reference.design.round(1).tolist(), strict=True)),
            "first_alarm_day": None if first is None else first.alarmed_tick,
            "estimated_begin_day": None if first is None else first.since_tick,
            "named": None
            if first is None
            else [f"{c.name}: {c.how}" for c in first.channels if c.named],
        }
    return found


def cost(rng: np.random.Generator) -> dict[str, float]:
    """Microseconds per row to count, and per tick to judge, 32 features."""
    rows = _columns(4096, rng).astype(np.float32)
    layout = _reference(_columns(N_REF, rng)).layout
    found = {}
    for batch in (1, 32, 256, 4096):
        repetitions = max(3, 4096 // batch)
        began = time.perf_counter()
        for i in range(repetitions):
            count(layout.codes(rows[i * batch % 4096 :][:batch]))
        found[f"count_us_per_row_batch_{batch}"] = (
            (time.perf_counter() - began) / repetitions / batch * 1e6
        )
    reference = _reference(_columns(N_REF, rng))
    monitor, counts = _monitor(reference, 1e4), count(layout.codes(rows[:100]))
    state, began = monitor.begin(), time.perf_counter()
    for _ in range(100):
        state = monitor.advance(state, counts)
    found["advance_us_per_tick"] = (time.perf_counter() - began) / 100 * 1e6
    return found | _request_path_cost(rng)


def _request_path_cost(rng: np.random.Generator) -> dict[str, float]:
    """What a replica spends on requests of one row of 30 features, before and behind the answer."""
    with tempfile.TemporaryDirectory() as folder:
        bundle = build_mlp(Path(folder) / "mlp", SigningKey.create())
        watched = load_watched(bundle)
    assert watched is not None
    rows = ordinary_rows(FOLD_ROWS, rng).astype(np.float32)
    half = np.full((1, 2), 0.5, np.float32)
    seen = [Seen({"features": row[None]}, {}, half[0, :1], {"probabilities": half}) for row in rows]
    traffic, noting, folding = TrafficCounts(watched, bundle.manifest), [], []
    for _ in range(100):
        began = time.perf_counter()
        for one in seen:
            traffic.observe(one, now_ns=0)
        noted = time.perf_counter()
        traffic.fold()
        noting.append(noted - began)
        folding.append(time.perf_counter() - noted)
    return {
        "before_the_answer_us_per_request": float(np.median(noting)) / FOLD_ROWS * 1e6,
        "behind_the_answers_us_per_row": float(np.median(folding)) / FOLD_ROWS * 1e6,
        "longest_hold_of_the_loop_us": float(np.median(folding)) * 1e6,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--streams", type=int, default=100, help="of T8")
    parser.add_argument("--repetitions", type=int, default=100, help="of each delay")
    options = parser.parse_args()
    began = time.monotonic()
    parts: dict[str, Callable[[np.random.Generator], Any]] = {
        "cost": cost,
        "T8 null": lambda rng: null_streams(options.streams, rng),
        "T8 without bounds": lambda rng: naive_streams(100, rng),
        "T9 delays in events": lambda rng: delays(rng, repetitions=options.repetitions),
        "T9 Ville": lambda rng: ville_delay(rng, repetitions=options.repetitions),
        "T12 merging": merging,
        "small reference": lambda rng: small_reference(rng, repetitions=options.repetitions),
        "beside river": beside_river,
        "real streams": lambda rng: real_streams(),
    }
    figures: dict[str, Any] = {}
    for i, (name, part) in enumerate(parts.items()):
        started = time.monotonic()
        figures[name] = part(np.random.default_rng([options.seed, i]))
        print(f"{name} ({time.monotonic() - started:.0f} s): {figures[name]}", flush=True)
    figures["took_s"] = round(time.monotonic() - began)
    print(write(__file__, seed=options.seed, figures=figures))


if __name__ == "__main__":
    main()
