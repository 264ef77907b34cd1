"""Asking a JetStream cluster that may be electing a leader.

Open this to see which errors pass by themselves, and what is raised when they do not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from nats.errors import Error as NatsError
from nats.errors import NoRespondersError
from nats.js.errors import APIError, ServiceUnavailableError

from varco_nats._nats.client import Connection, jetstream_errors
from varco_nats._nats.error_codes import ErrorCode
from varco_nats._nats.limits import CONSUMERS, FEWER_CONSUMERS, limit_reached
from varco_nats.errors import (
    LimitReachedError,
    PermissionDeniedError,
    ServerUnreachableError,
    StreamUnavailableError,
    VarcoNatsError,
)

_FIRST_ATTEMPT = 1.0  # seconds; only a leader answers, so that a new one is soon asked
_PAUSE = 0.1
_OFFLINE = (
    ErrorCode.STREAM_OFFLINE,
    ErrorCode.CONSUMER_OFFLINE,
    ErrorCode.STREAM_OFFLINE_REASON,
    ErrorCode.CONSUMER_OFFLINE_REASON,
)
_TOO_FEW_SERVERS = (ErrorCode.CLUSTER_NO_PEERS, ErrorCode.INSUFFICIENT_RESOURCES)


async def with_leader[T](
    connection: Connection,
    stream: str | None,
    ask: Callable[[], Awaitable[T]],
    *,
    wait: float | None = None,
    attempt: float = _FIRST_ATTEMPT,
) -> T:
    """What `ask()` returns; it is called again while the cluster or the stream has no leader.

    A request without an answer may have been carried out, so `ask` must be able to run twice.

    Args:
        stream: the stream that is asked about; None for JetStream as a whole.
        wait: for how long to ask, in seconds, by default `leader_timeout_seconds`; 0 asks once.
        attempt: how long the first attempt waits for its answer, in seconds; each attempt after it
            waits twice as long as the one before.

    Raises:
        StreamUnavailableError: there was no leader in that time.
        ServerUnreachableError: a single server did not answer, or the connection is lost.
        JetStreamUnavailableError: the server has no JetStream.
        LimitReachedError: a limit does not allow it.
    """
    clock = asyncio.get_running_loop().time
    wait = connection.leader_timeout if wait is None else wait
    until = clock() + wait
    told: APIError | None = None  # says more than an attempt that was not answered
    while True:
        try:
            async with asyncio.timeout(min(attempt, until - clock()) if wait else None):
                return await ask()
        except (NatsError, TimeoutError) as error:
            passing = passes(connection, error)
            if isinstance(error, APIError):
                told = error
            if connection.nc.is_closed or (passing and clock() + _PAUSE >= until):
                raise await unavailable(connection, stream, told or error) from error
            if not passing:
                if isinstance(error, APIError):
                    limit = await limit_of(connection, stream, error)
                    if limit is not None:
                        raise limit from error
                with jetstream_errors(connection):
                    raise
        attempt *= 2
        await asyncio.sleep(_PAUSE)
        await connection.wait_connected(until - clock())


async def limit_of(
    connection: Connection, stream: str | None, error: APIError
) -> LimitReachedError | None:
    """The error for one that says that a limit is reached; else None.

    Both `stream` and its account may limit the consumers, and are asked which it is.
    """
    reached = limit_reached(error.err_code, error.description)
    if reached is None or reached.limit != CONSUMERS or stream is None:
        return reached
    with suppress(NatsError, TimeoutError):  # this login may not ask
        async with asyncio.timeout(_FIRST_ATTEMPT):
            own = (await connection.js.stream_info(stream)).config.max_consumers or -1
            most = (await connection.js.account_info()).limits.max_consumers or -1
        of = f"the account ({most} for each stream)"
        if own > 0 and not 0 < most < own:
            of = f"stream {stream!r} ({own})"
        return LimitReachedError(CONSUMERS, of, reached.reason, FEWER_CONSUMERS)
    return reached


def passes(connection: Connection, error: Exception) -> bool:
    """Whether a later attempt may succeed without anybody's doing."""
    unserved = isinstance(error, ServiceUnavailableError) and error.err_code is None
    if unserved or isinstance(error, NoRespondersError):
        here = not connection.is_elsewhere
        return here and bool(connection.nc.server_info.get("jetstream"))
    if isinstance(error, APIError):
        electing = connection.is_clustered and error.err_code in _TOO_FEW_SERVERS
        return electing or error.err_code in (ErrorCode.CLUSTER_NOT_AVAILABLE, *_OFFLINE)
    return isinstance(error, TimeoutError)


async def unavailable(
    connection: Connection, stream: str | None, error: Exception
) -> VarcoNatsError:
    """The error to raise for `error`, when there was no answer or none that says more."""
    servers = connection.servers
    if not connection.is_connected:
        return ServerUnreachableError(servers, "the connection is lost")
    if not connection.is_clustered:
        if isinstance(error, TimeoutError):
            return ServerUnreachableError(servers, "JetStream gave no answer")
        return connection.no_jetstream()
    if isinstance(error, APIError) and error.err_code in (*_OFFLINE, *_TOO_FEW_SERVERS):
        return StreamUnavailableError(stream, str(error.description), servers)
    if not await _cluster_has_leader(connection):
        return StreamUnavailableError(stream, "the JetStream cluster has no leader", servers)
    has_none = "it has no leader" if stream is not None else "a stream of it has no leader"
    return StreamUnavailableError(stream, has_none, servers)


async def _cluster_has_leader(connection: Connection) -> bool:
    """Whether the leader of the cluster answers; only it answers this request."""
    try:
        async with asyncio.timeout(_FIRST_ATTEMPT):
            await connection.js.account_info()
    except PermissionDeniedError:
        return True  # this login may not ask; that the stream has no leader is known
    except (NatsError, TimeoutError):
        return False
    return True
