"""The message of an explorer that is open: stepping to others, and what differs between two."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing
from typing import Any, Literal

from varco_nats.errors import VarcoNatsError
from varco_nats.history import StoredMessage
from varco_nats_widgets._session.worker import ModelReference
from varco_nats_widgets.explorer._difference import Difference, difference
from varco_nats_widgets.explorer._pages import ExplorerTraits, Pages, whole_sequence
from varco_nats_widgets.frames._message import Message, message_of
from varco_nats_widgets.frames._payload import TYPE_KEY
from varco_nats_widgets.publish._form_values import Origin

type Compared = int | Literal["previous"] | None
"""What an open message is compared with: a sequence, the previous message, or nothing."""

_SAMPLED = 50  # messages of the page that payloads to begin with are taken from
_LOOKED_BACK, _LOOKED_AT_ONCE = 100_000, 500  # messages, for the previous one of a field's value


class MessageNotFoundError(VarcoNatsError, LookupError):
    """No message with this sequence, where one is to be looked at.

    Attributes:
        channels: where it was looked for.
    """

    def __init__(self, seq: int, channels: Sequence[str]) -> None:
        self.seq = seq
        self.channels = tuple(channels)
        super().__init__(
            f"no message with sequence {seq} is stored in {', '.join(channels) or 'any channel'}; "
            "it may have been deleted meanwhile"
        )


class OpenMessage:
    """Opens messages, one at a time, and compares the open one.

    Args:
        pages: where it steps along.
    """

    def __init__(self, model: ModelReference[ExplorerTraits], pages: Pages) -> None:
        self._model = model
        self._pages = pages
        self._compared: tuple[Compared, str] = (None, "")

    def close(self) -> None:
        """Open none."""
        self._model.set(message=None, difference=None)

    async def open(self, seq: int) -> Message:
        """See `Explorer.open`."""
        seq = whole_sequence(seq)
        source, stored = self._pages.source, await self._stored(seq)
        if stored is None:
            raise MessageNotFoundError(seq, self._pages.chosen)
        message = message_of(stored, source.decoding)
        self._model.set(message=message, difference=None)
        await self._compare(message)
        return message

    async def _stored(self, seq: int) -> StoredMessage | None:
        pages = self._pages
        stored = next((m for m in pages.page.messages if m.seq == seq), None)
        return stored or await pages.source.message(pages.chosen, seq)

    def beside(self, by: int) -> int | None:
        """The message before or after the open one on the page; None where that is on another."""
        model = self._model()
        if model is None or model.message is None or model.message.seq not in model.page.index:
            return None
        seqs = model.page.index.tolist()
        place = seqs.index(model.message.seq) + by
        return seqs[place] if 0 <= place < len(seqs) else None

    async def step(self, by: int) -> Message | None:
        """See `Explorer.next`."""
        pages, seq, model = self._pages, self.beside(by), self._model()
        if seq is None:
            now = None if model is None or model.message is None else model.message.seq
            await (pages.newer() if by > 0 else pages.older())
            shown = [message.seq for message in pages.page.messages]
            beyond = [each for each in shown if now is None or (each - now) * by > 0]
            if not beyond:
                return None
            seq = beyond[0 if by > 0 else -1]
        self._model.set(selected_seqs=[seq])
        return await self.open(seq)

    # Comparing

    async def compare(self, to: Compared, by: str) -> Difference | None:
        """See `Explorer.compare`."""
        self._compared = (to, by)
        model = self._model()
        self._model.set(compared=to or "", compared_by=by)
        if model is not None and model.message is not None:
            return await self._compare(model.message)
        return None

    async def _compare(self, message: Message) -> Difference | None:
        """Show what differs from the message that it is to be compared with."""
        to, by = self._compared
        if to is None or to == message.seq:
            self._model.set(difference=None)
            return None
        source = self._pages.source
        if isinstance(to, int):
            found = await source.message(self._pages.chosen, to)
            missing = f"there is no message #{to}"
        else:
            found = await self._previous(message, by)
            missing = f"none before it{f' with the same {by}' if by else ''}"
        if found is None:
            self._model.set(difference=None, notice=f"nothing to compare with: {missing}")
            return None
        other = message_of(found, source.decoding)
        first, second = sorted((other, message), key=lambda each: each.seq)
        made = difference(first, second)
        self._model.set(difference=made)
        return made

    async def _previous(self, message: Message, by: str) -> StoredMessage | None:
        """The newest message before this one, of its subject or with the same value of a field."""
        wanted = _field(message.payload, by) if by else None
        if message.seq <= 1 or (by and wanted is None):
            return None
        source, looked = self._pages.source, 0
        subjects = await source.subjects(self._pages.chosen) if by else (message.subject,)
        selection = await source.history.select(subjects, end_seq=message.seq - 1)
        page = _LOOKED_AT_ONCE if by else 1
        async with aclosing(
            source.history.batches(selection, newest_first=True, page=page)
        ) as batches:
            async for batch in batches:
                for each in batch:
                    if not by or _field(source.decoding.decode(each).value, by) == wanted:
                        return each
                looked += len(batch)
                if looked >= _LOOKED_BACK:
                    return None
        return None

    # Sending it again

    @property
    def by_subject(self) -> bool:
        """Whether what is chosen are subjects, and not channels of varco's."""
        return self._pages.source.stream is not None

    async def origin(self) -> tuple[Origin, str]:
        """The open message as it is stored, to be edited, and the channel or subject it is on.

        Raises:
            MessageNotFoundError: it is gone, or none is open.
        """
        model = self._model()
        message = None if model is None else model.message
        seq = 0 if message is None else message.seq
        stored = await self._stored(seq)
        if stored is None or message is None:
            raise MessageNotFoundError(seq, self._pages.chosen)
        return Origin(stored, self._pages.source.decoding), message.channel

    def suggestion(self) -> tuple[str, dict[str, dict[str, Any]]]:
        """A channel or subject to publish to, and the newest payload of each event type there."""
        decoding, messages = self._pages.source.decoding, self._pages.page.messages[-_SAMPLED:]
        found: dict[str, dict[str, Any]] = {}
        for stored in messages:
            event = decoding.decode(stored).event
            if isinstance(name := event.get(TYPE_KEY), str):
                own = ("event_id", "timestamp")
                found[name] = {key: value for key, value in event.items() if key not in own}
        return (decoding.channel_of(messages[-1].subject) if messages else ""), found


def _field(payload: Any, path: str) -> Any:
    """The value of a field, nested ones as `outer.inner`; None where there is none."""
    found = payload
    for name in path.split("."):
        found = found.get(name) if isinstance(found, dict) else None
    return found
