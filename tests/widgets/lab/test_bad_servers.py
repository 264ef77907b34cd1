"""Logins that may see little, and messages as large as a server takes: said in a sentence."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import nats
import pytest
from nats.js.api import StorageType, StreamConfig
from varco_nats_widgets import Lab

from varco_nats.errors import PermissionDeniedError, StreamNotFoundError
from varco_nats.server import LocalNats

LARGEST = 64 * 1024**2
READS_ONE = ", ".join(
    f'"$JS.API.{api}"'
    for api in (
        *("STREAM.INFO.SEEN", "STREAM.MSG.GET.SEEN", "DIRECT.GET.SEEN", "DIRECT.GET.SEEN.>"),
        *("CONSUMER.CREATE.SEEN.>", "CONSUMER.MSG.NEXT.SEEN.>", "CONSUMER.DELETE.SEEN.>"),
    )
)
CONFIG = f"""
max_payload: {LARGEST}
max_pending: {2 * LARGEST}
authorization {{ users: [
  {{ user: admin, password: admin }}
  {{ user: guest, password: guest, permissions: {{
     publish: {{ allow: [{READS_ONE}] }}, subscribe: {{ allow: ["_INBOX.>"] }} }} }}
] }}
"""


@pytest.fixture(scope="module")
def guarded() -> Iterator[LocalNats]:
    with LocalNats(config=CONFIG, token=None) as server:

        async def fill() -> None:
            nc = await nats.connect(f"nats://admin:admin@127.0.0.1:{server.port}")
            js = nc.jetstream()
            await js.add_stream(StreamConfig(name="SEEN", subjects=["seen.>"]))
            await js.publish("seen.a", b'{"value": 1}')
            # files take messages of up to 32 MiB
            config = StreamConfig(name="BIG", subjects=["big.>"], storage=StorageType.MEMORY)
            await js.add_stream(config)
            text = b'{"value": 2, "text": "' + b"x" * (LARGEST - 1000) + b'"}'
            await js.publish("big.a", text, timeout=30)
            await nc.close()

        asyncio.run(fill())
        yield server


def test_a_login_that_may_see_one_stream(guarded: LocalNats) -> None:
    with Lab(f"nats://guest:guest@127.0.0.1:{guarded.port}") as lab:
        assert lab.channels(stream="SEEN").index.tolist() == ["seen.a"]
        assert lab.frame(stream="SEEN")["value"].tolist() == [1]
        explorer = lab.explore("seen.a", stream="SEEN")
        assert explorer.df["value"].tolist() == [1]
        explorer.close()
        calls: list[Callable[[], object]] = [
            lab.channels,
            lab.streams,
            lambda: lab.frame("SEEN"),
            lambda: lab.frame(subject="seen.a"),
            lambda: lab["SEEN"],
        ]
        for call in calls:
            with pytest.raises(PermissionDeniedError) as raised:
                call()
            assert "does not let this login publish to '$JS.API.STREAM." in str(raised.value)
            assert "; or name a stream that this login may read: " in str(raised.value)
        with pytest.raises(PermissionDeniedError, match=r"STREAM\.INFO\.BIG") as raised:
            lab.frame(stream="BIG")
        assert "or name a stream" not in str(raised.value)
        assert lab._ipython_key_completions_() == []


def test_a_message_as_large_as_a_server_takes(guarded: LocalNats) -> None:
    with Lab(f"nats://admin:admin@127.0.0.1:{guarded.port}", read_only=True) as lab:
        frame = lab.frame(stream="BIG")
        assert frame["text"].str.len().tolist() == [LARGEST - 1000]
        with pytest.warns(UserWarning, match="cut by max_bytes: it has 0 of 1 messages"):
            assert lab.frame(stream="BIG", max_bytes=1000).empty
        explorer = lab.explore("big.a", stream="BIG")
        assert explorer.df["value"].tolist() == [2]
        assert explorer.open(1).seq == 1
        explorer.view().flush()
        assert (explorer.error, explorer.view().problem) == ("", "")
        explorer.close()
        with pytest.raises(StreamNotFoundError, match="there are 'BIG', 'SEEN'"):
            lab.frame(stream="X")
