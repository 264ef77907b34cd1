"""Object stores that strangers made."""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import tracemalloc
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pandas as pd
import pytest
from nats.aio.client import Client
from nats.js.api import ObjectStoreConfig
from nats.js.object_store import ObjectStore
from varco_nats_widgets import Lab
from varco_nats_widgets.stores._object_info import name_token

from tests.foreign import picture
from varco_nats.errors import DamagedObjectError, UnknownBucketError, UnknownEntryError
from varco_nats.server import LocalNats

NAMES = ["2026-01.csv", "dump.bin", "logo.png"]
CHUNK = 128 * 1024


@pytest.fixture
async def store(nc: Client) -> AsyncIterator[ObjectStore]:
    """An empty object store of its own."""
    js = nc.jetstream()
    name = f"o-{uuid.uuid4().hex[:8]}"
    yield await js.create_object_store(name, ObjectStoreConfig())
    await js.delete_object_store(name)


def name_of(store: ObjectStore) -> str:
    return store._name


async def put_link(nc: Client, store: str, name: str, to: str, target: str = "") -> None:
    info = {"name": name, "nuid": "x", "options": {"link": {"bucket": to, "name": target}}}
    subject = f"$O.{store}.M.{name_token(name)}"
    await nc.jetstream().publish(subject, json.dumps(info).encode())


def test_the_stores_and_their_objects(lab: Lab, suffix: str) -> None:
    stores = lab.object_stores()
    assert stores.index.name == "store"
    row = stores.loc[f"reports{suffix}"]
    assert (row["objects"], row["description"]) == (3, "monthly")
    assert not any(name.startswith("config") for name in stores.index)
    store = lab.objects(f"reports{suffix}")
    frame = store.df
    assert frame.index.tolist() == list(store) == store._ipython_key_completions_() == NAMES
    assert frame["bytes"].tolist() == [19, 512_000, len(picture())]
    assert frame["chunks"].tolist() == [1, 4, 1]
    assert frame.loc["2026-01.csv", "description"] == "January"
    assert frame["digest"].str.startswith("SHA-256=").all()
    assert frame["link_to"].isna().all()
    assert abs(frame["modified"].max() - pd.Timestamp.now("UTC")) < pd.Timedelta("10min")
    assert store.frame(deleted=True).query("deleted").index.tolist() == ["gone.txt"]
    assert len(store) == 3
    assert "logo.png" in store
    assert "gone.txt" not in store
    shown = store._repr_html_()
    assert f"object store reports{suffix}: 3 objects" in shown
    assert "logo.png" in shown


def test_objects_are_read_opened_and_saved(lab: Lab, suffix: str, tmp_path: Path) -> None:
    store = lab.objects(f"reports{suffix}")
    assert store["logo.png"] == picture()
    assert store.read("dump.bin") == bytes(range(256)) * 2_000
    assert pd.read_csv(store.open("2026-01.csv"))["total"].tolist() == [12]
    with store.open("dump.bin") as file:
        file.seek(-2, 2)
        assert file.read() == b"\xfe\xff"
    path = tmp_path / "logo.png"
    assert store.save("logo.png", str(path)) == path
    assert path.read_bytes() == picture()
    with pytest.raises(FileExistsError, match="overwrite=True"):
        store.save("dump.bin", path)
    assert path.read_bytes() == picture()
    store.save("dump.bin", path, overwrite=True)
    assert len(path.read_bytes()) == 512_000
    with pytest.raises(IsADirectoryError, match="add a file name"):
        store.save("logo.png", tmp_path)
    with pytest.raises(FileNotFoundError, match="its folder does not exist"):
        store.save("logo.png", tmp_path / "no" / "logo.png")
    assert _files(tmp_path) == ["logo.png"]


def test_what_there_is_not_is_said_with_what_there_is(lab: Lab, suffix: str) -> None:
    store = lab.objects(f"reports{suffix}")
    with pytest.raises(UnknownEntryError, match=r"no object 'logo.pn'; did you mean 'logo.png'"):
        store.read("logo.pn")
    with pytest.raises(UnknownEntryError, match=r"'gone.txt'; it was deleted at 20.* UTC"):
        store.open("gone.txt")
    with pytest.raises(UnknownEntryError, match="no object ''"):
        store.read("")
    with pytest.raises(UnknownBucketError, match=f"no object store .* 'reports{suffix}'"):
        lab.objects(f"report{suffix}")


async def test_odd_names_and_empty_objects(lab: Lab, store: ObjectStore, tmp_path: Path) -> None:
    names = ["a b/c.txt", "größe ☃.txt", "<script>.js", "../up"]
    for name in names:
        await store.put(name, name.encode())
    await store.put("empty", b"")
    objects = await lab.aio.objects(name_of(store))
    assert sorted(objects) == sorted([*names, "empty"])
    for name in names:
        assert await objects.aio.read(name) == name.encode()
    assert await objects.aio.read("empty") == b""
    assert (await objects.aio.save("empty", tmp_path / "empty")).read_bytes() == b""
    assert "<script>" not in objects._repr_html_()


async def test_links_are_followed(lab: Lab, nc: Client, store: ObjectStore, suffix: str) -> None:
    own, other = name_of(store), f"reports{suffix}"
    await put_link(nc, own, "january", other, "2026-01.csv")
    await put_link(nc, own, "twice", own, "january")
    await put_link(nc, own, "dead", other, "gone.txt")
    await put_link(nc, own, "whole", other)
    await put_link(nc, own, "round", own, "round")
    objects = await lab.aio.objects(own)
    assert objects.df.loc["january", "link_to"] == f"{other}/2026-01.csv"
    assert objects["january"] == objects["twice"] == b"site,total\nrome,12\n"
    for name, words in (
        ("dead", f"is a link to '{other}/gone.txt', which there is not"),
        ("whole", f"link to a whole store; see lab.objects\\('{other}'\\)"),
        ("round", "lead nowhere"),
    ):
        with pytest.raises(UnknownEntryError, match=words):
            await objects.aio.read(name)


async def test_a_damaged_object_leaves_nothing(
    lab: Lab, nc: Client, store: ObjectStore, tmp_path: Path
) -> None:
    js, own = nc.jetstream(), name_of(store)
    info = await store.put("wrong.bin", b"x" * 3 * CHUNK)
    meta = info.as_dict() | {"digest": "SHA-256=" + "A" * 43 + "="}
    await js.publish(f"$O.{own}.M.{name_token('wrong.bin')}", json.dumps(meta).encode())
    info = await store.put("short.bin", b"x" * 3 * CHUNK)
    last = await js.get_last_msg(f"OBJ_{own}", f"$O.{own}.C.{info.nuid}")
    await js.delete_msg(f"OBJ_{own}", last.seq or 0)
    objects = await lab.aio.objects(own)
    path = tmp_path / "kept"
    path.write_bytes(b"before")
    for name, words in (("wrong.bin", "digest is another"), ("short.bin", "262,144 of 393,216")):
        for reading in (
            objects.aio.read(name),
            objects.aio.open(name),
            objects.aio.save(name, path, overwrite=True),
        ):
            with pytest.raises(DamagedObjectError, match=words):
                await reading
    assert path.read_bytes() == b"before"
    assert _files(tmp_path) == ["kept"]


async def test_an_object_that_is_replaced_while_it_is_read_is_read_anew(
    lab: Lab, store: ObjectStore
) -> None:
    objects = await lab.aio.objects(name_of(store))
    contents = [bytes([number]) * 8 * CHUNK for number in range(6)]
    await store.put("busy.bin", contents[0])
    done = asyncio.Event()

    async def replace() -> None:
        for content in contents[1:]:
            await store.put("busy.bin", content)
        done.set()

    writer = asyncio.create_task(replace())
    while not done.is_set():
        assert await objects.aio.read("busy.bin") in contents
    await writer
    assert await objects.aio.read("busy.bin") == contents[-1]


async def test_a_large_object_is_saved_in_bounded_memory(
    lab: Lab, store: ObjectStore, tmp_path: Path
) -> None:
    block = random.Random(3).randbytes(1024 * 1024)
    source = tmp_path / "source"
    with source.open("wb") as file:
        for _ in range(64):
            file.write(block)
    with source.open("rb") as file:
        await store.put("large.bin", file)
    objects = await lab.aio.objects(name_of(store))
    seen: list[tuple[int, int]] = []
    tracemalloc.start()
    try:
        saved = await objects.aio.save(
            "large.bin", tmp_path / "large", progress=lambda done, total: seen.append((done, total))
        )
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 40 * 1024 * 1024
    assert hashlib.sha256(saved.read_bytes()).digest() == hashlib.sha256(block * 64).digest()
    assert all(total in (0, 64 * 1024 * 1024) for _, total in seen)


async def test_a_read_only_lab_reads_objects(server: LocalNats, suffix: str) -> None:
    with Lab(server.url, read_only=True) as lab:
        assert (await lab.aio.objects(f"reports{suffix}"))["logo.png"] == picture()


def _files(folder: Path) -> list[str]:
    return [each.name for each in folder.iterdir()]
