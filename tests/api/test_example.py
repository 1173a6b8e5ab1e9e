"""The notebook of the documentation."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from small import REPOSITORY

NOTEBOOK = REPOSITORY / "docs" / "examples" / "python_api.ipynb"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning:jupyter_client")
def test_the_example_notebook_runs_and_displays_predictions(tmp_path: Path) -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    resources = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(notebook, timeout=600, resources=resources).execute()
    outputs = [
        output for cell in notebook.cells for output in cell.get("outputs", ()) if "data" in output
    ]
    assert any("image/png" in output["data"] for output in outputs)
    assert sum("text/html" in output["data"] for output in outputs) >= 3
    assert not any(output.get("name") == "stderr" for output in outputs)
