"""Targets for varco's own command line: the dead letter queue and the bus of the environment.

    varco dlq list -t varco_nats.cli:dlq
    varco dlq redrive -t varco_nats.cli:dlq -b varco_nats.cli:bus --batch

Servers and names come from `VARCO_NATS_*`; TLS and login come from `NATS_*`, as do the servers if
`VARCO_NATS_SERVERS` is not set. An event can be redriven only if its class is known:
`VARCO_NATS_IMPORTS=myapp.events,myapp.more` names the modules to import.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from uuid import UUID

from varco_core.event.base import (
    CHANNEL_ALL,
    CHANNEL_DEFAULT,
    AbstractEventBus,
    Event,
    Subscription,
)
from varco_core.event.dlq import DeadLetterEntry, DeadLetterSource

from varco_nats._masks._mask import Mask
from varco_nats._masks._shown import shown_error
from varco_nats._varco_core import EVENT_CLASSES
from varco_nats.bus import NatsEventBus
from varco_nats.config import NatsEventBusSettings
from varco_nats.connection import NatsConnectionSettings
from varco_nats.dlq import NatsDLQ
from varco_nats.dlq._codec import UNREADABLE, StoredEntry
from varco_nats.dlq._store import DlqStore
from varco_nats.errors import SettingsError, VarcoNatsError
from varco_nats.replay._entry_filter import event_of

_IMPORTS = "VARCO_NATS_IMPORTS"


class PublishingBus(AbstractEventBus):
    """A bus that starts with its first `publish`, for commands that do not start it.

    It takes no subscriptions.
    """

    def __init__(self, settings: NatsEventBusSettings) -> None:
        self._bus = NatsEventBus(settings)

    async def publish(self, event: Event, *, channel: str = CHANNEL_DEFAULT) -> None:
        try:
            await self._bus.start()  # does nothing if it is started
            await self._bus.publish(event, channel=channel)
        except VarcoNatsError as error:  # of a batch, `varco dlq` only counts them
            print(f"event {event.event_id}: {error}", file=sys.stderr)
            raise

    def subscribe(
        self,
        event_type: type[Event] | str,
        handler: Callable[[Event], Awaitable[None] | None],
        *,
        channel: str = CHANNEL_ALL,
        filter: Callable[[Event], bool] | None = None,  # noqa: A002 -- the interface's name
        priority: int = 0,
    ) -> Subscription:
        raise NotImplementedError("varco_nats.cli:bus only publishes; subscribe on a NatsEventBus")

    async def stop(self) -> None:
        """Close the connection; does nothing if there is none."""
        await self._bus.stop()


class _CommandQueue(NatsDLQ):
    """A queue whose errors end the command with a sentence, and that names what stays in it.

    `varco dlq` shows a traceback of what it is raised, and of a batch only how many entries failed.

    Args:
        mask: hides the values that error messages quote of an event.
    """

    redrives = False
    """Whether the command is a redrive, which needs an event in each entry."""

    def __init__(self, settings: NatsEventBusSettings, mask: Mask | None = None) -> None:
        super().__init__(settings)
        self._mask = mask

    def _given(self, store: DlqStore, stored: StoredEntry) -> DeadLetterEntry:
        entry, mask = super()._given(store, stored), self._mask
        if mask is None or self.redrives:  # which prints no message of an entry
            return entry
        is_known = entry.error_type != UNREADABLE
        event = stored.event_bytes if stored.event_bytes is not None else entry.payload
        message = shown_error(
            entry.error_message, event if is_known else None, stored.headers, mask
        )
        return replace(entry, error_message=message)

    async def get(self, entry_id: UUID) -> DeadLetterEntry | None:
        with _ending_the_command():
            entry = await super().get(entry_id)
        self._tell([] if entry is None else [entry])
        return entry

    async def list_entries(self, **conditions: Any) -> list[DeadLetterEntry]:
        with _ending_the_command():
            entries = await super().list_entries(**conditions)
        self._tell(entries)
        return entries

    async def ack(self, entry_id: UUID) -> None:
        with _ending_the_command():
            await super().ack(entry_id)

    async def delete_where(self, **conditions: Any) -> int:
        with _ending_the_command():
            return await super().delete_where(**conditions)

    def _tell(self, entries: list[DeadLetterEntry]) -> None:
        for entry in entries if self.redrives else ():
            if entry.event is None or entry.source is DeadLetterSource.JOB:
                print(f"{entry.entry_id}: {_why_it_stays(entry)}", file=sys.stderr)


def settings() -> NatsEventBusSettings:
    """The settings of this environment, with the login.

    Raises:
        SettingsError: a variable has a wrong value.
    """
    bus_settings = NatsEventBusSettings.from_env()
    kwargs = NatsConnectionSettings.from_env().to_nats_kwargs()
    return bus_settings.model_copy(
        update={"connect_kwargs": {**kwargs, **bus_settings.connect_kwargs}}
    )


def import_events() -> None:
    """Import the modules that `VARCO_NATS_IMPORTS` names, so that their event classes are known.

    Raises:
        SettingsError: a module cannot be imported.
    """
    for name in filter(None, map(str.strip, os.environ.get(_IMPORTS, "").split(","))):
        try:
            importlib.import_module(name)
        except Exception as error:  # whatever the module raises is the reason
            problem = (
                f"{_IMPORTS}: module {name!r} cannot be imported "
                f"({type(error).__name__}: {error}); check its name and PYTHONPATH"
            )
            raise SettingsError("varco_nats.cli", [problem]) from error


def dlq() -> NatsDLQ:
    """The dead letter queue, which connects when it is first used.

    An error of this package ends the process with its message, as a command should end. Values of
    the fields in `VARCO_NATS_MASK` are masked in the error messages of entries.
    """
    with _ending_the_command():
        import_events()
        return _CommandQueue(settings(), Mask.with_environment())


def bus() -> PublishingBus:
    """A bus to publish on, which connects when it is first used."""
    with _ending_the_command():
        import_events()
        _CommandQueue.redrives = True  # no other command of `varco dlq` has a bus
        return PublishingBus(settings())


@contextmanager
def _ending_the_command() -> Iterator[None]:
    try:
        yield
    except (VarcoNatsError, ValueError) as error:
        sys.exit(str(error))  # the message and no traceback, with exit code 1


def _why_it_stays(entry: DeadLetterEntry) -> str:
    """Why an entry without an event cannot be redriven, and what to do."""
    if entry.source is DeadLetterSource.JOB:
        return "stays in the queue: it is a job's; enqueue the job again in its job store"
    event_type, advice = event_of(entry.payload or b"")[1], "use"
    if event_type is None:
        reason = "it holds no event of varco"
    elif event_type in EVENT_CLASSES:
        reason = f"it does not fit the class of event {event_type!r}"
    else:
        reason = f"the class of event {event_type!r} is not known"
        advice = f"name its module in {_IMPORTS}, or use"
    return f"stays in the queue: {reason}; {advice} 'varco nats replay', which needs no class"
