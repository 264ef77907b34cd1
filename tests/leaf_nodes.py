"""Two servers in different JetStream domains: a hub, and a leaf node that is connected to it."""

from __future__ import annotations

import asyncio
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import nats
from nats.errors import Error as NatsError

from tests.waiting import until
from varco_nats.server import LocalNats
from varco_nats.server._config import free_ports
from varco_nats.server._process import find_binary

_ACK_V2 = "feature_flags { js_ack_fc_v2: true }"
_ACK_V2_SINCE = (2, 14)  # an older nats-server refuses the setting


def ack_settings() -> dict[str, str]:
    """By name the settings for the reply subjects that take acks, as far as the server knows them.

    With "ack v2" it puts domain and account into them (ADR-15).
    """
    said = subprocess.run([find_binary(), "--version"], capture_output=True, text=True, check=True)
    version = re.search(r"v(\d+)\.(\d+)", said.stdout)
    assert version is not None, said
    knows_v2 = tuple(map(int, version.groups())) >= _ACK_V2_SINCE
    return {"ack v1": ""} | ({"ack v2": _ACK_V2} if knows_v2 else {})


class Domains(NamedTuple):
    hub: LocalNats
    """Of the domain `hub`."""
    leaf: LocalNats
    """Of the domain `leaf`."""


@contextmanager
def hub_and_leaf(folder: Path, config: str = "") -> Iterator[Domains]:
    """Both servers, when the hub's JetStream answers through the leaf node.

    Args:
        config: more settings of both.
    """
    [port] = free_ports(1)
    at_hub = f'leafnodes {{ listen: "127.0.0.1:{port}" }}'
    at_leaf = f'leafnodes {{ remotes: [ {{ url: "nats://127.0.0.1:{port}" }} ], reconnect: 1 }}'
    with (
        _server(folder / "hub", "hub", at_hub, config) as hub,
        _server(folder / "leaf", "leaf", at_leaf, config) as leaf,
    ):
        asyncio.run(_until_connected(leaf.url))
        yield Domains(hub, leaf)


def _server(folder: Path, domain: str, *config: str) -> LocalNats:
    jetstream = f'jetstream {{ store_dir: "{folder}", domain: {domain} }}'
    return LocalNats(config="\n".join([jetstream, *config]), token=None, jetstream=False)


async def _until_connected(url: str) -> None:
    client = await nats.connect(url)

    async def answers() -> bool:
        try:
            await client.jetstream(domain="hub", timeout=1).account_info()
        except NatsError:
            return False
        return True

    await until(answers, every=0.05)
    await client.close()
