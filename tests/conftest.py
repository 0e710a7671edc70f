"""Options of the whole test run."""

import time

import pytest
from hypothesis import HealthCheck, settings

from models.examples.translation import Translation, build_translation
from models.signing import SigningKey

# How quick a machine is says nothing about whether a property holds; timings belong in bench/.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--bad-requests", type=int, default=20_000, help="how many broken requests to generate"
    )
    parser.addoption("--bad-seed", type=int, default=1, help="seed of the broken requests")


@pytest.fixture(scope="session")
def key() -> SigningKey:
    """Sign every bundle of the test run."""
    return SigningKey.create()


@pytest.fixture(scope="session")
def trained(key: SigningKey, tmp_path_factory: pytest.TempPathFactory) -> tuple[Translation, float]:
    """Train the translation example once, and say how many seconds of the processor that took."""
    began_s = time.process_time()
    translation = build_translation(tmp_path_factory.mktemp("translation"), key)
    return translation, time.process_time() - began_s


@pytest.fixture(scope="session")
def translation(trained: tuple[Translation, float]) -> Translation:
    return trained[0]
