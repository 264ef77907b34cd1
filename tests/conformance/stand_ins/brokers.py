"""`varco_kafka` and `varco_redis`: their names for ours, and their settings as ours."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import nats
from nats.aio.client import Client
from nats.aio.subscription import Subscription

from varco_nats.bus import NatsEventBus
from varco_nats.channel import NatsChannelManagerSettings, NatsStreamManager
from varco_nats.config import NatsDeliverySemantics, NatsEventBusSettings
from varco_nats.dlq import NatsDLQ
from varco_nats.health import NatsHealthCheck


class KafkaSettings(NatsEventBusSettings):
    """Where a new group begins and how often clients look for new topics has no counterpart."""

    def __init__(
        self,
        *,
        bootstrap_servers: str,
        group_id: str = "varco-default",
        auto_offset_reset: str = "earliest",
        consumer_kwargs: dict[str, Any] | None = None,
        **others: Any,
    ) -> None:
        super().__init__(servers=bootstrap_servers, durable_name=group_id, **others)


class KafkaManagerSettings(NatsChannelManagerSettings):
    def __init__(self, *, bootstrap_servers: str, topic_prefix: str = "") -> None:
        super().__init__(servers=bootstrap_servers, channel_prefix=topic_prefix)


class RedisSettings(NatsEventBusSettings):
    def __init__(self, *, url: str, channel_prefix: str = "") -> None:
        super().__init__(servers=url, channel_prefix=channel_prefix)


class PrefixedDLQ(NatsDLQ):
    """A queue for each channel prefix, as there is a topic or key for each in the other brokers."""

    def __init__(self, settings: NatsEventBusSettings) -> None:
        name = "dead-" + re.sub(r"\W+", "-", settings.channel_prefix)
        super().__init__(settings, dlq_stream=name, dlq_subject=name)


class RedisStreamBus(NatsEventBus):
    def __init__(
        self, config: NatsEventBusSettings, *, consumer_group: str = "varco", **options: Any
    ) -> None:
        super().__init__(config.model_copy(update={"durable_name": consumer_group}), **options)


class KafkaAdminClient:
    """A channel needs no creation: publishing makes it."""

    def __init__(self, *, bootstrap_servers: str) -> None: ...

    async def start(self) -> None: ...

    async def create_topics(self, topics: list[object]) -> None: ...

    async def close(self) -> None: ...


class KafkaRawConsumer:
    """What is on the wire, read without our code: a plain subscription to the channel's subject."""

    def __init__(
        self, topic: str, *, bootstrap_servers: str, group_id: str, auto_offset_reset: str
    ) -> None:
        self._subject = f"varco.{topic}"
        self._servers = bootstrap_servers
        self._client: Client
        self._subscription: Subscription

    async def start(self) -> None:
        self._client = await nats.connect(self._servers)
        self._subscription = await self._client.subscribe(self._subject)
        await self._client.flush()

    async def getone(self) -> SimpleNamespace:
        return SimpleNamespace(value=(await self._subscription.next_msg()).data)

    async def stop(self) -> None:
        await self._client.close()


_KAFKA: dict[str, dict[str, Any]] = {
    "bus": {"KafkaEventBus": NatsEventBus},
    "channel": {
        "KafkaChannelManager": NatsStreamManager,
        "KafkaChannelManagerSettings": KafkaManagerSettings,
    },
    "config": {
        "KafkaDeliverySemantics": NatsDeliverySemantics,
        "KafkaEventBusSettings": KafkaSettings,
    },
    "dlq": {"KafkaDLQ": PrefixedDLQ},
    "health": {"KafkaHealthCheck": NatsHealthCheck},
}
_REDIS: dict[str, dict[str, Any]] = {
    "bus": {"RedisEventBus": NatsEventBus},
    "config": {"RedisEventBusSettings": RedisSettings},
    "dlq": {"RedisDLQ": PrefixedDLQ},
    "health": {"RedisHealthCheck": NatsHealthCheck},
    # the configuration is imported by its module, and used by tests that are not run
    "stream_dlq": {"RedisStreamDLQ": PrefixedDLQ, "RedisStreamDLQConfiguration": None},
    "streams": {"RedisStreamEventBus": RedisStreamBus},
}


def _package(name: str, modules: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The modules of a package, and the package itself, which has what they have."""
    everything = {key: value for members in modules.values() for key, value in members.items()}
    below = {f"{name}.{module}": members for module, members in modules.items()}
    return {name: everything, **below}


MODULES: dict[str, dict[str, Any]] = {
    **_package("varco_kafka", _KAFKA),
    **_package("varco_redis", _REDIS),
    "aiokafka": {"AIOKafkaConsumer": KafkaRawConsumer},
    "aiokafka.admin": {"AIOKafkaAdminClient": KafkaAdminClient, "NewTopic": SimpleNamespace},
}
