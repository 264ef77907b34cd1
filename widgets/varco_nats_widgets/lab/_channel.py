"""One channel of a `Lab`, as `lab["orders"]` gives it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import pandas as pd

from varco_nats_widgets._session.progress import ProgressCallback
from varco_nats_widgets.frames._query import LoadOptions

if TYPE_CHECKING:
    from varco_nats_widgets.explorer import Explorer
    from varco_nats_widgets.export import ExportResult
    from varco_nats_widgets.lab._lab import Lab
    from varco_nats_widgets.live import LiveFrame


class Channel:
    """A channel; each property and method asks the server anew.

    Example:
        orders = lab["orders"]
        orders.last
        orders.frame(last="10m")
    """

    def __init__(self, lab: Lab, name: str) -> None:
        self._lab = lab
        self.name = name

    def __repr__(self) -> str:
        return f"Channel({self.name!r})"

    @property
    def count(self) -> int:
        """How many messages it holds now."""
        session = self._lab._session
        return session.look(session.view.count(self.name))

    @property
    def last(self) -> pd.Series[Any]:
        """Its newest event, as the row that `frame` has for it.

        Raises:
            UnknownChannelError: it holds no messages.
        """
        return self.frame(limit=1, newest_first=True).iloc[0]

    def frame(
        self, *, progress: ProgressCallback | bool | None = None, **options: Unpack[LoadOptions]
    ) -> pd.DataFrame:
        """`Lab.frame` of this channel."""
        return self._lab.frame(self.name, progress=progress, **options)

    def live(self, **options: Any) -> LiveFrame:
        """`Lab.live` of this channel."""
        return self._lab.live(self.name, **options)

    def explore(self) -> Explorer:
        """`Lab.explore`, beginning with this channel."""
        return self._lab.explore(self.name)

    def export(self, path: Path | str, **options: Any) -> ExportResult:
        """`Lab.export` of this channel."""
        return self._lab.export(self.name, path, **options)

    def consumers(self) -> pd.DataFrame:
        """`Lab.consumers` of this channel."""
        return self._lab.consumers(self.name)
