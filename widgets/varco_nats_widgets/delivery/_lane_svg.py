"""A timeline as a picture without scripts, for a notebook without a kernel."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from varco_nats_widgets._ui.chart_svg import INK, svg_image, svg_text
from varco_nats_widgets._ui.views import static
from varco_nats_widgets.delivery._lane_marks import LOOKS, Marks, sample
from varco_nats_widgets.frames._cells import escape

_WIDTH = 800
_LEFT = 120
_LANE = 40
_AXIS = 20
_HEAD = 32  # for the texts of faults, in two rows
_MARGIN = 8  # for the numbers of events
_MAX_EVENTS = 40
_MAX_MARKS = 400
_ROWS = 5
_KEYS = 4  # of the legend, in a row
_KEY = 18  # the height of such a row
_NUMBERED = 24  # events whose numbers there is room for
_ASIDE = ("stored", "unacknowledged", "deduplicated", "dead_lettered", "replayed", "lost")

_PALETTE = json.loads(static("palette.json"))
_BLUE, _GREEN, _ORANGE = _PALETTE["blue"], _PALETTE["green"], _PALETTE["orange"]
_RED, _PURPLE = _PALETTE["red"], _PALETTE["purple"]
_INK, _DIM = INK, "#9e9e9e"
_DISC = "M{0} 0A4 4 0 1 1{1} 0A4 4 0 1 1 {0} 0Z"
_DIAMOND = "M0-6L6 0L0 6L-6 0Z"
_LOOKS: dict[str, tuple[str, str, str, bool]] = {  # words, colour, path, whether it is filled
    "published": ("published", _BLUE, "M4 0A4 4 0 1 1-4 0A4 4 0 1 1 4 0Z", False),
    "stored": ("stored", _BLUE, "M-4-4H4V4H-4Z", True),
    "deduplicated": ("dropped as a duplicate", _INK, "M-4-4H4V4H-4ZM-6 6L6-6", False),
    "skipped": (
        "skipped by the deduplicator",
        _INK,
        "M4 0A4 4 0 1 1-4 0A4 4 0 1 1 4 0ZM-6 6L6-6",
        False,
    ),
    "delivered": ("delivered", _GREEN, "M-3-4L4 0L-3 4Z", False),
    "redelivered": ("delivered again", _ORANGE, "M-6-4L0 0L-6 4ZM0-4L6 0L0 4Z", True),
    "handled": ("handled", _GREEN, "M4 0A4 4 0 1 1-4 0A4 4 0 1 1 4 0Z", True),
    "acked": ("acknowledged", _GREEN, "M-4 0L-1 3L4-4", False),
    "failed": ("failed", _RED, "M-4-4L4 4M-4 4L4-4", False),
    "unacknowledged": ("no PubAck", _RED, "M-4-4H4V4H-4ZM-2-2L2 2M-2 2L2-2", False),
    "naked": ("handed back (nak)", _ORANGE, "M3-4L-4 0L3 4Z", True),
    "terminated": ("given up (term)", _RED, "M-2-5H2L5-2V2L2 5H-2L-5 2V-2Z", True),
    "expired": ("ack_wait over", _ORANGE, "M-4-5H4L-4 5H4Z", True),
    "dead_lettered": ("dead letter", _PURPLE, _DIAMOND, True),
    "replayed": ("replayed", _PURPLE, f"{_DIAMOND}M-3 0H3M0-3V3", False),
    "lost": ("lost", _RED, "M6 0A6 6 0 1 1-6 0A6 6 0 1 1 6 0Z", True),
    "handled_again": ("handled again", _RED, f"{_DISC.format(1, -7)}{_DISC.format(7, -1)}", True),
    "ack_lost": ("ack lost", _RED, "M-4 0L-1 3L4-4M-5-4L5 4", False),
    "fault": ("fault", _INK, "M1-7L-5 1H-1L-2 7L5-2H0Z", True),
}


_WAYS = {  # how a message came to a mark: colour, width and dashes of the line to it
    "unacknowledged": (_RED, 1.8, "2 3"),
    "deduplicated": (_INK, 1.4, "2 2"),
    "redelivered": (_ORANGE, 1.8, "5 3"),
    "expired": (_ORANGE, 1.8, "5 3"),
    "dead_lettered": (_PURPLE, 2, ""),
    "replayed": (_PURPLE, 2, ""),
    "lost": (_RED, 1.8, "2 3"),
}
_CALM_WAY = (_DIM, 1, "")


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
    top = _HEAD if faults else _MARGIN
    bottom = top + max(1, len(lanes)) * _LANE
    x = np.linspace(_LEFT, _WIDTH - 12, len(shown)) if len(shown) > 1 else np.array([_LEFT])
    count = max(1, min(int(shown.event.max()), _ROWS))
    share = ((shown.event - 1) % count) / (count - 1) - 0.5 if count > 1 else np.zeros(len(shown))
    row = np.array([row_of.get(lane, 0) for lane in shown.lane.tolist()])
    y = top + (row + 0.5) * _LANE + np.where(shown.event > 0, share, 0.0) * (_LANE - 18)
    looks = [LOOKS[look] for look in shown.look.tolist()]
    parts = [
        *_lanes(lanes, top),
        *_links(shown, looks, x, y),
        *_faults(shown, x, bottom, faults),
        *(_mark(look, x[place], y[place]) for place, look in enumerate(looks)),
        *_numbers(shown, x, y),
    ]
    last = float(marks.time[-1] - marks.time[0])
    steps = f"{len(marks):,} steps in their order, within {last:.3g} s"
    parts.append(f'<text x="{_LEFT}" y="{bottom + 14}">{steps}</text>')
    legend, height = _legend(marks, bottom + _AXIS)
    picture = svg_image("".join(parts) + legend, title or "Timeline", _WIDTH, height)
    note = f"<p>{escape(drawn.note)}</p>" if drawn.note else ""
    return picture + note


def _lanes(lanes: Sequence[tuple[int, str]], top: int) -> Iterator[str]:
    for row, (_, name) in enumerate(lanes):
        y = top + (row + 0.5) * _LANE
        yield f'<text x="{_LEFT - 14}" y="{y + 4:g}" text-anchor="end">{svg_text(name, 18)}</text>'
        yield f'<path d="M{_LEFT - 8} {y:g}H{_WIDTH}" stroke="{_INK}" opacity=".2"/>'


def _faults(shown: Marks, x: Any, bottom: int, faults: Sequence[str]) -> Iterator[str]:
    places = np.flatnonzero(shown.event == 0).tolist()
    texts = iter(faults[-len(places) :] if places else ())
    for turn, place in enumerate(places):
        side, y = "end" if x[place] > _WIDTH / 2 else "start", 12 + turn % 2 * 14
        yield f'<path d="M{x[place]:.0f} {_HEAD - 4}V{bottom}" stroke="{_INK}" stroke-width="2"/>'
        yield (
            f'<text x="{x[place]:.0f}" y="{y}" text-anchor="{side}" font-weight="bold">'
            f"{svg_text(next(texts, ''), 80)}</text>"
        )


def _mark(look: str, x: float, y: float) -> str:
    _, color, path, filled = _LOOKS[look]
    paint = f'fill="{color}"' if filled else f'fill="none" stroke="{color}" stroke-width="1.5"'
    return f'<path transform="translate({x:.0f} {y:.0f})" d="{path}" {paint}/>'


def _links(shown: Marks, looks: list[str], x: Any, y: Any) -> Iterator[str]:
    """The ways of the messages from mark to mark, in a path for each kind of way."""
    paths: defaultdict[tuple[str, float, str], list[str]] = defaultdict(list)
    for start, end in ways(shown, looks):
        way = f"M{x[start]:.0f} {y[start]:.0f}L{x[end]:.0f} {y[end]:.0f}"
        paths[_WAYS.get(looks[end], _CALM_WAY)].append(way)
    for (color, width, dash), lines in paths.items():
        pen = f'stroke="{color}" stroke-width="{width}" stroke-dasharray="{dash}"'
        yield f'<path fill="none" {pen} d="{"".join(lines)}"/>'


def ways(shown: Marks, looks: Sequence[str]) -> Iterator[tuple[int, int]]:
    """From which mark a message came to each of its marks, as in the browser."""
    places: defaultdict[int, list[int]] = defaultdict(list)
    for place, event in enumerate(shown.event.tolist()):
        if event:
            places[event].append(place)
    for of_event in places.values():
        published: list[int] = []  # copies under way to the stream
        newest: dict[int, int] = {}  # by lane of a consumer
        stored: int | None = None
        last: int | None = None
        dead: int | None = None
        for place in of_event:
            look, lane = looks[place], int(shown.lane[place])
            came = last if last is not None else stored
            match look:
                case "published":
                    published.append(place)
                    continue
                case "stored":
                    came, stored = (published.pop(0) if published else None), place
                case "unacknowledged" | "deduplicated":
                    came = published.pop(0) if published else None
                case "delivered" if stored is not None or published:
                    came = stored if stored is not None else published[0]
                case "delivered":
                    came = None
                case "dead_lettered":
                    dead = place
                case "replayed":
                    came, stored = dead, place
                case "lost" if came is None and published:
                    came = published[-1]
                case "redelivered" | "expired" | "lost":
                    pass
                case _:
                    came = newest.get(lane, came)
            if look not in _ASIDE:
                last = place
                if look != "expired":
                    newest[lane] = place
            if came is not None:
                yield came, place


def _numbers(shown: Marks, x: Any, y: Any) -> Iterator[str]:
    """The numbers of the events, beside their first marks, where there is room for them."""
    events, first = np.unique(shown.event, return_index=True)
    if len(events) > _NUMBERED:
        return
    for event, place in zip(events.tolist(), first.tolist(), strict=True):
        if event:
            yield f'<text x="{x[place] + 6:.0f}" y="{y[place] - 5:.0f}">{event}</text>'


def _legend(marks: Marks, top: int) -> tuple[str, int]:
    """Which marks there are and how many of each; and where it ends."""
    parts = []
    for place, (look, count) in enumerate(marks.counts()):
        row, column = divmod(place, _KEYS)
        x, y = 12 + column * (_WIDTH - 12) // _KEYS, top + row * _KEY + 12
        parts.append(_mark(look, x, y))
        parts.append(f'<text x="{x + 12}" y="{y + 4}">{_LOOKS[look][0]} {count:,}</text>')
    return "".join(parts), top - (-len(marks.counts()) // _KEYS) * _KEY + 6
