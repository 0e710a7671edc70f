"""The feed: its graph answers as the model does, and what a loop does to it."""

from pathlib import Path

import numpy as np
import pytest

from guards.explore.settings import SlateExplore
from guards.quality.loop.alarm import judge_newcomers
from guards.quality.loop.settings import LoopSettings
from models.examples.catalogue import Catalogue, ClickRates, Size, first_model
from models.examples.feed import SIZE, FeedExample, build_feed
from models.runtime.catalog import open_runtime
from models.signing import SigningKey

SMALL = Size(segments=2, first_items=20, new_items=1, rounds=10, requests=400)


@pytest.fixture(scope="module")
def feed(tmp_path_factory: pytest.TempPathFactory) -> FeedExample:
    return build_feed(tmp_path_factory.mktemp("feed"), SigningKey.create())


def test_the_graph_looks_up_the_models_score(feed: FeedExample) -> None:
    model = first_model(feed.catalogue, np.random.default_rng([0, 7]))
    segments = np.repeat(np.arange(SIZE.segments), SIZE.items)
    items = np.tile(np.arange(SIZE.items), SIZE.segments)
    answer = open_runtime(feed.bundle).predict({"segment": segments, "item": items})

    np.testing.assert_allclose(answer["score"][:, 0], model.scores().ravel(), rtol=1e-6)


def test_the_manifest_says_that_the_answer_is_a_slate(feed: FeedExample) -> None:
    explore = feed.bundle.manifest.explore

    assert isinstance(explore, SlateExplore)
    assert (explore.ids, explore.slots) == ("item", SIZE.slots)


def test_forgetting_brings_what_is_not_shown_back_to_the_score_of_the_unknown() -> None:
    model = ClickRates(SMALL)
    unknown = model.scores()[0, 0]
    slates = np.zeros((100, 1), np.int64)
    model.learn(0, slates, np.zeros(slates.shape, np.bool_))
    known = model.scores()[0, 0]
    for _ in range(200):
        model.forget()

    assert known < unknown
    assert model.scores()[0, 0] == pytest.approx(unknown, abs=1e-6)


def impressions(catalogue: Catalogue, *, tau: float, seed: int) -> list[np.ndarray]:
    """Serve and learn; tau 0 is greedy, else Plackett-Luce.  Impressions per round and item."""
    size, random = catalogue.size, np.random.default_rng(seed)
    model = first_model(catalogue, random)
    rounds = []
    for round_ in range(1, size.rounds + 1):
        scores = model.scores()[:, : size.eligible(round_)]
        model.forget()
        counts = np.zeros(size.items, np.int64)
        for segment, own in enumerate(scores):
            noise = random.gumbel(size=(size.requests // size.segments, len(own)))
            slates = np.argsort(-(own + tau * noise), axis=1)[:, : size.slots]
            model.learn(segment, slates, catalogue.clicks(segment, slates, random))
            counts += np.bincount(slates.ravel(), minlength=size.items)
        rounds.append(counts)
    return rounds


def alarm(catalogue: Catalogue, rounds: list[np.ndarray]) -> int | None:
    settings = LoopSettings()
    reached = newcomers = 0
    for now in range(settings.patience, len(rounds) + 1):
        born = now - settings.patience + 1
        seen = np.sum(rounds[born - 1 : now], axis=0)[catalogue.born == born]
        reached += int((seen >= settings.least).sum())
        newcomers += len(seen)
        if judge_newcomers(reached, newcomers, settings):
            return now
    return None


def test_the_loop_alarm_sounds_for_greedy_serving_and_not_for_exploring() -> None:
    catalogue = Catalogue.of_seed(1, Size(segments=4, rounds=20, requests=3_000))
    greedy = alarm(catalogue, impressions(catalogue, tau=0.0, seed=1))
    exploring = alarm(catalogue, impressions(catalogue, tau=0.13, seed=1))

    assert greedy is not None
    assert greedy <= 15
    assert exploring is None


def test_the_world_is_that_of_its_seed(tmp_path: Path) -> None:
    one, other = Catalogue.of_seed(3, SMALL), Catalogue.of_seed(3, SMALL)

    np.testing.assert_array_equal(one.appeal, other.appeal)
    assert (one.born[: SMALL.first_items] == 0).all()
    assert one.born[-1] == SMALL.rounds
