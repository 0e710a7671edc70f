"""Options of the whole test run."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--bad-requests", type=int, default=20_000, help="how many broken requests to generate"
    )
    parser.addoption("--bad-seed", type=int, default=1, help="seed of the broken requests")
