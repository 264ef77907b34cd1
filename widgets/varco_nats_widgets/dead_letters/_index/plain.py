"""Dead letters whose events are JSON objects, which conditions read when they are asked. Pure.

To make columns of all fields takes ten times as long as to read those that a condition names.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import chain
from operator import attrgetter
from typing import Any, TypedDict

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from msgspec import UNSET, UnsetType

from varco_nats_widgets.dead_letters._index.columns import (
    CODEC,
    Columns,
    names_of,
    outer_names,
    table_named_by,
)
from varco_nats_widgets.dead_letters._index.frame import PAYLOAD
from varco_nats_widgets.decoders._json import MAX_DEPTH
from varco_nats_widgets.frames._columns import column_of, event_times, strings, utc_index
from varco_nats_widgets.frames._condition_fields import Table
from varco_nats_widgets.frames._conditions import Condition
from varco_nats_widgets.frames._payload import (
    MORE,
    OWN,
    flatten,
    may_be_envelope,
    take_apart,
    with_time_as_field,
)

type KeyPath = tuple[str, ...]

_TAKEN = frozenset({MORE.removeprefix(PAYLOAD)})
"""The names that no field of the payload has, as in the frame of an entry."""
_OWN = {column: key for key, column in OWN.items()}
_NESTED = 400  # objects and lists, of which far more can be nested before JSON is refused
_decoder = msgspec.json.Decoder()
_objects = msgspec.json.Decoder(list[dict[str, Any]])
_pieces = msgspec.json.Decoder(list[msgspec.Raw])


def plain_event(data: bytes) -> dict[str, Any] | None:
    """The event in `data` where that is a JSON object as varco writes it; None for all else."""
    try:
        event = _decoder.decode(data)
    except (ValueError, RecursionError):
        return None
    if data.count(b"{") + data.count(b"[") > _NESTED:  # it may be too deep where others surround it
        return None
    return event if type(event) is dict and not may_be_envelope(event) else None


class PlainEntries:
    """Some entries, of which conditions find what they name.

    Args:
        heads: the columns of the entries themselves.
        events: those that failed, one for each.
    """

    def __init__(self, heads: Columns, events: PlainEvents) -> None:
        self._heads = heads
        self._events = events

    @property
    def nbytes(self) -> int:
        return self._heads.nbytes + self._events.nbytes

    @property
    def names(self) -> set[str]:
        """The columns that a condition may name, the payload's fields by their own names, too."""
        payload = [f"{PAYLOAD}{name}" for name in self._events.names()]
        return names_of({*self._heads.own, *_OWN, *payload})

    def named_by(self, condition: Condition) -> Table:
        """What `condition` names, as a frame of all columns would have it."""
        heads, events = self._heads, self._events
        own = {*heads.own, *_OWN}
        asked: dict[str, None] = {}
        for name in condition.columns:
            if name not in own:
                asked[name.removeprefix(PAYLOAD)] = asked[name] = None
        fields = {f"{PAYLOAD}{name}": values for name, values in events.fields([*asked]).items()}

        def load(name: str) -> Any:
            if (values := fields.get(name)) is not None:  # pandas makes arrays of texts slowly
                return values if str in {*map(type, values)} else column_of(values)
            return events.own(name) if name in _OWN else heads.load(name)

        return table_named_by(condition, own | fields.keys(), load, heads.rows)

    def at(self, rows: npt.NDArray[np.int32]) -> PlainEntries:
        """Those in these rows."""
        return PlainEntries(self._heads.at(rows), self._events.at(rows))


class PlainEvents:
    """Events as JSON, compressed.

    Args:
        payloads: each is one that `plain_event` accepts.
    """

    def __init__(self, payloads: Sequence[bytes]) -> None:
        text = b"[%b]" % b",".join(payloads)
        self._rows, self._size = len(payloads), len(text)
        self._data = pa.compress(text, codec=CODEC, asbytes=True)

    @property
    def nbytes(self) -> int:
        return len(self._data)

    def _text(self) -> bytes:
        text: bytes = pa.decompress(self._data, self._size, codec=CODEC, asbytes=True)
        return text

    def at(self, rows: npt.NDArray[np.int32]) -> PlainEvents:
        """Those in these rows."""
        pieces = _pieces.decode(self._text())
        return PlainEvents([bytes(pieces[row]) for row in rows.tolist()])

    def own(self, column: str) -> Any:
        """The array of a column that is no field of the payload: `event_type` and the like."""
        [values] = self._roots(((_OWN[column],),)).values()
        texts = [value if type(value) is str else None for value in values]
        return utc_index(event_times(texts)[0]).array if column == "timestamp" else strings(texts)

    def names(self) -> set[str]:
        """The names of all fields of the payloads, as they are in a frame."""
        different = {_shape(payload): payload for payload in self._payloads()}
        return {name for payload in different.values() for name in flatten(payload, _TAKEN)}

    def fields(self, names: Sequence[str]) -> dict[str, list[Any]]:
        """The values of fields by their names in a frame, and of those that may have them in their
        objects; only those that an event has."""
        if not names:
            return {}
        found = self._fields_by_path(names)
        if found is None:
            flat = [flatten(payload, _TAKEN) for payload in self._payloads()]
            every = dict.fromkeys(chain.from_iterable(map(outer_names, names)))
            found = {name: [fields.get(name) for fields in flat] for name in every}
        return {name: values for name, values in found.items() if values.count(None) < len(values)}

    def _payloads(self) -> list[dict[str, Any]]:
        """What each event has beside the fields of every event, as it is in a frame."""
        apart = [(event, take_apart(event)) for event in _objects.decode(self._text())]
        payloads = [fields.payload for _, fields in apart]
        _, unreadable = event_times([fields.timestamp for _, fields in apart])
        for row in unreadable:
            payloads[row] = with_time_as_field(*apart[row])
        return payloads

    def _fields_by_path(self, names: Sequence[str]) -> dict[str, list[Any]] | None:
        """The same by the way to each of them; None where a name may stand for something else.

        That is where a key has dots, or `flatten` has to change a name.
        """
        paths = {name: name.split(".") for name in names}
        if any(name in OWN or name in _TAKEN or len(paths[name]) >= MAX_DEPTH for name in names):
            return None
        # `data.` may also have been put before another name
        odd = {
            name: outer_names(name)[: None if name.startswith(PAYLOAD) else -1] for name in names
        }
        inner = chain.from_iterable(map(_dotted, paths.values()))
        outer = ((key,) for key in chain.from_iterable(odd.values()))
        try:
            roots = self._roots((*map(tuple, paths.values()), *inner, *outer))
        except ValueError:  # a key that no field of a class can have
            return None
        found: dict[str, list[Any]] = {}
        for name, (first, *steps) in paths.items():
            if any(roots[key].count(UNSET) < self._rows for key in odd[name]):
                return None
            values = _at_end(roots[first], steps)
            if values is None:
                return None
            found[name] = values
        return found

    def _roots(self, paths: tuple[KeyPath, ...]) -> dict[str, list[Any]]:
        """What each event has at the first keys of these paths, UNSET where it has none.

        Of an object only what is on the paths.
        """
        events = _decoder_of(paths).decode(self._text())
        keys = dict.fromkeys(first for first, *_ in paths)
        return {key: [*map(attrgetter(f"f{n}"), events)] for n, key in enumerate(keys)}


def _shape(payload: dict[str, Any]) -> tuple[Any, ...]:
    """What payloads have in common whose fields have the same names."""
    return tuple(
        [(key, _shape(value)) if type(value) is dict else key for key, value in payload.items()]
    )


@lru_cache(maxsize=64)
def _decoder_of(paths: tuple[KeyPath, ...]) -> msgspec.json.Decoder[list[Any]]:
    """A decoder of events that reads what is on these paths and skips all else."""
    fields = [
        (f"f{n}", kind, msgspec.field(name=key, default=UNSET))
        for n, (key, kind) in enumerate(_members(paths).items())
    ]
    return msgspec.json.Decoder(list[msgspec.defstruct("Event", fields, gc=False)])  # type: ignore[misc]


def _members(paths: Iterable[KeyPath]) -> dict[str, Any]:
    """The types to read at the first keys of these paths."""
    rest: dict[str, list[KeyPath]] = {}
    for first, *steps in paths:
        rest.setdefault(first, []).append(tuple(steps))
    return {key: _object(steps) for key, steps in rest.items()}


def _object(paths: Collection[KeyPath]) -> Any:
    """The type of an object of which only what is on these paths is read, or of any other value."""
    # msgspec reads no key of a TypedDict that is not ASCII
    if () in paths or not all(step.isascii() for path in paths for step in path):
        return Any
    members = TypedDict("Object", _members(paths), total=False)  # type: ignore[misc]
    return members | str | int | float | bool | list[Any] | None


def _dotted(path: Sequence[str]) -> Iterator[KeyPath]:
    """The paths on which a key with dots stands for several steps of this one, after the first."""
    for place in range(1, len(path) - 1):
        for end in range(place + 2, len(path) + 1):
            yield (*path[:place], ".".join(path[place:end]))


def _at_end(values: Sequence[Any], steps: Sequence[str]) -> list[Any] | None:
    """What each value has at the end of these steps; None where a key in it has dots."""
    for place, step in enumerate(steps):
        dotted = outer_names(".".join(steps[place:]))[:-1]
        dotted = [key for key in dotted if key != step]
        if dotted and any(
            type(value) is dict and not value.keys().isdisjoint(dotted) for value in values
        ):
            return None
        values = [value.get(step) if type(value) is dict else None for value in values]
    # objects have no column of their own, unless they are empty
    if {*map(type, values)}.isdisjoint((UnsetType, dict)):
        return [*values]
    return [
        None if value is UNSET or (type(value) is dict and value) else value for value in values
    ]
