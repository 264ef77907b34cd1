"""Tables that Arrow made of JSON as the columns of a frame; what Arrow leaves open is looked up."""

from __future__ import annotations

from collections.abc import Collection, Container, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from varco_nats_widgets.frames._columns import EARLIEST, LATEST, POOL, event_times
from varco_nats_widgets.frames._payload import OWN, TYPE_KEY

Path = tuple[str, ...]

_TIMES = pa.timestamp("us", "UTC")
_NO_TIME = np.iinfo(np.int64).min
_decoder = msgspec.json.Decoder()


class UnfitError(Exception):
    """Arrow cannot hold these values as they are."""


class Columns:
    """The columns of some events.

    Args:
        names: the column of each path.
        known: the columns of fields that there are already.
        payloads: of the events.
    """

    def __init__(
        self, names: dict[Path, str], known: Container[str], payloads: Sequence[bytes]
    ) -> None:
        self._names = names
        self._known = known
        self._payloads = payloads
        # what Arrow's columns leave open, and the rows whose payloads tell
        self._floats: list[tuple[Path, Any]] = []  # may be integers in the JSON text
        self._lists: list[tuple[Path, Any]] = []
        self._empty: list[tuple[Path, Any]] = []  # objects without fields, which are values
        self._missing: list[tuple[Path, Any]] = []  # may be there with null, which is a column
        self.texts: dict[str, Any] = {}
        """The event types and ids as Arrow arrays, where there are any."""
        self.times: Any = None
        """Microseconds since 1970."""
        self.fields: dict[str, Any] = {}
        """The fields of the payload by the name of their column: Arrow arrays, or lists."""

    def take_table(self, table: Any) -> None:
        """
        Raises:
            UnfitError: a column could differ from that of the events decoded one by one.
        """
        self._take(table.schema, [_whole(column) for column in table.columns], ())
        self._settle()
        self.times = _microseconds(self.texts.pop("timestamp", None), len(table))

    def _take(self, fields: Iterable[Any], arrays: Iterable[Any], outer: Path) -> None:
        for each, array in zip(fields, arrays, strict=True):
            path = (*outer, each.name)
            if pa.types.is_struct(each.type):
                self._take_object(path, array)
            elif not outer and each.name in OWN and each.type == pa.large_string():
                self.texts[OWN[each.name]] = array
                if each.name != TYPE_KEY:  # with null, the others are fields
                    self._may_be_null(path, array)
            elif not outer and each.name == TYPE_KEY and pa.types.is_null(each.type):
                continue
            else:
                self._take_values(path, array)

    def _take_object(self, path: Path, array: Any) -> None:
        self._may_be_null(path, array)
        parts = array.flatten()
        self._take(array.type, parts, path)
        some = np.zeros(len(array), dtype=bool)
        for inner in parts:
            if inner.null_count == 0:
                return
            some |= _valid(inner)
        self._empty.append((path, np.flatnonzero(_valid(array) & ~some)))

    def _may_be_null(self, path: Path, array: Any) -> None:
        if array.null_count and self._names[path] not in self._known:
            rows = np.flatnonzero(~_valid(array)).tolist()
            self._missing.append((path, [r for r in rows if b"null" in self._payloads[r]]))

    def _take_values(self, path: Path, array: Any) -> None:
        name = self._names[path]
        if name not in self._known:
            if array.null_count < len(array):
                raise UnfitError
            self._may_be_null(path, array)
            return
        self.fields[name] = array
        if array.null_count == len(array):
            return
        if pa.types.is_list(array.type):
            self._lists.append((path, np.flatnonzero(_valid(array))))
        elif pa.types.is_floating(array.type):
            numbers = array.to_numpy(zero_copy_only=False)
            doubtful = (numbers == np.floor(numbers)) | ~np.isfinite(numbers)
            if array.null_count:
                doubtful &= _valid(array)
            self._floats.append((path, np.flatnonzero(doubtful)))

    def _settle(self) -> None:
        """Look up what is doubtful.

        Raises:
            UnfitError: a column would differ.
        """
        self._settle_floats()
        doubts = [*self._lists, *self._empty, *self._missing]
        rows = sorted({row for _, rows in doubts for row in map(int, rows)})
        if not rows:
            return
        events = self._decoded(rows, _decoder)
        for path, rows in self._missing:
            if any(path[-1] in (_value(events[row], path[:-1]) or ()) for row in rows):
                raise UnfitError
        for path, rows in self._empty:
            if any(not _value(events[row], path) for row in rows):
                raise UnfitError
        for path, rows in self._lists:
            column = self.fields[self._names[path]] = [None] * len(self._payloads)
            for row in rows.tolist():
                column[row] = _value(events[row], path)

    def _settle_floats(self) -> None:
        """Give back the integers of which Arrow made floats."""
        doubtful = [(path, rows) for path, rows in self._floats if len(rows)]
        if not doubtful:
            return
        try:
            numbers = _Numbers.of(tuple(path for path, _ in doubtful))
        except ValueError:  # msgspec takes no name with a quotation mark, a backslash or the like
            raise UnfitError from None
        rows = np.unique(np.concatenate([rows for _, rows in doubtful])).tolist()
        events = self._decoded(rows, numbers.decoder)
        for path, values in numbers.columns(events.values()):
            if int in set(map(type, values)):
                column = self.fields[self._names[path]].to_pylist()
                for row, value in zip(rows, values, strict=True):
                    if type(value) is int:
                        column[row] = value
                self.fields[self._names[path]] = column

    def _decoded(self, rows: list[int], decoder: msgspec.json.Decoder[Any]) -> dict[int, Any]:
        """The events of these rows; each payload is known to be one JSON object."""
        some = b",".join([self._payloads[row] for row in rows])
        try:
            return dict(zip(rows, decoder.decode(b"[%b]" % some), strict=True))
        except ValueError:  # NaN and the like
            raise UnfitError from None


class _Numbers(NamedTuple):
    """Reads some numbers of events, and none of their other fields, which takes half the time."""

    decoder: msgspec.json.Decoder[Any]
    """Of a list of events, into structs."""
    places: dict[Path, tuple[str, ...]]
    """The attribute of each number, and before it those of the objects that it is in."""

    @classmethod
    @lru_cache(maxsize=64)
    def of(cls, paths: tuple[Path, ...]) -> _Numbers:
        struct, places = _struct(paths)
        return cls(msgspec.json.Decoder(list[struct]), places)  # type: ignore[valid-type]

    def columns(self, events: Collection[Any]) -> Iterator[tuple[Path, list[int | float | None]]]:
        for path, (*outer, last) in self.places.items():
            objects: Iterable[Any] = events
            for attribute in outer:
                objects = [each and getattr(each, attribute) for each in objects]
            yield path, [each and getattr(each, last) for each in objects]


def _struct(paths: Iterable[Path]) -> tuple[Any, dict[Path, tuple[str, ...]]]:
    """A class for objects with numbers at these paths, and the attributes of each number."""
    inner: dict[str, list[Path]] = {}
    for name, *rest in paths:
        inner.setdefault(name, []).append(tuple(rest))
    kinds: list[Any] = []
    places: dict[Path, tuple[str, ...]] = {}
    for place, (name, rests) in enumerate(inner.items()):
        kind, deeper = _struct(rests) if rests[0] else (int | float, {(): ()})
        kinds.append(kind)
        places |= {(name, *rest): (f"f{place}", *below) for rest, below in deeper.items()}
    fields = [(f"f{place}", kind | None, None) for place, kind in enumerate(kinds)]
    names = {f"f{place}": name for place, name in enumerate(inner)}
    return msgspec.defstruct("Numbers", fields, rename=names, gc=False), places


def merged(parts: Sequence[tuple[Any, Columns]], count: int) -> Columns:
    """The columns of `count` rows, from those of some rows each; all rows are in some part."""
    if len(parts) == 1:
        return parts[0][1]
    whole = Columns({}, (), ())
    whole.times = np.empty(count, dtype=np.int64)
    for rows, columns in parts:
        whole.times[rows] = columns.times
    places = _Places([rows for rows, _ in parts], count)
    for kind in ("texts", "fields"):
        by_name: dict[str, dict[int, Any]] = {}
        for number, (_, columns) in enumerate(parts):
            for name, values in getattr(columns, kind).items():
                by_name.setdefault(name, {})[number] = values
        getattr(whole, kind).update({name: places.put(found) for name, found in by_name.items()})
    return whole


class _Places:
    """Puts the values of parts at their rows.

    Args:
        rows: of each part.
        count: of all rows.
    """

    def __init__(self, rows: Sequence[Any], count: int) -> None:
        self._rows = rows
        self._count = count
        self._places: dict[tuple[int, ...], Any] = {}

    def put(self, parts: dict[int, Any]) -> Any:
        """The column of all rows, from the values of some parts by number."""
        types = {None if isinstance(values, list) else values.type for values in parts.values()}
        types.discard(pa.null())
        if not types:
            return pa.nulls(self._count)
        if None in types or len(types) > 1:
            column = [None] * self._count
            for number, values in parts.items():
                some = values if isinstance(values, list) else values.to_pylist()
                for row, value in zip(self._rows[number].tolist(), some, strict=True):
                    column[row] = value
            return column
        parts = {number: values for number, values in parts.items() if values.type in types}
        numbers = tuple(parts)
        if numbers not in self._places:
            places = np.full(self._count, -1)
            first = 0
            for number in numbers:
                rows = self._rows[number]
                places[rows] = np.arange(first, first + len(rows))
                first += len(rows)
            self._places[numbers] = pa.array(places, mask=places < 0)
        return pc.take(
            pa.concat_arrays(list(parts.values()), memory_pool=POOL),
            self._places[numbers],
            memory_pool=POOL,
        )


def _microseconds(texts: Any, rows: int) -> Any:
    """The times of events as `event_times` reads them; all of them have to be times."""
    if texts is None:
        return np.full(rows, _NO_TIME)
    try:
        times = pc.cast(texts, _TIMES, memory_pool=POOL).view(pa.int64())
    except pa.ArrowInvalid:  # not in the form that Arrow reads
        numbers, unreadable = event_times(texts.to_pylist())
        if unreadable:
            raise UnfitError from None
        return numbers
    limits = pc.min_max(times).as_py()
    if limits["min"] is not None and not EARLIEST <= limits["min"] <= limits["max"] <= LATEST:
        raise UnfitError
    return pc.coalesce(times, _NO_TIME, memory_pool=POOL).to_numpy()


def _whole(column: Any) -> Any:
    """The array of a column, which is in one piece as a rule."""
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _valid(array: Any) -> Any:
    return array.is_valid().to_numpy(zero_copy_only=False)


def _value(event: Any, path: Path) -> Any:
    for name in path:
        event = event.get(name)
        if event is None:
            return None
    return event
