"""Metrics are exact, of closed label sets, and point at kept traces only."""

import urllib.request
from collections.abc import Callable

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from gateway.record.decision import Decision, Exploration, Stages
from gateway.record.metrics import Metrics, MetricsServer, outcome

MakeDecision = Callable[..., Decision]
VERSION = {"model": "digits", "version": "3"}


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(lag_s=lambda: 0.25)


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(f"handrail_{name}", labels)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, "model"),
        ({"served_by": "canary"}, "canary"),
        ({"served_by": "fallback:version"}, "fallback"),
        ({"served_by": "fallback:constant"}, "fallback"),
        ({"status": 422, "rejected": 1}, "rejected"),
        ({"status": 413, "code": "too_large"}, "bad_request"),
        ({"status": 503, "code": "shed"}, "shed"),
        ({"status": 504, "code": "deadline_exceeded"}, "deadline"),
        ({"status": 500, "code": "unanswered"}, "error"),
        ({"served_by": "something new"}, "other"),
    ],
)
def test_every_request_has_one_of_nine_outcomes(
    change: dict[str, object], expected: str, make_decision: MakeDecision
) -> None:
    assert outcome(make_decision(**change)) == expected


def test_sums_and_counts_are_exact(metrics: Metrics, make_decision: MakeDecision) -> None:
    for took_ns in (1_000_000, 2_000_000, 70_000_000):
        stages = Stages(100_000, 300_000, 400_000, 900_000, 0, took_ns)
        metrics.observe(make_decision(stages=stages), kept=False)

    assert value(metrics, "inference_requests_total", **VERSION, outcome="model") == 3
    assert value(metrics, "inference_request_duration_seconds_sum", **VERSION) == pytest.approx(
        0.073
    )
    assert value(metrics, "inference_request_duration_seconds_count", **VERSION) == 3
    assert value(metrics, "queue_duration_seconds_sum", **VERSION) == pytest.approx(0.0006)
    assert value(metrics, "compute_duration_seconds_sum", **VERSION) == pytest.approx(0.0015)
    assert value(metrics, "batch_rows_sum", **VERSION) == 12
    assert value(metrics, "latency_budget_used_ratio_bucket", **VERSION, le="1.0") == 2
    assert value(metrics, "model_info", **VERSION, digest="sha256:abc") == 1


def test_a_request_that_never_reached_a_batch_has_no_queue_or_compute_time(
    metrics: Metrics, make_decision: MakeDecision
) -> None:
    refused = make_decision(status=400, batch_rows=0, stages=Stages(finished_ns=1000))
    metrics.observe(refused, kept=False)

    assert value(metrics, "queue_duration_seconds_count", **VERSION) == 0
    assert value(metrics, "compute_duration_seconds_count", **VERSION) == 0
    assert value(metrics, "inference_request_duration_seconds_count", **VERSION) == 1


def test_what_the_guards_and_the_ladder_did_is_counted(
    metrics: Metrics, make_decision: MakeDecision
) -> None:
    fallback = {"served_by": "fallback:constant", "flagged": 2, "rejected": 1}
    metrics.observe(make_decision(**fallback, fallback_reason="deadline"), kept=False)
    metrics.observe(make_decision(**fallback, fallback_reason="from a client"), kept=False)
    drawn = Exploration("epsilon", (1,), (2,), (0.1,), ("",))
    metrics.observe(make_decision(exploration=drawn), kept=False)

    assert value(metrics, "fallbacks_total", **VERSION, reason="deadline") == 1
    assert value(metrics, "fallbacks_total", **VERSION, reason="other") == 1
    assert value(metrics, "flagged_rows_total", **VERSION) == 4
    assert value(metrics, "rejected_rows_total", **VERSION) == 2
    assert value(metrics, "explored_total", **VERSION) == 1


def test_abstentions_are_counted_by_row_and_failing_guards_by_request(
    metrics: Metrics, make_decision: MakeDecision
) -> None:
    metrics.observe(make_decision(abstained=3), kept=False)
    metrics.observe(make_decision(failed_guards=("outlier", "output")), kept=False)
    metrics.observe(make_decision(failed_guards=("outlier", "one's own")), kept=False)

    assert value(metrics, "abstained_rows_total", **VERSION) == 3
    failures = {
        guard: value(metrics, "guard_failures_total", **VERSION, guard=guard)
        for guard in ("outlier", "output", "other")
    }
    assert failures == {"outlier": 2, "output": 1, "other": 1}


def test_no_label_ever_holds_an_id(metrics: Metrics, make_decision: MakeDecision) -> None:
    for n in range(20):
        metrics.observe(
            make_decision(n, fallback_reason=f"r{n}", code=f"c{n}", status=400 + n), kept=True
        )

    names = {
        name for family in metrics.registry.collect() for s in family.samples for name in s.labels
    }
    assert names == {"model", "version", "outcome", "reason", "digest", "le"}


def test_kept_and_suppressed_reasons_exist_before_they_happen(metrics: Metrics) -> None:
    assert value(metrics, "traces_kept_total", reason="error") == 0
    metrics.keep("error")
    metrics.suppress("error", 5)

    assert value(metrics, "traces_kept_total", reason="error") == 1
    assert value(metrics, "traces_suppressed_total", reason="error") == 5


def scrape(port: int, accept: str) -> tuple[str, str]:
    request = urllib.request.Request(f"http://127.0.0.1:{port}/metrics", headers={"Accept": accept})
    with urllib.request.urlopen(request, timeout=5) as response:
        return response.headers["Content-Type"], response.read().decode()


def test_openmetrics_is_served_with_exemplars_of_kept_traces_only(
    metrics: Metrics, make_decision: MakeDecision
) -> None:
    metrics.observe(make_decision(1), kept=False)
    slow = Stages(finished_ns=400_000_000)
    metrics.observe(make_decision(2, stages=slow), kept=True)
    server = MetricsServer(metrics.registry, port=0)

    kind, text = scrape(server.port, "application/openmetrics-text; version=1.0.0")
    server.close()

    assert kind.startswith("application/openmetrics-text")
    families = text_string_to_metric_families(text)  # type: ignore[no-untyped-call]
    samples = [sample for family in families for sample in family.samples]
    exemplars = {s.exemplar.labels["trace_id"] for s in samples if s.exemplar is not None}
    assert exemplars == {make_decision(2).trace_id}
    assert ("handrail_recorder_lag_seconds", 0.25) in {(s.name, s.value) for s in samples}


def test_a_taken_port_costs_the_port_not_the_recorder(metrics: Metrics) -> None:
    first = MetricsServer(metrics.registry, port=0)
    second = MetricsServer(metrics.registry, port=first.port)

    assert second.port != first.port
    for server in (first, second):
        assert "handrail_recorder_lag_seconds" in scrape(server.port, "*/*")[1]
        server.close()
