"""What an SRE reads about drift: the model, since when, the features named, and the distances."""

from typing import Any

import pytest

from gateway.evaluate.drift_report import ChannelDrift, DriftReport, MonitorReport
from gateway.printing_drift import print_drift


def _channel(name: str, **changes: Any) -> ChannelDrift:
    plain: dict[str, Any] = {
        "weight": 0.5,
        "log_evidence": 30.0,
        "named": True,
        "how": "higher",
        "since_s": 1_700_000_000.0,
        "n": 1234,
        "missing_share": 0.0,
        "kolmogorov_smirnov": 0.41,
        "psi": 0.87,
        "jensen_shannon": 0.3,
        "wasserstein_iqr": 1.1,
        "chi2_p": 1e-30,
        "cramers_v": 0.5,
        "urn_log_evidence": None,
    }
    return ChannelDrift(name=name, **plain | changes)


REPORT = DriftReport(
    version="7",
    monitors=(
        MonitorReport(
            monitor="features",
            pages=False,
            state="alarm",
            alarmed_s=1_700_000_100.0,
            since_s=1_700_000_000.0,
            false_alarm_days=365.0,
            ticks=50,
            values=1234,
            log_evidence=29.0,
            log_threshold=15.0,
            log_evidence_since_start=20.0,
            ever=True,
            channels=(
                _channel("amount"),
                _channel("colour", weight=0.0, kolmogorov_smirnov=None, psi=None),
                _channel("hour", named=False, since_s=None),
            ),
        ),
    ),
)


def test_the_report_names_model_time_features_and_distances(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "250")

    print_drift("fraud", REPORT.model_dump())

    told = capsys.readouterr().out
    assert "fraud  version 7" in told
    assert "2023-11-14 22:13:20+00:00" in told
    assert "amount higher (KS 0.41, PSI 0.87)" in told
    assert "colour higher (V 0.50, not used by the model)" in told
    assert "at most one false alarm in 365 days" in told
    assert "hour higher" not in told
    assert "independent" in told


def test_a_model_without_judged_traffic_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    print_drift("fraud", None)

    assert "no traffic was judged yet" in capsys.readouterr().out
