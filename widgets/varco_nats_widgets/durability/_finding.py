"""What the rules of `lab.durability` look at, and what they say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any

DOCS = "https://docs.nats.io"
STREAMS = f"{DOCS}/nats-concepts/jetstream/streams"
CONSUMERS = f"{DOCS}/nats-concepts/jetstream/consumers"


class Rating(StrEnum):
    """What a finding means for the messages."""

    RISK = "risk"
    """Messages that were acknowledged can be lost, or handled in a way that nobody wanted."""
    LIMIT = "limit"
    """Messages are removed, or delivered again, under a condition that was configured."""
    PROMISE = "promise"
    """The setting protects the messages."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What one setting means for a channel's messages."""

    rating: Rating
    about: str
    """The setting, as NATS names it."""
    value: str
    """What it is set to."""
    means: str
    """What follows from that for messages."""
    change: str
    """What to do if that is not what you want; empty for a promise."""
    source: str
    """Where the rule comes from."""


@dataclass(frozen=True, slots=True)
class Place:
    """A channel's stream and consumers, as JetStream's API describes them.

    Attributes:
        name: the channel, or the subject of another stream.
        stream: the stream's info.
        consumers: the infos of the consumers that get the channel's messages.
        version: of the server that leads the stream, such as `2.12.1`.
        sync_interval: the server's setting, if it is known.
        dead_letters: the stream that holds the dead letters; None if there is none.
        max_deliver: deliveries after which a bus with the lab's settings gives a message up.
    """

    name: str
    stream: Mapping[str, Any]
    consumers: Sequence[Mapping[str, Any]]
    version: str
    sync_interval: str | None = None
    dead_letters: str | None = None
    max_deliver: int = 5


def replicas_of(place: Place) -> int:
    """How many servers keep a copy of the stream."""
    return int(place.stream["config"].get("num_replicas") or 1)


def span(nanoseconds: int) -> str:
    """A duration of JetStream's API, such as `0:02:00`."""
    return str(timedelta(microseconds=nanoseconds // 1000))
