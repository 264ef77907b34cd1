"""A timeline as a picture without scripts, for a notebook without a kernel."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np

from varco_nats_widgets._ui.views import static
from varco_nats_widgets.delivery._lane_marks import LOOKS, Marks, sample
from varco_nats_widgets.frames._cells import clean, escape

_WIDTH = 800
_LEFT = 120
_LANE = 40
_AXIS = 20
_HEAD = 32  # for the texts of faults, in two rows
_MAX_EVENTS = 40
_MAX_MARKS = 400
_ROWS = 5

_PALETTE = json.loads(static("palette.json"))
_BLUE, _GREEN, _ORANGE = _PALETTE["blue"], _PALETTE["green"], _PALETTE["orange"]
_RED, _PURPLE = _PALETTE["red"], _PALETTE["purple"]
_INK = "currentColor"
_DISC = "M{0} 0A4 4 0 1 1{1} 0A4 4 0 1 1 {0} 0Z"
_DIAMOND = "M0-6L6 0L0 6L-6 0Z"
_LOOKS: dict[str, tuple[str, str, bool]] = {  # colour, path, whether it is filled
    "published": (_BLUE, "M4 0A4 4 0 1 1-4 0A4 4 0 1 1 4 0Z", False),
    "stored": (_BLUE, "M-4-4H4V4H-4Z", True),
    "deduplicated": (_INK, "M-4-4H4V4H-4ZM-6 6L6-6", False),
    "skipped": (_INK, "M4 0A4 4 0 1 1-4 0A4 4 0 1 1 4 0ZM-6 6L6-6", False),
    "delivered": (_GREEN, "M-3-4L4 0L-3 4Z", False),
    "redelivered": (_ORANGE, "M-6-4L0 0L-6 4ZM0-4L6 0L0 4Z", True),
    "handled": (_GREEN, "M4 0A4 4 0 1 1-4 0A4 4 0 1 1 4 0Z", True),
    "acked": (_GREEN, "M-4 0L-1 3L4-4", False),
    "failed": (_RED, "M-4-4L4 4M-4 4L4-4", False),
    "unacknowledged": (_RED, "M-4-4H4V4H-4ZM-2-2L2 2M-2 2L2-2", False),
    "naked": (_ORANGE, "M3-4L-4 0L3 4Z", True),
    "terminated": (_RED, "M-2-5H2L5-2V2L2 5H-2L-5 2V-2Z", True),
    "expired": (_ORANGE, "M-4-5H4L-4 5H4Z", True),
    "dead_lettered": (_PURPLE, _DIAMOND, True),
    "replayed": (_PURPLE, f"{_DIAMOND}M-3 0H3M0-3V3", False),
    "lost": (_RED, "M6 0A6 6 0 1 1-6 0A6 6 0 1 1 6 0Z", True),
    "handled_again": (_RED, f"{_DISC.format(1, -7)}{_DISC.format(7, -1)}", True),
    "ack_lost": (_RED, "M-4 0L-1 3L4-4M-5-4L5 4", False),
    "fault": (_INK, "M1-7L-5 1H-1L-2 7L5-2H0Z", True),
}


def lanes_svg(
    marks: Marks,
    lanes: Sequence[tuple[int, str]],
    title: str = "",
    faults: Sequence[str] = (),
) -> str:
    """The marks one step after another; of many events, those with faults and some others."""
    if not len(marks):
        return ""
    drawn = sample(marks, max_events=_MAX_EVENTS, max_marks=_MAX_MARKS)
    shown = marks.take(drawn.places)
    row_of = {number: row for row, (number, _) in enumerate(lanes)}
    top = _HEAD if faults else 0
    bottom = top + max(1, len(lanes)) * _LANE
    x = np.linspace(_LEFT, _WIDTH - 12, len(shown)) if len(shown) > 1 else np.array([_LEFT])
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {bottom + _AXIS}" '
        f'width="{_WIDTH}" role="img" font-family="sans-serif" font-size="11" fill="currentColor">'
    ]
    parts.append(f"<title>{escape(clean(title or 'Timeline'))}</title>")
    for number, name in lanes:
        y = top + (row_of[number] + 0.5) * _LANE
        label = escape(clean(name, 18))
        parts.append(
            f'<text x="{_LEFT - 14}" y="{y + 4:g}" text-anchor="end">{label}</text>'
            f'<path d="M{_LEFT - 8} {y:g}H{_WIDTH}" stroke="currentColor" opacity=".2"/>'
        )
    fault_texts = iter(faults[-int(np.count_nonzero(shown.event == 0)) :] if faults else ())
    for turn, index in enumerate(np.flatnonzero(shown.event == 0).tolist()):
        side, y = "end" if x[index] > _WIDTH / 2 else "start", 12 + turn % 2 * 14
        parts.append(
            f'<path d="M{x[index]:.0f} {_HEAD - 4}V{bottom}" '
            'stroke="currentColor" stroke-width="2"/>'
            f'<text x="{x[index]:.0f}" y="{y}" text-anchor="{side}" font-weight="bold">'
            f"{escape(clean(next(fault_texts, ''), 80))}</text>"
        )
    count = max(1, min(int(shown.event.max()), _ROWS))
    for index in range(len(shown)):
        color, path, filled = _LOOKS[LOOKS[shown.look[index]]]
        share = ((shown.event[index] - 1) % count) / (count - 1) - 0.5 if count > 1 else 0.0
        share = share if shown.event[index] else 0.0
        y = top + (row_of.get(int(shown.lane[index]), 0) + 0.5) * _LANE + share * (_LANE - 18)
        paint = f'fill="{color}"' if filled else f'fill="none" stroke="{color}" stroke-width="1.5"'
        parts.append(f'<path transform="translate({x[index]:.0f} {y:.0f})" d="{path}" {paint}/>')
    last = float(shown.time[-1] - shown.time[0])
    parts.append(f'<text x="{_LEFT}" y="{bottom + 14}">0 s</text>')
    parts.append(
        f'<text x="{_WIDTH - 12}" y="{bottom + 14}" text-anchor="end">{last:.3g} s</text></svg>'
    )
    note = f"<p>{escape(drawn.note)}</p>" if drawn.note else ""
    return "".join(parts) + note
