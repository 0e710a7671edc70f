"""What commands print, whatever the answer."""

from pathlib import Path
from typing import Any

import pytest

from gateway.api.power import describe_power
from gateway.printing import print_plain, print_registered
from models.bundle import load_power_card
from tests.gateway.registry.bundles import make_bundle

LONG = {f"column_{number}": "some value" for number in range(9)}


def test_an_empty_list_is_said_to_be_none(capsys: pytest.CaptureFixture[str]) -> None:
    print_plain([])

    assert capsys.readouterr().out == "none\n"


def test_a_table_that_is_not_printed_into_a_window_is_wide_enough_to_read(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    print_plain([LONG])
    wide = capsys.readouterr().out
    monkeypatch.setenv("COLUMNS", "60")
    print_plain([LONG])
    narrow = capsys.readouterr().out

    assert "column_8" in wide
    assert {len(line) for line in narrow.splitlines()} == {60}


@pytest.mark.parametrize(
    ("outlier", "promise"),
    [
        ({"alpha": 0.2}, "at most 0.2 of ordinary rows are judged strange, with probability 0.95"),
        (None, "no outlier guard: only what breaks the schema is noticed"),
    ],
)
def test_of_a_registered_version_the_power_card_is_printed(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    outlier: dict[str, Any] | None,
    promise: str,
) -> None:
    bundle = make_bundle(tmp_path / "bundle", outlier=outlier)

    print_registered({"model": "toy", "power": describe_power(load_power_card(bundle))})

    printed = capsys.readouterr().out
    assert "all_zero" in printed
    assert promise in printed
