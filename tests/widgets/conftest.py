"""Fixtures for the tests of the widgets."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from varco_nats_widgets import Lab

from varco_nats.config import NatsEventBusSettings


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    """No test leaves a thread of a Lab behind."""
    before = set(threading.enumerate())
    yield
    started = set(threading.enumerate()) - before
    labs = [thread for thread in started if thread.name.startswith("Lab")]
    for thread in labs:  # nobody waits for those of one that is garbage
        thread.join(20)
    assert [thread.name for thread in labs if thread.is_alive()] == []


@pytest.fixture
def lab(settings: NatsEventBusSettings) -> Iterator[Lab]:
    """On the shared server, with a stream of its own."""
    with Lab(settings) as opened:
        yield opened
