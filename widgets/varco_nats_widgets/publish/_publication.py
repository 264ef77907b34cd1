"""`Publication`: what `lab.publish()` would send, and what became of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from varco_nats.errors import VarcoNatsError
from varco_nats_widgets._session.handle import Handle
from varco_nats_widgets._session.job import Job, Twin, awaiting, blocking
from varco_nats_widgets._session.progress import Progress, ProgressCallback
from varco_nats_widgets.frames._cells import clean, counted
from varco_nats_widgets.publish._draft import Draft
from varco_nats_widgets.publish._sending import Outcomes, Publishing, Route, publishing_of

_SHOWN = 500  # characters of a payload
_NAMED = 5  # subjects, and why messages were refused


class PublicationRefusedError(VarcoNatsError, ValueError):
    """A publication that is not sent, as it would be lost or break something.

    Attributes:
        problems: what is wrong, one text each.
    """

    def __init__(self, problems: tuple[str, ...]) -> None:
        self.problems = problems
        super().__init__(f"nothing was sent: {'; '.join(problems)}")


class UnpublishedError(VarcoNatsError):
    """Some messages of a publication are not known to be stored.

    Attributes:
        publication: whose `run()` sends those again that were refused, and the rest. Those in
            doubt are not sent again, as they may be stored.
    """

    def __init__(self, publication: Publication) -> None:
        self.publication = publication
        super().__init__(f"{publication.report!r}")


@dataclass(frozen=True, slots=True)
class PublishReport:
    """What became of the messages of a publication so far."""

    messages: int
    """How many there are in all."""
    stored: int
    """How many the server has stored."""
    sequences: tuple[int, ...] = field(repr=False)
    """The stream sequences of those, in the order of the messages."""
    streams: tuple[str, ...]
    """Where they are stored."""
    duplicates: Mapping[int, int] = field(repr=False)
    """Messages that the server did not store again, as it knows their message id; with the
    sequence of the first copy."""
    refused: Mapping[int, str] = field(repr=False)
    """Messages that the server refused, with its reason; `run()` sends them again."""
    in_doubt: Mapping[int, str] = field(repr=False)
    """Messages without an answer, which may be stored; they are not sent again."""
    unstored: int
    """Messages that were sent and that no stream keeps; whether anybody got them is not known."""
    not_sent: int
    """Messages whose turn has not come."""

    def __repr__(self) -> str:
        return f"PublishReport({self.text})"

    @property
    def is_done(self) -> bool:
        """Whether all messages were sent, and none was refused or is in doubt."""
        return not (self.refused or self.in_doubt or self.not_sent)

    @property
    def text(self) -> str:
        """The same in words."""
        parts = []
        if self.stored or not self.unstored:
            of_all = f" of {self.messages:,}" if self.stored != self.messages else ""
            where = f" in {', '.join(self.streams)}" if self.streams else ""
            parts.append(f"{self.stored:,}{of_all} stored{where}{_range(self.sequences)}")
        if self.unstored:
            parts.append(f"{self.unstored:,} sent, and kept by no stream")
        if self.duplicates:
            parts.append(f"{self.duplicates and len(self.duplicates):,} not stored again, as known")
        for found, what in ((self.refused, "refused"), (self.in_doubt, "in doubt")):
            if found:
                reasons = list(dict.fromkeys(found.values()))
                shown = "; ".join(reasons[:_NAMED]) + ("; …" if len(reasons) > _NAMED else "")
                parts.append(f"{len(found):,} {what} ({clean(shown, _SHOWN)})")
        if self.not_sent:
            parts.append(f"{self.not_sent:,} not sent")
        return ", ".join(parts)


def _range(sequences: tuple[int, ...]) -> str:
    if not sequences:
        return ""
    first, last = sequences[0], sequences[-1]
    return f" as #{first:,}" if first == last else f" as #{first:,} to #{last:,}"


class Publication:
    """What is going to be published, exactly; nothing is sent before `run()`.

    Each message is stored once at most: what was sent is not sent again, however a run ended.

    Attributes:
        problems: why `run()` refuses it; empty if it does not.
        notes: what else is worth knowing.
    """

    def __init__(
        self,
        handle: Handle,
        draft: Draft,
        routes: Mapping[str, Route],
        *,
        shown: str,
        headers: Mapping[str, str],
        rate: float | None,
        limit: int,
        problems: tuple[str, ...] = (),
        notes: tuple[str, ...] = (),
    ) -> None:
        self._handle = handle
        self._draft = draft
        self._routes = routes
        self._shown = shown
        self._headers = headers
        self._rate = rate
        self._limit = limit
        self._outcomes = Outcomes(len(draft))
        self.problems = problems
        self.notes = notes

    def __len__(self) -> int:
        return len(self._draft)

    @property
    def __lab_handle__(self) -> Handle:
        return self._handle

    @property
    def aio(self) -> PublicationAio:
        """The awaitable twin of `run`."""
        return PublicationAio(self)

    @property
    def subjects(self) -> dict[str, int]:
        """How many messages go to each subject."""
        return dict(self._draft.subjects)

    @property
    def streams(self) -> dict[str, str | None]:
        """The stream that stores what goes to each subject; None where none does."""
        return {subject: route.stream for subject, route in self._routes.items()}

    @property
    def consumers(self) -> dict[str, tuple[str, ...] | None]:
        """The durables that get what goes to each subject; None where that is not known."""
        return {subject: route.durables for subject, route in self._routes.items()}

    @property
    def bytes(self) -> int:
        """The size of all messages, their headers included; about, where they differ."""
        return self._draft.bytes

    @property
    def seconds(self) -> float | None:
        """How long a run takes at its rate; None where it is as fast as it can be."""
        return None if self._rate is None else (len(self) - 1) / self._rate

    @property
    def report(self) -> PublishReport | None:
        """What became of the messages; None as long as nothing was sent."""
        found = self._outcomes
        if not found.begun:
            return None
        return PublishReport(
            messages=len(self),
            stored=len(found.stored),
            sequences=tuple(found.stored.values()),
            streams=tuple(sorted(found.streams)),
            duplicates=dict(found.duplicates),
            refused=dict(found.refused),
            in_doubt=dict(found.in_doubt),
            unstored=found.unstored,
            not_sent=found.left,
        )

    @blocking
    def run(self, *, progress: ProgressCallback | bool | None = None) -> Job[PublishReport]:
        """Send it, and check the server's answer to each message.

        Interrupted, it settles what is on its way; the next call goes on from there. It stops by
        itself when the server refuses many in a row.

        Args:
            progress: called with the messages that have an answer and how many there are; None
                shows a bar in a notebook when it takes more than a second; False none.

        Raises:
            PublicationRefusedError: it has `problems`, or everything was sent already.
            UnpublishedError: some messages are not known to be stored; says how many and why.
            ReadOnlyError: the lab only looks.
        """
        session = self._handle.session
        session.check_may_change("publication.run()")
        if self.problems:
            raise PublicationRefusedError(self.problems)
        if not self._outcomes.left and not self._outcomes.refused:
            again = "it was sent already; to send it again, make another with lab.publish()"
            raise PublicationRefusedError((again,))
        shown = Progress(f"publishing to {self._where()}", progress)
        publishing = publishing_of(session)
        return session.call(
            self._run(publishing, shown), shown, finish=self._checked, settle=publishing.settle
        )

    async def _run(self, publishing: Publishing, progress: Progress) -> PublishReport:
        session, where = self._handle.session, self._where()
        await publishing.send(
            session, self._draft, self._routes, self._outcomes, self._rate, progress, where
        )
        report = self.report
        assert report is not None
        return report

    def _checked(self, report: PublishReport) -> PublishReport:
        if not report.is_done:
            raise UnpublishedError(self)
        return report

    def _where(self) -> str:
        names = [route.name for route in self._routes.values()]
        return ", ".join(names[:_NAMED]) + (", …" if len(names) > _NAMED else "")

    def __repr__(self) -> str:
        report = self.report
        state = "nothing is sent yet: .run() sends it" if report is None else report.text
        if self.problems and report is None:
            state = "it is not sent: see 'problem'"
        return f"Publication: {state}\n{self.facts}"

    @property
    def facts(self) -> str:
        """What is sent, where to, how large it is and what is wrong with it, as lines of text."""
        return "\n".join(f"  {name:<10}{text}" for name, text in self._facts())

    def _facts(self) -> list[tuple[str, str]]:
        """What is said of it, line by line."""
        count, size = counted(len(self), "message"), self._draft.largest
        pace = ""
        if self._rate is not None and len(self) > 1:
            pace = f", {self._rate:g} a second: it takes {_duration(self.seconds or 0)}"
        facts = [("what", f"{count}{pace}")]
        named = list(self._routes.items())
        for subject, route in named[:_NAMED]:
            many = f" ({self._draft.subjects[subject]:,})" if len(named) > 1 else ""
            facts.append(("subject", f"{subject}{many}, {route.text}"))
        if len(named) > _NAMED:
            facts.append(("", f"and {len(named) - _NAMED:,} other subjects"))
        sizes = f"{size:,} bytes"
        if len(self) > 1:
            sizes = f"{self.bytes:,} bytes, the largest message {size:,}"
        facts.append(("size", f"{sizes}; the server takes {self._limit:,} in a message"))
        for name, value in self._headers.items():
            facts.append(("header", clean(f"{name}: {value}", _SHOWN)))
        facts.append(("payload", clean(self._shown, _SHOWN) or "(empty)"))
        if found := self._draft.placeholders:
            facts.append(("filled in", f"{', '.join(sorted(found))}, in each message"))
        facts += [("note", note) for note in self.notes]
        facts += [("problem", problem) for problem in self.problems]
        return facts


class PublicationAio(Twin[Publication]):
    """The methods of `Publication`, to be awaited on any event loop."""

    run = awaiting(Publication.run)


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


@dataclass(frozen=True, slots=True)
class RunAtOnce:
    """The job that makes a publication and runs it."""

    planning: Job[Publication]
    progress: ProgressCallback | bool | None

    def wait(self) -> Publication:
        publication = self.planning.wait()
        publication.run(progress=self.progress)
        return publication

    async def wait_async(self) -> Publication:
        publication = await self.planning.wait_async()
        await publication.aio.run(progress=self.progress)
        return publication
