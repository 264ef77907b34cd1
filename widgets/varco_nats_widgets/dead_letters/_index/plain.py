"""Dead letters whose events are JSON objects, which conditions read when they are asked. Pure.

To make columns of all fields takes ten times as long as to read those that a condition names.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import lru_cache
from itertools import chain
from operator import attrgetter
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
from msgspec import UNSET

from varco_nats_widgets.dead_letters._index.columns import (
    CODEC,
    Columns,
    frame_named_by,
    names_of,
    outer_names,
)
from varco_nats_widgets.dead_letters._index.frame import PAYLOAD
from varco_nats_widgets.decoders._json import MAX_DEPTH
from varco_nats_widgets.frames._columns import column_of, event_times, strings, utc_index
from varco_nats_widgets.frames._conditions import Condition
from varco_nats_widgets.frames._payload import (
    MORE,
    OWN,
    flatten,
    may_be_envelope,
    take_apart,
    with_time_as_field,
)

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

    def named_by(self, condition: Condition) -> pd.DataFrame:
        """A frame that has what `condition` names, as a frame of all columns would have it."""
        heads, events = self._heads, self._events
        own = {*heads.own, *_OWN}
        asked: dict[str, None] = {}
        for name in condition.columns:
            for outer in outer_names(name):
                if outer not in own:
                    asked[outer.removeprefix(PAYLOAD)] = asked[outer] = None
        fields = {f"{PAYLOAD}{name}": values for name, values in events.fields([*asked]).items()}

        def load(names: Collection[str]) -> dict[str, Any]:
            loaded = heads.load(names)
            loaded |= {name: events.own(name) for name in names if name in _OWN}
            return loaded | {name: column_of(fields[name]) for name in names if name in fields}

        return frame_named_by(condition, own | fields.keys(), load, heads.rows)

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
        [values] = self._roots((_OWN[column],)).values()
        texts = [value if type(value) is str else None for value in values]
        return utc_index(event_times(texts)[0]).array if column == "timestamp" else strings(texts)

    def names(self) -> set[str]:
        """The names of all fields of the payloads, as they are in a frame."""
        found: set[str] = set()
        for fields in self._flat():
            found.update(fields)
        return found

    def fields(self, names: Sequence[str]) -> dict[str, list[Any]]:
        """The values of fields by their names in a frame; only those that an event has."""
        if not names:
            return {}
        found = self._fields_by_path(names)
        if found is None:
            flat = self._flat()
            found = {name: [fields.get(name) for fields in flat] for name in names}
        return {name: values for name, values in found.items() if values.count(None) < len(values)}

    def _flat(self) -> list[dict[str, Any]]:
        """The fields of each payload, as they are in a frame."""
        apart = [(event, take_apart(event)) for event in _objects.decode(self._text())]
        payloads = [fields.payload for _, fields in apart]
        _, unreadable = event_times([fields.timestamp for _, fields in apart])
        for row in unreadable:
            payloads[row] = with_time_as_field(*apart[row])
        return [flatten(payload, _TAKEN) for payload in payloads]

    def _fields_by_path(self, names: Sequence[str]) -> dict[str, list[Any]] | None:
        """The same by the way to each of them; None where a name may stand for something else.

        That is where a key has dots, or `flatten` has to change a name.
        """
        paths = {name: name.split(".") for name in names}
        if any(name in OWN or name in _TAKEN or len(paths[name]) >= MAX_DEPTH for name in names):
            return None
        keys = {name: outer_names(name)[::-1] for name in names}
        try:
            roots = self._roots(tuple(dict.fromkeys(chain.from_iterable(keys.values()))))
        except ValueError:  # a key that no field of a class can have
            return None
        found: dict[str, list[Any]] = {}
        for name, (first, *steps) in paths.items():
            # `data.` may also have been put before another name
            odd = keys[name] if name.startswith(PAYLOAD) else keys[name][1:]
            if any(roots[key].count(UNSET) < self._rows for key in odd):
                return None
            values = _at_end(roots[first], steps)
            if values is None:
                return None
            found[name] = values
        return found

    def _roots(self, keys: tuple[str, ...]) -> dict[str, list[Any]]:
        """What each event has at these keys, UNSET where it has none."""
        events = _decoder_of(keys).decode(self._text())
        return {key: [*map(attrgetter(f"f{n}"), events)] for n, key in enumerate(keys)}


@lru_cache(maxsize=64)
def _decoder_of(keys: tuple[str, ...]) -> msgspec.json.Decoder[list[Any]]:
    """A decoder of events that reads these keys and skips the others."""
    fields = [(f"f{n}", Any, msgspec.field(name=key, default=UNSET)) for n, key in enumerate(keys)]
    return msgspec.json.Decoder(list[msgspec.defstruct("Event", fields, gc=False)])  # type: ignore[misc]


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
    return [
        None if value is UNSET or (type(value) is dict and value) else value for value in values
    ]
