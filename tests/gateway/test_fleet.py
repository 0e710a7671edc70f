"""What is told of a model whose replicas do not start.  Serve's answer is made up: a failure."""

import pytest
from ray import serve
from ray.exceptions import RayError
from ray.serve.schema import (
    ApplicationStatus,
    ApplicationStatusOverview,
    DeploymentStatus,
    DeploymentStatusOverview,
    DeploymentStatusTrigger,
    ServeStatus,
)

from gateway.fleet import _why_not, app_name

CRASHED = """The deployment failed to start 3 times in a row. Error:
ray::ServeReplica:model-toy:Replica.initialize_and_get_metadata() (pid=7)
  File "replica.py", line 1, in __init__
    load()
pydantic_core.ValidationError: 1 validation error for Manifest
  name: Field required
    For further information visit https://errors.pydantic.dev
"""
SLOW = """Deployment 'Replica' has 1 replicas that have taken more than 30s to initialize.
This may be caused by a slow __init__ or reconfigure method."""
NEVER = "Deploying app 'model-toy' failed"


def says(*, replicas: str = "", app: str = "") -> ServeStatus:
    trigger = DeploymentStatusTrigger.REPLICA_STARTUP_FAILED
    replica = DeploymentStatusOverview(DeploymentStatus.DEPLOY_FAILED, trigger, {}, replicas)
    told = ApplicationStatusOverview(
        ApplicationStatus.DEPLOY_FAILED, app, 0.0, {"Replica": replica}
    )
    return ServeStatus({}, {app_name("toy"): told})


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (
            says(replicas=CRASHED),
            "; Serve says: pydantic_core.ValidationError: 1 validation error for Manifest",
        ),
        (says(replicas=SLOW), "; Serve says: " + SLOW.replace("\n", " ")),
        (says(app=NEVER), "; Serve says: " + NEVER),
        (says(), ""),
    ],
)
async def test_why_a_model_does_not_answer_is_said_in_one_line(
    monkeypatch: pytest.MonkeyPatch, status: ServeStatus, told: str
) -> None:
    monkeypatch.setattr(serve, "status", lambda: status)

    assert await _why_not("toy") == told
    assert await _why_not("nobody") == ""


async def test_if_serve_is_ill_itself_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def ill() -> ServeStatus:
        raise RayError("the controller is gone")

    monkeypatch.setattr(serve, "status", ill)

    assert await _why_not("toy") == ""
