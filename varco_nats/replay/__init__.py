"""Put messages back: dead letters to a channel, or stored history to another place."""

from varco_nats.replay._replayer import (
    Canary,
    Exhausted,
    ExhaustedMessage,
    LoggedRow,
    PlannedReplay,
    ReplayControl,
    ReplayDecision,
    Replayer,
    ReplayKind,
    ReplayOutcome,
    ReplayPlan,
    ReplayProgress,
    ReplayRecord,
    ReplayReport,
    ReplayResult,
    ReplayState,
)

__all__ = [
    "Canary",
    "Exhausted",
    "ExhaustedMessage",
    "LoggedRow",
    "PlannedReplay",
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
