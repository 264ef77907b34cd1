"""Blocks of plain JSON events as Arrow tables, without a Python object for each field. Pure.

Wherever the columns could differ from those of the events decoded one by one, the block is refused.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Container, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from varco_nats_widgets.decoders._json import MAX_DEPTH
from varco_nats_widgets.frames._arrow_columns import Columns, Path, UnfitError, merged
from varco_nats_widgets.frames._columns import POOL, clean
from varco_nats_widgets.frames._payload import TYPE_KEY, decode, may_be_envelope

LEAST, _MOST = 512, 8192  # rows in a block
_MOST_BYTES = 500_000  # of payload in a table: more takes memory, and is no faster
_MOST_TABLES = 2  # of a block are as large; a small one costs as much, but blocks take memory
_PATIENCE = 3  # refusals before a pause
_LONGEST_PAUSE = 2**20  # rows
_MANY_TYPES = 500
_ROWS_OF_TYPE = 16  # with fewer rows, a table for each event type is not worth it
_TYPE = re.compile(rb'"%b"\s*:\s*("(?:[^"\\]|\\.)*")' % TYPE_KEY.encode())
_INT64 = np.iinfo(np.int64)
_LOWEST, _HIGHEST = int(_INT64.min), int(_INT64.max)
_ARROW: dict[frozenset[type], Any] = {
    frozenset(): pa.null(),
    frozenset({str}): pa.large_string(),
    frozenset({bool}): pa.bool_(),
    frozenset({int}): pa.int64(),
    frozenset({float}): pa.float64(),
    frozenset({int, float}): pa.float64(),
}


class _Kinds:
    """What is known of the values of a field: their types, and those of what is in them."""

    __slots__ = ("fields", "items", "types")

    def __init__(self) -> None:
        self.types: set[type] = set()
        self.fields: dict[str, _Kinds] = {}  # of objects
        self.items: _Kinds | None = None  # of lists

    def learn(self, values: Sequence[Any], depth: int) -> None:
        types = set(map(type, values)) - {type(None)}
        self.types |= types
        if int in types:
            integers = [value for value in values if type(value) is int]
            if min(integers) < _LOWEST or max(integers) > _HIGHEST:
                self.types.add(float)  # a whole float is doubtful, so that it is looked up
        if depth >= MAX_DEPTH:
            return
        if dict in types:
            self.learn_fields([value for value in values if type(value) is dict], depth + 1)
        if list in types:
            if self.items is None:
                self.items = _Kinds()
            items = [item for value in values if type(value) is list for item in value]
            self.items.learn(items, depth + 1)

    def learn_fields(self, objects: Iterable[dict[str, Any]], depth: int = 1) -> None:
        alike: dict[tuple[str, ...], list[Any]] = {}
        for each in objects:
            alike.setdefault(tuple(each), []).append(each.values())
        for names, rows in alike.items():
            for name, values in zip(names, zip(*rows, strict=True), strict=True):
                self.fields.setdefault(name, _Kinds()).learn(values, depth)

    def arrow(self, depth: int) -> Any:
        """The Arrow type that takes these values and no others.

        Raises:
            UnfitError: there is none.
        """
        if self.types == {dict} and self.fields and depth < MAX_DEPTH:
            return pa.struct(self.arrow_fields(depth + 1))
        if self.types == {list} and self.items is not None and depth < MAX_DEPTH:
            return pa.list_(self.items.arrow(depth + 1))
        try:
            return _ARROW[frozenset(self.types)]
        except KeyError:
            raise UnfitError from None

    def arrow_fields(self, depth: int = 1) -> list[Any]:
        if any(clean(name) != name for name in self.fields):
            raise UnfitError  # half a surrogate pair
        return [pa.field(name, kinds.arrow(depth)) for name, kinds in self.fields.items()]


class _Layout(NamedTuple):
    """How events of a type are read: the names of their columns, and Arrow's options."""

    names: dict[Path, str]
    options: Any

    @classmethod
    def of(cls, kinds: _Kinds, taken: Collection[str], prefix: str) -> _Layout:
        """
        Raises:
            UnfitError: they cannot be read by Arrow.
        """
        import pyarrow.json as pj  # here, so that importing the package stays fast

        if may_be_envelope({*kinds.fields} - {TYPE_KEY}):
            raise UnfitError
        schema = pa.schema(kinds.arrow_fields())
        names = {path: prefix + name for path, name in _names(schema, taken).items()}
        return cls(
            names, pj.ParseOptions(explicit_schema=schema, unexpected_field_behavior="error")
        )


class _Group(NamedTuple):
    """The rows of a block whose events are of one type."""

    rows: Any
    layout: _Layout
    table: Any


class PlainReader:
    """Reads blocks of payloads that look like those before them.

    Args:
        taken: names of columns that no field may have.
        prefix: goes before the name of each field's column.
    """

    def __init__(self, taken: Collection[str], prefix: str = "") -> None:
        self._taken = taken
        self._prefix = prefix
        self._known: dict[Any, _Kinds] = {}  # by event type
        self._layouts: dict[Any, _Layout] | None = None
        self._size = LEAST
        self._refusals = 0  # one after another
        self._pause = 0  # rows before the next attempt
        self._threads: ThreadPoolExecutor | None = None

    @property
    def is_ready(self) -> bool:
        """Whether it has learned from events that it can read more of them."""
        return self._layouts is not None and self._pause <= 0

    @property
    def rows(self) -> int:
        """How many rows to take at once."""
        return self._size if self.is_ready else LEAST

    def is_due(self, rows: int) -> bool:
        """Whether it wants to learn from these rows, which are read by the exact way."""
        due = self._pause <= 0
        self._pause -= rows
        return due

    def refused(self) -> None:
        """Take smaller blocks from now on, and none for a while after some refusals."""
        self._size = max(self._size // 2, LEAST)
        self._refusals += 1
        if self._refusals >= _PATIENCE:
            self._pause = min(_MOST << (self._refusals - _PATIENCE), _LONGEST_PAUSE)

    def learn(self, events: Iterable[dict[str, Any]]) -> None:
        """Take in which fields events have, and of which types these are."""
        by_type: dict[Any, list[dict[str, Any]]] = {}
        for event in events:
            event_type = event.get(TYPE_KEY)
            key = event_type if type(event_type) is str else None
            by_type.setdefault(key, []).append(event)
        for key, some in by_type.items():
            self._known.setdefault(key, _Kinds()).learn_fields(some)
        self._layouts = None
        try:
            if len(self._known) > _MANY_TYPES:
                raise UnfitError
            self._layouts = {
                key: _Layout.of(kinds, self._taken, self._prefix)
                for key, kinds in self._known.items()
            }
        except UnfitError:
            self._known.clear()  # an odd event may be the only one of its kind
            self.refused()

    def start(self, payloads: Sequence[bytes]) -> Future[list[_Group] | None]:
        """Begin to read a block in a thread; the result is for `chosen` and `block`."""
        assert self._layouts is not None
        if self._threads is None:
            self._threads = ThreadPoolExecutor(2, "varco-nats-columns")
        return self._threads.submit(_read, payloads, self._layouts)

    def rest(self) -> None:
        """End the threads, once no block is being read; the next one starts them again."""
        if self._threads is not None:
            self._threads.shutdown()
            self._threads = None

    def chosen(self, groups: list[_Group], count: int, event_types: Iterable[str]) -> Any:
        """The rows of a block of `count` that have one of these types."""
        wanted = pa.array(sorted(event_types), pa.large_string())
        found = np.zeros(count, dtype=bool)
        for rows, _, table in groups:
            if TYPE_KEY in table.column_names and table[TYPE_KEY].type == pa.large_string():
                found[rows] = pc.is_in(table[TYPE_KEY], value_set=wanted).to_numpy()
        return np.flatnonzero(found)

    def block(
        self, groups: list[_Group], payloads: Sequence[bytes], known: Container[str], rows: Any
    ) -> Columns | None:
        """The columns of a block; None if they could differ from those of the exact way.

        Args:
            payloads: all of the block.
            known: the columns of fields that there are already; a new one gets its place by the
                exact way.
            rows: the rows to take, in order; None takes all.
        """
        parts = []
        count = len(payloads) if rows is None else len(rows)
        try:
            for places, layout, table in groups:
                if rows is not None:
                    kept = np.flatnonzero(np.isin(places, rows))
                    places, table = places[kept], table.take(kept)
                its_own = len(places) < len(payloads)
                some = [payloads[row] for row in places] if its_own else payloads
                columns = Columns(layout.names, known, some)
                columns.take_table(table)
                parts.append((places if rows is None else np.searchsorted(rows, places), columns))
            whole = merged(parts, count)
        except UnfitError:
            return None
        self._refusals = 0
        each = sum(map(len, payloads)) // len(payloads) + 1
        most = _MOST_BYTES * min(len(groups), _MOST_TABLES) // each
        self._size = max(min(2 * self._size, _MOST, most), LEAST)
        return whole


def _names(schema: Any, taken: Collection[str]) -> dict[Path, str]:
    """The name of each path's column.

    Raises:
        UnfitError: it depends on what else is in an event.
    """
    names: dict[Path, str] = {}

    def walk(fields: Iterable[Any], outer: Path) -> None:
        for each in fields:
            path = (*outer, each.name)
            names[path] = ".".join(path)
            if pa.types.is_struct(each.type):
                walk(each.type, path)

    walk(schema, ())
    renamed = {path: f"data.{name}" for path, name in names.items() if name in taken}
    final = names | renamed
    if (
        len({*final.values()}) < len(final)
        or any(name in taken for name in final.values())
        or not {*renamed.values()}.isdisjoint(names.values())
    ):
        raise UnfitError
    return final


def _read(payloads: Sequence[bytes], layouts: dict[Any, _Layout]) -> list[_Group] | None:
    """The tables with a row for each payload; None if some are not what `layouts` say."""
    if len(layouts) == 1:
        (only,) = layouts.values()
        table = _table(payloads, only.options)
        return None if table is None else [_Group(np.arange(len(payloads)), only, table)]
    by_type: dict[Any, list[int]] = {}
    for row, data in enumerate(payloads):
        found = _TYPE.search(data)  # where this is wrong, the layout does not fit
        by_type.setdefault(found and found[1], []).append(row)
    if len(by_type) * _ROWS_OF_TYPE > len(payloads):
        return None
    groups = []
    for text, rows in by_type.items():
        layout = layouts.get(None if text is None else decode(text)[0])
        if layout is None:
            return None
        table = _table([payloads[row] for row in rows], layout.options)
        if table is None:
            return None
        groups.append(_Group(np.array(rows), layout, table))
    return groups


def _table(payloads: Sequence[bytes], options: Any) -> Any:
    """The table with a row for each payload; None if they are not what the options say.

    Each payload begins with `{` and ends with `}`, and there is a line break between them: in a
    text there can be none, and between two values of one document there would be a comma. So each
    payload holds whole documents, and exactly one if there are as many rows as payloads.
    """
    text = b"\n".join(payloads)
    if not (text.startswith(b"{") and text.endswith(b"}")) or b"\0" in text:  # NUL ends a text
        return None
    characters = np.frombuffer(text, dtype=np.uint8)
    breaks = np.flatnonzero(characters == ord("\n"))
    if (
        len(breaks) != len(payloads) - 1
        or (characters[breaks - 1] != ord("}")).any()
        or (characters[breaks + 1] != ord("{")).any()
    ):
        return None
    import pyarrow.json as pj

    # all in one block, so that a column is one piece
    reading = pj.ReadOptions(use_threads=False, block_size=len(text) + 1)
    try:
        if not text.isascii():
            text.decode()  # Arrow does not check what is in texts
        table = pj.read_json(
            pa.BufferReader(text), read_options=reading, parse_options=options, memory_pool=POOL
        )
    except (pa.ArrowException, UnicodeDecodeError):
        return None
    return table if len(table) == len(payloads) else None
