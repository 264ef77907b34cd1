"""`Explorer`: what `lab.explore()` gives: look through channels, page by page."""

from varco_nats_widgets.explorer import _view  # noqa: F401 - it registers for the model
from varco_nats_widgets.explorer._condition_of import NoConditionError
from varco_nats_widgets.explorer._difference import Changed, Difference
from varco_nats_widgets.explorer._explorer import Explorer, ExplorerAio
from varco_nats_widgets.explorer._opened import MessageNotFoundError
from varco_nats_widgets.explorer._statistics import Statistics
from varco_nats_widgets.frames._conditions import Condition, ConditionError, where
from varco_nats_widgets.frames._message import Message

__all__ = [
    "Changed",
    "Condition",
    "ConditionError",
    "Difference",
    "Explorer",
    "ExplorerAio",
    "Message",
    "MessageNotFoundError",
    "NoConditionError",
    "Statistics",
    "where",
]
