"""The distribution that this package is installed from, and the other one that it clashes with."""

from __future__ import annotations

import warnings
from importlib import metadata

_NAME = "varco-nats-kit"
_OTHER = "varco-nats"  # another project's distribution, whose package is called varco_nats too


def version() -> str:
    """The installed version, like "0.1.0"; "0+unknown" in a tree that is not installed."""
    try:
        return metadata.version(_NAME)
    except metadata.PackageNotFoundError:
        return "0+unknown"


def warn_of_the_other() -> None:
    """Warn if the distribution `varco-nats` is installed too."""
    try:
        metadata.distribution(_OTHER)
    except metadata.PackageNotFoundError:
        return
    warnings.warn(
        f"{_OTHER} is installed beside {_NAME}. Both have a package varco_nats, so that one has "
        f"overwritten files of the other. Uninstall both ('pip uninstall {_OTHER} {_NAME}'), then "
        f"install {_NAME} again.",
        UserWarning,
        stacklevel=3,
    )
