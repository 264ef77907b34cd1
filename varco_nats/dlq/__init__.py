"""The dead letter queue: events that no handler could process, kept on the server."""

from varco_nats.dlq._configuration import NatsDLQConfiguration
from varco_nats.dlq._queue import NatsDLQ

__all__ = [
    "NatsDLQ",
    "NatsDLQConfiguration",
]
