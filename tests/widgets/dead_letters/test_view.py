"""The view, without a browser."""

from __future__ import annotations

import threading
from html import unescape

import pytest
from varco_nats_widgets import Lab
from varco_nats_widgets.dead_letters._view.words import (
    confirm_words,
    count_of,
    number_of,
    word_and_count,
)

from tests.waiting import until
from tests.widgets.dead_letters.helpers import HOSTILE, entries, entry, push, shown
from varco_nats.config import NatsEventBusSettings
from varco_nats.server import LocalNats


async def test_the_view_draws_the_model_as_text(lab: Lab, settings: NatsEventBusSettings) -> None:
    await push(settings, *(entry(n, error_message=HOSTILE, channel=HOSTILE) for n in range(1, 4)))
    letters = await shown(lab)
    view = letters.view()
    assert letters.view() is view
    await letters.aio.open(letters.page.index[0])
    view.flush()
    assert view.status.place == "3 dead letters · 2 groups"
    assert "1 to 3 of 3" in view.place.value
    assert view.letter.message["title"].startswith(f"letter.order in {HOSTILE}")
    bundle = letters._repr_mimebundle_()
    assert bundle["text/plain"] == repr(letters)
    for markup in (bundle["text/html"], view.replay.message.value, view.place.value):
        assert "<img" not in markup
        assert "$x" not in markup
    assert "&lt;img" in bundle["text/html"]
    opened = letters.letter
    assert opened is not None
    await letters.aio.edit(opened.entry_id, {**opened.payload, "customer": {"name": HOSTILE}})
    view.flush()
    assert "&lt;img" in view.edit.diff.value
    assert "<img" not in view.edit.diff.value
    letters.close()


async def test_what_is_typed_and_not_kept_is_remembered(
    lab: Lab, settings: NatsEventBusSettings
) -> None:
    await push(settings, *entries(2))
    letters = await shown(lab)
    view = letters.view()
    first, second = letters.page.index
    await letters.aio.open(first)
    view.flush()
    view.edit.editor.value = draft = view.edit.editor.value.replace("3.0", "oops")
    view.flush()
    assert view.edit.drafts == 1
    assert "1 changed but not kept" in view.status.place
    await letters.aio.open(second)
    view.flush()
    assert "oops" not in view.edit.editor.value
    await letters.aio.open(first)
    view.flush()
    assert view.edit.editor.value == draft
    assert "changed but not kept: a replay sends the original payload" in view.edit.state.value
    view.edit.check.click()
    await until(lambda: "not JSON" in view.edit.message.value)
    assert view.edit.drafts == 1
    view.edit.editor.value = draft.replace("oops", "8.5")
    view.edit.check.click()
    await until(lambda: first in letters.edits)
    await until(lambda: view.edit.drafts == 0)
    view.edit.revert.click()
    await until(lambda: not letters.edits)
    await until(lambda: "not edited" in view.edit.state.value)
    assert "oops" not in view.edit.editor.value


async def test_many_are_run_and_discarded_by_hand_only_with_their_number(
    lab: Lab, settings: NatsEventBusSettings
) -> None:
    await push(settings, *(entry(number) for number in range(1, 152)))
    letters = await shown(lab)
    view = letters.view()
    keep, replay = view.keep, view.replay
    view.flush()
    assert "Shown here: 50 of 151 rows (first)." in letters._repr_mimebundle_()["text/html"]
    keep.which.control.value = replay.which.control.value = "matching"
    keep.confirm.field.value = "discard"
    keep.discard.click()
    await until(lambda: 'type "discard 151" beside Discard' in unescape(keep.message.value))
    assert keep.confirm.field.placeholder == "type discard 151"
    await until(lambda: not keep.confirm.field.value)
    keep.confirm.field.value = "151"
    keep.discard.click()
    await until(lambda: 'first, or type "discard 151" beside' in unescape(keep.message.value))
    gone = "it did not begin: dead letters that are discarded are gone"
    await until(lambda: letters.outcome == view.status.news == gone)  # not as a problem, too
    await until(lambda: not view.status.problem)
    replay.plan.click()
    await until(lambda: not replay.run.disabled)
    replay.rate.value = "fast"
    replay.run.click()
    await until(
        lambda: "rate: 'fast' is not a number" in replay.message.value.replace("&#x27;", "'")
    )
    assert await letters.aio.count() == 151
    replay.rate.value = ""
    replay.run.click()
    await until(lambda: 'type "nobody 151" beside Run' in unescape(replay.message.value))
    assert "nobody consumes orders" in replay.message.value
    for typed in ("151", "nobody"):  # each is asked for with the other
        replay.message.value = ""
        replay.canary.value, replay.confirm.field.value = 0, typed
        replay.run.click()
        await until(lambda: 'type "nobody 151" beside Run' in unescape(replay.message.value))
    assert replay.confirm.field.placeholder == "type nobody 151"
    assert await letters.aio.count() == 151
    replay.confirm.field.value = '"Nobody 151"'
    replay.run.click()
    await until(lambda: letters.report is not None)
    await until(lambda: replay.run.disabled)
    assert await letters.aio.count() == 0


def test_what_people_type() -> None:
    assert [count_of(text) for text in ("", "40,000", " 40 000 ", "7")] == [None, 40_000, 40_000, 7]
    with pytest.raises(ValueError, match="'many' is not a number"):
        count_of("many")
    assert (number_of("rate", ""), number_of("rate", "1,000.5")) == (None, 1000.5)
    with pytest.raises(ValueError, match="rate: 'fast' is not a number"):
        number_of("rate", "fast")
    assert word_and_count("Discard 4,000") == ("discard", 4000)
    assert word_and_count("discard") == ("discard", None)
    assert word_and_count("12") == ("", 12)
    assert word_and_count(" Nobody ") == ("nobody", None)
    assert word_and_count("nobody 12,020") == ("nobody", 12020)
    assert word_and_count(" “discard 1,234” ") == ("discard", 1234)
    assert confirm_words("send these 3", "", 0) == ("", "")
    for word, count, typed in (("discard", 0, "discard"), ("nobody", 1234, "nobody 1,234")):
        assert confirm_words("send them", word, count) == (typed, f'To send them, type "{typed}"')
        assert word_and_count(typed) == (word, count or None)


async def test_a_difference_is_shown_only_while_it_is_true(
    lab: Lab, settings: NatsEventBusSettings
) -> None:
    await push(settings, *entries(3))
    letters = await shown(lab)
    fix = letters.view().fix
    letters.view().flush()
    fix.which.control.value = "matching"
    fix.editor.action.value = "python"
    fix.editor.python.value = "event['total'] = 1"
    fix.show.click()
    await until(lambda: "3 of 3 entries would change" in fix.message.value)
    fix.keep.click()
    await until(lambda: "3 entries changed; plan a replay to send them" in fix.message.value)
    assert fix.table.layout.display is None
    fix.undo.click()
    await until(lambda: "undone for 3 entries" in fix.message.value)
    assert fix.table.layout.display == "none"

    fix.editor.python.value = "event['totl'] += 1"
    fix.show.click()
    await until(lambda: "see why in the table" in fix.message.value)
    fix.which.control.value = ""
    letters.view().flush()
    assert fix.table.layout.display == "none"
    assert "in the table" not in fix.message.value
    fix.which.control.value = "matching"
    fix.list.children[0].children[1].click()

    fix.editor.python.value = "event['total'] = 2"
    fix.show.click()
    await until(lambda: "3 of 3 entries would change" in fix.message.value)
    fix.keep.click()
    await until(lambda: "plan a replay to send them" in fix.message.value)
    await letters.aio.plan("matching")
    await letters.aio.run(word="nobody")
    letters.view().flush()
    assert "plan a replay" not in fix.message.value


async def test_a_server_that_is_back_is_not_said_to_be_gone() -> None:
    with LocalNats() as server:
        settings = NatsEventBusSettings(servers=server.url)
        await push(settings, *entries(3))
        with Lab(settings) as lab:
            letters = await shown(lab)
            replay = letters.view().replay
            letters.view().flush()
            replay.which.control.value = "matching"
            server.stop()
            await until(lambda: letters.lost_since is not None)
            replay.plan.click()
            await until(lambda: "no NATS server answered" in replay.message.value)
            server.start()
            await until(lambda: letters.back_since is not None)
            await until(lambda: "Plan first" in replay.message.value)


async def test_filters_that_are_chosen_quickly_one_after_the_other_are_all_taken(
    lab: Lab, settings: NatsEventBusSettings
) -> None:
    await push(settings, *(entry(number) for number in range(1, 10)))
    letters = await shown(lab)
    view = letters.view()
    view.flush()
    channels, handlers = view.choices["channel"], view.choices["handler"]
    go_on = threading.Event()

    async def is_busy() -> None:
        go_on.wait()

    letters._session.loop.submit(is_busy())
    try:
        for chosen in (["orders"], ["orders", "payments"]):
            channels.chosen = chosen
            view.redraw("choices")  # as when the queue has changed meanwhile
            view.flush()
            assert channels.chosen == chosen
        handlers.chosen = ["Shop.on_order"]
    finally:
        go_on.set()
    both = {"channel": ["orders", "payments"], "handler": "Shop.on_order"}
    await until(lambda: letters.filters == both and letters.matching == 6)
    await letters.aio.filter()
    await until(lambda: channels.chosen == handlers.chosen == [])
