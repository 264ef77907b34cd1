"""Where an explorer's messages are: in a lab's channels, or under the subjects of any stream."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import aclosing

from varco_nats.errors import UnknownChannelError
from varco_nats.history import History, StoredMessage
from varco_nats.subjects import name_problem, subject_problem
from varco_nats_widgets._session.session import Session
from varco_nats_widgets._session.stream_browser import LabHistory
from varco_nats_widgets.decoders import DecoderLike
from varco_nats_widgets.explorer._choice import apart, matches
from varco_nats_widgets.explorer._code import Place
from varco_nats_widgets.frames._query import is_pattern


class Source:
    """One stream that is looked at.

    Args:
        stream: whose subjects are looked at; None is the stream of the settings with its channels.

    Raises:
        ValueError: no stream can have this name.
    """

    def __init__(self, session: Session, stream: str | None) -> None:
        if stream is not None and (problem := name_problem(stream)):
            raise ValueError(f"stream={stream!r} {problem}")
        self._session = session
        self._settings = session.settings
        self.stream = stream
        self.name = self._settings.stream_name if stream is None else stream
        """The stream's name, whatever its subjects are called."""
        self.noun = "channel" if stream is None else "subject"
        self.history = LabHistory(session.settings, session.connection, self.name)
        """Reads by subjects, which may have wildcards."""
        self.decoding = session.decoding if stream is None else session.decoding.named(str)
        self._decoding = self.decoding  # as the lab says
        self.decoder: DecoderLike | None = None

    def read_as(self, decoder: DecoderLike | None) -> None:
        """Read every payload by this decoder; None is as the lab says.

        Raises:
            DecoderError: it is none; nothing is changed.
        """
        self.decoding = self._decoding.read_as(decoder)
        self.decoder = decoder

    async def choice(self, names: Iterable[str], known: Sequence[str]) -> tuple[str, ...]:
        """What `names` choose, without what other names of them choose as well.

        Args:
            known: the subjects or channels that were there when the server was asked last.

        Raises:
            InvalidChannelError: a channel cannot have one of these names.
            UnknownChannelError: one of them, without a wildcard, holds no messages.
            StreamNotFoundError: there is no such stream.
        """
        wanted = tuple(dict.fromkeys(names))
        if not wanted:
            if self.stream is not None:  # that of the settings comes with its first message
                await self._session.view.require_stream(self.stream)
            return ()
        plain = {name for name in wanted if not is_pattern(name)}
        if self.stream is None:
            for name in plain:
                self._settings.subject_name(name)
        if not known or not plain <= set(known):
            known = await self._session.view.names(self.stream)
            for name in wanted:
                if name in plain and name not in known:
                    if self.stream is None:
                        raise await self._session.view.unknown(name, "explore")
                    raise UnknownChannelError(name, known, self.noun)
        if self.stream is None:
            for name in wanted:
                if is_pattern(name) and name != ">" and not any(matches([name], k) for k in known):
                    error = await self._session.view.elsewhere(name, known)
                    if error is not None:
                        raise error
        return () if ">" in wanted else apart(wanted, known)

    async def subjects(self, chosen: Sequence[str]) -> tuple[str, ...]:
        """The subjects to read for what is chosen; everything if nothing is."""
        if self.stream is not None:
            return tuple(chosen) or (">",)
        settings = self._settings
        if not chosen:
            if not settings.channel_prefix:
                return (settings.wildcard_subject(),)
            # a prefix may end inside a token, where no wildcard can stand
            chosen = await self._session.view.names()
        begin = f"{settings.subject_prefix}.{settings.channel_prefix}"
        return tuple(f"{begin}{name}" for name in chosen) or (f"{begin}>",)

    async def message(self, chosen: Sequence[str], seq: int) -> StoredMessage | None:
        """The message with this sequence, None where what is chosen has none."""
        if seq < 1:
            return None
        subjects = await self.subjects(chosen)
        selection = await self.history.select(subjects, start_seq=seq, end_seq=seq)
        async with aclosing(self.history.batches(selection, page=1)) as batches:
            async for batch in batches:
                return batch[0]
        return None

    def place(
        self, chosen: Sequence[str], subjects: Sequence[str], messages: Iterable[StoredMessage]
    ) -> Place:
        """Where code finds these messages of what is chosen, whose subjects are `subjects`."""
        if self.stream is not None or (chosen and not any(map(is_pattern, chosen))):
            return Place(self.stream, chosen, self.decoder)
        names = sorted({self.decoding.channel_of(message.subject) for message in messages})
        if any(map(subject_problem, names)):  # which are no channels to varco
            return Place(self.name, subjects, self.decoder)
        return Place(None, names, self.decoder)

    async def exported(self, chosen: Sequence[str]) -> tuple[History, tuple[str, ...]]:
        """What an export of what is chosen reads, and the names that it gives it."""
        if self.stream is not None:
            return self.history, tuple(chosen)
        known = await self._session.view.names()
        names = [name for name in known if not chosen or matches(chosen, name)]
        return self._session.history, tuple(names)
