"""A run as a person handles it: its record, its data, its figures, its report."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from .. import tracebacks
from ..errors import UnknownName, WorkbenchError
from ..html_table import Bundle, Sentences, bundle
from ..records import notes, results, store
from ..records.describe import headlines
from ..records.file_hashes import check_files
from ..records.record import EARLIER_NAMES, Headline, Record

if TYPE_CHECKING:
    import pandas as pd
    import torch
    import xarray as xr

    from ..figures import Figure
    from ..probe.contract import Probe
    from ..probe.explore import Details, SelectableDim
    from .page_server import Page

T = TypeVar("T")


class Run:
    """One run on disk.

    Raises `WorkbenchError` if the folder holds no readable record.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        self._record = store.read(self.folder)
        self._data: xr.DataTree | None = None
        self._coordinates: list[SelectableDim] | None = None

    @property
    def typed_record(self) -> Record:
        """The record with its types, read again while the run is not at its end."""
        if self._record.status in ("started", "interrupted"):
            self._record = store.read(self.folder)
        return self._record

    @property
    def record(self) -> dict[str, Any]:
        """The record as `workbench show --json` prints it."""
        return store.as_dict(self.typed_record)

    @property
    def id(self) -> str:
        """The name of the run and of its folder."""
        return self._record.id

    @property
    def status(self) -> str:
        """`started`, `success`, `cancelled`, `error`, or `interrupted` where its process is gone."""
        return self.typed_record.status

    @property
    def data(self) -> xr.DataTree:
        """The arrays of the result, read once and checked against the record's hashes.

        Raises `WorkbenchError` if there are none yet, or if a file is missing or changed.
        """
        if self._data is None:
            self.intact("data.zarr/")
            self._data = results.read_tree(self.folder / "data.zarr")
        return self._data

    @property
    def figures(self) -> Figures:
        """The figures by name, the most telling first."""
        return Figures(self)

    def saved_svg(self, figure: str) -> str | None:
        """The picture of a figure as it was saved, if it is there and is what was written."""
        name = f"figures/{figure}.svg"
        try:
            self.intact(name)
            return (self.folder / name).read_text(encoding="utf-8")
        except (WorkbenchError, OSError, UnicodeDecodeError):
            return None

    @property
    def coordinates(self) -> list[SelectableDim]:
        """What can be chosen in this run with `details`; nothing if its probe is not here or offers no choice."""
        probe = self._probe()
        if probe is None or not any(name.startswith("data.zarr/") for name in self.typed_record.files):
            return []
        if self._coordinates is None:
            self._coordinates = list(self._drawn(lambda: probe.coordinates(self.data, self.typed_record)))
        return list(self._coordinates)

    def details(self, **chosen: int | str) -> Details:
        """More of one layer, one head, one text: figures by name, drawn from the saved data.

        A value that has a label can be chosen by it. What is not chosen is as the probe thinks best. Raises
        `UnknownName` and `UsageError` for a coordinate or a value that this run does not have, and `WorkbenchError` if
        the data cannot be drawn.
        """
        from ..probe.explore import Details, complete

        whole = complete(self.coordinates, chosen)
        probe = self._probe()
        if probe is None or not whole:
            return Details()
        return self._drawn(lambda: probe.details(self.data, self.typed_record, whole))

    def _probe(self) -> Probe | None:
        from ..probe.registry import PROBES

        try:
            return PROBES.get(self.typed_record.probe)
        except WorkbenchError:
            return None

    def _drawn(self, draw: Callable[[], T]) -> T:
        """What the probe draws; a run of an earlier version may lack what it asks for."""
        try:
            return draw()
        except WorkbenchError:
            raise
        except Exception as error:
            tracebacks.log(error, f"the details of run {self.id} cannot be drawn")
            raise WorkbenchError(
                f"the details of run {self.id} cannot be drawn ({type(error).__name__}: {error}); "
                "an earlier version may have made it: run it again with `workbench rerun`"
            ) from error

    @property
    def tables(self) -> dict[str, pd.DataFrame]:
        """The tables by name."""
        import pandas as pd

        self.intact("tables/", wanted=False)
        # "None" and "NA" are texts: what is missing is written as nothing
        return {
            path.stem: pd.read_csv(path, keep_default_na=False, na_values=[""])
            for path in sorted((self.folder / "tables").glob("*.csv"))
        }

    @property
    def tensors(self) -> dict[str, torch.Tensor]:
        """The tensors by name."""
        from safetensors.torch import load_file

        self.intact("tensors.safetensors", wanted=False)
        path = self.folder / "tensors.safetensors"
        return load_file(path) if path.exists() else {}

    @property
    def summary(self) -> list[str]:
        """What was found, in sentences."""
        return Sentences(self.typed_record.summary)

    @property
    def notes(self) -> str:
        """What was written about this run; assign a text to keep it, an empty one to remove it.

        Raises `UsageError` for a text that is too long.
        """
        return notes.read(self.folder)

    @notes.setter
    def notes(self, text: str) -> None:
        notes.write(self.folder, text)

    @property
    def headline(self) -> dict[str, Headline]:
        """The headlines by name."""
        return HeadlineTable((headline.name, headline) for headline in self.typed_record.headline)

    def report(self, path: str | os.PathLike[str], to: str | None = None, prompts: bool = True) -> Path:
        """Write a report of this run; the format is `to`, or told by the end of the path's name.

        With `prompts=False` it holds no text that was read or written: no prompt, no token, no answer.
        """
        from ..reports import write

        return write([self], Path(path), to, prompts=prompts)

    def show(self, height: int = 900) -> Page:
        """The page of this run in a notebook, from a server that is started for this machine alone."""
        from .page_server import page

        return page(self.folder, self.id, self._repr_mimebundle_(), height)

    def intact(self, beginning: str, wanted: bool = True) -> None:
        """Raise `WorkbenchError` if a file so named is missing or not what was written.

        An array with a chunk missing would otherwise read as empty values without a word.
        """
        record = self.typed_record
        listed = {path: digest for path, digest in record.files.items() if path.startswith(beginning)}
        if not listed and wanted:
            raise WorkbenchError(f"run {self.id} has no data: its status is {record.status!r}")
        if broken := [finding for finding in check_files(self.folder, listed) if finding.what != "added"]:
            raise WorkbenchError(
                f"run {self.id}: {broken[0].path} is {broken[0].what}"
                + (f", and {len(broken) - 1} more" if len(broken) > 1 else "")
                + "; run it again with `workbench rerun`"
            )

    def __repr__(self) -> str:
        return f"<Run {self.id}: {self.status}>"

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, Any]:
        """What was found, its headlines, and what can be looked at next."""
        record = self.typed_record
        facts = [
            ("error", f"{record.error.kind}: {record.error.message}" if record.error else ""),
            ("failed checks", "; ".join(check.name for check in record.checks if not check.passed)),
            ("figures", ", ".join(record.figures)),
            ("folder", record.id),
        ]
        title = f"{record.probe} on {record.model.id}: {record.status}"
        return bundle(title, record.summary, facts, headlines(record.headline))


class Figures(Mapping[str, "Figure"]):
    """The figures of a run by name; each is read when it is asked for."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._names = list(run.typed_record.figures)

    def __getitem__(self, name: str) -> Figure:
        from ..figures import load

        if name not in self._names:
            raise UnknownName("figure of this run", name, self._names)
        self._run.intact(f"figures/{name}.json")
        return load(self._run.folder / "figures" / f"{name}.json")

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, Any]:
        from ..figures.mime import listing

        return listing(self)


class HeadlineTable(dict[str, Headline]):
    """Headlines by name, by an earlier one too, which a notebook shows as a table."""

    def __missing__(self, name: str) -> Headline:
        present = EARLIER_NAMES.get(name, "")
        if present in self:
            return self[present]
        raise UnknownName("headline of this run", name, list(self))

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> Bundle:
        return bundle("" if self else "No headlines", table=headlines(self.values()))

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(self._repr_mimebundle_()["text/plain"])
