"""A run as a person handles it: its record, its data, its figures, its report."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import results, store
from .errors import UnknownName, WorkbenchError
from .record import Headline, Record
from .verify import check_files
from .words import control, number

if TYPE_CHECKING:
    import pandas as pd
    import torch
    import xarray as xr

    from .figures.figure import Figure


class Run:
    """One run on disk.

    Raises `WorkbenchError` if the folder holds no readable record.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        self._record = store.read(self.folder)
        self._data: xr.DataTree | None = None

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
        return self._record.id

    @property
    def status(self) -> str:
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

    @property
    def tables(self) -> dict[str, pd.DataFrame]:
        """The tables by name."""
        import pandas as pd

        self.intact("tables/", wanted=False)
        return {path.stem: pd.read_csv(path) for path in sorted((self.folder / "tables").glob("*.csv"))}

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
        return list(self.typed_record.summary)

    @property
    def headline(self) -> dict[str, Headline]:
        """The headlines by name."""
        return {headline.name: headline for headline in self.typed_record.headline}

    def report(self, path: str | os.PathLike[str], to: str | None = None) -> Path:
        """Write a report of this run; the format is `to`, or told by the end of the path's name."""
        from .reports import write

        return write([self], Path(path), to)

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

    def _repr_html_(self) -> str:
        from html import escape

        record = self.typed_record
        rows = "".join(
            f"<tr><th scope='row' style='text-align:left'>{escape(one.name)}</th><td>{escape(number(one))}</td>"
            f"<td>{one.n}</td><td>{escape(control(one))}</td></tr>"
            for one in record.headline
        )
        head = f"{record.probe} on {record.model.id}: {record.status}"
        said = "".join(f"<p>{escape(sentence)}</p>" for sentence in record.summary[:3])
        error = f"<p>{escape(record.error.kind)}: {escape(record.error.message)}</p>" if record.error else ""
        columns = "".join(f"<th scope='col'>{word}</th>" for word in ("headline", "value", "n", "control"))
        table = f"<table><thead><tr>{columns}</tr></thead><tbody>{rows}</tbody></table>" if rows else ""
        return f"<div><p><strong>{escape(head)}</strong> <code>{escape(record.id)}</code></p>{said}{error}{table}</div>"

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        return {"text/html": self._repr_html_(), "text/plain": repr(self)}


class Figures(Mapping[str, "Figure"]):
    """The figures of a run by name; each is read when it is asked for."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._names = list(run.typed_record.figures)

    def __getitem__(self, name: str) -> Figure:
        from .figures import load

        if name not in self._names:
            raise UnknownName("figure of this run", name, self._names)
        self._run.intact(f"figures/{name}.json")
        return load(self._run.folder / "figures" / f"{name}.json")

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)
