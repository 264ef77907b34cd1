"""What filters look for in dead letters besides codes: their texts and columns, compressed. Pure.

To decompress those of 100,000 entries takes less than it takes to ask a server for one of them.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from varco_nats_widgets.dead_letters._index.columns import CODEC
from varco_nats_widgets.dead_letters._index.filter import event_of, readable
from varco_nats_widgets.dead_letters._index.page import Page
from varco_nats_widgets.frames._conditions import Condition

type Mask = npt.NDArray[np.bool_]

_FEWEST = 0.5  # of the rows of a block, below which those that are gone are thrown out


class Block:
    """Some entries, of which nothing is kept but what filters look for."""

    def __init__(self, page: Page) -> None:
        self._messages = _Texts([stored.entry.error_message for stored in page.entries])
        self._events = _Texts([readable(event_of(stored) or b"") for stored in page.entries])
        self._parts = page.parts()
        self._size = len(page)  # with those that are gone
        self._rows = np.arange(self._size, dtype=np.int32)  # those that are not gone

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def nbytes(self) -> int:
        """The memory that it takes."""
        texts = self._messages.nbytes + self._events.nbytes
        parts = sum(places.nbytes + part.nbytes for places, part in self._parts)
        return self._rows.nbytes + texts + parts

    @property
    def names(self) -> set[str]:
        """The columns that a condition may name, the payload's fields by their own names, too."""
        return set[str]().union(*(part.names for _, part in self._parts))

    def with_error(self, text: str) -> Mask:
        """Whether the error message of each entry has `text`, whatever the case."""
        return self._messages.having(text)[self._rows]

    def with_text(self, text: str) -> Mask:
        """The same for its error message or its payload."""
        found = self._messages.having(text)
        if not found.all():
            found |= self._events.having(text)
        return found[self._rows]

    def meeting(self, condition: Condition) -> Mask:
        """Whether each entry meets `condition`."""
        found = np.zeros(self._size, dtype=bool)
        for places, part in self._parts:
            found[places] = condition.mask(part.named_by(condition))
        return found[self._rows]

    def kept(self, kept: Mask) -> Block:
        """The block of those entries."""
        block: Block = object.__new__(Block)
        rows = self._rows[kept]
        if len(rows) >= _FEWEST * self._size:
            block._messages, block._events, block._parts = (
                self._messages,
                self._events,
                self._parts,
            )
            block._size, block._rows = self._size, rows
            return block
        block._messages = self._messages.at(rows)
        block._events = self._events.at(rows)
        block._parts = []
        for places, part in self._parts:
            left = np.flatnonzero(np.isin(places, rows)).astype(np.int32)
            if len(left):
                now = np.searchsorted(rows, places[left]).astype(np.int32)
                block._parts.append((now, part.at(left)))
        block._size = len(rows)
        block._rows = np.arange(len(rows), dtype=np.int32)
        return block


class _Texts:
    """Texts that are searched whatever the case."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._set([_folded(text) for text in texts])

    def _set(self, texts: Sequence[bytes]) -> None:
        self._ends = np.cumsum([0, *map(len, texts)], dtype=np.int64)
        self._data = pa.compress(b"".join(texts), codec=CODEC, asbytes=True)

    def _all(self) -> bytes:
        size = int(self._ends[-1])
        data: bytes = pa.decompress(self._data, size, codec=CODEC, asbytes=True) if size else b""
        return data

    @property
    def nbytes(self) -> int:
        return len(self._data) + self._ends.nbytes

    def having(self, text: str) -> Mask:
        """Whether each of them contains `text`, which is not empty."""
        data, ends, needle = self._all(), self._ends.tolist(), _folded(text)
        found = np.zeros(len(ends) - 1, dtype=bool)
        place = data.find(needle)
        while place >= 0:
            row = bisect_right(ends, place) - 1
            if place + len(needle) <= ends[row + 1]:
                found[row] = True
                place = data.find(needle, ends[row + 1])
            else:  # it runs into the next text, so that it is in neither
                place = data.find(needle, place + 1)
        return found

    def at(self, rows: npt.NDArray[np.int32]) -> _Texts:
        """Those in these rows."""
        data, ends = self._all(), self._ends.tolist()
        texts = _Texts(())
        texts._set([data[ends[row] : ends[row + 1]] for row in rows.tolist()])
        return texts


def _folded(text: str) -> bytes:
    try:
        return text.casefold().encode()  # naming the errors takes twice as long
    except UnicodeEncodeError:
        return text.casefold().encode(errors="surrogatepass")
