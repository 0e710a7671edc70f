"""Signs: clear ones are read, and weather makes the network wrong without making it unsure."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.examples.sign_images import KINDS, SIDE, WEATHER, Images, draw_signs, spoil
from models.examples.signs import EMBEDDING, Signs, build_signs
from models.opening import open_bundle
from models.parity import check_golden
from models.runtime.catalog import open_runtime
from models.runtime.protocol import Runtime
from models.signing import SigningKey, TrustedKeys


@pytest.fixture(scope="module")
def signs(key: SigningKey, tmp_path_factory: pytest.TempPathFactory) -> Signs:
    return build_signs(tmp_path_factory.mktemp("signs"), key)


@pytest.fixture(scope="module")
def clear() -> tuple[Images, NDArray[np.int64]]:
    return draw_signs(400, np.random.default_rng(5))


def read(runtime: Runtime, images: Images) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Read signs: their kinds and how sure the network is, both (n,)."""
    probabilities = np.asarray(runtime.predict({"image": images})["probabilities"])
    return probabilities.argmax(axis=1), probabilities.max(axis=1)


def test_signs_of_all_kinds_are_images_in_colour(clear: tuple[Images, NDArray[np.int64]]) -> None:
    images, kinds = clear

    assert images.shape == (400, 3, SIDE, SIDE)
    assert images.dtype == np.float32
    assert (images.min(), images.max()) >= (0, 0)
    assert images.max() <= 1
    assert set(kinds) == set(range(len(KINDS)))


@settings(max_examples=25)
@given(kind=st.sampled_from(sorted(WEATHER)), severity=st.floats(0, 1), seed=st.integers(0, 99))
def test_a_spoilt_image_is_still_an_image(kind: str, severity: float, seed: int) -> None:
    images, _ = draw_signs(3, np.random.default_rng(seed))
    untouched = images.copy()

    spoilt = spoil(images, kind, np.random.default_rng(seed), severity=severity)

    assert (spoilt.shape, spoilt.dtype) == (images.shape, np.float32)
    assert spoilt.min() >= 0
    assert spoilt.max() <= 1
    np.testing.assert_array_equal(images, untouched)


@pytest.mark.parametrize("kind", ["fog", "snow", "night", "glare"])
def test_weather_without_severity_changes_nothing(
    kind: str, clear: tuple[Images, NDArray[np.int64]]
) -> None:
    images = clear[0][:10]

    spoilt = spoil(images, kind, np.random.default_rng(0), severity=0)

    np.testing.assert_allclose(spoilt, images, atol=1e-6)


def test_signs_open_and_reproduce_and_give_an_embedding(signs: Signs, trusted: TrustedKeys) -> None:
    runtime = open_runtime(signs.bundle)

    assert open_bundle(signs.bundle.path, trusted, trust_code=True) == signs.bundle
    check_golden(signs.bundle, runtime)
    answer = runtime.predict({"image": np.zeros((3, 3, SIDE, SIDE), np.float32)})
    assert answer["embedding"].shape == (3, EMBEDDING)


def test_clear_signs_are_read(signs: Signs, clear: tuple[Images, NDArray[np.int64]]) -> None:
    images, kinds = clear
    answers, _ = read(open_runtime(signs.bundle), images)

    assert signs.accuracy >= 0.98
    assert np.mean(answers == kinds) >= 0.98


@pytest.mark.parametrize("kind", sorted(WEATHER))
def test_the_network_fails_silently_in_weather(
    kind: str, signs: Signs, clear: tuple[Images, NDArray[np.int64]]
) -> None:
    images, kinds = clear
    answers, sure = read(open_runtime(signs.bundle), spoil(images, kind, np.random.default_rng(6)))
    wrong = answers != kinds

    assert wrong.mean() > 0.1
    assert sure[wrong].mean() > 0.5
