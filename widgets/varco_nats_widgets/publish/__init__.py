"""Publishing from a notebook: first what would be sent, then sending it."""

from varco_nats_widgets.publish._event import EventTypeError
from varco_nats_widgets.publish._publication import (
    Publication,
    PublicationAio,
    PublicationRefusedError,
    PublishReport,
    UnpublishedError,
)

__all__ = [
    "EventTypeError",
    "Publication",
    "PublicationAio",
    "PublicationRefusedError",
    "PublishReport",
    "UnpublishedError",
]
