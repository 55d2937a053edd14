"""What is on a page, to take away: a report, the numbers, and the lines of Python that draw the same."""

from __future__ import annotations

import asyncio
import io
import json
from collections import ChainMap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import panel_material_ui as pmu

from ...figures import Figure
from ...figures.table import csv
from ...probe.explore import TextTable
from ...reports.redacted import Redacted
from ...runs.run import Run


@dataclass(frozen=True)
class PageSnapshot:
    """A run as its page shows it now: what a report takes for a run, with the details of the choice as figures."""

    run: Run | Redacted
    chosen: Sequence[Figure]
    note: str = ""
    told: Sequence[TextTable] = ()

    @property
    def folder(self) -> Path:
        return self.run.folder

    @property
    def record(self) -> dict[str, Any]:
        return self.run.record

    @property
    def summary(self) -> list[str]:
        return [*self.run.summary, *([self.note] if self.note else [])]

    @property
    def notes(self) -> str:
        return getattr(self.run, "notes", "")

    @property
    def notice(self) -> str:
        return getattr(self.run, "notice", "")

    def saved_svg(self, figure: str) -> str | None:
        """The picture of a figure that the run saved; what is chosen on the page was not saved."""
        saved = getattr(self.run, "saved_svg", None)
        return None if saved is None or any(figure == f"chosen-{one.name}" for one in self.chosen) else saved(figure)

    @property
    def keeps(self) -> Callable[[Sequence[str]], bool] | None:
        return getattr(self.run, "keeps", None)

    @property
    def figures(self) -> Mapping[str, Figure]:
        # read one by one, so that one which cannot be read does not take the others along
        return ChainMap({f"chosen-{figure.name}": figure for figure in self.chosen}, self.run.figures)  # type: ignore[arg-type]


def without_texts(run: Run, chosen: Mapping[str, int]) -> PageSnapshot:
    """The same of a run and a choice, with no prompt, token or answer in it."""
    shown = Redacted(run)
    details = shown.details(**chosen)
    return PageSnapshot(shown, details.figures, details.note, details.tables)


def report(view: PageSnapshot) -> bytes:
    """One HTML file of everything the page shows."""
    from ...reports import html
    from ...reports.report import build

    return html.render(build([view])).encode()


def snippet(run: Run, name: str, chosen: Mapping[str, int] | None = None) -> str:
    """Lines of Python that give the same figure from the run."""
    found = f"run.figures[{json.dumps(name)}]"
    if chosen is not None:
        asked = ", ".join(f"{key}={value}" for key, value in chosen.items())
        found = f"run.details({asked})[{json.dumps(name)}]"
    # repr, not json: the path may hold any sign, and this is Python
    opened = f"run = wb.open({str(run.folder)!r})"
    return f"import workbench as wb\n\n{opened}\nfigure = {found}\nfigure.data"


def download_csv(figure: Callable[[], Figure], name: str) -> Any:
    """A button that saves the numbers of a figure."""
    return download(lambda: csv(figure().data).encode(), f"{name}.csv", "Download CSV")


def download(made: Callable[[], bytes], filename: str, label: str) -> Any:
    """A button that saves what `made` gives; it is made in a thread, so that other readers do not wait."""

    async def content() -> io.BytesIO:
        return io.BytesIO(await asyncio.to_thread(made))

    return pmu.FileDownload(
        callback=content, filename=filename, label=label, variant="text", size="small", icon_size="1em", color="default"
    )
