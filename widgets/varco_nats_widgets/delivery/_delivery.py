"""`Delivery`: what `lab.delivery()` gives: each message's way, drawn, and experiments to run.

The class here is the model: it has all state and does all work, with or without a browser.
`_view` draws it in a notebook.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Unpack

import pandas as pd
import traitlets

from varco_nats_widgets._session.background import describe_error
from varco_nats_widgets._session.handle import SessionOwner
from varco_nats_widgets._session.job import Job, Twin, awaiting, blocking
from varco_nats_widgets._session.model import WidgetModel
from varco_nats_widgets._session.reopening import call_code
from varco_nats_widgets._session.session import Session
from varco_nats_widgets._ui.coalesce import Coalescer
from varco_nats_widgets._ui.model_view import ModelView, view_of
from varco_nats_widgets.experiment import (
    SEMANTICS,
    Comparison,
    Experiment,
    ExperimentOptions,
    Faults,
)
from varco_nats_widgets.experiment._comparison import new_comparison
from varco_nats_widgets.experiment._experiment import new_experiment
from varco_nats_widgets.experiment._faults import SPECS
from varco_nats_widgets.experiment._plan import Plan, make_plan
from varco_nats_widgets.record import DeliveryRecord, Flow, Verdict
from varco_nats_widgets.record._open import open_record
from varco_nats_widgets.record._rows import MAX_ROWS

_TICK_SECONDS = 0.1
_PLAY_TICKS = 100  # a long record is played in ten seconds, a short one a step at a time


class StartOptions(ExperimentOptions, total=False):
    """The keyword arguments of `Lab.experiment`."""

    semantics: str
    faults: Faults


class Delivery(WidgetModel):
    """A delivery record to look at and to step through, and experiments that make one.

    Shown in a notebook it is a widget; every button of it is a method here, and what it shows is
    a trait. It draws a record that grows as it grows.

    Args:
        what: a record, an experiment or a comparison to show at first; None for none.
        lab: where experiments are run; without one there are no controls for them.

    Example:
        delivery = lab.delivery()
        delivery.run(semantics="at_least_once", faults="kill_after_handler")
        delivery.select(delivery.ledger["handled"].idxmax())
        delivery.first()
        delivery.forward()
    """

    record = traitlets.Instance(DeliveryRecord, read_only=True)
    """What is shown; an empty record where there is nothing yet."""
    experiment = traitlets.Any(None, read_only=True)
    """The experiment that made it, if one did."""
    comparison = traitlets.Any(None, read_only=True)
    """What `compare` measured last."""
    rows = traitlets.Int(0, read_only=True)
    """How many rows the record had when it was last looked at."""
    done = traitlets.Bool(False, read_only=True)
    """Whether no more will come."""
    notice = traitlets.Unicode("", read_only=True)
    """What the record leaves out and what keeps it from going on, in words; "" for nothing."""
    selected = traitlets.Int(0)
    """The number of the event that is followed; 0 for none. May be set."""
    position = traitlets.Int(-1)
    """How many rows of the record are shown, in order of time; -1 for all. May be set."""
    playing = traitlets.Bool(False, read_only=True)
    """Whether the record is being played."""
    semantics = traitlets.Enum(SEMANTICS, "at_least_once")
    """Of the next experiment."""
    fault = traitlets.Enum(tuple(SPECS), "kill_after_handler")
    """What the next experiment breaks; `lab.faults()` says what each does."""
    at = traitlets.Int(None, allow_none=True)
    """At which event, from 1; None is the one in the middle."""
    events = traitlets.Int(20)
    """How many events the next experiment publishes."""
    duplicate_window = traitlets.Float(None, allow_none=True)
    """Of the next experiment, in seconds; None is what suits the fault."""
    running = traitlets.Unicode("", read_only=True)
    """What is being run, in words; "" if nothing is."""
    progress = traitlets.Tuple((0, 0), read_only=True)
    """Events published by what is being run, and how many there will be."""
    error = traitlets.Unicode("", read_only=True)
    """What went wrong last, in words; "" if nothing did. `retry` tries it again."""

    def __init__(
        self,
        what: DeliveryRecord | Experiment | Comparison | None = None,
        *,
        lab: SessionOwner | None = None,
    ) -> None:
        super().__init__()
        self.read_only = False
        """Whether its lab only looks; experiments run on servers of their own all the same."""
        self._lab = lab
        weakref.finalize(self, _release, self._views).atexit = False
        self._cancel_watch: Callable[[], None] = lambda: None
        self._news = Coalescer(self._show_record)
        self._player: _Ticker | None = None
        self._watcher: _Ticker | None = None
        self._work: Experiment | Comparison | None = None  # what was started last
        self._again: Callable[[], object] = self.start
        self._lock = threading.RLock()  # held while traits are set, whose observers may pause
        self._nothing = DeliveryRecord()
        if lab is not None:
            self._ends_with(lab.__lab_handle__.session)
        self.show(self._nothing if what is None else what)

    def __repr__(self) -> str:
        record = self.record
        parts = [repr(record.title)] if record.title else []
        if record.done:
            counts = record.ledger["outcome"].value_counts().sort_index()
            parts.append(", ".join(f"{count:,} {name}" for name, count in counts.items()))
        elif self.record is not self._nothing:
            parts.append("live")  # its rows are others the next time
        return f"Delivery({': '.join(parts)})"

    @property
    def aio(self) -> DeliveryAio:
        """The awaitable twins of this object's methods."""
        return DeliveryAio(self)

    def _code(self) -> str:
        return "lab.delivery()"

    def _make_view(self) -> ModelView[Any]:
        return view_of(self, self._lab is not None)

    # What is shown

    def show(self, what: DeliveryRecord | Experiment | Comparison) -> None:
        """Show another record, or that of an experiment.

        Of a comparison, it is the record of the semantics that are chosen.

        Raises:
            TypeError: it is none of these.
        """
        record, experiment, comparison = self._parts(what)
        self._cancel_watch()
        self.pause()
        with self.hold_trait_notifications():
            self.set_trait("record", record)
            self.set_trait("experiment", experiment)
            if comparison is not None:
                self.set_trait("comparison", comparison)
            if experiment is not None:
                self._take_over(experiment.plan)
            self.selected, self.position = 0, -1
            self._show_record()
        # a record that goes on must not keep alive what only shows it
        news_of = weakref.ref(self._news)

        def changed() -> None:
            if (news := news_of()) is not None:
                news.trigger()

        self._cancel_watch = record.on_change(changed)
        changed()

    def _parts(self, what: Any) -> tuple[DeliveryRecord, Any, Any]:
        if isinstance(what, DeliveryRecord):
            return what, None, None
        if isinstance(what, Experiment):
            return what.record, what, None
        if isinstance(what, Comparison):
            experiment = what.experiments[self.semantics]
            return experiment.record, experiment, what
        raise TypeError(
            f"a record, an experiment or a comparison can be shown, not {type(what).__name__}"
        )

    def _show_record(self) -> None:
        record = self.record
        notes = [*([record.problem] if record.problem else []), *record.remarks]
        self.set_trait("rows", len(record))
        self.set_trait("done", record.done)
        self.set_trait("notice", "; ".join(notes))

    @property
    def frame(self) -> pd.DataFrame:
        """See `DeliveryRecord.frame`."""
        return self.record.frame

    @property
    def ledger(self) -> pd.DataFrame:
        """See `DeliveryRecord.ledger`."""
        return self.record.ledger

    @property
    def flow(self) -> Flow:
        """See `DeliveryRecord.flow`."""
        return self.record.flow

    @property
    def verdict(self) -> Verdict | None:
        """What was expected and what happened; None until an experiment is over."""
        return self.record.verdict

    @property
    def selected_rows(self) -> pd.DataFrame:
        """The rows of the event that is followed."""
        frame = self.record.frame
        return frame[frame["event"] == self.selected]

    @property
    def step(self) -> pd.Series[Any] | None:
        """The row that the steps have come to; None at the end or before the first."""
        if not 0 < self.position <= len(self.record):
            return None
        return self.record.frame.iloc[self.position - 1]

    def select(self, event: int | str) -> None:
        """Follow one event, by its number or its id; 0 for none.

        Raises:
            LookupError: the record has no such event.
        """
        if event == 0:
            self.selected = 0
        else:
            self.selected = int(self.record.rows_of(event)["event"].iloc[0])

    # Stepping

    def first(self) -> None:
        """Show the first row only."""
        self._go(1)

    def back(self) -> None:
        """Show one row less."""
        self._go((len(self.record) if self.position < 0 else self.position) - 1)

    def forward(self) -> None:
        """Show one row more."""
        self._go(self.position + 1 if self.position >= 0 else -1)

    def last(self) -> None:
        """Show all rows."""
        self._go(-1)

    def play(self) -> None:
        """Step through the record by itself, from the beginning when it is at the end."""
        with self._lock:
            if self._player is not None or not len(self.record):
                return
            if self.position < 0:
                self.position = 0
            player = self._player = _Ticker("Delivery playing", weakref.WeakMethod(self._step))
            self.set_trait("playing", True)
        player.start()

    def _step(self) -> bool:
        """Show some more; whether there is more."""
        self._place(max(0, self.position) + max(1, len(self.record) // _PLAY_TICKS))
        if self.position < 0:
            self.pause()
        return self.position >= 0

    def pause(self) -> None:
        """End `play`; it stays where it is."""
        with self._lock:
            player, self._player = self._player, None
            self.set_trait("playing", False)
        if player is not None:
            player.stop()

    def _go(self, position: int) -> None:
        self.pause()
        self._place(position)

    def _place(self, position: int) -> None:
        last = len(self.record)
        self.position = -1 if position < 0 or position >= last else max(1, position)

    # Experiments

    @blocking
    def run(self, **options: Unpack[StartOptions]) -> Job[Experiment]:
        """Carry out an experiment; it is shown while it runs. What still runs is cancelled.

        Args:
            options: as `Lab.experiment` takes them. What is not given is as in the controls, and
                they show what is given.

        Raises:
            ValueError: an option that cannot be used.
            ExperimentError: it could not be carried out, or was cancelled.
            RuntimeError: there is no lab, or it is closed.
        """
        return _Watched(self.start(**options), self._show_work)

    def start(self, **options: Unpack[StartOptions]) -> Experiment:
        """`run` in the background; `cancel()` ends it."""
        self._again = partial(self.start, **options)
        lab, semantics, faults, others = self._chosen(dict(options))
        made = new_experiment(lab.__lab_handle__, semantics, faults, False, **others)
        return self._begin(made)

    @blocking
    def compare(self, **options: Unpack[StartOptions]) -> Job[Comparison]:
        """Carry out an experiment under all three semantics; see `run` and `Lab.compare`."""
        return _Watched(self.start_compare(**options), self._show_work)

    def start_compare(self, **options: Unpack[StartOptions]) -> Comparison:
        """`compare` in the background; `cancel()` ends it."""
        self._again = partial(self.start_compare, **options)
        lab, semantics, faults, others = self._chosen(dict(options))
        made = new_comparison(lab.__lab_handle__, faults, False, **others)
        self.semantics = semantics
        return self._begin(made)

    def cancel(self) -> None:
        """End what is being run. Returns at once."""
        if self._work is not None:
            self._work.cancel()

    def retry(self) -> None:
        """Start again what was started last."""
        try:
            self._again()
        except Exception as error:
            self.set_trait("error", describe_error(error))

    def _chosen(self, options: dict[str, Any]) -> tuple[SessionOwner, str, Any, dict[str, Any]]:
        """The lab, the semantics, the faults and the rest, from the controls and `options`.

        Raises:
            RuntimeError: there is no lab.
        """
        if self._lab is None:
            raise RuntimeError("there is no lab to run experiments in; use lab.delivery()")
        chosen = {
            name: getattr(self, name) for name in ("semantics", "events", "at", "duplicate_window")
        }
        chosen |= {"faults": self.fault, **options}
        return self._lab, chosen.pop("semantics"), chosen.pop("faults"), chosen

    def _take_over(self, plan: Plan) -> None:
        """Have the controls show what is carried out; of several faults they can show none."""
        usual = make_plan(
            plan.semantics, [fault.name for fault in plan.faults[:1]], events=plan.events
        )
        suits = plan.duplicate_window == usual.duplicate_window
        self.semantics, self.events = plan.semantics.value, plan.events
        self.duplicate_window = None if suits else plan.duplicate_window
        if len(plan.faults) < 2:
            self.fault = plan.faults[0].name if plan.faults else "none"
            self.at = None if plan.faults == usual.faults else plan.faults[0].at

    def _begin[T: (Experiment, Comparison)](self, work: T) -> T:
        self.cancel()
        work.start()
        self.set_trait("error", "")
        self.set_trait("running", work.progress.what)
        self.set_trait("progress", (0, work.progress.total))
        self.show(work)
        self._work = work
        self._watcher = _Ticker("Delivery watching", weakref.WeakMethod(self._show_work), work)
        self._watcher.start()
        return work

    def _show_work(self, work: Experiment | Comparison) -> bool:
        """Show how far `work` is; whether it goes on."""
        running = work.running
        if work is not self._work:
            return False  # something else was started
        self.set_trait("progress", (work.progress.done, work.progress.total))
        if not running:
            self.set_trait("error", "" if work.error is None else describe_error(work.error))
            self.set_trait("running", "")
            self._news.trigger()
        return running

    def close(self) -> None:
        """End what runs and the view. Closing twice does nothing."""
        self.pause()
        self.cancel()
        if self._watcher is not None:
            self._watcher.stop()
        self._cancel_watch()
        self._news.close()
        while self._views:
            self._views.pop().close()


def delivery_of(lab: SessionOwner, what: Any = None) -> Delivery:
    """What `Lab.delivery` gives: with controls where an experiment is shown or can be run."""
    handle = lab.__lab_handle__
    if what is None or isinstance(what, Experiment | Comparison):
        made = Delivery(what, lab=lab)
    elif isinstance(what, DeliveryRecord):
        made = Delivery(what)
    else:
        record = handle.session.read(open_record(handle, what, MAX_ROWS)).wait()
        made = _FollowingDelivery(record, handle.session, what)
    made.read_only = handle.session.read_only
    return made


class _FollowingDelivery(Delivery):
    """Shows a record that was made for it, and ends with it."""

    def __init__(self, record: DeliveryRecord, session: Session, what: object) -> None:
        super().__init__(record)
        self._followed = record
        self._made_by = call_code("lab.delivery", what)
        self._ends_with(session)

    def _code(self) -> str:
        return self._made_by

    def close(self) -> None:
        super().close()
        self._followed.stop()


class DeliveryAio(Twin[Delivery]):
    """The methods of `Delivery` that wait, to be awaited on any event loop."""

    run = awaiting(Delivery.run)
    compare = awaiting(Delivery.compare)


@dataclass(frozen=True, slots=True)
class _Watched[T: (Experiment, Comparison)]:
    """The end of an experiment, which is shown before the caller hears of it."""

    work: T
    show: Callable[[T], object]

    def wait(self) -> T:
        try:
            return self.work.wait()
        finally:
            self.show(self.work)

    async def wait_async(self) -> T:
        try:
            return await self.work.wait_async()
        finally:
            self.show(self.work)


class _Ticker:
    """Calls a method ten times a second on a thread of its own.

    It ends when that gives False, or is the method of an object that is garbage.
    """

    def __init__(
        self, name: str, method_of: weakref.WeakMethod[Callable[..., bool]], *args: object
    ) -> None:
        self._method_of = method_of
        self._args = args
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._serve, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        if self._thread is not threading.current_thread() and self._thread.is_alive():
            self._thread.join()

    def _serve(self) -> None:
        while not self._ended.wait(_TICK_SECONDS):
            method = self._method_of()
            if method is None or not method(*self._args):
                return
            del method


def _release(views: list[ModelView[Any]]) -> None:
    """End what a delivery leaves; on a thread, as this may run wherever garbage is collected."""
    for view in views:
        threading.Thread(target=view.close, name="Delivery closing", daemon=True).start()
