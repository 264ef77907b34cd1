"""`LocalCluster`: several local servers as one JetStream cluster."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self

from varco_nats.errors import LocalServerError, SettingsError
from varco_nats.server._config import RANDOM, Random, checked_token, cluster_text, free_ports
from varco_nats.server._probe import make_stream
from varco_nats.server._server import IN_USE, LocalNats, Managed

_MAX_REPLICAS = 5  # of a stream, in JetStream
_ROUTE_PORT_ATTEMPTS = 3
_ELECTED = "new metadata leader"


class _Node(LocalNats):
    """One server of a cluster."""

    _jetstream_needs_others = True

    @property
    def is_fresh(self) -> bool:
        """Whether it was never started, or was closed since."""
        return self._folder is None

    @property
    def can_answer(self) -> bool:
        return self.running and not self._paused

    def use_config(self, config: str) -> None:
        """Start with these settings from now on, which replace those it was made with."""
        self._config = config


class LocalCluster(Managed):
    """Several `LocalNats` as one JetStream cluster.

    Args:
        size: number of servers.
        store_dir: folder of JetStream's data, with a folder for each node, kept at the end; None is
            temporary folders.
        token: as in `LocalNats`, the same for all nodes and for the routes between them.
        max_memory_bytes: limit for all memory streams of one node together.
        max_store_bytes: limit for all file streams of one node together.
        config: more settings, for every node.

    Example:
        with LocalCluster() as cluster:
            settings = NatsEventBusSettings(servers=cluster.servers)
            cluster.nodes[0].kill()
    """

    def __init__(
        self,
        size: int = 3,
        *,
        store_dir: Path | str | None = None,
        token: str | Random | None = RANDOM,
        max_memory_bytes: int = 256 * 1024**2,
        max_store_bytes: int = 4 * 1024**3,
        config: str = "",
        binary: Path | str | None = None,
    ) -> None:
        if size < 2:
            raise SettingsError("LocalCluster", [f"size must be 2 or more, not {size}"])
        self._token = checked_token(token, type(self).__name__)
        self._config = config
        self._name = f"cluster-{uuid.uuid4().hex[:8]}"
        self._nodes: tuple[_Node, ...] = tuple(
            _Node(
                store_dir=None if store_dir is None else Path(store_dir) / f"node-{number}",
                token=self._token,
                max_memory_bytes=max_memory_bytes,
                max_store_bytes=max_store_bytes,
                config=config,
                name=f"{self._name}-{number}",
                binary=binary,
            )
            for number in range(1, size + 1)
        )

    def __repr__(self) -> str:
        return f"LocalCluster({', '.join(repr(node) for node in self._nodes)})"

    @property
    def nodes(self) -> Sequence[LocalNats]:
        """The servers; each can be killed, stopped, restarted, paused and resumed."""
        return self._nodes

    @property
    def servers(self) -> str:
        """The URLs of all nodes joined by `,`, as `servers` of the settings takes them."""
        return ",".join(node.url for node in self._nodes)

    def start(self) -> Self:
        """Start all nodes and wait until a stream with a replica on each can be created.

        Raises:
            ServerBinaryNotFoundError: there is no nats-server on this machine.
            LocalServerError: a node did not start, or they did not find each other.
        """
        try:
            self._start_nodes()
            self.wait_ready()
        except BaseException:
            self.close()
            raise
        return self

    def stop(self) -> None:
        """End all nodes cleanly; their data and ports are kept for `start()`."""
        with ThreadPoolExecutor(len(self._nodes)) as pool:
            list(pool.map(LocalNats.stop, self._nodes))

    def close(self) -> None:
        """End all nodes and remove their temporary folders."""
        with ThreadPoolExecutor(len(self._nodes)) as pool:
            list(pool.map(LocalNats.close, self._nodes))

    def wait_ready(self, timeout: float = 30.0) -> None:
        """Wait until the nodes that run can store a stream with a replica on each of them.

        Args:
            timeout: in seconds.

        Raises:
            LocalServerError: they cannot, as when a majority of the nodes is missing.
        """
        deadline = time.monotonic() + timeout
        problem: str | None = "no node runs"
        while time.monotonic() < deadline:
            nodes = [node for node in self._nodes if node.can_answer]
            for node in nodes:
                problem = self._problem(node, replicas=min(len(nodes), _MAX_REPLICAS))
                if problem is None:
                    return
            time.sleep(0.02)
        raise LocalServerError(f"{self!r} was not ready after {timeout:g} s: {problem}")

    def _problem(self, node: _Node, replicas: int) -> str | None:
        if self._token is not None and "tls" not in self._config:
            return make_stream(node.port, self._token, replicas)
        # only `config` says how to log in, so the log has to show that there is a leader
        logs = "".join(each.log_tail(1000) for each in self._nodes)
        return None if _ELECTED in logs else "no metadata leader"

    def _start_nodes(self) -> None:
        for attempt in range(_ROUTE_PORT_ATTEMPTS):
            fresh = all(node.is_fresh for node in self._nodes)
            if fresh:
                self._plan_routes()
            try:
                with ThreadPoolExecutor(len(self._nodes)) as pool:
                    list(pool.map(LocalNats.start, self._nodes))
                return
            except LocalServerError as error:
                # the ports of routes are chosen before the start, so that they may be taken then
                last = attempt == _ROUTE_PORT_ATTEMPTS - 1
                if last or not fresh or IN_USE not in str(error):
                    raise
                self.close()

    def _plan_routes(self) -> None:
        ports = free_ports(len(self._nodes))
        for node, port in zip(self._nodes, ports, strict=True):
            routes = cluster_text(self._name, port, ports, self._token)
            node.use_config(f"{self._config}\n{routes}")
