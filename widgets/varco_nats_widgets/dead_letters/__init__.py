"""`DeadLetters`: what `lab.dead_letters()` gives: find out what failed, decide, replay."""

from varco_nats_widgets.dead_letters import _view  # noqa: F401 - it registers for the model
from varco_nats_widgets.dead_letters._dead_letters import (
    Canary,
    ConfirmationError,
    DeadLetter,
    DeadLetterExport,
    DeadLetterNotFoundError,
    DeadLetters,
    DeadLettersAio,
    InvalidPayloadError,
    PayloadEdit,
)

__all__ = [
    "Canary",
    "ConfirmationError",
    "DeadLetter",
    "DeadLetterExport",
    "DeadLetterNotFoundError",
    "DeadLetters",
    "DeadLettersAio",
    "InvalidPayloadError",
    "PayloadEdit",
]
