"""What is masked is neither on the page, nor on the clipboard, nor in the saved notebook."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path

import nats
from playwright.async_api import Locator, expect

from tests.browser.jupyter import Notebook, lab_on
from varco_nats.config import NatsEventBusSettings

EMAIL, IBAN, TOKEN, RAW = "ada@plant-email.example", "DE89PLANT3704", "Bearer plant-7", "PLANTRAW77"
PLANTED = (EMAIL, IBAN, TOKEN, RAW)

MASK = 'mask=["customer.email", "*.iban", "headers.authorization"]'
CELLS = (
    'lab.frame("orders", headers=True)',
    'live = lab.live("orders", start_seq=1); live.wait(3); live',
    'explorer = lab.explore("orders"); explorer',
    "lab.dead_letters()",
)


async def fill(settings: NatsEventBusSettings) -> None:
    """Three messages and a dead letter, stored as any client may."""
    client = await nats.connect(settings.to_servers_list())
    js = client.jetstream()
    subject, queue = settings.subject_name("orders"), f"{settings.subject_prefix}-dlq"
    await js.add_stream(name=settings.stream_name, subjects=[f"{settings.subject_prefix}.>"])
    await js.add_stream(
        name=f"{settings.stream_name}-dlq", subjects=[f"{queue}.>"], allow_direct=True
    )
    order = {"customer": {"name": "Ada", "email": EMAIL}, "items": [{"iban": IBAN}], "total": 5}
    data = json.dumps(order).encode()
    for payload in (data, f'{{"iban": "{RAW}", '.encode(), data):
        await js.publish(subject, payload, headers={"Authorization": TOKEN})
    entry = {
        "entry_id": "3fa85f64-5717-4562-b3fc-000000000001",
        "channel": "orders",
        "handler_name": "Shop.on_order",
        "error_type": "ValueError",
        "error_message": f"no account of {EMAIL}",
        "attempts": 3,
        "first_failed_at": "2026-01-01T00:00:00+00:00",
        "last_failed_at": "2026-01-01T00:00:00+00:00",
        "event_payload": None,
        "source_ref": None,
        "tenant_id": None,
        "payload": base64.b64encode(data).decode(),
        "source": "consumer",
    }
    await js.publish(f"{queue}.{entry['entry_id']}.orders", json.dumps(entry).encode())
    await client.close()


def found(text: str) -> list[str]:
    return [value for value in PLANTED if value in text or value.encode().hex() in text]


async def picture(notebook: Notebook, name: str, widget: Locator) -> None:
    """For looking at while developing; nothing is kept otherwise."""
    if folder := os.environ.get("VARCO_PICTURES"):
        await widget.scroll_into_view_if_needed()
        await notebook.screenshot(Path(folder) / f"{name}.png")


async def test_a_saved_notebook_and_the_page_are_without_masked_values(
    notebook: Notebook, settings: NatsEventBusSettings
) -> None:
    await fill(settings)
    await notebook.new(lab_on(settings).replace("})", f"}}), {MASK}"), *CELLS)
    await notebook.run_all()
    assert await notebook.errors() == []
    page = notebook.page
    explorer = notebook.cell(3)
    message = explorer.locator(".varco-message")
    for row in range(3):
        await (
            explorer.locator(".varco-body .varco-row:visible")
            .nth(row)
            .locator(".varco-first")
            .click()
        )
        await expect(message).to_contain_text("values are masked here")
        await message.get_by_role("button", name="Copy text").click()
        await expect(message.get_by_role("button", name="Copied")).to_be_visible()
        assert found(await page.evaluate("navigator.clipboard.readText()")) == []
        assert found(await page.content()) == []
    await expect(message).to_contain_text("***")
    await picture(notebook, "masked-light", message)
    letters = notebook.cell(4)
    await letters.scroll_into_view_if_needed()
    await picture(notebook, "masked-letters", letters)
    await expect(letters.locator(".varco-body").first).to_contain_text("no account of ***")
    assert found(await page.content()) == []
    assert found(json.dumps(await notebook.save())) == []

    # without a mask they would be there
    await notebook.add_cell(lab_on(settings).replace("lab =", "clear ="))
    await notebook.add_cell('print(clear.frame("orders", headers=True).to_dict())')
    assert found(json.dumps(await notebook.save())) == [*PLANTED]
