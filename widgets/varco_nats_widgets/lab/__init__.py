"""`Lab`: the way in from a notebook."""

from varco_nats_widgets.frames._mask_patterns import MaskPatternError
from varco_nats_widgets.lab._bus import LabBus
from varco_nats_widgets.lab._lab import Channel, Lab, LabAio
from varco_nats_widgets.lab._permissions import Permissions

__all__ = ["Channel", "Lab", "LabAio", "LabBus", "MaskPatternError", "Permissions"]
