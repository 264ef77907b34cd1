"""What runs in order where pytest-xdist runs tests side by side."""

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """One worker runs the cells of a notebook (with `--dist loadgroup`)."""
    for item in items:
        if item.path.suffix == ".ipynb":
            item.add_marker(pytest.mark.xdist_group(item.path.name))
