"""Jupyter widgets over varco_nats; start with `Lab`."""

from importlib.util import find_spec


def _missing() -> list[str]:
    """The packages of the `widgets` extra that cannot be imported."""
    missing = []
    for name in ("pandas", "pyarrow", "ipywidgets", "anywidget", "matplotlib"):
        try:
            found = find_spec(name) is not None
        except (ImportError, ValueError):
            found = False
        if not found:
            missing.append(name)
    return missing


if _names := _missing():
    raise ImportError(
        f"varco_nats_widgets needs {', '.join(_names)}, which cannot be imported here; "
        "install what it needs with: pip install 'varco-nats-kit[widgets]'",
        name=_names[0],
    )

# ruff: noqa: E402 - only once the above holds
from varco_nats import __version__
from varco_nats_widgets._session.run import run
from varco_nats_widgets.dead_letters import DeadLetters
from varco_nats_widgets.experiment._faults import Fault
from varco_nats_widgets.explorer import Explorer, where
from varco_nats_widgets.export import load
from varco_nats_widgets.lab import Channel, Lab, LabBus
from varco_nats_widgets.record import DeliveryRecord

__all__ = [
    "Channel",
    "DeadLetters",
    "DeliveryRecord",
    "Explorer",
    "Fault",
    "Lab",
    "LabBus",
    "__version__",
    "load",
    "run",
    "where",
]
