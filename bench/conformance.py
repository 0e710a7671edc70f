"""Which boxes of the Open Inference Protocol do MLServer, KServe and Handrail tick?

Runs `tests/conformance` against each of them, all serving the same two models, and writes
``results/conformance.json`` with a table beside it.  Run: ``python bench/conformance.py``.
"""

import argparse
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from peer_servers import PINNED, Peer, locked, peers, started
from results import write

from tests.conformance.identity import MODELS, write_onnx

ROOT = Path(__file__).parent.parent
SUITE = "tests/conformance"
PEERS = ("mlserver", "kserve")  # the ones that claim to speak the protocol
OWN = "handrail"
SEED = 0
SUITE_S = 600
PROTOCOL = "protocol"  # what is no extension
Tests = dict[str, dict[str, Any]]  # by test id: outcome, extension, why


def run_suite(*options: str) -> Tests:
    """Run the suite once; whatever tests it holds, each has an outcome."""
    with tempfile.TemporaryDirectory() as scratch:
        report = Path(scratch) / "report.xml"
        command = [sys.executable, "-m", "pytest", SUITE, "-q", "--tb=line", "--no-header"]
        ran = subprocess.run(
            [*command, f"--junitxml={report}", *options],
            cwd=ROOT, capture_output=True, text=True, timeout=SUITE_S, check=False,
        )  # fmt: skip
        if not report.exists():
            raise SystemExit(f"the suite did not run: {ran.stdout[-2000:]}{ran.stderr[-2000:]}")
        return dict(_outcomes(ElementTree.parse(report)))


def _outcomes(report: "ElementTree.ElementTree[Any]") -> Iterator[tuple[str, dict[str, Any]]]:
    for case in report.iter("testcase"):
        told = [case.find(kind) for kind in ("failure", "error")]
        problem = next((one for one in told if one is not None), None)
        found: dict[str, Any] = {"outcome": "passed"}
        if problem is not None:
            told = problem.get("message", "").replace(f"{ROOT}/", "")
            found = {"outcome": "failed", "why": told[:300]}
        elif case.find("skipped") is not None:
            found = {"outcome": "skipped"}
        named = [p.get("value") for p in case.iter("property") if p.get("name") == "extension"]
        module = case.get("classname", "").rpartition(".")[2]
        yield f"{module}::{case.get('name')}", found | {"of": named[0] if named else PROTOCOL}


def run_peer(peer: Peer) -> Tests:
    """Run the suite against one peer."""
    with tempfile.TemporaryDirectory() as scratch:
        files = {name: Path(scratch) / f"{name}.onnx" for name in MODELS}
        for name, path in files.items():
            write_onnx(path, name)
        with started(peer, files, probe=None) as place:
            return run_suite("--url", place.url, "--grpc", str(place.grpc))


def boxes(by_server: Mapping[str, Tests]) -> list[dict[str, Any]]:
    """Put the cases of one test function into one box: how many of how many passed."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for server, tests in by_server.items():
        for test, result in tests.items():
            module, _, name = test.partition("::")
            key = (module, name.partition("[")[0])
            box = found.setdefault(key, {"file": module, "box": _sentence(key[1]), "of": set()})
            box["of"].add(result["of"])
            box.setdefault(server, []).append(result["outcome"])
    for box in found.values():
        box["of"] = ", ".join(sorted(box["of"]))
        for server in by_server:
            box[server] = _tick(box.get(server, []))
    return list(found.values())


def _sentence(name: str) -> str:
    return name.removeprefix("test_").replace("_", " ")


def _tick(outcomes: Sequence[str]) -> str:
    """Sum up the cases of a box; what a server is not asked for does not count."""
    asked = [one for one in outcomes if one != "skipped"]
    passed = asked.count("passed")
    if not asked:
        return "-"
    if passed in (0, len(asked)):
        return "yes" if passed else "**no**"
    return f"{passed} of {len(asked)}"


def totals(by_server: Mapping[str, Tests]) -> dict[str, dict[str, str]]:
    """Count the tests passed, of the protocol itself and of each extension."""
    kinds = sorted({one["of"] for tests in by_server.values() for one in tests.values()})
    found: dict[str, dict[str, str]] = {}
    for kind in sorted(kinds, key=lambda kind: kind != PROTOCOL):
        for server, tests in by_server.items():
            asked = [t for t in tests.values() if t["of"] == kind and t["outcome"] != "skipped"]
            passed = sum(one["outcome"] == "passed" for one in asked)
            found.setdefault(kind, {})[server] = f"{passed} of {len(asked)}"
    return found


def to_markdown(servers: Sequence[str], rows: list[dict[str, Any]], sums: Mapping[str, Any]) -> str:
    """Show totals, then box by box."""
    head = " | ".join(servers)
    lines = [f"| tests passed | {head} |", "|---|" + "--:|" * len(servers)]
    lines += [
        f"| {kind} | " + " | ".join(by[server] for server in servers) + " |"
        for kind, by in sums.items()
    ]
    lines += ["", f"| box | of | {head} |", "|---|---|" + "---|" * len(servers)]
    file = ""
    for box in rows:
        if box["file"] != file:
            file = box["file"]
            lines.append(f"| *{_sentence(file)}* | | " + " | ".join("" for _ in servers) + " |")
        cells = " | ".join(box[server] for server in servers)
        lines.append(f"| {box['box']} | {box['of']} | {cells} |")
    return "\n".join(lines) + "\n"


def publish(by_server: Mapping[str, Tests]) -> str:
    """Write what is known by now, as JSON and as a table beside it; return the table."""
    names = dict.fromkeys(test for tests in by_server.values() for test in tests)
    rows, sums = boxes(by_server), totals(by_server)
    figures = {
        "versions": {name: PINNED[name] for name in PEERS},
        "totals": sums,
        "boxes": rows,
        "tests": {
            test: {server: tests[test] for server, tests in by_server.items() if test in tests}
            for test in names
        },
    }
    shown = to_markdown(list(by_server), rows, sums)
    write(__file__, seed=SEED, figures=figures).with_suffix(".md").write_text(shown)
    return shown


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--servers", default=",".join((*PEERS, OWN)), help="names with commas")
    parser.add_argument("--lock", type=Path, help="file to lock while a server is up")
    asked = parser.parse_args()
    wanted = asked.servers.split(",")
    known = {peer.name: peer for peer in peers(PEERS)}
    found: dict[str, Tests] = {}
    for server in wanted:
        sys.stdout.write(f"{server}\n")
        sys.stdout.flush()
        with locked(asked.lock):
            found[server] = run_peer(known[server]) if server in known else run_suite()
        shown = publish(found)
    sys.stdout.write(shown)


if __name__ == "__main__":
    main()
