"""`NatsHealthCheck` against servers that are well, off, gone, frozen or strict."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import trustme
from nats.aio.client import Client
from varco_core.connection import SSLConfig
from varco_core.health import CompositeHealthCheck, HealthCheck, HealthStatus

from tests.conftest import MakeSettings
from tests.waiting import until
from varco_nats._nats.client import Connection, connect
from varco_nats._nats.stream import ensure_stream, event_stream_config, store_in
from varco_nats.config import NatsEventBusSettings
from varco_nats.connection import NatsConnectionSettings
from varco_nats.health import NatsHealthCheck
from varco_nats.server import LocalCluster, LocalNats

SECRET = "s3cret-pa55"


async def make_stream(settings: NatsEventBusSettings) -> None:
    connection = await connect(settings, name="test")
    try:
        await ensure_stream(connection, event_stream_config(settings), create=True)
        # as a server of a cluster may not have heard of the stream yet
        orders = settings.subject_name("orders")
        await store_in(connection, settings.stream_name, orders, b"{}", {}, 5)
    finally:
        await connection.close()


async def test_healthy_names_server_version_and_stream(settings: NatsEventBusSettings) -> None:
    await make_stream(settings)
    check = NatsHealthCheck(settings)
    result = await check.check()
    assert isinstance(check, HealthCheck)
    assert check.name == result.component == "nats"
    assert result.status is HealthStatus.HEALTHY
    assert result.latency_ms is not None
    assert 0 < result.latency_ms < 5000
    assert "nats server v2." in str(result.detail)
    assert f"stream {settings.stream_name!r} holds 1 messages" in str(result.detail)


async def test_a_stream_that_the_bus_will_create_is_no_problem_and_stays_missing(
    settings: NatsEventBusSettings, nc: Client
) -> None:
    result = await NatsHealthCheck(settings).check()
    assert result.status is HealthStatus.HEALTHY
    assert f"{settings.stream_name!r} does not exist yet" in str(result.detail)
    names = [info.config.name for info in await nc.jetstream().streams_info()]
    assert settings.stream_name not in names


async def test_a_missing_stream_that_nobody_creates(make_settings: MakeSettings) -> None:
    settings = make_settings(auto_create_stream=False)
    result = await NatsHealthCheck(settings).check()
    assert result.status is HealthStatus.UNHEALTHY
    assert f"stream {settings.stream_name!r} does not exist" in str(result.detail)


async def test_a_stream_with_other_subjects(make_settings: MakeSettings) -> None:
    await make_stream(make_settings())
    settings = make_settings(subject_prefix="elsewhere")
    result = await NatsHealthCheck(settings).check()
    assert result.status is HealthStatus.UNHEALTHY
    assert "elsewhere.>" in str(result.detail)


async def test_jetstream_off() -> None:
    with LocalNats(jetstream=False) as server:
        result = await NatsHealthCheck(NatsEventBusSettings(servers=server.url)).check()
    assert result.status is HealthStatus.UNHEALTHY
    assert "no JetStream" in str(result.detail)


async def test_a_stopped_server_and_the_same_one_back(own_server: LocalNats) -> None:
    check = NatsHealthCheck(NatsEventBusSettings(servers=own_server.url))
    assert (await check.check()).status is HealthStatus.HEALTHY
    own_server.kill()
    result = await check.check()
    assert result.status is HealthStatus.UNHEALTHY
    assert result.latency_ms is None
    assert f"no NATS server answered at nats://127.0.0.1:{own_server.port}" in str(result.detail)
    own_server.restart()
    assert (await check.check()).status is HealthStatus.HEALTHY


async def test_a_paused_server_is_reported_in_time(own_server: LocalNats) -> None:
    patient = NatsEventBusSettings(servers=own_server.url, connect_kwargs={"connect_timeout": 60})
    check = NatsHealthCheck(patient, timeout=0.4)
    own_server.pause()
    async with asyncio.timeout(20):
        result = await check.check()
    own_server.resume()
    assert result.status is HealthStatus.UNHEALTHY
    assert result.latency_ms is None
    assert "did not answer within 0.4 s" in str(result.detail)
    assert (await NatsHealthCheck(NatsEventBusSettings(servers=own_server.url)).check()).status is (
        HealthStatus.HEALTHY
    )


async def test_a_wrong_login_shows_no_secret() -> None:
    with LocalNats() as server:
        settings = NatsEventBusSettings(servers=f"nats://svc:{SECRET}@127.0.0.1:{server.port}")
        check = NatsHealthCheck(settings)
        result = await check.check()
    assert result.status is HealthStatus.UNHEALTHY
    assert "refused the login" in str(result.detail)
    assert SECRET not in repr(result)
    assert SECRET not in repr(check)


async def test_never_raises_for_wrong_keywords(server: LocalNats) -> None:
    settings = NatsEventBusSettings(servers=server.url, connect_kwargs={"no_such_thing": 1})
    result = await NatsHealthCheck(settings).check()
    assert result.status is HealthStatus.UNHEALTHY
    assert "no_such_thing" in str(result.detail)


async def test_many_checks_at_once_leave_no_connection(own_server: LocalNats) -> None:
    check = NatsHealthCheck(NatsEventBusSettings(servers=own_server.url))
    results = await asyncio.gather(*(check.check() for _ in range(20)))
    assert {result.status for result in results} == {HealthStatus.HEALTHY}
    composite = await CompositeHealthCheck(check).check()
    assert composite.status is HealthStatus.HEALTHY


async def test_cancelled_check_is_cancelled(own_server: LocalNats) -> None:
    own_server.pause()
    settings = NatsEventBusSettings(servers=own_server.url)
    task = asyncio.create_task(NatsHealthCheck(settings).check())
    await asyncio.sleep(0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    own_server.resume()


async def test_a_stream_that_lost_its_majority_is_degraded(
    make_settings: MakeSettings, cluster: LocalCluster
) -> None:
    settings = make_settings(servers=cluster.servers, stream_replicas=3)
    await make_stream(settings)
    assert (await NatsHealthCheck(settings).check()).status is HealthStatus.HEALTHY
    connection = await connect(settings, name="test")
    info = await connection.js.stream_info(settings.stream_name)
    await connection.close()
    assert info.cluster is not None
    [leader] = [node for node in cluster.nodes if node._name == info.cluster.leader]
    for node in cluster.nodes:
        if node is not leader:
            node.kill()
    # patient, so that a busy machine is not taken for a server that does not answer
    check = NatsHealthCheck(settings.model_copy(update={"servers": leader.url}), timeout=10)
    result = await check.check()

    async def lost() -> bool:
        nonlocal result
        result = await check.check()
        return "has lost 2 of its 3 replicas" in str(result.detail)

    await until(lost, every=0.2)
    assert result.status is HealthStatus.DEGRADED
    assert f"stream {settings.stream_name!r} has lost" in str(result.detail)


async def test_a_server_that_hangs_during_the_check_is_reported_in_time(tmp_path: Path) -> None:
    ca = trustme.CA()
    certificate, files = ca.issue_cert("127.0.0.1"), [tmp_path / name for name in ("ca", "c", "k")]
    ca.cert_pem.write_to_path(files[0])
    certificate.cert_chain_pems[0].write_to_path(files[1])
    certificate.private_key_pem.write_to_path(files[2])
    config = f'tls {{ cert_file: "{files[1]}", key_file: "{files[2]}" }}'
    with LocalNats(config=config, token=None) as server:
        tls = NatsConnectionSettings(ssl=SSLConfig(ca_cert=files[0])).to_nats_kwargs()
        settings = NatsEventBusSettings(servers=server.url, connect_kwargs=tls)

        class PausedAfterConnecting(NatsHealthCheck):
            async def _ask(self, connection: Connection) -> tuple[HealthStatus, str]:
                server.pause()
                return await super()._ask(connection)

        async with asyncio.timeout(
            20
        ):  # the end of the TLS connection would be waited for for 30 s
            result = await PausedAfterConnecting(settings, timeout=0.5).check()
        server.resume()
    assert result.status is HealthStatus.UNHEALTHY
    assert "did not answer within 0.5 s" in str(result.detail)
