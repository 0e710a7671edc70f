"""Options of the whole test run."""

import pytest
from hypothesis import HealthCheck, settings

# How quick a machine is says nothing about whether a property holds; timings belong in bench/.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--bad-requests", type=int, default=20_000, help="how many broken requests to generate"
    )
    parser.addoption("--bad-seed", type=int, default=1, help="seed of the broken requests")
