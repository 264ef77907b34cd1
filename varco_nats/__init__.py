"""NATS JetStream backend for varco: event bus, channels, dead letters, health, wiring."""

from importlib import import_module
from typing import TYPE_CHECKING

from varco_nats import _distribution

# First, since what follows may find the other distribution's modules and fail.
_distribution.warn_of_the_other()

# ruff: noqa: E402
from varco_nats._nats.puback import PubAck
from varco_nats.config import NatsDeliverySemantics, NatsEventBusSettings
from varco_nats.errors import VarcoNatsError

if TYPE_CHECKING:
    from varco_nats.bus import NatsEventBus
    from varco_nats.channel import NatsChannelManagerSettings, NatsStreamManager
    from varco_nats.connection import NatsConnectionSettings
    from varco_nats.di import bootstrap
    from varco_nats.dlq import NatsDLQ, NatsDLQConfiguration
    from varco_nats.health import NatsHealthCheck
    from varco_nats.history import History
    from varco_nats.observe import DeliveryEvent, DeliveryKind
    from varco_nats.replay import Canary, ReplayControl, Replayer, ReplayPlan, ReplayReport

    __version__: str

__all__ = [
    "Canary",
    "DeliveryEvent",
    "DeliveryKind",
    "History",
    "NatsChannelManagerSettings",
    "NatsConnectionSettings",
    "NatsDLQ",
    "NatsDLQConfiguration",
    "NatsDeliverySemantics",
    "NatsEventBus",
    "NatsEventBusSettings",
    "NatsHealthCheck",
    "NatsStreamManager",
    "PubAck",
    "ReplayControl",
    "ReplayPlan",
    "ReplayReport",
    "Replayer",
    "VarcoNatsError",
    "__version__",
    "bootstrap",
]

# What does not use these modules, such as a notebook that only looks, need not wait for them.
_LATER = {
    "bus": ["NatsEventBus"],
    "channel": ["NatsChannelManagerSettings", "NatsStreamManager"],
    "connection": ["NatsConnectionSettings"],
    "di": ["bootstrap"],
    "dlq": ["NatsDLQ", "NatsDLQConfiguration"],
    "health": ["NatsHealthCheck"],
    "history": ["History"],
    "observe": ["DeliveryEvent", "DeliveryKind"],
    "replay": ["Canary", "ReplayControl", "ReplayPlan", "ReplayReport", "Replayer"],
}

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        """What is imported, or looked up, only when it is asked for."""
        if name == "__version__":
            return _distribution.version()
        for module, names in _LATER.items():
            if name == module or name in names:
                found = import_module(f"{__name__}.{module}")
                globals().update({each: getattr(found, each) for each in names})
                return found if name == module else getattr(found, name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}", name=name)

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
