"""Settings from variables or a `nats` context, and logging in with them to real servers."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import nats
import nkeys  # type: ignore[import-untyped]
import pytest
import trustme
from varco_core.connection import BasicAuthConfig, ConnectionSettings, SSLConfig

from tests.waiting import until
from varco_nats._nats.client import NatsClient, connect, jetstream_errors
from varco_nats._nats.stream import ensure_stream, event_stream_config
from varco_nats.channel import NatsChannelManagerSettings
from varco_nats.config import NatsEventBusSettings
from varco_nats.connection import (
    NatsConnectionSettings,
    contexts,
    selected_context,
    settings_of_context,
)
from varco_nats.errors import (
    AuthenticationError,
    JetStreamUnavailableError,
    ServerUnreachableError,
    SettingsError,
)
from varco_nats.server import LocalCluster, LocalNats

FromEnv = Callable[..., NatsConnectionSettings]

SECRET = "s3cret-pa55"


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith(("NATS_", "VARCO_NATS_")):
            monkeypatch.delenv(name)


@pytest.fixture
def from_env(monkeypatch: pytest.MonkeyPatch) -> FromEnv:
    """The settings that these variables, without their `NATS_`, make."""

    def build(**variables: object) -> NatsConnectionSettings:
        for name, value in variables.items():
            monkeypatch.setenv(f"NATS_{name}", str(value))
        return NatsConnectionSettings.from_env()

    return build


def bus_settings(connection: NatsConnectionSettings) -> NatsEventBusSettings:
    return NatsEventBusSettings(connect_kwargs=connection.to_nats_kwargs())


async def round_trip(connection_settings: NatsConnectionSettings) -> None:
    """Store a message and read it back with these settings."""
    settings = bus_settings(connection_settings)
    connection = await connect(settings, name="test")
    try:
        await ensure_stream(connection, event_stream_config(settings), create=True)
        ack = await connection.js.publish(settings.subject_name("orders"), b"hello")
        found = await connection.js.get_msg(settings.stream_name, seq=ack.seq)
        assert found.data == b"hello"
    finally:
        await connection.close()


# ---- what the variables make -------------------------------------------------------------


def test_defaults(from_env: FromEnv) -> None:
    settings = from_env()
    assert isinstance(settings, ConnectionSettings)
    assert settings.to_servers_list() == ["nats://localhost:4222"]
    assert settings.to_nats_kwargs() == {"servers": ["nats://localhost:4222"]}


@pytest.mark.parametrize(
    ("variables", "servers"),
    [
        ({"HOST": "nats-1"}, ["nats://nats-1:4222"]),
        ({"HOST": "nats-1", "PORT": 4333}, ["nats://nats-1:4333"]),
        ({"HOST": "::1"}, ["nats://[::1]:4222"]),
        ({"SERVERS": "nats://a:1, tls://b:2", "HOST": "ignored"}, ["nats://a:1", "tls://b:2"]),
        ({"SERVERS": ""}, ["nats://localhost:4222"]),
    ],
)
def test_servers_come_from_servers_else_from_host_and_port(
    from_env: FromEnv, variables: dict[str, str], servers: list[str]
) -> None:
    assert from_env(**variables).to_servers_list() == servers


def test_kwargs_of_each_kind_of_login(from_env: FromEnv, keys: Keys) -> None:
    def login(settings: NatsConnectionSettings) -> dict[str, object]:
        kwargs = settings.to_nats_kwargs()
        del kwargs["servers"]
        return kwargs

    auth = {"AUTH__TYPE": "basic", "AUTH__USERNAME": "svc", "AUTH__PASSWORD": SECRET}
    assert login(NatsConnectionSettings()) == {}
    assert login(NatsConnectionSettings(token=SECRET)) == {"token": SECRET}
    seed, creds = keys.seed_file, keys.creds_file
    assert login(NatsConnectionSettings(nkey_seed_file=seed)) == {"nkeys_seed": str(seed)}
    assert login(NatsConnectionSettings(credentials_file=creds)) == {"user_credentials": str(creds)}
    settings = from_env(**auth)
    assert login(settings) == {"user": "svc", "password": SECRET}
    assert isinstance(settings.auth, BasicAuthConfig)


@pytest.mark.parametrize("servers", ["nats://a:1,nats://b:2", f"nats://svc:{SECRET}@a:1"])
def test_the_servers_of_the_kwargs_are_those_of_the_bus(from_env: FromEnv, servers: str) -> None:
    kwargs = from_env(SERVERS=servers).to_nats_kwargs()
    for settings in (
        NatsEventBusSettings(connect_kwargs=kwargs),
        NatsChannelManagerSettings(connect_kwargs=kwargs),
        NatsEventBusSettings(durable_name="x").model_copy(update={"connect_kwargs": kwargs}),
        NatsEventBusSettings(connect_kwargs={"servers": servers.split(",")[0]}).model_copy(
            update={"connect_kwargs": kwargs | {"servers": servers.split(",")}}
        ),
    ):
        assert settings.to_servers_list() == servers.split(",")
        assert "nats://a:1" in repr(settings)
        assert SECRET not in repr(settings)


def test_servers_that_the_bus_settings_name_win(
    from_env: FromEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    kwargs = from_env(SERVERS="nats://a:1").to_nats_kwargs()
    named = NatsEventBusSettings(servers="nats://b:2", connect_kwargs=kwargs)
    assert named.to_servers_list() == ["nats://b:2"]
    default = "nats://localhost:4222"
    named = NatsEventBusSettings(servers=default, connect_kwargs=kwargs)
    assert named.to_servers_list() == [default]
    monkeypatch.setenv("VARCO_NATS_SERVERS", "nats://c:3")
    assert NatsEventBusSettings(connect_kwargs=kwargs).to_servers_list() == ["nats://c:3"]


@pytest.mark.parametrize(
    "servers", ["", [], [f"http://svc:{SECRET}@a"], [7], {"a": "b"}, [f"nats://{SECRET}@a:x"]]
)
def test_servers_in_the_kwargs_that_are_none_are_refused(servers: object) -> None:
    with pytest.raises(SettingsError, match="connect_kwargs") as raised:
        NatsEventBusSettings(connect_kwargs={"servers": servers})
    assert SECRET not in str(raised.value)


async def test_the_kwargs_suffice_for_nats_py_too(
    from_env: FromEnv, password_server: LocalNats
) -> None:
    login = {"AUTH__USERNAME": "svc", "AUTH__PASSWORD": SECRET}
    url = f"nats://127.0.0.1:{password_server.port}"
    connection = from_env(SERVERS=f"nats://127.0.0.1:1,{url}", **login)
    client = await nats.connect(**connection.to_nats_kwargs())
    assert client.connected_url is not None
    assert client.connected_url.port == password_server.port
    await client.close()


async def test_a_bus_connects_to_the_servers_that_win(
    from_env: FromEnv, password_server: LocalNats
) -> None:
    login = {"AUTH__USERNAME": "svc", "AUTH__PASSWORD": SECRET}
    kwargs = from_env(SERVERS="nats://127.0.0.1:1", **login).to_nats_kwargs()
    with pytest.raises(ServerUnreachableError, match=r"127\.0\.0\.1:1\b"):
        await connect(NatsEventBusSettings(connect_kwargs=kwargs), name="test")
    settings = NatsEventBusSettings(
        servers=f"nats://127.0.0.1:{password_server.port}", connect_kwargs=kwargs
    )
    await (await connect(settings, name="test")).close()


def test_settings_are_frozen(from_env: FromEnv) -> None:
    with pytest.raises(ValueError, match="frozen"):
        from_env().host = "other"  # type: ignore[misc]


def test_with_ssl(tls_files: TlsFiles) -> None:
    settings = NatsConnectionSettings.with_ssl(SSLConfig(ca_cert=tls_files.ca), host="nats-1")
    assert settings.ssl == SSLConfig(ca_cert=tls_files.ca)
    assert settings.to_servers_list() == ["nats://nats-1:4222"]
    with pytest.raises(SettingsError, match="port"):
        NatsConnectionSettings.with_ssl(SSLConfig(), port=0)


def test_bus_settings_hold_an_ssl_context(tls_files: TlsFiles) -> None:
    connection = NatsConnectionSettings(ssl=SSLConfig(ca_cert=tls_files.ca))
    settings = bus_settings(connection)
    copy = settings.model_copy(update={"durable_name": "other"})
    assert copy.connect_kwargs["tls"] is settings.connect_kwargs["tls"]


LOGINS = {
    "token (NATS_TOKEN)": {"TOKEN": SECRET},
    "auth (NATS_AUTH__USERNAME)": {"AUTH__USERNAME": "svc", "AUTH__PASSWORD": SECRET},
    "credentials in servers (NATS_SERVERS)": {"SERVERS": f"nats://svc:{SECRET}@a:1"},
    "nkey_seed_file (NATS_NKEY_SEED_FILE)": {"NKEY_SEED_FILE": "seed_file"},
    "credentials_file (NATS_CREDENTIALS_FILE)": {"CREDENTIALS_FILE": "creds_file"},
}


@pytest.mark.parametrize("second", LOGINS)
@pytest.mark.parametrize("first", LOGINS)
def test_two_kinds_of_login_are_refused_by_name(
    from_env: FromEnv, keys: Keys, first: str, second: str
) -> None:
    variables = {
        name: getattr(keys, value, value)
        for name, value in (LOGINS[first] | LOGINS[second]).items()
    }
    if first == second:
        from_env(**variables)
        return
    with pytest.raises(SettingsError) as raised:
        from_env(**variables)
    assert first in str(raised.value)
    assert second in str(raised.value)
    assert SECRET not in str(raised.value)


@pytest.mark.parametrize(
    "variable",
    [
        "NKEY_SEED_FILE",
        "CREDENTIALS_FILE",
        "SSL__CA_CERT",
        "SSL__CA_FOLDER",
        "SSL__CLIENT_CERT",
    ],
)
def test_a_missing_file_is_named_with_its_variable(
    from_env: FromEnv, tls_files: TlsFiles, variable: str
) -> None:
    others = {"SSL__CLIENT_KEY": tls_files.client_key} if variable == "SSL__CLIENT_CERT" else {}
    with pytest.raises(SettingsError) as raised:
        from_env(**{variable: "/nowhere/file.pem"}, **others)
    assert f"NATS_{variable}" in str(raised.value)
    assert "/nowhere/file.pem" in str(raised.value)


@pytest.mark.parametrize("variable", ["NKEY_SEED_FILE", "CREDENTIALS_FILE"])
@pytest.mark.parametrize("content", [b"", b"hello", b"\xff\x00" * 40, b"-----BEGIN"])
def test_a_file_that_holds_something_else_is_refused(
    from_env: FromEnv, tmp_path: Path, variable: str, content: bytes
) -> None:
    path = tmp_path / "key"
    path.write_bytes(content)
    with pytest.raises(SettingsError, match=f"NATS_{variable}.*{path}"):
        from_env(**{variable: path})


@pytest.mark.parametrize("variable", ["NKEY_SEED_FILE", "CREDENTIALS_FILE"])
def test_a_key_in_the_place_of_its_file_is_not_shown(
    from_env: FromEnv, keys: Keys, variable: str
) -> None:
    content = keys.seed_file if variable == "NKEY_SEED_FILE" else keys.creds_file
    with pytest.raises(SettingsError, match="not the key itself") as raised:
        from_env(**{variable: content.read_text().strip()})
    assert keys.user.seed.decode() not in str(raised.value)


def test_the_seed_of_an_account_is_refused(from_env: FromEnv, tmp_path: Path) -> None:
    path = tmp_path / "account.nk"
    path.write_bytes(new_key(nkeys.PREFIX_BYTE_ACCOUNT).seed)
    with pytest.raises(SettingsError, match="does not hold a user's nkey seed"):
        from_env(NKEY_SEED_FILE=path)


def test_a_ca_file_that_is_no_certificate(from_env: FromEnv, tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    path.write_text("hello")
    settings = from_env(SSL__CA_CERT=path)
    with pytest.raises(SettingsError, match=r"NATS_SSL.*ca\.pem"):
        settings.to_nats_kwargs()


@pytest.mark.parametrize(
    ("variables", "problem"),
    [
        ({"PORT": "x"}, "NATS_PORT"),
        ({"PORT": "70000"}, "NATS_PORT"),
        ({"HOST": "nats://a"}, "NATS_HOST"),
        ({"SERVERS": f"http://svc:{SECRET}@a"}, "NATS_SERVERS"),
        ({"AUTH__USERNAME": "svc"}, "NATS_AUTH__PASSWORD"),
        ({"AUTH__TYPE": "oauth2", "AUTH__PASSWORD": SECRET}, "NATS_AUTH__TYPE"),
        ({"SSL__CLIENT_CERT": "/a"}, "client_key"),
    ],
)
def test_wrong_values_are_named_by_variable(
    from_env: FromEnv, variables: dict[str, str], problem: str
) -> None:
    with pytest.raises(SettingsError) as raised:
        from_env(**variables)
    assert problem in str(raised.value)
    assert SECRET not in str(raised.value)
    assert "default factory" not in str(raised.value)


@pytest.mark.parametrize(
    "values",
    [
        {"token": SECRET},
        {"auth": {"username": "svc", "password": SECRET}},
        {"auth": BasicAuthConfig(username="svc", password=SECRET)},
        {"servers": f"nats://svc:{SECRET}@a:1,nats://{SECRET}@b:2"},
    ],
)
def test_no_secret_in_repr_or_str(values: dict[str, Any]) -> None:
    settings = NatsConnectionSettings(**values)
    for text in (repr(settings), str(settings), f"{settings}", repr(settings.auth)):
        assert SECRET not in text
    assert SECRET not in repr(bus_settings(settings))
    if settings.auth:
        assert "svc" in repr(settings)


# ---- password and token ------------------------------------------------------------------


@pytest.fixture(scope="module")
def password_server() -> Iterator[LocalNats]:
    with LocalNats(
        config=f'authorization {{ user: "svc", password: "{SECRET}" }}', token=None
    ) as server:
        yield server


@pytest.fixture(scope="module")
def token_server() -> Iterator[LocalNats]:
    with LocalNats(config=f'authorization {{ token: "{SECRET}" }}', token=None) as server:
        yield server


async def test_user_and_password(from_env: FromEnv, password_server: LocalNats) -> None:
    await round_trip(
        from_env(
            SERVERS=password_server.url,
            AUTH__TYPE="basic",
            AUTH__USERNAME="svc",
            AUTH__PASSWORD=SECRET,
        )
    )


async def test_user_and_password_in_the_url(from_env: FromEnv, password_server: LocalNats) -> None:
    await round_trip(from_env(SERVERS=f"nats://svc:{SECRET}@127.0.0.1:{password_server.port}"))


async def test_a_password_of_any_characters_is_percent_encoded_in_the_url(
    from_env: FromEnv,
) -> None:
    secret = "/?#@:[]%, ü\"'\\"
    config = f'authorization {{ user: "a@b", password: {json.dumps(secret, ensure_ascii=False)} }}'
    with LocalNats(config=config, token=None) as server:
        url = f"nats://{quote('a@b', safe='')}:{quote(secret, safe='')}@127.0.0.1:{server.port}"
        settings = from_env(SERVERS=url)
        await round_trip(settings)
        assert settings.to_servers_list() == [url]


async def test_a_token_of_any_characters_is_percent_encoded_in_the_url(
    from_env: FromEnv,
) -> None:
    with LocalNats(config='authorization { token: "/?#@:" }', token=None) as server:
        await round_trip(from_env(SERVERS=f"nats://%2F%3F%23%40%3A@127.0.0.1:{server.port}"))


@pytest.mark.parametrize("wrong", ["wr0ng-pa55", ""])
async def test_a_wrong_password_is_refused_and_not_shown(
    from_env: FromEnv,
    password_server: LocalNats,
    wrong: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    login = {"AUTH__USERNAME": "svc", "AUTH__PASSWORD": wrong} if wrong else {}
    settings = from_env(SERVERS=password_server.url, **login)
    with pytest.raises(AuthenticationError) as raised:
        await round_trip(settings)
    assert "refused the login" in str(raised.value)
    assert str(password_server.port) in str(raised.value)
    assert "wr0ng" not in str(raised.value) + caplog.text


async def test_token(from_env: FromEnv, token_server: LocalNats) -> None:
    await round_trip(from_env(SERVERS=token_server.url, TOKEN=SECRET))


async def test_a_wrong_token_is_refused_and_not_shown(
    from_env: FromEnv, token_server: LocalNats
) -> None:
    with pytest.raises(AuthenticationError) as raised:
        await round_trip(from_env(SERVERS=token_server.url, TOKEN="wr0ng-t0ken"))
    assert "wr0ng" not in str(raised.value)


# ---- TLS ---------------------------------------------------------------------------------


@dataclass
class TlsFiles:
    ca: Path
    server_cert: Path
    server_key: Path
    client_cert: Path
    client_key: Path


@pytest.fixture(scope="module")
def tls_files(tmp_path_factory: pytest.TempPathFactory) -> TlsFiles:
    folder = tmp_path_factory.mktemp("tls")
    ca = trustme.CA()
    files = TlsFiles(
        *(folder / f"{name}.pem" for name in ("ca", "cert", "key", "client", "client-key"))
    )
    ca.cert_pem.write_to_path(files.ca)
    server = ca.issue_cert("127.0.0.1", "localhost")
    server.private_key_pem.write_to_path(files.server_key)
    server.cert_chain_pems[0].write_to_path(files.server_cert)
    client = ca.issue_cert("svc@example.org")
    client.private_key_pem.write_to_path(files.client_key)
    client.cert_chain_pems[0].write_to_path(files.client_cert)
    return files


@pytest.fixture(scope="module")
def tls_server(tls_files: TlsFiles) -> Iterator[LocalNats]:
    config = f'tls {{ cert_file: "{tls_files.server_cert}", key_file: "{tls_files.server_key}" }}'
    with LocalNats(config=config, token=None) as server:
        yield server


@pytest.fixture(scope="module")
def mutual_tls_server(tls_files: TlsFiles) -> Iterator[LocalNats]:
    config = (
        f'tls {{ cert_file: "{tls_files.server_cert}", key_file: "{tls_files.server_key}", '
        f'ca_file: "{tls_files.ca}", verify: true }}'
    )
    with LocalNats(config=config, token=None) as server:
        yield server


async def test_tls_with_a_private_ca(
    from_env: FromEnv, tls_server: LocalNats, tls_files: TlsFiles
) -> None:
    await round_trip(from_env(SERVERS=tls_server.url, SSL__CA_CERT=tls_files.ca))


async def test_tls_without_its_ca_is_refused(from_env: FromEnv, tls_server: LocalNats) -> None:
    with pytest.raises(ServerUnreachableError, match="CERTIFICATE_VERIFY_FAILED"):
        await round_trip(from_env(SERVERS=tls_server.url))


async def test_tls_without_verifying(from_env: FromEnv, tls_server: LocalNats) -> None:
    settings = from_env(SERVERS=tls_server.url, SSL__VERIFY="false", SSL__CHECK_HOSTNAME="false")
    await round_trip(settings)


async def test_mutual_tls(
    from_env: FromEnv,
    mutual_tls_server: LocalNats,
    tls_files: TlsFiles,
) -> None:
    await round_trip(
        from_env(
            SERVERS=mutual_tls_server.url,
            SSL__CA_CERT=tls_files.ca,
            SSL__CLIENT_CERT=tls_files.client_cert,
            SSL__CLIENT_KEY=tls_files.client_key,
        )
    )


async def test_mutual_tls_without_a_client_certificate_is_refused(
    from_env: FromEnv,
    mutual_tls_server: LocalNats,
    tls_files: TlsFiles,
) -> None:
    settings = from_env(SERVERS=mutual_tls_server.url, SSL__CA_CERT=tls_files.ca)
    with pytest.raises(ServerUnreachableError, match="asks for a client certificate"):
        await round_trip(settings)


async def test_tls_never_falls_back_to_plain_text(
    from_env: FromEnv, password_server: LocalNats, tls_files: TlsFiles
) -> None:
    login = {"AUTH__USERNAME": "svc", "AUTH__PASSWORD": SECRET}
    settings = from_env(SERVERS=password_server.url, SSL__CA_CERT=tls_files.ca, **login)
    with pytest.raises(ServerUnreachableError, match="TLS is set up here, but the server"):
        await round_trip(settings)


def tls_kwargs(files: TlsFiles) -> dict[str, object]:
    return {"tls": SSLConfig(ca_cert=files.ca).build_ssl_context()}


def with_scheme(url: str, scheme: str, login: str = f"svc:{SECRET}") -> str:
    return f"{scheme}://{login}@{url.rpartition('//')[2].rpartition('@')[2]}"


@asynccontextmanager
async def listener(
    info: dict[str, object], port: int = 0
) -> AsyncIterator[tuple[int, list[bytes]]]:
    """Says it is a NATS server with `info`; its port, and what was sent to it."""
    heard: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"INFO " + json.dumps(info).encode() + b"\r\n")
        heard.append(b"")
        with suppress(OSError):
            while data := await reader.read(4096):
                heard[-1] += data
                if b"PING" in data:
                    writer.write(b"PONG\r\n")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", port)
    async with server:
        yield server.sockets[0].getsockname()[1], heard


INFO = {"server_id": "rogue", "version": "2.12.0", "max_payload": 1_000_000, "headers": True}


@pytest.mark.parametrize("more", [{}, {"tls_required": False}, {"auth_required": True}])
@pytest.mark.parametrize("scheme", ["tls", "TLS"])
async def test_the_scheme_demands_tls_and_nothing_is_sent_without(
    scheme: str, more: dict[str, object]
) -> None:
    async with listener(INFO | more) as (port, heard):
        url = f"{scheme}://svc:{SECRET}@127.0.0.1:{port}"
        settings = NatsEventBusSettings(servers=url)
        with pytest.raises(ServerUnreachableError, match="TLS is demanded by the URL") as caught:
            await connect(settings, name="test")
    assert heard
    assert set(heard) == {b""}
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("offer", ["tls_required", "tls_available"])
async def test_only_a_handshake_is_sent_to_a_server_that_cannot_finish_it(offer: str) -> None:
    async with listener(INFO | {offer: True, "auth_required": True}) as (port, heard):
        settings = NatsEventBusSettings(
            servers=f"tls://svc:{SECRET}@127.0.0.1:{port}", connect_kwargs={"connect_timeout": 0.3}
        )
        with pytest.raises(ServerUnreachableError):
            await connect(settings, name="test")
    assert heard
    for sent in heard:
        assert sent.startswith(b"\x16\x03")  # a TLS handshake
        assert SECRET.encode() not in sent
        assert b"CONNECT" not in sent


async def test_the_tls_scheme_against_real_servers(
    password_server: LocalNats, tls_server: LocalNats, tls_files: TlsFiles
) -> None:
    url = with_scheme(password_server.url, "tls")
    with pytest.raises(ServerUnreachableError, match="TLS is demanded by the URL") as caught:
        await connect(NatsEventBusSettings(servers=url), name="test")
    assert SECRET not in str(caught.value)
    settings = NatsEventBusSettings(
        servers=with_scheme(tls_server.url, "tls"), connect_kwargs=tls_kwargs(tls_files)
    )
    connection = await connect(settings, name="test")
    assert connection.nc.is_encrypted
    await connection.close()


async def test_the_tls_scheme_takes_up_tls_that_is_only_offered(tls_files: TlsFiles) -> None:
    config = (
        f'tls {{ cert_file: "{tls_files.server_cert}", key_file: "{tls_files.server_key}" }}\n'
        "allow_non_tls: true"
    )
    with LocalNats(config=config, token=None) as server:
        for scheme, encrypted in (("tls", True), ("nats", False)):
            kwargs = tls_kwargs(tls_files) if encrypted else {}
            settings = NatsEventBusSettings(
                servers=with_scheme(server.url, scheme), connect_kwargs=kwargs
            )
            connection = await connect(settings, name="test")
            assert connection.nc.is_encrypted is encrypted
            await connection.close()


async def test_each_url_of_a_list_goes_by_its_own_scheme(password_server: LocalNats) -> None:
    async with listener(INFO) as (port, heard):
        plain = with_scheme(password_server.url, "nats")
        settings = NatsEventBusSettings(
            servers=f"tls://svc:{SECRET}@127.0.0.1:{port},{plain}",
            connect_kwargs={"dont_randomize": True},
        )
        connection = await connect(settings, name="test")
        assert connection.nc.connected_url is not None
        assert connection.nc.connected_url.port == password_server.port
        await connection.close()
    assert set(heard) == {b""}


async def test_a_server_named_by_another_keeps_the_scheme_that_it_was_given() -> None:
    named = INFO | {"connect_urls": ["127.0.0.1:1", "127.0.0.1:2"]}
    async with listener(named) as (port, _):
        settings = NatsEventBusSettings(
            servers=f"nats://svc:%2F{SECRET}@127.0.0.1:{port},tls://svc:{SECRET}@127.0.0.1:1",
            connect_kwargs={"dont_randomize": True},
        )
        connection = await connect(settings, name="test")
        found = {uri.port: (uri.scheme, uri.password) for uri in connection.nc.servers}
        assert found == {
            port: ("nats", f"/{SECRET}"),
            1: ("tls", SECRET),
            2: ("nats", f"/{SECRET}"),
        }
        await connection.abort()


async def test_servers_named_over_tls_must_speak_tls_too(tls_files: TlsFiles) -> None:
    cluster_config = (
        f'tls {{ cert_file: "{tls_files.server_cert}", key_file: "{tls_files.server_key}" }}'
    )
    with LocalCluster(2, token=None, config=cluster_config) as cluster:
        settings = NatsEventBusSettings(
            servers=cluster.nodes[0].url.replace("nats://", "tls://"),
            connect_kwargs=tls_kwargs(tls_files),
        )
        connection = await connect(settings, name="test")
        try:
            await until(lambda: connection.nc.discovered_servers != [])
            assert {uri.scheme for uri in connection.nc.servers} == {"tls"}
        finally:
            await connection.abort()


async def test_a_reconnect_sends_nothing_to_a_server_without_tls(
    tls_files: TlsFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tls_files.ca))
    config = f'tls {{ cert_file: "{tls_files.server_cert}", key_file: "{tls_files.server_key}" }}'
    with LocalNats(config=config, token=None) as server:
        settings = NatsEventBusSettings(servers=with_scheme(server.url, "tls"))
        connection = await connect(settings, name="test")
        try:
            assert connection.nc.is_encrypted
            server.kill()
            async with listener(INFO, server.port) as (_, heard):
                await until(lambda: len(heard) > 1)
            assert set(heard) == {b""}
            server.restart()
            await until(lambda: connection.is_connected)
            assert connection.nc.is_encrypted
        finally:
            await connection.abort()


# ---- nkeys and JWTs ----------------------------------------------------------------------


def new_key(kind: int) -> nkeys.KeyPair:
    return nkeys.from_seed(nkeys.encode_seed(os.urandom(32), kind))


def public(key: nkeys.KeyPair) -> str:
    return str(key.public_key.decode())


def jwt(issuer: nkeys.KeyPair, subject: nkeys.KeyPair, nats: dict[str, object]) -> str:
    """A JWT as nsc makes them: signed with the issuer's nkey."""

    def part(value: bytes) -> str:
        return base64.urlsafe_b64encode(value).rstrip(b"=").decode()

    claims: dict[str, object] = {
        "iat": int(time.time()),
        "iss": public(issuer),
        "name": str(nats["type"]),
        "sub": public(subject),
        "nats": nats | {"version": 2},
    }
    digest = hashlib.sha256(json.dumps(claims).encode()).digest()
    claims["jti"] = base64.b32encode(digest).decode().rstrip("=")
    head = part(json.dumps({"typ": "JWT", "alg": "ed25519-nkey"}).encode())
    body = f"{head}.{part(json.dumps(claims).encode())}"
    return f"{body}.{part(issuer.sign(body.encode()))}"


@dataclass
class Keys:
    user: nkeys.KeyPair
    seed_file: Path
    creds_file: Path
    operator_config: str


ACCOUNT_LIMITS = {
    **dict.fromkeys(("subs", "data", "payload", "imports", "exports", "conn", "leaf"), -1),
    **dict.fromkeys(("mem_storage", "disk_storage", "streams", "consumer"), -1),
    "wildcards": True,
}


def creds(user_jwt: str, seed: bytes) -> str:
    return (
        f"-----BEGIN NATS USER JWT-----\n{user_jwt}\n------END NATS USER JWT------\n\n"
        f"-----BEGIN USER NKEY SEED-----\n{seed.decode()}\n------END USER NKEY SEED------\n"
    )


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    folder = tmp_path_factory.mktemp("keys")
    operator = new_key(nkeys.PREFIX_BYTE_OPERATOR)
    system, account = (new_key(nkeys.PREFIX_BYTE_ACCOUNT) for _ in range(2))
    user = new_key(nkeys.PREFIX_BYTE_USER)
    operator_jwt = jwt(operator, operator, {"type": "operator"})
    system_limits = {name: value for name, value in ACCOUNT_LIMITS.items() if "storage" not in name}
    system_jwt = jwt(operator, system, {"type": "account", "limits": system_limits})
    account_jwt = jwt(operator, account, {"type": "account", "limits": ACCOUNT_LIMITS})
    limits = dict.fromkeys(("subs", "data", "payload"), -1)
    user_jwt = jwt(account, user, {"type": "user", **limits})
    (folder / "user.nk").write_bytes(user.seed + b"\n")
    (folder / "user.creds").write_text(creds(user_jwt, user.seed))
    config = (
        f"operator: {operator_jwt}\nsystem_account: {public(system)}\nresolver: MEMORY\n"
        f"resolver_preload: {{ {public(system)}: {system_jwt}\n {public(account)}: {account_jwt} }}"
    )
    return Keys(user, folder / "user.nk", folder / "user.creds", config)


async def test_nkey_seed_file(from_env: FromEnv, keys: Keys) -> None:
    config = f"authorization {{ users: [ {{ nkey: {public(keys.user)} }} ] }}"
    with LocalNats(config=config, token=None) as server:
        await round_trip(from_env(SERVERS=server.url, NKEY_SEED_FILE=keys.seed_file))


async def test_an_unknown_nkey_is_refused(from_env: FromEnv, keys: Keys) -> None:
    other = public(new_key(nkeys.PREFIX_BYTE_USER))
    config = f"authorization {{ users: [ {{ nkey: {other} }} ] }}"
    with LocalNats(config=config, token=None) as server:
        settings = from_env(SERVERS=server.url, NKEY_SEED_FILE=keys.seed_file)
        with pytest.raises(AuthenticationError):
            await round_trip(settings)


async def test_credentials_file(from_env: FromEnv, keys: Keys) -> None:
    with LocalNats(config=keys.operator_config, token=None) as server:
        await round_trip(from_env(SERVERS=server.url, CREDENTIALS_FILE=keys.creds_file))


# ---- contexts of the nats command ----------------------------------------------------------

SaveContext = Callable[..., Path]


@pytest.fixture
def save_context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SaveContext:
    """Writes the context `prod`, as `nats context save` does."""
    folder = tmp_path / "nats" / "context"
    folder.mkdir(parents=True)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    usual = [
        "description",
        "url",
        "socks_proxy",
        "token",
        "user",
        "password",
        "creds",
        "nkey",
        "cert",
        "key",
        "ca",
        "nsc",
        "user_jwt",
        "user_seed",
        "jetstream_domain",
        "jetstream_api_prefix",
        "jetstream_event_prefix",
        "inbox_prefix",
        "color_scheme",
    ]

    def save(name: str = "prod", **values: object) -> Path:
        path = folder / f"{name}.json"
        path.write_text(json.dumps(dict.fromkeys(usual, "") | {"tls_first": False} | values))
        return path

    return save


async def reach(name: str = "prod") -> NatsClient:
    """Ask the JetStream of the server of a context; the client, closed."""
    connection = await connect(settings_of_context(name), name="test")
    try:
        await connection.js.account_info()
        return connection.nc
    finally:
        await connection.close()


async def test_the_login_of_a_context(
    save_context: SaveContext,
    password_server: LocalNats,
    token_server: LocalNats,
    keys: Keys,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("NATS_TOKEN", "of the environment, which is for another server")
    monkeypatch.setenv("VARCO_NATS_SERVERS", "nats://127.0.0.1:1")
    monkeypatch.setenv("SECRET_OF_PROD", SECRET)
    monkeypatch.setenv("KEYS", str(keys.creds_file.parent))
    encoded = base64.b64encode(SECRET.encode()).decode()
    for password in (SECRET, "env://SECRET_OF_PROD", f"data:;base64,{encoded}"):
        save_context(url=password_server.url, user="svc", password=password)
        await reach()
    save_context(url=f"nats://127.0.0.1:1,{token_server.url}", token=SECRET)
    await reach()
    nkey = f"authorization {{ users: [ {{ nkey: {public(keys.user)} }} ] }}"
    with LocalNats(config=nkey, token=None) as server:
        save_context(url=server.url, nkey="$KEYS/user.nk")
        await reach()
    content = keys.creds_file.read_bytes()
    user_jwt = content.decode().splitlines()[1]
    with LocalNats(config=keys.operator_config, token=None) as server:
        for login in (
            {"creds": str(keys.creds_file)},
            {"creds": keys.creds_file.as_uri()},
            {"creds": f"data:;base64,{base64.b64encode(content).decode()}"},
            {"user_jwt": user_jwt, "user_seed": keys.user.seed.decode()},
        ):
            save_context(url=server.url, **login)
            await reach()
        save_context(url=server.url, user_jwt=user_jwt)  # which is no bearer token
        with pytest.raises(AuthenticationError):
            await reach()


async def test_tls_of_a_context(
    save_context: SaveContext, mutual_tls_server: LocalNats, tls_files: TlsFiles
) -> None:
    files = {"cert": str(tls_files.client_cert), "key": str(tls_files.client_key)}
    save_context(url=mutual_tls_server.url, ca=str(tls_files.ca), **files)
    await reach()
    save_context(url=mutual_tls_server.url, ca=str(tls_files.ca))
    with pytest.raises(ServerUnreachableError, match="asks for a client certificate"):
        await reach()
    config = (
        f'tls {{ cert_file: "{tls_files.server_cert}", key_file: "{tls_files.server_key}", '
        "handshake_first: true }"
    )
    with LocalNats(config=config, token=None) as server:
        save_context(url=server.url, ca=str(tls_files.ca), tls_first=True)
        await reach()


async def test_where_jetstream_is_comes_from_the_context_alone(
    save_context: SaveContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VARCO_NATS_JETSTREAM_DOMAIN", "of-another-server")
    monkeypatch.setenv("VARCO_NATS_STREAM_NAME", "events")
    with LocalNats(config="jetstream { domain: hub }") as server:
        save_context(url=server.url, jetstream_domain="hub", inbox_prefix="_INBOX_me")
        client = await reach()
        assert client.inbox_prefix == "_INBOX_me"
        save_context(url=server.url, jetstream_domain="spoke")
        with pytest.raises(JetStreamUnavailableError, match="in domain 'spoke'"):
            await ask_jetstream(settings_of_context("prod"))
        save_context(url=server.url, jetstream_api_prefix="from.hub")
        settings = settings_of_context("prod", durable_name="svc")
        assert settings.jetstream_api() == "from.hub"
        assert (settings.stream_name, settings.durable_name) == ("events", "svc")
        save_context(url=server.url)
        assert settings_of_context("prod").jetstream_api() == "$JS.API"


async def ask_jetstream(settings: NatsEventBusSettings) -> None:
    connection = await connect(settings, name="test")
    try:
        with jetstream_errors(connection):
            await connection.js.account_info()
    finally:
        await connection.close()


def test_the_context_that_is_selected(save_context: SaveContext, tmp_path: Path) -> None:
    save_context("a", url="nats://a:1")
    save_context("b", url="nats://b:1")
    (tmp_path / "nats" / "context" / "empty.json").touch()  # which nats does not list either
    assert contexts() == ["a", "b"]
    with pytest.raises(SettingsError, match=r"none is selected; name one \(there are 'a', 'b'\)"):
        settings_of_context()
    (tmp_path / "nats" / "context.txt").write_text("b\n")
    assert selected_context() == "b"
    assert settings_of_context().to_servers_list() == ["nats://b:1"]
    assert settings_of_context("a").to_servers_list() == ["nats://a:1"]


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"socks_proxy": "socks5://p:1"}, "socks_proxy: a SOCKS proxy cannot be used"),
        ({"nsc": "nsc://o/a/u"}, "nsc: the nsc command is not asked"),
        ({"creds": "op://vault/item"}, "creds: 'op:' is not asked; put the key into a file"),
        ({"creds": "/nowhere.creds"}, "creds: /nowhere.creds cannot be read"),
        ({"nkey": "env://NO_SUCH_KEY"}, "nkey: the variable 'NO_SUCH_KEY' is not set"),
        ({"user": "a", "token": SECRET}, "token: cannot be sent together with user"),
        ({"token": "data:text,x"}, "token: is a 'data:' without ';base64,'"),
        ({"ca": "/nowhere.pem"}, "cert, key, ca: there is no file /nowhere.pem"),
        ({"key": f"-----BEGIN {SECRET}"}, "cert, key, ca: must be the name of a file"),
        ({"windows_cert_store": "user"}, "windows_cert_store: the certificate store of Windows"),
        ({"url": f"http://{SECRET}@a"}, r"servers .*is not a server URL"),
        ({"url": 7}, "url: must be text"),
        ({"tls_first": "yes"}, "tls_first: must be true or false"),
        ({"jetstream_domain": "a", "jetstream_api_prefix": "b"}, "set only one"),
    ],
)
def test_what_a_context_asks_for_in_vain_is_named(
    save_context: SaveContext, values: dict[str, object], problem: str
) -> None:
    save_context(**values)
    with pytest.raises(SettingsError, match=f"context 'prod': .*{problem}") as raised:
        settings_of_context("prod")
    assert SECRET not in str(raised.value)


def test_a_context_that_is_not_there(save_context: SaveContext, tmp_path: Path) -> None:
    with pytest.raises(
        SettingsError, match=rf"'prod': there is none; there are none in {tmp_path}"
    ):
        settings_of_context("prod")
    path = save_context("production")
    with pytest.raises(SettingsError, match="'prodcution': there is none; did you mean 'producti"):
        settings_of_context("prodcution")
    with pytest.raises(SettingsError, match="'x': there is none; there are 'production'"):
        settings_of_context("x")
    with pytest.raises(SettingsError, match="is no name of a context; there are 'production'"):
        settings_of_context("../context/production")
    for content in (f'{{"password": "{SECRET}"', f'"{SECRET}"'):
        path.write_text(content)
        with pytest.raises(SettingsError, match=f"{path} (is no JSON|holds no JSON obj)") as raised:
            settings_of_context("production")
        assert SECRET not in str(raised.value)


def test_what_is_new_in_a_context_is_left_out_and_said(save_context: SaveContext) -> None:
    save_context(url="nats://a:1", user="svc", password=SECRET, from_the_future=7)
    with pytest.warns(UserWarning, match="context 'prod' sets from_the_future, which is left out"):
        settings = settings_of_context("prod")
    assert SECRET not in repr(settings)
