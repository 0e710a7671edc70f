"""The management API against its own description: no 5xx, and answers are as described."""

from typing import Any

import pytest
import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance

from gateway.registry.keys import ApiKeys

CHECKS = [not_a_server_error, content_type_conformance, response_schema_conformance]
LOCAL = {"Host": "localhost"}
BOUNDED = settings(
    max_examples=8,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@schemathesis.serializer("application/x-tar")
def as_archive(context: Any, value: Any) -> bytes:
    """Send what was drawn for a bundle's archive as it is."""
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "replace")


def break_description(app: FastAPI, headers: dict[str, str]) -> int:
    """Ask every operation whatever its description allows; return how many there are."""
    schema = schemathesis.openapi.from_asgi("/api/v1/openapi.json", app, headers=headers)
    operations = [result.ok() for result in schema.get_all_operations()]
    for operation in operations:

        @BOUNDED
        @given(case=operation.as_strategy())
        def ask(case: Any) -> None:
            case.call_and_validate(headers=headers, checks=CHECKS)

        ask()
    return len(operations)


@pytest.mark.parametrize("role", ["admin", None])
def test_every_operation_keeps_its_description(app: FastAPI, keys: ApiKeys, role: Any) -> None:
    key = {"Authorization": f"Bearer {keys.create(role, 'ann')}"} if role else {}

    assert break_description(app, LOCAL | key) > 10


def test_the_harness_sees_an_operation_that_raises(app: FastAPI, keys: ApiKeys) -> None:
    @app.get("/api/v1/planted")
    def planted() -> None:
        raise KeyError("planted")

    key = {"Authorization": f"Bearer {keys.create('admin', 'ann')}"}

    with pytest.raises(Exception, match="planted"):
        break_description(app, LOCAL | key)
