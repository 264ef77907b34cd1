"""What JetStream keeps beside streams of messages: key-value buckets and object stores."""

from varco_nats_widgets.stores import _live_view  # noqa: F401 - it registers for its model
from varco_nats_widgets.stores._entries import Entry
from varco_nats_widgets.stores._key_values import KeyValues
from varco_nats_widgets.stores._live import LiveKeyValues
from varco_nats_widgets.stores._objects import Objects

__all__ = ["Entry", "KeyValues", "LiveKeyValues", "Objects"]
