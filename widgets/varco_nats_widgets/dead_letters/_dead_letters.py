"""`DeadLetters`: what `lab.dead_letters()` gives: find out what failed, decide, replay.

The class here is the model: it has all state and does all work, with or without a browser.
`_worker` has the work itself, `_view` draws it in a notebook.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Mapping
from concurrent.futures import wait
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self, Unpack
from uuid import UUID

import pandas as pd
import traitlets

from varco_nats.dlq import NatsDLQ
from varco_nats.dlq._codec import DlqNames
from varco_nats.replay import Canary, ReplayPlan, ReplayReport
from varco_nats_widgets._session.handle import Handle, SessionOwner
from varco_nats_widgets._session.job import Job, Twin, awaiting, blocking, spelled_out
from varco_nats_widgets._session.model import WidgetModel
from varco_nats_widgets._session.progress import Progress, ProgressCallback, in_notebook
from varco_nats_widgets._ui.model_view import ModelView, view_of
from varco_nats_widgets.dead_letters._browser import DeadLetterBrowser
from varco_nats_widgets.dead_letters._edit import PayloadEdit
from varco_nats_widgets.dead_letters._entry import DeadLetter
from varco_nats_widgets.dead_letters._export import DeadLetterExport
from varco_nats_widgets.dead_letters._fix.fixing import Fixing
from varco_nats_widgets.dead_letters._fix.steps import FixOptions, step_names, steps_of
from varco_nats_widgets.dead_letters._index.filter import FilterOptions, dead_letter_filter
from varco_nats_widgets.dead_letters._index.foreign import FieldSource, ForeignNames
from varco_nats_widgets.dead_letters._labels import checked_groups, checked_text
from varco_nats_widgets.dead_letters._replaying import Replaying, Target, settings_of
from varco_nats_widgets.dead_letters._status import run_words, status_words
from varco_nats_widgets.dead_letters._worker import (
    DISCARD,
    EDIT,
    EXPORT,
    FIELDS,
    FIX,
    FORGET,
    LOG,
    OPEN,
    PAGE,
    PAGE_SIZE,
    PLAN,
    READ,
    RESTORE,
    REVERT,
    RUN,
    DeadLettersWorker,
    Entries,
    as_entry_id,
)
from varco_nats_widgets.frames._headers import wanted_headers
from varco_nats_widgets.frames._query import warn_caller

if TYPE_CHECKING:
    from varco_nats.bus import NatsEventBus
    from varco_nats.replay._plan import Transform

_PATIENCE_SECONDS = 1.5  # a queue that is read by then is whole in a saved notebook, too


class _ForeignQueue(NamedTuple):
    """A queue that others write, and the lab over which it is read."""

    lab: SessionOwner
    names: ForeignNames


class DeadLetters(WidgetModel):
    """The dead letters of a queue: what failed and why, one by one and in groups.

    `frame`, `groups` and `entry` give what there is as values. Shown in a notebook it is a widget
    that does the same by hand; every button of it is a method here, and what it shows is a trait.
    Methods wait until their work is done; each has an awaitable twin under `aio`.

    Looking takes nothing away: it reads by direct get while services and other tools work on the
    same queue.

    Args:
        dlq: a queue of your own, or a lab for the queue of its stream. Of the first only the
            settings and names are used: this connects by itself, and `close` ends that.
        bus: where a replay publishes; default the stream that belongs to the queue.
        page_size: entries on a page of the table.

    Example:
        letters = lab.dead_letters
        letters.groups(last="12h")
        letters.frame(error_type="TimeoutError", limit=100)
        lab.dead_letters(channel="orders")  # the widget
    """

    entries = traitlets.Int(0, read_only=True)
    """Entries in the queue; renewed while a view is shown."""
    matching = traitlets.Int(0, read_only=True)
    """Entries that were read and match the filter."""
    channels = traitlets.Dict(read_only=True)
    """How many of them each channel has."""
    choices = traitlets.Dict(read_only=True)
    """The same for `channel`, `handler`, `error_type`, `event_type`, `tenant_id`, by that name."""
    group_table = traitlets.Instance(pd.DataFrame, (), read_only=True)
    """The groups of those entries, as `groups` gives them, without their labels."""
    label_table = traitlets.Instance(pd.DataFrame, (), read_only=True)
    """The labels of groups, as `labels` gives them; renewed while a view is shown."""
    filters = traitlets.Dict(read_only=True)
    """The filter as it was given, without what is empty."""
    chosen_groups = traitlets.Tuple(read_only=True)
    """Ids of the groups whose entries are on the page; empty for all."""
    page = traitlets.Instance(pd.DataFrame, (), read_only=True)
    """Entries of the chosen groups, the newest first, as `frame` gives them."""
    page_start = traitlets.Int(0, read_only=True)
    """How many newer entries come before the page."""
    page_total = traitlets.Int(0, read_only=True)
    """How many entries the chosen groups have."""
    selected_ids = traitlets.List(traitlets.Unicode())
    """Ids of the rows that are selected, also on other pages; may be set."""
    letter = traitlets.Instance(DeadLetter, allow_none=True, read_only=True)
    """The entry that is open, whole."""
    edits = traitlets.Dict(read_only=True)
    """The payloads that were edited by hand: a `PayloadEdit` by entry id."""
    fix_table = traitlets.Instance(pd.DataFrame, (), read_only=True)
    """The difference that `fix` gave last."""
    kept_fixes = traitlets.Int(0, read_only=True)
    """How many fixes `undo_fix` can undo."""
    planned = traitlets.Instance(ReplayPlan, allow_none=True, read_only=True)
    """The plan that `run` would run; None if there is none."""
    plan_elsewhere = traitlets.Bool(False, read_only=True)
    """Whether it goes to another server or stream, where no canary can be watched."""
    plan_table = traitlets.Instance(pd.DataFrame, (), read_only=True)
    """That plan, a row for each message: what is decided and why, where it goes, what is sent."""
    report = traitlets.Instance(ReplayReport, allow_none=True, read_only=True)
    """What the last run or discard did."""
    report_table = traitlets.Instance(pd.DataFrame, (), read_only=True)
    """That report, a row for each message: its outcome and why, where it is stored."""
    undo_file = traitlets.Unicode("", read_only=True)
    """The export with what the last discard removed, which `restore` puts back; "" if none has."""
    log_table = traitlets.Instance(pd.DataFrame, (), read_only=True)
    """What `replays()` gave last."""
    logged_run = traitlets.Unicode("", read_only=True)
    """The run of the log that is open."""
    logged_rows = traitlets.Instance(pd.DataFrame, (), read_only=True)
    """What became of each of its entries or messages."""
    running = traitlets.Bool(False, read_only=True)
    """Whether a run or a discard is under way."""
    paused = traitlets.Bool(False, read_only=True)
    """Whether that run waits for `resume`."""
    run_progress = traitlets.Tuple(("", 0, 0), read_only=True)
    """What the run does, how many messages have an outcome, and how many there are."""
    run_outcomes = traitlets.Dict(read_only=True)
    """How many messages of the run have each outcome by now."""
    seconds_left = traitlets.Float(None, allow_none=True, read_only=True)
    """What the rest of the run takes at its present pace; None where that is not known."""
    outcome = traitlets.Unicode("", read_only=True)
    """How the last run or discard here ended and why, in a sentence, until the next begins."""
    others = traitlets.Tuple(read_only=True)
    """The runs of others on this queue that are under way, each a `ReplayRecord`; renewed while a
    view is shown."""
    others_done = traitlets.Dict(read_only=True)
    """How many entries of each of those, by its id, have left the queue, where that is known."""
    lost_since = traitlets.Instance(datetime, allow_none=True, read_only=True)
    """Since when the server does not answer; None while it does."""
    back_since = traitlets.Instance(datetime, allow_none=True, read_only=True)
    """When the server came back; None before, and once something new is done."""
    busy = traitlets.Bool(False, read_only=True)
    """Whether something is being done."""
    doing = traitlets.Unicode("", read_only=True)
    """What that is, in a word: `reading`, `planning`, `exporting` and so on."""
    progress = traitlets.Tuple((0, 0), read_only=True)
    """Entries looked at by what is being read, and how many there are."""
    error = traitlets.Unicode("", read_only=True)
    """What went wrong last, in words; "" if nothing did."""
    can_retry = traitlets.Bool(False, read_only=True)
    """Whether that may be over by now, so that `retry` does the same again."""
    notice = traitlets.Unicode("", read_only=True)
    """What is worth knowing about what is shown."""

    def __init__(
        self,
        dlq: NatsDLQ | SessionOwner | _ForeignQueue,
        bus: NatsEventBus | SessionOwner | None = None,
        *,
        page_size: int = PAGE_SIZE,
    ) -> None:
        if page_size < 1:
            raise ValueError(f"page_size={page_size}: must be 1 or more")
        if isinstance(bus, str):
            raise TypeError(
                f"bus={bus!r} is a name, no bus: DeadLetters.of_stream(lab, {bus!r}) opens what "
                "others wrote to the stream of that name"
            )
        super().__init__()
        self._own_session = isinstance(dlq, NatsDLQ)
        self._foreign: ForeignNames | None = None
        names: DlqNames
        if isinstance(dlq, _ForeignQueue):
            self._handle, names = dlq.lab.__lab_handle__, dlq.names
            self._foreign = dlq.names
        elif isinstance(dlq, NatsDLQ):
            self._handle, names = Handle.open(dlq.settings), dlq.names
        elif isinstance(getattr(dlq, "__lab_handle__", None), Handle):
            self._handle = dlq.__lab_handle__
            names = DlqNames.of(self._handle.session.settings)
        else:
            raise TypeError(
                f"DeadLetters takes a NatsDLQ or a Lab, not {type(dlq).__name__}: only a queue on "
                "NATS can be looked at without taking from it"
            )
        self._session = self._handle.session
        self._ends_with(self._session)
        self._browser = DeadLetterBrowser(self._session, names)
        self._worker = DeadLettersWorker(self, self._session, self._browser, page_size)
        self._replaying = Replaying(self._worker, self._browser, settings_of(bus))
        self._fixing = Fixing(self._worker, self._browser, self._replaying)
        self.observe(
            self._replaying.check_plan, ["selected_ids", "chosen_groups", "filters", "edits"]
        )
        weakref.finalize(self, self._worker.release, self._views).atexit = False

    @classmethod
    def of_stream(
        cls,
        lab: SessionOwner,
        stream: str,
        *,
        subject: str = ">",
        fields: Mapping[str, FieldSource] | None = None,
        page_size: int = PAGE_SIZE,
    ) -> Self:
        """The dead letters that another framework, or a service's own code, wrote to a stream.

        They are worked on as those of a bus. The channels are subjects here: an entry is replayed
        to the subject that it came from, in the stream that captures this now, and then removed.
        A run sends to one stream; what belongs to another one is planned again after it. There is
        no canary, as nothing says where its messages would come back, and no `restore`. The log
        of the runs is the lab's. Of advisories of the server (`MAX_DELIVERIES`,
        `MSG_TERMINATED`), which only name a message, each is an entry without a payload.

        Args:
            lab: over whose connection they are read.
            stream: the stream that has them; it may also have other messages. What somebody else
                takes out of it in the moment in which a run sends it is handled twice.
            subject: what they are stored under, such as `"dlq.>"`.
            fields: where the parts of an entry are, by name: `channel`, `handler`, `error_type`,
                `error_message`, `attempts`, `first_failed_at`, `last_failed_at`, `tenant_id` and
                `payload` (the event that failed). Each is `"header:x-error"`, whatever its case;
                `"json:error.message"`, a path in the message's JSON, written as in a condition;
                `"base64:event"`, the same where the text there is base64; `"subject:2"`, the
                second token of the subject, or `"subject:2-"`, all from that on; a text that is
                the same for all, not for `payload`; or a function of the message, which has
                `subject`, `headers` and `data`. A part that is not given is looked for in headers
                that are usual for it. Where there is none, the channel is the subject without
                `dlq`, the time that of storing, and the payload the whole message. Times are ISO
                8601, or seconds, ms, µs or ns since 1970.
            page_size: entries on a page of the table.

        The `repr` says where the parts were found. The headers of an entry are those that are no
        part of it, and the tenant. An entry's id is made of its sequence.

        Raises:
            ValueError: an argument cannot be read, or there is no such field; names it.

        Example:
            letters = DeadLetters.of_stream(
                lab, "ORDERS_DLQ", fields={"error_message": "json:error", "payload": "json:event"}
            )
            letters.groups()
        """
        if not isinstance(getattr(lab, "__lab_handle__", None), Handle):
            raise TypeError(f"of_stream takes a Lab first, not {type(lab).__name__}")
        names = ForeignNames.of_stream(stream, subject, fields or {})
        return cls(_ForeignQueue(lab, names), page_size=page_size)

    @spelled_out(FilterOptions)
    def __call__(self, *unnamed: object, **filters: Unpack[FilterOptions]) -> Self:
        """Read the queue for the widget, with a filter as in `frame`, and return this.

        In a notebook it waits no longer than 1.5 s: the widget shows what is read as it comes.
        """
        if unnamed:
            raise TypeError(
                "filters have names, such as channel='orders'; "
                f"DeadLetters.of_stream(lab, {unnamed[0]!r}) opens what others wrote to the stream "
                "of that name"
            )
        if not in_notebook():
            self.filter(**filters)
            return self
        dead_letter_filter(**filters)
        reading = self._worker.start(self.aio.filter, **filters)
        if reading is not None and wait([reading], timeout=_PATIENCE_SECONDS).done:
            reading.result()
        return self

    def __repr__(self) -> str:
        mark = ", read-only" if self._session.read_only else ""
        run = run_words(self) or self.outcome
        if self._foreign is not None:
            run = "; ".join(filter(None, (self._foreign.taken, run)))
        return f"DeadLetters({self._browser.names.stream}{mark}{f': {run}' if run else ''})"

    @property
    def status(self) -> str:
        """What the widget's top line says: what is under way, how the last run ended, and who else
        is at work on the queue; "" where there is nothing to say."""
        return status_words(self)

    @property
    def aio(self) -> DeadLettersAio:
        """The awaitable twins of this object's methods."""
        return DeadLettersAio(self)

    # Values

    @blocking
    @spelled_out(FilterOptions)
    def frame(
        self,
        *,
        limit: int | None = None,
        newest_first: bool = False,
        headers: bool | Iterable[str] = False,
        progress: ProgressCallback | bool | None = None,
        **filters: Unpack[FilterOptions],
    ) -> Job[pd.DataFrame]:
        """The entries that meet every condition, one row each.

        Args:
            limit: at most this many rows.
            newest_first: from the newest to the oldest entry; with `limit`, the newest ones.
            headers: those that the event had, as in `Lab.frame`.
            progress: as in `Lab.frame`.
            filters: `channel`, `error_type`, `handler`, `tenant_id`, `source` and `group` (an id
                of `groups`) take one or several; `event_type` also a class; `error` is text in
                the error message, `text` in that or the payload, whatever the case; `last`,
                `since` and `until` say when it failed last, as in `Lab.frame`, seen from the
                server's clock; `condition` is one as in `Explorer.filter`, such as
                `total > 100 and headers.tenant == "acme"`, on the columns below and the event's
                headers: a field of the payload also without its `data.`, unless another column has
                that name.

        Returns:
            Index `entry_id`; columns `channel`, `event_type`, `event_id`, `handler`,
            `error_type`, `error_message`, `attempts`, `first_failed_at` (missing where only the
            last of several failures is known), `last_failed_at` (UTC), `age` (since that),
            `source`, `source_ref` (the original as `stream:sequence`), `tenant_id`,
            `replay_count` (how often the event had been replayed when it failed), `timestamp`
            (of the event), then the payload's fields as `data.<name>`. A row that cannot be read
            has `decode_error` and `raw`, its bytes.
            `frame.attrs["completeness"]` as in `Lab.frame`.

        Raises:
            ConditionError: `condition` cannot be read; says where.
            TypeError, ValueError: an argument that there is not, or that cannot be read.
            ServerUnreachableError: the server went away and stayed away.
        """
        if limit is not None and limit < 1:
            raise ValueError(f"limit={limit}: must be 1 or more, or None for all")
        wanted, shown = dead_letter_filter(**filters), self._progress("loading", progress)
        own = wanted_headers(headers)
        loading = self._browser.frame(wanted, limit, newest_first, shown, own)
        return self._session.read(loading, shown, finish=self._checked)

    @blocking
    @spelled_out(FilterOptions)
    def groups(
        self,
        *,
        progress: ProgressCallback | bool | None = None,
        **filters: Unpack[FilterOptions],
    ) -> Job[pd.DataFrame]:
        """The failures by handler, error type and message, the most frequent first.

        Messages are one where they differ only in numbers, ids, times and quoted values; a quoted
        key, attribute, argument or column tells them apart. Of one with a traceback only the
        exception counts that was raised last, and the innermost frame of the service's own code:
        `ValueError: total is <n> — check (shop/orders.py)`. A message that was cut ends with `…`.

        The queue is read once, for an index that the widget and the other methods share; what
        came and what left is known from then on.

        Args:
            filters: as in `frame`.

        Returns:
            Index `group`, an id that `frame(group=…)` takes; columns `count`, `share` (of all),
            `handler`, `error_type`, `message`, `first_seen`, `last_seen` (UTC), `trend` (how many
            failed in each eighth of the time of all), `channels`, `came_back` (how many had been
            replayed before) and `example` (the newest entry's id); where `label` was used, also
            `owner` and `note`.
        """
        wanted, shown = dead_letter_filter(**filters), self._progress("grouping", progress)
        grouping = self._worker.labelled(self._browser.groups(wanted, shown))
        return self._session.read(grouping, shown, finish=self._checked)

    def _checked(self, frame: pd.DataFrame) -> pd.DataFrame:
        """What was read, after a warning to the caller about what is not where it should be."""
        if notice := self._browser.reader.notice:
            warn_caller(notice)
        return self._session.check_mask(frame)

    @blocking
    def entry(
        self, entry_id: UUID | str, *, progress: ProgressCallback | bool | None = None
    ) -> Job[DeadLetter]:
        """One entry whole: payload, error, times, headers, bytes, its original and its copies.

        Raises:
            DeadLetterNotFoundError: there is none with this id.
        """
        shown = self._progress("searching", progress)
        return self._session.read(self._browser.entry(as_entry_id(entry_id), shown), shown)

    @blocking
    def count(self) -> Job[int]:
        """How many entries the queue holds."""
        return self._session.read(self._browser.count())

    def _progress(self, doing: str, show: ProgressCallback | bool | None) -> Progress:
        return Progress(f"{doing} {self._browser.names.stream}", show)

    def _code(self) -> str:
        if self._foreign is not None:
            return f"DeadLetters.of_stream(lab, {self._foreign.stream!r})"
        return "lab.dead_letters()"

    # What the widget does

    def _make_view(self) -> ModelView[Any]:
        made = view_of(self, self._worker)
        self.watch(True)
        return made

    @blocking
    @spelled_out(FilterOptions)
    def filter(self, **filters: Unpack[FilterOptions]) -> Job[None]:
        """Show these entries only, as in `frame`; nothing given: all. The queue is read once."""
        return self._worker.call(READ, self._worker.filter, filters)

    @blocking
    def refresh(self) -> Job[None]:
        """Take in what came into the queue and what left it."""
        return self._worker.call(READ, self._worker.refresh)

    @blocking
    def choose(self, *groups: str) -> Job[None]:
        """Put the entries of these groups on the page; of all, if none is given."""
        return self._worker.call(PAGE, self._worker.choose, groups)

    @blocking
    def older(self) -> Job[None]:
        """Go to the page of older entries."""
        return self._worker.call(PAGE, self._worker.older)

    @blocking
    def newer(self) -> Job[None]:
        """Go to the page of newer entries."""
        return self._worker.call(PAGE, self._worker.newer)

    @blocking
    def oldest(self) -> Job[None]:
        """Go to the page of the oldest entries."""
        return self._worker.call(PAGE, self._worker.oldest)

    @blocking
    def newest(self) -> Job[None]:
        """Go to the page of the newest entries."""
        return self._worker.call(PAGE, self._worker.newest)

    @blocking
    def open(self, entry_id: UUID | str) -> Job[DeadLetter]:
        """Look at one entry whole.

        Raises:
            DeadLetterNotFoundError: there is none with this id.
        """
        return self._worker.call(OPEN, self._worker.open, as_entry_id(entry_id))

    @blocking
    def edit(self, entry_id: UUID | str, payload: str | bytes | dict[str, Any]) -> Job[PayloadEdit]:
        """Have a replay send another payload for one entry; the entry itself stays as it is.

        A plan that has this entry is dropped: it would send what was planned before.

        Args:
            payload: the whole new payload, as a dict or as JSON.

        Raises:
            InvalidPayloadError: it is no JSON object, or the event's class, where it is known in
                this process, refuses it.
            DeadLetterNotFoundError: there is no such entry.
        """
        return self._worker.call(EDIT, self._replaying.edit, as_entry_id(entry_id), payload)

    @blocking
    @spelled_out(FilterOptions)
    def revert(
        self, entries: Entries | UUID | None = None, **filters: Unpack[FilterOptions]
    ) -> Job[None]:
        """Forget the edits of entries: by hand and of fixes.

        Args:
            entries: the id of one, or as in `plan`.
            filters: as in `plan`.

        Raises:
            ValueError: it is not said which entries, or a run is sending one of them.
        """
        return self._worker.call(REVERT, self._replaying.revert, entries, filters)

    @blocking
    @spelled_out(FixOptions)
    def fix(
        self,
        entries: Entries | None = None,
        *,
        keep: bool = False,
        progress: ProgressCallback | bool | None = None,
        **given: Unpack[FixOptions],
    ) -> Job[pd.DataFrame]:
        """Change fields of many events; a dry run that shows the difference, unless it is kept.

        What is kept are edits as `edit` makes them, which the next plan sends; they are on top of
        those that the entries have. They are in this kernel only, and a replay sends them. An
        event that its class refuses, where that is known in this process, or that a step cannot
        be done with, keeps no new edit. A fix neither reads nor changes what is masked.

        Args:
            entries: as in `plan`; or else a filter, such as `group="d9ba…"`.
            keep: put the edits in place.
            progress: as in `Lab.frame`.
            set, rename, …, steps: what to do, in the order in which it is written:
                `set={"country": "FR"}`, which also makes a field that is not there;
                `map={"country": {"france": "FR"}}`, which keeps other values;
                `convert={"total": "float"}` to `int`, `float`, `str`, `bool`, `datetime` (ISO 8601
                in UTC) or `list` (of text with commas); `rename={"zip": "address.zip"}`;
                `remove="note"` and `absolute="total"`, one field or several; and
                `python="event['total'] = abs(event['total'])"`, one line or several. Several of
                one kind are given as `steps=[{"remove": "note"}, {"set": {"note": ""}}]`.
                Fields are named as in a condition: `customer.name`, `items[0].price`,
                `items[].price` for that of every element.
            channel, …, condition: a filter as in `frame`.

        The lines of Python run in this kernel, with your own rights, once for each entry. They
        have `event`, a dict of its fields to change or to set anew, `headers`, `datetime`,
        `Decimal` and `re`.

        Returns:
            Index `field`, `before` and `after`, as JSON; columns `entries` (how many change so),
            `refused` (of these), `why` and `example` (the id of one, of a refused one if any is).
            `frame.attrs` has how many `entries` there are, and are `changed`, `unchanged`,
            `refused`, `unreadable` (no object to change) and `gone`; of the changed ones, how many
            are `unchecked`, as their class is not known here; and `no_such_field`, by field.

        Raises:
            TypeError, ValueError: a step cannot be read; it is not said which entries or what to
                do; or, with `keep`, a run is sending one of them.

        Example:
            letters.fix(group="d9ba…", map={"country": {"france": "FR", "italy": "IT"}})
            letters.fix(error_type="ValueError", absolute="total", keep=True)
        """
        changes = step_names()
        wanted: Any = {name: value for name, value in given.items() if name in changes}
        filters: Any = {name: value for name, value in given.items() if name not in wanted}
        try:
            dead_letter_filter(**filters)
        except TypeError as error:
            raise TypeError(f"{error}; and to change events, {', '.join(changes)}") from None
        if not (steps := steps_of(wanted)):
            raise ValueError(
                "say what to do, such as set={'country': 'FR'}, absolute='total' or "
                "python=\"event['total'] = 0\""
            )
        shown = self._progress("fixing", progress)
        fixing = self._worker.perform(FIX, self._fixing.fix, entries, filters, steps, keep, shown)
        return self._session.call(fixing, shown)

    @blocking
    def undo_fix(self) -> Job[int]:
        """Put back the edits that the last kept fix replaced; returns for how many entries.

        What was replayed since, or edited once more, stays. Each call undoes one more fix.

        Raises:
            ValueError: no fix is kept, or a run is sending one of its entries.
        """
        return self._worker.call(REVERT, self._fixing.undo)

    @blocking
    @spelled_out(FilterOptions)
    def fields(
        self,
        entries: Entries | None = None,
        *,
        progress: ProgressCallback | bool | None = None,
        **filters: Unpack[FilterOptions],
    ) -> Job[pd.DataFrame]:
        """The fields of the events of some entries, with their edits: what `fix` can change.

        Args:
            entries, filters: as in `plan`.
            progress: as in `Lab.frame`.

        Returns:
            Index `field`, named as `fix` takes it, at most 500, the most frequent first; columns
            `entries` (how many have it), `kinds` and `values`, a dict of values as JSON, of up to
            120 characters, with how often each is there, for the first 1,000.
        """
        shown = self._progress("reading fields of", progress)
        reading = self._worker.perform(FIELDS, self._fixing.fields, entries, filters, shown)
        return self._session.call(reading, shown)

    # Deciding

    @blocking
    @spelled_out(FilterOptions)
    def plan(
        self,
        entries: Entries | None = None,
        *,
        to: str | None = None,
        target: Target | None = None,
        transform: Transform | None = None,
        new_event_ids: bool = False,
        again: bool = False,
        note: str = "",
        **filters: Unpack[FilterOptions],
    ) -> Job[ReplayPlan]:
        """What a replay would send: a dry run, which `plan_table` shows. Nothing is sent.

        Payloads that were edited by `edit` go as they were edited. The plan is shown until what
        it was made from changes: the selection, the chosen groups, the filter, or an edit.

        Args:
            entries: ids, or a frame of dead letters, or `"selected"` rows of the widget, its
                chosen `"groups"`, or all `"matching"` its filter, as the queue is now. Or else a
                filter, as in `frame`.
            to: the channel they go to; None is the one that each came from.
            target: a lab, a bus or settings, where they go to another server or stream.
            transform: from a payload to the one to send, None to leave it out.
            new_event_ids: give each event a new id, so that it is another event.
            again: replay what was replayed before and came back, too.
            note: why; kept in the log.

        Raises:
            ValueError: it is not said which entries, or an argument cannot be read.
            InvalidChannelError: `to` is no channel.
        """
        return self._worker.call(
            PLAN,
            self._replaying.plan,
            entries,
            filters,
            to=to,
            target=settings_of(target),
            transform=transform,
            new_event_ids=new_event_ids,
            again=again,
            note=note,
        )

    @blocking
    def forget_plan(self) -> Job[None]:
        """Drop the plan that is shown."""
        return self._worker.call(FORGET, self._replaying.forget_plan)

    @blocking
    def run(
        self,
        plan: ReplayPlan | None = None,
        *,
        rate: float | None = None,
        canary: Canary | int | None = None,
        confirm: int | None = None,
        word: str = "",
        progress: ProgressCallback | bool | None = None,
    ) -> Job[ReplayReport]:
        """Send what the plan says, see `Replayer.run`; `report_table` has the report as a frame.

        An entry is removed from the queue once the server has its replay. `pause`, `resume` and
        `cancel` work from another thread, or from the widget. A run that is interrupted or
        cancelled settles what it has sent; `report` says what that was.

        Args:
            plan: default the one that was made last.
            rate: messages per second at most.
            canary: so many first, and the rest only if none of them comes back dead; a `Canary`
                also says how long to look.
            confirm: how many messages it sends; must be given where they are more than 100.
            word: `"nobody"`, where nobody would handle some of them; see `ReplayPlan.unhandled`.
            progress: as in `Lab.frame`.

        Raises:
            ConfirmationError: more than 100 without their number, or another number.
            ReplayRefusedError: nobody would handle some of them, and the word is missing, or a
                channel has lost its consumer since the plan was made; nothing was sent.
            ReplayError: it did not begin; everything is where it was.
            ReadOnlyError: the lab only looks.
            RuntimeError: another run is under way here.
        """
        self._session.check_may_change("dead_letters.run()")
        shown = self._progress("replaying", progress)
        running = self._worker.perform(
            RUN,
            self._replaying.run,
            plan,
            rate=rate,
            canary=canary,
            confirm=confirm,
            word=word,
            progress=shown,
        )
        # after an interrupt, `report` says what was sent
        return self._session.call(running, shown, settle=self._worker.settled)

    def pause(self) -> None:
        """Have the run send nothing more until `resume`. Returns at once."""
        self._replaying.pause()

    def resume(self) -> None:
        """Have the run go on. Returns at once."""
        self._replaying.resume()

    def cancel(self) -> None:
        """End the run: what it sent is settled, the rest stays in the queue. Returns at once."""
        self._replaying.cancel()

    @blocking
    @spelled_out(FilterOptions)
    def export(
        self,
        path: str | Path,
        entries: Entries | None = None,
        *,
        overwrite: bool = False,
        progress: ProgressCallback | bool | None = None,
        **filters: Unpack[FilterOptions],
    ) -> Job[DeadLetterExport]:
        """Write entries to a file: their frame, and in column `entry` each as it is stored.

        Args:
            path: `.parquet`, `.ndjson` or `.csv`; in the last two, bytes are base64.
            entries, filters: as in `plan`.
            overwrite: replace what is there.
            progress: as in `Lab.frame`.

        Raises:
            FileExistsError: there is something at `path`.
            ValueError: the suffix says nothing, or it is not said which entries.
        """
        shown = self._progress("exporting", progress)
        exporting = self._worker.perform(
            EXPORT, self._replaying.export, entries, filters, path, overwrite, shown
        )
        return self._session.call(exporting, shown)

    @blocking
    @spelled_out(FilterOptions)
    def discard(
        self,
        entries: Entries | None = None,
        *,
        exported_to: str | Path | None = None,
        word: str = "",
        confirm: int | None = None,
        note: str = "",
        progress: ProgressCallback | bool | None = None,
        **filters: Unpack[FilterOptions],
    ) -> Job[ReplayReport]:
        """Remove entries without replaying them; kept in the log like a replay.

        `pause`, `resume` and `cancel` work as in `run`.

        Args:
            entries, filters: as in `plan`.
            exported_to: the file that has them; what `export` wrote here is known already, as
                long as that file is as it was written.
            word: `"discard"`, where they were not exported.
            confirm: how many they are; must be given where they are more than 100.
            progress: as in `Lab.frame`.

        Raises:
            ReplayRefusedError: neither an export nor the word, or the file has changed or has
                not all of them; nothing was removed.
            ConfirmationError: more than 100 without their number, or another number.
            ReadOnlyError: the lab only looks.
        """
        self._session.check_may_change("dead_letters.discard()")
        shown = self._progress("discarding", progress)
        discarding = self._worker.perform(
            DISCARD,
            self._replaying.discard,
            entries,
            filters,
            exported_to=exported_to,
            word=word,
            confirm=confirm,
            note=note,
            progress=shown,
        )
        return self._session.call(discarding, shown, settle=self._worker.settled)

    @blocking
    def restore(
        self,
        path: str | Path,
        entries: Iterable[UUID | str] | pd.DataFrame | None = None,
        *,
        again: bool = False,
        confirm: int | None = None,
        note: str = "",
        progress: ProgressCallback | bool | None = None,
    ) -> Job[ReplayReport]:
        """Put what `export` wrote back into the queue, as it was stored; kept in the log.

        Each entry comes back once: one that is in the queue already is skipped, and one that was
        replayed since is, too. What was restored by half is completed by doing it again. `pause`,
        `resume` and `cancel` work as in `run`.

        Args:
            path: the file; each row of it must be as it was written.
            entries: only these of it, ids or a frame; default all.
            again: put back what was replayed since, too.
            confirm: how many they are; must be given where they are more than 100.
            note: why; kept in the log.
            progress: as in `Lab.frame`.

        Raises:
            ReplayRefusedError: the file is missing, broken, changed or written with a mask, or is
                of another queue; says which row. Or others write this queue. Nothing was stored.
            ConfirmationError: more than 100 without their number, or another number.
            ReadOnlyError: the lab only looks.
        """
        self._session.check_may_change("dead_letters.restore()")
        among = entries.index if isinstance(entries, pd.DataFrame) else entries
        shown = self._progress("restoring", progress)
        restoring = self._worker.perform(
            RESTORE,
            self._replaying.restore,
            path,
            None if among is None else list(map(as_entry_id, among)),
            again=again,
            confirm=confirm,
            note=note,
            progress=shown,
        )
        return self._session.call(restoring, shown, settle=self._worker.settled)

    @blocking
    def label(
        self, group: str | Iterable[str], *, note: str | None = None, owner: str | None = None
    ) -> Job[None]:
        """Say who works on a group of failures, and what is known of it, for everybody to see.

        Without a note and an owner, this user becomes the owner. Labels are kept on the server,
        in the log of replays; of two people at once the later one wins. A label belongs to the id
        of its group, which follows from handler, error type and message, and to no single entry.

        Args:
            group: an id of `groups`, or several.
            note: up to 1,000 characters; None leaves it as it is, "" removes it.
            owner: a name; None leaves it as it is, "" removes it.

        Raises:
            ValueError: that is no id of a group, or a text is too long.
            ReadOnlyError: the lab only looks.
            ReplayLogError: it could not be stored.
        """
        self._session.check_may_change("dead_letters.label()")
        groups = checked_groups(group)
        texts = checked_text("note", note), checked_text("owner", owner)
        return self._worker.call(self._worker.next_label(), self._worker.label, groups, *texts)

    @blocking
    def labels(self) -> Job[pd.DataFrame]:
        """What people say of groups of failures; `label` says something.

        Returns:
            Index `group`, also of groups that have no entry now; columns `owner`, `note`, `by`
            (user and host who changed it last) and `at` (when; UTC, by the server's clock).
        """
        return self._session.read(self._worker.labels())

    @blocking
    def replays(self, replay_id: str | None = None) -> Job[pd.DataFrame]:
        """What was replayed, discarded and restored, or what one run did; see `Lab.replays`."""
        return self._worker.call(LOG, self._replaying.log, replay_id)

    @blocking
    def retry(self) -> Job[None]:
        """Do again what failed last."""
        return self._session.call(self._worker.retry())

    def stop(self) -> None:
        """End what is being read, planned or exported, not a run. Returns at once.

        Of what is read, what was found so far stays.
        """
        self._worker.stop()

    def watch(self, on: bool = True) -> None:
        """Follow what comes into the queue and leaves it, as is done while a view is shown."""
        self._worker.watch(on)

    def close(self) -> None:
        """End the view and what is being read, and a connection of its own. Twice does nothing."""
        self._worker.close()
        for view in self._views:
            view.close()
        self._views.clear()
        if self._own_session:
            self._handle.close()


class DeadLettersAio(Twin[DeadLetters]):
    """The methods of `DeadLetters`, to be awaited on any event loop."""

    frame = awaiting(DeadLetters.frame)
    groups = awaiting(DeadLetters.groups)
    entry = awaiting(DeadLetters.entry)
    count = awaiting(DeadLetters.count)
    filter = awaiting(DeadLetters.filter)
    refresh = awaiting(DeadLetters.refresh)
    choose = awaiting(DeadLetters.choose)
    older = awaiting(DeadLetters.older)
    newer = awaiting(DeadLetters.newer)
    oldest = awaiting(DeadLetters.oldest)
    newest = awaiting(DeadLetters.newest)
    open = awaiting(DeadLetters.open)
    edit = awaiting(DeadLetters.edit)
    revert = awaiting(DeadLetters.revert)
    fix = awaiting(DeadLetters.fix)
    undo_fix = awaiting(DeadLetters.undo_fix)
    fields = awaiting(DeadLetters.fields)
    plan = awaiting(DeadLetters.plan)
    forget_plan = awaiting(DeadLetters.forget_plan)
    run = awaiting(DeadLetters.run)
    export = awaiting(DeadLetters.export)
    discard = awaiting(DeadLetters.discard)
    restore = awaiting(DeadLetters.restore)
    label = awaiting(DeadLetters.label)
    labels = awaiting(DeadLetters.labels)
    replays = awaiting(DeadLetters.replays)
    retry = awaiting(DeadLetters.retry)
