"""What is told of a model whose replicas do not start.  Serve's answer is made up: a failure."""

import pytest
from ray import serve
from ray.serve.schema import (
    ApplicationStatus,
    ApplicationStatusOverview,
    DeploymentStatus,
    DeploymentStatusOverview,
    DeploymentStatusTrigger,
    ServeStatus,
)

from gateway.fleet import _why_not, app_name

TRACEBACK = """The deployment failed to start 3 times in a row. Error:
Traceback (most recent call last):
  File "replica.py", line 1, in __init__
OSError: libcudnn.so.9: cannot open shared object file
"""


@pytest.mark.parametrize(
    ("message", "told"),
    [
        (TRACEBACK, "; Serve says: OSError: libcudnn.so.9: cannot open shared object file"),
        ("", ""),
    ],
)
def test_the_reason_is_the_last_line_of_what_serve_says(
    monkeypatch: pytest.MonkeyPatch, message: str, told: str
) -> None:
    trigger = DeploymentStatusTrigger.REPLICA_STARTUP_FAILED
    replica = DeploymentStatusOverview(DeploymentStatus.DEPLOY_FAILED, trigger, {}, message)
    app = ApplicationStatusOverview(ApplicationStatus.DEPLOY_FAILED, "", 0.0, {"Replica": replica})
    status = ServeStatus({}, {app_name("toy"): app})
    monkeypatch.setattr(serve, "status", lambda: status)

    assert _why_not("toy") == told
    assert _why_not("nobody") == ""
