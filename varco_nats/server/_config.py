"""The values in a nats-server's configuration file."""

from __future__ import annotations

import json
import secrets
import socket
from collections.abc import Sequence
from typing import Final

from varco_nats.errors import SettingsError

HOST = "127.0.0.1"
_TOKEN_CHARACTERS = frozenset("-._~ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789")


class Random:
    """The type of the default token: a new random one."""

    def __repr__(self) -> str:
        return "<random>"


RANDOM: Final = Random()


def checked_token(token: str | Random | None, owner: str) -> str | None:
    """`token` if a URL can hold it as it is, or a new random one for `RANDOM`.

    Raises:
        SettingsError: it is empty or has other characters; the message does not hold it.
    """
    if isinstance(token, Random):
        return secrets.token_hex(16)
    if token is not None and (not token or not _TOKEN_CHARACTERS.issuperset(token)):
        raise SettingsError(owner, ["token must be letters, digits and '-._~' only"])
    return token


def cluster_text(cluster: str, port: int, ports: Sequence[int], token: str | None) -> str:
    """The `cluster` block of a node that listens for routes on `port`, with routes to `ports`."""
    login = "" if token is None else f"cluster:{token}@"
    routes = ", ".join(quoted(f"nats://{login}{HOST}:{peer}") for peer in ports)
    fields = [f"name: {quoted(cluster)}", f"listen: {quoted(f'{HOST}:{port}')}"]
    if token is not None:
        fields.append(f"authorization {{ user: cluster, password: {quoted(token)} }}")
    return f"cluster {{ {', '.join([*fields, f'routes: [{routes}]'])} }}"


def free_ports(count: int) -> list[int]:
    """Ports on loopback that are free at the moment."""
    servers = [socket.create_server((HOST, 0)) for _ in range(count)]
    ports: list[int] = [server.getsockname()[1] for server in servers]
    for server in servers:
        server.close()
    return ports


def quoted(value: str) -> str:
    """`value` as a string of nats-server's own format."""
    return json.dumps(value, ensure_ascii=False)
