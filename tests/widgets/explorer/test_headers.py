"""Headers in conditions, in the text search, on the page, and as columns elsewhere."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from nats.aio.client import Client
from varco_core.event.serializer import JsonEventSerializer
from varco_nats_widgets import Lab, load, where
from varco_nats_widgets.explorer import ConditionError

from tests.waiting import until
from tests.widgets.dead_letters.helpers import entry, push
from tests.widgets.explorer.helpers import assert_code_loads_the_page, explore, numbers, publish
from varco_nats._nats.delivery import MessageDelivery
from varco_nats.config import NatsEventBusSettings
from varco_nats.dlq._codec import DlqNames, encode

TENANTS = ("acme", None, "Umbrella", "acme")


async def store(lab: Lab, nc: Client, *more: dict[str, object], first: int = 1) -> None:
    """Twelve messages whose headers repeat with every fourth, and these."""
    subject, stream = lab.settings.subject_name("orders"), nc.jetstream()
    if first == 1:
        await publish(lab, 1, channel="makes.the.stream")
    for number in range(first, first + 12):
        tenant = TENANTS[number % 4]
        headers = {"Tenant": tenant, "Nats-Msg-Id": f"m-{number}"} if tenant else None
        payload = {"number": number, "limit": 5, "items": [{"sku": f"s{number % 3}"}]}
        await stream.publish(subject, json.dumps(payload).encode(), headers=headers)
    for event in more:
        await stream.publish(subject, json.dumps(event).encode(), headers={"tenant": "own"})


async def test_conditions_and_search_read_headers(lab: Lab, nc: Client, tmp_path: Path) -> None:
    await store(lab, nc)
    explorer = await explore(lab, "orders", page_size=3)
    aio = explorer.aio
    assert "headers.tenant" not in explorer.df

    await aio.filter(condition='headers.TENANT == "acme" and number > limit')
    assert numbers(explorer) == [8, 11, 12]
    assert explorer.df["headers.TENANT"].tolist() == ["acme"] * 3
    await assert_code_loads_the_page(explorer, lab)
    await aio.older()
    assert numbers(explorer) == [7]
    await assert_code_loads_the_page(explorer, lab)

    await aio.newest()
    await aio.filter(
        condition='headers.tenant is missing or headers.`Nats-Msg-Id` matches "-[26]$"'
    )
    assert numbers(explorer) == [5, 6, 9]
    await assert_code_loads_the_page(explorer, lab)
    await aio.filter(condition='headers contains "umbrella" and items[].sku == "s1"')
    assert numbers(explorer) == [10]
    assert explorer.df["headers"].tolist() == [{"Tenant": "Umbrella", "Nats-Msg-Id": "m-10"}]
    await assert_code_loads_the_page(explorer, lab)

    await aio.filter(condition="", text="UMBREL")
    assert numbers(explorer) == []
    await aio.filter(in_headers=True)
    assert explorer.in_headers
    assert numbers(explorer) == [2, 6, 10]
    await assert_code_loads_the_page(explorer, lab)
    result = await aio.export(tmp_path / "found.parquet")
    assert result.rows == 3
    found = load(tmp_path / "found.parquet")
    assert found["number"].tolist() == [2, 6, 10]
    assert found["headers"].tolist() == explorer.df["headers"].tolist()
    assert where(found, text="umbrella").empty
    assert len(where(found, text="umbrella", in_headers=True)) == 3

    await aio.clear_filter()
    assert not explorer.in_headers
    assert numbers(explorer) == [10, 11, 12]
    await aio.filter(condition="number == oops")
    assert explorer.notice.endswith("there is no column 'oops'; text needs quotes: \"oops\"")
    await aio.filter(condition='items.sku == "s1"')
    assert explorer.notice.endswith("of a list, write items[].sku")


async def test_a_live_page_follows_headers(lab: Lab, nc: Client) -> None:
    await store(lab, nc)
    explorer = await explore(lab, "orders")
    await explorer.aio.filter(condition='headers.tenant == "Umbrella"')
    await explorer.aio.tail()
    assert numbers(explorer) == [2, 6, 10]
    await store(lab, nc, first=13)
    await until(lambda: numbers(explorer) == [2, 6, 10, 14, 18, 22])
    assert explorer.df["headers.tenant"].tolist() == ["Umbrella"] * 6


async def test_headers_are_columns_of_frames(lab: Lab, nc: Client, tmp_path: Path) -> None:
    own = {"number": 13, "headers": {"tenant": "of the payload"}}
    await store(lab, nc, own)
    frame = await lab.aio.frame("orders", headers=["tenant", "traceparent", "TENANT"])
    columns = [name for name in frame.columns if name.startswith("headers")]
    assert columns == ["headers.tenant", "headers.traceparent"]
    wanted = [*[TENANTS[n % 4] for n in range(1, 13)], "own"]
    assert [None if v != v else v for v in frame["headers.tenant"]] == wanted
    assert frame["headers.traceparent"].isna().all()
    assert frame["data.headers.tenant"].dropna().tolist() == ["of the payload"]
    condition = 'headers.tenant == "own"'
    assert where(frame, condition)["number"].tolist() == [13]
    assert where(frame, text="own").empty
    assert where(frame, text="own", in_headers=True)["number"].tolist() == [13]
    whole = await lab.aio.frame("orders", headers=True)
    assert where(whole, condition)["number"].tolist() == [13]
    plain = await lab.aio.frame("orders")
    with pytest.raises(ConditionError, match=r"load it with headers=\['b'\]") as caught:
        where(frame, 'number > 1 and headers.b == "x"')
    assert caught.value.position == 15
    tidy = where(frame, "headers.traceparent is missing", tidy=True)
    assert where(tidy, "headers.traceparent is missing")["number"].tolist() == [*range(1, 14)]
    with pytest.raises(ValueError, match="this frame has no headers"):
        where(plain.drop(columns="headers.tenant"), text="x", in_headers=True)
    with pytest.raises(ConditionError, match=r"load it with headers=\['Tenant'\]"):
        where(plain.drop(columns="headers.tenant"), "number > 1 and headers.Tenant is missing")

    for name in ("out.parquet", "out.csv", "out.ndjson", "out"):
        await lab.aio.export("orders", tmp_path / name, headers=["tenant", "traceparent"])
        loaded = load(tmp_path / name)
        assert loaded.equals(frame)
        assert loaded.dtypes.equals(frame.dtypes)
        assert loaded.attrs == frame.attrs
    with pytest.raises(TypeError, match="headers=5: must be True, or the names"):
        await lab.aio.frame("orders", headers=5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="a header has a name"):
        await lab.aio.frame("orders", headers=[""])


async def test_live_frames_have_headers(lab: Lab, nc: Client) -> None:
    await store(lab, nc)
    frame = await lab.aio.frame("orders", headers="tenant")
    some = await lab.aio.live("orders", start_seq=1, headers="tenant")
    condition = 'headers.tenant == "acme" and number > 4'
    acme = await lab.aio.live("orders", start_seq=1, where=condition)
    called: list[dict[str, Any]] = []

    def keep(row: dict[str, Any]) -> bool:
        called.append(row)
        return True

    seen = await lab.aio.live("orders", start_seq=1, headers=["TENANT"], where=keep)
    await some.aio.wait(12)
    await acme.aio.wait(4)
    await seen.aio.wait(12)
    assert some.df.equals(frame)
    assert acme.df["number"].tolist() == [7, 8, 11, 12]
    assert "headers.tenant" not in acme.df
    assert [row["headers.TENANT"] for row in called[:3]] == [None, "Umbrella", "acme"]
    await store(lab, nc, first=13)
    await some.aio.wait(24)
    assert some.df["headers.tenant"].isna().sum() == 6
    assert where(some.df, 'headers.tenant == "Umbrella"', text="6")["number"].tolist() == [6]
    assert where(some.df, text="umbrella").empty


async def test_dead_letters_have_the_headers_of_their_event(
    lab: Lab, nc: Client, settings: NatsEventBusSettings
) -> None:
    await push(settings, entry(1))
    names, failed = DlqNames.of(settings), entry(2)
    delivery = MessageDelivery("orders", "events", 2, 3, {"Tenant": "acme"}, "svc")
    data = encode(failed, JsonEventSerializer(), delivery)
    await nc.jetstream().publish(names.subject(failed.entry_id, "orders"), data)
    frame = await lab.dead_letters.aio.frame(headers=["tenant"])
    assert [None if v != v else v for v in frame["headers.tenant"]] == [None, "acme"]
    assert len(where(frame, 'headers.tenant == "acme" and data.number == 2')) == 1
    plain = await asyncio.to_thread(lab.dead_letters.frame, headers=True)
    assert plain["headers"].tolist() == [None, {"Tenant": "acme"}]
