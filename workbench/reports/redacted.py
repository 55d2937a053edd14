"""A run as a report shows it without any text of the user's: no prompt, no token, no answer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import tracebacks
from ..errors import WorkbenchError
from ..figures import Figure
from ..probe.form_fields import fields_of
from ..records.record import Record

if TYPE_CHECKING:
    import xarray as xr

    from ..probe.contract import Probe
    from ..probe.explore import Details
    from .report import RunLike

ITEMS = {"example", "prompt", "position", "token", "query", "key", "place", "segment"}
"""Dimensions along which a run keeps what it read and wrote; texts along others are names of conditions."""
NOTICE = (
    "Texts were left out of this report: prompts, tokens, answers, and settings that hold a text. "
    "Where one stood, [text 1] stands, with the same number for the same text."
)
LEFT_OUT = "[left out]"
TOKEN_IDS = "token_id"
"""Arrays of this name hold numbers in the model's vocabulary, from which a text can be read."""
_NUMBERS = ["x", "y", "value", "low", "high"]


@dataclass
class Masked:
    """Arrays with a number in the place of every text of the user's; `labels` are the texts that stay."""

    tree: xr.DataTree
    labels: set[str] = field(default_factory=set)
    texts: dict[str, str] = field(default_factory=dict)


def _renumbered(ids: np.ndarray) -> np.ndarray:
    """The same number for the same token, counted in the order in which they come."""
    _, first, place = np.unique(ids, return_index=True, return_inverse=True)
    return (first.argsort().argsort() + 1)[place].reshape(ids.shape)


def mask(tree: xr.DataTree) -> Masked:
    """Put a number in the place of every text along one of the `ITEMS`, the same for the same text."""
    import xarray as xr

    masked = Masked(tree)
    nodes = {}
    for node in tree.subtree:
        dataset = node.to_dataset(inherit=False)
        changed: dict[Any, Any] = {}
        for name, variable in dataset.variables.items():
            if name == TOKEN_IDS:
                changed[name] = (variable.dims, _renumbered(variable.values), variable.attrs)
            if variable.dtype.kind not in "OUST":
                continue
            if ITEMS & set(variable.dims):
                values = [
                    masked.texts.setdefault(str(one), f"[text {len(masked.texts) + 1}]") if str(one) else ""
                    for one in variable.values.ravel()
                ]
                shaped = np.array(values, dtype=object).reshape(variable.shape).astype(str)
                changed[name] = (variable.dims, shaped, variable.attrs)
            else:
                masked.labels.update(str(one) for one in variable.values.ravel())
        nodes[node.path] = dataset.assign({name: new for name, new in changed.items() if name in dataset.data_vars})
        nodes[node.path] = nodes[node.path].assign_coords(
            {name: new for name, new in changed.items() if name in dataset.coords}
        )
    masked.tree = xr.DataTree.from_dict(nodes)
    masked.tree.attrs.update({name: value for name, value in tree.attrs.items() if name not in masked.tree.attrs})
    return masked


class Redacted:
    """What a report needs of a run, made from its arrays without their texts.

    Figures and sentences are the probe's own, drawn again from these arrays; a figure whose numbers are then others, or
    that cannot be drawn again, is left out.
    """

    def __init__(self, run: RunLike) -> None:
        self._run = run
        self._lost: dict[str, str] = {}
        """What the run has and this does not show, with the reason."""

    @property
    def notice(self) -> str:
        """What was left out, and what is missing for another reason than its texts."""
        _ = self.summary, self._drawn  # whether they can be made shows when they are
        return " ".join([NOTICE, *self._lost.values()])

    @property
    def folder(self) -> Path:
        return self._run.folder

    @property
    def data(self) -> xr.DataTree:
        return self._masked.tree

    @cached_property
    def record(self) -> dict[str, Any]:
        record = self._run.record
        spec = record["spec"]
        record = {**record, "summary": self.summary}
        record["spec"] = {**spec, **{part: self._settings(spec[part]) for part in ("given", "resolved")}}
        if record.get("error"):
            record["error"] = {**record["error"], "message": LEFT_OUT, "traceback": ""}
        return self._without(record)

    @property
    def figures(self) -> Mapping[str, Figure]:
        return _Redrawn(self._run, self._drawn)

    @cached_property
    def summary(self) -> list[str]:
        probe, record = self._probe, self._typed
        if probe is None or record is None or not self._run.summary:
            return []
        try:
            return [str(said) for said in probe.summary(self.data, record)]
        except Exception as error:
            self._lose("The summary", error)
            return []

    def details(self, **chosen: int) -> Details:
        """What is shown of a choice, drawn again without the texts; nothing of what cannot be."""
        from ..probe.explore import Details, complete

        if self._probe is None or self._typed is None:
            return Details()
        try:
            whole = complete(self._run.coordinates, chosen)  # type: ignore[attr-defined]
            saved = self._run.details(**whole).by_name  # type: ignore[attr-defined]
            drawn = self._probe.details(self.data, Record.model_validate(self.record), whole)
        except Exception as error:
            self._lose("What was chosen on the page", error)
            return Details()
        figures = [one for one in drawn.figures if one.name in saved and _same_numbers(saved[one.name], one)]
        if missing := saved.keys() - {one.name for one in figures}:
            self._lost["chosen"] = (
                f"Of what was chosen on the page these cannot be drawn without the texts: {', '.join(sorted(missing))}."
            )
        return Details(figures, note=drawn.note, tables=drawn.tables)

    def keeps(self, column: Sequence[str]) -> bool:
        """Whether a column of a table holds numbers and names of conditions alone."""
        return all(cell in ("", "True", "False") or cell in self._masked.labels or _is_number(cell) for cell in column)

    @cached_property
    def _masked(self) -> Masked:
        import xarray as xr

        if "data" not in dir(self._run):
            return Masked(xr.DataTree())
        try:
            return mask(self._run.data)  # type: ignore[attr-defined]
        except WorkbenchError as error:
            if self._run.summary or self._run.figures:
                self._lose("The data that summary and figures are made from", error)
            return Masked(xr.DataTree())

    @cached_property
    def _probe(self) -> Probe | None:
        from ..probe.registry import PROBES

        try:
            return PROBES.get(self._run.record["probe"])
        except WorkbenchError as error:
            if self._run.summary or self._run.figures:
                self._lose("Summary and figures", error, "its probe is not here to make them")
            return None

    @cached_property
    def _typed(self) -> Record | None:
        try:
            return Record.model_validate(self._run.record)
        except ValueError:
            return None

    @cached_property
    def _drawn(self) -> dict[str, Figure]:
        if self._probe is None or self._typed is None or not self._run.figures:
            return {}
        try:
            return {figure.name: figure for figure in self._probe.figures(self.data, self._typed)}
        except Exception as error:
            self._lose("The figures", error)
            return {}

    def _lose(self, part: str, error: Exception, why: str = "") -> None:
        """Remember what cannot be shown; the error's own words may hold a text of the user's, its type does not."""
        tracebacks.log(error, f"{part} of a report without texts cannot be made")
        self._lost[part] = f"{part} could not be made again without the texts: {why or type(error).__name__}."

    def _settings(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Settings; a text that is none of the probe's own names is left out."""
        known = {one.name: one.options for one in fields_of(self._probe)} if self._probe is not None else {}

        def kept(name: str, value: Any) -> Any:
            if isinstance(value, str) and value not in known.get(name, ()):
                return LEFT_OUT
            if isinstance(value, (list, tuple)):
                return [kept(name, one) for one in value]
            if isinstance(value, Mapping):
                return {key: kept(name, one) for key, one in value.items()}
            return value

        return {name: kept(name, value) for name, value in settings.items()}

    def _without(self, value: Any) -> Any:
        """The same without any long text of the run, wherever in it one stands."""
        if isinstance(value, str):
            for text, number in self._long:
                value = value.replace(text, number)
            return value
        if isinstance(value, Mapping):
            return {key: self._without(one) for key, one in value.items()}
        return [self._without(one) for one in value] if isinstance(value, list) else value

    @cached_property
    def _long(self) -> list[tuple[str, str]]:
        # A shorter one, such as a token, is a word that any sentence may hold.
        return sorted(
            ((text, number) for text, number in self._masked.texts.items() if len(text.strip()) >= 8),
            key=lambda pair: -len(pair[0]),
        )


class _Redrawn(Mapping[str, Figure]):
    """Figures drawn again; asking for one that says other numbers than the saved one raises `WorkbenchError`."""

    def __init__(self, run: RunLike, drawn: Mapping[str, Figure]) -> None:
        self._run, self._drawn = run, drawn

    def __getitem__(self, name: str) -> Figure:
        saved = self._run.figures[name]
        if name not in self._drawn or not _same_numbers(saved, self._drawn[name]):
            raise WorkbenchError("it cannot be drawn without the texts")
        return self._drawn[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._run.figures)

    def __len__(self) -> int:
        return len(self._run.figures)


def _same_numbers(one: Figure, other: Figure) -> bool:
    first, second = (
        figure.data.reindex(columns=_NUMBERS).to_numpy(dtype=float, na_value=np.nan) for figure in (one, other)
    )
    return first.shape == second.shape and bool(np.allclose(first, second, rtol=1e-5, atol=1e-8, equal_nan=True))


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
