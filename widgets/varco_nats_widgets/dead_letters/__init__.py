"""`DeadLetters`: what `lab.dead_letters()` gives: find out what failed, decide, replay."""

from varco_nats.replay import Canary
from varco_nats_widgets.dead_letters._browser import DeadLetterNotFoundError
from varco_nats_widgets.dead_letters._dead_letters import DeadLetters, DeadLettersAio
from varco_nats_widgets.dead_letters._edit import InvalidPayloadError, PayloadEdit
from varco_nats_widgets.dead_letters._entry import DeadLetter
from varco_nats_widgets.dead_letters._export import DeadLetterExport
from varco_nats_widgets.dead_letters._replaying import ConfirmationError
from varco_nats_widgets.dead_letters._view import view  # noqa: F401 - it registers for the model

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
