"""The form that publishes: first "Check", which sends nothing, then "Send"."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
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

    Args:
        handle_of: the lab's, which the form does not keep open.
        start: has work done in the background.
        announce: has screen readers say what is shown; see `StatusBar.announce`.
    """

    def __init__(self, handle_of: Callable[[], Handle], start: Start, announce: Announce) -> None:
        self._handle_of = handle_of
        self._announce = announce
        self._samples: Mapping[str, Any] = {}
        self._start = start
        self._origin: Origin | None = None
        self._checked: Publication | None = None
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
            control.observe(self._on_typed, "value")
        self.event_type.observe(self._on_type, "value")
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
        self._draw()

    # What it begins with

    def suggest(self, name: str, *, is_subject: bool, samples: Mapping[str, Any]) -> None:
        """Offer a place and the event types there, where nothing was typed.

        Args:
            samples: for each event type a payload of it, as it is shown.
        """
        self._samples = dict(samples)
        self.event_type.options = sorted(samples)
        if name and not self.payload.value and self._origin is None:
            self.place.value = _SUBJECT if is_subject else _CHANNEL
            self.name.value = clean(name, None)

    def edit(self, name: str, origin: Origin, *, is_subject: bool) -> None:
        """Begin with a message, to be sent as a new one.

        Raises:
            FormError: it cannot be edited.
        """
        kind, payload, headers = fields_of_message(origin)
        self._origin = origin
        self.place.value = _SUBJECT if is_subject else _CHANNEL
        self.name.value, self.event_type.value = name, ""
        self.kind.value, self.payload.value, self.headers.value = kind, payload, headers
        self.count.value, self.rate.value = 1, ""
        self._say(f"message #{origin.message.seq:,}, to be sent as a new one", is_problem=False)

    def fail(self, error: Exception) -> None:
        """Say why something cannot be done."""
        self._say(describe_error(error), is_problem=True)

    def _on_type(self, change: Any) -> None:
        """Offer the fields of an event of the type that was chosen, where nothing was typed."""
        name = change["new"]
        if not name or self.payload.value.strip() or self.kind.value != JSON:
            return
        known = class_of({TYPE_KEY: name})
        if known is not None:
            self.payload.value = pretty_json(sample_of(known))
        elif name in self._samples:
            self.payload.value = pretty_json(self._samples[name])

    _samples: Mapping[str, Any] = {}

    # What its buttons do

    def _on_typed(self, _: object) -> None:
        self._checked = None  # it says what another publication would send
        self._draw()

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
            self._checked = await handle.session.while_reachable(planning)
        except Exception as error:
            self._checked = None
            self._draw()
            self.fail(error)
            return
        publication, is_wrong = self._checked, bool(self._checked.problems)
        state = "It cannot be sent:" if is_wrong else "Nothing is sent yet; Send sends this:"
        self._say(f"{state}\n{publication.facts}", is_problem=is_wrong)
        self._draw()

    async def sent(self) -> None:
        """Send what was checked."""
        publication = self._checked
        if publication is None or publication.problems or self._sending is not None:
            return
        self._sending = asyncio.create_task(publication.aio.run(progress=False))
        self._draw()
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
            self._draw()

    def _draw(self) -> None:
        checked, is_sending = self._checked, self._sending is not None
        self.event_type.layout.display = None if self.place.value == _CHANNEL else "none"
        self.check.disabled = is_sending
        self.send.disabled = is_sending or checked is None or bool(checked.problems)
        self.stop.layout.display = None if is_sending else "none"

    def _say(self, text: str, *, is_problem: bool, is_end: bool = True) -> None:
        self._announce(text, is_end=is_end)
        shown = escape(clean(text, _MAX_SHOWN))
        classes = "varco-said" + (" varco-problem" if is_problem else "")
        self.said.value = (
            f'<div class="varco-diff tex2jax_ignore mathjax_ignore"><pre class="{classes}">'
            f"<span>{shown}</span></pre></div>"
        )
