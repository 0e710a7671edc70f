"""What commands print about drift: each monitor, and every channel against its reference."""

from datetime import UTC, datetime
from typing import Any

from rich.table import Table

from gateway.console import open_console

Json = dict[str, Any]
SHOWN_CLASSES = 10
_COLUMNS = {  # of a channel: the name people know it by
    "n": "values",
    "missing_share": "missing",
    "kolmogorov_smirnov": "KS",
    "psi": "PSI",
    "jensen_shannon": "JS",
    "wasserstein_iqr": "W1 / IQR",
    "cramers_v": "V",
    "chi2_p": "chi2 p",
}


def print_drift(model: str, drift: Json | None) -> None:
    """Print the monitors of the live version, then the channels of each."""
    console = open_console()
    if drift is None:
        console.print(f"{model}: no traffic was judged yet, or the bundle has no drift reference")
        return
    console.print(f"[bold]{model}[/bold]  version {drift['version']}", highlight=False)
    console.print(drift_table(drift))
    for monitor in drift["monitors"]:
        console.print(channels_table(monitor))
    console.print(drift["assumption"], highlight=False)
    if drift["prior"]:
        console.print(prior_table(drift["prior"]))
        console.print(f"assumes that {drift['prior'][0]['assumption']}", highlight=False)


def drift_table(drift: Json) -> Table:
    """Lay out what the monitors of drift say, with the channels they name."""
    table = Table("drift", "state", "since", "evidence", "alarm at", "values", "channels")
    for found in drift["monitors"]:
        is_alarm = found["state"] == "alarm"
        colour = ("red" if found["pages"] else "yellow") if is_alarm else "green"
        table.add_row(
            found["monitor"],
            f"[{colour}]{found['state']}[/]",
            _time(found["since_s"]),
            f"{found['log_evidence']:.1f}",
            f"{found['log_threshold']:.1f}",
            str(found["values"]),
            "; ".join(_drifted(c) for c in found["channels"] if c["named"]) or "-",
        )
    return table


def channels_table(monitor: Json) -> Table:
    """Lay out the statistics of a monitor's channels, the strongest evidence first."""
    days = monitor["false_alarm_days"]
    promise = f"{monitor['monitor']}: at most one false alarm in {days:.3g} days, on average"
    table = Table("channel", "drift", "since", "weight", *_COLUMNS.values(), title=promise)
    for channel in monitor["channels"]:
        table.add_row(
            channel["name"],
            channel["how"] if channel["named"] else "-",
            _time(channel["since_s"]),
            f"{channel['weight']:.3f}",
            *(_figure(channel[field]) for field in _COLUMNS),
        )
    return table


def prior_table(prior: list[Json]) -> Table:
    """Lay out how much more often each class comes than it did; of many, those that shifted."""
    table = Table("class", "method", "times as often", "interval", "", title="class frequencies")
    for told in prior:
        if told["refused"]:
            table.add_row("-", told["method"], "refused", "-", told["refused"])
        shown = told["classes"]
        if len(shown) > SHOWN_CLASSES:
            shown = [one for one in shown if one["shifted"]]
        for one in shown:
            high = "inf" if one["high"] is None else f"{one['high']:.3g}"
            table.add_row(
                str(one["label"]),
                told["method"],
                f"{one['ratio']:.3g}",
                f"{one['low']:.3g} to {high}",
                "[yellow]shifted[/]" if one["shifted"] else "",
            )
    return table


def _drifted(channel: Json) -> str:
    """Say how a channel drifts, and by how much: distances people know."""
    known = {
        "KS": channel["kolmogorov_smirnov"],
        "PSI": channel["psi"],
        "V": channel["cramers_v"] if channel["kolmogorov_smirnov"] is None else None,
    }
    told = ", ".join(f"{name} {value:.2f}" for name, value in known.items() if value is not None)
    unheard = ", not used by the model" if channel["weight"] == 0 else ""
    return f"{channel['name']} {channel['how']} ({told}{unheard})"


def _time(at_s: float | None) -> str:
    return "-" if at_s is None else datetime.fromtimestamp(at_s, UTC).isoformat(" ", "seconds")


def _figure(value: float | None) -> str:
    if value is None:
        return "-"
    return str(value) if isinstance(value, int) else f"{value:.3g}"
