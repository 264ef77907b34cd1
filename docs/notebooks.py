"""Run the notebooks and save what they print: `make notebooks`.

What would only be noise in a diff is left out: times of execution, the version of Python, the
state of widgets and the ids of their models.
"""

from __future__ import annotations

import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
_WIDGET = "application/vnd.jupyter.widget-view+json"


def save(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook,
        timeout=300,
        record_timing=False,
        store_widget_state=False,
        resources={"metadata": {"path": path.parent}},
    )
    client.execute()
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            output.get("data", {}).pop(_WIDGET, None)
        if "outputs" in cell:  # a progress bar that was removed leaves an output without data
            cell.outputs = [output for output in cell.outputs if output.get("data", True)]
    notebook.metadata["language_info"] = {"name": "python"}
    nbformat.write(notebook, path)
    print(f"saved {path.name}")


if __name__ == "__main__":
    for path in [Path(name) for name in sys.argv[1:]] or sorted(NOTEBOOKS.glob("*.ipynb")):
        save(path)
