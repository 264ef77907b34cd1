"""The rules of `lab.durability` about a stream and its server. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

import pandas as pd

from varco_nats_widgets.durability._finding import (
    DOCS,
    STREAMS,
    Finding,
    Place,
    Rating,
    replicas_of,
    span,
)

SYNC_DEFAULT = "2 minutes"
"""How often a server with the default configuration forces what it wrote onto the disk."""

_SYNC = f"{DOCS}/reference/config/jetstream/sync_interval"
_JEPSEN = "https://jepsen.io/analyses/nats-2.12.1"
_STREAM_LOST = "https://github.com/nats-io/nats-server/issues/6888"

# A rule reads better in few lines:
# fmt: off


def about_stream(place: Place) -> Iterator[Finding]:
    """What the stream's configuration means for the channel's messages."""
    config = place.stream["config"]
    yield from _about_storage(place, config)
    yield _about_replicas(place)
    yield from _about_retention(place, config)
    yield from _about_limits(config, place.stream["state"])
    yield from _about_publishing(config)


def _about_storage(place: Place, config: Mapping[str, Any]) -> Iterator[Finding]:
    if config.get("storage") == "memory":
        yield Finding(
            Rating.RISK, "storage", "memory",
            "all messages are lost when the server restarts" if replicas_of(place) == 1
            else "a server that restarts has lost its copy of the messages",
            "delete the stream and create it with file storage: the storage of an existing stream "
            "cannot be changed", STREAMS,
        )
    else:
        yield Finding(
            Rating.PROMISE, "storage", "file",
            "messages survive the end of the server's process", "", STREAMS,
        )
        yield _about_sync(place.sync_interval, replicas_of(place))
    if config.get("persist_mode") == "async":
        yield Finding(
            Rating.RISK, "persist_mode", "async",
            "the server sends a PubAck before it has written the message: some messages are lost "
            "when it is killed", "set persist_mode to default", f"{DOCS}/reference",
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
    replicas = replicas_of(place)
    peers = place.stream.get("cluster", {}).get("replicas") or ()
    offline = [str(peer["name"]) for peer in peers if peer.get("offline")]
    spare = (replicas - 1) // 2 - len(offline)
    if replicas >= 3 and offline:
        return Finding(
            Rating.RISK, "num_replicas", f"{replicas}, {len(offline)} offline",
            "nothing can be published or acknowledged until one of them is back" if spare < 0
            else f"messages can still be published, and {spare} more servers may fail",
            f"bring back {', '.join(offline)}", STREAMS,
        )
    if replicas >= 3:
        return Finding(
            Rating.PROMISE, "num_replicas", str(replicas),
            f"while no more than {spare} of the {replicas} servers are gone, messages can be "
            "published and no stored message is lost", "", STREAMS,
        )
    return Finding(
        Rating.RISK, "num_replicas", str(replicas),
        "nothing can be published while one of the two servers is gone" if replicas == 2
        else "the only copy is on one server: if its disk is lost, all messages are",
        "in a cluster, set stream_replicas=3", STREAMS,
    )


def _about_retention(place: Place, config: Mapping[str, Any]) -> Iterator[Finding]:
    retention = config.get("retention", "limits")
    if retention == "limits":
        yield Finding(
            Rating.PROMISE, "retention", "limits",
            "messages stay after they were handled, until a limit removes them", "", STREAMS,
        )
    elif retention == "interest":
        yield Finding(
            Rating.LIMIT if place.consumers else Rating.RISK, "retention", "interest",
            "a message is removed once every consumer has acknowledged it, and at once if there "
            "is no consumer",
            "create the durables before you publish, or use limits", STREAMS,
        )
    else:
        yield Finding(
            Rating.LIMIT, "retention", str(retention),
            "a message is removed by its first ack; after that nobody can read or replay it",
            "use limits if several services need the messages, or you need a history", STREAMS,
        )
    if config.get("mirror") or config.get("sources"):
        yield Finding(
            Rating.LIMIT, "sources", "copies another stream",
            "messages arrive here with a delay; one that the original stream removes before it is "
            "copied never arrives", "watch how far the copy lags behind", STREAMS,
        )
    if config.get("allow_msg_ttl"):
        yield Finding(
            Rating.LIMIT, "allow_msg_ttl", "true",
            "a publisher can have a message removed after a time of its choice",
            "publish without the header Nats-TTL", STREAMS,
        )


def _about_limits(config: Mapping[str, Any], state: Mapping[str, Any]) -> Iterator[Finding]:
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
            f"raise {name}" + ("" if refuses else ", or set discard to new"), STREAMS,
        )
    if (per_subject := int(config.get("max_msgs_per_subject") or -1)) > 0:
        bounded = True
        yield Finding(
            Rating.LIMIT, "max_msgs_per_subject", f"{per_subject:,}",
            "a channel that holds this many messages refuses further ones"
            if refuses and config.get("discard_new_per_subject")
            else "a channel keeps this many of its newest messages; older ones are removed, "
            "whether they were handled or not", "raise it", STREAMS,
        )
    if age := int(config.get("max_age") or 0):
        bounded = True
        yield Finding(
            Rating.LIMIT, "max_age", span(age),
            "a message of this age is removed, whether it was handled or not: a service that is "
            "down for longer misses it",
            "set it longer than the longest outage that you want to survive", STREAMS,
        )
    if not bounded:
        yield Finding(
            Rating.PROMISE, "limits", "none",
            "no message is removed; publishing fails when the disk or the account is full", "",
            STREAMS,
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


def _about_publishing(config: Mapping[str, Any]) -> Iterator[Finding]:
    if config.get("no_ack"):
        yield Finding(
            Rating.RISK, "no_ack", "true",
            "publishers never learn whether a message was stored", "set no_ack to false", STREAMS,
        )
    window = int(config.get("duplicate_window") or 0)
    yield Finding(
        Rating.LIMIT, "duplicate_window", span(window) if window else "none",
        "a second message with the same Nats-Msg-Id is dropped if it comes within this time, and "
        "stored if it comes later; varco sends that header under exactly_once" if window
        else "a message that is published again is stored twice",
        "make it longer than the time for which a producer may retry", STREAMS,
    )


def about_version(place: Place) -> Finding:
    """Whether the server's version is known to lose messages."""
    number = tuple(map(int, re.findall(r"\d+", place.version)[:3]))
    if number < (2, 10, 23):
        return Finding(
            Rating.RISK, "server", place.version,
            "killing server processes can lose a whole replicated stream",
            "upgrade to 2.10.23 or later", f"{_JEPSEN}, {_STREAM_LOST}",
        )
    if number <= (2, 12, 1) and replicas_of(place) > 1:
        return Finding(
            Rating.RISK, "server", place.version,
            "a damaged data file on a minority of the servers can lose stored messages",
            "upgrade, and keep backups or a mirror", _JEPSEN,
        )
    return Finding(
        Rating.PROMISE, "server", place.version or "not known",
        "no defect of this version is known to lose messages", "", _JEPSEN,
    )
