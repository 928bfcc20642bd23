"""The API: every operation of every room at /api/v1/<room>/<operation>, made out of their signatures, and what describes them."""

from collections.abc import Sequence
from functools import cache, partial
from typing import cast

import msgspec
from litestar import Litestar, Request, Response, get, post
from litestar.datastructures import State
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler

from stratal.core.errors import StratalError
from stratal.server import asgi
from stratal.server.asgi import Failed, refusal
from stratal.server.calls import Call
from stratal.server.describing import describe
from stratal.server.failures import broken, in_http
from stratal.server.guards import Guard, identified
from stratal.server.pool import Pool
from stratal.server.rooms import ROOMS
from stratal.server.surfaces import Places
from stratal.store.callers import read_caller
from stratal.store.store import Store
from stratal.store.wire import HOLDER, JSON, MSGPACK, PREFIX, pack

# What a call may hold, and the seconds for its next piece and for all of it. Rows of a feature view are the largest: 100,000 of them.
MOST_BYTES, PIECE_S, WHOLE_S = 32 << 20, 30.0, 120.0
# Calls under way at once, each with a connection; of these one person has half, so that who sends slowly keeps out nobody else.
MOST_CALLS = 512
# Bytes of large bodies, all together; of these, too. Small ones always have room: the calls of nearly every operation.
MOST_BODY_BYTES, SMALL_BYTES = 256 << 20, 64 << 10

AnyRequest = Request[None, None, State]


def api(store: Store, guard: Guard, pool: Pool, beside: Sequence[HTTPRouteHandler] = ()) -> Litestar:
    """Make the application of a store's operations. beside: handlers of other paths, under the same errors."""
    calls = {(room.name, name): Call(room, operation, store, guard) for room in ROOMS for name, operation in room.operations.items()}

    places, bodies = Places(MOST_CALLS, partial(_busy, "calls")), Places(MOST_BODY_BYTES, partial(_busy, "large bodies"))

    async def call(request: AnyRequest) -> Response[bytes]:
        if (found := calls.get((request.path_params["room"], request.path_params["operation"]))) is None:
            raise _no_route(request)
        return await _serve(found, guard, pool, places, bodies, request)

    @cache
    def document() -> bytes:
        return msgspec.json.encode(describe(list(calls.values())))

    async def openapi(request: AnyRequest) -> Response[bytes]:
        await identified(guard, as_ours(request))
        return Response(await pool.run(document), media_type=JSON)

    return Litestar(
        # One route for all: a route of Litestar's costs 1 ms when the server starts, and there are a hundred operations.
        [post(PREFIX + "/{room:str}/{operation:str}", status_code=200)(call), get(f"{PREFIX}/openapi.json")(openapi), *beside],
        openapi_config=None,  # ours is made of the types themselves
        exception_handlers={Exception: _answer_error},
        request_max_body_size=MOST_BYTES,
        logging_config=None,  # the program that serves says where logs go
    )


def _busy(what: str) -> Failed:
    return refusal(429, "busy", f"as many {what} are on their way as are taken at a time", "come again in a moment", retry_after_s=1)


async def _serve(call: Call, guard: Guard, pool: Pool, places: Places, bodies: Places, came: AnyRequest) -> Response[bytes]:
    request = as_ours(came)
    sender = await identified(guard, request)
    encoding = _encoding(request.headers.get("content-type", ""))
    wanted = MSGPACK if MSGPACK in request.headers.get("accept", "") else JSON
    is_announced = "content-length" in request.headers
    size = request.number("content-length", MOST_BYTES) if is_announced else MOST_BYTES
    name = sender.name if sender.is_authenticated else ""
    with places.take(name), bodies.take(name, size if size > SMALL_BYTES else 0):
        body = await request.body(MOST_BYTES, PIECE_S, WHOLE_S)

        def answer() -> tuple[bytes, str]:
            arguments = call.read(body, encoding)
            return pack(call.answer(arguments, sender, read_caller(request.headers.get(HOLDER, ""))), wanted)

        content, kind = await pool.run(answer, name)
    return Response(content, media_type=kind)


def as_ours(request: AnyRequest) -> asgi.Request:
    """Read a request of Litestar's as all other surfaces do: with bounds on its body."""
    return asgi.Request(cast("asgi.Scope", request.scope), cast("asgi.Receive", request.receive))


def _encoding(content_type: str) -> str:
    """Give what a body is. Raises Failed for forms and texts: those a browser sends to other sites unasked."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind not in (JSON, MSGPACK):
        raise refusal(415, "encoding", f"a call is JSON, not {kind[:60] or 'of no kind'!r}", f"set content-type: {JSON}")
    return kind


def _answer_error(request: AnyRequest, error: Exception) -> Response[bytes]:
    failed = _failure(request, error)
    wanted = MSGPACK if MSGPACK in request.headers.get("accept", "") else JSON
    content, kind = pack(failed.complaint, wanted)
    headers = {name: value for name, value in failed.answer.headers if name != "content-type"}
    return Response(content, media_type=kind, status_code=failed.answer.status, headers=headers)


def _failure(request: AnyRequest, error: Exception) -> Failed:
    path = request.scope["path"][:100]
    match error:
        case Failed():
            return error
        case StratalError():
            return in_http(error)
        case HTTPException(status_code=405):
            return refusal(405, "method", f"{request.method} is not possible at {path}", f"{PREFIX}/openapi.json says what is")
        case HTTPException(status_code=status) if status < 500:
            return _no_route(request)
        case _:
            return broken(path, error)


def _no_route(request: AnyRequest) -> Failed:
    path = request.scope["path"][:100]
    return refusal(404, "no-route", f"there is nothing at {path}", f"{PREFIX}/openapi.json lists what there is")
