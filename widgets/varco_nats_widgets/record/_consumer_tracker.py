"""What the server's advisories and consumer states say about single messages. Pure."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from varco_nats._masks._mask import Mask
from varco_nats._nats.advisories import DEAD_LETTERED, Advisory, AdvisoryKind
from varco_nats._nats.stream import covers
from varco_nats.history import StoredMessage
from varco_nats_widgets.frames._cells import counted
from varco_nats_widgets.frames._payload import fields_in
from varco_nats_widgets.record._rows import DEAD_LETTERS, MAX_ROWS, STREAM, Row, error_text
from varco_nats_widgets.record._sources import Expiries, of_stored


class Known(NamedTuple):
    """What is remembered of a stored message."""

    subject: str
    channel: str
    event_id: str | None
    event_type: str | None


@dataclass(slots=True)
class _Consumer:
    """What has been reported about one consumer.

    The server counts deliveries and does not say of which messages they were. Redeliveries are
    counted from the moment on at which the consumer has no older message left (`base`).
    """

    acked_to: int
    delivered_to: int
    patterns: tuple[str, ...] = ()
    base: int | None = None
    """The consumer's deliveries before the counting began; None before that."""
    first_deliveries: int = 0
    """First deliveries since then."""
    redeliveries: int = 0
    """Redeliveries reported since then."""
    unattributed: int = 0
    """Redeliveries since then of which nobody knows the message."""
    expiries: Expiries = field(default_factory=Expiries)
    deliveries: dict[int, int] = field(default_factory=dict)
    """The highest delivery reported of each sequence."""
    naked: set[int] = field(default_factory=set)
    settled: set[int] = field(default_factory=set)


class ConsumerTracker:
    """Makes rows of what a stream and its consumers show, each thing once.

    Args:
        start: the first sequence that is watched.
        subjects: the subjects that are watched.
        channel_of: the channel of a subject.
        max_messages: how many messages are remembered; older ones get no more rows.
        mask: what it hides is not told in errors.
    """

    def __init__(
        self,
        start: int,
        subjects: Iterable[str],
        channel_of: Callable[[str], str],
        max_messages: int = MAX_ROWS,
        mask: Mask | None = None,
    ) -> None:
        self._mask = mask
        self._max_messages = max_messages
        self.reads_all = True
        """Whether every stored message comes by here; else redeliveries cannot be counted."""
        self._start = start
        self._subjects = tuple(subjects)
        self._channel_of = channel_of
        self._known: dict[int, Known] = {}
        self._seqs: list[int] = []
        self._stored_to = start - 1
        self._consumers: dict[str, _Consumer] = {}

    def knows(self, seq: int) -> bool:
        return seq in self._known

    def remember(self, message: StoredMessage) -> None:
        """Remember what a message is, for what is reported about it later."""
        fields = fields_in(message.data)
        channel = self._channel_of(message.subject)
        self._known[message.seq] = Known(
            message.subject, channel, fields.event_id, fields.event_type
        )

    def on_stored(self, messages: Iterable[StoredMessage]) -> list[Row]:
        """The rows of messages that were stored, in the order of the stream."""
        rows: list[Row] = []
        for message in messages:
            self.remember(message)
            self._seqs.append(message.seq)
            self._stored_to = message.seq
            row = self._row("stored", STREAM, message.seq, 0, message.time_ns / 1e9)
            rows += of_stored(row, message.headers)
        if len(self._seqs) > self._max_messages:
            self._forget(self._seqs[len(self._seqs) // 10])
        return rows

    def _forget(self, before: int) -> None:
        """Forget the messages below sequence `before`."""
        self._seqs = self._seqs[bisect_left(self._seqs, before) :]
        self._known = {seq: known for seq, known in self._known.items() if seq >= before}
        for consumer in self._consumers.values():
            known_deliveries = consumer.deliveries.items()
            consumer.deliveries = {seq: n for seq, n in known_deliveries if seq >= before}
            consumer.naked = {seq for seq in consumer.naked if seq >= before}
            consumer.settled = {seq for seq in consumer.settled if seq >= before}
            consumer.expiries.forget(before)

    def on_consumer_info(self, infos: Sequence[Mapping[str, Any]], now: float) -> list[Row]:
        """The rows that follow from the consumers' positions: what was delivered and acked."""
        rows: list[Row] = []
        for info in infos:
            if info["config"].get("ack_policy") not in ("explicit", "all"):
                continue  # without acks, no position says what was handled
            name = str(info["name"])
            consumer = self._consumer(name)
            several = info["config"].get("filter_subjects") or []
            consumer.patterns = tuple(several or [info["config"].get("filter_subject") or ">"])
            rows += self._moved(name, consumer, info, now)
        return rows

    def _moved(
        self, name: str, consumer: _Consumer, info: Mapping[str, Any], now: float
    ) -> list[Row]:
        """What a consumer's positions say that was not reported before."""
        rows: list[Row] = []
        # messages that are stored and not read yet are reported the next time
        delivered_to = min(int(info["delivered"]["stream_seq"]), self._stored_to)
        acked_to = min(int(info["ack_floor"]["stream_seq"]), self._stored_to)
        delivered = self._between(consumer, consumer.delivered_to, delivered_to)
        for seq in delivered:
            if seq not in consumer.deliveries:
                rows += self._delivered(name, consumer, seq, 1, now)
        acked = self._between(consumer, consumer.acked_to, acked_to)
        acked = [seq for seq in acked if seq not in consumer.settled]
        rows += self._redelivered(name, consumer, info, len(delivered), len(acked), now)
        for seq in acked:
            rows += self._acked(name, consumer, seq, now)
        consumer.delivered_to = max(consumer.delivered_to, delivered_to)
        consumer.acked_to = max(consumer.acked_to, acked_to)
        self._begin_counting(consumer, info)
        return rows

    def _begin_counting(self, consumer: _Consumer, info: Mapping[str, Any]) -> None:
        """Count redeliveries from now on, if the consumer gets only watched messages."""
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
            consumer.first_deliveries = consumer.redeliveries = 0

    def _redelivered(
        self,
        name: str,
        consumer: _Consumer,
        info: Mapping[str, Any],
        delivered: int,
        acked: int,
        now: float,
    ) -> list[Row]:
        """Redeliveries that only the number of deliveries shows, as those after an ack_wait.

        If just one message is not settled yet, they were of that one.

        Args:
            delivered: messages delivered for the first time since the last poll.
            acked: messages acknowledged since then.
        """
        total = int(info["delivered"]["consumer_seq"])
        if consumer.base is None or total < consumer.base:  # deleted and created again
            consumer.base = None
            return []
        consumer.first_deliveries += delivered
        if int(info["delivered"]["stream_seq"]) > self._stored_to:
            return []
        reported = consumer.base + consumer.first_deliveries + consumer.redeliveries
        consumer.unattributed = max(0, total - reported)
        if not consumer.unattributed:
            return []
        unsettled = [seq for seq in consumer.deliveries if seq not in consumer.settled]
        if len(unsettled) != 1 or int(info["num_ack_pending"]) + acked != 1:
            return []
        [seq] = unsettled
        delivery = consumer.deliveries[seq] + consumer.unattributed
        consumer.unattributed = 0
        return self._delivered(name, consumer, seq, delivery, now)

    @property
    def remark(self) -> str:
        """What the rows leave out, in words; "" for nothing."""
        return "; ".join(
            f"{counted(consumer.unattributed, 'message')} redelivered by {name} could not be "
            "identified"
            for name, consumer in self._consumers.items()
            if consumer.unattributed
        )

    def on_advisory(self, advisory: Advisory) -> list[Row]:
        """The rows that follow from an advisory; `remember` its message first."""
        seq, name = advisory.seq, advisory.consumer
        known = self._known.get(seq)
        if known is None or not _covered(self._subjects, known):
            return []
        consumer = self._consumer(name)  # its first advisory may come before its info
        delivery, time, rows = advisory.deliveries, advisory.time.timestamp(), []
        if delivery > consumer.deliveries.get(seq, 0):
            began = time - advisory.ack_seconds
            rows = self._delivered(name, consumer, seq, delivery, began)
        kind, error, process = _meaning(advisory, self._mask)
        if kind == "naked":
            consumer.naked.add(seq)
        else:
            if seq in consumer.settled:
                return rows
            consumer.settled.add(seq)
        row = self._row(kind, process or name, seq, delivery, time)
        return rows + consumer.expiries.before(row._replace(error=error))

    def _consumer(self, name: str) -> _Consumer:
        if name not in self._consumers:
            self._consumers[name] = _Consumer(self._start - 1, self._start - 1)
        return self._consumers[name]

    def _between(self, consumer: _Consumer, after: int, to: int) -> list[int]:
        """The stored sequences above `after` up to `to` that the consumer gets."""
        seqs = self._seqs[bisect_right(self._seqs, after) : bisect_right(self._seqs, to)]
        return [seq for seq in seqs if _covered(consumer.patterns, self._known[seq])]

    def _delivered(
        self, name: str, consumer: _Consumer, seq: int, delivery: int, time: float
    ) -> list[Row]:
        """The deliveries up to this one that were not reported yet."""
        reported = consumer.deliveries.get(seq, 0 if seq >= self._start else delivery - 1)
        consumer.redeliveries += delivery - max(reported, 1)
        consumer.deliveries[seq] = delivery
        consumer.naked.discard(seq)
        rows = []
        for number in range(reported + 1, delivery + 1):
            row = self._row("delivered", name, seq, number, time)
            rows += consumer.expiries.before(row)
        return rows

    def _acked(self, name: str, consumer: _Consumer, seq: int, now: float) -> list[Row]:
        consumer.settled.add(seq)
        delivery, rows = consumer.deliveries.get(seq, 0), []
        if not delivery or seq in consumer.naked:  # an ack means that it was delivered again
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


def _meaning(advisory: Advisory, mask: Mask | None) -> tuple[str, str | None, str | None]:
    """The kind of row, its error, and its process if that is not the consumer."""
    match advisory.kind:
        case AdvisoryKind.ACKED:
            return "acked", None, None
        case AdvisoryKind.NAKED:
            return "naked", None, None
        case AdvisoryKind.TERMINATED if advisory.reason == DEAD_LETTERED:
            return "dead_lettered", None, DEAD_LETTERS
        case AdvisoryKind.TERMINATED:
            return "terminated", error_text(advisory.reason, mask), None
    return "terminated", f"no ack for delivery {advisory.deliveries}, the last (max_deliver)", None
