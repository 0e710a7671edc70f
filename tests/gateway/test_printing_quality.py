"""What an ML team reads about quality: measures, estimates with their assumptions, alerts."""

from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from gateway.evaluate.alerts import AlertWatch
from gateway.evaluate.report import report
from gateway.printing import expectations_table
from gateway.printing_drift import print_drift
from gateway.printing_quality import print_quality, slices_table
from tests.gateway.evaluate.traffic import ALPHA, Service, draw_world, pack_classifier


def test_everything_that_is_known_is_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    bundle = pack_classifier(
        tmp_path / "1", expectations={"accuracy": 0.9}, slices=[{"by": "width", "edges": [0]}]
    )
    service = Service(tmp_path, bundle)
    world = draw_world(400, np.random.default_rng(0))
    service.label(service.serve(world)[:200], 1 - world.labels[:200])
    service.report()
    AlertWatch(
        service.registry,
        lambda model: report(service.engine, service.registry, model, alpha=ALPHA),
        service.store,
        clock_s=lambda: 0.0,
    ).tick()
    told = service.report().model_dump(mode="json")

    print_quality(told)
    print_drift("mlp", told["drift"])

    printed = capsys.readouterr().out
    for said in (
        "balanced_accuracy", "auroc", "[0, inf)", "cbpe", "confidence means what it meant",
        "400, of which 200 have a label", "estimated_accuracy", "1970-01-01 00:00:00",
        "class frequencies", "bbse", "mlls",
    ):  # fmt: skip
        assert said in printed


def test_what_clients_sent_is_printed_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    metric = {"metric": "accuracy", "n": 30, "estimate": 0.5, "low": 0.4, "high": 0.6}
    console = Console(width=200)

    console.print(slices_table([{"by": "region", "value": "[/] [red]north", "metric": metric}]))
    told = {"name": "worst_slice", "target": 0.9, "state": "violated", "reason": "region=[/]: 0.1"}
    console.print(expectations_table([told]))

    printed = capsys.readouterr().out
    assert "[/] [red]north" in printed
    assert "region=[/]: 0.1" in printed


def test_a_model_of_which_nothing_is_known_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    service = Service(tmp_path, pack_classifier(tmp_path / "1"))

    print_quality(service.report().model_dump(mode="json"))

    assert "no labels yet" in capsys.readouterr().out
