"""A table without scripts, of a bounded size, for a notebook without a kernel."""

from __future__ import annotations

from collections.abc import Sequence

from varco_nats_widgets.frames._cells import counted, escape

STATIC_CELL = 80
"""Characters of a cell at most."""

_MAX_BYTES = 50_000  # of its rows
_FRAME = "overflow:auto;max-height:440px"


def table_html(
    labels: Sequence[str],
    rows: Sequence[Sequence[str]],
    columns: int,
    total: int,
    which: str,
    noun: str,
    *,
    from_end: bool,
) -> str:
    """The rows, or as many of them as there is room for, and how many of all that are.

    Args:
        labels: of the columns in `rows`, that of the index first.
        columns: how many there are besides the index.
        total: how many rows there are.
        which: of all rows these are, such as "newest".
        from_end: whether the last ones are kept where there is no room for all.
    """
    if not rows:
        return f"<p>No {noun}s.</p>"
    drawn: list[str] = []
    room = _MAX_BYTES
    for row in reversed(rows) if from_end else rows:
        markup = f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>"
        room -= len(markup.encode())
        if room < 0 and drawn:
            break
        drawn.append(markup)
    if from_end:
        drawn.reverse()
    head = "".join(f"<th>{escape(label)}</th>" for label in labels)
    said = []
    if len(drawn) < total:
        said.append(f"{len(drawn):,} of {counted(total, noun)} ({which})")
    if len(labels) - 1 < columns:
        said.append(f"{len(labels) - 1:,} of {counted(columns, 'column')}")
    note = f"<p>{escape('Shown here: ' + ', '.join(said))}.</p>" if said else ""
    return (
        f'{note}<div style="{_FRAME}"><table class="tex2jax_ignore mathjax_ignore">'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(drawn)}</tbody></table></div>"
    )
