"""What the server's advisories and consumer states say about single messages. Pure."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from varco_nats._stream import covers
from varco_nats.history import StoredMessage
from varco_nats_widgets._payload import decode, take_apart
from varco_nats_widgets._record_rows import DEAD_LETTERS, STREAM, Row, error_text
from varco_nats_widgets._record_sources import Expiries

_DEAD_LETTERED = "dead-lettered"  # the reason that our bus terminates with


class Known(NamedTuple):
    """A stored message."""

    subject: str
    channel: str
    event_id: str | None
    event_type: str | None


@dataclass(slots=True)
class _Consumer:
    """What has been told about one consumer."""

    patterns: tuple[str, ...]
    acked_to: int
    delivered_to: int
    told: dict[int, int] = field(default_factory=dict)
    """The highest delivery told of each sequence."""
    naked: set[int] = field(default_factory=set)
    settled: set[int] = field(default_factory=set)


class Advisory(NamedTuple):
    """One advisory or metric of the server about a message of a consumer."""

    kind: str
    time: float
    consumer: str
    seq: int
    delivery: int
    ack_seconds: float
    reason: str | None


def parse_advisory(subject: str, data: bytes) -> Advisory | None:
    """What it says; None if it is about something else."""
    kind = subject.split(".")[4] if subject.count(".") > 4 else ""
    if kind not in ("ACK", "MSG_NAKED", "MSG_TERMINATED", "MAX_DELIVERIES"):
        return None
    try:
        said = json.loads(data)
        return Advisory(
            kind,
            datetime.fromisoformat(said["timestamp"]).timestamp(),
            str(said["consumer"]),
            int(said["stream_seq"]),
            int(said.get("deliveries") or 1),
            int(said.get("ack_time") or 0) / 1e9,
            said.get("reason"),
        )
    except (ValueError, KeyError, TypeError):
        return None


class WatchState:
    """Makes rows of what a stream and its consumers show; knows what has been told already.

    Args:
        start: sequence from which on messages are watched.
        subjects: those that are watched.
        channel_of: the channel of a subject.
    """

    def __init__(
        self, start: int, subjects: Iterable[str], channel_of: Callable[[str], str]
    ) -> None:
        self._start = start
        self._subjects = tuple(subjects)
        self._channel_of = channel_of
        self._known: dict[int, Known] = {}
        self._seqs: list[int] = []
        self._stored_to = start - 1
        self._consumers: dict[str, _Consumer] = {}
        self._expiries = Expiries()

    def knows(self, seq: int) -> bool:
        return seq in self._known

    def learn(self, message: StoredMessage) -> Known:
        """Remember what a message is."""
        fields = take_apart(decode(message.data)[0])
        channel = self._channel_of(message.subject)
        known = Known(message.subject, channel, fields.event_id, fields.event_type)
        self._known[message.seq] = known
        return known

    def stored(self, messages: Iterable[StoredMessage]) -> list[Row]:
        """Messages that were stored, in order."""
        rows = []
        for message in messages:
            known = self.learn(message)
            self._seqs.append(message.seq)
            self._stored_to = message.seq
            rows.append(
                Row(
                    message.time_ns / 1e9,
                    "stored",
                    STREAM,
                    known.channel,
                    known.event_id,
                    known.event_type,
                    message.seq,
                )
            )
        return rows

    def polled(self, infos: Sequence[Mapping[str, Any]], now: float) -> list[Row]:
        """The state of the consumers now: their positions say what was delivered and acked."""
        rows: list[Row] = []
        for info in infos:
            if info["config"].get("ack_policy") not in ("explicit", "all"):
                continue  # without acks nothing becomes of a message
            name = str(info["name"])
            consumer = self._consumers.get(name)
            if consumer is None:
                consumer = self._consumers[name] = self._new(info["config"])
            # what is stored and not read yet is looked at the next time
            delivered = min(int(info["delivered"]["stream_seq"]), self._stored_to)
            acked = min(int(info["ack_floor"]["stream_seq"]), self._stored_to)
            for seq in self._between(consumer, consumer.delivered_to, delivered):
                if seq not in consumer.told:
                    rows += self._delivered(name, consumer, seq, 1, now)
            for seq in self._between(consumer, consumer.acked_to, acked):
                if seq not in consumer.settled:
                    rows += self._acked(name, consumer, seq, now)
            consumer.delivered_to = max(consumer.delivered_to, delivered)
            consumer.acked_to = max(consumer.acked_to, acked)
        return rows

    def told(self, advisory: Advisory) -> list[Row]:
        """What an advisory says; `learn` its message first."""
        seq, name = advisory.seq, advisory.consumer
        consumer = self._consumers.get(name)
        known = self._known.get(seq)
        if consumer is None or known is None or not _covered(self._subjects, known):
            return []
        delivery, rows = advisory.delivery, []
        if delivery > consumer.told.get(seq, 0):
            began = advisory.time - advisory.ack_seconds
            rows = self._delivered(name, consumer, seq, delivery, began)
        kind, error, process = _meaning(advisory)
        if kind == "naked":
            consumer.naked.add(seq)
        else:
            if seq in consumer.settled:
                return rows
            consumer.settled.add(seq)
        row = self._row(kind, process or name, seq, delivery, advisory.time)
        return rows + self._expiries.before(row._replace(error=error))

    def _new(self, config: Mapping[str, Any]) -> _Consumer:
        several = config.get("filter_subjects") or []
        patterns = tuple(several or [config.get("filter_subject") or ">"])
        return _Consumer(patterns, self._start - 1, self._start - 1)

    def _between(self, consumer: _Consumer, after: int, to: int) -> list[int]:
        """The stored sequences above `after` up to `to` that the consumer is given."""
        seqs = self._seqs[bisect_right(self._seqs, after) : bisect_right(self._seqs, to)]
        return [seq for seq in seqs if _covered(consumer.patterns, self._known[seq])]

    def _delivered(
        self, name: str, consumer: _Consumer, seq: int, delivery: int, time: float
    ) -> list[Row]:
        consumer.told[seq] = delivery
        consumer.naked.discard(seq)
        return self._expiries.before(self._row("delivered", name, seq, delivery, time))

    def _acked(self, name: str, consumer: _Consumer, seq: int, now: float) -> list[Row]:
        consumer.settled.add(seq)
        delivery, rows = consumer.told.get(seq, 0), []
        if not delivery or seq in consumer.naked:  # it came again since
            delivery += 1
            rows = self._delivered(name, consumer, seq, delivery, now)
        return rows + self._expiries.before(self._row("acked", name, seq, delivery, now))

    def _row(self, kind: str, process: str, seq: int, delivery: int, time: float) -> Row:
        known = self._known[seq]
        return Row(
            time, kind, process, known.channel, known.event_id, known.event_type, seq, delivery
        )


def _covered(patterns: Iterable[str], known: Known) -> bool:
    return any(covers(pattern, known.subject) for pattern in patterns)


def _meaning(advisory: Advisory) -> tuple[str, str | None, str | None]:
    """The kind of row, its error, and who if it is not the consumer."""
    match advisory.kind:
        case "ACK":
            return "acked", None, None
        case "MSG_NAKED":
            return "naked", None, None
        case "MSG_TERMINATED" if advisory.reason == _DEAD_LETTERED:
            return "dead_lettered", None, DEAD_LETTERS
        case "MSG_TERMINATED":
            return "terminated", error_text(advisory.reason), None
    return "terminated", f"no ack for delivery {advisory.delivery}, the last (max_deliver)", None
