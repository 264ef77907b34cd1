"""The rules of `lab.durability` about consumers and dead letters. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from varco_nats_widgets.durability._finding import (
    CONSUMERS,
    Finding,
    Place,
    Rating,
    replicas_of,
    span,
)

_VARCO = "README, Delivery"

# A rule reads better in few lines:
# fmt: off


def about_consumers(place: Place) -> Iterator[Finding]:
    """What the configuration of the consumers means for the channel's messages."""
    if not place.consumers:
        yield Finding(
            Rating.LIMIT, "consumers", "none",
            "the server keeps no position for anybody: a service that starts now decides itself "
            "where it begins", "start the service once, so that its durable exists", CONSUMERS,
        )
    for consumer in place.consumers:
        yield from _about_consumer(str(consumer["name"]), consumer["config"])
    configs = [consumer["config"] for consumer in place.consumers]
    acking = [config for config in configs if config.get("ack_policy") != "none"]
    if acking:
        yield from _about_positions(place, acking)
    if any(int(config.get("max_deliver") or -1) <= 0 for config in acking):
        yield _about_dead_letters(place)


def _about_consumer(name: str, config: Mapping[str, Any]) -> Iterator[Finding]:
    policy = config.get("ack_policy", "explicit")
    if policy == "none":
        yield Finding(
            Rating.RISK, f"{name}: ack_policy", "none",
            "a message counts as handled when it is sent: one that was sent to a process that dies "
            "is lost to this consumer", "use explicit acks", CONSUMERS,
        )
        return
    waits = config.get("backoff") or [config.get("ack_wait") or 30_000_000_000]
    explicit = policy == "explicit"
    yield Finding(
        Rating.LIMIT if explicit else Rating.RISK,
        f"{name}: {'backoff' if config.get('backoff') else 'ack_wait'}",
        ", ".join(span(int(wait)) for wait in waits),
        "a message that is neither acknowledged nor reported as in progress for this long is "
        "delivered again"
        + (" (after the first delivery, the second and so on; the last value is used from then on)"
           if len(waits) > 1 else "")
        + "; varco's bus reports progress while a handler runs, other clients may not"
        + ("" if explicit else "; an ack also acknowledges all messages before it"),
        "make handlers idempotent" + ("" if explicit else ", and use explicit acks"), CONSUMERS,
    )
    deliveries = int(config.get("max_deliver") or -1)
    if deliveries > 0:
        yield Finding(
            Rating.RISK, f"{name}: max_deliver", str(deliveries),
            "after this many deliveries the server gives a message up and does not tell the "
            "service: the message stays stored, but this consumer never gets it again",
            "have the service dead-letter it before, or listen for the max-deliveries advisory",
            CONSUMERS,
        )
    else:
        yield Finding(
            Rating.PROMISE, f"{name}: max_deliver", "no limit",
            "the server gives up no message; varco's bus counts the deliveries itself", "", _VARCO,
        )
    if config.get("mem_storage"):
        yield Finding(
            Rating.RISK, f"{name}: mem_storage", "true",
            "the consumer's position is lost when the server restarts", "store it in a file",
            CONSUMERS,
        )
    if idle := int(config.get("inactive_threshold") or 0):
        yield Finding(
            Rating.LIMIT, f"{name}: inactive_threshold", span(idle),
            "the consumer and its position are deleted when nobody has used it for this long",
            "leave it out for a service", CONSUMERS,
        )
    if (start := config.get("deliver_policy", "all")) in ("new", "last", "last_per_subject"):
        yield Finding(
            Rating.LIMIT, f"{name}: deliver_policy", str(start),
            "messages stored before the consumer was created are not delivered to it"
            if start == "new" else
            "of the messages stored before the consumer was created, it gets only the last",
            "use all", CONSUMERS,
        )


def _about_positions(place: Place, acking: list[Mapping[str, Any]]) -> Iterator[Finding]:
    if replicas_of(place) > 1:
        yield Finding(
            Rating.LIMIT, "elections", "deliver again",
            "a consumer's new leader delivers again at once every message that was stored longer "
            "ago than ack_wait and is not acknowledged, even if a handler is working on it; under "
            "at_most_once varco's bus leaves to the new leader what was not confirmed by then",
            "make handlers idempotent", "measured by stepping leaders down, nats-server 2.15",
        )
    elif place.stream["config"].get("storage") != "memory" and not all(
        config.get("mem_storage") for config in acking
    ):
        yield Finding(
            Rating.LIMIT, "positions", "written some 100 ms late",
            "a server that is killed can deliver again what was delivered or acknowledged "
            "just before, under at_most_once too",
            "make handlers idempotent; three replicas keep what was acknowledged",
            "measured by lab.experiment(faults='server_killed_after_ack')",
        )


def _about_dead_letters(place: Place) -> Finding:
    failing = f"a message that fails {place.max_deliver} times (max_deliver of these settings)"
    if place.dead_letters is None:
        return Finding(
            Rating.RISK, "dead letters", "none",
            f"there is no dead letter queue yet: varco's bus gives up {failing}, and only its log "
            "says so", "give the bus a dlq: NatsEventBus(settings, dlq=NatsDLQ(settings))", _VARCO,
        )
    return Finding(
        Rating.LIMIT, "dead letters", place.dead_letters,
        f"{failing} goes there if its bus has a dlq; without one it is given up and not kept",
        "give each service's bus a dlq, and look at it with lab.dead_letters()", _VARCO,
    )
