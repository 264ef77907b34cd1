"""`Lab`: the way in from a notebook."""

from varco_nats_widgets.lab._lab import (
    Lab,
    LabAio,
    LabBus,
)

__all__ = [
    "Lab",
    "LabAio",
    "LabBus",
]
