"""The machines of ``ray_cluster.yaml`` run with the environment the code expects."""

import json
import shlex
import socket
from pathlib import Path

import jsonschema
import pytest
import ray
import yaml

from gateway.cluster import PORTS, cluster_environment, free_ports
from gateway.config import load_config

ROOT = Path(__file__).parents[2]


def test_the_cluster_file_is_valid_against_rays_own_schema() -> None:
    schema = Path(ray.__file__).parent / "autoscaler" / "ray-schema.json"

    jsonschema.validate(
        yaml.safe_load((ROOT / "ray_cluster.yaml").read_text()), json.loads(schema.read_text())
    )


@pytest.mark.parametrize("node", ["head", "worker"])
def test_every_node_exports_the_environment_of_the_gateway(node: str) -> None:
    cluster = yaml.safe_load((ROOT / "ray_cluster.yaml").read_text())
    state = Path("/var/lib/handrail")  # as the file's first lines say
    expected = cluster_environment(load_config(state, ray={"proxy": "haproxy"}))

    line = cluster[f"{node}_start_ray_commands"][-1]
    export = next(part for part in line.split(";") if part.strip().startswith("export"))

    assert dict(pair.split("=", 1) for pair in shlex.split(export)[1:]) == expected


def test_no_two_calls_give_the_same_free_port() -> None:
    assert len({port for _ in range(100) for port in free_ports(20)}) == 2000


def test_a_free_port_is_none_that_somebody_listens_on_or_is_about_to() -> None:
    [taken, *others] = free_ports(20)
    with socket.socket() as held:
        held.bind(("127.0.0.1", taken))
        picked = free_ports(10, besides=set(PORTS) - {taken, *others})

    assert set(picked) <= set(others)


def test_where_no_port_is_free_it_says_so() -> None:
    with pytest.raises(OSError, match="no 1 free ports between"):
        free_ports(1, besides=PORTS)
