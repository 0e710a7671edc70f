"""What commands print for people: rich tables and plain lines."""

from typing import Any

from rich.markup import escape
from rich.table import Table

from gateway.console import open_console
from gateway.printing_drift import drift_table

Json = dict[str, Any]

_FEEDBACK = ("in_time", "late", "orphans", "duplicates", "contradicting")


def print_plain(told: Any) -> None:
    """Print an answer of the API: a table of a list of objects, else one line per field."""
    console = open_console()
    rows = told if isinstance(told, list) else None
    if rows and all(isinstance(row, dict) for row in rows):
        columns = list(rows[0])
        table = Table(*columns)
        for row in rows:
            table.add_row(*(_cell(row.get(column)) for column in columns))
        console.print(table)
    elif isinstance(told, dict):
        for name, value in told.items():
            console.print(f"{name}: {_cell(value)}", soft_wrap=True, highlight=False)
    else:
        console.print(_cell(told) or "none")


def print_registered(told: Json) -> None:
    """Print what was registered, and what its guards were measured to notice."""
    power, contract = told.get("power"), told.get("contract")
    print_plain({name: v for name, v in told.items() if name not in ("power", "contract")})
    if contract is not None:
        print_plain({f"contract since {contract['since']}": contract["verdict"]})
        for change in contract["changes"]:
            open_console().print(f"  {change}", soft_wrap=True, highlight=False)
    if power is not None:
        console = open_console()
        console.print(power_table(power))
        console.print(_promise_line(power), soft_wrap=True, highlight=False)


def power_table(power: Json) -> Table:
    """Lay out how much of each kind of spoilt row the guards notice."""
    guards = list(power["ordinary"]["by"])
    table = Table("rows", "noticed", "95 % interval", *guards, title="power card")
    for probe, found in {"ordinary": power["ordinary"], **power["probes"]}.items():
        interval_ = f"{found['low']:.3f}-{found['high']:.3f}"
        by = (_share(found["by"][guard]) for guard in guards)
        table.add_row(probe, _share(found["share"]), interval_, *by)
    return table


def _promise_line(power: Json) -> str:
    promise = power["promise"]
    if promise is None:
        return "no outlier guard: only what breaks the schema is noticed"
    certain = f", with probability {1 - promise['delta']:g}" if promise["mode"] == "pac" else ""
    skipped = f"; no time for: {', '.join(power['skipped'])}" if power["skipped"] else ""
    return (
        f"outlier guard ({promise['detector']}): at most {promise['alpha']:g} of ordinary rows "
        f"are judged strange{certain}, from {promise['n']} held-out rows{skipped}"
    )


def loop_table(loop: Json) -> Table:
    """Lay out the last window of a feedback loop."""
    shown = (
        "decisions", "joined", "coverage", "popularity_lift", "newcomer_share", "calibration_gap",
        "explored_label_share", "effective_labels",
    )  # fmt: skip
    sounding = [name for name in ("loop", "override") if loop[f"{name}_alarm"]]
    state = f"[red]alarm: {', '.join(sounding)}[/]" if sounding else "[green]quiet[/]"
    table = Table("feedback loop", *(name.replace("_", " ") for name in shown))
    table.add_row(state, *(_cell(loop[name]) for name in shown))
    return table


def print_estimate(told: Json) -> None:
    """Print what another policy would have earned, estimator by estimator, and the verdict."""
    console = open_console()
    left_out = ", ".join(f"{n} {why}" for why, n in told["left_out"].items())
    line = f"{told['target']}: {told['verdict']} ({'; '.join(told['reasons'])})"
    console.print(line, soft_wrap=True, highlight=False)
    used = f"{told['decisions']} decisions" + (f", left out: {left_out}" if left_out else "")
    console.print(used, soft_wrap=True, highlight=False)
    if told["read"]["is_cut"]:
        newest = f"only the newest {told['read']['requests']} requests were read"
        console.print(f"{newest}; --until {told['read']['oldest']:.3f} reaches those before")
    if told["earned"] is None:
        return
    table = Table("estimator", "reward", "95 % interval", "at any look", "may decide")
    for found in (told["earned"], *told["estimates"]):
        table.add_row(
            found["estimator"],
            f"{found['value']:.4f}" if found["value"] is not None else "-",
            _ends(found["low"], found["high"]),
            _ends(found["anytime_low"], found["anytime_high"]),
            "yes" if found["may_decide"] else "",
        )
    console.print(table)
    print_plain(told["diagnostics"])


def _ends(low: float | None, high: float | None) -> str:
    return "-" if low is None or high is None else f"{low:.4f} to {high:.4f}"


def print_status(status: Json) -> None:
    """Print every model's report: its versions, its shadow, its expectations."""
    console = open_console()
    for model in status["models"]:
        state = "answers" if model["ready"] else "DOES NOT ANSWER"
        console.print(f"[bold]{model['name']}[/bold]  {state}", highlight=False)
        if model["quarantined"]:
            console.print(f"quarantined inputs: {model['quarantined']}", highlight=False)
        report = model["report"]
        if report["versions"]:
            console.print(versions_table(report))
        if report["shadow"] is not None:
            console.print(_shadow_line(report["shadow"]), highlight=False)
        console.print(expectations_table(report["expectations"]))
        sounding = [alert for alert in report.get("alerts", ()) if alert["until_s"] is None]
        if sounding:
            names = ", ".join(alert["expectation"] for alert in sounding)
            console.print(f"[red]alerts: {names}[/]", highlight=False)
        told = report.get("feedback") or {}
        if any(told.get(kind) for kind in _FEEDBACK):
            said = ", ".join(f"{told[kind]} {kind.replace('_', ' ')}" for kind in _FEEDBACK)
            console.print(f"rewards and confirmations: {said}", highlight=False)
        if report.get("loop") is not None:
            console.print(loop_table(report["loop"]))
        if report.get("drift") is not None:
            console.print(drift_table(report["drift"]))
    for name, told in status["processes"].items():
        console.print(f"{name}: {_cell(told)}", soft_wrap=True, highlight=False)


def versions_table(report: Json) -> Table:
    """Lay out what each version did."""
    table = Table(
        "version", "role", "requests", "answered", "rows", "flagged", "rejected", "p50 ms",
        "p99 ms", "labels", "accuracy",
    )  # fmt: skip
    for version in report["versions"]:
        table.add_row(
            version["version"],
            version["role"],
            _cell(version["requests"]),
            _cell(version["answered"]),
            _cell(version["rows"]),
            _share(version["flagged_share"]),
            _share(version["rejected_share"]),
            _cell(version["latency_p50_ms"]),
            _cell(version["latency_p99_ms"]),
            _cell(version["accuracy"]["n"]),
            interval(version["accuracy"]),
        )
    return table


def _shadow_line(shadow: Json) -> str:
    return (
        f"shadow {shadow['version']}: {shadow['payloads']} payloads answered, "
        f"{shadow['failed']} failed; agreement {interval(shadow['agreement'])} "
        f"of {shadow['agreement']['n']} rows; accuracy {interval(shadow['accuracy'])}"
        f"{_contest(shadow.get('contest'))}"
    )


def _contest(contest: Json | None) -> str:
    """Say who is right more often, by the labels."""
    if not contest or not contest["rows"]:
        return ""
    who = {"champion": "the live version", "challenger": "the shadow"}.get(contest["winner"])
    verdict = "undecided" if who is None else f"{who} is better"
    return (
        f"; {verdict}: {contest['champion_errors']} errors against {contest['challenger_errors']} "
        f"of {contest['rows']} labelled rows that both answered"
    )


def expectations_table(expectations: list[Json]) -> Table:
    """Lay out what was promised and how it stands."""
    table = Table("expectation", "target", "state", "why")
    colours = {"holds": "green", "violated": "red", "unknown": "yellow"}
    for found in expectations:
        state = found["state"]
        table.add_row(
            found["name"],
            _cell(found["target"]),
            f"[{colours[state]}]{state}[/]",
            escape(found["reason"]),  # it may name a slice, which is what clients sent
        )
    return table


def interval(share: Json) -> str:
    """Write a share with its confidence interval."""
    if share["estimate"] is None:
        return "-"
    return f"{share['estimate']:.3f} ({share['low']:.3f}-{share['high']:.3f})"


def _share(share: float | None) -> str:
    return "-" if share is None else f"{share:.4f}"


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.3f}"
    if isinstance(value, dict):
        return ", ".join(f"{name} {_cell(item)}" for name, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_cell(item) for item in value)
    return str(value)
