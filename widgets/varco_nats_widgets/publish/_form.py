"""The form that publishes: first "Check", which sends nothing, then "Send"."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from typing import Any, Protocol

import ipywidgets

from varco_nats_widgets._session.background import describe_error
from varco_nats_widgets._session.handle import Handle
from varco_nats_widgets._ui.controls import (
    button,
    caption,
    dropdown,
    fields_are_here,
    row,
    scaled,
    text_field,
)
from varco_nats_widgets._ui.model_view import ModelView
from varco_nats_widgets.frames._cells import clean, escape
from varco_nats_widgets.frames._payload import TYPE_KEY
from varco_nats_widgets.publish._event_class import class_of
from varco_nats_widgets.publish._form_values import (
    JSON,
    KINDS,
    Origin,
    content_of,
    fields_of_message,
    headers_of,
    pretty_json,
    rate_of,
    sample_of,
)
from varco_nats_widgets.publish._planning import Planner, request_of
from varco_nats_widgets.publish._publication import Publication, UnpublishedError

_CHANNEL, _SUBJECT = "channel", "subject"
_MAX_SHOWN = 20_000  # characters of what is said of a publication
_TICK = 0.2

type Start = Callable[[Callable[[], Coroutine[Any, Any, None]]], object]
"""Has some work done in the background, on the lab's loop thread."""


class Announce(Protocol):
    def __call__(self, text: str, *, is_end: bool) -> object: ...


class PublishForm:
    """Publishes what is typed; what is masked in an edited message keeps its value.

    What a user does and what comes of it is kept, on whatever thread that happens, and drawn by
    `draw`, which the view calls on its drawing thread.

    Args:
        view: the view that it is a part of.
        handle_of: the lab's, which the form does not keep open.
        start: has work done in the background.
        announce: has screen readers say what is shown; see `StatusBar.announce`.
    """

    def __init__(
        self,
        view: ModelView[Any],
        handle_of: Callable[[], Handle],
        start: Start,
        announce: Announce,
    ) -> None:
        self._redraw = view.redraw
        self._handle_of = handle_of
        self._announce = announce
        self._samples: Mapping[str, Any] = {}
        self._start = start
        self._origin: Origin | None = None
        self._fields = object()  # another after each change of what is in them
        self._due: deque[Callable[[], object]] = deque()  # what draws what is not drawn yet
        self._checked: tuple[object, Publication] | None = None  # with the `_fields` it is of
        self._sending: asyncio.Task[object] | None = None
        self.place = dropdown("To", [(_CHANNEL, _CHANNEL), (_SUBJECT, _SUBJECT)], "150px", "26px")
        self.name = text_field("", "orders", "auto", "0px", flex="1 1 200px")
        self.name.tooltip = "The channel or the subject"
        self.event_type = ipywidgets.Combobox(
            description="Event type",  # "Type" is that of the filters
            placeholder="as in the channel",
            ensure_option=False,
            continuous_update=False,
            layout=ipywidgets.Layout(width=scaled("290px")),
            style={"description_width": scaled("70px")},
        )
        self.kind = dropdown("Payload", list(KINDS), "170px", "56px")
        self.payload = ipywidgets.Textarea(
            placeholder='{"order_id": "{uuid}", "number": "{n}", "at": "{now}"}',
            continuous_update=False,
            layout=ipywidgets.Layout(width="calc(100% - 4px)", height=scaled("200px")),
        )
        self.headers = ipywidgets.Textarea(
            placeholder="tenant: acme",
            continuous_update=False,
            layout=ipywidgets.Layout(width="calc(100% - 4px)", height=scaled("64px")),
        )
        for area in (self.payload, self.headers):
            area.add_class("varco-editor")
        self.payload.tooltip, self.headers.tooltip = "Payload", "Headers"
        self.count = ipywidgets.BoundedIntText(
            1,
            min=1,
            max=1_000_000,
            description="Count",
            layout={"width": scaled("150px")},
            style={"description_width": scaled("46px")},
        )
        self.rate = text_field("a second", "as fast as it can be", "230px", "60px")
        self.check = button("Check", "check", "Say what would be sent; sends nothing", self._check)
        self.send = button("Send", "paper-plane", "Send what was checked", self._send)
        self.stop = button("Stop", "stop", "Send nothing more", self._stop)
        self.said = ipywidgets.HTML()
        for control in (
            *(self.place, self.name, self.event_type, self.kind, self.payload, self.headers),
            *(self.count, self.rate),
        ):
            control.observe(view.on_user_change(self._on_typed), "value")
        self.event_type.observe(view.on_user_change(self._on_type), "value")
        hint = "In texts {n} is the number of the message, {uuid} a new UUID, {now} the time."
        self.box = ipywidgets.VBox(
            [
                row(self.place, self.name, self.event_type, self.kind),
                self.payload,
                caption("Headers, a line for each"),
                self.headers,
                caption(hint),
                row(self.count, self.rate, self.check, self.send, self.stop),
                self.said,
            ]
        )

    # What it begins with

    def suggest(self, name: str, *, is_subject: bool, samples: Mapping[str, Any]) -> None:
        """Offer a place and the event types there, where nothing was typed; draws them.

        Args:
            samples: for each event type a payload of it, as it is shown.
        """
        self._samples = dict(samples)
        self.event_type.options = sorted(samples)
        if name and not self.payload.value and self._origin is None:
            place = _SUBJECT if is_subject else _CHANNEL
            self._fill({self.place: place, self.name: clean(name, None)})

    def edit(self, name: str, origin: Origin, *, is_subject: bool) -> None:
        """Begin with a message, to be sent as a new one; from any thread.

        Raises:
            FormError: it cannot be edited.
        """
        kind, payload, headers = fields_of_message(origin)
        place = _SUBJECT if is_subject else _CHANNEL
        begun = {self.place: place, self.name: name, self.event_type: "", self.kind: kind}
        begun |= {self.payload: payload, self.headers: headers, self.count: 1, self.rate: ""}
        self._later(self._begin, origin, begun)
        self._say(f"message #{origin.message.seq:,}, to be sent as a new one", is_problem=False)

    def fail(self, error: Exception) -> None:
        """Say why something cannot be done; from any thread."""
        self._say(describe_error(error), is_problem=True)

    # What its buttons do

    def _on_typed(self, _: object) -> None:
        self._fields = object()  # what was checked is another publication
        self._redraw()

    def _on_type(self, event_type: str) -> None:
        self._later(self._offer_sample, event_type)

    def _check(self) -> None:
        self._start(self.checked)

    def _send(self) -> None:
        self._start(self.sent)

    def _stop(self) -> None:
        self._start(self.stopped)

    async def stopped(self) -> None:
        """End what is being sent; what is on its way is settled first."""
        if self._sending is not None:
            self._sending.cancel()

    async def checked(self) -> None:
        """Make the publication of what is in the fields, and say what it would send."""
        await fields_are_here()
        self._say("checking …", is_problem=False, is_end=False)
        fields = self._fields
        try:
            handle = self._handle_of()
            handle.session.check_may_change("publishing")
            name, origin = self.name.value.strip(), self._origin
            is_subject = self.place.value == _SUBJECT
            content = content_of(self.kind.value, self.payload.value, origin)
            is_event = isinstance(content, dict) and not is_subject and TYPE_KEY not in content
            request = request_of(
                None if is_subject else name,
                content,
                subject=name if is_subject else None,
                event_type=(self.event_type.value.strip() or None) if is_event else None,
                headers=headers_of(self.headers.value, origin),
                count=self.count.value,
                rate=rate_of(self.rate.value),
                template=True,
                check=True,
                stored=True,
                decoder=None,
            )
            planning = Planner(handle).plan(request)
            publication = await handle.session.while_reachable(planning)
        except Exception as error:
            self._checked = None
            self.fail(error)
            return
        self._checked, is_wrong = (fields, publication), bool(publication.problems)
        state = "It cannot be sent:" if is_wrong else "Nothing is sent yet; Send sends this:"
        if fields is not self._fields:
            state = "The fields have changed meanwhile, check again; this was checked:"
        self._say(f"{state}\n{publication.facts}", is_problem=is_wrong)

    async def sent(self) -> None:
        """Send what was checked."""
        publication = self._sendable
        if publication is None or self._sending is not None:
            return
        self._sending = asyncio.create_task(publication.aio.run(progress=False))
        self._redraw()
        try:
            while not self._sending.done():
                await asyncio.wait([self._sending], timeout=_TICK)
                if (report := publication.report) is not None:
                    self._say(f"sending …\n{report.text}", is_problem=False, is_end=False)
            self._sending.result()
        except asyncio.CancelledError:
            report = publication.report
            self._say(f"stopped: {report.text if report else 'nothing was sent'}", is_problem=True)
        except UnpublishedError:
            self._say(repr(publication), is_problem=True)
        except Exception as error:
            self.fail(error)
        else:
            self._say(repr(publication), is_problem=False)
        finally:
            self._sending = self._checked = None
            self._redraw()

    @property
    def _sendable(self) -> Publication | None:
        """What was checked, where it can be sent and still is what the fields say."""
        if (checked := self._checked) is None:
            return None
        fields, publication = checked
        return None if publication.problems or fields is not self._fields else publication

    def _say(self, text: str, *, is_problem: bool, is_end: bool = True) -> None:
        self._later(self._draw_said, text, is_problem, is_end)

    def _later(self, draw: Callable[..., object], *arguments: object) -> None:
        """Have this called on the drawing thread; from any thread."""
        self._due.append(partial(draw, *arguments))
        self._redraw()

    # Drawing

    def draw(self, _: object) -> None:
        """Draw what has changed since."""
        while self._due:
            self._due.popleft()()
        is_sending = self._sending is not None
        self.event_type.layout.display = None if self.place.value == _CHANNEL else "none"
        self.check.disabled = is_sending
        self.send.disabled = is_sending or self._sendable is None
        self.stop.layout.display = None if is_sending else "none"

    def _offer_sample(self, event_type: str) -> None:
        """Offer the fields of an event of this type, where nothing was typed."""
        if not event_type or self.payload.value.strip() or self.kind.value != JSON:
            return
        known = class_of({TYPE_KEY: event_type})
        if known is not None:
            self._fill({self.payload: pretty_json(sample_of(known))})
        elif event_type in self._samples:
            self._fill({self.payload: pretty_json(self._samples[event_type])})

    def _begin(self, origin: Origin, values: Mapping[Any, Any]) -> None:
        self._origin = origin
        self._fill(values)
        self._fields = object()  # even where they say the same of another message

    def _fill(self, values: Mapping[Any, Any]) -> None:
        """Set fields."""
        for field, value in values.items():
            if field.value != value:
                field.value = value
                self._fields = object()

    def _draw_said(self, text: str, is_problem: bool, is_end: bool) -> None:
        self._announce(text, is_end=is_end)
        shown = escape(clean(text, _MAX_SHOWN))
        classes = "varco-said" + (" varco-problem" if is_problem else "")
        self.said.value = (
            f'<div class="varco-diff tex2jax_ignore mathjax_ignore"><pre class="{classes}">'
            f"<span>{shown}</span></pre></div>"
        )
