"""Every error of the API in the error contract, whoever raised it."""

import json
import logging

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from gateway.api.access import REQUEST_ID, extra_headers
from gateway.errors import (
    BadRequestError,
    GatewayError,
    InternalError,
    MethodNotAllowedError,
    NotFoundError,
    error_body,
)

PROBLEMS_SHOWN = 3

log = logging.getLogger(__name__)


def install_problems(app: FastAPI) -> None:
    """Answer with the contract instead of the framework's own bodies."""
    app.add_exception_handler(GatewayError, _gateway)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(ClientDisconnect, _disconnect)
    app.add_exception_handler(Exception, _unforeseen)


def answer(request: Request, error: GatewayError) -> Response:
    """Build the response; the content type is exactly ``application/json``."""
    body = json.dumps(error_body(error, request.scope.get(REQUEST_ID, "")))
    return Response(body, error.status, dict(extra_headers(error)), "application/json")


async def _gateway(request: Request, error: Exception) -> Response:
    assert isinstance(error, GatewayError)
    if error.status >= 500:
        log.warning("request %s: %s", request.scope.get(REQUEST_ID), error)
    return answer(request, error)


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if isinstance(error.__cause__, GatewayError):  # our own, raised while a body was read
        return answer(request, error.__cause__)
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "")
        return answer(request, MethodNotAllowedError(allowed))
    if error.status_code == 404:
        return answer(request, NotFoundError())
    return answer(request, BadRequestError("the request cannot be read"))


async def _validation(request: Request, error: Exception) -> Response:
    """Say where and what; never repeat the input."""
    assert isinstance(error, RequestValidationError)
    problems = [
        f"{'.'.join(str(part)[:64] for part in problem['loc'])}: {problem['msg']}"
        for problem in error.errors()[:PROBLEMS_SHOWN]
    ]
    return answer(request, BadRequestError("; ".join(problems)))


async def _disconnect(request: Request, _: Exception) -> Response:
    return answer(request, BadRequestError("the body ends too early"))


async def _unforeseen(request: Request, error: Exception) -> Response:
    """The framework raises it again afterwards, and the server may log it once more."""
    log.error("request %s failed", request.scope.get(REQUEST_ID), exc_info=error)
    return answer(request, InternalError())
