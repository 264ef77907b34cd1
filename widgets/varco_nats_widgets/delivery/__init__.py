"""`Delivery`: what `lab.delivery()` gives: each message's way, drawn, and experiments to run."""

from varco_nats_widgets.delivery import _view  # noqa: F401 - it registers for the model
from varco_nats_widgets.delivery._delivery import Delivery, DeliveryAio

__all__ = ["Delivery", "DeliveryAio"]
