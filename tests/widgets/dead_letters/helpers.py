"""Dead letters for the tests of this folder."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pandas as pd
from nats.aio.client import Client
from nats.js.errors import NotFoundError
from varco_core.event.base import Event
from varco_core.event.dlq import DeadLetterEntry
from varco_core.event.serializer import JsonEventSerializer
from varco_nats_widgets import Lab
from varco_nats_widgets.dead_letters import DeadLetters
from varco_nats_widgets.dead_letters._index.filter import DeadLetterFilter
from varco_nats_widgets.dead_letters._index.index import DeadLetterIndex
from varco_nats_widgets.frames._decoding import Decoding

from varco_nats._nats.delivery import MessageDelivery
from varco_nats._nats.direct import StoredMessage
from varco_nats.config import NatsEventBusSettings
from varco_nats.dlq import NatsDLQ
from varco_nats.dlq._codec import DlqNames, StoredEntry, decode, encode

START = datetime(2026, 5, 4, 8, tzinfo=UTC)

HOSTILE = '<img src=x onerror="x()"> $x^2$ =cmd()'


class LetterOrder(Event):
    __event_type__ = "letter.order"

    number: int
    total: float = 1.0
    customer: dict[str, str] = {}  # noqa: RUF012 - pydantic copies it


def entry(number: int, **fields: Any) -> DeadLetterEntry:
    """Every third one fails for another reason, in another channel."""
    odd = number % 3 == 0
    values: dict[str, Any] = {
        "event": LetterOrder(number=number, total=number * 1.5, customer={"name": "Ada"}),
        "channel": "payments" if odd else "orders",
        "handler_name": "Shop.on_payment" if odd else "Shop.on_order",
        "error_type": "KeyError" if odd else "TimeoutError",
        "error_message": f"'k{number}'" if odd else f"no answer for o-{number}",
        "attempts": 3,
        "first_failed_at": START + timedelta(minutes=number),
        "last_failed_at": START + timedelta(minutes=number, seconds=5),
    }
    return DeadLetterEntry(**(values | fields))


async def push(settings: NatsEventBusSettings, *entries: DeadLetterEntry) -> None:
    async with NatsDLQ(settings) as dlq:
        for entry in entries:
            await dlq.push(entry)


def entries(count: int) -> list[DeadLetterEntry]:
    return [entry(number) for number in range(1, count + 1)]


async def shown(lab: Lab, **filters: Any) -> DeadLetters:
    letters = lab.dead_letters
    await letters.aio.filter(**filters)
    return letters


def numbers(frame: pd.DataFrame) -> list[int]:
    return [int(number) for number in frame["data.number"]]


async def payloads(nc: Client, settings: NatsEventBusSettings) -> list[dict[str, Any]]:
    """What is stored in the channels, oldest first."""
    js = nc.jetstream()
    try:
        state = (await js.stream_info(settings.stream_name)).state
    except NotFoundError:
        return []
    found = []
    for seq in range(state.first_seq, state.last_seq + 1):
        message = await js.get_msg(settings.stream_name, seq)
        found.append(json.loads(message.data or b""))
    return found


NAMES = DlqNames("dead", "dead")
SERIALIZER = JsonEventSerializer()
JSON = Decoding(str)
EVERYTHING = DeadLetterFilter()


def index_of(*entries: StoredEntry) -> DeadLetterIndex:
    index = DeadLetterIndex(JSON)
    index.add(entries)
    return index


class GroupedOrder(Event):
    __event_type__ = "grouped.order"

    number: int
    channel: str = "inner"


def stored(
    number: int = 1,
    *,
    message: str = "no answer",
    headers: dict[str, str] | None = None,
    event: Event | None = None,
    **fields: Any,
) -> StoredEntry:
    entry = DeadLetterEntry(
        **{
            "entry_id": UUID(int=number),
            "event": None if "payload" in fields else event or GroupedOrder(number=number),
            "channel": "orders",
            "handler_name": "Shop.on_order",
            "error_type": "TimeoutError",
            "error_message": message,
            "attempts": 3,
            "first_failed_at": START + timedelta(seconds=number),
            "last_failed_at": START + timedelta(seconds=number + 1),
            **fields,
        }
    )
    delivery = MessageDelivery("orders", "events", number, 3, headers, "svc")
    data = encode(entry, SERIALIZER, delivery if headers else None)
    subject = NAMES.subject(entry.entry_id, entry.channel)
    return decode(StoredMessage(number, subject, 0, data, None), NAMES)
