"""What a channel's real configuration promises about its messages, and what it does not."""

from varco_nats_widgets.durability._durability import Durability, findings
from varco_nats_widgets.durability._finding import Finding, Place, Rating

__all__ = ["Durability", "Finding", "Place", "Rating", "findings"]
