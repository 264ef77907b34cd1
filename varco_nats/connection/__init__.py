"""How to reach a NATS server and log in to it: from `NATS_*` variables, or a `nats` context."""

from varco_nats.connection._contexts import contexts, selected_context, settings_of_context
from varco_nats.connection._settings import NatsConnectionSettings

__all__ = ["NatsConnectionSettings", "contexts", "selected_context", "settings_of_context"]
