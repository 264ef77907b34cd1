"""`Explorer`: what `lab.explore()` gives: look through channels, page by page."""

from varco_nats_widgets.explorer import _view  # noqa: F401 - it registers for the model
from varco_nats_widgets.explorer._explorer import (
    Condition,
    ConditionError,
    Explorer,
    ExplorerAio,
    Message,
    MessageNotFoundError,
    Statistics,
    where,
)

__all__ = [
    "Condition",
    "ConditionError",
    "Explorer",
    "ExplorerAio",
    "Message",
    "MessageNotFoundError",
    "Statistics",
    "where",
]
