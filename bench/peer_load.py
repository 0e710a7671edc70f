"""The cases that `peers.py` measures on one server."""

import asyncio
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from handrail_server import fallback_share
from open_loop import http_request, poisson_arrivals, run_open_loop
from peer_requests import SEED, Request
from peer_servers import Place

CONNECTIONS = (1, 16, 64)
SHARES = (0.5, 0.8)  # of a server's own saturation, for open-loop load
WARM_S = 2
# name -> request and connections; what a server does not speak is left out
CLOSED = {
    **{f"c={c}": ("json", c) for c in CONNECTIONS},
    "32 rows, c=1": ("json 32 rows", 1),
    "32 rows, c=16": ("json 32 rows", 16),
    "image as JSON, c=1": ("json image", 1),
    "image as binary, c=1": ("binary image", 1),
    "image over gRPC, c=1": ("grpc image", 1),
    **{f"gRPC, c={c}": ("grpc", c) for c in CONNECTIONS},
}
Say = Callable[[str], None]


def can_take(place: Place, request: Request) -> bool:
    """Whether the server claims to serve such a request."""
    if request.model == "image" and not place.has_image:
        return False
    return {"json": True, "binary": place.has_binary, "grpc": place.grpc is not None}[request.wire]


def check(place: Place, requests: Mapping[str, Request]) -> None:
    """Compare one answer to every request with the model's.

    Raises:
        WrongAnswerError: one is wrong; then nothing of this server is worth measuring.
    """
    for request in requests.values():
        if can_take(place, request):
            request.check(place)


def measure(
    place: Place, requests: Mapping[str, Request], *, seconds: int, into: dict[str, Any], say: Say
) -> None:
    """Run every case that the server can take.

    Args:
        place: The server.
        requests: From `build_requests`.
        seconds: How long each case lasts.
        into: Gets the figures of each case as soon as they are there.
        say: Shows progress.
    """
    requests["json"].load(place, connections=16, duration_s=WARM_S)
    for case, (name, connections) in CLOSED.items():
        if not can_take(place, requests[name]):
            continue
        try:
            load = requests[name].load(place, connections=connections, duration_s=seconds)
        except subprocess.SubprocessError as error:
            say(f"  {case}: {error}")
            continue
        into[case] = asdict(load)
        say(
            f"  {case}: {load.requests_per_s:.0f}/s, p50 {load.p50_ms:.2f} ms, {load.failed} failed"
        )
    saturation = max(into[f"c={c}"]["requests_per_s"] for c in CONNECTIONS)
    for share in SHARES:
        case = f"open loop at {share:.0%}"
        into[case] = open_loop(place, requests["json"], rate=share * saturation, seconds=seconds)
        say(f"  {case}: p50 {into[case]['p50_ms']:.2f} ms, p99 {into[case]['p99_ms']:.2f} ms")
    if place.metrics is not None:
        into["fallback_share"] = fallback_share(place.metrics)
        say(f"  answered by a fallback: {into['fallback_share']:.4%}")


def open_loop(place: Place, request: Request, *, rate: float, seconds: int) -> dict[str, Any]:
    """Send at a rate that does not wait for answers; latency counts from when each was due."""
    body, headers = request.http()
    content = http_request(place.url + request.path, body, **headers)
    arrivals_s = poisson_arrivals(rate, seconds, np.random.default_rng(SEED))
    outcomes = asyncio.run(run_open_loop(place.url, lambda _: content, arrivals_s=arrivals_s))
    took_ms = 1000 * np.array([one.took_s for one in outcomes])
    late_ms = 1000 * np.array([one.sent_late_s for one in outcomes])
    p50_ms, p99_ms = np.quantile(took_ms, [0.5, 0.99])
    return {
        "requests_per_s": len(outcomes) / seconds,
        "p50_ms": float(p50_ms),
        "p99_ms": float(p99_ms),
        "failed": sum(one.status != 200 for one in outcomes),
        "generator_late_p99_ms": float(np.quantile(late_ms, 0.99)),
    }
