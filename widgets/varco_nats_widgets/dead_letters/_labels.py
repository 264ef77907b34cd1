"""Labels of groups: who works on one, and a note, kept in the log of replays for all to see."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import msgspec
import pandas as pd
from nats.errors import Error as NatsError

from varco_nats._nats.direct import StoredMessage, moment
from varco_nats._nats.stream import stream_info
from varco_nats.errors import StreamNotFoundError, VarcoNatsError
from varco_nats.history._lookup import warn_unread
from varco_nats.replay._context import user_and_host
from varco_nats.replay._log import ReplayLog
from varco_nats_widgets.dead_letters._browser import DeadLetterBrowser
from varco_nats_widgets.frames._columns import strings, times

MAX_NOTE = 1000
"""Characters of a note or an owner."""

_SOON = 1.0  # seconds, where labels are only part of what is shown
_GROUP = re.compile(r"[0-9a-f]{6,64}")


@dataclass(frozen=True, slots=True)
class GroupLabel:
    """What was last said of a group."""

    note: str
    owner: str
    by: str
    """Who said it: user and host."""
    at: datetime
    """When the server stored it."""


class _Record(msgspec.Struct):
    """A change of a label in the log; what is None stays as it was."""

    by: str
    note: str | None = None
    owner: str | None = None


class GroupLabels:
    """The labels of one queue's groups, as far as they were read.

    Each change is a message of its own, in the order in which the server stored them: of two
    people who change the same at once, the later one wins, and both see that.
    """

    def __init__(self, browser: DeadLetterBrowser) -> None:
        self._connection, self._queue = browser.connection, browser.names.stream
        self._settings = browser.settings
        self._labels: dict[str, GroupLabel] = {}
        self._created: datetime | None = None  # of the log
        self._next = 1  # the first sequence that was not read yet
        self._lock = asyncio.Lock()

    async def change(self, groups: Sequence[str], note: str | None, owner: str | None) -> None:
        """Change the labels of these groups, and read them; see `DeadLetters.label`."""
        by = user_and_host()
        if note is None and owner is None:
            owner = by
        values = {"by": by, "note": note, "owner": owner}
        data = json.dumps({name: value for name, value in values.items() if value is not None})
        log = ReplayLog(self._connection, self._settings)
        await log.ensure()
        for group in groups:
            await log.write_label(self._queue, group, data.encode())
        await self.read()

    async def read(self, wait: float | None = None) -> bool:
        """Take in what was said since; whether anything was.

        Args:
            wait: seconds in which the log must answer; see `with_leader`.

        Raises:
            VarcoNatsError, nats.errors.Error: the log cannot be read.
        """
        async with self._lock:
            log = ReplayLog(self._connection, self._settings)
            before = dict(self._labels)
            try:
                info = await stream_info(self._connection, log.stream, state=True, wait=wait)
            except StreamNotFoundError:
                self._forget(None)
                return before != self._labels
            if info.created != self._created:
                self._forget(info.created)
            last = int(info.state.last_seq)
            if last >= self._next:
                async for message in log.labels(self._queue, self._next):
                    self._take(log.stream, message)
                    last = max(last, message.seq)
                self._next = last + 1
            return before != self._labels

    def _forget(self, created: datetime | None) -> None:
        self._labels, self._created, self._next = {}, created, 1

    def _take(self, stream: str, message: StoredMessage) -> None:
        try:
            record = msgspec.json.decode(message.data, type=_Record)
        except ValueError as error:  # anybody may have written it
            warn_unread(stream, message, error)
            return
        group, at = message.subject.split(".")[-1], moment(message.time_ns)
        last = self._labels.get(group) or GroupLabel("", "", record.by, at)
        label = replace(last, by=record.by, at=at)
        if record.note is not None:
            label = replace(label, note=record.note)
        if record.owner is not None:
            label = replace(label, owner=record.owner)
        self._labels[group] = label

    async def try_to_read(self) -> bool:
        """The same where the rest does not need them: False where the log cannot be read."""
        try:
            return await self.read(_SOON)
        except (VarcoNatsError, NatsError, OSError):
            return False

    def frame(self) -> pd.DataFrame:
        """One row for each group that has a label; see `DeadLetters.labels`."""
        kept = {group: label for group, label in self._labels.items() if label.note or label.owner}
        labels = list(kept.values())
        columns = {
            "owner": strings([label.owner or None for label in labels]),
            "note": strings([label.note or None for label in labels]),
            "by": strings([label.by for label in labels]),
            "at": times([label.at for label in labels]),
        }
        return pd.DataFrame(columns, index=pd.Index(strings(list(kept)), name="group"), copy=False)


def checked_groups(group: str | Iterable[str]) -> list[str]:
    """The ids of one or several groups.

    Raises:
        ValueError: one is no id of a group, or there is none.
    """
    groups = list(dict.fromkeys([group] if isinstance(group, str) else group))
    for name in groups:
        if not (isinstance(name, str) and _GROUP.fullmatch(name)):
            raise ValueError(f"{name!r} is no id of a group; the index of groups() has them")
    if not groups:
        raise ValueError("no group is named; the index of groups() has them")
    return groups


def checked_text(name: str, text: str | None) -> str | None:
    """A note or an owner, without white space around it.

    Raises:
        TypeError, ValueError: it is no text, or it is too long.
    """
    if text is None:
        return None
    if not isinstance(text, str):
        raise TypeError(f"{name} is a text, not {type(text).__name__}")
    text = text.strip()
    if len(text) > MAX_NOTE:
        raise ValueError(f"{name} has {len(text):,} characters, more than {MAX_NOTE:,}")
    return text


def with_labels(
    groups: pd.DataFrame,
    labels: pd.DataFrame,
    parts: Mapping[str, Collection[str]] | None = None,
) -> pd.DataFrame:
    """A frame of groups with the columns `owner` and `note`, where a group of it has any.

    Args:
        parts: the groups that a row stands for, where it stands for several.
    """
    made = groups
    for name in ("owner", "note"):
        known = labels[name].dropna().to_dict() if len(labels) else {}
        found = [
            ", ".join(dict.fromkeys(known[part] for part in names if part in known)) or None
            for names in ((parts or {}).get(group, (group,)) for group in groups.index)
        ]
        if any(found):
            made = made.assign(**{name: strings(found)})
    return made
