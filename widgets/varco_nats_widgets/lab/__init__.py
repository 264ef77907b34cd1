"""`Lab`: the way in from a notebook."""

from varco_nats_widgets.lab._lab import (
    Channel,
    Lab,
    LabAio,
    LabBus,
)

__all__ = [
    "Channel",
    "Lab",
    "LabAio",
    "LabBus",
]
