"""What is published as the payload of an event: its type, and what its class says of it. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from varco_core.event.base import Event

from varco_nats.errors import VarcoNatsError
from varco_nats_widgets.frames._payload import TYPE_KEY, take_apart
from varco_nats_widgets.publish._draft import EVENT_ID, TIMESTAMP
from varco_nats_widgets.publish._event_class import class_of

_NONE = "(none)"


class EventTypeError(VarcoNatsError, ValueError):
    """A dict for a channel of which it is not known which type of event it is.

    Attributes:
        channel: the channel.
        found: the event types of its newest messages, and how many have each.
    """

    def __init__(self, channel: str, found: Mapping[str, int], misread: str | None = None) -> None:
        self.channel = channel
        self.found = dict(found)
        if misread is not None:
            super().__init__(f"{misread}; for a channel of that name, say event_type= as well")
            return
        types = ", ".join(f"{name!r} ({count:,})" for name, count in found.items())
        why = f"its newest messages have different ones: {types}" if found else "it is empty"
        super().__init__(
            f"which type of event this is cannot be taken from channel {channel!r}, as {why}; "
            "say it with event_type=, or as '__event_type__' in the dict"
        )


class Payload(NamedTuple):
    """The value that becomes a payload, and what is made anew in each message."""

    value: Any
    fresh: tuple[frozenset[str], frozenset[str]] = (frozenset(), frozenset())
    """Fields of the messages after the first, and of the first."""
    notes: tuple[str, ...] = ()


def of_event(event: Event) -> Payload:
    """The payload of an event; further ones get an id and a time of their own, unless given."""
    value = {TYPE_KEY: event.event_type_name(), **event.model_dump(mode="json")}
    given = event.model_fields_set
    fresh = frozenset(name for name in (EVENT_ID, TIMESTAMP) if name not in given)
    return Payload(value, (fresh, frozenset()))


def of_dict(
    channel: str,
    fields: dict[str, Any],
    event_type: str | None,
    newest: Sequence[dict[str, Any]],
    misread: str | None = None,
) -> Payload:
    """The payload that `fields` are of an event of this channel.

    Args:
        event_type: the type, where it is given.
        newest: what the channel's newest messages say, to take the type from.
        misread: what else the channel's name means, where it has no messages.

    Raises:
        EventTypeError: it is neither given nor the same in all of them.
    """
    notes: list[str] = []
    kind = event_type or fields.get(TYPE_KEY)
    if kind is None:
        types = Counter(take_apart(event).event_type or _NONE for event in newest)
        if len(types) != 1:
            raise EventTypeError(channel, types, misread)
        [kind] = types
        if kind == _NONE:
            note = f"the messages of channel {channel!r} have no event type, and this gets none"
            return Payload(fields, notes=(note,))
        like = "message has" if len(newest) == 1 else f"{len(newest)} messages have"
        notes.append(f"event type {kind!r}, as its newest {like}")
    own = frozenset(name for name in (EVENT_ID, TIMESTAMP) if name not in fields)
    rest = {name: value for name, value in fields.items() if name != TYPE_KEY}
    # in the order in which varco writes them
    value = {TYPE_KEY: kind, **dict.fromkeys(sorted(own)), **rest}
    return Payload(value, (own, own), tuple(notes))


def remarks(value: Any, newest: Iterable[dict[str, Any]]) -> list[str]:
    """What a value lacks or has beside the fields of its class, or of the newest messages."""
    if not isinstance(value, dict):
        return []
    known = class_of(value)
    if known is not None:
        names = {TYPE_KEY}
        for name, field in known.model_fields.items():
            names |= {name, *filter(None, (field.alias, str(field.validation_alias or "")))}
        unknown = [name for name in value if name not in names]
        ignored = known.model_config.get("extra") not in ("allow", "forbid")
        if unknown and ignored:
            return [f"{known.__name__} has no field {', '.join(map(repr, unknown))}"]
        return []
    kind = value.get(TYPE_KEY)
    alike = [event for event in newest if event.get(TYPE_KEY) == kind]
    if not alike:
        return []
    always = set(alike[0]).intersection(*alike)
    notes = []
    if missing := [name for name in alike[0] if name in always and name not in value]:
        notes.append(f"without {', '.join(map(repr, missing))}, which the newest messages have")
    if more := [name for name in value if not any(name in event for event in alike)]:
        notes.append(f"with {', '.join(map(repr, more))}, which none of the newest messages has")
    return notes
