"""A server that strangers filled, in JupyterLab: its buckets, its objects, and what passes by."""

from __future__ import annotations

from playwright.async_api import expect

from tests.browser.jupyter import Notebook

FILLED = """
import asyncio, nats
from varco_nats_widgets import Lab, run
from varco_nats.server import LocalNats
from tests.foreign import chatter, fill

server = LocalNats().start()

async def call(function, *args, **options):
    nc = await nats.connect(server.url)
    try:
        return await function(nc, *args, **options)
    finally:
        await nc.close()

async def put(nc, bucket, key, value):
    await (await nc.jetstream().key_value(bucket)).put(key, value)

async def delete(nc, bucket, key):
    await (await nc.jetstream().key_value(bucket)).delete(key)

run(call(fill, devices=3, readings=1, topics=5))
lab = Lab(server.url)
"""


class TestStores:
    async def test_a_bucket_is_shown_as_its_values(self, notebook: Notebook) -> None:
        await notebook.new(
            FILLED,
            "kv = lab.kv('config')\nkv",
            "lab.objects('reports')",
            "values = kv.live()\nvalues",
            "live = lab.live(subject='core.>', stored=False)\nlive",
        )
        await notebook.run_all()
        assert await notebook.errors() == []
        bucket = notebook.cell(1)
        await expect(bucket).to_contain_text("key-value bucket config: 4 keys")
        rows = bucket.locator("table.dataframe tbody tr")
        await expect(rows).to_have_count(4)
        await expect(rows.nth(3)).to_contain_text("größer is better")
        await expect(notebook.cell(2)).to_contain_text("object store reports: 3 objects")
        await expect(notebook.cell(2)).to_contain_text("logo.png")

    async def test_its_live_values_renew(self, notebook: Notebook) -> None:
        values = notebook.cell(3)
        await expect(values).to_contain_text("bucket config · live · 4 keys · 0 changes")
        await expect(values.locator(".varco-table")).to_contain_text("größer is better")
        await notebook.value("run(call(put, 'config', 'motto', b'<b>smaller</b>'))")
        await expect(values.locator(".varco-table")).to_contain_text("<b>smaller</b>")
        await notebook.value("run(call(delete, 'config', 'key'))")
        await expect(values).to_contain_text("3 keys · 2 changes")
        await values.get_by_role("button", name="Stop").click()
        await expect(values).to_contain_text("bucket config · stopped · 3 keys")

    async def test_what_passes_by_is_marked_as_not_complete(self, notebook: Notebook) -> None:
        passing = notebook.cell(4)
        await expect(passing).to_contain_text("not what a stream keeps")
        await notebook.value("run(call(chatter, 4))")
        await expect(passing).to_contain_text("received 4")
        await expect(passing.locator(".varco-table")).to_contain_text("arrival")
        await expect(passing.locator(".varco-table")).to_contain_text("received_at")
        await notebook.value("lab.close()")
        await notebook.value("server.close()")
