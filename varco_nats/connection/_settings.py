"""How to reach a NATS server and log in to it, from `NATS_*` variables.

This is for servers that need a password, a token, TLS or keys; a plain `nats://host:port` is enough
as `NatsEventBusSettings(servers=...)`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, model_validator
from pydantic_settings import SettingsConfigDict
from varco_core.connection.auth import BasicAuthConfig
from varco_core.connection.base import ConnectionSettings
from varco_core.connection.ssl import SSLConfig

from varco_nats.config import CheckedSettings, Servers, has_login
from varco_nats.connection._login_files import check_credentials_file, check_seed_file
from varco_nats.errors import SettingsError

_HIDDEN = "**********"


class _Login(BasicAuthConfig):
    """A `BasicAuthConfig` that never shows its password."""

    password: str = Field(repr=False)

    def __repr_name__(self) -> str:
        return BasicAuthConfig.__name__


def _login(value: BasicAuthConfig) -> BasicAuthConfig:
    return _Login(username=value.username, password=value.password)


def _host(value: str) -> str:
    if not value or any(char.isspace() or char in "/@,?#" for char in value):
        raise ValueError("must be a host name or an address; URLs go into 'servers'")
    return value


def _ssl_files(value: SSLConfig) -> SSLConfig:
    for field in ("ca_cert", "ca_folder", "client_cert", "client_key"):
        path: Path | None = getattr(value, field)
        if path is None:
            continue
        if not (path.is_dir() if field == "ca_folder" else path.is_file()):
            kind = "folder" if field == "ca_folder" else "file"
            raise ValueError(f"{field} (NATS_SSL__{field.upper()}): there is no {kind} {path}")
    return value


def _url(fields: dict[str, Any]) -> str:
    host = fields.get("host", "localhost")
    host = f"[{host}]" if ":" in host and not host.startswith("[") else host
    return f"nats://{host}:{fields.get('port', 4222)}"


class NatsConnectionSettings(CheckedSettings, ConnectionSettings):
    """Servers, TLS and login, read from `NATS_*`; nested fields with `__`.

    At most one kind of login: `auth`, `token`, `nkey_seed_file`, `credentials_file`, or
    credentials in the server URLs. An empty variable counts as not set. No repr shows a secret.

    Raises:
        SettingsError: a value is wrong, a file is missing or holds something else, there are two
            kinds of login, or there is no such setting.

    Example:
        # NATS_SERVERS=nats://nats-1:4222,nats://nats-2:4222
        # NATS_SSL__CA_CERT=/etc/nats/ca.pem
        # NATS_AUTH__TYPE=basic NATS_AUTH__USERNAME=orders NATS_AUTH__PASSWORD=...
        connection = NatsConnectionSettings.from_env()
        config = NatsEventBusSettings(
            connect_kwargs=connection.to_nats_kwargs(), durable_name="order-service"
        )
    """

    model_config = SettingsConfigDict(
        env_prefix="NATS_", env_nested_delimiter="__", env_ignore_empty=True
    )

    # of the nats command, and those that Kubernetes sets for a service with the name nats
    _other_variables = re.compile(
        "(URL|CONTEXT|CREDS|NKEY|CERT|KEY|CA|TIMEOUT|COLOR|SOCKS_PROXY)$|SERVICE_|PORT_"
    )

    host: Annotated[str, AfterValidator(_host)] = "localhost"
    """Server host, used if `servers` is not set."""

    port: int = Field(default=4222, ge=1, le=65535)
    """Server port, used if `servers` is not set."""

    ssl: Annotated[SSLConfig, AfterValidator(_ssl_files)] | None = None
    """Private CA (`NATS_SSL__CA_CERT`) and client certificate (`NATS_SSL__CLIENT_CERT`,
    `NATS_SSL__CLIENT_KEY`); with None the system's CAs are used if the server asks for TLS."""

    servers: Servers = Field(default_factory=_url, validate_default=True)
    """Server URLs, several joined by `,`; default `nats://{host}:{port}`."""

    auth: Annotated[BasicAuthConfig, AfterValidator(_login)] | None = None
    """User and password: `NATS_AUTH__TYPE=basic`, `NATS_AUTH__USERNAME`, `NATS_AUTH__PASSWORD`."""

    token: str | None = Field(default=None, min_length=1)
    """A token shared by all clients of the server."""

    nkey_seed_file: Annotated[Path, AfterValidator(check_seed_file)] | None = None
    """File that holds a user's nkey seed (`SU...`)."""

    credentials_file: Annotated[Path, AfterValidator(check_credentials_file)] | None = None
    """A `.creds` file: a user's JWT and nkey seed."""

    @model_validator(mode="after")
    def _one_login(self) -> Self:
        logins = {
            "auth (NATS_AUTH__USERNAME)": self.auth,
            "token (NATS_TOKEN)": self.token,
            "nkey_seed_file (NATS_NKEY_SEED_FILE)": self.nkey_seed_file,
            "credentials_file (NATS_CREDENTIALS_FILE)": self.credentials_file,
            "credentials in servers (NATS_SERVERS)": (
                any(map(has_login, self.to_servers_list())) or None
            ),
        }
        found = [name for name, value in logins.items() if value is not None]
        if len(found) > 1:
            raise ValueError(f"more than one kind of login: {' and '.join(found)}; set only one")
        return self

    @classmethod
    def with_ssl(cls, ssl_config: SSLConfig, **kwargs: Any) -> Self:
        """Settings with `ssl_config` and `kwargs`; the environment sets what they leave out."""
        return cls(ssl=ssl_config, **kwargs)

    def __repr_args__(self) -> Any:
        for name, value in super().__repr_args__():
            yield name, _HIDDEN if name == "token" and value is not None else value

    def to_servers_list(self) -> list[str]:
        """The URLs of the servers to connect to, credentials included."""
        return self.servers.split(",")

    def to_nats_kwargs(self) -> dict[str, Any]:
        """Keyword arguments of `nats.connect`: the servers, TLS and login.

        As `connect_kwargs` of the settings of a bus they suffice; `servers` of those settings
        count more than the ones in here.

        Raises:
            SettingsError: a certificate or key file cannot be used.

        Example:
            nc = await nats.connect(**NatsConnectionSettings.from_env().to_nats_kwargs())
        """
        kwargs: dict[str, Any] = {"servers": self.to_servers_list()}
        if self.ssl is not None:
            try:
                kwargs["tls"] = self.ssl.build_ssl_context()
            except OSError as error:  # ssl.SSLError is one
                problem = f"ssl (NATS_SSL__*): {error}; check the files in {self.ssl!r}"
                raise SettingsError(type(self).__name__, [problem]) from None
        if self.auth is not None:
            kwargs |= {"user": self.auth.username, "password": self.auth.password}
        if self.token is not None:
            kwargs["token"] = self.token
        if self.nkey_seed_file is not None:
            kwargs["nkeys_seed"] = str(self.nkey_seed_file)
        if self.credentials_file is not None:
            kwargs["user_credentials"] = str(self.credentials_file)
        return kwargs
