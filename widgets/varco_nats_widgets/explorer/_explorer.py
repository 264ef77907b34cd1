"""`Explorer`: what `lab.explore()` gives: look through channels, page by page, message by message.

The class here is the model: it has all state and does all work, with or without a browser.
`_worker` has the work itself, `_view` draws it in a notebook.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import traitlets
from nats.errors import Error as NatsError

from varco_nats.errors import VarcoNatsError
from varco_nats_widgets._session.handle import Handle, SessionOwner
from varco_nats_widgets._session.job import Job, Twin, awaiting, blocking
from varco_nats_widgets._session.model import WidgetModel
from varco_nats_widgets._session.reopening import call_code
from varco_nats_widgets._ui.arrangement import arrangement_of
from varco_nats_widgets._ui.model_view import ModelView, view_of
from varco_nats_widgets.decoders import DecoderLike
from varco_nats_widgets.explorer._difference import Difference
from varco_nats_widgets.explorer._statistics import Statistics
from varco_nats_widgets.explorer._worker import (
    DESCRIBE,
    EXPORT,
    OPEN,
    PAGE,
    SCAN_LIMIT,
    ExplorerWorker,
)
from varco_nats_widgets.export import ExportResult, Format
from varco_nats_widgets.frames._message import Message
from varco_nats_widgets.frames._query import EventType, Moment


class Explorer(WidgetModel):
    """What a server holds: its streams, pages of messages, filters, a live tail, statistics.

    Without channels and stream it opens on the stream of the lab's settings, or, where that holds
    nothing, on the stream with the newest message; on everything in it, until something is chosen.

    Shown in a notebook it is a widget; every button of it is a method here, and what it shows is
    a trait. Methods wait until their work is done; each has an awaitable twin under `aio`. A new
    call takes the place of one that is still at work.

    It only looks: nothing is acknowledged or taken from a service. It ends with `close()`, with
    the lab, or when no variable and no output has it any more: the output of a cell has what it
    shows until that cell runs again or is deleted.

    Args:
        lab: whose channels.
        channels: the ones to show at first, also as a list.
        stream: a stream to look at by its subjects, which take the place of channels.
        page_size: messages on a page, from 1.
        scan_limit: messages a filter looks at for one page, before it asks to go on.

    Raises:
        UnknownChannelError: one of the channels holds no messages.
        StreamNotFoundError: there is no such stream.

    Example:
        explorer = lab.explore("orders")
        explorer.filter(event_type="order.placed", condition='total > 100')
        explorer.older()
        explorer.df
        print(explorer.code)
    """

    streams = traitlets.Instance(pd.DataFrame, (), read_only=True)
    """The streams there are, as `lab.streams()` gives them; of the `kind` `varco` is that of the
    settings, and `dead letters` and `log of replays` what belongs to it. Empty where this login may
    not list them. Renewed while a view is shown."""
    stream = traitlets.Unicode("", read_only=True)
    """The stream that is looked at."""
    channels = traitlets.Instance(pd.DataFrame, (), read_only=True)
    """The channels there are, or the subjects of another stream, as `lab.channels()` gives them;
    renewed while a view is shown."""
    rates = traitlets.Dict(read_only=True)
    """Messages a second lately: the times and the rates of each that is chosen, or of all."""
    chosen = traitlets.Tuple(read_only=True)
    """The channels, or subjects, that are looked at; empty is all of them."""
    page = traitlets.Instance(pd.DataFrame, (), read_only=True)
    """The events on the page, oldest first, as `lab.frame` gives them."""
    at_oldest = traitlets.Bool(False, read_only=True)
    """Whether nothing older matches."""
    at_newest = traitlets.Bool(False, read_only=True)
    """Whether nothing newer matched when the page was read."""
    from_newer = traitlets.Bool(True, read_only=True)
    """Whether the page was reached from its newer end, and begins where it was full."""
    event_types = traitlets.Tuple(read_only=True)
    """Only events of these types are shown; empty shows all."""
    text = traitlets.Unicode("", read_only=True)
    """Only messages with this text in a value of their payload are shown, whatever the case."""
    in_headers = traitlets.Bool(False, read_only=True)
    """Whether `text` may be in a header instead."""
    condition = traitlets.Unicode("", read_only=True)
    """Only messages that match this are shown, such as `total > 100`; see `Condition.parse`."""
    decoder = traitlets.Unicode("", read_only=True)
    """The decoder that reads every payload here; "" where the lab says which does."""
    known_types = traitlets.Tuple(read_only=True)
    """Event types seen so far in the chosen channels."""
    follow = traitlets.Bool(False, read_only=True)
    """Whether the page follows what arrives."""
    received = traitlets.Int(0, read_only=True)
    """Messages that arrived since the tail was switched on, those filtered out included."""
    selected_seqs = traitlets.List(traitlets.Int())
    """Sequences of the rows that are selected; may be set."""
    message = traitlets.Instance(Message, allow_none=True, read_only=True)
    """The message that is open, whole."""
    compared = traitlets.Any("", read_only=True)
    """What the open message is compared with: a sequence, "previous", or "" for nothing."""
    compared_by = traitlets.Unicode("", read_only=True)
    """The field whose value the previous message has to have too; "" for the same subject."""
    difference = traitlets.Instance(Difference, allow_none=True, read_only=True)
    """What differs between that message and the open one."""
    statistics = traitlets.Instance(Statistics, allow_none=True, read_only=True)
    """What `describe` counted last."""
    columns: Any = traitlets.Any({})
    """How the table's columns are arranged; may be set.

    Names of columns that come first, or a dict with any of `order`, `hidden`, `pinned` (lists of
    names), `widths` (in pixels, by name), `show_empty` and `sort` (`"total"`, or `"-total"` from
    the highest). Each choice of channels has its own.
    """
    code = traitlets.Unicode("", read_only=True)
    """A line of Python that loads the rows of the page; `lab` is the lab."""
    busy = traitlets.Bool(False, read_only=True)
    """Whether something is being read."""
    loading = traitlets.Bool(False, read_only=True)
    """Whether another page is being read."""
    progress = traitlets.Tuple((0, 0), read_only=True)
    """Messages looked at by what is being read, and how many there are."""
    error = traitlets.Unicode("", read_only=True)
    """What went wrong last, in words; "" if nothing did. `retry` tries it again."""
    notice = traitlets.Unicode("", read_only=True)
    """What is worth knowing about the page, such as that a sequence was out of range."""

    def __init__(
        self,
        lab: SessionOwner,
        *channels: str | Iterable[str],
        stream: str | None = None,
        page_size: int = 200,
        scan_limit: int = SCAN_LIMIT,
    ) -> None:
        if page_size < 1 or scan_limit < 1:
            raise ValueError(f"page_size={page_size}, scan_limit={scan_limit}: must be 1 or more")
        super().__init__()
        self.page_size = page_size
        self._arrangements: dict[tuple[str, ...], dict[str, Any]] = {}  # by what is looked at
        self._handle = lab.__lab_handle__
        self._worker = ExplorerWorker(self, self._handle.session, page_size, scan_limit, stream)
        self._pages = self._worker.pages
        weakref.finalize(self, self._worker.release, self._views).atexit = False
        self._ends_with(self._handle.session)
        if channels or stream is not None:
            self.select(*channels)
            return
        with suppress(VarcoNatsError, NatsError):  # in `error`, and `retry` tries it again
            self._begin()

    def __repr__(self) -> str:
        stream = self._pages.source.stream
        place = [f"stream {stream}"] if stream is not None else []
        return f"Explorer({': '.join([*place, *filter(None, [', '.join(self.chosen)])])})"

    def _code(self) -> str:
        return call_code("lab.explore", *self.chosen, stream=self._pages.source.stream)

    @property
    def __lab_handle__(self) -> Handle:
        return self._handle

    @property
    def aio(self) -> ExplorerAio:
        """The awaitable twins of this object's methods."""
        return ExplorerAio(self)

    @property
    def df(self) -> pd.DataFrame:
        """The events on the page; columns may be added to it."""
        return self.page.copy(deep=False)

    @property
    def selected(self) -> pd.DataFrame:
        """The rows of the page that are selected."""
        return self.page[self.page.index.isin(self.selected_seqs)]

    @property
    def selected_code(self) -> str:
        """A line of Python that loads the selected rows."""
        seqs = [seq for seq in self.page.index.tolist() if seq in set(self.selected_seqs)]
        return self._pages.code_of_rows(seqs)

    @traitlets.validate("columns")
    def _check_columns(self, proposal: Any) -> dict[str, Any]:
        return arrangement_of(proposal["value"])

    @traitlets.observe("columns")
    def _keep_columns(self, change: Any) -> None:
        self._arrangements[self.stream, *sorted(self.chosen)] = change["new"]

    @traitlets.observe("stream", "chosen")
    def _choose_columns(self, _: Any) -> None:
        self.columns = self._arrangements.get((self.stream, *sorted(self.chosen)), {})

    def _make_view(self) -> ModelView[Any]:
        made = view_of(self, self._worker)
        self.watch(True)
        return made

    @blocking
    def _begin(self) -> Job[None]:
        return self._worker.call(PAGE, self._worker.begin)

    @blocking
    def select(self, *channels: str | Iterable[str], stream: str | None = None) -> Job[None]:
        """Look at these channels, from their newest page; without any, at everything.

        Filters stay, unless another stream is looked at.

        Args:
            channels: their names, or the subjects of another stream, also as a list; with `*` for
                any one part of a name, and `>` for all that follow.
            stream: the stream to look at from now on; without it, the one that is looked at. That
                of the lab's settings has its channels, any other its subjects.

        Raises:
            UnknownChannelError: one of them holds no messages.
            StreamNotFoundError: there is no such stream.
        """
        return self._worker.call(PAGE, self._worker.select, _flat(channels), stream)

    @blocking
    def seek(self, *, time: Moment | None = None, seq: int | None = None) -> Job[None]:
        """Go to the page that begins at a time or at a stream sequence.

        Outside of what is stored it goes to the nearest page, and `notice` says so.

        Args:
            time: a datetime with its zone, text (`"2026-05-01 10:00"`, UTC unless it says
                otherwise), or how long ago (`"10m"`, a timedelta).
            seq: stream sequence.

        Raises:
            ValueError: not exactly one of them is given, or it cannot be read.
        """
        return self._worker.call(PAGE, self._pages.seek, time, seq)

    @blocking
    def older(self) -> Job[None]:
        """Go to the page before this one."""
        return self._worker.call(PAGE, self._pages.older)

    @blocking
    def newer(self) -> Job[None]:
        """Go to the page after this one."""
        return self._worker.call(PAGE, self._pages.newer)

    @blocking
    def oldest(self) -> Job[None]:
        """Go to the first page."""
        return self._worker.call(PAGE, self._pages.oldest)

    @blocking
    def newest(self) -> Job[None]:
        """Go to the last page."""
        return self._worker.call(PAGE, self._pages.newest)

    @blocking
    def filter(
        self,
        *,
        event_type: EventType | Iterable[EventType] | None = None,
        text: str | None = None,
        condition: str | None = None,
        in_headers: bool | None = None,
    ) -> Job[None]:
        """Show only messages that match all of these; what is not given stays, `""` clears it.

        A page is filled from the whole channel: reading goes on until it is full, the channel
        ends, `scan_limit` is reached or `stop` is called.

        Args:
            event_type: of this type or one of these, by class or name.
            text: in a value of the payload, whatever the case.
            condition: such as `total > 100 and headers.tenant == "acme"`; see `Condition.parse`.
                The page has the headers that it names as columns.
            in_headers: whether `text` may be in a header instead.

        Raises:
            ConditionError: the condition cannot be read; says where. Nothing is changed.
        """
        return self._worker.call(PAGE, self._pages.filter, event_type, text, condition, in_headers)

    @blocking
    def filter_by(self, column: str, value: object, *, exclude: bool = False) -> Job[None]:
        """Show only messages with this value in a column, of those that are shown already.

        It adds to `condition`. Of a text that is too long, or has several lines, the beginning
        counts.

        Args:
            column: of the page.
            value: as the page has it; None is a value that is missing.
            exclude: show all messages but those with this value.

        Raises:
            NoConditionError: there is no condition that says this, or the value is masked.
        """
        condition = self._worker.condition(column, value, exclude=exclude)
        return self._worker.call(PAGE, self._pages.filter, None, None, condition)

    @blocking
    def read_as(self, decoder: DecoderLike | None) -> Job[None]:
        """Read the payloads by another decoder, as long as this explorer looks at them.

        Args:
            decoder: such as `"msgpack"`, `"auto"`, or one of `varco_nats_widgets.decoders`; None
                is as the lab says.

        Raises:
            DecoderError: it is none. Nothing is changed.
        """
        return self._worker.call(PAGE, self._worker.read_as, decoder)

    @blocking
    def clear_filter(self) -> Job[None]:
        """Show all messages."""
        return self._worker.call(PAGE, self._pages.filter, (), "", "", False)

    @blocking
    def tail(self, on: bool = True) -> Job[None]:
        """Follow what arrives: the page is the newest one and renews itself. Or stop that."""
        return self._worker.call(PAGE, self._worker.tail, on)

    @blocking
    def open(self, seq: int) -> Job[Message]:
        """Look at one message whole.

        Raises:
            MessageNotFoundError: there is none with this sequence in the chosen channels.
            ValueError: it is no whole number.
        """
        return self._worker.call(OPEN, self._worker.opened.open, seq)

    @blocking
    def next(self) -> Job[Message | None]:
        """Open the message after the one that is open, on the next page if need be.

        Returns:
            None where there is none.
        """
        return self._step(1)

    @blocking
    def previous(self) -> Job[Message | None]:
        """Open the message before the one that is open, likewise."""
        return self._step(-1)

    def _step(self, by: int) -> Job[Message | None]:
        opened = self._worker.opened
        action = PAGE if opened.beside(by) is None else OPEN
        return self._worker.call(action, opened.step, by)

    @blocking
    def compare(
        self, to: int | Literal["previous"] | None = "previous", *, by: str = ""
    ) -> Job[Difference | None]:
        """Compare the open message, and each that is opened from now on.

        Args:
            to: a sequence, `"previous"`, or None for nothing.
            by: the previous one with the same value of this field, such as `"customer.id"`, among
                the 100,000 before it; "" is the previous one of the same subject.

        Returns:
            What differs, also in `difference`; None where there is nothing to compare.
        """
        if by and to != "previous":
            raise ValueError("by= says which previous message; it goes with 'previous' only")
        return self._worker.call(OPEN, self._worker.opened.compare, to, by)

    @blocking
    def describe(self, limit: int = 10_000) -> Job[Statistics]:
        """Count what is in the chosen channels: types, sizes, rates, fields, frequent values.

        Args:
            limit: of the newest messages, at most this many. Filters do not apply.
        """
        return self._worker.call(DESCRIBE, self._worker.describe, limit)

    @blocking
    def export(
        self,
        path: str | Path,
        *,
        format: Format | None = None,  # noqa: A002 - what pandas and others call it
        overwrite: bool = False,
    ) -> Job[ExportResult]:
        """Write all messages of the chosen channels that match the filters to a file.

        Args:
            path: `.parquet`, `.ndjson` or `.csv`; without a suffix a folder, a Parquet data set.
            format: where the suffix does not say it.
            overwrite: replace what is there.

        Raises:
            FileExistsError: there is something at `path`.
            ValueError: the suffix says nothing, or there is no channel.
        """
        return self._worker.call(EXPORT, self._worker.export, path, format, overwrite)

    @blocking
    def refresh(self) -> Job[None]:
        """Read the channels and the page again."""
        return self._worker.call(PAGE, self._worker.refresh)

    @blocking
    def retry(self) -> Job[None]:
        """Do again what failed last."""
        return self._handle.session.call(self._worker.retry())

    def stop(self) -> None:
        """End what is being read; a page keeps what was found so far. Returns at once."""
        self._worker.stop()

    def watch(self, on: bool = True) -> None:
        """Renew `channels` and `rates` every few seconds, as is done while a view is shown."""
        self._worker.watch(on)

    def close(self) -> None:
        """End the tail and the view. Closing twice does nothing."""
        self._worker.close()
        for view in self._views:
            view.close()


class ExplorerAio(Twin[Explorer]):
    """The methods of `Explorer`, to be awaited on any event loop."""

    select = awaiting(Explorer.select)
    seek = awaiting(Explorer.seek)
    older = awaiting(Explorer.older)
    newer = awaiting(Explorer.newer)
    oldest = awaiting(Explorer.oldest)
    newest = awaiting(Explorer.newest)
    filter = awaiting(Explorer.filter)
    read_as = awaiting(Explorer.read_as)
    filter_by = awaiting(Explorer.filter_by)
    clear_filter = awaiting(Explorer.clear_filter)
    tail = awaiting(Explorer.tail)
    open = awaiting(Explorer.open)
    next = awaiting(Explorer.next)
    previous = awaiting(Explorer.previous)
    compare = awaiting(Explorer.compare)
    describe = awaiting(Explorer.describe)
    export = awaiting(Explorer.export)
    refresh = awaiting(Explorer.refresh)
    retry = awaiting(Explorer.retry)


def _flat(channels: Iterable[str | Iterable[str]]) -> tuple[str, ...]:
    return tuple(name for part in channels for name in ((part,) if isinstance(part, str) else part))
