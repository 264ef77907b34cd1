"""Jupyter widgets over varco_nats; start with `Lab`."""

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING


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
from varco_nats_widgets.lab import Channel, Lab, LabBus

if TYPE_CHECKING:
    from varco_nats_widgets.dead_letters import DeadLetters
    from varco_nats_widgets.experiment import Fault
    from varco_nats_widgets.explorer import Explorer, where
    from varco_nats_widgets.export import load
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

# Many a notebook only looks, and need not wait for these modules.
_LATER = {
    "DeadLetters": "dead_letters",
    "DeliveryRecord": "record",
    "Explorer": "explorer",
    "Fault": "experiment",
    "load": "export",
    "where": "explorer",
}

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        """What is imported only when it is asked for."""
        if name not in _LATER:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}", name=name)
        found = globals()[name] = getattr(import_module(f"{__name__}.{_LATER[name]}"), name)
        return found

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
