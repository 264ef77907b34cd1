"""The dead letter queue: events that no handler could process, kept on the server."""

from varco_nats.dlq._queue import (
    NatsDLQ,
    NatsDLQConfiguration,
)

__all__ = [
    "NatsDLQ",
    "NatsDLQConfiguration",
]
