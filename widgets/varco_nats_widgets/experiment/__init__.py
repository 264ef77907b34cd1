"""Experiments: what the delivery semantics really do, on a real server, broken on purpose."""

from varco_nats_widgets.experiment._experiment import (
    FAULTS,
    MAX_EVENTS,
    SEMANTICS,
    Comparison,
    Experiment,
    ExperimentError,
    ExperimentOptions,
    Fault,
    Faults,
    Nursery,
    Plan,
    fault_frame,
    make_plan,
    perform,
)

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
