"""What the script changes in the configuration that Serve writes for HAProxy."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from ray.serve._private.haproxy_templates import HAPROXY_CONFIG_TEMPLATE

from gateway.cluster import HAPROXY_ON_LOOPBACK

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="there is no HAProxy but for Linux")

WRITTEN = """\
defaults
    timeout connect 5s
    timeout client 3600s
    option redispatch 1
frontend stats
    bind *:8404
frontend prometheus
    bind :9101
frontend http_frontend
    bind 127.0.0.1:8000
"""
RUN = """\
defaults
    timeout connect 200ms
    timeout client 3600s
    option redispatch 1
    option http-buffer-request
frontend stats
    bind 127.0.0.1:8404
frontend prometheus
    bind 127.0.0.1:9101
frontend http_frontend
    bind 127.0.0.1:8000
"""


def test_pages_move_to_loopback_bodies_are_buffered_and_a_connection_has_a_fifth_of_a_second(
    tmp_path: Path,
) -> None:
    file = tmp_path / "haproxy.cfg"
    file.write_text(WRITTEN)

    subprocess.run(
        [str(HAPROXY_ON_LOOPBACK), "-db", "-f", str(file)],
        env=os.environ | {"HANDRAIL_HAPROXY": "true"},
        check=True,
    )

    assert file.read_text() == RUN


@pytest.mark.parametrize(
    "line", ["timeout connect {{ config.timeout_connect_s }}s", "    option redispatch 1\n"]
)
def test_serve_still_writes_the_lines_that_are_changed(line: str) -> None:
    assert line in HAPROXY_CONFIG_TEMPLATE
