"""The demo's table, its JSON, and whether the gateway kept its word."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.table import Table

from gateway.demo.traffic import Tally
from gateway.printing import interval
from models.examples.example import Example

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Shown:
    """Everything the demo found out about one model."""

    example: Example
    tally: Tally
    report: Json  # the evaluator's

    def figures(self) -> Json:
        """Give the figures as JSON."""
        tally, live = self.tally, self.live
        manifest = self.example.bundles[0].manifest
        shadow = self.report["shadow"]
        return {
            "requests": tally.requests,
            "lost": tally.lost,
            "p50_ms": _rounded(np.percentile(tally.latencies_ms, 50)),
            "p99_ms": _rounded(np.percentile(tally.latencies_ms, 99)),
            "alpha": manifest.guards.outlier.alpha if manifest.guards.outlier else None,
            "false_alarm_share": _rounded(tally.false_alarms / tally.ordinary),
            "detection_share": {
                kind: _rounded(tally.detected[kind] / asked)
                for kind, asked in tally.strange.items()
            },
            "forced_fallbacks": tally.fallbacks,
            "impossible_deadlines": tally.forced,
            "accuracy_client": self.true_accuracy,
            "accuracy_evaluator": live["accuracy"]["estimate"],
            "labels": live["accuracy"]["n"],
            "shadow_version": shadow["version"] if shadow else None,
            "shadow_agreement": shadow["agreement"]["estimate"] if shadow else None,
            "shadow_rows": shadow["agreement"]["n"] if shadow else 0,
            "expectations": {e["name"]: e["state"] for e in self.report["expectations"]},
        }

    @property
    def live(self) -> Json:
        """The report on the live version."""
        found: Json = next(v for v in self.report["versions"] if v["role"] == "live")
        return found

    @property
    def true_accuracy(self) -> float:
        """The client's own count."""
        return self.tally.right / self.tally.answered if self.tally.answered else float("nan")

    @property
    def is_right(self) -> bool:
        """Nothing was lost, and the evaluator counted exactly what the client counted."""
        accuracy = self.live["accuracy"]
        counted = (accuracy["hits"], accuracy["n"]) == (self.tally.right, self.tally.answered)
        return self.tally.lost == 0 and counted


def demo_table(shown: list[Shown], spans: int) -> Table:
    """Lay out the figures, one column per model."""
    table = Table("", *(one.example.bundles[0].manifest.name for one in shown), title="Handrail")
    figures = [one.figures() for one in shown]

    def row(name: str, *cells: str) -> None:
        table.add_row(name, *cells)

    row("requests (lost)", *(f"{f['requests']} ({f['lost']})" for f in figures))
    row("latency p50 / p99, ms", *(f"{f['p50_ms']:.2f} / {f['p99_ms']:.2f}" for f in figures))
    row(
        "false alarms on ordinary rows (stated alpha)",
        *(f"{f['false_alarm_share']:.4f} ({f['alpha']})" for f in figures),
    )
    for kind in dict.fromkeys(kind for f in figures for kind in f["detection_share"]):
        shares = [f["detection_share"].get(kind) for f in figures]
        row(f"detected: {kind}", *("-" if share is None else f"{share:.3f}" for share in shares))
    row(
        "impossible deadlines answered by fallback",
        *(f"{f['forced_fallbacks']} of {f['impossible_deadlines']}" for f in figures),
    )
    row("accuracy, counted by the client", *(f"{f['accuracy_client']:.4f}" for f in figures))
    row("accuracy, judged by the evaluator", *(interval(s.live["accuracy"]) for s in shown))
    row(
        "shadow version agrees with live",
        *(interval(s.report["shadow"]["agreement"]) if s.report["shadow"] else "-" for s in shown),
    )
    row("spans received by the evaluator", *([str(spans)] + [""] * (len(shown) - 1)))
    colours = {"holds": "green", "violated": "red", "unknown": "yellow"}
    for name in dict.fromkeys(name for f in figures for name in f["expectations"]):
        states = [f["expectations"].get(name) for f in figures]
        row(f"expectation {name}", *(f"[{colours[s]}]{s}[/]" if s else "-" for s in states))
    return table


def _rounded(value: Any) -> float:
    return round(float(value), 4)
