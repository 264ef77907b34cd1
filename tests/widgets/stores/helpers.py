"""Buckets of their own for the tests of this folder."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from nats.aio.client import Client
from nats.js.api import KeyValueConfig
from nats.js.errors import NotFoundError
from nats.js.kv import KeyValue


@asynccontextmanager
async def new_bucket(nc: Client, **config: Any) -> AsyncIterator[tuple[str, KeyValue]]:
    """The name of a bucket with this configuration, and nats-py's object of it."""
    js = nc.jetstream()
    name = f"b-{uuid.uuid4().hex[:8]}"
    yield name, await js.create_key_value(KeyValueConfig(bucket=name, **config))
    with suppress(NotFoundError):  # the test has deleted it
        await js.delete_key_value(name)
