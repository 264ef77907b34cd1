"""`Durability`: the findings about one channel, as text, HTML and a DataFrame."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from varco_nats_widgets.durability._consumers import about_consumers
from varco_nats_widgets.durability._finding import Finding, Place, Rating
from varco_nats_widgets.durability._stream import about_stream, about_version
from varco_nats_widgets.frames._cells import counted, escape

_MARKS = {Rating.RISK: "▲", Rating.LIMIT: "◆", Rating.PROMISE: "●"}


class Durability:
    """The findings about one channel; `frame` has them as a table.

    Iterating gives `Finding` objects, risks first.
    """

    def __init__(self, place: Place) -> None:
        self.name = place.name
        order = list(Rating)
        self._findings = sorted(findings(place), key=lambda finding: order.index(finding.rating))

    def __iter__(self) -> Iterator[Finding]:
        return iter(self._findings)

    def __len__(self) -> int:
        return len(self._findings)

    @property
    def risks(self) -> list[Finding]:
        """The findings that can cost messages."""
        return [finding for finding in self if finding.rating is Rating.RISK]

    @property
    def frame(self) -> pd.DataFrame:
        """One row for each finding: `rating`, `about`, `value`, `means`, `change`, `source`."""
        names = list(Finding.__slots__)
        rows = [[str(getattr(finding, name)) for name in names] for finding in self]
        return pd.DataFrame(rows, columns=names).astype("str")

    def __repr__(self) -> str:
        lines = [f"Durability({self._summary()})"]
        for finding in self:
            lines.append(f"  {finding.rating:8}{finding.about}={finding.value}: {finding.means}")
            if finding.change:
                lines.append(f"{'':10}{finding.change}")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        style = "text-align:left;vertical-align:top"
        rows = "".join(
            f"<tr><td style='{style};white-space:nowrap'>"
            f"{_MARKS[finding.rating]} {finding.rating}</td>"
            f"<td style='{style}'>{escape(finding.about)}</td>"
            f"<td style='{style}'>{escape(finding.value)}</td>"
            f"<td style='{style}'>{escape(finding.means)}"
            f"{f'<br><i>{escape(finding.change)}</i>' if finding.change else ''}</td>"
            f"<td style='{style}'>{escape(finding.source)}</td></tr>"
            for finding in self
        )
        names = ("", "setting", "value", "means", "source")
        head = "".join(f"<th style='{style}'>{name}</th>" for name in names)
        return (
            f"<p>{escape(self._summary())}</p><table class='tex2jax_ignore mathjax_ignore'>"
            f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
        )

    def _summary(self) -> str:
        ratings = [finding.rating for finding in self]
        return f"{self.name}: {', '.join(counted(ratings.count(each), each) for each in Rating)}"


def findings(place: Place) -> Iterator[Finding]:
    """What the configuration of `place` means for its messages, in no order of importance."""
    yield from about_stream(place)
    yield from about_consumers(place)
    yield about_version(place)
