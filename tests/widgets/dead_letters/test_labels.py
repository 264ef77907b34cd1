"""Owners and notes of groups, which everybody sees who looks at the queue."""

from __future__ import annotations

import asyncio

import pytest
from nats.aio.client import Client
from varco_nats_widgets import Lab

from tests.waiting import until
from tests.widgets.dead_letters.helpers import HOSTILE, entries, push, shown
from varco_nats import Replayer
from varco_nats.config import NatsEventBusSettings
from varco_nats.errors import ReadOnlyError
from varco_nats.replay._context import user_and_host
from varco_nats.server import LocalNats

ME = user_and_host()


async def test_labels_are_kept_on_the_server_and_the_later_one_wins(
    lab: Lab, settings: NatsEventBusSettings
) -> None:
    await push(settings, *entries(6))
    aio = lab.dead_letters.aio
    groups = await aio.groups()
    assert "owner" not in groups
    assert len(await aio.labels()) == 0
    assert len(await aio.replays()) == 0  # looking makes no log
    first, second = groups.index
    await aio.label(first, note=f"  {HOSTILE}  ")
    labels = await aio.labels()
    assert labels.index.tolist() == [first]
    assert labels["note"].tolist() == [HOSTILE]
    assert labels["owner"].isna().all()
    assert labels["by"].tolist() == [ME]
    assert str(labels["at"].dtype) == "datetime64[us, UTC]"
    await aio.label([first, second])
    with Lab(settings) as other:
        theirs = other.dead_letters.aio
        assert (await theirs.labels())["owner"].tolist() == [ME, ME]
        await theirs.label(second, owner="bob", note="a known bug")
        await theirs.label(first, note="")
        groups = await aio.groups()
        assert groups["owner"].tolist() == [ME, "bob"]
        assert groups["note"].isna().tolist() == [True, False]
        # both at once, and each its own field
        await asyncio.gather(aio.label(first, note="n"), theirs.label(first, owner="eve"))
        for each in (aio, theirs):
            [label] = (await each.labels()).loc[[first]].to_dict("records")
            assert (label["owner"], label["note"]) == ("eve", "n")
        await asyncio.gather(
            *(who.label(first, owner=str(n)) for n in range(9) for who in (aio, theirs))
        )
        assert (await aio.labels()).equals(await theirs.labels())
        await theirs.label([first, second], owner="", note="")
    assert len(await aio.labels()) == 0
    assert "owner" not in await aio.groups()


async def test_what_is_no_label_is_refused_or_passed_over(
    lab: Lab, settings: NatsEventBusSettings, nc: Client, caplog: pytest.LogCaptureFixture
) -> None:
    await push(settings, *entries(3))
    letters = lab.dead_letters
    group = letters.groups().index[0]
    for wrong in ("*", "a.b", "", "orders", [group, ">"], []):
        with pytest.raises(ValueError, match=r"id of a group|no group is named"):
            letters.label(wrong)
    with pytest.raises(ValueError, match="note has 1,001 characters, more than 1,000"):
        letters.label(group, note="x" * 1001)
    with pytest.raises(TypeError, match="owner is a text, not int"):
        letters.label(group, owner=7)  # type: ignore[arg-type]
    letters.label(group, owner="ada")
    root = f"{settings.subject_prefix}-replays.labels.group.{settings.stream_name}-dlq"
    for data in (b"", b"\xff", b"[]", b'{"by": 7}', b'{"by": "eve", "note": 1}'):
        await nc.jetstream().publish(f"{root}.{group}", data)
    await nc.jetstream().publish(f"{root}.other", b'{"by": "eve", "note": "n", "colour": 1}')
    assert letters.labels()["owner"].dropna().tolist() == ["ada"]
    assert len([line for line in caplog.messages if "cannot be read" in line]) == 5
    with Lab(settings.model_copy(update={"read_only": True})) as looking:
        assert looking.dead_letters.labels()["note"].dropna().tolist() == ["n"]
        assert looking.dead_letters.groups()["owner"].fillna("nobody").tolist() == ["ada", "nobody"]
        with pytest.raises(ReadOnlyError):
            looking.dead_letters.label(group)


async def test_runs_pass_over_labels(
    lab: Lab, settings: NatsEventBusSettings, caplog: pytest.LogCaptureFixture
) -> None:
    await push(settings, *entries(3))
    aio = lab.dead_letters.aio
    await aio.label((await aio.groups()).index)
    async with Replayer(settings) as replayer:
        report = await replayer.run(await replayer.plan(), confirm="nobody")
        assert report.counts == {"replayed": 3}
        assert [record.replay_id for record in await replayer.log()] == [report.replay_id]
    assert caplog.messages == []
    assert len(await aio.labels()) == 2  # of groups without an entry


async def test_labels_begin_anew_with_a_new_log(
    lab: Lab, settings: NatsEventBusSettings, nc: Client
) -> None:
    await push(settings, *entries(3))
    aio = lab.dead_letters.aio
    first, second = (await aio.groups()).index
    await aio.label(first)
    await nc.jetstream().delete_stream(f"{settings.stream_name}-replays")
    assert len(await aio.labels()) == 0
    await aio.label(second, owner="ada")
    assert (await aio.labels())["owner"].to_dict() == {second: "ada"}


async def test_a_server_that_stands_still_for_a_moment_is_waited_for() -> None:
    with LocalNats() as server:
        settings = NatsEventBusSettings(servers=server.url)
        await push(settings, *entries(3))
        with Lab(settings) as lab:
            aio = lab.dead_letters.aio
            await aio.label((await aio.groups()).index[0], owner="ada")
            server.pause()
            read = asyncio.create_task(aio.labels())
            await asyncio.sleep(1.5)
            server.resume()
            assert (await read)["owner"].tolist() == ["ada"]


async def test_a_view_shows_what_others_say(lab: Lab, settings: NatsEventBusSettings) -> None:
    await push(settings, *entries(6))
    letters = await shown(lab)
    first, second = letters.group_table.index
    view = letters.view()
    view.flush()
    row, table = view.labels, view.groups
    assert row.box.layout.display == "none"
    await letters.aio.choose(first)
    view.flush()
    row.take.click()
    await until(lambda: row.fields["owner"].value == ME)
    row.fields["note"].value = HOSTILE
    row.fields["owner"].value = "ada"  # the note is not lost by that
    await until(
        lambda: len(letters.label_table) and letters.label_table["owner"].tolist() == ["ada"]
    )
    assert (await letters.aio.labels())["note"].tolist() == [HOSTILE]
    with Lab(settings) as other:
        theirs = other.dead_letters
        await theirs.aio.filter()
        their_view = theirs.view()
        await until(lambda: len(theirs.label_table) == 1)
        await theirs.aio.choose(first)
        their_view.flush()
        assert their_view.labels.fields["owner"].value == "ada"
        await theirs.aio.label(first, owner="bob")
        await until(lambda: row.fields["owner"].value == "bob")
        assert their_view.labels.fields["note"].value == HOSTILE
        theirs.close()
    assert "bob" in table.static_html(noun="group")
    await letters.aio.choose(first, second)
    view.flush()
    assert row.fields["owner"].value == ""
    assert "not the same" in row.fields["owner"].placeholder
    letters.close()


async def test_who_only_looks_is_shown_labels(lab: Lab, settings: NatsEventBusSettings) -> None:
    await push(settings, *entries(3))
    group = (await lab.dead_letters.aio.groups()).index[0]
    await lab.dead_letters.aio.label(group, owner="ada")
    with Lab(settings.model_copy(update={"read_only": True})) as looking:
        letters = await shown(looking)
        view = letters.view()
        await until(lambda: len(letters.label_table) == 1)
        await letters.aio.choose(group)
        view.flush()
        fields = view.labels.fields
        assert (fields["owner"].value, fields["owner"].disabled) == ("ada", True)
        assert view.labels.take not in view.labels.box.children
        letters.close()
