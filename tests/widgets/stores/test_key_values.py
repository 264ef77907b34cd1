"""Key-value buckets that strangers made and change."""

from __future__ import annotations

import asyncio
import json
import uuid
from datetime import UTC, datetime, timedelta
from functools import partial

import pandas as pd
import pytest
from nats.aio.client import Client
from nats.js.api import StreamConfig, StreamSource, SubjectTransform
from varco_nats_widgets import Lab
from varco_nats_widgets.stores import KeyValues

from tests.foreign import DELETED_KEY, PURGED_KEY
from tests.waiting import until
from tests.widgets.stores.helpers import new_bucket
from varco_nats.errors import StreamNotFoundError, UnknownBucketError, UnknownEntryError
from varco_nats.server import LocalNats

KEYS = ["key", "limits.orders", "limits.refunds", "motto"]


def test_the_buckets_there_are(lab: Lab, suffix: str) -> None:
    buckets = lab.buckets()
    assert buckets.index.name == "bucket"
    row = buckets.loc[f"config{suffix}"]
    assert (row["keys"], row["values"], row["history"]) == (4, 9, 5)
    assert (row["replicas"], row["storage"]) == (1, "file")
    assert pd.isna(row["ttl"])
    assert pd.isna(row["copy_of"])
    assert abs(row["last_change"] - pd.Timestamp.now("UTC")) < pd.Timedelta("10min")
    assert not any(name.startswith("reports") for name in buckets.index)
    assert str(buckets.dtypes["ttl"]) == "timedelta64[ns]"


def test_the_values_are_a_frame(lab: Lab, suffix: str) -> None:
    kv = lab.kv(f"config{suffix}")
    frame = kv.df
    assert frame.index.tolist() == KEYS
    assert frame.index.name == "key"
    assert frame.columns.tolist() == [
        *("max", "value", "decode_error", "raw", "revision", "changed_at", "bytes")
    ]
    assert frame["max"].tolist() == [pd.NA, 102, 5, pd.NA]
    assert frame.loc["motto", "value"] == "größer is better"
    assert frame.loc["key", "raw"] == bytes(range(32))
    assert frame["bytes"].tolist() == [32, 12, 10, 18]
    assert frame["revision"].tolist() == [6, 3, 4, 5]
    assert str(frame["changed_at"].dtype) == "datetime64[ns, UTC]"
    assert frame.attrs["decoders"] == {"text": 1, "auto": 1}
    assert kv.frame("limits.").index.tolist() == KEYS[1:3]
    assert kv.frame("limits.o").index.tolist() == KEYS[1:2]
    assert kv.frame("*.orders").index.tolist() == KEYS[1:2]
    assert kv.frame("k").index.tolist() == KEYS[:1]
    assert kv.frame("nothing.>").empty
    assert kv.frame("nothing.>").columns.tolist() == ["revision", "changed_at", "bytes"]
    with pytest.raises(ValueError, match="white space"):
        kv.frame("a b.c")


def test_it_is_a_mapping_with_words_where_there_is_nothing(lab: Lab, suffix: str) -> None:
    kv = lab.kv(f"config{suffix}")
    assert list(kv) == KEYS
    assert len(kv) == 4
    assert "motto" in kv
    assert DELETED_KEY not in kv
    assert "a b" not in kv
    assert kv._ipython_key_completions_() == KEYS
    assert kv["limits.orders"] == {"max": 102}
    entry = kv.get("motto")
    assert (entry.value, entry.revision, entry.operation) == ("größer is better", 5, "put")
    assert repr(entry) == "Entry('motto', revision 5: größer is better)"
    assert repr(kv) == f"KeyValues('config{suffix}')"
    for gone in (DELETED_KEY, PURGED_KEY):
        with pytest.raises(UnknownEntryError, match=r"it was (deleted|purged) at 20.* UTC"):
            kv[gone]
    with pytest.raises(UnknownEntryError, match=r"has no key 'mott'; did you mean 'motto'"):
        kv.get("mott")
    with pytest.raises(ValueError, match="is a pattern"):
        kv.get("limits.*")


def test_a_bucket_that_is_none_is_said_with_those_there_are(lab: Lab, suffix: str) -> None:
    name = f"config{suffix}"
    for asked in (name[:-1], f"KV_{name}", f"con fig{suffix}"):
        with pytest.raises(UnknownBucketError, match=f"did you mean .*'{name}'") as caught:
            lab.kv(asked)
        assert name in caught.value.known


async def test_a_stream_with_the_name_of_a_bucket_is_none(lab: Lab, nc: Client) -> None:
    name = f"x-{uuid.uuid4().hex[:8]}"
    js = nc.jetstream()
    await js.add_stream(name=f"KV_{name}", subjects=[f"{name}.>"])
    with pytest.raises(UnknownBucketError, match="has other subjects"):
        await lab.aio.kv(name)
    assert name not in (await lab.aio.buckets()).index
    await js.delete_stream(f"KV_{name}")


def test_the_history_has_deletes_and_purges(lab: Lab, suffix: str) -> None:
    kv = lab.kv(f"config{suffix}")
    limits = kv.history("limits.orders")
    assert limits.index.tolist() == [1, 2, 3]
    assert limits.index.name == "revision"
    assert limits["max"].tolist() == [100, 101, 102]
    assert set(limits["operation"]) == {"put"}
    flags = kv.history("flags.*")
    assert flags["operation"].tolist() == ["put", "delete", "purge"]
    assert flags["key"].tolist() == [DELETED_KEY, DELETED_KEY, PURGED_KEY]
    assert flags["value"].tolist() == [True, pd.NA, pd.NA]
    assert flags["marker"].isna().all()
    assert "decode_error" not in flags
    assert len(kv.history()) == 9
    with pytest.raises(UnknownEntryError, match="has no key 'limits'"):
        kv.history("limits")


def test_it_is_shown_as_a_frame(lab: Lab, suffix: str) -> None:
    kv = lab.kv(f"config{suffix}")
    shown = kv._repr_html_()
    assert f"key-value bucket config{suffix}: 4 keys" in shown
    assert "größer is better" in shown
    lab.close()
    assert "this Lab is closed" in kv._repr_html_()


async def test_fields_keep_their_names_where_they_can(lab: Lab, nc: Client) -> None:
    value = {
        "channel": "c",
        "revision": 5,
        "key": "k",
        "timestamp": "no time",
        "data": {"bytes": 1, "bytes2": 2},
        "bytes": 3,
    }
    async with new_bucket(nc) as (name, kv):
        await kv.put("a", json.dumps(value).encode())
        row = (await lab.aio.kv(name)).df.loc["a"]
    fields = {
        "channel": "c",
        "data.revision": 5,
        "data.key": "k",
        "timestamp": "no time",
        "data.bytes2": 2,
        "data.bytes": 3,
    }
    assert {label: row[label] for label in fields} == fields
    assert row["revision"] == 1


async def test_odd_keys_and_values(lab: Lab, nc: Client) -> None:
    keys = ["größe", "a=b/c_d-e", "<script>", "$x", "a.b.c", "$KV.x", '"q"', "🙂"]
    async with new_bucket(nc) as (name, kv):
        for number, key in enumerate(keys):
            await kv.put(key, str(number).encode(), validate_keys=False)
        await kv.put("empty", b"")
        bucket = await lab.aio.kv(name)
        frame = await bucket.aio.frame()
        assert frame.index.tolist() == sorted([*keys, "empty"])
        assert frame["value"].dropna().to_dict() == {key: n for n, key in enumerate(keys)}
        for number, key in enumerate(keys):
            assert (await bucket.aio.get(key)).value == number
        assert "<script>" not in bucket._repr_html_()


async def test_values_are_masked_and_read_by_the_decoders_for_their_keys(
    server: LocalNats, nc: Client
) -> None:
    async with new_bucket(nc, history=3) as (name, kv):
        await kv.put("users.ada", b'{"name": "Ada", "password": "secret-1"}')
        await kv.put("users.ada", b'{"name": "Ada", "password": "secret-2"}')
        await kv.put("raw.one", b"\x82\xa4name\xa3Bob\xa8password\xa8secret-3")
        with Lab(server.url, mask="password", decoders={"raw.*": "msgpack"}) as lab:
            bucket = await lab.aio.kv(name)
            frame = await bucket.aio.frame()
            assert frame["name"].tolist() == ["Bob", "Ada"]
            assert frame["password"].tolist() == ["***", "***"]
            shown = [
                frame.to_string(),
                (await bucket.aio.history()).to_string(),
                (await bucket.aio.diff("1h")).to_string(),
                repr(await bucket.aio.get("users.ada")),
                repr((await bucket.aio.get("raw.one")).data),
                (await bucket.aio.live()).df.to_string(),
            ]
            assert not [text for text in shown if "secret" in text]
        with Lab(server.url) as lab:
            text = (await lab.aio.kv(name, decoder="text")).df.loc["users.ada", "value"]
            assert text == '{"name": "Ada", "password": "secret-2"}'


async def test_values_as_they_were_and_what_changed(lab: Lab, nc: Client) -> None:
    async with new_bucket(nc, history=3) as (name, kv):
        for key in ("same", "set", "gone", "again"):
            await kv.put(key, b'{"v": 1}')
        between = await _moment()
        await kv.put("set", b'{"v": 2}')
        await kv.put("again", b'{"v": 1}')
        await kv.put("new", b'{"v": 3}')
        await kv.delete("gone")
        bucket = await lab.aio.kv(name)
        then = await bucket.aio.at(between)
        assert then["v"].to_dict() == {"again": 1, "gone": 1, "same": 1, "set": 1}
        assert then.attrs["completeness"]["unknown"] == []
        assert then.attrs["completeness"]["reaches_back"]
        changed = await bucket.aio.diff(between)
        assert changed["change"].to_dict() == {"gone": "removed", "new": "added", "set": "changed"}
        assert changed["before"].tolist() == [{"v": 1}, None, {"v": 1}]
        assert changed["after"].tolist() == [None, {"v": 3}, {"v": 2}]
        assert changed["before_revision"].tolist() == [3, pd.NA, 2]
        assert (await bucket.aio.diff(between - timedelta(hours=1), between))[
            "change"
        ].tolist() == ["added"] * 4
        assert (await bucket.aio.at(between - timedelta(hours=1))).empty
        with pytest.raises(ValueError, match="is a time to come"):
            await bucket.aio.at(datetime.now(UTC) + timedelta(hours=1))
        with pytest.raises(ValueError, match="is later than until"):
            await bucket.aio.diff("1m", "1h")


async def test_it_says_where_the_past_is_not_kept(lab: Lab, nc: Client) -> None:
    async with new_bucket(nc, history=2) as (name, kv):
        await kv.put("busy", b"1")
        await kv.put("purged", b"1")
        between = await _moment()
        for value in (b"2", b"3"):
            await kv.put("busy", value)
        await kv.purge("purged")
        await kv.put("new", b"1")
        bucket = await lab.aio.kv(name)
        with pytest.warns(
            UserWarning, match=r"what 2 keys held .*\('busy', 'purged'\).*last 2 rev"
        ):
            then = await bucket.aio.at(between)
        assert then.empty
        assert then.attrs["completeness"]["unknown"] == ["busy", "purged"]
        assert not then.attrs["completeness"]["reaches_back"]
        with pytest.warns(UserWarning, match="2 keys"):
            changed = await bucket.aio.diff(between)
        assert changed["change"].to_dict() == {"new": "added"}
        assert changed.attrs["completeness"]["unknown"] == ["busy", "purged"]
    async with new_bucket(nc, history=2, ttl=3600) as (name, kv):
        await kv.put("a", b"1")
        with pytest.warns(UserWarning, match="its values expire"):
            assert (await (await lab.aio.kv(name)).aio.at("0s")).index.tolist() == ["a"]
        with pytest.warns(UserWarning, match="what 1 key held"):
            assert (await (await lab.aio.kv(name)).aio.at("1m")).empty


async def test_a_value_that_expired_is_a_purge_with_its_reason(lab: Lab, nc: Client) -> None:
    js = nc.jetstream()
    async with new_bucket(nc, history=2, limit_marker_ttl=4) as (name, kv):
        await kv.create("session", b"1", msg_ttl=4)  # no shorter than a mark
        await kv.put("stays", b"1")
        config = (await js.stream_info(f"KV_{name}")).config
        await js.update_stream(config, subject_delete_marker_ttl=600)  # there for all that follows
        bucket = await lab.aio.kv(name)

        async def expired() -> bool:
            try:
                marks = await bucket.aio.history("session")
            except UnknownEntryError:  # the value is gone, and its mark is stored a moment later
                return False
            return marks[["operation", "marker"]].iloc[-1].tolist() == ["purge", "MaxAge"]

        await until(expired)
        assert (await bucket.aio.frame()).index.tolist() == ["stays"]
        assert (await lab.aio.buckets()).loc[name, "keys"] == 1


async def test_no_key_is_missed_while_it_is_set_again_and_again(lab: Lab, nc: Client) -> None:
    async with new_bucket(nc) as (name, kv):
        js = nc.jetstream()
        for number in range(300):
            await js.publish_async(f"$KV.{name}.k{number:03}", b"x" * 20_000)
        await js.publish_async_completed()
        done = asyncio.Event()

        async def set_again() -> None:
            number = 0
            while not done.is_set():
                number += 1
                await kv.put(f"k{number % 3 + 250}", b"y" * 20_000)

        writer = asyncio.create_task(set_again())
        bucket = await lab.aio.kv(name)
        try:
            for _ in range(10):
                assert len(await bucket.aio.frame()) == 300
        finally:
            done.set()
            await writer


async def test_the_copy_of_a_bucket_has_its_keys(lab: Lab, nc: Client) -> None:
    js = nc.jetstream()
    async with new_bucket(nc) as (name, kv):
        await kv.put("a.b", b"1")
        mirror, merged = f"{name}-copy", f"{name}-merged"
        await js.add_stream(
            StreamConfig(name=f"KV_{mirror}", mirror=StreamSource(name=f"KV_{name}"))
        )
        source = StreamSource(
            name=f"KV_{name}",
            subject_transforms=[SubjectTransform(f"$KV.{name}.>", f"$KV.{merged}.>")],
        )
        await js.add_stream(StreamConfig(name=f"KV_{merged}", sources=[source]))
        for copy in (mirror, merged):
            bucket = await lab.aio.kv(copy)
            await until(partial(_has, bucket, "a.b"))
            assert bucket["a.b"] == 1
            assert (await lab.aio.buckets()).loc[copy, "copy_of"] == f"KV_{name}"
            await js.delete_stream(f"KV_{copy}")


async def test_a_bucket_that_is_deleted_meanwhile_is_said(lab: Lab, nc: Client) -> None:
    async with new_bucket(nc) as (name, _):
        bucket = await lab.aio.kv(name)
        await nc.jetstream().delete_key_value(name)
        with pytest.raises(StreamNotFoundError, match=f"KV_{name}"):
            await bucket.aio.frame()
        assert "does not exist" in bucket._repr_html_()


async def test_a_read_only_lab_looks_too(server: LocalNats, suffix: str) -> None:
    with Lab(server.url, read_only=True) as lab:
        bucket = await lab.aio.kv(f"config{suffix}")
        assert list(bucket) == KEYS
        assert len(await bucket.aio.history()) == 9
        live = await bucket.aio.live()
        assert live.keys == 4


async def _moment() -> datetime:
    """A time between what was stored before and after it, on the server's clock, which is ours."""
    await asyncio.sleep(0.002)
    now = datetime.now(UTC)
    await asyncio.sleep(0.002)
    return now


def _has(bucket: KeyValues, *keys: str) -> bool:
    return [*bucket] == [*keys]
