"""The flow of a record as bars, each divided into parts that add up to its total."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import traitlets

from varco_nats_widgets._ui.views import BrowserWidget, static
from varco_nats_widgets.frames._cells import escape
from varco_nats_widgets.record._frames import Flow


@dataclass(frozen=True, slots=True)
class Share:
    """A part of a bar: its words, its count, and the mark that stands for it."""

    words: str
    count: int
    look: str


@dataclass(frozen=True, slots=True)
class Stage:
    """A bar, whose parts add up to its total."""

    title: str
    total: int
    parts: tuple[Share, ...]


def stages_of(flow: Flow, outcomes: Mapping[str, int]) -> list[Stage]:
    """The bars of a record.

    Args:
        outcomes: events by outcome, as `record.ledger["outcome"].value_counts()` has them.
    """
    again = sum(
        count for outcome, count in outcomes.items() if outcome.startswith("handled ")
    ) - outcomes.get("handled once", 0)
    copies = (
        Share("stored", flow.stored, "stored"),
        Share("dropped as duplicates", flow.deduplicated, "deduplicated"),
        Share("not stored", flow.unacknowledged, "unacknowledged"),
    )
    deliveries = (
        Share("handled", flow.handled, "handled"),
        Share("skipped by the deduplicator", flow.skipped, "skipped"),
        Share("failed", flow.failed, "failed"),
        Share("settled, handler not seen", flow.unseen, "acked"),
        Share("not finished", flow.unfinished, "delivered"),
    )
    events = (
        Share("handled once", outcomes.get("handled once", 0), "handled"),
        Share("handled more than once", again, "handled_again"),
        Share("dead letters", flow.dead_lettered, "dead_lettered"),
        Share("given up", flow.discarded, "terminated"),
        Share("lost", flow.lost, "lost"),
        Share("acknowledged", flow.acknowledged, "acked"),
        Share("on their way", flow.pending, "published"),
    )
    kinds = (
        Share("first deliveries", flow.delivered - flow.redelivered, "delivered"),
        Share("redeliveries", flow.redelivered, "redelivered"),
    )
    return [
        Stage("Copies published", flow.published, copies),
        Stage("Deliveries to a consumer", flow.delivered, kinds),
        Stage("How these deliveries ended", flow.delivered, deliveries),
        Stage("What became of the events", flow.events, events),
    ]


class FlowBars(BrowserWidget):
    """Draws each stage as a bar of its parts, with their sum in words."""

    _esm = static("flow.js")
    _css = static("flow.css")

    _stages = traitlets.List[Any]().tag(sync=True)

    def __init__(self) -> None:
        self.stages: list[Stage] = []
        """What is shown."""
        super().__init__()

    def set_stages(self, stages: list[Stage]) -> None:
        """Show these; from any thread."""
        self.stages = stages
        self._coalescer.trigger()

    def _push(self) -> None:
        self._stages = [asdict(stage) for stage in self.stages]

    def static_html(self) -> str:
        """The numbers as a table."""
        rows = []
        for stage in self.stages:
            sums = " + ".join(f"{part.count:,} {part.words}" for part in stage.parts)
            rows.append(
                f"<tr><th>{escape(stage.title)}</th><td>{stage.total:,}</td>"
                f"<td>= {escape(sums)}</td></tr>"
            )
        return f"<table>{''.join(rows)}</table>"
