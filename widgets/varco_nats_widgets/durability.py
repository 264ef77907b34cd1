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
from typing import Any

import pandas as pd

from varco_nats_widgets.frames._cells import escape

_DOCS = "https://docs.nats.io"
_STREAMS = f"{_DOCS}/nats-concepts/jetstream/streams"
_CONSUMERS = f"{_DOCS}/nats-concepts/jetstream/consumers"
_SYNC = f"{_DOCS}/reference/config/jetstream/sync_interval"
_JEPSEN = "https://jepsen.io/analyses/nats-2.12.1"
_STREAM_LOST = "https://github.com/nats-io/nats-server/issues/6888"
_VARCO = "README, Delivery"

SYNC_DEFAULT = "2 minutes"
"""How often a server that was told nothing writes to the disk for sure."""


class Rating(StrEnum):
    """What a finding means for the messages."""

    RISK = "risk"
    """Messages that were acknowledged can be lost, or handled wrongly."""
    LIMIT = "limit"
    """Messages go, or come again, as somebody decided."""
    PROMISE = "promise"
    """It holds."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to know about a channel."""

    rating: Rating
    about: str
    """The setting, as NATS names it."""
    value: str
    """What it is set to."""
    means: str
    """What follows from that for messages."""
    change: str
    """What to do where that is not what you want; empty for a promise."""
    source: str
    """Where the rule comes from."""


@dataclass(frozen=True, slots=True)
class Place:
    """What the server says, as JetStream's API writes it.

    Attributes:
        name: the channel, or the subject of another stream.
        stream: the stream's info.
        consumers: the infos of those that get the channel's messages.
        version: of the server that leads the stream, as `2.12.1`.
        sync_interval: of the server, where it is known.
        dead_letters: the stream that keeps them; None where there is none.
        max_deliver: deliveries after which a bus with the lab's settings gives a message up.
    """

    name: str
    stream: Mapping[str, Any]
    consumers: Sequence[Mapping[str, Any]]
    version: str
    sync_interval: str | None = None
    dead_letters: str | None = None
    max_deliver: int = 5


class Durability:
    """The findings about one channel; `frame` has them as a table.

    Iterating gives `Finding` objects, risks first.
    """

    def __init__(self, place: Place) -> None:
        self.name = place.name
        order = list(Rating)
        self._findings = sorted(findings(place), key=lambda one: order.index(one.rating))

    def __iter__(self) -> Iterator[Finding]:
        return iter(self._findings)

    def __len__(self) -> int:
        return len(self._findings)

    @property
    def risks(self) -> list[Finding]:
        """The findings that can cost messages."""
        return [one for one in self if one.rating is Rating.RISK]

    @property
    def frame(self) -> pd.DataFrame:
        """One row for each finding: `rating`, `about`, `value`, `means`, `change`, `source`."""
        names = list(Finding.__slots__)
        rows = [[str(getattr(one, name)) for name in names] for one in self]
        return pd.DataFrame(rows, columns=names).astype("str")

    def __repr__(self) -> str:
        lines = [f"Durability({self._summary()})"]
        for one in self:
            lines.append(f"  {one.rating:8}{one.about}={one.value}: {one.means}")
            if one.change:
                lines.append(f"{'':10}{one.change}")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        style = "text-align:left;vertical-align:top"
        rows = "".join(
            f"<tr><td style='{style};white-space:nowrap'>{_MARKS[one.rating]} {one.rating}</td>"
            f"<td style='{style}'>{escape(one.about)}</td>"
            f"<td style='{style}'>{escape(one.value)}</td>"
            f"<td style='{style}'>{escape(one.means)}"
            f"{f'<br><i>{escape(one.change)}</i>' if one.change else ''}</td>"
            f"<td style='{style}'>{escape(one.source)}</td></tr>"
            for one in self
        )
        names = ("", "setting", "value", "means", "source")
        head = "".join(f"<th style='{style}'>{name}</th>" for name in names)
        return (
            f"<p>{escape(self._summary())}</p><table class='tex2jax_ignore mathjax_ignore'>"
            f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
        )

    def _summary(self) -> str:
        counts = (sum(one.rating is rating for one in self) for rating in Rating)
        words = (
            f"{n} {rating}{'' if n == 1 else 's'}" for n, rating in zip(counts, Rating, strict=True)
        )
        return f"{self.name}: {', '.join(words)}"


_MARKS = {Rating.RISK: "▲", Rating.LIMIT: "◆", Rating.PROMISE: "●"}


# A rule reads better in few lines:
# fmt: off


def findings(place: Place) -> Iterator[Finding]:
    """What there is to know about `place`."""
    config = place.stream["config"]
    yield from _about_copies(place, config)
    yield from _about_retention(place, config)
    yield from _about_limits(config, place.stream["state"])
    yield from _about_publishing(config)
    if not place.consumers:
        yield Finding(
            Rating.LIMIT, "consumers", "none",
            "nobody's position is kept: a service that starts now decides where it begins",
            "start the service once, so that its durable exists", _CONSUMERS,
        )
    for consumer in place.consumers:
        yield from _about_consumer(str(consumer["name"]), consumer["config"])
    yield from _about_positions(place, config)
    yield from _about_dead_letters(place)
    yield from _about_version(place.version, config)


def _about_copies(place: Place, config: Mapping[str, Any]) -> Iterator[Finding]:
    replicas = int(config.get("num_replicas") or 1)
    if config.get("storage") == "memory":
        means = "a server that restarts has lost its copy"
        if replicas == 1:
            means = "everything is lost when the server restarts"
        yield Finding(
            Rating.RISK, "storage", "memory", means,
            "make the stream anew with file storage: storage cannot be changed", _STREAMS,
        )
    else:
        yield Finding(
            Rating.PROMISE, "storage", "file", "messages outlive the server's process", "", _STREAMS
        )
        yield _about_sync(place.sync_interval, replicas)
    if config.get("persist_mode") == "async":
        yield Finding(
            Rating.RISK, "persist_mode", "async",
            "the server acknowledges before it has written: a killed server loses some",
            "set persist_mode to default", f"{_DOCS}/reference",
        )
    peers = place.stream.get("cluster", {}).get("replicas") or ()
    gone = [str(peer["name"]) for peer in peers if peer.get("offline")]
    spare = (replicas - 1) // 2 - len(gone)
    if replicas >= 3 and gone:
        left = "nothing can be published or acknowledged until one is back"
        if spare >= 0:
            left = f"publishing goes on, with {spare} more gone at most"
        yield Finding(
            Rating.RISK, "num_replicas", f"{replicas}, {len(gone)} offline", left,
            f"bring back {', '.join(gone)}", _STREAMS,
        )
    elif replicas >= 3:
        yield Finding(
            Rating.PROMISE, "num_replicas", str(replicas),
            f"no stored message is lost and publishing goes on with {spare} of "
            f"{replicas} servers gone", "", _STREAMS,
        )
    else:
        means = "the only copy is on one server: with its disk, everything is gone"
        if replicas == 2:
            means = "both servers have to be there for a publish"
        yield Finding(
            Rating.RISK, "num_replicas", str(replicas), means,
            "on a cluster, set stream_replicas=3", _STREAMS,
        )


def _about_sync(interval: str | None, replicas: int) -> Finding:
    if interval == "always":
        return Finding(
            Rating.PROMISE, "sync_interval", "always", "a message is on the disk before its PubAck",
            "", _SYNC,
        )
    fault = "power or the system fails" if replicas == 1 else "several servers fail at once"
    known = "set in the server's configuration; NATS does not tell it to clients"
    return Finding(
        Rating.RISK, "sync_interval", interval or "not known",
        f"when {fault}, what was acknowledged in the last {interval or SYNC_DEFAULT} can be "
        f"lost{'' if interval else ', if the server has the default'}; a killed process loses none",
        "set sync_interval: always in the server's jetstream block, which costs throughput"
        + ("" if interval else f" ({known})"), f"{_SYNC}, {_JEPSEN}",
    )


def _about_retention(place: Place, config: Mapping[str, Any]) -> Iterator[Finding]:
    retention = config.get("retention", "limits")
    if retention == "limits":
        yield Finding(
            Rating.PROMISE, "retention", "limits",
            "messages stay when they were handled, until a limit removes them", "", _STREAMS,
        )
    elif retention == "interest":
        yield Finding(
            Rating.LIMIT if place.consumers else Rating.RISK, "retention", "interest",
            "a message goes when every consumer has acknowledged it, at once where there is none",
            "create the durables before publishing, or use limits", _STREAMS,
        )
    else:
        yield Finding(
            Rating.LIMIT, "retention", str(retention),
            "a message goes with its first ack: it cannot be read or replayed afterwards",
            "use limits where several services or a history are wanted", _STREAMS,
        )
    if config.get("mirror") or config.get("sources"):
        yield Finding(
            Rating.LIMIT, "sources", "copies another stream",
            "copying lags behind: what the origin removes first never comes here",
            "watch the lag of the copy", _STREAMS,
        )
    if config.get("allow_msg_ttl"):
        yield Finding(
            Rating.LIMIT, "allow_msg_ttl", "true", "a publisher may give a message a time to live",
            "leave out the header Nats-TTL", _STREAMS,
        )


def _about_limits(config: Mapping[str, Any], state: Mapping[str, Any]) -> Iterator[Finding]:
    refuses = config.get("discard") == "new"
    each_second = _pace(state)
    bounded = False
    for name, used, unit in (
        ("max_msgs", int(state.get("messages", 0)), "messages"),
        ("max_bytes", int(state.get("bytes", 0)), "bytes"),
    ):
        limit = int(config.get(name) or -1)
        if limit <= 0:
            continue
        bounded = True
        share = f"{min(used / limit, 1):.0%} full"
        if not refuses and used < limit and each_second and state.get("messages"):
            step = used / int(state["messages"])
            left = timedelta(seconds=round((limit - used) / step / each_second))
            share += f", at the pace so far full in {left}"
        yield Finding(
            Rating.LIMIT, name, f"{limit:,} {unit}",
            f"{share}; then a publish is refused with an error, and nothing stored is lost"
            if refuses else f"{share}; then the oldest messages go, handled or not",
            f"raise {name}" + ("" if refuses else ", or set discard to new"), _STREAMS,
        )
    if (per_subject := int(config.get("max_msgs_per_subject") or -1)) > 0:
        bounded = True
        refused = refuses and config.get("discard_new_per_subject")
        yield Finding(
            Rating.LIMIT, "max_msgs_per_subject", f"{per_subject:,}",
            "further messages of a channel are refused" if refused
            else "each channel keeps its newest only, handled or not", "raise it", _STREAMS,
        )
    if age := int(config.get("max_age") or 0):
        bounded = True
        yield Finding(
            Rating.LIMIT, "max_age", str(timedelta(microseconds=age // 1000)),
            "a message of this age goes, handled or not: a service that is down longer misses it",
            "raise it above the longest outage you want to survive", _STREAMS,
        )
    if not bounded:
        yield Finding(
            Rating.PROMISE, "limits", "none",
            "nothing is discarded, until the disk or the account is full: then publishes fail", "",
            _STREAMS,
        )


def _pace(state: Mapping[str, Any]) -> float:
    """Messages stored per second, from the first to the last that are there."""
    messages = int(state.get("messages", 0))
    if messages < 2:
        return 0.0
    first, last = (pd.Timestamp(str(state[f"{end}_ts"])) for end in ("first", "last"))
    seconds = float((last - first).total_seconds())
    return (messages - 1) / seconds if seconds > 0 else 0.0


def _about_publishing(config: Mapping[str, Any]) -> Iterator[Finding]:
    if config.get("no_ack"):
        yield Finding(
            Rating.RISK, "no_ack", "true", "publishers never learn whether a message was stored",
            "set no_ack to false", _STREAMS,
        )
    window = int(config.get("duplicate_window") or 0)
    yield Finding(
        Rating.LIMIT, "duplicate_window",
        str(timedelta(microseconds=window // 1000)) if window else "none",
        "a copy with the same Nats-Msg-Id within this time of the first is dropped, a later one is "
        "stored; varco sends the id under exactly_once" if window
        else "a publish that is repeated is stored twice",
        "make it longer than a producer may take to retry", _STREAMS,
    )


def _about_consumer(name: str, config: Mapping[str, Any]) -> Iterator[Finding]:
    policy = config.get("ack_policy", "explicit")
    if policy == "none":
        yield Finding(
            Rating.RISK, f"{name}: ack_policy", "none",
            "a message counts as handled when it is sent: one in a dying process is lost to it",
            "use explicit acks", _CONSUMERS,
        )
        return
    waits = config.get("backoff") or [config.get("ack_wait") or 30_000_000_000]
    yield Finding(
        Rating.LIMIT if policy == "explicit" else Rating.RISK,
        f"{name}: {'backoff' if config.get('backoff') else 'ack_wait'}",
        ", ".join(str(timedelta(microseconds=int(wait) // 1000)) for wait in waits),
        "a message comes again when its process died or was silent for this long"
        + (" (first, second and so on; the last stays)" if len(waits) > 1 else "")
        + "; varco's bus reports progress while a handler runs, others' slow handlers get it twice"
        + ("" if policy == "explicit" else ". An ack counts for all before it"),
        "make handlers idempotent" + ("" if policy == "explicit" else ", and use explicit acks"),
        _CONSUMERS,
    )
    deliveries = int(config.get("max_deliver") or -1)
    if deliveries > 0:
        yield Finding(
            Rating.RISK, f"{name}: max_deliver", str(deliveries),
            "after that the server gives a message up without a word to the service: it stays "
            "stored, but this consumer never gets it again",
            "dead-letter it in the service, or listen for the max-deliveries advisory", _CONSUMERS,
        )
    else:
        yield Finding(
            Rating.PROMISE, f"{name}: max_deliver", "no limit",
            "the server gives up no message; varco's bus counts failures itself", "", _VARCO,
        )
    if config.get("mem_storage"):
        yield Finding(
            Rating.RISK, f"{name}: mem_storage", "true",
            "its position is lost when the server restarts", "keep it in a file", _CONSUMERS,
        )
    if idle := int(config.get("inactive_threshold") or 0):
        yield Finding(
            Rating.LIMIT, f"{name}: inactive_threshold", str(timedelta(microseconds=idle // 1000)),
            "it is deleted, with its position, when nobody used it for this long",
            "leave it out for a service", _CONSUMERS,
        )
    if (start := config.get("deliver_policy", "all")) in ("new", "last", "last_per_subject"):
        yield Finding(
            Rating.LIMIT, f"{name}: deliver_policy", str(start),
            "what was stored before it was created is not delivered", "use all", _CONSUMERS,
        )


def _about_positions(place: Place, config: Mapping[str, Any]) -> Iterator[Finding]:
    if not _acking(place):
        return
    if int(config.get("num_replicas") or 1) > 1:
        yield Finding(
            Rating.LIMIT, "elections", "deliver again",
            "a consumer's new leader delivers again at once what was stored longer ago than "
            "ack_wait and is not acknowledged, though it may be in a handler; varco's bus under "
            "at_most_once leaves to the new leader what was not confirmed by then",
            "make handlers idempotent", "measured by stepping leaders down, nats-server 2.15",
        )
    elif config.get("storage") != "memory" and not all(
        one.get("mem_storage") for one in _acking(place)
    ):
        yield Finding(
            Rating.LIMIT, "positions", "written some 100 ms late",
            "a server that is killed can deliver again what was delivered or acknowledged "
            "just before, under at_most_once too",
            "make handlers idempotent; three replicas keep what was acknowledged",
            "measured by lab.experiment(faults='server_killed_after_ack')",
        )


def _about_dead_letters(place: Place) -> Iterator[Finding]:
    if all(int(one.get("max_deliver") or -1) > 0 for one in _acking(place)):
        return
    fails = f"a message that fails {place.max_deliver} times (max_deliver of these settings)"
    if place.dead_letters is None:
        yield Finding(
            Rating.RISK, "dead letters", "none",
            f"no bus keeps them so far: varco's gives up {fails}, and tells only its log",
            "give the bus a dlq: NatsEventBus(settings, dlq=NatsDLQ(settings))", _VARCO,
        )
    else:
        yield Finding(
            Rating.LIMIT, "dead letters", place.dead_letters,
            f"{fails} goes there, from a bus that has a dlq; from another it is gone",
            "give each service's bus a dlq, and look with lab.dead_letters()", _VARCO,
        )


def _acking(place: Place) -> list[Mapping[str, Any]]:
    """The configurations of the consumers whose messages are acknowledged."""
    configs = (one["config"] for one in place.consumers)
    return [one for one in configs if one.get("ack_policy") != "none"]


def _about_version(version: str, config: Mapping[str, Any]) -> Iterator[Finding]:
    number = tuple(map(int, re.findall(r"\d+", version)[:3]))
    if number < (2, 10, 23):
        yield Finding(
            Rating.RISK, "server", version,
            "a replicated stream can be lost whole when server processes are killed",
            "upgrade: fixed in 2.10.23", f"{_JEPSEN}, {_STREAM_LOST}",
        )
    elif number <= (2, 12, 1) and int(config.get("num_replicas") or 1) > 1:
        yield Finding(
            Rating.RISK, "server", version,
            "a damaged data file on a minority of the servers can cost stored messages",
            "upgrade, and keep backups or a mirror", _JEPSEN,
        )
    else:
        yield Finding(
            Rating.PROMISE, "server", version or "not known",
            "no loss of data by a defect of this version is known to this package", "", _JEPSEN,
        )
