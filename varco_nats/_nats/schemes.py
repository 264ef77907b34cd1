"""nats-py's client, but each server is reached as its URL says: `tls://` and `wss://` demand TLS.

By itself nats-py goes on in the clear, login and all, when a server does not ask for TLS.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import ParseResult, unquote

from nats.aio.client import Client
from nats.errors import Error as NatsError


class _ServerUri(ParseResult):
    """A URL whose user and password may be percent-encoded, as in NATS's other clients."""

    @property
    def username(self) -> str | None:
        return _decoded(super().username)

    @property
    def password(self) -> str | None:
        return _decoded(super().password)


def _decoded(text: str | None) -> str | None:
    return None if text is None else unquote(text)


class SchemeClient(Client):
    """A client that sends nothing in the clear where TLS is demanded, by URL or by `tls`."""

    def _setup_server_pool(self, connect_url: list[str]) -> None:
        super()._setup_server_pool(connect_url)
        for server in self._server_pool:
            server.uri = _ServerUri(*server.uri)

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:
        if initial_connection and self._demands_tls() and info.get("tls_available"):
            info["tls_required"] = True  # nats-py takes TLS up only where it is required
        await super()._process_info(info, initial_connection)
        assert self._current_server is not None
        scheme = self._current_server.uri.scheme
        for server in self._server_pool:
            if scheme in ("ws", "wss") and server.uri.scheme == "nats":
                # named by that server; nats-py would go there without a web socket, in the clear
                server.uri = server.uri._replace(scheme=scheme)
            server.uri = _ServerUri(*server.uri)

    def _demands_tls(self) -> bool:
        assert self._current_server is not None
        return "tls" in self.options or self._current_server.uri.scheme in ("tls", "wss")

    @property
    def is_encrypted(self) -> bool:
        """Whether what is sent now goes through TLS."""
        writer = getattr(self._transport, "_io_writer", None)
        if writer is None:  # a web socket
            return bool(getattr(self._transport, "_using_tls", False))
        return writer.get_extra_info("ssl_object") is not None

    def _connect_command(self) -> bytes:
        """The login, which is the first thing that is sent."""
        if self._demands_tls() and not self.is_encrypted:
            asked = "is set up here" if "tls" in self.options else "is demanded by the URL"
            raise NatsError(
                f"nats: TLS {asked}, but the server does not offer it; nothing was sent"
            )
        command: bytes = super()._connect_command()
        return command
