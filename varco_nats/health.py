"""Whether the event bus's NATS server can do its work, for readiness probes."""

from __future__ import annotations

import asyncio
import time

from nats.js.api import ClusterInfo
from nats.js.errors import ServiceUnavailableError
from providify import Inject, Singleton
from varco_core.health import HealthCheck, HealthResult, HealthStatus

from varco_nats._client import Connection, connect
from varco_nats._stream import ensure_stream, event_stream_config
from varco_nats.config import NatsEventBusSettings
from varco_nats.errors import StreamNotFoundError

_SILENT_NANOSECONDS = 5e9  # replicas send a heartbeat each second


@Singleton
class NatsHealthCheck(HealthCheck):
    """Connects, asks for the bus's stream, and closes again; changes nothing on the server.

    - HEALTHY: JetStream answers, and the stream is there or the bus creates it at its start.
    - DEGRADED: the stream has no leader at the moment, so that nothing can be published.
    - UNHEALTHY: no answer in time, the login refused, JetStream off, the stream missing with
      `auto_create_stream=False`, or a stream of that name with other subjects.

    Args:
        settings: those of the bus.
        timeout: how long a check takes at most, in seconds.
    """

    def __init__(self, settings: Inject[NatsEventBusSettings], *, timeout: float = 5.0) -> None:
        self._settings: NatsEventBusSettings = settings
        self._timeout = timeout

    def __repr__(self) -> str:
        return f"NatsHealthCheck({self._settings!r}, timeout={self._timeout})"

    @property
    def name(self) -> str:
        """`nats`."""
        return "nats"

    async def check(self) -> HealthResult:
        """The state of server and stream now; never raises.

        `latency_ms` is the time to connect and get an answer; None when there was none.
        """
        started = time.monotonic()
        try:
            async with asyncio.timeout(self._timeout):
                status, detail = await self._probe()
        except TimeoutError:
            servers = ", ".join(Connection(self._settings.to_servers_list()).servers)
            detail = f"the NATS server at {servers} did not answer within {self._timeout:g} s"
            return HealthResult(HealthStatus.UNHEALTHY, self.name, detail=detail)
        except Exception as error:
            detail = str(error) or type(error).__name__
            return HealthResult(HealthStatus.UNHEALTHY, self.name, detail=detail)
        latency = (time.monotonic() - started) * 1000
        return HealthResult(status, self.name, latency_ms=latency, detail=detail)

    async def _probe(self) -> tuple[HealthStatus, str]:
        connection = await connect(self._settings, name="varco health check")
        try:
            version = str(connection.nc.connected_server_version).strip("<>")
            status, stream = await self._stream(connection)
        except BaseException:
            await connection.abort()
            raise
        await connection.close()
        return status, f"{version}, {stream}"

    async def _stream(self, connection: Connection) -> tuple[HealthStatus, str]:
        name = f"stream {self._settings.stream_name!r}"
        try:
            config = event_stream_config(self._settings)
            info = await ensure_stream(connection, config, create=False)
        except StreamNotFoundError:
            if not self._settings.auto_create_stream:
                raise
            return HealthStatus.HEALTHY, f"{name} is not there yet; the bus creates it"
        except ServiceUnavailableError as error:
            return HealthStatus.DEGRADED, f"{name} does not answer: {error.description}"
        if problem := _cluster_problem(info.cluster):
            return HealthStatus.DEGRADED, f"{name} {problem}"
        return HealthStatus.HEALTHY, f"{name} holds {info.state.messages:,} messages"


def _cluster_problem(cluster: ClusterInfo | None) -> str | None:
    """Why the replicas of a stream cannot store a message now, in words, or None."""
    if cluster is None or not cluster.name:  # a single server
        return None
    if not cluster.leader:
        return "has no leader"
    peers = cluster.replicas or []
    # a leader that lost the others still calls itself one for 20 s
    heard = sum(not peer.offline and (peer.active or 0) < _SILENT_NANOSECONDS for peer in peers)
    if heard + 1 <= (len(peers) + 1) // 2:
        return f"has lost {len(peers) - heard} of its {len(peers) + 1} replicas"
    return None
