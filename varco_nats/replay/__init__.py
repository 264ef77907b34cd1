"""Put messages back: dead letters to a channel, or stored history to another place."""

from varco_nats.replay._exhausted import Exhausted, ExhaustedMessage
from varco_nats.replay._plan import PlannedReplay, ReplayDecision, ReplayKind, ReplayPlan
from varco_nats.replay._records import LoggedRow, ReplayRecord
from varco_nats.replay._replayer import Replayer
from varco_nats.replay._report import (
    Canary,
    ReplayControl,
    ReplayOutcome,
    ReplayProgress,
    ReplayReport,
    ReplayResult,
    ReplayState,
)
from varco_nats.replay._run.restore import ExportedEntry
from varco_nats.replay._target import PlannedConsumer, PlannedTarget

__all__ = [
    "Canary",
    "Exhausted",
    "ExhaustedMessage",
    "ExportedEntry",
    "LoggedRow",
    "PlannedConsumer",
    "PlannedReplay",
    "PlannedTarget",
    "ReplayControl",
    "ReplayDecision",
    "ReplayKind",
    "ReplayOutcome",
    "ReplayPlan",
    "ReplayProgress",
    "ReplayRecord",
    "ReplayReport",
    "ReplayResult",
    "ReplayState",
    "Replayer",
]
