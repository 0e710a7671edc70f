"""A gate of the rollout: a shadow that labels have found worse is not promoted by accident."""

from typing import Any

from gateway.errors import ConflictError
from guards.quality.challenger import Winner

Json = dict[str, Any]


def check_contest(report: Json, version: str | None) -> None:
    """Let a promotion pass, unless the labels speak against it.

    Args:
        report: What the evaluator found about the model.
        version: To be promoted; None: the shadow.

    Raises:
        ConflictError: the live version won the contest with it.
    """
    shadow = report.get("shadow") or {}
    contest = shadow.get("contest")
    if contest is None or version not in (None, shadow["version"]):
        return
    if contest["winner"] == Winner.CHAMPION:
        raise ConflictError(
            f"version {shadow['version']!r} is wrong more often than the live version: "
            f"{contest['challenger_errors']} to {contest['champion_errors']} of "
            f"{contest['rows']} labelled rows; promote it anyway, if you must"
        )
