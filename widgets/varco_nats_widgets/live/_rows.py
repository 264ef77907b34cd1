"""The rows of a live frame: the newest ones, bounded by number and bytes, cheap to look at often.

Adding only decodes; frames are made of the new rows when somebody looks, and kept.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence

import pandas as pd

from varco_nats.history import StoredMessage
from varco_nats_widgets.frames import FrameBuilder
from varco_nats_widgets.live._join import joined

_OVERHEAD_BYTES = 64  # counted for each row besides its payload
_PARTS = 8  # a part holds this fraction of what is kept, so that whole parts can be dropped
_SMALLEST_PART = 64


class _Part:
    """Rows that nobody has looked at yet."""

    def __init__(self, builder: FrameBuilder) -> None:
        self.builder = builder
        self.rows = 0
        self.bytes = 0
        self.skip = 0  # rows at its beginning that fell out


class BoundedRows:
    """The newest messages that were added, as a DataFrame. Thread-safe.

    Args:
        make_builder: gives an empty builder.
        max_rows: rows kept at most.
        max_bytes: of the payloads kept at most; the newest row is always kept.
    """

    def __init__(
        self, make_builder: Callable[[], FrameBuilder], max_rows: int, max_bytes: int
    ) -> None:
        self._make_builder = make_builder
        self._max_rows = max_rows
        self._max_bytes = max_bytes
        self._part_rows = max(max_rows // _PARTS, _SMALLEST_PART)
        self._part_bytes = max_bytes // _PARTS
        self._lock = threading.Lock()  # never held while frames are made
        self._making = threading.Lock()
        self._whole: pd.DataFrame | None = None  # what was looked at
        self._skip = 0  # rows at its beginning that fell out
        self._parts: deque[_Part] = deque()  # what came after it
        self._open: _Part | None = None  # the last part, while rows are added to it
        self._sizes: deque[int] = deque()
        self._bytes = 0
        self._version = -1  # what `added` was at the last look
        self.added = 0
        """Rows ever added."""

    @property
    def dropped(self) -> int:
        """Rows that fell out."""
        return self.added - len(self._sizes)

    @property
    def bound(self) -> str | None:
        """Which bound is reached."""
        if not self.dropped:
            return None
        return "max_rows" if len(self._sizes) >= self._max_rows else "max_bytes"

    def add(self, messages: Sequence[StoredMessage]) -> None:
        """Append a row for each message; the oldest rows beyond the bounds fall out."""
        if not messages:
            return
        with self._lock:
            part = self._open
            if part is None:
                part = self._open = _Part(self._make_builder())
                self._parts.append(part)
            assert part.builder is not None
            part.builder.add(messages)
            sizes = [len(message.data) + _OVERHEAD_BYTES for message in messages]
            self._sizes.extend(sizes)
            part.rows += len(sizes)
            part.bytes += sum(sizes)
            self._bytes += sum(sizes)
            self.added += len(sizes)
            if part.rows >= self._part_rows or part.bytes >= self._part_bytes:
                self._open = None
            self._drop()

    def _drop(self) -> None:
        while len(self._sizes) > self._max_rows or (
            self._bytes > self._max_bytes and len(self._sizes) > 1
        ):
            self._bytes -= self._sizes.popleft()
            if self._whole is not None and self._skip < len(self._whole):
                self._skip += 1
                continue
            first = self._parts[0]
            first.skip += 1
            if first.skip == first.rows:
                self._parts.popleft()
                self._open = None if self._open is first else self._open

    def snapshot(self) -> tuple[pd.DataFrame, int]:
        """The rows that are kept, in a copy that shares the data, and what `added` was.

        Costs little when few are new.
        """
        with self._making:
            with self._lock:
                version, whole, skip = self.added, self._whole, self._skip
                if whole is not None and self._version == version:
                    return whole.copy(deep=False), version
                parts = [(part, part.skip) for part in self._parts]
                self._open = None
            frames = [part.builder.build().iloc[fallen:] for part, fallen in parts]
            if whole is not None and skip < len(whole):
                frames.insert(0, whole.iloc[skip:])
            frame = joined(frames) if frames else self._make_builder().build()
            with self._lock:
                self._skip = self._fallen_since(parts, skip)
                self._whole, self._version = frame, version
            return frame.copy(deep=False), version

    def _fallen_since(self, parts: list[tuple[_Part, int]], skip: int) -> int:
        """How many of the rows looked at fell out meanwhile; the parts they were in are removed."""
        fallen = self._skip - skip
        for part, skipped in parts:
            if self._parts and self._parts[0] is part:
                fallen += part.skip - skipped
                self._parts.popleft()
            else:
                fallen += part.rows - skipped
        return fallen
