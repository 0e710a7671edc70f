"""What commands print about quality: measures by labels, slices, and alerts."""

from datetime import UTC, datetime
from typing import Any

from rich.markup import escape
from rich.table import Table

from gateway.console import open_console
from gateway.printing import expectations_table

Json = dict[str, Any]
SHOWN_SLICES = 20


def print_quality(report: Json) -> None:
    """Print what labels, and what answers without labels, say of the live version."""
    console = open_console()
    console.print(
        f"[bold]{report['model']}[/bold]  version {report['live'] or '-'}", highlight=False
    )
    quality = report["quality"]
    promised = [found for found in report["expectations"] if found["kind"] == "ml"]
    if promised:
        console.print(expectations_table(promised))
    measured = [*report["performance"], *(quality["scored"] if quality else ())]
    console.print(metrics_table(measured) if measured else "no labels yet", highlight=False)
    if quality:
        sampled = f"captured rows: {quality['rows']}, of which {quality['labelled']} have a label"
        console.print(sampled, highlight=False)
        if quality["estimated"]:
            console.print(estimates_table(quality["estimated"]))
        if quality["delayed"]:
            console.print(_delayed_line(quality["delayed"]), highlight=False, soft_wrap=True)
        if quality["slices"]:
            console.print(slices_table(quality["slices"][:SHOWN_SLICES]))
    if report["audit"]:
        console.print(_audit_line(report["audit"]), highlight=False, soft_wrap=True)
    if report["alerts"]:
        console.print(alerts_table(report["alerts"]))


def metrics_table(measured: list[Json]) -> Table:
    """Lay out measures of right and wrong."""
    table = Table("measure", "labels", "estimate", "at any look")
    for found in measured:
        table.add_row(found["metric"], str(found["n"]), _figure(found["estimate"]), ends(found))
    return table


def estimates_table(estimated: Json) -> Table:
    """Lay out what quality probably is without labels, and what each estimate assumes."""
    spread = f"{estimated['low']:.4f} to {estimated['high']:.4f}"
    strange = estimated["strange_share"]
    doubt = "" if strange is None else f"; no support for the {strange:.4f} that are strange"
    title = (
        f"{estimated['metric']} without labels: {spread}, of {estimated['rows']} rows{doubt} "
        f"({estimated['held_out']:.4f} on {estimated['held_out_rows']} held-out rows)"
    )
    table = Table("estimate", estimated["metric"], "assumes that", title=title)
    for one in estimated["estimates"]:
        value = "refused" if one["value"] is None else f"{one['value']:.4f}"
        table.add_row(one["method"], value, one["assumption"])
    return table


def _delayed_line(delayed: Json) -> str:
    """Say what the accuracy is once late labels are filled in, or why that cannot be said."""
    to_date = f"accuracy of the {delayed['labelled_share']:.3f} of captured rows with a label "
    to_date += _figure(delayed["labels_to_date"])
    if delayed["adjusted"] is None:
        return f"{to_date}; not adjusted for late labels: {delayed['refused']}"
    right, wrong = delayed["median_delay_right_s"], delayed["median_delay_wrong_s"]
    return (
        f"{to_date}; with late labels filled in {delayed['adjusted']:.4f} (a label takes "
        f"{right:.0f} s if the answer was right, {wrong:.0f} s if wrong), assumes that "
        f"{delayed['assumption']}"
    )


def _audit_line(audit: Json) -> str:
    """Say what audits found, and how many rows wait."""
    waiting = f"; {audit['waiting']} chosen rows wait for a label" if audit["waiting"] else ""
    if audit["accuracy"] is None:
        return f"audit: {audit['labels']} labels are too few{waiting}"
    return (
        f"audit: accuracy {audit['accuracy']:.4f} of {audit['rows']} rows, from {audit['labels']} "
        f"labels; {audit['low']:.4f} to {audit['high']:.4f} at one look, "
        f"{audit['anytime_low']:.4f} to {audit['anytime_high']:.4f} at any{waiting}"
    )


def slices_table(slices: list[Json]) -> Table:
    """Lay out slices, the surely worst first."""
    table = Table("slice", "value", "measure", "labels", "estimate", "at any look, all slices")
    for found in slices:
        metric = found["metric"]
        table.add_row(
            escape(found["by"]),
            escape(found["value"]),  # what clients sent
            metric["metric"],
            str(metric["n"]),
            _figure(metric["estimate"]),
            ends(metric),
        )
    return table


def alerts_table(alerts: list[Json]) -> Table:
    """Lay out alerts, those that began last first."""
    table = Table("alert", "version", "since", "until", "why")
    for alert in alerts:
        is_open = alert["until_s"] is None
        table.add_row(
            f"[red]{alert['expectation']}[/]" if is_open else alert["expectation"],
            alert["version"],
            _time(alert["since_s"]),
            "-" if is_open else _time(alert["until_s"]),
            escape(alert["reason"]),
        )
    return table


def ends(found: Json) -> str:
    """Write an interval; "-" where nothing bounds it yet."""
    if found["low"] is None or found["high"] is None:
        return "-"
    return f"{found['low']:.4f} to {found['high']:.4f}"


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _time(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).isoformat(" ", "seconds")
