"""Experiments: what the delivery semantics really do, on a real server, broken on purpose."""

from varco_nats_widgets.experiment._comparison import Comparison
from varco_nats_widgets.experiment._experiment import FAULTS, SEMANTICS, Experiment, fault_frame
from varco_nats_widgets.experiment._faults import Fault, Faults
from varco_nats_widgets.experiment._fork_server import ForkServer as Nursery
from varco_nats_widgets.experiment._plan import (
    MAX_EVENTS,
    ExperimentError,
    ExperimentOptions,
    Plan,
    make_plan,
)
from varco_nats_widgets.experiment._run import perform

__all__ = [
    "FAULTS",
    "MAX_EVENTS",
    "SEMANTICS",
    "Comparison",
    "Experiment",
    "ExperimentError",
    "ExperimentOptions",
    "Fault",
    "Faults",
    "Nursery",
    "Plan",
    "fault_frame",
    "make_plan",
    "perform",
]
