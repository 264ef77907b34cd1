"""The rows of a live frame: the newest ones, bounded by number and bytes.

Adding rows only decodes them. Their frame is made when somebody asks for it and kept, so that the
next one costs only as much as the rows that came since.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pandas as pd

from varco_nats.history import StoredMessage
from varco_nats_widgets.frames import FrameBuilder
from varco_nats_widgets.frames._times import TimesFound, add_found, explained, with_times
from varco_nats_widgets.live._join import joined

_OVERHEAD_BYTES = 64  # counted for each row besides its payload
_CHUNKS = 8  # a chunk holds at most this fraction of all rows, so that whole chunks are dropped
_SMALLEST_CHUNK = 64


@dataclass(eq=False, slots=True)
class _RowChunk:
    """Rows that came since the last frame was made."""

    builder: FrameBuilder
    rows: int = 0
    bytes: int = 0
    skip: int = 0  # rows at its beginning that were dropped


class BoundedRows:
    """The newest messages that were added, as a DataFrame. Thread-safe.

    Args:
        make_builder: gives an empty builder.
        max_rows: the most rows that are kept.
        max_bytes: the most bytes of payload that are kept; the newest row is kept in any case.
        times: the fields that become times.
    """

    def __init__(
        self,
        make_builder: Callable[[], FrameBuilder],
        max_rows: int,
        max_bytes: int,
        times: Sequence[str] = (),
    ) -> None:
        self._make_builder = make_builder
        self._max_rows = max_rows
        self._max_bytes = max_bytes
        self._chunk_rows = max(max_rows // _CHUNKS, _SMALLEST_CHUNK)
        self._chunk_bytes = max_bytes // _CHUNKS
        self._lock = threading.Lock()  # never held while frames are made
        self._making = threading.Lock()
        self._last_frame: pd.DataFrame | None = None
        self._skip = 0  # rows at its beginning that were dropped
        self._chunks: deque[_RowChunk] = deque()  # the rows that came after it
        self._open: _RowChunk | None = None  # the last chunk, while rows are added to it
        self._sizes: deque[int] = deque()
        self._bytes = 0
        self._version = -1  # what `added` was when the last frame was made
        self._times: dict[str, TimesFound | None] = dict.fromkeys(times)
        self.added = 0
        """Rows ever added."""
        self.problem = ""
        """What is no time among the fields that become times, in the rows of frames so far."""

    @property
    def dropped(self) -> int:
        """Rows that were dropped to stay within the bounds."""
        return self.added - len(self._sizes)

    @property
    def bound(self) -> str | None:
        """The bound that is reached, `max_rows` or `max_bytes`; None before that."""
        if not self.dropped:
            return None
        return "max_rows" if len(self._sizes) >= self._max_rows else "max_bytes"

    def add(self, messages: Sequence[StoredMessage]) -> None:
        """Append a row for each message; the oldest rows beyond the bounds are dropped."""
        if not messages:
            return
        with self._lock:
            chunk = self._open
            if chunk is None:
                chunk = self._open = _RowChunk(self._make_builder())
                self._chunks.append(chunk)
            chunk.builder.add(messages)
            sizes = [len(message.data) + _OVERHEAD_BYTES for message in messages]
            self._sizes.extend(sizes)
            chunk.rows += len(sizes)
            chunk.bytes += sum(sizes)
            self._bytes += sum(sizes)
            self.added += len(sizes)
            if chunk.rows >= self._chunk_rows or chunk.bytes >= self._chunk_bytes:
                self._open = None
            self._drop()

    def _drop(self) -> None:
        while len(self._sizes) > self._max_rows or (
            self._bytes > self._max_bytes and len(self._sizes) > 1
        ):
            self._bytes -= self._sizes.popleft()
            if self._last_frame is not None and self._skip < len(self._last_frame):
                self._skip += 1
                continue
            first = self._chunks[0]
            first.skip += 1
            if first.skip == first.rows:
                self._chunks.popleft()
                self._open = None if self._open is first else self._open

    def snapshot(self) -> tuple[pd.DataFrame, int]:
        """The rows, in a copy that shares the data, and what `added` was when it was made.

        It costs little if few rows are new.
        """
        with self._making:
            with self._lock:
                version, last, skip = self.added, self._last_frame, self._skip
                if last is not None and self._version == version:
                    return last.copy(deep=False), version
                chunks = [(chunk, chunk.skip) for chunk in self._chunks]
                self._open = None
            frames = [
                self._with_times(chunk.builder.build().iloc[skipped:]) for chunk, skipped in chunks
            ]
            if last is not None and skip < len(last):
                frames.insert(0, last.iloc[skip:])
            frame = joined(frames) if frames else self._make_builder().build()
            with self._lock:
                self._skip = self._dropped_since(chunks, skip)
                self._last_frame, self._version = frame, version
            return frame.copy(deep=False), version

    def _with_times(self, frame: pd.DataFrame) -> pd.DataFrame:
        frame, times = with_times(frame, self._times)
        add_found(self._times, times)
        problems = [explained(name, found) for name, found in self._times.items()]
        self.problem = next(filter(None, problems), "")
        return frame

    def _dropped_since(self, chunks: list[tuple[_RowChunk, int]], skip: int) -> int:
        """How many rows of the new frame were dropped meanwhile; removes the chunks it is of."""
        dropped = self._skip - skip
        for chunk, skipped in chunks:
            if self._chunks and self._chunks[0] is chunk:
                dropped += chunk.skip - skipped
                self._chunks.popleft()
            else:
                dropped += chunk.rows - skipped
        return dropped
