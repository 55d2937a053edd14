"""A report as a notebook that reads as a document and goes on where the report ends."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from ..figures.mime import bundle
from . import markdown
from .blocks import FigureBlock, Report, Section

FIRST = "import workbench as wb"


def render(report: Report, path: Path) -> str:
    """The notebook as JSON text; its cells open the runs by their folders as seen from `path`."""
    import nbformat
    from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

    cells: list[Any] = []

    def say(text: str) -> None:
        cells.append(new_markdown_cell(text, id=f"cell-{len(cells)}"))

    def run_cell(source: str, outputs: list[Any]) -> None:
        count = 1 + sum(cell.cell_type == "code" for cell in cells)
        for output in outputs:
            if output.output_type == "execute_result":
                output.execution_count = count
        cells.append(new_code_cell(source, outputs=outputs, execution_count=count, id=f"cell-{len(cells)}"))

    def picture(one: FigureBlock) -> None:
        run = int(one.key.split("-")[1])
        data = bundle(one.figure)
        output = new_output("execute_result", data=data, metadata={})
        run_cell(f"run_{run}.figures[{one.figure.name!r}]", [output])
        say(markdown.escape(one.figure.caption))

    def section(part: Section, level: int) -> None:
        say("\n\n".join(filter(None, [f"{'#' * level} {markdown.escape(part.title)}", markdown.escape(part.about)])))
        for block in part.blocks:
            if isinstance(block, FigureBlock):
                say(f"{'#' * (level + 1)} {markdown.escape(block.figure.title)}")
                picture(block)
            else:
                say(markdown.block(block, level + 1, lambda _: ""))
        for inner in part.sections:
            section(inner, level + 1)

    say(f"# {markdown.escape(report.title)}\n\n{markdown.escape(report.about)}")
    opened = [f"run_{i} = wb.open({_place(run['folder'], path)!r})" for i, run in enumerate(report.runs, start=1)]
    run_cell("\n".join([FIRST, "", *opened]), [])
    for part in report.sections:
        section(part, 2)
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    notebook = new_notebook(cells=cells, metadata={"kernelspec": kernel, "language_info": {"name": "python"}})
    nbformat.validate(notebook)
    return json.dumps(notebook, ensure_ascii=False, indent=1, sort_keys=True) + "\n"


def _place(folder: Path, path: Path) -> str:
    """The folder of a run as the notebook finds it when it is run where it lies."""
    try:
        return Path(os.path.relpath(Path(folder).resolve(), path.resolve().parent)).as_posix()
    except ValueError:  # another drive
        return Path(folder).resolve().as_posix()
