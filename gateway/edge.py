"""What Serve wraps every HTTP server in that it starts: the edge, and who stands in behind it.

Named in ``RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH``; settings come from the environment of the
cluster, because these processes are Serve's own.
"""

import os
from pathlib import Path

from starlette.middleware import Middleware

from gateway.cluster import ALLOWED_HOSTS_VARIABLE, STATE_VARIABLE
from gateway.serving.edge import Edge
from gateway.serving.http_protocol import use_one_write
from gateway.stand_ins import StandIns


def middlewares() -> list[Middleware]:
    """Build the middleware for Serve; the server below it is not running yet."""
    use_one_write()
    hosts = os.environ.get(ALLOWED_HOSTS_VARIABLE, "localhost,127.0.0.1,[::1]")
    state = os.environ.get(STATE_VARIABLE)
    return [
        Middleware(
            Edge,
            allowed_hosts=hosts.split(","),
            behind_haproxy=os.environ.get("RAY_SERVE_ENABLE_HA_PROXY") == "1",
            stand_in_for=StandIns(Path(state)).find if state else None,
        )
    ]
