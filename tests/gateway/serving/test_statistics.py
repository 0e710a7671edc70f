"""What a replica counts, and what several of them have counted together."""

import pickle

from gateway.serving.item import Stamps
from gateway.serving.statistics import BATCH_SIZES_MAX, Statistics, VersionStats, as_json, total

STAMPS = Stamps(8, dequeued_ns=130, guarded_ns=150, inferred_ns=190, explored_ns=0)


def counted(*, requests: int = 1, rows: int = 3) -> Statistics:
    """Count requests that came in at 100, were read at 110 and answered at 220 ns."""
    statistics = Statistics("toy")
    for _ in range(requests):
        statistics.count_answer(
            "1",
            rows,
            wall_ns=7_000_000,
            arrived_ns=100,
            decoded_ns=110,
            finished_ns=220,
            stamps=STAMPS,
        )
    return statistics


def test_the_stages_of_an_answer_add_up_to_its_duration() -> None:
    [stats] = counted(requests=2).told(["1"])

    found = stats.inference_stats
    stages = (found.queue, found.compute_input, found.compute_infer, found.compute_output)
    assert [stage.ns for stage in stages] == [40, 60, 80, 60]
    assert found.success.ns == sum(stage.ns for stage in stages) == 240
    assert {stage.count for stage in stages} == {found.success.count} == {2}
    assert (stats.inference_count, stats.last_inference) == (6, 7)


def test_a_batch_is_counted_once_for_all_its_requests() -> None:
    statistics = counted(requests=2, rows=4)
    statistics.count_batch("1", STAMPS)

    [stats] = statistics.told(["1"])

    assert (stats.inference_count, stats.execution_count) == (8, 1)
    [batch] = stats.batch_stats
    assert (batch.batch_size, batch.compute_infer.count, batch.compute_infer.ns) == (8, 1, 40)


def test_a_failure_is_no_inference() -> None:
    statistics = Statistics("toy")
    statistics.count_failure("1", wall_ns=5_000_000, duration_ns=30)

    [stats] = statistics.told(["1"])

    assert (stats.inference_count, stats.inference_stats.success.count) == (0, 0)
    assert (stats.inference_stats.fail.count, stats.inference_stats.fail.ns) == (1, 30)


def test_an_answer_from_the_ladder_has_no_stages_of_its_own() -> None:
    statistics = Statistics("toy")
    statistics.count_answer(
        "1", 2, wall_ns=0, arrived_ns=100, decoded_ns=110, finished_ns=220, stamps=None
    )

    [stats] = statistics.told(["1"])

    assert stats.inference_count == 2
    assert stats.inference_stats.success.ns == 120
    assert stats.inference_stats.queue.count == 0


def test_replicas_add_up_version_by_version() -> None:
    one, other = counted(requests=2), counted(requests=3)
    one.count_batch("1", STAMPS)
    other.count_batch("1", STAMPS)
    other.count_batch("1", Stamps(2, 1, 2, 3, 0))
    other.count_failure("2", wall_ns=0, duration_ns=1)

    [first, second] = total([one.told(["1"]), other.told(["1", "2"])])

    assert first.inference_count == 15
    assert first.execution_count == 3
    assert first.inference_stats.success.count == 5
    assert [(b.batch_size, b.compute_infer.count) for b in first.batch_stats] == [(2, 1), (8, 2)]
    assert (second.version, second.inference_stats.fail.count) == ("2", 1)


def test_a_version_that_nobody_asked_yet_has_zeros_in_every_block() -> None:
    [stats] = as_json(Statistics("toy").told(["1"]))["model_stats"]

    assert (stats["name"], stats["version"], stats["batch_stats"]) == ("toy", "1", [])
    assert set(stats["inference_stats"]) == {
        "success",
        "fail",
        "queue",
        "compute_input",
        "compute_infer",
        "compute_output",
        "cache_hit",
        "cache_miss",
    }
    assert all(block == {"count": 0, "ns": 0} for block in stats["inference_stats"].values())


def test_the_list_of_batch_sizes_is_bounded() -> None:
    statistics = Statistics("toy")
    for rows in range(1, BATCH_SIZES_MAX + 100):
        statistics.count_batch("1", Stamps(rows, 1, 2, 3, 0))

    [stats] = statistics.told(["1"])

    assert len(stats.batch_stats) == BATCH_SIZES_MAX
    assert stats.execution_count == BATCH_SIZES_MAX + 99


def test_figures_survive_the_trip_between_processes() -> None:
    told = counted().told(["1"])
    twin: list[VersionStats] = pickle.loads(pickle.dumps(told))
    assert twin == told
