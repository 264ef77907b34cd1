"""A dead letter as bytes and back, and which object came from which."""

from __future__ import annotations

import base64
import copy
import gc
import json
import pickle
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from varco_core.event.base import Event
from varco_core.event.dlq import DeadLetterEntry, DeadLetterSource
from varco_core.event.serializer import JsonEventSerializer
from varco_core.serialization import Serializer

from tests.events import OrderPlaced
from varco_nats._nats import provenance
from varco_nats._nats.delivery import MessageDelivery
from varco_nats._nats.direct import StoredMessage, time_ns
from varco_nats._varco_core import new_entry
from varco_nats.dlq import _codec
from varco_nats.dlq._codec import DlqNames, decode, encode, first_failure, made_of, with_delivery

NAMES = DlqNames("varco-events-dlq", "varco-dlq", "dev.")
JSON = JsonEventSerializer()
ENTRY_ID = UUID("9331bf03-0ae0-4375-8b6f-4277b07d42be")

LEGACY = (
    b'{"entry_id": "9331bf03-0ae0-4375-8b6f-4277b07d42be", "channel": "orders.eu", '
    b'"handler_name": "h", "error_type": "ValueError", "error_message": "boom", "attempts": 3, '
    b'"first_failed_at": "2026-11-23T23:07:20.725581+00:00", '
    b'"last_failed_at": "2026-11-23T23:07:20.725583+00:00", '
    b'"event_payload": "{\\"__event_type__\\": \\"order.placed\\", '
    b'\\"event_id\\": \\"18b6012b-a553-44c0-a353-eb7f1d6a819c\\", '
    b'\\"timestamp\\": \\"2026-11-23T23:07:20.725569Z\\", \\"order_id\\": \\"1\\"}"}'
)

AWKWARD = ["", "*", ">", "orders", "orders.eu", "a b", "..", "50%", "ünï", "\x00\n", "\ud800"]


class PickleSerializer(Serializer[Event]):
    """Writes bytes that are no UTF-8."""

    def serialize(self, value: Event) -> bytes:
        return b"\xff" + pickle.dumps(value.model_dump())

    def deserialize(self, data: bytes, type_hint: type[Event] | None = None) -> Event:
        return OrderPlaced(**pickle.loads(data[1:]))


def full_entry() -> DeadLetterEntry:
    failed = datetime(2026, 1, 31, 12, 0, 0, 123456, tzinfo=UTC)
    return DeadLetterEntry(
        entry_id=ENTRY_ID,
        event=OrderPlaced(order_id="ä1"),
        channel="orders.eu",
        handler_name="Consumer.on_order",
        error_type="ValueError",
        error_message="bööm <script> \ud800",
        attempts=3,
        first_failed_at=failed,
        last_failed_at=failed + timedelta(seconds=1),
        source=DeadLetterSource.OUTBOX_RELAY,
        source_ref="outbox-7",
        tenant_id="acme",
    )


def stored(data: bytes, subject: str | None = None, seq: int = 7) -> StoredMessage:
    if subject is None:
        subject = NAMES.subject(ENTRY_ID, "orders.eu")
    return StoredMessage(seq, subject, 1_769_860_800_123_456_789, data, None)


def roundtrip(entry: DeadLetterEntry, serializer: Serializer[Event] = JSON) -> DeadLetterEntry:
    subject = NAMES.subject(entry.entry_id, entry.channel)
    return decode(stored(encode(entry, serializer), subject), NAMES).with_event(serializer)


def test_every_field_survives() -> None:
    entry = full_entry()

    assert roundtrip(entry) == entry


@pytest.mark.parametrize("payload", [b"", b"\xff\x00 not json", b'{"a": 1}', bytes(range(256))])
def test_payload_only_entries_survive_byte_for_byte(payload: bytes) -> None:
    entry = replace(full_entry(), event=None, payload=payload)

    assert roundtrip(entry) == entry


def test_event_that_is_no_utf8_survives() -> None:
    entry = full_entry()
    serializer = PickleSerializer()

    assert roundtrip(entry, serializer) == entry
    unread = decode(stored(encode(entry, serializer)), NAMES).with_event(JSON)
    assert entry.event is not None
    assert (unread.event, unread.payload) == (None, serializer.serialize(entry.event))


@pytest.mark.parametrize("channel", AWKWARD)
def test_any_channel_has_a_valid_subject_and_comes_back(channel: str) -> None:
    subject = NAMES.subject(ENTRY_ID, channel)

    assert NAMES.parse(subject) == (ENTRY_ID, channel)
    assert all(subject.split("."))
    assert not set(subject) & set(" \t\r\n\x00*>")
    assert roundtrip(replace(full_entry(), channel=channel)).channel == channel


def test_field_names_are_those_of_the_released_package() -> None:
    entry = full_entry()
    fields = json.loads(encode(entry, JSON))

    assert set(json.loads(LEGACY)) <= set(fields)
    assert isinstance(fields["event_payload"], str)
    assert json.loads(fields["event_payload"])["order_id"] == "ä1"
    assert fields["first_failed_at"] == "2026-01-31T12:00:00.123456+00:00"
    assert fields["source"] == "outbox_relay"
    assert (
        base64.b64decode(json.loads(encode(replace(entry, payload=b"x"), JSON))["payload"]) == b"x"
    )


def test_entry_of_the_released_package_is_read() -> None:
    entry = decode(stored(LEGACY, "varco.__dlq__"), NAMES).with_event(JSON)

    assert entry.entry_id == ENTRY_ID
    assert (entry.channel, entry.handler_name, entry.attempts) == ("orders.eu", "h", 3)
    assert isinstance(entry.event, OrderPlaced)
    assert entry.event.order_id == "1"
    assert (entry.source, entry.source_ref) == (DeadLetterSource.CONSUMER, None)
    assert entry.last_failed_at == datetime(2026, 11, 23, 23, 7, 20, 725583, tzinfo=UTC)


def test_unknown_event_class_keeps_the_raw_event() -> None:
    data = LEGACY.replace(b"order.placed", b"never.imported")
    entry = decode(stored(data, "varco.__dlq__"), NAMES).with_event(JSON)

    assert entry.event is None
    assert entry.payload == json.loads(data)["event_payload"].encode()


def test_a_text_that_is_null_is_empty() -> None:
    fields = json.loads(LEGACY) | {"handler_name": None, "error_message": None}
    found = decode(stored(json.dumps(fields).encode()), NAMES).entry
    assert (found.handler_name, found.error_message) == ("", "")
    assert found.error_type == fields["error_type"]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no json",
        b"\xff\xfe",
        b"[1]",
        b"{}",
        b"x\x9c broken",
        LEGACY.replace(b'"attempts": 3', b'"attempts": "many"'),
        LEGACY.replace(b'"channel": "orders.eu"', b'"channel": 7'),
        LEGACY.replace(b"}", b', "source": "of another version"}'),
    ],
)
def test_what_cannot_be_read_is_an_entry_that_says_so(data: bytes) -> None:
    message = stored(data)
    entry = decode(message, NAMES).with_event(JSON)

    assert (entry.entry_id, entry.channel) == (ENTRY_ID, "orders.eu")
    assert (entry.event, entry.payload, entry.error_type) == (None, data, "UnreadableEntry")
    assert entry.last_failed_at == datetime(2026, 1, 31, 12, 0, 0, 123456, tzinfo=UTC)
    assert entry == decode(message, NAMES).with_event(JSON)

    elsewhere = [decode(stored(data, "varco-dlq.x", seq), NAMES).entry for seq in (7, 7, 8)]
    ids = [entry.entry_id for entry in elsewhere]
    assert ids[0] == ids[1] != ids[2]
    assert [made_of(entry_id) for entry_id in ids] == [7, 7, 8]


def test_large_entry_is_compressed_and_read_again() -> None:
    entry = replace(full_entry(), event=OrderPlaced(order_id='"' * 10_000))
    data = encode(entry, JSON, max_size=15_000)

    assert len(data) < 5_000
    assert decode(stored(data), NAMES).with_event(JSON) == entry


@pytest.mark.parametrize(
    ("found", "headers"),
    [
        ({"a": 1, "b\r\nc": "x", "d": "\r\n", "e": "\ud800", "": "", "Trace": "t"}, {"Trace": "t"}),
        (["x"], None),
        ("text", None),
        (None, None),
    ],
)
def test_headers_that_no_message_can_have_are_left_out(
    found: object, headers: dict[str, str] | None
) -> None:
    fields = {**json.loads(LEGACY), "headers": found, "num_delivered": "3", "tenant_id": 7}
    read = decode(stored(json.dumps(fields).encode()), NAMES)
    assert (read.headers, read.num_delivered, read.entry.tenant_id) == (headers, None, "7")


@pytest.mark.parametrize(
    ("attempts", "later", "known"), [(1, 0, True), (3, 1, True), (3, 0, False)]
)
def test_when_it_failed_first_may_not_be_known(attempts: int, later: int, known: bool) -> None:
    failed = full_entry().last_failed_at
    first = failed - timedelta(seconds=later)
    one = replace(full_entry(), attempts=attempts, first_failed_at=first, last_failed_at=failed)
    assert first_failure(one) == (first if known else None)


def test_delivery_fills_what_an_entry_leaves_open() -> None:
    delivery = MessageDelivery("orders", "events", 42, 5, {"Trace": "t1"}, "svc-orders")
    entry = DeadLetterEntry(event=OrderPlaced(order_id="1"), channel="*")
    filled = with_delivery(entry, delivery)

    assert (filled.channel, filled.source_ref) == ("orders", "events:42")
    assert with_delivery(replace(entry, channel=""), delivery).channel == "orders"
    explicit = replace(entry, channel="other", source_ref="mine")
    assert with_delivery(explicit, delivery) == explicit
    assert with_delivery(entry, None) == entry
    job = replace(entry, source=DeadLetterSource.JOB)
    assert with_delivery(job, delivery) == job

    read = decode(stored(encode(filled, JSON, delivery)), NAMES)
    assert (read.headers, read.num_delivered) == ({"Trace": "t1"}, 5)
    read = decode(stored(encode(filled, JSON)), NAMES)
    assert (read.headers, read.num_delivered) == (None, None)


def test_times_without_zone_are_utc() -> None:
    entry = replace(full_entry(), last_failed_at=datetime(2026, 1, 31))

    assert roundtrip(entry).last_failed_at == datetime(2026, 1, 31, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01T00:00:01.5Z", 1_500_000_000),
        ("2026-11-23T23:12:36.400322585Z", 1_795_475_556_400_322_585),
    ],
)
def test_time_stamps_keep_nanoseconds(text: str, expected: int) -> None:
    assert time_ns(text) == expected


def test_decoded_event_knows_its_dead_letter_and_is_otherwise_the_same() -> None:
    entry = full_entry()
    event = roundtrip(entry).event
    assert event is not None
    plain = JSON.deserialize(JSON.serialize(event))

    assert (provenance.headers_of(event) or {}).get(provenance.REPLAY_OF) == str(ENTRY_ID)
    assert provenance.headers_of(plain) is None  # equal, but another object
    assert event == plain
    assert hash(event) == hash(plain)
    assert repr(event) == repr(plain)
    assert event.model_dump() == plain.model_dump()
    assert pickle.dumps(event) == pickle.dumps(plain)
    assert provenance.headers_of(event.model_copy()) is None
    assert provenance.headers_of(copy.deepcopy(event)) is None


def test_marks_end_with_their_objects() -> None:
    gc.collect()
    before = len(provenance._entries)
    events = [OrderPlaced(order_id=str(number)) for number in range(100)]
    for event in events:
        provenance.mark(event, provenance.replay_headers(uuid4()))
    provenance.mark(events[0], provenance.replay_headers(ENTRY_ID))  # read twice
    assert (provenance.headers_of(events[0]) or {}).get(provenance.REPLAY_OF) == str(ENTRY_ID)
    assert len(provenance._entries) == before + 100

    del event, events
    gc.collect()
    assert len(provenance._entries) == before


MOMENTS = st.sampled_from(
    ["2026-11-23T23:07:20.725581+00:00", "2026-11-23T23:07:20", "2026-11-23T23:07:20Z", "", "x", 1]
) | st.datetimes().map(datetime.isoformat)
ANYTHING: st.SearchStrategy[Any] = st.sampled_from(
    [None, "", "a", "é", 0, 7, 2.5, True, [], {}, {"A": "1"}, "e30=", "e30"]
)


@given(
    st.fixed_dictionaries(
        {"entry_id": st.sampled_from([str(ENTRY_ID), "x", None, 1])},
        optional={
            "first_failed_at": MOMENTS,
            "last_failed_at": MOMENTS,
            **dict.fromkeys(
                [
                    *("channel", "handler_name", "error_type", "error_message", "attempts"),
                    *("event_payload", "event_payload_base64", "payload", "source_ref"),
                    *("tenant_id", "headers", "num_delivered", "unknown"),
                ],
                ANYTHING,
            ),
            "source": st.sampled_from([*DeadLetterSource, "x", None]),
        },
    ),
    st.sampled_from([f"varco-dlq.{ENTRY_ID}.dev.orders", "varco-dlq", "elsewhere"]),
)
def test_usual_fields_are_read_as_all_others_are(fields: dict[str, Any], subject: str) -> None:
    data = json.dumps(fields).encode()
    message = StoredMessage(7, subject, 0, data, None)
    try:
        wanted = _codec._decode_any(data, message, NAMES, NAMES.id_in(subject))
    except Exception:
        assert decode(message, NAMES).entry.error_type == _codec.UNREADABLE
    else:
        found = decode(message, NAMES)
        assert (found, vars(found.entry)) == (wanted, vars(wanted.entry))


def test_a_decoded_entry_is_the_same_before_and_after_it_was_asked_for() -> None:
    letter = replace(full_entry(), error_message="boom")
    message = stored(encode(letter, JSON), NAMES.subject(ENTRY_ID, "orders"))
    asked, unasked = decode(message, NAMES), decode(message, NAMES)
    assert unasked.entry_id == asked.entry.entry_id == ENTRY_ID
    assert isinstance(unasked.fields, _codec.Fields)
    assert isinstance(asked.fields, DeadLetterEntry)
    assert unasked.replay_headers() == asked.replay_headers()
    assert unasked == asked
    assert unasked != decode(message._replace(seq=message.seq + 1), NAMES)


def test_an_entry_is_made_of_all_its_fields() -> None:
    entry = full_entry()
    made = new_entry(**vars(entry))
    assert (made, vars(made)) == (entry, vars(entry))
    assert new_entry(channel="orders").channel == "orders"
    with pytest.raises(TypeError):
        new_entry(**vars(entry), colour="red")
