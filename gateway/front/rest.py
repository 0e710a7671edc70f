"""Every other method of the service: a question to the same gateway's REST endpoints.

So REST is the only implementation; here its JSON becomes the protocol's messages.
"""

import base64
import json
from collections.abc import Awaitable, Callable
from typing import Any

from google.protobuf.json_format import ParseDict
from google.protobuf.message import DecodeError, Message

from gateway.errors import GatewayError, NotReadyError
from gateway.front.calls import Call
from gateway.front.route import model_path
from gateway.front.statuses import abort, failure_in, failure_of
from gateway.front.upstream import Reply, Upstream
from gateway.oip import inference_pb2 as pb
from gateway.serving.outline import malformed

Ask = Callable[..., Awaitable[Any]]  # path, and a body to POST; returns the JSON of the reply
NOT_READY = (404, 503)  # HTTP statuses that answer "is it ready?" with no


class RefusedError(Exception):
    """The endpoint answered with an error."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply)
        self.reply = reply


class Method:
    """One method: parses the message, asks REST, builds the response.

    Args:
        upstream: Where the endpoints are.
        request: Class of the request's message.
        answer: Takes ``ask`` and the request; returns the response's message.
    """

    def __init__(
        self,
        upstream: Upstream,
        request: type[Message],
        answer: Callable[[Ask, Any], Awaitable[Message]],
    ) -> None:
        self._upstream = upstream
        self._request = request
        self._answer = answer

    async def serve(self, message: bytes, context: Any) -> bytes:
        """Answer one call, or abort it."""
        call = Call(context)

        async def ask(path: str, body: Any = None) -> Any:
            verb = "GET" if body is None else "POST"
            content = b"" if body is None else json.dumps(body).encode()
            reply = await self._upstream.request(verb, path, call.headers, content)
            if reply.status != 200:
                raise RefusedError(reply)
            return json.loads(reply.body)

        try:
            response = await self._answer(ask, self._parse(message))
        except RefusedError as refused:
            await abort(context, failure_in(refused.reply, call.request_id))
        except GatewayError as error:
            await abort(context, failure_of(error, call.request_id))
        content: bytes = response.SerializeToString()
        return content

    def _parse(self, message: bytes) -> Message:
        try:
            return self._request.FromString(message)
        except DecodeError:
            raise malformed() from None


async def server_live(ask: Ask, _: Any) -> Message:
    """Ask the data plane, not this process."""
    await ask("/v2/health/live")
    return pb.ServerLiveResponse(live=True)


async def server_ready(ask: Ask, _: Any) -> Message:
    """Say whether every live model answers."""
    return pb.ServerReadyResponse(ready=await is_ready(ask, "/v2/health/ready"))


async def model_ready(ask: Ask, request: Any) -> Message:
    """Say whether a model answers; like Triton, no for one that nobody knows."""
    path = model_path(request.name, request.version)
    return pb.ModelReadyResponse(ready=await is_ready(ask, f"{path}/ready"))


async def is_ready(ask: Ask, path: str) -> bool:
    """Ask for readiness, where an error is an answer."""
    try:
        await ask(path)
    except NotReadyError:
        return False
    except RefusedError as refused:
        if refused.reply.status not in NOT_READY:
            raise
        return False
    return True


async def server_metadata(ask: Ask, _: Any) -> Message:
    """Describe the server."""
    return _message(await ask("/v2"), pb.ServerMetadataResponse())


async def model_metadata(ask: Ask, request: Any) -> Message:
    """Describe a model."""
    told = await ask(model_path(request.name, request.version))
    return _message(told, pb.ModelMetadataResponse())


async def model_config(ask: Ask, request: Any) -> Message:
    """Describe a model as Triton's tools want it."""
    told = await ask(model_path(request.name, request.version) + "/config")
    return _message({"config": told}, pb.ModelConfigResponse())


async def model_statistics(ask: Ask, request: Any) -> Message:
    """Give the figures of a model, or of all of them."""
    path = model_path(request.name, request.version) if request.name else "/v2/models"
    return _message(await ask(f"{path}/stats"), pb.ModelStatisticsResponse())


async def repository_index(ask: Ask, request: Any) -> Message:
    """List every version of every model."""
    told = await ask("/v2/repository/index", {"ready": request.ready})
    return _message({"models": told}, pb.RepositoryIndexResponse())


async def repository_load(ask: Ask, request: Any) -> Message:
    """Bring a model up."""
    name = await _change(ask, request, "load")
    return pb.RepositoryModelLoadResponse(model_name=name, isLoaded=True)


async def repository_unload(ask: Ask, request: Any) -> Message:
    """Take a model off the data plane."""
    name = await _change(ask, request, "unload")
    return pb.RepositoryModelUnloadResponse(model_name=name, isUnloaded=True)


async def _change(ask: Ask, request: Any, verb: str) -> str:
    # KServe's message has the model where Triton's has the repository.
    name: str = request.model_name or request.repository_name
    model = model_path(name).removeprefix("/v2/models/")
    parameters = {key: _value(value) for key, value in request.parameters.items()}
    await ask(f"/v2/repository/models/{model}/{verb}", {"parameters": parameters})
    return name


def _value(parameter: Any) -> Any:
    """Give a parameter as the REST endpoint takes it: bytes in base64."""
    choice = parameter.WhichOneof("parameter_choice")
    value = None if choice is None else getattr(parameter, choice)
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value


def _message(told: Any, message: Message) -> Message:
    """Fill a message with our own JSON, which may say more than the message holds."""
    return ParseDict(told, message, ignore_unknown_fields=True)


METHODS = {
    "ServerLive": (pb.ServerLiveRequest, server_live),
    "ServerReady": (pb.ServerReadyRequest, server_ready),
    "ModelReady": (pb.ModelReadyRequest, model_ready),
    "ServerMetadata": (pb.ServerMetadataRequest, server_metadata),
    "ModelMetadata": (pb.ModelMetadataRequest, model_metadata),
    "ModelConfig": (pb.ModelConfigRequest, model_config),
    "ModelStatistics": (pb.ModelStatisticsRequest, model_statistics),
    "RepositoryIndex": (pb.RepositoryIndexRequest, repository_index),
    "RepositoryModelLoad": (pb.RepositoryModelLoadRequest, repository_load),
    "RepositoryModelUnload": (pb.RepositoryModelUnloadRequest, repository_unload),
}
