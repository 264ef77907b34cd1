"""Whether the event bus's NATS server can do its work, for readiness probes."""

from __future__ import annotations

import asyncio
import time

from nats.js.api import ClusterInfo
from providify import Inject, Singleton
from varco_core.health import HealthCheck, HealthResult, HealthStatus

from varco_nats._nats.client import Connection, connect
from varco_nats._nats.stream import ensure_event_stream, lost_replicas
from varco_nats._varco_core import PRIORITY, QUALIFIER
from varco_nats.bus import NatsEventBus
from varco_nats.bus._bus import connection_of
from varco_nats.config import NatsEventBusSettings
from varco_nats.errors import NotStartedError, StreamNotFoundError, StreamUnavailableError


@Singleton(priority=PRIORITY, qualifier=QUALIFIER)
class NatsHealthCheck(HealthCheck):
    """Asks for the bus's stream, over a connection of its own or over that of a bus.

    It changes nothing on the server. With `bus` it says whether that bus can do its work; without,
    it connects for each check and says whether the server can.

    - HEALTHY: JetStream answers, and the stream exists or the bus creates it when it starts.
    - DEGRADED: the stream has no leader at the moment, so that nothing can be published; or the
      bus cannot consume a channel.
    - UNHEALTHY: there was no answer in time; the login was refused; JetStream is off; the stream is
      missing with `auto_create_stream=False`, or has other subjects; or the bus is not started or
      has lost its connection.

    Args:
        settings: those of the bus.
        timeout: how long a check takes at most, in seconds.
        bus: the bus to check; call `check` on its event loop.
    """

    def __init__(
        self,
        settings: Inject[NatsEventBusSettings],
        *,
        timeout: float = 5.0,
        bus: NatsEventBus | None = None,
    ) -> None:
        self._settings: NatsEventBusSettings = settings
        self._timeout = timeout
        self._bus = bus

    def __repr__(self) -> str:
        return f"NatsHealthCheck({self._settings!r}, timeout={self._timeout})"

    @property
    def name(self) -> str:
        """`nats`."""
        return "nats"

    async def check(self) -> HealthResult:
        """The present state of server and stream; never raises.

        `latency_ms` is the time until the answer, with that to connect if there is no bus; None if
        there was no answer.
        """
        started = time.monotonic()
        try:
            async with asyncio.timeout(self._timeout):
                status, detail = await self._probe()
        except TimeoutError:
            servers = ", ".join(Connection(self._settings.to_servers_list()).servers)
            waited = f"did not answer within {self._timeout:g} s"
            detail = f"timed out: the NATS server at {servers} {waited}"
            return HealthResult(HealthStatus.UNHEALTHY, self.name, detail=detail)
        except Exception as error:
            detail = str(error) or type(error).__name__
            return HealthResult(HealthStatus.UNHEALTHY, self.name, detail=detail)
        latency = (time.monotonic() - started) * 1000
        return HealthResult(status, self.name, latency_ms=latency, detail=detail)

    async def _probe(self) -> tuple[HealthStatus, str]:
        if self._bus is not None:
            return await self._probe_bus(self._bus)
        connection = await connect(self._settings, name="varco health check")
        try:
            result = await self._ask(connection)
        except BaseException:
            await connection.abort()
            raise
        await connection.close()
        return result

    async def _probe_bus(self, bus: NatsEventBus) -> tuple[HealthStatus, str]:
        connection = connection_of(bus)
        if connection is None:
            raise NotStartedError("NatsEventBus", "its health check")
        if (lost := bus.connection_error) is not None:
            raise lost
        status, detail = await self._ask(connection)
        if status is HealthStatus.HEALTHY and (errors := bus.consumer_errors):
            channels = "; ".join(f"{channel!r}: {error}" for channel, error in errors.items())
            return HealthStatus.DEGRADED, f"{detail}, but the bus cannot consume {channels}"
        return status, detail

    async def _ask(self, connection: Connection) -> tuple[HealthStatus, str]:
        version = str(connection.nc.connected_server_version).strip("<>")
        name = f"{version}, stream {self._settings.stream_name!r}"
        try:
            info = await ensure_event_stream(connection, self._settings, create=False, wait=0)
        except StreamNotFoundError:
            if not self._settings.auto_create_stream:
                raise
            return HealthStatus.HEALTHY, f"{name} does not exist yet; the bus creates it"
        except StreamUnavailableError as error:
            return HealthStatus.DEGRADED, f"{name} does not answer: {error.reason}"
        if problem := _cluster_problem(info.cluster):
            return HealthStatus.DEGRADED, f"{name} {problem}"
        return HealthStatus.HEALTHY, f"{name} holds {info.state.messages:,} messages"


def _cluster_problem(cluster: ClusterInfo | None) -> str | None:
    """Why the replicas of a stream cannot store a message at the moment, or None."""
    if cluster is None or not cluster.name:  # a single server
        return None
    if not cluster.leader:
        return "has no leader"
    # a leader that lost the others still calls itself one for 20 s
    if (lost := lost_replicas(cluster)) is not None:
        return f"has lost {lost} of its {len(cluster.replicas or []) + 1} replicas"
    return None
