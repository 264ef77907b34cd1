"""A real nats-server as a child process, for notebooks, tests and experiments."""

from varco_nats.server._server import (
    LocalCluster,
    LocalNats,
)

__all__ = [
    "LocalCluster",
    "LocalNats",
]
