"""What a channel's real configuration promises about its messages, and what it does not.

`Lab.durability` asks the server and shows it. The rules, in `findings`, are plain functions of
what the server says.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any, Literal

import pandas as pd

from varco_nats._nats.stream import overlap
from varco_nats_widgets.frames._cells import counted, escape

__all__ = ["Durability", "Finding", "Place", "Rating", "findings"]

SYNC_DEFAULT = "2 minutes"
"""How often a server with the default configuration forces what it wrote onto the disk."""

_DOCS = "https://docs.nats.io"
_STREAMS = f"{_DOCS}/nats-concepts/jetstream/streams"
_CONSUMERS = f"{_DOCS}/nats-concepts/jetstream/consumers"
_SYNC = f"{_DOCS}/reference/config/jetstream/sync_interval"
_JEPSEN = "https://jepsen.io/analyses/nats-2.12.1"
_STREAM_LOST = "https://github.com/nats-io/nats-server/issues/6888"
_VARCO = "README, Delivery"


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
    """What one setting means for the messages of a channel or a subject."""

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
        what: what the name is: a `channel` of varco's, or a `subject` of another stream, about
            which varco's bus has nothing to say.
        subject: of the channel's messages, with the settings' prefixes; `name` if it is empty.
    """

    name: str
    stream: Mapping[str, Any]
    consumers: Sequence[Mapping[str, Any]]
    version: str
    sync_interval: str | None = None
    dead_letters: str | None = None
    max_deliver: int = 5
    what: Literal["channel", "subject"] = "channel"
    subject: str = ""

    @property
    def is_channel(self) -> bool:
        """Whether varco's services publish and handle its messages."""
        return self.what == "channel"


_MARKS = {Rating.RISK: "▲", Rating.LIMIT: "◆", Rating.PROMISE: "●"}


class Durability:
    """The findings about one channel, or one subject; `frame` has them as a table.

    Iterating gives `Finding` objects, risks first.
    """

    def __init__(self, place: Place) -> None:
        self.name = place.name
        self.what = place.what
        self._stream = str(place.stream["config"].get("name", ""))
        order = list(Rating)
        self._findings = sorted(findings(place), key=lambda finding: order.index(finding.rating))

    def __iter__(self) -> Iterator[Finding]:
        return iter(self._findings)

    def __len__(self) -> int:
        return len(self._findings)

    @property
    def risks(self) -> list[Finding]:
        """The findings that can cost messages."""
        return [finding for finding in self if finding.rating is Rating.RISK]

    @property
    def frame(self) -> pd.DataFrame:
        """One row for each finding: `rating`, `about`, `value`, `means`, `change`, `source`."""
        names = list(Finding.__slots__)
        rows = [[str(getattr(finding, name)) for name in names] for finding in self]
        return pd.DataFrame(rows, columns=names).astype("str")

    def __repr__(self) -> str:
        lines = [f"Durability({self._summary()})"]
        for finding in self:
            lines.append(f"  {finding.rating:8}{finding.about}={finding.value}: {finding.means}")
            if finding.change:
                lines.append(f"{'':10}{finding.change}")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        style = "text-align:left;vertical-align:top"
        rows = "".join(
            f"<tr><td style='{style};white-space:nowrap'>"
            f"{_MARKS[finding.rating]} {finding.rating}</td>"
            f"<td style='{style}'>{escape(finding.about)}</td>"
            f"<td style='{style}'>{escape(finding.value)}</td>"
            f"<td style='{style}'>{escape(finding.means)}"
            f"{f'<br><i>{escape(finding.change)}</i>' if finding.change else ''}</td>"
            f"<td style='{style};overflow-wrap:anywhere'>{escape(finding.source)}</td></tr>"
            for finding in self
        )
        names = ("", "setting", "value", "means", "source")
        head = "".join(f"<th style='{style}'>{name}</th>" for name in names)
        return (
            f"<p>{escape(self._summary())}</p><table class='tex2jax_ignore mathjax_ignore'>"
            f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
        )

    def _summary(self) -> str:
        ratings = [finding.rating for finding in self]
        name = self.name if self.what == "channel" else f"subject {self.name}"
        if self.what == "subject" and self.name == ">":
            name = f"stream {self._stream}"
        return f"{name}: {', '.join(counted(ratings.count(each), each) for each in Rating)}"


def findings(place: Place) -> Iterator[Finding]:
    """What the configuration of `place` means for its messages, in no order of importance."""
    config = place.stream["config"]
    yield from _about_subjects(place, config)
    yield from _about_storage(place, config)
    yield _about_replicas(place)
    yield from _about_retention(place, config)
    yield from _about_limits(place, config)
    yield from _about_publishing(place, config)
    yield from _about_consumers(place)
    yield _about_version(place)


def _replicas_of(place: Place) -> int:
    """How many servers keep a copy of the stream."""
    return int(place.stream["config"].get("num_replicas") or 1)


def _span(nanoseconds: int) -> str:
    """A duration of JetStream's API, such as `0:02:00`."""
    return str(timedelta(microseconds=nanoseconds // 1000))


# A rule reads better in few lines:
# fmt: off


def _about_subjects(place: Place, config: Mapping[str, Any]) -> Iterator[Finding]:
    """Whether the stream takes the messages at all, where its configuration decides that."""
    subject, found = place.subject or place.name, config.get("subjects") or []
    if any(config.get(name) for name in ("mirror", "sources", "subject_transform")):
        return
    if not any(overlap(each, subject) for each in found):
        yield Finding(
            Rating.RISK, "subjects", ", ".join(found) or "none",
            f"the stream does not take {subject}: no message that is published there is stored, "
            "and what follows is true only of those that it holds",
            f"check the name of the {place.what}, or add {subject} to the stream's subjects",
            _STREAMS,
        )


def _about_storage(place: Place, config: Mapping[str, Any]) -> Iterator[Finding]:
    if config.get("storage") == "memory":
        yield Finding(
            Rating.RISK, "storage", "memory",
            "all messages are lost when the server restarts" if _replicas_of(place) == 1
            else "a server that restarts has lost its copy of the messages",
            "delete the stream and create it with file storage: the storage of an existing stream "
            "cannot be changed", _STREAMS,
        )
    else:
        yield Finding(
            Rating.PROMISE, "storage", "file",
            "messages survive the end of the server's process", "", _STREAMS,
        )
        yield _about_sync(place.sync_interval, _replicas_of(place))
    if config.get("persist_mode") == "async":
        yield Finding(
            Rating.RISK, "persist_mode", "async",
            "the server sends a PubAck before it has written the message: some messages are lost "
            "when it is killed", "set persist_mode to default", f"{_DOCS}/reference",
        )


def _about_sync(interval: str | None, replicas: int) -> Finding:
    if interval == "always":
        return Finding(
            Rating.PROMISE, "sync_interval", "always",
            "a message is on the disk before its PubAck is sent", "", _SYNC,
        )
    fault = (
        "the power or the operating system fails" if replicas == 1
        else "several servers fail at once"
    )
    period = interval or f"{SYNC_DEFAULT} (the default; the server does not tell clients its own)"
    return Finding(
        Rating.RISK, "sync_interval", interval or "not known",
        f"when {fault}, messages stored in the last {period} can be lost; when only the server's "
        "process is killed, none is",
        "set sync_interval: always in the jetstream block of the server's configuration; it "
        "lowers throughput", f"{_SYNC}, {_JEPSEN}",
    )


def _about_replicas(place: Place) -> Finding:
    replicas = _replicas_of(place)
    peers = place.stream.get("cluster", {}).get("replicas") or ()
    offline = [str(peer["name"]) for peer in peers if peer.get("offline")]
    spare = (replicas - 1) // 2 - len(offline)
    if replicas >= 3 and offline:
        return Finding(
            Rating.RISK, "num_replicas", f"{replicas}, {len(offline)} offline",
            "nothing can be published or acknowledged until one of them is back" if spare < 0
            else f"messages can still be published, and {spare} more servers may fail",
            f"bring back {', '.join(offline)}", _STREAMS,
        )
    if replicas >= 3:
        return Finding(
            Rating.PROMISE, "num_replicas", str(replicas),
            f"while no more than {spare} of the {replicas} servers are gone, messages can be "
            "published and no stored message is lost", "", _STREAMS,
        )
    return Finding(
        Rating.RISK, "num_replicas", str(replicas),
        "nothing can be published while one of the two servers is gone" if replicas == 2
        else "the only copy is on one server: if its disk is lost, all messages are",
        f"in a cluster, set {'stream_replicas=3' if place.is_channel else 'num_replicas to 3'}",
        _STREAMS,
    )


def _about_retention(place: Place, config: Mapping[str, Any]) -> Iterator[Finding]:
    retention = config.get("retention", "limits")
    if retention == "limits":
        yield Finding(
            Rating.PROMISE, "retention", "limits",
            "messages stay after they were handled, until a limit removes them", "", _STREAMS,
        )
    elif retention == "interest":
        yield Finding(
            Rating.LIMIT if place.consumers else Rating.RISK, "retention", "interest",
            "a message is removed once every consumer has acknowledged it, and at once if there "
            "is no consumer",
            "create the durables before you publish, or use limits", _STREAMS,
        )
    else:
        yield Finding(
            Rating.LIMIT, "retention", str(retention),
            "a message is removed by its first ack; after that nobody can read or replay it",
            "use limits if several services need the messages, or you need a history", _STREAMS,
        )
    if config.get("mirror") or config.get("sources"):
        yield Finding(
            Rating.LIMIT, "sources", "copies another stream",
            "messages arrive here with a delay; one that the original stream removes before it is "
            "copied never arrives", "watch how far the copy lags behind", _STREAMS,
        )
    if config.get("allow_msg_ttl"):
        yield Finding(
            Rating.LIMIT, "allow_msg_ttl", "true",
            "a publisher can have a message removed after a time of its choice",
            "publish without the header Nats-TTL", _STREAMS,
        )


def _about_limits(place: Place, config: Mapping[str, Any]) -> Iterator[Finding]:
    state = place.stream["state"]
    refuses = config.get("discard") == "new"
    bounded = False
    for name, used, unit in (
        ("max_msgs", int(state.get("messages", 0)), "messages"),
        ("max_bytes", int(state.get("bytes", 0)), "bytes"),
    ):
        limit = int(config.get(name) or -1)
        if limit <= 0:
            continue
        bounded = True
        yield Finding(
            Rating.LIMIT, name, f"{limit:,} {unit}",
            f"{_fill_level(used, limit, state, refuses=refuses)}; when it is full, "
            + ("a publish is refused with an error, and no stored message is lost" if refuses
               else "the oldest messages are removed, whether they were handled or not"),
            f"raise {name}" + ("" if refuses else ", or set discard to new"), _STREAMS,
        )
    if (per_subject := int(config.get("max_msgs_per_subject") or -1)) > 0:
        bounded = True
        yield Finding(
            Rating.LIMIT, "max_msgs_per_subject", f"{per_subject:,}",
            f"a {place.what} that holds this many messages refuses further ones"
            if refuses and config.get("discard_new_per_subject")
            else f"a {place.what} keeps this many of its newest messages; older ones are removed, "
            "whether they were handled or not", "raise it", _STREAMS,
        )
    if age := int(config.get("max_age") or 0):
        bounded = True
        yield Finding(
            Rating.LIMIT, "max_age", _span(age),
            "a message of this age is removed, whether it was handled or not: a service that is "
            "down for longer misses it",
            "set it longer than the longest outage that you want to survive", _STREAMS,
        )
    if not bounded:
        yield Finding(
            Rating.PROMISE, "limits", "none",
            "no message is removed; publishing fails when the disk or the account is full", "",
            _STREAMS,
        )


def _fill_level(used: int, limit: int, state: Mapping[str, Any], *, refuses: bool) -> str:
    """How full the stream is and, if it then removes messages, when it will be full."""
    level = f"{min(used / limit, 1):.0%} full"
    each_second = _pace(state)
    if refuses or used >= limit or not each_second:
        return level
    size = used / int(state["messages"])  # of a message, in the limit's unit
    left = timedelta(seconds=round((limit - used) / size / each_second))
    return f"{level}, and full in {left} at the average rate so far"


def _pace(state: Mapping[str, Any]) -> float:
    """Messages stored per second, from the first to the last that are in the stream."""
    messages = int(state.get("messages", 0))
    if messages < 2:
        return 0.0
    first, last = (pd.Timestamp(str(state[f"{end}_ts"])) for end in ("first", "last"))
    seconds = float((last - first).total_seconds())
    return (messages - 1) / seconds if seconds > 0 else 0.0


def _about_publishing(place: Place, config: Mapping[str, Any]) -> Iterator[Finding]:
    if config.get("no_ack"):
        yield Finding(
            Rating.RISK, "no_ack", "true",
            "publishers never learn whether a message was stored", "set no_ack to false", _STREAMS,
        )
    window = int(config.get("duplicate_window") or 0)
    yield Finding(
        Rating.LIMIT, "duplicate_window", _span(window) if window else "none",
        "a second message with the same Nats-Msg-Id is dropped if it comes within this time, and "
        "stored if it comes later"
        + ("; varco sends that header under exactly_once" if place.is_channel else "") if window
        else "a message that is published again is stored twice",
        "make it longer than the time for which a producer may retry", _STREAMS,
    )


def _about_version(place: Place) -> Finding:
    """Whether the server's version is known to lose messages."""
    number = tuple(map(int, re.findall(r"\d+", place.version)[:3]))
    if number < (2, 10, 23):
        return Finding(
            Rating.RISK, "server", place.version,
            "killing server processes can lose a whole replicated stream",
            "upgrade to 2.10.23 or later", f"{_JEPSEN}, {_STREAM_LOST}",
        )
    if number <= (2, 12, 1) and _replicas_of(place) > 1:
        return Finding(
            Rating.RISK, "server", place.version,
            "a damaged data file on a minority of the servers can lose stored messages",
            "upgrade, and keep backups or a mirror", _JEPSEN,
        )
    return Finding(
        Rating.PROMISE, "server", place.version or "not known",
        "no defect of this version is known to lose messages", "", _JEPSEN,
    )


def _about_consumers(place: Place) -> Iterator[Finding]:
    """What the configuration of the consumers means for the channel's messages."""
    if not place.consumers:
        yield Finding(
            Rating.LIMIT, "consumers", "none",
            "the server keeps no position for anybody: a service that starts now decides itself "
            "where it begins", "start the service once, so that its durable exists", _CONSUMERS,
        )
    for consumer in place.consumers:
        yield from _about_consumer(place, str(consumer["name"]), consumer["config"])
    configs = [consumer["config"] for consumer in place.consumers]
    acking = [config for config in configs if config.get("ack_policy") != "none"]
    if acking:
        yield from _about_positions(place, acking)
    if place.is_channel and any(int(c.get("max_deliver") or -1) <= 0 for c in acking):
        yield _about_dead_letters(place)


def _about_consumer(place: Place, name: str, config: Mapping[str, Any]) -> Iterator[Finding]:
    policy = config.get("ack_policy", "explicit")
    if policy == "none":
        yield Finding(
            Rating.RISK, f"{name}: ack_policy", "none",
            "a message counts as handled when it is sent: one that was sent to a process that dies "
            "is lost to this consumer", "use explicit acks", _CONSUMERS,
        )
        return
    waits = config.get("backoff") or [config.get("ack_wait") or 30_000_000_000]
    explicit = policy == "explicit"
    yield Finding(
        Rating.LIMIT if explicit else Rating.RISK,
        f"{name}: {'backoff' if config.get('backoff') else 'ack_wait'}",
        ", ".join(_span(int(wait)) for wait in waits),
        "a message that is neither acknowledged nor reported as in progress for this long is "
        "delivered again"
        + (" (after the first delivery, the second and so on; the last value is used from then on)"
           if len(waits) > 1 else "")
        + ("; varco's bus reports progress while a handler runs, other clients may not"
           if place.is_channel else "")
        + ("" if explicit else "; an ack also acknowledges all messages before it"),
        "make handlers idempotent" + ("" if explicit else ", and use explicit acks"), _CONSUMERS,
    )
    deliveries = int(config.get("max_deliver") or -1)
    if deliveries > 0:
        yield Finding(
            Rating.RISK, f"{name}: max_deliver", str(deliveries),
            "after this many deliveries the server gives a message up and does not tell the "
            "service: the message stays stored, but this consumer never gets it again",
            "have the service dead-letter it before, or listen for the max-deliveries advisory",
            _CONSUMERS,
        )
    else:
        yield Finding(
            Rating.PROMISE, f"{name}: max_deliver", "no limit",
            "the server gives up no message; varco's bus counts the deliveries itself"
            if place.is_channel else
            "the server gives up no message: one that always fails is delivered again and again",
            "", _VARCO if place.is_channel else _CONSUMERS,
        )
    if config.get("mem_storage"):
        yield Finding(
            Rating.RISK, f"{name}: mem_storage", "true",
            "the consumer's position is lost when the server restarts", "store it in a file",
            _CONSUMERS,
        )
    if idle := int(config.get("inactive_threshold") or 0):
        yield Finding(
            Rating.LIMIT, f"{name}: inactive_threshold", _span(idle),
            "the consumer and its position are deleted when nobody has used it for this long",
            "leave it out for a service", _CONSUMERS,
        )
    if (start := config.get("deliver_policy", "all")) in ("new", "last", "last_per_subject"):
        yield Finding(
            Rating.LIMIT, f"{name}: deliver_policy", str(start),
            "messages stored before the consumer was created are not delivered to it"
            if start == "new" else
            "of the messages stored before the consumer was created, it gets only the last",
            "use all", _CONSUMERS,
        )


def _about_positions(place: Place, acking: list[Mapping[str, Any]]) -> Iterator[Finding]:
    if _replicas_of(place) > 1:
        yield Finding(
            Rating.LIMIT, "elections", "deliver again",
            "a consumer's new leader delivers again at once every message that was stored longer "
            "ago than ack_wait and is not acknowledged, even if a handler is working on it"
            + ("; under at_most_once varco's bus leaves to the new leader what was not confirmed "
               "by then" if place.is_channel else ""),
            "make handlers idempotent", "measured by stepping leaders down, nats-server 2.15",
        )
    elif place.stream["config"].get("storage") != "memory" and not all(
        config.get("mem_storage") for config in acking
    ):
        yield Finding(
            Rating.LIMIT, "positions", "written some 100 ms late",
            "a server that is killed can deliver again what was delivered or acknowledged just "
            "before" + (", under at_most_once too" if place.is_channel else ""),
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
