"""The containers that tests start, pause and restart: `LocalNats`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Self

from varco_nats.server import LocalNats


class Container:
    """One server; it has the same port after a restart."""

    port = 0

    def __init__(self) -> None:
        self.server = LocalNats()

    def configured(self, *_: object) -> Self:
        return self

    with_command = with_kraft = with_bind_ports = configured

    def __enter__(self) -> Self:
        self.server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.close()

    def url(self) -> str:
        return self.server.url

    nats_uri = get_bootstrap_server = url


class ChaosContainer:
    """Breaks a container's server."""

    def __init__(
        self,
        container: Container,
        *,
        ready: Callable[[str], bool],
        url_factory: Callable[[Any], str] | None = None,
    ) -> None:
        self._server = container.server

    @property
    def url(self) -> str:
        return self._server.url

    @contextmanager
    def paused(self) -> Iterator[None]:
        self._server.pause()
        try:
            yield
        finally:
            self._server.resume()

    def restart(self) -> None:
        self._server.kill()
        self._server.restart()

    def wait_ready(self) -> None:
        """It is ready when `restart` returns."""


MODULES: dict[str, dict[str, Any]] = {
    "testcontainers": {},
    "testcontainers.nats": {"NatsContainer": Container},
    "testcontainers.kafka": {"KafkaContainer": Container},
    "varco_chaos": {},
    "varco_chaos.containers": {"ChaosContainer": ChaosContainer},
    "varco_chaos.ports": {"reserve_host_port": lambda: 0},
}
