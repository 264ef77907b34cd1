"""What the server's advisories and consumer states say about single messages. Pure."""

from __future__ import annotations

import json
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from varco_nats._nats.stream import covers
from varco_nats.history import StoredMessage
from varco_nats_widgets.frames._payload import decode, take_apart
from varco_nats_widgets.record._rows import DEAD_LETTERS, MAX_ROWS, Row, error_text
from varco_nats_widgets.record._sources import Expiries, of_stored

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

    acked_to: int
    delivered_to: int
    patterns: tuple[str, ...] = ()
    base: int | None = None
    """Its deliveries before those that are counted, which begin when nothing old is left."""
    first: int = 0
    """Messages delivered since."""
    again: int = 0
    """Redeliveries told since."""
    unattributed: int = 0
    """Redeliveries that happened, of which is not known of what."""
    expiries: Expiries = field(default_factory=Expiries)
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
        most: how many messages are remembered; of older ones nothing more is told.
    """

    def __init__(
        self,
        start: int,
        subjects: Iterable[str],
        channel_of: Callable[[str], str],
        most: int = MAX_ROWS,
    ) -> None:
        self._most = most
        self.reads_all = True
        """Whether all that is stored is told here; redeliveries cannot be counted otherwise."""
        self._start = start
        self._subjects = tuple(subjects)
        self._channel_of = channel_of
        self._known: dict[int, Known] = {}
        self._seqs: list[int] = []
        self._stored_to = start - 1
        self._consumers: dict[str, _Consumer] = {}

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
            _, channel, event_id, event_type = self.learn(message)
            self._seqs.append(message.seq)
            self._stored_to = message.seq
            rows += of_stored(
                message.time_ns / 1e9, channel, event_id, event_type, message.seq, message.headers
            )
        if len(self._seqs) > self._most:
            self._forget(self._seqs[len(self._seqs) // 10])
        return rows

    def _forget(self, before: int) -> None:
        """Messages below sequence `before`."""
        self._seqs = self._seqs[bisect_left(self._seqs, before) :]
        self._known = {seq: known for seq, known in self._known.items() if seq >= before}
        for consumer in self._consumers.values():
            consumer.told = {seq: n for seq, n in consumer.told.items() if seq >= before}
            consumer.naked = {seq for seq in consumer.naked if seq >= before}
            consumer.settled = {seq for seq in consumer.settled if seq >= before}
            consumer.expiries.forget(before)

    def polled(self, infos: Sequence[Mapping[str, Any]], now: float) -> list[Row]:
        """The state of the consumers now: their positions say what was delivered and acked."""
        rows: list[Row] = []
        for info in infos:
            if info["config"].get("ack_policy") not in ("explicit", "all"):
                continue  # without acks nothing becomes of a message
            name = str(info["name"])
            consumer = self._consumer(name)
            several = info["config"].get("filter_subjects") or []
            consumer.patterns = tuple(several or [info["config"].get("filter_subject") or ">"])
            rows += self._moved(name, consumer, info, now)
        return rows

    def _moved(
        self, name: str, consumer: _Consumer, info: Mapping[str, Any], now: float
    ) -> list[Row]:
        """What a consumer's state says that was not told before."""
        rows: list[Row] = []
        # what is stored and not read yet is looked at the next time
        delivered = min(int(info["delivered"]["stream_seq"]), self._stored_to)
        acked = min(int(info["ack_floor"]["stream_seq"]), self._stored_to)
        came = self._between(consumer, consumer.delivered_to, delivered)
        for seq in came:
            if seq not in consumer.told:
                rows += self._delivered(name, consumer, seq, 1, now)
        done = self._between(consumer, consumer.acked_to, acked)
        done = [seq for seq in done if seq not in consumer.settled]
        rows += self._came_again(name, consumer, info, len(came), len(done), now)
        for seq in done:
            rows += self._acked(name, consumer, seq, now)
        consumer.delivered_to = max(consumer.delivered_to, delivered)
        consumer.acked_to = max(consumer.acked_to, acked)
        self._begin(consumer, info)
        return rows

    def _begin(self, consumer: _Consumer, info: Mapping[str, Any]) -> None:
        """Count redeliveries from now on, once the consumer is given watched messages only."""
        if not self.reads_all:
            consumer.base, consumer.unattributed = None, 0
            return
        watched = all(
            any(covers(subject, pattern) for subject in self._subjects)
            for pattern in consumer.patterns
        )
        ahead = self._between(consumer, int(info["delivered"]["stream_seq"]), self._stored_to)
        if consumer.base is None and watched and int(info["num_pending"]) <= len(ahead):
            consumer.base = int(info["delivered"]["consumer_seq"])
            consumer.first = consumer.again = 0

    def _came_again(
        self,
        name: str,
        consumer: _Consumer,
        info: Mapping[str, Any],
        came: int,
        done: int,
        now: float,
    ) -> list[Row]:
        """Redeliveries that the number of deliveries shows; nobody else tells of an expired one.

        Args:
            came: messages delivered since the last look.
            done: messages acknowledged since then.
        """
        made = int(info["delivered"]["consumer_seq"])
        if consumer.base is None or made < consumer.base:  # made anew, under the same name
            consumer.base = None
            return []
        consumer.first += came
        if int(info["delivered"]["stream_seq"]) > self._stored_to:
            return []
        consumer.unattributed = max(0, made - consumer.base - consumer.first - consumer.again)
        if not consumer.unattributed:
            return []
        in_hand = [seq for seq in consumer.told if seq not in consumer.settled]
        if len(in_hand) != 1 or int(info["num_ack_pending"]) + done != 1:
            return []
        [seq] = in_hand
        delivery = consumer.told[seq] + consumer.unattributed
        consumer.unattributed = 0
        return self._delivered(name, consumer, seq, delivery, now)

    @property
    def remark(self) -> str:
        """What the rows leave out, in words; "" for nothing."""
        return "; ".join(
            f"redeliveries by {name} of which is not known of what: {consumer.unattributed:,}"
            for name, consumer in self._consumers.items()
            if consumer.unattributed
        )

    def told(self, advisory: Advisory) -> list[Row]:
        """What an advisory says; `learn` its message first."""
        seq, name = advisory.seq, advisory.consumer
        known = self._known.get(seq)
        if known is None or not _covered(self._subjects, known):
            return []
        consumer = self._consumer(name)  # one may say something before it was looked at
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
        return rows + consumer.expiries.before(row._replace(error=error))

    def _consumer(self, name: str) -> _Consumer:
        if name not in self._consumers:
            self._consumers[name] = _Consumer(self._start - 1, self._start - 1)
        return self._consumers[name]

    def _between(self, consumer: _Consumer, after: int, to: int) -> list[int]:
        """The stored sequences above `after` up to `to` that the consumer is given."""
        seqs = self._seqs[bisect_right(self._seqs, after) : bisect_right(self._seqs, to)]
        return [seq for seq in seqs if _covered(consumer.patterns, self._known[seq])]

    def _delivered(
        self, name: str, consumer: _Consumer, seq: int, delivery: int, time: float
    ) -> list[Row]:
        """The deliveries up to this one that were not told yet."""
        told = consumer.told.get(seq, 0 if seq >= self._start else delivery - 1)
        consumer.again += delivery - max(told, 1)
        consumer.told[seq] = delivery
        consumer.naked.discard(seq)
        rows = []
        for number in range(told + 1, delivery + 1):
            row = self._row("delivered", name, seq, number, time)
            rows += consumer.expiries.before(row)
        return rows

    def _acked(self, name: str, consumer: _Consumer, seq: int, now: float) -> list[Row]:
        consumer.settled.add(seq)
        delivery, rows = consumer.told.get(seq, 0), []
        if not delivery or seq in consumer.naked:  # it came again since
            delivery += 1
            rows = self._delivered(name, consumer, seq, delivery, now)
        return rows + consumer.expiries.before(self._row("acked", name, seq, delivery, now))

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
