"""Around every call: its id, its deadline, its log line, and how what goes wrong is told."""

import asyncio
import math
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import grpc
import grpc.aio
import structlog
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message
from grpc_status.rpc_status import GRPC_DETAILS_METADATA_KEY

from gateway.errors import GatewayError
from gateway.origin import REQUEST_ID, arrive
from gateway.reception import Reception
from gateway.rpc.errors import retry_pushback, rich_status, status_code
from gateway.under_way import stopping
from gateway.visit import visit

log = structlog.get_logger(__name__)


@asynccontextmanager
async def exchange(
    method: str, request: Message | type[Message], context: Any, reception: Reception
) -> AsyncIterator[str]:
    """Serve one call inside; yields its id, which the caller finds in the trailing metadata.

    Whose call it is is known by then, or it is refused. A GatewayError becomes its status;
    anything else that is raised is logged with its traceback and becomes an INTERNAL with a fixed
    message. The deadline and the trace context of the call are those of all that is asked of
    Triton for it.
    """
    request_id = _origin(context)
    here = reception.begin(request_id)
    started = time.perf_counter()
    code = grpc.StatusCode.OK
    under_way = reception.under_way
    under_way.enter()
    try:
        await reception.admit(dict(context.invocation_metadata()))
        yield request_id
        context.set_trailing_metadata(((REQUEST_ID, request_id), *here.headers))
    except GatewayError as error:
        code = status_code(error)
        await refuse(context, error, request, request_id)
    except asyncio.CancelledError:
        if under_way.is_over:
            code = grpc.StatusCode.UNAVAILABLE
            await refuse(context, stopping(), request, request_id)
        code = grpc.StatusCode.CANCELLED
        raise
    except grpc.aio.InternalError:
        # A message could not be written: the caller is gone, of which word is still to come.
        code = grpc.StatusCode.CANCELLED
    except Exception:
        code = grpc.StatusCode.INTERNAL
        log.exception("request_failed")
        failure = GatewayError("The server failed to handle this request.")
        await refuse(context, failure, request, request_id)
    finally:
        under_way.leave()
        here.close()
        duration_ms = round((time.perf_counter() - started) * 1000, 1)
        log.info(
            "request",
            method=method,
            status=code.name,
            duration_ms=duration_ms,
        )


def _origin(context: Any) -> str:
    """Note where the call comes from; return its id, the caller's own if it is sane."""
    left = context.time_remaining()
    deadline = math.inf if left is None else time.monotonic() + left
    request_id = arrive(dict(context.invocation_metadata()), deadline)
    context.set_trailing_metadata(((REQUEST_ID, request_id),))
    return request_id


async def refuse(
    context: Any, error: GatewayError, request: Message | type[Message], request_id: str
) -> None:
    """End a call with an error. Raises what the server takes for that."""
    status = rich_status(error, cast(Descriptor, request.DESCRIPTOR), request_id)
    trailers = (
        (GRPC_DETAILS_METADATA_KEY, status.SerializeToString()),
        (REQUEST_ID, request_id),
        *retry_pushback(error),
        *(here.headers if (here := visit.get()) else ()),
    )
    await context.abort(status_code(error), status.message, trailers)


async def open_stream(context: Any, request_id: str) -> None:
    """Begin a stream's answer, with the call's id as initial metadata."""
    await context.send_initial_metadata(((REQUEST_ID, request_id),))
