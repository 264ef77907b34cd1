"""What a bucket looks like as the last expression of a cell: its frame, under a line on it."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

from varco_nats_widgets.frames._cells import counted, escape


def shown(what: str, noun: str, read: Callable[[], pd.DataFrame]) -> str:
    """The frame that `read` gives as HTML, as pandas shows it; or why there is none.

    Args:
        what: such as `key-value bucket config`.
        noun: what its rows are.
    """
    try:
        frame = read()
    except Exception as error:  # in the place where one looks, instead of a traceback
        return f"<p>{escape(f'{what}: {error}')}</p>"
    most = pd.get_option("display.max_rows")
    few = pd.get_option("display.min_rows") or most
    table = frame.to_html(
        max_rows=few if most and len(frame) > most else None,
        max_cols=pd.get_option("display.max_columns") or None,
        notebook=True,
    )
    return f"<p>{escape(f'{what}: {counted(len(frame), noun)}')}</p>{table}"
