"""What commands print, whatever the answer."""

import pytest

from gateway.printing import print_plain

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
