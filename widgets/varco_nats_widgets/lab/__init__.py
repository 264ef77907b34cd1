"""`Lab`: the way in from a notebook."""

from varco_nats._masks._patterns import MaskPatternError
from varco_nats_widgets.lab._bus import LabBus
from varco_nats_widgets.lab._lab import Channel, Lab, LabAio
from varco_nats_widgets.lab._permissions import Permissions

__all__ = ["Channel", "Lab", "LabAio", "LabBus", "MaskPatternError", "Permissions"]
