"""`NatsEventBus`: varco's event bus on a JetStream stream."""

from varco_nats.bus._bus import NatsEventBus

__all__ = ["NatsEventBus"]
