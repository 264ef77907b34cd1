"""Settings and names: defaults, environment, what is refused, what is never shown."""

from __future__ import annotations

import asyncio
import inspect
import math
import traceback
from typing import Any

import pytest
from nats.aio.client import Client
from varco_core.event.base import Event
from varco_core.event.serializer import JsonEventSerializer

from tests.conftest import MakeSettings
from tests.events import orders
from tests.proxy import ANSWERS, Proxy
from tests.waiting import until
from varco_nats import _environment, subjects
from varco_nats._nats.client import Connection
from varco_nats._nats.stream import covers
from varco_nats.bus import NatsEventBus
from varco_nats.bus._outcome import Outcome, decide, nak_delay
from varco_nats.channel import NatsChannelManagerSettings, NatsStreamManager
from varco_nats.config import (
    CheckedSettings,
    NatsDeliverySemantics,
    NatsEventBusSettings,
    StreamSettings,
    without_credentials,
)
from varco_nats.connection import NatsConnectionSettings
from varco_nats.dlq import NatsDLQ
from varco_nats.errors import (
    InvalidChannelError,
    ServerUnreachableError,
    SettingsError,
    VarcoNatsError,
)
from varco_nats.health import NatsHealthCheck
from varco_nats.history import History
from varco_nats.replay import Replayer, ReplayOutcome
from varco_nats.server import LocalNats


def test_every_field_is_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    values = {
        "servers": "nats://one:4222,nats://two:4222",
        "stream_name": "events",
        "subject_prefix": "shop",
        "channel_prefix": "prod.",
        "durable_name": "orders",
        "delivery_semantics": "exactly_once",
        "auto_create_stream": "false",
        "stream_replicas": "3",
        "ack_wait_seconds": "7",
        "max_deliver": "9",
        "duplicate_window_seconds": "11",
        "nak_delay_seconds": "0.5",
        "concurrency": "4",
        "prefetch": "10",
        "drain_timeout_seconds": "2",
        "publish_timeout_seconds": "3",
        "publish_attempts": "1",
        "ping_interval_seconds": "6",
        "leader_timeout_seconds": "20",
        "jetstream_domain": "hub",
        "read_only": "true",
        "connect_kwargs": '{"name": "mine"}',
    }
    # not together with a domain; and what is an object, which has a test of its own
    excluded = {"jetstream_api_prefix", "serializer"}
    assert set(values) | excluded == set(NatsEventBusSettings.model_fields)
    for name, value in values.items():
        monkeypatch.setenv(f"VARCO_NATS_{name.upper()}", value)
    settings = NatsEventBusSettings.from_env()
    shown = settings.model_dump(mode="json")
    assert shown.pop("connect_kwargs") == {"name": "mine"}
    assert shown.pop("auto_create_stream") is False
    assert shown.pop("read_only") is True
    assert shown.pop("jetstream_api_prefix") is None
    assert {name: str(value).removesuffix(".0") for name, value in shown.items()} == {
        name: value
        for name, value in values.items()
        if name not in ("connect_kwargs", "auto_create_stream", "read_only")
    }


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"ack_wait_seconds": "soon"}, "ack_wait_seconds (VARCO_NATS_ACK_WAIT_SECONDS)"),
        ({"ack_wait_seconds": 0}, "greater than or equal to 0.1"),
        ({"max_deliver": 0}, "max_deliver"),
        ({"max_deliver": 2.5}, "max_deliver"),
        ({"duplicate_window_seconds": -1}, "duplicate_window_seconds"),
        ({"publish_attempts": 0}, "publish_attempts"),
        ({"delivery_semantics": "twice"}, "'at_most_once', 'at_least_once' or 'exactly_once'"),
        ({"servers": ""}, "servers (VARCO_NATS_SERVERS)"),
        ({"servers": "http://host"}, "nats://host:4222"),
        ({"servers": "nats://host:port"}, "nats://host:4222"),
        ({"stream_name": "a.b"}, "stream_name"),
        ({"durable_name": ""}, "durable_name"),
        ({"subject_prefix": "a.>"}, "wildcard"),
        ({"channel_prefix": "a b."}, "white space"),
        ({"connect_kwargs": "no"}, "connect_kwargs"),
        ({"serverz": "nats://host"}, "there is no such setting"),
        ({"ack_wait_seconds": math.inf}, "finite"),
        ({"drain_timeout_seconds": "nan"}, "finite"),
        ({"ping_interval_seconds": 1e9}, "less than or equal to 3600"),
        ({"ping_interval_seconds": math.nan}, "finite"),
        ({"nak_delay_seconds": 1e20}, "less than or equal to 9000000000"),
        ({"duplicate_window_seconds": 1e20}, "less than or equal to 9000000000"),
        ({"publish_timeout_seconds": math.inf}, "finite"),
        ({"stream_name": "s" * 246}, "has 246 bytes, more than 245; choose a shorter name"),
        ({"stream_name": "ü" * 123}, "has 246 bytes"),
        ({"stream_name": "s\ud800"}, "stream_name"),
        ({"durable_name": "d" * 201}, "has 201 bytes, more than 200; choose a shorter name"),
        ({"subject_prefix": "p" * 491}, "has 491 characters, more than 490"),
        ({"subject_prefix": "€" * 400}, "has 1,200 bytes, more than 1,000"),
        ({"channel_prefix": "p" * 501}, "characters, more than 500"),
    ],
)
def test_wrong_settings_are_named(values: dict[str, Any], named: str) -> None:
    with pytest.raises(SettingsError) as caught:
        NatsEventBusSettings(**values)
    assert named in str(caught.value)
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, VarcoNatsError)
    with pytest.raises(SettingsError):
        NatsEventBusSettings.from_dict(values)


async def test_the_longest_names_are_taken_by_the_server(
    make_settings: MakeSettings,
) -> None:
    unique = make_settings().stream_name
    channel = "c" * 499
    settings = make_settings(
        stream_name=unique + "s" * (245 - len(unique)),
        subject_prefix=unique + "p" * (490 - len(unique)),
        channel_prefix="x" * 499,
        durable_name="é" * 100,
        ack_wait_seconds=9e9,
        duplicate_window_seconds=9e9,
    )
    handled = asyncio.Event()

    async def handle(event: Event) -> None:
        handled.set()

    async with NatsDLQ(settings), NatsEventBus(settings) as bus, Replayer(settings) as replayer:
        bus.subscribe(Event, handle, channel=channel)
        await bus.publish_many(orders(1, channel))
        async with asyncio.timeout(10):
            await handled.wait()
        await replayer.capture_exhausted()
        report = await replayer.run(await replayer.plan_history(channel, to="t" * 500))
        assert report.of(ReplayOutcome.REPLAYED)
    values = settings.model_dump(include=set(NatsChannelManagerSettings.model_fields))
    async with NatsStreamManager(NatsChannelManagerSettings(**values)) as manager:
        await manager.declare_channel(channel)
        assert channel in await manager.list_channels()


@pytest.mark.parametrize(
    ("settings", "variable", "meant"),
    [
        (NatsEventBusSettings, "VARCO_NATS_SERVER", "VARCO_NATS_SERVERS"),
        (NatsEventBusSettings, "varco_nats_durable_nam", "VARCO_NATS_DURABLE_NAME"),
        (NatsEventBusSettings, "VARCO_NATS_ACK_WAIT", "VARCO_NATS_ACK_WAIT_SECONDS"),
        (NatsChannelManagerSettings, "VARCO_NATS_ADMIN_SERVER", "VARCO_NATS_ADMIN_SERVERS"),
        (NatsConnectionSettings, "NATS_PASSWORD", "NATS_AUTH__PASSWORD"),
        (NatsConnectionSettings, "NATS_USER", "NATS_AUTH__USERNAME"),
        (NatsConnectionSettings, "NATS_SSL_CA_CERT", "NATS_SSL__CA_CERT"),
        (NatsConnectionSettings, "NATS_TOKN", "NATS_TOKEN"),
    ],
)
def test_a_misspelled_variable_is_told_once(
    settings: type[CheckedSettings],
    variable: str,
    meant: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    _environment._warn.cache_clear()
    monkeypatch.setenv(variable, "hunter2")
    settings.from_env()
    settings()
    assert [record.getMessage() for record in caplog.records] == [
        f"{variable} is set, but {settings.__name__} has no such setting; did you mean {meant}?"
    ]
    monkeypatch.setenv(variable, "")
    _environment._warn.cache_clear()
    settings()
    assert len(caplog.records) == 1


def test_variables_of_others_are_nobodys_typos(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    _environment._warn.cache_clear()
    for name in (
        *("URL", "CONTEXT", "CREDS", "NKEY", "CERT", "KEY", "CA", "TIMEOUT"),  # the nats command
        *("SERVICE_HOST", "SERVICE_PORT", "PORT_4222_TCP", "PORT_4222_TCP_PORT"),  # Kubernetes
        *("VERSION", "S"),
    ):
        monkeypatch.setenv(f"NATS_{name}", "1")
    for name in StreamSettings.model_fields:
        if name not in ("connect_kwargs", "servers", "jetstream_domain"):
            monkeypatch.setenv(f"VARCO_NATS_ADMIN_{name.upper()}", "1")
    monkeypatch.setenv("VARCO_NATS_IMPORTS", "tests.events")
    monkeypatch.setenv("VARCO_NATS_DEBUG", "1")
    NatsConnectionSettings(), NatsEventBusSettings(), NatsChannelManagerSettings()
    assert caplog.records == []


def test_wrong_environment_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VARCO_NATS_CONNECT_KWARGS", "{broken")
    with pytest.raises(SettingsError, match="connect_kwargs"):
        NatsEventBusSettings.from_env()


def test_secret_of_a_wrong_setting_is_not_shown() -> None:
    with pytest.raises(SettingsError) as caught:
        NatsEventBusSettings(servers="nats://bob:secret@host:port", connect_kwargs="secret")
    assert "secret" not in str(caught.value)


SECRETS = ("hunter2", "corr3ct", "b4ttery")
USABLE = [
    "nats://bob:hunter2@host:4222",
    "nats://bob:hunter2@host",
    "bob:hunter2@host:1",
    "nats://hunter2@host:1",
    "hunter2@host",
    "tls://bob:hunter2@host:1",
    "TLS://bob:hunter2@host:1",
    "ws://bob:hunter2@host:1",
    "wss://bob:hunter2@host:1/path?key=corr3ct",
    "nats://bob:hunter2:corr3ct@host:1",
    "nats://bob:hunter2@corr3ct@host:1",
    "nats://bob:hunter2%2Fcorr3ct@host:1",
    "nats://bob%40corp:hunter2%23@host:1",
    "nats://:hunter2@host:1",
    "nats://bob:hunter2@[::1]:1",
    "nats://bob:hunter2@host:1/",
    "nats:bob:hunter2@host:1/",
    "nats://bob:hunter2@a:1,nats://bob:corr3ct@b:2",
    "nats://bob:hunter2@a:1, bob:corr3ct@b , b4ttery@c:3",
]
UNUSABLE = [
    "nats://bob:hunter2/corr3ct@host:1",
    "nats://bob:hunter2?corr3ct@host:1",
    "nats://bob:hunter2#corr3ct@host:1",
    "nats://bob:1/hunter2@host:1",
    "nats://bob:1#hunter2@host:1",
    "nats://bob:1?hunter2@host:1",
    "nats://bob:hunter2",
    "nats://bob:hunter2@",
    "nats://bob:hunter2@host:port",
    "nats://bob:hunter2@host:99999",
    "nats://bob:hunter2@host:0",
    "nats://bob:hunter2@host name:1",
    "nats://bob:hunter2 corr3ct@host:1",
    "nats://bob:hunter2@host:1/corr3ct",
    "nats://bob:hunter2@host:1?corr3ct",
    "nats://bob:hunter2@host:1#corr3ct",
    "nats://bob:[hunter2]@host:1",
    "nats://bob:[hunter2@host:1",
    "nats://bob:hunter2@[::1:1",
    "nats://bob:hunter2\u2100corr3ct@host:1",
    "http://bob:hunter2@host:1",
    "nats:/bob:hunter2@host:1",
    "nats:///bob:hunter2@host:1",
    "nats://nats://bob:hunter2@host:1",
    "//bob:hunter2@host:1",
    "wss://bob:1/hunter2@host:1",
    "nats://bob:hunter2,corr3ct@host:1",
    "nats://a:1,nats://bob:hunter2/corr3ct@host:1,nats://b4ttery@c",
    '["nats://bob:hunter2@host:1"]',
    '{"servers": "nats://bob:hunter2@host:1"}',
    "nats://bob:hunter2@host:1;nats://bob:corr3ct@host:2",
    "nats://bob:hunter2@host:1 nats://bob:corr3ct@host:2",
    "nats://bob:hunter2@host:1\nnats://b4ttery@c",
]


def _hidden(text: str) -> bool:
    return not any(secret in text for secret in SECRETS)


@pytest.mark.parametrize("from_environment", [False, True])
@pytest.mark.parametrize("servers", UNUSABLE)
def test_nothing_of_a_server_that_cannot_be_read_is_shown(
    servers: str, from_environment: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build() -> object:
        if not from_environment:
            return NatsEventBusSettings(servers=servers)
        monkeypatch.setenv("VARCO_NATS_SERVERS", servers)
        return NatsEventBusSettings.from_env()

    with pytest.raises(SettingsError, match="percent-encoded") as caught:
        build()
    assert _hidden(repr(caught.value))
    assert _hidden("".join(traceback.format_exception(caught.value)).partition("Settings: ")[2])
    monkeypatch.delenv("VARCO_NATS_SERVERS", raising=False)
    unchecked = NatsEventBusSettings().model_copy(update={"servers": servers})
    for shown in (unchecked, NatsEventBus(unchecked), NatsDLQ(unchecked), History(unchecked)):
        assert _hidden(repr(shown))
        assert _hidden(str(shown))


@pytest.mark.parametrize("servers", ["nats://bob:1234,corr3ct@host:1", "tls://hunter2,x@host:1"])
def test_a_login_with_a_comma_is_not_taken_for_two_servers(servers: str) -> None:
    with pytest.raises(SettingsError, match="percent-encoded") as caught:
        NatsEventBusSettings(servers=servers)
    assert "1234" not in str(caught.value)
    assert _hidden(str(caught.value))


@pytest.mark.parametrize("servers", USABLE)
def test_no_secret_of_a_server_is_shown(servers: str) -> None:
    settings = NatsEventBusSettings(
        servers=servers, connect_kwargs={"password": "hunter2", "nested": {"token": "corr3ct"}}
    )
    shown = [settings, NatsEventBus(settings), NatsDLQ(settings), NatsHealthCheck(settings)]
    shown += [Connection(settings.to_servers_list()), NatsConnectionSettings(servers=servers)]
    for it in shown:
        assert _hidden(repr(it))
        assert _hidden(str(it))
        assert "host" in repr(it) or "::1" in repr(it) or "c:3" in repr(it) or "b:2" in repr(it)


@pytest.mark.parametrize(
    "values",
    [
        {"servers": ["nats://bob:hunter2@host:1"]},
        {"servers": {"url": "nats://bob:hunter2@host:1"}},
        {"servers": b"nats://bob:hunter2/corr3ct@host:1"},
        {"connect_kwargs": "hunter2"},
        {"connect_kwargs": ["hunter2"]},
        {"durable_name": "nats://bob:hunter2@host:1"},
        {"stream_name": "nats://bob:hunter2@host:1"},
    ],
)
def test_a_secret_in_the_wrong_place_is_not_shown(values: dict[str, Any]) -> None:
    with pytest.raises(SettingsError) as caught:
        NatsEventBusSettings(**values)
    assert _hidden(repr(caught.value))


@pytest.mark.parametrize(
    "servers",
    [
        "nats://bob:hunter2@127.0.0.1:1",
        "nats://hunter2@127.0.0.1:1,tls://bob:corr3ct@127.0.0.1:1",
        "ws://bob:hunter2@127.0.0.1:1",
    ],
)
async def test_no_secret_is_shown_when_no_server_answers(
    servers: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    with pytest.raises(ServerUnreachableError) as caught:
        await NatsEventBus(NatsEventBusSettings(servers=servers)).start()
    assert "127.0.0.1:1" in str(caught.value)
    assert _hidden("".join(traceback.format_exception(caught.value)) + caplog.text)


def test_a_serializer_is_an_object_or_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    json = JsonEventSerializer()
    assert NatsEventBusSettings(serializer=json).serializer is json
    named = f"{JsonEventSerializer.__module__}:JsonEventSerializer"
    monkeypatch.setenv("VARCO_NATS_SERIALIZER", named)
    settings = NatsEventBusSettings.from_env()
    assert type(settings.serializer) is JsonEventSerializer
    assert "serializer" not in repr(settings)
    assert "serializer" not in settings.model_dump(mode="json")
    for wrong, problem in (
        ("myapp", "must be written as MODULE:NAME"),
        ("no_such_module:x", "cannot be imported (ModuleNotFoundError"),
        ("json:no_such_name", "cannot be imported (AttributeError"),
        ("json:dumps", "function is no serializer of varco"),
    ):
        monkeypatch.setenv("VARCO_NATS_SERIALIZER", wrong)
        with pytest.raises(SettingsError) as raised:
            NatsEventBusSettings.from_env()
        assert f"serializer (VARCO_NATS_SERIALIZER): {problem}" in str(raised.value)
    monkeypatch.setenv("VARCO_NATS_SERIALIZER", "")
    assert NatsEventBusSettings.from_env().serializer is None


def test_settings_are_frozen() -> None:
    settings = NatsEventBusSettings()
    with pytest.raises(ValueError, match="frozen"):
        settings.durable_name = "other"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("nats://host:4222", "nats://host:4222"),
        ("nats://bob:secret@host:4222", "nats://host:4222"),
        ("nats://token@host", "nats://host"),
        ("bob:p@ss@host:1", "nats://host:1"),
        ("tls://bob:secret@host:4222", "tls://host:4222"),
    ],
)
def test_credentials_are_removed(url: str, shown: str) -> None:
    assert without_credentials(url) == shown


def test_names_of_a_channel() -> None:
    settings = NatsEventBusSettings(channel_prefix="prod.", durable_name="svc")
    assert settings.subject_name("orders.eu") == "varco.prod.orders.eu"
    assert settings.wildcard_subject() == "varco.>"
    assert settings.channel_from_subject("varco.prod.orders.eu") == "orders.eu"
    assert settings.channel_from_subject("elsewhere.orders") == "elsewhere.orders"
    assert settings.durable_for("orders.eu") == "svc-orders_eu"


def test_no_two_channels_share_a_durable() -> None:
    channels = [
        "a.b",
        "a_b",
        "a-b",
        "a.é",
        "a.è",
        "a" * 300,
        "a" * 301,
        "A.b",
        "a/b",
        "a\\b",
        "a:b",
    ]
    durables = [subjects.durable_for("svc", channel) for channel in channels]
    assert len(set(durables)) == len(channels)
    assert all(subjects.name_problem(durable) is None for durable in durables)
    assert all(len(durable) < 255 for durable in durables)
    for name in ("d" * 200, "é" * 100, "€" * 66, "\U0001f600" * 50):
        durables = [subjects.durable_for(name, channel) for channel in channels]
        assert len(set(durables)) == len(channels)
        assert all(durable.startswith(name) for durable in durables)
        assert all(subjects.name_problem(durable) is None for durable in durables)


@pytest.mark.parametrize(
    "channel", ["", " ", ".", "a.", ".a", "a..b", "*", "a.>", "a b", "a\n", "a\x00", "a" * 1000, 7]
)
def test_bad_channels(channel: str) -> None:
    with pytest.raises(InvalidChannelError, match="use one or more names"):
        subjects.validate_channel(channel)


@pytest.mark.parametrize(
    "channel", ["", "*", "a", "a.b", "a b", "50%", "a..b", "ü", "%", "%2A", "\ud800"]
)
def test_any_channel_can_be_encoded_in_a_subject(channel: str) -> None:
    encoded = subjects.encode_channel(channel)
    assert subjects.subject_problem(encoded) is None
    assert subjects.decode_channel(encoded) == channel


@pytest.mark.parametrize(
    ("pattern", "subject", "expected"),
    [
        ("varco.>", "varco.>", True),
        ("varco.>", "varco.orders", True),
        (">", "varco.>", True),
        ("varco.*", "varco.>", False),
        ("varco.orders", "varco.>", False),
        ("varco.>", "varco", False),
        ("varco.*", "varco.orders", True),
        ("varco.*", "varco.orders.eu", False),
    ],
)
def test_covers(pattern: str, subject: str, expected: bool) -> None:
    assert covers(pattern, subject) is expected


@pytest.mark.parametrize("semantics", list(NatsDeliverySemantics))
def test_outcomes(semantics: NatsDeliverySemantics) -> None:
    def outcome(**changes: object) -> Outcome:
        case = {
            "failed": False,
            "decodable": True,
            "keep_trying": False,
            "num_delivered": 1,
            "max_deliver": 3,
        }
        return decide(semantics, **(case | changes))  # type: ignore[arg-type]

    found = [
        outcome(),
        outcome(failed=True),
        outcome(failed=True, num_delivered=3),
        outcome(failed=True, num_delivered=3, keep_trying=True),
        outcome(failed=True, decodable=False),
    ]
    if semantics is NatsDeliverySemantics.AT_MOST_ONCE:
        assert found == [Outcome.NOTHING] * 5
    else:
        ack = (
            Outcome.ACK_CONFIRMED
            if semantics is NatsDeliverySemantics.EXACTLY_ONCE
            else Outcome.ACK
        )
        assert found == [ack, Outcome.NAK, Outcome.GIVE_UP, Outcome.NAK, Outcome.GIVE_UP]


def test_nak_delay_doubles_up_to_the_longest() -> None:
    assert [nak_delay(1.0, count, 5.0) for count in (1, 2, 3, 4, 1000)] == [1, 2, 4, 5, 5]
    assert nak_delay(0.0, 3, 5.0) == 0


async def test_row_12_publish_many_is_pipelined(
    make_settings: MakeSettings, server: LocalNats, nc: Client
) -> None:
    """With every PubAck withheld, all events still reach the server."""
    async with Proxy(server.port) as proxy:
        settings = make_settings(servers=proxy.url_for(server.url), publish_timeout_seconds=30)
        async with NatsEventBus(settings) as bus:
            proxy.drop(ANSWERS)
            publishing = asyncio.create_task(bus.publish_many(orders(500)))

            async def all_stored() -> bool:
                info = await nc.jetstream().stream_info(settings.stream_name)
                return int(info.state.messages) == 500

            await until(all_stored)
            assert not publishing.done()
            publishing.cancel()
            with pytest.raises(asyncio.CancelledError):
                await publishing
            proxy.restore()  # so that the bus closes at once


def test_row_16_docstrings_say_what_the_delivery_tests_hold() -> None:
    """The bus's text on failing handlers agrees with `_outcome.decide`, tested above."""
    text = inspect.getdoc(NatsEventBus) or ""
    assert "given up" in text
    assert "terminated and logged" in text
    assert "acked whether or not" not in text
