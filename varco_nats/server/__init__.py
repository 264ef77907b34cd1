"""A real nats-server as a child process, for notebooks, tests and experiments.

`LocalNats` is one server, `LocalCluster` several. Both end with the process that started them,
however that process ends.
"""

from varco_nats.server._cluster import LocalCluster
from varco_nats.server._server import LocalNats

__all__ = ["LocalCluster", "LocalNats"]
