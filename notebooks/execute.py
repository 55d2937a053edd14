"""Writes the notebooks anew from their sources: `python notebooks/execute.py [NAME …] [--preset quick]`.

The sources are the .py files beside this one; each .ipynb is its source with the outputs of one run.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
STATIC = ("image/svg+xml", "image/png", "text/html", "text/markdown", "text/plain")
"""What is kept of an output: what GitHub and nbconvert show. Interactive parts come back when a cell is run."""


def names() -> list[str]:
    """The notebooks by name, the tour first."""
    found = sorted(path.stem for path in HERE.glob("*.py") if path != Path(__file__))
    return sorted(found, key=lambda name: name != "tour")


def read(name: str) -> Any:
    """The notebook of a source, without outputs."""
    import jupytext

    notebook = jupytext.read(HERE / f"{name}.py")
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"
    return notebook


def execute(name: str, preset: str, folder: Path, timeout: int = 1800) -> Any:
    """The notebook run from top to bottom in `folder`; raises nbclient's `CellExecutionError` if a cell fails."""
    from nbclient import NotebookClient

    notebook = read(name)
    os.environ["WORKBENCH_PRESET"] = preset
    NotebookClient(notebook, timeout=timeout, kernel_name="python3", resources={"metadata": {"path": folder}}).execute()
    return notebook


def tidy(notebook: Any) -> Any:
    """The notebook with its static outputs only, and nothing of the moment in which it was run."""
    for cell in notebook.cells:
        cell.metadata = {}
        if cell.cell_type != "code":
            continue
        kept = []
        for output in cell.outputs:
            if output.output_type == "stream":
                if output.name == "stdout":
                    kept.append(output)
                continue
            if "data" in output:
                output.data = {kind: output.data[kind] for kind in STATIC if kind in output.data}
                if not output.data or list(output.data.items()) == [("text/plain", "")]:
                    continue
                output.metadata = {}
            kept.append(output)
        cell.outputs = kept
    notebook.metadata.pop("widgets", None)
    return notebook


def main() -> None:
    """Run the notebooks and write them."""
    import nbformat

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", nargs="*", help="which notebooks; all by default")
    parser.add_argument("--preset", default="quick", choices=("smoke", "quick", "full"))
    given = parser.parse_args()
    for name in given.name or names():
        notebook = tidy(execute(name, given.preset, HERE))
        draft = HERE / f".{name}.ipynb"
        nbformat.write(notebook, draft)
        draft.replace(HERE / f"{name}.ipynb")
        print(f"{name}: {(HERE / f'{name}.ipynb').stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
