"""What `peers.py` makes of its runs: medians, ratios, targets, a table."""

import statistics
from typing import Any

Runs = dict[str, list[dict[str, Any]]]  # by server, one entry per visit
OWN = "handrail"
BARE = "ray serve haproxy"
# case -> figure, server -> at least
THROUGHPUT_TARGETS = {
    ("c=16", "mlserver"): 3.0,
    ("c=16", "kserve"): 3.0,
    ("c=16", "ray serve"): 15.0,
    ("c=16", BARE): 0.95,
    ("c=64", BARE): 1.1,
}
P50_TARGET = 1.6  # times the bare replica's at c=1, at most
ROW_TARGET_US = 15.0  # own cost per row of a 32-row request, at most


def summarize(runs: Runs) -> dict[str, Any]:
    """Take medians over the visits, then compare Handrail with each peer."""
    names = dict.fromkeys(case for visits in runs.values() for one in visits for case in one)
    cases: dict[str, dict[str, Any]] = {}
    for case in names:
        for server, visits in runs.items():
            seen = [one[case] for one in visits if isinstance(one.get(case), dict)]
            if seen:
                cases.setdefault(case, {})[server] = _median(seen)
    ratios = {
        case: {
            server: round(by[OWN]["requests_per_s"] / figures["requests_per_s"], 3)
            for server, figures in by.items()
            if server != OWN
        }
        for case, by in cases.items()
        if OWN in by and len(by) > 1 and not case.startswith("open")
    }
    return {
        "throughput, handrail / peer": ratios,
        "targets": _targets(cases),
        "problems": _problems(runs),
        "fallback_share": [one.get("fallback_share") for one in runs.get(OWN, [])],
        "cases": cases,
    }


def _median(seen: list[dict[str, Any]]) -> dict[str, Any]:
    found = {name: statistics.median(one[name] for one in seen) for name in seen[0]}
    found["failed"] = sum(one["failed"] for one in seen)
    found["requests_per_s_all"] = [one["requests_per_s"] for one in seen]
    return found


def _problems(runs: Runs) -> dict[str, list[str]]:
    told = {
        server: [one["error"] for one in visits if "error" in one]
        for server, visits in runs.items()
    }
    return {server: errors for server, errors in told.items() if errors}


def _targets(cases: dict[str, Any]) -> dict[str, Any]:
    """Say for each target what was wanted, what was found, and whether it holds."""
    found: dict[str, Any] = {}
    for (case, server), least in THROUGHPUT_TARGETS.items():
        by = cases.get(case, {})
        if OWN in by and server in by:
            ratio = by[OWN]["requests_per_s"] / by[server]["requests_per_s"]
            found[f"throughput {case}, of {server}"] = _verdict(ratio, ">=", least)
    single, batch = cases.get("c=1", {}), cases.get("32 rows, c=1", {})
    if OWN in single and BARE in single:
        ratio = single[OWN]["p50_ms"] / single[BARE]["p50_ms"]
        found[f"p50 c=1, of {BARE}"] = _verdict(ratio, "<=", P50_TARGET)
    if OWN in batch and BARE in batch:
        extra_us = 1000 * (batch[OWN]["p50_ms"] - batch[BARE]["p50_ms"]) / 32
        found["own cost per row of a 32-row request, us"] = _verdict(extra_us, "<=", ROW_TARGET_US)
    return found


def _verdict(value: float, sign: str, target: float) -> dict[str, Any]:
    holds = value >= target if sign == ">=" else value <= target
    return {"found": round(value, 3), "target": f"{sign} {target:g}", "holds": holds}


def to_markdown(found: dict[str, Any]) -> str:
    """Show cases by server, and the targets."""
    servers = list(dict.fromkeys(server for by in found["cases"].values() for server in by))
    lines = [
        "Requests per second and p50 / p99 in ms; a dash: the server does not do it.",
        "A `!` marks a case with failed requests.",
        "",
        "| case | " + " | ".join(servers) + " |",
        "|---|" + "--:|" * len(servers),
    ]
    for case, by in found["cases"].items():
        cells = [_cell(by.get(server)) for server in servers]
        lines.append(f"| {case} | " + " | ".join(cells) + " |")
    rivals = [server for server in servers if server != OWN]
    lines += ["", "| throughput, handrail / peer | " + " | ".join(rivals) + " |"]
    lines.append("|---|" + "--:|" * len(rivals))
    for case, by in found["throughput, handrail / peer"].items():
        cells = [f"{by[server]:.2f}" if server in by else "-" for server in rivals]
        lines.append(f"| {case} | " + " | ".join(cells) + " |")
    lines += ["", "| target | wanted | found | holds |", "|---|--:|--:|---|"]
    for name, one in found["targets"].items():
        holds = "yes" if one["holds"] else "no"
        lines.append(f"| {name} | {one['target']} | {one['found']} | {holds} |")
    lines += [f"\n{server}: {errors[0]}" for server, errors in found["problems"].items()]
    return "\n".join(lines) + "\n"


def _cell(figures: dict[str, Any] | None) -> str:
    if figures is None:
        return "-"
    mark = " !" if figures["failed"] else ""
    rate, p50, p99 = (figures[name] for name in ("requests_per_s", "p50_ms", "p99_ms"))
    return f"{rate:,.0f}, {p50:.2g} / {p99:.2g}{mark}"
