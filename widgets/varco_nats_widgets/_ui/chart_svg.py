"""Lines over time as a picture without scripts, for a notebook without a kernel."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt

from varco_nats_widgets.frames._cells import clean

_WIDTH = 800
_LEFT, _TOP, _AXIS = 80, 8, 20
_KEY = 18  # the height of a row of the key
_KEYS = 4  # in a row
_MAX_POINTS = 300
_NAME_LENGTH = 24
INK = "#212121"
_IN_ADDRESS = re.compile(r"[\x00-\x1f%#&<>$\\]")  # would end it, or be read as HTML or TeX
_CONTROL = re.compile(r"[\x00-\x1f\x7f\ufffe\uffff]")
_DASHES = ("", "6 3", "2 2", "8 3 2 3")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

type Points = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]
"""Times in seconds since 1970, ascending, and values, NaN for a gap."""


def chart_svg(
    series: Mapping[str, Points],
    title: str,
    height: int,
    colors: Sequence[str],
    *,
    from_zero: bool,
) -> str:
    """The lines with the ends of their axes and a key; "" where there is nothing to draw.

    Args:
        height: of the drawing, in pixels.
        from_zero: whether 0 is shown whatever the values are.
    """
    drawn = {
        name: thinned(times, np.where(np.isfinite(values), values, np.nan), _MAX_POINTS)
        for name, (times, values) in series.items()
        if np.isfinite(values).any()
    }
    if not drawn:
        return ""
    early, late = _range([times[np.isfinite(values)] for times, values in drawn.values()])
    low, high = _range([values[np.isfinite(values)] for _, values in drawn.values()])
    bottom, end = height - _AXIS, _WIDTH - 12
    shown_low = min(low, 0.0) if from_zero else low
    # halves, whose difference is not infinite
    tall = (high / 2 - shown_low / 2) or 0.5
    parts = []
    for value, y in ((high, _TOP), (shown_low, bottom)):
        parts.append(
            f'<path d="M{_LEFT} {y}H{end}" stroke="{INK}" opacity=".2"/>'
            f'<text x="{_LEFT - 6}" y="{y + 4}" text-anchor="end">{value:,.6g}</text>'
        )
    for time, x, anchor in ((early, _LEFT, "start"), (late, end, "end")):
        parts.append(f'<text x="{x}" y="{height - 4}" text-anchor="{anchor}">{_utc(time)}</text>')
    for place, (name, (times, values)) in enumerate(drawn.items()):
        color = colors[place % len(colors)]
        # past the last colour the same ones come with another dash, as in the browser
        dash = _DASHES[(place + place // len(colors)) % len(_DASHES)]
        pen = f'fill="none" stroke="{color}" stroke-width="1.6" stroke-dasharray="{dash}"'
        across = _LEFT + (times - early) / ((late - early) or 1.0) * (end - _LEFT)
        down = bottom - (values / 2 - shown_low / 2) / tall * (bottom - _TOP)
        parts.append(f'<path d="{_path(across, down)}" {pen} stroke-linecap="round"/>')
        if len(series) > 1:
            row, column = divmod(place, _KEYS)
            left, top = _LEFT + column * (end - _LEFT) // _KEYS, height + row * _KEY + 12
            label = svg_text(name, _NAME_LENGTH)
            parts.append(f'<path d="M{left} {top - 4}h28" {pen}/>')
            parts.append(f'<text x="{left + 34}" y="{top}">{label}</text>')
    whole = height + (-(-len(drawn) // _KEYS) * _KEY if len(series) > 1 else 0)
    return svg_image("".join(parts), title or "Chart", _WIDTH, whole)


def svg_image(drawing: str, title: str, width: int, height: int) -> str:
    """What is drawn as an `<img>` in dark ink on white, as notebooks that are not trusted and
    sites that show notebooks leave out `<svg>`, but not the texts in it."""
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" font-family="sans-serif" font-size="11" fill="{INK}">'
        f'<rect width="{width}" height="{height}" fill="white"/>{drawing}</svg>'
    )
    # not in base64, so that one can search a notebook for what it shows
    data = _IN_ADDRESS.sub(lambda found: f"%{ord(found[0]):02X}", svg.replace('"', "'"))
    words = html.escape(clean(title)).replace("$", "&#36;").replace("\\", "&#92;")
    return (
        f'<img alt="{words}" width="{width}" height="{height}" '
        f'style="max-width:100%;height:auto" src="data:image/svg+xml;charset=utf-8,{data}">'
    )


def svg_text(text: str, max_length: int) -> str:
    """`text` as it stands in a drawing; XML has no control characters."""
    return html.escape(_CONTROL.sub("\ufffd", clean(text, max_length)))


def thinned(times: npt.NDArray[np.float64], values: npt.NDArray[np.float64], most: int) -> Points:
    """At most `most` points, among them the lowest and the highest of each part."""
    if len(times) <= most:
        return times, values
    keep: set[int] = set()
    for part in np.array_split(np.arange(len(times)), most // 2):
        known = part[~np.isnan(values[part])]
        if len(known):
            keep |= {int(known[values[known].argmin()]), int(known[values[known].argmax()])}
        else:
            keep.add(int(part[0]))
    chosen = sorted(keep)
    return times[chosen], values[chosen]


def _range(arrays: Sequence[npt.NDArray[np.float64]]) -> tuple[float, float]:
    every = np.concatenate(arrays)
    return float(every.min()), float(every.max())


def _path(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> str:
    pieces, is_drawn = [], False
    for across, down in zip(x.tolist(), y.tolist(), strict=True):
        if down != down:
            is_drawn = False
            continue
        # a single point is seen too, as a dot of the pen's width
        pieces.append(
            f"{'L' if is_drawn else 'M'}{across:.1f} {down:.1f}{'' if is_drawn else 'h0'}"
        )
        is_drawn = True
    return "".join(pieces)


def _utc(seconds: float) -> str:
    try:
        moment = _EPOCH + timedelta(seconds=seconds)
    except OverflowError:
        return f"{seconds:g} s"
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"
