"""Replays of a queue that others write: its channels are plain subjects of their streams."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from pydantic import PrivateAttr

from varco_nats._nats.client import Connection
from varco_nats._nats.leader import with_leader
from varco_nats._nats.stream import covers
from varco_nats.config import NatsEventBusSettings
from varco_nats.dlq._codec import DlqNames
from varco_nats.errors import InvalidChannelError, ReplayRefusedError
from varco_nats.subjects import subject_problem, validate_channel

_AT_ONCE = 20
_TIMEOUT = 5.0
_MAX_NAMED = 3
_NAME_ONE = "name a subject with to=, or say with fields={'channel': …} where it is"


@dataclass(frozen=True, slots=True)
class ForeignQueue:
    """A queue that others write, as the source of a `Replayer`."""

    settings: NatsEventBusSettings
    """Of the connection and of the log."""
    names: DlqNames
    durable: str = ""


class SubjectTarget(NatsEventBusSettings):
    """A stream as the target of a plan whose channels are its subjects."""

    _refused: Mapping[str, tuple[str, str]] = PrivateAttr(default_factory=dict)
    """Why a channel cannot be sent to this stream, and what to do."""

    @classmethod
    def of(
        cls, settings: NatsEventBusSettings, stream: str, refused: Mapping[str, tuple[str, str]]
    ) -> SubjectTarget:
        """The stream as it is, on the servers of `settings`."""
        values = {**dict(settings), "stream_name": stream, "auto_create_stream": False}
        target = cls.model_construct(settings.model_fields_set, **values)
        target._refused = refused  # noqa: SLF001 - a new object of this class
        return target

    def subject_name(self, channel: str) -> str:
        if channel in self._refused:
            raise InvalidChannelError(channel, *self._refused[channel])
        return validate_channel(channel)

    def wildcard_subject(self) -> str:
        return ">"

    def channel_from_subject(self, subject: str) -> str:
        return subject


def origins_of(config: Mapping[str, Any], *, elsewhere: bool = True) -> list[str]:
    """The streams that a stream with this configuration copies.

    Args:
        elsewhere: also those of other domains and accounts.
    """
    sources = [config.get("mirror") or {}, *(config.get("sources") or [])]
    return [
        each["name"]
        for each in sources
        if each.get("name") and (elsewhere or not each.get("external"))
    ]


async def subject_target(
    connection: Connection,
    settings: NatsEventBusSettings,
    names: DlqNames,
    counts: Mapping[str, int],
) -> SubjectTarget:
    """The stream that captures the most of these messages; a run sends to one stream.

    Args:
        counts: how many messages go to each subject.

    Raises:
        ReplayRefusedError: no stream captures any of them, or only the queue itself.
    """
    limit = asyncio.Semaphore(_AT_ONCE)

    async def stream_of(subject: str) -> str | None:
        if subject_problem(subject) is not None:
            return None
        ask = partial(connection.ask_jetstream, "STREAM.NAMES", {"subject": subject}, _TIMEOUT)
        async with limit:
            answer = await with_leader(connection, None, ask)
        found = answer.get("streams") or [None]
        return str(found[0]) if found[0] is not None else None

    ask = partial(connection.ask_jetstream, f"STREAM.INFO.{names.stream}", {}, _TIMEOUT)
    config = (await with_leader(connection, names.stream, ask))["config"]
    origins = origins_of(config, elsewhere=False)
    streams = dict(zip(counts, await asyncio.gather(*map(stream_of, counts)), strict=True))
    refused: dict[str, tuple[str, str]] = {}
    by_stream: Counter[str] = Counter()
    for subject, stream in streams.items():
        if stream == names.stream and covers(names.all_entries(), subject):
            refused[subject] = "is the queue itself", _NAME_ONE
        elif stream in origins:
            refused[subject] = f"is in stream {stream!r}, which the queue copies", _NAME_ONE
        elif stream is None:
            if subject_problem(subject) is None:
                refused[subject] = "is captured by no stream", _NAME_ONE
        else:
            by_stream[stream] += counts[subject]
    if not by_stream:
        said = [f"{subject!r} {why}" for subject, (why, _) in refused.items()]
        more = f" and {len(said) - _MAX_NAMED:,} more" if len(said) > _MAX_NAMED else ""
        found = f": {', '.join(said[:_MAX_NAMED])}{more}" if said else ""
        raise ReplayRefusedError(f"no stream takes these dead letters{found}; {_NAME_ONE}")
    [(target, _)] = by_stream.most_common(1)
    for subject, stream in streams.items():
        if stream not in (None, target) and subject not in refused:
            refused[subject] = (
                f"is in stream {stream!r}, and a run sends to one stream, here {target!r}",
                "plan them again after it",
            )
    return SubjectTarget.of(settings, target, refused)
